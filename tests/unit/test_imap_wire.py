"""What a hostile or broken server can do to the IMAP client: nothing but end its own connection, with a true reason."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvloop

from gateway.connectors import imap_wire
from gateway.connectors.imap_client import ImapWire
from gateway.connectors.imap_faults import LiteralTooBig, NotDone, network_fault, translate
from gateway.connectors.imap_parse import Status
from gateway.connectors.imap_wire import Limits
from pipeline import errors
from pipeline.errors import (
    AccessBlocked,
    AuthRequired,
    CertificateFault,
    NetworkFault,
    PostroomError,
    ProviderFault,
    Refused,
    Throttled,
    TimedOut,
)
from pipeline.touchpoint import Security
from tests.servers.scripted_imap import Dialogue, Script, ScriptedImap
from tests.servers.tls import TlsFiles, make_ca

SECRET = "correct horse"
TIGHT = Limits(line=2000, literal=5000, untagged=50, quiet=5, whole=5)
ROW = b"* 1 FETCH (UID %d BODY[] {2}\r\nhi)\r\n"


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    return make_ca(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    return make_ca(tmp_path_factory.mktemp("other"))


async def connected(server: ScriptedImap, limits: Limits = TIGHT, timeout: float = 10.0) -> ImapWire:
    return await ImapWire.connect(server.host, server.port, Security.NONE, None, limits, timeout)


@asynccontextmanager
async def session(script: Script, limits: Limits = TIGHT) -> AsyncIterator[tuple[ImapWire, ScriptedImap]]:
    """A signed-in client of a server that goes on with ``script``."""

    async def whole(dialogue: Dialogue) -> None:
        await dialogue.sign_in()
        await script(dialogue)
        await dialogue.gone()

    async with ScriptedImap(whole) as server:
        wire = await connected(server, limits)
        await wire.login("user", SECRET)
        try:
            yield wire, server
        finally:
            wire.close()


def answering(answer: bytes) -> Script:
    """A script that answers the next command so."""

    async def script(dialogue: Dialogue) -> None:
        await dialogue.command()
        await dialogue.send(answer)

    return script


async def fetch(wire: ImapWire) -> list[object]:
    return [row async for row in wire.uid_fetch("1:9", "(UID BODY.PEEK[])")]


async def search(wire: ImapWire) -> object:
    return await wire.uid_search("ALL")


async def examine(wire: ImapWire) -> object:
    return await wire.examine("INBOX")


async def idle(wire: ImapWire) -> object:
    return await wire.idle(5)


Doing = Callable[[ImapWire], Awaitable[object]]

# -- a server that must not get its way ----------------------------------------------------------------------------

HOSTILE: list[tuple[str, Doing, bytes, type[PostroomError], str]] = [
    ("huge literal", fetch, b"* 1 FETCH (UID 7 BODY[] {99999999999}\r\n", LiteralTooBig, "literal"),
    ("literal above the limit", fetch, b"* 1 FETCH (BODY[] {5001}\r\n", LiteralTooBig, "5001"),
    ("many literals", fetch, b"* 1 FETCH (" + b"X {0}\r\n " * 2000, LiteralTooBig, "line"),
    ("literal too short", fetch, b"* 1 FETCH (UID 1 BODY[] {900}\r\nhi)\r\nTAG OK done\r\n", TimedOut, "no answer"),
    ("literal too long", fetch, b"* 1 FETCH (BODY[] {1}\r\nhello)\r\n" * 51, ProviderFault, "51|more than 50"),
    ("literal leaks into a line", fetch, b"* 1 FETCH (BODY[] {2}\r\nhi)\r\nrest of it\r\n", ProviderFault, "not asked"),
    ("line without end", search, b"* SEARCH " + b"1 " * 2000, LiteralTooBig, "line"),
    ("many lines", search, b"* 1 EXISTS\r\n" * 100_000, ProviderFault, "more than 50|without end"),
    ("answer without end", search, (b"* SEARCH" + b" 1" * 700 + b"\r\n") * 49, ProviderFault, "without end"),
    ("wrong tag", search, b"X9 OK done\r\n", ProviderFault, "not asked"),
    ("unknown word", search, b"TAG MAYBE\r\n", ProviderFault, "not asked"),
    ("unasked continuation", search, b"+ more\r\n", ProviderFault, "nobody offered"),
    ("goodbye", search, b"* BYE Server shutting down.\r\n", ProviderFault, "Server shutting down"),
    ("goodbye in IDLE", idle, b"+ idling\r\n* BYE Server shutting down.\r\n", ProviderFault, "shutting down"),
    ("goodbye that asks for a pause", search, b"* BYE Too many commands\r\n", Throttled, "Too many"),
    ("no UIDVALIDITY", examine, b"* 1 EXISTS\r\nTAG OK open\r\n", ProviderFault, "UIDVALIDITY"),
    ("UIDVALIDITY 0", examine, b"* OK [UIDVALIDITY 0] v\r\nTAG OK open\r\n", ProviderFault, "UIDVALIDITY"),
    ("UIDVALIDITY above", examine, b"* OK [UIDVALIDITY 4294967296] v\r\nTAG OK x\r\n", ProviderFault, "UIDVALIDITY"),
    ("refused", examine, b"TAG NO [NONEXISTENT] no such folder\r\n", NotDone, "no such folder"),
    ("IDLE refused", idle, b"TAG BAD what?\r\n", NotDone, "what"),
    ("IDLE done before it began", idle, b"TAG OK done\r\n", ProviderFault, "before it was complete"),
    ("slow down", fetch, b"TAG NO Suggested Backoff Time: 90000 milliseconds\r\n", Throttled, "Backoff"),
]


@pytest.mark.parametrize(("doing", "answer", "kind", "text"), [c[1:] for c in HOSTILE], ids=[c[0] for c in HOSTILE])
async def test_hostile_answers(doing: Doing, answer: bytes, kind: type[PostroomError], text: str) -> None:
    limits = Limits(line=2000, literal=5000, untagged=50, quiet=0.2, whole=5)
    async with session(answering(answer), limits) as (wire, _):
        with pytest.raises(kind, match=text) as caught:
            await doing(wire)
        assert SECRET not in str(caught.value)


async def test_a_literal_above_the_limit_names_its_item() -> None:
    async with session(answering(b"* 1 FETCH (UID 77 BODY[] {9999}\r\n")) as (wire, _):
        with pytest.raises(LiteralTooBig) as caught:
            await fetch(wire)
        assert caught.value.uid == 77
        assert wire.closed
        with pytest.raises(LiteralTooBig):  # and the connection stays over, for the same reason
            await wire.noop()


@pytest.mark.parametrize(
    "answer",
    [
        b"* OK [ALERT] go to imap://elsewhere.test/ {5}\r\n"
        + ROW % 1
        + b"TAG OK [REFERRAL imap://x.test/] done {9}\r\n",
        ROW % 1 + b"* 5 * 3 * 2\r\n* NO a warning {3}\r\n\r\nTAG OK done\r\n",
        b"\0\0* 1 FETCH (UID 1 BODY[] ~{2}\r\nhi)\r\nTAG OK :( done\r\n",
        b'* 1 FETCH (UID 1 BODY[] "hi")\r\n* 2 FETCH (UID x)\r\n* 3 FETCH ((\r\nTAG OK done\r\n',
    ],
)
async def test_oddities_that_cost_nothing(answer: bytes) -> None:
    async with session(answering(answer)) as (wire, _):
        rows = await fetch(wire)
        assert [row for row in rows if row.get("UID") == 1] == [{"UID": 1, "BODY[]": b"hi"}]  # type: ignore[attr-defined]
        assert not wire.closed


async def test_two_tagged_answers_end_the_connection() -> None:
    async with session(answering(b"TAG OK done\r\nTAG OK done\r\n")) as (wire, _):
        await search(wire)
        with pytest.raises(ProviderFault, match="not asked"):
            await search(wire)


async def test_a_flood_in_idle_is_one_hint() -> None:
    async def script(dialogue: Dialogue) -> None:
        await dialogue.opened()
        await dialogue.expect(b"IDLE", b"+ idling\r\n")
        await dialogue.send(b"".join(b"* %d EXISTS\r\n* %d EXPUNGE\r\n" % (n, n) for n in range(2, 30_000)))
        assert await dialogue.line() == b"DONE"
        await dialogue.send(b"* 9 EXISTS\r\n" * 5000 + b"TAG OK done\r\n")
        await dialogue.expect(b"NOOP")

    async with session(script) as (wire, _):
        await examine(wire)
        assert await wire.idle(20)
        assert await wire.noop()


class Deaf(asyncio.Transport):
    """A transport that goes nowhere."""

    reads = True

    def write(self, data: object) -> None: ...

    def abort(self) -> None: ...

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time in which each look at the clock takes a millisecond."""
    times = iter(range(1_000_000))
    monkeypatch.setattr(imap_wire, "monotonic", lambda: next(times) / 1000)


