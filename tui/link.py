"""The line to the daemon: connects, says who we are, listens, and connects again; and makes calls.

All that is read passes the gate (clean.py). A lost connection is tried again after 1 s, then slower, at most every
30 s, with jitter, so that a hundred screens do not meet a restarted daemon in the same second. After each connection
a fresh snapshot comes first; nothing is repaired.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from gateway.client import CallFailed, Client, NotAllowed, OtherVersion, Unreachable, connected
from gateway.control import Batch, Call, Code, Me, Snapshot
from tui.clean import clean
from tui.record import Recorder

R = TypeVar("R")
SHORTEST, LONGEST = 1.0, 30.0
PATIENCE = 10.0
"""Seconds within which a daemon says who it takes us for; one that hangs is not waited for without a word."""


class Listener(Protocol):
    """Who hears what the link reads."""

    def heard(self, news: Snapshot | Batch) -> None:
        """The daemon told something."""
        ...

    def joined(self, me: Me) -> None:
        """There is a connection."""
        ...

    def parted(self, why: str, retry_in: float) -> None:
        """There is none, for this reason; it is tried again."""
        ...

    def ended(self, words: str) -> None:
        """It was a recording, and this is all of it."""
        ...


class Link(Protocol):
    """The daemon, or a recording of one."""

    where: str
    """The socket or file, for people."""

    async def run(self, listener: Listener) -> None:
        """Serve until cancelled."""
        ...

    async def call(self, call: Call[R]) -> R:
        """Make a call; raises CallFailed and Unreachable."""
        ...

    async def raw(self, call: Call[R]) -> R:
        """Make a call whose answer is not shown but worked on: bytes, and texts that are edited."""
        ...

    def hurry(self) -> None:
        """Try to connect now."""
        ...


class DaemonLink:
    """The daemon at a socket."""

    def __init__(self, path: Path, recorder: Recorder | None = None) -> None:
        self.where = str(path)
        self.denied = False
        """There is no connection because this person may not have one."""
        self._path = path
        self._recorder = recorder
        self._client: Client | None = None
        self._hurry = asyncio.Event()

    async def run(self, listener: Listener, chance: Callable[[], float] = random.random) -> None:
        """Connect, listen, and again."""
        pause = SHORTEST
        while True:
            try:
                async with connected(self._path) as client:
                    me = clean(await self._hello(client))
                    self._client = client
                    if self._recorder:
                        self._recorder.me(me)
                    listener.joined(me)
                    pause = SHORTEST
                    async for news in client.watch():
                        if self._recorder:
                            self._recorder.news(news)
                        listener.heard(clean(news))
            except (Unreachable, CallFailed, OSError) as error:
                why = str(error)
                refused = isinstance(error, CallFailed) and error.code == Code.NOT_PERMITTED
                self.denied = refused or isinstance(error, NotAllowed)
                if self.denied or isinstance(error, OtherVersion):
                    pause = LONGEST
            finally:
                self._client = None
            wait = pause * (0.75 + chance() / 2)
            listener.parted(why, wait)
            self._hurry.clear()
            try:
                async with asyncio.timeout(wait):
                    await self._hurry.wait()
            except TimeoutError:
                pass
            pause = min(pause * 2, LONGEST)

    async def _hello(self, client: Client) -> Me:
        try:
            async with asyncio.timeout(PATIENCE):
                return await client.hello(via())
        except TimeoutError:
            raise Unreachable(f"what listens at {self.where} does not answer") from None

    def hurry(self) -> None:
        """Try to connect now."""
        self._hurry.set()

    async def call(self, call: Call[R]) -> R:
        """Make a call."""
        return clean(await self.raw(call))

    async def raw(self, call: Call[R]) -> R:
        """Make a call, and pass its answer on as it is."""
        if self._client is None:
            raise Unreachable("there is no connection to the daemon now")
        try:
            answer = await self._client.call(call)
        except CallFailed as error:
            if self._recorder:
                self._recorder.failed(call, error)
            raise CallFailed(error.code, clean(str(error))) from None
        if self._recorder:
            self._recorder.answered(call, answer)
        return answer


def via() -> str:
    """Whence this person comes, as their shell says it: for the audit, as a claim."""
    client = os.environ.get("SSH_CONNECTION", "").split(" ")[0]
    return f"ssh {client[:64]}" if client else ""


def words(error: Exception) -> str:
    """A failed call as one sentence."""
    text = str(error) or type(error).__name__
    if isinstance(error, CallFailed) and error.code == Code.NO_METHOD:
        return f"{text}: the daemon is older than this terminal UI; restart it with the installed version"
    return text


def result_of(answer: Any) -> str:
    """What an answer says in words, if it does."""
    return str(getattr(answer, "words", "") or "")
