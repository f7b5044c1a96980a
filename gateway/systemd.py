"""Talking to systemd, or to whoever speaks its protocol: ready, status, watchdog, and the sockets we inherit.

``Notifier`` sends datagrams to the socket that NOTIFY_SOCKET names (sd_notify(3)); without one every call does nothing
and answers False, so the daemon says the same things everywhere. It never raises and never holds the loop up: a
datagram that finds no room is dropped, except READY and STOPPING, which wait up to a second.

``inherited_sockets`` reads LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES (sd_listen_fds(3)). Both take their variables out
of the environment, so that no child believes they were meant for it.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import MutableMapping

from pipeline.errors import Refused

FIRST_FD = 3
"""SD_LISTEN_FDS_START."""
_STATUS_LIMIT = 400


class Notifier:
    """Tells the service manager how we are."""

    def __init__(self, environ: MutableMapping[str, str] = os.environ) -> None:
        self._address = _address(environ.pop("NOTIFY_SOCKET", ""))
        self.watchdog_seconds = _watchdog_seconds(environ)
        """After how long without ``watchdog`` we are restarted; None: nobody watches. Ping at half of it."""

    def ready(self, status: str = "") -> bool:
        """We serve; start-up is over."""
        return self._send("READY=1" + (f"\nSTATUS={_one_line(status)}" if status else ""), wait=1.0)

    def status(self, text: str) -> bool:
        """One line for `systemctl status`, such as "12 touchpoints, 1 lost"."""
        return self._send(f"STATUS={_one_line(text)}")

    def watchdog(self) -> bool:
        """We are well; send it only after a self-check."""
        return self._send("WATCHDOG=1")

    def reloading(self) -> bool:
        """We read our settings again; ``ready`` ends it."""
        # systemd 253 and later time out when the moment is missing.
        return self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}", wait=1.0)

    def stopping(self) -> bool:
        """We finish what is in hand."""
        return self._send("STOPPING=1", wait=1.0)

    def extend(self, seconds: float) -> bool:
        """Starting or stopping takes this long from now; asked again as long as there is progress."""
        return self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1_000_000)}")

    def _send(self, message: str, wait: float = 0.0) -> bool:
        if not self._address:
            return False
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
                channel.settimeout(wait)
                channel.sendto(message.encode(errors="replace"), self._address)
        except OSError:
            return False
        return True


def _address(name: str) -> str:
    """The address to send to: a path, or a name in the abstract namespace, which is written with a leading ``@``."""
    if name.startswith("@"):
        return "\0" + name[1:]
    return name if name.startswith("/") else ""


def _watchdog_seconds(environ: MutableMapping[str, str]) -> float | None:
    usec, pid = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
    if not usec.isdecimal() or int(usec) == 0 or (pid and pid != str(os.getpid())):
        return None
    return int(usec) / 1_000_000


def _one_line(text: str) -> str:
    """Text that cannot begin another field: a line break would."""
    return "".join(char if char.isprintable() else " " for char in text[:_STATUS_LIMIT])


def inherited_sockets(
    environ: MutableMapping[str, str] = os.environ, first: int = FIRST_FD
) -> dict[str, list[socket.socket]]:
    """The listening sockets that were opened for us, by FileDescriptorName; empty when there are none.

    One name may carry several sockets (IPv4 and IPv6). Raises Refused for a descriptor that is no listening stream.
    """
    pid, count = environ.pop("LISTEN_PID", ""), environ.pop("LISTEN_FDS", "")
    names = environ.pop("LISTEN_FDNAMES", "").split(":")
    if pid != str(os.getpid()) or not count.isdecimal():
        return {}
    found: dict[str, list[socket.socket]] = {}
    for offset in range(int(count)):
        name = names[offset] if offset < len(names) and names[offset] else "unknown"
        found.setdefault(name, []).append(_listening(first + offset, name))
    return found


def _listening(descriptor: int, name: str) -> socket.socket:
    try:
        os.set_inheritable(descriptor, False)
        listener = socket.socket(fileno=descriptor)
        accepts = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise Refused(f"descriptor {descriptor} ({name}) from the service manager is no socket: {error}") from error
    if listener.type != socket.SOCK_STREAM or not accepts:
        listener.detach()
        raise Refused(f"descriptor {descriptor} ({name}) from the service manager is no listening stream socket")
    listener.setblocking(False)
    return listener
