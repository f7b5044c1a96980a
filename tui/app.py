"""The frame: three lines around the screens, what happens to a key, and what stands between a person and an act.

First paint comes before the daemon is asked anything. Then the link tells what happens, at most twice a second
something is drawn, and nothing at all is drawn while a question is open or the screen is paused.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from textual.app import App, ComposeResult
from textual.binding import BindingType
from textual.containers import Container
from textual.events import Event, Key, Paste
from textual.filter import Monochrome, NoColor
from textual.screen import Screen
from textual.widgets import Input
from textual.worker import Worker, get_current_worker

from tui.clean import visible
from tui.drafts import Drafts, home_of_drafts, title_of
from tui.frame import KeyBar, StateLine, TabLine, moment
from tui.glyphs import Glyphs
from tui.keys import Taste, keys_of, name_of, shown
from tui.lines import Ground
from tui.narrow import NarrowCompositor

if TYPE_CHECKING:
    from gateway.control import Batch, Call, Me, Role, Snapshot, Stages
    from tui.acts import Act, Undo
    from tui.dialogs import Dialog, Place
    from tui.link import Link
    from tui.picture import Picture
    from tui.record import Recorder, ReplayLink
    from tui.view import View

R = TypeVar("R")
TICK = 0.5
"""Seconds between two repaints of what changed."""
SAID_SECONDS = 10.0
SMALLEST = (60, 16)
WIDE = 120
UNDOS = 50
IN_THE_DARK = ("ui.quit", "ui.suspend", "ui.refresh")
"""Acts that can be done where the terminal is too small to show anything."""
TYPED_AHEAD = 0.5
"""Seconds that the next key waits at most for what the one before it began."""
BETWEEN = 0.05
"""Seconds between the end of a dialog and the next key."""
DEAF = 0.7
"""Seconds in which a dialog that comes unexpected takes no key."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How the terminal UI was started."""

    socket: Path
    twin: str = ""
    """What a command needs in order to find the same daemon, such as ``--socket PATH``."""
    read_only: bool = False
    taste: Taste = Taste()
    mouse: bool = True
    record: Path | None = None
    replay: Path | None = None
    speed: float = 1.0
    screen: str = "overview"
    """Which screen comes first."""


@dataclass(frozen=True)
class Moment:
    """What an act would be about."""

    view: View
    current: Any | None
    """The row under the cursor."""
    chosen: list[Any]
    """The marked rows, or that one."""


class Blank:
    """What the picture is before the first paint: nothing is known yet."""

    connected = False
    trouble = ""
    told_at = retry_at = 0.0
    hostname = ""


class Desk(Screen[None], inherit_bindings=False):
    """The one screen of the app; everything else is a view in it, or a dialog over it."""

    BINDINGS: ClassVar[list[BindingType]] = []
    AUTO_FOCUS = ""
    DEFAULT_CSS = """
    Desk { layout: vertical; }
    Desk #content { height: 1fr; }
    Desk #prompt { height: 1; border: none; padding: 0 1; display: none; background: transparent; }
    Desk #small { display: none; height: 1fr; }
    Desk.small #content { display: none; }
    """

    def __init__(self, ui: TerminalUI) -> None:
        super().__init__()
        self._compositor = NarrowCompositor()
        self.ui = ui
        self.state = StateLine(ui)
        self.tabs = TabLine(ui)
        self.content = Container(id="content")
        self.prompt = Input(compact=True, id="prompt", select_on_focus=False)
        self.bar = KeyBar(ui)

    def compose(self) -> ComposeResult:
        yield self.state
        yield self.tabs
        yield self.content
        yield self.prompt
        yield self.bar

    async def on_key(self, event: Key) -> None:
        if self.focused is self.prompt:
            if event.key == "escape":
                event.stop()
                self.ui.end_prompt(keep=False)
            elif event.key == "ctrl+c" and not self.prompt.selected_text:
                event.stop()
                self.ui.interrupted()
            return
        event.stop()
        event.prevent_default()
        await self.ui.pressed(name_of(event))

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self.ui.prompted(event.value)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.ui.end_prompt(keep=True)


