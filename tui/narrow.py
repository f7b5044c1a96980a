"""Less on the wire: what changed in a line is sent, and not the line from its widget's left edge on.

Textual cuts a repaint at the right end of what changed only; over SSH the difference is two thirds of all bytes of a
live screen. Its compositor is private, so this is the one file that touches it; the screen falls back to Textual's own
where a later version has another shape.
"""

from __future__ import annotations

from rich.console import Console
from rich.control import Control
from textual._compositor import ChopsUpdate, Compositor


class _NarrowUpdate(ChopsUpdate):
    """Spans cut at both ends."""

    def render_segments(self, console: Console) -> str:
        out: list[str] = []
        for y, left, right in self.spans:
            for end, (x, strip) in zip(self.chop_ends[y], self.chops[y].items(), strict=False):
                start, stop = max(x, left), min(end, right)
                if strip is not None and start < stop:
                    out.append(Control.move_to(start, y).segment.text)
                    out.append(strip.crop(start - x, stop - x).render(console))
        return "".join(out)


class NarrowCompositor(Compositor):
    """Textual's, with narrower repaints."""

    def render_partial_update(self) -> ChopsUpdate | None:
        update = super().render_partial_update()
        return None if update is None else _NarrowUpdate(update.chops, update.spans, update.chop_ends)
