"""SMTP for internal senders: takes their mail and answers 250 once it is durable.

Owns the dialogue with one client: greeting, TLS, sign-in, envelope, content; it is the only home of aiosmtpd. What
happens to a mail behind its final dot is not known here: ``Accepting.submit`` walks the line, commits, and says what to
answer.

Promises:
- A client that is gone before the final dot leaves nothing behind; once the dot is read, ``submit`` runs to its end in
  a task of its own, whatever becomes of the connection.
- Nobody names a recipient before signing in, and nobody signs in in clear. The one exception is the plain listener,
  for networks that the settings name.
- One DATA, one content, whatever bytes it holds: content with bare line ends is refused and the session closed.
- Memory is bounded: big content goes to the store while it is read, and reading pauses meanwhile.

A session is a small machine fed by ``data_received``; it has no task of its own. Commands are aiosmtpd's ``smtp_``
coroutines: those that wait for nothing are stepped to their end on the spot, the others run as a task while the
session is busy. That, and reading content in chunks instead of lines, is where the speed comes from.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

from aiosmtpd.smtp import MISSING, SMTP, AuthResult, LoginPassword

from gateway.listeners import LockedOut, RunningRelay
from gateway.relay_content import IncomingContent
from gateway.relay_watch import RelayWatch
from gateway.smtp_grammar import Reply, read_helo, read_mail, read_rcpt
from gateway.smtp_guard import client_of
from gateway.submission import Accepting, ListenerSettings, Mode, RelayLimits, Submission
from pipeline.errors import StoreFull
from pipeline.mail import OPENING, Envelope, RelayUser

__all__ = ["Accepting", "ListenerSettings", "Mode", "RelayLimits", "Reply", "RunningRelay", "Submission", "listen"]

log = logging.getLogger(__name__)

MAX_COMMAND = 1024
"""Octets of a command line; RFC 5321 section 4.5.3.1.4 asks for 512, and for more with parameters."""
MAX_AUTH = 12288
"""Octets of a line in a sign-in (RFC 4954 section 4.1)."""
MAX_AHEAD = 64 * 1024
"""Octets that may wait while a session is busy; then reading pauses."""
IDLE = "421 4.4.2 Idle for too long"
"""A goodbye, and no refusal."""

_HTTP = frozenset((b"GET", b"POST", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"CONNECT", b"TRACE", b"PATCH", b"PRI"))
_WAITING = frozenset((b"AUTH", b"STARTTLS"))
"""Commands that wait for the client or for a thread; all others are done in one step."""


async def listen(
    accepting: Accepting,
    listeners: Sequence[ListenerSettings],
    limits: RelayLimits | None = None,
    loop: asyncio.AbstractEventLoop | None = None,
    *,
    hostname: str,
    watch: RelayWatch | None = None,
) -> RunningRelay:
    """Start the relay, which calls itself ``hostname``. Raises OSError or ValueError, and then listens nowhere."""
    relay = RunningRelay(accepting, limits or RelayLimits(), hostname, loop or asyncio.get_running_loop(), watch)
    await relay.open(listeners, lambda settings: RelaySession(relay, settings))
    return relay


class RelaySession(SMTP):
    """One connection of one client.

    aiosmtpd gives the shape of a session and the dialogues of AUTH PLAIN and LOGIN; its loop over lines and its
    STARTTLS are not used. Its constructor is not called: it inspects the class anew for each connection, which takes
    longer than a whole mail does here.
    """

    AuthLoginUsernameChallenge = "Username:"
    AuthLoginPasswordChallenge = "Password:"

    def __init__(self, relay: RunningRelay, listener: ListenerSettings) -> None:
        self.relay = relay
        self.listener = listener
        self.loop = relay.loop
        self.transport: asyncio.Transport | None = None
        self.user: RelayUser | None = None
        self.peer = ""
        self._client = ""
        self._secured = False
        self._active_at = 0.0
        # What has come and is not looked at yet, and why it may have to wait.
        self._input = b""
        self._busy = False
        self._paused = False
        self._submitting = False
        self._half_closed = False
        self._ending = False
        self._task: asyncio.Task[None] | None = None
        self._line: asyncio.Future[bytes] | None = None
        # Patience.
        self._errors = 0
        self._junk = 0
        self._failures = 0
        self._slow_down = False
        # The envelope and the content under way.
        self._helo = ""
        self._extended = False
        self._content: IncomingContent | None = None
        self._forget_envelope()

    # ---- the connection ----

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is here: let it in, or tell it why not."""
        relay = self.relay
        self.transport = cast(asyncio.Transport, transport)
        self.peer = _ip_of(transport.get_extra_info("peername"))
        self._visit = relay.watch.enter(self.listener, self.peer)
        self._client = client_of(self.peer)
        self._secured = self.listener.mode is Mode.SUBMISSIONS
        self._active_at = self.loop.time()
        relay.sessions.add(self)
        if not relay.connections.enter(self._client) or relay.closing:
            self.end("421 4.7.0 Too many connections, come back later")
            return
        if self.listener.mode is Mode.PLAIN:
            self.user = relay.accepting.user_of_network(self.peer)
            if self.user is None:
                self.end("554 5.7.1 Not for your network")
                return
            self._visit.user = self.user.name
        self.say(f"220 {relay.hostname} ESMTP")

    @property
    def _private(self) -> bool:
        """Whether nobody else hears what is said: only then a password may be."""
        return self._secured or self.listener.mode is Mode.LOOPBACK

    def connection_lost(self, error: Exception | None) -> None:
        """The client is gone. What it sent before a final dot is forgotten; a submission goes on."""
        if self not in self.relay.sessions:
            return
        self.relay.sessions.discard(self)
        self.relay.connections.leave(self._client)
        self.relay.watch.leave(self._visit)
        self._forget_content()
        self._ending = True
        self._input = b""
        self.transport = None
        if self._task is not None:
            self._task.cancel()

    def eof_received(self) -> bool:
        """The client says no more. It may still wait for the answer to its final dot, unless TLS forbids that."""
        self._half_closed = True
        return self._submitting and not self._secured

    def pause_writing(self) -> None:
        """64 KiB of unread answers: nobody honest is there."""
        self.cut()

    def resume_writing(self) -> None:
        """Follows a pause; nothing is left to do."""

    def end(self, last_words: str = "") -> None:
        """Close the connection, with these words if there are any."""
        if self._ending or self.transport is None:
            return
        self._ending = True
        self._input = b""
        if last_words:
            line = last_words.encode("ascii") + b"\r\n"
            self.transport.write(line)
            if line[0] in b"45" and last_words != IDLE:
                self.relay.watch.refused(self._visit, line)
        self.transport.close()

    def cut(self) -> None:
        """Close the connection without waiting for the client's part in that."""
        self._ending = True
        self._input = b""
        if self.transport is not None:
            self.transport.abort()

    def leave_soon(self) -> None:
        """The relay is shutting down: go now, or once the content or submission under way is done."""
        if not self._submitting and self._content is None:
            self.end("421 4.3.2 Shutting down")

    def check_time(self, now: float) -> None:
        """Close the session if it idles or drips; not while it is we who are slow."""
        if self._submitting or (self._busy and self._content is not None):
            return
        if self._content is not None and self._content.too_slow(now):
            self.end("421 4.4.2 Too slow")
        elif now - self._active_at > self.relay.idle_limit():
            self.end(IDLE)

    # ---- from bytes to commands ----

    def data_received(self, data: bytes) -> None:
        """Take what came; while the session is busy it waits."""
        if self._ending:
            return
        self._input = self._input + data if self._input else data
        if not self._busy:
            self._advance()
        elif self._line is not None:
            self._hand_line()
        elif len(self._input) > MAX_AHEAD:
            self._pause()

    def _advance(self) -> None:
        while self._input and not self._busy and not self._ending:
            if self._content is not None:
                self._take_content(self._content)
            elif self._slow_down:
                self._slow_down = False
                self._busy = True
                self.loop.call_later(self.relay.limits.error_delay, self._go_on)
            elif not self._take_command():
                return

    def _go_on(self) -> None:
        """No longer busy: take up what has come meanwhile."""
        self._busy = False
        if self.transport is None or self._ending:
            return
        if self._paused:
            self._paused = False
            self.transport.resume_reading()
        self._advance()
        if self.relay.closing:
            self.leave_soon()
        elif self._half_closed and not self._busy:
            self.end()

    def _pause(self) -> None:
        if not self._paused and self.transport is not None and not self.transport.is_closing():
            self._paused = True
            self.transport.pause_reading()

    def _take_command(self) -> bool:
        """Obey the first line of the input; False if it is not all there."""
        line, found, rest = self._input.partition(b"\n")
        if not found:
            if len(line) > MAX_AUTH:
                self.end("500 5.5.2 Line too long")
            elif line[0] == 0x16:  # begins a TLS handshake (RFC 8446 section 5.1)
                self.end()
            return False
        self._input = rest
        verb, _, argument = line[:-1].partition(b" ")
        verb = verb.upper()
        # Closing at the first stray line end leaves no room for two readings of one stream.
        if line[-1:] != b"\r":
            self.end("500 5.5.2 Lines end in CR LF")
        elif len(line) > (MAX_AUTH if verb == b"AUTH" else MAX_COMMAND):
            self.say("500 5.5.2 Line too long")
        else:
            self._active_at = self.loop.time()
            self._obey(verb, argument)
        return True

    def _obey(self, verb: bytes, argument: bytes) -> None:
        command = _COMMANDS.get(verb)
        if command is None:
            self._unknown(verb)
        elif verb in _WAITING:
            self._busy = True
            self._task = self.loop.create_task(self._attend(command, argument))
        else:
            try:
                self._attend_at_once(command, argument)
            except Exception as error:
                self.say(self._fault(error))

    def _attend_at_once(self, command: Callable[..., Any], argument: bytes) -> None:
        try:
            command(self, argument.decode("latin-1")).send(None)
        except StopIteration:
            return
        raise RuntimeError("a command that should not wait does")

    async def _attend(self, command: Callable[..., Awaitable[None]], argument: bytes) -> None:
        try:
            await command(self, argument.decode("latin-1"))
        except Exception as error:
            self.say(self._fault(error))
        self._task = None
        self._go_on()

    def _unknown(self, verb: bytes) -> None:
        if verb in _HTTP:
            self.end("521 5.5.1 This is a mail server")
        elif self._is_patient():
            self.say("500 5.5.1 Command not recognized")

    def _is_patient(self) -> bool:
        """Count a command that brings nothing forward; False, and goodbye, if it was one too many."""
        self._junk += 1
        if self._junk > self.relay.limits.junk_commands:
            self.end("421 4.7.0 Too many commands without a mail")
            return False
        return True

    def say(self, answer: str | Reply) -> None:
        """Answer the client; a refusal counts as an error of the client's."""
        if self.transport is None or self._ending:
            return
        line = answer.line() if isinstance(answer, Reply) else answer.encode("ascii") + b"\r\n"
        self.transport.write(line)
        if line[0] in b"45":
            self.relay.watch.refused(self._visit, line)
            self._errors += 1
            limits = self.relay.limits
            if line.startswith(b"421"):
                self.end()
            elif self._errors >= limits.hard_errors:
                self.end("421 4.7.0 Too many errors")
            self._slow_down = self._errors >= limits.soft_errors

    async def push(self, status: str | bytes) -> None:
        """``say``, for aiosmtpd."""
        self.say(status if isinstance(status, str) else status.decode("ascii"))

    async def handle_exception(self, error: Exception) -> str:
        """A fault of ours: into the log, and nothing of it to the client."""
        return self._fault(error).line().decode("ascii").rstrip()

    def _fault(self, error: BaseException) -> Reply:
        if isinstance(error, StoreFull):
            return Reply(452, "4.3.1", "No room, try again later")
        log.error("the session with %s failed", self.peer, exc_info=error)
        return Reply(451, "4.3.0", "Internal error, try again later")

    # ---- greeting and sign-in ----

    async def smtp_HELO(self, hostname: str) -> None:
        """RFC 5321 section 4.1.1.1."""
        if self._greet(hostname, extended=False):
            self.say(f"250 {self.relay.hostname}")

    async def smtp_EHLO(self, hostname: str) -> None:
        """RFC 5321 section 4.1.1.1; all lines in one packet."""
        if not self._greet(hostname, extended=True):
            return
        lines = [self.relay.hostname, f"SIZE {self.relay.limits.size}", "8BITMIME"]
        if self.listener.mode is not Mode.PLAIN:
            # RFC 4954 section 4: not offered in clear.
            lines.append("AUTH PLAIN LOGIN" if self._private else "STARTTLS")
        self.say("".join(f"250-{line}\r\n" for line in lines) + "250 ENHANCEDSTATUSCODES")

    def _greet(self, hostname: str, *, extended: bool) -> bool:
        if self._talks_ahead() or not self._is_patient():
            return False
        name = read_helo(hostname.encode("latin-1"))
        if isinstance(name, Reply):
            self.say(name)
            return False
        self._helo = name
        self._extended = extended
        self._forget_envelope()
        return True

    def _talks_ahead(self) -> bool:
        """Whether input lies behind a command whose answer must be waited for (RFC 2920 section 3.1); goodbye then."""
        if self._input:
            self.end("521 5.5.1 Wait for the answer")
        return self._ending

    async def smtp_STARTTLS(self, arg: str) -> None:
        """RFC 3207. Nothing that came in clear is believed afterwards."""
        if self.listener.mode is not Mode.SUBMISSION or self._secured:
            self.say("503 5.5.1 Not now")
        elif arg:
            self.say("501 5.5.4 Syntax: STARTTLS")
        elif not self._talks_ahead() and self.transport is not None:
            await self._secure(self.transport)

    async def _secure(self, clear: asyncio.Transport) -> None:
        # Stop reading first: all that comes from now on belongs to the handshake.
        clear.pause_reading()
        clear.write(b"220 2.0.0 Go ahead\r\n")
        assert self.listener.ssl_context is not None
        try:
            secured = await self.loop.start_tls(
                clear,
                self,
                self.listener.ssl_context,
                server_side=True,
                ssl_handshake_timeout=self.relay.limits.handshake,
            )
        except (OSError, asyncio.CancelledError):
            # A connection that is lost within the handshake is not reported to us by the loop.
            clear.abort()
            self.connection_lost(None)
            return
        self.transport = cast(asyncio.Transport, secured)
        self._secured = True
        self._helo = ""
        self._forget_envelope()

    async def smtp_AUTH(self, arg: str) -> None:
        """RFC 4954, with PLAIN and LOGIN, under TLS only."""
        mechanism, _, initial = arg.strip().partition(" ")
        dialogue = {"PLAIN": self.auth_PLAIN, "LOGIN": self.auth_LOGIN}.get(mechanism.upper())
        if self.listener.mode is Mode.PLAIN:
            self.say("502 5.5.1 Not offered")
        elif not self._private:
            self.say("538 5.7.11 Encryption required")
        elif not self._helo or not self._extended or self.user is not None:
            self.say("503 5.5.1 Not now")
        elif dialogue is None:
            self.say("504 5.5.4 Mechanism not offered")
        else:
            presented: AuthResult = await dialogue(self, [mechanism, initial] if initial else [mechanism])
            if presented.auth_data is not None:
                await self._sign_in(presented.auth_data)

    def _authenticate(self, mechanism: str, auth_data: Any) -> AuthResult:
        """Where aiosmtpd's dialogues end: carry the credentials to ``smtp_AUTH``, which has them verified."""
        return AuthResult(success=False, auth_data=auth_data)

    async def _sign_in(self, presented: LoginPassword) -> None:
        try:
            name, password = presented.login.decode(), presented.password.decode()
            self.user = await self.relay.sign_in(self.peer, name, password)
        except UnicodeDecodeError:
            self._refuse_sign_in("535 5.7.8 Credentials not valid")
        except LockedOut:
            self._refuse_sign_in("454 4.7.0 Too many failed sign-ins, try again later")
        else:
            if self.user is None:
                self._refuse_sign_in("535 5.7.8 Credentials not valid")
            else:
                self._visit.user = self.user.name
                self.say("235 2.7.0 Signed in")

    def _refuse_sign_in(self, line: str) -> None:
        self._failures += 1
        if self._failures >= self.relay.limits.sign_in_failures:
            line = "421 4.7.0 Too many failed sign-ins"
        self.say(line)

    async def challenge_auth(
        self, challenge: str | bytes, encode_to_b64: bool = True, log_client_response: bool = False
    ) -> Any:
        """One question and answer of a sign-in; nothing of it is logged."""
        question = challenge.encode() if isinstance(challenge, str) else challenge
        self.say("334 " + base64.b64encode(question).decode())
        self._line = self.loop.create_future()
        self._hand_line()
        answer = await self._line
        self._line = None
        if answer == b"*":
            self.say("501 5.7.0 Sign-in given up")
            return MISSING
        try:
            return base64.b64decode(answer, validate=True)
        except binascii.Error:
            self.say("501 5.5.2 Not in base64")
            return MISSING

    def _hand_line(self) -> None:
        """Give the sign-in under way the line that it waits for, once it is there."""
        line, found, rest = self._input.partition(b"\n")
        if len(line) > MAX_AUTH:
            self.end("500 5.5.2 Line too long")
        elif found and self._line is not None and not self._line.done():
            self._input = rest
            self._active_at = self.loop.time()
            self._line.set_result(line.rstrip(b"\r"))

    # ---- envelope ----

    def _forget_envelope(self) -> None:
        self._sender: str | None = None
        self._recipients: list[str] = []
        self._announced = 0

    async def smtp_MAIL(self, arg: str | None) -> None:
        """RFC 5321 section 4.1.1.2; whom one may write as is judged behind the content."""
        if not self._helo:
            self.say("503 5.5.1 Say EHLO first")
        elif self.user is None:
            self.say("530 5.7.0 " + ("Sign in first" if self._private else "Must issue a STARTTLS command first"))
        elif self._sender is not None:
            self.say("503 5.5.1 One MAIL at a time")
        else:
            command = read_mail((arg or "").encode("latin-1"))
            if isinstance(command, Reply):
                self.say(command)
            elif command.size > self.relay.limits.size:
                self.say("552 5.3.4 Too big")
            else:
                self._sender = command.sender
                self._announced = command.size
                self.say("250 2.1.0 OK")

    async def smtp_RCPT(self, arg: str | None) -> None:
        """RFC 5321 section 4.1.1.3."""
        if self._sender is None:
            self.say("503 5.5.1 MAIL first")
        elif len(self._recipients) >= self.relay.limits.recipients:
            self.say("452 4.5.3 Too many recipients")
        else:
            recipient = read_rcpt((arg or "").encode("latin-1"))
            if isinstance(recipient, Reply):
                self.say(recipient)
            else:
                self._recipients.append(recipient)
                self.say("250 2.1.5 OK")

    async def smtp_RSET(self, arg: str) -> None:
        """RFC 5321 section 4.1.1.5."""
        if self._is_patient():
            self._forget_envelope()
            self.say("250 2.0.0 OK")

    async def smtp_NOOP(self, arg: str) -> None:
        """RFC 5321 section 4.1.1.9."""
        if self._is_patient():
            self.say("250 2.0.0 OK")

    async def smtp_VRFY(self, arg: str) -> None:
        """RFC 5321 section 3.5.3: tells nothing."""
        if self._is_patient():
            self.say("252 2.0.0 Send it and see")

    async def smtp_EXPN(self, arg: str) -> None:
        """Not offered."""
        self.say("502 5.5.1 Not offered")

    async def smtp_HELP(self, arg: str) -> None:
        """RFC 5321 section 4.1.1.8."""
        if self._is_patient():
            self.say("214 2.0.0 See RFC 5321")

    async def smtp_QUIT(self, arg: str) -> None:
        """RFC 5321 section 4.1.1.10."""
        self.end("221 2.0.0 Bye")

    async def smtp_BDAT(self, arg: str) -> None:
        """RFC 3030 is not offered; content would follow, so nothing that follows is read."""
        self.end("502 5.5.1 Not offered")

    # ---- content ----

    async def smtp_DATA(self, arg: str) -> None:
        """RFC 5321 section 4.1.1.4: be ready for content."""
        if not self._recipients or self.user is None:
            self.say("503 5.5.1 RCPT first")
        elif arg:
            self.say("501 5.5.4 Syntax: DATA")
        elif self._talks_ahead():
            return
        elif self.relay.in_hand > self.relay.limits.in_hand:
            self.say("452 4.3.1 Too much at once, try again later")
        elif self._too_many_at_once(self.user):
            self.say("450 4.7.0 Too many mails at once, try again later")
        else:
            self.relay.in_data[self.user.id] = self.relay.in_data.get(self.user.id, 0) + 1
            self._content = IncomingContent(self.relay.limits, self._announced, self.loop.time())
            self.say("354 End with a dot on a line of its own")

    def _too_many_at_once(self, user: RelayUser) -> bool:
        if self.listener.mode is Mode.PLAIN:
            return False
        return self.relay.in_data.get(user.id, 0) >= self.relay.limits.per_user_in_data

    def _take_content(self, content: IncomingContent) -> None:
        self._active_at = self.loop.time()
        before = content.held
        self._input = content.take(self._input)
        self.relay.in_hand += content.held - before
        if content.over:
            self._end_of_data(content)
        elif content.hopeless:
            self.end("552 5.3.4 Too big")
        elif content.held > OPENING:
            self._busy = True
            self._pause()
            self._task = self.loop.create_task(self._pour(content))

    async def _pour(self, content: IncomingContent) -> None:
        """Put what has come so far into the store, and only then read on."""
        self.relay.in_hand -= content.held
        try:
            await content.pour(self.relay.accepting.content_writer)
        except Exception as error:
            content.refusal = self._fault(error)
        self._task = None
        self._go_on()

    def _end_content(self) -> None:
        """No content is under way any more, however it ended."""
        if self._content is None or self.user is None:
            return
        self.relay.in_hand -= self._content.held
        self._content = None
        if (left := self.relay.in_data[self.user.id] - 1) > 0:
            self.relay.in_data[self.user.id] = left
        else:
            del self.relay.in_data[self.user.id]

    def _forget_content(self) -> None:
        """What has come of a content is given up; its part in the store too."""
        content = self._content
        self._end_content()
        if content is not None and content.stored:
            self.relay.own(content.discard())

    def _end_of_data(self, content: IncomingContent) -> None:
        """The final dot: from here on the mail is ours, or refused."""
        began = self.relay.watch.begin()
        refusal = Reply(550, "5.6.0", f"Not taken: {content.fault}") if content.fault else content.refusal
        if refusal is None:
            self._end_content()
            self._busy = self._submitting = True
            self.relay.own(self._submit(content, began)).add_done_callback(self._submitted)
            return
        self._forget_content()
        self._forget_envelope()
        self.relay.watch.answered(self._visit, refusal.code, began)
        self.say(refusal)
        if content.fault:
            self.end()

    async def _submit(self, content: IncomingContent, began: float) -> Reply:
        """Runs to its end even when this session is long gone; raises nothing."""
        reply = await self._submission(content)
        self.relay.watch.answered(self._visit, reply.code, began)
        return reply

    async def _submission(self, content: IncomingContent) -> Reply:
        held = content.held
        self.relay.in_hand += held
        try:
            assert self.user is not None
            submission = await content.finish(
                user=self.user,
                envelope=Envelope(sender=self._sender, recipients=tuple(self._recipients)),
                peer=self.peer,
                helo=self._helo,
                with_protocol=("ESMTP" if self._extended else "SMTP")
                + ("SA" if self._secured else "A" if self._private else ""),
            )
            return await self.relay.accepting.submit(submission)
        except Exception as error:
            return self._fault(error)
        finally:
            self.relay.in_hand -= held

    def _submitted(self, task: asyncio.Task[Reply]) -> None:
        self._submitting = False
        self._forget_envelope()
        if task.cancelled():
            self.end("421 4.3.2 Shutting down")
            return
        reply = task.result()
        if reply.code < 400:
            self._errors = self._junk = 0
        self.say(reply)
        self._go_on()


def _ip_of(peername: Any) -> str:
    """The client's address; "" where there is none (a Unix socket)."""
    if not isinstance(peername, tuple):
        return ""
    address = str(peername[0]).partition("%")[0]
    return address.removeprefix("::ffff:") if "." in address else address


_COMMANDS: dict[bytes, Callable[..., Any]] = {
    name.removeprefix("smtp_").encode(): getattr(RelaySession, name)
    for name in dir(RelaySession)
    if name.startswith("smtp_")
}