@pytest.mark.usefixtures("slow")
async def test_a_flood_leaves_others_their_turn() -> None:
    protocol = imap_wire.Protocol(asyncio.get_running_loop(), Limits(), "here")
    transport = Deaf()
    protocol.connection_made(transport)
    protocol.data_received(b"* OK ready\r\n" + b"".join(b"* %d EXISTS\r\n" % n for n in range(1, 101)))
    protocol.data_received(b"* 500 EXISTS\r\n")  # what was under way when reading was paused
    assert 0 < protocol.exists < 50
    assert not transport.reads
    turns = 0
    while protocol.exists != 500:
        turns += 1
        await asyncio.sleep(0)
    assert turns > 10
    await asyncio.sleep(0)
    assert transport.reads


@pytest.mark.usefixtures("slow")
async def test_what_came_before_a_loss_is_looked_at_and_what_came_before_a_fault_is_not() -> None:
    for fault in (None, ProviderFault("enough")):
        protocol = imap_wire.Protocol(asyncio.get_running_loop(), Limits(), "here")
        protocol.connection_made(Deaf())
        protocol.data_received(b"* OK ready\r\n" + b"".join(b"* %d EXISTS\r\n" % n for n in range(1, 101)))
        if fault is not None:
            protocol.fail(fault)
        protocol.connection_lost(None)
        assert (protocol.exists == 100) == (fault is None)
        assert isinstance(protocol.fault, NetworkFault if fault is None else ProviderFault)


