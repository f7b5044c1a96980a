"""The wire between the daemon and its guests: calls, who may make them, and their form as lines. No I/O.

One JSON-RPC 2.0 object a line, at most 1 MiB, in UTF-8. A call is a dataclass whose type parameter is its reply, so
that ``await client.call(ListMail(state="held"))`` is typed at both ends. ``RULES`` is the one table of all calls: the
method's name, the call, and the roles that may make it. After ``Watch``, notifications named ``batch`` follow.

Passwords travel towards the daemon only, and never show in a ``repr``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any, Generic, TypeVar, get_args

from gateway import __version__
from gateway.codec import BadValue as BadValue, decode as decode, encode as encode
from gateway.rows import (  # again under our name: the terminal UI knows this module only
    AttemptRow as AttemptRow,
    AuditRow as AuditRow,
    Batch as Batch,
    BlockRow as BlockRow,
    Change as Change,
    Chunk as Chunk,
    Done as Done,
    Event as Event,
    Finding as Finding,
    FolderPlan as FolderPlan,
    HeaderRow as HeaderRow,
    LedgerRow as LedgerRow,
    ListenerRow as ListenerRow,
    LogRow as LogRow,
    MailDetail as MailDetail,
    MailRow as MailRow,
    MailText as MailText,
    Me as Me,
    MissingRow as MissingRow,
    NeedRow as NeedRow,
    Page as Page,
    PartRow as PartRow,
    PlanRow as PlanRow,
    PresetRow as PresetRow,
    Proof as Proof,
    ProofProgress as ProofProgress,
    ProvenRow as ProvenRow,
    RecipientRow as RecipientRow,
    RefusalRow as RefusalRow,
    RelayClientRow as RelayClientRow,
    RelayRateRow as RelayRateRow,
    RelayState as RelayState,
    RelayUserRow as RelayUserRow,
    Replayed as Replayed,
    ReplayRow as ReplayRow,
    ResumeRow as ResumeRow,
    RingGroupRow as RingGroupRow,
    ServerRow as ServerRow,
    SettingRow as SettingRow,
    Shape as Shape,
    ShapeRow as ShapeRow,
    Snapshot as Snapshot,
    StageRow as StageRow,
    Stages as Stages,
    Status as Status,
    Step as Step,
    TemplateRow as TemplateRow,
    TouchpointDetail as TouchpointDetail,
    TouchpointRow as TouchpointRow,
    TryRow as TryRow,
    Walk as Walk,
    WhyAnswer as WhyAnswer,
)
from pipeline.touchpoint import DirectionType as DirectionType, ResumeChoice as ResumeChoice

LONGEST_LINE = 1024 * 1024
LONGEST_CHUNK = 256 * 1024
MOST_ROWS = 500
VERSION = __version__
"""Of this program, at whichever end of the wire it is."""

R = TypeVar("R")


class Role(StrEnum):
    """What a person may do; given by the groups of this host."""

    AUDIT = "audit"
    """Reads everything."""
    AGENT = "agent"
    """Works the mail of the queues, and sees nothing else of the spool."""
    OPS = "ops"
    """Reads everything; works the spool and the states of touchpoints."""
    ADMIN = "admin"
    """May do all."""


class Call(Generic[R]):
    """A question or an order; ``R`` is the type of its answer."""


# -- The house -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class WhoAmI(Call[Me]):
    """Who the daemon takes me for."""

    via: str = ""
    """Whence the caller says to come, such as ``ssh 192.0.2.7``; the audit of this session shows it as a claim."""


@dataclass(frozen=True, kw_only=True)
class GetStatus(Call[Status]):
    """The whole house at a glance."""


@dataclass(frozen=True, kw_only=True)
class Watch(Call[Snapshot]):
    """The status now, and batches of events from then on."""


@dataclass(frozen=True, kw_only=True)
class GetStages(Call[Stages]):
    """Rate, time and waiting mail of each station of a mail's way."""


@dataclass(frozen=True, kw_only=True)
class ListLog(Call[Page[LogRow]]):
    """The daemon's log as far as it remembers, the newest first."""

    level: str = ""
    """This one and worse; "" is all."""
    text: str = ""
    since: int = 0
    """Ids above this one only: what is new."""
    after: int = 0
    """Ids below this one."""
    limit: int = 100


