"""Dialogs: while one is open it has every key, nothing behind it moves, and the default is no."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.client import CallFailed, Unreachable
from gateway.control import GetStatus, Role
from tests.tui.canned import Canned, served, short, status, touchpoint, until
from tests.tui.hostile import texts
from tests.tui.screen import Terminal, terminal
from tui.app import TerminalUI
from tui.dialogs import Choice, Dialog, Field, Form, GoTo, Help, Menu, Pick, Place, Show, TypeName, YesNo, fit_title
from tui.glyphs import Glyphs
from tui.keys import Taste


class Asked:
    """A dialog on the screen, and its answer."""

    def __init__(self, screen: Terminal, dialog: Dialog[Any]) -> None:
        self.screen, self.dialog = screen, dialog
        self.answer: Any = "open"

    @property
    def over(self) -> bool:
        """Whether it was answered."""
        return self.answer != "open"

    async def answered(self) -> Any:
        """Its answer."""
        await until(lambda: self.over, f"an answer; the screen:\n{self.screen.text()}")
        return self.answer


async def ask(screen: Terminal, dialog: Dialog[Any]) -> Asked:
    """Open a dialog."""
    asked = Asked(screen, dialog)

    async def wait() -> None:
        asked.answer = await screen.ui.ask(dialog)

    screen.ui.work(wait())
    await until(lambda: screen.ui.screen is dialog and dialog.ready, "the dialog is open")
    return asked


@asynccontextmanager
async def desk(tmp_path: Path, **more: Any) -> AsyncIterator[Terminal]:
    """A screen with two rows to put dialogs over."""
    rows = (touchpoint(1), touchpoint(2, "press@acme.example"))
    canned = Canned({GetStatus: status(rows)})
    async with served(canned, short(tmp_path)) as path, terminal(path, screen="touchpoints", **more) as screen:
        await screen.quiet()
        yield screen


async def refuse(values: dict[str, str]) -> dict[str, str]:
    """Nothing is right."""
    return {"": "nothing is right"}


CHOICES = [
    Choice(key="c", words="Connect", value="connect", command="postroom touchpoint connect x"),
    Choice(key="t", words="Deactivate", value="off", why_not="it is off already"),
    Choice(key="e", words="Edit", value="edit"),
]
MAKE: dict[str, Callable[[TerminalUI], Dialog[Any]]] = {
    "menu": lambda ui: Menu(ui, "support@acme.example", CHOICES),
    "yes or no": lambda ui: YesNo(ui, "Retry", "retries 43 mails to 5 domains now"),
    "a name to type": lambda ui: TypeName(ui, "Delete", "Delete it and give up its mail.", "desk"),
    "form": lambda ui: Form(ui, "new", [Field(name="a", label="Address"), Field(name="b", label="Name")], refuse),
    "form of choices": lambda ui: Form(ui, "new", [Field(name="a", label="Way", choices=("in", "out"))], refuse),
    "pick": lambda ui: Pick(ui, "queues", [(1, "Front office"), (2, "Press")]),
    "pick several": lambda ui: Pick(ui, "queues", [(1, "Front office"), (2, "Press")], several=True),
    "show": lambda ui: Show(ui, "text", "one\ntwo"),
    "help": lambda ui: Help(ui, [("a", "Actions", "", None)]),
    "go to": lambda ui: GoTo(ui, lambda text: [Place(words="Overview", hint="screen 1", go=lambda: None)]),
}
OWN = {"menu": "cteYjkgG", "yes or no": "yn", "show": "yqVjkgG"}
"""Letters that mean something in a dialog; all others mean nothing there."""
EVERYTHING = "1asfpxzqQ:/?*"
"""Keys that do something on the desk, that of leaving included."""


@pytest.mark.parametrize("name", MAKE)
async def test_no_key_leaks_through_a_dialog(tmp_path: Path, name: str) -> None:
    """Digits, letters, function keys and chords that do something on the desk do nothing behind a dialog."""
    async with desk(tmp_path) as screen:
        view, cursor = screen.ui.view, screen.ui.view.list.cursor  # type: ignore[union-attr]
        asked = await ask(screen, MAKE[name](screen.ui))
        await screen.press(*(key for key in EVERYTHING if key not in OWN.get(name, "")))
        await screen.press("f2", "ctrl+l", "ctrl+q", "ctrl+z", "ctrl+c")
        assert screen.ui.screen is asked.dialog, "it is still open, and the only one"
        assert screen.ui.view is view
        assert view.list.cursor == cursor  # type: ignore[union-attr]
        assert not view.list.marks  # type: ignore[union-attr]
        assert not screen.ui.paused
        assert screen.ui.is_running
        await screen.press("escape")
        assert await asked.answered() is None, "Esc is no answer"
        assert len(screen.ui.screen_stack) == 1


@pytest.mark.parametrize("size", [(60, 16), (80, 24), (160, 48)])
async def test_they_fit_and_are_drawn_with_ascii_alone_where_asked(tmp_path: Path, size: tuple[int, int]) -> None:
    async with desk(tmp_path, size=size, taste=Taste(glyphs=Glyphs.ASCII)) as screen:
        for name, make in MAKE.items():
            asked = await ask(screen, make(screen.ui))
            await screen.pilot.pause()
            box = asked.dialog.box.region
            assert box.x >= 0 and box.y >= 0 and box.right <= size[0] and box.bottom <= size[1], name
            assert asked.dialog.FOOT.replace("·", "|") in screen.text() or size[0] == 60, name
            assert screen.text().isascii(), (name, [each for each in screen.text() if not each.isascii()])
            asked.dialog.dismiss(None)
            await asked.answered()


async def test_resizing_keeps_it_open_and_whole(tmp_path: Path) -> None:
    async with desk(tmp_path) as screen:
        asked = await ask(screen, MAKE["form"](screen.ui))
        await screen.type("Adr1")
        for size in ((160, 48), (60, 16), (80, 24)):
            await screen.pilot.resize_terminal(*size)
            await screen.shows("Adr1")
            box = asked.dialog.box.region
            assert box.right <= size[0] and box.bottom <= size[1], size
        assert not asked.over


# -- A menu ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("keys", "value"), [(["c"], "connect"), (["enter"], "connect"), (["j", "j", "enter"], "edit"),
                                             (["G", "k", "k", "enter"], "connect"), (["e"], "edit")])  # fmt: skip
async def test_a_menu_takes_a_key_or_the_cursor(tmp_path: Path, keys: list[str], value: str) -> None:
    async with desk(tmp_path) as screen:
        asked = await ask(screen, MAKE["menu"](screen.ui))
        await screen.press(*keys)
        assert await asked.answered() == value


@pytest.mark.parametrize("keys", [["t"], ["j", "enter"]])
async def test_what_cannot_be_done_now_says_why_and_the_menu_stays(tmp_path: Path, keys: list[str]) -> None:
    async with desk(tmp_path) as screen:
        asked = await ask(screen, MAKE["menu"](screen.ui))
        await screen.shows("Deactivate  (it is off already)")
        await screen.press(*keys)
        assert "│ it is off already" in screen.text(), "said once more, where the command stood"
        assert not asked.over


async def test_a_menu_shows_the_command_and_copies_it(tmp_path: Path) -> None:
    async with desk(tmp_path) as screen:
        asked = await ask(screen, MAKE["menu"](screen.ui))
        await screen.shows("postroom touchpoint connect x")
        await screen.press("Y")
        assert screen.ui.last_copied == "postroom touchpoint connect x"
        await screen.press("j", "j", "Y")
        assert screen.ui.last_copied == "postroom touchpoint connect x", "there is nothing to copy there"
        assert not asked.over


# -- Yes or no, and a name -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("key", "answer"), [("y", True), ("n", False), ("enter", False), ("escape", None)])
async def test_only_y_is_yes(tmp_path: Path, key: str, answer: bool | None) -> None:
    async with desk(tmp_path) as screen:
        asked = await ask(screen, MAKE["yes or no"](screen.ui))
        assert "retries 43 mails to 5 domains now" in screen.text()
        await screen.press("Y", "space", "1", "j")
        assert not asked.over
        await screen.press(key)
        assert await asked.answered() is answer


async def test_the_name_has_to_be_right(tmp_path: Path) -> None:
    async with desk(tmp_path) as screen:
        asked = await ask(screen, MAKE["a name to type"](screen.ui))
        told = {"": "type the name", "y": "'y' is not the name", "des": "'des' is not", "Desk": "it is desk"}
        for wrong, said in told.items():
            await screen.type(wrong)
            await screen.press("enter")
            await screen.shows(said)
            assert not asked.over, wrong
        await screen.type("desk")
        await screen.press("enter")
        assert await asked.answered() is True


# -- Forms -----------------------------------------------------------------------------------------------------------


async def test_a_form_is_filled_in_with_the_keyboard(tmp_path: Path) -> None:
    taken: list[dict[str, str]] = []

    async def take(values: dict[str, str]) -> dict[str, str] | None:
        taken.append(values)
        return None

    fields = [
        Field(name="address", label="Address", required=True),
        Field(name="way", label="Direction", choices=("both", "in", "out"), value="in"),
        Field(name="name", label="Name", value="Desk"),
    ]
    async with desk(tmp_path) as screen:
        asked = await ask(screen, Form(screen.ui, "new touchpoint", fields, take, intro="It is made inactive."))
        assert "It is made inactive." in screen.text()
        await screen.press("ctrl+s")
        await screen.shows("must be filled in")
        await screen.type("qQ1")
        await screen.press("enter", "right", "right", "down")
        await screen.press("end", "!", "up", "left", "shift+tab", "home", "x", "tab", "tab", "enter")
        expected = {"address": "xqQ1", "way": "out", "name": "Desk!"}
        assert await asked.answered() in (expected, expected | {"way": "in"})
        assert taken[-1] == asked.answer
        assert len(taken) == 1, "an empty field is not sent"


async def test_faults_stand_at_their_fields_and_what_was_typed_stays(tmp_path: Path) -> None:
    faults: list[dict[str, str] | Exception] = [{"b": "this name is taken"}, {"": "the daemon is busy"}]
    faults += [CallFailed(3, "you may not"), Unreachable("it is gone")]

    async def take(values: dict[str, str]) -> dict[str, str] | None:
        if not faults:
            return None
        fault = faults.pop(0)
        if isinstance(fault, Exception):
            raise fault
        return fault

    fields = [Field(name="a", label="Address"), Field(name="b", label="Name", hint="for people")]
    async with desk(tmp_path) as screen:
        asked = await ask(screen, Form(screen.ui, "new", fields, take))
        await screen.type("support")
        for said in ("this name is taken", "the daemon is busy", "you may not", "it is gone"):
            await screen.press("ctrl+s")
            await screen.shows(said)
            assert not asked.over
        assert "for people" in screen.text(), "what is right again has its hint again"
        await screen.press("ctrl+s")
        assert await asked.answered() == {"a": "support", "b": ""}


async def test_it_is_sent_once_however_often_one_presses(tmp_path: Path) -> None:
    taken, wait = [], asyncio.Event()

    async def take(values: dict[str, str]) -> None:
        taken.append(values)
        await wait.wait()

    async with desk(tmp_path) as screen:
        asked = await ask(screen, Form(screen.ui, "new", [Field(name="a", label="Address")], take))
        await screen.type("x")
        await screen.press("ctrl+s", "ctrl+s", "enter")
        await screen.shows("asking the daemon")
        wait.set()
        await asked.answered()
        assert len(taken) == 1


async def test_what_was_typed_is_a_draft(tmp_path: Path) -> None:
    fields = [Field(name="a", label="Address", value="support"), Field(name="b", label="Name")]
    async with desk(tmp_path) as screen:
        for typed, there in (("", "support"), ("@x", "support@x"), ("y", "support@xy")):
            asked = await ask(screen, Form(screen.ui, "new", fields, refuse, draft="new touchpoint"))
            await screen.type(typed)
            assert asked.dialog.values["a"] == there  # type: ignore[attr-defined]
            await screen.press("escape")
            await asked.answered()
        asked = await ask(screen, Form(screen.ui, "new", fields, refuse, draft="new touchpoint"))
        await screen.shows("this is the draft that was kept")
        await screen.press("escape")
        await screen.shows("Esc again throws this draft away")
        await screen.press("escape")
        await asked.answered()
        assert screen.ui.drafts.names() == []


# -- Picking, showing, going -----------------------------------------------------------------------------------------


async def test_one_is_picked_by_typing(tmp_path: Path) -> None:
    async with desk(tmp_path) as screen:
        asked = await ask(screen, MAKE["pick"](screen.ui))
        await screen.type("pre")
        await screen.hides("Front office")
        await screen.press("enter")
        assert await asked.answered() == [2]
        asked = await ask(screen, MAKE["pick"](screen.ui))
        await screen.type("zzz")
        await screen.press("enter")
        assert not asked.over, "nothing is there to be taken"


async def test_several_are_marked_and_a_filter_does_not_unmark_them(tmp_path: Path) -> None:
    async with desk(tmp_path) as screen:
        asked = await ask(screen, MAKE["pick several"](screen.ui))
        await screen.press("space")
        await screen.type("pre")
        await screen.press("space", "backspace", "backspace", "backspace", "enter")
        assert await asked.answered() == [1, 2]
        asked = await ask(screen, Pick(screen.ui, "queues", [(1, "a"), (2, "b")], several=True, marked=[2]))
        await screen.press("down", "space", "enter")
        assert await asked.answered() == [], "none is an answer, unlike Esc"


async def test_a_text_is_read_and_copied(tmp_path: Path) -> None:
    async with desk(tmp_path) as screen:
        text = "\n".join(f"line {number}" for number in range(100))
        asked = await ask(screen, Show(screen.ui, "the trail", text))
        await screen.press("G")
        await screen.shows("line 99")
        await screen.press("y")
        assert screen.ui.last_copied == text
        await screen.press("q")
        assert await asked.answered() is None


async def test_where_one_can_go_follows_what_is_typed(tmp_path: Path) -> None:
    async with desk(tmp_path) as screen:
        await screen.press(":")
        await screen.shows("Overview")
        await screen.type("press@")
        await screen.shows("touchpoint, connected")
        await screen.press(*["backspace"] * 6)
        await screen.type("17")
        await screen.shows("mail 17")
        await screen.press(*["backspace"] * 2)
        await screen.type("blo")
        await screen.press("enter")
        await until(lambda: screen.ui.screen_name == "blocklist", "the screen is shown")


async def test_the_help_does_what_it_shows(tmp_path: Path) -> None:
    async with desk(tmp_path) as screen:
        await screen.press("?")
        await screen.shows("type to search")
        await screen.type("pause")
        await screen.press("enter")
        await until(lambda: screen.ui.paused, "it is paused")


@pytest.mark.parametrize(
    ("text", "width", "shown"), [("パスワード", 20, "パスワード"), ("パスワード", 6, "パス…"), ("abc", 0, "…")]
)
def test_a_title_leaves_the_corners_alone(text: str, width: int, shown: str) -> None:
    assert fit_title(text, width) == shown


async def test_hostile_words_stay_words(tmp_path: Path) -> None:
    """Titles, questions, choices, fields and lists are drawn as text, with whatever markup they hold."""
    from gateway.text import safe_text

    bad = [safe_text(text, multiline=True) for text in texts()[27:120:12]]
    async with desk(tmp_path) as screen:
        for text in bad:
            for dialog in (
                Menu(screen.ui, text, [Choice(key="c", words=text, value=1, command=text, why_not=text)]),
                YesNo(screen.ui, text, text),
                TypeName(screen.ui, text, text, text or "x"),
                Form(screen.ui, text, [Field(name="a", label=text, value=text, hint=text)], refuse, intro=text),
                Pick(screen.ui, text, [(1, text)]),
                Show(screen.ui, text, text),
            ):
                asked = await ask(screen, dialog)
                assert screen.text()
                dialog.dismiss(None)
                await asked.answered()


async def test_who_may_not_sees_why_in_the_menu(tmp_path: Path) -> None:
    canned = Canned({GetStatus: status((touchpoint(),))}, roles=frozenset({Role.AUDIT}))
    async with served(canned, short(tmp_path)) as path, terminal(path, screen="replies") as screen:
        await screen.quiet()
        await screen.press("a")
        await screen.shows("(not with your roles (audit)")


async def test_a_dialog_answers_once_and_never_closes_what_lies_below_it(tmp_path: Path) -> None:
    async with desk(tmp_path) as screen:
        below = Show(screen.ui, "below", "a text")
        screen.ui.push_screen(below)
        over = YesNo(screen.ui, "over", "well?")
        asked: list[bool | None] = []
        screen.ui.push_screen(over, asked.append)
        await until(lambda: over.ready, "both are open")
        over.dismiss(True)
        over.dismiss(False)
        await screen.pilot.pause()
        assert asked == [True]
        assert screen.ui.screen is below
        below.dismiss(None)
        below.dismiss(None)
        await screen.pilot.pause()
        assert screen.ui.screen is screen.ui.desk
        assert screen.ui._exception is None


async def test_a_form_that_is_left_while_the_daemon_is_asked_says_that_it_may_still_happen(tmp_path: Path) -> None:
    gate = asyncio.Event()

    async def submit(values: dict[str, str]) -> None:
        await gate.wait()

    async with desk(tmp_path) as screen:
        form = Form(screen.ui, "new", [Field(name="a", label="A", value="1")], submit)
        asked = await ask(screen, form)
        await screen.press("ctrl+s")
        await screen.shows("asking the daemon ...")
        gate.set()
        form.close_form()  # in the same moment as the answer
        assert await asked.answered() is None
        await screen.shows("the daemon was asked already, and may still do it")
        assert screen.ui.screen is screen.ui.desk


async def test_the_draft_of_an_edit_holds_what_was_changed_and_nothing_that_is_another_by_now(tmp_path: Path) -> None:
    def form(screen: Terminal, name: str, aliases: str) -> Form:
        fields = [
            Field(name="name", label="Name", value=name), Field(name="aliases", label="Aliases", value=aliases),
            Field(name="signs", label="Signs", choices=("no", "yes")),
        ]  # fmt: skip
        return Form(screen.ui, "edit", fields, refuse, draft="edit.1", edits=True)

    async with desk(tmp_path) as screen:
        asked = await ask(screen, form(screen, "Support", "help@acme.example"))
        await screen.type("2")
        await screen.press("escape")
        await asked.answered()
        again = form(screen, "Support desk", "help@acme.example hilfe@acme.example")
        await ask(screen, again)
        assert again.values == {"name": "Support2", "aliases": "help@acme.example hilfe@acme.example", "signs": "no"}
        await screen.press("escape", "escape")


@pytest.mark.parametrize("name", MAKE)
async def test_the_way_out_is_open_over_every_dialog(tmp_path: Path, name: str) -> None:
    async with desk(tmp_path) as screen:
        await ask(screen, MAKE[name](screen.ui))
        await screen.press("ctrl+c")
        await screen.shows("^c again leaves")
        assert not screen.ui._exit
        await screen.press("ctrl+c")
        await until(lambda: screen.ui._exit, "it ends")


async def test_the_way_out_is_open_while_a_filter_is_typed(tmp_path: Path) -> None:
    async with desk(tmp_path) as screen:
        await screen.press("/", "a", "ctrl+c", "ctrl+c")
        await until(lambda: screen.ui._exit, "it ends")


async def test_who_leaves_over_a_form_finds_what_was_typed_again(tmp_path: Path) -> None:
    async with desk(tmp_path) as screen:
        await ask(screen, Form(screen.ui, "new", [Field(name="a", label="Address")], refuse, draft="touchpoint.new"))
        await screen.type("sales")
        await screen.press("ctrl+c")
        assert screen.ui.drafts.read("touchpoint.new") == {"a": "sales"}


async def test_a_draft_is_gone_on_with_in_every_field(tmp_path: Path) -> None:
    fields = [Field(name="a", label="Address"), Field(name="b", label="Name")]
    async with desk(tmp_path) as screen:
        screen.ui.drafts.write("new touchpoint", {"a": "one", "b": "two"})
        form = Form(screen.ui, "new", fields, refuse, draft="new touchpoint")
        await ask(screen, form)
        await screen.press("1", "tab", "2", "tab", "3")
        assert form.values == {"a": "one13", "b": "two2"}, "nothing is selected, and so wiped, by going into a field"