async def test_a_fault_within_what_came_ends_it_there() -> None:
    protocol = imap_wire.Protocol(asyncio.get_running_loop(), Limits(), "here")
    protocol.connection_made(Deaf())
    protocol.data_received(b"* OK ready\r\n+ what?\r\n* 9 EXISTS\r\n")
    assert isinstance(protocol.fault, ProviderFault)
    assert protocol.exists == 0


@pytest.mark.usefixtures("slow")
async def test_bytes_before_tls_that_are_not_looked_at_yet_end_the_connection() -> None:
    protocol = imap_wire.Protocol(asyncio.get_running_loop(), Limits(), "here")
    protocol.connection_made(Deaf())
    protocol.data_received(b"* OK ready\r\n" + b"* 1 EXISTS\r\n" * 100)
    with pytest.raises(ProviderFault, match="in the clear"):
        await protocol.secure(ssl.create_default_context(), "localhost")


async def test_a_flood_between_commands_is_dropped() -> None:
    async def script(dialogue: Dialogue) -> None:
        await dialogue.opened()
        await dialogue.send(b"* 1 FETCH (FLAGS ())\r\n" * 20_000)
        await dialogue.expect(b"NOOP")

    async with session(script, Limits(line=2000, literal=1 << 20, untagged=30_000)) as (wire, _):
        await examine(wire)
        assert not await wire.noop()


async def test_a_folder_renumbered_under_us() -> None:
    async def script(dialogue: Dialogue) -> None:
        await dialogue.opened(epoch=7)
        await dialogue.expect(b"NOOP", b"* OK [UIDVALIDITY 8] new\r\nTAG OK done\r\n")

    async with session(script) as (wire, _):
        assert (await wire.examine("INBOX")).uidvalidity == 7
        with pytest.raises(ProviderFault, match="renumbered"):
            await wire.noop()
            await wire.noop()


# -- silence and dripping --------------------------------------------------------------------------------------------


async def test_silence_ends_in_time() -> None:
    async with session(answering(b""), Limits(quiet=0.1)) as (wire, _):
        with pytest.raises(TimedOut, match="no answer to UID SEARCH"):
            await search(wire)


async def test_dripping_ends_in_time() -> None:
    async def script(dialogue: Dialogue) -> None:
        await dialogue.command()
        await dialogue.send(b"* 1 FETCH (UID 1 BODY[] {4000}\r\n")
        while True:
            await dialogue.send(b"x")
            await asyncio.sleep(0.02)

    async with session(script, Limits(quiet=5, whole=0.3, rate=1e6)) as (wire, _):
        with pytest.raises(TimedOut, match="too slowly"):
            await fetch(wire)


async def test_an_end_of_idle_that_is_not_answered() -> None:
    async def script(dialogue: Dialogue) -> None:
        await dialogue.opened()
        await dialogue.expect(b"IDLE", b"+ idling\r\n")

    async with session(script, Limits(quiet=30, done=0.1)) as (wire, _):
        await examine(wire)
        assert not await wire.idle(0.05)
        with pytest.raises(TimedOut, match="IDLE"):
            await wire.noop()


async def test_idle_that_is_not_confirmed() -> None:
    async with session(answering(b""), Limits(quiet=0.1)) as (wire, _):
        with pytest.raises(TimedOut):
            await wire.idle(60)


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("doing", [search, idle, fetch])
async def test_a_lost_connection_wakes_whoever_waits(how: str, doing: Doing) -> None:
    async def script(dialogue: Dialogue) -> None:
        if b"IDLE" in await dialogue.command():
            await dialogue.send(b"+ idling\r\n")
        if how == "reset":
            dialogue.reset()
        raise ConnectionError  # ends this side

    async with session(script, Limits(quiet=600)) as (wire, _):
        with pytest.raises(NetworkFault):
            async with asyncio.timeout(5):
                await doing(wire)


