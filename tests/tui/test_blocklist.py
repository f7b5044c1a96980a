"""Screen 7: who is blocked where, blocking and unblocking, and whether an address would be held."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from gateway.control import Block, BlockRow, Done, GetStatus, ListBlocklist, Page, Role, Unblock, Why, WhyAnswer
from pipeline.errors import Refused
from pipeline.names import check_pattern
from pipeline.touchpoint import normalise, without_tag
from stages.blocklist import _entry
from tests.tui.canned import NOW, Canned, served, short, status, touchpoint, until
from tests.tui.screen import Terminal, terminal
from tui.views.blocklist import Blocklist, forms

ROWS = (touchpoint(1), touchpoint(2, "press@acme.example", name="Press desk"), touchpoint(3, "sales@acme.example"))
SUPPORT, PRESS, SALES = (row.address for row in ROWS)


def entry(number: int, pattern: str, at: str = SUPPORT, note: str = "", hours: int = 3) -> BlockRow:
    """One entry, a few hours old."""
    return BlockRow(id=number, touchpoint=at, pattern=pattern, note=note, added_by="ops", added_at=NOW - hours * 3600)


ENTRIES = (
    entry(1, "pest@shop.example", note="asked twice"),
    entry(2, "@spam.example", PRESS),
    entry(3, "@.ads.example", note="newsletters"),
    entry(4, "pest@shop.example", PRESS),
)


class Blocked(Canned):
    """A daemon with blocklists, which refuses as the real one does."""

    def __init__(self, entries: tuple[BlockRow, ...] = ENTRIES, **more: Any) -> None:
        answers: dict[Any, Any] = {GetStatus: status(ROWS), ListBlocklist: self._list, Block: self._block,
                                   Unblock: self._unblock, Why: WhyAnswer(mails=(), items=(), more=False)}  # fmt: skip
        super().__init__(answers, **more)
        self.entries = list(entries)

    def _address(self, name: str) -> str:
        found = [row for row in self.status_now().touchpoints if name in (str(row.id), row.address)]
        if not found:
            raise Refused(f"there is no touchpoint {name!a}; see: postroom touchpoint list")
        return found[0].address

    def _list(self, call: ListBlocklist) -> Page[BlockRow]:
        at = self._address(call.touchpoint) if call.touchpoint else ""
        rows = [row for row in self.entries if row.id > call.after and (not at or row.touchpoint == at)]
        rows = [row for row in rows if call.text.lower() in row.pattern or call.text.lower() in row.note.lower()]
        window = rows[: call.limit]
        return Page(rows=tuple(window), next=window[-1].id if len(rows) > len(window) else 0)

    def _block(self, call: Block) -> Done:
        at, pattern = self._address(call.touchpoint), check_pattern(call.pattern)
        self.entries.append(entry(max((row.id for row in self.entries), default=0) + 1, pattern, at, call.note, 0))
        return Done(words=f"{pattern} is blocked for {at}")

    def _unblock(self, call: Unblock) -> Done:
        at, pattern = self._address(call.touchpoint), check_pattern(call.pattern)
        kept = [row for row in self.entries if (row.touchpoint, row.pattern) != (at, pattern)]
        if len(kept) == len(self.entries):
            raise Refused(f"{pattern} is not on the blocklist of {at}")
        self.entries = kept
        return Done(words=f"{pattern} is no longer blocked for {at}")

    def patterns(self) -> list[tuple[str, str]]:
        """What is on the lists now."""
        return [(row.pattern, row.touchpoint) for row in self.entries]


@asynccontextmanager
async def blocklist(
    tmp_path: Path, canned: Blocked | None = None, **more: Any
) -> AsyncIterator[tuple[Blocked, Terminal]]:
    """The screen."""
    canned = canned or Blocked()
    async with served(canned, short(tmp_path)) as path, terminal(path, screen="blocklist", **more) as screen:
        await screen.quiet()
        yield canned, screen


def view_of(screen: Terminal) -> Blocklist:
    """The screen itself."""
    assert isinstance(screen.ui.view, Blocklist)
    return screen.ui.view


# -- The list --------------------------------------------------------------------------------------------------------


async def test_who_is_blocked_where_why_by_whom_and_since_when(tmp_path: Path) -> None:
    async with blocklist(tmp_path) as (_, screen):
        text = screen.text()
        assert "BLOCKLIST 4 entries at all touchpoints" in text
        head, first = text.splitlines()[3:5]
        assert head.split() == ["blocked", "at", "why", "by", "since"]
        assert first.split() == [">pest@shop.example", SUPPORT, "asked", "twice", "ops", "3", "h", "00", "m"]
        assert f"pest@shop.example is held at {SUPPORT} since " in text


async def test_nobody_is_blocked(tmp_path: Path) -> None:
    async with blocklist(tmp_path, Blocked(())) as (canned, screen):
        await screen.shows("nobody is blocked; n blocks an address or a domain")
        for key in ("x", "enter"):
            await screen.press(key)
            await screen.shows("there is no row under the cursor")
        assert not canned.asked(Unblock)


async def test_the_filter_is_the_daemons_and_the_last_letter_counts(tmp_path: Path) -> None:
    async with blocklist(tmp_path) as (canned, screen):
        slow = asyncio.Event()
        answer = canned.answers[ListBlocklist]

        async def wait(call: ListBlocklist) -> None:
            if call.text == "n":
                await slow.wait()

        original = canned.answer

        async def held_up(call: Any, caller: Any) -> Any:
            if isinstance(call, ListBlocklist):
                await wait(call)
            return await original(call, caller)

        canned.answer = held_up  # type: ignore[method-assign]
        await screen.press("/")
        await screen.type("news")  # typed on, while the answer for the first letter is still awaited
        slow.set()
        await screen.shows("BLOCKLIST 1 entry at")
        assert "@.ads.example" in screen.text()
        assert canned.asked(ListBlocklist)[-1].text == "news"
        assert answer is canned.answers[ListBlocklist]
        await screen.press("escape")
        await screen.shows("BLOCKLIST 4 entries")


async def test_a_filter_that_finds_nothing_says_how_to_go_on(tmp_path: Path) -> None:
    async with blocklist(tmp_path) as (_, screen):
        await screen.press("/")
        await screen.type("zzz")
        await screen.press("enter")
        await screen.shows("no entry of these: Esc shows all of them")
        await screen.press("escape")
        await screen.shows("4 entries")


async def test_a_long_list_is_read_in_windows(tmp_path: Path) -> None:
    many = tuple(entry(n, f"pest{n}@shop.example") for n in range(1, 451))
    async with blocklist(tmp_path, Blocked(many)) as (canned, screen):
        await screen.shows("200+ entries")
        await screen.press("G")
        await screen.shows("400+ entries")
        await screen.press("G")
        await screen.shows("450 entries")
        await screen.press("G")
        await screen.shows(">pest450@shop.example")
        assert {call.limit for call in canned.asked(ListBlocklist)} == {200}
        await screen.press("ctrl+l")
        await until(lambda: len(canned.asked(ListBlocklist)) == 6, "all windows up to the cursor are read anew")
        await screen.shows(">pest450@shop.example")


async def test_what_somebody_else_blocks_is_seen(tmp_path: Path) -> None:
    async with blocklist(tmp_path) as (canned, screen):
        canned.entries.append(entry(9, "@new.example"))
        canned.change(replace(ROWS[0], version=2))
        await screen.shows("@new.example")
        asked = len(canned.asked(ListBlocklist))
        canned.change(replace(ROWS[0], version=2, queued=5))
        await until(lambda: screen.ui.picture.touchpoints[1].queued == 5, "the event is here")
        screen.ui.tick()
        await screen.pilot.pause()
        assert len(canned.asked(ListBlocklist)) == asked, "mail that comes in is no reason to ask"


async def test_one_touchpoint_only_and_back(tmp_path: Path) -> None:
    async with blocklist(tmp_path) as (canned, screen):
        view = view_of(screen)
        for key in ("escape", "c"):
            view.show_for(ROWS[1])
            await screen.shows(f"2 entries at {PRESS}")
            assert canned.asked(ListBlocklist)[-1].touchpoint == "2"
            await screen.press(key)
            await screen.shows("4 entries at all touchpoints")
        await screen.press("c")
        await screen.shows("all touchpoints are shown")


async def test_the_mail_of_a_sender(tmp_path: Path) -> None:
    async with blocklist(tmp_path) as (_, screen):
        await screen.press("j", "enter")
        await until(lambda: screen.ui.view is not None and screen.ui.view.NAME == "why", "its page is open")
        await screen.press("escape")
        await screen.shows("BLOCKLIST 4 entries")


# -- Blocking --------------------------------------------------------------------------------------------------------


async def fill(screen: Terminal, **values: str) -> None:
    """Fill in a form."""
    for name, value in values.items():
        screen.ui.screen.inputs[name].value = value  # type: ignore[attr-defined]


async def test_blocking_a_domain_and_taking_it_back(tmp_path: Path) -> None:
    async with blocklist(tmp_path) as (canned, screen):
        await screen.press("G", "n")
        await screen.shows("Mail of this sender is held from now on")
        assert f" {PRESS} " in screen.text(), "the touchpoint of the row is offered"
        await fill(screen, pattern="@Noise.example")
        await screen.press("enter", "right", "enter")
        await screen.type("news")
        await screen.press("enter")
        await screen.shows(f"@Noise.example is blocked at {SALES}")
        assert canned.asked(Block) == [Block(touchpoint=SALES, pattern="@Noise.example", note="news")]
        await screen.shows("5 entries")
        await screen.press("z")
        await screen.shows("4 entries")
        assert ("@noise.example", SALES) not in canned.patterns()
        await screen.press("Z")
        await screen.shows("5 entries")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"pattern": ""}, "must be filled in"),
        ({"pattern": "not a domain"}, "is not a domain name"),
        ({"pattern": "two@at@shop.example"}, "is not an address"),
        ({"pattern": " PEST@shop.example "}, "blocked already, 3 h 00 m ago: asked twice"),
    ],
)
async def test_faults_are_told_at_the_field_and_nothing_is_lost(
    tmp_path: Path, values: dict[str, str], said: str
) -> None:
    async with blocklist(tmp_path) as (canned, screen):
        await screen.press("n")
        await screen.shows("Mail of this sender")
        await fill(screen, note="keep me", **values)
        await screen.press("ctrl+s")
        await screen.shows(said)
        lines = screen.text().splitlines()
        at = next(number for number, each in enumerate(lines) if "Address or domain*" in each)
        assert said in lines[at + 1], "right below its field"
        assert "keep me" in screen.text()
        assert canned.patterns() == [(row.pattern, row.touchpoint) for row in ENTRIES]
        await screen.press("escape")


async def test_with_many_touchpoints_the_address_is_typed(tmp_path: Path) -> None:
    canned = Blocked(())
    canned.answers[GetStatus] = status(tuple(touchpoint(n, f"desk{n}@acme.example") for n in range(1, 40)))
    async with blocklist(tmp_path, canned) as (_, screen):
        await screen.press("n")
        await fill(screen, pattern="@spam.example", touchpoint="desk99@acme.example")
        await screen.press("ctrl+s")
        await screen.shows("there is no touchpoint 'desk99@acme.example'")
        await fill(screen, touchpoint="desk9@acme.example")
        await screen.press("ctrl+s")
        await screen.shows("@spam.example is blocked at desk9@acme.example")


async def test_a_half_filled_form_is_there_again(tmp_path: Path) -> None:
    async with blocklist(tmp_path) as (_, screen):
        await screen.press("n")
        await screen.type("pest@shop")
        await screen.press("escape", "n")
        await screen.shows("pest@shop")
        assert screen.ui.screen.values["pattern"] == "pest@shop"  # type: ignore[attr-defined]


# -- Unblocking ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["x", "d"])
async def test_unblocking_with_undo_keeps_the_reason(tmp_path: Path, key: str) -> None:
    async with blocklist(tmp_path) as (canned, screen):
        await screen.press(key)
        await screen.shows(f"pest@shop.example is off the list of {SUPPORT}")
        assert canned.asked(Unblock) == [Unblock(touchpoint=SUPPORT, pattern="pest@shop.example")]
        await screen.shows("3 entries")
        await screen.press("z")
        await screen.shows("4 entries")
        assert canned.asked(Block) == [Block(touchpoint=SUPPORT, pattern="pest@shop.example", note="asked twice")]


async def test_a_refusal_in_the_middle_tells_how_far_it_came(tmp_path: Path) -> None:
    class OneGoes(Blocked):
        def _unblock(self, call: Unblock) -> Done:
            if call.pattern == "@spam.example":
                raise Refused("the database is locked")
            return super()._unblock(call)

    async with blocklist(tmp_path, OneGoes()) as (canned, screen):
        await screen.press("*", "x")
        await screen.shows("1 of 4 are off the list; @spam.example: the database is locked")
        await screen.press("z")
        await screen.shows("taken back")
        assert sorted(canned.patterns()) == sorted((row.pattern, row.touchpoint) for row in ENTRIES)


async def test_the_menu_is_about_the_row_of_its_key_press(tmp_path: Path) -> None:
    async with blocklist(tmp_path) as (canned, screen):
        await screen.press("j", "a")
        await screen.shows("postroom blocklist remove press@acme.example @spam.example")
        canned.entries.insert(0, entry(0, "@first.example"))
        canned.entries = [row for row in canned.entries if row.id != 1]
        canned.change(replace(ROWS[0], version=2))
        await until(lambda: screen.ui.picture.touchpoints[1].version == 2, "the event is here")
        await screen.press("x")
        await screen.shows("@spam.example is off the list")
        assert canned.asked(Unblock) == [Unblock(touchpoint=PRESS, pattern="@spam.example")]


# -- Roles and connections -------------------------------------------------------------------------------------------


async def test_who_may_only_look(tmp_path: Path) -> None:
    async with blocklist(tmp_path, Blocked(roles=frozenset({Role.OPS}))) as (canned, screen):
        for key in ("n", "x"):
            await screen.press(key)
            await screen.shows("not with your roles (ops)")
        await screen.press("T")
        await screen.shows("would it be held?")
        assert not canned.asked(Block) + canned.asked(Unblock)


async def test_who_may_not_even_look(tmp_path: Path) -> None:
    canned = Blocked()
    canned.answers[ListBlocklist] = Refused("blocklist.list is not for agents")
    async with blocklist(tmp_path, canned) as (_, screen):
        await screen.shows("blocklist.list is not for agents")


async def test_without_a_connection(tmp_path: Path) -> None:
    async with terminal(tmp_path / "none.sock", screen="blocklist") as screen:
        await screen.shows("NO CONNECTION")
        for key in ("n", "T"):
            await screen.press(key)
            await screen.shows("there is no connection to the daemon")


# -- Testing an address ----------------------------------------------------------------------------------------------


async def test_an_address_is_tested(tmp_path: Path) -> None:
    canned = Blocked((*ENTRIES, entry(5, "@shop.example", note="all of it"), entry(6, "@shop.example.org")))
    async with blocklist(tmp_path, canned) as (_, screen):
        await screen.press("T")
        await screen.shows("would it be held? (all touchpoints)")
        await screen.type("pest")
        await screen.press("enter")
        await screen.shows("needs an @")
        await fill(screen, address="pest+tag@Shop.example")
        await screen.press("enter")
        await screen.shows(f"is held at {SUPPORT} by pest@shop.example  (asked twice)")
        text = screen.text()
        assert f"also named at {SUPPORT} by @shop.example  (all of it)" in text
        assert f"is held at {PRESS} by pest@shop.example" in text
        assert "example.org" not in text
        await screen.press("escape", "T")
        await fill(screen, address="buyer@other.example")
        await screen.press("enter")
        await screen.shows("No entry of all touchpoints names this address")


async def test_the_test_asks_for_the_touchpoint_that_is_shown(tmp_path: Path) -> None:
    async with blocklist(tmp_path) as (canned, screen):
        view_of(screen).show_for(ROWS[1])
        await screen.shows(f"at {PRESS}")
        assert [row.id for row in await view_of(screen).naming("x@mail.spam.example")] == []
        assert [row.id for row in await view_of(screen).naming("x@spam.example")] == [2]
        assert [row.id for row in await view_of(screen).naming("x@deep.ads.example")] == []
        assert {call.touchpoint for call in canned.asked(ListBlocklist)[1:]} == {"2"}


async def test_an_entry_behind_the_first_window_is_found(tmp_path: Path) -> None:
    many = tuple(entry(n, f"{n}pest@shop.example") for n in range(1, 300))
    async with blocklist(tmp_path, Blocked((*many, entry(300, "pest@shop.example")))) as (_, screen):
        assert [row.id for row in await view_of(screen).naming("PEST@shop.example")] == [300]


LABEL = st.text("abzß-é日", min_size=1, max_size=4)
ADDRESS = st.builds(
    lambda local, labels: f"{local}@{'.'.join(labels)}",
    st.text("abAB.+é\u0130", min_size=1, max_size=6),
    st.one_of(st.lists(LABEL, min_size=1, max_size=24), st.sampled_from([["gmail", "com"], ["GOOGLEMAIL", "com"]])),
)


@given(ADDRESS, st.data())
def test_an_address_is_compared_as_the_stage_compares_it(address: str, data: st.DataObject) -> None:
    ours = forms(address)
    others = [without_tag(address), normalise(address), "@other.example", "@.example", address]
    blocked = frozenset(data.draw(st.lists(st.sampled_from([*ours, *others]))))
    assert _entry(normalise(address), blocked) == next((form for form in ours if form in blocked), None)
