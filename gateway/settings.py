"""The settings: postroom.toml and conf.d/*.toml, checked whole and frozen.

It owns what the keys are called, what may stand in them and what holds without them. It promises every fault at once,
each as ``file:line: key: message``, with the nearest key for a misspelt one. It reads files and nothing else: no
network, no store. What people and mail do while the daemon runs is in the store, never here.

pydantic's one home.
"""

from __future__ import annotations

import difflib
import re
import socket
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    Strict,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from gateway import paths, plugins
from gateway.toml_lines import key_lines
from pipeline.errors import Refused
from pipeline.names import check_address, check_domain
from pipeline.retry import Schedule

if TYPE_CHECKING:
    from pipeline.stage import Stage

Loc = tuple[str | int, ...]
KIB, MIB = 1024, 1024 * 1024


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Daemon(_Section):
    """[daemon]: what this installation is called and where its things lie; "" means by rule (paths.py)."""

    hostname: str = ""
    state_dir: str = ""
    socket: str = ""
    socket_group: str = "postroom-users"
    key_file: str = ""

    @field_validator("hostname")
    @classmethod
    def _a_domain(cls, value: str) -> str:
        return _checked(check_domain, value) if value else value

    @field_validator("state_dir", "socket", "key_file")
    @classmethod
    def _absolute(cls, value: str) -> str:
        if value and not value.startswith("/"):
            raise PydanticCustomError("path", "must be an absolute path, beginning with /")
        return value


class Listener(_Section):
    """[[relay.listener]]: one address on which internal senders are served."""

    name: str = Field(min_length=1, max_length=40)
    host: str = "127.0.0.1"
    port: int = Field(ge=0, le=65535)
    mode: Literal["submission", "submissions", "plain"] = "submission"
    """submission: STARTTLS, then AUTH. submissions: TLS from the first byte. plain: listed networks only, no AUTH."""
    cert: str = ""
    key: str = ""

    @field_validator("host")
    @classmethod
    def _an_address(cls, value: str) -> str:
        try:
            ip_address(value)
        except ValueError:
            raise PydanticCustomError("host", "must be an IP address, such as 127.0.0.1, 0.0.0.0 or ::") from None
        return value

    @model_validator(mode="after")
    def _protected(self) -> Self:
        if bool(self.cert) != bool(self.key):
            raise PydanticCustomError("tls", "cert and key belong together: give both or neither")
        if self.mode == "submissions" and not self.cert:
            raise PydanticCustomError("tls", "mode submissions needs cert and key")
        if self.mode == "submission" and not self.cert and not self.loopback:
            raise PydanticCustomError("tls", "needs cert and key, since it does not stand on a loopback address")
        if self.mode == "plain" and self.cert:
            raise PydanticCustomError("tls", "a plain listener has no TLS: leave cert and key out")
        return self

    @property
    def loopback(self) -> bool:
        """Whether only this host reaches it; only there AUTH may go in the clear."""
        return ip_address(self.host).is_loopback


class Network(_Section):
    """[[relay.network]]: hosts that need no password on a plain listener, and the relay user they count as."""

    cidr: str
    user: str = Field(min_length=1, max_length=64)

    @field_validator("cidr")
    @classmethod
    def _a_network(cls, value: str) -> str:
        try:
            ip_network(value)
        except ValueError as error:
            raise PydanticCustomError(
                "cidr", "must be a network, such as 192.0.2.0/24: {why}", {"why": str(error)}
            ) from None
        return value


class Relay(_Section):
    """[relay]: limits towards internal senders, and the listeners."""

    largest_mail: int = Field(default=50 * MIB, ge=KIB, le=1024 * MIB)
    recipients: int = Field(default=100, ge=1, le=1000)
    connections: int = Field(default=500, ge=1, le=20_000)
    connections_per_client: int = Field(default=50, ge=1, le=20_000)
    auth_failures: int = Field(default=3, ge=1, le=100)
    """In one session; then it is closed."""
    idle_seconds: float = Field(default=300.0, ge=1, le=3600)
    data_seconds: float = Field(default=600.0, ge=1, le=86_400)
    """For the whole of one DATA, besides the time that ``slowest_rate`` grants."""
    slowest_rate: int = Field(default=500, ge=0)
    """Bytes a second that a client must reach within DATA."""
    listeners: Annotated[tuple[Listener, ...], Strict(False)] = Field(
        default=(Listener(name="loopback", host="127.0.0.1", port=2525),), alias="listener"
    )
    networks: Annotated[tuple[Network, ...], Strict(False)] = Field(default=(), alias="network")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        names = [listener.name for listener in self.listeners]
        places = [(listener.host, listener.port) for listener in self.listeners if listener.port]
        if len(set(names)) < len(names) or len(set(places)) < len(places):
            raise PydanticCustomError("twice", "two listeners have the same name, or the same host and port")
        if any(listener.mode == "plain" for listener in self.listeners) and not self.networks:
            raise PydanticCustomError("networks", "a plain listener serves listed networks only: add [[relay.network]]")
        return self


