"""The gate: what comes from the daemon is made safe to show, once, before any part of the screen sees it.

Every text in a reply goes through ``safe_text``; line feeds and tabs are left in, since some texts have lines. What is
clean already, which is nearly everything, is passed on as the same object.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from functools import cache
from typing import Any, TypeVar, get_type_hints

from gateway.text import safe_text

T = TypeVar("T")


def clean(value: T) -> T:
    """The same value with every text in it safe to show."""
    made: T = _clean(value)
    return made


def visible(text: str) -> str:
    """A text that is pasted, without what cannot be seen: it came from anywhere, and fields show what they hold."""
    return "".join(char for char in unicodedata.normalize("NFC", text) if char == "\r" or _shows(char))


def _shows(char: str) -> bool:
    return safe_text(char, multiline=True) == char


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        if value.isascii() and value.isprintable():
            return value
        made = safe_text(value, multiline=True)
        return value if made == value else made
    if isinstance(value, tuple):
        parts = tuple(_clean(each) for each in value)
        return value if all(new is old for new, old in zip(parts, value, strict=True)) else parts
    if isinstance(value, Mapping):
        pairs = [(key, each, _clean(key), _clean(each)) for key, each in value.items()]
        same = all(key is new_key and each is new for key, each, new_key, new in pairs)
        return value if same else {new_key: new for _, _, new_key, new in pairs}
    if is_dataclass(value) and not isinstance(value, type):
        changed = {}
        for name in _names(type(value)):
            old = getattr(value, name)
            if (new := _clean(old)) is not old:
                changed[name] = new
        return replace(value, **changed) if changed else value
    return value


@cache
def _names(kind: type[Any]) -> tuple[str, ...]:
    """The fields that may hold text."""
    hints = get_type_hints(kind)
    return tuple(each.name for each in fields(kind) if hints[each.name] not in (int, float, bool, bytes))
