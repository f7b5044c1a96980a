"""The call that proves that nothing is lost, and the one that says how far it is."""

from __future__ import annotations

import asyncio
import time

from gateway import views
from gateway.control import Prove, ShowProving
from gateway.desk.parts import Parts
from gateway.proving import Asked, Progress, prove
from gateway.rows import MissingRow, Proof, ProofProgress, ProvenRow
from gateway.server import Caller
from pipeline.errors import Throttled
from pipeline.losses import Missing
from pipeline.proof import IN, OUT, Scope

MOST = 400
"""Touchpoints in one answer."""


class Proving:
    """Answers to calls about proofs; one is made at a time."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._running: tuple[Prove, asyncio.Task[Proof]] | None = None
        self._progress = Progress()
        self._began = 0.0

    async def prove(self, call: Prove, caller: Caller) -> Proof:
        """Who asks for the very proof that is under way gets its answer; another one has to wait."""
        if self._running is not None and self._running[0] != call:
            raise Throttled("another proof is under way: try again when it is done")
        if self._running is None:
            task = asyncio.create_task(self._make(call))
            self._running = call, task
            task.add_done_callback(self._over)
        return await asyncio.shield(self._running[1])

    def _over(self, task: asyncio.Task[Proof]) -> None:
        self._running = None

    async def progress(self, call: ShowProving, caller: Caller) -> ProofProgress:
        """Of the proof under way."""
        if self._running is None:
            return ProofProgress(running=False)
        seconds = time.monotonic() - self._began
        at = self._progress
        return ProofProgress(running=True, done=at.done, of=at.of, step=at.step, seconds=seconds)

    async def _make(self, call: Prove) -> Proof:
        services, directory = self._parts.at_work(), self._parts.house.directory
        at, self._began, self._progress = self._parts.clock(), time.monotonic(), Progress()
        wanted = sorted(directory.touchpoints.values(), key=lambda each: each.id)
        if call.touchpoint:
            wanted = [views.find(directory, call.touchpoint)]
        scope = Scope(touchpoint_id=wanted[0].id if call.touchpoint else 0, since=max(0.0, call.since))
        proven = await prove(services, self._parts.house, wanted, scope, self._progress)
        names = await self._names({each.touchpoint_id for each in proven.tally.found})
        rows, tally = [_proven_row(each) for each in proven.asked], proven.tally
        return Proof(
            at=at,
            seconds=round(time.monotonic() - self._began, 3),
            touchpoint=wanted[0].address if call.touchpoint else "",
            since=scope.since,
            inward={place: tally.inward[place] for place in (*IN, "missing")},
            outward={place: tally.outward[place] for place in (*OUT, "missing")},
            known=tally.inward["known"],
            missing=tally.missing,
            found=tuple(_missing_row(each, names.get(each.touchpoint_id, "")) for each in tally.found),
            touchpoints=tuple(sorted((row for row in rows if row.words), key=lambda row: row.proven)[:MOST]),
            asked=len(rows),
            unproven=sum(not row.proven for row in rows),
            untold=tally.untold,
        )

    async def _names(self, touchpoints: set[int]) -> dict[int, str]:
        """Addresses by id, of deleted ones too."""
        ids = ", ".join(map(str, touchpoints)) or "0"
        rows = await self._parts.store.read(
            lambda tx: tx.all(f"SELECT id, address FROM touchpoint WHERE id IN ({ids})")
        )
        return {row["id"]: row["address"] for row in rows}


def _proven_row(asked: Asked) -> ProvenRow:
    return ProvenRow(
        touchpoint=asked.touchpoint.address,
        proven=not asked.trouble,
        listed=asked.listed,
        not_taken=asked.not_taken,
        words="; ".join((*asked.trouble, *asked.remarks))[:500],
    )


def _missing_row(missing: Missing, touchpoint: str) -> MissingRow:
    return MissingRow(
        way=missing.way,
        loss=missing.loss.value,
        words=missing.words[:500],
        touchpoint=touchpoint,
        folder=missing.folder[:200],
        remote_id=missing.remote_id,
        id=missing.entry_id,
        message_id=missing.message_id[:500],
        subject=missing.subject[:200],
    )
