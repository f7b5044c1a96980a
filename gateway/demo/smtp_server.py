"""The demo provider's submission server: ESMTP (RFC 5321, RFC 6409) that hands over to mailboxes in memory.

It takes mail from its own users only, refuses recipients by a table, delivers locally what is for one of its
mailboxes, and counts everything else as arrived at the far end. Bounded in memory; lines end where RFC 5321 says, and
data ends with CRLF.CRLF alone. It is a provider to show and test against: it never sends mail anywhere.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
import ssl
import time
from dataclasses import dataclass, field

from gateway.demo.mailbox import Mailbox, Mailboxes
from gateway.demo.wire import Hangup, Wire
from pipeline.headers import Headers
from pipeline.mail import OPENING
from pipeline.touchpoint import normalise, without_tag

SIZE_LIMIT = 150 * 1024 * 1024
_LINE = 4096
_RECIPIENTS = 1000
_ERRORS = 20
_PATH = re.compile(r"(?:FROM|TO):\s*<([^<>\s\x00-\x1f\x7f]{0,320})>((?: +[^\s]+)*)\s*$", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Submitted:
    """One mail that the server took."""

    sender: str
    """MAIL FROM; "" is the null sender."""
    recipients: tuple[str, ...]
    """Those that were accepted."""
    content: bytes
    message_id: str
    user: str
    """Who was signed in."""
    at: float
    """Seconds since the epoch."""


@dataclass(slots=True)
class Refusal:
    """What a recipient is answered instead of 250."""

    code: int
    text: str
    times: int | None = None
    """How often; None is always."""


@dataclass(slots=True)
class Policy:
    """How this provider treats submissions."""

    refusals: dict[str, Refusal] = field(default_factory=dict)
    """Normalised recipient address -> refusal."""
    sent_copy: bool = False
    """Whether the server files a copy in the sender's Sent folder."""
    null_sender: bool = True
    """Whether ``MAIL FROM:<>`` is allowed."""
    swallow_answers: int = 0
    """How many of the next mails are taken without an answer: the connection is reset instead."""


class SmtpServer:
    """What all sessions share."""

    def __init__(
        self, mailboxes: Mailboxes, *, starttls: ssl.SSLContext | None = None, clear_passwords: bool = False
    ) -> None:
        self.mailboxes = mailboxes
        self.starttls = starttls
        self.clear_passwords = clear_passwords or starttls is None
        """Whether signing in without TLS is allowed."""
        self.policy = Policy()
        self.submitted: list[Submitted] = []
        self.admitting = asyncio.Event()
        """While clear, MAIL FROM gets no answer: clients wait before any content has gone."""
        self.admitting.set()
        self.answering = asyncio.Event()
        """While clear, what was taken gets no answer: clients wait, and cannot know."""
        self.answering.set()

    async def talk(self, wire: Wire) -> None:
        """Serve one client until it goes."""
        await Session(self, wire).run()

    def take(self, mail: Submitted) -> None:
        """Accept a mail: deliver it to our own mailboxes, and file the Sent copy."""
        self.submitted.append(mail)
        for address in mail.recipients:
            mailbox = self.mailboxes.find(address)
            if mailbox is not None:
                mailbox.folders["INBOX"].add(_trace(mail, address) + mail.content)
        owner = self.mailboxes.find(mail.user)
        if self.policy.sent_copy and owner is not None:
            owner.folders["Sent"].add(mail.content, flags={"\\Seen"})


def _trace(mail: Submitted, address: str) -> bytes:
    """What final delivery writes above a mail (RFC 5321 section 4.4)."""
    date = time.strftime("%a, %d %b %Y %H:%M:%S +0000", time.gmtime(mail.at))
    lines = [
        f"Return-Path: <{mail.sender}>",
        f"Delivered-To: {address}",
        f"Received: from submission.demo.example by mx.demo.example with ESMTPA; {date}",
    ]
    return "".join(line + "\r\n" for line in lines).encode("utf-8", "replace")