@dataclass(frozen=True, kw_only=True)
class ListSettings(Call[Page[SettingRow]]):
    """The settings in force, and where each comes from."""


@dataclass(frozen=True, kw_only=True)
class ShowRelay(Call[RelayState]):
    """Listeners, clients, rates and the last refusals of the relay."""


@dataclass(frozen=True, kw_only=True)
class ListPresets(Call[Page[PresetRow]]):
    """The providers whose servers we know."""


@dataclass(frozen=True, kw_only=True)
class ListAudit(Call[Page[AuditRow]]):
    """Who changed what, the newest first."""

    subject: str = ""
    """Only changes of this touchpoint (its address) or mail (``mail 17``)."""
    text: str = ""
    """Only rows whose actor, verb, subject or detail holds this."""
    after: int = 0
    limit: int = 100


# -- Touchpoints: each is named by its address, an alias, or its id ------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class ListTouchpoints(Call[Page[TouchpointRow]]):
    """Touchpoints whose address or name holds ``text``."""

    text: str = ""
    state: str = ""
    after: int = 0
    limit: int = 100


@dataclass(frozen=True, kw_only=True)
class ShowTouchpoint(Call[TouchpointDetail]):
    """One touchpoint's page."""

    touchpoint: str


@dataclass(frozen=True, kw_only=True)
class CreateTouchpoint(Call[TouchpointRow]):
    """A new one, neither connected nor active."""

    address: str
    name: str
    direction: DirectionType = DirectionType.BOTH
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class EditTouchpoint(Call[TouchpointRow]):
    """Change its page; None leaves a thing as it is."""

    touchpoint: str
    address: str | None = None
    name: str | None = None
    aliases: tuple[str, ...] | None = None
    signs_relayed: bool | None = None


@dataclass(frozen=True, kw_only=True)
class DuplicateTouchpoint(Call[TouchpointRow]):
    """Its settings, texts, ring groups and blocklist under a new address; unconnected and inactive."""

    touchpoint: str
    address: str
    name: str


@dataclass(frozen=True, kw_only=True)
class DeleteTouchpoint(Call[Done]):
    """Refused while it has mail, unless ``drop_pending`` gives that mail up."""

    touchpoint: str
    drop_pending: bool = False
    leave_remote: bool = False
    """Items that could not be fetched yet do not matter: they stay at the provider."""


@dataclass(frozen=True, kw_only=True)
class SetDirection(Call[TouchpointRow]):
    """Who may start a conversation."""

    touchpoint: str
    direction: DirectionType


@dataclass(frozen=True, kw_only=True)
class SetConnection(Call[TouchpointDetail]):
    """How its mailbox is reached; None leaves a thing as it is, a preset sets all of its own first.

    ``imap`` and ``smtp`` are ``host:port:security`` with security one of tls, starttls, none; "" takes that half away.
    """

    touchpoint: str
    preset: str | None = None
    user: str | None = None
    imap: str | None = None
    smtp: str | None = None
    ca_file: str | None = None
    sent_copy: str | None = None
    null_sender: bool | None = None
    junk_folder: str | None = None
    mark: str | None = None
    unknown_outcome: str | None = None
    """verify_then_resend or hold_for_person; no preset changes it."""


@dataclass(frozen=True, kw_only=True)
class PlanConnect(Call[PlanRow]):
    """Sign in, look, and say what a first connect would take; changes nothing."""

    touchpoint: str
    password: str | None = field(default=None, repr=False)
    since: float | None = None


@dataclass(frozen=True, kw_only=True)
class ConnectTouchpoint(Call[TouchpointRow]):
    """Prove both halves, keep the password sealed, and connect; takes new mail only, or mail since a time."""

    touchpoint: str
    password: str | None = field(default=None, repr=False)
    """None: the one that is kept already."""
    since: float | None = None


@dataclass(frozen=True, kw_only=True)
class TryTouchpoint(Call[TryRow]):
    """Try both halves, or one, with what is kept or with this password; changes nothing."""

    touchpoint: str
    password: str | None = field(default=None, repr=False)
    half: str = ""
    """receiving or sending; "" is both."""


@dataclass(frozen=True, kw_only=True)
class ActivateTouchpoint(Call[TouchpointRow]):
    """Let mail move. ``start_now`` leaves alone what came while it was inactive; else that is caught up."""

    touchpoint: str
    start_now: bool = False


