"""Record and replay: the stream of events and the answers to what was asked, as JSON lines.

A recording is a file of mode 0600: it holds what the person saw, mail included, and never a password. It begins with a
line that names the format, then each line has ``t`` (seconds since the start) and one of ``me``, ``snapshot``,
``batch``, or ``call`` with its ``params`` and ``result`` or ``error``. A replay is read-only: calls are answered from
the recording, with the answer that was last given to the same question by then, or else the first one later on. Its
wall clock is the recording's, and stands still at the end; questions are answered on.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable
from dataclasses import fields
from itertools import islice
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
_FAMILY = "postroom recording "
FORMAT = f"{_FAMILY}1"
_HEAD = 200
"""Characters within which the first line ends: a film is not read to its end to see that it is none of ours."""
_LAST_DAY = 253_402_300_799.0
_LONGEST = 1e8
"""The year 9999 and three years of recording: what is beyond is no time that a clock could show."""


class Recorder:
    """Writes what is heard and answered; a full disk ends the recording, not the session."""

    def __init__(
        self, path: Path, clock: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time
    ) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._file: IO[str] | None = os.fdopen(descriptor, "w", encoding="utf-8")
        self.trouble = ""
        """Why the recording has ended before the session."""
        self._clock, self._start = clock, clock()
        self._write({"format": FORMAT, "at": wall()})

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

    FIXED = "this is a recording; nothing can be changed"

    def __init__(self, path: Path, *, speed: float = 1.0, clock: Callable[[], float] = time.monotonic) -> None:
        self.where = str(path)
        self.at, self.lines, self._torn = _read(path)
        self.length = max((made["t"] for made in self.lines), default=0.0)
        """Seconds that it lasts."""
        self.over = False
        """Whether all of it was told."""
        self._speed = speed
        self._clock, self._start = clock, clock()
        self._told = 0.0
        self._answers: dict[tuple[str, str], list[dict[str, Any]]] = {}
        """By method and parameters, the oldest first."""
        for made in self.lines:
            if "call" in made:
                self._answers.setdefault((made["call"], _key(made["params"])), []).append(made)

    def position(self, now: float | None = None) -> float:
        """How many seconds of it are over, now or at that moment of the clock; ``speed`` 0 is all at once."""
        if not self._speed:
            return self.length
        passed = ((self._clock() if now is None else now) - self._start) * self._speed
        return min(max(passed, self._told if now is None else 0.0), self.length)

    def wall(self, now: float | None = None) -> float:
        """The wall clock of those who recorded it."""
        return self.at + self.position(now)

    @property
    def how_far(self) -> str:
        """How far it is, for people."""
        if self.over:
            return f"ended at {_minutes(self.length)}"
        return f"{_minutes(self.position())} of {_minutes(self.length)}"

    async def run(self, listener: Listener) -> None:
        """Tell what was told, when it was told."""
        self._start = self._clock()
        words = "this is the end of the recording" + (", which was cut off there" if self._torn else "")
        if not any("snapshot" in made for made in self.lines):
            words = "this recording is empty: no daemon answered while it was made"
        for made in self.lines:
            if self._speed and (ahead := made["t"] - self.position()) > 0:
                await asyncio.sleep(ahead / self._speed)
            try:
                self._tell(made, listener)
            except BadValue as fault:
                words = f"the recording ends here for us: another version made it ({_words(fault)})"
                self.length = self._told
                break
            self._told = max(self._told, made["t"])
        self.over = True
        if self._speed:
            listener.ended(words)
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
            raise CallFailed(Code.NOT_PERMITTED, self.FIXED)
        known = self._answers.get((method_of(call), _key(_params(call))), [])
        if not known:
            raise CallFailed(Code.REFUSED, "the recording does not hold this: nobody looked at it then")
        now = self.position()
        made = next((each for each in reversed(known) if each["t"] <= now), known[0])
        if "error" in made:
            raise CallFailed(made["error"]["code"], clean(made["error"]["message"]))
        try:
            answer: R = decode(reply_type(type(call)), made["result"])
        except BadValue as fault:
            raise CallFailed(Code.REFUSED, f"this was recorded by another version ({_words(fault)})") from None
        return answer


def _params(call: Any) -> dict[str, Any]:
    """What was asked, without what no ``repr`` shows either: passwords."""
    return {each.name: encode(getattr(call, each.name)) for each in fields(call) if each.repr}


def _words(fault: BadValue) -> str:
    return clean(str(fault).removeprefix("params: "))  # what the codec calls the whole


def _key(params: dict[str, Any]) -> str:
    # How far a list had been read, and how big its windows were, depends on the terminal: not part of the question.
    return json.dumps({name: value for name, value in params.items() if name != "limit"}, sort_keys=True)


def _minutes(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"


def _read(path: Path) -> tuple[float, list[dict[str, Any]], bool]:
    """The time at which a recording begins, its lines, and whether it was cut off: a torn last line is left out."""
    lines: list[dict[str, Any]] = []
    torn = False
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            at = _begin(path, file.readline(_HEAD))
            for number, raw in enumerate(file, 2):
                try:
                    made = json.loads(raw)
                except (ValueError, RecursionError):
                    if torn := not raw.endswith("\n"):
                        break
                    raise BadRecording(f"{path} is damaged: its line {number} is not JSON") from None
                if not _is_line(made):
                    raise BadRecording(f"{path} is damaged: its line {number} is no line of a recording")
                lines.append(made)
    except OSError as error:
        raise BadRecording(f"{path} cannot be read: {error.strerror}") from None
    _check_version(path, lines)
    return at, lines, torn


def _begin(path: Path, raw: str) -> float:
    """When it was begun, by its first line."""
    try:
        made = json.loads(raw)
    except (ValueError, RecursionError):
        made = None
    said = made.get("format") if isinstance(made, dict) else None
    if isinstance(said, str) and said.startswith(_FAMILY) and said != FORMAT:
        raise BadRecording(f"{path} was recorded by another version: it is a {clean(said)!r}, not a {FORMAT!r}")
    if said != FORMAT or not _is_time(made.get("at"), _LAST_DAY):
        raise BadRecording(f"{path} is not a recording: its first line does not say {FORMAT!r} and when it was made")
    return float(made["at"])


def _check_version(path: Path, lines: list[dict[str, Any]]) -> None:
    """Whether we understand how it begins; the rest is read when its time comes."""
    kinds: tuple[tuple[str, Any], ...] = (("me", Me), ("snapshot", Snapshot))
    for name, kind in kinds:
        try:
            for first in islice((made for made in lines if name in made), 1):
                decode(kind, first[name])
        except BadValue as fault:
            raise BadRecording(f"{path} was recorded by another version ({_words(fault)})") from None


def _is_time(value: Any, most: float) -> bool:
    """Whether it is a number of seconds; not one of JSON's ``NaN`` and ``Infinity``."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= most


def _is_line(made: Any) -> bool:
    """Whether it has all that a replay relies on; what it holds is for the codec to judge."""
    if not isinstance(made, dict) or not _is_time(made.get("t"), _LONGEST):
        return False
    error = made.get("error", {"code": 0, "message": ""})
    whole = isinstance(error, dict) and isinstance(error.get("code"), int) and isinstance(error.get("message"), str)
    asked = isinstance(made.get("call"), str) and isinstance(made.get("params"), dict)
    return "call" not in made or (asked and whole and ("error" in made or "result" in made))
