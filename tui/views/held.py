"""Screen 5: mail that waits for a person (held, failed, of unknown outcome), its cause in words, what helps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from gateway.control import ListMail, MailRow
from tui.acts import Act
from tui.frame import age
from tui.lines import Line, Piece, line
from tui.views import mail_acts
from tui.views.mails import (
    MailList,
    Wall,
    age_column,
    id_column,
    other_states,
    subject_column,
    touchpoint_column,
    who_column,
)
from tui.views.story import attempt_lines, because, help_for, prose, rule, walk_lines
from tui.vlist import Column

_COUNTS = (("held", ("held_in", "held_out")), ("failed", ("failed",)), ("unknown", ("unknown",)))


def cause_of(row: MailRow) -> Piece:
    """Why it is set aside, as a code."""
    if row.state == "held":
        return row.cause or "held", "warn"
    return (row.state, "bad") if row.state in ("failed", "unknown") else (row.state, "")


def expires(row: MailRow, now: float) -> Piece:
    """In how long it is given up, where the settings say so."""
    return (age(row.expires_at - now), "warn") if row.expires_at else ("-", "dim")


class Held(MailList):
    """What nobody but a person can get on."""

    NAME = "held"
    TITLE = "Held"
    PREVIEW = 10
    STATES = ("held", "failed", "unknown")
    CAUSES = True
    EMPTY = "nothing is set aside"
    ACTS: ClassVar[tuple[Act, ...]] = (
        mail_acts.OPEN,
        mail_acts.RELEASE,
        mail_acts.RETRY,
        mail_acts.CONFIRM,
        mail_acts.DROP,
        mail_acts.EXPORT,
        mail_acts.RAW,
        mail_acts.BLOCK,
        mail_acts.REPLAY,
        other_states("held.state", "c t", "postroom spool list --state failed", 58),
    )

    def columns(self, wall: Wall) -> tuple[Column, ...]:
        return (
            id_column(), Column(title="dir", cell=lambda row: row.direction, width=3, keep=5),
            Column(title="cause", cell=cause_of, width=15), age_column(wall), who_column("from/to"), subject_column(),
            Column(title="expires", cell=lambda row: expires(row, wall()), width=8, right=True, keep=1, wide=True),
            touchpoint_column(),
        )  # fmt: skip

    def question(self) -> ListMail:
        return ListMail(state=self.state)

    def title_line(self) -> Line:
        account = self.ui.picture.account
        made: list[Piece] = [(" HELD ", "title")]
        for name, keys in _COUNTS:
            number = f"{sum(account[key] for key in keys):,} " if all(key in account for key in keys) else ""
            made += [(" ", ""), (f" {number}{name} ", "here" if name == self.state else "")]
        made.append((f"  {self.count_words()}   filter: {self.needle or '-'}", ""))
        if self.sort:
            made.append((f"   {self.SORTS[self.sort]}", ""))
        return tuple(made)

    def details(self, row: Any, width: int) -> Sequence[Line]:
        made = [rule(f"mail {row.id} · {' '.join(filter(None, (row.state, row.cause)))}", "Enter page", width)]
        detail = self.detail_of(row)
        if detail is None:
            return [*made, *prose(row.reason, width), *help_for(row, width)]
        now = self.ui.wall()
        told, style = because(detail, now, self.ui.picture.touchpoints.get(row.touchpoint_id))
        made += [*prose(told, width, style), *help_for(row, width)]
        if detail.attempts:
            made += [line(("tried", "head")), *attempt_lines(detail.attempts[:3], now, width)]
        for walk in detail.walks[:2]:
            made += walk_lines(walk, width)
        return made


VIEW = Held
