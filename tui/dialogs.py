"""Questions: menus, yes or no, a name to type, forms. While one is open no other key does anything, and nothing moves.

Each is a modal screen that answers with a value, None for Esc. The default is always "no".
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from textual.app import ComposeResult
from textual.await_complete import AwaitComplete
from textual.binding import BindingType
from textual.containers import Container, VerticalScroll
from textual.events import Key
from textual.screen import ModalScreen
from textual.strip import Strip
from textual.widget import Widget
from textual.widgets import Input, TextArea

from gateway.client import CallFailed, Unreachable
from tui.acts import Act
from tui.glyphs import Glyphs, plain
from tui.keys import name_of, shown
from tui.lines import Line, cut, folded, line, strip
from tui.link import words
from tui.pager import Pager
from tui.vlist import Column, VList

if TYPE_CHECKING:
    from tui.app import TerminalUI

T = TypeVar("T")
TAKEN = frozenset({"escape", "up", "down", "pageup", "pagedown", "tab", "shift+tab", "ctrl+s", "f1", "f4"})
"""Keys that a dialog takes even where something is typed."""


class Dialog(ModalScreen[T], inherit_bindings=False):
    """A box in the middle that swallows every key."""

    BINDINGS: ClassVar[list[BindingType]] = []
    AUTO_FOCUS = ""
    DEFAULT_CSS = """
    Dialog { align: center middle; background: transparent; }
    Dialog > .box {
        width: auto; max-width: 100%; height: auto; max-height: 100%;
        border: ascii $foreground; background: $surface; padding: 0;
    }
    Dialog.blocks > .box { border: solid $foreground; }
    Dialog > .box > VList, Dialog > .box > Pager { height: auto; }
    """
    TITLE_TEXT = ""
    FOOT = "Esc closes"
    TAKES: ClassVar[frozenset[str]] = TAKEN

    def __init__(self, ui: TerminalUI, title: str) -> None:
        super().__init__()
        self.ui = ui
        self.ready = False
        """Whether it takes keys."""
        self.deaf_until = 0.0
        """By the steady clock: before that a key was meant for what was on the screen before."""
        self._title = title
        self.box = Container(classes="box")

    def compose(self) -> ComposeResult:
        with self.box:
            yield from self.parts()

    def parts(self) -> ComposeResult:
        """What stands in the box."""
        yield from ()

    def on_mount(self) -> None:
        self.set_class(self.ui.glyphs is not Glyphs.ASCII, "blocks")
        self.lay_out()
        self.opened()
        self.ready = True

    def opened(self) -> None:
        """It is on the screen."""

    def wanted(self) -> tuple[int, int]:
        """Width and height of the inside, in cells, if there is room."""
        return 40, 4

    def lay_out(self) -> None:
        """Be as big as wanted, as far as the terminal allows."""
        width, height = self.wanted()
        size = self.ui.size
        self.box.styles.width = min(max(width, len(self.FOOT) + 6), size.width - 4) + 2
        self.box.styles.height = min(height, size.height - 3) + 2
        self._write_borders()

    def _write_borders(self) -> None:
        """The title and the keys; Textual would cut them with a character of its own, and reads markup in a str."""
        room = int(self.box.styles.width.value) - 8 if self.box.styles.width else 0
        self.box.border_title = _border(fit_title(self._title, room), self.ui.glyphs)
        self.box.border_subtitle = _border(fit_title(self.FOOT, room), self.ui.glyphs)

    def on_resize(self) -> None:
        self.lay_out()

    async def on_key(self, event: Key) -> None:
        """Textual calls a handler of every class in the line, so only this one is called ``on_key``."""
        if time.monotonic() < self.deaf_until and event.key != "ctrl+c":
            event.stop()
            event.prevent_default()
            return
        if event.key == "ctrl+c" and not getattr(self.focused, "selected_text", ""):
            event.stop()
            self.interrupted()
            return
        if isinstance(self.focused, (Input, TextArea)) and event.key not in self.TAKES:
            return  # it goes on to the bindings of what is typed into: cursor keys, backspace, Enter
        event.stop()
        await self.key(event)

    def interrupted(self) -> None:
        """``^c``: the way out of the app is open over a dialog too."""
        self.box.border_subtitle = _border("^c again leaves", self.ui.glyphs)
        self.set_timer(1.0, self._write_borders)
        self.ui.interrupted()

    def dismiss(self, result: T | None = None) -> AwaitComplete:
        """Answer, once: of a dialog that is gone already, Textual would close what lay below it."""
        return super().dismiss(result) if self.ui.screen is self else AwaitComplete()

    async def key(self, event: Key) -> None:
        """Any key that an input did not take."""
        event.prevent_default()
        if event.key == "escape":
            self.dismiss(None)
        else:
            await self.pressed(name_of(event))

    async def pressed(self, key: str) -> None:
        """Some other key than Esc."""


def fit_title(text: str, width: float) -> str:
    """A title that leaves the corners of its box alone."""
    return cut(text, max(int(width), 1)).rstrip()


def _border(text: str, glyphs: Glyphs) -> Any:
    from textual.content import Content

    return Content(f" {plain(text, glyphs)} ")


# -- Lines of text -------------------------------------------------------------------------------------------------


class Lines(Widget):
    """Lines that do not scroll."""

    DEFAULT_CSS = "Lines { height: auto; width: 1fr; }"

    def __init__(self, ui: TerminalUI, lines: Sequence[Line]) -> None:
        super().__init__()
        self._ui = ui
        self._lines = list(lines)

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._lines)

    def set(self, lines: Sequence[Line]) -> None:
        """Show these."""
        grown = len(lines) != len(self._lines)
        self._lines = list(lines)
        self.refresh(layout=grown)

    def get_content_height(self, container: Any, viewport: Any, width: int) -> int:
        return len(self._lines)

    def render_line(self, y: int) -> Strip:
        made = self._lines[y] if y < len(self._lines) else ()
        return strip(made, self.size.width, self._ui.glyphs)


def paragraphs(text: str, width: int, style: str = "") -> list[Line]:
    """A text as lines."""
    return [line((f" {each}", style)) for each in folded(text, width - 2)]


# -- A menu --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One line of a menu."""

    key: str
    """What to press; "" for none."""
    words: str
    value: Any
    why_not: str = ""
    command: str = ""
    hint: str = ""


