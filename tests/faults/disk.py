"""The forgetful file system as a process of its own, and how a harness tells it what to do.

``missing()`` says in one sentence what this machine lacks for it. The commands are in ``forgetful.py``.
"""

from __future__ import annotations

import errno
import json
import os
import subprocess
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

SYSTEM_PYTHON = "/usr/bin/python3"
How = Literal["drop", "prefix", "some", "torn"]
EIO, ENOSPC, EDQUOT = errno.EIO, errno.ENOSPC, errno.EDQUOT


@cache
def missing() -> str | None:
    """The sentence that says why there is no forgetful file system here; None where there is one."""
    if os.geteuid() != 0:
        return "the forgetful file system needs root, to mount it"
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "the forgetful file system needs /dev/fuse, which is not here"
    found = subprocess.run([SYSTEM_PYTHON, "-c", "import pyfuse3, trio"], capture_output=True, check=False)
    return "pyfuse3 is missing; bring it with: apt install python3-pyfuse3 fuse3" if found.returncode else None


class Disk:
    """A disk that forgets, mounted on ``place`` for as long as the block runs."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self.place.mkdir(parents=True, exist_ok=True)
        self._process = subprocess.Popen(
            [SYSTEM_PYTHON, str(Path(__file__).with_name("forgetful.py")), str(self.place)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={"PATH": os.environ.get("PATH", "/usr/bin:/bin")},
        )
        self._answer()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if os.path.ismount(self.place):
            subprocess.run(["umount", "-l", str(self.place)], check=False, capture_output=True)

    def cut(self, how: How = "drop", seed: int = 0) -> dict[str, int]:
        """The power is cut: forget what was not synced, or a part of it; no process may have a file open."""
        return self.tell("cut", how=how, seed=seed)

    def fail(self, on: str, at: int, error: int, *, times: int = 1, name: str = "") -> None:
        """From now, the ``at``-th call of this kind (write, sync, any) fails with an errno; ``times`` 0: all after."""
        self.tell("arm", on=on, at=at, errno=error, times=times, name=name)

    def kill(self, on: str, at: int, pid: int, *, name: str = "") -> None:
        """SIGKILL a process within its ``at``-th call of this kind."""
        self.tell("arm", on=on, at=at, kill=pid, name=name)

    def heal(self) -> None:
        """No more faults, room without limit, writable."""
        self.tell("disarm")
        self.tell("room", bytes=None)
        self.tell("freeze", on=False)

    def full(self, room: int = 0) -> None:
        """No more than ``room`` bytes may be added."""
        self.tell("room", bytes=room)

    def read_only(self) -> None:
        """Writes are refused, as after the kernel mounted it anew."""
        self.tell("freeze", on=True)

    def counts(self) -> dict[str, int]:
        """Calls so far: write, sync, failed, killed."""
        return self.tell("counts")

    def failed(self) -> dict[str, int]:
        """Names of files and folders -> how many of their calls failed since this was asked last."""
        return self.tell("failed")

    def unsynced(self) -> dict[str, int]:
        """Files by name -> changes that a power cut would lose."""
        return self.tell("unsynced")

    def tell(self, do: str, **command: Any) -> dict[str, int]:
        """One command; its answer."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **command}) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, int]:
        assert self._process is not None
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the forgetful file system ended")
        answer: dict[str, int] = json.loads(line)
        return answer
