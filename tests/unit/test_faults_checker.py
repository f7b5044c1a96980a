"""The fault bench's checker can fail: a healthy house has no violation, and each invariant finds what was doctored."""

from __future__ import annotations

import base64
import hashlib
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from gateway.demo.mailbox import ItemKey
from pipeline.store.schema import migrate
from tests.faults.checker import CRASH, REST, Accept, Evidence, at_rest, forms, in_a_crash
from tests.faults.desks import Desk
from tests.faults.workload import Answer, Try

SUPPORT, SALES, DESK = "support@house.example", "sales@house.example", "desk@house.example"
DESKS = (
    Desk(SUPPORT, auto_reply=True),
    Desk(SALES, mark="seen"),
    Desk(DESK, sent="none", mark="move:Taken"),
)
EPOCH, NOW = 7, 1_000_000.0
SECRET = "canary-0123456789abcdef"


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@cache
def _empty() -> sqlite3.Connection:
    store = sqlite3.connect(":memory:", isolation_level=None)
    migrate(store)
    return store


class World:
    """A small house at rest, written row by row, with its ledgers."""

    def __init__(self, folder: Path) -> None:
        self.store = sqlite3.connect(":memory:", isolation_level=None)
        _empty().backup(self.store)
        self.folder = folder
        self.held: dict[ItemKey, str] = {}
        self.flags: dict[ItemKey, frozenset[str]] = {}
        self.accepts: list[Accept] = []
        self.tries: list[Try] = []
        for number, desk in enumerate(DESKS, 1):
            self.run("INSERT INTO touchpoint (id, address, address_key, name) VALUES (?, ?, ?, 'Desk')",
                     number, desk.address, desk.address)  # fmt: skip
            self.run("INSERT INTO cursor VALUES (?, 'INBOX', ?, 0)", number, f"1:{EPOCH}:2")
        self.run("INSERT INTO ring_group (id, name) VALUES (1, 'Desk')")
        for touchpoint, desk in enumerate(DESKS, 1):
            for uid in (1, 2):
                self.take(touchpoint, desk, uid)
        self.send("out.1", touchpoint=1, recipient="reader@far.example")
        self.send("out.2", touchpoint=3, recipient="reader@far.example")
        self.fail("out.3")
        self.answer_automatically()
        for name, value in (("taken", 6), ("accepted", 3), ("auto-replied", 1)):
            self.run("INSERT INTO counter VALUES (?, ?)", name, value)
        self.log = folder / "daemon.log"
        self.log.write_text("all is well\n")

    def run(self, sql: str, *values: object) -> int:
        return self.store.execute(sql, values).lastrowid or 0

    def content(self, data: bytes) -> int:
        number = self.run("INSERT INTO content (size, sha256, owned) VALUES (?, ?, 1)",
                          len(data), hashlib.sha256(data).digest())  # fmt: skip
        self.run("INSERT INTO chunk VALUES (?, ?)", number << 20, data)
        return number

    def entry(self, touchpoint: int, direction: str, origin: str, state: str, disposition: str, **more: object) -> int:
        names = ["touchpoint_id", "direction", "origin", "state", "disposition", "accepted_at", *more]
        values = [touchpoint, direction, origin, state, disposition, NOW, *more.values()]
        marks = ", ".join("?" * len(names))
        number = self.run(f"INSERT INTO entry ({', '.join(names)}) VALUES ({marks})", *values)
        if origin in ("fetched", "relay"):
            self.run("INSERT INTO walk VALUES (?, 1, 0, 1, '[]')", number)
        return number

    def take(self, touchpoint: int, desk: Desk, uid: int) -> None:
        data = f"mail {uid} to {desk.address}\r\n".encode()
        number = self.entry(touchpoint, "in", "fetched", "done", "queued", content_id=self.content(data),
                            seed=f"{touchpoint}/{uid}")  # fmt: skip
        self.run("INSERT INTO assignment (ring_group_id, entry_id) VALUES (1, ?)", number)
        self.run("INSERT INTO ledger (touchpoint_id, folder, epoch, remote_id, state, entry_id, sha256)"
                 " VALUES (?, 'INBOX', ?, ?, 'taken', ?, ?)",
                 touchpoint, EPOCH, uid, number, hashlib.sha256(data).digest())  # fmt: skip
        key = ItemKey(desk.address, "INBOX", EPOCH, uid)
        self.held[key] = digest(data)
        if not desk.mark.startswith("move"):
            self.flags[key] = frozenset({"\\Seen"} if desk.mark == "seen" else ())

    def send(self, name: str, *, touchpoint: int, recipient: str, outcome: str = "accepted") -> int:
        data = f"Message-ID: <{name}@ids>\r\n\r\nbody\r\n".encode()
        user = DESKS[touchpoint - 1].address
        number = self.entry(touchpoint, "out", "relay", "done", "delivered", content_id=self.content(data),
                            message_id=f"<{name}@ids>")  # fmt: skip
        self.run("INSERT INTO recipient (entry_id, number, address, state) VALUES (?, 0, ?, 'delivered')",
                 number, recipient)  # fmt: skip
        self.attempt(number, outcome)
        self.tries.append(Try(f"<{name}@ids>", digest(data), user, (recipient,), NOW, Answer.OK, "250"))
        self.accepts.append(self.copy(name, user, recipient))
        return number

    def attempt(self, entry: int, outcome: str, *, at: float = NOW, code: int = 250) -> None:
        phase = "unknown" if outcome == "unknown" else "answered"
        self.run("INSERT INTO attempt (entry_id, started_at, phase, ended_at, outcome, code) VALUES (?, ?, ?, ?, ?, ?)",
                 entry, at, phase, at + 1, outcome, code)  # fmt: skip

    def copy(self, name: str, user: str, recipient: str, *, automatic: bool = False, sha256: str = "aa") -> Accept:
        return Accept(f"{name}@ids", sha256, (recipient,), user, NOW, automatic)

    def fail(self, name: str) -> None:
        data = f"{name}\r\n".encode()
        number = self.entry(1, "out", "relay", "failed", "", content_id=self.content(data), message_id=f"<{name}@ids>")
        self.run("INSERT INTO recipient (entry_id, number, address, state) VALUES (?, 0, 'no@far.example', 'refused')",
                 number)  # fmt: skip
        self.tries.append(Try(f"<{name}@ids>", digest(data), SUPPORT, ("no@far.example",), NOW, Answer.OK, "250"))
        notice = self.entry(1, "out", "notice", "done", "delivered", content_id=self.content(b"notice"),
                            message_id="<notice@ids>", notice_for=number)  # fmt: skip
        self.run("INSERT INTO recipient (entry_id, number, address, state) VALUES (?, 0, ?, 'delivered')",
                 notice, "us@far.example")  # fmt: skip
        self.accepts.append(self.copy("notice", SUPPORT, "us@far.example"))

    def answer_automatically(self, name: str = "reply", seed: str = "reply/1/1") -> None:
        number = self.entry(1, "out", "auto-reply", "done", "delivered", content_id=self.content(b"reply"),
                            message_id=f"<{name}@ids>", seed=seed)  # fmt: skip
        self.run("INSERT INTO recipient (entry_id, number, address, state) VALUES (?, 0, 'a@far.example', 'delivered')",
                 number)  # fmt: skip
        self.accepts.append(self.copy(name, SUPPORT, "a@far.example", automatic=True))

    def evidence(self) -> Evidence:
        return Evidence(
            store=self.store, desks=DESKS, held=self.held, flags=self.flags, accepts=self.accepts, tries=self.tries,
            ring_groups=frozenset({"Desk"}), secrets=[SECRET], files=[self.log], notified="us@far.example",
            due_before={},
        )  # fmt: skip


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_healthy_house_has_no_violation(world: World) -> None:
    assert at_rest(world.evidence()) == []
    assert in_a_crash(world.evidence()) == []


