"""What people get to see, read from the store: rows for lists, and the page of one thing.

Functions on an open read transaction; SQL only, nothing is decided or changed here. Lists are keyset windows (ids, so
that a list does not shift while mail comes in), at most ``MOST_ROWS`` rows and ``MOST_BYTES`` of text. PARKED is
computed here: outbound mail that waits while its touchpoint is not CONNECTED and ACTIVE.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from gateway.control import MOST_ROWS, ListAudit, ListBlocklist, ListMail
from gateway.rows import (
    AttemptRow,
    AuditRow,
    BlockRow,
    Chunk,
    LedgerRow,
    MailDetail,
    MailRow,
    Page,
    RecipientRow,
    RelayUserRow,
    ResumeRow,
    RingGroupRow,
    Step,
    TemplateRow,
    TouchpointRow,
    Walk,
)
from pipeline import resume
from pipeline.directory import Directory
from pipeline.errors import Refused
from pipeline.lifecycle import ConnectionState
from pipeline.splice import unpack
from pipeline.store import Row, Tx, Value, content
from pipeline.touchpoint import Touchpoint, normalise

MOST_BYTES = 400 * 1024
"""Of text in one window, so that its line stays below 1 MiB."""
_FIELD = re.compile(rb"^([!-9;-~]+):", re.MULTILINE)
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """What is known besides the store: the directory, and where each connection stands."""

    directory: Directory
    state_of: Callable[[int], ConnectionState]
    sends: Callable[[int], bool]

    def moving(self) -> frozenset[int]:
        """Touchpoints through which mail goes out now; what waits at others is parked."""
        return frozenset(number for number in self.directory.touchpoints if self.sends(number))


# -- Mail ----------------------------------------------------------------------------------------------------------

_MAIL = "SELECT e.*, t.address AS touchpoint FROM entry AS e JOIN touchpoint AS t ON t.id = e.touchpoint_id"
# SQLite takes the tables of a CROSS JOIN in this order: from a queue to its mail, and not through all mail there is.
_MAIL_OF_QUEUE = (
    "SELECT e.*, t.address AS touchpoint FROM assignment AS a CROSS JOIN entry AS e"
    " JOIN touchpoint AS t ON t.id = e.touchpoint_id"
)
_STATES: dict[str, str] = {
    "open": "e.disposition = 'queued' AND e.closed = 0",
    "queued": "e.disposition = 'queued'",
    "closed": "e.disposition = 'queued' AND e.closed = 1",
    **{name: f"e.disposition = '{name}'" for name in ("stopped", "delivered", "dropped")},
    **{name: f"e.state = '{name}'" for name in ("active", "held", "unknown", "failed", "waiting")},
    "unsettled": "e.state IN ('waiting', 'active', 'held', 'unknown', 'failed')",
}


def mails(tx: Tx, scene: Scene, asked: ListMail, *, queued_only: bool = False) -> Page[MailRow]:
    """A window of mail, the newest first; raises Refused for filters that make no sense."""
    where, params = _filters(scene, asked)
    mail, number = (_MAIL_OF_QUEUE, "a.entry_id") if asked.ring_group else (_MAIL, "e.id")
    if queued_only:
        where.append("e.disposition = 'queued'")
    if asked.after:
        where.append(f"{number} < :after")
        params["after"] = asked.after
    sql = f"{mail} WHERE {' AND '.join(where) or '1'} ORDER BY {number} DESC LIMIT :limit"
    limit = _limit(asked.limit)
    rows = tx.all(sql, {**params, "limit": limit + 1})
    return _window(_mail_rows(tx, scene, rows), limit)


def mail_rows(tx: Tx, scene: Scene, ids: Iterable[int]) -> list[MailRow]:
    """The rows of these mails, those that there are."""
    numbers = json.dumps(list(ids))
    return _mail_rows(tx, scene, tx.all(f"{_MAIL} WHERE e.id IN (SELECT value FROM json_each(:ids))", {"ids": numbers}))


def mail_detail(tx: Tx, scene: Scene, entry_id: int) -> MailDetail:
    """Everything about one mail but its content; raises Refused."""
    entry = entry_row(tx, entry_id)
    at: Mapping[str, Value] = {"id": entry_id}
    added, rewritten = _changed(entry["splices"])
    return MailDetail(
        row=_mail_rows(tx, scene, [entry])[0],
        envelope_sender=entry["envelope_sender"],
        released_by=entry["released_by"],
        held_by=entry["held_by"],
        conversation_id=entry["conversation_id"],
        config_version=entry["config_version"],
        planned_seconds=entry["planned"],
        rewritten=rewritten,
        added=added,
        has_content=bool(entry["content_id"]) or not entry["size"],
        notice_for=entry["notice_for"],
        walks=tuple(map(_walk, tx.all("SELECT * FROM walk WHERE entry_id = :id ORDER BY number DESC LIMIT 20", at))),
        recipients=tuple(
            RecipientRow(
                address=_cut(r["address"]), state=r["state"], code=r["code"], text=_cut(r["text"], 300), at=r["at"]
            )
            for r in tx.all("SELECT * FROM recipient WHERE entry_id = :id ORDER BY number LIMIT 200", at)
        ),
        attempts=tuple(
            map(_attempt, tx.all("SELECT * FROM attempt WHERE entry_id = :id ORDER BY id DESC LIMIT 50", at))
        ),
        ledger=tuple(
            ledger_rows(tx, "l.entry_id = :id AND l.touchpoint_id = :tp", {**at, "tp": entry["touchpoint_id"]})
        ),
        related=tuple(_related(tx, scene, entry)),
    )


def entry_row(tx: Tx, entry_id: int) -> Row:
    """An entry with its touchpoint's address; raises Refused."""
    row = tx.one(f"{_MAIL} WHERE e.id = :id", {"id": entry_id})
    if row is None:
        raise Refused(f"there is no mail {entry_id}; see: postroom spool list")
    return row


