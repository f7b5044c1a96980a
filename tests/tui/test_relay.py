"""Screen 9: what the relay is doing, and the internal senders; on a canned daemon."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.control import (
    AddRelayUser,
    Done,
    EditRelayUser,
    GetStatus,
    ListenerRow,
    ListRelayUsers,
    Page,
    RefusalRow,
    RelayClientRow,
    RelayRateRow,
    RelayState,
    RelayUserRow,
    RemoveRelayUser,
    Role,
    ShowRelay,
)
from pipeline.errors import Refused
from tests.tui.canned import NOW, Canned, served, short, status, touchpoint, until
from tests.tui.screen import Clock, Terminal, terminal
from tui.dialogs import Form
from tui.lines import text_of
from tui.views.relay import Relay
from tui.views.relay_users import RelayUsers
from tui.views.sections import Item, Sections, cells

SUBMISSION = ListenerRow(
    name="submission", host="192.0.2.1", port=587, mode="submission", sessions=2, accepted=22_190, refused=12
)
SIX = ListenerRow(name="six", host="2001:db8::1", port=465, mode="submissions", sessions=0, accepted=4, refused=0)
CLIENT = RelayClientRow(
    peer="192.0.2.7", listener="submission", user="billing", since=NOW - 30, accepted=3, refused=0
)  # fmt: skip
STRANGER = RelayClientRow(peer="192.0.2.9", listener="submission", user="", since=NOW - 2, accepted=0, refused=1)
RATE = RelayRateRow(user="billing", accepted=412, refused=1, last_at=NOW - 3)
REFUSAL = RefusalRow(
    at=NOW - 60, peer="192.0.2.9", listener="submission", user="shop", code=550,
    text="5.7.1 shop may not write as press@acme.example; ask whoever runs this post room for a grant",
)  # fmt: skip
STATE = RelayState(listeners=(SUBMISSION, SIX), clients=(CLIENT, STRANGER), rates=(RATE,), refusals=(REFUSAL,))
NOTHING = RelayState(listeners=(), clients=(), rates=(), refusals=())
BILLING = RelayUserRow(
    id=1, name="billing", grants=("support@acme.example", "press@acme.example"), signature=True, notify=""
)
SHOP = RelayUserRow(id=2, name="shop", grants=(), signature=False, notify="ops@acme.example")
POINTS = (touchpoint(1), touchpoint(2, "press@acme.example"), touchpoint(3, "jobs@acme.example"))


class Senders(Canned):
    """A daemon that keeps relay users."""

    def __init__(self, *users: RelayUserRow, **more: Any) -> None:
        super().__init__(
            {
                GetStatus: status(POINTS), ShowRelay: STATE, ListRelayUsers: self._list, AddRelayUser: self._add,
                EditRelayUser: self._edit, RemoveRelayUser: self._remove,
            }, **more,
        )  # fmt: skip
        self.users = {row.name: row for row in users}

    def _list(self, call: ListRelayUsers) -> Page[RelayUserRow]:
        return Page(rows=tuple(self.users.values()))

    def _add(self, call: AddRelayUser) -> RelayUserRow:
        if call.name in self.users:
            raise Refused(f"there is already a relay user named {call.name!r}")
        row = RelayUserRow(
            id=9, name=call.name, grants=call.grants, signature=call.signature, notify=call.notify
        )  # fmt: skip
        self.users[call.name] = row
        return row

    def _edit(self, call: EditRelayUser) -> RelayUserRow:
        row = self.users[call.name]
        named = {str(point.id): point.address for point in POINTS}
        grants = [each for each in row.grants if each not in map(named.get, call.revoke)]
        row = replace(row, grants=(*grants, *(named[each] for each in call.grant)))
        row = replace(row, notify=row.notify if call.notify is None else call.notify)
        self.users[call.name] = replace(row, signature=row.signature if call.signature is None else call.signature)
        return self.users[call.name]

    def _remove(self, call: RemoveRelayUser) -> Done:
        del self.users[call.name]
        return Done(words=f"relay user {call.name} is removed")


@asynccontextmanager
async def relay_of(canned: Canned, tmp_path: Path, **more: Any) -> AsyncIterator[Terminal]:
    """The relay's screen, loaded."""
    async with served(canned, short(tmp_path)) as path, terminal(path, screen="relay", **more) as term:
        await term.quiet()
        yield term


