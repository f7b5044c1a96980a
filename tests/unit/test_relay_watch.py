"""What people see of the relay: what is counted for whom, what is remembered, and that sessions tell all of it."""

from __future__ import annotations

import asyncio
import socket

import pytest

from gateway.listeners import RunningRelay
from gateway.metrics import Station
from gateway.relay import listen
from gateway.relay_watch import MOST_REFUSALS, MOST_SHOWN, MOST_USERS, RelayWatch, Visit
from gateway.rows import RelayClientRow, RelayState
from gateway.smtp_grammar import Reply
from gateway.submission import ListenerSettings, Mode, RelayLimits
from pipeline.errors import StoreFull
from tests.unit.making import NOW, Clock
from tests.unit.relaying import PASSWORD, Client, Desk, Direct, plain, settle, until

FRONT = ListenerSettings(name="front", mode=Mode.PLAIN, port=2525)
BACK = ListenerSettings(name="back", mode=Mode.LOOPBACK)
PEER = "192.0.2.7"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def station(clock: Clock) -> Station:
    return Station("relay", clock)


@pytest.fixture
def watch(clock: Clock, station: Station) -> RelayWatch:
    return RelayWatch(station, clock)


def a_visit(watch: RelayWatch, user: str = "crm", settings: ListenerSettings = FRONT) -> Visit:
    visit = watch.enter(settings, PEER)
    visit.user = user
    return visit


def doors(state: RelayState) -> list[tuple[str, int, int, int]]:
    """(listener, open sessions, accepted, refused)"""
    return [(row.name, row.sessions, row.accepted, row.refused) for row in state.listeners]


def rates(state: RelayState) -> list[tuple[str, int, int]]:
    """(user, accepted, refused)"""
    return [(row.user, row.accepted, row.refused) for row in state.rates]


# -- counting --------------------------------------------------------------------------------------------------------


def test_a_relay_that_was_not_opened_has_nothing_to_show(watch: RelayWatch) -> None:
    assert watch.state() == RelayState(listeners=(), clients=(), rates=(), refusals=())


def test_listeners_stand_in_the_order_in_which_they_opened(watch: RelayWatch) -> None:
    watch.listens(FRONT, "127.0.0.1", 2525)
    watch.listens(BACK, "127.0.0.1", 40001)
    shown = [(row.name, row.host, row.port, row.mode) for row in watch.state().listeners]
    assert shown == [("front", "127.0.0.1", 2525, "plain"), ("back", "127.0.0.1", 40001, "loopback")]


def test_two_sockets_of_one_name_are_two_listeners(watch: RelayWatch) -> None:
    with socket.socket() as one, socket.socket() as two:
        both = [ListenerSettings(name="systemd", mode=Mode.PLAIN, sock=each) for each in (one, two)]
        for port, settings in enumerate(both, 1):
            watch.listens(settings, "192.0.2.1", port)
        watch.enter(both[1], PEER)
        assert [(row.port, row.sessions) for row in watch.state().listeners] == [(1, 0), (2, 1)]


def test_a_client_counts_while_it_is_here_and_its_listener_keeps_what_it_did(watch: RelayWatch, clock: Clock) -> None:
    visit = watch.enter(FRONT, PEER)
    clock.now += 5
    visit.user = "crm"
    watch.answered(visit, 250, watch.begin())
    watch.refused(visit, b"550 5.7.1 Not you\r\n")
    other = a_visit(watch, "printer", BACK)
    assert watch.state().clients == (
        RelayClientRow(peer=PEER, listener="front", user="crm", since=NOW, accepted=1, refused=1),
        RelayClientRow(peer=PEER, listener="back", user="printer", since=NOW + 5, accepted=0, refused=0),
    )
    assert doors(watch.state()) == [("front", 1, 1, 1), ("back", 1, 0, 0)]
    watch.leave(visit)
    watch.leave(visit)
    assert doors(watch.state()) == [("front", 0, 1, 1), ("back", 1, 0, 0)]
    watch.leave(other)
    assert watch.state().clients == ()


def test_an_answer_to_a_client_that_is_gone_counts_all_the_same(watch: RelayWatch) -> None:
    visit = a_visit(watch)
    began = watch.begin()
    watch.leave(visit)
    watch.answered(visit, 250, began)
    assert (doors(watch.state()), rates(watch.state())) == ([("front", 0, 1, 0)], [("crm", 1, 0)])


def test_a_refusal_is_kept_with_all_that_is_known_of_it(watch: RelayWatch, clock: Clock) -> None:
    watch.refused(watch.enter(FRONT, PEER), b"535 5.7.8 Credentials not valid\r\n")
    clock.now += 1
    watch.refused(a_visit(watch), b"452 4.3.1 No room on the disk, try again later\r\n")
    shown = [(r.at, r.peer, r.listener, r.user, r.code, r.text) for r in watch.state().refusals]
    assert shown == [
        (NOW + 1, PEER, "front", "crm", 452, "4.3.1 No room on the disk, try again later"),
        (NOW, PEER, "front", "", 535, "5.7.8 Credentials not valid"),
    ]
    assert rates(watch.state()) == [("crm", 0, 1)], "nobody had signed in for the other one"


