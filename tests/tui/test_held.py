"""Held and failed mail: why, what helps; letting it go on, giving it up, reading it raw, taking it out as a file."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from gateway.client import Unreachable
from gateway.control import (
    Batch,
    Chunk,
    DropMail,
    Event,
    ListMail,
    MailRow,
    Page,
    ReadContent,
    ReleaseMail,
    RetryMail,
    ShowMail,
)
from pipeline.errors import Refused
from pipeline.verdict import HoldCause
from tests.tui.canned import NOW, until
from tests.tui.mail_desk import AGENT, MailDesk, at, attempt, detail, held, outgoing
from tui.picture import MOST_MAIL
from tui.views.mail_acts import readable
from tui.views.story import CAUSES


def desk_of(*mails: Any) -> MailDesk:
    return MailDesk(mails or (held(1), held(2, "stage-failed", reason="stage ring_group failed:\nTraceback: boom")))


def test_every_cause_of_a_hold_has_its_words() -> None:
    assert CAUSES.keys() == {cause.value for cause in HoldCause}
    assert all(meaning and helps for meaning, helps in CAUSES.values())


async def test_a_held_mail_says_why_and_what_helps(tmp_path: Path) -> None:
    async with at(desk_of(), tmp_path, "held") as (shown, canned):
        await shown.shows("2 loaded")
        assert canned.asked(ListMail)[0].state == "held"
        await shown.shows("It is held because stage ring_group failed (stage blocklist).")
        await shown.shows("Repair the stage, then release")
        await shown.press("j")
        await shown.shows("It is held because sender buyer1@shop.example is on the blocklist")
        await shown.shows("Release lets this one mail go on")


async def test_what_expires_says_so_beforehand(tmp_path: Path) -> None:
    async with at(desk_of(held(1, expires_at=NOW + 3 * 86400 + 10)), tmp_path, "held") as (shown, _):
        await shown.shows("Unless somebody releases it, it is given up in 3 d.")


async def test_what_is_being_fetched_for_a_release_says_so(tmp_path: Path) -> None:
    row = held(1, "oversize", reason="being fetched: the server said: later")
    answers = {ShowMail: detail(row, released_by="ops")}
    async with at(desk_of(row), tmp_path, "held", answers) as (shown, _):
        await shown.shows("ops released it, and its content is being fetched: the server said: later.")


async def test_the_last_words_of_the_server_stand_beside_a_failed_mail(tmp_path: Path) -> None:
    row = outgoing(7, state="failed", reason="550 5.1.1 no such user")
    tries = (attempt(code=550, text="5.1.1 no such user", outcome="refused"),)
    async with at(desk_of(held(1), row), tmp_path, "held", {ShowMail: detail(row, attempts=tries)}) as (shown, canned):
        await shown.press("c")
        await shown.shows("It was not delivered: 550 5.1.1 no such user.")
        await shown.shows("smtp.acme.example:465")
        assert canned.asked(ListMail)[-1].state == "failed"
        await shown.press("r")
        await shown.shows("Tries mail 7 to buyer@shop.example now.")
        await shown.press("y")
        await shown.shows("mail 7: to be tried now")
        assert [call.id for call in canned.asked(RetryMail)] == [7]
        await shown.press("c")
        await shown.shows("nothing is set aside")
        assert canned.asked(ListMail)[-1].state == "unknown"
        await shown.press("c")
        await shown.shows("Offer 1")


async def test_causes_are_filtered_by_the_daemon(tmp_path: Path) -> None:
    async with at(desk_of(), tmp_path, "held") as (shown, canned):
        await shown.press("/")
        shown.ui.desk.prompt.value = "cause:blocked"
        await shown.press("enter")
        await shown.hides("Offer 2")
        await until(lambda: canned.asked(ListMail)[-1].cause == "blocked", "the daemon filters")
        assert "Offer 1" in shown.text()


async def test_a_release_is_asked_for_and_the_mail_leaves_the_list(tmp_path: Path) -> None:
    async with at(desk_of(), tmp_path, "held") as (shown, canned):
        await shown.press("u")
        await shown.shows("Lets mail 2 go on.")
        await shown.press("y")
        await shown.shows("mail 2: released")
        await shown.hides("Offer 2")
        assert [call.id for call in canned.asked(ReleaseMail)] == [2]


async def test_a_daemon_that_refuses_is_quoted(tmp_path: Path) -> None:
    desk = desk_of()
    desk.refuses.add(2)
    async with at(desk, tmp_path, "held") as (shown, _):
        await shown.press("u")
        await shown.shows("Lets mail 2 go on.")
        await shown.press("y")
        await shown.shows("mail 2 is held (in)")


async def test_a_drop_takes_the_number_of_the_mail_typed(tmp_path: Path) -> None:
    async with at(desk_of(), tmp_path, "held") as (shown, canned):
        await shown.press("x")
        await shown.shows("type 2 to do it")
        await shown.type("1")
        await shown.press("enter")
        assert not canned.asked(DropMail)
        await shown.type("2")
        await shown.press("enter")
        await shown.shows("mail 2: given up")
        assert [call.id for call in canned.asked(DropMail)] == [2]


async def test_agents_are_told_why_they_see_nothing(tmp_path: Path) -> None:
    async with at(desk_of(held(1, state="none")), tmp_path, "held", roles=AGENT) as (shown, _):
        await shown.shows("with your roles you see the mail of the queues only")


# -- Raw -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "cut", "words"),
    [
        (b"Subject: x\r\n\r\nbody\tend\r\n", False, "Subject: x\n\nbody\tend\n"),
        ("grüße".encode(), False, "grüße"),
        ("grüße".encode()[:4], True, "grü"),  # cut within a character, which waits for the rest of it
        (b"gr\xfc\xdfe", False, "grüße"),  # Latin-1
        (b"\x1b]52;c;aGk=\x07", False, "\\x1b]52;c;aGk=\\x07"),
        ("a\u202eb\u200bc".encode(), False, "a\\u202eb\\u200bc"),
        (b"lone\rreturn", False, "lone\\x0dreturn"),
        (b"", False, ""),
    ],
)
def test_raw_bytes_are_readable_and_can_do_nothing(data: bytes, cut: bool, words: str) -> None:
    assert readable(data, cut=cut) == words


async def test_the_raw_view_says_when_it_is_not_all(tmp_path: Path) -> None:
    desk = desk_of()
    desk.content = b"Subject: \x1b[31mred\r\n\r\n" + b"x" * 400_000
    async with at(desk, tmp_path, "held") as (shown, canned):
        await shown.press("v")
        await shown.shows("mail 2 as it is, 400 kB")
        await shown.shows("-- the first 262 kB of 400 kB; E writes all of it to a file --")
        await shown.shows("Subject: \\x1b[31mred")
        assert [(call.id, call.offset) for call in canned.asked(ReadContent)] == [(2, 0)]


# -- Export --------------------------------------------------------------------------------------------------------


async def _export(shown: Any, path: Path) -> None:
    await shown.press("E")
    await shown.shows("export mail 2")
    shown.ui.screen.inputs["path"].value = str(path)
    await shown.press("enter")


async def test_an_export_is_byte_for_byte_and_for_its_owner_only(tmp_path: Path) -> None:
    desk, path = desk_of(), tmp_path / "2.eml"
    desk.content = os.urandom(600_000)
    async with at(desk, tmp_path, "held") as (shown, canned):
        await _export(shown, path)
        await shown.shows(f"mail 2 is in {path}"[:40])
        assert path.read_bytes() == desk.content
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert [call.offset for call in canned.asked(ReadContent)] == [0, 262_144, 524_288]


async def test_an_export_never_writes_over_a_file_and_keeps_its_form_open(tmp_path: Path) -> None:
    path = tmp_path / "there.eml"
    path.write_text("mine")
    async with at(desk_of(), tmp_path, "held") as (shown, canned):
        await _export(shown, path)
        await shown.shows("is there already" if len(str(path)) < 25 else str(path)[:30])
        assert path.read_text() == "mine"
        assert not canned.asked(ReadContent)
        shown.ui.screen.inputs["path"].value = str(tmp_path / "no" / "such" / "folder.eml")
        await shown.press("enter")
        await shown.shows("cannot be made: No such file or directory")
        shown.ui.screen.inputs["path"].value = str(tmp_path / "new.eml")
        await shown.press("enter")
        await until(lambda: (tmp_path / "new.eml").exists(), "it is written")


@pytest.mark.parametrize("why", [Unreachable("the daemon went away"), Refused("there is no such mail any more")])
async def test_an_export_that_breaks_leaves_no_half_a_mail(tmp_path: Path, why: Exception) -> None:
    desk, path = desk_of(), tmp_path / "2.eml"
    desk.content = b"x" * 600_000

    def content(call: ReadContent) -> Any:
        if call.offset:
            raise Refused(str(why))
        return Chunk(data=desk.content[: call.length], size=len(desk.content))

    async with at(desk, tmp_path, "held", {ReadContent: content}) as (shown, _):
        if isinstance(why, Unreachable):
            shown.ui.link.call = _gone_after_first(shown.ui.link.call, why)
        await _export(shown, path)
        await shown.shows(f"mail 2 was not exported: {why}")
        assert not path.exists()


def _gone_after_first(call: Any, why: Exception) -> Any:
    async def made(asked: Any) -> Any:
        if isinstance(asked, ReadContent) and asked.offset:
            raise why
        return await call(asked)

    return made


async def test_a_filter_that_is_typed_while_the_next_window_comes_is_asked_for_after_it(tmp_path: Path) -> None:
    gate = asyncio.Event()

    async def window(call: ListMail) -> Page[MailRow]:
        if call.after:
            await gate.wait()
        top = (call.after or 601) - 1
        rows = tuple(held(number) for number in range(top, max(top - call.limit, 0), -1))
        rows = tuple(row for row in rows if call.subject in row.subject)
        return Page(rows=rows, next=top - call.limit + 1 if top > call.limit else 0)

    async with at(desk_of(), tmp_path, "held", {ListMail: window}) as (shown, canned):
        await shown.shows("200 and more loaded")
        await shown.press("G")
        await until(lambda: canned.asked(ListMail)[-1].after, "the next window is asked for")
        await shown.press("/", *"600", "enter")
        gate.set()
        await shown.shows("1 and more loaded")
        assert "Offer 600" in shown.text()


async def test_a_list_that_was_not_looked_at_for_long_is_read_anew_to_its_end(tmp_path: Path) -> None:
    rows = {number: held(number) for number in range(1, 401)}

    def window(call: ListMail) -> Page[MailRow]:
        found = [rows[number] for number in sorted(rows, reverse=True) if not call.after or number < call.after]
        more = len(found) > call.limit
        return Page(rows=tuple(found[: call.limit]), next=found[call.limit - 1].id if more else 0)

    async with at(desk_of(), tmp_path, "held", {ListMail: window}) as (shown, _):
        await shown.press("G")
        await shown.shows("400 loaded")
        await shown.press("1")
        picture = shown.ui.picture
        for number in (7, *range(1_000, 1_001 + MOST_MAIL)):  # more than the picture remembers
            row = held(number, state="dropped")
            picture.take(Batch(boot="boot", number=9, events=(Event(what="mail.changed", mail=row),)), shown.ui.now())
        del rows[7]
        assert 7 not in picture.changed_mail
        await shown.press("5")
        await shown.shows("399 loaded")
