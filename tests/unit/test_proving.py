"""Asking servers for a proof: what trouble costs, who is woken, and what the desk and the command say of it."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from gateway import proving
from gateway.cli import prove as command
from gateway.client import Client
from gateway.connectors import Everything, Folder, Identity
from gateway.control import Prove, ShowProving
from gateway.desk.parts import Parts
from gateway.desk.proving import Proving
from gateway.proving import Asked, Progress, prove
from gateway.rows import MissingRow, Proof, ProofProgress, ProvenRow
from gateway.server import Caller
from pipeline import directory, ledger, resume
from pipeline.errors import AuthRequired, Refused, Throttled
from pipeline.ledger import RangeKind
from pipeline.lifecycle import ConnectionState
from pipeline.proof import Scope
from pipeline.resume import Found, Renumbered
from pipeline.touchpoint import Touchpoint
from tests.unit.housing import House, Session, a_house, until
from tests.unit.making import NOW, OURS

CALLER = Caller(name="ops", uid=1, roles=frozenset())


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proving, "_LOOK", 0.001)
    monkeypatch.setattr(proving, "PATIENCE", 0.02)


@dataclass
class Servers:
    """Everybody's server, and the daemon as far as a proof asks it."""

    house: House
    states: dict[int, ConnectionState] = field(default_factory=dict)
    opens: list[int] = field(default_factory=list)
    """Touchpoints whose server was asked."""
    now_open: int = 0
    most_open: int = 0
    gate: asyncio.Event | None = None
    """Every answer waits for it."""
    fails: dict[int, BaseException] = field(default_factory=dict)
    on_wake: Callable[[int], Any] = lambda touchpoint: None
    woken: list[int] = field(default_factory=list)

    def state_of(self, touchpoint_id: int) -> ConnectionState:
        return self.states.get(touchpoint_id, ConnectionState.CONNECTED)

    def sends(self, touchpoint_id: int) -> bool:
        return True

    def wake(self, touchpoint_id: int) -> None:
        self.woken.append(touchpoint_id)
        self.on_wake(touchpoint_id)

    @property
    def directory(self) -> directory.Directory:
        return self.house.services.directory

    async def connect(self, touchpoint: Touchpoint) -> Asking | None:
        return None if touchpoint.connection.imap is None else Asking(self.house.mailbox, self, touchpoint.id)

    async def prove(self, **scope: Any) -> tuple[proving.Proven, dict[str, Asked]]:
        wanted = list(self.directory.touchpoints.values())
        proven = await prove(self.house.services, self, wanted, Scope(**scope), Progress())
        return proven, {each.touchpoint.address: each for each in proven.asked}

    async def cursor(self, value: str, folder: str = "INBOX", touchpoint_id: int = 1) -> None:
        await self.house.room.store.write(lambda tx: ledger.set_cursor(tx, touchpoint_id, folder, value, NOW))

    async def left_alone(self, low: int, high: int) -> None:
        await self.house.room.store.write(
            lambda tx: ledger.record_range(tx, 1, "INBOX", 1, low, high, RangeKind.OLDER, NOW)
        )


@dataclass
class Asking(Session):
    """One connection that only looks."""

    servers: Servers
    touchpoint_id: int

    async def open(self) -> Identity:
        self.servers.opens.append(self.touchpoint_id)
        self.servers.now_open += 1
        self.servers.most_open = max(self.servers.most_open, self.servers.now_open)
        return await super().open()

    async def everything(self, folder: Folder, since: float = 0.0) -> Everything:
        if self.servers.gate is not None:
            await self.servers.gate.wait()
        if (error := self.servers.fails.get(self.touchpoint_id)) is not None:
            raise error
        return await super().everything(folder, since)

    async def close(self) -> None:
        self.servers.now_open -= 1
        await super().close()


@pytest.fixture
async def servers() -> AsyncIterator[Servers]:
    async with a_house() as house:
        made = Servers(house)
        house.services.receiving = made.connect  # type: ignore[assignment]
        await made.cursor("1:1:5")
        await made.left_alone(1, 5)
        house.mailbox.put(1, 2, 3, 4, 5)
        yield made


