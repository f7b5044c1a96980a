"""Lines of styled text: what every part of the screen is made of, and the only way to it.

A ``Line`` is a tuple of pieces, each a text and the name of a style; nothing is ever parsed as markup. ``strip`` makes
Textual's Strip of it, exactly as wide as asked. Colours are the sixteen of the terminal's own palette, and never the
only signal: a word or a mark says the same.
"""

from __future__ import annotations

from collections.abc import Iterable

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.color import Color
from textual.filter import LineFilter
from textual.strip import Strip

from tui.glyphs import Glyphs, plain

Piece = tuple[str, str]
Line = tuple[Piece, ...]

STYLES: dict[str, Style] = {
    "": Style(),
    "dim": Style(dim=True),
    "strong": Style(bold=True),
    "head": Style(bold=True),
    "title": Style(bold=True, color="cyan"),
    "good": Style(color="green"),
    "warn": Style(color="yellow"),
    "bad": Style(color="red", bold=True),
    "key": Style(bold=True, color="cyan"),
    "here": Style(reverse=True),
    "bar": Style(reverse=True),
    "alarm": Style(reverse=True, bold=True, color="red"),
    "ours": Style(color="blue"),
}
_UNDER = {name: style + Style(reverse=True) for name, style in STYLES.items()}


class Ground(LineFilter):
    """Colours of a theme for what a style leaves open; themes of the terminal's own colours need none."""

    def __init__(self, foreground: str) -> None:
        super().__init__()
        self._foreground = Color.parse(foreground).rich_color

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        ground = Style.from_color(self._foreground, background.rich_color)
        return [Segment(text, ground + style if style else ground, control) for text, style, control in segments]


def line(*pieces: Piece | str) -> Line:
    """Pieces as a line; a bare text has no style."""
    return tuple(piece if isinstance(piece, tuple) else (piece, "") for piece in pieces)


def text_of(made: Line) -> str:
    """A line without its styles."""
    return "".join(text for text, _ in made)


def cut(text: str, width: int) -> str:
    """A text on one line, at most ``width`` cells wide, with an ellipsis where something is missing."""
    if width <= 0:
        return ""
    text = _one_line(text)
    if (len(text) if text.isascii() else cell_len(text)) <= width:
        return text
    used = 0
    for number, char in enumerate(text):
        used += cell_len(char)
        if used > width - 1:
            return text[:number] + "…"
    return text


def fit(text: str, width: int, *, right: bool = False) -> str:
    """A text exactly ``width`` cells wide."""
    text = cut(text, width)
    filler = " " * (width - (len(text) if text.isascii() else cell_len(text)))
    return filler + text if right else text + filler


def folded(text: str, width: int, indent: str = "") -> list[str]:
    """A text as lines of at most ``width`` cells, broken at spaces where there are any."""
    out: list[str] = []
    for paragraph in text.replace("\t", "    ").split("\n"):
        out += _fold(paragraph, max(width, 8), indent)
    return out


def _fold(paragraph: str, width: int, indent: str) -> list[str]:
    if (len(paragraph) if paragraph.isascii() else cell_len(paragraph)) <= width:
        return [paragraph]
    out: list[str] = []
    current, used, lead = "", 0, ""
    for word in paragraph.split(" "):
        size = cell_len(word)
        if used and used + 1 + size > width:
            out.append(current)
            current, used, lead = indent, len(indent), ""
        if size > width - used:  # a word longer than a line
            *full, word = _broken(word, width - used - len(lead), width - len(indent))
            for piece in full:
                out.append(current + lead + piece)
                current, used, lead = indent, len(indent), ""
            size = cell_len(word)
        current += lead + word
        used += len(lead) + size
        lead = " "
    out.append(current)
    return out


def _broken(word: str, room: int, next_room: int) -> list[str]:
    """A word in pieces that fit, looked at once: it may be as long as the mail that it stands in."""
    pieces: list[str] = []
    start, used = 0, 0
    for number, char in enumerate(word):
        size = cell_len(char)
        if used + size > room and number > start:
            pieces.append(word[start:number])
            start, used, room = number, 0, next_room
        used += size
    return [*pieces, word[start:]]


def strip(made: Line, width: int, glyphs: Glyphs, *, under: bool = False, fill: str = "") -> Strip:
    """A line as Textual draws it, exactly ``width`` cells wide; ``under`` the cursor it is reversed."""
    styles = _UNDER if under else STYLES
    segments: list[Segment] = []
    room = width
    for text, style in made:
        if room <= 0:
            break
        text = cut(text, room)
        if text:
            segments.append(Segment(plain(text, glyphs) if glyphs is Glyphs.ASCII else text, styles[style]))
            room -= cell_len(text)
    if room > 0:
        segments.append(Segment(" " * room, styles[fill]))
    return Strip(segments, width)


def _one_line(text: str) -> str:
    # The gate (clean.py) lets line feeds and tabs of longer texts pass; a cell of a screen has neither.
    return text if text.isprintable() else "".join(char if char.isprintable() else " " for char in text)


def joined(parts: Iterable[Line], gap: Piece | str = "  ") -> Line:
    """Lines one after the other, with a gap."""
    out: list[Piece] = []
    between = gap if isinstance(gap, tuple) else (gap, "")
    for part in parts:
        if out:
            out.append(between)
        out += part
    return tuple(out)


def difference(new: Line, old: Line) -> tuple[int, int]:
    """Where two versions of a line differ: the first cell, and how many; none is no difference at all."""
    if new == old:
        return 0, 0
    if len(new) != len(old) or new[:1] != old[:1]:
        return 0, 10_000
    x = start = end = 0
    for (text, style), (text_before, style_before) in zip(new, old, strict=True):
        width = len(text) if text.isascii() else cell_len(text)
        if text != text_before or style != style_before:
            if width != (len(text_before) if text_before.isascii() else cell_len(text_before)):
                return 0, 10_000
            start, end = start if end else x, x + width
        x += width
    return start, end - start
