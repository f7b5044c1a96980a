"""Reads what mail systems report about mail of ours: bounces (RFC 3464), receipts (RFC 8098), complaints (RFC 5965).

A bounce names the mail it is about by the Message-ID in the part that returns its headers. Systems without RFC 3464
are understood as far as a null return path, X-Failed-Recipients and a quoted Message-ID go. Reports are easily
forged: what is read here is a hint to be compared with what was sent. Bounded, never raises.
"""

from __future__ import annotations

import re
from enum import StrEnum

from pipeline.addresses import is_address
from pipeline.headers import Headers
from pipeline.mail import Bounce, Mail
from pipeline.mime import Part, Structure, content_type, decoded, scan_parts

MAX_RECIPIENTS = 100
MAX_MESSAGE_IDS = 10
_LOOK_INTO = 32 * 1024
"""Bytes of a part, or of a plain bounce, that are read."""


class Report(StrEnum):
    """What a report is about."""

    DELIVERY = "delivery-status"
    DISPOSITION = "disposition-notification"
    """A read receipt."""
    FEEDBACK = "feedback-report"
    """A complaint passed on by a provider (ARF)."""
    OTHER = "report"


_STATUS_TYPES = {
    "message/delivery-status": Report.DELIVERY,
    "message/global-delivery-status": Report.DELIVERY,
    "message/disposition-notification": Report.DISPOSITION,
    "message/global-disposition-notification": Report.DISPOSITION,
    "message/feedback-report": Report.FEEDBACK,
}
_RETURNED_TYPES = ("message/rfc822", "message/global", "text/rfc822-headers", "message/rfc822-headers",
                   "message/global-headers")  # fmt: skip
_ACTIONS = ("failed", "delayed", "expanded", "relayed", "delivered")
"""The worst first: one bounce may speak about several recipients (RFC 3464 section 2.3.3)."""
_MENTIONED = re.compile(r"^[> \t]*+Message-ID:[ \t]*+(?:\r?\n[ \t]++)?<([^<>\x00-\x20\x7f]{1,996}+)>", re.I | re.M)
_MACHINE = re.compile(r"(?:mailer-daemon|postmaster)(?:[+.-][^@]*+)?@", re.I)


def classify(mail: Mail) -> Report | None:
    """Which report a mail is; None for everything else."""
    kind, params = content_type(mail.headers)
    if kind in _STATUS_TYPES:
        return _STATUS_TYPES[kind]
    if kind == "multipart/report":
        named = f"message/{params.get('report-type', '').lower()}"
        return _STATUS_TYPES.get(named) or _by_parts(_parts(mail)) or Report.OTHER
    if "x-failed-recipients" in mail.headers or _plain_bounce(mail):
        return Report.DELIVERY
    if kind.startswith("multipart/") and _mentions_status(mail.opening.lower()):
        return _by_parts(_parts(mail))
    return None


def read_bounce(mail: Mail) -> Bounce | None:
    """What a delivery status notification says; None for a mail that is none."""
    if classify(mail) is not Report.DELIVERY:
        return None
    parts = _parts(mail).parts
    status = [one for part in parts if _STATUS_TYPES.get(part.type) is Report.DELIVERY for one in _groups(mail, part)]
    recipients = [one for group in status for one in _recipients(group)]
    recipients += [one.address for one in mail.headers.addresses("x-failed-recipients")]
    actions = {group.first("action").partition(" ")[0].lower() for group in status}
    unsaid = "failed" if "x-failed-recipients" in mail.headers else ""
    worst = next((action for action in _ACTIONS if action in actions), unsaid)
    told = next((group for group in status if group.first("action").lower().startswith(worst or "\0")), None)
    return Bounce(
        message_ids=_message_ids(mail, parts),
        recipients=tuple(dict.fromkeys(recipients))[:MAX_RECIPIENTS],
        action=worst,
        status=told.first("status").partition(" ")[0][:20] if told else "",
        diagnostic=told.first("diagnostic-code")[:500] if told else "",
    )


def _parts(mail: Mail) -> Structure:
    return scan_parts(mail.opening, mail.headers, whole=mail.whole, depth=2)


def _mentions_status(opening: bytes) -> bool:
    # Spares nearly all mail the scan of its parts.
    return b"delivery-status" in opening or b"disposition-notification" in opening or b"feedback-report" in opening


def _by_parts(structure: Structure) -> Report | None:
    return next((_STATUS_TYPES[part.type] for part in structure.parts if part.type in _STATUS_TYPES), None)


def _plain_bounce(mail: Mail) -> bool:
    # qmail and others: no report format, but a null path and an author that is a mail system.
    path = mail.headers.return_path if "return-path" in mail.headers else mail.envelope.sender
    return path == "" and _MACHINE.match(mail.headers.author) is not None


def _groups(mail: Mail, part: Part) -> list[Headers]:
    """The groups of fields in a status part, separated by blank lines (RFC 3464 section 2.1)."""
    text = decoded(mail.opening, part, _LOOK_INTO).lstrip(b"\r\n")
    groups: list[Headers] = []
    at = 0
    while at < len(text) and len(groups) <= MAX_RECIPIENTS:
        group = Headers.scan(text, at)
        groups.append(group)
        at = max(group.end, at + 1)
        while text[at : at + 1] in (b"\r", b"\n"):
            at += 1
    return groups


def _recipients(group: Headers) -> list[str]:
    found = []
    for name in ("original-recipient", "final-recipient"):
        address = group.first(name).rpartition(";")[2].strip().strip("<>")
        if is_address(address):
            found.append(address)
    return found


def _message_ids(mail: Mail, parts: tuple[Part, ...]) -> tuple[str, ...]:
    """From the returned mail; what the notification itself refers to comes behind, as a second choice."""
    ids = []
    for part in parts[1:]:
        if part.type in _RETURNED_TYPES:
            returned = Headers.scan(decoded(mail.opening, part, _LOOK_INTO).lstrip(b"\r\n"))
            ids.append(returned.message_id)
    if not any(ids):
        body = mail.opening[mail.headers.end : mail.headers.end + _LOOK_INTO].decode("latin-1")
        ids += [f"<{one}>" for one in _MENTIONED.findall(body)]
    ids += mail.headers.references
    return tuple(dict.fromkeys(one for one in ids if one))[:MAX_MESSAGE_IDS]
