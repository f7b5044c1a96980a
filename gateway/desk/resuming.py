"""The call with which a person says what is taken from a folder that came back with new numbers and much old mail."""

from __future__ import annotations

from gateway import views
from gateway.control import ResumeTouchpoint
from gateway.desk.parts import Parts
from gateway.rows import TouchpointRow
from gateway.server import Caller
from pipeline import resume
from pipeline.store import Tx


class Resuming:
    """Answers to calls about folders that have new numbers."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def resume(self, call: ResumeTouchpoint, caller: Caller) -> TouchpointRow:
        """Keep the answer, and wake the touchpoint: it goes on from there."""
        tp = views.find(self._parts.house.directory, call.touchpoint)

        def work(tx: Tx) -> None:
            resume.choose(tx, tp.id, call.folder, call.choice, caller.actor.name)

        detail = {"folder": call.folder or "all that are asked about", "choice": call.choice.value}
        return await self._parts.change_touchpoint(caller, "touchpoint.resume", tp.id, work, detail)
