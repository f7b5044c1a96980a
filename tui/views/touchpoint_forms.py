"""The forms of touchpoints: a new one, its page, a copy, its servers.

Each stays open with all that was typed until the daemon takes it; what the daemon finds wrong stands at its field.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from textual.events import Key

from gateway.client import CallFailed, Unreachable
from gateway.control import (
    Call,
    CreateTouchpoint,
    DirectionType,
    DuplicateTouchpoint,
    EditTouchpoint,
    ListPresets,
    PresetRow,
    SetConnection,
    ShowTouchpoint,
    TouchpointDetail,
    TouchpointRow,
)
from tui.acts import Undo
from tui.dialogs import Choice, Field, Form, Menu, Submit
from tui.keys import shown
from tui.link import words
from tui.views.touchpoint_words import server_text

if TYPE_CHECKING:
    from tui.app import TerminalUI

R = TypeVar("R")
AS_IS = "as it is"
_YES = {"yes": True, "no": False}
_SERVER = re.compile(r"(\[[^\]\s]+\]|[^:\s]+):(\d{1,5})(:tls|:starttls|:none)?")


async def _sent(ui: TerminalUI, call: Call[R], kept: list[R], place: Callable[[str], str]) -> dict[str, str] | None:
    """Make the call of a form: None, with the answer kept, or what is wrong at the field that it is about."""
    try:
        kept.append(await ui.call(call))
    except (CallFailed, Unreachable) as error:
        said = words(error)
        return {place(said): said}
    return None


def _page_field(values: Mapping[str, str]) -> Callable[[str], str]:
    """Which field of a page a sentence of the daemon is about; "" where it does not say."""

    def place(said: str) -> str:
        if "friendly name" in said:
            return "name"
        if any(alias in said for alias in values.get("aliases", "").replace(",", " ").split()):
            return "aliases"
        return "address" if re.search("address|domain name|belongs to|connected to its mailbox", said) else ""

    return place


# -- A new one, and a copy -----------------------------------------------------------------------------------------


async def new(ui: TerminalUI) -> TouchpointRow | None:
    """Address and friendly name are all that is needed; None where nothing was made."""
    made: list[TouchpointRow] = []

    async def submit(values: dict[str, str]) -> dict[str, str] | None:
        direction = DirectionType(values["direction"])
        call = CreateTouchpoint(address=values["address"].strip(), name=values["name"].strip(), direction=direction)
        return await _sent(ui, call, made, _page_field(values))

    fields = [
        Field(name="address", label="Address", required=True, hint="of the mailbox, as in support@example.org"),
        Field(name="name", label="Friendly name", required=True, hint="the author of what we write, as in Support"),
        Field(name="direction", label="Direction", value="both", choices=("both", "inbound", "outbound"),
              hint="who begins: customers (inbound), we (outbound)"),
    ]  # fmt: skip
    intro = "It is neither connected nor active at first."
    await ui.ask(Form(ui, "new touchpoint", fields, submit, intro=intro, draft="touchpoint.new"))
    return made[0] if made else None


async def duplicate(ui: TerminalUI, row: TouchpointRow) -> TouchpointRow | None:
    """The same page under another address; None where nothing was made."""
    made: list[TouchpointRow] = []

    async def submit(values: dict[str, str]) -> dict[str, str] | None:
        address, name = values["address"].strip(), values["name"].strip()
        call = DuplicateTouchpoint(touchpoint=str(row.id), address=address, name=name)
        return await _sent(ui, call, made, _page_field(values))

    fields = [
        Field(name="address", label="New address", required=True, hint="of another mailbox"),
        Field(name="name", label="Friendly name", required=True, hint=f"this one is called {row.name}"),
    ]
    intro = "All but login, password and mail goes along."
    draft = f"touchpoint.duplicate.{row.id}"
    await ui.ask(Form(ui, f"duplicate {row.address}", fields, submit, intro=intro, draft=draft))
    return made[0] if made else None


# -- Its page ------------------------------------------------------------------------------------------------------


async def edit(ui: TerminalUI, row: TouchpointRow) -> None:
    """What is said about it; only what was changed is sent."""
    detail = await ui.call(ShowTouchpoint(touchpoint=str(row.id)))
    row = detail.row
    old: dict[str, Any] = {
        "address": row.address, "name": row.name, "aliases": detail.aliases, "signs_relayed": detail.signs_relayed
    }  # fmt: skip
    made: list[TouchpointRow] = []
    changed: dict[str, Any] = {}

    async def submit(values: dict[str, str]) -> dict[str, str] | None:
        typed = {
            "address": values["address"].strip(),
            "name": values["name"].strip(),
            "aliases": tuple(values["aliases"].replace(",", " ").split()),
            "signs_relayed": _YES[values["signs_relayed"]],
        }
        changed.clear()
        changed.update({name: value for name, value in typed.items() if value != old[name]})
        if not changed:
            return None
        return await _sent(ui, EditTouchpoint(touchpoint=str(row.id), **changed), made, _page_field(values))

    fields = [
        Field(name="address", label="Address", value=row.address, required=True,
              hint="can be another one before the first connect only"),
        Field(name="name", label="Friendly name", value=row.name, required=True, hint="the author of what we write"),
        Field(name="aliases", label="Aliases", value=" ".join(detail.aliases),
              hint="its other addresses, with spaces between"),
        Field(name="signs_relayed", label="Sign relayed mail", value="yes" if detail.signs_relayed else "no",
              choices=("no", "yes"), hint="sign the mail of all of its relay users"),
    ]  # fmt: skip
    await ui.ask(Form(ui, f"edit {row.address}", fields, submit, draft=f"touchpoint.edit.{row.id}", edits=True))
    if made:
        back = EditTouchpoint(touchpoint=str(row.id), **{name: old[name] for name in changed})
        again = EditTouchpoint(touchpoint=str(row.id), **changed)
        ui.did(f"{made[0].address} is changed", Undo(words=f"the change of {row.address}", back=[back], again=[again]))


# -- Its servers ---------------------------------------------------------------------------------------------------

Texts = dict[str, "str | None"]


async def servers(ui: TerminalUI, row: TouchpointRow) -> TouchpointDetail | None:
    """Where its mailbox is, and what is done there; the page as it is then, or None where nothing was changed."""
    detail = await ui.call(ShowTouchpoint(touchpoint=str(row.id)))
    presets = {each.name: each for each in (await ui.call(ListPresets())).rows}
    draft = f"touchpoint.servers.{row.id}"
    first: str | None = detail.preset
    if detail.imap is None and detail.smtp is None and not ui.drafts.read(draft):
        choices = [
            Choice(key=str(number), words=each.title, value=each.name)
            for number, each in enumerate(presets.values(), 1)
        ]
        first = await ui.ask(Menu(ui, f"who is the provider of {row.address}?", choices))
        if first is None:
            return None
    made: list[TouchpointDetail] = []

    async def submit(values: dict[str, str]) -> dict[str, str] | None:
        faults = {half: fault for half in ("imap", "smtp") if (fault := server_fault(values[half].strip()))}
        if not faults and not values["imap"].strip() and not values["smtp"].strip():
            faults = {"imap": "say where it receives from, or where it sends"}
        changes = connection_changes(detail, presets, values)
        if faults or not changes:
            return faults or None
        return await _sent(ui, SetConnection(touchpoint=str(row.id), **changes), made, _server_field(values))

    await ui.ask(ServersForm(ui, detail, presets, first, submit, draft))
    if not made:
        return None
    again = "" if made[0].has_password else f"; {shown(ui.key('touchpoint.connect'))} connects it"
    ui.did(f"the servers of {row.address} are set{again}")
    return made[0]


def texts_of(detail: TouchpointDetail, presets: Mapping[str, PresetRow], preset: str) -> Texts:
    """What the fields say with this provider before anything is typed; None is a server that is not known."""
    if preset == detail.preset or preset not in presets:
        imap: str | None = server_text(detail.imap)
        smtp: str | None = server_text(detail.smtp)
        rest = (detail.ca_file, detail.junk_folder, detail.mark)
    else:
        imap = server_text(presets[preset].imap) or None
        smtp = server_text(presets[preset].smtp) or None
        rest = ("", "", "")
    made = {"imap": imap, "smtp": smtp, "user": detail.user}
    return made | dict(zip(("ca_file", "junk_folder", "mark"), rest, strict=True))


def connection_changes(
    detail: TouchpointDetail, presets: Mapping[str, PresetRow], values: Mapping[str, str]
) -> dict[str, Any]:
    """The fields of ``SetConnection`` that are not as they are, or as the new provider brings them."""
    preset = values["preset"]
    typed = {name: values[name].strip() for name in ("imap", "smtp", "user", "ca_file", "junk_folder", "mark")}
    if not typed["user"] and detail.user:
        typed["user"] = detail.row.address  # what no login stands for
    before = texts_of(detail, presets, preset)
    changes: dict[str, Any] = {name: value for name, value in typed.items() if value != before[name]}
    if preset != detail.preset:
        changes["preset"] = preset
    if values["sent_copy"] != AS_IS:
        changes["sent_copy"] = values["sent_copy"]
    if values["null_sender"] != AS_IS:
        changes["null_sender"] = _YES[values["null_sender"]]
    if values["unknown_outcome"] != AS_IS:
        changes["unknown_outcome"] = values["unknown_outcome"]
    return changes


def server_fault(text: str) -> str:
    """What is wrong with a server as it was typed; "" where nothing is."""
    found = _SERVER.fullmatch(text)
    if not text or (found is not None and 0 < int(found[2]) < 65536):
        return ""
    if found is not None:
        return "there is no such port: it is a number from 1 to 65535"
    return "write it as HOST:PORT:SECURITY, with tls, starttls or none"


def _server_field(values: Mapping[str, str]) -> Callable[[str], str]:
    def place(said: str) -> str:
        for half in ("imap", "smtp"):
            host = values[half].strip().partition(":")[0]
            if half in said or (host and host in said) or ("TLS" in said and values[half].strip().endswith(":none")):
                return half
        found = re.search("CA file|the login|a mark|Sent copies|the folder|provider", said)
        names = {"CA file": "ca_file", "the login": "user", "a mark": "mark", "Sent copies": "sent_copy",
                 "the folder": "mark" if ":" in values["mark"] else "junk_folder", "provider": "preset"}  # fmt: skip
        return names[found[0]] if found else ""

    return place


class ServersForm(Form):
    """Another provider brings its own servers into the fields that nobody typed into."""

    def __init__(
        self,
        ui: TerminalUI,
        detail: TouchpointDetail,
        presets: Mapping[str, PresetRow],
        first: str | None,
        submit: Submit,
        draft: str,
    ) -> None:
        self._detail, self._presets = detail, presets
        preset = first or detail.preset
        at = texts_of(detail, presets, preset)
        fields = [
            Field(name="preset", label="Provider", value=preset, choices=tuple(dict.fromkeys([*presets, preset])),
                  hint="brings its own servers along"),
            Field(name="imap", label="Receives (IMAP)", value=at["imap"] or "",
                  hint="HOST:993:tls; empty: it only sends"),
            Field(name="smtp", label="Sends (SMTP)", value=at["smtp"] or "",
                  hint="HOST:587:starttls; empty: it only receives"),
            Field(name="user", label="Login", value=at["user"] or "", hint=f"empty: {detail.row.address}"),
            Field(name="ca_file", label="CA file", value=at["ca_file"] or "",
                  hint="of the authority to trust; empty: the system's"),
            Field(name="junk_folder", label="Junk folder", value=at["junk_folder"] or "",
                  hint="its name; empty: found by its attribute"),
            Field(name="sent_copy", label="Copy in Sent", value=AS_IS, choices=(AS_IS, "provider", "append", "none"),
                  hint=f"who files it; now {detail.sent_copy}"),
            Field(name="null_sender", label="Empty sender", value=AS_IS, choices=(AS_IS, "yes", "no"),
                  hint="whether it takes automatic mail from <>"),
            Field(name="mark", label="Mark on the server", value=at["mark"] or "",
                  hint="seen or move:FOLDER; empty: nothing is marked"),
            Field(name="unknown_outcome", label="Never answered", value=AS_IS,
                  choices=(AS_IS, "verify_then_resend", "hold_for_person"), hint=f"now {detail.unknown_outcome}"),
        ]  # fmt: skip
        intro = "A password that is kept is not taken to another server."
        super().__init__(ui, f"servers of {detail.row.address}", fields, submit, intro=intro, draft=draft)
        self._preset = self.inputs["preset"].value

    async def key(self, event: Key) -> None:
        await super().key(event)
        now = self.inputs["preset"].value
        if now != self._preset:
            before, after = (texts_of(self._detail, self._presets, name) for name in (self._preset, now))
            self._preset = now
            for name, text in after.items():
                if self.inputs[name].value == (before[name] or ""):
                    self.inputs[name].value = text or ""
