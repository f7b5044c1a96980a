"""A house with something on every screen, always the same: what the snapshots and the recording are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from gateway import control as c
from gateway.control import Event, MailRow, Page, Role, TouchpointRow
from pipeline.errors import Refused
from tests.tui.canned import NOW, Canned, mail, need, stage, stages, status, touchpoint

TOUCHPOINTS: tuple[TouchpointRow, ...] = (
    touchpoint(1, queued=38, auto_reply=True, signature=True),
    touchpoint(
        2,
        "press@acme.example",
        name="Press desk",
        state="lost",
        cause="credential",
        parked=31,
        reason="[AUTHENTICATIONFAILED] Invalid credentials",
        state_since=NOW - 17_367,
        ring_groups=("Press",),
    ),
    touchpoint(
        3,
        "billing@acme.example",
        name="Billing",
        direction="inbound",
        state="backoff",
        cause="timeout",
        reason="no answer within 30 s",
        state_since=NOW - 1_080,
        held=6,
        signature=True,
    ),
    touchpoint(
        4, "sales@acme.example", name="Sales", queued=7, waiting_out=12, ring_groups=("Sales", "EU support"), asks=1
    ),
    touchpoint(5, "noreply@acme.example", name="Robots", direction="outbound", ring_groups=()),
    touchpoint(6, "jobs@acme.example", name="Jobs", active=False, state="new", signed_in_at=0.0, polled_at=0.0),
)
SUBJECTS = (
    "Re: invoice 4711 overdue",
    "AW: Angebot für 200 Lampen",
    "パスワード再設定について",
    "Where is my order?",
    "You won!!!",
    "Quote 2291",
    "Re: password reset",
    "Statement October",
    "[EXT] contract, second version",
    "",
)
QUEUED = tuple(
    mail(
        900 - n,
        SUBJECTS[n % 10],
        received_at=NOW - 300 * n,
        accepted_at=NOW - 300 * n + 2,
        author=f"{who}@{host}.example",
    )
    for n, (who, host) in enumerate(
        [
            ("buyer", "shop"),
            ("einkauf", "werk"),
            ("sato", "denki"),
            ("tenant", "houses"),
            ("winner", "lucky"),
            ("ops", "cloud"),
        ]
        * 6
    )
)
CLOSED = (mail(860, "Re: thank you", state="closed", author="tenant@houses.example"),)
HELD = (
    mail(
        700,
        "Offer you cannot refuse",
        state="held",
        cause="blocked",
        reason="the sender is on the blocklist",
        author="pest@spam.example",
        settled_at=0.0,
        queues=(),
    ),
    mail(
        699,
        "scan.pdf",
        state="held",
        cause="poison",
        reason="it ended the process three times",
        author="printer@acme.example",
        size=88_000_000,
        settled_at=0.0,
        queues=(),
    ),
)


def outgoing(number: int, to: str, state: str = "waiting", **more: Any) -> MailRow:
    """A mail on its way out."""
    return mail(
        number,
        f"Your case {number}",
        **(
            {
                "direction": "out",
                "origin": "relay",
                "state": state,
                "author": "sales@acme.example",
                "queues": (),
                "touchpoint": "sales@acme.example",
                "touchpoint_id": 4,
                "recipients": (to,),
                "attempts": 3,
                "due_at": NOW + 48,
                "settled_at": 0.0,
                "reason": "451 4.7.1 greylisted, come back later",
            }
            | more
        ),
    )


OUTBOX = (
    outgoing(850, "reader@gmail.example"),
    outgoing(849, "desk@partner.example", attempts=0, due_at=0.0, reason=""),
    outgoing(
        848,
        "editor@news.example",
        "parked",
        touchpoint="press@acme.example",
        touchpoint_id=2,
        attempts=0,
        due_at=0.0,
        reason="",
    ),
    outgoing(847, "shop@bazar.example", "unknown", reason="the connection died after the data"),
    outgoing(846, "nobody@gone.example", "failed", reason="550 5.1.1 no such user"),
)
EVERY_MAIL = {row.id: row for row in (*QUEUED, *CLOSED, *HELD, *OUTBOX)}
TEXT = """Hello,

