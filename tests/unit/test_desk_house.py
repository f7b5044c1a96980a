"""What the daemon says of itself over its socket: the stations of a mail's way, and its relay."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway import settings
from gateway.client import CallFailed, Client, connected
from gateway.control import AddRelayUser, GetStages, Role, ShowRelay
from gateway.daemon import Daemon
from gateway.submission import ListenerSettings, Mode
from pipeline import ledger
from pipeline.ledger import Item, ItemState
from pipeline.store import Tx
from pipeline.verdict import Action
from tests.unit.desking import Office, an_office
from tests.unit.making import NOW, OURS, a_mail, an_outcome
from tests.unit.relaying import PASSWORD, Client as SmtpClient


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    async with an_office(tmp_path) as made:
        yield made


@pytest.fixture
async def client(office: Office) -> AsyncIterator[Client]:
    async with connected(office.socket) as made:
        yield made


async def test_stages_are_told_with_the_mail_that_waits_for_them(office: Office, client: Client) -> None:
    def pend(tx: Tx) -> None:
        for uid in (11, 12, 13):
            item = Item(1, "INBOX", 1, uid, NOW, 5)
            ledger.record(tx, item, ItemState.PENDING, NOW, due_at=NOW + 60, error="not now")

    await office.room.store.write(pend)
    await office.room.take(1)
    await office.room.take(2, an_outcome(a_mail(2), Action.DEFER))
    for number in (3, 4):
        await office.room.relay(number)
    await office.room.spool.claim(1, 1)
    office.metrics.fetch.note(office.metrics.clock(), 0.5, 120)
    office.metrics.fetch.failed()
    office.metrics.taken(60)
    found = await client.call(GetStages())
    assert (found.now, found.rate_in, found.rate_out) == (NOW, 1.0, 0.0)
    assert [(row.name, row.waiting) for row in found.rows] == [
        ("fetch", 3), ("ingest", 1), ("ring_group", 0), ("relay", 0), ("signature", 0), ("send", 2),
    ]  # fmt: skip
    fetch = found.rows[0]
    assert (fetch.rate, fetch.total, fetch.errors_hour, sum(fetch.minutes)) == (2.0, 120, 1, 120)
    assert fetch.p50 == fetch.p99 == pytest.approx(0.5, rel=0.13)


async def test_the_relay_is_told_as_it_stands(office: Office, client: Client) -> None:
    watch = office.house.relay_watch
    front = ListenerSettings(name="front", mode=Mode.PLAIN)
    watch.listens(front, "127.0.0.1", 2525)
    visit = watch.enter(front, "192.0.2.7")
    visit.user = "crm"
    watch.answered(visit, 250, watch.begin())
    watch.refused(visit, b"550 5.7.1 Not you\r\n")
    found = await client.call(ShowRelay())
    assert found == watch.state()
    assert [(row.user, row.accepted, row.refused) for row in found.rates] == [("crm", 1, 1)]


async def test_the_largest_state_of_a_relay_fits_into_an_answer(office: Office, client: Client) -> None:
    watch = office.house.relay_watch
    for number in range(300):
        visit = watch.enter(ListenerSettings(name="l" * 64, mode=Mode.PLAIN), "2001:db8::" + "f" * 29)
        visit.user = f"{number}".ljust(200, "u")
        watch.refused(visit, b"550 5.7.1 " + b"x" * 400)
    assert len((await client.call(ShowRelay())).refusals) == 100


@pytest.mark.parametrize("call", [GetStages(), ShowRelay()])
async def test_agents_are_not_told(
    call: GetStages | ShowRelay, office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.server.roles_of", lambda *_: frozenset({Role.AGENT}))
    async with connected(office.socket) as agent:
        with pytest.raises(CallFailed, match="agent"):
            await agent.call(call)


async def test_the_running_daemon_measures_its_own_relay(tmp_path: Path) -> None:
    toml = tmp_path / "postroom.toml"
    toml.write_text(
        f'[daemon]\nhostname = "post.example"\nstate_dir = "{tmp_path}/state"\nsocket = "{tmp_path}/control.sock"\n'
        '[[relay.listener]]\nname = "front"\nhost = "127.0.0.1"\nport = 0\nmode = "submission"\n'
    )
    (tmp_path / "state").mkdir()
    daemon = Daemon(settings.load(toml))
    await daemon.start()
    try:
        async with connected(tmp_path / "control.sock") as guest:
            await guest.call(AddRelayUser(name="crm", password=PASSWORD))
            smtp = await SmtpClient.connect(daemon.ports["front"])
            assert (await smtp.sign_in()).startswith("235")
            await smtp.envelope()
            assert (await smtp.ask(f"From: {OURS}\r\n\r\nhello\r\n.")).startswith("550 5.7.1")
            relay = await guest.call(ShowRelay())
            stages = {row.name: row for row in (await guest.call(GetStages())).rows}
            smtp.close()
    finally:
        await asyncio.wait_for(daemon.stop(), 20)
    assert [(row.port, row.sessions, row.refused) for row in relay.listeners] == [(daemon.ports["front"], 1, 1)]
    assert [(row.user, row.refused) for row in relay.rates] == [("crm", 1)]
    assert (stages["relay"].total, stages["relay"].errors_hour) == (1, 1)
    assert list(stages) == ["fetch", "ingest", "blocklist", "auto_reply", "ring_group", "relay", "signature", "send"]
