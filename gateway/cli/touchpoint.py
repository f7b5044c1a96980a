"""postroom touchpoint."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.cli.base import (
    Column,
    Exit,
    Stop,
    add_limit,
    add_password,
    add_yes,
    confirm,
    day,
    emit,
    listing,
    moment,
    page,
    password_of,
    say,
    switch,
    verb,
    verbs,
)
from gateway.cli.status import trouble

if TYPE_CHECKING:
    from gateway.client import Client
    from gateway.control import MailRow, PlanRow, ResumeRow, ServerRow, TouchpointDetail, TouchpointRow

COLUMNS = (
    Column("ID", lambda row: row.id, right=True),
    Column("TOUCHPOINT", lambda row: row.address, wide=True),
    Column("NAME", lambda row: row.name, wide=True),
    Column("DIRECTION", lambda row: row.direction),
    Column("STATE", trouble, wide=True),
    Column("QUEUED", lambda row: f"{row.queued:,}", right=True),
    Column("HELD", lambda row: f"{row.held:,}", right=True),
)
CAUSES = {
    "network": "the server cannot be reached",
    "timeout": "the server did not answer in time",
    "certificate": "the server's certificate does not verify, so nothing was sent to it",
    "throttled": "the provider asks for a pause",
    "provider": "the server failed, or broke the protocol",
    "disk-full": "there is no room on the disk of this host",
    "credential": "the sign-in failed",
    "blocked-access": "the password is right, yet the server lets nobody in with it",
    "renumbered": "how far a folder was read cannot be told: a newer Postroom wrote it",
}
"""What a ``Cause`` means, in words."""
_DIRECTIONS = ("inbound", "outbound", "both")
_ONE = "support@example.org"


def add(parser: argparse.ArgumentParser) -> None:
    """Verbs."""
    parser.description = "Touchpoints: mailboxes at providers. Each is named by its address, an alias, or its id."
    them = verbs(parser)
    listed = verb(
        them,
        "list",
        "all touchpoints",
        _list,
        examples="postroom touchpoint list\npostroom touchpoint list jobs --state lost",
    )
    listed.add_argument("text", nargs="?", default="", metavar="TEXT", help="only those whose address or name holds it")
    listed.add_argument("--state", default="", help="only those that are new, connecting, connected, backoff or lost")
    add_limit(listed)
    _named(verb(them, "show", "one touchpoint's page", _show, examples=f"postroom touchpoint show {_ONE}"))
    verb(them, "providers", "providers whose servers we know", _providers, examples="postroom touchpoint providers")
    _add_pages(them)
    _add_connection(them)
    _add_resume(them)
    _add_queues(them)


def _add_pages(them: Any) -> None:
    create = verb(
        them,
        "create",
        "a new touchpoint, neither connected nor active",
        _create,
        examples=f"""postroom touchpoint create {_ONE} --name Support --provider yahoo
                     postroom touchpoint create {_ONE} --name Support --imap mail.example.org:993:tls
                         --smtp mail.example.org:587:starttls --direction inbound""",
    )
    create.add_argument("address", metavar="ADDRESS")
    create.add_argument(
        "--name", required=True, metavar="NAME", help="the friendly name, shown as author of what we write"
    )
    create.add_argument("--direction", choices=_DIRECTIONS, default="both", help="who may start a conversation")
    create.add_argument(
        "--alias", action="append", default=[], metavar="ADDRESS", help="the mailbox answers to this too"
    )
    edit = verb(
        them,
        "edit",
        "change what is said about it",
        _edit,
        examples=f"""postroom touchpoint edit {_ONE} --name 'Support desk'
                     postroom touchpoint edit {_ONE} --imap mail.example.org:993:tls""",
    )
    _named(edit)
    edit.add_argument("--address", metavar="ADDRESS", help="before the first connect only")
    edit.add_argument("--name", metavar="NAME", help="the friendly name")
    edit.add_argument("--alias", action="append", metavar="ADDRESS", help="instead of all aliases before; '' for none")
    edit.add_argument("--sign-relayed", type=switch, metavar="on|off", help="sign the mail of every relay user")
    for each in (create, edit):
        _connection_options(each)
    copy = verb(
        them,
        "duplicate",
        "its settings, texts, ring groups and blocklist under a new address; unconnected and inactive",
        _duplicate,
        examples=f"postroom touchpoint duplicate {_ONE} sales@example.org --name Sales",
    )
    _named(copy)
    copy.add_argument("address", metavar="NEW-ADDRESS")
    copy.add_argument("--name", required=True, metavar="NAME", help="the friendly name of the copy")
    delete = verb(
        them,
        "delete",
        "remove it; refused while it has mail, unless told what to do with that",
        _delete,
        examples=f"""postroom touchpoint delete {_ONE}
                     postroom touchpoint delete {_ONE} --pending export --to ./support-mail
                     postroom touchpoint delete {_ONE} --pending drop --yes""",
    )
    _named(delete)
    delete.add_argument(
        "--pending", choices=("export", "drop"), help="write pending mail to files first, or give it up"
    )
    delete.add_argument("--to", type=Path, metavar="FOLDER", help="where exported mail goes")
    add_yes(delete)


def _connection_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how the mailbox is reached")
    group.add_argument("--provider", dest="preset", help="custom, gmail-imap, microsoft-imap, yahoo, aol, icloud")
    group.add_argument("--login", dest="user", metavar="NAME", help="the login, where it is not the address")
    group.add_argument(
        "--imap", metavar="HOST:PORT[:SECURITY]", help="security is tls, starttls or none; '' for no inbound half"
    )
    group.add_argument("--smtp", metavar="HOST:PORT[:SECURITY]", help="the same for the outbound half")
    group.add_argument("--ca-file", metavar="FILE", help="trust this authority instead of the system's")
    group.add_argument("--sent-copy", choices=("provider", "append", "none"), help="who files copies in Sent")
    group.add_argument("--null-sender", type=switch, metavar="on|off", help="whether it takes MAIL FROM:<>")
    group.add_argument("--junk-folder", metavar="NAME", help="name of the Junk folder; '' means by its attribute")
    group.add_argument(
        "--mark", metavar="seen|move:FOLDER", help="do this on the server once a mail is stored; '' for nothing"
    )
    group.add_argument(
        "--unknown-outcome",
        choices=("verify_then_resend", "hold_for_person"),
        help="what becomes of mail whose answer never came and that is not found in Sent (default: it is sent again)",
    )


_CONNECTION = (
    "preset", "user", "imap", "smtp", "ca_file", "sent_copy", "null_sender", "junk_folder", "mark", "unknown_outcome",
)  # fmt: skip


def _add_connection(them: Any) -> None:
    connect = verb(
        them,
        "connect",
        "sign in, show what would be taken, and connect; takes new mail only unless --since",
        _connect,
        examples=f"""postroom touchpoint connect {_ONE}
                     postroom touchpoint connect {_ONE} --since 2026-11-01
                     postroom touchpoint connect {_ONE} --password-file ./password --yes""",
    )
    _named(connect)
    add_password(connect)
    connect.add_argument("--new-password", action="store_true", help="ask for the password, though one is kept")
    connect.add_argument("--since", type=day, metavar="DATE", help="take mail from that day on too")
    connect.add_argument("--plan", action="store_true", help="only show what would be taken")
    add_yes(connect)
    test = verb(
        them,
        "test",
        "try both halves, or one, with the password that is kept or another; changes nothing",
        _test,
        examples=f"""postroom touchpoint test {_ONE}
                     postroom touchpoint test {_ONE} --half sending --password-file ./password""",
    )
    _named(test)
    add_password(test)
    test.add_argument("--new-password", action="store_true", help="ask for the password, though one is kept")
    test.add_argument("--half", choices=("receiving", "sending"), default="", help="only this one")
    activate = verb(
        them,
        "activate",
        "let mail move",
        _activate,
        examples=f"postroom touchpoint activate {_ONE}\npostroom touchpoint activate {_ONE} --start-now",
    )
    _named(activate)
    how = activate.add_mutually_exclusive_group()
    how.add_argument("--catch-up", action="store_true", help="take what came while it was inactive")
    how.add_argument("--start-now", action="store_true", help="leave that alone, and take new mail only")
    _named(
        verb(
            them,
            "deactivate",
            "let no mail move; connection and place are kept",
            _deactivate,
            examples=f"postroom touchpoint deactivate {_ONE}",
        )
    )


def _add_resume(them: Any) -> None:
    resume = verb(
        them,
        "resume",
        "say what is taken from a folder that came back with new numbers and much old mail",
        _resume,
        examples=f"""postroom touchpoint resume {_ONE}                 # what is asked
                     postroom touchpoint resume {_ONE} --leave
                     postroom touchpoint resume {_ONE} --folder Junk --take""",
    )
    _named(resume)
    resume.add_argument("--folder", default="", help="only this one (default: all that are asked about)")
    how = resume.add_mutually_exclusive_group()
    how.add_argument("--take", action="store_true", help="take all that is unseen")
    how.add_argument("--leave", action="store_true", help="leave alone what is older than the last arrival")


def _add_queues(them: Any) -> None:
    direction = verb(
        them,
        "direction",
        "who may start a conversation: inbound (customers), outbound (we), both",
        _direction,
        examples=f"postroom touchpoint direction {_ONE} inbound",
    )
    _named(direction)
    direction.add_argument("direction", choices=_DIRECTIONS)
    for name, summary in (
        ("link", "new mail joins the queue of this ring group"),
        ("unlink", "new mail joins that queue no longer; old mail stays"),
    ):
        each = verb(them, name, summary, _link, examples=f"postroom touchpoint {name} {_ONE} 'Front office'")
        _named(each)
        each.add_argument("ring_group", metavar="RING-GROUP")
        each.set_defaults(verb=name)


def _named(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("touchpoint", metavar="TOUCHPOINT")


async def _list(client: Client, options: argparse.Namespace) -> int:
    from gateway.control import ListTouchpoints

    return await listing(
        client,
        options,
        lambda after, limit: ListTouchpoints(text=options.text, state=options.state, after=after, limit=limit),
        COLUMNS,
        "there is no such touchpoint; make one with: postroom touchpoint create ADDRESS --name NAME",
    )


async def _show(client: Client, options: argparse.Namespace) -> None:
    from gateway.control import ShowTouchpoint

    detail = await client.call(ShowTouchpoint(touchpoint=options.touchpoint))
    emit(detail) if options.json else _tell(detail)


def _tell(detail: TouchpointDetail) -> None:
    row = detail.row
    page(
        [
            ("touchpoint", f"{row.address} (id {row.id}, version {row.version})"),
            ("friendly name", row.name),
            ("aliases", " ".join(detail.aliases)),
            ("direction", row.direction),
            ("status", "active" if row.active else "inactive"),
            ("connection", f"{row.state} since {moment(row.state_since)}"),
            ("cause", row.cause),
            ("the server said", row.reason),
            ("signed in", moment(row.signed_in_at)),
            ("polled", moment(row.polled_at)),
            ("provider", detail.preset),
            ("login", detail.user),
            ("password", "kept, sealed" if detail.has_password else "none yet"),
            ("imap", _server(detail.imap)),
            ("smtp", _server(detail.smtp)),
            ("sent copy", detail.sent_copy),
            ("unknown outcome", detail.unknown_outcome),
            ("mark", detail.mark),
            ("linked queues", ", ".join(row.ring_groups) or "none"),
            ("auto-reply", "on" if row.auto_reply else "off"),
            ("signature", "on" if row.signature else "off"),
            ("relay users", " ".join(detail.relay_users)),
            ("blocked", detail.blocked),
            ("in queues", row.queued),
            ("held", row.held),
            ("waiting", row.waiting_in + row.waiting_out),
            ("parked", row.parked),
            ("unknown", row.unknown),
            ("failed", row.failed),
            ("to be fetched again", row.pending),
            *(("new numbers", _resumed(each)) for each in detail.resumes),
        ]
    )


def _resumed(row: ResumeRow) -> str:
    found = f"{row.folder}: known {row.known:,}, left alone {row.left_alone:,}, unseen {row.unseen:,}"
    if row.resumed_at:
        chosen = f"; {row.chosen_by} said: {row.choice}" if row.choice else ""
        return f"{moment(row.resumed_at)} {found}{chosen}"
    said = f"{row.chosen_by} said: {row.choice}" if row.choice else "take them? postroom touchpoint resume --help"
    return f"{moment(row.asked_at)} {found}, {row.old:,} of these are old; {said}"


async def _resume(client: Client, options: argparse.Namespace) -> int:
    from gateway.control import ResumeChoice, ResumeTouchpoint, ShowTouchpoint

    if not (options.take or options.leave):
        detail = await client.call(ShowTouchpoint(touchpoint=options.touchpoint))
        rows = [row for row in detail.resumes if options.folder in ("", row.folder)]
        if options.json:
            for row in rows:
                emit(row)
        else:
            page([("folder", _resumed(row)) for row in rows])
        asked = [row.folder for row in rows if row.asked_at and not row.resumed_at and not row.choice]
        say("say --take or --leave" if asked else "nothing is asked about this touchpoint")
        return Exit.USAGE if asked else Exit.OK
    choice = ResumeChoice.TAKE if options.take else ResumeChoice.LEAVE
    changed = await client.call(ResumeTouchpoint(touchpoint=options.touchpoint, choice=choice, folder=options.folder))
    _changed(options, changed, "goes on: " + ("all is taken" if options.take else "what is old is left alone"))
    return Exit.OK


def _server(server: ServerRow | None) -> str:
    return "none" if server is None else f"{server.host}:{server.port} {server.security}"


async def _create(client: Client, options: argparse.Namespace) -> None:
    from gateway.control import CreateTouchpoint
    from pipeline.touchpoint import DirectionType

    row = await client.call(
        CreateTouchpoint(
            address=options.address,
            name=options.name,
            direction=DirectionType(options.direction),
            aliases=tuple(options.alias),
        )
    )
    try:
        await _set_connection(client, options, str(row.id))
    except Exception:
        say(f"{row.address} is created, but how it is reached is not said yet: postroom touchpoint edit {row.address}")
        raise
    if options.json:
        emit(row)
    say(f"{row.address} is created; connect it with: postroom touchpoint connect {row.address}")


async def _edit(client: Client, options: argparse.Namespace) -> None:
    from gateway.control import EditTouchpoint, ShowTouchpoint

    changes: dict[str, Any] = {
        "address": options.address,
        "name": options.name,
        "aliases": None if options.alias is None else tuple(filter(None, options.alias)),
        "signs_relayed": options.sign_relayed,
    }
    asked = any(value is not None for value in changes.values())
    if not asked and not any(getattr(options, name) is not None for name in _CONNECTION):
        raise Stop(Exit.USAGE, "nothing to change; see: postroom touchpoint edit --help")
    named = options.touchpoint
    if asked:
        named = str((await client.call(EditTouchpoint(touchpoint=named, **changes))).id)
    await _set_connection(client, options, named)
    detail = await client.call(ShowTouchpoint(touchpoint=named))
    if options.json:
        emit(detail)
    say(f"{detail.row.address} is changed (version {detail.row.version})")
    if not detail.has_password:
        say(f"connect it with: postroom touchpoint connect {detail.row.address}")


async def _set_connection(client: Client, options: argparse.Namespace, named: str) -> None:
    from gateway.control import SetConnection

    asked = {name: getattr(options, name) for name in _CONNECTION if getattr(options, name) is not None}
    if asked:
        await client.call(SetConnection(touchpoint=named, **asked))


async def _duplicate(client: Client, options: argparse.Namespace) -> None:
    from gateway.control import DuplicateTouchpoint

    row = await client.call(
        DuplicateTouchpoint(touchpoint=options.touchpoint, address=options.address, name=options.name)
    )
    if options.json:
        emit(row)
    say(f"{row.address} is created; connect it with: postroom touchpoint connect {row.address}")


async def _delete(client: Client, options: argparse.Namespace) -> None:
    from gateway.control import DeleteTouchpoint

    if (options.pending == "export") != (options.to is not None):
        raise Stop(Exit.USAGE, "--pending export and --to FOLDER belong together")
    what = {"drop": " and give up its pending mail", "export": f" and move its pending mail to {options.to}"}
    confirm(options, f"Delete {options.touchpoint}{what.get(options.pending, '')}?")
    if options.pending == "export":
        await _export_pending(client, options)
    done = await client.call(
        DeleteTouchpoint(
            touchpoint=options.touchpoint,
            drop_pending=options.pending == "drop",
            leave_remote=options.pending is not None,
        )
    )
    if options.json:
        emit(done)
    say(done.words)


async def _export_pending(client: Client, options: argparse.Namespace) -> None:
    """Stop the flow, write every pending mail, and give up exactly what was written."""
    from gateway.cli.spool import export_to
    from gateway.control import CloseMail, DeactivateTouchpoint, DropMail, ListMail, ShowTouchpoint

    if (await client.call(ShowTouchpoint(touchpoint=options.touchpoint))).row.active:
        await client.call(DeactivateTouchpoint(touchpoint=options.touchpoint))
    try:
        options.to.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Stop(Exit.CANT_CREATE, f"{options.to} cannot be made: {error.strerror}") from None
    exported: list[MailRow] = []
    for state in ("unsettled", "open"):
        after: int | None = 0
        while after is not None:
            found = await client.call(ListMail(touchpoint=options.touchpoint, state=state, after=after, limit=500))
            for row in found.rows:
                if row.size:
                    await export_to(client, row.id, options.to / f"{row.direction}-{row.id}.eml")
                exported.append(row)
            after = found.next or None
    say(f"{len(exported)} mail exported to {options.to}")
    for row in exported:
        await client.call(CloseMail(id=row.id) if row.state == "queued" else DropMail(id=row.id))


async def _connect(client: Client, options: argparse.Namespace) -> int:
    from gateway.control import ConnectTouchpoint, PlanConnect, ShowTouchpoint

    detail = await client.call(ShowTouchpoint(touchpoint=options.touchpoint))
    password = _password(options, detail)
    if options.plan or (detail.imap is not None and not options.yes):
        plan = await client.call(PlanConnect(touchpoint=options.touchpoint, password=password, since=options.since))
        if options.plan and options.json:
            emit(plan)
        else:
            _tell_plan(plan)
        if options.plan:
            return Exit.NOT_FOUND if plan.twin else Exit.OK
        if plan.twin:
            raise Stop(Exit.DATA, plan.twin)
        confirm(options, "Connect?")
    row = await client.call(ConnectTouchpoint(touchpoint=options.touchpoint, password=password, since=options.since))
    if options.json:
        emit(row)
    say(f"{row.address} is signed in, in both directions that it has")
    if not row.active:
        say(f"no mail moves yet; activate it with: postroom touchpoint activate {row.address}")
    return Exit.OK


def _password(options: argparse.Namespace, detail: TouchpointDetail) -> str | None:
    given = options.password_stdin or options.password_file or options.new_password
    if detail.has_password and not given:
        return None
    from gateway.presets import presets

    kind = presets()[detail.preset].password if detail.preset in presets() else "the password"
    return password_of(options, f"{detail.user or detail.row.address}, {kind}")


def _tell_plan(plan: PlanRow) -> None:
    from gateway.text import safe_text

    say(f"signed in at {plan.server} as {plan.principal}")
    for folder in plan.folders:
        say(f"{safe_text(folder.folder)}: {folder.there} mails are there, {folder.taken} of them would be taken")
    say(f"on the server: {plan.marks or 'nothing is changed'}; auto-replies to mail that is there already: none")
    if plan.twin:
        say(f"it cannot be connected: {plan.twin}")


async def _test(client: Client, options: argparse.Namespace) -> int:
    from gateway.control import ShowTouchpoint, TryTouchpoint

    detail = await client.call(ShowTouchpoint(touchpoint=options.touchpoint))
    given = options.password_stdin or options.password_file or options.new_password
    password = _password(options, detail) if given else None
    row = await client.call(TryTouchpoint(touchpoint=options.touchpoint, password=password, half=options.half))
    if options.json:
        emit(row)
    else:
        halves = {
            "receiving": _half(detail.imap, row.receiving, row.receiving_cause),
            "sending": _half(detail.smtp, row.sending, row.sending_cause),
        }
        page([(name, words) for name, words in halves.items() if options.half in ("", name)])
    return Exit.OK if row.works else Exit.NOT_FOUND


def _half(server: ServerRow | None, trouble: str, cause: str) -> str:
    """How a half stands: what that means, and what the server said."""
    if not trouble:
        return "works" if server else _server(server)
    return f"{CAUSES.get(cause, cause)}: {trouble}" if cause else trouble


async def _providers(client: Client, options: argparse.Namespace) -> None:
    from gateway.control import ListPresets

    for number, row in enumerate((await client.call(ListPresets())).rows):
        if options.json:
            emit(row)
        else:
            print("\n" if number else "", end="")
            page(
                [
                    ("provider", f"{row.name}: {row.title}"),
                    ("imap", _server(row.imap) if row.imap else "say it with --imap HOST:PORT:SECURITY"),
                    ("smtp", _server(row.smtp) if row.smtp else "say it with --smtp HOST:PORT:SECURITY"),
                    ("password", row.password),
                ]
            )


async def _activate(client: Client, options: argparse.Namespace) -> None:
    from gateway.control import ActivateTouchpoint, ShowTouchpoint

    detail = await client.call(ShowTouchpoint(touchpoint=options.touchpoint))
    before = detail.activated_at and not detail.row.active
    if before and not (options.catch_up or options.start_now):
        raise Stop(
            Exit.USAGE,
            f"{detail.row.address} was active before: --catch-up with what came meanwhile, or --start-now?",
        )
    row = await client.call(ActivateTouchpoint(touchpoint=options.touchpoint, start_now=options.start_now))
    _changed(
        options,
        row,
        "is active" + ("" if row.state == "connected" else f", and mail moves once it is connected ({row.state})"),
    )


async def _deactivate(client: Client, options: argparse.Namespace) -> None:
    from gateway.control import DeactivateTouchpoint

    row = await client.call(DeactivateTouchpoint(touchpoint=options.touchpoint))
    _changed(options, row, "is inactive; its place in the mailbox is kept")


async def _direction(client: Client, options: argparse.Namespace) -> None:
    from gateway.control import SetDirection
    from pipeline.touchpoint import DirectionType

    call = SetDirection(touchpoint=options.touchpoint, direction=DirectionType(options.direction))
    row = await client.call(call)
    _changed(options, row, f"has direction {row.direction}, from the next mail on")


async def _link(client: Client, options: argparse.Namespace) -> None:
    from gateway.control import LinkRingGroup, UnlinkRingGroup

    call = LinkRingGroup if options.verb == "link" else UnlinkRingGroup
    row: TouchpointRow = await client.call(call(touchpoint=options.touchpoint, ring_group=options.ring_group))
    _changed(options, row, f"has the linked queues: {', '.join(row.ring_groups) or 'none'}; new mail only")


def _changed(options: argparse.Namespace, row: TouchpointRow, words: str) -> None:
    if options.json:
        emit(row)
    say(f"{row.address} {words}")