async def test_rows_that_came_before_the_loss_are_given_out() -> None:
    async def script(dialogue: Dialogue) -> None:
        await dialogue.command()
        await dialogue.send(ROW % 1 + ROW % 2 + b"* BYE dying\r\n")

    async with session(script) as (wire, _):
        rows = []
        with pytest.raises(ProviderFault, match="dying"):
            async for row in wire.uid_fetch("1:2", "(UID BODY.PEEK[])"):
                rows.append(row["UID"])  # noqa: PERF401 (the error comes in between)
        assert rows == [1, 2]


async def test_a_slow_consumer_holds_the_server_back_and_is_not_blamed() -> None:
    body = b"x" * 100_000

    async def script(dialogue: Dialogue) -> None:
        await dialogue.command()
        for uid in range(1, 101):
            await dialogue.send(b"* 1 FETCH (UID %d BODY[] {%d}\r\n%b)\r\n" % (uid, len(body), body))
        await dialogue.send(b"TAG OK done\r\n")

    async with session(script, Limits(quiet=0.3)) as (wire, _):
        most, count = 0, 0
        async for row in wire.uid_fetch("1:100", "(UID BODY.PEEK[])"):
            if not count:
                await asyncio.sleep(0.6)
            most = max(most, wire._protocol._held)
            assert row["BODY[]"] == body
            count += 1
        assert count == 100
        assert most < 4 << 20


# -- giving up -------------------------------------------------------------------------------------------------------


async def test_a_cancelled_command_does_not_shift_the_stream() -> None:
    go = asyncio.Event()

    async def script(dialogue: Dialogue) -> None:
        await dialogue.command()
        await go.wait()
        await dialogue.send(b"* SEARCH 1 2 3\r\nTAG OK done\r\n")
        await dialogue.expect(b"UID SEARCH", b"* SEARCH 4\r\nTAG OK done\r\n")

    async with session(script) as (wire, _):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await search(wire)
        go.set()
        assert await search(wire) == [4]


async def test_a_fetch_that_is_left_does_not_shift_the_stream() -> None:
    async def script(dialogue: Dialogue) -> None:
        await dialogue.expect(b"UID FETCH", ROW % 1 + ROW % 2 + b"TAG OK done\r\n")
        await dialogue.expect(b"UID SEARCH", b"* SEARCH 4\r\nTAG OK done\r\n")

    async with session(script) as (wire, _):
        rows = wire.uid_fetch("1:2", "(UID BODY.PEEK[])")
        assert (await anext(rows))["UID"] == 1
        await rows.aclose()
        assert await search(wire) == [4]


async def test_idle_can_be_cancelled() -> None:
    async def script(dialogue: Dialogue) -> None:
        await dialogue.opened()
        await dialogue.expect(b"IDLE", b"+ idling\r\n")
        assert await dialogue.line() == b"DONE"
        await dialogue.send(b"TAG OK done\r\n")
        await dialogue.expect(b"NOOP")

    async with session(script) as (wire, _):
        await examine(wire)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await wire.idle(600)
        assert not await wire.noop()


async def test_the_connections_to_a_server_share_what_it_offers() -> None:
    async def script(dialogue: Dialogue) -> None:
        pass

    async with session(script) as (one, _), session(script) as (other, _):
        assert one.capabilities
        assert one.capabilities is other.capabilities


# -- beginnings ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("greeting", "kind", "text"),
    [
        (b"* PREAUTH welcome\r\n", ProviderFault, "signed in already"),
        (b"* BYE BROKEN OK\r\n", ProviderFault, "BROKEN OK"),
        (b"* BYE Too many connections\r\n", Throttled, "Too many"),
        (b"* NO thanks\r\n", ProviderFault, "not an IMAP server"),
        (b"* HELLO OK\r\n", ProviderFault, "not an IMAP server"),
        (b"220 mail.example.test ESMTP\r\n", ProviderFault, "not an IMAP server"),
        (b"* " + b"x" * 5000, LiteralTooBig, "line"),
        (b"", TimedOut, "in time"),
    ],
)
async def test_greetings_that_are_none(greeting: bytes, kind: type[PostroomError], text: str) -> None:
    async def script(dialogue: Dialogue) -> None:
        await dialogue.send(greeting)
        assert await dialogue.line() == b""  # nothing is said to such a server

    async with ScriptedImap(script) as server:
        with pytest.raises(kind, match=text):
            await connected(server, timeout=0.3 if not greeting else 5)


async def test_nobody_there(free_port: int) -> None:
    with pytest.raises(NetworkFault):
        await ImapWire.connect("127.0.0.1", free_port, Security.NONE)


