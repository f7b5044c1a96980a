"""Who may connect to the relay and try to sign in, and how often.

Owns two small tables in memory, both bounded: open connections by client, and failed sign-ins by client and by name.
After ten failures in a minute from one client, or five for one name, sign-ins are refused unseen for a minute, and
twice as long each time up to fifteen minutes. A name that does not exist counts like one that does. A client that has
signed in as a user before is not locked out by what others try with that name. Time comes in as an argument.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

FIRST_LOCK, LONGEST_LOCK = 60.0, 900.0
"""Seconds."""
MEMORY = 3600.0
"""Seconds after which earlier lock-outs are forgotten."""


def client_of(address: str) -> str:
    """What counts as one client: an IPv4 address, or an IPv6 /64, which is what one host may choose from."""
    if ":" not in address:
        return address
    head, gap, tail = address.partition("::")
    groups = head.split(":") if head else []
    if gap:
        rest = tail.split(":") if tail else []
        groups += ["0"] * (8 - len(groups) - len(rest)) + rest
    return ":".join(groups[:4])


class Connections:
    """Counts open connections, all and by client."""

    def __init__(self, *, per_client: int, total: int) -> None:
        self._per_client = per_client
        self._total = total
        self._open: dict[str, int] = {}
        self.count = 0

    def enter(self, client: str) -> bool:
        """Whether one more is let in; it counts until ``leave`` either way."""
        self.count += 1
        mine = self._open[client] = self._open.get(client, 0) + 1
        return mine <= self._per_client and self.count <= self._total

    def leave(self, client: str) -> None:
        """A connection is gone."""
        self.count -= 1
        if (left := self._open[client] - 1) > 0:
            self._open[client] = left
        else:
            del self._open[client]


Ticket = tuple[tuple[str, str], ...]
"""Which entries a sign-in counts in; empty when it is refused unseen."""


@dataclass(slots=True)
class _Tries:
    """What is remembered of one client or one name."""

    failures: int = 0
    since: float = 0.0
    under_way: int = 0
    locks: int = 0
    until: float = 0.0


class SignIns:
    """Decides whether a sign-in is looked at."""

    WINDOW = 60.0
    """Seconds in which failures add up."""

    def __init__(self, *, per_client: int = 10, per_name: int = 5, entries: int = 10_000) -> None:
        self._limits = {"client": per_client, "name": per_name}
        self._entries = entries
        self._tries: OrderedDict[tuple[str, str], _Tries] = OrderedDict()
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()

    def begin(self, client: str, name: str, now: float) -> Ticket:
        """A ticket if this sign-in may be verified, which then counts as under way until ``end``; else an empty one."""
        ticket = self._counted(client, name)
        if any(self._locked(key, now) for key in ticket):
            return ()
        for key in ticket:
            self._of(key).under_way += 1
        return ticket

    def end(self, ticket: Ticket, now: float, *, good: bool | None) -> None:
        """It was verified; ``good`` is None when the verification itself failed."""
        for key in ticket:
            tries = self._of(key)
            tries.under_way = max(0, tries.under_way - 1)
            if good is False:
                self._charge(key, tries, now)

    def remember(self, client: str, name: str) -> None:
        """This client has signed in with this name: the name's lock-outs no longer concern it."""
        self._known[(client, name)] = None
        self._known.move_to_end((client, name))
        if len(self._known) > self._entries:
            self._known.popitem(last=False)

    def _counted(self, client: str, name: str) -> Ticket:
        own = ("client", client)
        return (own,) if (client, name) in self._known else (own, ("name", name))

    def _locked(self, key: tuple[str, str], now: float) -> bool:
        tries = self._tries.get(key)
        if tries is None:
            return False
        if now < tries.until:
            return True
        recent = tries.failures if now - tries.since < self.WINDOW else 0
        return recent + tries.under_way >= self._limits[key[0]]

    def _charge(self, key: tuple[str, str], tries: _Tries, now: float) -> None:
        if now - tries.since >= self.WINDOW:
            tries.failures, tries.since = 0, now
        tries.failures += 1
        if tries.failures < self._limits[key[0]]:
            return
        if now - tries.until > MEMORY:
            tries.locks = 0
        tries.until = now + min(FIRST_LOCK * 2**tries.locks, LONGEST_LOCK)
        tries.locks = min(tries.locks + 1, 10)
        tries.failures = 0

    def _of(self, key: tuple[str, str]) -> _Tries:
        tries = self._tries.get(key)
        if tries is None:
            tries = self._tries[key] = _Tries()
            if len(self._tries) > self._entries:
                self._tries.popitem(last=False)
        self._tries.move_to_end(key)
        return tries