async def more_touchpoints(servers: Servers, number: int) -> None:
    def work(tx: Any) -> None:
        tx.many(
            "INSERT INTO touchpoint (address, address_key, name, active, connection, signed_in_at)"
            " SELECT :address, :address, 'More', 1, connection, 1 FROM touchpoint WHERE id = 1",
            [{"address": f"desk{n}@post.example"} for n in range(number)],
        )

    await servers.house.change(work)


async def test_what_a_server_has_is_counted(servers: Servers) -> None:
    proven, asked = await servers.prove()
    assert asked[OURS] == replace(asked[OURS], trouble=[], remarks=[], listed=5, not_taken=0)
    assert (proven.tally.inward["older"], proven.tally.missing) == (5, 0)
    assert (servers.opens, servers.now_open, servers.woken) == ([1], 0, [])


async def test_since_a_time_only_newer_items_are_asked_for(servers: Servers) -> None:
    servers.house.mailbox.put(6, at=NOW + 100)
    await servers.left_alone(6, 6)
    proven, asked = await servers.prove(since=NOW + 50)
    assert (asked[OURS].listed, proven.tally.inward["older"]) == (1, 1)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (AuthRequired("no such login"), "credential: no such login"),
        (Refused("not like this"), "not like this"),
        (ValueError("a bug"), "provider: a fault of ours: ValueError"),
    ],
)
async def test_trouble_of_one_server_is_said_and_stays_there(
    servers: Servers, error: BaseException, words: str
) -> None:
    await more_touchpoints(servers, 1)
    await servers.cursor("1:1:5", touchpoint_id=2)
    servers.fails[1] = error
    proven, asked = await servers.prove()
    assert asked[OURS].trouble == [words]
    assert asked["desk0@post.example"].trouble == []
    assert proven.tally.missing == 5  # nothing of the second one's is known
    assert servers.now_open == 0


async def test_a_server_that_never_answers_is_given_up(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proving, "LONGEST", 0.01)
    servers.gate = asyncio.Event()
    _, asked = await servers.prove()
    assert asked[OURS].trouble == ["timeout: the server took longer than 0 seconds"]
    assert servers.now_open == 0


async def test_few_servers_are_asked_at_once(servers: Servers) -> None:
    await more_touchpoints(servers, 9)
    servers.gate = asyncio.Event()
    asking = asyncio.create_task(servers.prove())
    await until(lambda: servers.now_open == proving.AT_ONCE)
    await asyncio.sleep(0)
    servers.gate.set()
    await asking
    assert (servers.most_open, len(servers.opens), servers.now_open) == (proving.AT_ONCE, 10, 0)


@pytest.mark.parametrize(
    ("change", "remark"),
    [
        ("UPDATE touchpoint SET connection = '{}'", "it receives nothing"),
        ("", "it was never connected: there is nothing to prove"),
    ],
)
async def test_where_there_is_nothing_to_ask_nobody_is_asked(servers: Servers, change: str, remark: str) -> None:
    if change:
        await servers.house.change(lambda tx: tx.run(change))
    servers.states[1] = ConnectionState.NEW
    _, asked = await servers.prove()
    assert (asked[OURS].trouble, asked[OURS].remarks, servers.opens) == ([], [remark], [])


@pytest.mark.parametrize("asks", [False, True])
async def test_a_renumbered_folder_is_not_proven(servers: Servers, asks: bool) -> None:
    servers.house.mailbox.shelves["INBOX"].epoch = 2
    if asks:
        at, found = Renumbered(1, "INBOX", 2), Found(unseen=300, old=300)
        await servers.house.room.store.write(lambda tx: resume.ask(tx, at, found, NOW))
    proven, asked = await servers.prove()
    more = f": a person is asked; see postroom touchpoint show {OURS}" if asks else ""
    assert asked[OURS].trouble == [f"INBOX was renumbered, and its resume is pending{more}"]
    assert proven.tally.missing == 0


async def test_a_cursor_that_cannot_be_read_is_trouble(servers: Servers) -> None:
    await servers.cursor("9:strange")
    _, asked = await servers.prove()
    assert asked[OURS].trouble[0].startswith("renumbered: ")


