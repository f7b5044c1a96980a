"""Replay: a kept mail is walked again through the live line without any effect, and compared with what was decided.

The mail is walked as it was then: the same bytes, the same time, the same releases, and the memory of that moment as
far as the store still tells it. What may differ are the line and the settings. Nothing is stored, sent, counted or
struck, and no flight note is written: a mail that was held because it killed the process is not walked here at all.

Decisions are compared, not words: a stage that says the same thing in other words makes no difference.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from gateway.deciding import ALONE_SECONDS
from gateway.pages import stored_mail
from gateway.rows import Change, ReplayRow
from gateway.services import Services
from pipeline import remembered
from pipeline.line import Line, Outcome, Release, set_aside
from pipeline.mail import Direction, Envelope, Mail, RelayUser
from pipeline.memory import Memory
from pipeline.remembered import Moment
from pipeline.splice import unpack
from pipeline.stage import Context
from pipeline.store import Row, Tx, content
from pipeline.touchpoint import Touchpoint
from pipeline.verdict import Action, HoldCause, Splice

RELEASED = "released by "
Steps = tuple[tuple[str, str, str], ...]
Moves = dict[int, tuple[str, ...]]
"""Mail that people moved -> the names of the ring groups that it was decided for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Then:
    """A kept mail, and what was decided about it."""

    row: Row
    opening: bytes
    steps: Steps
    at: float
    version: int
    groups: tuple[str, ...]
    """Names of the ring groups that it was assigned to."""
    replied: bool
    conversation: str
    recipients: tuple[str, ...]

    @property
    def action(self) -> str:
        """What its walk ended in."""
        return self.steps[-1][1]

    @property
    def release(self) -> Release | None:
        """What a person had let it pass when it was walked."""
        passed = [(stage, reason.removeprefix(RELEASED)) for stage, _, reason in self.steps
                  if reason.startswith(RELEASED)]  # fmt: skip
        return Release(stages=tuple(stage for stage, _ in passed), by=passed[0][1]) if passed else None


def recall(tx: Tx, row: Row, moves: Moves) -> Then | str:
    """What was decided about a mail, or why it is not walked again."""
    if not row["content_id"]:
        return "it has no content: it was never fetched"
    if row["cause"] == HoldCause.POISON or _strikes(tx, row["id"]):
        return "it is held because it killed Postroom; release it to have it walked again"
    walk = _walk_that_counts(tx, row["id"])
    if walk is None:
        return "it was never walked"
    steps = _steps(walk)
    if steps[-1][1] == Action.DEFER:
        return "it is not decided yet"
    return Then(
        row=row,
        opening=content.chunk(tx, row["content_id"], 0),
        steps=steps,
        at=walk["at"],
        version=walk["config_version"],
        groups=moves.get(row["id"]) or _groups(tx, row["id"]),
        replied=_replied(tx, row, walk["at"]),
        conversation=_conversation(tx, row["conversation_id"]),
        recipients=_recipients(tx, row["id"]),
    )


def _walk_that_counts(tx: Tx, entry_id: int) -> Row | None:
    """The first one that came through, since its effects stand; else the last one."""
    rows = tx.all("SELECT * FROM walk WHERE entry_id = :id ORDER BY number LIMIT 100", {"id": entry_id})
    known = [row for row in rows if _steps(row)]
    return next((row for row in known if _steps(row)[-1][1] == Action.PASS), known[-1] if known else None)


def _steps(walk: Row) -> Steps:
    """Its verdicts; what a commit added to them is none."""
    actions = frozenset(Action)
    return tuple((stage, action, reason) for stage, action, reason in json.loads(walk["trail"]) if action in actions)


def _strikes(tx: Tx, entry_id: int) -> bool:
    sql = "SELECT 1 FROM strike WHERE folder = '' AND low <= :id AND high >= :id"
    return tx.one(sql, {"id": entry_id}) is not None


def _groups(tx: Tx, entry_id: int) -> tuple[str, ...]:
    rows = tx.all(
        "SELECT g.name FROM assignment AS a JOIN ring_group AS g ON g.id = a.ring_group_id WHERE a.entry_id = :id",
        {"id": entry_id},
    )
    return tuple(sorted(row["name"] for row in rows))


def _replied(tx: Tx, row: Row, at: float) -> bool:
    """Whether this very walk gave birth to an auto-reply."""
    return bool(row["conversation_id"]) and tx.one(
        "SELECT 1 FROM entry WHERE conversation_id = :conversation AND origin = 'auto-reply' AND seed = :seed"
        " AND accepted_at >= :at",
        {"conversation": row["conversation_id"], "seed": f"reply/{row['seed']}", "at": at},
    ) is not None  # fmt: skip


def _conversation(tx: Tx, conversation_id: int) -> str:
    row = tx.one("SELECT key FROM conversation WHERE id = :id", {"id": conversation_id}) if conversation_id else None
    return "" if row is None else str(row["key"])


def _recipients(tx: Tx, entry_id: int) -> tuple[str, ...]:
    rows = tx.all("SELECT address FROM recipient WHERE entry_id = :id ORDER BY number", {"id": entry_id})
    return tuple(row["address"] for row in rows)


def moves(tx: Tx) -> Moves:
    """What people moved, with the ring groups before the first move; one look at the audit for a whole window."""
    found: Moves = {}
    for row in tx.all("SELECT subject, detail FROM audit WHERE verb = 'mail.move' ORDER BY id"):
        number = row["subject"].removeprefix("mail ")
        if number.isdigit() and int(number) not in found:
            found[int(number)] = tuple(sorted(map(str, json.loads(row["detail"]).get("from", ()))))
    return found


