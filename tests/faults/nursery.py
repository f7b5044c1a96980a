"""A process that has read every module of the daemon once and forks daemons from there: a start takes a tenth.

The forked daemon is a process of its own, with its own group of files, log and environment, and dies of SIGKILL like
any other; only the reading of modules is saved, which is most of a start. It is told in JSON lines on its standard
input what to start, and says on its standard output which process that is and how each one ended.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import random
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).parents[2]
_MODULES = (
    "gateway.cli", "gateway.cli.run", "gateway.daemon", "gateway.relay", "gateway.server", "gateway.desk",
    "gateway.connectors.imap_smtp", "gateway.connectors.smtp", "gateway.settings", "gateway.paths", "uvloop",
    "tests.faults.inside", "tests.faults.points",
)  # fmt: skip
_NOT_OURS = ("STATE_DIRECTORY", "RUNTIME_DIRECTORY", "CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET", "WATCHDOG_USEC",
             "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")  # fmt: skip


def clean_environment(extra: Mapping[str, str] = {}) -> dict[str, str]:
    """Ours without what a service manager said to somebody else."""
    return {name: value for name, value in os.environ.items() if name not in _NOT_OURS} | dict(extra)


class Child:
    """A forked daemon, with the part of ``subprocess.Popen`` that is used of it."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._ended = threading.Event()

    def poll(self) -> int | None:
        """Its exit code (negative: the signal), or None while it runs."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; raises TimeoutExpired."""
        if not self._ended.wait(timeout):
            raise subprocess.TimeoutExpired(f"daemon {self.pid}", timeout or 0.0)
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it runs."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def ended(self, code: int) -> None:
        """The nursery says so."""
        self.returncode = code
        self._ended.set()


class Nursery:
    """The harness's side; use as a context manager. ``sockets`` are those that a daemon may be handed."""

    def __init__(self, sockets: Sequence[int] = ()) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.nursery"],
            cwd=ROOT,
            env=clean_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=tuple(sockets),
            text=True,
        )
        self._asking = threading.Lock()
        self._answer: int | None = None
        self._answered = threading.Event()
        self._children: dict[int, Child] = {}
        self._reader = threading.Thread(target=self._read, name="nursery", daemon=True)
        self._reader.start()

    def __enter__(self) -> Nursery:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(
        self,
        arguments: Sequence[str],
        *,
        log: Path,
        env: Mapping[str, str] = {},
        points: Sequence[str] = (),
        listen: Mapping[str, int] = {},
    ) -> Child:
        """Fork a daemon with these arguments of the command line, armed with crash points, handed these sockets."""
        order = {"arguments": [*arguments], "log": str(log), "env": dict(env), "points": [*points],
                 "listen": dict(listen)}  # fmt: skip
        with self._asking:
            self._answered.clear()
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            if not self._answered.wait(30) or self._answer is None:
                raise RuntimeError("the nursery does not answer")
            return self._children[self._answer]

    def close(self) -> None:
        """The end, of every daemon that still runs as well."""
        with contextlib.suppress(OSError):
            assert self._process.stdin is not None
            self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._reader.join(5)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said = json.loads(line)
            if "started" in said:
                self._children[said["started"]] = Child(said["started"])
                self._answer = said["started"]
                self._answered.set()
            else:
                self._children[said["ended"]].ended(said["code"])
        self._answer = None
        self._answered.set()


# -- the nursery's own process -----------------------------------------------------------------------------------------


def main() -> NoReturn:
    """Serve orders until standard input ends."""
    import importlib

    for name in _MODULES:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    awake, wake = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(awake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    children: set[int] = set()
    buffer = b""
    while True:
        ready, _, _ = select.select([0, awake], [], [])
        if awake in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(awake, 4096)
            _reap(children)
        if 0 in ready:
            data = os.read(0, 65536)
            if not data:
                break
            buffer += data
            while b"\n" in buffer:
                line, _, buffer = buffer.partition(b"\n")
                children.add(_fork(json.loads(line)))
    for pid in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    os._exit(0)


def _say(**words: int) -> None:
    os.write(1, (json.dumps(words) + "\n").encode())


def _reap(children: set[int]) -> None:
    for pid in list(children):
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            children.discard(pid)
            _say(ended=pid, code=os.waitstatus_to_exitcode(status))


def _fork(order: dict[str, Any]) -> int:
    pid = os.fork()
    if pid:
        _say(started=pid)
        return pid
    code = 70
    try:
        code = _become(order)
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stderr.flush()
        os._exit(code)


def _become(order: dict[str, Any]) -> int:
    """The child: a daemon as if it had been started alone."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ.update(order["env"])
    random.seed()
    from tests.faults import inside

    if order["listen"]:
        inside.hand_over(order["listen"])
    inside.arm(order["points"])
    from gateway.cli import main as command

    return command(order["arguments"])


if __name__ == "__main__":
    main()