async def test_a_touchpoint_is_woken_and_given_time_for_what_it_did_not_take(servers: Servers) -> None:
    servers.house.mailbox.put(6, 7)

    def takes(touchpoint: int) -> None:
        servers.tasks = asyncio.ensure_future(takes_in())  # type: ignore[attr-defined]

    async def takes_in() -> None:
        await servers.left_alone(6, 7)
        await servers.cursor("1:1:7")

    servers.on_wake = takes
    proven, asked = await servers.prove()
    assert (asked[OURS].not_taken, asked[OURS].remarks) == (0, [])
    assert (proven.tally.inward["older"], proven.tally.missing) == (7, 0)


@pytest.mark.parametrize(
    ("active", "state", "remark"),
    [
        (True, ConnectionState.CONNECTED, "though it is connected and active, and was woken"),
        (False, ConnectionState.CONNECTED, "it is inactive"),
        (True, ConnectionState.BACKOFF, "its connection is backoff"),
    ],
)
async def test_what_is_not_taken_yet_is_said_and_is_no_loss(
    servers: Servers, active: bool, state: ConnectionState, remark: str
) -> None:
    servers.house.mailbox.put(6, 7)
    if not active:
        await servers.house.activate(False)
    servers.states[1] = state
    proven, asked = await servers.prove()
    assert asked[OURS].remarks == [f"2 items of INBOX not taken yet: {remark}"]
    assert (asked[OURS].not_taken, asked[OURS].trouble, proven.tally.missing) == (2, [], 0)
    assert bool(servers.woken) == ("woken" in remark)


# -- The desk --------------------------------------------------------------------------------------------------------


def a_desk(servers: Servers) -> Proving:
    class Desk:
        store = servers.house.room.store
        house = servers
        clock = servers.house.clock

        def at_work(self) -> Any:
            return servers.house.services

    return Proving(cast(Parts, Desk()))


async def test_the_desk_answers_with_all_places_by_name(servers: Servers) -> None:
    servers.house.mailbox.put(6, 7, 8)
    await servers.cursor("1:1:7")
    proof = await a_desk(servers).prove(Prove(), CALLER)
    assert proof.inward == {
        "queued": 0, "stopped": 0, "held": 0, "waiting": 0, "dropped": 0, "pending": 0, "moved": 0, "older": 5,
        "skipped": 0, "gone": 0, "not_taken": 1, "missing": 2,
    }  # fmt: skip
    assert (proof.missing, proof.asked, proof.unproven, proof.outward["missing"]) == (2, 1, 0, 0)
    assert [(row.touchpoint, row.folder, row.remote_id, row.loss) for row in proof.found] == [
        (OURS, "INBOX", 6, "unknown-item"), (OURS, "INBOX", 7, "unknown-item"),
    ]  # fmt: skip
    assert [(row.touchpoint, row.proven, row.not_taken) for row in proof.touchpoints] == [(OURS, True, 1)]


async def test_one_proof_is_made_at_a_time(servers: Servers) -> None:
    desk = a_desk(servers)
    assert not (await desk.progress(ShowProving(), CALLER)).running
    servers.gate = asyncio.Event()
    first, second = (asyncio.create_task(desk.prove(Prove(), CALLER)) for _ in range(2))
    await until(lambda: servers.opens)
    with pytest.raises(Throttled, match="under way"):
        await desk.prove(Prove(touchpoint=OURS), CALLER)
    at = await desk.progress(ShowProving(), CALLER)
    assert (at.running, at.done, at.of, at.step) == (True, 0, 1, "asking the servers")
    servers.gate.set()
    assert await first is await second
    assert servers.opens == [1]
    assert not (await desk.progress(ShowProving(), CALLER)).running
    with pytest.raises(Refused):
        await desk.prove(Prove(touchpoint="nobody@post.example"), CALLER)
    assert (await desk.prove(Prove(touchpoint=OURS), CALLER)).touchpoint == OURS


# -- The command -----------------------------------------------------------------------------------------------------