@pytest.mark.parametrize("host", ["no-such-host.invalid", "x" * 70 + ".test"])
async def test_no_such_name(host: str) -> None:
    with pytest.raises(errors.Transient):
        await ImapWire.connect(host, 143, Security.TLS, timeout=5)


@pytest.mark.parametrize("host", ["192.0.2.1", "::ffff:192.0.2.1"])
async def test_in_the_clear_to_this_machine_only(host: str) -> None:
    with pytest.raises(Refused, match="loopback"):
        await ImapWire.connect(host, 143, Security.NONE)


async def starttls(dialogue: Dialogue, files: TlsFiles) -> None:
    await dialogue.send(b"* OK [CAPABILITY IMAP4rev1 STARTTLS EVIL] ready\r\n")
    await dialogue.expect(b"STARTTLS", b"* CAPABILITY EVIL\r\nTAG OK begin\r\n")
    await dialogue.starttls(files.server_context())
    await dialogue.expect(b"CAPABILITY", b"* CAPABILITY IMAP4rev1\r\nTAG OK done\r\n")
    await dialogue.expect(b"LOGIN")
    await dialogue.expect(b"CAPABILITY", b"* CAPABILITY IMAP4rev1 IDLE\r\nTAG OK done\r\n")
    await dialogue.expect(b"UID FETCH", ROW % 1 + b"TAG OK done\r\n")
    await dialogue.expect(b"LOGOUT", b"* BYE see you\r\nTAG OK done\r\n")


@pytest.mark.parametrize("runner", [asyncio.run, uvloop.run])
def test_starttls_forgets_what_was_said_in_the_clear(runner: Callable[..., None], tls: TlsFiles) -> None:
    async def whole() -> None:
        async with ScriptedImap(lambda dialogue: starttls(dialogue, tls)) as server:
            wire = await ImapWire.connect("localhost", server.port, Security.STARTTLS, tls.client_context())
            assert wire.capabilities == {"IMAP4REV1"}
            await wire.login("user", SECRET)
            assert wire.capabilities == {"IMAP4REV1", "IDLE"}
            assert await fetch(wire) == [{"UID": 1, "BODY[]": b"hi"}]
            await wire.logout()

    runner(whole())


@pytest.mark.parametrize("runner", [asyncio.run, uvloop.run])
@pytest.mark.parametrize("extra", [b"* CAPABILITY EVIL\r\n", b"A9 OK [CAPABILITY EVIL] x\r\n", b"* CAPA", b"\0"])
def test_bytes_slipped_in_before_tls_end_the_connection(
    runner: Callable[..., None], extra: bytes, tls: TlsFiles
) -> None:
    async def script(dialogue: Dialogue) -> None:
        await dialogue.send(b"* OK ready\r\n")
        await dialogue.expect(b"STARTTLS", b"TAG OK begin\r\n" + extra)
        await dialogue.gone()

    async def whole() -> None:
        async with ScriptedImap(script) as server:
            with pytest.raises(ProviderFault, match="in the clear"):
                await ImapWire.connect("localhost", server.port, Security.STARTTLS, tls.client_context())

    runner(whole())


@pytest.mark.parametrize("answer", [b"TAG NO not today\r\n", b"TAG BAD what\r\n"])
async def test_starttls_is_not_optional(answer: bytes, tls: TlsFiles) -> None:
    async def script(dialogue: Dialogue) -> None:
        await dialogue.send(b"* OK ready\r\n")
        await dialogue.expect(b"STARTTLS", answer)
        assert await dialogue.line() == b""

    async with ScriptedImap(script) as server:
        with pytest.raises(ProviderFault):
            await ImapWire.connect("localhost", server.port, Security.STARTTLS, tls.client_context())


async def test_preauth_cannot_avoid_tls(tls: TlsFiles) -> None:
    async with ScriptedImap(lambda dialogue: dialogue.send(b"* PREAUTH hello\r\n")) as server:
        with pytest.raises(ProviderFault, match="signed in already"):
            await ImapWire.connect("localhost", server.port, Security.STARTTLS, tls.client_context())


@pytest.mark.parametrize("runner", [asyncio.run, uvloop.run])
@pytest.mark.parametrize("security", [Security.TLS, Security.STARTTLS])
def test_another_authority_is_its_own_kind_of_fault(
    runner: Callable[..., None], security: Security, tls: TlsFiles, other: TlsFiles
) -> None:
    async def script(dialogue: Dialogue) -> None:
        await dialogue.send(b"* OK ready\r\n")
        await dialogue.expect(b"STARTTLS", b"TAG OK begin\r\n")
        await dialogue.starttls(tls.server_context())

    async def whole() -> None:
        context = tls.server_context() if security is Security.TLS else None
        async with ScriptedImap(script, tls=context) as server:
            with pytest.raises(CertificateFault):
                await ImapWire.connect("localhost", server.port, security, other.client_context())

    runner(whole())


