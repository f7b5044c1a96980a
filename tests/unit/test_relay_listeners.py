"""The relay over real connections, on both event loops: TLS, signing in, disconnects, and what goes wrong between."""

from __future__ import annotations

import asyncio
import base64
import inspect
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest
import uvloop

from gateway.listeners import RunningRelay
from gateway.relay import listen
from gateway.submission import ListenerSettings, Mode, RelayLimits
from tests.servers.tls import TlsFiles, make_ca
from tests.unit.relaying import CRM, PASSWORD, Client, Desk, plain, until

CALM = RelayLimits(error_delay=0)
Start = Callable[[], Awaitable[RunningRelay]]


class Relays:
    """Starts relays for one test, and sees to it that they leave nothing behind."""

    def __init__(self, desk: Desk, tls: TlsFiles) -> None:
        self._desk = desk
        self._tls = tls
        self._running: list[RunningRelay] = []

    async def start(self) -> RunningRelay:
        """A relay with a listener of each mode."""
        listeners = [
            ListenerSettings(name="587", mode=Mode.SUBMISSION, ssl_context=self._tls.server_context()),
            ListenerSettings(name="465", mode=Mode.SUBMISSIONS, ssl_context=self._tls.server_context()),
            ListenerSettings(name="plain", mode=Mode.PLAIN),
        ]
        self._running.append(await listen(self._desk, listeners, CALM, hostname="relay.example"))
        return self._running[-1]

    async def around(self, story: Coroutine[Any, Any, None]) -> None:
        """Run a test, then shut down."""
        try:
            await story
        finally:
            for relay in self._running:
                await relay.close(grace=0)
        for relay in self._running:
            assert (relay.sessions, relay.connections.count, relay.in_hand, relay.in_data) == (set(), 0, 0, {})


