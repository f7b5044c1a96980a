"""What a key is called, and what people made of ours: the user's own file of keys, theme and glyphs.

A key has the name of its character ("a", "A", "?", "/"), or Textual's name for it ("enter", "ctrl+s", "pagedown").
Acts have ids, such as ``touchpoint.activate``; the file gives an id another key, or "" to take its key away:

    theme = "ansi-light"
    glyphs = "ascii"
    [keys]
    "touchpoint.activate" = "T"
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tui.glyphs import Glyphs

if TYPE_CHECKING:
    from textual.events import Key

    from tui.acts import Act

NAMES = {" ": "space"}
MOVES = frozenset({"j", "k", "g", "G", "up", "down", "pageup", "pagedown", "home", "end", "ctrl+c"})
"""Keys that move or leave on every screen; they cannot be given to an act."""
SHOWN = {
    "enter": "Enter", "escape": "Esc", "space": "Space", "tab": "Tab", "pagedown": "PgDn", "pageup": "PgUp",
    "up": "↑", "down": "↓", "left": "←", "right": "→", "home": "Home", "end": "End",
}  # fmt: skip


class BadKeys(Exception):
    """The user's file says something that cannot be; the text says what, and where."""


@dataclass(frozen=True, kw_only=True)
class Taste:
    """What a person set for themselves."""

    theme: str = ""
    glyphs: Glyphs | None = None
    mouse: bool | None = None
    keys: Mapping[str, str] = field(default_factory=dict)


def name_of(event: Key) -> str:
    """What we call the key of an event."""
    if event.character is not None and event.character.isprintable() and len(event.character) == 1:
        return NAMES.get(event.character, event.character)
    return event.key


def shown(key: str) -> str:
    """A key as people read it."""
    if key.startswith("ctrl+"):
        return "^" + key.removeprefix("ctrl+")
    return SHOWN.get(key, key.upper() if key[:1] == "f" and key[1:].isdigit() else key)


def home_of_taste() -> Path:
    """Where a person's own file lies."""
    base = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return Path(base) / "postroom" / "tui.toml"


def read_taste(path: Path) -> Taste:
    """The user's own file, or nothing where there is none; raises BadKeys."""
    import tomllib

    try:
        raw = tomllib.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return Taste()
    except (OSError, ValueError) as error:
        raise BadKeys(f"{path}: {error}") from None
    if unknown := raw.keys() - {"theme", "glyphs", "mouse", "keys"}:
        raise BadKeys(f"{path}: {min(unknown)}: there is no such key; there are: theme, glyphs, mouse, keys")
    keys = raw.get("keys", {})
    if not isinstance(keys, dict) or not all(isinstance(value, str) for value in keys.values()):
        raise BadKeys(f'{path}: keys: must be a table such as "touchpoint.activate" = "T"')
    return Taste(theme=_text(path, raw, "theme"), glyphs=_glyphs(path, raw), mouse=_switch(path, raw), keys=_flat(keys))


def check_ids(path: Path, taste: Taste, ids: Iterable[str]) -> None:
    """Raise BadKeys for an id that no act has."""
    known = list(ids)
    for name in taste.keys:
        if name not in known:
            near = get_close_matches(name, known, 1)
            hint = f"; did you mean {near[0]}?" if near else "; see the table of keys: press ? in the terminal UI"
            raise BadKeys(f"{path}: keys: there is no act {name!r}{hint}")


def keys_of(act: Act, own: Mapping[str, str]) -> tuple[str, ...]:
    """All keys of an act; what the person's own file says goes first."""
    said = own.get(act.id)
    return act.keys if said is None else tuple(said.split(" ")) if said else ()


def check_keys(
    path: Path, taste: Taste, screens: Iterable[tuple[str, Sequence[Act]]], everywhere: Sequence[Act]
) -> None:
    """Raise BadKeys for a key that would stand for two acts of one screen; ``screens`` are titles and their own acts.

    Only what the file says is looked at: where a screen takes a key from an act of everywhere by default, it may.
    """
    for title, own in screens:
        covered = {key for act in own for key in act.keys}
        for act in (*own, *everywhere):
            for key in set(keys_of(act, taste.keys)) - set(act.keys):
                if key in MOVES:
                    raise BadKeys(f"{path}: keys: {act.id} cannot have the key {shown(key)!r}: it moves or leaves")
                rivals = own if act in own and key in covered else (*own, *everywhere)
                other = next((each for each in rivals if each.id != act.id and key in keys_of(each, taste.keys)), None)
                if other is not None:
                    raise BadKeys(
                        f"{path}: keys: {act.id} cannot have the key {shown(key)!r}: on the screen {title} it is the "
                        f"key of {other.id} ({other.words.split(' ...')[0]}); give that one another key too"
                    )


def _flat(keys: Mapping[str, str]) -> dict[str, str]:
    return {name: NAMES.get(value, value) for name, value in keys.items()}


def _text(path: Path, raw: Mapping[str, Any], name: str) -> str:
    value = raw.get(name, "")
    if not isinstance(value, str):
        raise BadKeys(f"{path}: {name}: must be a text")
    return value


def _switch(path: Path, raw: Mapping[str, Any]) -> bool | None:
    value = raw.get("mouse")
    if value is not None and not isinstance(value, bool):
        raise BadKeys(f"{path}: mouse: must be true or false")
    return value


def _glyphs(path: Path, raw: Mapping[str, Any]) -> Glyphs | None:
    if not (value := _text(path, raw, "glyphs")):
        return None
    try:
        return Glyphs(value)
    except ValueError:
        raise BadKeys(f"{path}: glyphs: must be one of {', '.join(Glyphs)}") from None
