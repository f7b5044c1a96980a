"""The checker: lays the servers' and the clients' ledgers beside a copy of the database and says what does not hold.

Each invariant is a function ``i<n>(evidence)`` that yields sentences; the numbers are those of docs/reliability.md.
``in_a_crash`` evaluates what must hold in the database that any death leaves; ``at_rest`` all that must hold once the
house came to rest. Nothing here asks the daemon, but for ``proof``, which asks it to speak for itself.
"""

from __future__ import annotations

import base64
import hashlib
import quopri
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.control import Prove, ReplayMail
from gateway.demo.mailbox import ItemKey
from pipeline.touchpoint import normalise, without_tag
from tests.faults.evidence import Accept, Evidence, bare
from tests.faults.workload import Answer

if TYPE_CHECKING:
    from tests.daemon import Daemon

__all__ = ["Accept", "Evidence", "Violation", "at_rest", "bare", "in_a_crash", "proof"]


class Violation(NamedTuple):
    """One sentence about what does not hold."""

    invariant: str
    text: str

    def __str__(self) -> str:
        return f"{self.invariant}: {self.text}"


# -- taking in ---------------------------------------------------------------------------------------------------------


def i1(e: Evidence) -> Iterator[str]:
    """Every mail that lay in a watched folder has exactly one ingest."""
    expected: Counter[tuple[str, str]] = Counter()
    for key, digest in e.held.items():
        row = e.ledger.get(key)
        if row is None and not e.in_range(key) and key not in e.expunged:
            yield f"{key} was never taken: lost"
        elif row is not None and row["state"] == "pending":
            yield f"{key} is still pending: {row['error']}"
        elif row is not None and row["state"] == "gone" and key not in e.expunged:
            yield f"{key} is noted as gone, and nobody took it away: lost"
        alone = row is None or row["state"] == "gone" or (row["state"] == "taken" and not _has_bytes(e, row))
        if key not in e.again and not alone and key not in e.expunged:
            expected[key.address, digest] += 1
    found: Counter[tuple[str, str]] = Counter()
    for row in e.entries.values():
        if row["origin"] == "fetched" and row["content_id"]:
            digest = hashlib.sha256(e.stored(row["content_id"])).hexdigest()
            found[e.touchpoints.get(row["touchpoint_id"], "?"), digest] += 1
    for (address, digest), count in (expected - found).items():
        yield f"{address}: {count} times {digest[:16]} too few: lost"
    for (address, digest), count in (found - expected).items():
        if not any(key.address == address and e.held.get(key) == digest for key in e.expunged):
            yield f"{address}: {count} times {digest[:16]} too many: taken twice, or never there"


def _has_bytes(e: Evidence, row: Mapping[str, Any]) -> bool:
    entry = e.entries.get(row["entry_id"])
    return entry is not None and bool(entry["content_id"])


def i2(e: Evidence) -> Iterator[str]:
    """At most one row for each item, one item for each fetched entry, and none that no server showed."""
    twice = e.rows(
        "SELECT touchpoint_id, folder, epoch, remote_id, count(*) AS n FROM ledger"
        " GROUP BY touchpoint_id, folder, epoch, remote_id HAVING n > 1"
    )
    yield from (f"{dict(row)} has more than one row" for row in twice)
    taken = Counter(row["entry_id"] for row in e.ledger.values() if row["state"] == "taken")
    for entry_id, count in taken.items():
        if count > 1 or entry_id not in e.entries:
            yield f"mail {entry_id} has {count} taken items" + ("" if entry_id in e.entries else " and is not there")
    for entry_id, row in e.entries.items():
        if row["origin"] == "fetched" and not taken[entry_id]:
            yield f"mail {entry_id} was fetched and no item says so"
    for key, row in e.ledger.items():
        if key not in e.held and row["state"] != "gone":
            yield f"{key} is in the ledger, and its server never had it"