@dataclass(frozen=True, kw_only=True)
class DeactivateTouchpoint(Call[TouchpointRow]):
    """No mail moves any more; answers after the page in hand is committed."""

    touchpoint: str


@dataclass(frozen=True, kw_only=True)
class ResumeTouchpoint(Call[TouchpointRow]):
    """Say what is taken from a folder that came back with new numbers and much old mail."""

    touchpoint: str
    choice: ResumeChoice
    folder: str = ""
    """"" for all folders that are asked about."""


@dataclass(frozen=True, kw_only=True)
class LinkRingGroup(Call[TouchpointRow]):
    """New mail joins the queue of this ring group too."""

    touchpoint: str
    ring_group: str


@dataclass(frozen=True, kw_only=True)
class UnlinkRingGroup(Call[TouchpointRow]):
    """New mail joins that queue no longer."""

    touchpoint: str
    ring_group: str


@dataclass(frozen=True, kw_only=True)
class ListBlocklist(Call[Page[BlockRow]]):
    """Whom a touchpoint, or any touchpoint, does not want to hear from."""

    touchpoint: str = ""
    text: str = ""
    """Only patterns and notes that hold this."""
    after: int = 0
    limit: int = 100


@dataclass(frozen=True, kw_only=True)
class Block(Call[Done]):
    """Hold the mail of an address or of a domain from now on."""

    touchpoint: str
    pattern: str
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Unblock(Call[Done]):
    """Take an entry off the blocklist."""

    touchpoint: str
    pattern: str


@dataclass(frozen=True, kw_only=True)
class ShowTemplate(Call[TemplateRow]):
    """The auto-reply (``auto_reply``) or the signature (``signature``) of a touchpoint."""

    touchpoint: str
    kind: str


@dataclass(frozen=True, kw_only=True)
class SetTemplate(Call[TemplateRow]):
    """Change one of the two; None leaves a thing as it is."""

    touchpoint: str
    kind: str
    active: bool | None = None
    subject: str | None = None
    text: str | None = None
    html: str | None = None


# -- Ring groups and relay users -----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class ListRingGroups(Call[Page[RingGroupRow]]):
    """All ring groups, with the size of their queues."""

    after: int = 0
    limit: int = 100


@dataclass(frozen=True, kw_only=True)
class CreateRingGroup(Call[RingGroupRow]):
    """A new one, linked to nothing."""

    name: str


@dataclass(frozen=True, kw_only=True)
class DeleteRingGroup(Call[Done]):
    """One that is linked to nothing and never had mail."""

    name: str


@dataclass(frozen=True, kw_only=True)
class ListRelayUsers(Call[Page[RelayUserRow]]):
    """All internal senders."""

    after: int = 0
    limit: int = 100


@dataclass(frozen=True, kw_only=True)
class AddRelayUser(Call[RelayUserRow]):
    """A new internal sender."""

    name: str
    password: str = field(repr=False)
    notify: str = ""
    signature: bool = False
    grants: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class EditRelayUser(Call[RelayUserRow]):
    """Change it; None leaves a thing as it is."""

    name: str
    password: str | None = field(default=None, repr=False)
    notify: str | None = None
    signature: bool | None = None
    grant: tuple[str, ...] = ()
    revoke: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RemoveRelayUser(Call[Done]):
    """Take it away; what it sent goes out."""

    name: str


# -- Mail ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class ListMail(Call[Page[MailRow]]):
    """Mail that meets all that is asked for, the newest first; agents get queued mail only."""

    direction: str = ""
    """in, out."""
    state: str = ""
    """A state of ``MailRow``; "open" is queued and not closed, "all" is no filter."""
    touchpoint: str = ""
    ring_group: str = ""
    unassigned: bool = False
    """Only mail that is in no queue."""
    cause: str = ""
    author: str = ""
    """A normalised address, or @domain."""
    subject: str = ""
    """Words that the subject holds."""
    after: int = 0
    """Ids below this one."""
    limit: int = 100


@dataclass(frozen=True, kw_only=True)
class ShowMail(Call[MailDetail]):
    """Everything about one mail but its content."""

    id: int