class Menu(Dialog[Any]):
    """Choices, each with its key; Enter takes the one under the cursor, ``Y`` copies its command."""

    FOOT = "Enter takes · Y copies the command · Esc closes"

    def __init__(self, ui: TerminalUI, title: str, choices: Sequence[Choice]) -> None:
        super().__init__(ui, title)
        self._choices = list(choices)
        self._list = VList(
            (
                Column(title="", cell=lambda each: (shown(each.key), "key"), width=4),
                Column(title="", cell=self._words, width=28, grow=1),
            ),
            key=id,
            glyphs=ui.glyphs,
            header=False,
        )
        self._foot = Lines(ui, [()])

    def _words(self, each: Choice) -> tuple[str, str]:
        if each.why_not:
            return f"{each.words}  ({each.why_not})", "dim"
        return f"{each.words}  {each.hint}".rstrip(), ""

    def parts(self) -> ComposeResult:
        yield self._list
        yield self._foot

    def wanted(self) -> tuple[int, int]:
        widest = max((len(self._words(each)[0]) for each in self._choices), default=0) + 8
        commands = max((len(each.command) for each in self._choices), default=0) + 2
        rows = len(self._choices)
        self._list.styles.height = min(rows, max(self.ui.size.height - 6, 1))
        return max(widest, min(commands, 76), min(len(self._title) + 8, 76), 40), min(rows, self.ui.size.height - 6) + 1

    def opened(self) -> None:
        self._list.set_rows(self._choices)
        self._tell()

    def on_vlist_moved(self) -> None:
        self._tell()

    def _tell(self) -> None:
        if (each := self._list.current) is not None:
            self._foot.set([line((f" {each.command}", "dim"))])

    async def pressed(self, key: str) -> None:
        current: Choice | None = self._list.current
        if key == "Y" and current is not None and current.command:
            self.ui.copy(current.command, "the command")
            return
        found = next((each for each in self._choices if key == each.key), None)
        if found is None and key == "enter":
            found = current
        if found is not None:
            self._take(found)
        else:
            self._list.nav(key)

    def _take(self, found: Choice) -> None:
        if found.why_not:
            self._foot.set([line((f" {found.why_not}", "warn"))])
        else:
            self.dismiss(found.value)


