"""Screen 7: whom the touchpoints do not want to hear from. Their mail is held, and nothing is deleted.

``forms`` says which entries name an address, as the blocklist stage compares them; the daemon is asked for each of
them, so that the test of an address is exact on a list of any length.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from shlex import quote
from typing import Any, ClassVar

from gateway.client import CallFailed, Unreachable
from gateway.control import Block, BlockRow, ListBlocklist, TouchpointRow, Unblock, Why
from tui.acts import Act, Kind, Rows, Undo
from tui.everywhere import show_why
from tui.frame import age
from tui.lines import Line, folded, line
from tui.link import words
from tui.view import View
from tui.vlist import Column

WINDOW = 200
MOST_CHOICES = 12
"""Touchpoints that a form offers to choose from; with more of them the address is typed."""
_MOST_LABELS = 20


def forms(address: str) -> list[str]:
    """All entries that name an address, the most exact first."""
    local, at, domain = address.strip().casefold().rpartition("@")
    if not domain.isascii():
        with suppress(UnicodeError):
            domain = domain.encode("idna").decode("ascii")
    short = local.partition("+")[0]
    if domain in ("gmail.com", "googlemail.com"):
        short = short.replace(".", "")
    labels = domain.split(".")[-_MOST_LABELS:]
    below = [f"@.{'.'.join(labels[number:])}" for number in range(len(labels))]
    return list(dict.fromkeys([local + at + domain, short + at + domain, f"@{domain}", *below]))


class Blocklist(View):
    """The entries of all touchpoints, or of one, in the order in which they were made."""

    NAME = "blocklist"
    TITLE = "Blocklist"
    EVERY = 60.0
    PREVIEW = 3
    EMPTY = "nobody is blocked; n blocks an address or a domain"
    COLUMNS = (
        Column(title="blocked", cell=lambda row: (row.pattern, "strong"), width=20, grow=2),
        Column(title="at", cell=lambda row: row.touchpoint, width=20, grow=1),
        Column(title="why", cell=lambda row: row.note, width=12, grow=1, keep=5),
        Column(title="by", cell=lambda row: row.added_by, width=8, keep=3),
    )

    def __init__(self, ui: Any) -> None:
        super().__init__(ui)
        assert self.list is not None
        since = Column(title="since", cell=self._age, width=8, right=True, keep=7)
        self.list.columns = (*self.COLUMNS, since)
        self.touchpoint: TouchpointRow | None = None
        """Only its entries are shown."""
        self._rows: list[BlockRow] = []
        self._next = 0
        self._versions = 0
        """Those of all touchpoints, added up: they grow with every change to a blocklist, and not with the mail."""

    def _age(self, row: BlockRow) -> str:
        return age(self.ui.wall() - row.added_at)

    # -- the list ----------------------------------------------------------------------------------------------------

    def _asked(self, after: int = 0) -> ListBlocklist:
        touchpoint = str(self.touchpoint.id) if self.touchpoint is not None else ""
        return ListBlocklist(touchpoint=touchpoint, text=self.needle, after=after, limit=WINDOW)

    def tick(self, now: float) -> None:
        if self.ui.picture.connected and self.loaded() and self._versions != self._versions_now():
            self.reload()
        super().tick(now)

    def _versions_now(self) -> int:
        return sum(row.version for row in self.ui.picture.touchpoints.values())

    async def load(self) -> None:
        """As far as the cursor is; once more where the filter is another one by then."""
        assert self.list is not None
        asked = None
        while asked != self._asked():
            asked, rows, after = self._asked(), list[BlockRow](), 0
            self._versions = self._versions_now()
            while len(rows) <= self.list.cursor:
                page = await self.ui.call(self._asked(after))
                rows += page.rows
                if not (after := page.next):
                    break
        self._rows, self._next = rows, after

    async def more(self) -> None:
        asked = self._asked()
        page = await self.ui.call(self._asked(self._next))
        if asked == self._asked():
            self._rows = [*self._rows, *page.rows]
            self._next = page.next

    def filtered(self) -> None:
        self.reload()
        self.draw()

    def show(self) -> None:
        assert self.list is not None
        if not self._rows and not self.trouble and self.loaded() and (self.needle or self.touchpoint):
            here = "nobody is blocked here; n blocks a sender, Esc shows all touchpoints"
            self.list.empty = "no entry of these: Esc shows all of them" if self.needle else here
        self.list.set_rows(self._rows, more=bool(self._next))

    def title_line(self) -> Line:
        only = len(self._rows) == 1 and not self._next
        count = "1 entry" if only else f"{len(self._rows):,}{'+' if self._next else ''} entries"
        whose = self.touchpoint.address if self.touchpoint is not None else "all touchpoints"
        return line((" BLOCKLIST", "title"), f" {count} at {whose}   filter: {self.needle or '-'}")

    def details(self, row: Any, width: int) -> Sequence[Line]:
        since = time.strftime("%Y-%m-%d %H:%M", time.localtime(row.added_at))
        said = f"{row.pattern} is held at {row.touchpoint} since {since}, by {row.added_by or 'nobody known'}"
        made = [line((each, "")) for each in folded(said, width)]
        return [*made, *(line((each, "strong")) for each in folded(row.note or "no reason was given", width))]

    def widen(self) -> bool:
        if self.touchpoint is None:
            return False
        self._narrow(None)
        return True

    def show_for(self, row: TouchpointRow) -> None:
        """Only the entries of this touchpoint; Esc shows all again."""
        self.needle = ""
        self._narrow(row)

    def _narrow(self, row: TouchpointRow | None) -> None:
        self.touchpoint = row
        self.reload()
        self.draw()

    # -- acting ------------------------------------------------------------------------------------------------------

    def open(self, row: Any) -> None:
        """The mail of this sender, and what became of it."""
        self.ui.work(show_why(self.ui, Why(author=row.pattern)))

    async def add(self, rows: Rows) -> None:
        """A form, open until the daemon takes it."""
        from tui.dialogs import Form

        known = sorted(row.address for row in self.ui.picture.touchpoints.values())
        if not known:
            self.ui.say("there is no touchpoint yet; screen 2 makes one", "warn")
            return
        made = await self.ui.ask(
            Form(self.ui, "block a sender", self._fields(known), self._block,
                 intro="Mail of this sender is held from now on; nothing is deleted.", draft="blocklist entry")
        )  # fmt: skip
        if made is not None:
            call = Block(touchpoint=made["touchpoint"], pattern=made["pattern"].strip(), note=made["note"].strip())
            said = f"{call.pattern} is blocked at {call.touchpoint}"
            back = Unblock(touchpoint=call.touchpoint, pattern=call.pattern)
            self.ui.did(said, Undo(words=said, back=[back], again=[call]))

    def _fields(self, known: Sequence[str]) -> list[Any]:
        from tui.dialogs import Field

        here = self.touchpoint.address if self.touchpoint is not None else ""
        if not here and self.current is not None:
            here = self.current.touchpoint
        few = len(known) <= MOST_CHOICES
        return [
            Field(name="pattern", label="Address or domain", required=True, hint="one@shop.example, or @shop.example"),
            Field(name="touchpoint", label="At touchpoint", value=here or (known[0] if few else ""), required=True,
                  choices=tuple(known) if few else (), hint="" if few else "its address"),
            Field(name="note", label="Reason", hint="for those who come later"),
        ]  # fmt: skip

    async def _block(self, values: dict[str, str]) -> dict[str, str] | None:
        """Block; an entry that is there already is left as it is, or undoing would take it away."""
        pattern, touchpoint = values["pattern"].strip(), values["touchpoint"].strip()
        try:
            entry = forms(pattern if "@" in pattern else f"@{pattern}")[0]
            async for row in self._entries(entry, touchpoint):
                if row.pattern == entry:
                    return {"pattern": f"blocked already, {self._age(row)} ago" + (f": {row.note}" if row.note else "")}
            await self.ui.call(Block(touchpoint=touchpoint, pattern=pattern, note=values["note"].strip()))
        except (CallFailed, Unreachable) as error:
            return {_field_of(error): words(error)}
        return None

    async def unblock(self, rows: Rows) -> None:
        """Off the list; what is held stays held."""
        done: list[BlockRow] = []
        trouble = ""
        for row in rows:
            try:
                await self.ui.call(Unblock(touchpoint=row.touchpoint, pattern=row.pattern))
            except (CallFailed, Unreachable) as error:
                trouble = words(error)
                break
            done.append(row)
        if done:
            self.ui.did(*_removed(done))
        if trouble:
            count = f"{len(done)} of {len(rows)} are off the list; " if done else ""
            self.ui.say(f"{count}{rows[len(done)].pattern}: {trouble}", "bad", seconds=30.0)

    # -- testing an address ------------------------------------------------------------------------------------------

    async def test(self, rows: Rows) -> None:
        """Which entries name an address, at which touchpoints."""
        from tui.dialogs import Field, Form, Show

        found: list[BlockRow] = []

        async def look(values: dict[str, str]) -> dict[str, str] | None:
            address = values["address"].strip()
            if not address.rpartition("@")[0]:
                return {"address": "needs an @, as in buyer@shop.example"}
            try:
                found[:] = await self.naming(address)
            except (CallFailed, Unreachable) as error:
                return {"address": words(error)}
            return None

        where = self.touchpoint.address if self.touchpoint is not None else "all touchpoints"
        hint = "author or envelope sender of a mail"
        form = Form(self.ui, f"would it be held? ({where})", [Field(name="address", label="Address", hint=hint)], look)
        if (made := await self.ui.ask(form)) is not None:
            await self.ui.ask(Show(self.ui, made["address"].strip(), _findings(found, where)))

    async def naming(self, address: str) -> list[BlockRow]:
        """The entries that name an address; of each touchpoint the one that the trail of a mail would say first."""
        touchpoint = str(self.touchpoint.id) if self.touchpoint is not None else ""
        found: list[BlockRow] = []
        for form in forms(address):
            found += [row async for row in self._entries(form, touchpoint) if row.pattern == form]
        return found

    async def _entries(self, text: str, touchpoint: str) -> AsyncIterator[BlockRow]:
        """All entries that hold a text."""
        after = 0
        while True:
            page = await self.ui.call(ListBlocklist(touchpoint=touchpoint, text=text, after=after, limit=WINDOW))
            for row in page.rows:
                yield row
            if not (after := page.next):
                return

    def command(self) -> str:
        row = self.current
        whose = self.touchpoint.address if self.touchpoint is not None else row.touchpoint if row is not None else ""
        return f"postroom blocklist list {quote(whose)}" if whose else ""

    def value(self) -> str:
        return self.current.pattern if self.current is not None else ""

    ACTS: ClassVar[tuple[Act, ...]] = (
        Act(id="blocklist.add", key="n", words="Block ...", run=add, on_row=False, bar=58,
            calls=(Block, ListBlocklist), command="postroom blocklist add TOUCHPOINT ADDRESS --note TEXT"),
        Act(id="blocklist.remove", key="x d", words="Unblock", run=unblock, kind=Kind.UNDO, bar=56,
            calls=(Unblock, Block), command="postroom blocklist remove {touchpoint} {pattern}"),
        Act(id="blocklist.test", key="T", words="Test an address ...", run=test, on_row=False, bar=50,
            calls=(ListBlocklist,), command="postroom blocklist list TOUCHPOINT"),
        Act(id="blocklist.all", key="c", words="All touchpoints", on_row=False, calls=(ListBlocklist,),
            run=lambda view, rows: None if view.widen() else view.ui.say("all touchpoints are shown")),
    )  # fmt: skip


def _removed(done: Sequence[BlockRow]) -> tuple[str, Undo]:
    one = f"{done[0].pattern} is off the list of {done[0].touchpoint}"
    said = one if len(done) == 1 else f"{len(done)} entries are off the list"
    back = [Block(touchpoint=row.touchpoint, pattern=row.pattern, note=row.note) for row in done]
    again = [Unblock(touchpoint=row.touchpoint, pattern=row.pattern) for row in done]
    return said, Undo(words=said, back=back, again=again)


def _field_of(error: Exception) -> str:
    """Which field of the form the daemon's sentence is about."""
    said = str(error)
    if isinstance(error, Unreachable):
        return ""
    if "touchpoint" in said.split(":")[0]:
        return "touchpoint"
    return "note" if said.startswith("the note") else "pattern" if "not a" in said else ""


def _findings(found: Sequence[BlockRow], where: str) -> str:
    if not found:
        return f"No entry of {where} names this address: its mail is not held for its sender."
    lines = []
    seen: set[str] = set()
    for row in found:
        said = "is held at" if row.touchpoint not in seen else "  also named at"
        seen.add(row.touchpoint)
        lines.append(f"{said} {row.touchpoint} by {row.pattern}" + (f"  ({row.note})" if row.note else ""))
    return "\n".join(lines)


VIEW = Blocklist
