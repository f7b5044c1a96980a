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
    """queued closed stopped delivered dropped waiting parked active held unknown failed.

    Unknown is outbound: the content went and no answer came; ``reason`` says how far the looking in Sent is.
    """
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
    """Names of ring groups, as decided or as a person moved it."""
    expires_at: float = 0.0
    """About when it is dropped, where it is held and the settings say so."""


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
    """A stage changed its content, such as by a signature."""
    notice_for: int
    walks: tuple[Walk, ...]
    recipients: tuple[RecipientRow, ...]
    attempts: tuple[AttemptRow, ...]
    ledger: tuple[LedgerRow, ...]
    related: tuple[MailRow, ...]
    """Other mail of the same conversation, the newest first."""
    added: tuple[str, ...] = ()
    """Names of the header fields that were put on top of it; all below them is as it came."""
    has_content: bool = True
    """Its bytes are here; what is held without them is still on its server, or gone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One answer to "why?", with what helps."""

    kind: str
    """A state of ``MailRow``, or of mail that never came here: pending, gone, moved, older, skipped, not-watched,
    not-yet, not-there, unreachable, inactive, never-connected, refused, not-asked, unknown-pending, nothing."""
    words: str
    """A sentence or two; may quote servers and mail."""
    command: str
    """What helps next."""
    mail: int = 0
    """The mail that it is about; 0 where there is none."""
    touchpoint: str = ""
    """Its address; "" where it is about none, or about several."""
    since: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class WhyAnswer:
    """What we know of the mails that a question is about."""

    mails: tuple[MailDetail, ...]
    """The newest of them, at most five."""
    items: tuple[LedgerRow, ...]
    """Items of servers that have no entry in the spool: pending, gone, moved."""
    more: bool
    """There is more than was looked at; ask more narrowly."""
    candidates: tuple[MailRow, ...] = ()
    """All that match, the newest first, at most 50; those in ``mails`` among them."""
    findings: tuple[Finding, ...] = ()
    """One for each of ``mails`` and ``items``; what is known of mail that never came here where there are none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One thing that was decided otherwise when a mail was walked again."""

    what: str
    """decision, cause, stage, reason, queues, auto-reply, content, kind, or the name of a stage."""
    then: str
    now: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplayRow:
    """One kept mail, walked again without any effect."""

    id: int
    touchpoint: str
    direction: str
    author: str
    subject: str
    walked_at: float
    """When it was decided: that is the time which the stages are told."""
    version_then: int
    """Of its touchpoint."""
    version_now: int
    changes: tuple[Change, ...]
    """Empty where all is decided as it was then."""
    depends_on_memory: bool = False
    """Without what was remembered of earlier mail it is decided otherwise: not only the settings may be the reason."""
    skipped: str = ""
    """Why it was not walked; "" where it was."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Replayed:
    """A window of replayed mail, in the order in which it was taken."""

    rows: tuple[ReplayRow, ...]
    """Those that were decided otherwise or not walked; of a question about one mail, that mail."""
    walked: int
    differ: int
    skipped: int
    next: int = 0
    """Ask again with ``after`` set to this; 0 means that this was the last window."""


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
    asks: int = 0
    """Folders with new numbers about which a person is asked; nothing is taken from them until then."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ResumeRow:
    """The last time that a folder of a touchpoint had new numbers: what was found under them."""

    folder: str
    known: int
    """Items that we had already."""
    left_alone: int
    unseen: int
    """Items that nobody had seen; taken in, or to be taken."""
    old: int
    """Of these: dated before the last arrival."""
    asked_at: float
    """When a person was asked what to do; 0 where nobody had to be."""
    resumed_at: float
    """0 while it is not resumed."""
    choice: str
    """take, leave, or "" where nobody has chosen."""
    chosen_by: str


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
    unknown_outcome: str = "verify_then_resend"
    """What becomes of a mail whose answer never came: this, or hold_for_person."""
    resumes: tuple[ResumeRow, ...] = ()
    """Folders that had new numbers, each as it was the last time."""


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
    twin: str
    """Why this is the mailbox of another touchpoint, which a connect refuses; "" where it is not."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TryRow:
    """A try of the halves of a connection: "" for a half that works or is not there, else what is wrong."""

    receiving: str
    sending: str
    receiving_cause: str = ""
    """A ``Cause``: refused credentials and a host that is not there are told apart."""
    sending_cause: str = ""

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
    oldest_at: float
    """When the oldest of that was accepted; 0 where there is none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockRow:
    """One entry of a blocklist."""

    id: int
    touchpoint: str
    """Whose list it is on."""
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
class NeedRow:
    """Something that waits for a person."""

    kind: str
    """disk-full; lost, backoff: a touchpoint; held, unknown, failed, unassigned: mail."""
    touchpoint: str
    """Its address; "" where it is about mail, or about all the touchpoints that are not named one by one."""
    count: int
    """Mails that it is about; of a touchpoint, those that are kept for it."""
    since: float
    words: str
    """In one line, without the touchpoint."""
    command: str
    """What helps."""


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
    needs_you: tuple[NeedRow, ...]
    """What waits for a person."""


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
    needs_you: tuple[NeedRow, ...] | None = None
    """As in the status; None where it is not told again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """The first answer of ``Watch``; batches follow."""

    boot: str
    number: int
    status: Status


# -- The proof that nothing is lost --------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class MissingRow:
    """One thing that is not where it must be; what is not known is 0 or ""."""

    way: str
    """in, out."""
    loss: str
    """unknown-item no-row no-entry no-content no-state removed unsettled counter."""
    words: str
    touchpoint: str
    folder: str
    remote_id: int
    """UID."""
    id: int
    """Of the mail."""
    message_id: str
    subject: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ProvenRow:
    """One touchpoint that was to be proven."""

    touchpoint: str
    proven: bool
    """Whether its server could be asked about every watched folder."""
    listed: int
    """Items that its server has."""
    not_taken: int
    """Of these: not taken yet."""
    words: str
    """Why it is not proven, and what else is to be said of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Proof:
    """What a proof found."""

    at: float
    seconds: float
    """How long it took."""
    touchpoint: str
    """"" for all."""
    since: float
    inward: Mapping[str, int]
    """Items by place: queued stopped held waiting dropped pending moved older skipped gone not_taken, and missing."""
    outward: Mapping[str, int]
    """Submissions by place: delivered waiting parked unknown held failed dropped, and missing."""
    known: int
    """Further rows of the ledger for items that count once, under another number."""
    missing: int
    found: tuple[MissingRow, ...]
    """The first 100 of them."""
    touchpoints: tuple[ProvenRow, ...]
    """Those that are not proven, or of which something is to be said, at most 400."""
    asked: int
    """Touchpoints that were to be proven."""
    unproven: int
    untold: int
    """Failed submissions of which no notice tells, though somebody is there to be told."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProofProgress:
    """How far the proof under way is."""

    running: bool
    done: int = 0
    of: int = 0
    """Touchpoints."""
    step: str = ""
    seconds: float = 0.0


# -- The daemon looks at itself ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class StageRow:
    """One station of a mail's way, as it does now."""

    name: str
    """fetch, the inbound stages by their names in the line, relay, the outbound stages that are not inbound too, send.

    Mails that are fetched together count with their share of the time; relay is from the final dot to the answer,
    outbound stages included; send is the hand-over of one mail until its answer is stored.
    """
    rate: float
    """Mails a second, over the last minute."""
    p50: float
    """Seconds that it takes for one mail, over the last hour; 0 where there was none."""
    p95: float
    p99: float
    waiting: int
    """Mails that wait for it now: at fetch pending items of servers, at the first stage mail that is not decided yet,
    at send all that is to go out, parked or not; nothing waits elsewhere."""
    errors_hour: int
    """Connections and fetches that failed, stages that failed, refusals by the relay, hand-overs that did not reach
    everybody."""
    total: int
    """Mails since the start of the daemon."""
    minutes: tuple[int, ...]
    """Mails in each of the last 60 minutes, the oldest first; the last one is not over yet."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stages:
    """All stations, in the order in which a mail visits them."""

    now: float
    rate_in: float
    """Mails a second that were taken in, over the last minute."""
    rate_out: float
    """Mails a second that were delivered, over the last minute."""
    rows: tuple[StageRow, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class LogRow:
    """One line of the daemon's log, as far back as it remembers."""

    id: int
    at: float
    level: str
    """debug, info, warning, error, critical."""
    logger: str
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SettingRow:
    """One setting as it is in force."""

    key: str
    """As in the file: relay.largest_mail."""
    value: str
    """As TOML would write it; secrets are never settings."""
    file: str
    """"" where it is the built-in default."""
    line: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ListenerRow:
    """One door of the relay."""

    name: str
    host: str
    port: int
    mode: str
    sessions: int
    """Open now."""
    accepted: int
    """Mails since the start of the daemon."""
    refused: int
    """Refusals since then, of commands and sign-ins as well as of mails; likewise below."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RelayClientRow:
    """One client that is connected to the relay now."""

    peer: str
    listener: str
    user: str
    """"" before it signed in."""
    since: float
    accepted: int
    refused: int


@dataclass(frozen=True, kw_only=True, slots=True)
class RelayRateRow:
    """What one relay user handed in during the last hour."""

    user: str
    accepted: int
    refused: int
    last_at: float


@dataclass(frozen=True, kw_only=True, slots=True)
class RefusalRow:
    """One refusal of the relay."""

    at: float
    peer: str
    listener: str
    user: str
    code: int
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RelayState:
    """The relay as it stands."""

    listeners: tuple[ListenerRow, ...]
    clients: tuple[RelayClientRow, ...]
    """Those that came first, at most 200."""
    rates: tuple[RelayRateRow, ...]
    """The busiest first, at most 200."""
    refusals: tuple[RefusalRow, ...]
    """The newest first, at most 100."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShapeRow:
    """Mail that waits to go out, by one destination or one touchpoint."""

    name: str
    total: int
    parked: int
    ages: tuple[int, ...]
    """Mails by age: one number for each bound of the shape, and one for older than the last."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """Age by destination, as Postfix's qshape shows it; the fullest first."""

    bounds: tuple[int, ...]
    """Minutes; a column holds mail younger than its bound, and not younger than the one before."""
    rows: tuple[ShapeRow, ...]
    """At most 100."""
    more: int
    """Rows that are left out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PresetRow:
    """A provider whose servers we know."""

    name: str
    title: str
    imap: ServerRow | None
    smtp: ServerRow | None
    password: str
    """What sort of password it takes, and where people get one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HeaderRow:
    """One header field, decoded."""

    name: str
    value: str


@dataclass(frozen=True, kw_only=True, slots=True)
class PartRow:
    """One part of a mail that is not its text."""

    name: str
    type: str
    size: int
    """Bytes as transported; before decoding."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MailText:
    """A mail as people read it."""

    id: int
    headers: tuple[HeaderRow, ...]
    """All of them, in the order of the mail, at most 200."""
    text: str
    source: str
    """plain; html, simplified; none."""
    cut: bool
    """The text goes on, or lies behind what is looked at."""
    parts: tuple[PartRow, ...]
