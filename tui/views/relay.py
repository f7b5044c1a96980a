"""Screen 9: the relay as it stands: its listeners and clients, who handed in how much, and what was refused last."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from gateway.control import (
    ListenerRow,
    ListRelayUsers,
    RefusalRow,
    RelayClientRow,
    RelayRateRow,
    RelayState,
    ShowRelay,
)
from tui.acts import Act, Rows
from tui.frame import age, clock, moment
from tui.lines import Line, folded, line, text_of
from tui.view import View
from tui.views.sections import Item, Sections, cells

if TYPE_CHECKING:
    from tui.app import TerminalUI


async def _users(view: Relay, rows: Rows) -> None:
    from tui.views.relay_users import RelayUsers

    user = str(getattr(view.current.row, "user", "")) if view.current is not None else ""
    await view.ui.open(RelayUsers(view.ui, user))


class Relay(View):
    """Where internal senders hand in their mail."""

    NAME = "relay"
    TITLE = "Relay"
    EVERY = 2.0
    PREVIEW = 2
    ACTS: ClassVar[tuple[Act, ...]] = (
        Act(id="relay.users", key="u", words="Relay users", run=_users, on_row=False, bar=75,
            calls=(ListRelayUsers,), command="postroom relay-user list"),
    )  # fmt: skip

    def __init__(self, ui: TerminalUI) -> None:
        super().__init__(ui)
        self.list = Sections(glyphs=ui.glyphs, empty="asking the daemon ...")
        self._state: RelayState | None = None

    def key_of(self, row: Item) -> Any:
        return row.key

    async def load(self) -> None:
        self.check_role(ShowRelay, "the relay")
        self._state = await self.ui.call(ShowRelay())

    def show(self) -> None:
        assert self.list is not None
        if self._state is not None:
            self.list.set_rows(list(self._items(self._state)))

    def title_line(self) -> Line:
        if (state := self._state) is None:
            return line((" RELAY", "title"))
        took, refused = sum(row.accepted for row in state.rates), sum(row.refused for row in state.rates)
        return line(
            (" RELAY", "title"), f"  {len(state.clients)} connected   last hour: {took:,} mails taken,"
            f" {refused:,} refusals   filter: {self.needle or '-'}",
        )  # fmt: skip

    # -- sections ----------------------------------------------------------------------------------------------------

    def _items(self, state: RelayState) -> Iterator[Item]:
        now = self.ui.wall()
        yield from self._section(
            "listener", state.listeners, _listener, lambda row: (row.name, row.host, row.port),
            "it listens nowhere; name a [[relay.listener]] in postroom.toml",
        )  # fmt: skip
        yield from self._section(
            "client", state.clients, lambda width, row: _client(width, row, now), lambda row: (row.peer, row.since),
            "nobody is connected now",
        )  # fmt: skip
        yield from self._section(
            "rate", state.rates, lambda width, row: _rate(width, row, now), lambda row: row.user,
            "nothing was handed in during the last hour",
        )  # fmt: skip
        yield from self._section(
            "refusal", state.refusals, _refusal, lambda row: (row.at, row.peer, row.code, row.text),
            "nothing was refused since the daemon started",
        )  # fmt: skip

    def _section(
        self, kind: str, rows: Sequence[Any], made: Callable[[int, Any], Line], key: Callable[[Any], Any], empty: str
    ) -> Iterator[Item]:
        yield Item(key=kind, made=HEADS[kind])
        found = [
            Item(key=(kind, key(row)), made=lambda width, row=row: made(width, row), row=row)  # type: ignore[misc]
            for row in rows
        ]
        if text := self.needle.casefold():
            found = [item for item in found if text in text_of(item.made(200)).casefold()]
        yield from found
        if not found:
            words = "nothing here holds that" if rows else empty
            yield Item(key=(kind, None), made=lambda width: line((f" {words}", "dim")))

    # -- one row -----------------------------------------------------------------------------------------------------

    def details(self, row: Item, width: int) -> Sequence[Line]:
        return [line(each) for each in folded(self._words(row.row), width - 1)]

    def _words(self, row: Any) -> str:
        match row:
            case ListenerRow():
                doing = f"{row.sessions} open now, {row.accepted:,} mails accepted, {row.refused:,} refusals"
                return f"{row.name}  {where(row)}  {row.mode}: {doing} since the start"
            case RelayClientRow():
                user = f"signed in as {row.user}" if row.user else "not signed in"
                return f"{row.peer or 'local'} at {row.listener}, {user}, since {moment(row.since)}"
            case RelayRateRow():
                last = moment(row.last_at)
                return f"{row.user}: {row.accepted:,} mails and {row.refused:,} refusals in the last hour, last {last}"
            case RefusalRow():
                user = f" as {row.user}" if row.user else ""
                return f"{moment(row.at)}  {row.peer or 'local'} at {row.listener}{user}: {row.code} {row.text}"
        return ""

    def command(self) -> str:
        return "postroom relay show"

    def value(self) -> str:
        return self._words(self.current.row) if self.current else ""

    def open(self, row: Item) -> None:
        """The relay user that it is about; else all of its words."""
        if getattr(row.row, "user", "") and self.ui.may(ListRelayUsers):
            return self.ui.work(_open_user(self.ui, row.row.user))
        self.full = True
        self.lay_out()
        return self.draw_details()


async def _open_user(ui: TerminalUI, name: str) -> None:
    from tui.views.relay_users import RelayUsers

    await ui.open(RelayUsers(ui, name))


def where(row: ListenerRow) -> str:
    """The address of a listener."""
    if not row.port:  # a Unix socket
        return row.host
    return f"[{row.host}]:{row.port}" if ":" in row.host else f"{row.host}:{row.port}"


def _listener(width: int, row: ListenerRow) -> Line:
    counts = (f"{row.sessions:,}", -6), (f"{row.accepted:,}", -9), (f"{row.refused:,}", -8)
    return cells(width, (f" {row.name}", 15), (where(row), 0), (row.mode, 12), *counts)


def _client(width: int, row: RelayClientRow, now: float) -> Line:
    counts = (age(now - row.since), -9), (f"{row.accepted:,}", -9), (f"{row.refused:,}", -8)
    return cells(width, (f" {row.peer or 'local'}", 0), (row.listener, 13), (row.user or "-", 16), *counts)


def _rate(width: int, row: RelayRateRow, now: float) -> Line:
    last = age(now - row.last_at) + " ago" if row.last_at else "-"
    return cells(width, (f" {row.user}", 0), (last, -14), (f"{row.accepted:,}", -9), (f"{row.refused:,}", -8))


def _refusal(width: int, row: RefusalRow) -> Line:
    text = f"{row.code} {row.text}".replace("\n", " ")
    return cells(width, (f" {clock(row.at)}", 9), (row.peer or "local", 16), (row.user or "-", 12), (text, 0))


HEADS: dict[str, Callable[[int], Line]] = {
    "listener": lambda width: cells(
        width, ("LISTENERS", 15), ("address", 0), ("mode", 12), ("open", -6), ("accepted", -9), ("refused", -8),
        style="title"),
    "client": lambda width: cells(
        width, ("CLIENTS", 0), ("listener", 13), ("relay user", 16), ("since", -9), ("accepted", -9), ("refused", -8),
        style="title"),
    "rate": lambda width: cells(
        width, ("LAST HOUR by relay user", 0), ("last", -14), ("accepted", -9), ("refused", -8), style="title"),
    "refusal": lambda width: cells(
        width, ("REFUSED", 9), ("client", 16), ("relay user", 12), ("answer", 0), style="title"),
}  # fmt: skip
VIEW = Relay
