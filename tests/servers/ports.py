"""Free ports for servers that must be told theirs, from below the range that the kernel uses for connections."""

from __future__ import annotations

import random
import socket

_LOW, _HIGH = 12_000, 32_000
_CHANCE = random.SystemRandom()


def free_ports(count: int) -> list[int]:
    """Ports on loopback that nothing listens on now; chosen at random, since other test processes choose too."""
    found: list[int] = []
    while len(found) < count:
        port = _CHANCE.randrange(_LOW, _HIGH)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in found:
            found.append(port)
    return found
