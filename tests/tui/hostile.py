"""Two hundred texts that a stranger could send, and rows of the wire that hold nothing else."""

from __future__ import annotations

import itertools
import types
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

CONTROLS = (
    "\x1b]52;c;ZXZpbA==\x07", "\x1b]0;title\x07", "\x1b]8;;http://evil.example\x1b\\link\x1b]8;;\x1b\\", "\x1b[2J",
    "\x1b[31mred", "\x1bc", "\x1b[?1049l", "\x1bP1;2|tmux\x1b\\", "\x1b[6n", "\x1b_Gkitty\x1b\\", "\x1b[201~", "\x1b",
    "\x9b31m", "\x9d52;c;ZXZpbA==\x9c", "\x90q\x9c", "\x85next", "\x00", "\x07", "\x08\x08\x08", "\x0b", "\x0c",
    "\x0e", "\x0f", "\x7f", "\r overwritten", "\n second line", "\t tab",
)  # fmt: skip
INVISIBLE = (
    "\u202emoc.elpmaxe\u202c", "\u2066isolate\u2069", "\u200bzero", "\u200d", "\ufeffbom", "\u2028line", "\u2029para",
    "\U000e0041tag", "\u00adsoft", "\u061carabic mark", "\u2060join", "\ue000private", "\ufff9note\ufffb", "\u034fcgj",
    "\u115ffiller", "\u2800blank",
)  # fmt: skip
MARKUP = (
    "[/foo]", "[red]red[/red]", "[@click=app.quit]click[/]", "[@click=app.bell]x[/@click]", "[bold]", "[on red]",
    "[link=http://evil.example]l[/link]", "[[", "]]", "[", "[/", "\\[", "[b", "[#fff on #000]", "[$text]", ":smile:",
    "[/]", "[reverse]",
)  # fmt: skip
TEMPLATES = (
    "{row}", "{0.__class__}", "%s%n", "{", "}", "{{", "}}", "$HOME", "`id`", "$(id)", "'; id; '", "--drop-pending",
    "-x", "../../etc/passwd", "\\", '"', "'",
)  # fmt: skip
WIDE = (
    "パスワード再設定について", "👩‍👩‍👧‍👦 family", "🏳️‍🌈", "e" + "\u0301" * 40, "ﷺ" * 10, "𝕏" * 30, "한국어 메일",
    "مرحبا بالعالم", "שלום עולם", "x" * 9_000, "ß" * 500, "\u0378unassigned", " " * 100, "",
)  # fmt: skip


def texts() -> list[str]:
    """All two hundred: each alone, and inside what looks like a subject."""
    alone = [*CONTROLS, *INVISIBLE, *MARKUP, *TEMPLATES, *WIDE]
    inside = [f"Re: {each} invoice 4711" for each in alone]
    both = [f"{one}{two}" for one, two in itertools.islice(zip(CONTROLS, MARKUP, strict=False), 16)]
    return (alone + inside + both)[:200]


T = TypeVar("T")


class Filler:
    """Makes rows in which every text is hostile; numbers are harmless, ids are given."""

    def __init__(self) -> None:
        self._texts: Iterator[str] = itertools.cycle(texts())

    def row(self, kind: type[T], **given: Any) -> T:
        """One row of a type of the wire."""
        hints = get_type_hints(kind)
        names = [each.name for each in fields(kind)]  # type: ignore[arg-type]
        return kind(**{name: given[name] if name in given else self._value(hints[name]) for name in names})

    def _value(self, hint: Any) -> Any:
        origin = get_origin(hint)
        if origin in (types.UnionType, Union):
            return self._value(next(each for each in get_args(hint) if each is not type(None)))
        if origin is tuple:
            return tuple(self._value(get_args(hint)[0]) for _ in range(2))
        if origin is not None and issubclass(origin, Mapping):
            return {}
        if is_dataclass(hint):
            return self.row(hint)  # type: ignore[type-var]
        if hint is str:
            return next(self._texts)
        return {int: 7, float: 1_795_442_000.0, bool: True, bytes: b"\x1b]52;c;x\x07 raw"}.get(hint, next(self._texts))
