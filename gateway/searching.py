"""Asks the servers for a mail that our books do not know: is it there, where, and why was it not taken?

A connection of our own for each touchpoint that is connected, a few at a time, nothing marked and no body read; all of
it ends within a bounded time, and what was not asked is said. What a server has is compared with the ledger, the
ranges and the cursor, so that the answer names the reason.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from shlex import quote

from gateway import views
from gateway.connectors import Folder, FolderRole, Receiving, Ref
from gateway.finding import day, first_line, of_item, of_mail, standing
from gateway.rows import Finding
from gateway.services import Services
from gateway.views import Scene
from gateway.why import Question
from pipeline import ledger
from pipeline.cursor import UIDVALIDITY, FolderCursor
from pipeline.errors import CursorLost, PostroomError, Refused
from pipeline.ledger import RangeKind
from pipeline.lifecycle import ConnectionState
from pipeline.store import Tx, Value
from pipeline.touchpoint import Touchpoint

AT_ONCE = 4
"""Touchpoints."""
SECONDS = 20.0
"""For all of them."""
EACH_SECONDS = 10.0
"""For one."""
MOST_FOLDERS = 100
MOST_FOUND = 10
"""Items of one touchpoint that are told of."""
MOST_NAMED = 20
"""Touchpoints that are told of one by one."""


@dataclass(kw_only=True, slots=True)
class _Search:
    """What came of asking, as it comes."""

    found: list[Finding] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    """Touchpoints that do not have it."""
    silent: list[str] = field(default_factory=list)
    """Those that were not asked to the end: no time was left."""
    broken: list[tuple[str, str]] = field(default_factory=list)
    """Those whose server failed, with its words."""


async def search(services: Services, scene: Scene, asked: Sequence[Question]) -> list[Finding]:
    """One finding for each place where the mail is, and for what could not be asked; each question is asked."""
    only = asked[0].touchpoint
    there = [tp for tp in scene.directory.touchpoints.values() if only in (0, tp.id)]
    able = [tp for tp in there if tp.connection.imap is not None]
    connected = [tp for tp in able if scene.state_of(tp.id) is ConnectionState.CONNECTED]
    result = _Search()
    turn = asyncio.Semaphore(AT_ONCE)
    tasks = {asyncio.create_task(_ask(services, scene, asked, tp, turn, result)): tp for tp in connected}
    if tasks:
        _, late = await asyncio.wait(tasks, timeout=SECONDS)
        for task in late:
            task.cancel()
            result.silent.append(tasks[task].address)
        await asyncio.gather(*tasks, return_exceptions=True)
    apart = [tp for tp in able if tp not in connected or not tp.active]
    unreached = await services.store.read(lambda tx: [_unreached(tx, scene, tp) for tp in apart[:MOST_NAMED]])
    return [*result.found, *_nowhere(result), *unreached, *_more(apart)]


async def _ask(
    services: Services,
    scene: Scene,
    asked: Sequence[Question],
    tp: Touchpoint,
    turn: asyncio.Semaphore,
    result: _Search,
) -> None:
    async with turn:
        try:
            async with asyncio.timeout(EACH_SECONDS):
                refs, watched = await _look(services, tp, asked)
        except TimeoutError:
            result.silent.append(tp.address)
            return
        except PostroomError as error:
            result.broken.append((tp.address, first_line(str(error))))
            return
    if not refs:
        result.empty.append(tp.address)
        return
    newest = sorted(refs, key=lambda ref: -ref.internaldate)[:MOST_FOUND]
    result.found += await services.store.read(lambda tx: [_judge(tx, scene, tp, ref, watched) for ref in newest])


async def _look(services: Services, tp: Touchpoint, asked: Sequence[Question]) -> tuple[list[Ref], frozenset[str]]:
    """What fits, in the watched folders or else in any other; and the names of the watched ones."""
    connector = await services.receiving(tp)
    if connector is None:
        return [], frozenset()
    try:
        await connector.open()
        folders = (await connector.every_folder())[:MOST_FOLDERS]
        roles = {FolderRole(name) for name in services.settings.intake.folders}
        watched = [folder for folder in folders if folder.role in roles]
        refs = await _in(connector, watched, asked)
        if not refs:
            refs = await _in(connector, [folder for folder in folders if folder.role not in roles], asked)
        return refs, frozenset(folder.name for folder in watched)
    finally:
        with suppress(PostroomError):
            await connector.close()


async def _in(connector: Receiving, folders: Iterable[Folder], asked: Sequence[Question]) -> list[Ref]:
    refs: list[Ref] = []
    for folder in folders:
        for each in asked:
            with suppress(Refused):  # a folder that cannot be opened, or a search that the server cannot do
                refs += await connector.find(
                    folder,
                    message_id=each.message_id,
                    sender=each.author,
                    subject=each.subject,
                    since=each.since,
                    before=each.until,
                )
    return list(dict.fromkeys(refs))


# -- What it means ---------------------------------------------------------------------------------------------------


def _judge(tx: Tx, scene: Scene, tp: Touchpoint, ref: Ref, watched: frozenset[str]) -> Finding:
    """Why an item that the server has is no mail here."""
    if (known := _of_ledger(tx, scene, tp, ref)) is not None:
        return known
    name = quote(tp.address)
    where = f"It is in {ref.folder} of {tp.address} (uid {ref.remote_id}, {day(ref.internaldate)})"
    if ref.folder not in watched:
        kind, words = "not-watched", f"{where}; this folder is not watched, so nothing is taken from it."
        command = "postroom settings show"
    else:
        kind, words, command = _in_watched(tx, scene, tp, ref, where)
    command = command or f"postroom touchpoint show {name}"
    return Finding(kind=kind, words=words, command=command, touchpoint=tp.address, since=ref.internaldate)


def _of_ledger(tx: Tx, scene: Scene, tp: Touchpoint, ref: Ref) -> Finding | None:
    rows = views.ledger_rows(
        tx,
        "l.touchpoint_id = :touchpoint AND l.folder = :folder AND l.remote_id = :uid AND l.epoch = :epoch",
        _place(tx, tp, ref),
    )
    if not rows:
        return None
    row = rows[0]
    if row.entry_id:
        return of_mail(tx, scene, views.mail_detail(tx, scene, row.entry_id))
    return of_item(tx, row)


def _place(tx: Tx, tp: Touchpoint, ref: Ref) -> dict[str, Value]:
    """Where the ledger has an item: by the folder's present epoch, where the server's UIDVALIDITY is that one's."""
    at = _cursor(tx, tp, ref.folder)
    epoch = at.epoch if at is not None and _same(at.epoch, ref.epoch) else ref.epoch
    return {"touchpoint": tp.id, "folder": ref.folder, "uid": ref.remote_id, "epoch": epoch}


