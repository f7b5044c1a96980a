"""What the daemon shows of its things: rows for lists, details for one thing. Values of the wire; no secrets, ever.

Times are seconds since the epoch, 0 for never. Text that comes from mail or servers is raw: show it through
``safe_text``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Page(Generic[T]):
    """A window of a list."""

    rows: tuple[T, ...]
    next: int = 0
    """Ask again with ``after`` set to this; 0 means that this was the last window."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Done:
    """It is done, and there is no more to say than ``words``."""

    words: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class MailRow:
    """One entry of the spool."""

    id: int
    touchpoint_id: int
    touchpoint: str
    """Its address."""
    direction: str
    origin: str
    state: str
    """queued closed stopped delivered dropped waiting parked active held unknown failed."""
    cause: str
    reason: str
    kind: str
    mark: str
    author: str
    recipients: tuple[str, ...]
    """The first three."""
    recipient_count: int
    subject: str
    message_id: str
    size: int
    received_at: float
    accepted_at: float
    settled_at: float
    due_at: float
    attempts: int
    queues: tuple[str, ...]
    """Names of ring groups, as frozen when the mail was decided."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One verdict of a trail."""

    stage: str
    action: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Walk:
    """One walk of a mail down its line."""

    at: float
    config_version: int
    steps: tuple[Step, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class RecipientRow:
    """One recipient of an outbound mail, with its own result."""

    address: str
    state: str
    code: int
    text: str
    at: float


@dataclass(frozen=True, kw_only=True, slots=True)
class AttemptRow:
    """One try to hand a mail over."""

    started_at: float
    ended_at: float
    phase: str
    outcome: str
    code: int
    text: str
    server: str


@dataclass(frozen=True, kw_only=True, slots=True)
class LedgerRow:
    """What a server showed us, and what became of it."""

    touchpoint: str
    folder: str
    epoch: int
    remote_id: int
    state: str
    entry_id: int
    internaldate: float
    size: int
    message_id: str
    mark_due: str
    attempts: int
    due_at: float
    error: str
    seen_at: float


@dataclass(frozen=True, kw_only=True, slots=True)
class MailDetail:
    """Everything about one mail but its content: where it is, and why."""

    row: MailRow
    envelope_sender: str | None
    released_by: str
    held_by: str
    conversation_id: int
    config_version: int
    planned_seconds: float
    rewritten: bool
    notice_for: int
    walks: tuple[Walk, ...]
    recipients: tuple[RecipientRow, ...]
    attempts: tuple[AttemptRow, ...]
    ledger: tuple[LedgerRow, ...]
    related: tuple[MailRow, ...]
    """Other mail of the same conversation, the newest first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WhyAnswer:
    """What we know of the mails that a question is about."""

    mails: tuple[MailDetail, ...]
    items: tuple[LedgerRow, ...]
    """Items of servers that have no entry in the spool: pending, gone, moved."""
    more: bool
    """There is more than was looked at; ask more narrowly."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Chunk:
    """A piece of a mail's content, as it is shown and sent: splices applied."""

    data: bytes
    size: int
    """Of the whole content."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TouchpointRow:
    """One touchpoint, with the mail it has."""

    id: int
    address: str
    name: str
    version: int
    direction: str
    active: bool
    state: str
    cause: str
    reason: str
    state_since: float
    signed_in_at: float
    polled_at: float
    ring_groups: tuple[str, ...]
    auto_reply: bool
    signature: bool
    queued: int
    """Open mail in queues."""
    waiting_in: int
    waiting_out: int
    parked: int
    held: int
    unknown: int
    failed: int
    pending: int
    """Items on the server that could not be fetched yet."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerRow:
    """Where one half of a connector goes."""

    host: str
    port: int
    security: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TouchpointDetail:
    """One touchpoint's page."""

    row: TouchpointRow
    aliases: tuple[str, ...]
    connector: str
    preset: str
    user: str
    imap: ServerRow | None
    smtp: ServerRow | None
    ca_file: str
    sent_copy: str
    junk_folder: str
    mark: str
    signs_relayed: bool
    blocked: int
    """Entries of its blocklist."""
    relay_users: tuple[str, ...]
    activated_at: float
    has_password: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class FolderPlan:
    """What a first connect would do with one folder."""

    folder: str
    there: int
    """Mails in it now."""
    taken: int
    """Of which would be taken."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanRow:
    """What a first connect would do; nothing has been taken or changed by asking."""

    server: str
    principal: str
    folders: tuple[FolderPlan, ...]
    marks: str
    """What would be changed on the server: "" is nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TryRow:
    """A try of both halves of a connection: "" for a half that works or is not there, else what is wrong."""

    receiving: str
    sending: str

    @property
    def works(self) -> bool:
        """Whether nothing is wrong."""
        return not (self.receiving or self.sending)


@dataclass(frozen=True, kw_only=True, slots=True)
class RingGroupRow:
    """One ring group and its queue."""

    id: int
    name: str
    touchpoints: tuple[str, ...]
    """Addresses of those linked to it now."""
    open: int
    """Open mail in its queue."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockRow:
    """One entry of a blocklist."""

    id: int
    pattern: str
    note: str
    added_by: str
    added_at: float


@dataclass(frozen=True, kw_only=True, slots=True)
class TemplateRow:
    """An auto-reply or a signature."""

    kind: str
    active: bool
    subject: str
    text: str
    html: str
    updated_at: float


@dataclass(frozen=True, kw_only=True, slots=True)
class RelayUserRow:
    """One internal sender."""

    id: int
    name: str
    grants: tuple[str, ...]
    """Addresses of touchpoints that it may write as."""
    signature: bool
    notify: str


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditRow:
    """One change that somebody made."""

    id: int
    at: float
    actor: str
    uid: int
    role: str
    verb: str
    subject: str
    detail: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Status:
    """The whole house at a glance."""

    hostname: str
    version: str
    started_at: float
    now: float
    account: Mapping[str, int]
    """Both lines of the account by name, ``lost`` among them."""
    touchpoints: tuple[TouchpointRow, ...]
    """Those in trouble first; not all where there are very many."""
    touchpoint_count: int
    needs_you: tuple[str, ...]
    """What waits for a person, each in one line."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Me:
    """Who the daemon takes the caller for."""

    name: str
    uid: int
    roles: tuple[str, ...]
    hostname: str
    version: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """A fact, with the full new row of what it is about; seeing one twice is harmless."""

    what: str
    words: str = ""
    mail: MailRow | None = None
    touchpoint: TouchpointRow | None = None
    gone: int = 0
    """Id of a touchpoint that is no more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """What happened since the batch before."""

    boot: str
    number: int
    """The sequence number of the last fact in it."""
    events: tuple[Event, ...]
    left_out: int = 0
    """Facts about other mail that this feed was too busy to carry."""
    gap: bool = False
    """Facts were missed: take a new snapshot."""
    account: Mapping[str, int] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """The first answer of ``Watch``; batches follow."""

    boot: str
    number: int
    status: Status
