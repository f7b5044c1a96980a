"""The provider presets of ``conf/providers.toml``: where a provider's servers are and how they behave."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from pipeline.errors import Refused
from pipeline.touchpoint import Connection, Security, SentCopy, Server


@dataclass(frozen=True, kw_only=True, slots=True)
class Preset:
    """One provider."""

    name: str
    title: str
    imap: Server
    smtp: Server
    password: str
    """What sort of password it takes, and where people get one."""
    sent_copy: SentCopy
    null_sender: bool
    strips_return_path: bool
    junk_folder: str
    junk_names: tuple[str, ...]
    connections: int
    idle_seconds: float
    """0 means that IDLE is not used."""
    poll_seconds: float
    largest_mail: int
    """Bytes; 0 means that the server says so itself."""

    def connection(self, user: str) -> Connection:
        """A connection as this provider wants it; for custom, the hosts are still empty."""
        return Connection(
            preset=self.name,
            user=user,
            imap=self.imap,
            smtp=self.smtp,
            sent_copy=self.sent_copy,
            null_sender=self.null_sender,
            strips_return_path=self.strips_return_path,
            junk_folder=self.junk_folder,
        )


@cache
def presets() -> Mapping[str, Preset]:
    """All presets by name."""
    raw = tomllib.loads(files("conf").joinpath("providers.toml").read_text("utf-8"))
    return MappingProxyType({name: _preset(name, values) for name, values in raw.items()})


def preset(name: str) -> Preset:
    """One preset; raises Refused with the names that there are."""
    if (found := presets().get(name)) is None:
        raise Refused(f"there is no provider {name!r}; there are: {', '.join(presets())}")
    return found


def _preset(name: str, values: dict[str, Any]) -> Preset:
    made: dict[str, Any] = {half: _server(values.pop(half)) for half in ("imap", "smtp")}
    made["sent_copy"] = SentCopy(values.pop("sent_copy"))
    made["junk_names"] = tuple(values.pop("junk_names"))
    return Preset(name=name, **made, **values)


def _server(raw: dict[str, Any]) -> Server:
    return Server(host=raw["host"], port=raw["port"], security=Security(raw["security"]))