Names = Annotated[tuple[str, ...], Strict(False)]


class Lines(_Section):
    """[lines]: the stages a mail walks through, in this order."""

    inbound: Names = ("ingest", "blocklist", "auto_reply", "ring_group")
    outbound: Names = ("ingest", "signature")

    @field_validator("inbound", "outbound")
    @classmethod
    def _in_order(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        known = plugins.stage_names()
        for name in value:
            if name not in known:
                raise PydanticCustomError(
                    "stage", "there is no stage {name}{near}", {"name": name, "near": _near(name, known)}
                )
        if not value or value[0] != "ingest":
            raise PydanticCustomError("stage", "ingest must come first, since the stages behind it ask what it learnt")
        if len(set(value)) < len(value):
            raise PydanticCustomError("stage", "a stage stands twice in the line")
        if "auto_reply" in value and "blocklist" not in value[: value.index("auto_reply")]:
            raise PydanticCustomError("stage", "blocklist must come before auto_reply, or blocked senders get replies")
        return value


class Intake(_Section):
    """[intake]: how mail is taken in."""

    largest_mail: int = Field(default=100 * MIB, ge=KIB, le=1024 * MIB)
    """Larger ones are held with cause ``oversize`` and stay on the server."""
    page_mails: int = Field(default=200, ge=1, le=1000)
    page_bytes: int = Field(default=4 * MIB, ge=64 * KIB, le=64 * MIB)
    memory_bytes: int = Field(default=64 * MIB, ge=4 * MIB)
    """Fetched and not yet committed, in the whole daemon."""
    sweep_seconds: float = Field(default=300.0, ge=1, le=86_400)
    """All watched folders are read this often, whatever IDLE said or did not say."""
    idle_seconds: float = Field(default=540.0, ge=10, le=1740)
    """Length of one IDLE; below 29 minutes (RFC 2177), and short because networks forget silent connections."""
    timeout_seconds: float = Field(default=60.0, ge=1, le=600)
    decide_seconds: float = Field(default=2.0, gt=0, le=60)
    """What a page's stages have; what is undecided then is stored undecided and walks later."""
    folders: Annotated[tuple[Literal["inbox", "junk"], ...], Strict(False)] = ("inbox", "junk")

    @field_validator("folders")
    @classmethod
    def _with_inbox(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if "inbox" not in value:
            raise PydanticCustomError("folders", "inbox must be among the watched folders")
        return value


class Roles(_Section):
    """[roles]: the groups of this host whose members may do what; "" means nobody."""

    admin: str = "postroom-admin"
    ops: str = "postroom-ops"
    agent: str = "postroom-agent"
    audit: str = "postroom-audit"


class Notices(_Section):
    """[notices]: who is told when a touchpoint is lost or a mail fails for good, and by which way."""

    admins: Names = ()
    touchpoint: str = ""
    """Address of the touchpoint that sends them; never used for trouble of its own."""
    relay: str = ""
    """host:port of an SMTP server that takes mail for the admins; used first if it is given."""

    @field_validator("admins")
    @classmethod
    def _addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_checked(check_address, address) for address in value)

    @field_validator("touchpoint")
    @classmethod
    def _an_address(cls, value: str) -> str:
        return _checked(check_address, value) if value else value

    @field_validator("relay")
    @classmethod
    def _a_server(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        if value and not (host and port.isdigit() and 0 < int(port) < 65536):
            raise PydanticCustomError("relay", "must be host:port, such as 127.0.0.1:25")
        return value


class Held(_Section):
    """[held]: mail that is set aside for a person."""

    expire_days: float = Field(default=0.0, ge=0, le=3650)
    """Days after which it is given up, its content kept; only time in which the daemon ran counts. 0 is never."""


class _File(_Section):
    """The whole file, as it is written."""

    daemon: Daemon = Daemon()
    relay: Relay = Relay()
    lines: Lines = Lines()
    intake: Intake = Intake()
    roles: Roles = Roles()
    notices: Notices = Notices()
    held: Held = Held()
    retry: dict[str, Any] = {}
    stages: dict[str, dict[str, Any]] = {}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How this host runs; equal if everything but the files it came from is equal."""

    daemon: Daemon
    relay: Relay
    lines: Lines
    intake: Intake
    roles: Roles
    notices: Notices
    retry: Schedule
    stages: Mapping[str, Stage]
    """By name: those of the lines, with their own settings in them."""
    held: Held = Held()
    files: tuple[Path, ...] = field(default=(), compare=False)
    """What it was read from; empty means built-in defaults."""
    origin: Mapping[Loc, tuple[str, int]] = field(default_factory=dict, compare=False, repr=False)
    """File and line of each key that a file sets; what is not in it is a built-in default."""

    @property
    def hostname(self) -> str:
        """Right side of the Message-IDs that we make, and what we call ourselves in SMTP."""
        return self.daemon.hostname or _own_name()

    @property
    def state_dir(self) -> Path:
        """The folder of the store."""
        return Path(self.daemon.state_dir) if self.daemon.state_dir else paths.default_state_dir()

    @property
    def store(self) -> Path:
        """The database."""
        return self.state_dir / "postroom.db"

    @property
    def socket(self) -> Path:
        """The control socket."""
        return Path(self.daemon.socket) if self.daemon.socket else paths.default_socket()

    @property
    def key_file(self) -> Path:
        """The key under which secrets are sealed."""
        return Path(self.daemon.key_file) if self.daemon.key_file else self.state_dir / "secret.key"

    def line(self, names: tuple[str, ...]) -> tuple[tuple[str, Stage], ...]:
        """The stages of ``lines.inbound`` or ``lines.outbound``, with their names."""
        return tuple((name, self.stages[name]) for name in names)

    def each(self) -> Iterator[tuple[Loc, Any, str, int]]:
        """Every setting as it is in force: key, value, and file and line that set it ("" and 0: the default).

        In the order of conf/postroom.toml. What is "" by rule is told as the rule has it, and no line set that.
        """
        by_rule = {name for name in ("hostname", "state_dir", "socket", "key_file") if not getattr(self.daemon, name)}
        daemon = self.daemon.model_copy(update={name: str(getattr(self, name)) for name in by_rule})
        sections: list[tuple[Loc, Any]] = [(("daemon",), daemon)]
        sections += [((name,), getattr(self, name)) for name in ("relay", "intake", "lines")]
        sections += [(("stages", name), stage) for name, stage in self.stages.items()]
        sections += [((name,), getattr(self, name)) for name in ("held", "retry", "roles", "notices")]
        for loc, section in sections:
            for key, value in _leaves(loc, section):
                ruled = key[0] == "daemon" and key[1] in by_rule
                file, line = ("", 0) if ruled else self.origin.get(key, ("", 0))
                yield key, value, file, line


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with a settings file."""

    file: str
    line: int
    """Counted from 1; 0 where no line is to blame."""
    key: str
    message: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        return ": ".join(part for part in (where, self.key, self.message) if part)


class BadSettings(Refused):
    """The settings do not hold; ``faults`` has all that is wrong with them."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = tuple(faults)


def load(path: Path | None) -> Settings:
    """The settings of a file and the ``conf.d/*.toml`` beside it, or the built-in defaults; raises BadSettings."""
    source = _Source()
    if path is not None:
        source.read(path)
        for extra in sorted((path.parent / "conf.d").glob("*.toml")):
            source.read(extra)
    if source.faults:
        raise BadSettings(source.faults)
    return _settings(source)


def _settings(source: _Source) -> Settings:
    root: _File | None = None
    try:
        root = _File.model_validate(source.content)
    except ValidationError as error:
        source.blame(error, ())
    retry = source.build(Schedule, source.table("retry"), ("retry",))
    if retry is not None and not 0 < retry.first <= retry.longest <= retry.give_up:
        source.add(("retry",), "must satisfy 0 < first <= longest <= give_up")
    stages = dict(source.stages(root.lines if root else Lines()))
    if source.faults or root is None or retry is None:
        raise BadSettings(sorted(source.faults, key=lambda fault: (fault.file, fault.line)))
    names = ("daemon", "relay", "lines", "intake", "roles", "notices", "held")
    sections = {name: getattr(root, name) for name in names}
    return Settings(
        **sections,
        retry=retry,
        stages=MappingProxyType(stages),
        files=tuple(source.files),
        origin=MappingProxyType(source.lines),
    )


class _Source:
    """The files, merged, and what is wrong with them."""

    def __init__(self) -> None:
        self.content: dict[str, Any] = {}
        self.files: list[Path] = []
        self.lines: dict[Loc, tuple[str, int]] = {}
        self.faults: list[Fault] = []

    def read(self, path: Path) -> None:
        try:
            text = path.read_bytes().decode("utf-8-sig")
            content = tomllib.loads(text)
        except OSError as error:
            self.faults.append(Fault(str(path), 0, "", f"cannot be read: {error.strerror}"))
        except UnicodeDecodeError:
            self.faults.append(Fault(str(path), 0, "", "is not UTF-8 text"))
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            found = re.search(r"\(at line (\d+)", str(error))
            message = re.sub(r" \(at .*\)$", "", str(error))
            last = text.count("\n") + 1
            self.faults.append(Fault(str(path), int(found[1]) if found else last, "", f"is not TOML: {message}"))
        else:
            _merge(self.content, content)
            self.files.append(path)
            lines = key_lines(text)
            kept = {loc: place for loc, place in self.lines.items() if not _replaced(loc, lines)}
            self.lines = kept | {loc: (str(path), line) for loc, line in lines.items()}

    def table(self, name: str) -> dict[str, Any]:
        found = self.content.get(name, {})
        return found if isinstance(found, dict) else {}

    def stages(self, lines: Lines) -> Iterator[tuple[str, Any]]:
        """The stages of the lines and of the file, built from ``[stages.NAME]``."""
        tables = self.table("stages")
        for name in dict.fromkeys((*lines.inbound, *lines.outbound, *tables)):
            if (kind := plugins.stage_class(name)) is None:
                known = plugins.stage_names()
                self.add(("stages", name), f"there is no stage of this name{_near(name, known)}")
            elif isinstance(table := tables.get(name, {}), dict):
                yield name, self.build(kind, table, ("stages", name))

    def build(self, kind: type[Any], table: dict[str, Any], loc: Loc) -> Any:
        """A dataclass from its table, or None and faults."""
        unknown = table.keys() - {each.name for each in fields(kind)}
        for name in sorted(unknown):
            self.add((*loc, name), f"unknown key{_near(name, [each.name for each in fields(kind)])}")
        try:
            return TypeAdapter(kind).validate_python({key: table[key] for key in table if key not in unknown})
        except ValidationError as error:
            self.blame(error, loc)
        except (ValueError, TypeError, Refused) as error:
            self.add(loc, str(error))
        return None

    def blame(self, error: ValidationError, loc: Loc) -> None:
        for details in error.errors(include_url=False):
            self.add((*loc, *details["loc"]), _message(details))

    def add(self, loc: Loc, message: str) -> None:
        file, line = next(
            (self.lines[loc[:size]] for size in range(len(loc), 0, -1) if loc[:size] in self.lines), ("", 0)
        )
        key = ".".join(map(str, loc))
        self.faults.append(Fault(file or str(self.files[0] if self.files else "built-in defaults"), line, key, message))


def _merge(into: dict[str, Any], other: Mapping[str, Any]) -> None:
    """Later wins per key; lists are replaced whole."""
    for key, value in other.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def _replaced(loc: Loc, lines: Mapping[Loc, int]) -> bool:
    """Whether a key stands in a list that a later file wrote anew."""
    return any(isinstance(part, int) and loc[:size] in lines for size, part in enumerate(loc))


def _leaves(loc: Loc, value: Any) -> Iterator[tuple[Loc, Any]]:
    """The settings in a section, by their keys."""
    parts: list[tuple[str | int, Any]]
    if isinstance(value, _Section):
        parts = [(each.alias or name, getattr(value, name)) for name, each in type(value).model_fields.items()]
    elif is_dataclass(value):  # what hides from a repr is nobody's to see, though no setting should be a secret
        parts = [(each.name, getattr(value, each.name)) for each in fields(value) if each.init and each.repr]
    elif isinstance(value, tuple) and value and all(isinstance(each, _Section) for each in value):
        parts = list(enumerate(value))
    else:
        yield loc, value
        return
    for name, part in parts:
        yield from _leaves((*loc, name), part)


def _message(details: ErrorDetails) -> str:
    if details["type"] == "extra_forbidden":
        *parent, name = details["loc"]
        return f"unknown key{_near(str(name), _keys_at(tuple(parent)))}"
    message = details["msg"]
    if details["type"] in ("missing", "twice", "tls", "networks", "stage"):
        return message
    shown = ascii(details["input"])
    return f"{message} (got {shown if len(shown) <= 60 else shown[:57] + '...'})"


def _keys_at(loc: Loc) -> list[str]:
    """The keys that a table may have."""
    kind: Any = _File
    for part in loc:
        if isinstance(part, int):
            continue
        found = next((each for name, each in kind.model_fields.items() if part in (name, each.alias)), None)
        inner = [arg for arg in (found.annotation, *get_args(found.annotation)) if _is_section(arg)] if found else []
        if not inner:
            return []
        kind = inner[0]
    return [each.alias or name for name, each in kind.model_fields.items()]


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, _Section) and not is_dataclass(kind)


def _near(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; the nearest is {close[0]}" if close else f"; there are: {', '.join(known)}" if known else ""


def _checked(check: Any, value: str) -> str:
    try:
        return str(check(value))
    except Refused as error:
        raise PydanticCustomError("value", "{why}", {"why": str(error)}) from None


def _own_name() -> str:
    name = socket.gethostname().lower()
    try:
        return check_domain(name)
    except Refused:
        return "localhost.localdomain"
