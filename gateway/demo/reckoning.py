"""Lays the daemon's account beside the provider's ledger and beside what the corpus expects: the demo's verdict.

It believes nobody: contents are compared by SHA-256 on both sides, states with the expectation of each single mail,
auto-replies with the very people who should get one, and mail at the far end with what was submitted.
"""

from __future__ import annotations

import email
import hashlib
import html
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway.demo.corpus import Submission
from gateway.demo.mailbox import Ledger
from gateway.demo.press import Expected, Item
from gateway.demo.smtp_server import Submitted
from pipeline.headers import Headers
from pipeline.mail import OPENING

_TRACE = re.compile(rb"\AReceived: [^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*")
"""The one field that a relay writes above a mail (RFC 5321 section 4.4); below it nothing may change."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Taken:
    """One inbound mail as the daemon shows it."""

    touchpoint: str
    state: str
    digest: str
    """SHA-256 of the content that the daemon gives out, in hex."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """All that is known when everything has settled."""

    account: Mapping[str, int]
    """The daemon's."""
    taken: Sequence[Taken]
    ledger: Ledger
    items: Sequence[Item]
    submissions: Sequence[Submission]
    arrived: Sequence[Submitted]
    """At the far end."""
    signature: str
    waited: int
    """Mails that waited at either end of the outage."""
    waited_and_delivered: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Reckoning:
    """The account, and what is wrong with it."""

    figures: dict[str, int]
    faults: tuple[str, ...]

    @property
    def line(self) -> str:
        """The account in one line."""
        return (
            "taken {taken} = queued {queued} + stopped {stopped} + held {held} · accepted {accepted} = delivered"
            " {delivered} · auto-replied {auto_replied} · lost {lost} · waited during the outage {waited},"
            " delivered after it {delivered_after}"
        ).format_map(self.figures)


def reckon(evidence: Evidence) -> Reckoning:
    """Compare everything with everything."""
    missing = _missing(evidence)
    account = evidence.account
    figures = {
        "taken": account["taken"],
        "queued": account["queued"],
        "stopped": account["stopped"],
        "held": account["held_in"],
        "accepted": account["accepted"],
        "delivered": account["delivered"],
        "auto_replied": account["auto_replied"],
        "lost": max(account["lost"], len(missing)),
        "waited": evidence.waited,
        "delivered_after": evidence.waited_and_delivered,
    }
    faults = [*missing, *_account(evidence), *_states(evidence), *_replies(evidence), *_relayed(evidence)]
    return Reckoning(figures=figures, faults=tuple(faults))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _missing(evidence: Evidence) -> list[str]:
    """Mail that one side had and the other side has not: what ``lost`` means."""
    taken = Counter((mail.touchpoint, mail.digest) for mail in evidence.taken)
    watched = evidence.ledger.holds("INBOX") | evidence.ledger.holds("Junk")
    there = Counter((key.address, digest) for key, digest in watched.items())
    names = {_digest(item.content): item.name for item in evidence.items}
    lost = [f"lost on its way in: {names.get(digest, digest)}" for _, digest in (there - taken).elements()]
    arrived = {mail.message_id for mail in evidence.arrived}
    return lost + [
        f"lost on its way out: {mail.name}" for mail in evidence.submissions if mail.message_id not in arrived
    ]


def _account(evidence: Evidence) -> list[str]:
    """The daemon's figures against the expected ones."""
    states = Counter(item.state for item in evidence.items)
    expected = {
        "taken": len(evidence.items),
        "queued": states[Expected.QUEUED],
        "stopped": states[Expected.STOPPED],
        "held_in": states[Expected.HELD],
        "accepted": len(evidence.submissions),
        "delivered": len(evidence.submissions),
        "auto_replied": sum(item.answered for item in evidence.items),
        "lost": 0,
    }
    faults = [
        f"the account says {name} {evidence.account[name]}, expected {value}"
        for name, value in expected.items()
        if evidence.account[name] != value
    ]
    if evidence.waited != evidence.waited_and_delivered:
        faults.append(f"{evidence.waited} waited, but {evidence.waited_and_delivered} were delivered afterwards")
    return faults


def _states(evidence: Evidence) -> list[str]:
    """Each mail where it should be, as often as it should be."""
    found = Counter((mail.touchpoint, mail.digest, mail.state) for mail in evidence.taken)
    wanted = Counter((item.to, _digest(item.content), item.state.value) for item in evidence.items)
    names = {_digest(item.content): item.name for item in evidence.items}
    return [
        f"{names.get(digest, 'a mail that nobody sent')} at {address}: {state}, which was not expected"
        for address, digest, state in (found - wanted).elements()
    ]


def _replies(evidence: Evidence) -> list[str]:
    """Auto-replies to exactly the people who should get one, and nothing else sent by nobody's hand."""
    ours = {mail.message_id for mail in evidence.submissions}
    replies = [mail for mail in evidence.arrived if mail.message_id not in ours]
    found = Counter(recipient for mail in replies for recipient in mail.recipients)
    wanted = Counter(item.sender for item in evidence.items if item.answered)
    faults = [f"an auto-reply to {address} was not expected" for address in (found - wanted).elements()]
    faults += [f"no auto-reply to {address}" for address in (wanted - found).elements()]
    for mail in replies:
        headers = Headers.scan(mail.content[:OPENING])
        if mail.sender or headers.first("auto-submitted") != "auto-replied" or "bcc" in headers:
            faults.append(f"the auto-reply to {', '.join(mail.recipients)} is not what RFC 3834 asks for")
    return faults


def _relayed(evidence: Evidence) -> list[str]:
    """Each submission once at the far end, to the right people, signed once or not changed at all."""
    faults: list[str] = []
    for submission in evidence.submissions:
        copies = [mail for mail in evidence.arrived if mail.message_id == submission.message_id]
        if len(copies) > 1:
            faults.append(f"{submission.name}: arrived {len(copies)} times")
        for copy in copies[:1]:
            if (copy.sender, copy.recipients) != (submission.sender, submission.recipients):
                faults.append(f"{submission.name}: its envelope changed")
            faults += _content(submission, copy.content, evidence.signature)
    return faults


def _content(submission: Submission, content: bytes, signature: str) -> list[str]:
    if not submission.signed:
        same = _digest(_TRACE.sub(b"", content)) == _digest(submission.content)
        return [] if same else [f"{submission.name}: its bytes changed on the way"]
    before, after = _texts(submission.content), _texts(content)
    if len(before) != len(after) or not after:
        return [f"{submission.name}: its parts changed on the way"]
    return [
        f"{submission.name}: the signature stands {text.count(signature)} times in a part, expected once"
        for text in after
        if text.count(signature) != 1
    ]


def _texts(content: bytes) -> list[str]:
    """The decoded text parts of a mail."""
    texts = []
    for part in email.message_from_bytes(content).walk():
        if part.get_content_maintype() == "text" and part.get_content_disposition() != "attachment":
            raw = part.get_payload(decode=True)
            assert isinstance(raw, bytes)
            text = raw.decode(part.get_content_charset() or "utf-8", "replace")
            texts.append(html.unescape(text) if part.get_content_subtype() == "html" else text)
    return texts