def i3(e: Evidence) -> Iterator[str]:
    """What is stored is what was served."""
    for key, row in e.ledger.items():
        entry = e.entries.get(row["entry_id"])
        if row["state"] != "taken" or entry is None or not entry["content_id"] or key not in e.held:
            continue
        digest = hashlib.sha256(e.stored(entry["content_id"])).hexdigest()
        if digest != e.held[key] or row["sha256"].hex() != e.held[key]:
            yield f"mail {entry['id']} of {key} is stored as {digest[:16]}, and was served as {e.held[key][:16]}"


def i4(e: Evidence) -> Iterator[str]:
    """Nothing at or below a cursor is without a row or a range."""
    for row in e.rows("SELECT * FROM cursor"):
        address = e.touchpoints.get(row["touchpoint_id"], "?")
        if not row["value"]:  # begun, and nothing read yet
            continue
        version, epoch, low = (int(part) for part in row["value"].split(":"))
        if version != 1:
            yield f"{address} {row['folder']}: a cursor of version {version}"
        for key in e.held:
            beside = (key.address, key.folder, key.epoch) != (address, row["folder"], epoch) or key.uid > low
            if not beside and key not in e.ledger and not e.in_range(key):
                yield f"{key} lies below the cursor {row['value']} without a row: lost"


def i5(e: Evidence) -> Iterator[str]:
    """What is marked or moved on the server is stored here."""
    marks = {desk.address: desk.mark for desk in e.desks}
    for key in e.held:
        mark = marks.get(key.address, "")
        moved = mark.startswith("move:") and key not in e.flags and key not in e.again and key not in e.expunged
        seen = mark == "seen" and "\\Seen" in e.flags.get(key, ()) and key not in e.again
        if moved or seen:
            row = e.ledger.get(key)
            if row is None or not row["entry_id"] or not _has_bytes(e, row):
                yield f"{key} is {'moved' if moved else 'marked'} on the server, and not stored"


def i6(e: Evidence) -> Iterator[str]:
    """Every mail is in exactly one place, and the account adds up."""
    counters = {row["name"]: row["value"] for row in e.rows("SELECT * FROM counter")}
    origins = Counter(row["origin"] for row in e.entries.values())
    for name, origin in (("taken", "fetched"), ("accepted", "relay"), ("auto-replied", "auto-reply")):
        if counters.get(name, 0) != origins[origin]:
            yield f"the account says {name} {counters.get(name, 0)}, the spool has {origins[origin]}"
    owned = {row["id"] for row in e.rows("SELECT id FROM content WHERE owned = 1")}
    for entry_id, row in e.entries.items():
        if not _is_one_place(row):
            yield f"mail {entry_id} is nowhere: {row['direction']} {row['state']} {row['disposition']!r}"
        if row["state"] == "held" and not row["cause"]:
            yield f"mail {entry_id} is held without a cause"
        if row["content_id"] and row["content_id"] not in owned:
            yield f"mail {entry_id}: its content is not there"
    integrity = e.store.execute("PRAGMA integrity_check").fetchone()[0]
    if integrity != "ok":
        yield f"the database is damaged: {integrity}"


def _is_one_place(row: Mapping[str, Any]) -> bool:
    if row["state"] == "done":
        return row["disposition"] in (("queued", "stopped", "dropped") if row["direction"] == "in" else
                                      ("delivered", "dropped"))  # fmt: skip
    states = ("waiting", "held") if row["direction"] == "in" else ("waiting", "active", "held", "unknown", "failed")
    return row["state"] in states and not row["disposition"]


def resting(e: Evidence) -> Iterator[str]:
    """At rest nothing is in hand, and nothing that is due waits; part of I6."""
    for entry_id, row in e.entries.items():
        if row["state"] in ("waiting", "active", "unknown"):
            yield f"mail {entry_id} is {row['state']} at rest: {row['direction']} {row['reason']}"