_RANGES = {
    RangeKind.OLDER: (
        "older",
        "it was there before the first connect{at}, and mail of that time is left alone.",
    ),
    RangeKind.SKIPPED: (
        "skipped",
        "it was skipped on activation{at}: it came while the touchpoint was inactive, and a person said to start now.",
    ),
}


def _in_watched(tx: Tx, scene: Scene, tp: Touchpoint, ref: Ref, where: str) -> tuple[str, str, str]:
    row = tx.one(
        "SELECT kind, at FROM ledger_range WHERE touchpoint_id = :touchpoint AND folder = :folder"
        " AND epoch = :epoch AND :uid BETWEEN low AND high",
        _place(tx, tp, ref),
    )
    if row is not None and row["kind"] in _RANGES:
        kind, words = _RANGES[RangeKind(row["kind"])]
        return kind, f"{where}; {words.format(at=' of ' + day(row['at']))}", ""
    stands, command = standing(tx, scene, tp)
    at = _cursor(tx, tp, ref.folder)
    if at is None or (_same(at.epoch, ref.epoch) and ref.remote_id > at.low):
        read = f"it was last read {_polled(tx, tp)}"
        return "not-yet", f"{where}, above the cursor: it is not taken yet. {tp.address} {stands}; {read}.", command
    if not _same(at.epoch, ref.epoch):
        words = f"{where}; the server renumbered this folder, and its mail is compared with ours before more is taken."
        return "not-yet", words, f"postroom touchpoint show {quote(tp.address)}"
    words = f"{where}, below the cursor, and the ledger does not know it: this must not be."
    return "missing", words, f"postroom prove {quote(tp.address)}"