@dataclass(frozen=True, kw_only=True)
class ReadContent(Call[Chunk]):
    """A piece of a mail's content, at most 256 KiB."""

    id: int
    offset: int = 0
    length: int = LONGEST_CHUNK


@dataclass(frozen=True, kw_only=True)
class ReadText(Call[MailText]):
    """A mail as people read it: headers, text, and what else is in it."""

    id: int


@dataclass(frozen=True, kw_only=True)
class ShapeOutbox(Call[Shape]):
    """How old the mail is that waits to go out, by destination domain or by touchpoint."""

    touchpoint: str = ""
    by: str = "destination"
    """destination, touchpoint."""


@dataclass(frozen=True, kw_only=True)
class Why(Call[WhyAnswer]):
    """What became of a mail: by id, by Message-ID, by its sender, or by words of the subject.

    Where our books know nothing, the servers of touchpoints are asked, a few at once and not for long.
    """

    id: int = 0
    message_id: str = ""
    author: str = ""
    """An address, or @domain."""
    subject: str = ""
    what: str = ""
    """As a person says it: a number, a Message-ID, an address, or else words of the subject."""
    since: float = 0.0
    until: float = 0.0
    """Only mail of this time; 0 is no bound."""
    touchpoint: str = ""
    """Only this one's mail, and only its server is asked."""
    servers: str = ""
    """never, always, or "": where our books know nothing."""


@dataclass(frozen=True, kw_only=True)
class Prove(Call[Proof]):
    """Ask servers what they have and lay it beside the books; takes seconds to minutes, and changes nothing."""

    touchpoint: str = ""
    """"" for all of them, and all mail."""
    since: float = 0.0
    """Only what came since then; 0 is all."""


@dataclass(frozen=True, kw_only=True)
class ShowProving(Call[ProofProgress]):
    """How far the proof under way is."""


@dataclass(frozen=True, kw_only=True)
class ReplayMail(Call[Replayed]):
    """Walk kept mail again through the live line, without any effect, and tell what is decided otherwise.

    One mail by its id, or what was taken in a time; a window at a time.
    """

    id: int = 0
    since: float = 0.0
    until: float = 0.0
    touchpoint: str = ""
    after: int = 0
    limit: int = 100


@dataclass(frozen=True, kw_only=True)
class CloseMail(Call[MailRow]):
    """Somebody dealt with this queued mail."""

    id: int


@dataclass(frozen=True, kw_only=True)
class ReopenMail(Call[MailRow]):
    """It needs somebody again."""

    id: int


@dataclass(frozen=True, kw_only=True)
class MoveMail(Call[MailRow]):
    """Put this queued mail into the queues of these ring groups, and into no others."""

    id: int
    ring_groups: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class RetryMail(Call[MailRow]):
    """Try it now; one of unknown outcome may arrive twice then."""

    id: int


@dataclass(frozen=True, kw_only=True)
class ConfirmMail(Call[MailRow]):
    """This mail of unknown outcome did arrive: somebody found out."""

    id: int


@dataclass(frozen=True, kw_only=True)
class HoldMail(Call[MailRow]):
    """Set it aside."""

    id: int
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class ReleaseMail(Call[MailRow]):
    """Let it go on."""

    id: int


@dataclass(frozen=True, kw_only=True)
class DropMail(Call[MailRow]):
    """Give it up; its content is kept."""

    id: int


# -- Who may do what -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the table of calls."""

    method: str
    call: type[Call[Any]]
    roles: frozenset[Role]
    changes: bool = False
    """Whether it changes anything; the rest only looks."""


_ALL = frozenset(Role)
_READ = frozenset({Role.AUDIT, Role.OPS, Role.ADMIN})
_QUEUE = frozenset({Role.AGENT, Role.OPS, Role.ADMIN})
_OPS = frozenset({Role.OPS, Role.ADMIN})
_ADMIN = frozenset({Role.ADMIN})

