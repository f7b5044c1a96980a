"""What the daemon told us last: the status, all touchpoints, and the feed of what happens. No screen, no sockets.

``take`` is fed with what the link reads. Each kind of thing has a number that grows when it changes, so that a screen
knows whether it has something to draw.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gateway.control import Batch, Event, MailRow, Me, NeedRow, Snapshot, TouchpointRow

FEED = 1_000
"""Events that are kept."""
MOST_MAIL = 2_000
"""Mails whose last row is kept."""


@dataclass(frozen=True, slots=True)
class Happened:
    """An event, and when we heard of it."""

    at: float
    event: Event


class Picture:
    """The house as last told."""

    def __init__(self) -> None:
        self.me: Me | None = None
        self.connected = False
        self.trouble = ""
        """Why there is no connection."""
        self.retry_at = 0.0
        self.told_at = 0.0
        """When the daemon last said anything, by our clock."""
        self.hostname = ""
        self.version = ""
        self.started_at = 0.0
        self.account: Mapping[str, int] = {}
        self.needs: tuple[NeedRow, ...] = ()
        self.touchpoints: dict[int, TouchpointRow] = {}
        self.touchpoint_count = 0
        self._doubtful: set[int] = set()
        """Touchpoints from before the last snapshot that nothing was told of since: they may be gone by now."""
        self.feed: deque[Happened] = deque(maxlen=FEED)
        self.left_out = 0
        """Events that the daemon was too busy to tell."""
        self.all_changes = 0
        self.touchpoint_changes = 0
        self.mail_changes = 0
        self.feed_changes = 0
        self.gaps = 0
        """How often something happened that was not told row by row: what is known of mail may be old."""
        self.changed_mail: dict[int, MailRow] = {}
        """The last row of each mail that was told of lately; at most MOST_MAIL."""

    @property
    def whole(self) -> bool:
        """Whether all touchpoints are known as they are now, and not only those in trouble."""
        return len(self.touchpoints) >= self.touchpoint_count and not self._doubtful

    def take(self, news: Snapshot | Batch, now: float) -> None:
        """The next thing that was told."""
        self.told_at = now
        self.all_changes += 1
        if isinstance(news, Snapshot):
            self._snapshot(news)
        else:
            self._batch(news, now)

    def _snapshot(self, news: Snapshot) -> None:
        status = news.status
        self.hostname, self.version, self.started_at = status.hostname, status.version, status.started_at
        self.account, self.needs = status.account, status.needs_you
        known = {row.id: row for row in status.touchpoints}
        self._doubtful.clear()
        if len(known) < status.touchpoint_count:  # the rest stays as it was, until it is read anew
            self._doubtful = self.touchpoints.keys() - known.keys()
            known = {**self.touchpoints, **known}
        self.touchpoints, self.touchpoint_count = known, status.touchpoint_count
        self.touchpoint_changes += 1
        self.mail_changes += 1
        self.gaps += 1

    def _batch(self, news: Batch, now: float) -> None:
        if news.account is not None:
            self.account = news.account
        if news.needs_you is not None:
            self.needs = news.needs_you
        self.left_out += news.left_out
        if news.left_out:
            self.mail_changes += 1
            self.gaps += 1
        for event in news.events:
            self._event(event, now)

    def _event(self, event: Event, now: float) -> None:
        self.feed.append(Happened(now, event))
        self.feed_changes += 1
        if event.touchpoint is not None:
            if event.touchpoint.id not in self.touchpoints:
                self.touchpoint_count += event.what == "touchpoint.created"
            self.touchpoints[event.touchpoint.id] = event.touchpoint
            self._doubtful.discard(event.touchpoint.id)
            self.touchpoint_changes += 1
        elif event.gone:
            self.touchpoint_count -= self.touchpoints.pop(event.gone, None) is not None
            self._doubtful.discard(event.gone)
            self.touchpoint_changes += 1
        if event.mail is not None:
            self.mail_changes += 1
            self.changed_mail.pop(event.mail.id, None)
            self.changed_mail[event.mail.id] = event.mail
            if len(self.changed_mail) > MOST_MAIL:
                del self.changed_mail[next(iter(self.changed_mail))]

    def put_touchpoints(self, rows: Iterable[TouchpointRow]) -> None:
        """Rows that were asked for, beside what was told."""
        for row in rows:
            self.touchpoints[row.id] = row
            self._doubtful.discard(row.id)
        self.touchpoint_count = max(self.touchpoint_count, len(self.touchpoints))
        self.touchpoint_changes += 1
        self.all_changes += 1

    def all_read(self) -> None:
        """All that there are were asked for: what did not come is gone."""
        for number in self._doubtful:
            self.touchpoints.pop(number, None)
        self._doubtful.clear()
        self.touchpoint_count = len(self.touchpoints)
        self.touchpoint_changes += 1
        self.all_changes += 1

    def states(self) -> dict[str, int]:
        """How many touchpoints are in which state; inactive ones are ``off``."""
        counts: dict[str, int] = {}
        for row in self.touchpoints.values():
            name = row.state if row.state == "lost" or row.active else "off"
            counts[name] = counts.get(name, 0) + 1
        return counts

    def difference(self) -> int | None:
        """What the account does not explain: 0, or something is wrong; None before it was told."""
        at = self.account
        came = ("queued", "stopped", "held_in", "waiting_in", "dropped_in")
        out = ("delivered", "waiting_out", "parked", "unknown", "held_out", "failed", "dropped_out")
        if not at.keys() >= {"taken", "accepted", *came, *out}:
            return None  # not told yet, or told in the words of another version
        left = (at["taken"] - sum(at[name] for name in came), at["accepted"] - sum(at[name] for name in out))
        return sum(map(abs, left))