KEY = ItemKey(SUPPORT, "INBOX", EPOCH, 2)
Doctor = Callable[[World], object]


def _lose_a_mail(w: World) -> None:
    w.run("DELETE FROM ledger WHERE touchpoint_id = 1 AND remote_id = 2")


def _drop_the_entry(w: World) -> None:
    w.run("UPDATE entry SET content_id = 0 WHERE id = (SELECT entry_id FROM ledger WHERE remote_id = 2 LIMIT 1)")
    w.run("UPDATE ledger SET entry_id = 999 WHERE touchpoint_id = 1 AND remote_id = 2")


def _take_twice(w: World) -> None:
    w.entry(1, "in", "fetched", "done", "queued", content_id=w.content(f"mail 2 to {SUPPORT}\r\n".encode()))


def _change_a_stored_byte(w: World) -> None:
    w.run("UPDATE chunk SET data = x'00' WHERE id = (SELECT content_id FROM entry WHERE origin = 'fetched') << 20")


def _accept_again(w: World, number: int) -> None:
    w.accepts.append(w.accepts[number])


def _try(w: World, answer: Answer) -> None:
    w.tries[0] = replace(w.tries[0], answer=answer)


def _conversation_out_of_order(w: World) -> None:
    w.run("UPDATE entry SET conversation_id = 5 WHERE message_id IN ('<out.1@ids>', '<out.2@ids>')")
    w.accepts[0] = replace(w.accepts[0], at=NOW + 9)


