"""What waits for a person: which connections, which mail, since when, and the command that helps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.control import GetStatus, Role
from gateway.desk import needs as told
from gateway.events import Heard, MailFact, MailWhat
from gateway.rows import Batch, NeedRow
from pipeline import touchpoints
from pipeline.lifecycle import ConnectionState
from pipeline.store import Tx
from pipeline.touchpoint import DirectionType
from pipeline.verdict import Action, HoldCause
from tests.unit.desking import Office, an_office, caller
from tests.unit.making import NOW, OURS, a_mail, an_outcome

OPS = caller(Role.OPS)
LOST, BACKOFF = ConnectionState.LOST, ConnectionState.BACKOFF


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    async with an_office(tmp_path) as made:
        yield made


async def needs(office: Office) -> list[NeedRow]:
    return list((await office.desk.answer(GetStatus(), OPS)).needs_you)


async def stands(
    office: Office, number: int, state: ConnectionState, since: float, cause: str = "network", reason: str = ""
) -> None:
    """A touchpoint in trouble since a time."""
    office.house.states[number] = state
    await office.room.store.write(
        lambda tx: touchpoints.record_state(tx, number, state=state.value, cause=cause, reason=reason, now=since)
    )


async def more_touchpoints(office: Office, count: int) -> None:
    def work(tx: Tx) -> None:
        for number in range(count):
            touchpoints.create(tx, address=f"t{number}@post.example", name="T", direction=DirectionType.BOTH, now=NOW)

    await office.room.store.write(work)
    await office.house.directory_changed(None)


async def columns(office: Office, entry_id: int, **values: Any) -> None:
    sql = f"UPDATE entry SET {', '.join(f'{name} = :{name}' for name in values)} WHERE id = :id"
    await office.room.store.write(lambda tx: tx.run(sql, {**values, "id": entry_id}))


async def test_nothing_needs_you_where_all_is_well(office: Office) -> None:
    office.house.states[1] = ConnectionState.CONNECTED
    await office.room.take(1, an_outcome(a_mail(1), ring_groups=(1,)))
    await office.room.relay(2)
    assert await needs(office) == []


async def test_a_lost_connection_with_the_mail_that_is_kept_for_it(office: Office) -> None:
    await stands(office, 1, LOST, NOW - 60, "credential")
    await office.room.relay(1)
    await office.room.relay(2)
    assert await needs(office) == [
        NeedRow(
            kind="lost",
            touchpoint=OURS,
            count=2,
            since=NOW - 60,
            words="connection lost (credential)",
            command=f"postroom touchpoint connect {OURS}",
        )
    ]


async def test_the_command_names_the_touchpoint_as_a_shell_takes_it(office: Office) -> None:
    await stands(office, 1, LOST, NOW - 60)
    await office.room.store.write(
        lambda tx: tx.run("UPDATE touchpoint SET address = :address WHERE id = 1", {"address": "o'neil@post.example"})
    )
    (row,) = await needs(office)
    assert row.command == """postroom touchpoint connect 'o'"'"'neil@post.example'"""


async def test_a_backoff_is_told_when_it_is_longer_than_an_hour(office: Office) -> None:
    await stands(office, 1, BACKOFF, NOW - 3600, "certificate", "it expired")
    assert await needs(office) == []
    office.room.clock.now += 1
    (row,) = await needs(office)
    assert (row.kind, row.touchpoint, row.count, row.since) == ("backoff", OURS, 0, NOW - 3600)
    assert row.words == "no connection for 1 h (certificate: it expired)"
    assert row.command == f"postroom touchpoint test {OURS}"


@pytest.mark.parametrize(
    ("kind", "state", "words"),
    [
        ("held", "held", "2 mail held"),
        ("unknown", "unknown", "2 mail of unknown outcome"),
        ("failed", "failed", "2 mail failed"),
    ],
)
async def test_mail_that_goes_nowhere_without_somebody(office: Office, kind: str, state: str, words: str) -> None:
    for number, age in ((1, 500.0), (2, 100.0)):
        await columns(office, await office.room.relay(number), state=state, accepted_at=NOW - age)
    assert await needs(office) == [
        NeedRow(
            kind=kind,
            touchpoint="",
            count=2,
            since=NOW - 500,
            words=words,
            command=f"postroom spool list --state {state}",
        )
    ]


async def test_mail_in_no_queue(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    await columns(office, await office.room.take(1), accepted_at=NOW - 50)
    await office.room.take(2)
    await office.room.take(3, an_outcome(a_mail(3), ring_groups=(1,)))
    closed = await office.room.take(4)
    await office.room.spool.close(closed, "desk")
    (row,) = await needs(office)
    assert (row.kind, row.count, row.since) == ("unassigned", 2, NOW - 50)
    assert (row.words, row.command) == ("2 mail queued for no ring group", "postroom queue list --unassigned")
    monkeypatch.setattr(told, "MOST_UNASSIGNED", 1)
    assert [row.words for row in await needs(office)] == ["1 and more mail queued for no ring group"]


async def test_touchpoints_come_first_then_mail_in_a_fixed_order(office: Office) -> None:
    await more_touchpoints(office, 2)
    await stands(office, 2, BACKOFF, NOW - 9999)
    await stands(office, 3, LOST, NOW - 1)
    await office.room.take(1)
    await office.room.take(2, an_outcome(a_mail(2), Action.HOLD, cause=HoldCause.BLOCKED))
    await columns(office, await office.room.relay(3), state="failed")
    kinds = [row.kind for row in await needs(office)]
    assert kinds == ["lost", "backoff", "held", "failed", "unassigned"]


@pytest.mark.parametrize(
    ("lost", "backoff", "expected"),
    [
        (2, 1, {"lost": 2, "backoff": 1}),
        (3, 0, {"lost": 3}),
        (4, 0, {"lost": 3, "1 more touchpoints lost their connection": 1}),
        (2, 3, {"lost": 2, "backoff": 1, "2 more touchpoints have had no connection for an hour": 1}),
        (3, 2, {"lost": 3, "2 more touchpoints have had no connection for an hour": 1}),
    ],
)
async def test_of_very_many_in_trouble_the_longest_are_named(
    office: Office, monkeypatch: pytest.MonkeyPatch, lost: int, backoff: int, expected: dict[str, int]
) -> None:
    monkeypatch.setattr(told, "MOST_TOUCHPOINTS", 3)
    await more_touchpoints(office, 8)
    for number in range(lost + backoff):
        await stands(office, 2 + number, LOST if number < lost else BACKOFF, NOW - 9000 - number)
    rows = await needs(office)
    found: dict[str, int] = {}
    for row in rows:
        name = row.kind if row.touchpoint else row.words
        found[name] = found.get(name, 0) + 1
    assert found == expected
    for kind in ("lost", "backoff"):
        mine = [row for row in rows if row.kind == kind]
        assert [row.since for row in mine] == sorted(row.since for row in mine)
        assert all(row.command == f"postroom touchpoint list --state {kind}" for row in mine if not row.touchpoint)


async def test_touchpoints_that_are_well_are_not_looked_up(office: Office) -> None:
    await more_touchpoints(office, 30)
    await stands(office, 3, LOST, NOW - 1)
    assert told.troubled(office.desk._parts.scene) == {LOST: [3], BACKOFF: []}


# -- The feed ------------------------------------------------------------------------------------------------------


async def batch(office: Office, *roles: Role) -> Batch:
    return await office.desk.batch(Heard((MailFact(MailWhat.HELD, 1, 1),), 1, False), caller(*roles))


async def test_a_feed_tells_what_needs_you_with_the_account(office: Office) -> None:
    await office.room.take(1)
    found = await batch(office, Role.AUDIT)
    assert found.account is not None
    assert found.needs_you is not None
    assert [row.kind for row in found.needs_you] == ["unassigned"]


async def test_a_feed_of_an_agent_does_not(office: Office) -> None:
    await office.room.take(1)
    found = await batch(office, Role.AGENT)
    assert (found.account, found.needs_you) == (None, None)
    assert (await office.desk.answer(GetStatus(), caller(Role.AGENT))).needs_you == ()


async def test_feeds_count_at_most_once_a_second_together(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = 0
    real = told.needs_you

    def counting(*args: Any) -> tuple[NeedRow, ...]:
        nonlocal counted
        counted += 1
        return real(*args)

    monkeypatch.setattr("gateway.desk.needs_you", counting)
    await asyncio.gather(*(batch(office, Role.OPS) for _ in range(5)))
    assert counted == 1
    await office.room.take(1)
    assert (await batch(office, Role.OPS)).needs_you == ()
    office.room.clock.now += 1
    assert len((await batch(office, Role.OPS)).needs_you or ()) == 1
    assert counted == 2


async def test_a_disk_that_takes_no_writes_is_told_at_once_and_since_when(office: Office) -> None:
    office.room.store.no_writes = "no room on the disk under /srv/postroom.db"
    for _ in range(2):
        [row] = (await batch(office, Role.OPS)).needs_you or ()
        assert (row.kind, row.since) == ("disk-full", NOW)
        assert row.words.startswith("no room on the disk under /srv/postroom.db: intake pauses")
        office.room.clock.now += 60
    assert [row.kind for row in (await office.desk.answer(GetStatus(), caller(Role.OPS))).needs_you] == ["disk-full"]
    office.room.store.no_writes = ""
    assert (await batch(office, Role.OPS)).needs_you == ()
