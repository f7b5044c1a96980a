"""What ``queue``, ``spool`` and ``why`` share: showing mail, reading it, and acting on it by id."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from gateway.cli.base import Column, Exit, emit, moment, page, positive, say, size, table, verb

if TYPE_CHECKING:
    from gateway.client import Client
    from gateway.control import AuditRow, LedgerRow, MailDetail, MailRow, MailText


def who(row: MailRow) -> str:
    """The other side of a mail: who wrote it, or whom it goes to."""
    if row.direction == "in":
        return row.author or "(nobody)"
    more = f" +{row.recipient_count - 1}" if row.recipient_count > 1 else ""
    return (row.recipients[0] if row.recipients else "(nobody)") + more


def state(row: MailRow) -> str:
    """Where it stands, with the cause where it has one."""
    return f"{row.state} {row.cause}".strip() if row.state in ("held", "failed") else row.state


ID = Column("ID", lambda row: row.id, right=True)
WHEN = Column("WHEN", lambda row: moment(row.received_at or row.accepted_at))
SUBJECT = Column("SUBJECT", lambda row: row.subject or "(no subject)", wide=True)
QUEUE = (
    ID,
    WHEN,
    Column("FROM", who, wide=True),
    SUBJECT,
    Column("QUEUES", lambda row: ", ".join(row.queues) or "none", wide=True),
)
SPOOL = (
    ID,
    Column("DIR", lambda row: row.direction),
    Column("STATE", state),
    WHEN,
    Column("FROM/TO", who, wide=True),
    SUBJECT,
)


HELD = (
    ID,
    Column("DIR", lambda row: row.direction),
    Column("CAUSE", lambda row: row.cause),
    WHEN,
    Column("FROM/TO", who, wide=True),
    SUBJECT,
    Column("EXPIRES", lambda row: moment(row.expires_at) or "-"),
)


def add_ids(parser: argparse.ArgumentParser) -> None:
    """Mails by their ids."""
    parser.add_argument("ids", nargs="+", type=positive, metavar="ID")


def act_verb(parent: Any, noun: str, name: str, summary: str, call: str, past: str) -> argparse.ArgumentParser:
    """A verb that does one thing to each mail that is named."""
    parser = verb(parent, name, summary, act, examples=f"postroom {noun} {name} 17\npostroom {noun} {name} 17 18 19")
    add_ids(parser)
    parser.set_defaults(call=call, past=past)
    return parser


async def act(client: Client, options: argparse.Namespace, **more: Any) -> int:
    """Make one call for each id, with ``more`` in it; one that is refused does not stop the others."""
    from gateway import control
    from gateway.client import CallFailed

    call = getattr(control, options.call)
    if getattr(options, "reason", ""):
        more["reason"] = options.reason
    code = Exit.OK
    for number in options.ids:
        try:
            row = await client.call(call(id=number, **more))
        except CallFailed as error:
            if len(options.ids) == 1 or error.code != control.Code.REFUSED:
                raise
            say(str(error))
            code = Exit.DATA
            continue
        if options.json:
            emit(row)
        fetched = options.call == "ReleaseMail" and row.state == "held"
        say(f"mail {number} is {options.past}: {row.reason if fetched else state(row)}")
    return code


HEADERS = ("from", "to", "cc", "date", "subject")
PARTS = (
    Column("PART", lambda part: part.name or "(no name)", wide=True),
    Column("TYPE", lambda part: part.type, wide=True),
    Column("SIZE", lambda part: size(part.size), right=True),
)


def add_read(parent: Any, noun: str, name: str) -> None:
    """The verb that reads one mail."""
    parser = verb(
        parent,
        name,
        "one mail as people read it: headers, text, and what else is in it",
        read,
        examples=f"postroom {noun} {name} 17\npostroom {noun} {name} 17 --all-headers",
    )
    parser.add_argument("id", type=positive, metavar="ID")
    parser.add_argument("--all-headers", action="store_true", help="all header fields, in the order of the mail")


async def read(client: Client, options: argparse.Namespace) -> None:
    """One mail as people read it."""
    from gateway.control import ReadText

    mail = await client.call(ReadText(id=options.id))
    emit(mail) if options.json else _tell_text(mail, all_headers=options.all_headers)


def _tell_text(mail: MailText, *, all_headers: bool) -> None:
    from gateway.text import safe_text

    named = [(header.name.lower(), header) for header in mail.headers]
    shown = mail.headers if all_headers else [each for wanted in HEADERS for name, each in named if name == wanted]
    page((header.name, header.value) for header in shown)
    print()
    if mail.text:
        print(safe_text(mail.text, multiline=True).rstrip("\n"))
    if mail.parts:
        print()
        table(mail.parts, PARTS, "")
    if mail.source == "none":
        say("there is no text in it that can be shown")
    if mail.source == "html":
        say("it is written in HTML; this is its text, with the hosts of its links")
    if mail.cut:
        say(f"there is more of it; the whole mail: postroom spool export {mail.id} --to FILE")


async def show(client: Client, options: argparse.Namespace) -> None:
    """One mail with everything but its content."""
    from gateway.control import ShowMail
    from gateway.text import safe_text

    detail = await client.call(ShowMail(id=options.id))
    if options.json:
        emit(detail)
        return
    tell(detail)
    for row in await _people(client, options.id):
        detail_words = "" if row.detail == "{}" else f" {row.detail}"
        print(safe_text(f"{moment(row.at)} {row.actor}: {row.verb.removeprefix('mail.')}{detail_words}"))


async def _people(client: Client, number: int) -> tuple[AuditRow, ...]:
    """What people did to a mail, the oldest first, for those who may know."""
    from gateway.client import CallFailed
    from gateway.control import Code, ListAudit

    try:
        page = await client.call(ListAudit(subject=f"mail {number}", limit=20))
    except CallFailed as error:
        if error.code != Code.NOT_PERMITTED:
            raise
        return ()
    if page.rows:
        print("\nwhat people did")
    return tuple(reversed(page.rows))


def tell(detail: MailDetail) -> None:
    """A mail's story, for people."""
    row = detail.row
    sender = {None: "unknown", "": "<>"}.get(detail.envelope_sender, detail.envelope_sender)
    page(
        [
            ("mail", f"{row.id}, {'in' if row.direction == 'in' else 'out'} ({row.origin}), {size(row.size)}"),
            ("state", state(row)),
            ("because", row.reason),
            ("touchpoint", row.touchpoint),
            ("from", row.author),
            ("envelope from", sender if sender != row.author else ""),
            ("subject", row.subject),
            ("message-id", row.message_id),
            ("kind", ", ".join(filter(None, (row.kind, row.mark)))),
            ("queues", ", ".join(row.queues)),
            ("received", moment(row.received_at)),
            ("stored", moment(row.accepted_at)),
            ("settled", moment(row.settled_at)),
            ("due", moment(row.due_at) if row.state in ("waiting", "parked") else ""),
            ("expires", f"{moment(row.expires_at)}, unless somebody releases it" if row.expires_at else ""),
            ("content", "" if detail.has_content else "not here: it was never fetched"),
            ("added", f"{', '.join(detail.added)} on top of its header" if detail.added else ""),
            ("rewritten", f"yes, {_rewriting(detail)}" if detail.rewritten else ""),
            ("notice for", f"mail {detail.notice_for}" if detail.notice_for else ""),
        ]
    )
    _tell_history(detail)