def _second_reply_to_one_sender(w: World) -> None:
    w.answer_automatically("reply.2", seed="reply/1/2")
    w.run("UPDATE counter SET value = 2 WHERE name = 'auto-replied'")


def _attempts(*outcomes: tuple[str, float, int]) -> Doctor:
    def doctor(w: World) -> None:
        w.run("DELETE FROM attempt")
        for outcome, at, code in outcomes:
            w.attempt(w.store.execute("SELECT min(id) FROM entry WHERE direction = 'out'").fetchone()[0], outcome,
                      at=at, code=code)  # fmt: skip

    return doctor


DOCTORED: list[tuple[str, str, Doctor]] = [
    ("I1", "a mail without a row", _lose_a_mail),
    ("I1", "a mail that is still pending", lambda w: w.run("UPDATE ledger SET state = 'pending' WHERE remote_id = 2")),
    ("I1", "a mail noted as gone", lambda w: w.run("UPDATE ledger SET state = 'gone' WHERE remote_id = 2")),
    ("I1", "an entry twice", _take_twice),
    ("I1", "other bytes", _change_a_stored_byte),
    ("I2", "an entry that is not there", _drop_the_entry),
    ("I2", "two items of one entry", lambda w: w.run("UPDATE ledger SET entry_id = 1")),
    ("I2", "a row that no server showed", lambda w: w.held.pop(KEY)),
    ("I3", "other bytes", _change_a_stored_byte),
    ("I3", "another hash", lambda w: w.run("UPDATE ledger SET sha256 = x'00'")),
    ("I4", "a cursor beyond a mail", _lose_a_mail),
    ("I5", "a mark without a row", lambda w: w.run("DELETE FROM ledger WHERE touchpoint_id = 2")),
    ("I5", "a move without bytes", lambda w: w.run("UPDATE entry SET content_id = 0 WHERE touchpoint_id = 3")),
    ("I6", "a wrong account", lambda w: w.run("UPDATE counter SET value = 5 WHERE name = 'taken'")),
    ("I6", "done without a place", lambda w: w.run("UPDATE entry SET disposition = '' WHERE id = 1")),
    ("I6", "held without a cause", lambda w: w.run("UPDATE entry SET state = 'held', disposition = '' WHERE id = 1")),
    ("I6", "content that is nobody's", lambda w: w.run("UPDATE content SET owned = 0 WHERE id = 1")),
    ("I6", "in hand at rest", lambda w: w.run("UPDATE entry SET state = 'active', disposition = '' WHERE id = 7")),
    ("I7", "two replies to one mail", lambda w: w.answer_automatically("again")),
    ("I7", "no queue", lambda w: w.run("DELETE FROM assignment WHERE entry_id = 1")),
    ("I7", "no trail", lambda w: w.run("DELETE FROM walk WHERE entry_id = 1")),
    ("I8", "other bytes the second time", lambda w: w.accepts.append(replace(w.accepts[0], sha256="bb"))),
    ("I9", "an acknowledged mail is gone", lambda w: w.run("DELETE FROM entry WHERE message_id = '<out.1@ids>'")),
    ("I9", "an acknowledged mail is another", lambda w: w.run("UPDATE chunk SET data = x'00'")),
    ("I10", "delivered, and never taken", lambda w: w.accepts.pop(0)),
    ("I10", "failed, and nobody told", lambda w: w.run("UPDATE entry SET notice_for = 0")),
    ("I10", "failed, and nobody refused it", lambda w: w.run("DELETE FROM recipient WHERE state = 'refused'")),
    ("I11", "twice where Sent can be searched", lambda w: _accept_again(w, 0)),
    ("I11", "twice without a fault", lambda w: _accept_again(w, 1)),
    ("I11", "from nowhere", lambda w: w.accepts.append(w.copy("ghost", SUPPORT, "x@far.example"))),
    ("I12", "refused, and here", lambda w: _try(w, Answer.REFUSED)),
    ("I12", "never handed over, and here", lambda w: _try(w, Answer.UNSENT)),
    ("I12", "handed in by nobody", lambda w: w.tries.pop(0)),
    ("I13", "entries out of order", lambda w: w.run("UPDATE ledger SET remote_id = 9 - remote_id")),
    ("I13", "a conversation out of order", _conversation_out_of_order),
    ("I14", "two at once", _attempts(("unknown", NOW, 0), ("accepted", NOW + 0.5, 250))),
    ("I14", "too early again", _attempts(("retry", NOW, 451), ("accepted", NOW + 1.5, 250))),
    ("I16", "one sender answered twice", _second_reply_to_one_sender),
    ("I16", "ourselves answered", lambda w: w.accepts.append(w.copy("reply", SUPPORT, SALES, automatic=True))),
    ("I17", "by another mailbox", lambda w: w.accepts.append(replace(w.accepts.pop(0), user=SALES))),
    ("I17", "to somebody else", lambda w: w.accepts.append(replace(w.accepts[0], recipients=("x@far.example",)))),
    ("I18", "a secret in the log", lambda w: w.log.write_text(f"signing in with {SECRET}\n")),
    ("I18", "a secret in disguise",
     lambda w: w.log.write_bytes(b"AUTH PLAIN " + base64.b64encode(f"\0user\0{SECRET}".encode()))),
]  # fmt: skip


