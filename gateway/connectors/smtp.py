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
import ssl
from dataclasses import dataclass
from typing import Any

import aiosmtplib

from gateway.connectors import BeforeData, Identity, Outgoing, SendResult
from gateway.connectors.certificates import certificate_words
from gateway.connectors.smtp_handover import Handover, Stale, sign_in_fault, unsendable, words
from gateway.connectors.veil import Veil
from pipeline.errors import (
    AccessBlocked,
    CertificateFault,
    NetworkFault,
    PostroomError,
    ProviderFault,
    Refused,
    Throttled,
    TimedOut,
)
from pipeline.touchpoint import Security, Server


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
        self._veil = Veil(password)
        self._context = ssl_context
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

    async def send(self, mail: Outgoing, before_data: BeforeData) -> SendResult:
        """Hand over one mail, as ``Sending`` says."""
        async with self._lock:
            if (refusal := unsendable(mail)) is not None:
                return refusal
            reused = self._client is not None
            try:
                return await self._hand_over(mail, before_data, reused=reused)
            except Stale:
                # It hung up while idle, and heard nothing of this mail.
                return await self._hand_over(mail, before_data, reused=False)

    async def _hand_over(self, mail: Outgoing, before_data: BeforeData, *, reused: bool) -> SendResult:
        handover = Handover(_Wire(await self._ready(), self._times, self._server.host, self._veil), mail)
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
            raise _veiled(translate(error, self._server.host), self._veil) from None
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
            validate_certs=True,
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


class _Wire:
    """An aiosmtplib session as the hand-over sees it, with the flow control that aiosmtplib does not show."""

    def __init__(self, client: aiosmtplib.SMTP, times: SmtpTimeouts, host: str, veil: Veil) -> None:
        self.host = host
        self._veil = veil
        self._client = client
        self._times = times
        self._protocol: Any = client.protocol

    def offers(self, extension: str) -> str | None:
        return self._client.esmtp_extensions.get(extension)

    async def command(self, line: str) -> tuple[int, str]:
        if self._protocol._buffer:
            raise ProviderFault(f"{self.host} answers out of step")
        try:
            code, text = await self._client.execute_command(line.encode("ascii"), timeout=self._times.command)
        except Exception as error:
            raise _veiled(translate(error, self.host), self._veil) from None
        text = self._veil(text)
        if not 200 <= code < 600:
            raise ProviderFault(f"{self.host} answered {code} {words(text)}")
        return code, text

    def begin_content(self) -> None:
        self._protocol._response_pending = True

    async def put(self, data: bytes) -> PostroomError | None:
        try:
            self._protocol.write(data)
            if self._protocol._paused:
                await asyncio.wait_for(self._protocol._drain_helper(), self._times.block)
        except (aiosmtplib.SMTPException, OSError) as error:
            return translate(error, self.host)
        return None

    @property
    def spoke(self) -> bool:
        waiter = self._protocol._response_waiter
        return waiter is not None and waiter.done()

    def put_last(self, data: bytes) -> None:
        try:
            self._protocol.write(data)
        except aiosmtplib.SMTPException as error:
            raise translate(error, self.host) from error

    async def answer(self, *, early: bool = False) -> tuple[int, str]:
        try:
            seconds = self._times.command if early else self._times.after_dot
            code, text = await self._protocol.read_response(timeout=seconds)
        except (aiosmtplib.SMTPException, OSError) as error:
            raise _veiled(translate(error, self.host), self._veil) from None
        return code, self._veil(text)


def _veiled(fault: PostroomError, veil: Veil) -> PostroomError:
    """A fault whose words do not hold the password."""
    fault.args = (veil(str(fault)), *fault.args[1:])
    return fault


def translate(error: BaseException, server: str) -> PostroomError:
    """An error of aiosmtplib, of TLS or of the network as one of ours; what is not known is transient."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return CertificateFault(f"{server}: {words(certificate_words(cause))}")
    said = f"{server}: {words(str(error))}"
    match error:
        case PostroomError():
            return error
        case aiosmtplib.SMTPAuthenticationError():
            return sign_in_fault(error.code, f"{server}: {error.code} {words(error.message)}")
        case aiosmtplib.SMTPResponseException():
            said = f"{server}: {error.code} {words(error.message)}"
            return Throttled(said) if error.code == 421 else ProviderFault(said)
        case TimeoutError():
            return TimedOut(said)
        case ssl.SSLError():
            return ProviderFault(said)
        case OSError():
            return NetworkFault(said)
        case _:
            return ProviderFault(said)


def _causes(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and len(found) < 10:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