def i7(e: Evidence) -> Iterator[str]:
    """One effect for each mail and stage; the ring groups are those that were linked."""
    replies = Counter(row["seed"] for row in e.entries.values() if row["origin"] == "auto-reply")
    yield from (f"{count} auto-replies to {seed}" for seed, count in replies.items() if count > 1)
    assigned: dict[int, set[str]] = defaultdict(set)
    for row in e.rows("SELECT a.entry_id, g.name FROM assignment AS a JOIN ring_group AS g ON g.id = a.ring_group_id"):
        assigned[row["entry_id"]].add(row["name"])
    walks = {row["entry_id"] for row in e.rows("SELECT DISTINCT entry_id FROM walk")}
    for entry_id, row in e.entries.items():
        if row["origin"] == "fetched" and row["disposition"] == "queued" and assigned[entry_id] != e.ring_groups:
            yield f"mail {entry_id} is queued for {sorted(assigned[entry_id])}, not for {sorted(e.ring_groups)}"
        if row["origin"] in ("fetched", "relay") and entry_id not in walks:
            yield f"mail {entry_id} has no trail"
    notices = Counter(row["notice_for"] for row in e.entries.values() if row["notice_for"])
    yield from (f"{count} notices of the failure of mail {failed}" for failed, count in notices.items() if count > 1)


# -- sending -----------------------------------------------------------------------------------------------------------


def i8(e: Evidence) -> Iterator[str]:
    """All copies of one intention that left are equal, byte for byte."""
    for message_id, copies in e.accepted.items():
        if len({copy.sha256 for copy in copies}) > 1:
            yield f"{message_id} left with different bytes"


def i9(e: Evidence) -> Iterator[str]:
    """A client that got 250 has its intention here, with its bytes."""
    for each in e.tries:
        if each.answer is Answer.OK:
            found = e.outbound.get(bare(each.message_id), [])
            if len(found) != 1:
                yield f"{each.message_id} got {each.words!r}, and there are {len(found)} of it here: lost"
            elif hashlib.sha256(e.stored(found[0]["content_id"])).hexdigest() != each.sha256:
                yield f"{each.message_id} is stored with other bytes than the client sent"


def i10(e: Evidence) -> Iterator[str]:
    """What nobody cancelled is delivered, or failed with one notice, or held for a person."""
    told = Counter(row["notice_for"] for row in e.entries.values() if row["notice_for"])
    states: dict[int, dict[str, str]] = defaultdict(dict)
    for row in e.rows("SELECT entry_id, address, state FROM recipient"):
        states[row["entry_id"]][row["address"]] = row["state"]
    for message_id, rows in e.outbound.items():
        reached = {recipient for each in e.accepted.get(message_id, ()) for recipient in each.recipients}
        for row in rows:
            for address, state in states[row["id"]].items():
                if state == "delivered" and address not in reached:
                    yield f"mail {row['id']} says delivered to {address}, and the provider never took it"
            if row["disposition"] == "delivered" and not reached:
                yield f"mail {row['id']} ({message_id}) is delivered, and the provider never took it: lost"
            refused = "refused" in states[row["id"]].values() and row["state"] in ("done", "failed")
            if row["origin"] == "relay" and refused and e.notified and told[row["id"]] != 1:
                yield f"mail {row['id']} failed for a recipient, and {told[row['id']]} notices tell of it"
            if row["state"] == "failed" and not refused:
                yield f"mail {row['id']} failed, and no recipient was refused"


def i11(e: Evidence) -> Iterator[str]:
    """Accepted once; more only for each fault inside the unknown window, and never where Sent can be searched."""
    sent = {desk.address: desk.sent for desk in e.desks}
    for message_id, copies in e.accepted.items():
        rows = e.outbound.get(message_id, [])
        if not rows:
            yield f"the provider took {message_id}, of which nothing is known here"
            continue
        attempts = [each for row in rows for each in e.attempts.get(row["id"], ())]
        windows = sum(each["phase"] in ("data", "unknown") or each["outcome"] == "found" for each in attempts)
        allowed = 1 if sent.get(copies[0].user) == "provider" else 1 + windows
        times = max(Counter(recipient for copy in copies for recipient in copy.recipients).values())
        if times > allowed:
            yield f"{message_id} was accepted {times} times, {allowed} are allowed"


