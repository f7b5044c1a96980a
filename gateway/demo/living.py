"""The demo after its story: it lives on, so that somebody can watch it, and its provider dies again and again.

Mail goes on arriving and going out. After a while the provider dies in the middle of a mail, stays away for some
seconds while mail piles up on both sides, and comes back. Nothing here checks anything: what is seen is the daemon's.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Callable, Iterator

from gateway.demo import corpus
from gateway.demo.corpus import Submission
from gateway.demo.press import Item
from gateway.demo.provider import Provider

MAIL_SECONDS = 1.5
"""Between two mails that arrive."""
FIRST_UP_SECONDS, UP_SECONDS, DOWN_SECONDS = 8.0, 75.0, 10.0
"""How long the provider lives before it dies for the first time, and afterwards (longer than a connection must hold to
count as stable, or the daemon would try ever more seldom); and how long it stays away."""
_RELAY_EVERY = 3
"""One mail goes out for so many that come in."""

Submit = Callable[[Submission], object]
"""Hands a mail to the relay; blocks."""


async def live(provider: Provider, submit: Submit) -> None:
    """Go on until cancelled."""
    await asyncio.gather(_mail(provider, submit), _outages(provider))


async def _mail(provider: Provider, submit: Submit) -> None:
    going = _submissions()
    for number, item in enumerate(_items(), 1):
        await asyncio.sleep(MAIL_SECONDS)
        provider.deliver(item.to, item.content, item.folder)
        if number % _RELAY_EVERY == 0:
            with contextlib.suppress(Exception):  # a relay that says no is a thing to be watched, not an end
                await asyncio.to_thread(submit, next(going))


async def _outages(provider: Provider) -> None:
    up = FIRST_UP_SECONDS
    while True:
        await asyncio.sleep(up)
        provider.kill()
        await asyncio.sleep(DOWN_SECONDS)
        await provider.resume()
        up = UP_SECONDS


def _items() -> Iterator[Item]:
    """The corpus again and again, each time as new mail."""
    while True:
        yield from corpus.mails(time.time())


def _submissions() -> Iterator[Submission]:
    for number in itertools.count(1):
        yield from corpus.submissions(time.time() + number)  # a second on, so that no Message-ID comes twice
