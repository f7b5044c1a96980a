"""Screen 6: the auto-reply and the signature of each touchpoint, one each, with what they say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from shlex import quote
from typing import Any, ClassVar

from gateway.client import CallFailed, Unreachable
from gateway.control import SetTemplate, ShowTemplate, TemplateRow, TouchpointRow
from tui.acts import Act, Kind, Rows, Undo
from tui.lines import Line, folded, line
from tui.link import words
from tui.view import View
from tui.views.editor import NOUNS, Editor, as_sent
from tui.vlist import Column

_NO_TEXT = "there is no text yet, so it cannot be on; write one first"


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A touchpoint with its two texts, as far as they are known."""

    row: TouchpointRow
    texts: tuple[tuple[str, TemplateRow], ...] = ()

    @property
    def id(self) -> int:
        """That of the touchpoint."""
        return self.row.id

    @property
    def address(self) -> str:
        """That of the touchpoint."""
        return self.row.address

    def on(self, kind: str) -> bool:
        """Whether it goes out."""
        return bool(getattr(self.row, kind))

    def text(self, kind: str) -> TemplateRow | None:
        """What it says; None before it was asked for."""
        return dict(self.texts).get(kind)


def _cell(kind: str) -> Any:
    return lambda pair: ("on", "good") if pair.on(kind) else ("off", "dim")


def _edit(kind: str) -> Any:
    async def edit(view: Replies, rows: Rows) -> None:
        await view.edit(rows[0].row, kind)

    return edit


def _turn(kind: str) -> Any:
    async def turn(view: Replies, rows: Rows) -> None:
        await view.turn(rows, kind)

    return turn


def _turn_words(kind: str) -> Any:
    return lambda pair: f"{NOUNS[kind].capitalize()} {'off' if pair.on(kind) else 'on'}"


def _turn_command(kind: str) -> Any:
    return lambda pair: f"postroom {NOUNS[kind]} {'off' if pair.on(kind) else 'on'} {{address}}"


def _empty(kind: str) -> Any:
    def why(pair: Pair) -> str:
        known = pair.text(kind)
        return _NO_TEXT if not pair.on(kind) and known is not None and not known.text.strip() else ""

    return why


