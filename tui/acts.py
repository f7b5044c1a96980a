"""What a person can do, as data: one ``Act`` for each thing, with its key, its calls and its command.

The key bar, the menu of a row, the help, the palette and the table in ``docs/keys.md`` are all read from these. How
much is asked before an act follows from its ``Kind`` alone, so that no screen can forget to ask.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gateway.control import Call
    from tui.view import View

Rows = Sequence[Any]


class Kind(IntEnum):
    """What stands between a key and its effect."""

    LOOK = 0
    """Nothing: it only looks, or asks by itself in a form."""
    UNDO = 1
    """Nothing: ``z`` takes it back."""
    ASK = 2
    """A question with the counted effect; the default is no."""
    NAME = 3
    """The name of what is lost has to be typed."""


def _no_question(view: View, rows: Rows) -> str:
    return ""


@dataclass(frozen=True, kw_only=True)
class Act:
    """One thing that can be done on a screen."""

    id: str
    """``noun.verb``; what the user's own file of keys calls it."""
    key: str
    """Names of keys, with a space between; the first one is shown."""
    words: str
    run: Callable[[Any, Rows], Awaitable[None] | None]
    """Called with the view and the rows that it is about, as they were when the key was pressed."""
    kind: Kind = Kind.LOOK
    calls: tuple[type[Call[Any]], ...] = ()
    """What it asks of the daemon; decides who may do it."""
    reads: tuple[type[Call[Any]], ...] = ()
    """What the screen that it goes to asks while it loads; never a condition."""
    command: str = ""
    """The same thing on the command line; words in braces are taken from the row, capitals are to be filled in."""
    on_row: bool = True
    """It is about the marked rows or the one under the cursor."""
    single: bool = False
    """It is about the row under the cursor alone."""
    why_not: Callable[[Any], str] | None = None
    """Why it cannot be done to this row now; "" where it can."""
    question: Callable[[View, Rows], str] = _no_question
    """For ASK and NAME: the effect, counted."""
    name: Callable[[Rows], str] | None = None
    """For NAME: what has to be typed."""
    bar: int = 0
    """Its place in the key bar, the higher the earlier; 0 is not there."""
    words_of: Callable[[Any], str] | None = None
    """Its words for one row, where they depend on how that stands."""
    command_of: Callable[[Any], str] | None = None
    """Its command for one row, likewise."""

    @property
    def keys(self) -> tuple[str, ...]:
        """All its keys."""
        return tuple(self.key.split(" ")) if self.key else ()

    @property
    def usage(self) -> str:
        """Its command, with capitals in all places that are to be filled in."""
        made = self.command
        for name in _names(made):
            made = made.replace("{" + name + "}", name.upper())
        return made

    def words_for(self, rows: Rows) -> str:
        """What it is called for these rows."""
        return self.words_of(rows[0]) if self.words_of is not None and rows else self.words

    def command_for(self, rows: Rows) -> str:
        """Its command, for these rows; "" where there is none, and where a row lacks what it is about."""
        from shlex import quote

        if not self.command:
            return ""
        row = rows[0] if rows else None
        made = self.command_of(row) if self.command_of is not None and row is not None else self.command
        values = {
            name: " ".join(quote(str(getattr(each, name, ""))) for each in (rows if name == "id" else [row]))
            for name in _names(made)
        }
        if quote("") in values.values():
            return ""
        return made.format_map(values)  # all at once: a value may hold the name of another one


def _names(template: str) -> list[str]:
    from string import Formatter

    return [name for _, name, _, _ in Formatter().parse(template) if name]


@dataclass(frozen=True, kw_only=True)
class Undo:
    """How an act is taken back, and done again."""

    words: str
    back: Sequence[Call[Any]]
    again: Sequence[Call[Any]]
