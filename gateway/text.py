"""The one gate for text that mail, servers or strangers control, on its way to a terminal.

``safe_text`` makes what cannot be seen visible: controls, escape sequences, bidirectional overrides, zero-width and
unassigned characters come out as escapes such as ``\\x1b`` or ``\\u202e``. It bounds stacks of combining marks, brings
the text to NFC and, if asked, to a width in cells. It never raises, and its output holds no control character but,
where ``multiline`` allows them, line feeds and tabs.
"""

from __future__ import annotations

import unicodedata

MOST_MARKS = 8
"""Combining marks in a row that are kept; more is a tower over the lines above, and quadratic work in NFC."""

# Letters that draw nothing: Hangul fillers and the empty Braille pattern.
_BLANK = frozenset("\u115f\u1160\u3164\uffa0\u2800")
_ELLIPSIS = "…"


def safe_text(text: str, width: int | None = None, *, multiline: bool = False) -> str:
    """``text`` as it may be shown; cut with an ellipsis to ``width`` cells if that is given."""
    if text.isascii() and text.isprintable():
        return text if width is None or len(text) <= width else text[: max(width - 1, 0)] + _ELLIPSIS[:width]
    if width is not None:
        text = text[: 4 + width * (1 + MOST_MARKS)]  # no cell needs more characters than this
    clean = unicodedata.normalize("NFC", _visible(text, "\n\t" if multiline else ""))
    return clean if width is None else _cut(clean, width)


def cells(text: str) -> int:
    """How many cells of a terminal a safe text takes."""
    if text.isascii():
        return len(text)
    return sum(_cells(char) for char in text)


def pad(text: str, width: int) -> str:
    """A safe text filled up with spaces to ``width`` cells."""
    return text + " " * (width - cells(text))


def _visible(text: str, allowed: str) -> str:
    out: list[str] = []
    marks = 0
    for char in text:
        if " " <= char <= "~" or char in allowed:
            marks = 0
            out.append(char)
            continue
        category = unicodedata.category(char)
        marks = marks + 1 if category in ("Mn", "Me") else 0
        if marks <= MOST_MARKS:
            out.append(_escape(char) if _hidden(char, category) else char)
    return "".join(out)


def _hidden(char: str, category: str) -> bool:
    # C: control, format (bidi, zero-width, tags), surrogate, private, unassigned. Zl, Zp: line breaks in disguise.
    return category[0] == "C" or category in ("Zl", "Zp") or char in _BLANK


def _escape(char: str) -> str:
    code = ord(char)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _cells(char: str) -> int:
    if char in "\n\t":
        return 1
    if unicodedata.category(char) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _cut(text: str, width: int) -> str:
    used = 0
    for number, char in enumerate(text):
        used += _cells(char)
        if used > width:
            return _cut_off(text[:number], width)
    return text


def _cut_off(text: str, width: int) -> str:
    while text and cells(text) > width - 1:
        text = text[:-1]
    return text + _ELLIPSIS if width > 0 else ""
