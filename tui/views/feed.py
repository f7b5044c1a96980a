"""What happens, as lines of the overview's feed: whom an event is about, and what became of a mail in words."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.control import Event, MailRow
from tui.lines import Piece
from tui.picture import Happened
from tui.views.touchpoints import state_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One line of the feed."""

    id: int
    """Counts what was told."""
    at: float
    event: Event
    way: str
    touchpoint: str
    """The address of the one that it is about; "" where there is none."""
    author: str
    subject: str
    became: Piece

    def holds(self, text: str) -> bool:
        """Whether it holds a text, folded already."""
        return text in f"{self.way} {self.touchpoint} {self.author} {self.subject} {self.became[0]}".casefold()


def told(happened: Happened, number: int, at: float) -> Told:
    """An event as a line of the feed."""
    event = happened.event
    if (row := event.mail) is not None:
        way = {"auto-reply": "auto", "notice": "note"}.get(row.origin, row.direction)
        if event.what == "mail.accepted" and row.origin == "relay":
            way = "rel"
        subject = row.subject or "(no subject)"
        return Told(id=number, at=at, event=event, way=way, touchpoint=row.touchpoint, author=row.author,
                    subject=subject, became=became(event, row))  # fmt: skip
    point = event.touchpoint
    style = "warn" if event.what == "house.disk_full" else ""
    subject, word = event.words, (event.what.partition(".")[2].replace("_", " "), style)
    if point is not None:
        subject, word = event.words or point.name, _point(event)
    return Told(id=number, at=at, event=event, way="tp" if point or event.gone else "-",
                touchpoint=point.address if point else "", author="", subject=subject, became=word)  # fmt: skip


def became(event: Event, row: MailRow) -> Piece:
    """What became of a mail, in words."""
    words = event.words.replace("\n", " ")
    queues = ", ".join(row.queues)
    match event.what:
        case "mail.assigned":
            return (f"-> {queues}", "") if queues else ("-> no queue", "warn")
        case "mail.answered":
            return (f"-> {queues or 'no queue'}, auto-reply", "")
        case "mail.stopped":
            return (f"stopped: {words or row.reason}", "dim")
        case "mail.held":
            return (f"HELD {row.cause}: {words or row.reason}", "warn")
        case "mail.undecided":
            return ("decided later", "")
        case "mail.accepted":
            return ("-> outbox", "")
        case "mail.delivered":
            return (f"delivered {words}".rstrip(), "good")
        case "mail.deferred":
            return (f"later: {words}", "warn")
        case "mail.failed":
            return (f"FAILED {words}", "bad")
        case "mail.unknown":
            return (f"outcome unknown: {words}", "warn")
    return (words or row.state, "")


def _point(event: Event) -> Piece:
    assert event.touchpoint is not None
    if event.what in ("touchpoint.connected", "touchpoint.backoff", "touchpoint.connection_lost"):
        return state_of(event.touchpoint)
    return (event.what.partition(".")[2], "")
