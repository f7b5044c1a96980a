"""Calls about touchpoints: their page, connection, activation, queues, blocklist and texts."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from ipaddress import ip_address

from gateway import connecting, views
from gateway.control import (
    ActivateTouchpoint,
    Block,
    ConnectTouchpoint,
    CreateTouchpoint,
    DeactivateTouchpoint,
    DeleteTouchpoint,
    DuplicateTouchpoint,
    EditTouchpoint,
    LinkRingGroup,
    ListBlocklist,
    ListTouchpoints,
    PlanConnect,
    SetConnection,
    SetDirection,
    SetTemplate,
    ShowTemplate,
    ShowTouchpoint,
    TryTouchpoint,
    Unblock,
    UnlinkRingGroup,
)
from gateway.desk.parts import Parts, Said
from gateway.events import TouchpointFact, TouchpointWhat
from gateway.presets import preset
from gateway.rows import (
    BlockRow,
    Done,
    FolderPlan,
    Page,
    PlanRow,
    ServerRow,
    TemplateRow,
    TouchpointDetail,
    TouchpointRow,
    TryRow,
)
from gateway.server import Caller
from pipeline import people, touchpoints
from pipeline.directory import connection_from_json
from pipeline.errors import PostroomError, Refused
from pipeline.names import check_domain, check_name
from pipeline.store import Tx, Value
from pipeline.touchpoint import Connection, Security, SentCopy, Server, Touchpoint, UnknownPolicy
from pipeline.touchpoints import TemplateKind

_W = TouchpointWhat
_HALVES = ("receiving", "sending")


class Touchpoints:
    """Answers to calls about touchpoints."""

    def __init__(self, parts: Parts, drop_all: Callable[[int, Caller], Awaitable[None]]) -> None:
        self._parts = parts
        self._drop_all = drop_all

    def _find(self, named: str) -> Touchpoint:
        return views.find(self._parts.house.directory, named)

    async def search(self, call: ListTouchpoints, caller: Caller) -> Page[TouchpointRow]:
        """By id; filtered by text and state."""
        scene = self._parts.scene
        text = call.text.casefold()
        wanted = [
            each
            for number, each in sorted(scene.directory.touchpoints.items())
            if number > call.after
            and (text in each.address.casefold() or text in each.name.casefold())
            and (not call.state or scene.state_of(number).value == call.state)
        ]
        limit = max(1, min(call.limit, 300))
        rows = await self._parts.store.read(lambda tx: views.touchpoints(tx, scene, wanted[:limit]))
        return Page(rows=tuple(rows), next=wanted[limit - 1].id if len(wanted) > limit else 0)

    async def show(self, call: ShowTouchpoint, caller: Caller) -> TouchpointDetail:
        """One page."""
        tp = self._find(call.touchpoint)
        row = await self._parts.touchpoint_row(tp.id)
        kept, resumes = await self._parts.store.read(
            lambda tx: (views.has_password(tx, tp.id), views.resumes(tx, tp.id))
        )
        users = self._parts.house.directory.relay_users.values()
        connection = tp.connection
        return TouchpointDetail(
            row=row,
            aliases=tuple(sorted(tp.aliases)),
            connector=connection.connector,
            preset=connection.preset,
            user=connection.user,
            imap=_server_row(connection.imap),
            smtp=_server_row(connection.smtp),
            ca_file=connection.ca_file,
            sent_copy=connection.sent_copy.value,
            junk_folder=connection.junk_folder,
            mark=connection.mark,
            signs_relayed=tp.signs_relayed,
            blocked=len(tp.blocklist),
            relay_users=tuple(sorted(user.name for user in users if tp.id in user.grants))[:100],
            activated_at=tp.activated_at,
            has_password=kept,
            unknown_outcome=connection.unknown_outcome.value,
            resumes=resumes,
        )

    async def create(self, call: CreateTouchpoint, caller: Caller) -> TouchpointRow:
        """Neither connected nor active."""

        def work(tx: Tx) -> int:
            return touchpoints.create(
                tx,
                address=call.address,
                name=call.name,
                direction=call.direction,
                aliases=call.aliases,
                now=self._parts.clock(),
            )

        number = await self._parts.change(caller, "touchpoint.create", call.address, work, {"name": call.name})
        return await self._parts.changed(number, _W.CREATED)

    async def edit(self, call: EditTouchpoint, caller: Caller) -> TouchpointRow:
        """None leaves a thing as it is."""
        tp = self._find(call.touchpoint)
        changes = {name: getattr(call, name) for name in ("address", "name", "aliases", "signs_relayed")}
        return await self._parts.change_touchpoint(
            caller,
            "touchpoint.edit",
            tp.id,
            lambda tx: touchpoints.edit(tx, tp.id, **changes),
            _replacing(_words(changes), lambda tx: _page(tx, tp.id)),
        )

    async def duplicate(self, call: DuplicateTouchpoint, caller: Caller) -> TouchpointRow:
        """A copy under a new address."""
        tp = self._find(call.touchpoint)

        def work(tx: Tx) -> int:
            return touchpoints.duplicate(tx, tp.id, address=call.address, name=call.name, now=self._parts.clock())

        number = await self._parts.change(caller, "touchpoint.duplicate", tp.address, work, {"copy": call.address})
        return await self._parts.changed(number, _W.CREATED)

    async def delete(self, call: DeleteTouchpoint, caller: Caller) -> Done:
        """A tombstone; with ``drop_pending`` it is deactivated first, so that nothing new comes in meanwhile."""
        tp = self._find(call.touchpoint)
        if call.drop_pending:
            if tp.active:
                await self.deactivate(DeactivateTouchpoint(touchpoint=str(tp.id)), caller)
            await self._drop_all(tp.id, caller)

        def work(tx: Tx) -> None:
            touchpoints.delete(tx, tp.id, self._parts.clock(), leave_remote=call.leave_remote or call.drop_pending)

        await self._parts.change(
            caller, "touchpoint.delete", tp.address, work, {"drop_pending": int(call.drop_pending)}
        )
        await self._parts.house.directory_changed(tp.id)
        self._parts.events.publish(TouchpointFact(_W.DELETED, tp.id))
        return Done(words=f"{tp.address} is deleted")

    async def direction(self, call: SetDirection, caller: Caller) -> TouchpointRow:
        """From the next mail on."""
        tp = self._find(call.touchpoint)
        return await self._parts.change_touchpoint(
            caller,
            "touchpoint.direction",
            tp.id,
            lambda tx: touchpoints.set_direction(tx, tp.id, call.direction),
            _replacing({"direction": call.direction.value}, lambda tx: _page(tx, tp.id)),
        )

    # -- connection --------------------------------------------------------------------------------------------------

    async def connection(self, call: SetConnection, caller: Caller) -> TouchpointDetail:
        """How the mailbox is reached; a password that is kept is never taken to another server."""
        tp = self._find(call.touchpoint)
        connection = _connection(tp, call)
        elsewhere = _whither(connection) != _whither(tp.connection)

        def work(tx: Tx) -> None:
            touchpoints.set_connection(tx, tp.id, connection)
            if elsewhere:
                touchpoints.forget_secrets(tx, tp.id)

        def said(tx: Tx) -> people.Detail:
            """A preset changes more than is said: all that becomes another is told as it was."""
            old, new = _way(connection_from_json(touchpoints.live(tx, tp.id)["connection"])), _way(connection)
            asked = _words({name: value for name, value in vars(call).items() if name != "touchpoint"})
            return {**asked, "was": {name: old[name] for name in old if name in asked or old[name] != new[name]}}

        await self._parts.change_touchpoint(caller, "touchpoint.connection", tp.id, work, said)
        return await self.show(ShowTouchpoint(touchpoint=str(tp.id)), caller)

    async def plan(self, call: PlanConnect, caller: Caller) -> PlanRow:
        """Changes nothing."""
        tp = self._reachable(call.touchpoint)
        found = await self._parts.house.plan(tp.id, call.password, call.since)
        twin = await self._parts.store.read(lambda tx: connecting.twin(tx, tp, found))
        return PlanRow(
            server=found.identity.server,
            principal=found.identity.principal,
            folders=tuple(
                FolderPlan(folder=each.folder.name, there=each.there, taken=each.taken) for each in found.folders
            ),
            marks=tp.connection.mark,
            twin=twin,
        )

    async def connect(self, call: ConnectTouchpoint, caller: Caller) -> TouchpointRow:
        """Proves, keeps, connects."""
        tp = self._reachable(call.touchpoint)
        await self._parts.house.connect(tp.id, call.password, call.since)
        since = call.since or 0.0
        await self._parts.change(caller, "touchpoint.connect", tp.address, lambda tx: None, {"since": since})
        return await self._parts.touchpoint_row(tp.id)

    async def test(self, call: TryTouchpoint, caller: Caller) -> TryRow:
        """Changes nothing."""
        if call.half and call.half not in _HALVES:
            raise Refused(f"there is no half {call.half[:40]!a}; there are: {', '.join(_HALVES)}")
        tp = self._reachable(call.touchpoint)
        receiving, sending = await self._parts.house.test(tp.id, call.password, call.half)
        return TryRow(
            receiving=_trouble(receiving),
            sending=_trouble(sending),
            receiving_cause=_cause(receiving),
            sending_cause=_cause(sending),
        )

    def _reachable(self, named: str) -> Touchpoint:
        tp = self._find(named)
        if tp.connection.imap is None and tp.connection.smtp is None:
            raise Refused(
                f"it is not said yet how the mailbox of {tp.address} is reached;"
                f" say it with: postroom touchpoint edit {tp.address} --provider NAME"
            )
        return tp

    async def activate(self, call: ActivateTouchpoint, caller: Caller) -> TouchpointRow:
        """Catch up, or start now."""
        tp = self._find(call.touchpoint)
        now = self._parts.clock()
        skipped = await self._parts.house.skip_to_now(tp.id) if call.start_now and not tp.active else 0
        return await self._parts.change_touchpoint(
            caller,
            "touchpoint.activate",
            tp.id,
            lambda tx: touchpoints.activate(tx, tp.id, now),
            _replacing(
                {"active": 1, "start_now": int(call.start_now), "skipped": skipped}, lambda tx: _page(tx, tp.id)
            ),
            _W.ACTIVATED,
        )

    async def deactivate(self, call: DeactivateTouchpoint, caller: Caller) -> TouchpointRow:
        """Answers after the page in hand is committed."""
        tp = self._find(call.touchpoint)
        return await self._parts.change_touchpoint(
            caller,
            "touchpoint.deactivate",
            tp.id,
            lambda tx: touchpoints.deactivate(tx, tp.id),
            _replacing({"active": 0}, lambda tx: _page(tx, tp.id)),
            _W.DEACTIVATED,
        )

    # -- queues, blocklist, texts ------------------------------------------------------------------------------------

    async def link(self, call: LinkRingGroup, caller: Caller) -> TouchpointRow:
        """Touches new mail only."""
        tp, group = self._find(call.touchpoint), views.ring_group(self._parts.house.directory, call.ring_group)
        return await self._parts.change_touchpoint(
            caller,
            "touchpoint.link",
            tp.id,
            lambda tx: touchpoints.link(tx, tp.id, group),
            {"ring_group": call.ring_group},
        )

    async def unlink(self, call: UnlinkRingGroup, caller: Caller) -> TouchpointRow:
        """Touches new mail only."""
        tp, group = self._find(call.touchpoint), views.ring_group(self._parts.house.directory, call.ring_group)
        return await self._parts.change_touchpoint(
            caller,
            "touchpoint.unlink",
            tp.id,
            lambda tx: touchpoints.unlink(tx, tp.id, group),
            {"ring_group": call.ring_group},
        )

    async def blocklist(self, call: ListBlocklist, caller: Caller) -> Page[BlockRow]:
        """In the order of entry."""
        directory = self._parts.house.directory
        return await self._parts.store.read(lambda tx: views.blocklist(tx, directory, call))

    async def block(self, call: Block, caller: Caller) -> Done:
        """From now on."""
        tp, now = self._find(call.touchpoint), self._parts.clock()
        note = check_name(call.note, "the note", 500) if call.note else ""

        def work(tx: Tx) -> object:
            return touchpoints.block(tx, tp.id, call.pattern, note=note, by=caller.name, now=now)

        await self._parts.change_touchpoint(caller, "blocklist.add", tp.id, work, {"pattern": call.pattern})
        return Done(words=f"{call.pattern} is blocked for {tp.address}: its mail is held from now on")

    async def unblock(self, call: Unblock, caller: Caller) -> Done:
        """What is held stays held."""
        tp = self._find(call.touchpoint)
        await self._parts.change_touchpoint(
            caller,
            "blocklist.remove",
            tp.id,
            lambda tx: touchpoints.unblock(tx, tp.id, call.pattern),
            {"pattern": call.pattern},
        )
        return Done(words=f"{call.pattern} is no longer blocked for {tp.address}; what is held stays held")

    async def template(self, call: ShowTemplate, caller: Caller) -> TemplateRow:
        """Empty where none was ever written."""
        tp, kind = self._find(call.touchpoint), _kind(call.kind)
        return await self._parts.store.read(lambda tx: views.template(tx, tp.id, kind))

    async def set_template(self, call: SetTemplate, caller: Caller) -> TemplateRow:
        """None leaves a thing as it is."""
        tp, kind, now = self._find(call.touchpoint), _kind(call.kind), self._parts.clock()
        changes = {name: getattr(call, name) for name in ("active", "subject", "text", "html")}
        await self._parts.change_touchpoint(
            caller,
            f"{kind.value}.set",
            tp.id,
            lambda tx: touchpoints.set_template(tx, tp.id, kind, now, **changes),
            _replacing(_words(changes, 200), lambda tx: _text(views.template(tx, tp.id, kind))),
        )
        return await self.template(ShowTemplate(touchpoint=str(tp.id), kind=kind), caller)


def _trouble(error: PostroomError | None) -> str:
    return "" if error is None else str(error) or type(error).__name__


def _cause(error: PostroomError | None) -> str:
    return str(getattr(error, "cause", ""))


# -- What the audit is told ----------------------------------------------------------------------------------------


def _replacing(said: Mapping[str, Value], old: Callable[[Tx], Mapping[str, Value]]) -> Said:
    """What is said, and what that takes the place of, as the transaction of the change finds it."""

    def both(tx: Tx) -> people.Detail:
        return {**said, "was": {name: value for name, value in old(tx).items() if name in said}}

    return both


def _words(changes: Mapping[str, object], most: int = 1000) -> dict[str, Value]:
    """Changes as the audit keeps them; None changes nothing."""
    known = {name: value for name, value in changes.items() if value is not None}
    return {name: (" ".join(value) if isinstance(value, tuple) else str(value))[:most] for name, value in known.items()}


def _page(tx: Tx, touchpoint_id: int) -> dict[str, Value]:
    row = touchpoints.live(tx, touchpoint_id)
    plain = {name: row[name] for name in ("address", "name", "direction", "active")}
    aliases, signs = tuple(json.loads(row["aliases"])), bool(row["signs_relayed"])
    return {**plain, **_words({"aliases": aliases, "signs_relayed": signs})}


def _way(connection: Connection) -> dict[str, Value]:
    """A connection in the words of ``SetConnection``."""
    names = ("preset", "user", "ca_file", "sent_copy", "null_sender", "junk_folder", "mark", "unknown_outcome")
    servers = {"imap": connection.imap, "smtp": connection.smtp}
    return _words(
        {name: getattr(connection, name) for name in names}
        | {half: f"{at.host}:{at.port}:{at.security}" if at else "" for half, at in servers.items()}
    )


def _text(row: TemplateRow) -> dict[str, Value]:
    return _words({"active": row.active, "subject": row.subject, "text": row.text, "html": row.html}, 200)


# -- What people write -----------------------------------------------------------------------------------------------


def _kind(name: str) -> TemplateKind:
    try:
        return TemplateKind(name)
    except ValueError:
        raise Refused(f"there is no text {name[:40]!a}; there are: {', '.join(TemplateKind)}") from None


def _server_row(server: Server | None) -> ServerRow | None:
    return None if server is None else ServerRow(host=server.host, port=server.port, security=server.security.value)


def _whither(connection: Connection) -> tuple[object, ...]:
    """Where a password goes, and who may read it on the way."""
    return connection.user, connection.imap, connection.smtp, connection.ca_file


def _connection(tp: Touchpoint, call: SetConnection) -> Connection:
    made = tp.connection
    if call.preset is not None:
        made = preset(call.preset).connection(made.user)
    made = replace(
        made,
        user=check_name(call.user, "the login") if call.user else made.user or tp.address,
        imap=made.imap if call.imap is None else _server(call.imap),
        smtp=made.smtp if call.smtp is None else _server(call.smtp),
        ca_file=made.ca_file if call.ca_file is None else _path(call.ca_file),
        sent_copy=made.sent_copy if call.sent_copy is None else _sent_copy(call.sent_copy),
        null_sender=made.null_sender if call.null_sender is None else call.null_sender,
        junk_folder=made.junk_folder if call.junk_folder is None else _folder(call.junk_folder),
        mark=made.mark if call.mark is None else _mark(call.mark),
        unknown_outcome=_policy(call.unknown_outcome or tp.connection.unknown_outcome),
    )
    for half, server in (("imap", made.imap), ("smtp", made.smtp)):
        if server is not None and not server.host:
            raise Refused(f"it is not said yet where {half} goes; say it with: --{half} HOST:PORT:tls")
    return made


def _server(text: str) -> Server | None:
    """``host:port:security``; "" is none."""
    if not text:
        return None
    host, _, rest = text.strip("[").replace("]", "").rpartition(":")
    host, port, security = (*host.rpartition(":")[::2], rest) if not rest.isdigit() else (host, rest, "tls")
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise Refused(f"{text[:100]!a} is no server; write it as HOST:PORT:tls, :starttls or :none")
    if security not in tuple(Security):
        raise Refused(f"{security[:40]!a} is no kind of security; there are: {', '.join(Security)}")
    if not _is_address(host):
        host = check_domain(host)
    if security == Security.NONE and not _is_loopback(host):
        raise Refused("without TLS only servers on this host are reached; use tls or starttls")
    return Server(host=host, port=int(port), security=Security(security))


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    return host == "localhost" or (_is_address(host) and ip_address(host).is_loopback)


def _sent_copy(text: str) -> SentCopy:
    try:
        return SentCopy(text)
    except ValueError:
        raise Refused(f"{text[:40]!a} says not who files Sent copies; there are: {', '.join(SentCopy)}") from None


def _policy(text: str) -> UnknownPolicy:
    try:
        return UnknownPolicy(text)
    except ValueError:
        names = ", ".join(UnknownPolicy)
        raise Refused(f"{text[:40]!a} is no policy for unknown outcomes; there are: {names}") from None


def _path(text: str) -> str:
    if text and not text.startswith("/"):
        raise Refused("the CA file must be an absolute path, beginning with /")
    return text


def _folder(text: str) -> str:
    return check_name(text, "the folder") if text else ""


def _mark(text: str) -> str:
    if text in ("", "seen"):
        return text
    verb, _, folder = text.partition(":")
    if verb != "move" or not folder:
        raise Refused("a mark is seen or move:FOLDER, or empty for none")
    return f"move:{check_name(folder, 'the folder')}"