async def test_no_tls_where_tls_was_expected() -> None:
    async def script(dialogue: Dialogue) -> None:
        await dialogue.send(b"* OK ready\r\n")

    async with ScriptedImap(script) as server:
        with pytest.raises(ProviderFault, match="TLS"):
            await ImapWire.connect("localhost", server.port, Security.TLS)


# -- signing in ------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def greeted(script: Script) -> AsyncIterator[tuple[ImapWire, ScriptedImap]]:
    async def whole(dialogue: Dialogue) -> None:
        await dialogue.greet()
        await script(dialogue)
        await dialogue.gone()

    async with ScriptedImap(whole) as server:
        wire = await connected(server)
        try:
            yield wire, server
        finally:
            wire.close()


@pytest.fixture
def everything_logged(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.DEBUG):
        yield caplog


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"TAG NO [AUTHENTICATIONFAILED] wrong\r\n", AuthRequired),
        (b"TAG NO wrong\r\n", AuthRequired),
        (b"TAG NO [UNAVAILABLE] later\r\n", ProviderFault),
        (b"TAG NO no user correct horse\r\n", AuthRequired),
        (b"X1 NO no user correct horse\r\n", ProviderFault),
        (b'X1 LOGIN "user" "correct horse"\r\n', ProviderFault),
        (b"+ correct horse?\r\n", ProviderFault),
        (b"* BYE correct horse\r\n", ProviderFault),
        (b"* OK correct horse {5}\r\nTAG BAD correct horse\r\n", ProviderFault),
        (b"* BYE too many\r\nTAG NO [AUTHENTICATIONFAILED] wrong\r\n", AuthRequired),
    ],
)
async def test_refusals_never_tell_the_password(
    answer: bytes, kind: type[PostroomError], everything_logged: pytest.LogCaptureFixture
) -> None:
    async with greeted(answering(answer)) as (wire, _):
        with pytest.raises(kind) as caught:
            await wire.login("user", SECRET)
        assert SECRET not in f"{caught.value} {caught.value!r} {caught.value.__context__} {caught.value.__cause__}"
        assert SECRET not in everything_logged.text


async def test_a_sign_in_leaves_no_trace_in_the_log(everything_logged: pytest.LogCaptureFixture) -> None:
    async with session(answering(ROW % 1 + b"TAG OK done\r\n")) as (wire, _):
        await fetch(wire)
    assert SECRET not in everything_logged.text
    assert "BODY" not in everything_logged.text


@pytest.mark.parametrize(
    ("user", "password", "said"),
    [
        ("user", 'p"w\\', b'LOGIN "user" "p\\"w\\\\"'),
        ("user", "", b'LOGIN "user" ""'),
        ("üser", "pässword", "LOGIN {5}\r\nüser {9}\r\npässword".encode()),
        ("user", "x" * 1001, b'LOGIN "user" {1001}\r\n' + b"x" * 1001),
    ],
)
async def test_arguments_of_login(user: str, password: str, said: bytes) -> None:
    async with greeted(lambda d: d.sign_in_only()) as (wire, server):
        await wire.login(user, password)
        assert said in server.dialogues[0].heard


async def test_a_refused_literal() -> None:
    async def script(dialogue: Dialogue) -> None:
        line = await dialogue.line()
        dialogue.tag = line.partition(b" ")[0]
        await dialogue.send(b"TAG NO too long\r\n")
        await dialogue.expect(b"NOOP")

    async with greeted(script) as (wire, _):
        with pytest.raises(AuthRequired):
            await wire.login("üser", SECRET)
        assert not await wire.noop()


@pytest.mark.parametrize("user", ["a\rb", "a\nb", "a\0b", "\ud800"])
async def test_a_user_name_cannot_split_a_command(user: str) -> None:
    async with greeted(lambda d: d.expect(b"NOOP")) as (wire, server):
        with pytest.raises(Refused):
            await wire.login(user, SECRET)
        with pytest.raises(Refused) as caught:
            await wire.login("user", f"{SECRET}\r\nA1 LOGOUT")
        assert SECRET not in str(caught.value)
        await wire.noop()
        assert server.dialogues[0].heard == [b"CAPABILITY", b"NOOP"]


async def test_logindisabled_is_believed() -> None:
    async def script(dialogue: Dialogue) -> None:
        await dialogue.send(b"* OK ready\r\n")
        await dialogue.expect(b"CAPABILITY", b"* CAPABILITY IMAP4rev1 LOGINDISABLED\r\nTAG OK done\r\n")
        assert await dialogue.line() == b""

    async with ScriptedImap(script) as server:
        wire = await connected(server)
        with pytest.raises(AccessBlocked):
            await wire.login("user", SECRET)
        wire.close()


