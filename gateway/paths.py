"""Where things lie when the settings do not say: for root as a system service does it, for others in their home.

Light on purpose, since every command asks it: nothing is imported here but the standard library's lightest parts.
"""

from __future__ import annotations

import os
from pathlib import Path

SETTINGS = Path("/etc/postroom/postroom.toml")


def default_settings() -> Path | None:
    """The settings file that is read without ``--config``, if it is there."""
    return SETTINGS if SETTINGS.is_file() else None


def default_state_dir() -> Path:
    """The folder of the store: systemd's StateDirectory, /var/lib/postroom for root, else in the user's home."""
    if given := os.environ.get("STATE_DIRECTORY"):
        return Path(given.partition(":")[0])
    if os.geteuid() == 0:
        return Path("/var/lib/postroom")
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "postroom"


def default_socket() -> Path:
    """Where the daemon that this user starts puts its control socket."""
    if given := os.environ.get("RUNTIME_DIRECTORY"):
        return Path(given.partition(":")[0]) / "control.sock"
    return SYSTEM_SOCKET if os.geteuid() == 0 else _own_socket()


def likely_socket() -> Path:
    """Where a command finds a daemon: this user's own if there is one, else the system's."""
    own = _own_socket()
    return own if os.geteuid() != 0 and own.exists() else SYSTEM_SOCKET


SYSTEM_SOCKET = Path("/run/postroom/control.sock")


def _own_socket() -> Path:
    if given := os.environ.get("XDG_RUNTIME_DIR"):
        return Path(given) / "postroom" / "control.sock"
    return default_state_dir() / "control.sock"


def socket_of(settings: Path | None) -> Path:
    """The socket that a settings file names, or the likely one; reads that one key and checks nothing."""
    import tomllib

    named = ""
    file = settings or default_settings()
    for each in () if file is None else (file, *sorted((file.parent / "conf.d").glob("*.toml"))):
        try:
            named = tomllib.loads(each.read_text("utf-8"))["daemon"]["socket"] or named
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return Path(named) if named else likely_socket()