# -- Yes or no, and a name to type ---------------------------------------------------------------------------------


class YesNo(Dialog[bool]):
    """``y`` is yes; every other key but Esc, n and Enter does nothing, and those are no."""

    FOOT = "y does it · n or Esc does not"

    def __init__(self, ui: TerminalUI, title: str, question: str) -> None:
        super().__init__(ui, title)
        self._question = question
        self._lines = Lines(ui, [])

    def parts(self) -> ComposeResult:
        yield self._lines

    def wanted(self) -> tuple[int, int]:
        width = min(70, self.ui.size.width - 6)
        made = [(), *paragraphs(self._question, width), (), line(" y / ", ("N", "strong"))]
        self._lines.set(made)
        return width, len(made)

    async def pressed(self, key: str) -> None:
        if key in ("y", "n", "enter"):
            self.dismiss(key == "y")


class TypeName(Dialog[bool]):
    """What is lost has to be named, letter by letter."""

    FOOT = "Enter does it once the name is right · Esc does not"

    def __init__(self, ui: TerminalUI, title: str, question: str, name: str) -> None:
        super().__init__(ui, title)
        self._question, self._wanted = question, name
        self._lines = Lines(ui, [])
        self._input = Input(compact=True, select_on_focus=False)
        self._said = Lines(ui, [()])

    def parts(self) -> ComposeResult:
        yield self._lines
        yield self._input
        yield self._said

    def opened(self) -> None:
        self.set_focus(self._input)

    def wanted(self) -> tuple[int, int]:
        width = min(70, self.ui.size.width - 6)
        made = [(), *paragraphs(self._question, width), (), line(" type ", (self._wanted, "strong"), " to do it:")]
        self._lines.set(made)
        return width, len(made) + 1 + self._said.count

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        if event.value.strip() == self._wanted:
            self.dismiss(True)
            return
        typed = event.value.strip()
        said = f"{typed!r} is not the name, so nothing was done; it is {self._wanted}" if typed else "type the name"
        self._said.set(paragraphs(said, self._lines.size.width or 60, "bad")[:2])
        self._input.value = ""
        self.lay_out()


# -- Forms ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Field:
    """One line of a form."""

    name: str
    label: str
    value: str = ""
    hint: str = ""
    secret: bool = False
    required: bool = False
    choices: tuple[str, ...] = ()
    """← and → go through these."""


Submit = Callable[[dict[str, str]], Awaitable["Mapping[str, str] | None"]]
"""Takes the values; None where all is well, else what is wrong, by field name ("" is the whole form)."""


class _ChoiceLine(Widget, can_focus=True):
    """A value out of a few."""

    DEFAULT_CSS = "_ChoiceLine { height: 1; width: 1fr; }"

    def __init__(self, ui: TerminalUI, choices: Sequence[str], value: str) -> None:
        super().__init__()
        self._ui = ui
        self._choices = list(choices)
        self.value = value if value in choices else self._choices[0]

    def step(self, by: int) -> None:
        """The next one."""
        at = (self._choices.index(self.value) + by) % len(self._choices)
        self.value = self._choices[at]
        self.refresh()

    def on_focus(self) -> None:
        self.refresh()

    def on_blur(self) -> None:
        self.refresh()

    def render_line(self, y: int) -> Strip:
        style = "here" if self.has_focus else ""
        place = f"{self._choices.index(self.value) + 1} of {len(self._choices)}"
        made = line((f" {self.value} ", style), (f"  < > other  ({place})" if self.has_focus else "", "dim"))
        return strip(made, self.size.width, self._ui.glyphs)


