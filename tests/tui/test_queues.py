"""Queues: what waits where, its text beside it, and moves, blocks and closes that can be taken back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.control import (
    Block,
    CloseMail,
    CreateRingGroup,
    DeleteRingGroup,
    Done,
    GetStatus,
    HoldMail,
    ListMail,
    MailRow,
    MoveMail,
    ReadText,
    ReopenMail,
    Unblock,
)
from pipeline.errors import Refused
from tests.tui.canned import NOW, mail, need, status, touchpoint, until
from tests.tui.mail_desk import AGENT, MailDesk, at, letter, ring_group
from tui.views.queues import QueuePage

GROUPS = (
    ring_group(1, "Front office", touchpoints=("support@acme.example",), open=3, oldest_at=NOW - 7_800),
    ring_group(2, "Sales desk", open=1, oldest_at=NOW - 60),
    ring_group(3, "Night"),
)


def desk_of(*mails: MailRow) -> MailDesk:
    return MailDesk(mails or (mail(1), mail(2, "Where is my order?"), mail(3, "Lamp")), GROUPS)


def page(shown: Any) -> QueuePage:
    view = shown.ui.view
    assert isinstance(view, QueuePage)
    view.PAUSE = 0.0  # what is stale is loaded at once
    return view


async def test_ring_groups_show_what_waits_the_oldest_first(tmp_path: Path) -> None:
    waiting = status(needs_you=(need("unassigned", count=4, since=NOW - 4_000),))
    async with at(desk_of(), tmp_path, "queues", {GetStatus: waiting}) as (shown, _):
        lines = shown.text().splitlines()
        assert [line[1:15].strip() for line in lines[4:8]] == ["Front office", "(no queue)", "Sales desk", "Night"]
        assert "3   2 h 10 m  support@acme.example" in lines[4]
        assert "4       66 m" in lines[5]
        await shown.press("s")
        await shown.shows("sort: most open")
        assert "(no queue)" in shown.text().splitlines()[4]


async def test_agents_do_not_see_mail_that_is_in_no_queue(tmp_path: Path) -> None:
    async with at(desk_of(), tmp_path, "queues", roles=AGENT) as (shown, _):
        await shown.shows("Front office")
        assert "(no queue)" not in shown.text()


async def test_enter_lists_a_queue_and_shows_the_text_of_the_mail_under_the_cursor(tmp_path: Path) -> None:
    texts = {ReadText: lambda call: letter(call.id, f"the words of mail {call.id}\n")}
    async with at(desk_of(), tmp_path, "queues", texts) as (shown, canned):
        await shown.press("enter")
        await shown.shows("QUEUE Front office  3 open · 3 loaded · oldest 2 m")
        asked = canned.asked(ListMail)[0]
        assert (asked.ring_group, asked.state, asked.unassigned) == ("Front office", "open", False)
        await shown.shows("the words of mail 3")
        await shown.press("j")
        await shown.shows("the words of mail 2")
        await shown.press("f")
        await shown.shows("f back")
        assert "Where is my order?" not in shown.text()  # the list makes room
        await shown.press("f", "enter")
        await shown.shows("MAIL 2 ")


async def test_mail_in_no_queue_is_asked_for_as_unassigned(tmp_path: Path) -> None:
    desk = desk_of(mail(9, "lost words", queues=()))
    async with at(desk, tmp_path, "queues") as (shown, canned):
        await shown.press("/")
        await shown.type("no q")
        await shown.press("enter", "enter")
        await shown.shows("lost words")
        assert canned.asked(ListMail)[0].unassigned


async def test_the_daemon_filters_not_the_screen(tmp_path: Path) -> None:
    desk = desk_of(mail(1, "Lamp broken"), mail(2, "Lamp", author="a@other.example"), mail(3, "Chair"))
    async with at(desk, tmp_path, "queues") as (shown, canned):
        await shown.press("enter")
        await shown.shows("Chair")
        await shown.press("/")
        shown.ui.desk.prompt.value = "lamp @shop.example"
        await shown.press("enter")
        await shown.hides("Chair")
        await shown.shows("Lamp broken")
        await until(lambda: canned.asked(ListMail)[-1].author == "@shop.example", "the last question is the whole one")
        assert canned.asked(ListMail)[-1].subject == "lamp"
        await shown.press("/")
        await shown.type(" zebra")
        await shown.shows("no such mail; / takes words of the subject, name@domain, @domain")


async def test_a_long_queue_is_loaded_in_windows_and_followed_by_its_first_one(tmp_path: Path) -> None:
    desk = MailDesk([mail(number) for number in range(1, 451)], GROUPS)
    async with at(desk, tmp_path, "queues") as (shown, canned):
        await shown.press("enter")
        await shown.shows("3 open · 200 and more loaded")  # the ring group's row knows the number
        await shown.press("G")
        await shown.shows("400 and more loaded")
        await shown.press("G")
        await shown.shows("450 open · 450 loaded")
        before, cursor = len(canned.asked(ListMail)), page(shown).current
        desk.mails[451] = mail(451, "the newest")
        desk.changed(canned, 451, subject="the very newest")
        await until(lambda: shown.ui.tick() or len(page(shown).mails) == 451, "the new mail is listed")
        assert [call.after for call in canned.asked(ListMail)[before:]] == [0]
        assert page(shown).current.id == cursor.id, "the cursor stays on its mail"
        assert [row.id for row in page(shown).mails] == list(range(451, 0, -1))


async def test_a_flood_of_new_mail_leaves_no_hole_in_the_list(tmp_path: Path) -> None:
    desk = MailDesk([mail(number) for number in range(1, 6)], GROUPS)
    async with at(desk, tmp_path, "queues") as (shown, canned):
        await shown.press("enter")
        await shown.shows("5 loaded")
        assert page(shown).mails
        desk.mails |= {number: mail(number) for number in range(6, 506)}
        desk.changed(canned, 505)
        await until(lambda: shown.ui.tick() or len(page(shown).mails) > 5, "the flood is listed")
        assert [row.id for row in page(shown).mails] == list(range(505, 0, -1))


async def test_after_a_gap_all_that_is_loaded_is_read_anew(tmp_path: Path) -> None:
    desk = MailDesk([mail(number) for number in range(1, 451)], GROUPS)
    async with at(desk, tmp_path, "queues") as (shown, canned):
        await shown.press("enter")
        await shown.shows("200 and more loaded")
        await shown.press("G")
        await shown.shows("400 and more loaded")
        before = len(canned.asked(ListMail))
        assert page(shown).mails[-1].id == 51
        desk.put(60, state="closed")  # and nobody is told
        picture = shown.ui.picture
        picture.gaps, picture.mail_changes = picture.gaps + 1, picture.mail_changes + 1
        await until(lambda: shown.ui.tick() or 60 not in {row.id for row in page(shown).mails}, "mail 60 has gone")
        assert [call.after for call in canned.asked(ListMail)[before:]] == [0, 251]
        assert [row.id for row in page(shown).mails] == [n for n in range(450, 49, -1) if n != 60]


async def test_what_the_daemon_tells_of_a_mail_replaces_its_row_at_once(tmp_path: Path) -> None:
    desk = desk_of()
    async with at(desk, tmp_path, "queues") as (shown, canned):
        await shown.press("enter")
        await shown.shows("Lamp")
        page(shown).PAUSE = 1e9  # no reload: only what is told
        desk.changed(canned, 3, subject="Lamp, told anew")
        await shown.shows("Lamp, told anew")


async def test_a_row_far_down_that_belongs_here_no_longer_goes_away(tmp_path: Path) -> None:
    desk = MailDesk([mail(number) for number in range(1, 251)], GROUPS)
    async with at(desk, tmp_path, "queues") as (shown, canned):
        await shown.press("enter")
        await shown.shows("200 and more loaded")
        await shown.press("G")
        await shown.shows("250 loaded")
        desk.changed(canned, 2, state="closed")
        await until(lambda: shown.ui.tick() or 2 not in {row.id for row in page(shown).mails}, "mail 2 has gone")
        assert len(page(shown).mails) == 249


async def test_oldest_first_loads_all_before_it_turns_the_list(tmp_path: Path) -> None:
    desk = MailDesk([mail(number, f"Re: {number}") for number in range(1, 451)], GROUPS)
    async with at(desk, tmp_path, "queues") as (shown, _):
        await shown.press("enter")
        await shown.shows("200 and more loaded")
        await shown.press("s")
        await until(
            lambda: shown.ui.tick() or (page(shown).current and page(shown).current.id == 1), "the oldest is on top"
        )
        assert len(page(shown).mails) == 450


async def test_a_move_says_what_it_will_do_and_goes_back_to_where_each_mail_was(tmp_path: Path) -> None:
    desk = desk_of(mail(1), mail(2, queues=("Front office", "Night")))
    async with at(desk, tmp_path, "queues") as (shown, canned):
        await shown.press("enter")
        await shown.shows("2 loaded")
        await shown.press("*", "m")
        await shown.shows("move 2 mails to")
        await shown.type("sales")
        await shown.press("space")
        await shown.shows("2 mails: 2 different queues -> Front office, Sales desk")
        await shown.press("enter")
        await shown.shows("2 mails: now in Front office, Sales desk")
        assert {(call.id, call.ring_groups) for call in canned.asked(MoveMail)} == {
            (1, ("Front office", "Sales desk")), (2, ("Front office", "Sales desk"))
        }  # fmt: skip
        await shown.press("z")
        await shown.shows("taken back")
        assert {(call.id, call.ring_groups) for call in canned.asked(MoveMail)[2:]} == {
            (1, ("Front office",)), (2, ("Front office", "Night"))
        }  # fmt: skip


async def test_a_move_to_where_it_is_asks_nothing_of_the_daemon(tmp_path: Path) -> None:
    async with at(desk_of(mail(1)), tmp_path, "queues") as (shown, canned):
        await shown.press("enter")
        await shown.shows("1 loaded")
        await shown.press("m")
        await shown.shows("mail 1: there already; Space marks another ring group")
        await shown.press("enter")
        await shown.shows("nothing was moved")
        assert not canned.asked(MoveMail)


@pytest.mark.parametrize(("key", "pattern"), [("b", "buyer3@shop.example"), ("d", "@shop.example")])
async def test_a_sender_or_a_whole_domain_is_blocked_and_unblocked(tmp_path: Path, key: str, pattern: str) -> None:
    async with at(desk_of(), tmp_path, "queues") as (shown, canned):
        await shown.press("enter")
        await shown.shows("3 loaded")
        await shown.press("b")
        await shown.shows("hold mail at support@acme.example from")
        await shown.press(key)
        await shown.shows(f"{pattern} is blocked")
        assert [(call.touchpoint, call.pattern) for call in canned.asked(Block)] == [("1", pattern)]
        await shown.press("z")
        await shown.shows("taken back")
        assert [(call.touchpoint, call.pattern) for call in canned.asked(Unblock)] == [("1", pattern)]


async def test_who_is_blocked_already_is_not_unblocked_by_an_undo(tmp_path: Path) -> None:
    desk = desk_of()
    desk.blocked.add(("1", "buyer3@shop.example"))
    async with at(desk, tmp_path, "queues") as (shown, canned):
        await shown.press("enter")
        await shown.shows("3 loaded")
        await shown.press("b")
        await shown.shows("from now on")
        await shown.press("b")
        await shown.shows("is on the blocklist already")
        await shown.press("z")
        await shown.shows("there is nothing to take back")
        assert not canned.asked(Block)
        assert not canned.asked(Unblock)


async def test_closing_several_says_what_was_refused_and_reopens_the_rest(tmp_path: Path) -> None:
    desk = desk_of()
    desk.refuses.add(2)
    async with at(desk, tmp_path, "queues") as (shown, canned):
        await shown.press("enter")
        await shown.shows("3 loaded")
        await shown.press("*", "C")
        await shown.shows("2 mails: closed; 1 refused: mail 2 is queued (in)")
        await shown.press("z")
        await shown.shows("taken back")
        assert {call.id for call in canned.asked(ReopenMail)} == {1, 3}


async def test_closed_mail_is_a_key_away_and_can_be_reopened(tmp_path: Path) -> None:
    desk = desk_of(mail(1), mail(2, "dealt with", state="closed"))
    async with at(desk, tmp_path, "queues") as (shown, canned):
        await shown.press("enter")
        await shown.shows("1 loaded")
        await shown.press("O")
        await shown.shows("Reopen: it is open")
        await shown.press("t")
        await shown.shows("dealt with")
        await shown.press("m")
        await shown.shows("it is closed; reopen it first")
        await shown.press("O")
        await shown.shows("mail 2: open again")
        assert [call.id for call in canned.asked(ReopenMail)] == [2]


async def test_rows_that_move_under_a_question_do_not_change_what_it_is_about(tmp_path: Path) -> None:
    desk = desk_of()
    async with at(desk, tmp_path, "queues") as (shown, canned):
        await shown.press("enter")
        await shown.shows("3 loaded")
        await shown.press("h")
        await shown.shows("Sets mail 3 aside")
        desk.mails[4] = mail(4, "came meanwhile")
        desk.changed(canned, 4, subject="came meanwhile")
        desk.changed(canned, 3, subject="Lamp, told anew")
        await until(lambda: 4 in shown.ui.picture.changed_mail, "the daemon told of it")
        shown.ui.tick()
        assert "came meanwhile" not in shown.text()
        await shown.press("y")
        await shown.shows("mail 3: set aside")
        assert [call.id for call in canned.asked(HoldMail)] == [3]
        await shown.shows("came meanwhile")


async def test_a_question_that_is_not_answered_with_yes_does_nothing(tmp_path: Path) -> None:
    async with at(desk_of(), tmp_path, "queues") as (shown, canned):
        await shown.press("enter")
        await shown.shows("3 loaded")
        for answer in ("n", "enter", "escape"):
            await shown.press("h")
            await shown.shows("Sets mail 3 aside")
            await shown.press(answer)
            await shown.shows("nothing was done")
        assert not canned.asked(HoldMail)


async def test_agents_work_queues_and_are_told_what_they_may_not(tmp_path: Path) -> None:
    async with at(desk_of(), tmp_path, "queues", roles=AGENT) as (shown, canned):
        await shown.press("enter")
        await shown.shows("3 loaded")
        await shown.press("b")
        await shown.shows("not with your roles (agent)")
        await shown.press("C")
        await shown.shows("mail 3: closed")
        assert not canned.asked(Block)
        assert [call.id for call in canned.asked(CloseMail)] == [3]


async def test_a_new_ring_group_stays_in_its_form_until_the_daemon_takes_it(tmp_path: Path) -> None:
    desk, names = desk_of(), []

    def create(call: CreateRingGroup) -> Any:
        names.append(call.name)
        if call.name == "Front office":
            raise Refused("there is already a ring group named 'Front office'")
        desk.groups = (*desk.groups, ring_group(4, call.name))
        return desk.groups[-1]

    answers = {CreateRingGroup: create, DeleteRingGroup: Done()}
    async with at(desk, tmp_path, "queues", answers) as (shown, canned):
        await shown.press("n")
        await shown.shows("new ring group")
        await shown.press("enter")
        await shown.shows("must be filled in")
        await shown.type("Front office")
        await shown.press("enter")
        await shown.shows("there is already a ring group named")
        await shown.type(" 2")
        await shown.press("enter")
        await shown.shows("ring group Front office 2 is there")
        assert names == ["Front office", "Front office 2"]
        await shown.press("z")
        await shown.shows("taken back")
        assert [call.name for call in canned.asked(DeleteRingGroup)] == ["Front office 2"]


async def test_a_ring_group_is_deleted_by_its_name_and_only_where_nothing_hangs_on_it(tmp_path: Path) -> None:
    async with at(desk_of(), tmp_path, "queues", {DeleteRingGroup: Done()}) as (shown, canned):
        await shown.press("x")
        await shown.shows("support@acme.example is linked to it; unlink that first")
        await shown.press("j", "x")
        await shown.shows("1 mail in its queue")
        await shown.press("G", "x")  # the one with nothing in it
        await shown.shows("type Night to do it")
        await shown.type("Nigh")
        await shown.press("enter")
        assert not canned.asked(DeleteRingGroup)
        await shown.type("Night")
        await shown.press("enter")
        await shown.shows("ring group Night is deleted")
        assert [call.name for call in canned.asked(DeleteRingGroup)] == ["Night"]


async def test_an_empty_queue_and_a_daemon_that_refuses_say_so(tmp_path: Path) -> None:
    async with at(desk_of(mail(1, queues=())), tmp_path, "queues") as (shown, canned):
        await shown.press("enter")
        await shown.shows("nothing waits here")
        canned.answers[ListMail] = Refused("there is no ring group 'Front office'")
        await shown.press("t")
        await shown.shows("there is no ring group 'Front office'")


async def test_a_mail_without_content_is_a_mail_all_the_same(tmp_path: Path) -> None:
    texts = {ReadText: Refused("mail 3 has no content: it could not be fetched")}
    async with at(desk_of(), tmp_path, "queues", texts) as (shown, _):
        await shown.press("enter")
        await shown.shows("mail 3 has no content")
        assert "From: buyer3@shop.example" in shown.text()


async def test_without_a_connection_acts_say_why_they_cannot_be_done(tmp_path: Path) -> None:
    async with at(desk_of(), tmp_path, "queues") as (shown, canned):
        await shown.press("enter")
        await shown.shows("3 loaded")
        await canned.server.close()
        await shown.shows("NO CONNECTION")
        await shown.press("C")
        await shown.shows("there is no connection to the daemon")
        assert "Lamp" in shown.text(), "what was known stays on the screen"


HOSTILE = "\x1b]52;c;aGk=\x07 [@click=app.quit]x[/] \u202egpj.exe \x9b31m"


async def test_hostile_text_is_shown_and_not_obeyed(tmp_path: Path) -> None:
    desk = desk_of(mail(1, HOSTILE, author=f"a{HOSTILE}@b.example", mark="junk"))
    group = ring_group(1, "Front office", touchpoints=(HOSTILE,), open=1, oldest_at=1e300)
    desk.groups = (group,)
    texts = {
        GetStatus: status((touchpoint(1),)),
        ReadText: lambda call: letter(call.id, HOSTILE * 30),
    }
    async with at(desk, tmp_path, "queues", texts) as (shown, _):
        await shown.press("enter")
        await shown.shows("[@click=app.quit]x[/]")
        await shown.press("b")
        await shown.shows("from now on hold")
        screen = shown.text()
        assert screen.replace("\n", "").isprintable()
        assert "\u202e" not in screen
