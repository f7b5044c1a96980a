"""What becomes of a relayed mail after its final dot: who may send it, what the line says, the commit, the answer.

Implements ``Accepting`` for the relay. The order is: From names the touchpoint, the user's grants are judged, the
touchpoint must be one that mail can leave by, the line is walked, the spool commits; only then 250. Every doubt is a
4xx and leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_address, ip_network

from gateway.auth.passwords import verify_password
from gateway.deciding import Walk, decide_alone
from gateway.events import MailFact, MailWhat
from gateway.patience import until_fresh
from gateway.services import Services
from gateway.smtp_grammar import Reply
from gateway.submission import Submission
from pipeline import header_writer, people
from pipeline.conversation import conversation_key
from pipeline.errors import StaleVersion, StoreFull
from pipeline.headers import Headers, date_header
from pipeline.lifecycle import ConnectionState
from pipeline.line import Outcome
from pipeline.mail import Direction, Envelope, Mail, RelayUser
from pipeline.splice import apply, ordered
from pipeline.store import content
from pipeline.store.content import ContentWriter
from pipeline.touchpoint import Touchpoint, normalise
from pipeline.verdict import Action, Splice

NO_ROOM = Reply(452, "4.3.1", "No room on the disk, try again later")
ADDED = ("Received", "Message-ID", "Date")
"""Fields that we may put on top of a relayed mail."""
MOST_NOTED = 100
"""Refused senders that get an audit row in an hour: a program gone wild must not fill the table."""
NOBODY = -1
"""The uid in audit rows about relay users, who have none."""
BUSY = Reply(451, "4.3.0", "Try again later")


class RelayCounter:
    """The relay's way into the spool."""

    def __init__(
        self, services: Services, state_of: Callable[[int], ConnectionState], wake_sender: Callable[[int], None]
    ) -> None:
        self._services = services
        self._state_of = state_of
        self._wake_sender = wake_sender
        self._noted: set[tuple[str, str, str]] = set()
        self._noted_in = 0
        self._networks = [(ip_network(each.cidr), each.user) for each in services.settings.relay.networks]

    async def sign_in(self, name: str, password: str) -> RelayUser | None:
        """Whose credentials these are; the same work is done for a name that nobody has."""
        directory = self._services.directory
        known = directory.password_hashes.get(name)
        good = await asyncio.to_thread(verify_password, known, password)
        return directory.relay_users.get(name) if good else None

    def user_of_network(self, peer_ip: str) -> RelayUser | None:
        """The relay user that the settings name for this client, where somebody made one of that name."""
        peer = ip_address(peer_ip)
        name = next((user for network, user in self._networks if peer in network), None)
        return None if name is None else self._services.directory.relay_users.get(name)

    def content_writer(self) -> ContentWriter:
        """Where big content goes while it is read."""
        return ContentWriter(self._services.store)

    async def submit(self, submission: Submission) -> Reply:
        """Judge, decide, commit; what to answer the client."""
        try:
            reply = await self._submit(submission)
        except StoreFull:
            reply = NO_ROOM
        except StaleVersion:
            reply = BUSY
        if reply.status == "5.7.1":
            await self._write_down(submission, reply)
        if reply.code >= 400 and submission.written is not None:
            with suppress(StoreFull):  # then the next start sweeps it
                await content.forget(self._services.store, submission.written)
        return reply

    async def _write_down(self, submission: Submission, reply: Reply) -> None:
        """An audit row for a sender that a user may not use: each pair once an hour, and a hundred rows at most."""
        now, author = self._services.clock(), Headers.scan(submission.opening).author
        if self._noted_in != (hour := int(now // 3600)):
            self._noted_in, self._noted = hour, set()
        pair = submission.user.name, author, submission.envelope.sender or ""
        if pair in self._noted or len(self._noted) >= MOST_NOTED:
            return
        self._noted.add(pair)
        actor = people.Actor(name=submission.user.name, uid=NOBODY, role="relay")
        detail = {"from": author, "mail_from": pair[2], "peer": submission.peer, "answer": reply.text}
        with suppress(StoreFull):
            await self._services.store.write(
                lambda tx: people.audit(tx, actor, "relay.refuse", author or "no author", now, detail)
            )

    async def _submit(self, submission: Submission) -> Reply:
        headers = Headers.scan(submission.opening)
        if (refusal := unreadable(headers)) is not None:
            return refusal
        try:
            return await self._decide(headers, submission)
        except StaleVersion:  # seldom, and tenacity is not for free
            return await until_fresh()(self._decide, headers, submission)

    async def _decide(self, headers: Headers, submission: Submission) -> Reply:
        found = self._touchpoint_for(headers, submission)
        if isinstance(found, Reply):
            return found
        mail = self._mail(found, headers, submission)
        outcome = await decide_alone(self._services, found, self._services.outbound, Walk(mail=mail))
        if outcome.action is Action.REJECT:
            return Reply(550, outcome.code or "5.7.1", _one_line(outcome.reason))
        if outcome.action is Action.DEFER:
            return Reply(451, "4.7.1", _one_line(outcome.reason))
        return await self._commit(found, outcome, submission)

    def _touchpoint_for(self, headers: Headers, submission: Submission) -> Touchpoint | Reply:
        """The touchpoint that the mail leaves by, or why it may not."""
        directory = self._services.directory
        user = directory.relay_users.get(submission.user.name)  # it may have been removed since it signed in
        touchpoint = directory.find(headers.author)
        if user is None or touchpoint is None or touchpoint.id not in user.grants:
            return Reply(550, "5.7.1", "From: is no touchpoint that you may send as")
        sender = submission.envelope.sender or ""
        for address in (sender, *_other_authors(headers)):
            other = directory.find(address)
            if address and (other is None or other.id != touchpoint.id):
                return Reply(550, "5.7.1", "MAIL FROM, Sender and From must name the same touchpoint")
        if not touchpoint.active or self._state_of(touchpoint.id) is ConnectionState.NEW:
            return Reply(451, "4.3.2", "This touchpoint is not in use at present, try again later")
        if touchpoint.connection.smtp is None:
            return Reply(451, "4.3.5", "This touchpoint has no server to send by")
        return touchpoint

    def _mail(self, touchpoint: Touchpoint, headers: Headers, submission: Submission) -> Mail:
        seed = secrets.token_hex(16)
        given = ""
        if not headers.message_id:
            ids = self._services.directory.installation.message_ids
            given = ids.make(conversation_key(touchpoint.id, seed), seed)
        return Mail(
            direction=Direction.OUT,
            envelope=Envelope(sender=submission.envelope.sender, recipients=submission.envelope.recipients),
            opening=submission.opening,
            headers=headers,
            size=submission.size,
            received_at=self._services.clock(),
            seed=seed,
            sha256=submission.sha256,
            relay_user=self._services.directory.relay_users.get(submission.user.name, submission.user),
            given_id=given,
        )

    async def _commit(self, touchpoint: Touchpoint, outcome: Outcome, submission: Submission) -> Reply:
        outcome = self._with_trace(outcome, submission)
        body = submission.data if submission.data is not None else submission.written
        assert body is not None
        recipients = submission.envelope.recipients
        entry_id = await self._services.spool.submit(touchpoint, outcome, body, recipients)
        held = outcome.action is not Action.PASS
        what = MailWhat.HELD if held else MailWhat.ACCEPTED
        self._services.events.publish(MailFact(what, entry_id, touchpoint.id, outcome.reason))
        if not held:
            self._wake_sender(touchpoint.id)
        return Reply(250, "2.0.0", f"Accepted as mail {entry_id}")

    def _with_trace(self, outcome: Outcome, submission: Submission) -> Outcome:
        """Put our trace field, and the fields that are missing, on top; everything below stays as it came."""
        mail = outcome.mail
        top = self._trace(submission, outcome.at)
        if "message-id" not in mail.headers:  # an odd one stays the only one: with two, others refuse the mail
            top += header_writer.write_field("Message-ID", header_writer.Encoded(mail.given_id))
        if "date" not in mail.headers:
            top += header_writer.write_field("Date", date_header(outcome.at))
        splices = ordered((Splice(0, 0, top), *outcome.splices))
        self._recheck(mail, splices, top)
        return replace(outcome, splices=splices)

    def _trace(self, submission: Submission, at: float) -> bytes:
        """RFC 5321 section 4.4."""
        helo = header_writer.clean(submission.helo)[:200] or "unknown"
        host = self._services.settings.hostname
        text = f"from {helo} ([{submission.peer}]) by {host} with {submission.with_protocol}; {date_header(at)}"
        return header_writer.write_field("Received", header_writer.Encoded(text))

    def _recheck(self, mail: Mail, splices: tuple[Splice, ...], top: bytes) -> None:
        """Read what we write into the header section again: nothing may stand in it that was not meant."""
        end = mail.headers.end
        if all(each.offset >= end for each in splices[1:]):
            header_writer.recheck(top + b"\r\n", ADDED)
            return
        section = apply(mail.opening[:end], [each for each in splices if each.offset + each.length <= end])
        header_writer.recheck(section, [*(field.name for field in mail.headers.fields), *ADDED])


def unreadable(headers: Headers) -> Reply | None:
    """A mail whose header section cannot be trusted is not sent on."""
    if headers.degraded:
        return Reply(550, "5.6.0", _one_line(headers.degraded))
    if headers.count("from") != 1 or not headers.author:
        return Reply(550, "5.6.0", "There must be one From: with one address")
    if headers.count("sender") > 1 or headers.count("message-id") > 1 or headers.count("date") > 1:
        return Reply(550, "5.6.0", "A field that may stand once stands twice")
    return None


def _other_authors(headers: Headers) -> list[str]:
    """Every further address that claims to have sent the mail (RFC 5322 sections 3.6.2 and 3.6.6)."""
    names = ("sender", "resent-from", "resent-sender")
    return [normalise(each.address) for name in names for each in headers.addresses(name)]


def _one_line(text: str) -> str:
    return " ".join(text.encode("ascii", "replace").decode().split())[:300]