def content_window(tx: Tx, entry: Row, offset: int, length: int) -> Chunk:
    """A piece of an entry's content with its splices applied; raises Refused where there is none."""
    if not entry["content_id"]:
        raise Refused(f"mail {entry['id']} has no content: it could not be fetched, and is still on the server")
    original = tx.one("SELECT size FROM content WHERE id = :id", {"id": entry["content_id"]})
    pieces, at, out = _pieces(entry["splices"], original["size"] if original else 0), 0, bytearray()
    for piece in pieces:
        size = len(piece) if isinstance(piece, bytes) else len(range(*piece))
        low, high = max(offset - at, 0), min(offset + length - at, size)
        if low < high:
            out += (
                piece[low:high]
                if isinstance(piece, bytes)
                else _bytes(tx, entry["content_id"], piece[0] + low, high - low)
            )
        at += size
    return Chunk(data=bytes(out), size=at)


def _pieces(packed: bytes, size: int) -> list[bytes | tuple[int, int]]:
    """The content as new bytes and ranges of the original, in order."""
    pieces: list[bytes | tuple[int, int]] = []
    at = 0
    for splice in unpack(packed):
        pieces += [(at, splice.offset), splice.data]
        at = splice.offset + splice.length
    return [*pieces, (at, size)]


def _bytes(tx: Tx, content_id: int, offset: int, length: int) -> bytes:
    first, last = offset // content.CHUNK, (offset + length - 1) // content.CHUNK
    data = b"".join(content.chunk(tx, content_id, number) for number in range(first, last + 1))
    return data[offset - first * content.CHUNK :][:length]


def _filters(scene: Scene, asked: ListMail) -> tuple[list[str], dict[str, Value]]:
    where, params = [], dict[str, Value]()
    if asked.direction:
        where.append("e.direction = :direction")
        params["direction"] = asked.direction
    if asked.state == "parked":
        where.append("e.state IN ('waiting', 'active') AND e.direction = 'out'")
        where.append("e.touchpoint_id NOT IN (SELECT value FROM json_each(:moving))")
        params["moving"] = json.dumps(sorted(scene.moving()))
    elif asked.state and asked.state != "all":
        if asked.state not in _STATES:
            raise Refused(f"there is no state {asked.state!r}; there are: all, parked, {', '.join(_STATES)}")
        where.append(_STATES[asked.state])
    if asked.touchpoint:
        where.append("e.touchpoint_id = :touchpoint")
        params["touchpoint"] = find(scene.directory, asked.touchpoint).id
    if asked.ring_group:
        where += ["e.id = a.entry_id", "a.ring_group_id = :group", *(["a.open = 1"] if asked.state == "open" else [])]
        params["group"] = ring_group(scene.directory, asked.ring_group)
    if asked.unassigned:
        where.append("NOT EXISTS (SELECT 1 FROM assignment AS a WHERE a.entry_id = e.id)")
    if asked.cause:
        where.append("e.cause = :cause")
        params["cause"] = asked.cause
    if asked.author:
        where.append("e.author LIKE :author ESCAPE '\\'" if asked.author.startswith("@") else "e.author = :author")
        wanted = normalise(asked.author)
        params["author"] = f"%{_like(wanted)}" if wanted.startswith("@") else wanted
    for number, word in enumerate(asked.subject.split()[:8]):
        where.append(f"e.subject LIKE :word{number} ESCAPE '\\'")
        params[f"word{number}"] = f"%{_like(word)}%"
    return where, params


