"""Calls in which the daemon tells about itself: its log, its settings, and the providers it knows."""

from __future__ import annotations

import asyncio

from gateway.control import ListLog, ListPresets, ListSettings
from gateway.desk.parts import Parts
from gateway.presets import Preset, presets
from gateway.rows import LogRow, Page, PresetRow, ServerRow, SettingRow
from gateway.server import Caller
from gateway.settings import Settings
from gateway.toml_values import as_toml
from pipeline.touchpoint import Server

_LONGEST = 4000
"""Characters of one value."""


class Looking:
    """Answers to calls about the daemon itself; none changes anything."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def log(self, call: ListLog, caller: Caller) -> Page[LogRow]:
        """The newest first; in a thread, since a search may go through all that is remembered."""
        return await asyncio.to_thread(self._parts.journal.page, call)

    async def settings(self, call: ListSettings, caller: Caller) -> Page[SettingRow]:
        """All of them at once, in the order of the annotated file."""
        return Page(rows=tuple(_setting_rows(self._parts.settings)))

    async def presets(self, call: ListPresets, caller: Caller) -> Page[PresetRow]:
        """In the order of the file."""
        return Page(rows=tuple(map(_preset_row, presets().values())))


def _setting_rows(settings: Settings) -> list[SettingRow]:
    return [
        SettingRow(key=".".join(map(str, key)), value=as_toml(value)[:_LONGEST], file=file, line=line)
        for key, value, file, line in settings.each()
    ]


def _preset_row(preset: Preset) -> PresetRow:
    return PresetRow(
        name=preset.name,
        title=preset.title,
        imap=_server_row(preset.imap),
        smtp=_server_row(preset.smtp),
        password=preset.password,
    )


def _server_row(server: Server) -> ServerRow | None:
    """None where people say it themselves."""
    return ServerRow(host=server.host, port=server.port, security=server.security.value) if server.host else None
