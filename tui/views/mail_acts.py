"""What can be done to mail, the same on every screen that shows some: one act each, with one key.

    r retry   h hold   u release   x drop   m move   b block sender   C close   O reopen   E export   v raw text
    L replay: walk the line again, without effect

An act is about the rows of the moment when its key was pressed, and its calls carry their ids. Each mail is a call of
its own: what the daemon refuses for one does not stop the others, and is said.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from gateway.client import CallFailed, Unreachable
from gateway.control import (
    Block,
    Call,
    CloseMail,
    ConfirmMail,
    DropMail,
    HoldMail,
    ListBlocklist,
    ListRingGroups,
    MailRow,
    MoveMail,
    ReadContent,
    ReadText,
    ReleaseMail,
    ReopenMail,
    ReplayMail,
    RetryMail,
    ShowMail,
    Unblock,
)
from gateway.text import safe_text
from tui.acts import Act, Kind, Rows, Undo
from tui.link import words
from tui.views.replays import replay
from tui.views.story import amount, counted, who

if TYPE_CHECKING:
    from tui.app import TerminalUI
    from tui.dialogs import Choice
    from tui.view import View

AT_ONCE = 16
"""Calls in flight: as many as the daemon takes of one guest."""
MOST_RING_GROUPS = 2_000
OLD_SECONDS = 30.0
"""How long bad news is shown."""


# -- Many at once --------------------------------------------------------------------------------------------------


@dataclass(kw_only=True)
class Result:
    """What became of one act on several mails."""

    done: list[Any] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    lost: str = ""
    """Why the rest was not tried."""


async def each(ui: TerminalUI, rows: Rows, call_of: Callable[[Any], Call[Any]]) -> Result:
    """Make a call for each row, a few at a time."""
    result = Result()
    for start in range(0, len(rows), AT_ONCE):
        some = rows[start : start + AT_ONCE]
        answers = await asyncio.gather(*(ui.call(call_of(row)) for row in some), return_exceptions=True)
        for row, answer in zip(some, answers, strict=True):
            _sort(result, row, answer)
        if result.lost:
            break
        if len(rows) > AT_ONCE:
            ui.say(f"{min(start + AT_ONCE, len(rows)):,} of {len(rows):,} ...")
    return result


def _sort(result: Result, row: Any, answer: object) -> None:
    match answer:
        case CallFailed():
            result.refused.append(words(answer))
        case Unreachable():
            result.lost = words(answer)
        case BaseException():
            raise answer
        case _:
            result.done.append(row)


def tell(ui: TerminalUI, rows: Rows, result: Result, past: str, undo: Undo | None = None) -> None:
    """Say what was done, and what was not."""
    number = len(result.done)
    if result.lost:
        what = f"{number} of {counted(len(rows), 'mail')}: {past}. Then {result.lost}; look again at the others"
        ui.say(what, "bad", seconds=OLD_SECONDS)
    elif not number:
        ui.say(result.refused[0], "bad", seconds=OLD_SECONDS)
    else:
        said = f"mail {result.done[0].id}: {past}" if len(rows) == 1 else f"{counted(number, 'mail')}: {past}"
        if result.refused:
            said += f"; {len(result.refused)} refused: {result.refused[0]}"
        ui.did(said, undo)


def named(rows: Rows) -> str:
    """``mail 17``, ``43 mails``."""
    return f"mail {rows[0].id}" if len(rows) == 1 else f"{len(rows):,} mails"


# -- Retry, hold, release, drop ------------------------------------------------------------------------------------


def _not_retried(row: MailRow) -> str:
    if row.direction != "out":
        return "only outgoing mail is retried"
    if row.state == "held":
        return "it is held; release it"
    return "" if row.state in ("failed", "waiting", "parked", "unknown") else f"it is {row.state}"


def _not_confirmed(row: MailRow) -> str:
    doubtful = row.state == "unknown" or (row.state == "held" and row.cause == "unknown-outcome")
    return "" if doubtful else f"it is {row.state}, and its outcome is not in doubt"


def _not_held(row: MailRow) -> str:
    return "" if row.state in ("waiting", "parked", "queued", "closed") else f"it is {row.state}"


def _not_released(row: MailRow) -> str:
    if row.state == "failed":
        return "it failed; retry it"
    return "" if row.state == "held" else f"it is {row.state}, not held"


def _not_dropped(row: MailRow) -> str:
    if row.state in ("queued", "closed"):
        return "it is in a queue; close it, or hold it first"
    return "" if row.state in ("waiting", "parked", "held", "failed", "unknown") else f"it is {row.state}"


def domains_of(rows: Rows) -> int:
    """To how many domains they go, as far as the rows tell."""
    return len({address.rpartition("@")[2].casefold() for row in rows for address in row.recipients})


def _of(rows: Rows, number: int) -> str:
    return "It is" if len(rows) == 1 else "1 of them is" if number == 1 else f"{number:,} of them are"


def _ask_retry(view: View, rows: Rows) -> str:
    if len(rows) == 1:
        asked = f"Tries mail {rows[0].id} to {who(rows[0])} now."
    else:
        asked = f"Retries {len(rows):,} mails to {counted(domains_of(rows), 'domain')} now."
    if parked := sum(row.state == "parked" for row in rows):
        asked += f" {_of(rows, parked)} parked until the touchpoint sends again."
    return asked + _twice(rows)


def _twice(rows: Rows) -> str:
    """What a second try may come to."""
    if not (twice := sum(row.cause == "unknown-outcome" or row.state == "unknown" for row in rows)):
        return ""
    which = "It" if len(rows) == 1 else f"{twice:,} of them"
    return f" {which} may have arrived already, and would arrive twice."


def _ask_confirm(view: View, rows: Rows) -> str:
    many = len(rows) > 1
    said = f"Takes {named(rows)} as delivered, since you found out that {'they' if many else 'it'} arrived."
    return f"{said} {'They are' if many else 'It is'} not sent again."


def _ask_hold(view: View, rows: Rows) -> str:
    asked = f"Sets {named(rows)} aside until somebody releases {'it' if len(rows) == 1 else 'them'}."
    if queued := sum(row.state in ("queued", "closed") for row in rows):
        asked += f" {_of(rows, queued)} in a queue, and will leave it; a release walks the line again."
    return asked


def _ask_release(view: View, rows: Rows) -> str:
    return f"Lets {named(rows)} go on." + _twice(rows)


def _ask_drop(view: View, rows: Rows) -> str:
    what = f'mail {rows[0].id}, {who(rows[0])}, "{rows[0].subject}"' if len(rows) == 1 else named(rows)
    it = "It" if len(rows) == 1 else "They"
    return f"Gives up {what}. {it} will not be sent or queued; the content is kept."


def _drop_name(rows: Rows) -> str:
    return str(rows[0].id) if len(rows) == 1 else f"drop {len(rows)} mails"


async def _retry(view: View, rows: Rows) -> None:
    tell(view.ui, rows, await each(view.ui, rows, lambda row: RetryMail(id=row.id)), "to be tried now")


async def _confirm(view: View, rows: Rows) -> None:
    tell(view.ui, rows, await each(view.ui, rows, lambda row: ConfirmMail(id=row.id)), "taken as delivered")


async def _hold(view: View, rows: Rows) -> None:
    tell(view.ui, rows, await each(view.ui, rows, lambda row: HoldMail(id=row.id)), "set aside")


async def _release(view: View, rows: Rows) -> None:
    tell(view.ui, rows, await each(view.ui, rows, lambda row: ReleaseMail(id=row.id)), "released")


async def _drop(view: View, rows: Rows) -> None:
    tell(view.ui, rows, await each(view.ui, rows, lambda row: DropMail(id=row.id)), "given up")


# -- Queues --------------------------------------------------------------------------------------------------------


def _not_closed(row: MailRow) -> str:
    return "" if row.state == "queued" else f"it is {row.state}"


def _not_reopened(row: MailRow) -> str:
    return "" if row.state == "closed" else "it is open" if row.state == "queued" else f"it is {row.state}"


def _not_moved(row: MailRow) -> str:
    if row.state == "closed":
        return "it is closed; reopen it first"
    return "" if row.state == "queued" else f"it is {row.state}, in no queue"


async def _close(view: View, rows: Rows) -> None:
    result = await each(view.ui, rows, lambda row: CloseMail(id=row.id))
    back = [ReopenMail(id=row.id) for row in result.done]
    again = [CloseMail(id=row.id) for row in result.done]
    tell(view.ui, rows, result, "closed", Undo(words=f"{named(result.done or rows)} closed", back=back, again=again))


async def _reopen(view: View, rows: Rows) -> None:
    result = await each(view.ui, rows, lambda row: ReopenMail(id=row.id))
    back = [CloseMail(id=row.id) for row in result.done]
    again = [ReopenMail(id=row.id) for row in result.done]
    tell(view.ui, rows, result, "open again", Undo(words=f"{named(result.done or rows)} open", back=back, again=again))


async def ring_group_names(ui: TerminalUI) -> list[str]:
    """The names of all ring groups."""
    names: list[str] = []
    after = 0
    while len(names) < MOST_RING_GROUPS:
        page = await ui.call(ListRingGroups(after=after, limit=500))
        names += [row.name for row in page.rows]
        if not (after := page.next):
            break
    return sorted(names, key=str.casefold)


def route(rows: Rows, wanted: Sequence[str]) -> str:
    """A move in words, before it is made: ``2 mails: Support desk -> Sales desk``."""
    moving = [row for row in rows if set(row.queues) != set(wanted)]
    if not moving:
        return f"{named(rows)}: there already; Space marks another ring group"
    olds = {", ".join(row.queues) or "no queue" for row in moving}
    old = olds.pop() if len(olds) == 1 else f"{len(olds)} different queues"
    stay = f" ({len(rows) - len(moving)} there already)" if len(moving) < len(rows) else ""
    return f"{named(moving)}: {old} -> {', '.join(wanted) or 'no queue'}{stay}"


async def _move(view: View, rows: Rows) -> None:
    from tui.dialogs import Pick

    ui = view.ui
    names = await ring_group_names(ui)
    common = set.intersection(*(set(row.queues) for row in rows))
    options = [(name, name) for name in dict.fromkeys([*names, *common])]
    wanted = await ui.ask(
        Pick(
            ui, f"move {named(rows)} to", options, several=True, marked=tuple(common),
            empty="there is no ring group; n on Queues (3) makes one", effect=lambda marked: route(rows, marked),
        )
    )  # fmt: skip
    if wanted is None:
        return ui.say("nothing was moved")
    moving = [row for row in rows if set(row.queues) != set(wanted)]
    if not moving:
        return ui.say("nothing was moved: it is there already")
    result = await each(ui, moving, lambda row: MoveMail(id=row.id, ring_groups=tuple(wanted)))
    undo = Undo(
        words=route(result.done or moving, wanted),
        back=[MoveMail(id=row.id, ring_groups=row.queues) for row in result.done],
        again=[MoveMail(id=row.id, ring_groups=tuple(wanted)) for row in result.done],
    )
    return tell(ui, moving, result, f"now in {', '.join(wanted) or 'no queue'}", undo)


# -- Blocking ------------------------------------------------------------------------------------------------------

Sender = tuple[int, str, str]
"""Touchpoint, its address, and the pattern to block there."""


def _not_blocked(row: MailRow) -> str:
    if row.direction != "in":
        return "it was written here"
    return "" if "@" in row.author else "its sender cannot be told"


async def _block(view: View, rows: Rows) -> None:
    from tui.dialogs import Menu

    ui = view.ui
    senders = list(dict.fromkeys((row.touchpoint_id, row.touchpoint, row.author) for row in rows))
    domains = list(dict.fromkeys((number, at, "@" + author.rpartition("@")[2]) for number, at, author in senders))
    places = {at for _, at, _ in senders}
    where = f"at {places.pop()}" if len(places) == 1 else f"at {len(places)} touchpoints"

    choices = [
        _blocking("b", senders, "", "senders, by their addresses"),
        _blocking("d", domains, "everybody ", "domains, everybody there"),
    ]
    wanted: list[Sender] | None = await ui.ask(Menu(ui, f"from now on hold mail {where} from", choices))
    if wanted is None:
        return ui.say("nobody was blocked")
    new = [one for one in wanted if not await _is_blocked(ui, one)]
    if not new:
        return ui.say(f"{wanted[0][2]} is on the blocklist already; what was taken before that stays where it is")
    note = f"after mail {rows[0].id}"
    result = await each(ui, new, lambda one: Block(touchpoint=str(one[0]), pattern=one[2], note=note))
    done, trouble = result.done, result.lost or next(iter(result.refused), "")
    if not done:
        return ui.say(trouble, "bad", seconds=OLD_SECONDS)
    what = f"{done[0][2]} is" if len(done) == 1 else f"{len(done)} senders are"
    undo = Undo(
        words=f"{what} blocked",
        back=[Unblock(touchpoint=str(number), pattern=pattern) for number, _, pattern in done],
        again=[Block(touchpoint=str(number), pattern=pattern, note=note) for number, _, pattern in done],
    )
    return ui.did(f"{what} blocked {where}{f'; {trouble}' if trouble else ''}", undo)


def _blocking(key: str, wanted: list[Sender], one: str, more: str) -> Choice:
    from tui.dialogs import Choice

    _, at, pattern = wanted[0]
    if len(wanted) > 1:
        return Choice(key=key, value=wanted, words=f"{len(wanted)} {more}")
    return Choice(
        key=key, value=wanted, words=one + pattern, command=f"postroom blocklist add {quote(at)} {quote(pattern)}"
    )


async def _is_blocked(ui: TerminalUI, wanted: Sender) -> bool:
    """Whether it is on the list already: then an undo must not take it off."""
    number, _, pattern = wanted
    page = await ui.call(ListBlocklist(touchpoint=str(number), text=pattern, limit=500))
    return any(row.pattern == pattern for row in page.rows)


# -- The content ---------------------------------------------------------------------------------------------------


def readable(data: bytes, *, cut: bool) -> str:
    """Bytes as a text that is safe on a screen, line by line: UTF-8 where they are that, else Latin-1."""
    import codecs

    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(data, final=not cut)
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    return "\n".join(safe_text(each, multiline=True) for each in text.replace("\r\n", "\n").split("\n"))


async def _raw(view: View, rows: Rows) -> None:
    from tui.dialogs import Show

    ui, row = view.ui, rows[0]
    chunk = await ui.call(ReadContent(id=row.id))
    cut = chunk.size > len(chunk.data)
    text = await asyncio.to_thread(readable, chunk.data, cut=cut)
    if cut:
        told = f"the first {amount(len(chunk.data))} of {amount(chunk.size)}; E writes all of it to a file"
        text = f"-- {told} --\n{text}\n-- {told} --"
    await ui.ask(Show(ui, f"mail {row.id} as it is, {amount(chunk.size)}", text))


async def _export(view: View, rows: Rows) -> None:
    from tui.dialogs import Field, Form

    ui, row = view.ui, rows[0]
    opened: list[tuple[Path, int]] = []

    async def create(values: dict[str, str]) -> dict[str, str] | None:
        path = Path(values["path"].strip()).expanduser()
        try:
            opened.append((path, os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)))
        except FileExistsError:
            return {"path": f"{path} is there already, and is not written over"}
        except (OSError, ValueError) as error:
            return {"path": f"cannot be made: {getattr(error, 'strerror', '') or error}"}
        return None

    hint = "a new file on this host; only you will be able to read it"
    fields = [Field(name="path", label="File", value=f"./mail-{row.id}.eml", hint=hint, required=True)]
    if await ui.ask(Form(ui, f"export mail {row.id}", fields, create)) is not None and opened:
        await _write(ui, row.id, *opened[-1])


async def _write(ui: TerminalUI, number: int, path: Path, descriptor: int) -> None:
    """Copy the content into the file and wait until it is on the disk; a file that is not whole is taken away."""
    whole = False
    try:
        with os.fdopen(descriptor, "wb") as file:
            at = 0
            while True:
                chunk = await ui.call(ReadContent(id=number, offset=at))
                await asyncio.to_thread(file.write, chunk.data)
                at += len(chunk.data)
                if at >= chunk.size:
                    break
                if not chunk.data:
                    raise OSError(f"the daemon has {at} of its {chunk.size} bytes only")
                ui.say(f"mail {number}: {amount(at)} of {amount(chunk.size)} ...")
            file.flush()
            await asyncio.to_thread(os.fsync, file.fileno())
        whole = True
        ui.say(f"mail {number} is in {path} ({amount(at)})", "good")
    except (OSError, CallFailed, Unreachable) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else words(error)
        ui.say(f"mail {number} was not exported: {why}", "bad", seconds=OLD_SECONDS)
    finally:
        if not whole:
            path.unlink(missing_ok=True)


# -- The acts ------------------------------------------------------------------------------------------------------


def _open(view: View, rows: Rows) -> None:
    view.open(rows[0])


def _not_replayed(row: MailRow) -> str:
    return "" if row.origin in ("fetched", "relay") else "Postroom wrote it itself: it walks no line"


OPEN = Act(id="mail.open", key="enter", words="Its page", run=_open, single=True, calls=(ShowMail, ReadText),
           command="postroom spool show {id}")  # fmt: skip
RETRY = Act(id="mail.retry", key="r", words="Retry ...", run=_retry, kind=Kind.ASK, calls=(RetryMail,), bar=56,
            command="postroom spool retry {id}", why_not=_not_retried, question=_ask_retry)  # fmt: skip
CONFIRM = Act(id="mail.confirm", key="d", words="It did arrive ...", run=_confirm, kind=Kind.ASK, calls=(ConfirmMail,),
              command="postroom spool confirm {id}", why_not=_not_confirmed, question=_ask_confirm)  # fmt: skip
HOLD = Act(id="mail.hold", key="h", words="Hold ...", run=_hold, kind=Kind.ASK, calls=(HoldMail,), bar=52,
           command="postroom spool hold {id}", why_not=_not_held, question=_ask_hold)  # fmt: skip
RELEASE = Act(id="mail.release", key="u", words="Release ...", run=_release, kind=Kind.ASK, calls=(ReleaseMail,),
              bar=57, command="postroom spool release {id}", why_not=_not_released,
              question=_ask_release)  # fmt: skip
DROP = Act(id="mail.drop", key="x", words="Drop ...", run=_drop, kind=Kind.NAME, calls=(DropMail,), bar=50,
           command="postroom spool drop {id}", why_not=_not_dropped, question=_ask_drop, name=_drop_name)  # fmt: skip
CLOSE = Act(id="mail.close", key="C", words="Close", run=_close, kind=Kind.UNDO, calls=(CloseMail,), bar=58,
            command="postroom queue close {id}", why_not=_not_closed)  # fmt: skip
REOPEN = Act(id="mail.reopen", key="O", words="Reopen", run=_reopen, kind=Kind.UNDO, calls=(ReopenMail,),
             command="postroom queue reopen {id}", why_not=_not_reopened)  # fmt: skip
MOVE = Act(id="mail.move", key="m", words="Move to queues ...", run=_move, kind=Kind.UNDO,
           calls=(MoveMail, ListRingGroups), bar=55, command="postroom queue move {id} --to NAME",
           why_not=_not_moved)  # fmt: skip
BLOCK = Act(id="mail.block", key="b", words="Block sender ...", run=_block, kind=Kind.UNDO,
            calls=(Block, Unblock, ListBlocklist), bar=54, command="postroom blocklist add {touchpoint} {author}",
            why_not=_not_blocked)  # fmt: skip
EXPORT = Act(id="mail.export", key="E", words="Export as .eml ...", run=_export, single=True, calls=(ReadContent,),
             command="postroom spool export {id} --to FILE", bar=25)  # fmt: skip
RAW = Act(id="mail.raw", key="v", words="Raw text", run=_raw, single=True, calls=(ReadContent,), bar=35,
          command="postroom spool export {id}")  # fmt: skip
REPLAY = Act(id="mail.replay", key="L", words="Replay, without effect", run=replay, calls=(ReplayMail,),
             command="postroom replay {id}", why_not=_not_replayed)  # fmt: skip
ALL = (CLOSE, REOPEN, MOVE, BLOCK, RETRY, CONFIRM, HOLD, RELEASE, DROP, RAW, EXPORT, REPLAY)
"""What can be done to a mail, apart from opening it."""