def _like(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _mail_rows(tx: Tx, scene: Scene, entries: Sequence[Row]) -> list[MailRow]:
    if not entries:
        return []
    ids = json.dumps([row["id"] for row in entries])
    queues = _several(
        tx,
        "SELECT a.entry_id AS id, g.name AS value FROM assignment AS a JOIN ring_group AS g ON g.id = a.ring_group_id"
        " WHERE a.entry_id IN (SELECT value FROM json_each(:ids)) ORDER BY g.name",
        ids,
    )
    first = _several(
        tx,
        "SELECT entry_id AS id, address AS value FROM recipient WHERE number < 3"
        " AND entry_id IN (SELECT value FROM json_each(:ids)) ORDER BY entry_id, number",
        ids,
    )
    sql = (
        "SELECT entry_id, count(*) AS n FROM recipient WHERE entry_id IN (SELECT value FROM json_each(:ids)) GROUP BY 1"
    )
    counts = {row["entry_id"]: row["n"] for row in tx.all(sql, {"ids": ids})}
    moving = scene.moving()
    expiring = _expiring(tx, entries)
    return [
        replace(
            _mail_row(row, moving, queues.get(row["id"], []), first.get(row["id"], []), counts.get(row["id"], 0)),
            expires_at=expiring.get(row["id"], 0.0),
        )
        for row in entries
    ]


def _expiring(tx: Tx, entries: Sequence[Row]) -> dict[int, float]:
    """About when held mail is given up, where the settings say so."""
    if not (held := [row["id"] for row in entries if row["state"] == "held"]):
        return {}
    sql = "SELECT entry_id, expires_at FROM expiry WHERE entry_id IN (SELECT value FROM json_each(:ids))"
    return {row["entry_id"]: row["expires_at"] for row in tx.all(sql, {"ids": json.dumps(held)})}


def _mail_row(row: Row, moving: frozenset[int], queues: list[str], recipients: list[str], count: int) -> MailRow:
    return MailRow(
        id=row["id"],
        touchpoint_id=row["touchpoint_id"],
        touchpoint=row["touchpoint"],
        direction=row["direction"],
        origin=row["origin"],
        state=_state(row, moving),
        cause=row["cause"],
        reason=_cut(row["reason"], 500),
        kind=row["kind"],
        mark=row["mark"],
        author=_cut(row["author"]),
        recipients=tuple(map(_cut, recipients)),
        recipient_count=count,
        subject=_cut(row["subject"], 300),
        message_id=_cut(row["message_id"], 998),
        size=row["size"],
        received_at=row["received_at"],
        accepted_at=row["accepted_at"],
        settled_at=row["settled_at"],
        due_at=row["due_at"],
        attempts=row["attempts"],
        queues=tuple(queues),
    )


def _state(row: Row, moving: frozenset[int]) -> str:
    if row["state"] == "done":
        return "closed" if row["closed"] and row["disposition"] == "queued" else str(row["disposition"])
    if row["direction"] == "out" and row["state"] in ("waiting", "active") and row["touchpoint_id"] not in moving:
        return "parked"
    return str(row["state"])


def _changed(packed: bytes) -> tuple[tuple[str, ...], bool]:
    """The names of the header fields that splices put on top, and whether any changes what is below."""
    splices = unpack(packed)
    tops = [each.data for each in splices if each.offset == each.length == 0]
    names = tuple(name.decode("ascii") for data in tops for name in _FIELD.findall(data))
    return names, len(tops) < len(splices)


def _walk(row: Row) -> Walk:
    steps = tuple(Step(stage=s, action=a, reason=_cut(r, 4000)) for s, a, r in json.loads(row["trail"]))
    return Walk(at=row["at"], config_version=row["config_version"], steps=steps)


def _attempt(row: Row) -> AttemptRow:
    return AttemptRow(
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        phase=row["phase"],
        outcome=row["outcome"],
        code=row["code"],
        text=_cut(row["text"], 1000),
        server=row["server"],
    )


def _related(tx: Tx, scene: Scene, entry: Row) -> list[MailRow]:
    if not entry["conversation_id"]:
        return []
    sql = f"{_MAIL} WHERE e.conversation_id = :conversation AND e.id <> :id ORDER BY e.id DESC LIMIT 10"
    return _mail_rows(tx, scene, tx.all(sql, {"conversation": entry["conversation_id"], "id": entry["id"]}))


def ledger_rows(tx: Tx, where: str, params: Mapping[str, Value]) -> list[LedgerRow]:
    """Items of the ledger ``l`` that meet a condition; at most 20."""
    sql = (
        "SELECT l.*, t.address AS touchpoint FROM ledger AS l JOIN touchpoint AS t ON t.id = l.touchpoint_id"
        f" WHERE {where} ORDER BY l.id DESC LIMIT 20"
    )
    return [_ledger_row(row) for row in tx.all(sql, params)]


def _ledger_row(row: Row) -> LedgerRow:
    values: dict[str, Any] = {name: row[name] for name in LedgerRow.__dataclass_fields__}
    return LedgerRow(**{**values, "message_id": _cut(row["message_id"], 998), "error": _cut(row["error"], 1000)})


# -- Touchpoints ---------------------------------------------------------------------------------------------------


def find(directory: Directory, named: str) -> Touchpoint:
    """The touchpoint of this address, alias or id; raises Refused."""
    if (found := directory.find(named)) is not None:
        return found
    if named.isascii() and named.isdigit() and (by_id := directory.touchpoints.get(int(named[:18]))) is not None:
        return by_id
    raise Refused(f"there is no touchpoint {named[:100]!a}; see: postroom touchpoint list")


def ring_group(directory: Directory, name: str) -> int:
    """The id of the ring group of this name; raises Refused."""
    for group in directory.ring_groups.values():
        if group.name == name.strip():
            return group.id
    raise Refused(f"there is no ring group {name[:100]!a}; see: postroom ring-group list")


def touchpoints(tx: Tx, scene: Scene, wanted: Sequence[Touchpoint]) -> list[TouchpointRow]:
    """The rows of these touchpoints."""
    ids = json.dumps([each.id for each in wanted])
    rows = {row["id"]: row for row in tx.all(_TOUCHPOINTS, {"ids": ids})}
    counts = {row["touchpoint_id"]: row for row in tx.all(_COUNTS, {"ids": ids})}
    sql = (
        "SELECT touchpoint_id AS id, count(*) AS n FROM ledger WHERE state = 'pending'"
        " AND touchpoint_id IN (SELECT value FROM json_each(:ids)) GROUP BY 1"
    )
    pending = {row["id"]: row["n"] for row in tx.all(sql, {"ids": ids})}
    asks = {row["id"]: row["n"] for row in tx.all(_ASKS, {"ids": ids})}
    return [
        replace(
            _touchpoint_row(each, rows[each.id], counts.get(each.id, {}), pending.get(each.id, 0), scene),
            asks=asks.get(each.id, 0),
        )
        for each in wanted
        if each.id in rows
    ]


def resumes(tx: Tx, touchpoint_id: int) -> tuple[ResumeRow, ...]:
    """The folders that ever had new numbers, by name."""
    names = ResumeRow.__dataclass_fields__
    return tuple(ResumeRow(**{name: row[name] for name in names}) for row in resume.of_touchpoint(tx, touchpoint_id))


_TOUCHPOINTS = "SELECT * FROM touchpoint WHERE id IN (SELECT value FROM json_each(:ids)) AND deleted_at = 0"
_ASKS = (
    "SELECT touchpoint_id AS id, count(*) AS n FROM resume"
    f" WHERE {resume.OPEN} AND touchpoint_id IN (SELECT value FROM json_each(:ids)) GROUP BY 1"
)
# Open, unsettled and failed mail only: each part has an index, so that history costs nothing.
_COUNTS = """
SELECT touchpoint_id,
  sum(disposition = 'queued') AS queued,
  sum(state = 'waiting' AND direction = 'in') AS waiting_in,
  sum(state IN ('waiting', 'active') AND direction = 'out') AS waiting_out,
  sum(state = 'held') AS held, sum(state = 'unknown') AS unknown, sum(state = 'failed') AS failed
FROM (
  SELECT touchpoint_id, direction, state, disposition FROM entry WHERE disposition = 'queued' AND closed = 0
  UNION ALL
  SELECT touchpoint_id, direction, state, disposition FROM entry
  WHERE state IN ('waiting', 'active', 'held', 'unknown', 'failed')
) WHERE touchpoint_id IN (SELECT value FROM json_each(:ids)) GROUP BY touchpoint_id
"""


def _touchpoint_row(tp: Touchpoint, row: Row, counts: Row, pending: int, scene: Scene) -> TouchpointRow:
    def number(name: str) -> int:
        return int(counts.get(name) or 0)

    state = scene.state_of(tp.id)
    troubled = state in (ConnectionState.BACKOFF, ConnectionState.LOST, ConnectionState.CONNECTING)
    flowing = scene.sends(tp.id)
    return TouchpointRow(
        id=tp.id,
        address=tp.address,
        name=tp.name,
        version=tp.version,
        direction=tp.direction.value,
        active=tp.active,
        state=state.value,
        cause=row["cause"] if troubled else "",
        reason=_cut(row["reason"], 500) if troubled else "",
        state_since=row["state_since"],
        signed_in_at=row["signed_in_at"],
        polled_at=row["polled_at"],
        ring_groups=scene.directory.queues_of(tp),
        auto_reply=tp.auto_reply.active,
        signature=tp.signature.active,
        queued=number("queued"),
        waiting_in=number("waiting_in"),
        waiting_out=number("waiting_out") if flowing else 0,
        parked=0 if flowing else number("waiting_out"),
        held=number("held"),
        unknown=number("unknown"),
        failed=number("failed"),
        pending=pending,
    )


def has_password(tx: Tx, touchpoint_id: int) -> bool:
    """Whether a password is kept for it."""
    return tx.one("SELECT 1 AS n FROM secret WHERE touchpoint_id = :id", {"id": touchpoint_id}) is not None


def blocklist(tx: Tx, directory: Directory, asked: ListBlocklist) -> Page[BlockRow]:
    """A window of a touchpoint's blocklist, or of all of them, in the order of entry; raises Refused."""
    where, params = ["b.id > :after", "t.deleted_at = 0"], dict[str, Value](after=asked.after)
    if asked.touchpoint:
        where.append("b.touchpoint_id = :touchpoint")
        params["touchpoint"] = find(directory, asked.touchpoint).id
    if asked.text:
        where.append("(b.pattern LIKE :text ESCAPE '\\' OR b.note LIKE :text ESCAPE '\\')")
        params["text"] = f"%{_like(asked.text[:320])}%"
    sql = (
        "SELECT b.*, t.address AS touchpoint FROM blocked_sender AS b JOIN touchpoint AS t ON t.id = b.touchpoint_id"
        f" WHERE {' AND '.join(where)} ORDER BY b.id LIMIT :limit"
    )
    rows = tx.all(sql, {**params, "limit": _limit(asked.limit) + 1})
    names = BlockRow.__dataclass_fields__
    return _window([BlockRow(**{name: row[name] for name in names}) for row in rows], _limit(asked.limit))


def template(tx: Tx, touchpoint_id: int, kind: str) -> TemplateRow:
    """One of the two texts of a touchpoint, empty where none was ever written."""
    at: Mapping[str, Value] = {"tp": touchpoint_id, "kind": kind}
    row = tx.one("SELECT * FROM template WHERE touchpoint_id = :tp AND kind = :kind", at)
    if row is None:
        return TemplateRow(kind=kind, active=False, subject="", text="", html="", updated_at=0.0)
    return TemplateRow(
        kind=kind,
        active=bool(row["active"]),
        subject=row["subject"],
        text=row["text"],
        html=row["html"],
        updated_at=row["updated_at"],
    )


# -- Ring groups, relay users, audit -------------------------------------------------------------------------------


def ring_groups(tx: Tx, directory: Directory, after: int, limit: int) -> Page[RingGroupRow]:
    """A window of the ring groups, by id."""
    # Ids are given in the order of commits: the lowest one of a queue is the oldest.
    sql = (
        "SELECT q.id, q.number, e.accepted_at FROM (SELECT ring_group_id AS id, count(*) AS number,"
        " min(entry_id) AS first FROM assignment WHERE open = 1 GROUP BY ring_group_id) AS q"
        " JOIN entry AS e ON e.id = q.first"
    )
    queues = {row["id"]: (row["number"], row["accepted_at"]) for row in tx.all(sql)}
    linked: dict[int, list[str]] = {}
    for tp in directory.touchpoints.values():
        for number in tp.ring_groups:
            linked.setdefault(number, []).append(tp.address)
    groups = sorted((group for group in directory.ring_groups.values() if group.id > after), key=lambda group: group.id)
    made = [
        RingGroupRow(id=g.id, name=g.name, touchpoints=tuple(linked.get(g.id, ())), open=number, oldest_at=oldest)
        for g in groups[: _limit(limit) + 1]
        for number, oldest in (queues.get(g.id, (0, 0.0)),)
    ]
    return _window(made, _limit(limit))


def relay_users(directory: Directory, after: int, limit: int) -> Page[RelayUserRow]:
    """A window of the relay users, by id."""
    users = sorted((user for user in directory.relay_users.values() if user.id > after), key=lambda user: user.id)
    return _window([relay_user(directory, user.name) for user in users[: _limit(limit) + 1]], _limit(limit))


def relay_user(directory: Directory, name: str) -> RelayUserRow:
    """One relay user; raises Refused."""
    if (user := directory.relay_users.get(name.strip())) is None:
        raise Refused(f"there is no relay user {name[:100]!a}; see: postroom relay-user list")
    known = directory.touchpoints
    grants = tuple(sorted(known[number].address for number in user.grants if number in known))
    return RelayUserRow(id=user.id, name=user.name, grants=grants, signature=user.signature, notify=user.notify)


def audit(tx: Tx, asked: ListAudit) -> Page[AuditRow]:
    """A window of the audit, the newest first."""
    where, params = ["1"], dict[str, Value]()
    if asked.subject:
        where.append("subject = :subject")
        params["subject"] = asked.subject
    if asked.text:
        fields = ("actor", "verb", "subject", "detail")
        likes = " OR ".join(f"{name} LIKE :text ESCAPE '\\'" for name in fields)
        where.append(f"({likes})")
        params["text"] = f"%{_like(asked.text[:1000])}%"
    if asked.after:
        where.append("id < :after")
        params["after"] = asked.after
    sql = f"SELECT * FROM audit WHERE {' AND '.join(where)} ORDER BY id DESC LIMIT :limit"
    rows = tx.all(sql, {**params, "limit": _limit(asked.limit) + 1})
    names = AuditRow.__dataclass_fields__
    return _window([AuditRow(**{name: row[name] for name in names}) for row in rows], _limit(asked.limit))


# -- Windows -------------------------------------------------------------------------------------------------------


def _limit(asked: int) -> int:
    return max(1, min(asked, MOST_ROWS))


def _window(rows: Sequence[Any], limit: int) -> Page[Any]:
    """The rows that fit, of up to ``limit + 1``, and where to go on."""
    kept: list[Any] = []
    room = MOST_BYTES
    for row in rows[:limit]:
        room -= sum(4 * len(value) for name in row.__slots__ if isinstance(value := getattr(row, name), str))
        if room < 0 and kept:
            break
        kept.append(row)
    return Page(rows=tuple(kept), next=kept[-1].id if len(kept) < len(rows) else 0)


def _several(tx: Tx, sql: str, ids: str) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for row in tx.all(sql, {"ids": ids}):
        found.setdefault(row["id"], []).append(row["value"])
    return found


def _cut(text: str, most: int = 320) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