class TerminalUI(App[int], inherit_bindings=False):
    """``postroom tui``."""

    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = []
    CSS = "Desk { background: $background; } Input { color: $foreground; }"

    def __init__(
        self,
        options: Options,
        *,
        now: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        link: Link | None = None,
        drafts: Path | None = None,
    ) -> None:
        super().__init__()
        self.options = options
        self.glyphs = options.taste.glyphs or Glyphs.BLOCK
        self.now, self.wall = now, wall
        self.replay: ReplayLink | None = None
        if options.replay is not None:
            from tui.record import ReplayLink

            link = self.replay = ReplayLink(options.replay, speed=options.speed, clock=now)
            self.wall = self.replay.wall
        self.where = str(options.replay or options.socket)
        self.drafts = Drafts(drafts or home_of_drafts())
        self.picture: Picture = Blank()  # type: ignore[assignment]
        self.stages: Stages | None = None
        self.paused = False
        self.said: tuple[str, str, float] | None = None
        """What the last line says for a while: words, style, until when."""
        self.desk = Desk(self)
        self.stack: list[View] = []
        """The screen, and what was opened from it."""
        self._screens: dict[str, View] = {}
        self._before = ""
        self._given_link = link
        self.link: Link | None = link
        self._recorder: Recorder | None = None
        self._undone: list[Undo] = []
        self._done: list[Undo] = []
        self._left_out = ""
        """Which of the rows an act is not about, for what is said once it is done."""
        self._quitting = 0.0
        self._stages_at = float("-inf")
        self._typed: deque[Key | Paste] = deque()
        self._typing: asyncio.Task[None] | None = None
        self._heard_of: dict[Worker[Any], float] = {}
        """When the person last had to do with each act that goes on."""
        self.last_copied = ""
        self._mouse_on = options.mouse
        theme = options.taste.theme or "ansi-dark"
        self.theme = theme if theme in self.available_themes else "ansi-dark"
        if not self.native_ansi_color:
            self._filters.insert(0, Ground(self.current_theme.to_color_system().generate()["foreground"]))
        # NO_COLOR: Textual's Monochrome makes greys of the colours, and some of these cannot be read.
        self._filters[:] = [NoColor() if isinstance(each, Monochrome) else each for each in self._filters]

    # -- start -------------------------------------------------------------------------------------------------------

    def get_default_screen(self) -> Screen[Any]:
        return self.desk

    def on_mount(self) -> None:
        self.app_resume_signal.subscribe(self, self._repaint)
        with suppress(RuntimeError, ValueError):  # signals belong to the main thread
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.exit, 128 + signal.SIGTERM)
        self.desk.call_after_refresh(self._begin)

    def _repaint(self, app: App[Any]) -> None:
        """Another program had the terminal: draw all of it, and take the mouse only if it was ours."""
        self.mouse_on = self._mouse_on
        for screen in self.screen_stack:
            screen.refresh(layout=True)

    def _fatal_error(self) -> None:
        """Textual's without the values of variables: a password or mail may be in them, and people pass this on."""
        from rich.segment import Segments
        from rich.traceback import Traceback

        self.bell()
        told = self.console.render(Traceback(show_locals=False, width=None), self.console.options)
        self._exit_renderables.append(Segments(told))
        self._close_messages_no_wait()

    async def _begin(self) -> None:
        """Everything that the first paint does not need: the wire, the screens, the daemon."""
        from tui.link import DaemonLink
        from tui.picture import Picture

        self.picture = Picture()
        if self.link is None:
            if self.options.record:
                from tui.record import Recorder

                self._recorder = Recorder(self.options.record, wall=self.wall)
            self.link = DaemonLink(self.options.socket, self._recorder)
        self.where = self.link.where
        if self.replay is not None:
            self.say(f"{self.replay.FIXED}; it begins at {moment(self.replay.at)}", "warn")
        self.run_worker(self.link.run(self), group="link", exit_on_error=True)
        await self.go(self.options.screen)
        self.set_interval(TICK, self.tick)
        if kept := self.drafts.names():
            more = f" and {len(kept) - 1} more" if len(kept) > 1 else ""
            self.say(f"kept from before: {title_of(kept[0])}{more}; it is there again where it was typed", "warn")

    # -- what the link tells -----------------------------------------------------------------------------------------

    def heard(self, news: Snapshot | Batch) -> None:
        """The daemon told something."""
        from gateway.control import Snapshot

        self.picture.take(news, self.now())
        if isinstance(news, Snapshot):
            work: Any = self._all_touchpoints  # Textual types what it takes too narrowly
            self.run_worker(work, group="touchpoints", exclusive=True)

    def joined(self, me: Me) -> None:
        """There is a connection."""
        again = self.picture.told_at > 0
        self.picture.me, self.picture.connected, self.picture.trouble = me, True, ""
        if again:
            self.say("connected again; everything on the screen is fresh", "good")
            for view in self._known_views():
                view.joined()
        self.tick()

    def parted(self, why: str, retry_in: float) -> None:
        """There is none."""
        self.picture.connected = False
        self.picture.trouble = why
        self.picture.retry_at = self.now() + retry_in if retry_in and not self.denied else 0.0
        self.tick()

    def ended(self, words: str) -> None:
        """It was a recording, and this is all of it; questions are answered on."""
        self.picture.trouble = words
        self.say(f"{words}; {shown(self.key('ui.quit') or '^c twice')} leaves", "warn", seconds=60.0)
        self.tick()

    @property
    def denied(self) -> bool:
        """Whether there is no connection because this person may not have one."""
        return bool(getattr(self.link, "denied", False))

    async def _all_touchpoints(self) -> None:
        """A snapshot holds those in trouble; the rest is read in windows, so that the list is whole."""
        from gateway.client import CallFailed, Unreachable
        from gateway.control import ListTouchpoints

        after = 0
        with suppress(CallFailed, Unreachable):
            while not self.picture.whole and self.link is not None:
                page = await self.link.call(ListTouchpoints(after=after, limit=300))
                self.picture.put_touchpoints(page.rows)
                if not (after := page.next):
                    self.picture.all_read()
                    return

    async def _look_at_stages(self) -> None:
        """How the stations do; and whether the daemon answers at all, which nothing else shows in a quiet house."""
        from gateway.client import CallFailed, Unreachable
        from gateway.control import GetStages, WhoAmI

        with suppress(CallFailed, Unreachable):
            if self.link is not None and self.may(GetStages):
                self.stages = await self.link.call(GetStages())
            elif self.link is not None:
                await self.link.call(WhoAmI())

    @property
    def unanswered(self) -> float:
        """For how many seconds the daemon has owed the answer to that."""
        return self.now() - self._stages_at if self.picture.connected and self._working("stages") else 0.0

    # -- drawing -----------------------------------------------------------------------------------------------------

    def wall_of(self, at: float) -> float:
        """What the wall clock said at a moment of ``now``."""
        return self.replay.wall(at) if self.replay is not None else at + self.wall() - self.now()

    @property
    def asking(self) -> bool:
        """Whether a question is open."""
        return len(self.screen_stack) > 1

    @property
    def frozen(self) -> bool:
        """Whether a question is open, or the person asked for a pause: nothing may move."""
        return self.asking or self.paused

    @property
    def wide(self) -> bool:
        """Whether there is room for details beside a list."""
        return self.size.width >= WIDE

    @property
    def view(self) -> View | None:
        """What is on the screen."""
        return self.stack[-1] if self.stack else None

    @property
    def screen_name(self) -> str:
        """Which of the screens it belongs to."""
        return self.stack[0].NAME if self.stack else self.options.screen

    def tick(self) -> None:
        """Draw what changed."""
        now = self.now()
        if self.said is not None and now >= self.said[2]:
            self.said = None
        if self._recorder is not None and self._recorder.trouble:
            self.say(f"nothing is recorded any more: {self._recorder.trouble}", "bad", seconds=60.0)
            self._recorder = None
        if self.small and self.said is None:
            self._say_small()
        if self.picture.connected and now - self._stages_at >= 2.0 and not self._working("stages"):
            self._stages_at = now
            work: Any = self._look_at_stages
            self.run_worker(work, group="stages")
        if self.view is not None and not self.asking:
            self._draw_view(self.view)
        self.draw_frame()

    def _draw_view(self, view: View) -> None:
        """While the screen is paused only what the person asked for is drawn: a page that is new, or another filter."""
        if self.paused and not view.new:
            view.catch_up()
        else:
            view.tick(self.now())

    def draw_frame(self) -> None:
        """Draw the lines around the screen."""
        for part in (self.desk.state, self.desk.tabs, self.desk.bar):
            if part.is_attached:
                part.draw()

    def on_resize(self) -> None:
        self.call_later(self._resized)  # after Textual, which knows the new size only then

    def _resized(self) -> None:
        self.desk.set_class(self.small, "small")
        if self.small:
            self._say_small()
        elif self.said is not None and self.said[2] > self.now() + SAID_SECONDS * 10:
            self.said = None
        if self.view is not None:
            self.view.lay_out()
        self.draw_frame()

    @property
    def small(self) -> bool:
        """Whether the terminal is so small that nothing is shown, and so nothing may be done."""
        return self.size.width < SMALLEST[0] or self.size.height < SMALLEST[1]

    def _say_small(self) -> None:
        width, height = SMALLEST
        self.say(
            f"{self.size.width}x{self.size.height} is too small; {width}x{height} is the least, 80x24 is right",
            "warn", seconds=1e9,
        )  # fmt: skip

    def say(self, words: str, style: str = "", *, seconds: float = SAID_SECONDS) -> None:
        """Say something on the last line for a while."""
        from gateway.text import safe_text

        self.said = (safe_text(words.replace("\n", " ")), style, self.now() + seconds)
        if self.desk.bar.is_attached:
            self.desk.bar.draw()

    # -- going about -------------------------------------------------------------------------------------------------

    def _known_views(self) -> list[View]:
        return [*self._screens.values(), *self.stack[1:]]

    async def go(self, name: str) -> View:
        """Show a screen; what was opened from the one before is closed."""
        while len(self.stack) > 1:
            await self._drop(self.stack.pop())
        if self.stack and name != self.stack[0].NAME:
            self._before = self.stack[0].NAME
        if name not in self._screens:
            self._screens[name] = import_module(f"tui.views.{name}").VIEW(self)
            await self.desk.content.mount(self._screens[name])
        self.stack = [self._screens[name]]
        self._surface()
        return self.stack[0]

    async def open(self, view: View) -> None:
        """Show a page that was opened from this screen; Esc closes it."""
        self.stack.append(view)
        await self.desk.content.mount(view)
        self._surface()

    async def back(self) -> None:
        """Close what was opened last; never leaves the app."""
        view = self.view
        if view is not None and view.full:
            view.full = False
            view.lay_out()
        elif len(self.stack) > 1:
            await self._drop(self.stack.pop())
            self._surface()
        elif view is not None and view.needle:
            view.filter("")
            view.draw()
        elif view is not None and view.list is not None and view.list.marks:
            view.list.marks.clear()
            view.list.redraw()
        elif view is not None and view.widen():
            view.draw()
        else:
            self.say(f"this is the first page; {shown(self.key('ui.quit'))} leaves")

    async def _drop(self, view: View) -> None:
        view.forget()
        await view.remove()

    def _surface(self) -> None:
        for view in self._known_views():
            view.display = view is self.view
        if self.view is not None:
            self.view.lay_out()
            self._draw_view(self.view)
        self.draw_frame()

    # -- keys --------------------------------------------------------------------------------------------------------

    def key_of(self, act: Act) -> str:
        """The first key of an act, as the person set it."""
        keys = self.keys_of(act)
        return keys[0] if keys else ""

    def keys_of(self, act: Act) -> tuple[str, ...]:
        """All keys of an act; what the person's own file says goes first."""
        return keys_of(act, self.options.taste.keys)

    def key(self, id: str) -> str:
        """The key of an act by its id."""
        return next((self.key_of(act) for act in self.acts() if act.id == id), "")

    def acts(self) -> list[Act]:
        """What can be done here: on this screen, then everywhere."""
        from tui.everywhere import EVERYWHERE

        return [*(self.view.ACTS if self.view is not None else ()), *EVERYWHERE]

    def bar_acts(self) -> list[Act]:
        """What the last line names, the most important first."""
        if not self.stack:
            return []
        return sorted((act for act in self.acts() if act.bar and self.key_of(act)), key=lambda act: -act.bar)

    async def on_event(self, event: Event) -> None:
        if isinstance(event, (Key, Paste)) and not event.is_forwarded:
            if isinstance(event, Paste):
                event.text = visible(event.text)
            self._typed.append(event)
            if self._typing is None or self._typing.done():
                self._typing = asyncio.create_task(self._type())
        else:
            await super().on_event(event)

    async def _type(self) -> None:
        """One key after the other: each is done with before the next is given to whatever has the focus by then.

        Textual hands keys out as they come, so that what is pasted or typed ahead over a slow line, a Tab within it,
        lands in the field before.
        """
        while self._typed:
            event, depth = self._typed.popleft(), len(self.screen_stack)
            top: Any = self.screen
            target = self.focused or top
            await App.on_event(self, event)
            await self._passed([target, *target.ancestors])
            if len(self.screen_stack) < depth:
                await asyncio.sleep(BETWEEN)  # what comes after an answer may be the next question

    async def _passed(self, nodes: Sequence[Any]) -> None:
        """Wait until all of these have handled what they were sent, the last one last, and a new dialog is ready."""
        done = asyncio.Event()

        def step(number: int) -> None:
            if number < len(nodes):
                nodes[number].call_later(step, number + 1)
            else:
                done.set()

        step(0)
        with suppress(TimeoutError):
            async with asyncio.timeout(TYPED_AHEAD):
                await done.wait()
                while not getattr(self.screen, "ready", True):
                    await asyncio.sleep(0.002)

    async def pressed(self, key: str) -> None:
        """A key on the desk."""
        if key == "ctrl+c":
            return self.interrupted()
        view = self.view
        if view is None:
            return None
        for act in self.acts():
            if key in self.keys_of(act):
                if self.small and act.id not in IN_THE_DARK:
                    return self._say_small()
                before = set(self._working("acts"))
                self.start(act)
                return await self._let(before)
        view.nav(key)
        return None

    def _working(self, group: str) -> list[Worker[Any]]:
        """What is going on in a group of workers."""
        return [each for each in self.workers if each.group == group and not each.is_finished]

    async def _let(self, before: set[Worker[Any]]) -> None:
        """Let what a key began get somewhere before the next key is looked at: keys are typed ahead over slow lines.

        It ends, or it asks something and takes the keys from then on, or it waits for the daemon, which is not waited
        for here; nor is what keys ``before`` it began.
        """
        depth, until = len(self.screen_stack), time.monotonic() + TYPED_AHEAD
        while (
            len(self.screen_stack) == depth
            and time.monotonic() < until
            and not before.issuperset(self._working("acts"))
        ):
            await asyncio.sleep(0.005)

    def interrupted(self) -> None:
        """``^c``: twice within a second leaves, from everywhere."""
        if self.now() - self._quitting < 1.0:
            self.exit(0)
        self._quitting = self.now()
        self.say(f"^c again leaves; {shown(self.key('ui.quit') or 'Q')} does too")

    # -- acting ------------------------------------------------------------------------------------------------------

    @property
    def read_only(self) -> bool:
        """Whether nothing can be changed: asked for, a recording, or the daemon's word on this person."""
        from gateway.control import RULES

        if self.options.read_only or self.options.replay or self.picture.me is None:
            return True
        return not any(rule.changes and rule.roles & self.roles for rule in RULES)

    @property
    def roles(self) -> frozenset[Role]:
        """What the daemon takes this person for; a role that only a newer daemon knows gives nothing here."""
        from gateway.control import Role

        mine = self.picture.me.roles if self.picture.me is not None else ()
        return frozenset(role for role in Role if role.value in mine)

    def may(self, call: type[Call[Any]]) -> bool:
        """Whether the daemon would take calls of this type from this person."""
        from gateway.control import permitted

        return permitted(call, self.roles)

    def why_not(self, act: Act, rows: Sequence[Any]) -> str:
        """Why an act cannot be done now; "" where it can."""
        from gateway.control import changes

        if act.calls and not self.picture.connected:
            return "there is no connection to the daemon"
        if any(changes(call) for call in act.calls):
            if self.replay is not None:
                return self.replay.FIXED
            if self.options.read_only:
                return "started with --read-only"
        if act.calls and self.picture.me is not None and not all(self.may(call) for call in act.calls):
            mine = ", ".join(self.picture.me.roles) or "none"
            return f"not with your roles ({mine}); ask an admin for the right group"
        if act.on_row and not rows:
            return "there is no row under the cursor"
        whys = [act.why_not(row) for row in rows] if act.why_not else []
        return whys[0] if whys and all(whys) else ""

    def moment(self) -> Moment | None:
        """The screen and its rows as they are now, for an act that is chosen from a list of acts meanwhile."""
        view = self.view
        return None if view is None else Moment(view, view.current, view.chosen())

    def start(self, act: Act, at: Moment | None = None) -> None:
        """Do it, after what has to be asked; the rows are those of that moment, or of this one."""
        if (at := at or self.moment()) is None:
            return
        rows = [at.current] if act.single and at.current is not None else at.chosen if act.on_row else []
        if why := self.why_not(act, rows) or (at.view.unmarked() if act.on_row and not act.single else ""):
            self.say(f"{act.words.split(' ...')[0]}: {why}", "warn")
            return
        self.work(self._perform(act, at.view, rows))

    async def _perform(self, act: Act, view: View, rows: Sequence[Any]) -> None:
        from tui.acts import Kind
        from tui.dialogs import TypeName, YesNo

        title = act.words.split(" ...")[0]
        rows, self._left_out = self._able(act, rows)
        question = " ".join(filter(None, (act.question(view, rows), self._left_out)))
        if act.kind is Kind.ASK and not await self.ask(YesNo(self, title, question)):
            return self.say("nothing was done")
        if act.kind is Kind.NAME:
            assert act.name is not None
            if not await self.ask(TypeName(self, title, question, act.name(rows))):
                return self.say("nothing was done")
        made = act.run(view, rows)
        if made is not None:
            await made
        return None

    @staticmethod
    def _able(act: Act, rows: Sequence[Any]) -> tuple[Sequence[Any], str]:
        """The rows that it can be done to, and in words how many of the marked ones are left out."""
        whys = [act.why_not(row) for row in rows] if act.why_not else []
        if not any(whys):
            return rows, ""
        able = [row for row, why in zip(rows, whys, strict=True) if not why]
        return able, f"{len(rows) - len(able)} of the marked are left out: {next(filter(None, whys))}."

    def work(self, made: Coroutine[Any, Any, None]) -> None:
        """Run something that may ask and wait."""
        self.run_worker(self._guarded(made), group="acts")

    async def _guarded(self, made: Coroutine[Any, Any, None]) -> None:
        from gateway.client import CallFailed, Unreachable
        from tui.link import words

        act = get_current_worker()
        self._heard_of[act] = time.monotonic()
        try:
            await made
        except (CallFailed, Unreachable) as error:
            self.say(words(error), "bad", seconds=30.0)
        finally:
            del self._heard_of[act]

    async def ask(self, dialog: Dialog[R]) -> R | None:
        """Put a dialog over the desk, and wait for its answer.

        One that comes later than people wait for it takes no key at first: theirs were meant for what they saw.
        """
        if (act := get_current_worker()) in self._heard_of:  # else it is a dialog that asks, and that goes over itself
            while self.asking:
                await asyncio.sleep(BETWEEN)
            if time.monotonic() - self._heard_of[act] > TYPED_AHEAD:
                dialog.deaf_until = time.monotonic() + DEAF
        answer: R | None = await self.push_screen_wait(dialog)
        if act in self._heard_of:
            self._heard_of[act] = time.monotonic()
        return answer

    async def call(self, call: Call[R]) -> R:
        """Make a call; raises CallFailed and Unreachable. What changes something is refused while read-only."""
        from gateway.client import CallFailed, Unreachable
        from gateway.control import Code, changes

        if self.link is None:
            raise Unreachable("there is no connection to the daemon yet")
        if self.options.read_only and changes(type(call)):
            raise CallFailed(Code.NOT_PERMITTED, "this terminal UI was started with --read-only")
        return await self.link.call(call)

    async def change(self, call: Call[R], said: str, undo: Undo | None = None) -> R:
        """Make a call that changes something, say so, and remember how to take it back."""
        answer = await self.call(call)
        self.did(said, undo)
        return answer

    def did(self, said: str, undo: Undo | None = None) -> None:
        """Say that something was done, and remember how to take it back."""
        if undo is not None:
            self._done = [*self._done, undo][-UNDOS:]
            self._undone.clear()
            said += f"  ({shown(self.key('ui.undo'))} takes it back)"
        if self._left_out:
            said, self._left_out = f"{said}  {self._left_out}", ""
        self.say(said, "good")
        if self.view is not None:
            self.view.reload()

    async def undo(self) -> None:
        """Take back what was done last."""
        from gateway.client import Unreachable

        if not self._done:
            self.say("there is nothing to take back")
            return
        undo = self._done.pop()  # what is refused once is not tried again and again
        try:
            for call in undo.back:
                await self.call(call)
        except Unreachable:
            self._done.append(undo)
            raise
        self._undone.append(undo)
        self.did(f"taken back: {undo.words}")

    async def redo(self) -> None:
        """Do again what was taken back last."""
        from gateway.client import Unreachable

        if not self._undone:
            self.say("there is nothing to do again")
            return
        undo = self._undone.pop()
        try:
            for call in undo.again:
                await self.call(call)
        except Unreachable:
            self._undone.append(undo)
            raise
        self._done.append(undo)
        self.did(f"done again: {undo.words}")

    # -- the prompt --------------------------------------------------------------------------------------------------

    def begin_prompt(self) -> None:
        """``/``: type a filter; what is typed works at once."""
        if self.view is None:
            return
        prompt = self.desk.prompt
        prompt.placeholder = "filter: type, Enter keeps it, Esc clears it"
        prompt.value = self.view.needle
        prompt.cursor_position = len(prompt.value)
        prompt.display, self.desk.bar.display = True, False
        self.desk.set_focus(prompt)

    def prompted(self, text: str) -> None:
        """Something was typed."""
        if self.view is not None and self.desk.prompt.display and self.view.list is not None:
            self.view.filter(text.strip())

    def end_prompt(self, *, keep: bool) -> None:
        """Enter or Esc."""
        text = self.desk.prompt.value.strip() if keep else ""
        self.desk.prompt.display, self.desk.bar.display = False, True
        self.desk.set_focus(None)
        if self.view is not None:
            self.view.filter(text)

    # -- small things ------------------------------------------------------------------------------------------------

    def twin(self, command: str) -> str:
        """A command with what it needs in order to find the daemon of this terminal UI; "" stays ""."""
        return f"{command} {self.options.twin}" if command and self.options.twin else command

    def copy(self, text: str, what: str) -> None:
        """Into the clipboard of the person's own terminal."""
        from tui.clipboard import copy

        if not text:
            return self.say(f"there is no {what.removeprefix('the ')} to copy here", "warn")
        self.last_copied = text
        self.say(f"{what} {copy(text, self._write)}", "good")
        return None

    def _write(self, sequence: str) -> None:
        if self._driver is not None:
            self._driver.write(sequence)

    @property
    def mouse_on(self) -> bool:
        """Whether the mouse is ours; off, the terminal selects text with it."""
        return self._mouse_on

    @mouse_on.setter
    def mouse_on(self, on: bool) -> None:
        self._mouse_on = on
        for mode in (1000, 1003, 1015, 1006):
            self._write(f"\x1b[?{mode}{'h' if on else 'l'}")

    def places(self, text: str) -> list[Place]:
        """What ``:`` offers for a text."""
        from tui.everywhere import places

        return places(self, text)

    async def before(self) -> None:
        """The screen that was shown before this one."""
        if self._before:
            await self.go(self._before)
        else:
            self.say("no other screen was shown before this one")

    @property
    def can_suspend(self) -> bool:
        """Whether the shell that it was started from can have the terminal back for a while."""
        return self._driver is not None and self._driver.can_suspend

    def edit_outside(self, text: str, suffix: str = ".txt") -> str | None:
        """Edit a text in ``$EDITOR``; None where that cannot be."""
        import shlex
        import tempfile

        from textual.app import SuspendNotSupported

        editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
        descriptor, name = tempfile.mkstemp(prefix="postroom-", suffix=suffix)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
            command = [*shlex.split(editor), name]
            with self.suspend():
                problem = _run_editor(command)
            if problem:
                self.say(f"{editor} {problem}", "warn")
                return None
            return Path(name).read_text("utf-8", "replace")
        except (OSError, ValueError) as error:
            self.say(f"{editor} cannot be run: {error}; set EDITOR", "warn")
            return None
        except SuspendNotSupported:
            self.say("this terminal cannot be lent to an editor", "warn")
            return None
        finally:
            with suppress(OSError):
                os.unlink(name)

    async def on_unmount(self) -> None:
        for view in self._known_views():
            view.forget()
        if self._recorder is not None:
            self._recorder.close()
        await asyncio.sleep(0)


def _run_editor(words: Sequence[str]) -> str:
    """Run it to its end; what went wrong, in words. Never raises: Textual would not take its terminal back."""
    import subprocess

    try:
        code = subprocess.run(words, check=False).returncode
    except (OSError, ValueError) as error:
        return f"cannot be run: {error}; set EDITOR"
    return f"ended with {code}; nothing was taken over" if code else ""
