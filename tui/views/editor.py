"""The editor of an auto-reply or a signature, and the sight of it as it goes out.

Nothing that was typed is lost: it is kept as a draft every two seconds and on Esc, a refusal is shown beside it, and a
text that somebody else changed meanwhile is not written over unseen. A text with characters that cannot be shown
safely is not edited here, but in ``$EDITOR``. ``as_sent`` is the one place that knows what a text becomes; rich text
comes in there.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.containers import Container
from textual.events import Key, Paste
from textual.widgets import Input, TextArea

from gateway.client import CallFailed, Unreachable
from gateway.control import SetTemplate, ShowTemplate, TemplateRow, TouchpointRow
from gateway.text import safe_text
from tui.dialogs import TAKEN, Dialog, Lines, paragraphs
from tui.keys import name_of
from tui.lines import Line, folded, line
from tui.link import words
from tui.pager import Pager

if TYPE_CHECKING:
    from tui.app import TerminalUI

NOUNS = {"auto_reply": "auto-reply", "signature": "signature"}
"""The two kinds of text, and what people call them."""
KEEP_SECONDS = 2.0
DELIMITER = "-- "
"""RFC 3676 section 4.3: the line that tells mail programs where a signature begins."""


def as_sent(kind: str, row: TouchpointRow, subject: str, text: str, html: str, width: int) -> list[Line]:
    """A text as its reader gets it, in lines of this width; only what is dim is not ours."""
    made = _reply(row, subject, text, width) if kind == "auto_reply" else _signature(text, html, width)
    if "{{" in text or "{{" in subject:
        made += [(), *_notes("Nothing is filled in: {{ ... }} goes out as it is written.", width)]
    return made


def _reply(row: TouchpointRow, subject: str, text: str, width: int) -> list[Line]:
    sender = f"{row.name} <{row.address}>" if row.name else row.address
    head = [line(("From: ", "dim"), sender), line(("To: whoever wrote", "dim"))]
    if subject.strip():
        head.append(line(("Subject: ", "dim"), subject))
    else:
        head.append(line(("Subject: ", "dim"), "Auto: ", ("and the subject that is answered", "dim")))
    return [*head, (), *_lines(text, width)]


def _signature(text: str, html: str, width: int) -> list[Line]:
    # As stages/signature.py puts it: its ends trimmed, an empty line above, and no line of our own.
    shown = "\n".join(each if each == DELIMITER else each.rstrip() for each in text.strip("\r\n ").split("\n"))
    made: list[Line] = [line(("what the agent writes", "dim")), (), *_lines(shown, width)]
    made += [(), line(("> what is answered, if it is quoted", "dim"))]
    notes = ""
    if shown and DELIMITER not in shown.split("\n"):
        notes = 'It stands as written; after a line "-- " mail programs know it for a signature.'
    if html:
        notes += f" HTML mail gets the HTML of its own ({len(html):,} characters) instead; that is not changed here."
    return [*made, *([(), *_notes(notes.strip(), width)] if notes else [])]


def _lines(text: str, width: int) -> list[Line]:
    if not text.strip():
        return [line(("(no text yet)", "warn"))]
    return [line(each) for each in folded(text, width)]


def _notes(text: str, width: int) -> list[Line]:
    return [line((each, "dim")) for each in folded(text, width)]


def even(text: str) -> str:
    """A text with our line ends and in NFC, which changes nothing for its reader."""
    return unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))


def shows(text: str) -> bool:
    """Whether every character of it can be shown as it is."""
    return safe_text(text, multiline=True) == text


class _Text(TextArea):
    """Where the text is typed; what is pasted passes the gate first."""

    def on_paste(self, event: Paste) -> None:
        """Leave out what cannot be seen; the base class then puts in the rest."""
        event.text = "".join(char for char in even(event.text) if shows(char))


class Editor(Dialog[TemplateRow]):
    """Subject and text on the left, how it goes out on the right, or behind F3 where there is no room."""

    TAKES: ClassVar[frozenset[str]] = TAKEN | {"ctrl+r", "f3"}
    FOOT = "^s saves · Esc keeps a draft · F3 as sent · F4 $EDITOR · ^r saved text"
    DEFAULT_CSS = """
    Editor { align: center bottom; }
    Editor .subject { layout: horizontal; height: 1; }
    Editor .label { width: 10; }
    Editor Input { width: 1fr; height: 1; border: none; padding: 0; background: transparent; }
    Editor Input:focus { text-style: underline; }
    Editor .both { layout: horizontal; height: 1fr; }
    Editor TextArea { width: 1fr; height: 1fr; background: transparent; }
    Editor Pager { width: 1fr; height: 1fr; margin-left: 2; }
    """

    def __init__(self, ui: TerminalUI, row: TouchpointRow, kind: str, saved: TemplateRow) -> None:
        noun = NOUNS[kind]
        super().__init__(ui, f"{noun} of {row.address} · {'on' if saved.active else 'off'}")
        self._row, self._kind, self._saved, self._noun = row, kind, saved, noun
        self._draft = f"{noun} of {row.address}"
        self._hidden: str | None = None
        """A text that cannot be shown as it is; the screen then shows where its odd characters are."""
        empty = "empty: Auto: and the subject that is answered"
        self._subject = Input(compact=True, select_on_focus=False, placeholder=empty)
        self._area = _Text(soft_wrap=True, tab_behavior="focus", show_line_numbers=False, compact=True)
        self._area.highlight_cursor_line = False
        self._head = Container(classes="subject")
        self._pager = Pager(glyphs=ui.glyphs)
        self._said = Lines(ui, [()])
        self._previewing = False
        self._busy = False
        self._kept: dict[str, str] | None = None
        """What the draft holds."""
        self._undo: tuple[list[SetTemplate], list[SetTemplate]] = [], []
        self._warned = False
        """Esc was pressed once, and the draft could not be kept."""

    # -- what it is made of ------------------------------------------------------------------------------------------

    def parts(self) -> ComposeResult:
        if self._kind == "auto_reply":
            with self._head:
                label = Lines(self.ui, [line((" Subject", "dim"))])
                label.add_class("label")
                yield label
                yield self._subject
        with Container(classes="both"):
            yield self._area
            yield self._pager
        yield self._said

    def lay_out(self) -> None:
        """All of the screen but its first line, which says how the house is."""
        size = self.ui.size
        super().lay_out()
        if self.ui.wide and self._previewing:
            self._previewing = False
            self.screen.set_focus(self._area)
        self.box.styles.width, self.box.styles.height = size.width, size.height - 1
        self._write_borders()
        self._pager.display = self.ui.wide or self._previewing
        self._area.display = self._head.display = self.ui.wide or not self._previewing
        self._look()

    def opened(self) -> None:
        kept = self.ui.drafts.read(self._draft)
        self._kept = kept or None
        self._put(self._saved.subject, self._saved.text)
        self._area.history.clear()
        if kept and (kept.get("subject", ""), kept.get("text", "")) != self._values():
            self._put(kept.get("subject", ""), kept.get("text", ""), "this is the draft that was kept; ^r takes "
                      "the saved text instead")  # fmt: skip
        self.keep()
        self.screen.set_focus(self._area)
        self.set_interval(KEEP_SECONDS, self.keep)

    def _put(self, subject: str, text: str, said: str = "") -> None:
        """Show these in the fields, and say this; ctrl+z takes it back."""
        text = even(text)
        self._hidden = None if shows(text) else text
        self._subject.value = safe_text(subject)
        self._area.replace(safe_text(text, multiline=True), (0, 0), self._area.document.end)
        self._area.move_cursor((0, 0))
        self._area.read_only = self._hidden is not None
        if self._hidden is not None:
            self._area.history.clear()  # what is undone would not be the text that is meant
            command = f"postroom {self._noun} set {self._row.address} --text-file FILE"
            said += f"{'; ' if said else ''}it holds characters that cannot be shown safely: F4 edits it, or {command}"
        self._tell(said, "warn")
        self._look()

    @property
    def subject(self) -> str:
        """The subject as it is now."""
        return self._subject.value

    @property
    def text(self) -> str:
        """The text as it is now."""
        return self._area.text if self._hidden is None else self._hidden

    def _values(self) -> tuple[str, str]:
        return self.subject, self.text

    @property
    def dirty(self) -> bool:
        """Whether anything is not as it was saved."""
        return self._values() != (safe_text(self._saved.subject), even(self._saved.text))

    # -- how it goes out, and what is said ---------------------------------------------------------------------------

    def _look(self) -> None:
        if self._pager.display and self.is_mounted:
            subject, text = self.subject, safe_text(self.text, multiline=True)
            html = self._saved.html
            self._pager.set(lambda width: as_sent(self._kind, self._row, subject, text, html, width))

    def on_text_area_changed(self, event: TextArea.Changed) -> None:
        event.stop()
        self._look()

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self._look()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.screen.set_focus(self._area)

    def _tell(self, said: str, style: str = "") -> None:
        self._said.set(paragraphs(said, self.ui.size.width - 2, style)[:3] if said else [()])

    # -- keys --------------------------------------------------------------------------------------------------------

    def interrupted(self) -> None:
        self.keep()
        super().interrupted()

    async def key(self, event: Key) -> None:
        event.prevent_default()
        match event.key:
            case "ctrl+s":
                self._save()
            case "f3":
                self._turn()
            case "f4":
                self._outside()
            case "ctrl+r":
                self._put(self._saved.subject, self._saved.text, "this is the saved text; ^z takes that back")
            case "escape" if self._previewing and not self.ui.wide:
                self._turn()
            case "escape":
                self._close()
            case "tab" | "shift+tab":
                self._switch()
            case _:
                self._move(name_of(event))

    def _move(self, key: str) -> None:
        area, focused = self._area, self.focused
        steps = {"up": area.action_cursor_up, "down": area.action_cursor_down,
                 "pageup": area.action_cursor_page_up, "pagedown": area.action_cursor_page_down}  # fmt: skip
        if focused is None:
            self._pager.nav(key)
        elif focused is area and key in steps:
            steps[key]()
        elif key in ("down", "pagedown"):
            self.screen.set_focus(area)

    def _switch(self) -> None:
        if self._kind == "auto_reply" and self.focused is self._area:
            self.screen.set_focus(self._subject)
        else:
            self.screen.set_focus(self._area)

    def _turn(self) -> None:
        """F3: the text, or how it goes out."""
        if self.ui.wide:
            self._tell("it stands beside the text, as it goes out")
            return
        self._previewing = not self._previewing
        self.lay_out()
        if self._previewing:
            self.set_focus(None)
            self._tell("as it goes out; F3 or Esc goes back to the text")
        else:
            self.screen.set_focus(self._area)
            self._tell("")

    def _outside(self) -> None:
        """F4: in ``$EDITOR``; a line end that it puts behind the last line is not taken for a change."""
        self.keep()
        before = self.text
        after = self.ui.edit_outside(before)
        if after is None:
            self._tell(self.ui.said[0] if self.ui.said else "nothing was taken over", "warn")
            return
        if after == before + "\n":
            after = before
        said = "taken over from the editor; ^s saves it" if even(after) != before else "nothing was changed"
        self._put(self.subject, after, said)

    # -- keeping and saving ------------------------------------------------------------------------------------------

    def keep(self) -> bool:
        """Keep a draft if anything was typed; whether nothing is lost."""
        if not self.dirty:
            if self._kept is not None:
                self.ui.drafts.forget(self._draft)
                self._kept = None
            return True
        values = {"subject": self.subject, "text": self.text}
        if values != self._kept:
            self.ui.drafts.write(self._draft, values)
            self._kept = values if self.ui.drafts.read(self._draft) == values else None
        return self._kept is not None

    def _close(self) -> None:
        if not self.keep() and not self._warned:
            self._warned = True
            self._tell("this cannot be kept as a draft: save it, or Esc again throws it away", "bad")
            return
        if self.dirty and not self._warned:
            self.ui.say(f"kept as a draft: {self._draft}", "warn")
        self.dismiss(None)

    def _save(self) -> None:
        if self._busy:
            return
        if not self.dirty:
            self._tell("nothing was changed")
            return
        self._busy = True
        self._tell("asking the daemon ...", "dim")
        self.run_worker(self._saving(), exclusive=True)

    async def _saving(self) -> None:
        mine = self._values()
        try:
            if await self._unseen(mine):
                return
            saved = await self.ui.call(self._call(*mine))
        except (CallFailed, Unreachable) as error:
            self.keep()
            self._tell(f"not saved: {words(error)}", "bad")
            return
        finally:
            self._busy = False
        self._undo = [self._call(self._saved.subject, self._saved.text)], [self._call(*mine)]
        self._saved = replace(self._saved, subject=mine[0], text=mine[1])
        self.keep()  # what was typed while the daemon was asked
        self.dismiss(saved)

    async def _unseen(self, mine: tuple[str, str]) -> bool:
        """Whether somebody else saved another text since this one was opened; says so once."""
        assert self.ui.link is not None
        now = await self.ui.link.raw(ShowTemplate(touchpoint=str(self._row.id), kind=self._kind))
        if (now.subject, now.text) in ((self._saved.subject, self._saved.text), mine):
            return False
        self._saved = now
        self.keep()
        self._tell("somebody else saved another text since: ^s again writes over it, ^r takes it instead", "bad")
        return True

    def _call(self, subject: str, text: str) -> SetTemplate:
        own = subject if self._kind == "auto_reply" else None
        return SetTemplate(touchpoint=str(self._row.id), kind=self._kind, subject=own, text=text)

    def undo(self) -> tuple[Sequence[SetTemplate], Sequence[SetTemplate]]:
        """How what was saved is taken back, and saved again."""
        return self._undo