RULES: tuple[Rule, ...] = (
    Rule("whoami", WhoAmI, _ALL),
    Rule("status", GetStatus, _ALL),
    Rule("watch", Watch, _ALL),
    Rule("stages", GetStages, _READ),
    Rule("log.list", ListLog, _READ),
    Rule("settings.list", ListSettings, _READ),
    Rule("relay.show", ShowRelay, _READ),
    Rule("preset.list", ListPresets, _READ),
    Rule("audit.list", ListAudit, _READ),
    Rule("touchpoint.list", ListTouchpoints, _ALL),
    Rule("touchpoint.show", ShowTouchpoint, _READ),
    Rule("touchpoint.create", CreateTouchpoint, _ADMIN, changes=True),
    Rule("touchpoint.edit", EditTouchpoint, _ADMIN, changes=True),
    Rule("touchpoint.duplicate", DuplicateTouchpoint, _ADMIN, changes=True),
    Rule("touchpoint.delete", DeleteTouchpoint, _ADMIN, changes=True),
    Rule("touchpoint.direction", SetDirection, _ADMIN, changes=True),
    Rule("touchpoint.connection", SetConnection, _ADMIN, changes=True),
    Rule("touchpoint.plan", PlanConnect, _OPS),
    Rule("touchpoint.connect", ConnectTouchpoint, _OPS, changes=True),
    Rule("touchpoint.test", TryTouchpoint, _OPS),
    Rule("touchpoint.activate", ActivateTouchpoint, _OPS, changes=True),
    Rule("touchpoint.deactivate", DeactivateTouchpoint, _OPS, changes=True),
    Rule("touchpoint.resume", ResumeTouchpoint, _OPS, changes=True),
    Rule("touchpoint.link", LinkRingGroup, _ADMIN, changes=True),
    Rule("touchpoint.unlink", UnlinkRingGroup, _ADMIN, changes=True),
    Rule("blocklist.list", ListBlocklist, _READ),
    Rule("blocklist.add", Block, _ADMIN, changes=True),
    Rule("blocklist.remove", Unblock, _ADMIN, changes=True),
    Rule("template.show", ShowTemplate, _READ),
    Rule("template.set", SetTemplate, _ADMIN, changes=True),
    Rule("ring_group.list", ListRingGroups, _ALL),
    Rule("ring_group.create", CreateRingGroup, _ADMIN, changes=True),
    Rule("ring_group.delete", DeleteRingGroup, _ADMIN, changes=True),
    Rule("relay_user.list", ListRelayUsers, _READ),
    Rule("relay_user.add", AddRelayUser, _ADMIN, changes=True),
    Rule("relay_user.edit", EditRelayUser, _ADMIN, changes=True),
    Rule("relay_user.remove", RemoveRelayUser, _ADMIN, changes=True),
    Rule("mail.list", ListMail, _ALL),
    Rule("mail.show", ShowMail, _ALL),
    Rule("mail.content", ReadContent, _ALL),
    Rule("mail.text", ReadText, _ALL),
    Rule("mail.shape", ShapeOutbox, _READ),
    Rule("mail.why", Why, _READ),
    Rule("proof.make", Prove, _READ),
    Rule("proof.progress", ShowProving, _READ),
    Rule("mail.replay", ReplayMail, _READ),
    Rule("mail.close", CloseMail, _QUEUE, changes=True),
    Rule("mail.reopen", ReopenMail, _QUEUE, changes=True),
    Rule("mail.move", MoveMail, _QUEUE, changes=True),
    Rule("mail.retry", RetryMail, _OPS, changes=True),
    Rule("mail.confirm", ConfirmMail, _OPS, changes=True),
    Rule("mail.hold", HoldMail, _OPS, changes=True),
    Rule("mail.release", ReleaseMail, _OPS, changes=True),
    Rule("mail.drop", DropMail, _OPS, changes=True),
)
_BY_METHOD = {rule.method: rule for rule in RULES}
_BY_CALL = {rule.call: rule for rule in RULES}


def allowed(call: Call[Any], roles: frozenset[Role]) -> bool:
    """Whether somebody with these roles may make this call."""
    return permitted(type(call), roles)


def permitted(call: type[Call[Any]], roles: frozenset[Role]) -> bool:
    """Whether somebody with these roles may make calls of this type."""
    return not _BY_CALL[call].roles.isdisjoint(roles)


def changes(call: type[Call[Any]]) -> bool:
    """Whether calls of this type change anything."""
    return _BY_CALL[call].changes


def sees_all(roles: frozenset[Role]) -> bool:
    """Whether somebody with these roles sees more of the spool than the queues."""
    return not _READ.isdisjoint(roles)


