"""Screen 1: the stations of a mail's way, what needs a person, what happens now, and the account.

Two lists stand below each other, and the cursor is in one of them at most: while it is not in the feed, the feed
follows what happens; while it is, nothing moves under it. Everything comes from the picture and from the stages that
the frame asks for, so this screen makes no calls of its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import ComposeResult
from textual.containers import Container

from gateway.control import GetStages, NeedRow, Prove, ShowProving, Stages
from tui.acts import Act, Rows
from tui.frame import age, clock, moment
from tui.glyphs import Glyphs
from tui.lines import Line, Piece, folded, line, text_of
from tui.pager import Pager
from tui.picture import FEED
from tui.view import Title, View
from tui.views.feed import Told, told
from tui.views.proof import prove_all
from tui.views.stations import account_lines, number, station_lines
from tui.vlist import Column, VList

if TYPE_CHECKING:
    from tui.app import TerminalUI


# -- What needs a person -------------------------------------------------------------------------------------------


_MARKS = {"lost": ("x", "bad"), "backoff": ("~", "warn"), "failed": ("!", "bad"), "unknown": ("!", "warn")}


def need_words(row: NeedRow) -> str:
    """What it is, and what it keeps waiting."""
    kept = f", {number(row.count)} kept" if row.touchpoint and row.count else ""
    return row.words + kept


class Part(VList):
    """One of the two lists. It has a cursor only while it is ``here``; else it stays at its beginning."""

    def __init__(self, columns: Sequence[Column], key: Callable[[Any], Hashable], took: Callable[[Part], None],
                 *, glyphs: Glyphs) -> None:  # fmt: skip
        super().__init__(columns, key, glyphs=glyphs, header=False)
        self.here = False
        self._took = took

    def set_rows(self, rows: Sequence[Any], *, more: bool = False) -> None:
        if self.here:
            return super().set_rows(rows, more=more)
        self.rows, self.cursor, self.top = rows, 0, 0
        return self.redraw()

    def move_to(self, number: int) -> None:
        self._took(self)
        super().move_to(number)

    def _made(self, y: int) -> Line:
        made = super()._made(y)
        return made if self.here or made[:1] != ((">", "here"),) else ((" ", ""), *made[1:])


# -- The screen ----------------------------------------------------------------------------------------------------


def _open_touchpoint(view: Overview, rows: Rows) -> None:
    view.open_touchpoint(rows[0])


def _no_touchpoint(row: Any) -> str:
    return "" if row.touchpoint else "this is about no touchpoint"


class Overview(View):
    """The whole house on one screen."""

    NAME = "overview"
    TITLE = "Overview"
    ACTS: ClassVar[tuple[Act, ...]] = (
        Act(id="overview.touchpoint", key="t", words="Its touchpoint", run=_open_touchpoint, single=True,
            why_not=_no_touchpoint, bar=50, command="postroom touchpoint show {touchpoint}"),
        Act(id="proof.make", key="P", words="Prove that nothing is lost", run=prove_all, on_row=False,
            calls=(Prove,), reads=(ShowProving,), command="postroom prove"),
    )  # fmt: skip
    DEFAULT_CSS = """
    Overview .main { layout: vertical; width: 1fr; height: 1fr; }
    Overview .main > Pager, Overview > Pager { height: 1; }
    Overview.wide > .body > .main { width: 2fr; }
    Overview.wide > .body > Pager.detail { width: 1fr; }
    """

    def __init__(self, ui: TerminalUI) -> None:
        super().__init__(ui)
        wall = ui.wall
        self.stations = Pager(glyphs=ui.glyphs)
        self.need_title, self.feed_title = Title(ui), Title(ui)
        self.needs = Part(
            (
                Column(title="", cell=lambda row: _MARKS.get(row.kind, ("o", "warn")), width=1),
                Column(title="", cell=lambda row: row.touchpoint or row.kind, width=22, grow=1),
                Column(title="", cell=need_words, width=20, grow=9),
                Column(title="", cell=lambda row: age(wall() - row.since) if row.since else "", width=8, right=True),
            ),
            lambda row: (row.kind, row.touchpoint), self._into, glyphs=ui.glyphs,
        )  # fmt: skip
        self.feed = Part(
            (
                Column(title="", cell=lambda row: clock(row.at), width=8),
                Column(title="", cell=lambda row: row.way, width=4),
                Column(title="", cell=lambda row: row.touchpoint.partition("@")[0], width=10),
                Column(title="", cell=lambda row: row.author, width=22, keep=1, wide=True),
                Column(title="", cell=lambda row: row.subject, width=14, grow=1),
                Column(title="", cell=lambda row: row.became, width=15, grow=1),
            ),
            lambda row: row.id, self._into, glyphs=ui.glyphs,
        )  # fmt: skip
        self.account = Pager(glyphs=ui.glyphs)
        self.list = self.feed
        self.main = Container(self.stations, self.need_title, self.needs, self.feed_title, self.feed, classes="main")
        self._told: deque[Told] = deque(maxlen=FEED)
        self._heard = 0
        self._drawn: tuple[Any, ...] = ()
        self._lines = (1, 1)
        """Of the stations and of the account."""

    def compose(self) -> ComposeResult:
        self.pager.add_class("detail")
        yield Container(self.main, self.pager, classes="body")
        yield self.account

    def lay_out(self) -> None:
        wide = self.ui.wide
        self.set_class(wide, "wide")
        self.pager.display = wide or self.full
        self.main.display = not self.full
        self.pager.styles.height = "1fr"

    # -- the cursor --------------------------------------------------------------------------------------------------

    @property
    def current(self) -> Any | None:
        part = self._here
        return None if part is None else part.current

    def chosen(self) -> list[Any]:
        return [] if self.current is None else [self.current]

    @property
    def _here(self) -> Part | None:
        return next((part for part in (self.needs, self.feed) if part.here), None)

    def _into(self, part: Part | None) -> None:
        """The cursor goes into this part."""
        if part is self._here:
            return
        for each in (self.needs, self.feed):
            each.here = each is part
            if not each.here:
                each.cursor = each.top = 0
            each.redraw()
        self.list = part or self.feed
        self.draw_details()

    def nav(self, key: str) -> bool:
        if self.full:
            return self.pager.nav(key)
        moved = self._move(key)
        self._tell_feed()
        return moved

    def _move(self, key: str) -> bool:
        part = self._here
        parts = [each for each in (self.needs, self.feed) if each.rows]
        if part not in parts or part is None:
            if (moves := key in _DOWN or key in _UP) and parts:
                parts[0].move_to(len(parts[0].rows) - 1 if key in ("G", "end") else 0)
            return moves
        at = parts.index(part)
        if key in ("g", "home"):
            parts[0].move_to(0)
        elif key in ("G", "end"):
            parts[-1].move_to(len(parts[-1].rows) - 1)
        elif key in _DOWN and part.cursor == len(part.rows) - 1 and at + 1 < len(parts):
            parts[at + 1].move_to(0)
        elif key in _UP and part.cursor == 0 and part is self.feed:
            self._out_of_feed()
        else:
            return part.nav(key)
        return True

    def widen(self) -> bool:
        if self.feed.here:
            self._out_of_feed()
            self._tell_feed()
            return True
        return False

    def _out_of_feed(self) -> None:
        """Up from its first line: into the needs, or out of both, so that the feed follows again."""
        if self.needs.rows:
            self.needs.move_to(len(self.needs.rows) - 1)
        else:
            self._into(None)

    # -- drawing -----------------------------------------------------------------------------------------------------

    def draw(self) -> None:
        if self.is_attached:
            self.show()

    def show(self) -> None:
        picture = self.ui.picture
        blind = picture.me is not None and not self.ui.may(GetStages)
        self._hear()
        rows, stages = self._needs(), self.ui.stages
        account = dict(picture.account)
        drawn = (stages, account, blind, picture.trouble if stages is None else "", self.ui.size)
        if drawn != self._drawn:  # the rest of it is compared line by line
            self._drawn = drawn
            self._lines = (self._draw_stations(stages, blind=blind), self._draw_account(account, blind=blind))
        self._place(rows)
        self._draw_needs(rows, blind=blind)
        self._draw_feed()
        if self.pager.display:
            row = self.current
            self.pager.set(lambda width: self.details(row, width) if row is not None else self._house(width))

    def _place(self, needs: Sequence[NeedRow]) -> None:
        """Heights: all stations if there is room, the needs at most half of what is left, the feed the rest."""
        lines, account = self._lines
        room = self.ui.size.height - 3 - 2 - account
        lines = min(lines, max(3, room - 6))
        for part, height in (
            (self.stations, lines), (self.account, account), (self.needs, min(len(needs), max(1, (room - lines) // 2))),
        ):  # fmt: skip
            if part.styles.height is None or part.styles.height.value != height:
                part.styles.height = height
        self.needs.display = bool(needs)

    def _draw_stations(self, stages: Stages | None, *, blind: bool) -> int:
        lines = [line((" OVERVIEW", "title"))]
        if blind:
            mine = ", ".join(self.ui.picture.me.roles) if self.ui.picture.me else ""
            words = f"Your role ({mine or 'none'}) sees no stations, no account and not what needs a person."
            lines += [line(f" {words}"), line(" ", ("3", "key"), " shows the mail of the queues.")]
            self.stations.set(lambda width: lines)
        elif stages is None:
            why = self.ui.picture.trouble or "asking the daemon ..."
            lines += [*(line((f" {each}", "dim")) for each in folded(why, max(self.ui.size.width - 2, 20))), ()]
            self.stations.set(lambda width: lines)
        else:
            self.stations.set(lambda width: station_lines(stages.rows, width, self.ui.glyphs))
            return 1 + len(stages.rows)
        return len(lines)

    def _draw_account(self, account: Mapping[str, int], *, blind: bool) -> int:
        if not account:
            words = " the account is for audit, ops and admin" if blind else " asking for the account ..."
            self.account.set(lambda width: [line((words, "dim"))])
            return 1
        difference = self.ui.picture.difference() or 0
        self.account.set(lambda width: account_lines(account, difference, width))
        return len(account_lines(account, difference, self.ui.size.width))

    def _needs(self) -> tuple[NeedRow, ...]:
        """The rows; the cursor goes to the first where it is nowhere, and leaves with the last."""
        rows = self.ui.picture.needs
        if rows and self._here is None:
            self.needs.here, self.list = True, self.needs
        if not rows and self.needs.here:
            self.needs.here, self.list = False, self.feed
        return rows

    def _draw_needs(self, rows: Sequence[NeedRow], *, blind: bool) -> None:
        self.needs.set_rows(rows)
        answered = self.ui.picture.told_at > 0
        style = "bad" if any(row.kind in ("lost", "failed") for row in rows) else "warn"
        left = line((" NEEDS YOU", "title"), (f" ({len(rows):,})", style) if rows else ("", ""))
        if not rows:
            left = line(*left, ("  nothing", "good") if answered and not blind else ("  -", "dim"))
        self.need_title.set(self._beside(left, "Enter opens what helps · Y copies its command" if rows else ""))

    def _draw_feed(self) -> None:
        rows: list[Told] = list(self._told)
        if text := self.needle.casefold():
            rows = [row for row in rows if row.holds(text)]
        self.feed.empty = "nothing of the kind" if text else "nothing has happened since this screen was opened"
        self.feed.set_rows(rows)
        self._tell_feed()

    def _tell_feed(self) -> None:
        parts: list[Piece] = [(" LIVE", "title")]
        if self.feed.here:
            newer = self.feed.cursor
            parts.append((f"  stands still at the cursor, {newer} newer above" if newer else "  at the cursor", "warn"))
        else:
            parts.append(("  following", "dim"))
        if self.needle:
            parts.append((f"  filter: {self.needle}", "warn"))
        if left_out := self.ui.picture.left_out:
            parts.append((f"  {number(left_out)} not told: too busy", "warn"))
        self.feed_title.set(self._beside(tuple(parts), "p pauses · / filters"))

    def _beside(self, left: Line, right: str) -> Line:
        room = (self.need_title.size.width or self.ui.size.width) - len(text_of(left)) - len(right) - 1
        return line(*left, " " * room, (right, "dim")) if room > 1 else left

    def _hear(self) -> None:
        """Take over what the picture heard since; the newest goes first."""
        picture = self.ui.picture
        new = min(picture.feed_changes - self._heard, len(picture.feed))
        for each in islice(picture.feed, len(picture.feed) - new, None):
            self._heard += 1
            self._told.appendleft(told(each, self._heard, self.ui.wall_of(each.at)))
        self._heard = picture.feed_changes

    def _house(self, width: int) -> Sequence[Line]:
        picture = self.ui.picture
        made = [(picture.hostname or self.ui.where, "title")]
        if picture.version:
            up = age(self.ui.wall() - picture.started_at)
            made += [(f"postroom {picture.version}, up {up}, since {moment(picture.started_at)}", "")]
        made += [("", ""), *((f"{count:,} {state}", "") for state, count in sorted(picture.states().items()))]
        return [line((each, style)) for text, style in made for each in folded(text, max(width - 1, 8), "  ")]

    def details(self, row: Any, width: int) -> Sequence[Line]:
        made = self._about_need(row) if isinstance(row, NeedRow) else self._about_told(row)
        return [line((each, style)) for text, style in made for each in folded(text, max(width - 1, 8), "  ")]

    def _about_need(self, row: NeedRow) -> list[Piece]:
        made = [(row.touchpoint or row.kind, "title"), (need_words(row), "")]
        if row.since:
            made.append((f"since {moment(row.since)} ({age(self.ui.wall() - row.since)})", ""))
        for point in self.ui.picture.touchpoints.values():
            if row.touchpoint and point.address == row.touchpoint and point.reason:
                made += [("", ""), (point.reason, "warn")]
        return [*made, ("", ""), ("what helps", "head"), (row.command, "key")]

    def _about_told(self, row: Told) -> list[Piece]:
        made = [(f"{moment(row.at)}  {row.event.what}", "title"), row.became, ("", "")]
        if (mail := row.event.mail) is None:
            return [*made, (row.touchpoint, ""), (row.event.words, "")]
        facts = (
            ("mail", f"{mail.id}, {number(mail.size)} bytes"), ("touchpoint", mail.touchpoint), ("from", mail.author),
            ("to", ", ".join(mail.recipients)), ("subject", mail.subject), ("Message-ID", mail.message_id),
            ("state", f"{mail.state} {mail.cause}".rstrip()), ("because", mail.reason),
            ("queues", ", ".join(mail.queues)), ("attempts", str(mail.attempts) if mail.attempts else ""),
        )  # fmt: skip
        return made + [(f"{name:<11}{value}", "") for name, value in facts if value]

    # -- acts --------------------------------------------------------------------------------------------------------

    def command(self) -> str:
        from shlex import quote

        row = self.current
        if isinstance(row, NeedRow):
            return row.command
        if isinstance(row, Told) and row.event.mail is not None:
            return f"postroom why {row.event.mail.id}"
        if row is not None and row.touchpoint:
            return f"postroom touchpoint show {quote(row.touchpoint)}"
        return "postroom status --stages"

    def value(self) -> str:
        row = self.current
        if isinstance(row, NeedRow):
            return self.ui.twin(row.command)
        if isinstance(row, Told):
            mail = row.event.mail
            return (mail.message_id or str(mail.id)) if mail is not None else row.touchpoint or row.subject
        return "\n".join((self.stations.text, self.account.text))

    def open(self, row: Any) -> None:
        if isinstance(row, Told):
            if row.event.mail is not None:
                from tui.views.mail import MailPage

                return self.ui.work(self.ui.open(MailPage(self.ui, row.event.mail.id)))
        elif row.kind not in ("lost", "backoff", "resume"):
            return self.ui.work(self._go({"unassigned": "queues", "disk-full": "logs"}.get(row.kind, "held")))
        elif not row.touchpoint:
            return self.ui.work(self._go("touchpoints"))
        return self.open_touchpoint(row)

    def open_touchpoint(self, row: NeedRow | Told) -> None:
        """The page of the touchpoint that a row is about."""
        from tui.views.touchpoint import TouchpointPage

        address = row.touchpoint
        known = self.ui.picture.touchpoints.values()
        if (point := next((each for each in known if address and each.address == address), None)) is not None:
            return self.ui.work(self.ui.open(TouchpointPage(self.ui, point.id)))
        return self.ui.say(f"there is no touchpoint {address} now" if address else "there is no more to it than this")

    async def _go(self, name: str) -> None:
        await self.ui.go(name)


_DOWN = ("down", "j", "pagedown", "G", "end")
_UP = ("up", "k", "pageup", "g", "home")
VIEW = Overview
