"""Internal senders, opened from the relay's screen: who may hand in mail, and as which touchpoints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from gateway.client import CallFailed, Unreachable
from gateway.control import (
    MOST_ROWS,
    AddRelayUser,
    EditRelayUser,
    ListRelayUsers,
    RelayUserRow,
    RemoveRelayUser,
)
from tui.acts import Act, Kind, Rows, Undo
from tui.lines import Line, folded, line
from tui.link import words
from tui.view import View
from tui.vlist import Column

if TYPE_CHECKING:
    from tui.app import TerminalUI

MOST = 5_000
"""Relay users that are shown."""
_SWITCH = ("no", "yes")


# -- Acts ----------------------------------------------------------------------------------------------------------


async def _add(view: RelayUsers, rows: Rows) -> None:
    from tui.dialogs import Field, Form

    ui = view.ui

    async def submit(values: dict[str, str]) -> dict[str, str] | None:
        if fault := _unequal(values):
            return fault
        call = AddRelayUser(
            name=values["name"].strip(), password=values["password"], notify=values["notify"].strip(),
            signature=values["signature"] == "yes", grants=tuple(values["grants"].split()),
        )  # fmt: skip
        try:
            made = await ui.call(call)
        except (CallFailed, Unreachable) as error:
            return {"": words(error)}
        view.wanted = made.name
        ui.did(f"relay user {made.name} is made; {_grants(made)}", None)
        return None

    fields = [
        Field(name="name", label="Name", hint="what the system signs in with; no spaces", required=True),
        Field(name="password", label="Password", secret=True, required=True),
        Field(name="again", label="Password again", secret=True, required=True),
        Field(name="notify", label="Notices to", hint="told of final failures; empty is the admins"),
        Field(name="signature", label="Signature", hint="put the touchpoint's signature in", choices=_SWITCH),
        Field(name="grants", label="May write as", hint="addresses of touchpoints, blanks between them"),
    ]
    await ui.ask(Form(ui, "a new relay user", fields, submit, draft="relay_user.add"))


async def _edit(view: RelayUsers, rows: Rows) -> None:
    from tui.dialogs import Field, Form

    ui, row = view.ui, rows[0]

    async def submit(values: dict[str, str]) -> dict[str, str] | None:
        if fault := _unequal(values):
            return fault
        notify, signature = values["notify"].strip(), values["signature"] == "yes"
        call = EditRelayUser(
            name=row.name, password=values["password"] or None, notify=notify if notify != row.notify else None,
            signature=signature if signature != row.signature else None,
        )  # fmt: skip
        if call == EditRelayUser(name=row.name):
            return {"": "nothing is different from what it was"}
        try:
            await ui.call(call)
        except (CallFailed, Unreachable) as error:
            return {"": words(error)}
        ui.did(f"relay user {row.name} is changed", _undo_edit(row, call))
        return None

    fields = [
        Field(name="notify", label="Notices to", value=row.notify, hint="told of final failures; empty is the admins"),
        Field(name="signature", label="Signature", value=_SWITCH[row.signature], choices=_SWITCH),
        Field(name="password", label="New password", secret=True, hint="empty: stays as it is"),
        Field(name="again", label="New password again", secret=True),
    ]
    draft = f"relay_user.edit {row.name}"
    await ui.ask(Form(ui, f"relay user {row.name}", fields, submit, draft=draft, edits=True))


def _undo_edit(row: RelayUserRow, call: EditRelayUser) -> Undo | None:
    """Back to what is known of it; the password that it had before is known to nobody."""
    if call.password is not None:
        return None
    back = EditRelayUser(
        name=row.name, notify=None if call.notify is None else row.notify,
        signature=None if call.signature is None else row.signature,
    )  # fmt: skip
    return Undo(words=f"relay user {row.name} is changed", back=[back], again=[call])


def _unequal(values: dict[str, str]) -> dict[str, str]:
    return {} if values["password"] == values["again"] else {"again": "this is not the same password"}


async def _touchpoints(view: RelayUsers, rows: Rows) -> None:
    """Pick the touchpoints that it may write as; only what is different is granted and revoked."""
    from tui.dialogs import Pick

    ui, row = view.ui, rows[0]
    points = {point.address: str(point.id) for point in ui.picture.touchpoints.values()}
    before = [points.get(address, address) for address in row.grants]
    named = {number: address for address, number in points.items()}
    options = [(points.get(address, address), address) for address in sorted({*points, *row.grants})]
    picked = await ui.ask(
        Pick(ui, f"{row.name} may write as", options, several=True, marked=before, empty="there is no touchpoint")
    )
    if picked is None:
        return
    grant = tuple(each for each in picked if each not in before)
    revoke = tuple(each for each in before if each not in picked)
    if not grant and not revoke:
        ui.say("nothing is different from what it was")
        return
    said = [f"may write as {named.get(each, each)}" for each in grant]
    said += [f"no longer as {named.get(each, each)}" for each in revoke]
    call = EditRelayUser(name=row.name, grant=grant, revoke=revoke)
    text = f"{row.name} {', '.join(said)}"
    undo = Undo(words=text, back=[EditRelayUser(name=row.name, grant=revoke, revoke=grant)], again=[call])
    await ui.change(call, text, undo)


async def _remove(view: RelayUsers, rows: Rows) -> None:
    await view.ui.change(RemoveRelayUser(name=rows[0].name), f"relay user {rows[0].name} is removed")


def _losing(view: View, rows: Rows) -> str:
    row: RelayUserRow = rows[0]
    return f"Relay user {row.name} {_grants(row)}. Removed, it can hand in nothing; what it did hand in goes out."


def _grants(row: RelayUserRow) -> str:
    if len(row.grants) > 3:
        return f"may write as {len(row.grants)} touchpoints"
    return f"may write as {' and '.join(row.grants) or 'nobody yet'}"


# -- The page ------------------------------------------------------------------------------------------------------


class RelayUsers(View):
    """The list of relay users."""

    NAME = "relay_users"
    TITLE = "Relay users"
    EVERY = 10.0
    PREVIEW = 3
    EMPTY = "there is no relay user yet; n makes one"
    COLUMNS = (
        Column(title="relay user", cell=lambda row: row.name, width=20, grow=1),
        Column(title="signature", cell=lambda row: ("yes", "") if row.signature else ("no", "dim"), width=9),
        Column(title="notices to", cell=lambda row: row.notify or ("the admins", "dim"), width=20, grow=1, keep=3),
        Column(title="may write as", cell=lambda row: ", ".join(row.grants) or ("nobody yet", "warn"), width=20,
               grow=2),
    )  # fmt: skip
    ACTS: ClassVar[tuple[Act, ...]] = (
        Act(id="relay_user.add", key="n", words="New ...", run=_add, on_row=False, bar=78, calls=(AddRelayUser,),
            command="postroom relay-user add NAME --grant TOUCHPOINT"),
        Act(id="relay_user.edit", key="e", words="Edit ...", run=_edit, single=True, bar=77, calls=(EditRelayUser,),
            command="postroom relay-user edit {name} --notify ADDRESS --signature on"),
        Act(id="relay_user.touchpoints", key="t", words="Touchpoints ...", run=_touchpoints, single=True, bar=76,
            calls=(EditRelayUser,), command="postroom relay-user grant {name} TOUCHPOINT"),
        Act(id="relay_user.remove", key="x", words="Remove ...", run=_remove, kind=Kind.NAME, single=True, bar=30,
            calls=(RemoveRelayUser,), command="postroom relay-user remove {name}", question=_losing,
            name=lambda rows: rows[0].name),
    )  # fmt: skip

    def __init__(self, ui: TerminalUI, wanted: str = "") -> None:
        super().__init__(ui)
        self.wanted = wanted
        """The name of the one that the cursor goes to once it is there."""
        self._rows: list[RelayUserRow] = []

    async def load(self) -> None:
        self.check_role(ListRelayUsers, "relay users")
        rows: list[RelayUserRow] = []
        after, more = 0, True
        while more and len(rows) < MOST:
            page = await self.ui.call(ListRelayUsers(after=after, limit=MOST_ROWS))
            rows += page.rows
            after, more = page.next, page.next > 0
        self._rows = sorted(rows, key=lambda row: row.name)

    def show(self) -> None:
        assert self.list is not None
        rows = self._rows
        if text := self.needle.casefold():
            rows = [row for row in rows if text in f"{row.name} {row.notify} {' '.join(row.grants)}".casefold()]
        self.list.set_rows(rows)
        if found := next((row for row in rows if row.name == self.wanted), None):
            self.list.find(self.key_of(found))
            self.wanted = ""

    def title_line(self) -> Line:
        known = len(self.list.rows) if self.list else 0
        return line(
            (" RELAY USERS", "title"), f" {known} of {len(self._rows)}   filter: {self.needle or '-'}   ",
            ("systems that hand in mail to the relay", "dim"),
        )  # fmt: skip

    def details(self, row: Any, width: int) -> Sequence[Line]:
        notices = row.notify or "the admins"
        head = f"{row.name}: failures are told to {notices}; {'with' if row.signature else 'without'} signature"
        told = [(head, "")] + [(f"may write as {address}", "") for address in row.grants]
        if not row.grants:
            told.append(("may write as nobody yet: the relay refuses all its mail", "warn"))
        return [line((each, style)) for text, style in told for each in folded(text, width - 1, "  ")]

    def command(self) -> str:
        return "postroom relay-user list"

    def value(self) -> str:
        return self.current.name if self.current else ""

    def open(self, row: Any) -> None:
        self.full = True
        self.lay_out()
        self.draw_details()


VIEW = RelayUsers