class Form(Dialog["dict[str, str]"]):
    """Fields with labels; stays open, with all that was typed, until the daemon takes it or Esc is pressed."""

    FOOT = "Tab next · ^s saves · Esc closes"
    DEFAULT_CSS = """
    Form .row { layout: horizontal; height: 1; }
    Form .label { width: 22; height: 1; }
    Form Input { width: 1fr; height: 1; border: none; padding: 0; background: transparent; }
    Form Input:focus { text-style: underline; }
    Form VerticalScroll { height: 1fr; scrollbar-size-vertical: 0; }
    """

    def __init__(
        self,
        ui: TerminalUI,
        title: str,
        fields: Sequence[Field],
        submit: Submit,
        *,
        intro: str = "",
        draft: str = "",
        edits: bool = False,
    ) -> None:
        """``edits``: a draft keeps only what was changed, since the rest may be another thing once it is offered."""
        super().__init__(ui, title)
        self.fields = list(fields)
        self._edits = edits
        self._submit = submit
        self._intro = intro
        self._draft = draft
        kept = ui.drafts.read(draft) if draft else {}
        self._kept = bool(kept)
        self.inputs: dict[str, Input | _ChoiceLine] = {}
        for each in self.fields:
            value = kept.get(each.name, each.value) if not each.secret else ""
            if each.choices:
                self.inputs[each.name] = _ChoiceLine(ui, each.choices, value)
            else:
                self.inputs[each.name] = Input(value, password=each.secret, compact=True, select_on_focus=False)
        self._labels = {each.name: Lines(ui, [self._label(each)]) for each in self.fields}
        self._hints = {each.name: Lines(ui, [()]) for each in self.fields}
        self._foot = Lines(ui, [()])
        self._began: dict[str, str] = {}
        self._leaving = False
        self._busy = False

    def _label(self, each: Field) -> Line:
        return line(f" {each.label}", ("*" if each.required else "", "warn"))

    def parts(self) -> ComposeResult:
        with VerticalScroll(can_focus=False):
            if self._intro:
                yield Lines(self.ui, paragraphs(self._intro, min(70, self.ui.size.width - 6), "dim"))
            for each in self.fields:
                with Container(classes="row"):
                    label = self._labels[each.name]
                    label.add_class("label")
                    yield label
                    yield self.inputs[each.name]
                yield self._hints[each.name]
        yield self._foot

    def wanted(self) -> tuple[int, int]:
        width = min(72, self.ui.size.width - 6)
        intro = len(paragraphs(self._intro, min(70, self.ui.size.width - 6))) if self._intro else 0
        said = sum(max(each.count, 1) for each in self._hints.values())
        return width, intro + len(self.fields) + said + max(self._foot.count, 1)

    def opened(self) -> None:
        self.set_focus(next(iter(self.inputs.values())))
        self._began = self.values
        for each in self.fields:
            self._say_at(each, each.hint, "dim")
        self.lay_out()
        if self._kept:
            self._foot.set([line((" this is the draft that was kept; Esc twice throws it away", "warn"))])
        if self._draft:
            self.set_interval(2.0, self.keep_draft)

    @property
    def values(self) -> dict[str, str]:
        """What is in the fields now."""
        return {name: each.value for name, each in self.inputs.items()}

    @property
    def dirty(self) -> bool:
        """Whether anything was typed."""
        return any(self.values[each.name] != each.value for each in self.fields if not each.choices)

    def keep_draft(self) -> None:
        """Keep what was typed, so that a lost terminal loses nothing; never a secret."""
        if self._draft and self.dirty:
            kept = [each.name for each in self.fields if not each.secret and not (self._edits and self._as_given(each))]
            self.ui.drafts.write(self._draft, {name: self.values[name] for name in kept})

    def _as_given(self, each: Field) -> bool:
        return self.values[each.name] == (each.value if each.value or not each.choices else each.choices[0])

    def interrupted(self) -> None:
        self.keep_draft()
        super().interrupted()

    async def key(self, event: Key) -> None:
        steps = {"tab": 1, "down": 1, "shift+tab": -1, "up": -1}
        focused = self.focused
        if event.key == "escape":
            self.close_form()
        elif event.key == "ctrl+s":
            self._save()
        elif event.key in steps:
            event.prevent_default()
            self._step(steps[event.key])
        elif isinstance(focused, _ChoiceLine):
            if event.key in ("left", "right", "space"):
                focused.step(-1 if event.key == "left" else 1)
            elif event.key == "enter":
                self._enter()

    def close_form(self) -> None:
        """Esc: what was typed is kept as a draft; a draft that is left as it was goes at the second Esc."""
        if self._busy:
            self.ui.say("the daemon was asked already, and may still do it: look before you try again", "warn")
        if not self._kept or self.values != self._began:
            self.keep_draft()
            self.dismiss(None)
        elif not self._leaving:
            self._leaving = True
            self._foot.set([line((" Esc again throws this draft away", "warn"))])
        else:
            self.ui.drafts.forget(self._draft)
            self.dismiss(None)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self._enter()

    def _enter(self) -> None:
        """Enter goes on to the next field, and saves from the last one."""
        if self.focused is list(self.inputs.values())[-1]:
            self._save()
        else:
            self._step(1)

    def _step(self, by: int) -> None:
        order = list(self.inputs.values())
        at = order.index(self.focused) if self.focused in order else 0
        self.set_focus(order[(at + by) % len(order)])

    def _save(self) -> None:
        if not self._busy:
            self.run_worker(self._saving(), exclusive=True)

    async def _saving(self) -> None:
        values = self.values
        empty = [each.name for each in self.fields if each.required and not values[each.name].strip()]
        missing = dict.fromkeys(empty, "must be filled in")
        self._busy = True
        self._foot.set([line((" asking the daemon ...", "dim"))])
        try:
            faults = missing or await self._submit(values)
        except (CallFailed, Unreachable) as error:
            faults = {"": words(error)}
        finally:
            self._busy = False
        if not faults:
            if self._draft:
                self.ui.drafts.forget(self._draft)
            self.dismiss(values)
            return
        self.tell(faults)

    def tell(self, faults: Mapping[str, str]) -> None:
        """Say at each field what is wrong with it."""
        for each in self.fields:
            fault = faults.get(each.name)
            self._say_at(each, fault or each.hint, "bad" if fault else "dim")
        rest = [text for name, text in faults.items() if name not in self.inputs]
        width = self._foot.size.width or 60
        self._foot.set(paragraphs(rest[0], width, "bad")[:3] if rest else [()])
        self.lay_out()
        if first := next((each.name for each in self.fields if each.name in faults), ""):
            self.set_focus(self.inputs[first])

    def _say_at(self, each: Field, text: str, style: str) -> None:
        """Say something below a field."""
        said = folded(text, min(72, self.ui.size.width - 6) - 24)
        self._hints[each.name].set([line(" " * 22, (part, style)) for part in said])


