"""What the tests of the terminal UI share: one time zone, and no habits of the person who runs them."""

from __future__ import annotations

import time

import pytest
from textual import _wait

# Textual's pilot takes the process for idle after 20 ms, twice for each key; half of it tells as much.
_wait.SLEEP_GRANULARITY = 1 / 100
_wait.SLEEP_IDLE = _wait.SLEEP_GRANULARITY / 20


@pytest.fixture(autouse=True)
def nobody_in_particular(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """UTC, no tmux, no editor, an empty home, and details that are asked for at once."""
    home = tmp_path_factory.mktemp("home")
    for name in ("TMUX", "SSH_TTY", "SSH_CONNECTION", "EDITOR", "VISUAL", "NO_COLOR", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "HOME"):
        monkeypatch.setenv(name, str(home))
    monkeypatch.setattr("tui.view.DETAIL_PAUSE", 0.0)
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