# -- commands --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["a\r\nA1 LOGOUT", "a\0", "\udfff"])
async def test_a_folder_name_cannot_split_a_command(folder: str) -> None:
    async with session(lambda d: d.expect(b"NOOP")) as (wire, _):
        for doing in (wire.examine, wire.select, lambda name: wire.uid_move("1", name)):
            with pytest.raises(Refused):
                await doing(folder)
        for criteria in ("UID 1\r\nA1 LOGOUT", "FROM ä"):
            with pytest.raises(Refused):
                await wire.uid_search(criteria)
        await wire.noop()


async def test_folder_names_are_quoted_and_encoded() -> None:
    async with session(lambda d: d.opened()) as (wire, server):
        await wire.examine('Entwürfe "1" & co')
        assert server.dialogues[0].heard[-1] == b'EXAMINE "Entw&APw-rfe \\"1\\" &- co"'


async def test_what_can_be_opened_is_listed() -> None:
    async def script(dialogue: Dialogue) -> None:
        lines = b'* LIST (\\Noselect) "/" up\r\n* LIST () "/" {3}\r\na\r\n\r\n* LIST () "/" &AGE-\r\n'
        lines += b'* LIST (\\Sent) "/" S\r\n'
        await dialogue.expect(b'LIST "" "*"', lines + b"TAG OK done\r\n")

    async with session(script) as (wire, _):
        assert [(each.name, each.attributes) for each in await wire.list_folders()] == [("S", {"\\sent"})]


@pytest.mark.parametrize(
    ("answer", "uids"),
    [
        (b"* SEARCH\r\n", []),
        (b"", []),
        (b"* SEARCH 3 1 1\r\n* SEARCH 2\r\n", [1, 2, 3]),
        (b"* SEARCH 0 -1 x 4294967295 4294967296 99999999999999 7\r\n", [7, 4294967295]),
        (b"* ESEARCH x\r\n* FLAGS ()\r\n* SEARCH 1 (MODSEQ 5)\r\n", [1]),
    ],
)
async def test_search_answers(answer: bytes, uids: list[int]) -> None:
    async with session(answering(answer + b"TAG OK done\r\n")) as (wire, _):
        assert await search(wire) == uids


@pytest.mark.parametrize(
    ("capabilities", "said"),
    [
        (b"MOVE UIDPLUS", [b'UID MOVE 5 "Done"']),
        (b"UIDPLUS", [b'UID COPY 5 "Done"', b"UID STORE 5 +FLAGS.SILENT (\\Deleted)", b"UID EXPUNGE 5"]),
        (b"IDLE", None),
    ],
)
async def test_moving(capabilities: bytes, said: list[bytes] | None) -> None:
    async def script(dialogue: Dialogue) -> None:
        await dialogue.greet()
        await dialogue.expect(b"LOGIN", b"* CAPABILITY %b\r\nTAG OK in\r\n" % capabilities)
        while await dialogue.command():
            await dialogue.send(b"TAG OK done\r\n")

    async with ScriptedImap(script) as server:
        wire = await connected(server)
        await wire.login("user", SECRET)
        if said is None:
            with pytest.raises(Refused):
                await wire.uid_move("5", "Done")
        else:
            await wire.uid_move("5", "Done")
            assert server.dialogues[0].heard[2:] == said
        wire.close()


async def pieces(*data: bytes) -> AsyncIterator[bytes]:
    for each in data:
        yield each


async def test_appending_streams() -> None:
    content = b"Subject: x\r\n\r\n" + b"y" * 500_000

    async with session(lambda d: d.expect(b'APPEND "Sent" (\\Seen) {')) as (wire, server):
        chunks = pieces(*(content[at : at + 70_000] for at in range(0, len(content), 70_000)))
        await wire.append("Sent", ["\\Seen"], chunks, len(content))
        assert server.dialogues[0].heard[-1] == b'APPEND "Sent" (\\Seen) {%d}\r\n%b' % (len(content), content)


async def test_an_append_that_is_refused_at_once_leaves_the_connection_alone() -> None:
    async def script(dialogue: Dialogue) -> None:
        line = await dialogue.line()
        dialogue.tag = line.partition(b" ")[0]
        await dialogue.send(b"TAG NO [TRYCREATE] no such folder\r\n")
        await dialogue.expect(b"NOOP")

    async with session(script) as (wire, _):
        with pytest.raises(NotDone) as caught:
            await wire.append("Sent", [], pieces(b"x"), 1)
        assert caught.value.code == "TRYCREATE"
        assert not await wire.noop()