# -- Picking, and showing ------------------------------------------------------------------------------------------


EFFECT_LINES = 2


class _Needle(Input):
    """A filter; where several may be taken, space marks instead of being typed."""

    def __init__(self, marks: VList | None, marked: Callable[[], None]) -> None:
        super().__init__(compact=True, select_on_focus=False, placeholder="type to filter")
        self._marks = marks
        self._marked = marked

    async def _on_key(self, event: Key) -> None:
        if event.key == "space" and self._marks is not None:
            event.stop()
            event.prevent_default()
            self._marks.mark()
            self._marked()
        else:
            await super()._on_key(event)


class Pick(Dialog["list[Any]"]):
    """One or several out of a list; letters filter it, space marks where several may be taken."""

    DEFAULT_CSS = "Pick Input { height: 1; border: none; padding: 0 1; background: transparent; }"

    def __init__(
        self, ui: TerminalUI, title: str, options: Sequence[tuple[Any, str]], *,
        several: bool = False, marked: Sequence[Any] = (), empty: str = "there is nothing to choose",
        effect: Callable[[list[Any]], str] | None = None,
    ) -> None:  # fmt: skip
        """``effect`` says what Enter would do, in a few words, for what is marked."""
        super().__init__(ui, title)
        self.FOOT = "Space marks · Enter takes · Esc closes" if several else "Enter takes · Esc closes"
        self._options, self._several = list(options), several
        self._typed = ""
        self._list = VList(
            (Column(title="", cell=lambda each: each[1], width=20, grow=1),),
            key=lambda each: each[0], glyphs=ui.glyphs, header=False, empty=empty,
        )  # fmt: skip
        self._list.marks = set(marked)
        self._input = _Needle(self._list if several else None, self._tell)
        self._effect = effect
        self._foot = Lines(ui, [])

    def parts(self) -> ComposeResult:
        yield self._input
        yield self._list
        yield self._foot

    def opened(self) -> None:
        self._list.set_rows(self._options)
        self.set_focus(self._input)
        self._tell()

    def wanted(self) -> tuple[int, int]:
        foot = EFFECT_LINES if self._effect else 0
        rows = min(max(len(self._options), 1), 14, self.ui.size.height - 6 - foot)
        self._list.styles.height = rows
        widest = max((len(words) for _, words in self._options), default=0)
        return (72 if foot else max(44, min(widest + 4, 76))), rows + 1 + foot

    @property
    def marked(self) -> list[Any]:
        """What is marked, in the order of the list."""
        return [value for value, _ in self._options if value in self._list.marks]

    def _tell(self) -> None:
        if self._effect is not None:
            width = min(72, self.ui.size.width - 6)
            made = paragraphs(self._effect(self.marked), width, "strong")[:EFFECT_LINES]
            self._foot.set([*made, *[()] * (EFFECT_LINES - len(made))])

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self._filter(event.value)

    def _filter(self, typed: str) -> None:
        if typed == self._typed:
            return
        self._typed = typed
        text = typed.casefold()
        marks = set(self._list.marks)
        self._list.set_rows([each for each in self._options if text in each[1].casefold()])
        self._list.marks = marks
        self._list.redraw(all_of_it=True)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self._filter(event.value)  # Enter can come before the news of the letters in front of it
        self._take()

    async def key(self, event: Key) -> None:
        if event.key == "escape":
            self.dismiss(None)
        elif event.key in ("up", "down", "pageup", "pagedown"):
            event.prevent_default()
            self._list.nav(event.key)

    def _take(self) -> None:
        if self._several:
            self.dismiss(self.marked)
        elif self._list.current is not None:
            self.dismiss([self._list.current[0]])


