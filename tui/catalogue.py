"""All screens and all acts, for the user's file of keys, the table in ``docs/keys.md`` and the tests."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

from gateway.control import method_of
from tui.acts import Act, Kind
from tui.everywhere import ALWAYS, EVERYWHERE
from tui.frame import SCREENS
from tui.keys import shown
from tui.view import View

PAGES = ("touchpoint.TouchpointPage", "touchpoint.HistoryPage", "mail.MailPage", "mail.WhyPage", "audit.Audit",
         "relay_users.RelayUsers")  # fmt: skip
"""Views that are opened from screens."""


def all_views() -> Iterator[type[View]]:
    """Every class of view."""
    for _, name, _ in SCREENS:
        yield import_module(f"tui.views.{name}").VIEW
    for dotted in PAGES:
        module, name = dotted.split(".")
        yield getattr(import_module(f"tui.views.{module}"), name)


def all_acts() -> Iterator[tuple[str, Act]]:
    """Every act, with the title of its screen; those of everywhere have none."""
    for view in all_views():
        for act in view.ACTS:
            yield view.TITLE, act
    for act in EVERYWHERE:
        yield "", act


_ASKS = {Kind.LOOK: "", Kind.UNDO: "no; `z` takes it back", Kind.ASK: "y/N", Kind.NAME: "the name, typed"}
_HEAD = """\
# Keys, calls and commands

Everything that the terminal UI can do, from the table that it is made of (`tui/catalogue.py`); written by
`./dev test tests/tui/test_catalogue.py --accept`. The id is what `tui.toml` calls it; a call is a method of the
control socket, and the daemon decides who may make it.

"""


def page() -> str:
    """The table of all acts as Markdown: ``docs/keys.md``."""
    out = [_HEAD]
    for title in dict.fromkeys(title for title, _ in all_acts()):
        out.append(f"## {title or 'Everywhere'}\n\n| key | does | asks | calls | command | id |\n")
        out.append("| --- | --- | --- | --- | --- | --- |\n")
        out += [_row(act) for each, act in all_acts() if each == title]
        out.append("\n")
    by_itself = ", ".join(f"`{method_of(call)}`" for call in ALWAYS)
    out.append(
        f"The frame asks {by_itself} by itself; they are `postroom status --watch` and `postroom touchpoint list`.\n"
    )
    return "".join(out)


def _row(act: Act) -> str:
    keys = " ".join(f"`{shown(key)}`" for key in act.keys)
    calls = " ".join(f"`{method_of(call)}`" for call in act.calls)
    command = f"`{act.command.replace('{', '').replace('}', '')}`" if act.command else ""
    return f"| {keys} | {act.words.split(' ...')[0]} | {_ASKS[act.kind]} | {calls} | {command} | `{act.id}` |\n"
