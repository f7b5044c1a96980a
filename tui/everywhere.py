"""What can be done on every screen: going about, filtering, copying, undoing, pausing, and leaving."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from gateway.control import (
    Call,
    GetStages,
    GetStatus,
    ListBlocklist,
    ListLog,
    ListMail,
    ListRingGroups,
    ListSettings,
    ListTouchpoints,
    ShapeOutbox,
    ShowMail,
    ShowRelay,
    ShowTemplate,
    ShowTouchpoint,
    Watch,
    WhoAmI,
    Why,
)
from tui.acts import Act, Rows
from tui.frame import SCREENS
from tui.keys import shown

if TYPE_CHECKING:
    from tui.app import Moment, TerminalUI
    from tui.dialogs import Place
    from tui.view import View

MOST_PLACES = 50


async def _go_to(view: View, rows: Rows) -> None:
    from tui.dialogs import GoTo

    ui = view.ui
    at = ui.moment()
    place = await ui.ask(GoTo(ui, lambda text: places(ui, text, at)))
    if place is not None:
        made = place.go()
        if made is not None:
            await made


async def _help(view: View, rows: Rows) -> None:
    from tui.dialogs import Help

    ui = view.ui
    table: list[tuple[str, str, str, Act | None]] = []
    taken: set[str] = set()
    for act in ui.acts():
        free = [key for key in ui.keys_of(act) if key not in taken]  # a screen's own acts go first
        taken.update(free)
        if free:
            table.append((" ".join(map(shown, free)), act.words.split(" ...")[0], act.usage, act))
    table += [(keys, words, "", None) for keys, words in MOVING]
    at = ui.moment()
    chosen = await ui.ask(Help(ui, table))
    if chosen is not None:
        ui.start(chosen, at)


MOVING = (
    ("↓ ↑ j k", "down, up"),
    ("PgDn PgUp", "a page down, up"),
    ("g G Home End", "first, last"),
    ("^c ^c", "leave, asked twice"),
)
"""Keys that move, and the one that every terminal knows; not remappable."""


async def _menu(view: View, rows: Rows) -> None:
    """``a``: all that can be done to this row, with what cannot be done now and why."""
    from tui.dialogs import Choice, Menu

    ui = view.ui
    under = [] if view.current is None else [view.current]

    def about(act: Act) -> Rows:
        return under if act.single and under else rows

    choices = [
        Choice(
            key=ui.key_of(act),
            words=act.words_for(about(act)),
            value=act,
            why_not=ui.why_not(act, about(act)),
            command=ui.twin(act.command_for(about(act))),
        )
        for act in view.ACTS
        if act.on_row
    ]
    if not choices:
        ui.say("there is nothing to be done to a row here")
        return
    row = rows[0]
    name = f"{len(rows):,} rows" if len(rows) > 1 else view.name_of(row)
    act = await ui.ask(Menu(ui, name, choices))
    if act is not None:
        # The rows of the moment when the menu was opened, whatever the list does by now.
        await ui._perform(act, view, about(act))


def _open(view: View, rows: Rows) -> None:
    view.open(rows[0])


async def _back(view: View, rows: Rows) -> None:
    await view.ui.back()


def _mark(view: View, rows: Rows) -> None:
    if view.list is not None and not view.full:
        view.list.mark()
    else:
        view.nav("space")  # a page has nothing to mark, and is read on


def _mark_all(view: View, rows: Rows) -> None:
    if view.list is not None:
        view.list.mark_all()
    else:
        view.ui.say("there are no rows to mark here")


def _sort(view: View, rows: Rows) -> None:
    if not view.SORTS:
        view.ui.say("there is only one order here")
        return
    view.sort = (view.sort + 1) % len(view.SORTS)
    view.draw()
    view.ui.say(f"sorted by: {view.SORTS[view.sort]}")


def _wide(view: View, rows: Rows) -> None:
    if view.list is None or not view.list.columns:
        view.ui.say("there are no columns here")
    elif not view.list.left_out:
        view.ui.say("all columns are shown here")
    else:
        view.list.all_columns = not view.list.all_columns
        view.list.redraw(all_of_it=True)


def _full(view: View, rows: Rows) -> None:
    if view.list is None:
        view.ui.say("this is the whole of it already")
        return
    view.full = not view.full
    view.lay_out()
    view.draw_details()


def _pause(view: View, rows: Rows) -> None:
    ui = view.ui
    ui.paused = not ui.paused
    ui.say(f"nothing moves until {shown(ui.key('ui.pause'))} is pressed again" if ui.paused else "live again")
    ui.tick()


def _filter(view: View, rows: Rows) -> None:
    view.ui.begin_prompt()


def _next(view: View, rows: Rows) -> None:
    _step(view, 1)


def _previous(view: View, rows: Rows) -> None:
    _step(view, -1)


def _step(view: View, by: int) -> None:
    if not view.needle:
        view.ui.say(f"nothing was searched for yet: {shown(view.ui.key('ui.filter'))}")
    elif view.list is not None and not view.full:
        view.list.move_to(view.list.cursor + by)
    elif not view.pager.search(view.needle, by):
        view.ui.say(f"nothing here holds {view.needle!r}", "warn")


def _copy(view: View, rows: Rows) -> None:
    view.ui.copy(view.value(), "the value")


def _copy_command(view: View, rows: Rows) -> None:
    view.ui.copy(view.ui.twin(view.command()), "the command")


async def _show_text(view: View, rows: Rows) -> None:
    from tui.dialogs import Show

    text = view.ui.last_copied or view.value() or view.pager.text
    await view.ui.ask(Show(view.ui, "select with the mouse or the terminal's own keys", text, bare=True))


async def _undo(view: View, rows: Rows) -> None:
    await view.ui.undo()


async def _redo(view: View, rows: Rows) -> None:
    await view.ui.redo()


def _refresh(view: View, rows: Rows) -> None:
    ui = view.ui
    if ui.link is not None:
        ui.link.hurry()
    ui.say("asking again" if ui.picture.connected else "trying to connect now")
    view.reload()
    ui.screen.refresh(layout=True)
    if view.list is not None:
        view.list.redraw(all_of_it=True)


def _mouse(view: View, rows: Rows) -> None:
    ui = view.ui
    ui.mouse_on = not ui.mouse_on
    ui.say("the mouse is ours now; Shift selects text" if ui.mouse_on else "the mouse is the terminal's")


async def _before(view: View, rows: Rows) -> None:
    await view.ui.before()


def _suspend(view: View, rows: Rows) -> None:
    if view.ui.can_suspend:
        view.ui.action_suspend_process()
    else:
        view.ui.say("this terminal has no shell to go back to", "warn")


async def _quit(view: View, rows: Rows) -> None:
    view.ui.exit(0)


async def _who(view: View, rows: Rows) -> None:
    from tui.dialogs import Show

    ui = view.ui
    me = await ui.call(WhoAmI())
    roles = ", ".join(me.roles) or "none"
    text = (
        f"you       {me.name} (uid {me.uid})\nroles     {roles}{'  (read-only)' if ui.read_only else ''}\n"
        f"daemon    postroom {me.version} on {me.hostname}\nsocket    {ui.where}"
    )
    await ui.ask(Show(ui, "who the daemon takes you for", text))


async def _why(view: View, rows: Rows) -> None:
    from tui.dialogs import Field, Form

    ui = view.ui
    values: dict[str, str] = {}

    async def keep(made: dict[str, str]) -> dict[str, str] | None:
        if not any(made[name].strip() for name in ("message_id", "author", "subject")):
            return {"message_id": "say its Message-ID, who sent it, or words of its subject"}
        if made["day"].strip() and not day_of(made["day"]):
            return {"day": "not a day such as 2026-11-20"}
        values.update(made)
        return None

    fields = [
        Field(name="message_id", label="Message-ID", hint="as in the header, with or without <>"),
        Field(name="author", label="Sender", hint="an address, or @domain"),
        Field(name="subject", label="Words of subject", hint="alone, or together with a sender"),
        Field(name="day", label="Day", hint="such as 2026-11-20; empty is any"),
    ]
    if await ui.ask(Form(ui, "what became of a mail?", fields, keep)) is not None:
        said = {name: value.strip() for name, value in values.items()}
        since = day_of(said["day"])
        await show_why(
            ui,
            Why(
                message_id=said["message_id"],
                author=said["author"],
                subject=said["subject"],
                since=since,
                until=since + DAY if since else 0.0,
            ),
        )


DAY = 86400.0


def day_of(text: str) -> float:
    """The beginning of a local day; 0 for no day, and for what is none."""
    try:
        return time.mktime(time.strptime(text.strip(), "%Y-%m-%d"))
    except (ValueError, OverflowError):
        return 0.0


async def show_why(ui: TerminalUI, question: Why) -> None:
    """Open the page of what became of a mail."""
    from tui.views.mail import WhyPage

    await ui.open(WhyPage(ui, question))


LOADS: dict[str, tuple[str, tuple[type[Call[Any]], ...]]] = {
    "overview": ("postroom status --stages", (GetStages,)),
    "touchpoints": ("postroom touchpoint list", (ListTouchpoints, ShowTouchpoint)),
    "queues": ("postroom ring-group list", (ListRingGroups,)),
    "outbox": ("postroom spool shape", (ShapeOutbox,)),
    "held": ("postroom spool list --state held", (ListMail, ShowMail)),
    "replies": ("postroom auto-reply show TOUCHPOINT", (ShowTemplate,)),
    "blocklist": ("postroom blocklist list", (ListBlocklist,)),
    "logs": ("postroom log list", (ListLog,)),
    "relay": ("postroom relay show", (ShowRelay,)),
    "settings": ("postroom settings show", (ListSettings,)),
}
"""The command that shows what a screen shows, and the calls that it makes while it loads."""


def _screen_act(digit: str, name: str, title: str) -> Act:
    async def go(view: View, rows: Rows) -> None:
        await view.ui.go(name)

    command, reads = LOADS[name]
    return Act(id=f"go.{name}", key=digit, words=f"{title} screen", run=go, on_row=False, reads=reads, command=command)


EVERYWHERE: tuple[Act, ...] = (
    Act(id="ui.open", key="enter", words="Open", run=_open, single=True, bar=90),
    Act(id="ui.menu", key="a", words="Actions", run=_menu, bar=80),
    Act(id="ui.filter", key="/ f3", words="Filter", run=_filter, on_row=False, bar=70),
    Act(id="ui.go", key=": f2 ctrl+p", words="Go to", run=_go_to, on_row=False, bar=60),
    Act(id="ui.back", key="escape q", words="Back", run=_back, on_row=False, bar=20),
    Act(id="ui.help", key="? f1", words="Help", run=_help, on_row=False),
    Act(id="ui.mark", key="space", words="Mark", run=_mark, on_row=False),
    Act(id="ui.mark_all", key="*", words="Mark all shown", run=_mark_all, on_row=False),
    Act(id="ui.next", key="n", words="Next hit", run=_next, on_row=False),
    Act(id="ui.previous", key="N", words="Previous hit", run=_previous, on_row=False),
    Act(id="ui.sort", key="s", words="Sort", run=_sort, on_row=False),
    Act(id="ui.wide", key="w", words="Wide columns", run=_wide, on_row=False),
    Act(id="ui.full", key="f", words="Full screen", run=_full, on_row=False),
    Act(id="ui.pause", key="p", words="Pause", run=_pause, on_row=False),
    Act(id="ui.copy", key="y", words="Copy", run=_copy, on_row=False, bar=40),
    Act(id="ui.copy_command", key="Y", words="Copy as command", run=_copy_command, on_row=False),
    Act(id="ui.show_text", key="V", words="Show for selecting", run=_show_text, on_row=False),
    Act(id="ui.undo", key="z", words="Undo", run=_undo, on_row=False, bar=30),
    Act(id="ui.redo", key="Z", words="Redo", run=_redo, on_row=False),
    Act(id="ui.before", key="-", words="Screen before", run=_before, on_row=False),
    Act(id="ui.refresh", key="ctrl+l f5", words="Ask and draw again", run=_refresh, on_row=False),
    Act(id="ui.mouse", key="M", words="Mouse on or off", run=_mouse, on_row=False),
    Act(id="mail.why", key="W", words="Why? Find a mail ...", run=_why, on_row=False, calls=(Why,),
        command="postroom why ADDRESS"),
    Act(id="ui.who", key="I", words="Who am I?", run=_who, on_row=False, calls=(WhoAmI,), command="postroom whoami"),
    Act(id="ui.suspend", key="ctrl+z", words="Suspend", run=_suspend, on_row=False),
    Act(id="ui.quit", key="Q ctrl+q", words="Quit", run=_quit, on_row=False),
    *(_screen_act(*each) for each in SCREENS),
)  # fmt: skip
ALWAYS = (WhoAmI, Watch, GetStatus, GetStages, ListTouchpoints)
"""Calls that the frame makes by itself; no key is needed. The answer to GetStatus is what a watch begins with."""


def places(ui: TerminalUI, text: str, at: Moment | None = None) -> list[Place]:
    """Where one can go with this text, and what can be done to the rows of that moment: the exact things first."""
    from tui.dialogs import Place

    found: list[Place] = []
    folded = text.casefold()

    def place(words: str, hint: str, go: Callable[[], Coroutine[Any, Any, Any] | None]) -> None:
        if len(found) < MOST_PLACES:
            found.append(Place(words=words, hint=hint, go=go))

    number = text.removeprefix("mail").strip()
    if number.isascii() and number.isdigit() and int(number[:18]) > 0:
        place(f"mail {number}", "its page", lambda: _open_mail(ui, int(number[:18])))
    words = text.removeprefix("why").strip()
    if "@" in words or words.startswith("<") or (text.startswith("why ") and words):
        place(f"why {words}", "what became of that mail", lambda: show_why(ui, asked(words)))
    for digit, name, title in SCREENS:
        if folded in name or folded in title.casefold() or folded == digit:
            place(title, f"screen {digit}", lambda name=name: ui.go(name))  # type: ignore[misc]
    if folded:
        for row in sorted(ui.picture.touchpoints.values(), key=lambda row: row.address):
            if folded in row.address.casefold() or folded in row.name.casefold():
                place(row.address, f"touchpoint, {row.state}", lambda row=row: _open_touchpoint(ui, row))  # type: ignore[misc]
    for act in ui.acts():
        if folded in act.words.casefold() and not act.id.startswith("go."):
            place(act.words.split(" ...")[0], f"key {shown(ui.key_of(act))}", lambda act=act: ui.start(act, at))  # type: ignore[misc]
    return found


def asked(words: str) -> Why:
    """A text as a question: a Message-ID, a sender, or words of a subject."""
    return Why(what=words)


async def _open_mail(ui: TerminalUI, number: int) -> None:
    from tui.views.mail import MailPage

    await ui.open(MailPage(ui, number))


async def _open_touchpoint(ui: TerminalUI, row: Any) -> None:
    from tui.views.touchpoint import TouchpointPage

    await ui.open(TouchpointPage(ui, row.id))
