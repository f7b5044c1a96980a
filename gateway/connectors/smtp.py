"""The sending half of ``imap_smtp``: hands mail to a submission server (RFC 6409). The only home of aiosmtplib.

aiosmtplib makes the connection, TLS and the sign-in; envelope and content go through its command layer. Promises:

- TLS is verified, STARTTLS is mandatory where it is asked for, and clear text goes to loopback only.
- A mail is never in memory whole: content goes out chunk by chunk, at the server's pace.
- Bytes are sent as they are, but for the dots of RFC 5321 section 4.5.2. Content with bare line ends is not sent at
  all (Poison), since the next server might read two mails in it.
- The outcome is honest. Until the final dot is handed to the transport nothing can have been taken, so a lost
  connection means RETRY (or an error, before ``before_data``); from there on silence means UNKNOWN.

A connection serves many mails; it is probed after 30 idle seconds and closed after 60 (``close_if_idle``).
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aiosmtplib

from gateway.connectors import Identity, Outcome, Outgoing, RecipientResult, SendResult
from gateway.smtp_data import DataWriter
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
from pipeline.touchpoint import Security, Server

_SENDABLE = re.compile(r'(?:"[ !-;=?-~]*"@)?[!-;=?-~]*')
"""What may stand between the brackets of a path: printable, no brackets, blanks in a quoted local part only."""
_BLOCKED = re.compile(
    r"5\.7\.30\b|SmtpClientAuthentication is disabled|basic authentication is (?:disabled|not sup)", re.I
)


@dataclass(frozen=True, kw_only=True)
class SmtpTimeouts:
    """In seconds; RFC 5321 section 4.5.3.2 asks for generous ones."""

    connect: float = 30.0
    """For the connection, for TLS, and for the greeting."""
    command: float = 120.0
    block: float = 180.0
    """For the network to take one chunk of content."""
    after_dot: float = 600.0
    """For the answer to the final dot: who gives up early makes duplicates (RFC 1047)."""
    goodbye: float = 5.0
    probe_after: float = 30.0
    close_after: float = 60.0


class SmtpSending:
    """Sends for one touchpoint; implements ``gateway.connectors.Sending``. Calls of ``send`` wait for each other."""

    def __init__(
        self,
        server: Server,
        user: str,
        password: str,
        *,
        ssl_context: ssl.SSLContext | None = None,
        timeouts: SmtpTimeouts | None = None,
        helo: str = "[127.0.0.1]",
    ) -> None:
        """``user`` "" means no sign-in; ``ssl_context`` None means the system's authorities. May raise Refused."""
        if server.security is Security.NONE and not _is_loopback(server.host):
            raise Refused(f"{server.host} would be spoken to in clear; only loopback may be. Use TLS or STARTTLS.")
        self._server = server
        self._user = user
        self._password = password
        self._context = ssl_context or ssl.create_default_context()
        self._times = timeouts or SmtpTimeouts()
        self._helo = helo
        self._lock = asyncio.Lock()
        self._client: aiosmtplib.SMTP | None = None
        self._used_at = 0.0

    async def open(self) -> Identity:
        """Connect and sign in, unless that is done already; for trying out settings too."""
        async with self._lock:
            await self._ready()
        return Identity(server=self._server.host, principal=self._user)

    async def send(self, mail: Outgoing, before_data: Callable[[], Awaitable[None]]) -> SendResult:
        """Hand over one mail, as ``Sending`` says."""
        async with self._lock:
            if (refusal := _unsendable(mail)) is not None:
                return refusal
            reused = self._client is not None
            try:
                return await self._hand_over(mail, before_data, reused=reused)
            except _Stale:
                # It hung up while idle, and heard nothing of this mail.
                return await self._hand_over(mail, before_data, reused=False)

    async def _hand_over(
        self, mail: Outgoing, before_data: Callable[[], Awaitable[None]], *, reused: bool
    ) -> SendResult:
        handover = _Handover(await self._ready(), mail, self._times, self._server.host)
        try:
            result = await handover.run(before_data, reused=reused)
        except BaseException:
            # Whatever it was, the dialogue stands at an unknown place.
            self._drop()
            raise
        if handover.in_step:
            self._used_at = asyncio.get_running_loop().time()
        else:
            self._drop()
        return result

    async def close_if_idle(self) -> None:
        """End the session if nothing was sent for a while."""
        if self._lock.locked() or self._client is None:
            return
        if asyncio.get_running_loop().time() - self._used_at >= self._times.close_after:
            await self.close()

    async def close(self) -> None:
        """End the session if there is one; never raises."""
        async with self._lock:
            client, self._client = self._client, None
            if client is None:
                return
            try:
                await client.quit(timeout=self._times.goodbye)
            except (aiosmtplib.SMTPException, OSError):
                pass
            finally:
                client.close()

    def _drop(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            # close() alone would wait for a peer that reads no more.
            if isinstance(client.transport, asyncio.WriteTransport):
                client.transport.abort()
            client.close()

    async def _ready(self) -> aiosmtplib.SMTP:
        """The session, alive as far as can be told."""
        if self._client is not None and await self._is_alive(self._client):
            return self._client
        self._drop()
        client = self._new_client()
        try:
            await client.connect()
            await self._greet_and_sign_in(client)
        except PostroomError:
            client.close()
            raise
        except Exception as error:
            client.close()
            raise translate(error, self._server.host) from error
        except BaseException:
            client.close()
            raise
        self._client = client
        self._used_at = asyncio.get_running_loop().time()
        return client

    def _new_client(self) -> aiosmtplib.SMTP:
        return aiosmtplib.SMTP(
            hostname=self._server.host,
            port=self._server.port,
            use_tls=self._server.security is Security.TLS,
            start_tls=self._server.security is Security.STARTTLS,
            tls_context=self._context,
            local_hostname=self._helo,
            timeout=self._times.connect,
        )

    async def _is_alive(self, client: aiosmtplib.SMTP) -> bool:
        if not client.is_connected:
            return False
        # A server that hung up is often known only by trying; a probe costs one round trip.
        if asyncio.get_running_loop().time() - self._used_at < self._times.probe_after:
            return True
        try:
            await client.noop(timeout=self._times.connect)
        except (aiosmtplib.SMTPException, OSError):
            return False
        return client.is_connected

    async def _greet_and_sign_in(self, client: aiosmtplib.SMTP) -> None:
        if client.is_ehlo_or_helo_needed:
            await client.ehlo()
        if not self._user:
            return
        # One mechanism, one try: a second with the same password only brings the lock-out nearer.
        offered = client.server_auth_methods
        if "plain" in offered:
            await client.auth_plain(self._user, self._password)
        elif "login" in offered:
            await client.auth_login(self._user, self._password)
        elif "cram-md5" in offered:
            await client.auth_crammd5(self._user, self._password)
        else:
            raise AccessBlocked(f"{self._server.host} offers no sign-in with a password on this connection")


class _Stale(Exception):
    """A session that was used before turned out to be over at the first command of this mail."""


class _Handover:
    """One mail over one session: MAIL, RCPT, DATA, content, dot."""

    def __init__(self, client: aiosmtplib.SMTP, mail: Outgoing, times: SmtpTimeouts, server: str) -> None:
        self._client = client
        self._mail = mail
        self._times = times
        self._host = server
        self._results: dict[str, RecipientResult] = {}
        self.in_step = True
        """Whether the session can take another mail."""

    async def run(self, before_data: Callable[[], Awaitable[None]], *, reused: bool) -> SendResult:
        """The whole of it."""
        limit = self._client.esmtp_extensions.get("size", "")
        if limit.isdigit() and 0 < int(limit) < self._mail.size:
            return self._all(Outcome.REFUSED, 552, f"not sent: the server takes {limit} octets, this mail has more")
        chunks = self._mail.chunks()
        try:
            first = await anext(chunks, b"")
            if (ended := await self._mail_from(first, reused=reused) or await self._rcpt_to()) is not None:
                return ended
            await before_data()
            return await self._data(first, chunks)
        finally:
            await _close(chunks)

    async def _mail_from(self, first: bytes, *, reused: bool) -> SendResult | None:
        """MAIL; an answer if the mail ends here."""
        try:
            code, text = await self._command(f"MAIL FROM:<{self._mail.sender}>{self._parameters(first)}")
        except NetworkFault as error:
            raise _Stale if reused else error from error
        if reused and code == 421:
            raise _Stale
        if code in (530, 535, 538) or _BLOCKED.search(text):
            raise _sign_in_fault(code, f"{self._host}: {code} {_words(text)}")
        return None if code == 250 else await self._reset(self._all(_outcome(code), code, text))

    def _parameters(self, first: bytes) -> str:
        """RFC 1870 and RFC 6152, where the server offers them."""
        size = f" SIZE={self._mail.size}" if self._client.supports_extension("size") else ""
        plain = first.isascii() and len(first) >= self._mail.size
        return size + (" BODY=8BITMIME" if not plain and self._client.supports_extension("8bitmime") else "")

    async def _rcpt_to(self) -> SendResult | None:
        """RCPT for each recipient; an answer if the mail ends here."""
        code, text = 0, ""
        for recipient in self._mail.recipients:
            code, text = await self._command(f"RCPT TO:<{recipient}>")
            if code == 421:
                return self._interrupted(code, text)
            outcome = Outcome.ACCEPTED if 200 <= code < 300 else _outcome(code)
            self._results[recipient] = _result(recipient, outcome, code, text)
        if self._accepted():
            return None
        retry = any(result.outcome is Outcome.RETRY for result in self._results.values())
        return await self._reset(self._summary(Outcome.RETRY if retry else Outcome.REFUSED, code, text))

    def _interrupted(self, code: int, text: str) -> SendResult:
        """The server leaves within the RCPTs: refusals stand, all others are for later."""
        refused = {k: v for k, v in self._results.items() if v.outcome is Outcome.REFUSED}
        result = self._all(Outcome.RETRY, code, text)
        self._results |= refused
        self.in_step = False
        return self._summary(result.outcome, code, text)

    async def _data(self, first: bytes, chunks: AsyncIterator[bytes]) -> SendResult:
        """DATA and what follows. Until the dot nothing can have been taken."""
        try:
            code, text = await self._command("DATA")
            if code != 354:
                return await self._reset(self._accepted_are(_outcome(code), code, text))
            protocol = _protocol(self._client)
            early = await self._content(protocol, first, chunks)
        except (NetworkFault, TimedOut, ProviderFault) as error:
            self.in_step = False
            return self._accepted_are(Outcome.RETRY, 0, f"the connection failed before the end of the content: {error}")
        return early or await self._answer(protocol)

    async def _content(self, protocol: Any, first: bytes, chunks: AsyncIterator[bytes]) -> SendResult | None:
        """Content and final dot; an answer if the server did not wait for the dot. May raise Poison."""
        writer = DataWriter()
        # So that an answer which comes too early is kept, not dropped.
        protocol._response_pending = True
        chunk: bytes | None = first
        while chunk is not None:
            broken = await self._put(protocol, writer.feed(chunk))
            if protocol._response_waiter.done():
                return await self._early(protocol)
            if broken is not None:
                raise broken
            chunk = await anext(chunks, None)
        # Nothing is awaited from here to the reading of the answer: a failure here means that no dot went out.
        try:
            protocol.write(writer.finish())
        except aiosmtplib.SMTPException as error:
            raise translate(error, self._host) from error
        return None

    async def _put(self, protocol: Any, data: bytes) -> PostroomError | None:
        """Write, and wait until the network has taken most of it; what went wrong, if anything."""
        try:
            protocol.write(data)
            if protocol._paused:
                await asyncio.wait_for(protocol._drain_helper(), self._times.block)
        except (aiosmtplib.SMTPException, OSError) as error:
            return translate(error, self._host)
        return None

    async def _early(self, protocol: Any) -> SendResult:
        """The server spoke before the dot: believe a refusal, and go."""
        self.in_step = False
        try:
            code, text = await protocol.read_response(timeout=self._times.command)
        except (aiosmtplib.SMTPException, OSError) as error:
            raise translate(error, self._host) from error
        if 400 <= code < 600:
            return self._accepted_are(_outcome(code), code, text)
        return self._accepted_are(Outcome.UNKNOWN, code, f"answered before the end of the content: {text}")

    async def _answer(self, protocol: Any) -> SendResult:
        """The word on the whole mail; silence and nonsense are UNKNOWN."""
        try:
            code, text = await protocol.read_response(timeout=self._times.after_dot)
        except (aiosmtplib.SMTPException, OSError) as error:
            self.in_step = False
            return self._accepted_are(Outcome.UNKNOWN, 0, f"no answer after the content: {error}")
        if 200 <= code < 300:
            return self._accepted_are(Outcome.ACCEPTED, code, text)
        answered = 400 <= code < 600
        self.in_step = answered and code != 421
        return self._accepted_are(_outcome(code) if answered else Outcome.UNKNOWN, code, text)

    async def _command(self, line: str) -> tuple[int, str]:
        """One command and its answer."""
        if _protocol(self._client)._buffer:
            raise ProviderFault(f"{self._host} answers out of step")
        try:
            code, text = await self._client.execute_command(line.encode("ascii"), timeout=self._times.command)
        except Exception as error:
            raise translate(error, self._host) from error
        # 503 speaks of the session, not of the mail: it must not fail a mail for good.
        if not 200 <= code < 600 or code == 503:
            raise ProviderFault(f"{self._host} answered {code} {_words(text)}")
        if code == 421:
            self.in_step = False
        return code, text

    async def _reset(self, result: SendResult) -> SendResult:
        """Leave the session ready for the next mail, if it still is one."""
        if self.in_step:
            try:
                self.in_step = (await self._command("RSET"))[0] == 250
            except PostroomError:
                self.in_step = False
        return result

    def _accepted(self) -> list[str]:
        return [address for address, result in self._results.items() if result.outcome is Outcome.ACCEPTED]

    def _accepted_are(self, outcome: Outcome, code: int, text: str) -> SendResult:
        """The server's word on those whom it accepted at RCPT; the others keep theirs."""
        for address in self._accepted():
            self._results[address] = _result(address, outcome, code, text)
        return self._summary(outcome, code, text)

    def _all(self, outcome: Outcome, code: int, text: str) -> SendResult:
        self._results = {address: _result(address, outcome, code, text) for address in self._mail.recipients}
        return self._summary(outcome, code, text)

    def _summary(self, outcome: Outcome, code: int, text: str) -> SendResult:
        return SendResult(
            outcome=outcome,
            recipients=tuple(self._results.values()),
            code=code,
            text=_words(text),
            server=self._host,
        )


def translate(error: BaseException, server: str) -> PostroomError:
    """An error of aiosmtplib, of TLS or of the network as one of ours; what is not known is transient."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return CertificateFault(f"{server}: {_words(cause.verify_message or str(cause))}")
    said = f"{server}: {_words(str(error))}"
    match error:
        case PostroomError():
            return error
        case aiosmtplib.SMTPAuthenticationError():
            return _sign_in_fault(error.code, f"{server}: {error.code} {_words(error.message)}")
        case aiosmtplib.SMTPResponseException():
            said = f"{server}: {error.code} {_words(error.message)}"
            return Throttled(said) if error.code == 421 else ProviderFault(said)
        case TimeoutError():
            return TimedOut(said)
        case ssl.SSLError():
            return ProviderFault(said)
        case OSError():
            return NetworkFault(said)
        case _:
            return ProviderFault(said)


def _sign_in_fault(code: int, said: str) -> PostroomError:
    if _BLOCKED.search(said) or "5.7.139" in said:
        return AccessBlocked(said)
    if 500 <= code < 600:
        return AuthRequired(said)
    return Throttled(said) if "4.7.0" in said or "too many" in said.lower() or code == 421 else ProviderFault(said)


def _causes(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and len(found) < 10:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def _outcome(code: int) -> Outcome:
    return Outcome.REFUSED if 500 <= code < 600 else Outcome.RETRY


def _result(address: str, outcome: Outcome, code: int, text: str) -> RecipientResult:
    return RecipientResult(address=address, outcome=outcome, code=code, text=_words(text))


def _words(text: str) -> str:
    """A server's text, on one line, printable, and of a bounded length."""
    return "".join(c if c.isprintable() else " " for c in text[:500]).strip()


def _unsendable(mail: Outgoing) -> SendResult | None:
    """Addresses that cannot be written on a command line are refused here, for all recipients alike."""
    if all(map(_SENDABLE.fullmatch, (mail.sender, *mail.recipients))) and all(mail.recipients):
        return None
    text = "not sent: an address of the envelope cannot be written in SMTP"
    results = tuple(_result(address, Outcome.REFUSED, 553, text) for address in mail.recipients)
    return SendResult(outcome=Outcome.REFUSED, recipients=results, code=553, text=text)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _protocol(client: aiosmtplib.SMTP) -> Any:
    """The protocol under the session, whose flow control aiosmtplib does not show."""
    if client.protocol is None:
        raise NetworkFault("the server closed the connection")
    return client.protocol


async def _close(chunks: AsyncIterator[bytes]) -> None:
    if (close := getattr(chunks, "aclose", None)) is not None:
        await close()
