"""Looking at an open IMAP folder without taking anything: what is in it, and which mails fit a description.

For questions of people and for proofs, never for taking mail in. Everything here works in a folder that was opened by
EXAMINE, reads no body, and is bounded whatever the server holds: a SEARCH covers at most SPAN items, so that its
answer fits into a line of 64 KiB, and no more than MOST items are listed at all.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import AsyncIterator, Sequence

from gateway.connectors import Everything, Ref
from gateway.connectors.imap_client import ImapWire, Literal, Selected
from gateway.connectors.imap_faults import NotDone
from gateway.connectors.imap_parse import UID_MAX, Row, forbidden, internaldate, quoted, uid_sets
from pipeline.errors import ProviderFault, Refused
from pipeline.headers import Headers

SPAN = 4000
"""Items that one SEARCH covers."""
MOST = 2_000_000
"""Items of one folder that are listed; a server that claims more is not believed."""
FOUND = 50
"""Items that a search answers with, the newest."""
_DAY = 86400.0
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MESSAGE_ID = "BODY[HEADER.FIELDS (MESSAGE-ID)]"


async def everything(wire: ImapWire, opened: Selected, since: float) -> Everything:
    """The UIDs of the open folder, ascending; see ``Receiving.everything``."""
    remote_ids: array[int] = array("Q")
    criteria = _dates(since, 0.0)
    for low, high in await _spans(wire, opened):
        found = await wire.uid_search_for([f"UID {low}:{high or '*'}".encode("ascii"), *criteria])
        remote_ids.extend(uid for uid in found if low <= uid <= (high or UID_MAX))
    return Everything(epoch=opened.uidvalidity, next_id=opened.uidnext, remote_ids=remote_ids)


async def find(
    wire: ImapWire,
    opened: Selected,
    folder: str,
    *,
    message_id: str = "",
    sender: str = "",
    subject: str = "",
    since: float = 0.0,
    before: float = 0.0,
) -> list[Ref]:
    """The mails that fit, newest first; see ``Receiving.find``."""
    criteria = _criteria(message_id, sender, subject)
    refs: list[Ref] = []
    for low, high in reversed(await _spans(wire, opened)):
        span = f"UID {low}:{high or '*'}".encode("ascii")
        uids = await _search(wire, [span, *_dates(since, before)], criteria)
        uids = [uid for uid in uids if low <= uid <= (high or UID_MAX)][-FOUND:]
        async for ref, row in _rows(wire, opened, folder, uids, message_id):
            in_time = not ref.internaldate or since <= ref.internaldate < (before or float("inf"))
            if in_time and (not message_id or _carries(row, message_id)):
                refs.append(ref)
        if len(refs) >= FOUND:
            break
    return sorted(refs, key=lambda ref: ref.remote_id, reverse=True)[:FOUND]


async def _spans(wire: ImapWire, opened: Selected) -> list[tuple[int, int]]:
    """UIDs first..last of at most SPAN items each, ascending; last is 0 for the end of the folder, whatever comes.

    By UID and not by sequence number, since those shift when somebody expunges in between.
    """
    if opened.exists > MOST:
        raise ProviderFault(f"the server claims {opened.exists} items in one folder: more than are listed")
    if not opened.exists:
        return []
    ends: list[int] = []
    for numbers in uid_sets(range(SPAN, opened.exists, SPAN)):
        ends.extend(await wire.uid_search_for([numbers.encode("ascii")]))
    ends = sorted(set(ends))
    if len(ends) > opened.exists // SPAN:
        raise ProviderFault("the server finds more items than it was asked for")
    return list(zip([1, *(end + 1 for end in ends)], [*ends, 0], strict=True))


async def _search(wire: ImapWire, plain: Sequence[bytes], criteria: Sequence[tuple[bytes, str]]) -> list[int]:
    """The UIDs that match; Refused where the server cannot search for such text."""
    arguments = [*plain]
    if not all(text.isascii() for _, text in criteria):
        arguments.insert(0, b"CHARSET UTF-8")  # RFC 3501 section 6.4.4
    for key, text in criteria:
        arguments += [key, quoted(text) or Literal(text.encode())]
    try:
        return await wire.uid_search_for(arguments)
    except NotDone as error:
        if arguments[0].startswith(b"CHARSET"):
            raise Refused(f"the server cannot search for text beyond ASCII ({error})") from error
        raise


async def _rows(
    wire: ImapWire, opened: Selected, folder: str, uids: Sequence[int], message_id: str
) -> AsyncIterator[tuple[Ref, Row]]:
    """What the server says about these UIDs; one that went meanwhile has no row."""
    left = set(uids)
    items = "UID INTERNALDATE RFC822.SIZE" + (f" {_MESSAGE_ID.replace('BODY', 'BODY.PEEK')}" if message_id else "")
    for uid_set in uid_sets(uids):
        async for row in wire.uid_fetch(uid_set, f"({items})"):
            uid, size = row.get("UID"), row.get("RFC822.SIZE")
            if isinstance(uid, int) and uid in left and "INTERNALDATE" in row:
                left.discard(uid)
                at, octets = internaldate(row["INTERNALDATE"]), size if isinstance(size, int) else 0
                yield Ref(folder, opened.uidvalidity, uid, at, octets), row


def _carries(row: Row, message_id: str) -> bool:
    """Whether the Message-ID field of this row is this one, exactly; a server's HEADER search finds parts as well."""
    field = next((value for name, value in row.items() if name.startswith("BODY[HEADER.FIELDS")), None)
    if not isinstance(field, bytes):
        return False
    return Headers.scan(field).message_id.strip("<>") == message_id.strip(" <>")


def _criteria(message_id: str, sender: str, subject: str) -> list[tuple[bytes, str]]:
    """Search keys with their texts; Refused with NUL, CR, LF or half a character (RFC 3501 section 9)."""
    wanted = [(b"HEADER MESSAGE-ID", message_id.strip()), (b"FROM", sender.strip()), (b"SUBJECT", subject.strip())]
    for _, text in wanted:
        if forbidden(text) or any("\ud800" <= character <= "\udfff" for character in text):
            raise Refused("the text to search for holds characters that IMAP cannot carry")
        if len(text) > 1000:
            raise Refused("the text to search for is longer than 1,000 characters")
    return [(key, text) for key, text in wanted if text]


def _dates(since: float, before: float) -> list[bytes]:
    """The days around a span of time. IMAP knows days without a zone, so one more on either side."""
    days = []
    if since > 0:
        days.append(b"SINCE " + _day(since - _DAY))
    if before > 0:
        days.append(b"BEFORE " + _day(before + 2 * _DAY))
    return days


def _day(at: float) -> bytes:
    day = time.gmtime(min(max(at, 0.0), 253_000_000_000.0))
    return f"{day.tm_mday}-{_MONTHS[day.tm_mon - 1]}-{day.tm_year:04d}".encode("ascii")