@pytest.mark.parametrize("data", [b"too long", b"no"])
async def test_an_append_of_the_wrong_length_ends_the_connection(data: bytes) -> None:
    async with session(lambda d: d.command()) as (wire, _):  # type: ignore[arg-type, return-value]
        with pytest.raises(Refused):
            await wire.append("Sent", [], pieces(data), 3)
        assert wire.closed


def test_the_library_logs_nothing(everything_logged: pytest.LogCaptureFixture) -> None:
    imap_wire.aioimaplib.log.error("a password")
    assert not everything_logged.records


async def test_the_library_has_no_way_around() -> None:
    protocol = imap_wire.Protocol(asyncio.get_running_loop(), Limits(), "x")
    with pytest.raises(NotImplementedError):
        await protocol.execute(None)


# -- what complaints mean --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "status", "kind"),
    [
        ("LOGIN", Status("NO", "AUTHENTICATIONFAILED", "", "x"), AuthRequired),
        ("LOGIN", Status("NO", "EXPIRED", "", "x"), AuthRequired),
        ("LOGIN", Status("NO", "ALERT", "", "Application-specific password required"), AuthRequired),
        ("LOGIN", Status("NO", "", "", ""), AuthRequired),
        ("LOGIN", Status("NO", "AUTHORIZATIONFAILED", "", "x"), AccessBlocked),
        ("LOGIN", Status("NO", "PRIVACYREQUIRED", "", "x"), AccessBlocked),
        ("LOGIN", Status("NO", "CONTACTADMIN", "", "x"), AccessBlocked),
        ("LOGIN", Status("NO", "UNAVAILABLE", "", "x"), ProviderFault),
        ("LOGIN", Status("NO", "INUSE", "", "x"), ProviderFault),
        ("LOGIN", Status("NO", "LIMIT", "", "x"), Throttled),
        ("LOGIN", Status("NO", "ALERT", "", "Too many simultaneous connections. (Failure)"), Throttled),
        ("LOGIN", Status("NO", "", "", "Temporary authentication failure"), ProviderFault),
        ("LOGIN", Status("BAD", "", "", "Command Argument Error. 12"), ProviderFault),
        ("EXAMINE", Status("BAD", "", "", "User is authenticated but not connected."), AuthRequired),
        ("EXAMINE", Status("NO", "NOPERM", "", "x"), NotDone),
        ("EXAMINE", Status("NO", "", "", "temporarily not available"), ProviderFault),
        ("FETCH", Status("NO", "SERVERBUG", "", "Internal error"), NotDone),
        ("FETCH", Status("NO", "", "", "temporary failure"), NotDone),
        ("FETCH", Status("NO", "UNAVAILABLE", "", "x"), ProviderFault),
        ("FETCH", Status("NO", "EXPUNGEISSUED", "", "x"), NotDone),
        ("APPEND", Status("NO", "OVERQUOTA", "", "full"), NotDone),
        ("SEARCH", Status("NO", "OVERQUOTA", "", "bandwidth"), Throttled),
        ("BYE", Status("BYE", "", "", "Autologout"), ProviderFault),
        ("BYE", Status("BYE", "AUTHENTICATIONFAILED", "", "x"), AuthRequired),
    ],
)
def test_complaints(command: str, status: Status, kind: type[PostroomError]) -> None:
    fault = translate(command, status)
    assert type(fault) is kind
    assert status.text in str(fault)


@pytest.mark.parametrize(("milliseconds", "seconds"), [(1500, 1.5), (299_000, 299.0), (10**11, 300.0)])
def test_a_pause_that_is_asked_for_is_kept_within_five_minutes(milliseconds: int, seconds: float) -> None:
    fault = translate("LOGIN", Status("NO", "", "", f"Suggested Backoff Time: {milliseconds} milliseconds"))
    assert isinstance(fault, Throttled)
    assert fault.seconds == seconds


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (None, NetworkFault),
        (ConnectionResetError(104, "reset"), NetworkFault),
        (TimeoutError(), TimedOut),
        (ssl.SSLCertVerificationError(1, "self-signed"), CertificateFault),
        (ssl.SSLError(1, "WRONG_VERSION_NUMBER"), ProviderFault),
        (ValueError("odd"), ProviderFault),
        (Throttled("x"), Throttled),
    ],
)
def test_faults_of_the_network(error: Exception | None, kind: type[PostroomError]) -> None:
    assert type(network_fault(error, "imap.example.test:993")) is kind


def test_a_file_of_authorities_that_cannot_be_read(tmp_path: Path) -> None:
    from gateway.connectors.imap_client import client_context

    with pytest.raises(CertificateFault):
        client_context(str(tmp_path / "none.pem"))
