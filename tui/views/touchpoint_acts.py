"""What can be done to a touchpoint, in the list and on its page alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from shlex import quote
from typing import TYPE_CHECKING, Any

from gateway.control import (
    ActivateTouchpoint,
    Call,
    ConnectTouchpoint,
    CreateRingGroup,
    CreateTouchpoint,
    DeactivateTouchpoint,
    DeleteTouchpoint,
    DirectionType,
    DuplicateTouchpoint,
    EditTouchpoint,
    LinkRingGroup,
    ListAudit,
    ListPresets,
    ListRingGroups,
    PlanConnect,
    Prove,
    ResumeChoice,
    ResumeTouchpoint,
    RingGroupRow,
    SetConnection,
    SetDirection,
    ShowProving,
    ShowTouchpoint,
    TouchpointRow,
    TryTouchpoint,
    UnlinkRingGroup,
)
from tui.acts import Act, Kind, Rows, Undo
from tui.dialogs import Choice, Menu, Pick
from tui.keys import shown
from tui.views.proof import prove_one
from tui.views.touchpoint_words import DIRECTIONS, given_up

if TYPE_CHECKING:
    from tui.app import TerminalUI
    from tui.view import View

Pair = tuple[Call[Any], Call[Any]]
"""A call, and the one that takes it back."""


async def _do_all(view: View, steps: Sequence[Pair], said: Callable[[int], str]) -> None:
    """Make calls one after the other; what was done is taken back in one go, also where a later one failed."""
    done: list[Pair] = []
    try:
        for step in steps:
            await view.ui.call(step[0])
            done.append(step)
    finally:
        if done:
            back, again = [back for _, back in reversed(done)], [there for there, _ in done]
            view.ui.did(said(len(done)), Undo(words=said(len(done)), back=back, again=again))


# -- Connection and status -----------------------------------------------------------------------------------------


async def _open_dialog(view: View, row: TouchpointRow, purpose: str) -> None:
    from tui.views.connect import ConnectDialog, Purpose

    answer = await view.ui.ask(ConnectDialog(view.ui, row, Purpose(purpose)))
    if answer:
        view.ui.did(f"{row.address} is connected")
    if answer == "activate":
        await switch(view, [row])


async def _connect(view: View, rows: Rows) -> None:
    await _open_dialog(view, rows[0], "connect")


async def _reauthenticate(view: View, rows: Rows) -> None:
    await _open_dialog(view, rows[0], "reauthenticate")


async def _test(view: View, rows: Rows) -> None:
    await _open_dialog(view, rows[0], "test")


async def switch(view: View, rows: Rows) -> None:
    """On or off, each as it is not; one that was on before is asked about what came meanwhile."""
    ui = view.ui
    start_now: dict[int, bool] = {}
    for row in rows:
        if not row.active:
            detail = await ui.call(ShowTouchpoint(touchpoint=str(row.id)))
            start_now[row.id] = detail.activated_at > 0
    if any(start_now.values()):
        how = await _catch_up(ui, [row for row in rows if start_now.get(row.id)])
        if how is None:
            return ui.say("nothing was done")
        start_now = {number: before and how for number, before in start_now.items()}
    steps: list[Pair] = []
    for row in rows:
        off = DeactivateTouchpoint(touchpoint=str(row.id))
        on = ActivateTouchpoint(touchpoint=str(row.id), start_now=start_now.get(row.id, False))
        steps.append((off, on) if row.active else (on, off))
    return await _do_all(view, steps, lambda count: _switched(rows[:count]))


def _switched(rows: Rows) -> str:
    if len(rows) > 1:
        return f"{len(rows)} touchpoints are switched"
    return f"{rows[0].address} is {'off: no mail moves' if rows[0].active else 'on'}"


async def _catch_up(ui: TerminalUI, rows: Rows) -> bool | None:
    """Whether what came meanwhile is left alone; None for neither."""
    who = rows[0].address if len(rows) == 1 else f"{len(rows)} of these were on before"
    command = f"postroom touchpoint activate {quote(rows[0].address)} --"
    answer: bool | None = await ui.ask(
        Menu(ui, who, [
            Choice(key="c", words="Catch up: take the mail that came while it was off", value=False,
                   command=command + "catch-up"),
            Choice(key="n", words="Start now: leave that mail alone", value=True, command=command + "start-now"),
        ])
    )  # fmt: skip
    return answer


def _cannot_switch(row: TouchpointRow) -> str:
    return "it was never connected: connect it first" if row.state == "new" and not row.active else ""


def _cannot_sign_in(row: TouchpointRow) -> str:
    return "it was never connected: connect it first" if row.state == "new" else ""


async def _resume(view: View, rows: Rows) -> None:
    """What is taken from folders that came back with new numbers and much old mail."""
    ui, row = view.ui, rows[0]
    detail = await ui.call(ShowTouchpoint(touchpoint=str(row.id)))
    asked = [each for each in detail.resumes if each.asked_at and not each.resumed_at and not each.choice]
    if not asked:
        return ui.say(f"nothing is asked about {row.address}")
    unseen, old = sum(each.unseen for each in asked), sum(each.old for each in asked)
    names = ", ".join(each.folder for each in asked)
    command = f"postroom touchpoint resume {quote(row.address)} --"
    answer = await ui.ask(
        Menu(ui, f"{names}: {unseen:,} unseen, {old:,} of them old", [
            Choice(key="l", words="Leave alone what is older than the last arrival", value=ResumeChoice.LEAVE,
                   command=command + "leave"),
            Choice(key="t", words="Take all that is unseen", value=ResumeChoice.TAKE, command=command + "take"),
        ])
    )  # fmt: skip
    if answer is None:
        return ui.say("nothing was done")
    await ui.change(ResumeTouchpoint(touchpoint=str(row.id), choice=answer), f"{row.address} goes on")
    return None


def _not_asked(row: TouchpointRow) -> str:
    return "" if row.asks else "nothing is asked about it"


# -- What is said about it -----------------------------------------------------------------------------------------


async def _new(view: View, rows: Rows) -> None:
    from tui.views.touchpoint_forms import new

    if (row := await new(view.ui)) is not None:
        await _point_at(view.ui, row)


async def _duplicate(view: View, rows: Rows) -> None:
    from tui.views.touchpoint_forms import duplicate

    if (row := await duplicate(view.ui, rows[0])) is not None:
        await _point_at(view.ui, row)


async def _point_at(ui: TerminalUI, row: TouchpointRow) -> None:
    """Put the cursor of the list on a new row, and say what comes next."""
    screen: Any = await ui.go("touchpoints")
    screen.point_at(row)
    ui.did(f"{row.address} is created; {shown(ui.key('touchpoint.connect'))} connects it")


async def _edit(view: View, rows: Rows) -> None:
    from tui.views.touchpoint_forms import edit

    await edit(view.ui, rows[0])


async def _servers(view: View, rows: Rows) -> None:
    from tui.views.touchpoint_forms import servers

    await servers(view.ui, rows[0])


async def _direction(view: View, rows: Rows) -> None:
    row = rows[0]
    choices = [
        Choice(key=name[0], words=f"{name}: {meaning}", value=name,
               why_not="it is that already" if name == row.direction else "",
               command=f"postroom touchpoint direction {quote(row.address)} {name}")
        for name, (_, meaning) in DIRECTIONS.items()
    ]  # fmt: skip
    answer = await view.ui.ask(Menu(view.ui, f"direction of {row.address}", choices))
    if answer is not None:
        there = SetDirection(touchpoint=str(row.id), direction=DirectionType(answer))
        back = SetDirection(touchpoint=str(row.id), direction=DirectionType(row.direction))
        await _do_all(view, [(there, back)], lambda count: f"{row.address} is {answer} from the next mail on")


async def _delete(view: View, rows: Rows) -> None:
    row = rows[0]
    call = DeleteTouchpoint(touchpoint=str(row.id), drop_pending=bool(given_up(row)))
    await view.ui.change(call, f"{row.address} is deleted")
    if view.NAME != "touchpoints" and view.ui.view is view:
        await view.ui.back()  # its page has nothing to show any more


def _deletion(view: View, rows: Rows) -> str:
    lost = given_up(rows[0])
    mail = f"This {lost}." if lost else "No mail waits for it."
    rest = "The mailbox stays at the provider, with all its mail; what came and went stays on record here."
    return f"Delete {rows[0].address}.\n{mail}\n{rest}"


def _cannot_delete(row: TouchpointRow) -> str:
    said = f"it is not known whether {row.unknown} of its mails went out: settle that first (5 Held)"
    return said if row.unknown else ""


# -- Ring groups ---------------------------------------------------------------------------------------------------


async def _queues(view: View, rows: Rows) -> None:
    """Which ring groups get its new mail."""
    ui, row = view.ui, rows[0]
    groups = await _all_groups(ui)
    if not groups:
        return ui.say(f"there is no ring group yet: {_how_to_make_one(ui)}", "warn")
    options = [(each.name, f"{each.name}   {each.open:,} open") for each in groups]
    title = f"new mail of {row.address} goes to"
    chosen = await ui.ask(Pick(ui, title, options, several=True, marked=row.ring_groups))
    if chosen is None:
        return None
    steps = [_link(row, name) for name in chosen if name not in row.ring_groups]
    steps += [_link(row, name)[::-1] for name in row.ring_groups if name not in chosen]
    if not steps:
        return ui.say("nothing was changed")
    told = ", ".join(chosen) or "no queue"
    return await _do_all(view, steps, lambda count: f"new mail of {row.address} goes to: {told}")


def _link(row: TouchpointRow, name: str) -> Pair:
    return (
        LinkRingGroup(touchpoint=str(row.id), ring_group=name),
        UnlinkRingGroup(touchpoint=str(row.id), ring_group=name),
    )


async def _all_groups(ui: TerminalUI) -> list[RingGroupRow]:
    rows: list[RingGroupRow] = []
    after: int | None = 0
    while after is not None:
        page = await ui.call(ListRingGroups(after=after, limit=500))
        rows += page.rows
        after = page.next or None
    return rows


def _how_to_make_one(ui: TerminalUI) -> str:
    from tui.views.queues import VIEW

    digit = shown(ui.key("go.queues"))
    key = next((shown(ui.key_of(act)) for act in VIEW.ACTS if CreateRingGroup in act.calls), "")
    return f"make one with {digit} Queues, then {key}" if key else "make one with postroom ring-group create NAME"


# -- Elsewhere -----------------------------------------------------------------------------------------------------


def _details(view: View, rows: Rows) -> None:
    view.open(rows[0])


async def _auto_reply(view: View, rows: Rows) -> None:
    screen: Any = await view.ui.go("replies")
    screen.show_for(rows[0], "auto_reply")


async def _signature(view: View, rows: Rows) -> None:
    screen: Any = await view.ui.go("replies")
    screen.show_for(rows[0], "signature")


async def _blocklist(view: View, rows: Rows) -> None:
    screen: Any = await view.ui.go("blocklist")
    screen.show_for(rows[0])


async def _history(view: View, rows: Rows) -> None:
    from tui.views.touchpoint import HistoryPage

    await view.ui.open(HistoryPage(view.ui, rows[0]))


def _connect_words(row: TouchpointRow) -> str:
    return "Connect ..." if row.state == "new" else "Reconnect ..."


def _switch_words(row: TouchpointRow) -> str:
    return "Deactivate" if row.active else "Activate"


def _switch_command(row: TouchpointRow) -> str:
    verb = "deactivate {address}" if row.active else "activate {address} --catch-up"
    return f"postroom touchpoint {verb}"


NEW = Act(id="touchpoint.new", key="n", words="New touchpoint ...", run=_new, on_row=False, bar=45,
          calls=(CreateTouchpoint,), command="postroom touchpoint create ADDRESS --name NAME")  # fmt: skip
DETAILS = Act(id="touchpoint.details", key="v", words="Details, error in full", run=_details, single=True,
              calls=(ShowTouchpoint,), command="postroom touchpoint show {address}")  # fmt: skip
CONNECT = (
    Act(id="touchpoint.connect", key="c", words="Connect ...", words_of=_connect_words, run=_connect, single=True,
        bar=58, calls=(ShowTouchpoint, ListPresets, TryTouchpoint, PlanConnect, ConnectTouchpoint),
        command="postroom touchpoint connect {address}"),
    Act(id="touchpoint.reauthenticate", key="R", words="Reauthenticate ...", run=_reauthenticate, single=True,
        calls=(ShowTouchpoint, ListPresets, TryTouchpoint, PlanConnect, ConnectTouchpoint), why_not=_cannot_sign_in,
        command="postroom touchpoint connect {address} --new-password"),
    Act(id="touchpoint.test", key="T", words="Test the connection ...", run=_test, single=True,
        calls=(ShowTouchpoint, ListPresets, TryTouchpoint), command="postroom touchpoint test {address}"),
    Act(id="touchpoint.switch", key="t", words="On or off", words_of=_switch_words, run=switch, kind=Kind.UNDO, bar=50,
        calls=(ShowTouchpoint, ActivateTouchpoint, DeactivateTouchpoint), why_not=_cannot_switch,
        command="postroom touchpoint deactivate {address}", command_of=_switch_command),
    Act(id="touchpoint.resume", key="m", words="After a renumbering ...", run=_resume, single=True,
        calls=(ShowTouchpoint, ResumeTouchpoint), why_not=_not_asked,
        command="postroom touchpoint resume {address} --leave"),
)  # fmt: skip
PAGE = (
    Act(id="touchpoint.edit", key="e", words="Edit ...", run=_edit, single=True, calls=(ShowTouchpoint, EditTouchpoint),
        command="postroom touchpoint edit {address} --name NAME"),
    Act(id="touchpoint.servers", key="E", words="Servers ...", run=_servers, single=True,
        calls=(ShowTouchpoint, ListPresets, SetConnection),
        command="postroom touchpoint edit {address} --provider NAME"),
    Act(id="touchpoint.direction", key="D", words="Direction ...", run=_direction, single=True, calls=(SetDirection,),
        command="postroom touchpoint direction {address} {direction}"),
    Act(id="touchpoint.duplicate", key="d", words="Duplicate ...", run=_duplicate, single=True,
        calls=(DuplicateTouchpoint,), command="postroom touchpoint duplicate {address} NEW-ADDRESS --name NAME"),
    Act(id="touchpoint.queues", key="l", words="Linked queues (ring groups) ...", run=_queues, single=True,
        calls=(ListRingGroups, LinkRingGroup, UnlinkRingGroup),
        command="postroom touchpoint link {address} RING-GROUP"),
    Act(id="touchpoint.auto_reply", key="A", words="Auto-reply", run=_auto_reply, single=True,
        command="postroom auto-reply show {address}"),
    Act(id="touchpoint.signature", key="S", words="Signature", run=_signature, single=True,
        command="postroom signature show {address}"),
    Act(id="touchpoint.blocklist", key="b", words="Blocklist", run=_blocklist, single=True,
        command="postroom blocklist list {address}"),
    Act(id="touchpoint.history", key="h", words="History", run=_history, single=True, calls=(ListAudit,),
        command="postroom audit list --subject {address}"),
    Act(id="touchpoint.prove", key="P", words="Prove that nothing is lost", run=prove_one, single=True,
        calls=(Prove,), reads=(ShowProving,), why_not=_cannot_sign_in, command="postroom prove {address}"),
    Act(id="touchpoint.delete", key="x", words="Delete ...", run=_delete, kind=Kind.NAME, single=True,
        calls=(DeleteTouchpoint,), command="postroom touchpoint delete {address} --pending drop --yes",
        question=_deletion, name=lambda rows: rows[0].address, why_not=_cannot_delete),
)  # fmt: skip
