"""Screen 1: the stations of a mail's way, what needs a person, what happens now, and the account.

Two lists stand below each other, and the cursor is in one of them at most: while it is not in the feed, the feed
follows what happens; while it is, nothing moves under it. Everything comes from the picture and from the stages that
the frame asks for, so this screen makes no calls of its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import ComposeResult
from textual.containers import Container

from gateway.control import Event, GetStages, MailRow, NeedRow, StageRow, Stages
from tui.acts import Act, Rows
from tui.frame import age, clock, moment
from tui.glyphs import Glyphs, spark
from tui.lines import Line, Piece, fit, folded, line, text_of
from tui.pager import Pager
from tui.picture import FEED, Happened
from tui.view import Title, View
from tui.views.touchpoints import state_of
from tui.vlist import Column, VList

if TYPE_CHECKING:
    from tui.app import TerminalUI

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
    made = [line((f"{head}  {period:<{cells}} {'errors/h':>8}" + f"{'since start':>13}" * roomy, "title"))]
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
    return f"{count:,}".replace(",", " ")


# -- The account ---------------------------------------------------------------------------------------------------


def account_lines(account: Mapping[str, int], difference: int, width: int) -> list[Line]:
    """Both sums, without what is 0 in them, and their difference."""
    word = (f"difference {number(difference)} ", "alarm" if difference else "good")
    sums = [_sum(account, "in", "taken", _IN), _sum(account, "out", "accepted", _OUT)]
    made = [each for text in sums for each in folded(text, width, "     ")]
    room = width - len(word[0])
    at = next((n for n in reversed(range(len(made))) if len(made[n]) + 2 <= room), len(made))
    made += [""] * (at == len(made))
    return [line(f"{text:<{room}}", word) if n == at else line(text) for n, text in enumerate(made)]


def _sum(account: Mapping[str, int], way: str, total: str, parts: Sequence[tuple[str, str]]) -> str:
    told = [f"{word} {number(account[name])}" for word, name in parts if account.get(name)]
    return f" {way:<3} {total} {number(account.get(total, 0))} = {' + '.join(told) or '0'}"


# -- What happens --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One line of the feed."""

    id: int
    """Counts what was told."""
    at: float
    event: Event
    way: str
    touchpoint: str
    """The address of the one that it is about; "" where there is none."""
    author: str
    subject: str
    became: Piece

    def holds(self, text: str) -> bool:
        """Whether it holds a text, folded already."""
        return text in f"{self.way} {self.touchpoint} {self.author} {self.subject} {self.became[0]}".casefold()


def told(happened: Happened, number: int, at: float) -> Told:
    """An event as a line of the feed."""
    event = happened.event
    if (row := event.mail) is not None:
        way = {"auto-reply": "auto", "notice": "note"}.get(row.origin, row.direction)
        if event.what == "mail.accepted" and row.origin == "relay":
            way = "rel"
        subject = row.subject or "(no subject)"
        return Told(id=number, at=at, event=event, way=way, touchpoint=row.touchpoint, author=row.author,
                    subject=subject, became=became(event, row))  # fmt: skip
    point = event.touchpoint
    style = "warn" if event.what == "house.disk_full" else ""
    subject, word = event.words, (event.what.partition(".")[2].replace("_", " "), style)
    if point is not None:
        subject, word = event.words or point.name, _point(event)
    return Told(id=number, at=at, event=event, way="tp" if point or event.gone else "-",
                touchpoint=point.address if point else "", author="", subject=subject, became=word)  # fmt: skip


def became(event: Event, row: MailRow) -> Piece:
    """What became of a mail, in words."""
    words = event.words.replace("\n", " ")
    queues = ", ".join(row.queues)
    match event.what:
        case "mail.assigned":
            return (f"-> {queues}", "") if queues else ("-> no queue", "warn")
        case "mail.answered":
            return (f"-> {queues or 'no queue'}, auto-reply", "")
        case "mail.stopped":
            return (f"stopped: {words or row.reason}", "dim")
        case "mail.held":
            return (f"HELD {row.cause}: {words or row.reason}", "warn")
        case "mail.undecided":
            return ("decided later", "")
        case "mail.accepted":
            return ("-> outbox", "")
        case "mail.delivered":
            return (f"delivered {words}".rstrip(), "good")
        case "mail.deferred":
            return (f"later: {words}", "warn")
        case "mail.failed":
            return (f"FAILED {words}", "bad")
        case "mail.unknown":
            return (f"outcome unknown: {words}", "warn")
    return (words or row.state, "")


def _point(event: Event) -> Piece:
    assert event.touchpoint is not None
    if event.what in ("touchpoint.connected", "touchpoint.backoff", "touchpoint.connection_lost"):
        return state_of(event.touchpoint)
    return (event.what.partition(".")[2], "")


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
        drawn = (stages, account, blind, picture.told_at > 0, self.ui.size)
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
        title = line((" OVERVIEW", "title"))
        if blind:
            mine = ", ".join(self.ui.picture.me.roles) if self.ui.picture.me else ""
            words = f"Your role ({mine or 'none'}) sees no stations, no account and not what needs a person."
            told = (title, line(f" {words}"), line(" ", ("3", "key"), " shows the mail of the queues."))
            self.stations.set(lambda width: told)
        elif stages is None:
            why = self.ui.picture.trouble or "asking the daemon ..."
            told = (title, *(line((f" {each}", "dim")) for each in folded(why, max(self.size.width - 2, 20))), ())
            self.stations.set(lambda width: told)
        else:
            self.stations.set(lambda width: station_lines(stages.rows, width, self.ui.glyphs))
            return 1 + len(stages.rows)
        return len(told)

    def _draw_account(self, account: Mapping[str, int], *, blind: bool) -> int:
        if not account:
            words = " the account is for audit, ops and admin" if blind else " asking for the account ..."
            self.account.set(lambda width: (line((words, "dim")),))
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
        told = self.ui.picture.told_at > 0
        style = "bad" if any(row.kind in ("lost", "failed") for row in rows) else "warn"
        left = line((" NEEDS YOU", "title"), (f" ({len(rows)})", style) if rows else ("", ""))
        if not rows:
            left = line(*left, ("  nothing", "good") if told and not blind else ("  -", "dim"))
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
        offset = self.ui.wall() - self.ui.now()
        for each in islice(picture.feed, len(picture.feed) - new, None):
            self._heard += 1
            self._told.appendleft(told(each, self._heard, each.at + offset))
        self._heard = picture.feed_changes

    def _house(self, width: int) -> Sequence[Line]:
        picture = self.ui.picture
        made = [(picture.hostname or self.ui.where, "title")]
        if picture.version:
            up = age(self.ui.wall() - picture.started_at)
            made += [(f"postroom {picture.version}, up {up}, since {moment(picture.started_at)}", "")]
        made += [("", ""), *((f"{count} {state}", "") for state, count in sorted(picture.states().items()))]
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
            return row.command
        if isinstance(row, Told):
            mail = row.event.mail
            return (mail.message_id or str(mail.id)) if mail is not None else row.touchpoint or row.subject
        return "\n".join((self.stations.text, self.account.text))

    def open(self, row: Any) -> None:
        if isinstance(row, Told):
            if row.event.mail is not None:
                from tui.views.mail import MailPage

                return self.ui.work(self.ui.open(MailPage(self.ui, row.event.mail.id)))
        elif row.kind not in ("lost", "backoff"):
            return self.ui.work(self._go("queues" if row.kind == "unassigned" else "held"))
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
