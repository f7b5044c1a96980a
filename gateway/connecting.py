"""The first connect of a touchpoint, in steps: try both halves, say what would be taken, then make it so.

Nothing is stored before both halves have signed in and the mailbox is known not to be another touchpoint's already.
What lies in the mailbox at that moment is left alone (one range row a folder), unless the person asks for mail since
a date. Nothing on the server is changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.connectors import Fetched, Folder, FolderRole, Identity, Receiving, Ref, Sending
from gateway.resume import Resume
from gateway.services import Services
from pipeline import ledger, touchpoints
from pipeline.errors import CursorLost, Refused
from pipeline.headers import Headers, head_hash
from pipeline.ledger import RangeKind, runs
from pipeline.mail import OPENING
from pipeline.store import Tx
from pipeline.store.content import ContentWriter
from pipeline.touchpoint import Touchpoint

LISTING = 2000
_LAST = 5
"""Items of a folder that are compared with those of other touchpoints."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FolderSurvey:
    """One watched folder as the first connect found it."""

    folder: Folder
    cursor: str
    """Where reading will begin."""
    epoch: int
    there: int
    taken: int
    """How many of them would be taken."""
    older: tuple[tuple[int, int], ...]
    """Runs of remote ids that are left alone."""
    last: tuple[tuple[int, bytes], ...]
    """(remote id, head hash) of the last items."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Survey:
    """What a first connect found, and what it would take."""

    identity: Identity
    folders: tuple[FolderSurvey, ...]

    @property
    def mailbox_identity(self) -> str:
        """The mailbox as text: what two touchpoints must not share."""
        return f"{self.identity.server.casefold()} {self.identity.principal.casefold()}"


async def survey(services: Services, connector: Receiving, since: float | None) -> Survey:
    """Look at every watched folder of a connector that is not open yet; changes nothing."""
    identity = await connector.open()
    wanted = {FolderRole(name) for name in services.settings.intake.folders}
    folders = [folder for folder in await connector.folders() if folder.role in wanted]
    found = [await _survey_folder(services, connector, folder, since) for folder in folders]
    return Survey(identity=identity, folders=tuple(found))


async def _survey_folder(services: Services, connector: Receiving, folder: Folder, since: float | None) -> FolderSurvey:
    baseline, highest = await connector.baseline(folder)
    refs, _ = await _beyond(connector, folder, "")
    # What came while we looked lies beyond the baseline: it is new, and must be in no range.
    older = [ref for ref in refs if ref.remote_id <= highest and (since is None or ref.internaldate < since)]
    return FolderSurvey(
        folder=folder,
        cursor=baseline if since is None else "",
        epoch=refs[0].epoch if refs else 0,
        there=len(refs),
        taken=len(refs) - len(older),
        older=tuple(runs(ref.remote_id for ref in older)),
        last=await _prints(services, connector, [ref for ref in refs if 0 < ref.size <= OPENING][-_LAST:]),
    )


async def _beyond(connector: Receiving, folder: Folder, cursor: str) -> tuple[list[Ref], str]:
    """Everything beyond a cursor, and the cursor behind it."""
    refs: list[Ref] = []
    more = True
    while more:
        page = await connector.changes(folder, cursor, LISTING)
        refs += page.refs
        cursor, more = page.cursor, page.more
    return refs, cursor


async def _prints(services: Services, connector: Receiving, refs: Sequence[Ref]) -> tuple[tuple[int, bytes], ...]:
    if not refs:
        return ()
    answers = connector.fetch(refs, lambda: ContentWriter(services.store))
    found = [each async for each in answers if isinstance(each, Fetched)]
    return tuple(sorted((each.ref.remote_id, head_hash(Headers.scan(each.data[:OPENING]))) for each in found))


async def check_alone(services: Services, touchpoint: Touchpoint, found: Survey) -> None:
    """Raise Refused where another live touchpoint takes this mailbox in already, under whatever name."""
    await services.store.read(lambda tx: refuse_twin(tx, touchpoint, found))


def refuse_twin(tx: Tx, touchpoint: Touchpoint, found: Survey) -> None:
    """The same inside a transaction: two connects of one mailbox at once must not both pass."""
    if words := twin(tx, touchpoint, found):
        raise Refused(words)


def twin(tx: Tx, touchpoint: Touchpoint, found: Survey) -> str:
    """Why a connect would be refused, where another live touchpoint takes this mailbox in already; "" where none."""
    other = _same_mailbox(tx, touchpoint.id, found)
    if other is None:
        return ""
    return (
        f"{touchpoint.address} is the same mailbox as the touchpoint {other}: its mail would be taken in twice;"
        f" use that one, or delete it first (postroom touchpoint show {other})"
    )


def _same_mailbox(tx: Tx, touchpoint_id: int, found: Survey) -> str | None:
    row = tx.one(
        "SELECT address FROM touchpoint WHERE mailbox_identity = :identity AND id <> :id AND deleted_at = 0",
        {"identity": found.mailbox_identity, "id": touchpoint_id},
    )
    for folder in found.folders:
        for remote_id, print_ in folder.last if row is None else ():
            row = row or tx.one(
                "SELECT t.address FROM touchpoint AS t WHERE t.deleted_at = 0 AND t.id <> :id AND ("
                " EXISTS (SELECT 1 FROM fingerprint AS f WHERE f.touchpoint_id = t.id AND f.folder = :folder"
                "  AND f.epoch = :epoch AND f.remote_id = :remote AND f.head_hash = :print)"
                " OR EXISTS (SELECT 1 FROM ledger AS l WHERE l.touchpoint_id = t.id AND l.folder = :folder"
                "  AND l.epoch = :epoch AND l.remote_id = :remote AND l.head_hash = :print))",
                {
                    "id": touchpoint_id,
                    "folder": folder.folder.name,
                    "epoch": folder.epoch,
                    "remote": remote_id,
                    "print": print_,
                },
            )
    return None if row is None else str(row["address"])


def begin(tx: Tx, touchpoint_id: int, found: Survey, now: float) -> None:
    """Make a survey the beginning: ranges that are left alone, cursors, fingerprints. Folders known already stay."""
    first = tx.one("SELECT 1 FROM cursor WHERE touchpoint_id = :id", {"id": touchpoint_id}) is None
    # At a later connect a folder without a cursor is one that appeared meanwhile: all of it is new.
    for each in found.folders if first else ():
        name = each.folder.name
        for low, high in each.older:
            ledger.record_range(tx, touchpoint_id, name, each.epoch, low, high, RangeKind.OLDER, now)
        ledger.set_cursor(tx, touchpoint_id, name, each.cursor, now)  # "" as well: this folder has begun
    for each in found.folders:
        _keep_prints(tx, touchpoint_id, each)
    if touchpoints.live(tx, touchpoint_id)["mailbox_identity"] != found.mailbox_identity:
        touchpoints.set_mailbox_identity(tx, touchpoint_id, found.mailbox_identity)


def _keep_prints(tx: Tx, touchpoint_id: int, found: FolderSurvey) -> None:
    tx.run(
        "DELETE FROM fingerprint WHERE touchpoint_id = :id AND folder = :folder",
        {"id": touchpoint_id, "folder": found.folder.name},
    )
    tx.many(
        "INSERT INTO fingerprint (touchpoint_id, folder, epoch, remote_id, head_hash)"
        " VALUES (:id, :folder, :epoch, :remote, :print)",
        [
            {"id": touchpoint_id, "folder": found.folder.name, "epoch": found.epoch, "remote": remote, "print": print_}
            for remote, print_ in found.last
        ],
    )


async def skip_to_now(services: Services, connector: Receiving, touchpoint: Touchpoint) -> int:
    """Leave alone what came while the touchpoint was inactive; how many mails that was."""
    await connector.open()
    wanted = {FolderRole(name) for name in services.settings.intake.folders}
    skipped = 0
    now = services.clock()
    for folder in [each for each in await connector.folders() if each.role in wanted]:
        cursor = await services.store.read(lambda tx, f=folder: ledger.cursor(tx, touchpoint.id, f.name))  # type: ignore[misc]
        try:
            refs, end = await _beyond(connector, folder, cursor or "")
        except CursorLost as lost:
            skipped += await _skip_renumbered(services, connector, touchpoint, folder, cursor, lost)
            continue
        if refs:
            await services.store.write(lambda tx, f=folder.name, r=refs, e=end: _skip(tx, touchpoint.id, f, r, e, now))  # type: ignore[misc]
            skipped += len(refs)
    return skipped


async def _skip_renumbered(
    services: Services,
    connector: Receiving,
    touchpoint: Touchpoint,
    folder: Folder,
    cursor: str | None,
    lost: CursorLost,
) -> int:
    """The same in a folder that has new numbers: what we know of it stays known, the rest is left alone."""
    if not lost.start:
        raise lost
    found = await Resume(services, connector, touchpoint.id, folder).run(cursor, lost.start, leave_all=True)
    return found.left if found is not None else 0


def _skip(tx: Tx, touchpoint_id: int, folder: str, refs: Sequence[Ref], cursor: str, now: float) -> None:
    for low, high in runs(ref.remote_id for ref in refs):
        ledger.record_range(tx, touchpoint_id, folder, refs[0].epoch, low, high, RangeKind.SKIPPED, now)
    ledger.set_cursor(tx, touchpoint_id, folder, cursor, now)


async def try_sending(connector: Sending | None) -> None:
    """Sign in at the submission server, where there is one."""
    if connector is not None:
        try:
            await connector.open()
        finally:
            await connector.close()
