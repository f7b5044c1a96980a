"""All screens and all acts, for the user's file of keys, the table in ``docs/keys.md`` and the tests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib import import_module
from typing import assert_never

from gateway.control import GetStatus, method_of
from tui.acts import Act, Kind
from tui.everywhere import ALWAYS, EVERYWHERE
from tui.frame import SCREENS
from tui.keys import shown
from tui.view import View

PAGES = {
    "touchpoint.TouchpointPage": "Enter on a touchpoint",
    "touchpoint.HistoryPage": "`h` on a touchpoint",
    "queues.QueuePage": "Enter on a ring group",
    "outbox.OutboxPage": "Enter or `o` in the outbox",
    "mail.MailPage": "Enter on a mail",
    "mail.WhyPage": "`W`",
    "audit.Audit": "`e` in the log",
    "relay_users.RelayUsers": "`u` on the screen of the relay",
}
"""Views that are opened from screens, and how."""


def _ways() -> Iterator[tuple[type[View], str]]:
    """Every class of view, and how one gets there."""
    for digit, name, _ in SCREENS:
        yield import_module(f"tui.views.{name}").VIEW, f"`{digit}`"
    for dotted, way in PAGES.items():
        module, name = dotted.split(".")
        yield getattr(import_module(f"tui.views.{module}"), name), way


def all_views() -> Iterator[type[View]]:
    """Every class of view."""
    return (view for view, _ in _ways())


def all_acts() -> Iterator[tuple[str, Act]]:
    """Every act, with the title of its screen; those of everywhere have none."""
    for view in all_views():
        for act in view.ACTS:
            yield view.TITLE, act
    for act in EVERYWHERE:
        yield "", act


_HEAD = """\
# Keys, calls and commands

Everything that the terminal UI can do, from the table that it is made of (`tui/catalogue.py`); written by
`./dev test tests/tui/test_catalogue.py --accept`. The id is what `tui.toml` calls it; a call is a method of the
control socket, and the daemon decides who may make it. Capitals in a command are to be filled in. "Asks" is what has
to be answered before anything is done.

"""


def page() -> str:
    """The table of all acts as Markdown: ``docs/keys.md``."""
    out = [_HEAD]
    for view, way in _ways():
        if view.ACTS:
            out.append(_table(f"{view.TITLE} ({way})", view.ACTS))
    out.append(_table("Everywhere", EVERYWHERE))
    by_itself = ", ".join(f"`{method_of(call)}`" for call in ALWAYS if call is not GetStatus)
    out.append(f"The frame makes {by_itself} by itself; `status` is what `watch` begins with.\n")
    return "".join(out)


def _table(title: str, acts: Iterable[Act]) -> str:
    head = f"## {title}\n\n| key | does | asks | calls | command | id |\n| --- | --- | --- | --- | --- | --- |\n"
    return head + "".join(map(_row, acts)) + "\n"


def _row(act: Act) -> str:
    keys = " ".join(f"`{shown(key)}`" for key in act.keys)
    calls = " ".join(f"`{method_of(call)}`" for call in (*act.calls, *act.reads))
    command = f"`{act.usage}`" if act.command else ""
    return f"| {keys} | {act.words.split(' ...')[0]} | {_asks(act)} | {calls} | {command} | `{act.id}` |\n"


def _asks(act: Act) -> str:
    dialog = "a dialog" if act.words.endswith(" ...") else ""
    match act.kind:
        case Kind.LOOK:
            return dialog
        case Kind.UNDO:
            return f"{dialog or 'no'}; `z` takes it back"
        case Kind.ASK:
            return "y/N"
        case Kind.NAME:
            return "the name, typed"
        case _ as never:
            assert_never(never)
