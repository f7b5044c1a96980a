"""The spool under anything that can happen to it, in any order: hypothesis looks for the order that loses a mail.

The model knows little: where each entry stands, which recipients have the mail, what was frozen. After every step
the store is compared with it, and with the two tables below, which are written down here a second time on purpose.
"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pipeline import ledger
from pipeline.account import Account, account
from pipeline.entry import Born, Origin, State
from pipeline.errors import Refused, StaleVersion
from pipeline.intake import Taken
from pipeline.ledger import ItemState
from pipeline.line import Outcome
from pipeline.mail import Direction
from pipeline.outbox import Answer, RecipientState, Said, Settled
from pipeline.retry import Schedule
from pipeline.spool import Claimed, Notice, Spool, Verb
from pipeline.store import Row, Tx
from pipeline.store.content import ContentWriter
from pipeline.store.sqlite import SqliteStore
from pipeline.strikes import InHand
from pipeline.touchpoint import UnknownPolicy
from pipeline.unknown import LOOKS
from pipeline.verdict import Action, HoldCause, Splice
from tests.unit.making import (
    NOW,
    Clock,
    a_content,
    a_folder,
    a_mail,
    a_page,
    a_reply,
    a_touchpoint,
    an_outcome,
    furnish,
    taken,
)

T = TypeVar("T")
SCHEDULE = Schedule(first=100.0, longest=400.0, give_up=1000.0)

BORN = {
    ("fetched", "done queued"), ("fetched", "done stopped"), ("fetched", "held"), ("fetched", "waiting"),
    ("relay", "waiting"), ("relay", "held"), ("auto-reply", "waiting"), ("notice", "waiting"),
}  # fmt: skip
ARROWS = {
    "in": {
        "waiting": {"done queued", "done stopped", "held", "done dropped"},
        "done queued": {"held"},
        "held": {"waiting", "done dropped"},
        "done stopped": set(),
        "done dropped": set(),
    },
    "out": {
        "waiting": {"active", "held", "done dropped"},
        "active": {"done delivered", "waiting", "failed", "held", "unknown"},
        "unknown": {"done delivered", "waiting", "held", "done dropped"},
        "held": {"waiting", "done dropped", "done delivered"},
        "failed": {"waiting", "done dropped"},
        "done delivered": set(),
        "done dropped": set(),
    },
}
"""direction -> from -> to, in one step (semantics of the spool)."""
PEOPLE = {
    Verb.RETRY: {("out", "failed"), ("out", "waiting"), ("out", "unknown")},
    Verb.HOLD: {("out", "waiting"), ("in", "waiting"), ("in", "done queued")},
    Verb.RELEASE: {("out", "held"), ("in", "held")},
    Verb.DROP: {(d, s) for d in ("in", "out") for s in ("waiting", "held", "failed")} | {("out", "unknown")},
    Verb.CONFIRM: {("out", "unknown"), ("out", "held unknown-outcome")},
}
GROUPS = {"first": 1, "second": 2}
picks = st.integers(0, 10_000)
actions = st.sampled_from(
    [Action.PASS, Action.PASS, Action.PASS, Action.STOP, Action.HOLD, Action.DEFER, Action.REJECT]
)
final = [RecipientState.WAITING, RecipientState.DELIVERED, RecipientState.REFUSED]
answers = st.lists(st.sampled_from(final), min_size=3, max_size=3)
early = st.sampled_from([RecipientState.WAITING, RecipientState.REFUSED])
ALL = ("r0@example.org", "r1@example.org", "r2@example.org")
items = st.lists(
    st.tuples(st.integers(1, 12), actions, st.booleans()), min_size=1, max_size=4, unique_by=lambda i: i[0]
)


def place(row: Row) -> str:
    """Where an entry stands."""
    return f"{row['state']} {row['disposition']}".strip()


def may(verb: Verb, row: Row) -> bool:
    """Whether a person can do that to it."""
    where = (row["direction"], place(row)), (row["direction"], f"{row['state']} {row['cause']}")
    return not PEOPLE[verb].isdisjoint(where)


def notice_of(row: Row, settled: Settled) -> Notice:
    born = Born(touchpoint_id=1, direction=Direction.OUT, origin=Origin.NOTICE, state=State.WAITING, at=NOW,
                due_at=NOW, notice_for=row["id"])  # fmt: skip
    return Notice(born=born, content=settled.reason.encode(), recipients=("admin@example.net",))


class SpoolMachine(RuleBasedStateMachine):
    """A spool on a real file, and what we believe about it."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = a_folder()
        self.clock = Clock()
        self.version = 1
        self.cursor: str | None = None
        self.submitted = 0
        self.lives = 0
        self.seen: dict[int, Row] = {}
        """Entries as they were after the step before."""
        self.frozen: dict[int, tuple[int, str]] = {}
        """Entry -> (conversation, ring groups) since it was decided."""
        self.hashes: dict[int, bytes] = {}
        """Entry -> SHA-256 of what it must yield."""
        self.has_it: dict[int, set[str]] = {}
        """Entry -> recipients that the server took it for."""
        self.hand: dict[int, tuple[Claimed, int]] = {}
        """Entry in a lane's hand -> (claim, attempt)."""
        self.old_pages: list[list[Taken]] = []

    # -- the ground it stands on -------------------------------------------------------------------------------------

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    @initialize()
    def open_first(self) -> None:
        self.open(self.folder / "postroom.db")
        self.run(furnish(self.store))

    def open(self, path: Path) -> None:
        self.store = self.run(SqliteStore.open(path))
        self.spool = Spool(self.store, self.clock, SCHEDULE)

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.check_contents()
            self.run(self.store.close())
        self.runner.close()
        shutil.rmtree(self.folder)

    def rows(self, sql: str) -> list[Row]:
        return self.run(self.store.read(lambda tx: tx.all(sql)))

    def touchpoint(self, version: int = 0) -> Any:
        return a_touchpoint(version=version or self.version)

    def pick(self, number: int, which: Callable[[Row], bool]) -> Row | None:
        """Some entry of this kind."""
        found = [row for row in self.seen.values() if which(row)]
        return found[number % len(found)] if found else None

    # -- what comes in -----------------------------------------------------------------------------------------------

    def outcome(self, number: int, action: Action, replies: bool) -> Outcome:
        mail = a_mail(number)
        sends = (a_reply(mail, window=50.0),) if replies and action is Action.PASS else ()
        cause = HoldCause.BLOCKED if action is Action.HOLD else None
        groups = (1, 2)[: number % 3]
        return an_outcome(mail, action, cause=cause, sends=sends, ring_groups=groups, version=self.version,
                          conversation=f"key{number % 4}", at=self.clock.now)  # fmt: skip

    @rule(which=items, pending=st.booleans())
    def a_page_comes(self, which: list[tuple[int, Action, bool]], pending: bool) -> None:
        page = [
            taken(number, self.outcome(number, action, replies), a_content(number)) for number, action, replies in which
        ]
        if pending:
            page[0] = Taken(item=page[0].item, state=ItemState.PENDING, attempts=1, due_at=self.clock.now + 60)
        self.accept(page, cursor=f"1:1:{max(number for number, _, _ in which)}")
        self.old_pages.append(page)

    @precondition(lambda self: self.old_pages)
    @rule(number=picks)
    def a_page_comes_again(self, number: int) -> None:
        self.accept(self.old_pages[number % len(self.old_pages)], cursor=self.cursor)

    def accept(self, page: list[Taken], cursor: str | None) -> None:
        known = {row["remote_id"] for row in self.rows("SELECT remote_id FROM ledger WHERE state <> 'pending'")}
        decided = a_page(page, touchpoint=self.touchpoint(), cursor=cursor, at=self.clock.now, settled=30)
        accepted = self.run(self.spool.accept(decided))
        assert len(accepted) == sum(each.outcome is not None and each.item.remote_id not in known for each in page)
        self.cursor = cursor
        for each in accepted:
            self.hashes[each.entry_id] = each.outcome.mail.sha256

    @rule(which=items)
    def a_page_is_stale(self, which: list[tuple[int, Action, bool]]) -> None:
        page = [taken(n, self.outcome(n, action, replies), a_content(n)) for n, action, replies in which]
        before = self.rows("SELECT * FROM ledger")
        with suppress(StaleVersion):
            self.run(self.spool.accept(a_page(page, touchpoint=self.touchpoint(self.version + 1), cursor="1:1:999")))
            raise AssertionError("a stale page was accepted")
        assert self.rows("SELECT * FROM ledger") == before

    @rule()
    def an_admin_changes_the_touchpoint(self) -> None:
        self.version += 1
        self.run(self.store.write(lambda tx: tx.run("UPDATE touchpoint SET version = version + 1")))

    @rule(action=st.sampled_from([Action.PASS, Action.PASS, Action.PASS, Action.HOLD]), count=st.integers(1, 3),
          big=st.booleans(), signed=st.booleans())  # fmt: skip
    def a_client_submits(self, action: Action, count: int, big: bool, signed: bool) -> None:
        self.submitted += 1
        number = 1000 + self.submitted
        addresses = ALL[:count]
        data = a_content(number, body=b"y" * 300_000 if big else b"short")
        mail = a_mail(number, direction=Direction.OUT, data=data, recipients=addresses)
        splices = (Splice(len(data), 0, b"-- \r\n"),) if signed and action is Action.PASS else ()
        outcome = an_outcome(
            mail, action, version=self.version, splices=splices, at=self.clock.now, conversation="sent"
        )
        entry_id = self.run(self.submit(outcome, data, addresses))
        self.hashes[entry_id] = hashlib.sha256(data + (splices[0].data if splices else b"")).digest()
        self.has_it[entry_id] = set()

    async def submit(self, outcome: Outcome, data: bytes, addresses: tuple[str, ...]) -> int:
        if len(data) < 100_000:
            return await self.spool.submit(self.touchpoint(), outcome, data, addresses)
        writer = ContentWriter(self.store)
        await writer.write(data)
        return await self.spool.submit(self.touchpoint(), outcome, await writer.finish(), addresses)

    @rule()
    def a_client_dies_within_a_big_mail(self) -> None:
        self.run(ContentWriter(self.store).write(b"z" * 300_000))

    # -- sending -----------------------------------------------------------------------------------------------------

    @rule(limit=st.integers(1, 5))
    def a_lane_claims(self, limit: int) -> None:
        claimed = self.run(self.spool.claim(1, limit))
        ids = [each.row["id"] for each in claimed]
        assert ids == sorted(ids)
        for each in claimed:
            entry_id = each.row["id"]
            assert entry_id not in self.hand
            assert self.seen[entry_id]["due_at"] <= self.clock.now
            assert each.recipients
            assert not self.has_it.get(entry_id, set()) & set(each.recipients)  # nobody gets it twice
            self.hand[entry_id] = (each, 0)

    def in_hand(self, number: int, begun: bool | None = None) -> tuple[int, Claimed, int] | None:
        found = [(each, *self.hand[each]) for each in sorted(self.hand) if begun in (None, bool(self.hand[each][1]))]
        return found[number % len(found)] if found else None

    @precondition(lambda self: self.hand)
    @rule(number=picks, left_out=st.sets(st.sampled_from(ALL), max_size=1))
    def an_attempt_begins(self, number: int, left_out: set[str] = frozenset()) -> None:  # type: ignore[assignment]
        if (found := self.in_hand(number, begun=False)) is not None:
            entry_id, claimed, _ = found
            if not left_out.issuperset(claimed.recipients):
                attempt = self.run(self.spool.begin_attempt(entry_id, "mx.example.org:25", tuple(left_out)))
                self.hand[entry_id] = (claimed, attempt)

    @precondition(lambda self: self.hand)
    @rule(number=picks, states=answers, chance=st.floats(0, 0.99))
    def the_server_answers(self, number: int, states: list[RecipientState], chance: float) -> None:
        entry_id, _, _ = self.in_hand(number) or (0, None, 0)
        self.settle(entry_id, states, chance)

    @rule(many=st.lists(answers, min_size=3, max_size=3), chance=st.floats(0, 0.99), wait=st.booleans())
    def a_burst(self, many: list[list[RecipientState]], chance: float, wait: bool) -> None:
        """What a lane does all day."""
        self.clock.now += 500.0 * wait
        self.a_lane_claims(limit=3)
        self.nothing_is_lost_and_nothing_is_odd()
        for number, states in enumerate(many):
            if (found := self.in_hand(0)) is not None:
                self.an_attempt_begins(number)
                self.settle(found[0], states, chance)
                self.nothing_is_lost_and_nothing_is_odd()

    def settle(self, entry_id: int, states: list[RecipientState], chance: float) -> None:
        claimed, attempt = self.hand[entry_id]
        everybody = ALL if claimed.row["origin"] == "relay" else claimed.recipients  # also who has it, or never was
        given = [
            Answer(address=address, state=state, code=250, text="so it is")
            for address, state in zip(everybody, states, strict=False)
        ]
        before = self.seen[entry_id]
        settled = self.run(self.spool.settle(entry_id, attempt, given, Said(outcome="retry"), chance, notice_of))
        took = {each.address for each in given if each.state is RecipientState.DELIVERED}
        self.has_it.setdefault(entry_id, set()).update(took.intersection(claimed.recipients))
        del self.hand[entry_id]
        if settled.state is State.WAITING:
            assert settled.due_at >= self.clock.now + SCHEDULE.first
            assert before["planned"] < SCHEDULE.give_up
        else:
            assert (settled.state is State.DONE) == bool(self.has_it[entry_id])

    @precondition(lambda self: self.hand)
    @rule(number=picks, before=st.dictionaries(st.sampled_from(ALL[1:]), early, max_size=1))
    def the_server_falls_silent(self, number: int, before: dict[str, RecipientState]) -> None:
        """After it had said something of some recipients, maybe."""
        if (found := self.in_hand(number, begun=True)) is not None:
            entry_id, _, attempt = found
            given = [Answer(address=each, state=state, code=450, text="so it is") for each, state in before.items()]
            if not before.keys() >= self.doubted(entry_id):
                self.run(self.spool.unknown(entry_id, attempt, Said(outcome="unknown", text="reset"), given))
                del self.hand[entry_id]

    def doubted(self, entry_id: int) -> set[str]:
        rows = self.rows(f"SELECT address FROM recipient WHERE entry_id = {entry_id} AND state = 'unknown'")
        return {row["address"] for row in rows}

    @rule(number=picks, copies=st.integers(0, 3), policy=st.sampled_from(UnknownPolicy), blind=st.booleans())
    def somebody_looks_for_it(self, number: int, copies: int, policy: UnknownPolicy, blind: bool) -> None:
        row = self.pick(number, lambda each: each["state"] == "unknown")
        if row is None:
            return
        doubted = self.doubted(row["id"])
        if blind:
            settled = self.run(self.spool.blind(row["id"], policy, "nowhere to look"))
        else:
            settled = self.run(self.spool.looked(row["id"], copies, policy, 0.5, notice_of))
        assert settled is not None
        held = policy is UnknownPolicy.HOLD_FOR_PERSON
        if self.reached(doubted, row["id"]):
            assert copies > 0 and not blind
        elif settled.state is State.UNKNOWN:
            assert not blind and row["looks"] < len(LOOKS) - 1
        else:
            assert settled.state in ((State.HELD,) if held else (State.HELD, State.WAITING))

    def reached(self, doubted: set[str], entry_id: int) -> bool:
        """Whether those in doubt turned out to have it; then nobody may send it to them again."""
        rows = self.rows(f"SELECT address, state FROM recipient WHERE entry_id = {entry_id}")
        have = {row["address"] for row in rows if row["state"] == "delivered"}
        self.has_it.setdefault(entry_id, set()).update(have)
        assert not doubted & have or doubted <= have
        return bool(doubted) and doubted <= have

    @precondition(lambda self: self.hand)
    @rule(number=picks, aside=st.booleans())
    def the_lane_lets_go(self, number: int, aside: bool) -> None:
        entry_id, _, attempt = self.in_hand(number) or (0, None, 0)
        if aside:
            self.run(self.spool.hold_active(entry_id, HoldCause.ENVELOPE, "differs", attempt))
        elif attempt:
            self.run(self.spool.withdraw(entry_id, attempt, Said(outcome="retry", text="reset")))
        else:
            self.run(self.spool.unclaim([entry_id]))
        del self.hand[entry_id]

    @precondition(lambda self: self.hand)
    @rule(number=picks, action=actions)
    def a_released_mail_is_walked_by_its_lane(self, number: int, action: Action) -> None:
        found = self.in_hand(number, begun=False)
        if found is None or not found[1].row["held_by"]:
            return
        number_of_mail = int(found[1].row["message_id"].strip("<>").partition("@")[0])
        mail = a_mail(number_of_mail, direction=Direction.OUT)
        outcome = an_outcome(mail, action, version=self.version, at=self.clock.now, conversation="sent")
        self.run(self.spool.resubmit(found[0], self.touchpoint(), outcome))
        if action is not Action.PASS:
            del self.hand[found[0]]

    # -- people and time ---------------------------------------------------------------------------------------------

    @precondition(lambda self: self.seen)
    @rule(verb=st.sampled_from(Verb), number=picks, knows=st.booleans())
    def a_person_acts(self, verb: Verb, number: int, knows: bool) -> None:
        """Somebody who knows what can be done, or tries anything."""
        row = self.pick(number, lambda each: not knows or may(verb, each))
        if row is None:
            return
        call = getattr(self.spool, verb.value)
        if verb is Verb.CONFIRM and may(verb, row):
            doubted = self.doubted(row["id"])
            self.run(self.spool.confirm(row["id"], "desk", notice=notice_of))
            assert self.reached(doubted, row["id"])
        elif may(verb, row):
            self.run(call(row["id"], "desk"))
        else:
            with suppress(Refused):
                self.run(call(row["id"], "desk"))
                raise AssertionError(f"{verb} of a mail that is {place(row)}")

    @rule(number=picks, reopen=st.booleans())
    def a_person_closes(self, number: int, reopen: bool) -> None:
        row = self.pick(number, lambda each: place(each) == "done queued" and each["closed"] == reopen)
        if row is not None:
            self.run((self.spool.reopen if reopen else self.spool.close)(row["id"], "desk"))

    @rule(number=picks, groups=st.sets(st.sampled_from(["first", "second"])), knows=st.booleans())
    def a_person_moves(self, number: int, groups: set[str], knows: bool) -> None:
        row = self.pick(number, lambda each: not knows or (place(each) == "done queued" and not each["closed"]))
        if row is None:
            return
        if place(row) != "done queued" or row["closed"]:
            with suppress(Refused):
                self.run(self.spool.move(row["id"], tuple(groups)))
                raise AssertionError(f"moved a mail that is {place(row)}, closed {row['closed']}")
            return
        ids = ",".join(str(each) for each in sorted(GROUPS[name] for name in groups))
        moved = self.run(self.spool.move(row["id"], tuple(groups)))
        conversation, before = self.frozen[row["id"]]
        assert moved == (before != ids)
        self.frozen[row["id"]] = (conversation, ids)

    @rule(number=picks, action=actions, replies=st.booleans())
    def a_waiting_mail_is_walked(self, number: int, action: Action, replies: bool) -> None:
        row = self.pick(number, lambda each: each["direction"] == "in" and each["state"] == "waiting")
        if row is not None:
            outcome = self.outcome(int(row["seed"].partition("/")[2]), action, replies)
            assert self.run(self.spool.redecide(row["id"], self.touchpoint(), outcome)) is not None

    @rule(seconds=st.sampled_from([1.0, 60.0, 120.0, 500.0, 100_000.0, -3600.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule(clean=st.booleans())
    def the_process_ends(self, clean: bool) -> None:
        """Cleanly, or with nothing left but the bytes that were on the disk."""
        self.lives += 1
        folder = self.folder / str(self.lives)
        folder.mkdir()
        if clean:
            self.run(self.store.close())
        for file in self.store.path.parent.glob("postroom.db*"):
            if file.suffix in (".db", ".db-wal"):
                shutil.copy(file, folder)
        if not clean:
            self.run(self.store.close())
        self.open(folder / "postroom.db")
        begun = {entry_id for entry_id, (_, attempt) in self.hand.items() if attempt}
        hands = [InHand(touchpoint_id=1, folder="INBOX", epoch=1, low=1, high=3, phase="fetch")]
        unknown, waiting, _ = self.run(self.spool.recover(hands))
        assert (unknown, waiting) == (len(begun), len(self.hand) - len(begun))
        self.hand.clear()
        self.check_contents()

    # -- what must be true after every step --------------------------------------------------------------------------

    @invariant()
    def nothing_is_lost_and_nothing_is_odd(self) -> None:
        now = self.run(self.store.read(look))
        assert now.account.lost == 0, now.account.as_dict()
        self.check_arrows(now)
        self.seen = now.entries
        self.check_ledger(now)
        self.check_frozen(now)
        self.check_notices()
        self.check_recipients()
        assert now.live == sorted(entry_id for entry_id, (_, attempt) in self.hand.items() if attempt)

    def check_arrows(self, now: Look) -> None:
        """Only arrows of the table were taken."""
        assert now.entries.keys() >= self.seen.keys()
        for entry_id, row in now.entries.items():
            if entry_id not in self.seen:
                assert (row["origin"], place(row)) in BORN
            elif place(before := self.seen[entry_id]) != place(row):
                assert place(row) in ARROWS[row["direction"]][place(before)], (place(before), place(row))
            if row["state"] == "waiting":
                assert row["due_at"] > 0 or row["origin"] in ("auto-reply", "notice")
            assert (row["state"] == "active") == (entry_id in self.hand)

    def check_ledger(self, now: Look) -> None:
        """An item has one row and one entry, and the cursor is that of the last page."""
        keys = [row["remote_id"] for row in now.ledger]
        assert len(keys) == len(set(keys))
        bound = sorted(row["entry_id"] for row in now.ledger if row["state"] == "taken")
        assert bound == sorted(row["id"] for row in self.seen.values() if row["origin"] == "fetched")
        assert now.cursor == self.cursor

    def check_frozen(self, now: Look) -> None:
        """What a walk decided stays where nobody moves it, a mail is answered once, and open queues are known."""
        for entry_id, found in now.decided.items():
            assert self.frozen.setdefault(entry_id, found) == found
        assert self.frozen.keys() == now.decided.keys()
        assert now.strayed == 0
        replies = [row["seed"] for row in self.seen.values() if row["origin"] == "auto-reply"]
        assert len(replies) == len(set(replies))

    def check_notices(self) -> None:
        """Each failure is told once, and nothing else is."""
        told = [row["notice_for"] for row in self.seen.values() if row["origin"] == "notice"]
        assert len(told) == len(set(told))
        trouble = {"failed", "done delivered"}
        relayed = [row for row in self.seen.values() if row["origin"] == "relay" and place(row) in trouble]
        assert {row["id"] for row in relayed if row["cause"] in ("refused", "gave-up")} <= set(told)
        assert all(row["cause"] in ("refused", "gave-up") for row in relayed if row["state"] == "failed")

    def check_recipients(self) -> None:
        """Nobody is forgotten: where mail waits somebody waits for it, and doubt about somebody is doubt about it."""
        for row in self.rows(
            "SELECT e.id, e.state, e.disposition, sum(r.state = 'waiting') AS waiting, sum(r.state = 'unknown')"
            " AS unknown FROM entry AS e JOIN recipient AS r ON r.entry_id = e.id GROUP BY e.id"
        ):
            match place(row):
                case "waiting":
                    assert row["waiting"] and not row["unknown"]
                case "done delivered" | "failed":
                    assert not row["waiting"] and not row["unknown"]
                case "unknown":
                    assert row["unknown"]

    def check_contents(self) -> None:
        """Every entry yields the bytes that were taken, and the store's own hashes agree."""

        async def whole(entry_id: int) -> bytes:
            return b"".join([chunk async for chunk in self.spool.chunks(entry_id)])

        for entry_id, expected in self.hashes.items():
            assert hashlib.sha256(self.run(whole(entry_id))).digest() == expected
        owned = self.run(self.store.read(_stored))
        assert {row["content_id"] for row in self.seen.values()} <= set(owned)
        assert all(given == found for given, found in owned.values())


@dataclass(frozen=True, kw_only=True)
class Look:
    """The store at one moment."""

    account: Account
    entries: dict[int, Row]
    ledger: list[Row]
    cursor: str | None
    decided: dict[int, tuple[int, str]]
    """Entry -> (conversation, ring groups)."""
    strayed: int
    """Assignments that do not know whether their mail is open."""
    live: list[int]
    """Entries whose content is on its way."""


def look(tx: Tx) -> Look:
    decided = tx.all(
        "SELECT e.id, e.conversation_id,"
        " (SELECT group_concat(ring_group_id) FROM"
        "  (SELECT ring_group_id FROM assignment WHERE entry_id = e.id ORDER BY ring_group_id)) AS ring_groups"
        " FROM entry AS e WHERE e.conversation_id <> 0"
    )
    strayed = tx.all(
        "SELECT 1 FROM assignment AS a JOIN entry AS e ON e.id = a.entry_id"
        " WHERE a.open <> (e.disposition = 'queued' AND e.closed = 0)"
    )
    return Look(
        account=account(tx, [1]),
        entries={row["id"]: row for row in tx.all("SELECT * FROM entry")},
        ledger=tx.all("SELECT remote_id, state, entry_id FROM ledger"),
        cursor=ledger.cursor(tx, 1, "INBOX"),
        decided={row["id"]: (row["conversation_id"], row["ring_groups"] or "") for row in decided},
        strayed=len(strayed),
        live=[row["entry_id"] for row in tx.all("SELECT entry_id FROM attempt WHERE phase = 'data' ORDER BY entry_id")],
    )


def _stored(tx: Tx) -> dict[int, tuple[bytes, bytes]]:
    """Owned content -> (the hash that is noted, the hash of its chunks)."""
    found = {}
    for row in tx.all("SELECT id, sha256 FROM content WHERE owned = 1"):
        span = {"low": row["id"] << 20, "high": (row["id"] + 1) << 20}
        chunks = tx.all("SELECT data FROM chunk WHERE id >= :low AND id < :high ORDER BY id", span)
        found[row["id"]] = (row["sha256"], hashlib.sha256(b"".join(each["data"] for each in chunks)).digest())
    return found


TestSpool = SpoolMachine.TestCase
TestSpool.settings = settings(max_examples=settings().max_examples // 3, stateful_step_count=60)