def i12(e: Evidence) -> Iterator[str]:
    """Without 250 there is one intention at most, after a refusal none; nothing else is here that nobody handed in."""
    tries = {bare(each.message_id): each for each in e.tries}
    for message_id, rows in e.outbound.items():
        relayed = [row for row in rows if row["origin"] == "relay"]
        if not relayed:
            continue
        attempt = tries.get(message_id)
        if attempt is None:
            yield f"{message_id} is here, and nobody handed it in"
        elif len(relayed) > 1:
            yield f"{message_id} was handed in once ({attempt.answer}), and is here {len(relayed)} times"
        elif attempt.answer in (Answer.REFUSED, Answer.UNSENT):
            yield f"{message_id} was {attempt.answer} ({attempt.words}), and is here all the same"


def i13(e: Evidence) -> Iterator[str]:
    """Entries of a folder rise with its UIDs; first attempts of a conversation leave in commit order."""
    for place, keys in _by_folder(e).items():
        last = 0
        for key in sorted(keys, key=lambda key: key.uid):
            row = e.ledger[key]
            if row["state"] == "taken" and not row["attempts"]:
                if row["entry_id"] < last:
                    yield f"{place}: UID {key.uid} became mail {row['entry_id']}, after mail {last}"
                last = row["entry_id"]
    conversations: dict[int, list[tuple[int, float]]] = defaultdict(list)
    for message_id, rows in e.outbound.items():
        copies = e.accepted.get(message_id, [])
        for row in rows:
            if row["conversation_id"] and len(copies) == 1 and len(e.attempts.get(row["id"], ())) == 1:
                conversations[row["conversation_id"]].append((row["id"], copies[0].at))
    for number, sends in conversations.items():
        times = [at for _, at in sorted(sends)]
        if times != sorted(times):
            yield f"conversation {number}: its mails left in another order than they were accepted"


def _by_folder(e: Evidence) -> dict[tuple[str, str, int], list[ItemKey]]:
    found: dict[tuple[str, str, int], list[ItemKey]] = defaultdict(list)
    for key in e.ledger:
        found[key.address, key.folder, key.epoch].append(key)
    return found


def i14(e: Evidence) -> Iterator[str]:
    """Due times only move forward; after an answered 4xx it waits; never two attempts at once."""
    for entry_id, due in e.due().items():
        if due < e.due_before.get(entry_id, due) - 0.001:
            yield f"mail {entry_id} is due {e.due_before[entry_id] - due:.1f} s earlier than before"
    for entry_id, attempts in e.attempts.items():
        for before, after in pairwise(attempts):
            if before["phase"] == "data":
                yield f"mail {entry_id}: an attempt began while another one was open"
            elif before["ended_at"] and after["started_at"] < before["ended_at"] - 0.001:
                yield f"mail {entry_id}: two attempts at once"
            elif before["outcome"] == "retry" and before["code"]:
                waited = after["started_at"] - before["ended_at"]
                if waited < e.first_retry - 0.01:
                    yield f"mail {entry_id} was tried again {waited:.2f} s after {before['code']}"


def i16(e: Evidence) -> Iterator[str]:
    """One auto-reply for each touchpoint and sender in a window, and none to ourselves."""
    ours = {without_tag(desk.address) for desk in e.desks}
    told: dict[tuple[str, str], set[str]] = defaultdict(set)
    for each in e.accepts:
        for recipient in each.recipients if each.automatic else ():
            told[each.user, without_tag(recipient)].add(each.message_id)
    for (user, recipient), replies in told.items():
        if len(replies) > 1:
            yield f"{user} answered {recipient} {len(replies)} times within its window"
        if recipient in ours:
            yield f"{user} answered {recipient}, which is ours"


