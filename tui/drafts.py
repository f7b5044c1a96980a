"""What was typed and not sent yet, kept in the person's own state folder, so that a lost terminal loses none of it.

One small JSON file of mode 0600 per draft, written to a new name and renamed. Secrets are never in it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

MOST = 128 * 1024
"""Characters that a draft may have; more than any text that the daemon takes."""
LONGEST = 16 * MOST
"""Bytes of a file: twelve for a character beyond the first plane, and the rest of the JSON."""


def home_of_drafts() -> Path:
    """Where a person's drafts lie."""
    base = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return Path(base) / "postroom" / "drafts"


_TITLES = {
    "touchpoint.new": "a new touchpoint", "touchpoint.duplicate": "a copy of a touchpoint",
    "touchpoint.edit": "changes to a touchpoint", "touchpoint.servers": "the servers of a touchpoint",
    "relay_user.add": "a new relay user", "relay_user.edit": "changes to the relay user",
    "blocklist entry": "a new entry of the blocklist",
}  # fmt: skip
_NUMBERED = re.compile(r"(\w+\.\w+)[. ](.+)")


def title_of(name: str) -> str:
    """What a draft is, for people; those that are not in the table are named in words already."""
    if (found := _NUMBERED.fullmatch(name)) and found[1] in _TITLES:
        return f"{_TITLES[found[1]]} {found[2]}" if not found[2].isdigit() else _TITLES[found[1]]
    return _TITLES.get(name, name)


class Drafts:
    """The drafts of one person; every failure to keep one is silent, since there is nothing to do about it."""

    def __init__(self, home: Path) -> None:
        self._home = home

    def read(self, name: str) -> dict[str, str]:
        """What was kept under a name, or nothing."""
        with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
            raw = self._path(name).read_bytes()[:LONGEST]
            kept = json.loads(raw)["values"]
            return {str(key): str(value) for key, value in kept.items()}
        return {}

    def write(self, name: str, values: Mapping[str, str]) -> None:
        """Keep this."""
        if sum(map(len, values.values())) > MOST:
            return
        path = self._path(name)
        new = path.with_name(f".{path.name}.{os.getpid()}")
        with suppress(OSError):
            self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
            made = json.dumps({"name": name, "at": time.time(), "values": dict(values)})
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(made)
            os.replace(new, path)

    def forget(self, name: str) -> None:
        """It is sent, or thrown away."""
        with suppress(OSError):
            self._path(name).unlink()

    def names(self) -> list[str]:
        """What is kept, the newest first."""
        found: list[tuple[float, str]] = []
        with suppress(OSError):
            for path in self._home.glob("*.json"):
                with suppress(OSError, ValueError, TypeError, KeyError):
                    kept = json.loads(path.read_bytes()[:LONGEST])
                    found.append((float(kept["at"]), str(kept["name"])))
        return [name for _, name in sorted(found, reverse=True)]

    def _path(self, name: str) -> Path:
        digest = hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()
        return self._home / f"{digest[:24]}.json"
