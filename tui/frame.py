"""The three lines around every screen: how the house is, where one can go, and what the keys do here."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from tui.keys import shown
from tui.lines import Line, Piece, cut, difference, line, strip, text_of

if TYPE_CHECKING:
    from tui.app import TerminalUI

SCREENS = (
    ("1", "overview", "Overview"),
    ("2", "touchpoints", "Touchpoints"),
    ("3", "queues", "Queues"),
    ("4", "outbox", "Outbox"),
    ("5", "held", "Held"),
    ("6", "replies", "Replies"),
    ("7", "blocklist", "Blocks"),
    ("8", "logs", "Logs"),
    ("9", "relay", "Relay"),
    ("0", "settings", "Settings"),
)
"""Digit, name and title; the modules of ``tui/views`` are called by the names."""
SILENT = 10.0
"""Seconds after which it is said that the daemon does not answer."""
_STATES = (
    ("connected", "ok", "good"),
    ("connecting", "connecting", ""),
    ("backoff", "backoff", "warn"),
    ("lost", "LOST", "bad"),
    ("new", "new", ""),
    ("off", "off", "dim"),
)


class _OneLine(Widget):
    """One line of the frame, drawn again only when it says something else."""

    DEFAULT_CSS = "_OneLine { height: 1; width: 100%; }"

    def __init__(self, ui: TerminalUI) -> None:
        super().__init__()
        self.ui = ui
        self._line: Line = ()

    def made(self, width: int) -> Line:
        """What it says."""
        return ()

    def draw(self) -> None:
        """Draw it if it changed."""
        if self.size.width and (now := self.made(self.size.width)) != self._line:
            x, width = difference(now, self._line)
            self._line = now
            self.refresh(Region(x, 0, min(width, self.size.width - x), 1))

    def on_resize(self) -> None:
        self._line = ()
        self.draw()

    def render_line(self, y: int) -> Strip:
        if not self._line:
            self._line = self.made(self.size.width)
        return strip(self._line, self.size.width, self.ui.glyphs)


class StateLine(_OneLine):
    """Line 1: the house in words and numbers, or that there is no connection."""

    def made(self, width: int) -> Line:
        ui = self.ui
        clock = time.strftime(" %H:%M:%S", time.localtime(ui.wall()))
        picture = ui.picture
        if picture.connected:
            left, right = self._well(), line((" RO" if ui.read_only else " RW", "warn" if ui.read_only else ""), clock)
        else:
            left, right = self._alone(), line(clock)
        room = width - len(text_of(right))
        if picture.connected and len(text_of(left)) > room:
            left = self._well(rates=False)
        shown_left = _cut(left, room)
        return line(*shown_left, " " * (room - len(text_of(shown_left))), *right)

    def _well(self, *, rates: bool = True) -> Line:
        picture = self.ui.picture
        counts = picture.states()
        parts: list[Piece] = [*self._replay(), (f" {cut(picture.hostname.split('.')[0], 16)} ", "strong"), (" ", "")]
        if (difference := picture.difference()) not in (0, None):
            parts += [(f"DIFFERENCE {difference:,}", "alarm"), ("  ", "")]
        if self.ui.paused:
            parts.append(("PAUSED  ", "warn"))
        if (unanswered := self.ui.unanswered) >= SILENT:
            parts.append((f"NO ANSWER for {age(unanswered)}  ", "alarm"))
        told = [(f"{counts[name]:,} {words}", style) for name, words, style in _STATES if counts.get(name)]
        for number, piece in enumerate(told or [("no touchpoint yet", "dim")]):
            parts += [(" · ", "dim"), piece] if number else [piece]
        if rates and (stages := self.ui.stages) is not None:
            parts.append((f"  in {stages.rate_in:.1f}/s out {stages.rate_out:.1f}/s", ""))
        return tuple(parts)

    def _replay(self) -> Line:
        """That nothing of this is now."""
        replay = self.ui.replay
        return () if replay is None else ((f" REPLAY {replay.how_far} ", "alarm"),)

    def _alone(self) -> Line:
        ui, picture = self.ui, self.ui.picture
        if ui.replay is not None:
            return (*self._replay(), (f" {picture.trouble or 'nothing was told yet'}", ""))
        if not picture.trouble:
            return line(f" connecting to {ui.where} ...")
        now = ui.now()
        parts: list[Piece] = [(" NO PERMISSION" if ui.denied else " NO CONNECTION", "alarm")]
        if picture.told_at:
            parts.append((f"  data {age(now - picture.told_at)} old", "warn"))
        if picture.retry_at:
            parts.append((f"  next try in {max(0, picture.retry_at - now):.0f} s", ""))
        parts.append((f"  {picture.trouble}", "bad"))
        return tuple(parts)


class TabLine(_OneLine):
    """Line 2: the screens by their digits; what does not fit is left out from the right."""

    def made(self, width: int) -> Line:
        parts: list[Piece] = []
        room = width - 4
        for digit, name, title in SCREENS:
            # 80 columns hold eight of them; the other two are in the help, under ":" and at their digits.
            if (room := room - len(title) - 3) < 0:
                break
            parts += [(f" {digit} ", "key"), (title, "here" if name == self.ui.screen_name else "")]
        filler = " " * max(0, width - 4 - len(text_of(tuple(parts))))
        return line(*parts, filler, (" :", "key"), "go")


class KeyBar(_OneLine):
    """The last line: the keys of what is focused by their priority, or what has just been said."""

    def made(self, width: int) -> Line:
        ui = self.ui
        if ui.said is not None:
            return line((" " + ui.said[0], ui.said[1] or "strong"))
        room = width - 7
        parts: list[Piece] = []
        for act in ui.bar_acts():
            piece = f" {shown(ui.key_of(act))} {act.words.split(' ...')[0].lower()} "
            if len(piece) <= room:
                key = f" {shown(ui.key_of(act))}"
                parts += [(key, "key"), (piece[len(key) :], "")]
                room -= len(piece)
        filler = " " * max(0, width - 7 - sum(len(text) for text, _ in parts))
        return line(*parts, filler, (" ?", "key"), " help")


def _cut(made: Line, width: int) -> Line:
    out: list[Piece] = []
    for text, style in made:
        if width <= 0:
            break
        text = cut(text, width)
        out.append((text, style))
        width -= len(text)
    return tuple(out)


def age(seconds: float) -> str:
    """A length of time for people, in two parts at most."""
    seconds = max(0, int(seconds))
    if seconds < 100:
        return f"{seconds} s"
    minutes, hours = seconds // 60, seconds // 3600
    if minutes < 100:
        return f"{minutes} m"
    if hours < 48:
        return f"{hours} h {minutes % 60:02} m" if hours < 10 else f"{hours} h"
    return f"{hours // 24} d"


def clock(at: float) -> str:
    """The local time of day of a moment; "-" for never."""
    return _local(at, "%H:%M:%S")


def moment(at: float) -> str:
    """A moment in local time, with its day; "-" for never."""
    return _local(at, "%Y-%m-%d %H:%M:%S")


def _local(at: float, form: str) -> str:
    try:
        return time.strftime(form, time.localtime(at)) if at else "-"
    except (ValueError, OverflowError, OSError):
        return "?"