I paid on the 3rd, see the attached PDF. Details: status page [1 acme.example/i/4711]

On Monday, the desk wrote:
> Your invoice 4711 is overdue.
> Please pay within a week.

Kind regards
"""


PROOF = c.Proof(
    at=NOW, seconds=4.2, touchpoint="", since=0.0,
    inward={"queued": 49_000, "held": 6, "older": 1_100, "not_taken": 3, "missing": 1},
    outward={"delivered": 22_190, "parked": 31, "missing": 0}, known=0, missing=1,
    found=(
        c.MissingRow(way="in", loss="no-content", words="the content of mail 899 is not there any more",
                     touchpoint="support@acme.example", folder="INBOX", remote_id=4711, id=899,
                     message_id="<m899@werk.example>", subject="Angebot \x1b[2J\u202e"),
    ),
    touchpoints=(
        c.ProvenRow(touchpoint="press@acme.example", proven=False, listed=0, not_taken=0,
                    words="credential: [AUTHENTICATIONFAILED] Invalid credentials"),
    ),
    asked=6, unproven=1, untold=0,
)  # fmt: skip
"""One mail has lost its bytes, and one server could not be asked."""


def a_house(*roles: Role) -> Canned:
    """The daemon of this house, to somebody with these roles; an admin where none is said."""
    needs = (
        need(
            "lost",
            touchpoint="press@acme.example",
            count=31,
            since=NOW - 17_367,
            words="connection lost (credential): 31 mail kept",
            command="postroom touchpoint connect press@acme.example",
        ),
        need(count=2, words="2 mail held"),
        need("failed", count=1, words="1 mail failed", command="postroom spool list --state failed"),
    )
    stations = (
        stage("fetch", p95=0.2, waiting=3),
        stage("ingest", errors_hour=1),
        stage("blocklist"),
        stage("auto_reply", rate=7.1),
        stage("ring_group", rate=7.1),
        stage("relay", rate=4.2, p95=0.04),
        stage("signature", rate=4.2),
        stage("send", rate=4.1, p50=0.34, p95=1.1, p99=9.8, waiting=74, errors_hour=9, total=22_190),
    )
    canned = Canned(
        {**_tables(), c.GetStatus: status(TOUCHPOINTS, needs_you=needs), c.GetStages: stages(*stations)},
        roles=frozenset(roles or (Role.ADMIN,)),
    )
    canned.answers.update(_of_touchpoints(canned))
    return canned


def _tables() -> dict[Any, Any]:
    return {
        c.ListRingGroups: Page(rows=RING_GROUPS),
        c.ListMail: _mails,
        c.ShowMail: lambda call: _detail(call.id),
        c.ReadText: _text,
        c.ReadContent: lambda call: c.Chunk(data=b"Subject: raw\r\n\r\nbytes \x1b[31m\r\n", size=34),
        c.Why: lambda call: c.WhyAnswer(mails=(_detail(899), _detail(700)), items=(LEDGER,), more=False),
        c.ReplayMail: lambda call: c.Replayed(rows=(_replayed(call.id),), walked=1, differ=1, skipped=0),
        c.ShapeOutbox: _shape,
        c.ListBlocklist: Page(rows=BLOCKED),
        c.ShowTemplate: _template,
        c.ListRelayUsers: Page(rows=RELAY_USERS),
        c.ShowRelay: RELAY,
        c.Prove: PROOF,
        c.ShowProving: c.ProofProgress(running=True, done=1, of=6, step="asking the servers", seconds=1.0),
        c.ListAudit: Page(rows=AUDIT),
        c.ListLog: lambda call: Page(rows=tuple(row for row in LOG if row.id > call.since)),
        c.ListSettings: Page(rows=SETTINGS),
        c.ListPresets: Page(rows=PRESETS),
        c.PlanConnect: PLAN,
        c.TryTouchpoint: c.TryRow(receiving="", sending=""),
        c.SetTemplate: _set_template,
        c.CreateRingGroup: lambda call: c.RingGroupRow(id=5, name=call.name, touchpoints=(), open=0, oldest_at=0.0),
        c.AddRelayUser: _relay_user,
        c.EditRelayUser: lambda call: next(row for row in RELAY_USERS if row.name == call.name),
        **dict.fromkeys((c.Block, c.Unblock, c.DeleteRingGroup, c.RemoveRelayUser, c.DeleteTouchpoint), c.Done()),
        **{call: _became(state) for call, state in BECOMES.items()},
        c.MoveMail: lambda call: replace(_detail(call.id).row, queues=call.ring_groups),
    }


def _replayed(number: int) -> c.ReplayRow:
    """Blocked by now."""
    change = c.Change(what="decision", then="pass", now="hold (blocklist): its sender is \x1b[2J on the list")
    return c.ReplayRow(
        id=number, touchpoint="support@acme.example", direction="in", author="", subject="", walked_at=NOW,
        version_then=3, version_now=5, changes=(change,), depends_on_memory=True,
    )  # fmt: skip


def _of_touchpoints(canned: Canned) -> dict[Any, Any]:
    """The answers to calls about touchpoints: what is changed stays changed, and everybody is told."""

    def shown(call: Any) -> c.TouchpointDetail:
        return _touchpoint(_point(canned, call))

    def changed(values: Callable[[Any, TouchpointRow], dict[str, Any]]) -> Callable[[Any], TouchpointRow]:
        def answer(call: Any) -> TouchpointRow:
            row = _point(canned, call)
            row = replace(row, version=row.version + 1, **values(call, row))
            canned.change(row)
            return row

        return answer

    return {
        c.ShowTouchpoint: shown,
        c.SetConnection: shown,
        c.CreateTouchpoint: lambda call: touchpoint(7, call.address, name=call.name, state="new", active=False),
        c.DuplicateTouchpoint: lambda call: touchpoint(8, call.address, name=call.name, state="new", active=False),
        c.EditTouchpoint: changed(lambda call, row: {"name": call.name or row.name}),
        c.SetDirection: changed(lambda call, row: {"direction": call.direction}),
        c.ConnectTouchpoint: changed(lambda call, row: {"state": "connected", "cause": "", "reason": ""}),
        c.ActivateTouchpoint: changed(lambda call, row: {"active": True}),
        c.DeactivateTouchpoint: changed(lambda call, row: {"active": False}),
        c.LinkRingGroup: changed(lambda call, row: {"ring_groups": (*row.ring_groups, call.ring_group)}),
        c.UnlinkRingGroup: changed(
            lambda call, row: {"ring_groups": tuple(name for name in row.ring_groups if name != call.ring_group)}
        ),
    }


RING_GROUPS = (
    c.RingGroupRow(id=1, name="Front office", touchpoints=("support@acme.example",), open=36, oldest_at=NOW - 7_800),
    c.RingGroupRow(id=2, name="EU support", touchpoints=("sales@acme.example",), open=7, oldest_at=NOW - 900),
    c.RingGroupRow(id=3, name="Press", touchpoints=("press@acme.example",), open=0, oldest_at=0.0),
    c.RingGroupRow(id=4, name="Night shift", touchpoints=(), open=0, oldest_at=0.0),
)
LEDGER = c.LedgerRow(
    touchpoint="support@acme.example",
    folder="INBOX",
    epoch=17,
    remote_id=4_242,
    state="taken",
    entry_id=899,
    internaldate=NOW - 300,
    size=4_711,
    message_id="<m899@werk.example>",
    mark_due="",
    attempts=0,
    due_at=0.0,
    error="",
    seen_at=NOW - 298,
)
BLOCKED = (
    c.BlockRow(
        id=1,
        touchpoint="support@acme.example",
        pattern="pest@spam.example",
        note="asked three times",
        added_by="ops",
        added_at=NOW - 86_400,
    ),
    c.BlockRow(
        id=2, touchpoint="sales@acme.example", pattern="@flood.example", note="", added_by="admin", added_at=NOW - 3_600
    ),
)
RELAY_USERS = (
    c.RelayUserRow(
        id=1,
        name="helpdesk",
        grants=("support@acme.example", "sales@acme.example"),
        signature=True,
        notify="ops@acme.example",
    ),
    c.RelayUserRow(id=2, name="shop", grants=("sales@acme.example",), signature=False, notify=""),
)
RELAY = c.RelayState(
    listeners=(
        c.ListenerRow(
            name="submission", host="127.0.0.1", port=587, mode="submission", sessions=2, accepted=22_190, refused=12
        ),
        c.ListenerRow(name="printers", host="127.0.0.1", port=25, mode="plain", sessions=0, accepted=70, refused=0),
    ),
    clients=(
        c.RelayClientRow(
            peer="192.0.2.7", listener="submission", user="helpdesk", since=NOW - 30, accepted=3, refused=0
        ),
        c.RelayClientRow(peer="192.0.2.9", listener="submission", user="", since=NOW - 2, accepted=0, refused=1),
    ),
    rates=(
        c.RelayRateRow(user="helpdesk", accepted=412, refused=1, last_at=NOW - 3),
        c.RelayRateRow(user="shop", accepted=77, refused=0, last_at=NOW - 40),
    ),
    refusals=(
        c.RefusalRow(
            at=NOW - 2,
            peer="192.0.2.9",
            listener="submission",
            user="",
            code=535,
            text="5.7.8 the name or the password is wrong",
        ),
        c.RefusalRow(
            at=NOW - 700,
            peer="192.0.2.7",
            listener="submission",
            user="shop",
            code=550,
            text="5.7.1 shop may not write as press@acme.example",
        ),
    ),
)
AUDIT = (
    c.AuditRow(
        id=3,
        at=NOW - 60,
        actor="ops",
        uid=1000,
        role="ops",
        verb="touchpoint.deactivate",
        subject="jobs@acme.example",
        detail='{"was": {"active": 1}, "via": "ssh 192.0.2.7"}',
    ),
    c.AuditRow(
        id=2, at=NOW - 600, actor="ops", uid=1000, role="ops", verb="mail.hold", subject="mail 699", detail="{}"
    ),
    c.AuditRow(
        id=1,
        at=NOW - 7_200,
        actor="admin",
        uid=0,
        role="admin",
        verb="touchpoint.edit",
        subject="support@acme.example",
        detail='{"name": "Support", "was": {"name": "Help"}}',
    ),
)
LOG = tuple(
    c.LogRow(
        id=60 - n,
        at=NOW - 7 * n,
        level="warning" if n % 9 == 4 else "info",
        logger="postroom.events",
        text=f"mail.assigned mail={900 - n} touchpoint=1 'queued for Front office'"
        if n % 9 != 4
        else "billing@acme.example: no answer within 30 s",
    )
    for n in range(60)
)
SETTINGS = (
    c.SettingRow(key="daemon.hostname", value='"gw01.post.example"', file="/etc/postroom/postroom.toml", line=4),
    c.SettingRow(key="daemon.state_dir", value='"/var/lib/postroom"', file="", line=0),
    c.SettingRow(key="relay.largest_mail", value="52428800", file="/etc/postroom/postroom.toml", line=17),
    c.SettingRow(key="retry.first", value="300", file="", line=0),
    c.SettingRow(key="stages.auto_reply.quiet_days", value="7", file="/etc/postroom/postroom.toml", line=31),
)
_IMAP = c.ServerRow(host="imap.acme.example", port=993, security="tls")
_SMTP = c.ServerRow(host="smtp.acme.example", port=587, security="starttls")
PRESETS = (
    c.PresetRow(name="custom", title="any IMAP and SMTP server", imap=None, smtp=None, password="of the mailbox"),
    c.PresetRow(name="yahoo", title="Yahoo", imap=_IMAP, smtp=_SMTP, password="an app password"),
)


PLAN = c.PlanRow(
    server="imap.acme.example",
    principal="press@acme.example",
    folders=(c.FolderPlan(folder="INBOX", there=1_204, taken=0),),
    marks="",
    twin="",
)
BECOMES = {
    c.CloseMail: "closed",
    c.ReopenMail: "queued",
    c.RetryMail: "waiting",
    c.ConfirmMail: "delivered",
    c.HoldMail: "held",
    c.ReleaseMail: "queued",
    c.DropMail: "dropped",
}
"""What a mail is after a call."""


def _became(state: str) -> Callable[[Any], MailRow]:
    return lambda call: replace(_detail(call.id).row, state=state)


def _relay_user(call: Any) -> c.RelayUserRow:
    return c.RelayUserRow(id=3, name=call.name, grants=call.grants, signature=call.signature, notify=call.notify)


def _point(canned: Canned, call: Any) -> TouchpointRow:
    found = [row for row in canned.status_now().touchpoints if call.touchpoint in (str(row.id), row.address)]
    if not found:
        raise Refused(f"there is no touchpoint {call.touchpoint}")
    return found[0]


RENUMBERED = c.ResumeRow(
    folder="INBOX", known=4_711, left_alone=12, unseen=320, old=290, asked_at=NOW - 600, resumed_at=0.0, choice="",
    chosen_by="",
)  # fmt: skip


def _touchpoint(row: TouchpointRow) -> c.TouchpointDetail:
    new = row.state == "new"
    return c.TouchpointDetail(
        row=row,
        aliases=("help@acme.example",),
        connector="imap_smtp",
        preset="custom",
        user=row.address,
        imap=None if new else _IMAP,
        smtp=None if new else _SMTP,
        ca_file="",
        sent_copy="append",
        junk_folder="",
        mark="",
        signs_relayed=True,
        blocked=1,
        relay_users=("helpdesk",),
        activated_at=NOW - 86_000,
        has_password=not new,
        resumes=(RENUMBERED,) if row.asks else (),
    )


def _mails(call: Any) -> Page[MailRow]:
    if call.state in ("held", "failed", "unknown"):
        rows = [row for row in (*HELD, *OUTBOX) if row.state == call.state]
    elif call.direction == "out" or call.state == "unsettled":
        rows = [row for row in OUTBOX if call.touchpoint in ("", row.touchpoint, str(row.touchpoint_id))]
    else:
        those = {"closed": CLOSED, "queued": (*QUEUED, *CLOSED)}.get(call.state, QUEUED)
        rows = [] if call.unassigned else [row for row in those if call.ring_group in ("", *row.queues)]
    rows = [row for row in rows if not call.after or row.id < call.after]
    rows = [row for row in rows if call.subject.casefold() in row.subject.casefold() and call.author in row.author]
    more = len(rows) > call.limit
    return Page(rows=tuple(rows[: call.limit]), next=rows[call.limit - 1].id if more else 0)


def _detail(number: int) -> c.MailDetail:
    if (row := EVERY_MAIL.get(number)) is None:
        raise Refused(f"there is no mail {number}; see: postroom spool list --state all")
    inbound = row.direction == "in"
    steps = [
        c.Step(stage="ingest", action="pass", reason="a person's mail, new conversation"),
        c.Step(stage="blocklist", action="hold" if row.cause == "blocked" else "pass", reason=row.reason),
    ]
    if row.state == "queued":
        steps += [
            c.Step(stage="auto_reply", action="pass", reason="auto-reply is off"),
            c.Step(stage="ring_group", action="pass", reason="queued for Front office"),
        ]
    attempt = c.AttemptRow(
        started_at=NOW - 900,
        ended_at=NOW - 899,
        phase="answered",
        outcome="retry",
        code=451,
        text="4.7.1 greylisted, come back later",
        server="smtp.acme.example",
    )
    to = c.RecipientRow(address=row.recipients[0], state="waiting", code=451, text="4.7.1 greylisted", at=NOW - 899)
    return c.MailDetail(
        row=row,
        envelope_sender=row.author,
        released_by="",
        held_by="blocklist" if row.cause == "blocked" else "",
        conversation_id=20_931,
        config_version=3,
        planned_seconds=600.0,
        rewritten=not inbound,
        notice_for=0,
        walks=(c.Walk(at=row.accepted_at, config_version=3, steps=tuple(steps)),),
        recipients=() if inbound else (to,),
        attempts=(attempt,) if row.attempts else (),
        ledger=(replace(LEDGER, entry_id=row.id),) if inbound else (),
        related=QUEUED[6:9] if inbound else (),
    )


def _text(call: Any) -> c.MailText:
    row = _detail(call.id).row
    headers = (
        ("From", row.author),
        ("To", row.recipients[0]),
        ("Date", "Mon, 23 Nov 2026 11:52:00 +0100"),
        ("Subject", row.subject),
        ("Message-ID", row.message_id),
        ("MIME-Version", "1.0"),
    )
    return c.MailText(
        id=row.id,
        headers=tuple(c.HeaderRow(name=name, value=value) for name, value in headers),
        text=TEXT,
        source="plain",
        cut=False,
        parts=(c.PartRow(name="payment.pdf", type="application/pdf", size=84_000),),
    )


def _shape(call: Any) -> c.Shape:
    bounds = (5, 10, 20, 40, 80, 160, 320, 640, 1280)
    names = (
        ("gmail.example", "news.example") if call.by == "destination" else ("sales@acme.example", "press@acme.example")
    )
    return c.Shape(
        bounds=bounds,
        rows=(
            c.ShapeRow(name=names[0], total=12, parked=0, ages=(2, 4, 3, 0, 0, 3, 0, 0, 0, 0)),
            c.ShapeRow(name=names[1], total=31, parked=31, ages=(0, 0, 0, 0, 0, 0, 31, 0, 0, 0)),
        ),
        more=0,
    )


def _template(call: Any) -> c.TemplateRow:
    row = next(row for row in TOUCHPOINTS if call.touchpoint in (str(row.id), row.address))
    reply = call.kind == "auto_reply"
    known = row.auto_reply if reply else row.signature
    text = "Thank you for your mail.\nSomebody will answer within a day.\n" if reply else "The desk\nacme.example"
    return c.TemplateRow(
        kind=call.kind,
        active=known,
        subject="We have your mail" if reply and known else "",
        text=text if known else "",
        html="",
        updated_at=NOW - 86_400 if known else 0.0,
    )


def _set_template(call: Any) -> c.TemplateRow:
    row = _template(call)
    active = row.active if call.active is None else call.active
    return replace(row, active=active, subject=call.subject or row.subject, text=call.text or row.text)


EVENTS = (
    Event(what="mail.assigned", words="", mail=QUEUED[0]),
    Event(
        what="mail.delivered", words="250 2.0.0 ok", mail=outgoing(845, "buyer@shop.example", "delivered", due_at=0.0)
    ),
    Event(what="mail.held", words="blocked", mail=HELD[0]),
    Event(what="mail.deferred", words="451 greylisted", mail=OUTBOX[0]),
    Event(what="touchpoint.backoff", words="timeout", touchpoint=TOUCHPOINTS[2]),
)