PROOF = Proof(
    at=NOW, seconds=1.5, touchpoint="", since=0.0,
    inward={"queued": 49_000, "older": 1_000, "not_taken": 3, "missing": 0},
    outward={"delivered": 6, "parked": 0, "missing": 1},
    known=0, missing=0, found=(), touchpoints=(), asked=2, unproven=0, untold=0,
)  # fmt: skip
LOST = MissingRow(way="in", loss="no-entry", words="it was taken as mail 9", touchpoint=OURS, folder="INBOX",
                  remote_id=4, id=9, message_id="<4@example.org>", subject="\x1b[2Jhi")  # fmt: skip
LOST_ROW = ProvenRow(touchpoint=OURS, proven=False, listed=0, not_taken=0, words="credential: \x1b[2Jno")


class OneAnswer:
    """A client whose daemon knows one proof."""

    def __init__(self, proof: Proof) -> None:
        self.proof = proof
        self.asked: list[Any] = []

    async def call(self, call: Any) -> Any:
        self.asked.append(call)
        return self.proof


async def run(proof: Proof, *arguments: str) -> int:
    parser = argparse.ArgumentParser()
    command.add(parser)
    options = parser.parse_args(arguments)
    return int(await options.work(cast(Client, OneAnswer(proof)), options))


async def test_the_command_says_two_lines_where_all_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert await run(PROOF) == 0
    assert capsys.readouterr().out == (
        "in 50,003 = queued 49,000 + older 1,000 + not yet taken 3 · missing 0\n"
        "out 7 = delivered 6 + parked 0 · missing 1\n"
    )


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        ({"unproven": 1, "touchpoints": (LOST_ROW,)}, 75, [f"not proven: {OURS}: credential: \\x1b[2Jno"]),
        ({"unproven": 3, "touchpoints": (LOST_ROW,)}, 75, ["and 2 more touchpoints that are not proven"]),
        ({"missing": 120, "found": (LOST,)}, 1,
         [f"missing: {OURS}, INBOX uid 4, <4@example.org>, '\\x1b[2Jhi': it was taken as mail 9",
          "and 119 more that are missing"]),
        ({"missing": 1, "found": (LOST,), "unproven": 1, "touchpoints": (LOST_ROW,)}, 1, ["not proven: ", "missing: "]),
        ({"missing": 1, "found": (replace(LOST, touchpoint="", folder="", remote_id=0, message_id="", subject=""),)}, 1,
         ["missing: the books: it was taken"]),
        ({"touchpoints": (replace(LOST_ROW, proven=True, words="2 items not taken yet"),)}, 0,
         [f"{OURS}: 2 items not taken yet"]),
    ],
)  # fmt: skip
async def test_the_command_says_what_is_wrong_and_ends_so(
    capsys: pytest.CaptureFixture[str], changes: dict[str, Any], code: int, said: list[str]
) -> None:
    proof = replace(PROOF, **changes)
    assert await run(proof) == code
    out = capsys.readouterr().out
    assert [text for text in said if text not in out] == []
    assert "\x1b" not in out
    assert await run(proof, "--json") == code


async def test_a_terminal_sees_how_far_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = asyncio.Event()

    async def call(self: OneAnswer, call: Any) -> Any:
        if isinstance(call, Prove):
            await looked.wait()
            return self.proof
        looked.set()
        return ProofProgress(running=True, done=3, of=1200, step="asking the servers", seconds=7.2)

    monkeypatch.setattr(OneAnswer, "call", call)
    monkeypatch.setattr(command, "_PAUSE", 0.001)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert await run(PROOF) == 0
    told = capsys.readouterr().err
    assert told.startswith("\r\x1b[Kasking the servers, 3 of 1,200 touchpoints, 7 s")
    assert told.endswith("\r\x1b[K")


@pytest.mark.parametrize(
    ("text", "ago"), [("90s", 90), ("2h", 7200), ("2d", 2 * 86400), ("1w", 7 * 86400), ("1800000000", None)]
)
def test_a_time_is_an_age_a_date_or_seconds(text: str, ago: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: NOW)
    assert command.since(text) == (NOW if ago is None else NOW - ago)


def test_a_day_is_a_time_too() -> None:
    assert abs(command.since("2027-01-15") - NOW) <= 86400
    for text in ("soon", "2x", "-1d", "12", "1e9", "٣d"):
        with pytest.raises(argparse.ArgumentTypeError):
            command.since(text)
