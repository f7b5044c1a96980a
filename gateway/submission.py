"""What passes between the relay and the rest of Postroom, and what the settings tell the relay: values, one protocol.

``gateway/relay.py`` speaks SMTP and knows nothing of touchpoints, lines or stores; whoever implements ``Accepting``
knows nothing of SMTP but the ``Reply`` it gives.
"""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from gateway.connectors import ContentWriter
from gateway.settings import Listener, Relay
from gateway.smtp_grammar import Reply
from pipeline.errors import Refused
from pipeline.mail import Envelope, RelayUser
from pipeline.store.content import Written


class Mode(StrEnum):
    """What a listener is for."""

    SUBMISSION = "submission"
    """Port 587: STARTTLS, then AUTH (RFC 6409)."""
    SUBMISSIONS = "submissions"
    """Port 465: TLS from the first byte, then AUTH (RFC 8314 section 3.3)."""
    LOOPBACK = "loopback"
    """AUTH in clear, on a loopback address only: what never leaves the host needs no TLS."""
    PLAIN = "plain"
    """Neither; listed networks only."""


@dataclass(frozen=True, kw_only=True)
class ListenerSettings:
    """One address to listen on, or one socket that is open already."""

    name: str
    mode: Mode
    host: str = "127.0.0.1"
    port: int = 0
    ssl_context: ssl.SSLContext | None = None
    sock: socket.socket | None = None
    """Inherited from systemd; then ``host`` and ``port`` are not used."""


@dataclass(frozen=True, kw_only=True)
class RelayLimits:
    """How much of anything a client may use; times in seconds, sizes in octets."""

    size: int = 100 * 1024 * 1024
    recipients: int = 100
    connections: int = 1000
    per_client: int = 50
    per_user_in_data: int = 4
    """Contents at once from one signed-in user."""
    in_hand: int = 64 * 1024 * 1024
    """Content of all sessions in memory; above it no new content is begun."""
    soft_errors: int = 10
    """From so many errors on, each costs the client ``error_delay``."""
    hard_errors: int = 20
    error_delay: float = 1.0
    junk_commands: int = 100
    """Commands that bring nothing forward, between two accepted mails."""
    sign_in_failures: int = 3
    idle: float = 300.0
    idle_when_full: float = 10.0
    """Instead of ``idle`` when four fifths of ``connections`` are open."""
    handshake: float = 30.0
    min_rate: float = 500.0
    """Octets a second of content, on the average once ``slow_grace`` is over."""
    slow_grace: float = 60.0
    data_base: float = 600.0
    """A whole content may take this and its size at ``min_rate``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Submission:
    """One mail as a client handed it in: whole in ``data``, or in the store as ``written``."""

    user: RelayUser
    envelope: Envelope
    data: bytes | None
    written: Written | None
    opening: bytes
    size: int
    sha256: bytes
    peer: str
    """The client's address."""
    helo: str
    with_protocol: str
    """For the trace field (RFC 3848): SMTP, ESMTP, ESMTPSA."""


class Accepting(Protocol):
    """What the relay asks of the rest of Postroom."""

    async def sign_in(self, name: str, password: str) -> RelayUser | None:
        """Whose credentials these are; as slow for a name that does not exist."""
        ...

    def user_of_network(self, peer_ip: str) -> RelayUser | None:
        """Whom the settings name for this address on the plain listener."""
        ...

    def content_writer(self) -> ContentWriter:
        """Where a big content goes while it is read."""
        ...

    async def submit(self, submission: Submission) -> Reply:
        """Decide, commit, and say what to answer. Is not cancelled when the client goes away."""
        ...


def relay_limits(relay: Relay) -> RelayLimits:
    """What the settings say about clients of the relay, as the relay takes it."""
    return RelayLimits(
        size=relay.largest_mail,
        recipients=relay.recipients,
        connections=relay.connections,
        per_client=relay.connections_per_client,
        sign_in_failures=relay.auth_failures,
        idle=relay.idle_seconds,
        min_rate=float(relay.slowest_rate),
        data_base=relay.data_seconds,
    )


def relay_listeners(relay: Relay, inherited: dict[str, list[socket.socket]]) -> list[ListenerSettings]:
    """The listeners of the settings; one whose name systemd passes sockets for takes those instead."""
    return [
        ListenerSettings(
            name=each.name,
            mode=Mode.LOOPBACK if each.mode == "submission" and not each.cert else Mode(each.mode),
            host=each.host,
            port=each.port,
            ssl_context=_certificate(each),
            sock=sock,
        )
        for each in relay.listeners
        for sock in (inherited.get(each.name) or (None,))
    ]


def _certificate(listener: Listener) -> ssl.SSLContext | None:
    if not listener.cert:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(listener.cert, listener.key)
    except (OSError, ssl.SSLError) as error:
        raise Refused(f"the certificate of relay listener {listener.name} cannot be read: {error}") from None
    return context
