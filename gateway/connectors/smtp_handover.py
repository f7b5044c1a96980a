"""How one mail is handed to a submission server, and what is known of its outcome at each place where that can end.

Owns the order MAIL, RCPT, DATA, content, dot, and the meaning of every answer and silence. Knows no library: a
``Session`` carries the bytes. Until the final dot is handed over nothing can have been taken, so whatever fails before
is RETRY (or, before ``before_data``, an error of the connection); from there on silence is UNKNOWN.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Protocol

from gateway.connectors import BeforeData, Outcome, Outgoing, RecipientResult, SendResult
from gateway.smtp_data import DataWriter
from pipeline.errors import (
    AccessBlocked,
    AuthRequired,
    NetworkFault,
    PostroomError,
    ProviderFault,
    Throttled,
    TimedOut,
)

_SENDABLE = re.compile(r'(?:"[ !-;=?-~]*"@)?[!-;=?-~]*')
"""What may stand between the brackets of a path: printable, no brackets, blanks in a quoted local part only."""
BLOCKED = re.compile(
    r"5\.7\.30\b|SmtpClientAuthentication is disabled|basic authentication is (?:disabled|not sup)", re.I
)


class Stale(Exception):
    """A session that was used before turned out to be over at the first command of this mail."""


class Session(Protocol):
    """A session with a submission server, signed in; its methods raise errors of ``pipeline.errors`` only."""

    host: str

    def offers(self, extension: str) -> str | None:
        """The parameters of an extension of RFC 5321 section 2.2; None where the server has it not."""
        ...

    async def command(self, line: str) -> tuple[int, str]:
        """One command and its answer, a code from 200 to 599."""
        ...

    def begin_content(self) -> None:
        """Content follows: an answer that comes before it ends is kept."""
        ...

    async def put(self, data: bytes) -> PostroomError | None:
        """Write, and wait until the network has taken most of it; what went wrong, if anything."""
        ...

    @property
    def spoke(self) -> bool:
        """Whether there is an answer, or the end of the connection, to be read."""
        ...

    def put_last(self, data: bytes) -> None:
        """Hand over the end of the content; if this raises, it did not go."""
        ...

    async def answer(self, *, early: bool = False) -> tuple[int, str]:
        """The answer to the content."""
        ...


class Handover:
    """One mail over one session: MAIL, RCPT, DATA, content, dot."""

    def __init__(self, session: Session, mail: Outgoing) -> None:
        self._session = session
        self._mail = mail
        self._results: dict[str, RecipientResult] = {}
        self.in_step = True
        """Whether the session can take another mail."""

    async def run(self, before_data: BeforeData, *, reused: bool) -> SendResult:
        """The whole of it."""
        limit = self._session.offers("size") or ""
        if limit.isdigit() and 0 < int(limit) < self._mail.size:
            return self._all(Outcome.REFUSED, 552, f"not sent: the server takes {limit} octets, this mail has more")
        chunks = self._mail.chunks()
        try:
            first = await anext(chunks, b"")
            if (ended := await self._mail_from(first, reused=reused) or await self._rcpt_to()) is not None:
                return ended
            accepted = self._accepted()
            await before_data([address for address in self._results if address not in accepted])
            return await self._data(first, chunks)
        finally:
            await _close(chunks)

    async def _mail_from(self, first: bytes, *, reused: bool) -> SendResult | None:
        """MAIL; an answer if the mail ends here."""
        try:
            code, text = await self._command(f"MAIL FROM:<{self._mail.sender}>{self._parameters(first)}")
        except NetworkFault as error:
            raise Stale if reused else error from error
        if reused and code == 421:
            raise Stale
        if code in (530, 535, 538) or BLOCKED.search(text):
            raise sign_in_fault(code, f"{self._session.host}: {code} {words(text)}")
        return None if code == 250 else await self._reset(self._all(_outcome(code), code, text))

    def _parameters(self, first: bytes) -> str:
        """RFC 1870 and RFC 6152, where the server offers them."""
        size = f" SIZE={self._mail.size}" if self._session.offers("size") is not None else ""
        plain = first.isascii() and len(first) >= self._mail.size
        return size + (" BODY=8BITMIME" if not plain and self._session.offers("8bitmime") is not None else "")

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
            early = await self._content(first, chunks)
        except (NetworkFault, TimedOut, ProviderFault, Throttled) as error:
            self.in_step = False
            return self._accepted_are(Outcome.RETRY, 0, f"the connection failed before the end of the content: {error}")
        return early or await self._answer()

    async def _content(self, first: bytes, chunks: AsyncIterator[bytes]) -> SendResult | None:
        """Content and final dot; an answer if the server did not wait for the dot. May raise Poison."""
        writer = DataWriter()
        self._session.begin_content()
        chunk: bytes | None = first
        while chunk is not None:
            broken = await self._session.put(writer.feed(chunk))
            if self._session.spoke:
                return await self._early()
            if broken is not None:
                raise broken
            chunk = await anext(chunks, None)
        # Nothing is awaited from here to the reading of the answer: a failure here means that no dot went out.
        self._session.put_last(writer.finish())
        return None

    async def _early(self) -> SendResult:
        """The server spoke before the dot: believe a refusal, and go."""
        self.in_step = False
        code, text = await self._session.answer(early=True)
        if 400 <= code < 600:
            return self._accepted_are(_outcome(code), code, text)
        return self._accepted_are(Outcome.UNKNOWN, code, f"answered before the end of the content: {text}")

    async def _answer(self) -> SendResult:
        """The word on the whole mail; silence and nonsense are UNKNOWN."""
        try:
            code, text = await self._session.answer()
        except PostroomError as error:
            self.in_step = False
            return self._accepted_are(Outcome.UNKNOWN, 0, f"no answer after the content: {error}")
        if 200 <= code < 300:
            return self._accepted_are(Outcome.ACCEPTED, code, text)
        answered = 400 <= code < 600
        self.in_step = answered and code != 421
        return self._accepted_are(_outcome(code) if answered else Outcome.UNKNOWN, code, text)

    async def _command(self, line: str) -> tuple[int, str]:
        """One command and its answer."""
        code, text = await self._session.command(line)
        # 503 speaks of the session, not of the mail: it must not fail a mail for good.
        if code == 503:
            raise ProviderFault(f"{self._session.host} answered {code} {words(text)}")
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

    def _accepted(self) -> set[str]:
        return {address for address, result in self._results.items() if result.outcome is Outcome.ACCEPTED}

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
            text=words(text),
            server=self._session.host,
        )


def sign_in_fault(code: int, said: str) -> PostroomError:
    """What a refused sign-in means: for a person, or for later."""
    if BLOCKED.search(said) or "5.7.139" in said:
        return AccessBlocked(said)
    if 500 <= code < 600:
        return AuthRequired(said)
    return Throttled(said) if "4.7.0" in said or "too many" in said.lower() or code == 421 else ProviderFault(said)


def _outcome(code: int) -> Outcome:
    return Outcome.REFUSED if 500 <= code < 600 else Outcome.RETRY


def _result(address: str, outcome: Outcome, code: int, text: str) -> RecipientResult:
    return RecipientResult(address=address, outcome=outcome, code=code, text=words(text))


def words(text: str) -> str:
    """A server's text, on one line, printable, and of a bounded length."""
    return "".join(c if c.isprintable() else " " for c in text[:500]).strip()


def unsendable(mail: Outgoing) -> SendResult | None:
    """Addresses that cannot be written on a command line are refused here, for all recipients alike."""
    if all(map(_SENDABLE.fullmatch, (mail.sender, *mail.recipients))) and all(mail.recipients):
        return None
    text = "not sent: an address of the envelope cannot be written in SMTP"
    results = tuple(_result(address, Outcome.REFUSED, 553, text) for address in mail.recipients)
    return SendResult(outcome=Outcome.REFUSED, recipients=results, code=553, text=text)


async def _close(chunks: AsyncIterator[bytes]) -> None:
    if (close := getattr(chunks, "aclose", None)) is not None:
        await close()
