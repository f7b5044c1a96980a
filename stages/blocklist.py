"""Holds mail from senders that an admin blocked at this touchpoint. It is kept, never deleted.

An entry is ``someone@example.org``, ``@example.org`` (that domain only) or ``@.example.org`` (that domain and all
below it). It is compared with the author and the envelope sender, with and without a ``+tag``. Where the author
cannot be told for sure, everything in From that looks like an address is compared: doubt is no way around the list.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.mail import Mail
from pipeline.stage import Context
from pipeline.touchpoint import normalise, without_tag
from pipeline.verdict import HoldCause, Verdict, held, passed

_LOOK_INTO = 8192
"""Characters of a From field without a sure author that are searched."""
_MAX_LABELS = 20
_AROUND = re.compile(r"[\s<>(),:;\"\[\]\\]+")


@dataclass(frozen=True, kw_only=True, slots=True)
class BlocklistStage:
    """Hold what comes from a blocked address or domain."""

    async def __call__(self, mail: Mail, context: Context) -> Verdict:
        """Awaits nothing."""
        blocked = context.touchpoint.blocklist
        if not blocked:
            return passed("the blocklist is empty")
        for address in _senders(mail):
            if (entry := _entry(address, blocked)) is not None:
                return held(HoldCause.BLOCKED, f"sender {address} is on the blocklist: {entry}")
        return passed("the sender is not on the blocklist")


def _senders(mail: Mail) -> Iterator[str]:
    """Addresses that the mail comes from, normalised."""
    if mail.envelope.sender:
        yield normalise(mail.envelope.sender)
    if mail.headers.author:
        yield mail.headers.author
        return
    for value in mail.headers.all("from"):
        for word in _AROUND.split(value[:_LOOK_INTO]):
            if "@" in word:
                yield normalise(word)


def _entry(address: str, blocked: frozenset[str]) -> str | None:
    """The entry that names an address, the most exact first."""
    domain = address.rpartition("@")[2]
    labels = domain.split(".")[-_MAX_LABELS:]
    below = (f"@.{'.'.join(labels[at:])}" for at in range(len(labels)))
    forms = (address, without_tag(address), f"@{domain}", *below)
    return next((form for form in forms if form in blocked), None)
