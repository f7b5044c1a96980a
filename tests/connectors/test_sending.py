"""Handing mail over: each place where a far end can answer, hang or hang up, and what the outcome says about it."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest
import uvloop

from gateway.connectors import Outcome, Outgoing, SendResult
from gateway.connectors.smtp import SmtpSending, SmtpTimeouts
from pipeline.errors import (
    AccessBlocked,
    AuthRequired,
    CertificateFault,
    NetworkFault,
    Poison,
    PostroomError,
    ProviderFault,
    Refused,
    Throttled,
    TimedOut,
)
from pipeline.touchpoint import Security, Server
from tests.servers.dovecot import Dovecot
from tests.servers.postfix import Postfix
from tests.servers.scripted_smtp import HANG, HANG_UP, Scripted
from tests.servers.tls import TlsFiles, make_ca

PATIENT = SmtpTimeouts(connect=20, command=20, block=20, after_dot=20, goodbye=5)
HASTY = replace(PATIENT, command=0.2, after_dot=0.2, goodbye=0.2)
"""For servers that hang."""
CONTENT = b"Subject: hello\r\n\r\n.begins with a dot\r\nplain\r\n..two\r\n"
DESK, SHOP, POST = "desk@far.example", "shop@far.example", "post@far.example"


def outgoing(content: bytes = CONTENT, *recipients: str, sender: str = "desk@shop.example", chunk: int = 0) -> Outgoing:
    """A mail whose content is read in chunks of this size."""

    async def chunks() -> AsyncIterator[bytes]:
        step = chunk or len(content) or 1
        for start in range(0, len(content), step):
            yield content[start : start + step]

    return Outgoing(
        sender=sender, recipients=recipients or (DESK,), message_id="<1@shop.example>", size=len(content), chunks=chunks
    )


class Attempt:
    """Stands for the row that is committed right before DATA."""

    def __init__(self) -> None:
        self.commands_before: list[list[str]] = []
        self.left_out: list[tuple[str, ...]] = []
        self.server: Scripted | None = None

    async def __call__(self, left_out: Sequence[str] = ()) -> None:
        self.left_out.append(tuple(left_out))
        self.commands_before.append(list(self.server.commands) if self.server else [])


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    return make_ca(tmp_path_factory.mktemp("tls"))


def sending(server: Scripted, user: str = "", *, timeouts: SmtpTimeouts | None = None) -> SmtpSending:
    timeouts = timeouts or (HASTY if HANG in server.answers.values() else PATIENT)
    return SmtpSending(
        Server(host="127.0.0.1", port=server.port, security=Security.NONE), user, "secret", timeouts=timeouts
    )


async def send(server: Scripted, mail: Outgoing, attempt: Attempt | None = None) -> SendResult:
    connector = sending(server)
    attempt = attempt or Attempt()
    attempt.server = server
    try:
        return await connector.send(mail, attempt)
    finally:
        await connector.close()


def outcomes(result: SendResult) -> dict[str, tuple[Outcome, int]]:
    return {one.address: (one.outcome, one.code) for one in result.recipients}


# ---- what is said and what arrives ----


async def test_a_mail_arrives_as_it_is() -> None:
    attempt = Attempt()
    async with Scripted() as server:
        result = await send(server, outgoing(CONTENT, DESK, SHOP), attempt)
    assert result.outcome is Outcome.ACCEPTED
    assert (result.code, result.text, result.server) == (250, "2.0.0 Taken as 4711", "127.0.0.1")
    assert outcomes(result) == {DESK: (Outcome.ACCEPTED, 250), SHOP: (Outcome.ACCEPTED, 250)}
    assert server.commands == [
        "EHLO [127.0.0.1]",
        f"MAIL FROM:<desk@shop.example> SIZE={len(CONTENT)}",
        f"RCPT TO:<{DESK}>",
        f"RCPT TO:<{SHOP}>",
        "DATA",
        "QUIT",
    ]
    assert server.contents == [b"Subject: hello\r\n\r\n..begins with a dot\r\nplain\r\n...two\r\n"]
    assert attempt.commands_before == [server.commands[:4]], "the attempt is recorded after RCPT and before DATA"


@pytest.mark.parametrize("chunk", [1, 2, 3, 17])
async def test_dots_are_doubled_wherever_the_chunks_end(chunk: int) -> None:
    async with Scripted() as server:
        await send(server, outgoing(CONTENT, chunk=chunk))
    assert server.contents == [b"Subject: hello\r\n\r\n..begins with a dot\r\nplain\r\n...two\r\n"]


@pytest.mark.parametrize(
    ("content", "on_the_wire"),
    [
        (b"", b""),
        (b".", b"..\r\n"),
        (b"no end", b"no end\r\n"),
        (b"end\r\n", b"end\r\n"),
        (b"\r\n.\r\n", b"\r\n..\r\n"),
    ],
)
async def test_the_last_line_is_ended_and_nothing_else_is_touched(content: bytes, on_the_wire: bytes) -> None:
    async with Scripted() as server:
        assert (await send(server, outgoing(content))).outcome is Outcome.ACCEPTED
    assert server.contents == [on_the_wire]


async def test_a_big_mail_goes_out_in_pieces() -> None:
    content = b"Subject: big\r\n\r\n" + (b"x" * 70 + b"\r\n") * 40_000
    async with Scripted({}, offers=("8BITMIME",)) as server:
        result = await send(server, outgoing(content, chunk=256 * 1024))
    assert result.outcome is Outcome.ACCEPTED
    assert server.contents == [content]


@pytest.mark.parametrize("content", [b"a\nb", b"a\rb", b"a\r", b"a\r\n.\rb", b"a\n.\r\nMAIL", b"a\0b"])
@pytest.mark.parametrize("chunk", [1, 2, 100])
async def test_content_that_might_read_as_two_mails_is_not_sent(content: bytes, chunk: int) -> None:
    async with Scripted() as server:
        with pytest.raises(Poison):
            await send(server, outgoing(b"x\r\n" + content + b"\r\n" if content != b"a\r" else content, chunk=chunk))
    assert server.contents == []


@pytest.mark.parametrize(
    ("offers", "content", "parameters"),
    [
        ((), CONTENT, ""),
        (("SIZE",), CONTENT, f" SIZE={len(CONTENT)}"),
        (("8BITMIME",), CONTENT, ""),
        (("8BITMIME",), b"caf\xc3\xa9\r\n", " BODY=8BITMIME"),
        ((), b"caf\xc3\xa9\r\n", ""),
        (("SIZE 0", "8BITMIME"), b"caf\xc3\xa9\r\n", " SIZE=7 BODY=8BITMIME"),
    ],
)
async def test_parameters_are_those_offered_and_needed(
    offers: tuple[str, ...], content: bytes, parameters: str
) -> None:
    async with Scripted(offers=offers) as server:
        await send(server, outgoing(content))
    assert server.commands[1] == f"MAIL FROM:<desk@shop.example>{parameters}"


async def test_the_null_sender() -> None:
    async with Scripted(offers=()) as server:
        assert (await send(server, outgoing(sender=""))).outcome is Outcome.ACCEPTED
    assert server.commands[1] == "MAIL FROM:<>"


# ---- refused here ----


async def test_a_mail_that_is_too_big_is_not_begun() -> None:
    async with Scripted(offers=("SIZE 20",)) as server:
        result = await send(server, outgoing())
    assert outcomes(result) == {DESK: (Outcome.REFUSED, 552)}
    assert "MAIL" not in " ".join(server.commands)


@pytest.mark.parametrize(
    "address",
    [
        "a b@far.example",
        "a@far.example> SIZE=1",
        "a@far.example\r\nDATA",
        "ä@far.example",
        "",
        "a\0@b.example",
        '"a>b"@c',
    ],
)
async def test_an_address_that_cannot_be_written_is_refused_here(address: str) -> None:
    async with Scripted() as server:
        result = await send(server, outgoing(CONTENT, address))
        assert result.outcome is Outcome.REFUSED
        if address:
            assert (await send(server, outgoing(sender=address))).outcome is Outcome.REFUSED
    assert server.commands == []


def test_clear_text_to_loopback_only() -> None:
    with pytest.raises(Refused):
        SmtpSending(Server(host="mail.example", port=25, security=Security.NONE), "", "")
    for host in ("127.0.0.1", "::1", "localhost"):
        SmtpSending(Server(host=host, port=25, security=Security.NONE), "", "")


# ---- the server refuses ----

RETRY, REFUSED, UNKNOWN, ACCEPTED = Outcome.RETRY, Outcome.REFUSED, Outcome.UNKNOWN, Outcome.ACCEPTED


@pytest.mark.parametrize(
    ("place", "answer", "outcome", "code"),
    [
        ("MAIL", "451 4.3.0 later", RETRY, 451),
        ("MAIL", "550 5.7.60 SMTP; Client does not have permissions to send as this sender", REFUSED, 550),
        ("MAIL", "421 4.3.2 going away", RETRY, 421),
        ("RCPT", "450 4.2.0 later", RETRY, 450),
        ("RCPT", "550 5.1.1 nobody", REFUSED, 550),
        ("RCPT", "421 4.3.2 going away", RETRY, 421),
        ("DATA", "452 4.3.1 full", RETRY, 452),
        ("DATA", "554 5.5.1 no", REFUSED, 554),
        ("DATA", "421 4.3.2 going away", RETRY, 421),
        ("DATA", HANG_UP, RETRY, 0),
        ("DATA", HANG, RETRY, 0),
        ("DATA", "250 what", RETRY, 250),
        ("content", HANG_UP, RETRY, 0),
        ("content", "421 4.3.2 going away", RETRY, 421),
        ("content", "552 5.3.4 too big", REFUSED, 552),
        ("dot", "451 4.3.0 later", RETRY, 451),
        ("dot", "421 4.3.2 going away", RETRY, 421),
        ("dot", "554 5.6.0 spam", REFUSED, 554),
        ("dot", HANG_UP, UNKNOWN, 0),
        ("dot", HANG, UNKNOWN, 0),
        ("dot", "nonsense", UNKNOWN, 0),
        ("dot", "354 what", UNKNOWN, 354),
        ("dot", "251 taken", ACCEPTED, 251),
    ],
)
async def test_every_place_where_it_can_end(place: str, answer: str, outcome: Outcome, code: int) -> None:
    # Long enough that the content cannot be on its way whole before the server has spoken.
    content = CONTENT + (b"y" * 70 + b"\r\n") * 200_000 if place == "content" else CONTENT
    async with Scripted({place: answer}, offers=()) as server:
        result = await send(server, outgoing(content, chunk=64 * 1024))
    assert result.outcome is outcome
    assert outcomes(result) == {DESK: (outcome, code)}
    assert len(server.contents) == (place == "dot")


@pytest.mark.parametrize("place", ["MAIL", "RCPT"])
@pytest.mark.parametrize(
    ("answer", "error"), [(HANG_UP, NetworkFault), (HANG, TimedOut), ("503 5.5.1 no", ProviderFault)]
)
async def test_a_connection_that_fails_before_data_is_not_the_mails_fault(
    place: str, answer: str, error: type[PostroomError]
) -> None:
    attempt = Attempt()
    async with Scripted({place: answer}) as server:
        with pytest.raises(error):
            await send(server, outgoing(), attempt)
    assert attempt.commands_before == []


async def test_each_recipient_has_its_own_result() -> None:
    script = {f"RCPT TO:<{SHOP}>": "550 5.1.1 nobody", f"RCPT TO:<{POST}>": "452 4.2.2 full"}
    attempt = Attempt()
    async with Scripted(script) as server:
        result = await send(server, outgoing(CONTENT, DESK, SHOP, POST), attempt)
    assert attempt.left_out == [(SHOP, POST)]  # whom the content does not go to is known before it goes
    assert result.outcome is ACCEPTED
    assert outcomes(result) == {DESK: (ACCEPTED, 250), SHOP: (REFUSED, 550), POST: (RETRY, 452)}
    assert len(server.contents) == 1


async def test_refusals_stand_when_the_server_leaves_within_the_recipients() -> None:
    script = {f"RCPT TO:<{SHOP}>": "550 5.1.1 nobody", f"RCPT TO:<{POST}>": "421 4.3.2 going away"}
    async with Scripted(script) as server:
        result = await send(server, outgoing(CONTENT, DESK, SHOP, POST))
    assert result.outcome is RETRY
    assert outcomes(result) == {DESK: (RETRY, 421), SHOP: (REFUSED, 550), POST: (RETRY, 421)}


async def test_a_refusal_of_the_content_leaves_earlier_results_alone() -> None:
    script = {f"RCPT TO:<{SHOP}>": "450 4.2.0 later", "dot": "554 5.6.0 spam"}
    async with Scripted(script) as server:
        result = await send(server, outgoing(CONTENT, DESK, SHOP))
    assert outcomes(result) == {DESK: (REFUSED, 554), SHOP: (RETRY, 450)}


async def test_no_recipient_no_data_and_the_session_serves_on() -> None:
    attempt = Attempt()
    async with Scripted({f"RCPT TO:<{SHOP}>": "550 5.1.1 nobody"}) as server:
        connector = sending(server)
        assert (await connector.send(outgoing(CONTENT, SHOP), attempt)).outcome is REFUSED
        assert attempt.commands_before == []
        assert (await connector.send(outgoing(), attempt)).outcome is ACCEPTED
        await connector.close()
    assert server.connections == 1
    assert " ".join(line.split()[0] for line in server.commands) == "EHLO MAIL RCPT RSET MAIL RCPT DATA QUIT"


async def test_what_before_data_raises_comes_out_and_nothing_is_sent() -> None:
    async def full(left_out: Sequence[str] = ()) -> None:
        raise Throttled("stop")

    async with Scripted() as server:
        connector = sending(server)
        with pytest.raises(Throttled):
            await connector.send(outgoing(), full)
        assert (await connector.send(outgoing(), Attempt())).outcome is ACCEPTED
        await connector.close()
    assert len(server.contents) == 1
    assert server.connections == 2, "the broken-off dialogue was not taken up again"


# ---- one connection for many mails ----


async def test_a_connection_is_used_again_and_replaced_when_the_server_left() -> None:
    async with Scripted() as server:
        connector = sending(server)
        for _ in range(3):
            assert (await connector.send(outgoing(), Attempt())).outcome is ACCEPTED
        assert server.connections == 1
        await server.hang_up()
        assert (await connector.send(outgoing(), Attempt())).outcome is ACCEPTED
        assert server.connections == 2
        await connector.close()
    assert len(server.contents) == 4


async def test_a_goodbye_heard_at_the_first_command_costs_nothing() -> None:
    async with Scripted() as server:
        connector = sending(server)
        await connector.open()
        server.once["MAIL"] = "421 4.4.2 idle for too long"
        assert (await connector.send(outgoing(), Attempt())).outcome is ACCEPTED
        await connector.close()
    assert server.connections == 2


async def test_an_idle_connection_is_probed_and_then_closed() -> None:
    async with Scripted() as server:
        connector = sending(server, timeouts=replace(PATIENT, probe_after=0, close_after=0))
        await connector.open()
        await connector.send(outgoing(), Attempt())
        assert "NOOP" in server.commands
        server.answers["NOOP"] = HANG_UP
        await connector.send(outgoing(), Attempt())
        assert server.connections == 2
        await connector.close_if_idle()
        assert server.commands[-1] == "QUIT"
        await connector.close()


async def test_close_never_raises() -> None:
    async with Scripted({"QUIT": HANG}) as server:
        connector = sending(server)
        await connector.open()
        await connector.close()
        await connector.close()


# ---- connecting, TLS and signing in ----


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ({"greeting": "421 4.7.0 too many connections"}, Throttled),
        ({"greeting": "554 5.7.1 no"}, ProviderFault),
        ({"greeting": HANG_UP}, NetworkFault),
        ({"greeting": "hello"}, ProviderFault),
        ({"AUTH": "535 5.7.8 bad credentials"}, AuthRequired),
        ({"AUTH": "534 5.7.9 application-specific password required"}, AuthRequired),
        ({"AUTH": "454 4.7.0 too many login attempts"}, Throttled),
        ({"AUTH": "454 4.3.0 temporary authentication failure"}, ProviderFault),
        ({"AUTH": "421 4.7.0 slow down"}, Throttled),
        ({"AUTH": "550 5.7.30 Basic authentication is not supported"}, AccessBlocked),
        ({"AUTH": "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled"}, AccessBlocked),
        ({"AUTH": HANG_UP}, NetworkFault),
        ({"MAIL": "530 5.7.0 Authentication required"}, AuthRequired),
    ],
)
async def test_each_failure_to_get_in_has_its_own_cause(script: dict[str, str], error: type[PostroomError]) -> None:
    async with Scripted(script) as server:
        connector = sending(server, "desk")
        with pytest.raises(error) as caught:
            await connector.send(outgoing(), Attempt())
        await connector.close()
    assert type(caught.value) is error
    assert "secret" not in str(caught.value)
    assert base64.b64encode(b"\0desk\0secret").decode() not in str(caught.value)
    assert sum(line.startswith("AUTH") for line in server.commands) <= 1, "one password, one try"


async def test_a_silent_server_is_a_time_out() -> None:
    async with Scripted({"greeting": HANG}) as server:
        with pytest.raises(TimedOut):
            await sending(server, timeouts=replace(PATIENT, connect=0.2)).open()


async def test_nobody_listens(free_port: int) -> None:
    with pytest.raises(NetworkFault):
        await SmtpSending(Server(host="127.0.0.1", port=free_port, security=Security.NONE), "", "").open()


async def test_no_sign_in_offered() -> None:
    async with Scripted(offers=()) as server:
        with pytest.raises(AccessBlocked):
            await sending(server, "desk").open()


async def test_login_where_plain_is_not_offered() -> None:
    script = {"AUTH": "334 UGFzc3dvcmQ6", base64.b64encode(b"secret").decode(): "235 2.7.0 Welcome"}
    async with Scripted(script, offers=("AUTH LOGIN",)) as server:
        connector = sending(server, "desk")
        identity = await connector.open()
        await connector.close()
    assert (identity.server, identity.principal) == ("127.0.0.1", "desk")


@pytest.mark.parametrize("security", [Security.TLS, Security.STARTTLS])
async def test_tls_is_verified(security: Security, tls: TlsFiles) -> None:
    over = {"tls" if security is Security.TLS else "starttls": tls.server_context()}
    offers = ("STARTTLS", "AUTH PLAIN")
    async with Scripted(offers=offers, **over) as server:
        where = Server(host="127.0.0.1", port=server.port, security=security)
        trusting = SmtpSending(where, "desk", "secret", ssl_context=tls.client_context(), timeouts=PATIENT)
        assert (await trusting.send(outgoing(), Attempt())).outcome is ACCEPTED
        await trusting.close()
        heard = len(server.commands)
        with pytest.raises(CertificateFault):
            await SmtpSending(where, "desk", "secret", timeouts=PATIENT).open()
        assert not [line for line in server.commands[heard:] if line.startswith("AUTH")]


async def test_starttls_is_not_optional(tls: TlsFiles) -> None:
    async with Scripted(offers=("AUTH PLAIN",)) as server:
        where = Server(host="127.0.0.1", port=server.port, security=Security.STARTTLS)
        with pytest.raises(ProviderFault):
            await SmtpSending(where, "desk", "secret", ssl_context=tls.client_context(), timeouts=PATIENT).open()
    assert not [line for line in server.commands if line.startswith("AUTH")]


async def test_a_server_without_tls_on_the_tls_port(tls: TlsFiles) -> None:
    async with Scripted() as server:
        where = Server(host="127.0.0.1", port=server.port, security=Security.TLS)
        with pytest.raises((ProviderFault, NetworkFault)):
            await SmtpSending(where, "", "", ssl_context=tls.client_context(), timeouts=PATIENT).open()


def test_on_uvloop_too(tls: TlsFiles) -> None:
    content = b"Subject: big\r\n\r\n" + (b"." * 70 + b"\r\n") * 20_000

    async def story() -> None:
        async with Scripted(offers=("STARTTLS", "AUTH PLAIN"), starttls=tls.server_context()) as server:
            where = Server(host="127.0.0.1", port=server.port, security=Security.STARTTLS)
            connector = SmtpSending(where, "desk", "secret", ssl_context=tls.client_context(), timeouts=PATIENT)
            assert (await connector.send(outgoing(content, chunk=65536), Attempt())).outcome is ACCEPTED
            assert server.contents == [content.replace(b"\r\n.", b"\r\n..")]
            server.answers["dot"] = HANG_UP
            assert (await connector.send(outgoing(), Attempt())).outcome is UNKNOWN
            server.answers["content"] = HANG_UP
            # More than what fits between the two ends, so that the dot cannot be on its way yet.
            assert (await connector.send(outgoing(content * 10, chunk=65536), Attempt())).outcome is RETRY
            await connector.close()

    uvloop.run(story())


# ---- the real thing ----


async def test_postfix_takes_a_mail_and_refuses_two_of_its_recipients(postfix: Postfix) -> None:
    context: ssl.SSLContext = postfix.tls.client_context()
    where = Server(host="localhost", port=postfix.smtp, security=Security.STARTTLS)
    connector = SmtpSending(where, "", "", ssl_context=context)
    desk = "desk.partial@far.example"
    try:
        result = await connector.send(outgoing(CONTENT, desk, "gone@refuse.test", "full@refuse.test"), Attempt())
    finally:
        await connector.close()
    assert outcomes(result) == {
        desk: (ACCEPTED, 250),
        "gone@refuse.test": (REFUSED, 550),
        "full@refuse.test": (RETRY, 452),
    }
    assert postfix.far_end is not None
    far_end = postfix.far_end
    for _ in range(500):
        if far_end.to(desk):
            break
        await asyncio.sleep(0.02)
    [mail] = far_end.to(desk)
    assert mail.sender == "desk@shop.example"
    assert mail.content.endswith(CONTENT.partition(b"\r\n\r\n")[2])


async def test_postfix_signs_in_by_either_tls_and_refuses_a_wrong_password(postfix: Postfix, dovecot: Dovecot) -> None:
    dovecot.add_user("desk.sending@shop.example", "right")
    context = postfix.tls.client_context()
    for port, security in ((postfix.submission, Security.STARTTLS), (postfix.smtps, Security.TLS)):
        where = Server(host="localhost", port=port, security=security)
        for password, good in (("right", True), ("wrong", False)):
            connector = SmtpSending(where, "desk.sending@shop.example", password, ssl_context=context)
            if good:
                assert (await connector.send(outgoing(), Attempt())).outcome is ACCEPTED
            else:
                with pytest.raises(AuthRequired):
                    await connector.open()
            await connector.close()
