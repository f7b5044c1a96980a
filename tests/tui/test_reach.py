"""Everything can be done with the keyboard alone, on a terminal of 80x24: every call, every key, and nothing else.

``REACH`` says for each call of the wire which keys lead to it from the start. Each screen is then looked at once: no
key on it is dead, each stands in its help, and for those who may only look none of them changes anything.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway import control as c
from gateway.control import RULES, Call, DirectionType, Role, changes, method_of
from tests.tui.canned import Canned, served, short, until
from tests.tui.house import a_house
from tests.tui.screen import Clock, Terminal, terminal
from tui.acts import Act
from tui.catalogue import all_views
from tui.everywhere import EVERYWHERE, MOVING
from tui.frame import SCREENS
from tui.keys import shown
from tui.view import View


@dataclass(frozen=True)
class Types:
    """A text that is typed, letter by letter."""

    text: str


@dataclass(frozen=True)
class Sees:
    """The person waits until the screen says this."""

    words: str


Keys = Sequence[str | Types | Sees]
"""What a person does; a plain text is the name of a key."""


@dataclass(frozen=True)
class Way:
    """A call, with all that is in it, and how one comes to make it."""

    call: Call[Any]
    keys: Keys = ()


# The cursor is first on press@acme.example (2) among the touchpoints, since that one is lost; on mail 900 in the first
# queue, on 700 among what is held, on 850 in the list of what goes out, and on pest@spam.example in the blocklist.
REACH: dict[type[Call[Any]], Way] = {
    # The house
    c.WhoAmI: Way(c.WhoAmI()),
    c.GetStatus: Way(c.Watch()),  # never asked for: it is what a watch begins with
    c.Watch: Way(c.Watch()),
    c.GetStages: Way(c.GetStages()),
    c.ListLog: Way(c.ListLog(limit=200), ["8"]),
    c.ListSettings: Way(c.ListSettings(), ["0"]),
    c.ShowRelay: Way(c.ShowRelay(), ["9"]),
    c.ListPresets: Way(c.ListPresets(), ["2", "E"]),
    c.ListAudit: Way(c.ListAudit(subject="press@acme.example"), ["2", "h"]),
    # Touchpoints
    c.ListTouchpoints: Way(c.ListTouchpoints(limit=300), ["2"]),
    c.ShowTouchpoint: Way(c.ShowTouchpoint(touchpoint="2"), ["2", "enter"]),
    c.CreateTouchpoint: Way(
        c.CreateTouchpoint(address="desk@acme.example", name="Desk"),
        ["2", "n", Types("desk@acme.example"), "tab", Types("Desk"), "ctrl+s"],
    ),
    c.EditTouchpoint: Way(
        c.EditTouchpoint(touchpoint="2", name="Press desk, Hamburg"),
        ["2", "e", Sees("Friendly name"), "tab", Types(", Hamburg"), "ctrl+s"],
    ),
    c.DuplicateTouchpoint: Way(
        c.DuplicateTouchpoint(touchpoint="2", address="media@acme.example", name="Media"),
        ["2", "d", Types("media@acme.example"), "tab", Types("Media"), "ctrl+s"],
    ),
    c.DeleteTouchpoint: Way(
        c.DeleteTouchpoint(touchpoint="2", drop_pending=True), ["2", "x", Types("press@acme.example"), "enter"]
    ),
    c.SetDirection: Way(c.SetDirection(touchpoint="2", direction=DirectionType.INBOUND), ["2", "D", "i"]),
    c.SetConnection: Way(
        c.SetConnection(touchpoint="2", imap="imap.acme.example:143:starttls"),
        ["2", "E", Sees("Receives (IMAP)"), "tab", *["backspace"] * len("993:tls"), Types("143:starttls"), "ctrl+s"],
    ),
    c.PlanConnect: Way(c.PlanConnect(touchpoint="2"), ["2", "c", Sees("type it"), "enter"]),
    c.ConnectTouchpoint: Way(
        c.ConnectTouchpoint(touchpoint="2", password="s3cret"),
        ["2", "R", Sees("type it"), Types("s3cret"), "enter", Sees("Enter connects"), "enter"],
    ),
    c.TryTouchpoint: Way(c.TryTouchpoint(touchpoint="2", half="sending"), ["2", "T"]),
    c.ActivateTouchpoint: Way(
        c.ActivateTouchpoint(touchpoint="2", start_now=True), ["2", "t", Sees("is off"), "t", Sees("Catch up"), "n"]
    ),
    c.DeactivateTouchpoint: Way(c.DeactivateTouchpoint(touchpoint="2"), ["2", "t"]),
    c.ResumeTouchpoint: Way(
        c.ResumeTouchpoint(touchpoint="4", choice=c.ResumeChoice.LEAVE),
        ["2", "/", Types("sales"), "enter", "m", Sees("320 unseen"), "l"],
    ),
    c.LinkRingGroup: Way(
        c.LinkRingGroup(touchpoint="2", ring_group="Night shift"), ["2", "l", Types("night"), "space", "enter"]
    ),
    c.UnlinkRingGroup: Way(
        c.UnlinkRingGroup(touchpoint="2", ring_group="Press"), ["2", "l", Types("press"), "space", "enter"]
    ),
    c.ListBlocklist: Way(c.ListBlocklist(limit=200), ["7"]),
    c.Block: Way(
        c.Block(touchpoint="support@acme.example", pattern="@spam.example", note="lottery"),
        ["7", "n", Types("@spam.example"), "tab", "tab", Types("lottery"), "ctrl+s"],
    ),
    c.Unblock: Way(c.Unblock(touchpoint="support@acme.example", pattern="pest@spam.example"), ["7", "x"]),
    c.ShowTemplate: Way(c.ShowTemplate(touchpoint="3", kind="signature"), ["6"]),
    c.SetTemplate: Way(
        c.SetTemplate(touchpoint="3", kind="auto_reply", subject="Got it", text="Thank you."),
        ["6", "e", Sees("^s saves"), Types("Thank you."), "tab", Types("Got it"), "ctrl+s"],
    ),
    # Ring groups and relay users
    c.ListRingGroups: Way(c.ListRingGroups(limit=500), ["3"]),
    c.CreateRingGroup: Way(c.CreateRingGroup(name="Complaints"), ["3", "n", Types("Complaints"), "enter"]),
    c.DeleteRingGroup: Way(
        c.DeleteRingGroup(name="Night shift"),
        ["3", "/", Types("night"), "enter", "x", Types("Night shift"), "enter"],
    ),
    c.ListRelayUsers: Way(c.ListRelayUsers(limit=500), ["9", "u"]),
    c.AddRelayUser: Way(
        c.AddRelayUser(name="till", password="s3cret", grants=("sales@acme.example",)),
        ["9", "u", "n", Types("till"), "tab", Types("s3cret"), "tab", Types("s3cret"), "tab", "tab", "tab",
         Types("sales@acme.example"), "ctrl+s"],
    ),
    c.EditRelayUser: Way(
        c.EditRelayUser(name="shop", notify="ops@shop.example"),
        ["9", "u", "down", "e", Types("ops@shop.example"), "ctrl+s"],
    ),
    c.RemoveRelayUser: Way(c.RemoveRelayUser(name="shop"), ["9", "u", "down", "x", Types("shop"), "enter"]),
    # Mail
    c.ListMail: Way(c.ListMail(direction="in", state="open", ring_group="EU support", limit=200),
                    ["3", "down", "enter"]),
    c.ShowMail: Way(c.ShowMail(id=846), [":", Types("846"), "enter"]),
    c.ReadContent: Way(c.ReadContent(id=699), ["5", "down", "v"]),
    c.ReadText: Way(c.ReadText(id=899), ["3", "enter", "down", "enter"]),
    c.ShapeOutbox: Way(c.ShapeOutbox(by="touchpoint"), ["4", "s"]),
    c.Why: Way(c.Why(author="buyer@shop.example", subject="invoice"),
               ["W", "tab", Types("buyer@shop.example"), "tab", Types("invoice"), "ctrl+s"]),
    c.Prove: Way(c.Prove(touchpoint="2"), ["2", "P"]),
    c.ShowProving: Way(c.ShowProving(), ["1", "P"]),
    c.ReplayMail: Way(c.ReplayMail(id=700), ["5", "L"]),
    c.CloseMail: Way(c.CloseMail(id=899), ["3", "enter", "down", "C"]),
    c.ReopenMail: Way(c.ReopenMail(id=860), ["3", "enter", "t", "O"]),
    c.MoveMail: Way(
        c.MoveMail(id=900, ring_groups=("EU support", "Front office")), ["3", "enter", "m", "space", "enter"]
    ),
    c.RetryMail: Way(c.RetryMail(id=850), ["4", "o", "r", "y"]),
    c.ConfirmMail: Way(c.ConfirmMail(id=847), ["4", "o", "down", "down", "down", "d", "y"]),
    c.HoldMail: Way(c.HoldMail(id=849), ["4", "o", "down", "h", "y"]),
    c.ReleaseMail: Way(c.ReleaseMail(id=700), ["5", "u", "y"]),
    c.DropMail: Way(c.DropMail(id=699), ["5", "down", "x", Types("699"), "enter"]),
}  # fmt: skip


def test_every_call_of_the_wire_has_its_keys() -> None:
    assert REACH.keys() == {rule.call for rule in RULES}


@asynccontextmanager
async def desk(canned: Canned, tmp_path: Path, **options: Any) -> AsyncIterator[Terminal]:
    """The terminal UI on this daemon, as it is after its start, without a mouse. Its clock stands still, so that
    nothing happens by itself."""
    quiet: dict[str, Any] = {"now": Clock(), "mouse": False}
    async with served(canned, short(tmp_path)) as path, terminal(path, size=(80, 24), **quiet, **options) as at:
        await at.quiet()
        yield at


async def do(at: Terminal, keys: Keys) -> None:
    """What a person does: each key on a screen that has come to rest."""
    for key in keys:
        match key:
            case Types(text):
                await rest(at)
                await at.send(*text)
            case Sees(words):
                await at.shows(words)
            case str():
                await rest(at)
                await at.send(key)
    await rest(at)


async def rest(at: Terminal) -> None:
    """Wait until all keys have done what they do, and until a screen without a question over it has all it asks for."""

    def rests() -> bool:
        ui, view = at.ui, at.ui.view
        if view is None or not (ui._typing is None or ui._typing.done()):
            return False
        ui.tick()
        busy = any(each.group == "acts" and not each.is_finished for each in ui.workers)
        detailed = view._detail is None or view._detail.done()
        if len(ui.screen_stack) > 1:
            return getattr(ui.screen, "ready", True)
        return not busy and view.loaded() and detailed

    await until(rests, "the screen comes to rest")


@pytest.mark.parametrize("kind", REACH, ids=method_of)
async def test_every_call_is_reached_by_keys_alone(kind: type[Call[Any]], tmp_path: Path) -> None:
    way, canned = REACH[kind], a_house()
    async with desk(canned, tmp_path) as at:
        assert not way.keys or way.call not in canned.made
        await do(at, way.keys)
        await until(lambda: way.call in canned.made, f"{way.call} is made; these were: {canned.made}\n{at.text()}")
        if changes(kind):
            assert canned.asked(kind) == [way.call]


# -- Each screen ---------------------------------------------------------------------------------------------------

PLACES: dict[str, Keys] = {
    **{name: [digit] for digit, name, _ in SCREENS},
    "touchpoint": ["2", "enter"],
    "history": ["2", "h"],
    "queue": ["3", "enter"],
    "outgoing": ["4", "o"],
    "mail": ["5", "enter"],
    "why": ["W", Types("<m899@werk.example>"), "ctrl+s"],
    "audit": ["8", "e"],
    "relay_users": ["9", "u"],
}
"""How one comes to each screen and page."""
LEAVES = {"ui.quit", *(f"go.{name}" for _, name, _ in SCREENS)}
"""Acts that lead away from anywhere; the ways here and the test below are proof enough of them."""
VIEWS = pytest.mark.parametrize("view", list(all_views()), ids=lambda view: view.NAME)


def keys_on(view: type[View]) -> Iterator[tuple[Act, list[str]]]:
    """What can be done on a screen, with the keys that do it there: its own acts go first."""
    taken: set[str] = set()
    for act in (*view.ACTS, *EVERYWHERE):
        if free := [key for key in act.keys if key not in taken]:
            taken.update(free)
            yield act, free


async def come(at: Terminal, view: type[View]) -> None:
    """Come to a screen, or back to it as it was before a key did something."""
    await rest(at)
    for _ in range(4):
        if not closed(at):
            await do(at, ["escape"])
    if at.ui.paused:
        await do(at, ["p"])
    if type(at.ui.view) is not view:
        await do(at, PLACES[view.NAME])
    assert type(at.ui.view) is view and closed(at)


def closed(at: Terminal) -> bool:
    """Whether there is nothing that Esc would close, or take back, on this screen."""
    ui, view = at.ui, at.ui.view
    marks = view is not None and view.list is not None and view.list.marks
    return len(ui.screen_stack) == 1 and not (ui.desk.prompt.display or view is None or view.full or marks)


async def does(at: Terminal, canned: Canned, key: str) -> bool:
    """Whether a key does anything that is seen: a call, a question, another screen, other words on it."""
    ui = at.ui

    def state() -> tuple[Any, ...]:
        return len(canned.made), len(ui.screen_stack), ui.view, ui.said, ui.return_code

    def seen() -> bool:
        ui.tick()
        return state() != before or at.text() != text

    ui.said = None
    ui.tick()
    before, text = state(), at.text()
    await at.send(key)
    with suppress(AssertionError):
        await until(seen, "something happens", 5.0)
        return True
    return False


async def help_of(at: Terminal) -> str:
    """All that the help says, page by page."""
    await do(at, ["?"])
    text = ""
    while (now := at.text()) not in text:
        text += now
        await do(at, ["pagedown"])
    return text


@VIEWS
async def test_no_key_of_a_screen_is_dead_and_each_stands_in_its_help(view: type[View], tmp_path: Path) -> None:
    canned, dead = a_house(), []
    async with desk(canned, tmp_path) as at:
        await come(at, view)
        told = await help_of(at)
        rows = [(" ".join(map(shown, keys)), act.words.split(" ...")[0]) for act, keys in keys_on(view)]
        assert [f"{keys} {words}" for keys, words in (*rows, *MOVING) if f"{keys:<12}  {words}" not in told] == []
        for act, keys in keys_on(view):
            if act.id not in LEAVES:
                await come(at, view)
                if not await does(at, canned, keys[0]):
                    dead.append(f"{keys[0]} ({act.id})")
    assert not dead, f"these do nothing: {', '.join(dead)}"


async def test_each_digit_leads_to_its_screen_and_q_leaves(tmp_path: Path) -> None:
    async with desk(a_house(), tmp_path) as at:
        for digit, name, _ in SCREENS:
            await do(at, [digit])
            assert getattr(at.ui.view, "NAME", "") == name
        await at.send("Q")
        await until(lambda: at.ui.return_code == 0, "it is left")


@pytest.mark.parametrize(
    ("roles", "options", "why"),
    [((Role.AUDIT,), {}, "not with your roles (audit)"), ((), {"read_only": True}, "started with --read-only")],
    ids=["audit", "read-only"],
)
async def test_who_may_only_look_is_told_so_by_every_act_that_changes_something(
    roles: tuple[Role, ...], options: dict[str, Any], why: str, tmp_path: Path
) -> None:
    canned, taken = a_house(*roles), []
    async with desk(canned, tmp_path, **options) as at:
        for view in all_views():
            for act, keys in keys_on(view):
                if any(map(changes, act.calls)):
                    await come(at, view)
                    at.ui.said = None
                    await do(at, [keys[0]])
                    said = at.ui.said[0] if at.ui.said else ""
                    if not said.startswith(f"{act.words.split(' ...')[0]}: {why}") or len(at.ui.screen_stack) > 1:
                        taken.append(f"{keys[0]} ({act.id}) on {view.NAME}: {said!r}")
    assert not taken, f"these are not refused: {', '.join(taken)}"
    assert not [call for call in canned.made if changes(type(call))]
