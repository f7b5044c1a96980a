"""The stations of a mail's way and the account, as lines: what the overview shows above and below its lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gateway.control import StageRow
from tui.frame import age
from tui.glyphs import Glyphs, spark
from tui.lines import Line, Piece, fit, folded, line

ROOMY = 100
"""Cells from which the stations show more columns."""
_IN = (("queued", "queued"), ("stopped", "stopped"), ("held", "held_in"), ("waiting", "waiting_in"),
       ("dropped", "dropped_in"))  # fmt: skip
_OUT = (("delivered", "delivered"), ("waiting", "waiting_out"), ("parked", "parked"), ("unknown", "unknown"),
        ("held", "held_out"), ("failed", "failed"), ("dropped", "dropped_out"))  # fmt: skip


# -- The stations --------------------------------------------------------------------------------------------------


def station_lines(rows: Sequence[StageRow], width: int, glyphs: Glyphs) -> list[Line]:
    """A heading, and one line for each station."""
    roomy = width >= ROOMY
    cells = max(0, min(59, width - (79 if roomy else 50)))
    head = f" {'PIPELINE':<13} {'rate/s':>7} " + f"{'p50':>8}" * roomy + f"{'p95':>8}" + f"{'p99':>8}" * roomy
    head += f" {'wait':>6}"
    period = f"last {cells} min" if cells >= 11 else ""
    made = [line((f"{head}  {period.ljust(cells)} {'errors/h':>8}" + f"{'since start':>13}" * roomy, "title"))]
    return made + [_station(row, cells, glyphs, roomy=roomy) for row in rows]


def _station(row: StageRow, cells: int, glyphs: Glyphs, *, roomy: bool) -> Line:
    # Without the minute that is not over yet: it would look like a drop, and draw the line anew each second.
    over = row.minutes[:-1][-(cells * 2 if glyphs is Glyphs.BRAILLE else cells) :] if cells else ()
    times = [f"{seconds(each):>8}" for each in ((row.p50, row.p95, row.p99) if roomy else (row.p95,))]
    parts: list[Piece] = [(f"  {fit(row.name, 12)} {row.rate:>7.1f} {''.join(times)} ", "")]
    parts.append((f"{number(row.waiting):>6}", "strong" if row.waiting else "dim"))
    parts += [("  ", ""), (spark(over, cells, glyphs), "good"), (" ", "")]
    parts.append((f"{number(row.errors_hour):>8}", "warn" if row.errors_hour else "dim"))
    return (*parts, (f"{number(row.total):>13}", "")) if roomy else tuple(parts)


def seconds(length: float) -> str:
    """How long one mail takes; "-" where there was none."""
    if not length:
        return "-"
    if length >= 9.95:
        return age(length)
    return f"{length:.2f} s" if length >= 0.9995 else f"{length * 1000:.{2 if length < 0.00995 else 0}f} ms"


def number(count: int) -> str:
    """A count with its thousands set apart."""
    return f"{count:,}"


# -- The account ---------------------------------------------------------------------------------------------------


def account_lines(account: Mapping[str, int], difference: int, width: int) -> list[Line]:
    """Both sums, without what is 0 in them, and their difference."""
    word = (f"difference {number(difference)} ", "alarm" if difference else "good")
    sums = [_sum(account, "in", "taken", _IN), _sum(account, "out", "accepted", _OUT)]
    made = [each for text in sums for each in folded(text, width, "     ")]
    room = width - len(word[0])
    at = next((n for n in reversed(range(len(made))) if len(made[n]) + 2 <= room), len(made))
    made += [""] * (at == len(made))
    return [line(text.ljust(room), word) if n == at else line(text) for n, text in enumerate(made)]


def _sum(account: Mapping[str, int], way: str, total: str, parts: Sequence[tuple[str, str]]) -> str:
    told = [f"{word} {number(account[name])}" for word, name in parts if account.get(name)]
    return f" {way:<3} {total} {number(account.get(total, 0))} = {' + '.join(told) or '0'}"
