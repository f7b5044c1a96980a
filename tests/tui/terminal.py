"""The terminal UI as a process in a pseudo-terminal: every byte that it writes is kept, and judged.

``stray`` reads the bytes as a terminal does, and says what in them is not text and not one of the few sequences that
draw a screen. What mail holds must never be among those.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).parents[2]
PATIENCE = 30.0
# What a screen is drawn with: cursor moves and visibility, colours, modes, synchronized updates, questions about modes.
_DRAWING = re.compile(
    r"\x1b\[[0-9;]*[HmJKABCDGr]|\x1b\[\??[0-9;]*[hl]|\x1b\[\?[0-9;]*\$p|\x1b\[>?[0-9;]*[cqu]|\x1b\[[<=>][0-9;]*u"
    r"|\x1b\]22;[a-z]*\x07|\x1b\[16t|\x1b\[[0-9]*t|\x1b\[\?u|\x1b[78=>]|\r|\n"
)


def stray(raw: bytes) -> list[str]:
    """What of these bytes would do something else to a terminal than draw text: escapes, controls, bidi marks."""
    text = _DRAWING.sub("", raw.decode("utf-8", "replace"))
    found = []
    for at, char in enumerate(text):
        if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"):
            found.append(repr(text[max(0, at - 20) : at + 20]))
    return found


class PtyTerminal:
    """One process in a terminal of its own."""

    def __init__(
        self, arguments: Sequence[str], *, size: tuple[int, int] = (80, 24), environment: dict[str, str] | None = None
    ) -> None:
        self.written = bytearray()
        settings = {"TERM": "xterm-256color", "LANG": "C.UTF-8", "TZ": "UTC", "SSH_TTY": "/dev/pts/0"}
        self.pid, self.end = pty.fork()
        if self.pid == 0:
            os.chdir(ROOT)
            os.execve(sys.executable, [sys.executable, *arguments], {**os.environ, **settings, **(environment or {})})
        self.resize(*size)
        self.status: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.status is None and not self._over():
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        self.hang_up()

    def resize(self, width: int, height: int) -> None:
        """Give the terminal another size."""
        fcntl.ioctl(self.end, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
        os.kill(self.pid, signal.SIGWINCH)

    def press(self, keys: str) -> None:
        """Type these."""
        os.write(self.end, keys.encode())

    def read(self, seconds: float) -> bytes:
        """What is written within this time; returns as soon as there is something."""
        ready, _, _ = select.select([self.end], [], [], max(0.0, seconds))
        if not ready:
            return b""
        try:
            piece = os.read(self.end, 65536)
        except OSError:
            piece = b""
        self.written += piece
        return piece

    def quiet(self, seconds: float = 0.6) -> None:
        """Read until nothing but the clock is written for a moment."""
        until = time.monotonic() + PATIENCE
        silent = time.monotonic() + seconds
        while time.monotonic() < silent:
            assert time.monotonic() < until, "it never stops writing"
            if len(self.read(silent - time.monotonic())) > 40:
                silent = time.monotonic() + seconds

    def shows(self, words: str) -> None:
        """Wait until these words are written."""
        self.until(lambda: words.encode() in self.written, f"{words!r} is written")

    def until(self, what: Callable[[], object], why: str) -> None:
        """Wait for a fact; fails with what was written last."""
        deadline = time.monotonic() + PATIENCE
        while not what():
            self.read(0.1)
            assert time.monotonic() < deadline, f"not in {PATIENCE:.0f} s: {why}; at the end {self.written[-800:]!r}"

    def hang_up(self) -> None:
        """The terminal goes away."""
        if self.end >= 0:
            os.close(self.end)
            self.end = -1

    def wait(self) -> int:
        """The end of the process: its exit code, or the negative number of the signal that ended it."""
        deadline = time.monotonic() + PATIENCE
        while not self._over():
            assert time.monotonic() < deadline, "the process goes on"
            if self.end >= 0:
                self.read(0.05)
            else:
                time.sleep(0.02)
        assert self.status is not None
        return os.waitstatus_to_exitcode(self.status)

    def _over(self) -> bool:
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = status
        return self.status is not None