async def walk_again(services: Services, then: Then) -> ReplayRow:
    """Walk a mail as it was walked then; what is decided otherwise."""
    row = then.row
    touchpoint = services.directory.touchpoints.get(row["touchpoint_id"])
    if touchpoint is None:
        return replay_row(row, skipped="its touchpoint is deleted")
    mail = _mail(services, then)
    moment = Moment(entry_id=row["id"], at=then.at)
    ids = services.directory.installation.message_ids
    memory = await services.store.read(lambda tx: remembered.load(tx, touchpoint, ids, mail, moment))
    now = await _walked(services, touchpoint, mail, memory, then)
    changes = tuple(_compared(services, then, now))
    without = await _walked(services, touchpoint, mail, Memory(), then) if changes else now
    return replay_row(
        row,
        walked_at=then.at,
        version_then=then.version,
        version_now=touchpoint.version,
        changes=changes,
        depends_on_memory=_decision(without) != _decision(now) or (bool(changes) and _forgotten(then, now, changes)),
    )


def _forgotten(then: Then, now: Outcome, changes: Sequence[Change]) -> bool:
    """Whether what was remembered then seems to be known no longer."""
    if then.conversation and then.conversation != now.facts.conversation:
        return True
    return then.version == now.version and any(change.what == "auto-reply" for change in changes)


def replay_row(
    row: Row,
    *,
    skipped: str = "",
    walked_at: float = 0.0,
    version_then: int = 0,
    version_now: int = 0,
    changes: tuple[Change, ...] = (),
    depends_on_memory: bool = False,
) -> ReplayRow:
    """A row for people, of an entry with its touchpoint's address."""
    return ReplayRow(
        id=row["id"],
        touchpoint=row["touchpoint"],
        direction=row["direction"],
        author=row["author"][:320],
        subject=row["subject"][:300],
        walked_at=walked_at,
        version_then=version_then,
        version_now=version_now,
        changes=changes,
        depends_on_memory=depends_on_memory,
        skipped=skipped,
    )


async def _walked(services: Services, touchpoint: Touchpoint, mail: Mail, memory: Memory, then: Then) -> Outcome:
    installation = services.directory.installation
    context = Context(touchpoint=touchpoint, installation=installation, memory=memory, now=then.at)
    line: Line = services.inbound if mail.direction is Direction.IN else services.outbound
    try:
        async with asyncio.timeout(ALONE_SECONDS):
            return await line.walk(mail, context, then.release)
    except TimeoutError:
        return set_aside(mail, context, HoldCause.STAGE_FAILED, f"its stages took over {ALONE_SECONDS:.0f} s")


def _mail(services: Services, then: Then) -> Mail:
    row = then.row
    mail = stored_mail(row, then.opening)
    if mail.direction is Direction.IN:
        return mail
    users = services.directory.relay_users.values()
    user = next((each for each in users if each.id == row["relay_user_id"]), None)
    return replace(
        mail,
        envelope=Envelope(sender=row["envelope_sender"], recipients=then.recipients),
        relay_user=user or RelayUser(id=row["relay_user_id"], name=""),
    )


# -- What is decided otherwise ---------------------------------------------------------------------------------------


def _decision(outcome: Outcome) -> tuple[object, ...]:
    """What counts of an outcome."""
    facts = outcome.facts
    sends = tuple(send.recipient for send in outcome.sends)
    return outcome.action, outcome.stage, outcome.ring_groups, sends, outcome.splices, facts.kind, facts.conversation


def _compared(services: Services, then: Then, now: Outcome) -> Iterable[Change]:
    stage = "" if then.action == Action.PASS else then.steps[-1][0]
    if (then.action, stage) != (now.action.value, now.stage):
        yield Change(what="decision", then=_told(then.steps), now=_told(now.trail))
    if then.row["kind"] and then.row["kind"] != now.facts.kind.value:
        yield Change(what="kind", then=then.row["kind"], now=now.facts.kind.value)
    if then.action != Action.PASS or now.action is not Action.PASS:
        return
    if then.conversation and then.conversation != now.facts.conversation:
        yield Change(what="conversation", then=_reason(then.steps, "ingest"), now=_reason(now.trail, "ingest"))
    if then.row["direction"] == Direction.OUT:
        yield from _of_content(then, now)
        return
    groups = services.directory.ring_groups
    names = tuple(sorted(groups[number].name for number in set(now.ring_groups) if number in groups))
    if then.groups != names:
        yield Change(what="queues", then=", ".join(then.groups) or "none", now=", ".join(names) or "none")
    if then.replied != bool(now.sends):
        yield Change(what="auto-reply", then=_reason(then.steps, "auto_reply"), now=_reason(now.trail, "auto_reply"))


def _of_content(then: Then, now: Outcome) -> Iterable[Change]:
    """What the stages changed of a content; what the relay put on top of it is not theirs."""
    before = [each for each in unpack(then.row["splices"]) if each.offset or each.length]
    if before != list(now.splices):
        yield Change(what="content", then=_put(before), now=_put(now.splices))


def _put(splices: Sequence[Splice]) -> str:
    if not splices:
        return "as it came"
    return f"{sum(len(each.data) for each in splices):,} bytes put in at {len(splices)} places"


def _told(steps: Steps) -> str:
    stage, action, reason = steps[-1]
    last = reason.strip().rsplit("\n", 1)[-1][:300]
    return "pass" if action == Action.PASS else f"{action} ({stage}): {last}"


def _reason(steps: Steps, stage: str) -> str:
    return next((reason[:300] for name, _, reason in steps if name == stage), "no such stage in the line")
