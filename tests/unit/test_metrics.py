"""Rates and percentiles: what is counted where, what is forgotten when, and that every station of the way is noted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway import deciding
from gateway.connectors import Outcome as Sent
from gateway.deciding import Walk, decide_alone
from gateway.metrics import Metrics, Ring, Station, Times
from gateway.rows import StageRow, Stages
from pipeline.errors import NetworkFault, Poison
from pipeline.lifecycle import ConnectionState
from pipeline.mail import Direction, Mail
from pipeline.stage import Context
from pipeline.verdict import HoldCause, Verdict, held, passed
from tests.unit.housing import House, a_house, answering, failing, hurry, until
from tests.unit.making import NOW, a_mail

START = 120_000.0
"""The begin of a second, a minute and ten minutes."""
FINE = passed("fine")


class Ticks:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Ticks:
    return Ticks()


@pytest.fixture
def station(clock: Ticks) -> Station:
    return Station("fetch", clock)


def about(seconds: float) -> object:
    return pytest.approx(seconds, rel=0.13)


# -- counts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("span", "spans", "moments", "at", "expected"),
    [
        (60, 3, [], 0, (0, 0, 0)),
        (60, 3, [0, 59], 59, (0, 0, 2)),
        (60, 3, [0, 60, 61, 120], 120, (1, 2, 1)),
        (60, 3, [0, 60, 120], 180, (1, 1, 0)),
        (60, 3, [0, 60, 120], 299, (1, 0, 0)),
        (60, 3, [0, 60, 120], 300, (0, 0, 0)),
        (60, 3, [0, 600], 600, (0, 0, 1)),
        (1, 2, [0.0, 0.9, 1.0], 1.5, (2, 1)),
        # Set back: what was counted before is of no time that we know.
        (60, 3, [0, -600], -600, (0, 0, 1)),
    ],
)
def test_what_is_older_than_the_ring_is_forgotten(
    span: int, spans: int, moments: list[float], at: float, expected: tuple[int, ...]
) -> None:
    ring = Ring(span, spans)
    for moment in moments:
        ring.add(START + moment)
    assert ring.counts(START + at) == expected


def test_a_rate_is_over_the_last_minute_and_then_gone(station: Station, clock: Ticks) -> None:
    for _ in range(30):
        station.note(clock.now, 0.01)
        clock.now += 1
    assert station.row().rate == 0.5
    clock.now = START + 74
    assert station.row().rate == 0.25, "those of the first fifteen seconds are a minute old"
    clock.now = START + 300
    assert station.row().rate == 0.0
    assert station.row().total == 30


def test_minutes_are_sixty_and_the_last_one_is_now(station: Station, clock: Ticks) -> None:
    station.note(clock.now, 0.01, 7)
    clock.now += 60
    station.note(clock.now, 0.01, 2)
    station.failed()
    row = station.row(waiting=3)
    assert row.minutes == (0,) * 58 + (7, 2)
    assert (row.name, row.total, row.errors_hour, row.waiting) == ("fetch", 9, 1, 3)
    clock.now += 59 * 60
    assert station.row().minutes == (2,) + (0,) * 59
    clock.now += 60
    assert station.row().minutes == (0,) * 60
    assert (station.row().errors_hour, station.row().total) == (0, 9)


# -- times -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [2e-6, 3.3e-5, 0.00099, 0.5, 0.999, 1.0, 1.5, 60.0, 4000.0])
def test_a_time_is_told_to_within_an_eighth(seconds: float) -> None:
    times = Times()
    times.add(START, seconds)
    assert times.percentiles(START) == (about(seconds),) * 3


@pytest.mark.parametrize(("seconds", "shown"), [(-1.0, 1e-6), (0.0, 1e-6), (1e-12, 1e-6), (1e9, 4000.0)])
def test_what_no_bucket_is_for_goes_into_the_nearest(seconds: float, shown: float) -> None:
    times = Times()
    times.add(START, seconds)
    assert times.percentiles(START)[0] == pytest.approx(shown, rel=0.5)


@pytest.mark.parametrize(
    ("many", "expected"),
    [
        ([], (0.0, 0.0, 0.0)),
        ([(1, 0.1)], (0.1, 0.1, 0.1)),
        ([(1, 0.1), (1, 8.0)], (0.1, 8.0, 8.0)),
        ([(90, 0.1), (9, 1.0), (1, 30.0)], (0.1, 1.0, 1.0)),
        ([(90, 0.1), (4, 1.0), (6, 30.0)], (0.1, 30.0, 30.0)),
        ([(980, 0.001), (20, 2.0)], (0.001, 0.001, 2.0)),
    ],
)
def test_percentiles(many: list[tuple[int, float]], expected: tuple[float, ...]) -> None:
    times = Times()
    for count, seconds in many:
        times.add(START, seconds, count)
    assert times.percentiles(START) == tuple(each and about(each) for each in expected)


def test_times_are_of_the_last_hour() -> None:
    times = Times()
    times.add(START, 8.0, 100)
    times.add(START + 3000, 0.5)
    assert times.percentiles(START + 3599)[0] == about(8.0)
    assert times.percentiles(START + 3600)[0] == about(0.5)
    assert times.percentiles(START + 7200)[0] == 0.0


def test_what_is_done_together_shares_the_time(station: Station, clock: Ticks) -> None:
    began = station.clock()
    clock.now += 2
    station.passed(began, 20, errors=1)
    station.passed(began, 0, errors=1)
    station.failed()
    row = station.row()
    assert (row.total, row.p50, row.errors_hour) == (20, about(0.1), 3)


# -- the way ---------------------------------------------------------------------------------------------------------


def test_stations_stand_in_the_order_of_the_way(clock: Ticks) -> None:
    metrics = Metrics(("ingest", "blocklist"), ("ingest", "signature"), clock)
    metrics.taken(120)
    metrics.delivered()
    found = metrics.stages(NOW, pending=5, undecided=6, outbound=7)
    assert [row.name for row in found.rows] == ["fetch", "ingest", "blocklist", "relay", "signature", "send"]
    assert [row.waiting for row in found.rows] == [5, 6, 0, 0, 0, 7]
    assert (found.now, found.rate_in, found.rate_out) == (NOW, 2.0, pytest.approx(1 / 60))


def test_a_stopwatch_gives_each_stage_its_own_time_and_its_own_errors(clock: Ticks) -> None:
    metrics = Metrics(("ingest", "blocklist", "third"), ("ingest", "signature"), clock)
    clock.now += 1000
    watch = metrics.stopwatch(Direction.IN)
    for name, seconds, verdict in (
        ("ingest", 0.5, FINE),
        ("blocklist", 0.002, held(HoldCause.BLOCKED, "this is its work")),
        ("unheard of", 9.0, FINE),
        ("third", 0.03, held(HoldCause.STAGE_FAILED, "a bug")),
        ("third", 0.03, None),
    ):
        clock.now += seconds
        watch(name, verdict)
    rows = rows_of(metrics)
    assert [(rows[name].p50, rows[name].errors_hour) for name in ("ingest", "blocklist", "third")] == [
        (about(0.5), 0),
        (about(0.002), 0),
        (about(0.03), 2),
    ]


def test_outbound_mail_is_no_mail_of_the_inbound_line(clock: Ticks) -> None:
    metrics = Metrics(("ingest",), ("ingest", "signature"), clock)
    watch = metrics.stopwatch(Direction.OUT)
    watch("ingest", FINE)
    watch("signature", FINE)
    rows = rows_of(metrics)
    assert (rows["ingest"].total, rows["signature"].total) == (0, 1)


def rows_of(metrics: Metrics) -> dict[str, StageRow]:
    """The rows by name."""
    return {row.name: row for row in stages_of(metrics).rows}


def stages_of(metrics: Metrics) -> Stages:
    return metrics.stages(NOW, pending=0, undecided=0, outbound=0)


# -- where the mail passes -------------------------------------------------------------------------------------------


@pytest.fixture
async def house(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    hurry(monkeypatch)
    async with a_house(decide_seconds=0.3) as made:
        yield made


def counted(house: House) -> dict[str, tuple[int, int]]:
    """Station -> (mails, errors), of those that had any."""
    rows = rows_of(house.services.metrics)
    return {row.name: (row.total, row.errors_hour) for row in rows.values() if row.total or row.errors_hour}


async def test_a_fetched_mail_passes_every_station_of_its_way(house: House) -> None:
    house.mailbox.put(1, 2, 3)
    house.mailbox.unwilling = {2: "no"}
    house.at_work()
    await until(lambda: len(house.mail_facts()) == 2)
    assert counted(house) == {
        "fetch": (2, 1),
        **dict.fromkeys(("ingest", "blocklist", "auto_reply", "ring_group", "says"), (2, 0)),
    }
    assert stages_of(house.services.metrics).rate_in == pytest.approx(2 / 60)


async def test_mail_that_was_gone_when_it_was_fetched_is_no_error(house: House) -> None:
    house.mailbox.put(1, 2)

    async def lose(uids: list[int]) -> None:
        del house.mailbox.shelves["INBOX"].letters[1]
        house.mailbox.on_fetch = None

    house.mailbox.on_fetch = lose
    house.at_work()
    await until(lambda: len(house.mail_facts()) == 1)
    assert counted(house)["fetch"] == (1, 0)


async def test_a_fetch_that_breaks_is_an_error_of_the_fetch(house: House) -> None:
    house.mailbox.put(1)
    house.mailbox.drops = {1}

    async def heal(uids: list[int]) -> None:
        if len(house.mailbox.asked) > 1:
            house.mailbox.drops = set()

    house.mailbox.on_fetch = heal
    house.at_work()
    await until(lambda: len(house.mail_facts()) == 1)
    assert counted(house)["fetch"] == (1, 1)


async def test_a_stage_that_raises_or_never_answers_is_an_error_of_that_stage(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deciding, "ALONE_SECONDS", 0.01)

    async def bad(mail: Mail, context: Context) -> Verdict:
        if mail.seed == "seed/1":
            raise ValueError("no luck")
        await asyncio.Event().wait()
        raise AssertionError

    house.stage.verdict = bad
    for number in (1, 2):
        await decide_alone(house.services, house.touchpoint, house.services.inbound, Walk(mail=a_mail(number)))
    assert counted(house)["says"] == (2, 2)
    assert counted(house)["ring_group"] == (2, 0)


async def test_what_is_decided_again_is_not_taken_again(house: House) -> None:
    house.stage.verdict = held(HoldCause.BLOCKED, "not this one")
    house.mailbox.put(1)
    house.at_work()
    await until(lambda: len(house.mail_facts()) == 1)
    house.stage.verdict = FINE
    await house.room.spool.release(1, "ops")
    house.posts[0].wake.set()
    await until(lambda: ("mail.assigned", 1) in house.mail_facts())
    assert counted(house)["says"] == (2, 0)
    assert stages_of(house.services.metrics).rate_in == pytest.approx(1 / 60)


async def test_a_hand_over_counts_when_it_is_answered(house: House) -> None:
    for number in range(1, 6):
        await house.room.relay(number, ("one@example.org", "two@example.org"))
    house.outlet.steps = [
        answering(Sent.ACCEPTED, 250, "Taken"),
        answering(Sent.RETRY, 451, "greylisted"),
        answering(Sent.REFUSED, 550, "no such user"),
        answering(Sent.ACCEPTED, 250, "Taken", two=Sent.REFUSED),
        failing(Poison("a line that is too long")),
    ]
    house.at_work()
    await until(lambda: len(house.outlet.handed) == 4 and len(house.mail_facts()) >= 5)
    assert counted(house)["send"] == (4, 4)
    assert stages_of(house.services.metrics).rate_out == pytest.approx(2 / 60)


@pytest.mark.parametrize(
    "step",
    [
        failing(NetworkFault("the server hung up")),
        answering(Sent.UNKNOWN, text="the connection died behind the dot"),
        answering(Sent.RETRY, text="the connection died"),
    ],
    ids=["hung up", "unknown", "no answer"],
)
async def test_a_broken_connection_is_an_error_and_no_mail(house: House, step: object) -> None:
    await house.room.relay(1)
    house.outlet.steps = [step]  # type: ignore[list-item]
    post = house.post()
    await post.sender._supervised()
    assert counted(house) == {"send": (0, 1)}
    assert post.half("sending").state is ConnectionState.BACKOFF


async def test_a_half_that_cannot_connect_is_an_error_of_sending(house: House) -> None:
    house.outlet.refuses = [NetworkFault("down")]
    post = house.post()
    await post.sender._supervised()
    assert counted(house) == {"send": (0, 1)}
    assert post.half("sending").state is ConnectionState.BACKOFF