def test_whole_mails_are_timed_and_what_is_not_taken_is_an_error(
    watch: RelayWatch, station: Station, clock: Clock
) -> None:
    visit = a_visit(watch)
    for code in (250, 451, 550):
        began = watch.begin()
        clock.now += 2
        watch.answered(visit, code, began)
    row = station.row()
    assert (row.total, row.errors_hour, row.p50) == (3, 2, pytest.approx(2, rel=0.13))
    assert doors(watch.state()) == [("front", 1, 1, 0)], "a refusal is what a client is told"


# -- remembering -----------------------------------------------------------------------------------------------------


def test_what_users_did_is_forgotten_after_an_hour(watch: RelayWatch, clock: Clock) -> None:
    visit = a_visit(watch)
    watch.answered(visit, 250, watch.begin())
    clock.now += 1800
    watch.refused(visit, b"550 5.7.1 Not you\r\n")
    assert [(r.user, r.accepted, r.refused, r.last_at) for r in watch.state().rates] == [("crm", 1, 1, NOW + 1800)]
    clock.now += 1800
    assert rates(watch.state()) == [("crm", 0, 1)]
    clock.now += 1800
    assert rates(watch.state()) == []


def test_the_busiest_user_comes_first_and_most_are_enough(watch: RelayWatch) -> None:
    for number in range(MOST_SHOWN + 5):
        watch.answered(a_visit(watch, f"user{number:03}"), 250, watch.begin())
    busy = a_visit(watch, "zebra")
    watch.answered(busy, 250, watch.begin())
    watch.refused(busy, b"550 5.7.1 Not you\r\n")
    state = watch.state()
    assert rates(state)[:3] == [("zebra", 1, 1), ("user000", 1, 0), ("user001", 1, 0)]
    assert (len(state.rates), len(state.clients)) == (MOST_SHOWN, MOST_SHOWN)
    assert doors(state)[0][1] == MOST_SHOWN + 6


def test_the_user_that_was_silent_the_longest_is_forgotten_first(watch: RelayWatch) -> None:
    first, second = a_visit(watch, "first"), a_visit(watch, "second")
    for visit in (first, second, first):
        watch.answered(visit, 250, watch.begin())
    other = a_visit(watch)
    for number in range(MOST_USERS - 1):
        other.user = f"user{number}"
        for _ in range(2):
            watch.refused(other, b"550 5.7.1 Not you\r\n")
    assert len(watch._users) == MOST_USERS
    assert "first" in watch._users
    assert "second" not in watch._users


def test_only_the_last_refusals_are_kept(watch: RelayWatch) -> None:
    visit = a_visit(watch)
    for number in range(MOST_REFUSALS + 3):
        watch.refused(visit, f"550 5.7.1 Number {number}\r\n".encode())
    state = watch.state()
    assert len(state.refusals) == MOST_REFUSALS
    assert state.refusals[0].text == f"5.7.1 Number {MOST_REFUSALS + 2}"
    assert state.refusals[-1].text == "5.7.1 Number 3"
    assert state.listeners[0].refused == MOST_REFUSALS + 3


# -- sessions --------------------------------------------------------------------------------------------------------


def refusals(relay: RunningRelay) -> list[tuple[str, int, str]]:
    """(user, code, text), in the order in which they came."""
    return [(row.user, row.code, row.text) for row in reversed(relay.watch.state().refusals)]


async def hand_in(direct: Direct, content: bytes = b"x\r\n.\r\n") -> str:
    await direct.ready_for_content()
    return await direct.say(content)


async def test_a_session_counts_its_mails_and_is_gone_when_it_ends() -> None:
    direct = Direct()
    for _ in range(2):
        assert (await hand_in(direct)).startswith("250")
    state = direct.relay.watch.state()
    assert [(row.user, row.listener, row.accepted) for row in state.clients] == [("printer", "direct", 2)]
    assert (doors(state), rates(state), state.refusals) == ([("direct", 1, 2, 0)], [("printer", 2, 0)], ())
    await direct.say(b"QUIT\r\n")
    await settle()
    state = direct.relay.watch.state()
    assert (state.clients, doors(state)) == ((), [("direct", 0, 2, 0)])


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (b"NONSENSE\r\n", (500, "5.5.1 Command not recognized")),
        (b"RCPT TO:<desk@far.example>\r\n", (503, "5.5.1 MAIL first")),
        (b"GET / HTTP/1.1\r\n\r\n", (521, "5.5.1 This is a mail server")),
        (b"NOOP\nNOOP\r\n", (500, "5.5.2 Lines end in CR LF")),
    ],
)
async def test_a_refused_command_is_a_refusal(said: bytes, expected: tuple[int, str]) -> None:
    direct = Direct()
    await direct.say(said)
    assert refusals(direct.relay) == [("printer", *expected)]