@asynccontextmanager
async def users_of(canned: Canned, tmp_path: Path, **more: Any) -> AsyncIterator[Terminal]:
    """The page of relay users, loaded."""
    async with relay_of(canned, tmp_path, **more) as term:
        await term.press("u")
        await until(lambda: isinstance(term.ui.view, RelayUsers), "the relay users are shown")
        await term.quiet()
        yield term


def under(term: Terminal) -> str:
    """The line under the cursor."""
    return next(line for line in term.text().splitlines() if line.startswith(">"))


# -- The relay -----------------------------------------------------------------------------------------------------


async def test_it_shows_listeners_clients_rates_and_refusals(tmp_path: Path) -> None:
    async with relay_of(Senders(), tmp_path) as term:
        await term.shows("2 connected   last hour: 412 mails taken, 1 refusals")
        lines = [" ".join(line.split()) for line in term.text().splitlines()]
    for words in (
        "> submission 192.0.2.1:587 submission 2 22,190 12",
        "six [2001:db8::1]:465 submissions 0 4 0",
        "192.0.2.7 submission billing 30 s 3 0",
        "192.0.2.9 submission - 2 s 0 1",
        "billing 3 s ago 412 1",
    ):
        assert words in lines, words
    assert any(line.startswith("14:01:11 192.0.2.9 shop 550 5.7.1 shop may not") for line in lines)


async def test_it_is_asked_every_two_seconds_and_the_cursor_stays_with_its_row(tmp_path: Path) -> None:
    clock = Clock()
    canned = Senders()
    async with relay_of(canned, tmp_path, now=clock) as term:
        await term.press("j", "j", "j")
        assert "192.0.2.9" in under(term)
        canned.answers[ShowRelay] = replace(STATE, clients=(STRANGER,), listeners=(SUBMISSION,))
        count = len(canned.asked(ShowRelay))
        clock.time += 2.0
        await term.hides("30 s")
        assert len(canned.asked(ShowRelay)) == count + 1
        assert "192.0.2.9" in under(term)


async def test_the_cursor_passes_over_headings(tmp_path: Path) -> None:
    async with relay_of(Senders(), tmp_path) as term:
        seen = []
        for key in ("j", "j", "j", "j", "j", "k", "g", "G"):
            await term.press(key)
            seen.append(type(term.ui.view.current.row).__name__)  # type: ignore[union-attr]
    client, rate, refusal = "RelayClientRow", "RelayRateRow", "RefusalRow"
    assert seen == ["ListenerRow", client, client, rate, refusal, rate, "ListenerRow", refusal]


async def test_the_whole_refusal_is_below_and_beside(tmp_path: Path) -> None:
    async with relay_of(Senders(), tmp_path) as term:
        await term.press("G")
        await term.shows("post room for a grant")
        await term.press("y")
        assert term.ui.last_copied.endswith("ask whoever runs this post room for a grant")


async def test_a_relay_without_anything_says_what_to_do(tmp_path: Path) -> None:
    canned = Senders()
    canned.answers[ShowRelay] = NOTHING
    async with relay_of(canned, tmp_path) as term:
        await term.shows("it listens nowhere; name a [[relay.listener]] in postroom.toml")
        assert "nobody is connected now" in term.text() and "nothing was refused" in term.text()
        await term.press("j", "G", "enter")
        await term.shows("there is no row under the cursor")


async def test_the_filter_keeps_the_headings(tmp_path: Path) -> None:
    async with relay_of(Senders(), tmp_path) as term:
        await term.press("/")
        await term.type("192.0.2.9")
        await term.hides("192.0.2.7")
        text = term.text()
        assert "LISTENERS" in text and "nothing here holds that" in text and text.count("192.0.2.9") >= 2


async def test_enter_on_a_user_opens_the_users_at_that_one(tmp_path: Path) -> None:
    async with relay_of(Senders(SHOP, BILLING), tmp_path) as term:
        await term.press("G", "enter")
        await until(lambda: isinstance(term.ui.view, RelayUsers), "the relay users are shown")
        await term.shows(">shop")