class Session:
    """One client's talk."""

    def __init__(self, server: SmtpServer, wire: Wire) -> None:
        self._server = server
        self._wire = wire
        self._greeted = False
        self._user: Mailbox | None = None
        self._sender: str | None = None
        self._recipients: list[str] = []
        self._errors = 0
        self._over = False

    async def run(self) -> None:
        """Greet, then answer commands until QUIT."""
        await self._reply(220, "mx.demo.example ESMTP Postroom demo provider")
        while not self._over and self._errors < _ERRORS:
            line = (await self._wire.line(_LINE)).decode("utf-8", "replace")
            verb, _, rest = line.partition(" ")
            await self._obey(verb.strip().upper(), rest)
        if not self._over:
            await self._reply(421, "4.7.0 Too many errors")

    async def _reply(self, code: int, *lines: str) -> None:
        if code >= 500:
            self._errors += 1
        last = len(lines) - 1
        text = "".join(f"{code}{' ' if i == last else '-'}{line}\r\n" for i, line in enumerate(lines))
        await self._wire.send(text.encode("utf-8", "replace"))

    async def _obey(self, verb: str, rest: str) -> None:
        commands = {
            "EHLO": self._ehlo,
            "HELO": self._ehlo,
            "STARTTLS": self._starttls,
            "AUTH": self._auth,
            "MAIL": self._mail,
            "RCPT": self._rcpt,
            "DATA": self._data,
            "RSET": self._rset,
            "NOOP": self._noop,
            "QUIT": self._quit,
        }
        command = commands.get(verb)
        if command is None:
            return await self._reply(502, "5.5.2 Command not known")
        return await command(rest)

    async def _ehlo(self, rest: str) -> None:
        self._greeted = True
        self._forget()
        lines = ["mx.demo.example", "PIPELINING", f"SIZE {SIZE_LIMIT}", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES"]
        if self._offers_tls():
            lines.append("STARTTLS")
        if self._user is None and not self._needs_tls():
            lines.append("AUTH PLAIN LOGIN")
        await self._reply(250, *lines)

    def _offers_tls(self) -> bool:
        return self._server.starttls is not None and not self._wire.secure

    def _needs_tls(self) -> bool:
        return not (self._wire.secure or self._server.clear_passwords)

    async def _starttls(self, rest: str) -> None:
        if not self._offers_tls() or self._server.starttls is None:
            return await self._reply(503, "5.5.1 STARTTLS is not offered")
        await self._reply(220, "2.0.0 Go ahead")
        await self._wire.start_tls(self._server.starttls)
        # RFC 3207 section 4.2: nothing said before the handshake counts.
        self._greeted = False
        self._forget()
        return None

    async def _auth(self, rest: str) -> None:
        if self._needs_tls():
            return await self._reply(538, "5.7.11 Encryption required")
        if not self._greeted or self._user is not None or self._sender is not None:
            return await self._reply(503, "5.5.1 Not now")
        mechanism, _, initial = rest.strip().partition(" ")
        try:
            user, password = await self._credentials(mechanism.upper(), initial)
        except (binascii.Error, ValueError):
            return await self._reply(501, "5.5.2 Cannot decode that")
        self._user = self._server.mailboxes.sign_in(user, password)
        if self._user is None:
            return await self._reply(535, "5.7.8 Authentication failed")
        return await self._reply(235, "2.7.0 Authentication succeeded")

    async def _credentials(self, mechanism: str, initial: str) -> tuple[str, str]:
        """User and password by PLAIN (RFC 4616) or LOGIN."""
        if mechanism == "PLAIN":
            answer = _decoded(initial) if initial else await self._ask("")
            _, user, password = answer.split("\0")
            return user, password
        if mechanism == "LOGIN":
            user = _decoded(initial) if initial else await self._ask("VXNlcm5hbWU6")
            return user, await self._ask("UGFzc3dvcmQ6")
        raise ValueError("unknown mechanism")

    async def _ask(self, prompt: str) -> str:
        await self._wire.send(f"334 {prompt}\r\n".encode("ascii"))
        return _decoded((await self._wire.line(_LINE)).decode("ascii"))

    async def _mail(self, rest: str) -> None:
        found = _PATH.match(rest) if rest[:4].upper() == "FROM" else None
        if self._user is None:
            return await self._reply(530, "5.7.0 Authentication required")
        if self._sender is not None or found is None:
            return await self._reply(503 if found else 501, "5.5.1 Not now" if found else "5.5.4 MAIL FROM:<address>")
        if (size := re.search(r"\bSIZE=(\d{1,20})\b", found[2], re.IGNORECASE)) and int(size[1]) > SIZE_LIMIT:
            return await self._reply(552, "5.3.4 Too big")
        if not self._may_send_as(found[1]):
            return await self._reply(553, "5.7.1 Sender address not owned by you")
        await self._server.admitting.wait()
        self._sender = found[1]
        return await self._reply(250, "2.1.0 Ok")

    def _may_send_as(self, address: str) -> bool:
        if not address:
            return self._server.policy.null_sender
        return self._user is not None and without_tag(address) == without_tag(self._user.address)

    async def _rcpt(self, rest: str) -> None:
        found = _PATH.match(rest) if rest[:2].upper() == "TO" else None
        if self._sender is None or found is None or not found[1]:
            return await self._reply(503 if found else 501, "5.5.1 RCPT TO:<address>, after MAIL")
        if len(self._recipients) >= _RECIPIENTS:
            return await self._reply(452, "4.5.3 Too many recipients")
        if (refusal := self._refusal(found[1])) is not None:
            return await self._reply(refusal.code, refusal.text)
        self._recipients.append(found[1])
        return await self._reply(250, "2.1.5 Ok")

    def _refusal(self, address: str) -> Refusal | None:
        refusal = self._server.policy.refusals.get(normalise(address))
        if refusal is None or refusal.times == 0:
            return None
        if refusal.times is not None:
            refusal.times -= 1
        return refusal

    async def _data(self, rest: str) -> None:
        if self._sender is None or not self._recipients or self._user is None:
            return await self._reply(554 if self._sender is not None else 503, "5.5.1 No valid recipients")
        await self._reply(354, "End data with <CR><LF>.<CR><LF>")
        content = await self._wire.dotted(SIZE_LIMIT)
        if content is None:
            self._forget()
            return await self._reply(552, "5.3.4 Too big")
        number = len(self._server.submitted) + 1
        self._server.take(
            Submitted(
                sender=self._sender,
                recipients=tuple(self._recipients),
                content=content,
                message_id=Headers.scan(content[:OPENING]).message_id,
                user=self._user.address,
                at=time.time(),
            )
        )
        if self._server.policy.swallow_answers > 0:
            self._server.policy.swallow_answers -= 1
            raise Hangup("the answer is lost as told")
        await self._server.answering.wait()
        self._forget()
        return await self._reply(250, f"2.0.0 Ok: queued as D{number}")

    async def _rset(self, rest: str) -> None:
        self._forget()
        await self._reply(250, "2.0.0 Ok")

    async def _noop(self, rest: str) -> None:
        await self._reply(250, "2.0.0 Ok")

    async def _quit(self, rest: str) -> None:
        self._over = True
        await self._reply(221, "2.0.0 Bye")

    def _forget(self) -> None:
        self._sender = None
        self._recipients = []


def _decoded(text: str) -> str:
    return base64.b64decode(text, validate=True).decode("utf-8")
