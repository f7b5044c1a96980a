"""Screen 6: auto-replies and signatures, and the editor in which nothing that was typed is lost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.events import Paste

import tui.views.editor
from gateway.control import GetStatus, Role, SetTemplate, ShowTemplate, TemplateRow, TouchpointRow
from pipeline.errors import Refused
from tests.tui.canned import NOW, Canned, served, short, status, touchpoint, until
from tests.tui.screen import Terminal, terminal
from tests.unit.test_signature import one, sign, text_of
from tui.drafts import Drafts
from tui.views.editor import Editor, as_sent
from tui.views.replies import Replies

REPLY = "Dear customer,\n\nwe read all of it, and answer in the order in which it came.\n\nYour desk"
SIGN = "-- \nSupport desk\nphone 12345"
ROWS = (
    touchpoint(1, auto_reply=True),
    touchpoint(2, "press@acme.example", name="Press desk"),
    touchpoint(3, "sales@acme.example", name="Sales", active=False),
)
"""Sorted by address they stand as press, sales, support."""


class Templates(Canned):
    """A daemon that keeps the texts of its touchpoints, and refuses as the real one does."""

    def __init__(self, rows: tuple[TouchpointRow, ...] = ROWS, **more: Any) -> None:
        super().__init__(
            {GetStatus: status(rows), ShowTemplate: self._show, SetTemplate: self._set}, **more
        )  # fmt: skip
        self.kept = {("1", "auto_reply"): self._row("auto_reply", active=True, text=REPLY),
                     ("1", "signature"): self._row("signature", text=SIGN)}  # fmt: skip

    @staticmethod
    def _row(kind: str, **more: Any) -> TemplateRow:
        plain: dict[str, Any] = {"active": False, "subject": "", "text": "", "html": "", "updated_at": NOW}
        return TemplateRow(kind=kind, **(plain | more))

    def _show(self, call: ShowTemplate) -> TemplateRow:
        return self.kept.get((call.touchpoint, call.kind), self._row(call.kind))

    def _set(self, call: SetTemplate) -> TemplateRow:
        given = {name: getattr(call, name) for name in ("active", "subject", "text", "html")}
        made = replace(self._show(ShowTemplate(touchpoint=call.touchpoint, kind=call.kind)),
                       **{name: value for name, value in given.items() if value is not None})  # fmt: skip
        if len(made.text) > 65_536:
            raise Refused("the text is longer than 64 KiB or holds a NUL")
        if made.active and not made.text.strip():
            raise Refused("there is no text yet, so it cannot be active")
        self.kept[call.touchpoint, call.kind] = made
        row = next(row for row in self.status_now().touchpoints if str(row.id) == call.touchpoint)
        self.change(replace(row, version=row.version + 1, **{call.kind: made.active}))
        return made

    def sets(self) -> list[SetTemplate]:
        """All changes that were asked for."""
        return self.asked(SetTemplate)


@asynccontextmanager
async def replies(
    tmp_path: Path, canned: Templates, *, at: str = "support", **more: Any
) -> AsyncIterator[tuple[Templates, Terminal]]:
    """The screen, with the cursor on a touchpoint."""
    async with served(canned, short(tmp_path)) as path, terminal(path, screen="replies", **more) as screen:
        await screen.quiet()
        await screen.press(*{"": (), "press": ("g",), "support": ("G",)}[at])
        yield canned, screen


def editor_of(screen: Terminal) -> Editor:
    """The editor that is open."""
    found = screen.ui.screen
    assert isinstance(found, Editor), f"no editor is open:\n{screen.text()}"
    return found


async def opened(screen: Terminal, key: str = "A") -> Editor:
    """Press its key, and wait for the editor."""
    await screen.press(key)
    await screen.shows("Esc keeps a draft")
    return editor_of(screen)


async def closed(screen: Terminal) -> None:
    """Wait until no dialog is open."""
    await until(lambda: len(screen.ui.screen_stack) == 1, "the editor is closed")


# -- The list --------------------------------------------------------------------------------------------------------


async def test_both_texts_stand_below_the_list(tmp_path: Path) -> None:
    async with replies(tmp_path, Templates()) as (_, screen):
        await screen.shows("Dear customer,")
        text = screen.text()
        assert ">support@acme.example            Support          yes     on          off" in text
        assert " sales@acme.example              Sales            off     off         off" in text
        assert "AUTO-REPLY  on" in text
        assert "SIGNATURE  off" in text
        assert "phone 12345" in text, "the second text is in sight at 80x24"
        assert "more lines; f shows all of it" in text
        await screen.press("enter")
        await screen.shows("Your desk")
        await screen.press("escape")
        await screen.hides("Your desk")


async def test_only_where_the_cursor_rests_the_texts_are_asked_for(tmp_path: Path) -> None:
    many = tuple(touchpoint(n, f"desk{n:03}@acme.example") for n in range(1, 101))
    async with replies(tmp_path, Templates(many), at="") as (canned, screen):
        await screen.press("G")
        await screen.quiet()
        await screen.press("g")
        await screen.quiet()
        await until(
            lambda: len({(call.touchpoint, call.kind) for call in canned.asked(ShowTemplate)}) == 4, "both, twice"
        )
        asked = {call.touchpoint for call in canned.asked(ShowTemplate)}
        assert asked == {"1", "100"}, "none for what was passed by"


async def test_a_change_elsewhere_is_seen_without_moving_the_cursor(tmp_path: Path) -> None:
    async with replies(tmp_path, Templates()) as (canned, screen):
        await screen.shows("Dear customer,")
        canned.kept["1", "auto_reply"] = replace(canned.kept["1", "auto_reply"], text="We are closed.")
        canned.change(replace(ROWS[0], version=2))
        await screen.shows("We are closed.")


async def test_no_touchpoint_yet(tmp_path: Path) -> None:
    async with replies(tmp_path, Templates(()), at="") as (canned, screen):
        await screen.shows("there is no touchpoint yet")
        await screen.press("t")
        await screen.shows("there is no row under the cursor")
        assert not canned.sets()


async def test_the_filter_and_the_order(tmp_path: Path) -> None:
    async with replies(tmp_path, Templates(), at="") as (_, screen):
        await screen.press("s")
        await screen.shows("sort: switched on first")
        lines = screen.text().splitlines()
        assert lines[4].strip(" >").startswith("support@")
        await screen.press("/")
        await screen.type("press d")
        await screen.shows("REPLIES 1 of 3")


# -- On and off ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "kind", "first", "said"),
    [
        ("t", "auto_reply", False, "the auto-reply of support@acme.example is off"),
        ("T", "signature", True, "the signature of support@acme.example is on"),
    ],
)
async def test_on_and_off_with_undo_and_redo(tmp_path: Path, key: str, kind: str, first: bool, said: str) -> None:
    async with replies(tmp_path, Templates()) as (canned, screen):
        await screen.press(key)
        await screen.shows(said)
        await screen.press("z")
        await screen.shows("taken back")
        await screen.press("Z")
        await screen.shows("done again")
        assert [(call.touchpoint, call.kind, call.active) for call in canned.sets()] == [
            ("1", kind, first), ("1", kind, not first), ("1", kind, first),
        ]  # fmt: skip
        assert all(call.text is None and call.subject is None for call in canned.sets()), "texts are left alone"


@pytest.mark.parametrize("rested", [True, False])
async def test_what_has_no_text_cannot_be_on(tmp_path: Path, rested: bool) -> None:
    async with replies(tmp_path, Templates(), at="press" if rested else "support") as (canned, screen):
        if not rested:
            await screen.press("g")
        await screen.press("t")
        await screen.shows("there is no text yet, so it cannot be on")
        assert not canned.sets()


async def test_a_refusal_in_the_middle_tells_how_far_it_came(tmp_path: Path) -> None:
    canned = Templates()
    canned.kept["2", "signature"] = replace(canned.kept["1", "signature"])
    async with replies(tmp_path, canned, at="press") as (_, screen):
        await screen.press("*", "T")  # press has a signature, sales has none
        await screen.shows("1 of 3 are turned; signature of sales@acme.example: there is no text yet")
        await screen.press("z")
        await screen.shows("taken back: the signature of press@acme.example is on")
        assert [(call.touchpoint, call.active) for call in canned.sets()] == [("2", True), ("2", False)]


async def test_the_menu_says_what_would_happen_to_this_row(tmp_path: Path) -> None:
    async with replies(tmp_path, Templates()) as (canned, screen):
        await screen.shows("Dear customer,")
        await screen.press("a")
        await screen.shows("Auto-reply off")
        assert "Signature on" in screen.text()
        await screen.press("j", "j")
        await screen.shows("postroom auto-reply off support@acme.example")
        # The list moves below; the act is about the row of the key press all the same.
        canned.change(replace(ROWS[1], address="zz@acme.example"))
        await until(lambda: screen.ui.picture.touchpoints[2].address == "zz@acme.example", "the event is here")
        await screen.press("enter")
        await screen.shows("the auto-reply of support@acme.example is off")
        assert [call.touchpoint for call in canned.sets()] == ["1"]


# -- Roles and connections -------------------------------------------------------------------------------------------


async def test_without_the_role_texts_are_read_and_not_edited(tmp_path: Path) -> None:
    async with replies(tmp_path, Templates(roles=frozenset({Role.AUDIT}))) as (canned, screen):
        await screen.shows("Dear customer,")
        for key in ("A", "S", "t", "T"):
            await screen.press(key)
            await screen.shows("not with your roles (audit)")
        assert len(screen.ui.screen_stack) == 1
        assert not canned.sets()


async def test_who_may_not_read_them_is_told_so(tmp_path: Path) -> None:
    canned = Templates(roles=frozenset({Role.AGENT}))
    canned.answers[ShowTemplate] = Refused("template.show is not for agents")
    async with replies(tmp_path, canned) as (_, screen):
        await screen.shows("template.show is not for agents")
        assert "support@acme.example            Support          yes     on" in screen.text()


async def test_no_editor_without_a_connection(tmp_path: Path) -> None:
    async with terminal(tmp_path / "none.sock", screen="replies") as screen:
        await screen.shows("NO CONNECTION")
        await screen.press("A")
        await screen.shows("there is no connection to the daemon")
        assert len(screen.ui.screen_stack) == 1


# -- The editor ------------------------------------------------------------------------------------------------------


async def test_a_text_is_written_saved_and_taken_back(tmp_path: Path) -> None:
    async with replies(tmp_path, Templates()) as (canned, screen):
        await opened(screen)
        await screen.press("tab")
        await screen.type("Got")
        await screen.press("enter")
        await screen.type("Hi. ")
        await screen.press("ctrl+s")
        await screen.shows("auto-reply of support@acme.example is saved, and is on")
        assert canned.sets() == [SetTemplate(touchpoint="1", kind="auto_reply", subject="Got", text=f"Hi. {REPLY}")]
        assert not Drafts(tmp_path / "drafts").names()
        await screen.press("z")
        await screen.shows("taken back")
        assert canned.kept["1", "auto_reply"].text == REPLY
        assert canned.kept["1", "auto_reply"].subject == ""


async def test_a_signature_has_no_subject_and_stays_off(tmp_path: Path) -> None:
    async with replies(tmp_path, Templates()) as (canned, screen):
        await opened(screen, "S")
        assert "Subject" not in screen.text()
        await screen.press("pagedown", "end", "enter")
        await screen.type("fax 6")
        await screen.press("ctrl+s")
        await screen.shows("signature of support@acme.example is saved, and is off")
        assert canned.sets() == [
            SetTemplate(touchpoint="1", kind="signature", subject=None, text=f"{SIGN}\nfax 6")
        ]  # fmt: skip


async def test_every_key_that_writes_is_written(tmp_path: Path) -> None:
    async with replies(tmp_path, Templates(), at="press") as (canned, screen):
        await opened(screen)
        await screen.type("1 Qx?/:q")
        await screen.press("up", "up", "home", "down", "left", "right", "end", "backspace", "enter")
        await screen.press("pageup", "pagedown", "ctrl+q", "f1", "f5", "ctrl+p", "ctrl+l")
        assert editor_of(screen).text == "1 Qx?/:\n"
        await screen.press("ctrl+z")
        assert editor_of(screen).text != "1 Qx?/:\n", "the field takes back what was typed"
        assert not canned.sets()


async def test_nothing_changed_is_not_sent(tmp_path: Path) -> None:
    async with replies(tmp_path, Templates()) as (canned, screen):
        await opened(screen)
        await screen.press("ctrl+s")
        await screen.shows("nothing was changed")
        await screen.press("escape")
        await closed(screen)
        assert not canned.sets()
        assert not Drafts(tmp_path / "drafts").names()


async def test_esc_keeps_a_draft_and_the_next_time_offers_it(tmp_path: Path) -> None:
    async with replies(tmp_path, Templates()) as (canned, screen):
        await opened(screen)
        await screen.type("Hi. ")
        await screen.press("escape")
        await screen.shows("kept as a draft: auto-reply of support@acme.example")
        assert Drafts(tmp_path / "drafts").names() == ["auto-reply of support@acme.example"]
        editor = await opened(screen)
        await screen.shows("this is the draft that was kept; ^r takes the saved text instead")
        assert editor.text == f"Hi. {REPLY}"
        await screen.press("ctrl+r")
        await screen.shows("this is the saved text; ^z takes that back")
        assert editor.text == REPLY
        await screen.press("ctrl+z")
        assert editor.text == f"Hi. {REPLY}"
        await screen.press("ctrl+r", "escape")
        await closed(screen)
        assert not Drafts(tmp_path / "drafts").names(), "the saved text was chosen"
        assert not canned.sets()


async def test_the_draft_of_one_text_is_not_that_of_another(tmp_path: Path) -> None:
    async with replies(tmp_path, Templates()) as (_, screen):
        await opened(screen)
        await screen.type("Hi. ")
        await screen.press("escape")
        await closed(screen)
        assert (await opened(screen, "S")).text == SIGN


async def test_a_terminal_that_goes_away_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tui.views.editor, "KEEP_SECONDS", 0.02)
    drafts = Drafts(tmp_path / "drafts")
    async with replies(tmp_path, Templates()) as (_, screen):
        await opened(screen)
        await screen.type("Hi. ")
        await until(lambda: drafts.read("auto-reply of support@acme.example"), "a draft is written without any key")
    async with replies(tmp_path, Templates()) as (_, screen):
        await screen.shows("kept from before: auto-reply of support@acme.example")
        assert (await opened(screen)).text == f"Hi. {REPLY}"


async def test_a_draft_that_cannot_be_kept_is_not_thrown_away_by_one_key(tmp_path: Path) -> None:
    home = tmp_path / "drafts"
    home.write_text("a file, where the folder should be")
    async with replies(tmp_path, Templates()) as (_, screen):
        await opened(screen)
        await screen.type("Hi. ")
        await screen.press("escape")
        await screen.shows("this cannot be kept as a draft: save it, or Esc again throws it away")
        await screen.press("escape")
        await closed(screen)
        assert "kept as a draft" not in screen.text()


async def test_a_refusal_is_shown_at_the_text(tmp_path: Path) -> None:
    async with replies(tmp_path, Templates()) as (canned, screen):
        editor = await opened(screen)
        long = "x" * 66_000
        editor._put("", long)
        await screen.press("ctrl+s")
        await screen.shows("not saved: the text is longer than 64 KiB")
        assert editor.text == long
        assert Drafts(tmp_path / "drafts").read("auto-reply of support@acme.example")["text"] == long
        assert canned.kept["1", "auto_reply"].text == REPLY


async def test_the_daemon_goes_and_comes_back_while_one_writes(tmp_path: Path) -> None:
    canned = Templates()
    async with replies(tmp_path, canned) as (_, screen):
        await opened(screen)
        await screen.type("Hi. ")
        await canned.server.close(remove=short(tmp_path))
        await screen.shows("NO CONNECTION")
        await screen.press("ctrl+s")
        await screen.shows("not saved: there is no connection to the daemon now")
        again = Templates()
        async with served(again, short(tmp_path)):
            assert screen.ui.link is not None
            screen.ui.link.hurry()
            await until(lambda: screen.ui.picture.connected, "there is a connection again")
            await screen.press("ctrl+s")
            await closed(screen)
            assert again.kept["1", "auto_reply"].text == f"Hi. {REPLY}"


async def test_what_somebody_else_saved_meanwhile_is_not_written_over_unseen(tmp_path: Path) -> None:
    async with replies(tmp_path, Templates()) as (canned, screen):
        editor = await opened(screen)
        await screen.type("Hi. ")
        canned.kept["1", "auto_reply"] = replace(canned.kept["1", "auto_reply"], text="Closed today.")
        await screen.press("ctrl+s")
        await screen.shows("somebody else saved another text since")
        assert not canned.sets()
        await screen.press("ctrl+r")
        assert editor.text == "Closed today."
        await screen.press("ctrl+z", "ctrl+s")
        await closed(screen)
        assert canned.kept["1", "auto_reply"].text == f"Hi. {REPLY}"


async def test_the_list_moves_below_and_the_text_goes_where_it_was_opened(tmp_path: Path) -> None:
    async with replies(tmp_path, Templates(), at="press") as (canned, screen):
        await opened(screen)
        canned.change(replace(ROWS[1], address="zz@acme.example"))
        await until(lambda: screen.ui.picture.touchpoints[2].address == "zz@acme.example", "the event is here")
        assert "zz@acme.example" not in screen.text()
        await screen.type("Hello")
        await screen.press("ctrl+s")
        await closed(screen)
        assert [call.touchpoint for call in canned.sets()] == ["2"]


# -- Texts that cannot be shown --------------------------------------------------------------------------------------


async def test_hidden_characters_are_edited_outside_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = "Dear \x1b]52;c;x\x07 \u202ecustomer"
    canned = Templates()
    canned.kept["1", "auto_reply"] = replace(canned.kept["1", "auto_reply"], text=bad)
    async with replies(tmp_path, canned) as (_, screen):
        editor = await opened(screen)
        await screen.shows("it holds characters that cannot be shown safely: F4 edits it, or")
        assert "\\x1b]52;c;x\\x07 \\u202ecustomer" in screen.text()
        assert "\x1b" not in screen.text()
        await screen.type("abc")
        assert editor.text == bad, "nothing is typed into what is not shown as it is"
        assert "abc" not in screen.text()
        monkeypatch.setattr(screen.ui, "edit_outside", lambda text: f"{text}!\n")
        await screen.press("f4")
        await screen.shows("taken over from the editor; ^s saves it")
        await screen.press("ctrl+s")
        await closed(screen)
        assert canned.kept["1", "auto_reply"].text == f"{bad}!\n"


@pytest.mark.parametrize(
    ("answer", "said", "text"),
    [
        ("Short.\n", "taken over from the editor", "Short.\n"),
        (f"{REPLY}\n", "nothing was changed", REPLY),
        (None, "nothing was taken over", REPLY),
    ],
)
async def test_the_editor_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str | None, said: str, text: str
) -> None:
    async with replies(tmp_path, Templates()) as (_, screen):
        editor = await opened(screen)
        seen: list[str] = []

        def edit(given: str) -> str | None:
            seen.append(given)
            if answer is None:
                screen.ui.say("vi ended with 1; nothing was taken over", "warn")
            return answer

        monkeypatch.setattr(screen.ui, "edit_outside", edit)
        await screen.press("f4")
        await screen.shows(said)
        assert seen == [REPLY]
        assert editor.text == text


async def test_line_ends_and_decomposed_letters_are_no_hidden_characters(tmp_path: Path) -> None:
    canned = Templates()
    canned.kept["1", "auto_reply"] = replace(canned.kept["1", "auto_reply"], text="Gru\u0308\u00dfe\r\nDesk\r\n")
    async with replies(tmp_path, canned) as (_, screen):
        editor = await opened(screen)
        assert editor.text == "Gr\u00fc\u00dfe\nDesk\n"
        assert not editor.dirty


async def test_what_is_pasted_passes_the_gate(tmp_path: Path) -> None:
    async with replies(tmp_path, Templates(), at="press") as (_, screen):
        editor = await opened(screen)
        screen.ui.post_message(Paste("Good\u200b day\x1b[2J\r\n\u202eparcel\ttab パスワード"))
        await until(lambda: editor.text, "it is pasted")
        assert editor.text == "Good day[2J\nparcel\ttab パスワード"


# -- How it goes out -------------------------------------------------------------------------------------------------


def shown(kind: str, text: str, *, subject: str = "", html: str = "", width: int = 60) -> list[str]:
    """The preview as text."""
    made = as_sent(kind, ROWS[0], subject, text, html, width)
    return ["".join(text for text, _ in each) for each in made]


def test_an_auto_reply_with_its_head() -> None:
    assert shown("auto_reply", "Hello\n\n" + "word " * 20, subject="We got it") == [
        "From: Support <support@acme.example>", "To: whoever wrote", "Subject: We got it", "", "Hello", "",
        "word word word word word word word word word word word word",
        "word word word word word word word word ",
    ]  # fmt: skip
    assert "Subject: Auto: and the subject that is answered" in shown("auto_reply", "Hello")
    assert shown("auto_reply", " \n")[-1] == "(no text yet)"


@pytest.mark.parametrize("text", [SIGN, "Your shop\nphone 12345\n\n", "\n  Desk  \n\nsecond part", "パスワード"])
async def test_a_signature_stands_as_the_stage_puts_it(text: str) -> None:
    _, mail = await sign(one("Hello\n"), text=text)
    lines = shown("signature", text)
    begin, end = lines.index(""), lines.index("> what is answered, if it is quoted")
    assert lines[begin : end - 1] == text_of(mail).removeprefix("Hello\n").rstrip("\n").split("\n")


def test_the_preview_promises_no_more_than_there_is() -> None:
    assert "Nothing is filled in: {{ ... }} goes out as it is written." in shown("signature", "Hi {{ name }}")
    assert not any("filled in" in each for each in shown("signature", "Hi { name }"))
    assert any('after a line "-- "' in each for each in shown("signature", "Desk"))
    assert not any('after a line "-- "' in each for each in shown("signature", SIGN))
    assert any("HTML of its own (9 characters)" in each for each in shown("signature", SIGN, html="<b>x</b>\n"))


async def test_f3_shows_it_at_80_columns_and_it_stands_beside_at_160(tmp_path: Path) -> None:
    async with replies(tmp_path, Templates()) as (_, screen):
        editor = await opened(screen)
        await screen.press("f3")
        await screen.shows("From: Support <support@acme.example>")
        await screen.type("xyz")
        assert editor.text == REPLY, "what is looked at is not written into"
        await screen.press("escape")
        await screen.hides("From: Support")
        await screen.type("Hi. ")
        assert editor.text == f"Hi. {REPLY}"
        await screen.press("f3")
        await screen.pilot.resize_terminal(160, 48)
        await screen.shows("From: Support <support@acme.example>")
        await screen.type("Ho. ")
        await screen.shows("Hi. Ho. Dear customer")
        assert screen.text().count("Hi. Ho. Dear customer") == 2
        await screen.pilot.resize_terminal(80, 24)
        await screen.hides("From: Support")


# -- From the touchpoints screen -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["auto_reply", "signature"])
async def test_another_screen_opens_the_editor_of_a_touchpoint(tmp_path: Path, kind: str) -> None:
    async with replies(tmp_path, Templates(), at="") as (_, screen):
        await screen.press("/")
        await screen.type("sales")
        await screen.press("enter", "2")
        view = await screen.ui.go("replies")
        assert isinstance(view, Replies)
        view.show_for(ROWS[0], kind)
        await screen.shows(f"{kind.replace('_', '-')} of support@acme.example")
        assert editor_of(screen).text == {"auto_reply": REPLY, "signature": SIGN}[kind]
        await screen.press("escape")
        await closed(screen)
        view.show_for(replace(ROWS[0], id=99), kind)
        await screen.shows("support@acme.example is not known here any more")
