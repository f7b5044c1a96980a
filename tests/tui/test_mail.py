"""A mail's page: why it is here in one sentence, and all that happened to it; and the answers to "why?"."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from gateway.control import (
    AuditRow,
    Change,
    Finding,
    LedgerRow,
    ListAudit,
    MailDetail,
    MailRow,
    Page,
    ReadText,
    ReleaseMail,
    Replayed,
    ReplayMail,
    ReplayRow,
    Role,
    ShowMail,
    Step,
    Walk,
    Why,
    WhyAnswer,
)
from pipeline.errors import Refused
from tests.tui.canned import NOW, mail, touchpoint, until
from tests.tui.mail_desk import AGENT, MailDesk, at, attempt, detail, held, letter, outgoing
from tui.everywhere import DAY, day_of, show_why
from tui.lines import folded
from tui.views.mail import MOST_TEXT, MailPage
from tui.views.story import because, walk_lines

PRESS = touchpoint(2, "press@acme.example", state="lost", cause="credential")


def item(state: str = "pending", **more: Any) -> LedgerRow:
    """What a server showed."""
    values: dict[str, Any] = {
        "touchpoint": "support@acme.example", "folder": "INBOX", "epoch": 4, "remote_id": 77, "state": state,
        "entry_id": 0, "internaldate": NOW - 90, "size": 900, "message_id": "<m@shop.example>", "mark_due": "",
        "attempts": 3, "due_at": NOW + 60, "error": "FETCH: connection reset", "seen_at": NOW - 80,
    }  # fmt: skip
    return LedgerRow(**(values | more))


@pytest.mark.parametrize(
    ("row", "more", "words"),
    [
        (mail(1), {}, "It is in the queue of Front office: assigned to 1 ring group (stage ring_group)."),
        (mail(1, queues=()), {}, "It is in no queue: assigned to 1 ring group (stage ring_group)."),
        (mail(1), {"released_by": "ops"}, "(stage ring_group). ops released it."),
        (mail(1, state="closed"), {}, "Somebody dealt with it; it was in the queue of Front office."),
        (mail(1, state="stopped", reason="it is our own mail"), {}, "Nobody has to see it: it is our own mail."),
        (mail(1, state="waiting", due_at=NOW + 240, reason="too busy"), {},
         "It is not decided yet; it walks its line in 4 m: too busy."),
        (held(1), {},
         "It is held because sender buyer1@shop.example is on the blocklist: @shop.example (stage blocklist)."),
        (held(1, "poison", reason=""), {}, "It is held, and no reason was given."),
        (held(1, "by-person", reason="held by ops"), {}, "It is held by ops."),
        (held(1, "by-person", reason="ask the shop"), {}, "It is held by a person: ask the shop."),
        (held(1, "stage-failed", reason="stage x failed:\nTraceback\n"), {"walks": ()},
         "It is held because stage x failed."),
        (outgoing(1, attempts=0, due_at=0.0), {}, "It is about to be sent."),
        (outgoing(1), {"attempts": (attempt(),)},
         "It is tried again in 5 m; the server said: 421 4.7.0 try again later."),
        (outgoing(1, state="parked", touchpoint="press@acme.example"), {},
         "It waits for press@acme.example, which is LOST (credential). Waiting costs it nothing."),
        (outgoing(1, state="active"), {}, "It is being handed over right now."),
        (outgoing(1, state="unknown"), {}, "It was handed over and the answer never came."),
        (outgoing(1, state="failed", reason="550 no such user"), {}, "It was not delivered: 550 no such user."),
        (outgoing(1, state="delivered", settled_at=NOW - 600), {}, "It was delivered 10 m ago."),
        (outgoing(1, state="dropped"), {}, "Somebody gave it up; its content is kept."),
        (mail(1, state="of a later version"), {}, "It is of a later version."),
    ],
)  # fmt: skip
def test_why_a_mail_is_here_is_one_sentence(row: MailRow, more: dict[str, Any], words: str) -> None:
    assert words in because(detail(row, **more), NOW, PRESS)[0]


def test_a_walk_shows_each_stage_with_its_verdict_and_every_line_of_its_reason() -> None:
    steps = (Step(stage="ingest", action="pass", reason="a person"), Step(stage="x", action="hold", reason="a\nb"))
    lines = walk_lines(Walk(at=NOW, config_version=3, steps=steps), 60)
    texts = ["".join(text for text, _ in each).rstrip() for each in lines]
    assert texts[0].endswith("version 3 of the touchpoint")
    assert texts[1:] == ["  ingest pass   a person", "  x      hold   a", " " * 16 + "b"]


def page(shown: Any) -> MailPage:
    view = shown.ui.view
    assert isinstance(view, MailPage)
    return view


async def opened(shown: Any, number: int) -> MailPage:
    await shown.ui.open(MailPage(shown.ui, number))
    await shown.quiet()
    return page(shown)


def whole(view: MailPage) -> str:
    """All of the page, beyond the screen too."""
    return view.pager.text


async def test_the_page_tells_the_whole_story_in_order(tmp_path: Path) -> None:
    row = outgoing(7, state="held", cause="unknown-outcome", reason="not found in Sent", recipient_count=1)
    made = detail(
        row, attempts=(attempt(),), related=(mail(3, "the one before"),), ledger=(item("taken", error="", due_at=0.0),),
        envelope_sender="",
    )  # fmt: skip
    audited = AuditRow(
        id=1, at=NOW - 50, actor="ops", uid=1, role="ops", verb="mail.hold", subject="mail 7", detail="{}"
    )
    answers = {ShowMail: made, ListAudit: Page(rows=(audited,))}
    async with at(MailDesk([row]), tmp_path, "held", answers) as (shown, canned):
        text = whole(await opened(shown, 7))
        order = [
            "It is held because not found in Sent", "Release sends it again, so that it may arrive twice",
            "state      held unknown-outcome, goes out (relay), 4.7 kB", "envelope   <> (the null sender)",
            "subject    Re: invoice 4711 overdue", "message-id <m7@shop.example>",
            "I paid on the 3rd.", "> quoted words",
            "attached   payment.pdf application/pdf 84 kB", "recipients", "buyer@shop.example  waiting",
            "tried, the newest first", "421 4.7.0 try again later", "its way through the line", "what people did",
            "ops  hold", "on the server", "INBOX uid 77 (epoch 4): taken", "conversation 7", "the one before",
            "4 headers: H shows them",
        ]  # fmt: skip
        places = [text.find(words) for words in order]
        assert -1 not in places, order[places.index(-1)]
        assert places == sorted(places)
        assert canned.asked(ListAudit)[0].subject == "mail 7"


async def test_h_shows_all_headers_and_t_all_of_a_long_text(tmp_path: Path) -> None:
    long = "\n".join(f"line {number}" for number in range(100))
    async with at(MailDesk([held(1)]), tmp_path, "held", {ReadText: lambda call: letter(call.id, long)}) as (shown, _):
        view = await opened(shown, 1)
        assert f"line {MOST_TEXT - 1}" in whole(view)
        assert "line 99" not in whole(view)
        assert "X-Spam-Score" not in whole(view)
        await shown.press("t")
        assert "line 99" in whole(view)
        await shown.press("H")
        await shown.shows("X-Spam-Score: 0.1")
        await shown.press("H")
        await shown.hides("X-Spam-Score: 0.1")


async def test_the_page_follows_its_own_mail_and_no_other(tmp_path: Path) -> None:
    desk = MailDesk([held(1), held(2)])
    async with at(desk, tmp_path, "held") as (shown, canned):
        await opened(shown, 1)
        await shown.shows("MAIL 1  held")
        asked = len(canned.asked(ShowMail))
        desk.changed(canned, 2, state="dropped")
        await until(lambda: 2 in shown.ui.picture.changed_mail, "told of the other")
        shown.ui.tick()
        await shown.quiet()
        assert len(canned.asked(ShowMail)) == asked
        desk.changed(canned, 1, state="waiting")
        await shown.shows("MAIL 1  waiting")
        assert len(canned.asked(ReadText)) == 1, "the content of a mail never changes"


async def test_acts_work_on_the_page_and_it_shows_what_came_of_them(tmp_path: Path) -> None:
    async with at(MailDesk([held(1)]), tmp_path, "held") as (shown, canned):
        await opened(shown, 1)
        await shown.press("r")
        await shown.shows("only outgoing mail is retried")
        await shown.press("u")
        await shown.shows("Lets mail 1 go on.")
        await shown.press("y")
        await shown.shows("mail 1: released")
        await shown.shows("MAIL 1  waiting")
        assert [call.id for call in canned.asked(ReleaseMail)] == [1]


async def test_o_opens_a_mail_of_the_same_conversation(tmp_path: Path) -> None:
    desk = MailDesk([held(1), mail(3, "the one before")])

    def show(call: ShowMail) -> MailDetail:
        return detail(desk.mails[call.id], related=(desk.mails[3],) if call.id == 1 else ())

    async with at(desk, tmp_path, "held", {ShowMail: show}) as (shown, _):
        await opened(shown, 1)
        await shown.press("o")
        await shown.shows("mail of the same conversation")
        await shown.press("enter")
        await shown.shows("MAIL 3  queued")
        await shown.press("enter")
        await shown.shows("it is alone in its conversation")
        await shown.press("escape")
        await shown.shows("MAIL 1  held")


async def test_a_mail_that_is_not_there_says_so(tmp_path: Path) -> None:
    async with at(MailDesk(), tmp_path, "held") as (shown, _):
        await opened(shown, 99)
        await shown.shows("there is no mail 99; see: postroom spool list")
        await shown.press("x")
        await shown.shows("there is no row under the cursor")


async def test_a_mail_without_content_still_has_its_page(tmp_path: Path) -> None:
    texts = {ReadText: Refused("mail 1 has no content: it could not be fetched")}
    async with at(MailDesk([held(1, "oversize")]), tmp_path, "held", texts) as (shown, _):
        await opened(shown, 1)
        await shown.shows("mail 1 has no content")
        await shown.shows("from       buyer1@shop.example")


async def test_the_page_of_an_agent_asks_for_nothing_it_may_not_have(tmp_path: Path) -> None:
    async with at(MailDesk([mail(1)]), tmp_path, "queues", roles=AGENT) as (shown, canned):
        await opened(shown, 1)
        await shown.shows("MAIL 1  queued")
        assert not canned.asked(ListAudit)


HOSTILE = "\x1b]52;c;aGk=\x07 [@click=app.quit]x[/] \u202egpj.exe \x9b31m\n"


async def test_hostile_words_of_mail_and_servers_are_shown_and_not_obeyed(tmp_path: Path) -> None:
    words = {"subject": HOSTILE, "reason": HOSTILE, "cause": HOSTILE, "message_id": HOSTILE}
    row = replace(outgoing(7, HOSTILE, state="held"), **words)
    steps = (Step(stage=HOSTILE, action=HOSTILE, reason=HOSTILE),)
    made = detail(
        row, attempts=(attempt(text=HOSTILE, server=HOSTILE, outcome=HOSTILE),),
        related=(mail(3, HOSTILE, author=HOSTILE),),
        ledger=(item(HOSTILE, folder=HOSTILE, error=HOSTILE),), walks=(Walk(at=1e300, config_version=1, steps=steps),),
        released_by=HOSTILE, envelope_sender=HOSTILE,
    )  # fmt: skip
    answers = {ShowMail: made, ReadText: lambda call: letter(call.id, HOSTILE * 9), Why: answer(mails=(made,))}
    async with at(MailDesk([row]), tmp_path, "held", answers) as (shown, _):
        for open_it in (lambda: opened(shown, 7), lambda: show_why(shown.ui, Why(id=7))):
            await open_it()
            await shown.shows("[@click=app.quit]x[/]")
            for keys in ((), ("pagedown",), ("G",), ("a",)):
                await shown.press(*keys)
                assert shown.text().replace("\n", "").isprintable()
                assert "\u202e" not in shown.text()
            await shown.press("escape")


@pytest.mark.parametrize("word", ["a" * 70_000, "日" * 70_000, "e\u0301" * 70_000, " " * 70_000])
def test_a_mail_that_is_one_endless_word_is_folded_all_the_same(word: str) -> None:
    lines = folded(f"so: {word}", 78)
    assert all(cell_len(each) <= 78 for each in lines)
    assert "".join(lines).replace(" ", "") == f"so:{word}".replace(" ", "")


# -- Why -----------------------------------------------------------------------------------------------------------


def answer(**more: Any) -> WhyAnswer:
    values: dict[str, Any] = {
        "mails": (detail(held(200)), detail(outgoing(102), attempts=(attempt(),))),
        "items": (item(),), "more": False,
    }  # fmt: skip
    return WhyAnswer(**(values | more))


async def test_why_answers_with_mails_and_with_what_is_on_the_server_only(tmp_path: Path) -> None:
    desk = MailDesk([held(200)])
    async with at(desk, tmp_path, "held", {Why: answer()}) as (shown, canned):
        await show_why(shown.ui, Why(author="buyer@shop.example", subject="offer"))
        await shown.shows("WHY  2 mails · 1 on the server only  buyer@shop.example offer")
        assert canned.asked(Why) == [Why(author="buyer@shop.example", subject="offer")]
        await shown.shows("It is held because sender buyer200@shop.example")
        assert shown.ui.view.command() == "postroom why buyer@shop.example --subject offer"
        await shown.press("G")
        await shown.shows("could not be fetched yet; it is asked for again")
        await shown.shows("FETCH: connection reset")
        await shown.press("enter")
        await shown.shows("there is no mail of it here")
        await shown.press("g", "enter")
        await shown.shows("MAIL 200  held")


async def test_why_shows_what_the_daemon_found_out_and_what_helps(tmp_path: Path) -> None:
    """One story of a mail; and mail that never came, of which no row is a mail."""
    of_mail = Finding(
        kind="held", words="It is held: blocked by entry 12.", command="postroom spool release 200", mail=200
    )
    never = Finding(
        kind="not-watched", words=f"It is in {HOSTILE} of support@acme.example.", command="postroom settings show",
        touchpoint="support@acme.example", since=NOW - 3600,
    )  # fmt: skip
    answers = {Why: answer(mails=(detail(held(200)),), items=(), findings=(of_mail, never))}
    async with at(MailDesk([held(200)]), tmp_path, "held", answers) as (shown, _):
        await show_why(shown.ui, Why(what="buyer@shop.example"))
        await shown.shows("It is held: blocked by entry 12.")
        await shown.shows("postroom spool release 200")
        assert shown.ui.view.command() == "postroom why buyer@shop.example"
        await shown.press("G")
        await shown.shows("not-watched")
        await shown.shows("postroom settings show")
        assert shown.text().replace("\n", "").isprintable()
        await shown.press("enter")
        await shown.shows("there is no mail of it here")


async def test_servers_are_asked_once_and_what_they_said_stays(tmp_path: Path) -> None:
    never = Finding(kind="not-there", words="It is in no folder of a@b.example.", command="")
    answers = {Why: lambda call: answer(mails=(), items=(), findings=() if call.servers else (never,))}
    async with at(MailDesk(), tmp_path, "held", answers) as (shown, canned):
        await show_why(shown.ui, Why(what="<x@b.example>"))
        await shown.shows("It is in no folder of a@b.example.")
        shown.ui.view.reload()
        await until(lambda: len(canned.asked(Why)) == 2, "it is asked again")
        assert [call.servers for call in canned.asked(Why)] == ["", "never"]
        await shown.shows("It is in no folder of a@b.example.")
        canned.answers[Why] = answer()
        shown.ui.view.reload()
        await shown.shows("WHY  2 mails")


async def test_why_lists_all_candidates_and_opens_any_of_them(tmp_path: Path) -> None:
    rows = tuple(held(number) for number in (9, 8, 7))
    answers = {Why: answer(mails=(detail(rows[0]),), items=(), candidates=rows), ShowMail: detail(rows[2])}
    async with at(MailDesk(rows), tmp_path, "held", answers) as (shown, _):
        await show_why(shown.ui, Why(what="offer"))
        await shown.shows("WHY  3 mails  offer")
        await shown.press("G")
        await shown.shows("Enter shows what became of it.")
        await shown.press("enter")
        await shown.shows("MAIL 7  held")


async def test_a_mail_is_asked_for_by_words_of_its_subject_and_a_day(tmp_path: Path) -> None:
    async with at(MailDesk(), tmp_path, "held", {Why: answer()}) as (shown, canned):
        await shown.press("W")
        await shown.shows("what became of a mail?")
        await shown.press("tab", "tab", *"invoice", "tab", *"2026-11-31", "ctrl+s")
        await shown.shows("not a day such as 2026-11-20")
        await shown.press("backspace", "backspace", *"20", "ctrl+s")
        await shown.shows("WHY  2 mails")
        (asked,) = canned.asked(Why)
        assert asked == Why(subject="invoice", since=day_of("2026-11-20"), until=day_of("2026-11-20") + DAY)
        assert shown.ui.view.command() == ("postroom why invoice --since 2026-11-20T00:00 --until 2026-11-21T00:00")


# -- Replay --------------------------------------------------------------------------------------------------------


def replayed(number: int, *changes: Change, **more: Any) -> ReplayRow:
    values: dict[str, Any] = {
        "touchpoint": "support@acme.example", "direction": "in", "author": "", "subject": "", "walked_at": NOW,
        "version_then": 3, "version_now": 5,
    }  # fmt: skip
    return ReplayRow(id=number, changes=changes, **(values | more))


async def test_a_replay_shows_what_is_decided_otherwise_as_a_table(tmp_path: Path) -> None:
    rows = {
        1: replayed(1, Change(what="queues", then="Front office", now=HOSTILE), depends_on_memory=True),
        2: replayed(2),
        3: replayed(3, skipped="it has no content: it was never fetched"),
    }

    def walk(call: ReplayMail) -> Replayed:
        row = rows[call.id]
        return Replayed(rows=(row,), walked=1, differ=len(row.changes), skipped=int(bool(row.skipped)))

    async with at(MailDesk([held(each) for each in rows]), tmp_path, "held", {ReplayMail: walk}) as (shown, canned):
        await shown.shows("3 loaded")
        await shown.press("*", "L")
        await shown.shows("1 of 3 mails decided otherwise")
        await shown.shows("(settings 3 -> 5, depends on memory)")
        await shown.shows("then  Front office")
        await shown.shows("mail 3: not walked, since it has no content")
        await shown.shows("mail 2 is decided as then.")
        assert shown.text().replace("\n", "").isprintable()
        assert sorted(call.id for call in canned.asked(ReplayMail)) == [1, 2, 3]


async def test_mail_that_postroom_wrote_is_not_replayed(tmp_path: Path) -> None:
    async with at(MailDesk([held(1, origin="notice")]), tmp_path, "held") as (shown, canned):
        await shown.press("L")
        await shown.shows("Postroom wrote it itself: it walks no line")
        assert not canned.asked(ReplayMail)


async def test_why_says_when_nothing_was_ever_seen(tmp_path: Path) -> None:
    async with at(MailDesk(), tmp_path, "held", {Why: answer(mails=(), items=())}) as (shown, _):
        await show_why(shown.ui, Why(message_id="<x@shop.example>"))
        await shown.shows("no such mail was ever seen here")


async def test_why_quotes_a_daemon_that_refuses_and_says_when_there_is_more(tmp_path: Path) -> None:
    async with at(MailDesk(), tmp_path, "held", {Why: Refused("say which mail")}) as (shown, canned):
        await show_why(shown.ui, Why(subject="offer"))
        await shown.shows("say which mail")
        canned.answers[Why] = answer(more=True)
        shown.ui.view.reload()
        await shown.shows("2 mails and more: ask more narrowly")


@pytest.mark.parametrize("role", [Role.AGENT])
async def test_why_is_not_for_agents(tmp_path: Path, role: Role) -> None:
    async with at(MailDesk(), tmp_path, "queues", roles=frozenset({role})) as (shown, canned):
        await shown.press("W")
        await shown.shows("not with your roles (agent)")
        assert not canned.asked(Why)


async def test_a_page_is_read_anew_after_events_that_were_not_told(tmp_path: Path) -> None:
    async with at(MailDesk((held(1),)), tmp_path, "held") as (shown, canned):
        await shown.press("enter")
        await shown.shows("It is held because")
        canned.answers[ShowMail] = detail(held(1, state="dropped"))
        shown.ui.picture.gaps += 1  # the daemon was too busy to tell row by row, and this mail was among them
        await shown.shows("Somebody gave it up")