async def test_an_agent_is_told_that_the_relay_is_not_shown(tmp_path: Path) -> None:
    canned = Senders(roles=frozenset({Role.AGENT}))
    async with relay_of(canned, tmp_path) as term:
        await term.shows("not shown to your role (agent): the relay")
        assert not canned.asked(ShowRelay)


async def test_a_refusal_of_the_daemon_is_said_and_the_rows_stay(tmp_path: Path) -> None:
    clock = Clock()
    canned = Senders()
    async with relay_of(canned, tmp_path, now=clock) as term:
        canned.answers[ShowRelay] = Refused("not now")
        clock.time += 2.0
        await term.shows("not now")
        assert "192.0.2.7" in term.text()


# -- Relay users: a new one ----------------------------------------------------------------------------------------


def fill(term: Terminal, **values: str) -> None:
    """Put these into the fields of the form."""
    form = term.ui.screen
    assert isinstance(form, Form)
    for name, value in values.items():
        form.inputs[name].value = value


async def test_a_new_relay_user_is_made_with_its_grants(tmp_path: Path) -> None:
    canned = Senders(BILLING)
    async with users_of(canned, tmp_path) as term:
        await term.press("n")
        await term.shows("a new relay user")
        fill(term, name=" crm", password="s3cret", again="s3cret", grants="j@a.test  s@a.test ")
        await term.press("up", "up", "right", "ctrl+s")
        await term.shows("relay user crm is made; may write as j@a.test and s@a.test")
        await term.shows(">crm")
        assert "s3cret" not in term.text()
    made = canned.asked(AddRelayUser)
    assert made == [
        AddRelayUser(name="crm", password="s3cret", notify="", signature=True, grants=("j@a.test", "s@a.test"))
    ]


async def test_passwords_that_differ_are_not_sent(tmp_path: Path) -> None:
    canned = Senders()
    async with users_of(canned, tmp_path) as term:
        await term.press("n")
        await term.shows("a new relay user")
        fill(term, name="crm", password="one", again="two")
        await term.press("ctrl+s")
        await term.shows("this is not the same password")
    assert not canned.asked(AddRelayUser)


async def test_what_the_daemon_refuses_stays_in_the_form(tmp_path: Path) -> None:
    canned = Senders(SHOP)
    async with users_of(canned, tmp_path) as term:
        await term.press("n")
        await term.shows("a new relay user")
        fill(term, name="shop", password="p", again="p")
        await term.press("ctrl+s")
        await term.shows("there is already a relay user named 'shop'")
        await term.press("escape")
        await term.hides("a new relay user")
        kept = "".join(path.read_text("utf-8") for path in (short(tmp_path).parent / "drafts").glob("*.json"))
    assert '"shop"' in kept and "password" not in kept


# -- Relay users: changes ------------------------------------------------------------------------------------------


async def test_an_edit_sends_only_what_is_different_and_can_be_taken_back(tmp_path: Path) -> None:
    canned = Senders(BILLING, SHOP)
    async with users_of(canned, tmp_path) as term:
        await term.press("j", "e")
        await term.shows("relay user shop")
        await term.press("tab", "right", "ctrl+s")
        await term.shows("relay user shop is changed  (z takes it back)")
        await term.press("z")
        await term.shows("taken back: relay user shop is changed")
    assert canned.asked(EditRelayUser) == [
        EditRelayUser(name="shop", signature=True), EditRelayUser(name="shop", signature=False),
    ]  # fmt: skip


async def test_a_new_password_cannot_be_taken_back(tmp_path: Path) -> None:
    canned = Senders(BILLING)
    async with users_of(canned, tmp_path) as term:
        await term.press("e")
        await term.shows("relay user billing")
        fill(term, password="new", again="new")
        await term.press("ctrl+s")
        await term.shows("relay user billing is changed")
        assert "takes it back" not in term.text()
    assert canned.asked(EditRelayUser) == [EditRelayUser(name="billing", password="new")]


async def test_an_edit_of_nothing_says_so(tmp_path: Path) -> None:
    canned = Senders(BILLING)
    async with users_of(canned, tmp_path) as term:
        await term.press("e")
        await term.shows("relay user billing")
        await term.press("ctrl+s")
        await term.shows("nothing is different from what it was")
    assert not canned.asked(EditRelayUser)