def i17(e: Evidence) -> Iterator[str]:
    """What left of a relayed mail has the envelope that was handed in: its sender's mailbox, no further recipient."""
    tries = {bare(each.message_id): each for each in e.tries}
    for each in e.accepts:
        attempt = tries.get(each.message_id)
        if attempt is None:
            continue
        if each.user != without_tag(attempt.sender):
            yield f"{each.message_id} of {attempt.sender} left by the mailbox of {each.user}"
        if extra := {normalise(r) for r in each.recipients} - {normalise(r) for r in attempt.recipients}:
            yield f"{each.message_id} left for {sorted(extra)} as well"


def i18(e: Evidence) -> Iterator[str]:
    """No secret in any log, nor in clear in the database."""
    for path in e.files:
        data = path.read_bytes() if path.exists() else b""
        for secret in e.secrets:
            for form in forms(secret):
                if form in data:
                    yield f"{path.name} contains a secret ({form[:12].decode(errors='replace')}...)"


def forms(secret: str) -> set[bytes]:
    """A secret as it may look: raw, quoted-printable, and the part of its base64 that is the same at each offset."""
    raw = secret.encode()
    found = {raw, quopri.encodestring(raw).strip()}
    for offset in range(3):
        coded = base64.b64encode(b"\0" * offset + raw + b"\0" * ((-len(raw) - offset) % 3))
        found.add(coded[4 : len(coded) - 4])
    return found


# -- all of it ---------------------------------------------------------------------------------------------------------

Check = Callable[[Evidence], Iterable[str]]
CRASH: dict[str, tuple[Check, ...]] = {
    "I2": (i2,), "I4": (i4,), "I5": (i5,), "I6": (i6,), "I7": (i7,), "I8": (i8,), "I9": (i9,),
    "I13": (i13,), "I14": (i14,), "I16": (i16,), "I17": (i17,),
}  # fmt: skip
"""What holds in the database that any death leaves."""
REST: dict[str, tuple[Check, ...]] = {
    "I1": (i1,), "I2": (i2,), "I3": (i3,), "I4": (i4,), "I5": (i5,), "I6": (i6, resting), "I7": (i7,), "I8": (i8,),
    "I9": (i9,), "I10": (i10,), "I11": (i11,), "I12": (i12,), "I13": (i13,), "I14": (i14,), "I16": (i16,),
    "I17": (i17,), "I18": (i18,),
}  # fmt: skip
"""What holds when the house came to rest, with no client under way."""
MOST = 10
"""Sentences that are told of one invariant."""


def in_a_crash(evidence: Evidence) -> list[Violation]:
    """Evaluate what must hold whatever just happened."""
    return _evaluated(CRASH, evidence)


def at_rest(evidence: Evidence, besides: Collection[str] = ()) -> list[Violation]:
    """Evaluate everything ``besides`` what does not apply."""
    return _evaluated({name: checks for name, checks in REST.items() if name not in besides}, evidence)


def _evaluated(checks: Mapping[str, Sequence[Check]], evidence: Evidence) -> list[Violation]:
    found: list[Violation] = []
    for name, parts in checks.items():
        sentences = [text for check in parts for text in check(evidence)]
        found += [Violation(name, text) for text in sentences[:MOST]]
        if len(sentences) > MOST:
            found.append(Violation(name, f"and {len(sentences) - MOST} more"))
    return found


def proof(daemon: Daemon) -> list[Violation]:
    """What ``prove`` finds missing, and what ``replay`` decides otherwise though nobody changed anything (I23)."""
    proven = daemon.call(Prove())
    found = [Violation("prove", f"missing: {each}") for each in proven.found]
    if proven.missing > len(proven.found):
        found.append(Violation("prove", f"missing: {proven.missing} in all"))
    found += [Violation("prove", f"not proven: {each}") for each in proven.touchpoints] if proven.unproven else []
    if proven.untold:
        found.append(Violation("prove", f"nobody was told of {proven.untold} failures"))
    after = 0
    while len(found) < MOST:
        window = daemon.call(ReplayMail(since=1.0, after=after))
        for row in window.rows:
            if row.changes and not row.depends_on_memory and row.version_then == row.version_now:
                found.append(Violation("I23", f"mail {row.id} is decided otherwise: {row.changes}"))
        if not (after := window.next):
            break
    return found
