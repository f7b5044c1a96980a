"""A value as TOML writes it, which tomllib does not do. What TOML has no form for comes out as text."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def as_toml(value: Any) -> str:
    """One value, on one line; None, which TOML lacks, is ""."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case str():
            return _text(value)
        case Mapping():
            pairs = ", ".join(f"{_key(str(key))} = {as_toml(each)}" for key, each in value.items())
            return f"{{ {pairs} }}" if pairs else "{}"
        case tuple() | list() | set() | frozenset():
            return f"[{', '.join(map(as_toml, value))}]"
        case _:
            return _text(str(value))


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _text(name)


def _text(text: str) -> str:
    # A basic string of TOML is one of JSON, but for DEL, which it does not allow unescaped.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
