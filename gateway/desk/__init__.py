"""Where guests of the daemon get their answers: one method for each call of ``control.py``.

It decides nothing: what people decide is written through ``pipeline``, what they do to mail goes through the spool,
and connections are the house's. It promises one audit row for each change, and that no answer holds a secret.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from gateway import __version__, control, views
from gateway.control import Call, GetStatus, WhoAmI, sees_all
from gateway.desk.asking import Asking
from gateway.desk.house import HouseAnswers
from gateway.desk.looking import Looking
from gateway.desk.mail import Mails
from gateway.desk.needs import DiskWatch, needs_you, troubled
from gateway.desk.parts import House, Parts
from gateway.desk.people import People
from gateway.desk.proving import Proving
from gateway.desk.replaying import Replaying
from gateway.desk.resuming import Resuming
from gateway.desk.touchpoints import Touchpoints
from gateway.events import Heard, HouseFact, MailFact, TouchpointFact
from gateway.rows import Batch, Event, Me, NeedRow, Status, TouchpointRow
from gateway.server import Caller
from pipeline.account import account
from pipeline.lifecycle import ConnectionState
from pipeline.store import Tx

if TYPE_CHECKING:
    from gateway.journal import Journal
    from gateway.services import Services
    from gateway.settings import Settings

__all__ = ["Desk", "FrontDesk", "House", "Parts"]

MOST_EVENTS = 200
"""In one batch; of the mail beyond that, only the number is told."""
MOST_TOUCHPOINTS = 400
"""In a status; the rest is in ``touchpoint list``."""
ACCOUNT_SECONDS = 1.0
"""How old the account of a feed, and what waits for a person, may be; counting costs time."""

Answer = Callable[[Any, Caller], Awaitable[Any]]


class Desk:
    """Answers every call."""

    def __init__(self, parts: Parts, *, hostname: str, started_at: float) -> None:
        self._parts = parts
        self._hostname = hostname
        self._started_at = started_at
        self._told: tuple[float, Mapping[str, int], tuple[NeedRow, ...]] = (float("-inf"), {}, ())
        self._counting = asyncio.Lock()
        self._disk = DiskWatch()
        self._running: set[asyncio.Future[Any]] = set()
        mails = Mails(parts)
        self._answers = self._table(Touchpoints(parts, mails.drop_all), People(parts), mails)

    def _table(self, touchpoints: Touchpoints, people: People, mails: Mails) -> dict[type[Call[Any]], Answer]:
        house = HouseAnswers(self._parts)
        looking = Looking(self._parts)
        proving = Proving(self._parts)
        return {
            control.WhoAmI: self._whoami,
            control.GetStatus: self._status,
            control.GetStages: house.stages,
            control.ListLog: looking.log,
            control.ListSettings: looking.settings,
            control.ShowRelay: house.relay,
            control.ListPresets: looking.presets,
            control.ListAudit: people.audit,
            control.ListTouchpoints: touchpoints.search,
            control.ShowTouchpoint: touchpoints.show,
            control.CreateTouchpoint: touchpoints.create,
            control.EditTouchpoint: touchpoints.edit,
            control.DuplicateTouchpoint: touchpoints.duplicate,
            control.DeleteTouchpoint: touchpoints.delete,
            control.SetDirection: touchpoints.direction,
            control.SetConnection: touchpoints.connection,
            control.PlanConnect: touchpoints.plan,
            control.ConnectTouchpoint: touchpoints.connect,
            control.TryTouchpoint: touchpoints.test,
            control.ActivateTouchpoint: touchpoints.activate,
            control.DeactivateTouchpoint: touchpoints.deactivate,
            control.ResumeTouchpoint: Resuming(self._parts).resume,
            control.LinkRingGroup: touchpoints.link,
            control.UnlinkRingGroup: touchpoints.unlink,
            control.ListBlocklist: touchpoints.blocklist,
            control.Block: touchpoints.block,
            control.Unblock: touchpoints.unblock,
            control.ShowTemplate: touchpoints.template,
            control.SetTemplate: touchpoints.set_template,
            control.ListRingGroups: people.ring_groups,
            control.CreateRingGroup: people.create_ring_group,
            control.DeleteRingGroup: people.delete_ring_group,
            control.ListRelayUsers: people.relay_users,
            control.AddRelayUser: people.add_relay_user,
            control.EditRelayUser: people.edit_relay_user,
            control.RemoveRelayUser: people.remove_relay_user,
            control.ListMail: mails.search,
            control.ShowMail: mails.show,
            control.ReadContent: mails.content,
            control.ReadText: mails.text,
            control.ShapeOutbox: mails.shape,
            control.Why: Asking(self._parts).why,
            control.Prove: proving.prove,
            control.ShowProving: proving.progress,
            control.ReplayMail: Replaying(self._parts).replay,
            control.CloseMail: mails.close,
            control.ReopenMail: mails.reopen,
            control.MoveMail: mails.move,
            control.RetryMail: mails.retry,
            control.ConfirmMail: mails.confirm,
            control.HoldMail: mails.hold,
            control.ReleaseMail: mails.release,
            control.DropMail: mails.drop,
        }

    async def answer(self, call: Call[Any], caller: Caller) -> Any:
        """The reply to a call that the caller may make; runs to its end, even when the guest hangs up meanwhile.

        Half a change would be a commit that the daemon never heard of, or a touchpoint stopped and not started again.
        """
        running = asyncio.ensure_future(self._answers[type(call)](call, caller))
        self._running.add(running)
        running.add_done_callback(self._running.discard)
        return await asyncio.shield(running)

    async def status(self, caller: Caller) -> Status:
        """The snapshot that a feed begins with."""
        return await self._status(GetStatus(), caller)

    async def _whoami(self, call: WhoAmI, caller: Caller) -> Me:
        roles = tuple(sorted(role.value for role in caller.roles))
        return Me(name=caller.name, uid=caller.uid, roles=roles, hostname=self._hostname, version=__version__)

    async def _status(self, call: GetStatus, caller: Caller) -> Status:
        scene, now = self._parts.scene, self._parts.clock()
        wanted = sorted(scene.directory.touchpoints.values(), key=lambda tp: tp.id)
        trouble, moving = troubled(scene), scene.moving()

        def work(tx: Tx) -> tuple[list[TouchpointRow], Mapping[str, int], tuple[NeedRow, ...]]:
            return views.touchpoints(tx, scene, wanted), account(tx, moving).as_dict(), needs_you(tx, trouble, now)

        rows, figures, wanting = await self._parts.store.read(work)
        all_of_it = sees_all(caller.roles)
        return Status(
            hostname=self._hostname,
            version=__version__,
            started_at=self._started_at,
            now=now,
            account=figures if all_of_it else {},
            touchpoints=tuple(sorted(rows, key=_worst_first)[:MOST_TOUCHPOINTS]),
            touchpoint_count=len(rows),
            needs_you=(*self._disk.needs(self._parts.store.no_writes, now), *wanting) if all_of_it else (),
        )

    async def batch(self, heard: Heard, caller: Caller) -> Batch:
        """Facts with the rows that this caller may see; of several facts about one thing, the last one."""
        last: dict[tuple[type, int], MailFact | TouchpointFact] = {}
        for fact in heard.facts:
            if not isinstance(fact, HouseFact):
                last.pop((type(fact), fact.id), None)
                last[type(fact), fact.id] = fact
        left_out = max(0, len(last) - MOST_EVENTS)
        facts = list(last.values())[left_out:]
        events = [*await self._about_touchpoints(facts), *await self._about_mail(facts, caller)]
        all_of_it = sees_all(caller.roles)
        if all_of_it:
            events += [Event(what=fact.what, words=fact.words) for fact in heard.facts if isinstance(fact, HouseFact)]
        figures, wanting = await self._figures() if all_of_it else (None, None)
        return Batch(
            boot=self._parts.events.boot,
            number=heard.number,
            events=tuple(events),
            left_out=left_out if all_of_it else 0,
            gap=heard.gap,
            account=figures,
            needs_you=wanting,
        )

    async def _about_mail(self, facts: list[MailFact | TouchpointFact], caller: Caller) -> list[Event]:
        mine = {fact.id: fact for fact in facts if isinstance(fact, MailFact)}
        if not mine:
            return []
        scene, all_of_it = self._parts.scene, sees_all(caller.roles)
        rows = await self._parts.store.read(lambda tx: views.mail_rows(tx, scene, mine))
        return [
            Event(what=mine[row.id].what, words=mine[row.id].words[:500], mail=row)
            for row in rows
            if all_of_it or row.state in ("queued", "closed")
        ]

    async def _about_touchpoints(self, facts: list[MailFact | TouchpointFact]) -> list[Event]:
        mine = {fact.id: fact for fact in facts if isinstance(fact, TouchpointFact)}
        if not mine:
            return []
        scene = self._parts.scene
        live = [scene.directory.touchpoints[number] for number in mine if number in scene.directory.touchpoints]
        rows = await self._parts.store.read(lambda tx: views.touchpoints(tx, scene, live))
        found = [Event(what=mine[row.id].what, words=mine[row.id].words[:500], touchpoint=row) for row in rows]
        gone = [fact for fact in mine.values() if fact.id not in scene.directory.touchpoints]
        return found + [Event(what=fact.what, words=fact.words[:500], gone=fact.id) for fact in gone]

    async def _figures(self) -> tuple[Mapping[str, int], tuple[NeedRow, ...]]:
        """The account, and what waits for a person."""
        async with self._counting:  # all feeds wait for one count
            now = self._parts.clock()
            if abs(now - self._told[0]) >= ACCOUNT_SECONDS:
                trouble, moving = troubled(self._parts.scene), self._parts.scene.moving()
                found = await self._parts.store.read(
                    lambda tx: (account(tx, moving).as_dict(), needs_you(tx, trouble, now))
                )
                self._told = (now, *found)
            figures, wanting = self._told[1:]
            return figures, (*self._disk.needs(self._parts.store.no_writes, now), *wanting)


class Running(House, Protocol):
    """The daemon, as far as the desk is built from it."""

    @property
    def settings(self) -> Settings:
        """How this host runs."""
        ...

    @property
    def journal(self) -> Journal:
        """The log as far as it remembers."""
        ...

    @property
    def services(self) -> Services:
        """The shared parts."""
        ...

    @property
    def started_at(self) -> float:
        """When it came up."""
        ...


class FrontDesk(Desk):
    """The desk of a running daemon."""

    def __init__(self, house: Running) -> None:
        parts = house.services
        super().__init__(
            Parts(
                store=parts.store,
                spool=parts.spool,
                house=house,
                events=parts.events,
                metrics=parts.metrics,
                clock=parts.clock,
                settings=house.settings,
                journal=house.journal,
                services=parts,
            ),
            hostname=house.settings.hostname,
            started_at=house.started_at,
        )


def _worst_first(row: TouchpointRow) -> tuple[int, int]:
    order = (ConnectionState.LOST.value, ConnectionState.BACKOFF.value)
    return order.index(row.state) if row.state in order else len(order), row.id