def method_of(call: Call[Any] | type[Call[Any]]) -> str:
    """The name of a call on the wire."""
    return _BY_CALL[call if isinstance(call, type) else type(call)].method


def reply_type(call: type[Call[Any]]) -> Any:
    """The type of a call's answer."""
    return get_args(vars(call)["__orig_bases__"][0])[0]


# -- Lines ---------------------------------------------------------------------------------------------------------


class Code(IntEnum):
    """Why a call failed; negative ones are JSON-RPC's own."""

    NOT_JSON = -32700
    NOT_A_CALL = -32600
    NO_METHOD = -32601
    BAD_PARAMS = -32602
    BROKEN = -32603
    REFUSED = 1
    NOT_PERMITTED = 2
    NOT_NOW = 3
    """Would work later: no room on the disk, or a server that does not answer."""
    NEEDS_PERSON = 4
    """A server refused the credentials, or let us not in."""


class WireFault(Exception):
    """A line that is no call, or a call that failed; ``id`` is the request's, None where it has none."""

    def __init__(self, code: int, text: str, id: int | None = None) -> None:
        super().__init__(text)
        self.code = code
        self.id = id


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client reads: an answer to request ``id``, or with id 0 a notification."""

    id: int
    value: Any
    """Not decoded yet."""


def request_line(id: int, call: Call[Any]) -> bytes:
    """A call as its line."""
    return _line({"jsonrpc": "2.0", "id": id, "method": method_of(call), "params": encode(call)})


def bare_line(id: int, call: Call[Any]) -> bytes:
    """A call without its parameters, for a daemon that is too old to know them."""
    return _line({"jsonrpc": "2.0", "id": id, "method": method_of(call), "params": {}})


def reply_line(id: int, value: Any) -> bytes:
    """An answer as its line; raises WireFault where it is too long to send."""
    line = _line({"jsonrpc": "2.0", "id": id, "result": encode(value)})
    if len(line) > LONGEST_LINE:
        raise WireFault(Code.REFUSED, "the answer is longer than 1 MiB; ask more narrowly", id)
    return line


def error_line(id: int | None, code: int, text: str) -> bytes:
    """A failed call as its line."""
    return _line({"jsonrpc": "2.0", "id": id, "error": {"code": int(code), "message": text[:4000]}})


def batch_line(batch: Batch) -> bytes:
    """A notification as its line."""
    return _line({"jsonrpc": "2.0", "method": "batch", "params": encode(batch)})


def read_request(line: bytes) -> tuple[int, Call[Any]]:
    """A line as request id and call; raises WireFault."""
    message = _object(line)
    id = message.get("id")
    if not isinstance(id, int) or isinstance(id, bool) or not 0 < id < 2**53:
        raise WireFault(Code.NOT_A_CALL, "id must be a positive integer")
    if message.get("jsonrpc") != "2.0" or not isinstance(message.get("method"), str):
        raise WireFault(Code.NOT_A_CALL, "this is not a JSON-RPC 2.0 request", id)
    if (rule := _BY_METHOD.get(message["method"])) is None:
        raise WireFault(Code.NO_METHOD, f"there is no method {message['method'][:60]!a}", id)
    try:
        return id, decode(rule.call, message.get("params", {}))
    except BadValue as fault:
        raise WireFault(Code.BAD_PARAMS, f"{rule.method}: {fault}", id) from None


def read_answer(line: bytes) -> Answer:
    """A line as a client reads it; raises WireFault where it says that a call failed."""
    message = _object(line)
    if message.get("method") == "batch":
        return Answer(0, message.get("params"))
    id = message.get("id")
    id = id if isinstance(id, int) else None
    if isinstance(error := message.get("error"), dict):
        raise WireFault(int(error.get("code", Code.BROKEN)), str(error.get("message", "")), id)
    if id is None or "result" not in message:
        raise WireFault(Code.NOT_A_CALL, "this is no answer of a Postroom daemon")
    return Answer(id, message["result"])


def _object(line: bytes) -> dict[str, Any]:
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        raise WireFault(Code.NOT_JSON, "this line is not JSON") from None
    if not isinstance(message, dict):
        raise WireFault(Code.NOT_A_CALL, "this line is not a JSON object")
    return message


def _line(message: dict[str, Any]) -> bytes:
    return json.dumps(message, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode() + b"\n"