def on_both_loops(story: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Make two tests of a coroutine: one on the loop of asyncio, one on uvloop."""

    def test(run: Callable[[Coroutine[Any, Any, None]], None], relays: Relays, **given: Any) -> None:
        if "start" in inspect.signature(story).parameters:
            given["start"] = relays.start
        run(relays.around(story(**given)))

    asked = [name for name in inspect.signature(story).parameters if name != "start"]
    kind = inspect.Parameter.KEYWORD_ONLY
    test.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(name, kind) for name in ("run", "relays", *asked)]
    )
    test.__name__ = story.__name__
    return pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])(test)


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    return make_ca(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def relays(desk: Desk, tls: TlsFiles) -> Relays:
    return Relays(desk, tls)


async def secured(relay: RunningRelay, tls: TlsFiles, name: str) -> Client:
    """A client under TLS, by whichever way this listener has."""
    context = tls.client_context()
    if name == "465":
        return await Client.connect(relay.ports[name], context)
    client = await Client.connect(relay.ports[name])
    assert "STARTTLS" in await client.ask("EHLO client.example")
    assert (await client.ask("STARTTLS")).startswith("220 2.0.0")
    await client.starttls(context)
    return client


@pytest.mark.parametrize("name", ["587", "465"])
@on_both_loops
async def test_a_mail_from_a_signed_in_user(start: Start, desk: Desk, tls: TlsFiles, name: str) -> None:
    client = await secured(await start(), tls, name)
    assert (await client.ask("MAIL FROM:<a@b.example>")).startswith("503")
    said = await client.ask("EHLO client.example")
    assert "AUTH PLAIN LOGIN" in said
    assert "STARTTLS" not in said
    assert (await client.ask("MAIL FROM:<a@b.example>")).startswith("530 5.7.0 Sign in")
    assert (await client.ask("AUTH PLAIN " + plain("crm", PASSWORD))).startswith("235 2.7.0")
    await client.envelope()
    assert (await client.ask(b"Subject: x\r\n\r\nhello\r\n.")).startswith("250 2.6.0")
    [taken] = desk.taken
    assert (taken.user, taken.with_protocol, taken.helo) == (CRM, "ESMTPSA", "client.example")
    assert taken.data == b"Subject: x\r\n\r\nhello\r\n"
    assert (await client.ask("QUIT")).startswith("221")
    assert await client.answer() == ""


@on_both_loops
async def test_a_session_begins_anew_behind_starttls(start: Start, tls: TlsFiles) -> None:
    client = await secured(await start(), tls, "587")
    assert (await client.ask("AUTH PLAIN " + plain("crm", PASSWORD))).startswith("503"), "EHLO is needed again"
    assert (await client.ask("STARTTLS")).startswith("503")


@on_both_loops
async def test_what_is_said_before_the_handshake_is_not_obeyed(start: Start, desk: Desk, tls: TlsFiles) -> None:
    relay = await start()
    client = await Client.connect(relay.ports["587"])
    await client.ask("EHLO c")
    client.writer.write(b"STARTTLS\r\nEHLO evil\r\nAUTH PLAIN " + plain("crm", PASSWORD).encode() + b"\r\n")
    assert (await client.answer()).startswith("521 5.5.1")
    assert await client.answer() == ""
    # The same, behind the 220: it is a broken handshake and nothing else.
    client = await Client.connect(relay.ports["587"])
    await client.ask("EHLO c")
    assert (await client.ask("STARTTLS")).startswith("220")
    client.writer.write(b"EHLO evil\r\nMAIL FROM:<a@b>\r\n")
    rest = await client.reader.read()
    assert b"250" not in rest
    await until(lambda: not relay.sessions)
    assert desk.tried == []


@on_both_loops
async def test_gone_within_the_handshake(start: Start) -> None:
    relay = await start()
    client = await Client.connect(relay.ports["587"])
    await client.ask("EHLO c")
    await client.ask("STARTTLS")
    client.close()
    await until(lambda: not relay.sessions)
    assert relay.connections.count == 0


@on_both_loops
async def test_tls_on_the_wrong_port_and_clear_text_on_the_tls_port(start: Start, tls: TlsFiles) -> None:
    relay = await start()
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await Client.connect(relay.ports["plain"], tls.client_context())
    reader, writer = await asyncio.open_connection("127.0.0.1", relay.ports["465"])
    writer.write(b"EHLO c\r\n")
    assert b"220" not in await reader.read()
    await until(lambda: not relay.sessions)
    writer.close()


@on_both_loops
async def test_auth_login_and_its_variants(start: Start, desk: Desk, tls: TlsFiles) -> None:
    relay = await start()
    name, password = (base64.b64encode(word.encode()).decode() for word in ("crm", PASSWORD))
    client = await secured(relay, tls, "465")
    await client.ask("EHLO c")
    assert await client.ask("AUTH LOGIN") == "334 " + base64.b64encode(b"Username:").decode() + "\r\n"
    assert await client.ask(name) == "334 " + base64.b64encode(b"Password:").decode() + "\r\n"
    assert (await client.ask(password)).startswith("235 2.7.0")
    assert (await client.ask("AUTH LOGIN")).startswith("503"), "once is enough"
    client = await secured(relay, tls, "465")
    await client.ask("EHLO c")
    assert (await client.ask(f"auth login {name}")).startswith("334 ")
    assert (await client.ask(password)).startswith("235 2.7.0")
    client = await secured(relay, tls, "465")
    await client.ask("EHLO c")
    assert (await client.ask("AUTH PLAIN")).startswith("334 ")
    assert (await client.ask(plain("crm", PASSWORD))).startswith("235 2.7.0")
    assert desk.tried == [("crm", PASSWORD)] * 3


@pytest.mark.parametrize(
    ("lines", "answer"),
    [
        (["AUTH"], "504 5.5.4"),
        (["AUTH CRAM-MD5"], "504 5.5.4"),
        (["AUTH XOAUTH2 abc"], "504 5.5.4"),
        (["AUTH PLAIN !"], "501 5.5.2"),
        (["AUTH PLAIN AAAA AAAA"], "501 5.5.2"),
        (["AUTH PLAIN Y3Jt"], "501 5.5.2"),
        (["AUTH PLAIN", "*"], "501 5.7.0"),
        (["AUTH LOGIN", "*"], "501 5.7.0"),
        (["AUTH LOGIN", "Y3Jt", "é"], "501 5.5.2"),
        (["AUTH PLAIN AP/+AHg="], "535 5.7.8"),
        (["AUTH PLAIN " + plain("", PASSWORD)], "535 5.7.8"),
        (["AUTH PLAIN " + plain("x" * 300, PASSWORD)], "535 5.7.8"),
        (["AUTH PLAIN " + plain("crm", "x" * 2000)], "535 5.7.8"),
        (["AUTH LOGIN", "Y3Jt", "x" * 13000], "500 5.5.2"),
    ],
)
@on_both_loops
async def test_sign_ins_that_are_none(start: Start, desk: Desk, tls: TlsFiles, lines: list[str], answer: str) -> None:
    client = await secured(await start(), tls, "465")
    await client.ask("EHLO c")
    said = [await client.ask(line) for line in lines][-1]
    assert said.startswith(answer)
    assert desk.tried == []
    assert (await client.ask("MAIL FROM:<a@b.example>"))[:3] in ("530", "")


@on_both_loops
async def test_three_failed_sign_ins_end_the_session(start: Start, desk: Desk, tls: TlsFiles) -> None:
    client = await secured(await start(), tls, "465")
    said = [await client.sign_in("wrong", name) for name in ("crm", "nobody")]
    assert said[0] == said[1], "a name that does not exist is answered like one that does"
    assert said[0].startswith("535 5.7.8")
    assert (await client.sign_in("wrong")).startswith("421 4.7.0")
    assert await client.answer() == ""
    assert len(desk.tried) == 3


@on_both_loops
async def test_a_flood_of_sign_ins_does_not_reach_the_verifier(start: Start, desk: Desk, tls: TlsFiles) -> None:
    relay = await start()

    async def attack(number: int) -> None:
        client = await secured(relay, tls, "465")
        for attempt in range(3):
            await client.sign_in("wrong", f"name{number}.{attempt}")
        client.close()

    await asyncio.gather(*(attack(number) for number in range(12)))
    assert len(desk.tried) == 10
    client = await secured(relay, tls, "465")
    assert (await client.sign_in()).startswith("454 4.7.0")


@on_both_loops
async def test_contents_of_one_user_at_once(start: Start, desk: Desk, tls: TlsFiles) -> None:
    relay = await start()
    clients = [await secured(relay, tls, "465") for _ in range(5)]
    for client in clients:
        assert (await client.sign_in()).startswith("235")
    for client in clients[:4]:
        await client.envelope()
    await clients[4].ask("MAIL FROM:<desk@shop.example>")
    await clients[4].ask("RCPT TO:<desk@far.example>")
    assert (await clients[4].ask("DATA")).startswith("450 4.7.0")
    clients[0].close()
    await until(lambda: relay.in_data == {CRM.id: 3})
    assert (await clients[4].ask("DATA")).startswith("354")


@on_both_loops
async def test_a_big_mail_over_a_real_connection(start: Start, desk: Desk, tls: TlsFiles) -> None:
    content = b"Subject: big\r\n\r\n" + (b".line " + b"z" * 64 + b"\r\n") * 40_000
    relay = await start()
    for client in (await Client.connect(relay.ports["plain"]), await secured(relay, tls, "465")):
        await client.sign_in()
        await client.envelope()
        client.writer.write(content.replace(b"\r\n.", b"\r\n..") + b".\r\n")
        assert (await client.answer()).startswith("250 2.6.0")
    assert desk.contents() == [content, content]
    assert max(len(taken.opening) for taken in desk.taken) == 256 * 1024


@pytest.mark.parametrize("way", ["abort", "half-close"])
@on_both_loops
async def test_gone_right_behind_the_dot(start: Start, desk: Desk, way: str) -> None:
    relay = await start()
    client = await Client.connect(relay.ports["plain"])
    await client.ask("EHLO c")
    await client.envelope()
    desk.gate.clear()
    client.writer.write(b"x\r\n.\r\n")
    await until(lambda: bool(relay._own))
    if way == "half-close":
        client.writer.write_eof()
    else:
        client.close()
    # Until it has heard of it: a close looks like a half-close until something is written.
    await until(lambda: all(session._half_closed for session in relay.sessions))
    desk.gate.set()
    await until(lambda: len(desk.taken) == 1)
    if way == "half-close":
        assert (await client.answer()).startswith("250 2.6.0")
        assert await client.answer() == ""
    await until(lambda: not relay.sessions)


@on_both_loops
async def test_an_inherited_socket_serves_like_our_own(desk: Desk) -> None:
    inherited = socket.create_server(("127.0.0.1", 0))
    port = inherited.getsockname()[1]
    settings = ListenerSettings(name="systemd", mode=Mode.PLAIN, sock=inherited)
    relay = await listen(desk, [settings], hostname="relay.example")
    assert relay.ports == {"systemd": port}
    client = await Client.connect(port)
    nodelay = client.writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert nodelay
    assert (await client.ask("QUIT")).startswith("221")
    await relay.close()


@on_both_loops
async def test_a_taken_port_is_told_and_leaves_nothing_open(desk: Desk) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listeners = [
            ListenerSettings(name="one", mode=Mode.PLAIN),
            ListenerSettings(name="two", mode=Mode.PLAIN, port=taken.getsockname()[1]),
        ]
        with pytest.raises(OSError):
            await listen(desk, listeners, hostname="relay.example")


@pytest.mark.parametrize("mode", [Mode.SUBMISSION, Mode.SUBMISSIONS])
@on_both_loops
async def test_no_certificate_no_listener(desk: Desk, mode: Mode) -> None:
    with pytest.raises(ValueError, match="certificate"):
        await listen(desk, [ListenerSettings(name="x", mode=mode)], hostname="relay.example")


@on_both_loops
async def test_passwords_in_clear_on_loopback_only(desk: Desk) -> None:
    with pytest.raises(ValueError, match="loopback"):
        await listen(desk, [ListenerSettings(name="x", mode=Mode.LOOPBACK, host="0.0.0.0")], hostname="relay.example")


@on_both_loops
async def test_passwords_are_not_logged(start: Start, tls: TlsFiles, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        client = await secured(await start(), tls, "465")
        await client.sign_in("canary-password")
        await client.ask("AUTH LOGIN")
        await client.ask(base64.b64encode(b"crm").decode())
        await client.ask(base64.b64encode(b"canary-password").decode())
    assert "canary" not in caplog.text
    assert base64.b64encode(b"canary-password").decode() not in caplog.text
    assert plain("crm", "canary-password") not in caplog.text
