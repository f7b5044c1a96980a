"""The list of touchpoints, the page of one, and all that can be done there, driven by keys on a canned daemon."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from textual.events import Paste

from gateway.control import (
    ActivateTouchpoint,
    AuditRow,
    Call,
    CreateTouchpoint,
    DeactivateTouchpoint,
    DeleteTouchpoint,
    DirectionType,
    Done,
    DuplicateTouchpoint,
    EditTouchpoint,
    Event,
    GetStatus,
    LinkRingGroup,
    ListAudit,
    ListPresets,
    ListRingGroups,
    ListTouchpoints,
    Page,
    RingGroupRow,
    Role,
    SetConnection,
    SetDirection,
    ShowTouchpoint,
    TouchpointRow,
    UnlinkRingGroup,
)
from pipeline.errors import Cause, Refused
from tests.tui.canned import NOW, PRESETS, Canned, mail, served, short, status, touchpoint, touchpoint_page, until
from tests.tui.screen import Terminal, terminal
from tui.lines import text_of
from tui.view import View
from tui.views.touchpoint_forms import AS_IS, connection_changes, server_fault
from tui.views.touchpoint_words import CAUSES, given_up, preview

PRESS = touchpoint(
    2, "press@acme.example", name="Press desk", state="lost", cause="credential",
    reason="NO [AUTHENTICATIONFAILED] Invalid credentials", parked=31, held=6,
)  # fmt: skip
SUPPORT = touchpoint(1)
BILLING = touchpoint(3, "billing@acme.example", name="Billing", active=False)
NEW = touchpoint(4, "new@acme.example", name="New one", state="new", active=False, signed_in_at=0.0)


def house(*rows: TouchpointRow, pages: dict[int, dict[str, Any]] | None = None, **more: Any) -> Canned:
    """A daemon with these touchpoints, that lets everything be done to them."""
    canned = Canned({GetStatus: status(rows or (SUPPORT, PRESS, BILLING))}, **more)

    def of(call: Any) -> TouchpointRow:
        return next(row for row in canned.status_now().touchpoints if str(row.id) == call.touchpoint)

    def shown(call: ShowTouchpoint) -> Any:
        row = of(call)
        return touchpoint_page(row, **(pages or {}).get(row.id, {}))

    changing: tuple[type[Call[Any]], ...] = (
        ActivateTouchpoint, DeactivateTouchpoint, EditTouchpoint, SetDirection, LinkRingGroup, UnlinkRingGroup
    )  # fmt: skip
    canned.answers.update(dict.fromkeys(changing, of))
    canned.answers.update({ShowTouchpoint: shown, SetConnection: shown, ListPresets: Page(rows=PRESETS)})
    canned.answers[DeleteTouchpoint] = Done(words="deleted")
    return canned


@asynccontextmanager
async def at(canned: Canned, tmp_path: Path, **options: Any) -> AsyncIterator[Terminal]:
    """The screen of touchpoints on this daemon."""
    path, drafts = short(tmp_path), tmp_path / "drafts"
    async with served(canned, path), terminal(path, screen="touchpoints", drafts=drafts, **options) as made:
        await made.quiet()
        yield made


async def paste(screen: Terminal, text: str) -> None:
    """Put a text into the field that is focused, as a terminal does when it is pasted."""
    field = screen.ui.screen.focused
    assert field is not None
    field.post_message(Paste(text))
    await screen.pilot.pause()


def order(screen: Terminal) -> list[str]:
    """Addresses in the order of the list."""
    view = screen.ui.view
    assert view is not None and view.list is not None
    return [row.address for row in view.list.rows]


# -- The list ------------------------------------------------------------------------------------------------------


async def test_problems_come_first_and_say_what_they_mean_and_what_helps(tmp_path: Path) -> None:
    retry = touchpoint(5, "jobs@acme.example", state="backoff", cause="timeout", reason="no answer")
    async with at(house(SUPPORT, NEW, retry, BILLING, PRESS), tmp_path) as screen:
        assert order(screen) == [
            "press@acme.example", "jobs@acme.example", "support@acme.example", "billing@acme.example",
            "new@acme.example",
        ]  # fmt: skip
        text = screen.text()
        assert "x LOST credential" in text and "~ backoff timeout" in text and "o new" in text
        assert "the login was refused" in text and "NO [AUTHENTICATIONFAILED] Invalid credentials" in text
        assert "31 kept, 0 lost · 6 held · R signs in anew" in text
        await screen.press("s")
        assert order(screen)[0] == "billing@acme.example"


async def test_the_list_is_filtered_as_one_types(tmp_path: Path) -> None:
    async with at(house(), tmp_path) as screen:
        await screen.press("/")
        await screen.type("bil")
        assert order(screen) == ["billing@acme.example"]
        await screen.type("x")
        await screen.shows("no touchpoint holds 'bilx'; Esc shows all")
        await screen.press("escape")
        assert len(order(screen)) == 3
        await screen.press("/")
        await screen.type("lost")
        assert order(screen) == ["press@acme.example"]


async def test_an_empty_house_says_how_to_begin(tmp_path: Path) -> None:
    canned = house()
    canned.answers[GetStatus] = status(())
    async with at(canned, tmp_path) as screen:
        assert "there is no touchpoint yet; n makes one" in screen.text()
        await screen.press("c")
        assert "there is no row under the cursor" in screen.text()


async def test_a_row_is_live_and_its_details_with_it(tmp_path: Path) -> None:
    canned = house()
    async with at(canned, tmp_path) as screen:
        await screen.press("j")
        await screen.shows('support@acme.example "Support"')
        canned.change(replace(SUPPORT, state="backoff", cause="throttled", reason="[LIMIT] slow down"))
        await screen.shows("[LIMIT] slow down")
        await screen.shows("~ backoff throttled")


async def test_counts_follow_the_mail(tmp_path: Path) -> None:
    canned, now = house(SUPPORT), [1000.0]
    async with at(canned, tmp_path, now=lambda: now[0]) as screen:
        canned.answers[GetStatus] = status((replace(SUPPORT, queued=4711),))
        canned.tell(Event(what="assigned", mail=mail(1)))
        await until(lambda: screen.ui.picture.changed_mail, "the event is heard")
        now[0] += 5
        await screen.shows(" 4,711 ")


async def test_a_big_house_is_counted_window_by_window(tmp_path: Path) -> None:
    canned, now = house(SUPPORT, PRESS), [1000.0]
    canned.answers[ListTouchpoints] = lambda call: Page(
        rows=(PRESS,) if call.after else (SUPPORT,), next=1 - call.after
    )
    async with at(canned, tmp_path, now=lambda: now[0]) as screen:
        for _ in range(2):
            now[0] += 30
            screen.ui.tick()
            await screen.quiet()
        assert [call.after for call in canned.asked(ListTouchpoints)] == [0, 1, 0]


async def test_a_wide_terminal_shows_the_whole_page_beside_the_list(tmp_path: Path) -> None:
    canned = house(pages={2: {"relay_users": ("ticketing",), "blocked": 3}})
    async with at(canned, tmp_path, size=(160, 48)) as screen:
        await screen.shows("ticketing")
        text = screen.text()
        assert "imap.acme.example:993 tls" in text and "3 senders or domains" in text and "4 Outbox" in text


async def test_the_menu_goes_by_the_state(tmp_path: Path) -> None:
    async with at(house(PRESS, NEW), tmp_path) as screen:
        await screen.press("a")
        await screen.shows("Reconnect ...")
        assert "Deactivate" in screen.text()
        await screen.press("escape", "j", "a")
        await screen.shows(" Connect ...")
        text = screen.text()
        assert "Activate  (it was never connected: connect it first)" in text
        assert "Reauthenticate ...  (it was never connected: connect it first)" in text
        await screen.press("Y")
        await screen.shows("copied to the clipboard")


async def test_a_command_is_quoted_for_the_shell(tmp_path: Path) -> None:
    async with at(house(touchpoint(1, "o'neil;id@acme.example")), tmp_path) as screen:
        await screen.press("Y")
        assert screen.ui.last_copied == """postroom touchpoint show 'o'"'"'neil;id@acme.example'"""


# -- On and off ----------------------------------------------------------------------------------------------------


async def test_off_and_back(tmp_path: Path) -> None:
    canned = house()
    async with at(canned, tmp_path) as screen:
        await screen.press("t")
        await screen.shows("press@acme.example is off: no mail moves  (z takes it back)")
        assert canned.asked(DeactivateTouchpoint) == [DeactivateTouchpoint(touchpoint="2")]
        await screen.press("z")
        await screen.shows("taken back")
        assert canned.asked(ActivateTouchpoint) == [ActivateTouchpoint(touchpoint="2", start_now=False)]


@pytest.mark.parametrize(("key", "start_now"), [("c", False), ("n", True)])
async def test_what_was_on_before_is_asked_about_what_came_meanwhile(tmp_path: Path, key: str, start_now: bool) -> None:
    canned = house(BILLING)
    async with at(canned, tmp_path) as screen:
        await screen.press("t")
        await screen.shows("Catch up")
        await screen.press("escape")
        await screen.shows("nothing was done")
        await screen.press("t")
        await screen.shows("Catch up")
        await screen.press(key)
        await screen.shows("billing@acme.example is on")
        assert canned.asked(ActivateTouchpoint) == [ActivateTouchpoint(touchpoint="3", start_now=start_now)]
        await screen.press("z")
        await until(lambda: canned.asked(DeactivateTouchpoint), "it is off again")


async def test_the_first_activation_asks_nothing(tmp_path: Path) -> None:
    canned = house(BILLING, pages={3: {"activated_at": 0.0}})
    async with at(canned, tmp_path) as screen:
        await screen.press("t")
        await screen.shows("billing@acme.example is on")
        assert canned.asked(ActivateTouchpoint) == [ActivateTouchpoint(touchpoint="3")]


async def test_what_was_never_connected_cannot_be_switched_on(tmp_path: Path) -> None:
    canned = house(NEW)
    async with at(canned, tmp_path) as screen:
        await screen.press("t")
        assert "On or off: it was never connected: connect it first" in screen.text()
        assert canned.asked(ActivateTouchpoint) == []


async def test_marked_ones_are_switched_together_and_taken_back_in_one_go(tmp_path: Path) -> None:
    canned = house(SUPPORT, PRESS)
    async with at(canned, tmp_path) as screen:
        await screen.press("*", "t")
        await screen.shows("2 touchpoints are switched")
        await screen.press("z")
        await until(lambda: len(canned.asked(ActivateTouchpoint)) == 2, "both are on again")
        assert {call.touchpoint for call in canned.asked(ActivateTouchpoint)} == {"1", "2"}


async def test_what_was_done_before_a_refusal_can_be_taken_back(tmp_path: Path) -> None:
    canned = house(SUPPORT, PRESS)
    switch = canned.answers[DeactivateTouchpoint]
    refusal = Refused("not that one")
    canned.answers[DeactivateTouchpoint] = lambda call: refusal if call.touchpoint == "1" else switch(call)
    async with at(canned, tmp_path) as screen:
        await screen.press("*", "t")
        await screen.shows("not that one")
        await screen.press("z")
        await screen.shows("taken back: press@acme.example is off")
        assert canned.asked(ActivateTouchpoint) == [ActivateTouchpoint(touchpoint="2")]


async def test_an_act_is_about_the_row_that_it_was_asked_for(tmp_path: Path) -> None:
    canned = house(SUPPORT, PRESS)
    async with at(canned, tmp_path) as screen:
        await screen.press("a")
        await screen.shows("Deactivate")
        canned.change(replace(PRESS, state="connected", cause="", reason="", held=0))
        canned.change(replace(SUPPORT, state="lost", cause="credential"))
        await until(lambda: screen.ui.picture.touchpoints[1].state == "lost", "the event is heard")
        screen.ui.tick()
        assert order(screen) == ["press@acme.example", "support@acme.example"]  # nothing moves below a question
        await screen.press("t")
        await until(lambda: canned.asked(DeactivateTouchpoint), "it is off")
        assert canned.asked(DeactivateTouchpoint) == [DeactivateTouchpoint(touchpoint="2")]
        screen.ui.tick()
        assert order(screen) == ["support@acme.example", "press@acme.example"]


@pytest.mark.parametrize(
    ("roles", "options", "why"),
    [
        ({Role.AUDIT}, {}, "not with your roles (audit)"),
        ({Role.ADMIN}, {"read_only": True}, "started with --read-only"),
    ],
)
async def test_who_may_only_look_is_told_why(
    tmp_path: Path, roles: set[Role], options: dict[str, Any], why: str
) -> None:
    canned = house(roles=frozenset(roles))
    async with at(canned, tmp_path, **options) as screen:
        await screen.press("t")
        assert why in screen.text()
        assert canned.asked(DeactivateTouchpoint) == []
        assert screen.ui.view is not None
        refused = {act.key for act in screen.ui.view.ACTS if why in screen.ui.why_not(act, [SUPPORT])}
        assert refused >= set("tcRednxDEl")
        assert not refused & set("vASbh")


async def test_without_a_daemon_nothing_is_tried(tmp_path: Path) -> None:
    canned = house()
    async with at(canned, tmp_path) as screen:
        await canned.server.close()
        await screen.shows("NO CONNECTION")
        await screen.press("t")
        assert "On or off: there is no connection to the daemon" in screen.text()
        assert order(screen)[0] == "press@acme.example"


# -- Delete --------------------------------------------------------------------------------------------------------


async def test_deleting_counts_what_is_lost_and_wants_the_address(tmp_path: Path) -> None:
    canned = house()
    async with at(canned, tmp_path) as screen:
        await screen.press("x")
        await screen.shows("This gives up 31 mails that wait and 6 held.")
        assert "The mailbox stays at the provider" in screen.text()
        await paste(screen, "support@acme.example")
        await screen.press("enter")
        assert canned.asked(DeleteTouchpoint) == []
        await paste(screen, "press@acme.example")
        await screen.press("enter")
        await screen.shows("press@acme.example is deleted")
        assert canned.asked(DeleteTouchpoint) == [DeleteTouchpoint(touchpoint="2", drop_pending=True)]


async def test_without_mail_nothing_is_given_up_and_the_page_closes(tmp_path: Path) -> None:
    canned = house(SUPPORT)
    async with at(canned, tmp_path) as screen:
        await screen.press("enter")
        await screen.quiet()
        await screen.press("x")
        await screen.shows("No mail waits for it.")
        await paste(screen, "support@acme.example")
        await screen.press("enter")
        await screen.shows("TOUCHPOINTS 1 of 1")
        assert canned.asked(DeleteTouchpoint) == [DeleteTouchpoint(touchpoint="1", drop_pending=False)]


async def test_what_may_have_gone_out_is_settled_before_a_deletion(tmp_path: Path) -> None:
    async with at(house(replace(PRESS, unknown=2)), tmp_path) as screen:
        await screen.press("x")
        assert "it is not known whether 2 of its mails went out" in screen.text()


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ({}, ""),
        ({"parked": 1}, "gives up 1 mail that waits"),
        ({"held": 2}, "gives up 2 mails held"),
        ({"waiting_out": 1_000, "waiting_in": 1, "held": 1}, "gives up 1,001 mails that wait and 1 held"),
        ({"queued": 1, "pending": 3}, "closes 1 mail in queues, leaves 3 mails unread on the server"),
        ({"failed": 4}, ""),
    ],
)
def test_what_a_deletion_gives_up_in_words(counts: dict[str, Any], words: str) -> None:
    assert given_up(touchpoint(1, **counts)) == words


# -- Forms ---------------------------------------------------------------------------------------------------------


async def test_a_new_one_needs_both_names_and_keeps_what_was_typed(tmp_path: Path) -> None:
    made = touchpoint(9, "ab@x.example", name="Desk", state="new", active=False)
    canned = house()
    canned.answers[CreateTouchpoint] = lambda call: (
        Refused("'ab' is not an address: it needs exactly one @") if "@" not in call.address else made
    )
    async with at(canned, tmp_path) as screen:
        await screen.press("n", "ctrl+s")
        await screen.shows("must be filled in")
        assert screen.text().count("must be filled in") == 2
        await screen.type("ab")
        await screen.press("tab")
        await screen.type("Desk")
        await screen.press("ctrl+s")
        await screen.shows("it needs exactly one @")
        lines = screen.text().splitlines()
        fault = next(n for n, each in enumerate(lines) if "is not an address" in each)
        assert "Address*" in lines[fault - 1] and "ab" in lines[fault - 1]
        assert "Desk" in screen.text()
        await paste(screen, "@x.example")
        await screen.press("tab", "tab", "right", "ctrl+s")
        await screen.shows("ab@x.example is created; c connects it")
        call = CreateTouchpoint(address="ab@x.example", name="Desk", direction=DirectionType.INBOUND)
        assert canned.asked(CreateTouchpoint)[-1] == call
        assert screen.ui.view is not None and screen.ui.view.current == made
        assert screen.ui.drafts.names() == []


async def test_a_form_that_was_left_is_there_again(tmp_path: Path) -> None:
    async with at(house(), tmp_path) as screen:
        await screen.press("n")
        await paste(screen, "ab@x.example")
        await screen.press("escape", "n")
        await screen.shows("this is the draft that was kept")
        assert "ab@x.example" in screen.text()
        await screen.press("escape")
        await screen.shows("Esc again throws this draft away")
        await screen.press("escape", "n")
        await screen.hides("ab@x.example")


async def test_a_refusal_that_names_no_field_stands_below_the_form(tmp_path: Path) -> None:
    canned = house()
    canned.answers[CreateTouchpoint] = Refused("there is no room on the disk")
    async with at(canned, tmp_path) as screen:
        await screen.press("n")
        await paste(screen, "a@x.example")
        await screen.press("tab")
        await screen.type("A")
        await screen.press("ctrl+s")
        await screen.shows("there is no room on the disk")
        assert "a@x.example" in screen.text()


async def test_a_copy_is_made_under_another_address(tmp_path: Path) -> None:
    canned = house()
    canned.answers[DuplicateTouchpoint] = touchpoint(9, "b@x.example", state="new", active=False)
    async with at(canned, tmp_path) as screen:
        await screen.press("enter")
        await screen.quiet()
        await screen.press("d")
        await paste(screen, "b@x.example")
        await screen.press("tab")
        await screen.type("B")
        await screen.press("enter")
        await screen.shows("b@x.example is created; c connects it")
        assert canned.asked(DuplicateTouchpoint) == [
            DuplicateTouchpoint(touchpoint="2", address="b@x.example", name="B")
        ]
        assert screen.ui.view is not None and screen.ui.view.NAME == "touchpoints"


async def test_only_what_was_changed_is_sent_and_can_be_taken_back(tmp_path: Path) -> None:
    canned = house(pages={2: {"aliases": ("news@acme.example",)}})
    async with at(canned, tmp_path) as screen:
        await screen.press("e", "tab", "tab")
        await paste(screen, " p@x.example")
        canned.answers[EditTouchpoint] = Refused("p@x.example belongs to the touchpoint x@x.example already")
        await screen.press("ctrl+s")
        await screen.shows("belongs to the touchpoint")
        canned.answers[EditTouchpoint] = PRESS
        await screen.press("ctrl+s")
        await screen.shows("press@acme.example is changed")
        aliases = ("news@acme.example", "p@x.example")
        assert canned.asked(EditTouchpoint)[-1] == EditTouchpoint(touchpoint="2", aliases=aliases)
        await screen.press("z")
        await screen.shows("taken back")
        assert canned.asked(EditTouchpoint)[-1] == EditTouchpoint(touchpoint="2", aliases=("news@acme.example",))


async def test_an_edit_that_changes_nothing_asks_nothing(tmp_path: Path) -> None:
    canned = house()
    async with at(canned, tmp_path) as screen:
        await screen.press("e", "ctrl+s")
        await screen.hides("Friendly name")
        assert canned.asked(EditTouchpoint) == []


# -- Servers, direction, queues ------------------------------------------------------------------------------------


async def test_another_provider_brings_its_servers(tmp_path: Path) -> None:
    canned = house()
    async with at(canned, tmp_path) as screen:
        await screen.press("E")
        await screen.shows("imap.acme.example:993:tls")
        await screen.press("right")
        await screen.shows("imap.mail.yahoo.com:993:tls")
        await screen.press("ctrl+s")
        await screen.shows("the servers of press@acme.example are set")
        assert canned.asked(SetConnection) == [SetConnection(touchpoint="2", preset="yahoo")]


async def test_a_server_that_is_wrong_is_said_at_its_field(tmp_path: Path) -> None:
    canned = house()
    canned.answers[SetConnection] = Refused("'.imap.acme.example' is not a domain name, such as example.org")
    async with at(canned, tmp_path) as screen:
        await screen.press("E", "tab", "end", "x", "ctrl+s")
        await screen.shows("write it as HOST:PORT:SECURITY")
        assert canned.asked(SetConnection) == []
        await screen.press("backspace", "home", ".", "ctrl+s")
        await screen.shows("is not a domain name")
        lines = screen.text().splitlines()
        fault = next(n for n, each in enumerate(lines) if "is not a domain name" in each)
        assert "Receives (IMAP)" in lines[fault - 1]
        assert canned.asked(SetConnection) == [SetConnection(touchpoint="2", imap=".imap.acme.example:993:tls")]


async def test_servers_of_a_new_one_begin_with_the_provider(tmp_path: Path) -> None:
    canned = house(NEW, pages={4: {"imap": None, "smtp": None, "has_password": False}})
    async with at(canned, tmp_path) as screen:
        await screen.press("E")
        await screen.shows("who is the provider")
        await screen.press("2")
        await screen.shows("smtp.mail.yahoo.com:465:tls")
        await screen.press("ctrl+s")
        await screen.shows("are set; c connects it")
        assert canned.asked(SetConnection) == [SetConnection(touchpoint="4", preset="yahoo")]


BEFORE = {
    "preset": "custom", "imap": "imap.acme.example:993:tls", "smtp": "smtp.acme.example:587:starttls",
    "user": "support@acme.example", "ca_file": "", "junk_folder": "", "mark": "", "sent_copy": AS_IS,
    "null_sender": AS_IS, "unknown_outcome": AS_IS,
}  # fmt: skip


@pytest.mark.parametrize(
    ("typed", "changes"),
    [
        ({}, {}),
        ({"imap": ""}, {"imap": ""}),
        ({"user": ""}, {"user": "support@acme.example"}),
        ({"user": "desk", "mark": "seen"}, {"user": "desk", "mark": "seen"}),
        ({"sent_copy": "append", "null_sender": "no"}, {"sent_copy": "append", "null_sender": False}),
        ({"unknown_outcome": "hold_for_person"}, {"unknown_outcome": "hold_for_person"}),
        (
            {"preset": "yahoo", "imap": "imap.mail.yahoo.com:993:tls", "smtp": "smtp.mail.yahoo.com:465:tls"},
            {"preset": "yahoo"},
        ),
        (
            {"preset": "yahoo", "imap": "imap.mail.yahoo.com:993:tls", "smtp": ""},
            {"preset": "yahoo", "smtp": ""},
        ),
    ],
)
def test_only_other_servers_are_sent(typed: dict[str, str], changes: dict[str, Any]) -> None:
    page = touchpoint_page(SUPPORT, user="desk@acme.example" if typed.get("user") == "" else "support@acme.example")
    presets = {each.name: each for each in PRESETS}
    assert connection_changes(page, presets, BEFORE | typed) == changes


def test_a_provider_without_servers_of_its_own_is_told_all_of_them() -> None:
    page = touchpoint_page(SUPPORT, preset="yahoo")
    presets = {each.name: each for each in PRESETS}
    typed = BEFORE | {"imap": "", "smtp": "mx.acme.example:587:starttls"}
    expected = {"preset": "custom", "imap": "", "smtp": "mx.acme.example:587:starttls"}
    assert connection_changes(page, presets, typed) == expected


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("", True), ("mail.acme.example:993", True), ("mail.acme.example:993:tls", True), ("[::1]:143:none", True),
        ("mail.acme.example", False), ("mail.acme.example:0", False), ("mail.acme.example:70000:tls", False),
        ("mail.acme.example:993:ssl", False), ("a b:993", False),
    ],
)  # fmt: skip
def test_what_a_server_looks_like(text: str, right: bool) -> None:
    assert (server_fault(text) == "") is right


def test_a_port_that_is_none_is_told_from_a_server_in_another_form() -> None:
    assert "from 1 to 65535" in server_fault("127.0.0.1:99999:none")
    assert "HOST:PORT:SECURITY" in server_fault("127.0.0.1")


async def test_the_direction_is_chosen_and_taken_back(tmp_path: Path) -> None:
    canned = house()
    async with at(canned, tmp_path) as screen:
        await screen.press("D")
        await screen.shows("it is that already")
        await screen.press("o")
        await screen.shows("press@acme.example is outbound from the next mail on")
        await screen.press("z")
        await screen.shows("taken back")
        assert [call.direction for call in canned.asked(SetDirection)] == [DirectionType.OUTBOUND, DirectionType.BOTH]


def groups(*names: str) -> Page[RingGroupRow]:
    rows = [RingGroupRow(id=n, name=name, touchpoints=(), open=n, oldest_at=0.0) for n, name in enumerate(names, 1)]
    return Page(rows=tuple(rows))


async def test_ring_groups_are_linked_and_unlinked_by_their_difference(tmp_path: Path) -> None:
    canned = house()
    canned.answers[ListRingGroups] = groups("Front office", "Press", "Back office")
    async with at(canned, tmp_path) as screen:
        await screen.press("l")
        await screen.shows("*Front office")
        await screen.press("space", "space", "enter")
        await screen.shows("new mail of press@acme.example goes to: Press")
        assert canned.asked(UnlinkRingGroup) == [UnlinkRingGroup(touchpoint="2", ring_group="Front office")]
        assert canned.asked(LinkRingGroup) == [LinkRingGroup(touchpoint="2", ring_group="Press")]
        await screen.press("z")
        await screen.shows("taken back")
        assert canned.asked(LinkRingGroup)[-1] == LinkRingGroup(touchpoint="2", ring_group="Front office")
        assert canned.asked(UnlinkRingGroup)[-1] == UnlinkRingGroup(touchpoint="2", ring_group="Press")


async def test_all_windows_of_ring_groups_are_read(tmp_path: Path) -> None:
    canned = house()
    windows = {0: replace(groups("Front office"), next=1), 1: groups("Night shift")}
    canned.answers[ListRingGroups] = lambda call: windows[call.after]
    async with at(canned, tmp_path) as screen:
        await screen.press("l")
        await screen.shows("Night shift")
        await screen.press("enter")
        await screen.shows("nothing was changed")


async def test_without_a_ring_group_it_is_said_how_to_make_one(tmp_path: Path) -> None:
    canned = house()
    canned.answers[ListRingGroups] = groups()
    async with at(canned, tmp_path) as screen:
        await screen.press("l")
        await screen.shows("there is no ring group yet: make one with")


@pytest.mark.parametrize(
    ("key", "name", "told"),
    [
        ("A", "replies", (2, "auto_reply")),
        ("S", "replies", (2, "signature")),
        ("b", "blocklist", (2,)),
    ],
)
async def test_texts_and_blocklist_are_shown_for_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, name: str, told: tuple[Any, ...]
) -> None:
    heard: list[tuple[Any, ...]] = []

    class Elsewhere(View):
        NAME = name

        def show_for(self, row: TouchpointRow, *more: str) -> None:
            heard.append((row.id, *more))

    monkeypatch.setattr(f"tui.views.{name}.VIEW", Elsewhere)
    async with at(house(), tmp_path) as screen:
        await screen.press(key)
        await until(lambda: heard, "the screen is told")
        assert heard == [told]
        assert screen.ui.screen_name == name


# -- The page, and its history -------------------------------------------------------------------------------------


async def test_the_page_says_what_is_wrong_in_our_words_and_theirs(tmp_path: Path) -> None:
    canned = house(pages={2: {"activated_at": NOW - 7200}})
    async with at(canned, tmp_path) as screen:
        await screen.press("enter")
        await screen.quiet()
        text = screen.text()
        assert "x LOST, since 13:02:11 (60 m ago)" in text
        assert "the login was refused" in text and "sign in with one that" in text
        assert "NO [AUTHENTICATIONFAILED] Invalid credentials" in text
        assert "yes, since 12:02:11 (2 h 00 m ago)" in text
        assert "kept until it is connected and active" in text and "4 Outbox" in text
        await screen.press("y")
        assert screen.ui.last_copied == PRESS.reason
        await screen.press("G")
        await screen.shows("number       id 2, version 1")
        assert "Front office" in screen.text()


async def test_the_page_is_live(tmp_path: Path) -> None:
    canned = house()
    async with at(canned, tmp_path) as screen:
        await screen.press("v")
        await screen.shows("TOUCHPOINT press@acme.example")
        canned.change(replace(PRESS, state="connected", cause="", reason="", parked=0, held=0))
        await screen.shows("+ connected, since")
        await screen.shows("nothing waits, is held or is open")


async def test_a_page_of_what_is_no_more_says_so(tmp_path: Path) -> None:
    canned = house()
    async with at(canned, tmp_path) as screen:
        await screen.press("enter")
        await screen.quiet()
        canned.answers[ShowTouchpoint] = Refused("there is no touchpoint '2'; see: postroom touchpoint list")
        canned.tell(Event(what="touchpoint.deleted", gone=2))
        await screen.shows("Esc goes back")
        await screen.press("t")
        assert "there is no row under the cursor" in screen.text()
        await screen.press("escape")
        await screen.shows("TOUCHPOINTS 2 of 2")


async def test_acts_of_the_page_are_about_it(tmp_path: Path) -> None:
    canned = house()
    async with at(canned, tmp_path) as screen:
        await screen.press("j", "enter")
        await screen.shows("TOUCHPOINT support@acme.example")
        await screen.press("enter")
        await screen.shows("Deactivate")
        await screen.press("t")
        await screen.shows("support@acme.example is off")
        assert canned.asked(DeactivateTouchpoint) == [DeactivateTouchpoint(touchpoint="1")]


async def test_an_agent_sees_what_the_list_knows(tmp_path: Path) -> None:
    canned = house(roles=frozenset({Role.AGENT}))
    async with at(canned, tmp_path) as screen:
        await screen.press("enter")
        await screen.quiet()
        assert "kept until it is connected" in screen.text()
        assert canned.asked(ShowTouchpoint) == []


def change(number: int, **detail: Any) -> AuditRow:
    return AuditRow(
        id=number, at=NOW - 60 * (1_000 - number), actor="ops", uid=1000, role="admin", verb="touchpoint.edit",
        subject="press@acme.example", detail=json.dumps(detail),
    )  # fmt: skip


async def test_the_history_tells_who_changed_what(tmp_path: Path) -> None:
    canned = house()
    canned.answers[ListAudit] = Page(rows=(change(9, name="Press desk", was={"name": "Press\u202e"}),))
    async with at(canned, tmp_path) as screen:
        await screen.press("h")
        await screen.shows("Press desk")
        text = screen.text()
        assert "now x LOST credential, on" in text and "touchpoint.edit" in text
        assert "Press\\u202e" in text and "\u202e" not in text
        assert {call.subject for call in canned.asked(ListAudit)} == {"press@acme.example"}
        await screen.press("enter", "y")
        assert "Press desk" in screen.ui.last_copied
        await screen.press("escape", "escape")
        await screen.shows("TOUCHPOINTS")


@pytest.mark.parametrize("name", ["Help", "Hilfe 😀", "ご案内"])
def test_the_rule_below_the_list_is_as_wide_as_the_screen_whatever_the_name(name: str) -> None:
    rule, *_ = preview(touchpoint(1, "help@acme.example", name=name), lambda _: "", 0.0, 80)
    assert cell_len(text_of(rule)) == 80


def test_every_cause_of_the_daemon_has_its_words() -> None:
    assert set(CAUSES) == {cause.value for cause in Cause}


async def test_ten_thousand_are_shown_and_filtered(tmp_path: Path) -> None:
    canned = house(SUPPORT)
    async with at(canned, tmp_path) as screen:
        rows = [touchpoint(n, f"desk{n}@acme.example") for n in range(1, 10_001)]
        screen.ui.picture.put_touchpoints(rows)
        screen.ui.tick()
        assert len(order(screen)) == 10_000
        await screen.press("G")
        assert "desk9999@acme.example" in screen.text()
        await screen.press("/")
        await screen.type("sk77@")
        assert order(screen) == ["desk77@acme.example"]
