"""Record and replay: the stream of events and the answers to what was asked, as JSON lines.

A recording is a file of mode 0600: it holds what the person saw, mail included, and never a password. It begins with a
line that names the format, then each line has ``t`` (seconds since the start) and one of ``me``, ``snapshot``,
``batch``, or ``call`` with its ``params`` and ``result`` or ``error``. A replay is read-only: calls are answered from
the recording, with the answer that was last given to the same question by then, or else the first one later on.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

from gateway.client import CallFailed
from gateway.control import (
    BadValue,
    Batch,
    Call,
    Code,
    Me,
    Snapshot,
    changes,
    decode,
    encode,
    method_of,
    reply_type,
)
from tui.clean import clean

if TYPE_CHECKING:
    from tui.link import Listener

R = TypeVar("R")
FORMAT = "postroom recording 1"
_SECRETS = ("password",)


class Recorder:
    """Writes what is heard and answered; a full disk ends the recording, not the session."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._file: IO[str] | None = os.fdopen(descriptor, "w", encoding="utf-8")
        self.trouble = ""
        """Why the recording has ended before the session."""
        self._clock, self._start = clock, clock()
        self._write({"format": FORMAT, "at": time.time()})

    def me(self, me: Me) -> None:
        """Who we are."""
        self._line("me", encode(me))

    def news(self, news: Snapshot | Batch) -> None:
        """The daemon told something."""
        self._line("snapshot" if isinstance(news, Snapshot) else "batch", encode(news))

    def answered(self, call: Call[Any], answer: Any) -> None:
        """A question was answered."""
        if not changes(type(call)):
            self._line("call", method_of(call), params=_params(call), result=encode(answer))

    def failed(self, call: Call[Any], error: CallFailed) -> None:
        """A question was refused."""
        if not changes(type(call)):
            said = {"code": int(error.code), "message": str(error)}
            self._line("call", method_of(call), params=_params(call), error=said)

    def close(self) -> None:
        """The end."""
        if self._file:
            self._file.close()
            self._file = None

    def _line(self, kind: str, value: Any, **more: Any) -> None:
        self._write({"t": round(self._clock() - self._start, 3), kind: value, **more})

    def _write(self, made: dict[str, Any]) -> None:
        if self._file is None:
            return
        try:
            self._file.write(json.dumps(made, ensure_ascii=True, separators=(",", ":")) + "\n")
            self._file.flush()
        except OSError as error:
            self._file, self.trouble = None, error.strerror or str(error)


class BadRecording(Exception):
    """This file is no recording; the text says why."""


class ReplayLink:
    """A recording instead of a daemon."""

    def __init__(self, path: Path, *, speed: float = 1.0) -> None:
        self.where = str(path)
        self.at, self.lines = _read(path)
        self._speed = speed
        self._now = 0.0 if speed else float("inf")
        self._answers: dict[tuple[str, str], list[dict[str, Any]]] = {}
        """By method and parameters, the oldest first."""
        for made in self.lines:
            if "call" in made:
                self._answers.setdefault((made["call"], _key(made["params"])), []).append(made)

    async def run(self, listener: Listener) -> None:
        """Tell what was told, when it was told; ``speed`` 0 is at once."""
        begun = 0.0
        for made in self.lines:
            if self._speed and made["t"] > begun:
                await asyncio.sleep((made["t"] - begun) / self._speed)
                self._now = begun = made["t"]
            try:
                self._tell(made, listener)
            except BadValue as fault:
                listener.parted(f"{self.where} was recorded by another version ({fault})", 0.0)
                return
        if self._speed:
            listener.parted("this is the end of the recording", 0.0)
        await asyncio.Event().wait()

    def _tell(self, made: dict[str, Any], listener: Listener) -> None:
        if "me" in made:
            me = decode(Me, made["me"])
            listener.joined(clean(me))
        elif "snapshot" in made:
            listener.heard(clean(decode(Snapshot, made["snapshot"])))
        elif "batch" in made:
            listener.heard(clean(decode(Batch, made["batch"])))

    def hurry(self) -> None:
        """There is nothing to hurry."""

    async def call(self, call: Call[R]) -> R:
        """The answer of the recording."""
        return clean(await self.raw(call))

    async def raw(self, call: Call[R]) -> R:
        """The answer of the recording."""
        if changes(type(call)):
            raise CallFailed(Code.NOT_PERMITTED, "this is a recording: nothing can be changed in it")
        known = self._answers.get((method_of(call), _key(_params(call))), [])
        if not known:
            raise CallFailed(Code.REFUSED, "the recording does not hold this: nobody looked at it then")
        made = next((each for each in reversed(known) if each["t"] <= self._now), known[0])
        if "error" in made:
            raise CallFailed(made["error"]["code"], made["error"]["message"])
        try:
            answer: R = decode(reply_type(type(call)), made["result"])
        except BadValue as fault:
            raise CallFailed(Code.REFUSED, f"this was recorded by another version ({fault})") from None
        return answer


def _params(call: Call[Any]) -> dict[str, Any]:
    return {name: value for name, value in encode(call).items() if name not in _SECRETS}


def _key(params: dict[str, Any]) -> str:
    # How far a list had been read, and how big its windows were, depends on the terminal: not part of the question.
    return json.dumps({name: value for name, value in params.items() if name != "limit"}, sort_keys=True)


def _read(path: Path) -> tuple[float, list[dict[str, Any]]]:
    """The time at which a recording begins, and its lines; a torn last line is left out."""
    lines: list[dict[str, Any]] = []
    try:
        with open(path, encoding="utf-8") as file:
            for number, raw in enumerate(file, 1):
                try:
                    made = json.loads(raw)
                except (ValueError, RecursionError):
                    if raw.endswith("\n"):
                        raise BadRecording(f"{path}:{number} is not JSON") from None
                    break
                if not _is_line(made, first=number == 1):
                    raise BadRecording(f"{path}:{number} is no line of a recording")
                lines.append(made)
    except OSError as error:
        raise BadRecording(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BadRecording(f"{path} is not a recording: it is not UTF-8") from None
    if not lines or lines[0].get("format") != FORMAT:
        raise BadRecording(f"{path} is not a recording of this version: its first line does not say {FORMAT!r}")
    return float(lines[0].get("at", 0.0)), lines[1:]


def _is_line(made: Any, *, first: bool) -> bool:
    """Whether it has all that a replay relies on; what it holds is for the codec to judge."""
    if not isinstance(made, dict):
        return False
    if first:
        return isinstance(made.get("at", 0.0), (int, float))
    if not isinstance(made.get("t"), (int, float)):
        return False
    error = made.get("error", {"code": 0, "message": ""})
    whole = isinstance(error, dict) and isinstance(error.get("code"), int) and isinstance(error.get("message"), str)
    asked = isinstance(made.get("call"), str) and isinstance(made.get("params"), dict)
    return "call" not in made or (asked and whole and ("error" in made or "result" in made))
