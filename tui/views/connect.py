"""Connect, reauthenticate, test: one dialog, as steps whose results appear as they come.

Nothing is changed before the last step, and Esc ends it at any moment. The password lives in this dialog alone, for as
long as it is open: it is never drawn, kept as a draft or recorded.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Coroutine
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar, assert_never

from textual.app import ComposeResult
from textual.containers import Container
from textual.events import Key
from textual.widgets import Input
from textual.worker import Worker

from gateway.client import CallFailed, Unreachable
from gateway.control import (
    Code,
    ConnectTouchpoint,
    ListPresets,
    PlanConnect,
    PlanRow,
    SetConnection,
    ShowTouchpoint,
    TouchpointDetail,
    TouchpointRow,
    TryTouchpoint,
)
from tui.dialogs import Dialog, Lines
from tui.frame import age
from tui.lines import Line, folded, line
from tui.link import words
from tui.pager import Pager
from tui.views.touchpoint_forms import servers
from tui.views.touchpoint_words import server_words, trouble_of

if TYPE_CHECKING:
    from tui.app import TerminalUI

T = TypeVar("T")
SIGN_IN = ("credential", "blocked-access")
"""Causes that a server can only have after it answered."""
BY_ITSELF = "it is tried again by itself; "
"""True of a touchpoint that is connected, and not of what is tried here."""
WRONG_PORT = "WRONG_VERSION_NUMBER"
"""What OpenSSL says to an answer that is not TLS."""
WIDTH = 74
LABEL = 17
SLOW = 3.0
"""Seconds after which a running step says how long it has been."""
_STYLES = {"+": "good", "x": "bad", "~": "strong", ".": "dim", "-": "dim"}
_LEARNED = ("receiving", "sending", "signing", "same", "taken", "connect")


class Purpose(StrEnum):
    """What the dialog is for."""

    CONNECT = "connect"
    REAUTHENTICATE = "reauthenticate"
    TEST = "test"


class Phase(StrEnum):
    """What the dialog is doing."""

    TRYING = "trying"
    PASSWORD = "password"
    """It waits for a password."""
    WRONG = "wrong"
    """A step failed; the person says how to go on."""
    READY = "ready"
    """All that can be known before the last step is known."""
    SINCE = "since"
    """It waits for a date."""
    CONNECTING = "connecting"
    DONE = "done"


@dataclass
class Step:
    """One line of the list."""

    label: str
    mark: str = "."
    """+ done, x wrong, ~ running, . waiting, - not needed."""
    words: str = ""
    began: float = 0.0


def _steps(purpose: Purpose) -> dict[str, Step]:
    labels = {"servers": "find the server", "password": "password", "receiving": "test receiving",
              "sending": "test sending", "signing": "sign in"}  # fmt: skip
    if purpose is not Purpose.TEST:
        labels |= {"same": "same mailbox?", "taken": "what is taken", "connect": "connect"}
    return {name: Step(label) for name, label in labels.items()}


def title_of(row: TouchpointRow, purpose: Purpose) -> str:
    """What the dialog is called."""
    if purpose is Purpose.CONNECT:
        return f"{'connect' if row.state == 'new' else 'reconnect'} {row.address}"
    return f"{'sign in anew at' if purpose is Purpose.REAUTHENTICATE else 'test'} {row.address}"


class ConnectDialog(Dialog[str]):
    """Answers "connected", or "activate" where mail is to move as well; "" where nothing was changed."""

    DEFAULT_CSS = """
    ConnectDialog .row { layout: horizontal; height: 1; }
    ConnectDialog .label { width: 22; height: 1; }
    ConnectDialog Input { width: 1fr; height: 1; border: none; padding: 0; background: transparent; }
    ConnectDialog Input:focus { text-style: underline; }
    ConnectDialog > .box > Pager { height: 1fr; }
    """

    def __init__(self, ui: TerminalUI, row: TouchpointRow, purpose: Purpose = Purpose.CONNECT) -> None:
        super().__init__(ui, title_of(row, purpose))
        self.FOOT = "Esc cancels"
        self.phase = Phase.TRYING
        self._row, self._purpose = row, purpose
        self._detail: TouchpointDetail | None = None
        self._steps = _steps(purpose)
        self._password: str | None = None
        self._since: float | None = None
        self._sort = "the password of the mailbox"
        """What sort of password the provider takes, in its words."""
        self._advice = ""
        self._worker: Worker[None] | None = None
        self._list = Pager(glyphs=ui.glyphs)
        self._list.follow = True
        self._secret = Input(password=True, compact=True, select_on_focus=False)
        self._date = Input(compact=True, select_on_focus=False, placeholder="2026-11-23; empty: new mail only")
        self._secret_row = Container(classes="row")
        self._date_row = Container(classes="row")
        self._foot = Lines(ui, [(), ()])

    # -- the box -----------------------------------------------------------------------------------------------------

    def parts(self) -> ComposeResult:
        yield self._list
        for row, label, typed in (
            (self._secret_row, "password:", self._secret), (self._date_row, "take mail since:", self._date)
        ):  # fmt: skip
            with row:
                yield Lines(self.ui, [line(f"   {label}")]).add_class("label")
                yield typed
        yield self._foot

    def opened(self) -> None:
        self.set_interval(1.0, self._count_on)
        self._draw()
        self._work(self._look())

    def _count_on(self) -> None:
        if any(step.mark == "~" for step in self._steps.values()):
            self._draw()

    def wanted(self) -> tuple[int, int]:
        width = min(WIDTH, self.ui.size.width - 6)
        typed = self.phase in (Phase.PASSWORD, Phase.SINCE)
        return width, len(self._lines(width)) + typed + len(self._told(width))

    def _lines(self, width: int) -> list[Line]:
        out: list[Line] = []
        for step in self._steps.values():
            said = step.words
            if step.mark == "~" and (seconds := self.ui.now() - step.began) >= SLOW:
                said += f", {age(seconds)} so far"
            for number, part in enumerate(folded(said, width - LABEL - 5) or [""]):
                head = f" {step.mark} {step.label:{LABEL}} " if not number else " " * (LABEL + 4)
                out.append(line((head, _STYLES[step.mark]), (part, "bad" if step.mark == "x" else "")))
        return out

    def _told(self, width: int) -> list[Line]:
        style = "warn" if self.phase is Phase.WRONG else "strong"
        advice = [line((f" {each}", style)) for each in folded(self._advice, width - 2)] if self._advice else []
        return [(), *advice, line((f" {self._keys()}", "dim"))]

    def _keys(self) -> str:
        verbs = (("r again", True), ("p password", self._placed()), ("E servers", self._may_set()))
        more = "  ".join(verb for verb, can in verbs if can)
        match self.phase:
            case Phase.PASSWORD:
                return "Enter goes on" + ("   F4 servers" if self._may_set() else "")
            case Phase.SINCE:
                return "Enter takes the date"
            case Phase.WRONG:
                return more
            case Phase.READY:
                return f"Enter connects  {'s older mail too  ' if self._first() else ''}{more}"
            case Phase.DONE if self._purpose is Purpose.TEST:
                return f"Enter closes  {more}"
            case Phase.DONE:
                return "Enter closes" if self._row.active else "t switches it on, so that mail moves   Enter closes"
            case Phase.CONNECTING:
                return "this is the step that changes something"
            case Phase.TRYING:
                return "nothing is changed yet"
            case _ as never:
                assert_never(never)

    def _draw(self) -> None:
        if not self.is_attached:
            return
        typed = {Phase.PASSWORD: self._secret, Phase.SINCE: self._date}.get(self.phase)
        self._secret_row.display = typed is self._secret
        self._date_row.display = typed is self._date
        if typed is not None and self.focused is not typed:
            self.set_focus(typed)
        elif typed is None and self.focused is not None:
            self.set_focus(None)
        self.FOOT = "Esc closes" if self.phase is Phase.DONE else "Esc cancels"
        self._foot.set(self._told(min(WIDTH, self.ui.size.width - 6)))
        self._list.set(self._lines)
        self.lay_out()

    # -- keys --------------------------------------------------------------------------------------------------------

    async def key(self, event: Key) -> None:
        event.prevent_default()
        if event.key == "escape" and self.phase is Phase.SINCE:
            self._to(Phase.READY)
        elif event.key == "escape":
            self._leave("connected" if self.phase is Phase.DONE and self._purpose is not Purpose.TEST else "")
        elif self.phase is Phase.PASSWORD and event.key == "f4":
            self._set_servers()
        else:
            await super().key(event)

    async def pressed(self, key: str) -> None:
        asking = self.phase in (Phase.WRONG, Phase.READY) or (
            self.phase is Phase.DONE and self._purpose is Purpose.TEST
        )
        if key == "enter" and self.phase is Phase.READY:
            self._work(self._connect())
        elif key == "enter" and self.phase is Phase.DONE:
            self._leave("connected" if self._purpose is not Purpose.TEST else "")
        elif key == "t" and self.phase is Phase.DONE and self._purpose is not Purpose.TEST and not self._row.active:
            self._leave("activate")
        elif key == "r" and asking:
            known = self._detail is not None and self._steps["password"].mark == "+"
            self._work(self._try() if known else self._look())
        elif key == "p" and asking and self._placed():
            self._ask_password()
        elif key == "E" and asking:
            self._set_servers()
        elif key == "s" and self.phase is Phase.READY and self._first():
            self._to(Phase.SINCE, "mail that is there already is taken from that day on")
        else:
            self._list.nav(key)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        if event.input is self._secret:
            self._take_password(event.value)
        else:
            self._take_date(event.value.strip())

    def _leave(self, answer: str) -> None:
        if self._worker is not None:
            self._worker.cancel()
        if self.phase is Phase.CONNECTING:
            self.ui.say("the daemon may still finish this; the list shows what became of it", "warn")
        self._password = None
        self._secret.clear()
        self.dismiss(answer)

    def _work(self, made: Coroutine[Any, Any, None]) -> None:
        self._worker = self.run_worker(made, group="steps", exclusive=True)

    # -- steps -------------------------------------------------------------------------------------------------------

    def _to(self, phase: Phase, advice: str = "") -> None:
        self.phase, self._advice = phase, advice
        self._draw()

    def _set(self, name: str, mark: str, said: str) -> None:
        step = self._steps[name]
        step.mark, step.words, step.began = mark, said, self.ui.now()
        self._draw()

    def _wrong(self, name: str, said: str, advice: str) -> None:
        self._set(name, "x", said)
        self._to(Phase.WRONG, advice)

    async def _step(self, name: str, said: str, made: Awaitable[T]) -> T | None:
        """Wait for the answer of a step; None where there was none, which is shown."""
        self._set(name, "~", said)
        try:
            return await made
        except CallFailed as error:
            person = error.code == Code.NEEDS_PERSON
            self._wrong(name, words(error), "p: try another password" if person else "r tries again")
        except Unreachable as error:
            self._wrong(name, words(error), "nothing was changed; r tries again once the daemon is back")
        return None

    async def _look(self) -> None:
        """Where is its mailbox?"""
        self._steps = _steps(self._purpose)
        self._to(Phase.TRYING)
        ask = self.ui.call(ShowTouchpoint(touchpoint=str(self._row.id)))
        if (detail := await self._step("servers", "asking the daemon", ask)) is None:
            return
        self._detail, self._row = detail, detail.row
        if detail.imap is None and detail.smtp is None:
            self._wrong("servers", "it is not said yet where this mailbox is", self._who_sets())
            if self._may_set():
                await self._change_servers()
            return
        halves = (("imap", detail.imap), ("smtp", detail.smtp))
        self._set("servers", "+", "\n".join(f"{name} {server_words(each)}" for name, each in halves if each))
        await self._learn_sort(detail.preset)
        if self._purpose is Purpose.TEST and detail.has_password:
            self._take_password("")
        else:
            self._ask_password()

    async def _learn_sort(self, preset: str) -> None:
        try:
            rows = (await self.ui.call(ListPresets())).rows
        except (CallFailed, Unreachable):
            return
        self._sort = next((each.password for each in rows if each.name == preset), self._sort)

    async def _try(self) -> None:
        """Does the server answer, and does it let us in?"""
        assert self._detail is not None
        for name in _LEARNED:
            if name in self._steps:
                self._steps[name] = Step(self._steps[name].label)
        self._to(Phase.TRYING)
        causes: list[str] = []
        for half, server in (("receiving", self._detail.imap), ("sending", self._detail.smtp)):
            if server is None:
                self._set(half, "-", f"it has no server to {'receive from' if half == 'receiving' else 'send through'}")
            elif any(cause in SIGN_IN for cause in causes):
                self._set(half, ".", "not tried with a login that was refused")
            elif (cause := await self._try_half(half, f"{server.host}:{server.port}")) is None:
                return
            else:
                causes += [cause] if cause else []
        if causes:
            refused = next((cause for cause in causes if cause in SIGN_IN), "")
            if not refused:
                self._set("signing", ".", "not before the servers answer")
            self._to(Phase.WRONG, self._remedy(refused or causes[0]))
        else:
            both = self._detail.imap is not None and self._detail.smtp is not None
            verb = "to receive and to send" if both else "to receive" if self._detail.imap else "to send"
            self._set("signing", "+", f"signed in {verb}")
            await self._plan()

    async def _try_half(self, half: str, where: str) -> str | None:
        """The cause of what is wrong, "" where nothing is; None where the daemon did not answer."""
        ask = self.ui.call(TryTouchpoint(touchpoint=str(self._row.id), password=self._password, half=half))
        if (row := await self._step(half, f"trying {where}", ask)) is None:
            return None
        error, cause = (row.receiving, row.receiving_cause) if half == "receiving" else (row.sending, row.sending_cause)
        if not error:
            self._set(half, "+", "the server answers")
        elif cause in SIGN_IN:
            self._set(half, "+", "the server answers")
            self._set("signing", "x", f"{half}: {trouble_of(cause).means}: {error}")
        else:
            self._set(half, "x", f"{trouble_of(cause).means}: {error}" if cause else error)
        return (cause or "other") if error else ""

    def _remedy(self, cause: str) -> str:
        if cause == "credential":
            return f"p: another password; it takes {self._sort}"
        if cause == "other":
            return "r tries again" + ("; E corrects the servers" if self._may_set() else "")
        if any(WRONG_PORT in step.words for step in self._steps.values()):
            return "that port does not begin with TLS: it may want starttls instead of tls, or be the wrong one"
        return trouble_of(cause).helps.removeprefix(BY_ITSELF)

    async def _plan(self) -> None:
        """Is it another touchpoint's mailbox already, and what would be taken?"""
        assert self._detail is not None
        if self._purpose is Purpose.TEST:
            return self._to(Phase.DONE, "all of it works; nothing was changed")
        if self._detail.imap is None:
            for name in ("same", "taken"):
                self._set(name, "-", "it only sends")
            return self._to(Phase.READY)
        self._steps["taken"] = Step(self._steps["taken"].label)
        self._to(Phase.TRYING)
        call = PlanConnect(touchpoint=str(self._row.id), password=self._password, since=self._since)
        if (plan := await self._step("same", "looking into its folders", self.ui.call(call))) is None:
            return None
        if plan.twin:
            return self._wrong("same", plan.twin, "sign in to another mailbox, or leave it to that touchpoint")
        self._set("same", "+", f"no other touchpoint has {plan.principal} at {plan.server}")
        self._set("taken", "+", self._taken(plan))
        return self._to(Phase.READY)

    def _taken(self, plan: PlanRow) -> str:
        there = [f"{each.folder}: {each.there:,} there" for each in plan.folders]
        if self._first():
            there = [f"{each}, {folder.taken:,} taken" for each, folder in zip(there, plan.folders, strict=True)]
            day = time.strftime("%d %b %Y", time.localtime(self._since)) if self._since is not None else ""
            what = f"mail since {day}, and all that comes" if day else "only mail that comes from now on"
        else:
            what = "it goes on where it stopped reading"
        marks = f"done on the server: {plan.marks}" if plan.marks else "nothing is changed on the server"
        return "\n".join([what, *there, marks])

    def _first(self) -> bool:
        """Whether it never took mail in, so that older mail can be asked for."""
        return self._row.signed_in_at == 0 and self._detail is not None and self._detail.imap is not None

    async def _connect(self) -> None:
        """The only step that changes anything."""
        self._to(Phase.CONNECTING)
        call = ConnectTouchpoint(touchpoint=str(self._row.id), password=self._password, since=self._since)
        said = "proving both ways, keeping the password sealed"
        if (row := await self._step("connect", said, self.ui.call(call))) is None:
            return
        self._row, self._password = row, None
        self._set("connect", "+", "connected")
        self._to(Phase.DONE, "mail moves again" if row.active else "connected; no mail moves before it is active")

    # -- what the person says ----------------------------------------------------------------------------------------

    def _keeps(self) -> bool:
        """Whether the password that is kept will do."""
        return self._detail is not None and self._detail.has_password and self._purpose is not Purpose.REAUTHENTICATE

    def _ask_password(self) -> None:
        self._secret.clear()
        self._set("password", ".", self._sort)
        kept = "; Enter alone takes the one that is kept" if self._keeps() else ""
        self._to(Phase.PASSWORD, f"type it, it is not shown{kept}")

    def _take_password(self, typed: str) -> None:
        self._secret.clear()
        if not typed and not self._keeps():
            return self._to(Phase.PASSWORD, "nothing was typed; it needs a password")
        self._password = typed or None
        self._set("password", "+", "as typed" if typed else "the one that is kept")
        return self._work(self._try())

    def _take_date(self, typed: str) -> None:
        try:
            since = time.mktime(time.strptime(typed, "%Y-%m-%d")) if typed else None
        except (ValueError, OverflowError):
            return self._to(Phase.SINCE, "write the day as year-month-day: 2026-11-23")
        if since is not None and since > self.ui.wall():
            return self._to(Phase.SINCE, "that day is still to come")
        self._since = since
        return self._work(self._plan())

    def _placed(self) -> bool:
        """Whether it is said where its mailbox is."""
        return self._detail is not None and bool(self._detail.imap or self._detail.smtp)

    def _may_set(self) -> bool:
        return not self.ui.read_only and self.ui.may(SetConnection)

    def _who_sets(self) -> str:
        return "E says where it is" if self._may_set() else "an admin has to say where it is: postroom touchpoint edit"

    def _set_servers(self) -> None:
        if self._may_set():
            self._work(self._change_servers())
        else:
            self._to(self.phase, "only an admin says where a mailbox is")

    async def _change_servers(self) -> None:
        try:
            made = await servers(self.ui, self._row)
        except (CallFailed, Unreachable) as error:
            return self._to(Phase.WRONG, words(error))
        if made is not None:
            self._password = self._since = None
            await self._look()
        elif self.phase is not Phase.PASSWORD:
            self._to(self.phase, self._advice)
        return None