async def test_touchpoints_are_picked_and_the_differences_granted_and_revoked(tmp_path: Path) -> None:
    canned = Senders(BILLING)
    async with users_of(canned, tmp_path) as term:
        await term.press("t")
        await term.shows("billing may write as")
        await term.press("space", "space", "enter")  # jobs is granted, press is revoked, support stays
        await term.shows("may write as jobs@acme.example, no longer as press@acme.example")
        await until(lambda: canned.users["billing"].grants[-1] == "jobs@acme.example", "it is granted")
        await term.shows("support@acme.example,")
        await term.press("z")
        await term.shows("taken back")
        assert set(canned.users["billing"].grants) == set(BILLING.grants)
    first, second = canned.asked(EditRelayUser)
    assert first == EditRelayUser(name="billing", grant=("3",), revoke=("2",))
    assert second == EditRelayUser(name="billing", grant=("2",), revoke=("3",))


async def test_picking_nothing_else_changes_nothing(tmp_path: Path) -> None:
    canned = Senders(BILLING)
    async with users_of(canned, tmp_path) as term:
        await term.press("t")
        await term.shows("billing may write as")
        await term.press("enter")
        await term.shows("nothing is different")
    assert not canned.asked(EditRelayUser)


async def test_a_removal_asks_for_the_name_of_the_row_that_was_meant(tmp_path: Path) -> None:
    clock = Clock()
    canned = Senders(BILLING, SHOP)
    async with users_of(canned, tmp_path, now=clock) as term:
        await term.press("j", "x")
        await term.shows("type shop to do it")
        canned.users = {"aaa": replace(SHOP, id=7, name="aaa"), **canned.users}  # another row comes in above
        clock.time += 10.0
        term.ui.tick()
        await term.type("aaa")
        await term.press("enter")
        assert not canned.asked(RemoveRelayUser)
        await term.type("shop")
        await term.press("enter")
        await term.shows("relay user shop is removed")
        await term.hides(">shop")
    assert canned.asked(RemoveRelayUser) == [RemoveRelayUser(name="shop")]


@pytest.mark.parametrize(
    ("key", "role", "why"),
    [("n", Role.OPS, "not with your roles (ops)"), ("x", Role.AUDIT, "not with your roles (audit)")],
)
async def test_only_admins_change_relay_users(key: str, role: Role, why: str, tmp_path: Path) -> None:
    async with users_of(Senders(BILLING, roles=frozenset({role})), tmp_path) as term:
        await term.press(key)
        await term.shows(why)


async def test_without_relay_users_it_says_how_to_make_one(tmp_path: Path) -> None:
    async with users_of(Senders(), tmp_path) as term:
        await term.shows("there is no relay user yet; n makes one")
        await term.press("e")
        await term.shows("there is no row under the cursor")


async def test_a_user_without_grants_stands_out(tmp_path: Path) -> None:
    async with users_of(Senders(SHOP), tmp_path) as term:
        await term.shows("nobody yet")
        assert "the relay refuses all its mail" in term.text()


# -- Sections ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [20, 40, 59, 79, 160])
def test_columns_are_left_out_where_there_is_no_room_and_never_the_first(width: int) -> None:
    made = text_of(cells(width, ("first", 0), ("second", 13), ("third", 16), ("4", -9), ("5", -8)))
    assert made.startswith("first") and made.rstrip().endswith("5")
    assert len(made) <= max(width, 12 + 8 + 2)


def test_a_list_of_headings_only_has_no_row() -> None:
    made = Sections(glyphs=None, empty="")  # type: ignore[arg-type]
    made.rows = (Item(key="a", made=lambda width: ()), Item(key="b", made=lambda width: ()))
    assert made.current is None and made.chosen() == []
    assert Relay.NAME == "relay"


async def test_keys_that_move_find_nothing_before_the_daemon_has_answered(tmp_path: Path) -> None:
    async with terminal(tmp_path / "none.sock", screen="relay") as screen:
        await screen.shows("NO CONNECTION")
        await screen.press("j", "k", "G", "g", "pagedown", "pageup", "space", "*")
        assert screen.ui.is_running
        assert screen.ui._exception is None