def _same(ours: int, theirs: int) -> bool:
    """Whether a server's UIDVALIDITY is that of an epoch."""
    return ours & UIDVALIDITY == theirs & UIDVALIDITY


def _cursor(tx: Tx, tp: Touchpoint, folder: str) -> FolderCursor | None:
    with suppress(CursorLost):
        text = ledger.cursor(tx, tp.id, folder)
        return FolderCursor.parse(text) if text else None
    return None


def _polled(tx: Tx, tp: Touchpoint) -> str:
    row = tx.one("SELECT polled_at FROM touchpoint WHERE id = :id", {"id": tp.id})
    return day(row["polled_at"]) if row else "never"


def _nowhere(result: _Search) -> Iterable[Finding]:
    if result.empty and not result.found:
        words = f"It is in no folder of {_named(result.empty)}, by the server's own word just now."
        one = result.empty[0] if len(result.empty) == 1 else ""
        command = f"postroom touchpoint show {quote(one)}" if one else "postroom touchpoint list"
        yield Finding(kind="not-there", words=words, command=command, touchpoint=one)
    for address, said in result.broken[:MOST_NAMED]:
        words = f"The server of {address} could not be asked: {said}."
        command = f"postroom touchpoint test {quote(address)}"
        yield Finding(kind="unreachable", words=words, command=command, touchpoint=address)
    if result.silent:
        words = f"There was no time to ask the server of {_named(result.silent)}; ask for one alone, with --touchpoint."
        command = f"postroom touchpoint test {quote(result.silent[0])}"
        yield Finding(kind="not-asked", words=words, command=command)


def _named(addresses: Sequence[str]) -> str:
    some = sorted(addresses)
    more = f" and {len(some) - MOST_NAMED:,} more" if len(some) > MOST_NAMED else ""
    return ", ".join(some[:MOST_NAMED]) + more


_KINDS = {ConnectionState.NEW: "never-connected", ConnectionState.CONNECTED: "inactive"}


def _unreached(tx: Tx, scene: Scene, tp: Touchpoint) -> Finding:
    """A touchpoint that takes no mail now, with what may wait there."""
    stands, command = standing(tx, scene, tp)
    row = tx.one("SELECT state_since FROM touchpoint WHERE id = :id", {"id": tp.id})
    pending = tx.one("SELECT count(*) AS n FROM ledger WHERE touchpoint_id = :id AND state = 'pending'", {"id": tp.id})
    words = f"{tp.address} {stands}: what came there since is not taken."
    if pending and pending["n"]:
        words += f" {pending['n']} items that could not be fetched wait there; it may be one of them."
    kind = "inactive" if not tp.active else _KINDS.get(scene.state_of(tp.id), "unreachable")
    if scene.state_of(tp.id) is ConnectionState.NEW:
        kind = "never-connected"
    return Finding(
        kind=kind, words=words, command=command, touchpoint=tp.address, since=row["state_since"] if row else 0.0
    )


def _more(apart: Sequence[Touchpoint]) -> Iterable[Finding]:
    if len(apart) > MOST_NAMED:
        words = f"{len(apart) - MOST_NAMED:,} more touchpoints take no mail now, and were not asked."
        yield Finding(kind="not-asked", words=words, command="postroom touchpoint list")
