"""A real terminal: tmux with a server of its own, a window of a given size, keys that are typed and a screen to read.

``with Tmux(directory) as terminal`` starts nothing; ``start`` runs a command in its one window. The server, and all in
it, is gone at the end. Its socket lies in the folder, so no tmux of anybody else is touched.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

PATIENCE = 30.0


def missing() -> str | None:
    """What to install, or None when all is there."""
    if shutil.which("tmux"):
        return None
    return "tmux is missing: apt-get install --no-install-recommends tmux"


class Tmux:
    """One window."""

    def __init__(self, directory: Path, *, width: int = 80, height: int = 24, term: str = "tmux-256color") -> None:
        self._socket = directory / "tmux.sock"
        self._config = directory / "tmux.conf"
        self._exit = directory / "exit"
        self.width, self.height = width, height
        self._config.write_text(
            f"set -g default-terminal {term}\nset -g status off\nset -s escape-time 0\nset -g set-clipboard on\n"
            "set -g remain-on-exit on\nset -g history-limit 2000\n",
            encoding="utf-8",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._run("kill-server", check=False)

    def start(
        self, command: Sequence[str], environment: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> None:
        """Run a command in the window, in a UTF-8 locale."""
        settings = {"LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "TZ": "UTC", **(environment or {})}
        line = shlex.join(["env", *(f"{name}={value}" for name, value in settings.items()), *command])
        self._run(
            "-f", str(self._config), "new-session", "-d", "-s", "t", "-x", str(self.width), "-y", str(self.height),
            *(["-c", str(cwd)] if cwd else []),
            f"{line}; echo $? >{shlex.quote(str(self._exit))}",
        )  # fmt: skip

    def keys(self, *keys: str) -> None:
        """Press keys by tmux's names: Enter, Escape, C-s, or a character."""
        self._run("send-keys", "-t", "t", *keys)

    def type(self, text: str) -> None:
        """Type a text as it is."""
        self._run("send-keys", "-t", "t", "-l", text)

    def resize(self, width: int, height: int) -> None:
        """Give the window another size."""
        self.width, self.height = width, height
        self._run("resize-window", "-t", "t", "-x", str(width), "-y", str(height))

    def screen(self, *, colours: bool = False) -> str:
        """What the window shows, spaces at the ends of lines left out."""
        raw = self._run("capture-pane", "-p", *(["-e"] if colours else []), "-t", "t")
        return "\n".join(line.rstrip() for line in raw.split("\n")).rstrip("\n") + "\n"

    def buffer(self) -> str:
        """What was copied last."""
        return self._run("show-buffer", check=False)

    @property
    def ended(self) -> bool:
        """Whether the command in the window has ended."""
        return self._exit.exists() and self._exit.read_text().strip() != ""

    @property
    def code(self) -> int:
        """The exit code of the command that has ended."""
        return int(self._exit.read_text())

    def until(self, what: Callable[[], object], why: str, patience: float = PATIENCE) -> None:
        """Wait for a fact; fails with the screen."""
        deadline = time.monotonic() + patience
        while not what():
            assert time.monotonic() < deadline, f"not in {patience:.0f} s: {why}\n{self.screen()}"
            time.sleep(0.05)

    def shows(self, *words: str, patience: float = PATIENCE) -> str:
        """Wait until the screen holds all of these; the screen."""
        self.until(lambda: all(each in self.screen() for each in words), f"the screen shows {words}", patience)
        return self.screen()

    def hides(self, words: str, patience: float = PATIENCE) -> None:
        """Wait until the screen holds this no longer."""
        self.until(lambda: words not in self.screen(), f"{words!r} goes away", patience)

    def _run(self, *arguments: str, check: bool = True) -> str:
        environment = {name: value for name, value in os.environ.items() if name not in ("TMUX", "TMUX_PANE")}
        done = subprocess.run(
            ["tmux", "-S", str(self._socket), *arguments], env={**environment, "LC_ALL": "C.UTF-8"},
            capture_output=True, text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip
        if check and done.returncode:
            raise RuntimeError(f"tmux {arguments[0]}: {done.stderr.strip()}")
        return done.stdout
