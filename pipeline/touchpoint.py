"""What an admin decides about a mailbox: the touchpoint and the things linked to it. Values only."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class DirectionType(StrEnum):
    """Who may start a conversation through a touchpoint; replies may go either way."""

    INBOUND = "inbound"
    """Customers start; replies and auto-replies may go out."""
    OUTBOUND = "outbound"
    """We start; replies to that come in, other new mail is held with cause ``direction``."""
    BOTH = "both"


class ResumeChoice(StrEnum):
    """What a person decides about old mail that came up when a folder got new numbers."""

    TAKE = "take"
    """Take it all in, as any mail."""
    LEAVE = "leave"
    """Leave alone what is dated before the last arrival; take the rest."""


class Security(StrEnum):
    """How a connection is protected."""

    TLS = "tls"
    """TLS from the first byte."""
    STARTTLS = "starttls"
    """Clear first, then mandatory STARTTLS."""
    NONE = "none"
    """Clear; to loopback addresses only."""


class SentCopy(StrEnum):
    """Who files a copy of what we send in the mailbox's Sent folder."""

    PROVIDER = "provider"
    """The provider does it by itself; we must not."""
    APPEND = "append"
    """We append it after the provider's acceptance."""
    NONE = "none"


class UnknownPolicy(StrEnum):
    """What becomes of a mail whose outcome stays unknown: it is not found in Sent, or there is no Sent to look in."""

    VERIFY_THEN_RESEND = "verify_then_resend"
    """It is sent again, and may arrive twice."""
    HOLD_FOR_PERSON = "hold_for_person"
    """It is held, and may not have arrived."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Server:
    """Where one half of a connector goes."""

    host: str
    port: int
    security: Security = Security.TLS


@dataclass(frozen=True, kw_only=True, slots=True)
class Connection:
    """How a touchpoint's mailbox is reached; no secrets. A connector may lack either half."""

    connector: str = "imap_smtp"
    preset: str = "custom"
    user: str = ""
    imap: Server | None = None
    smtp: Server | None = None
    ca_file: str = ""
    """PEM file with the authority to trust besides none other; "" means the system's."""
    sent_copy: SentCopy = SentCopy.NONE
    null_sender: bool = True
    """Whether the provider takes MAIL FROM:<> (RFC 3834 section 3.3)."""
    strips_return_path: bool = False
    """Whether delivered mail lacks Return-Path by nature, so that From may stand in for it."""
    junk_folder: str = ""
    """Name of the Junk folder; "" means by its \\Junk attribute (RFC 6154)."""
    mark: str = ""
    """What to do on the server once a mail is stored: "" nothing, "seen", or "move:FOLDER"."""
    unknown_outcome: UnknownPolicy = UnknownPolicy.VERIFY_THEN_RESEND
    """What becomes of a mail whose answer never came."""

    @property
    def has_evidence(self) -> bool:
        """Whether a copy in Sent proves that the provider took a mail: nobody but the provider files such copies."""
        return self.imap is not None and self.sent_copy is SentCopy.PROVIDER


@dataclass(frozen=True, kw_only=True, slots=True)
class AutoReply:
    """The one auto-reply of a touchpoint; sent only while ``active``."""

    active: bool = False
    subject: str = ""
    """"" means ``Auto: `` and the subject that is answered."""
    text: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Signature:
    """The one signature of a touchpoint; injected only while ``active``."""

    active: bool = False
    text: str = ""
    html: str = ""
    """"" means made from ``text``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Touchpoint:
    """One mailbox at a provider, as configured; a frozen snapshot with the version it was taken at."""

    id: int
    address: str
    """As written by the admin; compare with ``normalise``."""
    name: str
    """The friendly name, shown as the author of what we write."""
    version: int = 1
    """Counts each change of anything on this page."""
    direction: DirectionType = DirectionType.BOTH
    active: bool = False
    activated_at: float = 0.0
    """When it was last activated; mail older than that gets no auto-reply."""
    aliases: frozenset[str] = frozenset()
    connection: Connection = field(default_factory=Connection)
    auto_reply: AutoReply = field(default_factory=AutoReply)
    signature: Signature = field(default_factory=Signature)
    signs_relayed: bool = False
    """Whether mail of every relay user gets the signature, not only of those who asked for it."""
    blocklist: frozenset[str] = frozenset()
    """Normalised addresses and ``@domain`` entries."""
    ring_groups: tuple[int, ...] = ()
    mailbox_identity: str = ""
    """What the server says this mailbox is; the auto-reply memory is keyed by it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RingGroup:
    """A group of agents who answer; its queue is the mail waiting for them."""

    id: int
    name: str


def normalise(address: str) -> str:
    """An address in the form in which addresses are compared: trimmed, case folded, domain in A-labels.

    The local part is folded too: RFC 5321 section 2.4 leaves its case to the host, yet no provider we know keeps
    two mailboxes apart by it. Never raises: what cannot be encoded stays as it is.
    """
    local, at, domain = address.strip().casefold().rpartition("@")
    if not at or domain.isascii():
        return local + at + domain
    try:
        return f"{local}@{domain.encode('idna').decode('ascii')}"
    except UnicodeError:
        return local + at + domain


def without_tag(address: str) -> str:
    """A normalised address with its ``+tag`` removed; Gmail's ignored dots too."""
    local, at, domain = normalise(address).rpartition("@")
    local = local.partition("+")[0]
    if domain in ("gmail.com", "googlemail.com"):
        local = local.replace(".", "")
    return local + at + domain


def domain_of(address: str) -> str:
    """The normalised domain of an address, or ""."""
    return normalise(address).rpartition("@")[2]