def _rewriting(detail: MailDetail) -> str:
    """What a stage did to its content, as far as its walks say."""
    reasons = (step.reason for walk in detail.walks for step in walk.steps if step.stage == "signature")
    return next((each for each in reasons if each.startswith("signature put into")), "by a stage")


def _tell_history(detail: MailDetail) -> None:
    from gateway.text import safe_text

    for walk in reversed(detail.walks):
        print(f"\nwalked {moment(walk.at)} under version {walk.config_version} of the touchpoint")
        for step in walk.steps:
            reason = safe_text(step.reason, multiline=True).rstrip().replace("\n", "\n      ")
            print(f"  {safe_text(step.stage)}: {safe_text(step.action)}, {reason}")
    for each in detail.recipients:
        print(f"\nto {safe_text(each.address)}: {each.state} {each.code or ''} {safe_text(each.text)}".rstrip())
    for attempt in reversed(detail.attempts):
        said = " ".join(filter(None, (attempt.outcome or attempt.phase, str(attempt.code or ""), attempt.text)))
        print(f"tried {moment(attempt.started_at)} at {safe_text(attempt.server)}: {safe_text(said)}")
    for item in detail.ledger:
        tell_item(item)
    if detail.related:
        ids = " ".join(str(each.id) for each in detail.related)
        print(f"\nsame conversation: mail {ids}")


def tell_item(item: LedgerRow) -> None:
    """An item of the ledger, for people."""
    from gateway.text import safe_text

    words = f"{item.touchpoint} {item.folder} uid {item.remote_id} (epoch {item.epoch}): {item.state}"
    if item.error:
        words += f", {item.error}, tried {item.attempts} times, again {moment(item.due_at)}"
    if item.mark_due:
        words += f", on the server still to be done: {item.mark_due}"
    print(f"\non the server: {safe_text(words)}, seen {moment(item.seen_at)}")
