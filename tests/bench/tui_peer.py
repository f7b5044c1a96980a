"""What our terminal UI is measured against: Textual's own widgets, with nothing around them.

``bare`` is a header, one text and a footer; ``table N`` a DataTable of N rows, 30 of which change once a second.
"""

from __future__ import annotations

import sys

from textual.app import App, ComposeResult
from textual.widgets import DataTable, Footer, Header, Static


class Bare(App[None]):
    """The smallest app that people would write."""

    def compose(self) -> ComposeResult:
        yield Header()
        yield Static("connecting to the daemon", markup=False)
        yield Footer()


class Table(App[None]):
    """The same rows and columns as our list of touchpoints, in the widget that Textual offers for it."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self._count = count
        self._turn = 0

    def compose(self) -> ComposeResult:
        yield Static("TOUCHPOINTS", id="title", markup=False)
        yield DataTable()

    def on_mount(self) -> None:
        self.call_after_refresh(self._fill)

    def _fill(self) -> None:
        table = self.query_one(DataTable)
        for name in ("address", "name", "dir", "active", "state", "queued", "held", "kept"):
            table.add_column(name, key=name)
        for number in range(self._count):
            table.add_row(
                f"desk{number:05}@acme.example", f"Desk {number}", "both", "yes", "+ connected", "0", "0", "0",
                key=str(number),
            )  # fmt: skip
        self.query_one("#title", Static).update(f"TOUCHPOINTS {self._count:,} of {self._count:,}")
        self.set_interval(1.0, self._change)

    def _change(self) -> None:
        self._turn += 1
        table = self.query_one(DataTable)
        for number in range(min(30, self._count)):
            table.update_cell(str(number), "queued", str(self._turn * 7 % 1000))


if __name__ == "__main__":
    app: App[None] = Bare() if sys.argv[1] == "bare" else Table(int(sys.argv[2]))
    app.run()