@pytest.mark.parametrize(("invariant", "doctor"), [(i, d) for i, _, d in DOCTORED],
                         ids=[f"{i}: {what}" for i, what, _ in DOCTORED])  # fmt: skip
def test_each_invariant_finds_what_was_doctored(world: World, invariant: str, doctor: Doctor) -> None:
    doctor(world)
    assert invariant in {each.invariant for each in at_rest(world.evidence())}


def test_every_invariant_that_is_evaluated_was_doctored() -> None:
    assert {invariant for invariant, _, _ in DOCTORED} == REST.keys()
    assert CRASH.keys() <= REST.keys()


def test_a_crash_shows_a_cursor_that_ran_ahead(world: World) -> None:
    _lose_a_mail(world)
    assert "I4" in {each.invariant for each in in_a_crash(world.evidence())}


def test_a_due_time_never_moves_back(world: World) -> None:
    world.run("UPDATE entry SET state = 'waiting', disposition = '', due_at = 50 WHERE id = 7")
    evidence = world.evidence()
    evidence.due_before = {7: 60.0}
    assert "I14" in {each.invariant for each in in_a_crash(evidence)}


def test_a_second_copy_is_allowed_once_for_each_fault_in_the_window(world: World) -> None:
    _accept_again(world, 1)
    assert "I11" in {each.invariant for each in at_rest(world.evidence())}
    world.attempt(world.store.execute("SELECT id FROM entry WHERE message_id = '<out.2@ids>'").fetchone()[0], "unknown",
                  at=NOW + 5)  # fmt: skip
    assert at_rest(world.evidence()) == []
    _accept_again(world, 1)
    assert "I11" in {each.invariant for each in at_rest(world.evidence())}


def test_what_was_renumbered_counts_once(world: World) -> None:
    again = ItemKey(SUPPORT, "INBOX", EPOCH + 1, 1)
    world.held[again] = world.held[ItemKey(SUPPORT, "INBOX", EPOCH, 1)]
    world.run("INSERT INTO ledger (touchpoint_id, folder, epoch, remote_id, state, entry_id) VALUES (1, 'INBOX', ?, 1,"
              " 'known', 1)", EPOCH + 1)  # fmt: skip
    assert "I1" in {each.invariant for each in at_rest(world.evidence())}
    evidence = world.evidence()
    evidence.again = frozenset({again})
    assert at_rest(evidence) == []


@pytest.mark.parametrize("lead", [b"", b"x", b"xy", b"\0user@example.org\0"])
def test_a_secret_is_found_in_base64_at_any_offset(lead: bytes) -> None:
    coded = base64.b64encode(lead + SECRET.encode() + b"tail")
    assert any(form in coded for form in forms(SECRET))
