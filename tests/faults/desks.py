"""The touchpoints of a house, its settings, and how an admin furnishes it through the control socket."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from gateway.client import CallFailed
from gateway.control import (
    ActivateTouchpoint,
    AddRelayUser,
    ConnectTouchpoint,
    CreateRingGroup,
    CreateTouchpoint,
    GetStatus,
    LinkRingGroup,
    SetConnection,
    SetTemplate,
)
from tests.daemon import Daemon
from tests.servers.embedded import Embedded

WATCHED = ("INBOX", "Junk")
RING_GROUP = "Desk"
RELAY_USER, RELAY_NOTIFY = "helpdesk", "helpdesk@far.example"


@dataclass(frozen=True)
class Desk:
    """One touchpoint of the house, and how its provider is."""

    address: str
    sent: str = "provider"
    """Who files Sent copies: provider, append (we do), none (nobody: a send's outcome may stay unknown)."""
    mark: str = ""
    """"", seen, or move:FOLDER."""
    auto_reply: bool = False
    signature: bool = False


DESKS = (
    Desk("support@house.example", auto_reply=True),
    Desk("sales@house.example", mark="seen", signature=True),
    Desk("jobs@house.example", sent="append", mark="move:Taken"),
    Desk("desk@house.example", sent="none"),
    Desk("post@house.example", auto_reply=True, mark="seen"),
)

SETTINGS = """
[[relay.listener]]
name = "relay"
host = "127.0.0.1"
port = {port}
mode = "plain"

[[relay.network]]
cidr = "127.0.0.0/8"
user = "{user}"

[intake]
page_mails = 20
sweep_seconds = 2.0

[retry]
first = 1.0
longest = 4.0
"""
"""The settings of a house; ``longest`` is short, so that it comes to rest."""


@dataclass(frozen=True)
class Admin:
    """Furnishes a house; every step may be repeated, since the daemon may die between its act and its answer."""

    daemon: Daemon
    server: Embedded
    passwords: Mapping[str, str]
    """By address."""
    relay_secret: str

    def furnish(self, desks: Sequence[Desk]) -> None:
        """Everything that is not there yet. Raises Unreachable when the daemon dies meanwhile."""
        there = {row.address: row for row in self.daemon.call(GetStatus()).touchpoints}
        self._once(CreateRingGroup(name=RING_GROUP))
        for desk in desks:
            row = there.get(desk.address)
            if row is None:
                self.daemon.call(CreateTouchpoint(address=desk.address, name=desk.address.partition("@")[0].title()))
            if row is None or not row.active:
                self._open(desk)
        grants = tuple(desk.address for desk in desks)
        self._once(AddRelayUser(name=RELAY_USER, password=self.relay_secret, notify=RELAY_NOTIFY, grants=grants))

    def _open(self, desk: Desk) -> None:
        call = self.daemon.call
        self._once(LinkRingGroup(touchpoint=desk.address, ring_group=RING_GROUP))
        if desk.auto_reply:
            text = "Thank you for your mail. Somebody will answer it within a day.\n"
            call(SetTemplate(touchpoint=desk.address, kind="auto_reply", active=True, text=text))
        if desk.signature:
            call(SetTemplate(touchpoint=desk.address, kind="signature", active=True, text="The desk"))
        call(
            SetConnection(
                touchpoint=desk.address, preset="custom", user=desk.address,
                imap=f"127.0.0.1:{self.server.imap_port}:none", smtp=f"127.0.0.1:{self.server.smtp_port}:none",
                null_sender=True, sent_copy=desk.sent, mark=desk.mark,
            )
        )  # fmt: skip
        call(ConnectTouchpoint(touchpoint=desk.address, password=self.passwords[desk.address]))
        call(ActivateTouchpoint(touchpoint=desk.address))

    def _once(self, call: Any) -> None:
        """A call that may have been answered by a daemon which died since."""
        with suppress(CallFailed):
            self.daemon.call(call)
