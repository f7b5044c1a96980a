"""Screen 0: who I am, how this terminal UI is set, and the daemon's settings with their lines; on a canned daemon."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.control import VERSION, ListSettings, Me, Page, Role, SettingRow, WhoAmI
from pipeline.errors import Refused
from tests.tui.canned import Canned, served, short, until
from tests.tui.screen import Terminal, terminal
from tui.glyphs import Glyphs
from tui.keys import Taste

ROWS = (
    SettingRow(key="daemon.state_dir", value='"/var/lib/postroom"', file="", line=0),
    SettingRow(key="relay.largest_mail", value="52428800", file="/etc/postroom/postroom.toml", line=17),
    SettingRow(key="stages.auto_reply.quiet_days", value="7", file="", line=0),
    SettingRow(key="relay.listener.0.name", value='"' + "long " * 30 + 'end"', file="/etc/postroom/relay.toml", line=3),
)


@asynccontextmanager
async def settings_of(canned: Canned, tmp_path: Path, **more: Any) -> AsyncIterator[Terminal]:
    """The screen, loaded."""
    async with served(canned, short(tmp_path)) as path, terminal(path, screen="settings", **more) as term:
        await term.quiet()
        yield term


def daemon(**more: Any) -> Canned:
    """One with these settings."""
    return Canned({ListSettings: Page(rows=ROWS)}, **more)


async def test_every_setting_stands_with_its_file_and_line(tmp_path: Path) -> None:
    async with settings_of(daemon(), tmp_path) as term:
        await term.shows("SETTINGS 4 of 4, 2 set by this host")
        lines = [" ".join(line.split()) for line in term.text().splitlines()]
        assert '>daemon.state_dir "/var/lib/postroom" built-in default' in lines
        assert "relay.largest_mail 52428800 postroom.toml:17" in lines
        await term.press("j")
        await term.shows("/etc/postroom/postroom.toml:17")


async def test_it_says_who_i_am_and_what_this_is(tmp_path: Path) -> None:
    taste = Taste(glyphs=Glyphs.ASCII, keys={"settings.theme": "U", "ui.mouse": ""})
    async with settings_of(daemon(), tmp_path, taste=taste) as term:
        await term.shows("ops (uid 1000), roles: admin   RW: may change things")
        text = term.text()
        for words in (
            f"postroom 0.1.0 on gw01.post.example, up 24 h   this program: {VERSION}", "socket   connected   /",
            "theme ansi-dark | glyphs ascii | mouse", "U next theme", "there is none yet   /",
            "settings.theme = U, ui.mouse = none",
        ):  # fmt: skip
            assert words in text, words


@pytest.mark.parametrize(
    ("role", "options", "why"),
    [
        (Role.AUDIT, {}, "RO: your roles may only look"),
        (Role.ADMIN, {"read_only": True}, "RO: started with --read-only"),
        (Role.OPS, {}, "RW: may change things"),
    ],
)
async def test_it_says_whether_anything_can_be_changed_and_why_not(
    role: Role, options: dict[str, Any], why: str, tmp_path: Path
) -> None:
    async with settings_of(daemon(roles=frozenset({role})), tmp_path, **options) as term:
        await term.shows(why)


async def test_the_filter_works_as_one_types_and_asks_nobody(tmp_path: Path) -> None:
    canned = daemon()
    async with settings_of(canned, tmp_path) as term:
        await term.press("/")
        await term.type("toml:1")
        await term.hides("quiet_days")
        await term.press("enter", "y")
        assert term.ui.last_copied == "relay.largest_mail = 52428800"
        await term.press("Y")
        assert term.ui.last_copied == "postroom settings show --text relay.largest_mail"
        await term.press("escape")
        await term.shows("quiet_days")
    assert len(canned.asked(ListSettings)) == 1


async def test_what_this_host_sets_can_stand_first(tmp_path: Path) -> None:
    async with settings_of(daemon(), tmp_path) as term:
        await term.press("s", "g")
        await term.shows(">relay.largest_mail")


async def test_a_long_value_is_whole_on_enter(tmp_path: Path) -> None:
    async with settings_of(daemon(), tmp_path) as term:
        await term.press("G", "enter")
        await term.shows('end"')
        assert "relay.toml:3" in term.text()
        await term.press("escape")
        await term.shows("SETTINGS 4 of 4")


async def test_themes_go_round_for_this_session(tmp_path: Path) -> None:
    async with settings_of(daemon(), tmp_path) as term:
        await term.press("T")
        await term.shows("theme ansi-light · ")
        seen = []
        for before in ("ansi-light", max(term.ui.available_themes)):
            term.ui.theme = before
            await term.press("T")
            seen.append(term.ui.theme)
        others = set(term.ui.available_themes) - {"ansi-dark", "ansi-light"}
        assert seen == [min(others), "ansi-dark"]


async def test_agents_see_who_they_are_and_no_settings(tmp_path: Path) -> None:
    canned = daemon(roles=frozenset({Role.AGENT}))
    async with settings_of(canned, tmp_path) as term:
        await term.shows("roles: agent")
        await term.shows("not shown to your role (agent)")
    assert not canned.asked(ListSettings)


async def test_a_refusal_is_said(tmp_path: Path) -> None:
    canned = daemon()
    canned.answers[ListSettings] = Refused("not today")
    async with settings_of(canned, tmp_path) as term:
        await term.shows("not today")


async def test_without_a_daemon_it_still_says_how_this_is_set(tmp_path: Path) -> None:
    async with terminal(short(tmp_path), screen="settings") as term:
        await until(lambda: term.ui.picture.trouble, "there is no daemon")
        await term.shows("no connection")
        assert "theme ansi-dark" in term.text() and "asking the daemon ..." in term.text()


async def test_another_version_of_the_daemon_stands_out(tmp_path: Path) -> None:
    canned = daemon()
    canned.answers[WhoAmI] = Me(name="ops", uid=1000, roles=("admin",), hostname="gw01.post.example", version="0.0.9")
    async with settings_of(canned, tmp_path) as term:
        await term.shows("postroom 0.0.9 on gw01.post.example")
        made = term.ui.view._daemon()  # type: ignore[union-attr]
        assert made[1] == (f"   this program: {VERSION}", "warn")


@pytest.mark.parametrize("size", [(60, 16), (80, 24), (160, 48)])
async def test_at_every_size_settings_are_seen(size: tuple[int, int], tmp_path: Path) -> None:
    async with settings_of(daemon(), tmp_path, size=size) as term:
        await term.shows(">daemon.state_dir")
        assert all(row.key in term.text() for row in ROWS)