class Show(Dialog[None]):
    """A text to read, or to select with the terminal's own means."""

    FOOT = "y copies · Esc closes"

    def __init__(self, ui: TerminalUI, title: str, text: str, *, bare: bool = False) -> None:
        super().__init__(ui, title)
        self._text = text
        self._bare = bare
        self._pager = Pager(glyphs=ui.glyphs)

    def parts(self) -> ComposeResult:
        yield self._pager

    def opened(self) -> None:
        self._pager.styles.height = "1fr"
        self._pager.set(lambda width: [line(each) for each in folded(self._text, width)])

    def wanted(self) -> tuple[int, int]:
        return self.ui.size.width - 4, self.ui.size.height - 3

    def lay_out(self) -> None:
        """Without a frame it is the whole screen: nothing but the text is there to be selected."""
        super().lay_out()
        if self._bare:
            self.box.styles.border = ("none", "white")
            self.box.styles.width, self.box.styles.height = self.ui.size.width, self.ui.size.height

    async def pressed(self, key: str) -> None:
        if key == "y":
            self.ui.copy(self._text, "the text")
        elif key in ("q", "V"):
            self.dismiss(None)
        else:
            self._pager.nav(key)


class Help(Dialog["Act | None"]):
    """All keys of this screen and of everywhere, searched as one types; Enter does it."""

    FOOT = "type to search · Enter does it · Esc closes"
    DEFAULT_CSS = "Help Input { height: 1; border: none; padding: 0 1; background: transparent; }"

    def __init__(self, ui: TerminalUI, rows: Sequence[tuple[str, str, str, Act | None]]) -> None:
        super().__init__(ui, "keys")
        self._rows = list(rows)
        self._input = Input(compact=True, select_on_focus=False, placeholder="type to search")
        self._list = VList(
            (
                Column(title="key", cell=lambda each: (each[0], "key"), width=12),
                Column(title="does", cell=lambda each: each[1], width=30, grow=1),
                Column(title="as a command", cell=lambda each: (each[2], "dim"), width=30, grow=1, keep=1),
            ),
            key=lambda each: each,
            glyphs=ui.glyphs,
            empty="no key does that here",
        )

    def parts(self) -> ComposeResult:
        yield self._input
        yield self._list

    def opened(self) -> None:
        self._list.styles.height = "1fr"
        self._list.set_rows(self._rows)
        self.set_focus(self._input)

    def wanted(self) -> tuple[int, int]:
        return min(100, self.ui.size.width - 4), self.ui.size.height - 3

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        text = event.value.casefold()
        self._list.set_rows([each for each in self._rows if text in " ".join(map(str, each[:3])).casefold()])

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        current = self._list.current
        self.dismiss(current[3] if current is not None else None)

    async def key(self, event: Key) -> None:
        if event.key in ("escape", "f1"):
            self.dismiss(None)
        elif event.key in ("up", "down", "pageup", "pagedown"):
            event.prevent_default()
            self._list.nav(event.key)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Somewhere to go, or something to do, for the palette."""

    words: str
    hint: str
    go: Callable[[], Any] = field(compare=False)


class GoTo(Dialog["Place"]):
    """``:`` — screens, touchpoints, ring groups, mail by id, ``why WORDS``, and the acts of this screen."""

    FOOT = "Enter goes · Esc closes"
    DEFAULT_CSS = "GoTo Input { height: 1; border: none; padding: 0 1; background: transparent; }"

    def __init__(self, ui: TerminalUI, find: Callable[[str], Sequence[Place]]) -> None:
        super().__init__(ui, "go to")
        self._find = find
        self._typed = ""
        hint = "a screen, an address, a mail's number, why ..."
        self._input = Input(compact=True, select_on_focus=False, placeholder=hint)
        self._list = VList(
            (
                Column(title="", cell=lambda each: each.words, width=30, grow=2),
                Column(title="", cell=lambda each: (each.hint, "dim"), width=20, grow=1, keep=1),
            ),
            key=lambda each: (each.words, each.hint), glyphs=ui.glyphs, header=False, empty="nothing is called that",
        )  # fmt: skip

    def parts(self) -> ComposeResult:
        yield self._input
        yield self._list

    def opened(self) -> None:
        self._list.styles.height = "1fr"
        self._list.set_rows(self._find(""))
        self.set_focus(self._input)

    def wanted(self) -> tuple[int, int]:
        return min(72, self.ui.size.width - 4), min(16, self.ui.size.height - 4)

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self._look_for(event.value.strip())

    def _look_for(self, typed: str) -> None:
        if typed == self._typed:
            return
        self._typed = typed
        self._list.set_rows(self._find(typed))
        self._list.move_to(0)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self._look_for(event.value.strip())  # Enter can come before the news of the letters in front of it
        if self._list.current is not None:
            self.dismiss(self._list.current)

    async def key(self, event: Key) -> None:
        if event.key == "escape":
            self.dismiss(None)
        elif event.key in ("up", "down", "pageup", "pagedown"):
            event.prevent_default()
            self._list.nav(event.key)
