"""Which mails a question "why?" is about, by our books; ``searching.py`` asks servers, ``finding.py`` has the words.

Functions on an open read transaction, each bounded: where no index leads to what is asked for, the newest entries are
looked through and the answer says that there may be more.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from gateway import views
from gateway.control import Why
from gateway.rows import LedgerRow
from gateway.views import Scene
from pipeline.errors import Refused
from pipeline.store import Tx, Value
from pipeline.touchpoint import normalise

MOST_CANDIDATES = 50
LOOKED_AT = 200_000
"""The newest entries, where there is no index that leads to what is asked for."""
MOST_WORDS = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """What is asked, put in order."""

    id: int = 0
    message_id: str = ""
    """Without angle brackets."""
    author: str = ""
    """A normalised address, or @domain."""
    subject: str = ""
    since: float = 0.0
    until: float = 0.0
    touchpoint: int = 0


def questions(scene: Scene, asked: Why) -> tuple[Question, ...]:
    """A call put in order; two where what was said may be an address, or a Message-ID without its brackets.

    Raises Refused where it says nothing, or names no touchpoint of ours.
    """
    what = asked.what.strip()
    number, message_id, author, subject = asked.id, asked.message_id, asked.author.strip(), asked.subject.strip()
    doubt = ""
    if what.isascii() and what.isdigit():
        number = number or int(what[:18])
    elif what.startswith("<"):
        message_id = message_id or what
    elif "@" in what and " " not in what:
        doubt = "" if what.startswith("@") or subject else what
        author = author or what
    elif what:
        subject = f"{what} {subject}".strip()
    if not (number or message_id or author or subject):
        raise Refused("say which mail: an id, a Message-ID, its sender, or words of its subject")
    first = Question(
        id=number,
        message_id=message_id.strip("<> "),
        author=normalise(author) if author else "",
        subject=subject,
        since=asked.since,
        until=asked.until,
        touchpoint=views.find(scene.directory, asked.touchpoint).id if asked.touchpoint else 0,
    )
    return (replace(first, author="", message_id=doubt), first) if doubt else (first,)


def candidates(tx: Tx, asked: Question) -> tuple[list[int], bool]:
    """The mails that a question is about, the newest first; and whether there may be more."""
    if asked.id:
        return [int(views.entry_row(tx, asked.id)["id"])], False
    where, params = _where(asked)
    bounded = not asked.message_id and (not asked.author or asked.author.startswith("@"))
    if bounded:
        where.append("e.id > (SELECT coalesce(max(id), 0) FROM entry) - :looked")
        params["looked"] = LOOKED_AT
    sql = f"SELECT e.id FROM entry AS e WHERE {' AND '.join(where)} ORDER BY e.id DESC LIMIT :limit"
    rows = tx.all(sql, {**params, "limit": MOST_CANDIDATES + 1})
    more = len(rows) > MOST_CANDIDATES or (bounded and _beyond(tx))
    return [row["id"] for row in rows[:MOST_CANDIDATES]], more


def _beyond(tx: Tx) -> bool:
    row = tx.one("SELECT min(id) AS low, max(id) AS high FROM entry")
    return row is not None and row["low"] is not None and row["high"] - row["low"] >= LOOKED_AT


def _where(asked: Question) -> tuple[list[str], dict[str, Value]]:
    where, params = [], dict[str, Value]()
    if asked.message_id:
        where.append("e.message_id = :message")
        params["message"] = f"<{asked.message_id}>"
    if asked.author.startswith("@"):
        where.append("e.author LIKE :author ESCAPE '\\'")
        params["author"] = f"%{_like(asked.author)}"
    elif asked.author:
        where.append("e.author = :author")
        params["author"] = asked.author
    for number, word in enumerate(asked.subject.split()[:MOST_WORDS]):
        where.append(f"e.subject LIKE :word{number} ESCAPE '\\'")
        params[f"word{number}"] = f"%{_like(word)}%"
    if asked.touchpoint:
        where.append("e.touchpoint_id = :touchpoint")
        params["touchpoint"] = asked.touchpoint
    if asked.since or asked.until:
        where.append("(e.received_at BETWEEN :since AND :until OR e.accepted_at BETWEEN :since AND :until)")
        params |= {"since": asked.since, "until": asked.until or 1e12}
    return where, params


def _like(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def items(tx: Tx, asked: Question) -> list[LedgerRow]:
    """Items of servers with this Message-ID that no mail was made of."""
    if not asked.message_id:
        return []
    where = "l.message_id = :message AND l.entry_id = 0"
    if asked.touchpoint:
        where += " AND l.touchpoint_id = :touchpoint"
    return views.ledger_rows(tx, where, {"message": f"<{asked.message_id}>", "touchpoint": asked.touchpoint})