async def test_a_client_that_is_not_let_in_is_a_refusal() -> None:
    stranger = Direct(peer="198.51.100.1")
    assert refusals(stranger.relay) == [("", 554, "5.7.1 Not for your network")]
    full = Direct(limits=RelayLimits(per_client=0))
    assert refusals(full.relay) == [("", 421, "4.7.0 Too many connections, come back later")]


async def test_a_sign_in_names_the_client_and_a_refused_one_does_not() -> None:
    direct = Direct(mode=Mode.LOOPBACK)
    await direct.say(b"EHLO c\r\n")
    await direct.say(f"AUTH PLAIN {plain('crm', 'wrong')}\r\n".encode())
    await until(lambda: len(refusals(direct.relay)) == 1)
    assert direct.relay.watch.state().clients[0].user == ""
    await direct.say(f"AUTH PLAIN {plain('crm', PASSWORD)}\r\n".encode())
    await until(lambda: direct.session.user is not None)
    assert direct.relay.watch.state().clients[0].user == "crm"
    await direct.say(b"NONSENSE\r\n")
    assert refusals(direct.relay) == [
        ("", 535, "5.7.8 Credentials not valid"),
        ("crm", 500, "5.5.1 Command not recognized"),
    ]


async def test_who_makes_too_many_errors_is_refused_once_more() -> None:
    direct = Direct(limits=RelayLimits(error_delay=0, hard_errors=2))
    await direct.say(b"A\r\n", b"B\r\n")
    assert [code for _, code, _ in refusals(direct.relay)] == [500, 500, 421]


async def test_who_idles_is_not_refused() -> None:
    direct = Direct()
    direct.session.check_time(asyncio.get_running_loop().time() + 1000)
    assert direct.heard().endswith("421 4.4.2 Idle for too long\r\n")
    assert refusals(direct.relay) == []


def refusing(desk: Desk) -> None:
    desk.reply = Reply(550, "5.7.1", "From: is no touchpoint that you may send as")


def full(desk: Desk) -> None:
    desk.error = StoreFull("no room on the disk")


@pytest.mark.parametrize(
    ("prepare", "content", "expected"),
    [
        (refusing, b"x\r\n.\r\n", (550, "5.7.1 From: is no touchpoint that you may send as")),
        (full, b"x\r\n.\r\n", (452, "4.3.1 No room, try again later")),
        (lambda desk: None, b"a\nb\r\n.\r\n", (550, "5.6.0 Not taken: a line feed without its carriage return")),
    ],
    ids=["not theirs", "full disk", "bare line feed"],
)
async def test_a_refused_mail_is_one_refusal_and_one_error_of_the_relay(
    prepare: object, content: bytes, expected: tuple[int, str]
) -> None:
    direct = Direct()
    prepare(direct.desk)  # type: ignore[operator]
    await hand_in(direct, content)
    assert refusals(direct.relay) == [("printer", *expected)]
    row = direct.relay.watch._station.row()
    assert (row.total, row.errors_hour) == (1, 1)
    assert rates(direct.relay.watch.state()) == [("printer", 0, 1)]


async def test_a_mail_whose_client_hung_up_behind_the_dot_is_accepted_by_its_listener() -> None:
    direct = Direct()
    direct.desk.gate.clear()
    await hand_in(direct)
    direct.wire.lose()
    await settle()
    assert doors(direct.relay.watch.state()) == [("direct", 0, 0, 0)]
    direct.desk.gate.set()
    await settle()
    assert doors(direct.relay.watch.state()) == [("direct", 0, 1, 0)]


async def test_over_real_connections_it_shows_where_it_listens_and_who_is_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as inherited:
        listeners = [
            ListenerSettings(name="own", mode=Mode.LOOPBACK),
            ListenerSettings(name="inherited", mode=Mode.PLAIN, host="unused.example", port=1, sock=inherited),
        ]
        station = Station("relay", asyncio.get_running_loop().time)
        watch = RelayWatch(station)
        relay = await listen(Desk(), listeners, hostname="relay.example", watch=watch)
        try:
            shown = [(row.name, row.host, row.port, row.mode) for row in watch.state().listeners]
            assert shown == [
                ("own", "127.0.0.1", relay.ports["own"], "loopback"),
                ("inherited", "127.0.0.1", inherited.getsockname()[1], "plain"),
            ]
            client = await Client.connect(relay.ports["own"])
            other = await Client.connect(relay.ports["inherited"])
            await client.sign_in()
            await client.envelope()
            assert (await client.ask(b"Subject: x\r\n\r\nhello\r\n.")).startswith("250")
            assert (await other.ask("NONSENSE")).startswith("500")
            state = watch.state()
            assert doors(state) == [("own", 1, 1, 0), ("inherited", 1, 0, 1)]
            assert [(row.peer, row.user) for row in state.clients] == [("127.0.0.1", "crm"), ("127.0.0.1", "printer")]
            assert station.row().total == 1
            client.close()
            await until(lambda: len(watch.state().clients) == 1)
            other.close()
            await until(lambda: not watch.state().clients)
        finally:
            await relay.close(grace=0)
