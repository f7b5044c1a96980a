"""Mail walked again by the settings of now, without any effect: what is decided otherwise, as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gateway.control import Replayed, ReplayMail, ReplayRow
from gateway.text import pad, safe_text
from tui.acts import Rows
from tui.views.story import counted, when

if TYPE_CHECKING:
    from tui.view import View

MOST = 100
"""Mails that are walked again in one go; the command takes more."""


def because(row: ReplayRow) -> str:
    """What may be the reason that it is decided otherwise."""
    settings = f"settings {row.version_then} -> {row.version_now}" if row.version_then != row.version_now else ""
    memory = "depends on memory" if row.depends_on_memory else ""
    return ", ".join(filter(None, (settings, memory))) or "same settings"


def told(rows: Sequence[ReplayRow]) -> str:
    """The differences as a table, and of what there is none."""
    same = [row for row in rows if not row.changes and not row.skipped]
    made: list[str] = []
    for row in rows:
        if row.skipped:
            made += [f"mail {row.id}: not walked, since {row.skipped}", ""]
        elif row.changes:
            made.append(f"mail {row.id} ({because(row)}), decided {when(row.walked_at)}")
            for change in row.changes:
                made += [f"  {pad(change.what, 13)}then  {change.then}", f"  {'':13}now   {change.now}"]
            made.append("")
    if same:
        what = f"mail {same[0].id} is" if len(same) == 1 else f"{counted(len(same), 'mail')} are"
        made.append(f"{what} decided as then.")
    return "\n".join(safe_text(each) for each in made)


async def replay(view: View, rows: Rows) -> None:
    """Walk these mails again and show what is decided otherwise."""
    from tui.dialogs import Show

    ui = view.ui
    found: list[ReplayRow] = []
    for number, row in enumerate(rows[:MOST], start=1):
        answer: Replayed = await ui.call(ReplayMail(id=row.id))
        found += answer.rows
        if len(rows) > 1:
            ui.say(f"{number:,} of {len(rows):,} ...")
    differ = sum(bool(row.changes) for row in found)
    title = f"walked again without effect: {differ:,} of {counted(len(found), 'mail')} decided otherwise"
    await ui.ask(Show(ui, title, told(found)))