class Replies(View):
    """The list of touchpoints, by what they answer and how they sign."""

    NAME = "replies"
    TITLE = "Replies"
    WATCHES = ("touchpoint_changes",)
    PREVIEW = 11
    SORTS = ("address", "switched on first")
    EMPTY = "there is no touchpoint yet; screen 2 makes one"
    COLUMNS = (
        Column(title="address", cell=lambda pair: pair.address, width=26, grow=3),
        Column(title="name", cell=lambda pair: pair.row.name, width=14, grow=1, keep=2),
        Column(title="active", cell=lambda pair: ("yes", "") if pair.row.active else ("off", "dim"), width=6, keep=5),
        Column(title="auto-reply", cell=_cell("auto_reply"), width=10),
        Column(title="signature", cell=_cell("signature"), width=9),
    )
    ACTS: ClassVar[tuple[Act, ...]] = (
        Act(id="auto_reply.edit", key="e A", words="Auto-reply ...", run=_edit("auto_reply"), single=True, bar=58,
            calls=(ShowTemplate, SetTemplate), command="postroom auto-reply set {address} --text-file FILE"),
        Act(id="signature.edit", key="S", words="Signature ...", run=_edit("signature"), single=True, bar=56,
            calls=(ShowTemplate, SetTemplate), command="postroom signature set {address} --text-file FILE"),
        Act(id="auto_reply.turn", key="t", words="Auto-reply on or off", run=_turn("auto_reply"), kind=Kind.UNDO,
            bar=50, calls=(ShowTemplate, SetTemplate), command="postroom auto-reply on {address}",
            why_not=_empty("auto_reply"), words_of=_turn_words("auto_reply"), command_of=_turn_command("auto_reply")),
        Act(id="signature.turn", key="T", words="Signature on or off", run=_turn("signature"), kind=Kind.UNDO,
            calls=(ShowTemplate, SetTemplate), command="postroom signature on {address}",
            why_not=_empty("signature"), words_of=_turn_words("signature"), command_of=_turn_command("signature")),
    )  # fmt: skip

    def __init__(self, ui: Any) -> None:
        super().__init__(ui)
        self._texts: dict[tuple[int, str], tuple[int, TemplateRow]] = {}
        """What was told last of each text, with the version of its touchpoint; -1 has to be asked for again."""
        self._made: tuple[object, list[Pair]] = (None, [])
        """The rows, and what they were made of."""

    # -- drawing -----------------------------------------------------------------------------------------------------

    def title_line(self) -> Line:
        assert self.list is not None
        known, all_of_it = len(self.list.rows), self.ui.picture.touchpoint_count
        return line(
            (" REPLIES", "title"), f" {known:,} of {all_of_it:,}   filter: {self.needle or '-'}",
            f"   sort: {self.SORTS[self.sort]}",
        )  # fmt: skip

    def show(self) -> None:
        made_of = (self.ui.picture.touchpoint_changes, self.needle, self.sort, tuple(self._texts.items()))
        if self._made[0] != made_of:
            self._made = (made_of, self._pairs())
        assert self.list is not None
        self.list.set_rows(self._made[1])

    def _pairs(self) -> list[Pair]:
        rows = list(self.ui.picture.touchpoints.values())
        if text := self.needle.casefold():
            rows = [row for row in rows if text in f"{row.address} {row.name}".casefold()]
        rows.sort(key=_by_address if self.sort == 0 else _by_use)
        return [self._pair(row) for row in rows]

    def _pair(self, row: TouchpointRow) -> Pair:
        found = ((kind, self._texts.get((row.id, kind))) for kind in NOUNS)
        return Pair(row=row, texts=tuple((kind, known[1]) for kind, known in found if known is not None))

    def details(self, row: Any, width: int) -> Sequence[Line]:
        made: list[Line] = []
        for kind in NOUNS:
            made += [*([()] if made else []), *self._section(row, kind, width)]
        return made

    def _section(self, pair: Pair, kind: str, width: int) -> list[Line]:
        on, known = pair.on(kind), self._texts.get((pair.id, kind), (-1, None))[1]
        head = line((NOUNS[kind].upper(), "title"), "  ", ("on", "good") if on else ("off", "dim"))
        if known is None:
            return [head, line(("asking the daemon ...", "dim"))]
        if not known.text.strip():
            return [head, line((f"there is no text yet; {self.ui.key(f'{kind}.edit')} writes one", "dim"))]
        if self.ui.wide or self.full:
            return [head, *as_sent(kind, pair.row, known.subject, known.text, known.html, width)]
        return [line(*head, ("   " + known.subject, "strong")), *self._beginning(known.text, width)]

    def _beginning(self, text: str, width: int) -> list[Line]:
        """As many lines of a text as there is room for below the list, with both texts in sight."""
        lines = [line(each) for each in folded(text.strip("\n"), width)]
        most = max((self.pager.size.height - 1) // 2 - 1, 1)
        if len(lines) <= most:
            return lines
        key = self.ui.key("ui.full")
        return [*lines[: most - 1], line((f"... {len(lines) - most + 1} more lines; {key} shows all of it", "dim"))]

    async def load_details(self, row: Any) -> None:
        for kind in NOUNS:
            version, _ = self._texts.get((row.id, kind), (-1, None))
            if version != row.row.version:
                await self._text(row.row, kind)

    async def _text(self, row: TouchpointRow, kind: str) -> TemplateRow:
        found = await self.ui.call(ShowTemplate(touchpoint=str(row.id), kind=kind))
        self._texts[row.id, kind] = row.version, found
        return found

    # -- acting ------------------------------------------------------------------------------------------------------

    def open(self, row: Any) -> None:
        """Both texts on the whole screen."""
        self.full = not self.full
        self.lay_out()
        self.draw_details()

    async def edit(self, row: TouchpointRow, kind: str) -> None:
        """Open the editor; the text comes as it is, not as it is shown."""
        assert self.ui.link is not None
        saved = await self.ui.link.raw(ShowTemplate(touchpoint=str(row.id), kind=kind))
        editor = Editor(self.ui, row, kind, saved)
        made = await self.ui.ask(editor)
        if made is not None:
            self._texts[row.id, kind] = -1, made
            back, again = editor.undo()
            said = f"{NOUNS[kind]} of {row.address} is saved"
            self.ui.did(f"{said}, and is {'on' if made.active else 'off'}", Undo(words=said, back=back, again=again))

    async def turn(self, rows: Rows, kind: str) -> None:
        """On or off, each as it is not."""
        done: list[Pair] = []
        trouble = ""
        for pair in rows:
            try:
                if not pair.on(kind) and not (await self._text(pair.row, kind)).text.strip():
                    trouble = _NO_TEXT
                    break
                await self.ui.call(self._turning(pair, kind, not pair.on(kind)))
            except (CallFailed, Unreachable) as error:
                trouble = words(error)
                break
            done.append(pair)
        if done:
            self.ui.did(*self._turned(done, kind))
        if trouble:
            count = f"{len(done)} of {len(rows)} are turned; " if done else ""
            self.ui.say(f"{count}{NOUNS[kind]} of {rows[len(done)].address}: {trouble}", "bad", seconds=30.0)

    @staticmethod
    def _turning(pair: Pair, kind: str, on: bool) -> SetTemplate:
        return SetTemplate(touchpoint=str(pair.id), kind=kind, active=on)

    def _turned(self, done: Sequence[Pair], kind: str) -> tuple[str, Undo]:
        back = [self._turning(pair, kind, pair.on(kind)) for pair in done]
        again = [self._turning(pair, kind, not pair.on(kind)) for pair in done]
        if len(done) == 1:
            said = f"the {NOUNS[kind]} of {done[0].address} is {'off' if done[0].on(kind) else 'on'}"
        else:
            said = f"the {NOUNS[kind]} of {len(done)} touchpoints is turned"
        return said, Undo(words=said, back=back, again=again)

    def show_for(self, row: TouchpointRow, kind: str) -> None:
        """Put the cursor on this touchpoint, and open the editor of its ``auto_reply`` or ``signature``."""
        assert self.list is not None
        self.needle, self.full = "", False
        self.list.marks.clear()
        self.show()
        if not self.list.find(row.id):
            self.ui.say(f"{row.address} is not known here any more", "warn")
            return
        self.ui.start(next(act for act in self.ACTS if act.id == f"{kind}.edit"))

    def command(self) -> str:
        return f"postroom auto-reply show {quote(self.current.address)}" if self.current else ""

    def value(self) -> str:
        """The texts, if they are known, else the address."""
        pair = self.current
        if pair is None:
            return ""
        texts = [known.text for _, known in pair.texts if known.text.strip()]
        return "\n\n".join(texts) if self.full and texts else str(pair.address)


def _by_address(row: TouchpointRow) -> Any:
    return row.address


def _by_use(row: TouchpointRow) -> Any:
    return (not (row.auto_reply or row.signature), row.address)


VIEW = Replies
