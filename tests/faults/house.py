"""A house for the nemesis: the real daemon as a process, between servers and clients that survive its death.

The servers (the demo provider: IMAP and submission for five mailboxes) and the relay clients live in this process and
keep their own ledgers: every mail that was ever put into a folder, every mark that a mailbox bears, every mail that
was accepted for sending, every answer that a client of the relay got. ``check`` lays them beside the database.

    with House(folder) as house:
        house.start()                        # furnished at the first start
        with loaded(house, 60, 25):
            ...
            house.kill(); house.crash_check(); house.start()
        left = house.quiesce()
        violations = house.check()

Other processes' deaths are for ``start(prefix=...)``: what stands before the daemon's command line (strace, faketime).
"""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from gateway.client import Unreachable
from gateway.control import (
    ConnectTouchpoint,
    GetStatus,
)
from gateway.demo.mailbox import ItemKey
from gateway.demo.smtp_server import Refusal, Submitted
from pipeline.touchpoint import without_tag
from tests.daemon import Daemon
from tests.faults.checker import Accept, Evidence, Violation, at_rest, in_a_crash
from tests.faults.desks import DESKS, RELAY_NOTIFY, RELAY_USER, RING_GROUP, SETTINGS, WATCHED, Admin, Desk
from tests.faults.inside import HURRY
from tests.faults.nursery import ROOT, Child, Nursery, clean_environment
from tests.faults.points import REACHED
from tests.faults.resting import unfinished
from tests.faults.workload import REFUSED, Load, RelayClient, Try, Writer
from tests.servers.embedded import Embedded
from tests.servers.ports import free_ports

__all__ = ["DESKS", "Desk", "House", "scratch"]


class _Daemon(Daemon):
    """A daemon whose state may lie elsewhere, started by the nursery or by a command line of its own."""

    def __init__(self, directory: Path, state: Path, settings: str) -> None:
        super().__init__(directory, settings)
        self.state = state
        self.store = state / "postroom.db"
        text = self.toml.read_text("utf-8").replace(f'state_dir = "{directory / "state"}"', f'state_dir = "{state}"')
        self.toml.write_text(text, "utf-8")

    def started(self, process: subprocess.Popen[bytes] | Child) -> None:
        """This is the process now."""
        self.process = process  # type: ignore[assignment]


@dataclass
class House:
    """The daemon, its servers and its clients; see the head of this file."""

    folder: Path
    """Its own folder, a short path: settings, socket, log and evidence."""
    state: Path | None = None
    """Where the store is; None is ``folder/state``."""
    desks: Sequence[Desk] = DESKS
    settings: str = ""
    """TOML that is added to the settings file."""
    seed: object = 0
    nursery: Nursery | None = None
    """Where daemons are forked; without one each start reads all modules."""
    notes: list[str] = field(default_factory=list)
    """What happened in the harness that a person should know."""
    tries: list[Try] = field(default_factory=list)
    """The relay clients' ledger."""

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.name = f"{self.seed}/{self.folder.name}"
        dice = random.Random(f"{self.name}/house")
        self.writer = Writer(dice, f"{dice.randrange(16**8):08x}")
        self.canaries = {desk.address: f"canary-{dice.randrange(16**16):016x}" for desk in self.desks}
        self.relay_secret = f"canary-{dice.randrange(16**16):016x}"
        self.relay_port = free_ports(1)[0]
        text = SETTINGS.format(port=self.relay_port, user=RELAY_USER) + self.settings
        self.daemon = _Daemon(self.folder, self.state or self.folder / "state", text)
        self.server = Embedded(self.folder)
        self.deaths = 0
        """How often the daemon was killed or died."""
        self.checked = 0
        """How often a crash was checked."""
        self._again: set[ItemKey] = set()
        self._due: dict[int, float] = {}
        self._is_furnished = False

    # -- the servers -------------------------------------------------------------------------------------------------

    def __enter__(self) -> House:
        self.server.__enter__()
        provider = self.server.provider
        filing = {without_tag(desk.address): desk.sent == "provider" for desk in self.desks}
        take = provider.smtp.take

        def taking(mail: Submitted) -> None:
            provider.policy.sent_copy = filing.get(without_tag(mail.user), False)
            take(mail)

        def furnish() -> None:
            provider.smtp.take = taking  # type: ignore[method-assign]
            provider.policy.refusals[REFUSED] = Refusal(550, "5.1.1 Nobody here")
            for desk in self.desks:
                provider.open_mailbox(desk.address, self.canaries[desk.address], folders=("Taken",))

        self.server.call(furnish)
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.end()
        finally:
            self.server.__exit__(None, None, None)

    def deliver(self, mails: Iterable[tuple[str, bytes, str]]) -> None:
        """Put mail into folders: (address, content, folder)."""
        batch = list(mails)

        def there() -> None:
            for address, content, folder in batch:
                self.server.provider.deliver(address, content, folder)

        self.server.call(there)

    def renumber(self, address: str, folder: str = "INBOX") -> int:
        """A new UIDVALIDITY for a folder; its mail is the same as before. The new value."""
        epoch = self.server.renumber(address, folder)
        held = self.server.provider.ledger.held
        self._again |= {key for key in list(held) if key.address == address and key.epoch == epoch}
        return epoch

    @property
    def accepted(self) -> list[Submitted]:
        """Every mail that the provider's submission server took."""
        return list(self.server.provider.submitted)

    # -- the daemon's life -------------------------------------------------------------------------------------------

    def launch(
        self,
        prefix: Sequence[str] = (),
        env: Mapping[str, str] = {},
        *,
        program: Sequence[str] = (),
        points: Sequence[str] = (),
        listen: Mapping[str, int] = {},
    ) -> None:
        """Start the daemon without waiting for it.

        ``prefix`` stands before the whole command line, ``program`` replaces ``python -m tests.faults.inside --`` in
        it; ``points`` are crash points (``NAME:COUNT``), ``listen`` sockets handed over as systemd does (name -> fd).
        """
        assert self.ended, "the daemon that is there would keep the store from the next one"
        arguments = ["run", "--config", str(self.daemon.toml)]
        env = {HURRY: "1", REACHED: str(self.reached_file), **env}
        if self.nursery is not None and not prefix and not program:
            self.daemon.started(
                self.nursery.start(arguments, log=self.daemon.log, env=env, points=points, listen=listen)
            )
            return
        words = [*program] or [sys.executable, "-m", "tests.faults.inside", *points, "--"]
        with open(self.daemon.log, "ab") as log:
            process = subprocess.Popen(
                [*prefix, *words, *arguments],
                cwd=ROOT, env=clean_environment(env), stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
        self.daemon.started(process)

    def start(
        self,
        prefix: Sequence[str] = (),
        env: Mapping[str, str] = {},
        *,
        program: Sequence[str] = (),
        points: Sequence[str] = (),
        listen: Mapping[str, int] = {},
        patience: float = 30.0,
    ) -> bool:
        """Start the daemon and wait until it answers; the first time it is furnished. False: it ended before that."""
        self.launch(prefix, env, program=program, points=points, listen=listen)
        if self.up(patience) and self._furnished():
            return True
        if self.wait_ended(patience) is None:
            raise TimeoutError(f"the daemon neither answers nor ends:\n{self.daemon.words()}")
        return False

    def up(self, patience: float = 30.0) -> bool:
        """Wait until the daemon answers; False when it ended instead. Raises TimeoutError with its last words."""
        deadline = time.monotonic() + patience
        while True:
            try:
                self.daemon.call(GetStatus())
                return True
            except Unreachable:
                if self.ended:
                    return False
                if time.monotonic() > deadline:
                    raise TimeoutError(f"the daemon does not answer:\n{self.daemon.words()}") from None
                time.sleep(0.01)

    @property
    def ended(self) -> bool:
        """Whether the daemon does not run (any more)."""
        return self.daemon.process is None or self.daemon.process.poll() is not None

    def kill(self) -> None:
        """SIGKILL, and wait for the end; nothing when it is dead already."""
        process = self.daemon.process
        assert process is not None
        process.kill()
        process.wait(30)
        self.deaths += 1

    def wait_ended(self, patience: float) -> int | None:
        """Wait until the daemon ends by itself: its exit code (negative: a signal), or None when it does not."""
        assert self.daemon.process is not None
        try:
            code = self.daemon.process.wait(patience)
        except subprocess.TimeoutExpired:
            return None
        self.deaths += 1
        return code

    def stop(self, patience: float = 60.0) -> int:
        """SIGTERM, and its exit code."""
        process = self.daemon.process
        assert process is not None
        process.send_signal(signal.SIGTERM)
        return process.wait(patience)

    def end(self) -> None:
        """No daemon runs when this returns."""
        if not self.ended:
            process = self.daemon.process
            assert process is not None
            process.kill()
            process.wait(30)

    @property
    def reached_file(self) -> Path:
        """Where a daemon that dies at a crash point says at which."""
        return self.folder / "reached"

    def reached(self) -> list[str]:
        """The crash points that were reached so far, in order."""
        return self.reached_file.read_text().split() if self.reached_file.exists() else []

    def _furnished(self) -> bool:
        """Everything that an admin decides; repeated at each start until all of it is there."""
        if self._is_furnished:
            return True
        try:
            Admin(self.daemon, self.server, self.canaries, self.relay_secret).furnish(self.desks)
        except Unreachable:
            return False
        self._is_furnished = True
        return True

    @property
    def furnished(self) -> bool:
        """Whether its touchpoints are there and active."""
        return self._is_furnished

    def reconnect(self, address: str) -> None:
        """A person proves the same password again: it is sealed and stored anew. Raises Unreachable."""
        self.daemon.call(ConnectTouchpoint(touchpoint=address, password=self.canaries[address]))

    def lose_answers(self, count: int) -> None:
        """The provider takes the next mails without an answer: the connection is reset instead."""

        def there() -> None:
            self.server.provider.policy.swallow_answers = count

        self.server.call(there)

    # -- load --------------------------------------------------------------------------------------------------------

    def load(self, seconds: float, inbound: float = 60.0, outbound: float = 25.0) -> Load:
        """Mail in and out at these rates (mails a second) for some seconds; the figures of it."""
        with Load(self, inbound, outbound) as load:
            time.sleep(seconds)
        self.notes += load.faults
        return load

    def client(self, timeout: float = 10.0) -> RelayClient:
        """A relay client that writes into the clients' ledger."""
        return RelayClient(self.relay_port, self.tries, timeout=timeout)

    # -- the truth ---------------------------------------------------------------------------------------------------

    def quiesce(self, patience: float = 60.0) -> list[str]:
        """Wait until all that was put is taken and all that was accepted has its end; what is left, else nothing."""
        deadline = time.monotonic() + patience
        while True:
            left = self._left()
            if not left or time.monotonic() > deadline:
                return left
            if self.ended:
                return [f"the daemon ended:\n{self.daemon.words()[-1500:]}", *left]
            time.sleep(0.1)

    def _left(self) -> list[str]:
        try:
            with closing(sqlite3.connect(f"file:{self.daemon.store}?mode=ro", uri=True, timeout=5)) as store:
                return unfinished(store, self.server.call(self._now_held))
        except sqlite3.Error as error:
            return [f"the store cannot be read: {error}"]

    def _now_held(self) -> list[ItemKey]:
        """What lies in the watched folders now; on the provider's loop."""
        boxes = self.server.provider.mailboxes
        keys: list[ItemKey] = []
        for desk in self.desks:
            box = boxes.find(desk.address)
            assert box is not None
            keys += [box.folders[name].key(uid) for name in WATCHED for uid in box.folders[name].messages]
        return keys

    def crash_check(self) -> list[Violation]:
        """Right after a death, before the next start: what must hold in every crash. Reads a copy of the store."""
        self.checked += 1
        with tempfile.TemporaryDirectory(prefix="postroom-crash-") as folder:
            copy = self._copy(Path(folder))
            if copy is None:
                return []
            with closing(copy):
                evidence = self.evidence(copy)
                found = in_a_crash(evidence)
                self._due = evidence.due()
                return found

    def check(self, *, quiet: bool = True, besides: Collection[str] = ()) -> list[Violation]:
        """Every invariant that can be evaluated, ``besides`` those of these numbers.

        ``quiet``: the house came to rest, so that nothing may be missing.
        """
        with tempfile.TemporaryDirectory(prefix="postroom-check-") as folder:
            copy = self._copy(Path(folder))
            if copy is None:
                return [Violation("I6", "there is no store")]
            with closing(copy):
                evidence = self.evidence(copy)
                found = at_rest(evidence, besides) if quiet else in_a_crash(evidence)
        if quiet and not self.ended:
            found += self._proved()
        return found

    def _proved(self) -> list[Violation]:
        """What the daemon itself says by ``prove``, and by ``replay``, where it has them."""
        from tests.faults.checker import proof

        return proof(self.daemon)

    def _copy(self, folder: Path) -> sqlite3.Connection | None:
        """A connection to a copy of the store as it is now, recovered as SQLite would."""
        store = self.daemon.store
        if not store.exists():
            return None
        target = folder / store.name
        if self.ended:
            for suffix in ("", "-wal"):
                part = store.with_name(store.name + suffix)
                if part.exists():
                    target.with_name(store.name + suffix).write_bytes(part.read_bytes())
            copy = sqlite3.connect(target)
            empty = copy.execute("SELECT count(*) FROM sqlite_master WHERE name = 'entry'").fetchone() == (0,)
            if empty and not self._is_furnished:  # it died before it had a schema
                copy.close()
                return None
            return copy
        copy = sqlite3.connect(target)
        with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True, timeout=10)) as live:
            live.backup(copy)
        return copy

    def evidence(self, store: sqlite3.Connection) -> Evidence:
        """All ledgers as they are now, beside this copy of the store."""
        held, flags, submitted = self.server.call(self._ledgers)
        return Evidence(
            store=store,
            desks=self.desks,
            held={key: digest for key, digest in held.items() if key.folder in WATCHED},
            again=frozenset(self._again),
            flags=flags,
            accepts=[Accept.of(each) for each in submitted],
            tries=list(self.tries),
            due_before=self._due,
            deaths=self.deaths,
            ring_groups=frozenset({RING_GROUP}),
            secrets=(*self.canaries.values(), self.relay_secret),
            files=[self.daemon.log, self.daemon.store, self.daemon.store.with_name(self.daemon.store.name + "-wal")],
            notified=RELAY_NOTIFY,
        )

    def _ledgers(self) -> tuple[dict[ItemKey, str], dict[ItemKey, frozenset[str]], list[Submitted]]:
        """On the provider's loop."""
        provider = self.server.provider
        flags: dict[ItemKey, frozenset[str]] = {}
        for desk in self.desks:
            box = provider.mailboxes.find(desk.address)
            assert box is not None
            for name in WATCHED:
                folder = box.folders[name]
                flags |= {folder.key(uid): frozenset(each.flags) for uid, each in folder.messages.items()}
        return dict(provider.ledger.held), flags, list(provider.submitted)

    def account(self) -> dict[str, int]:
        """Both lines of the daemon's account."""
        return self.daemon.account()

    def keep(self, violations: Iterable[Violation] = ()) -> None:
        """Write the ledgers beside the state, for a person to look at."""
        held, flags, submitted = self.server.call(self._ledgers)
        plain = {
            "seed": str(self.seed),
            "violations": [str(each) for each in violations],
            "held": [[*key, digest, sorted(flags.get(key, ()))] for key, digest in held.items()],
            "accepted": [
                {"message_id": each.message_id, "sender": each.sender, "recipients": each.recipients,
                 "user": each.user, "at": each.at, "size": len(each.content)}
                for each in submitted
            ],
            "tries": [[each.message_id, each.answer, each.words, each.sender, each.recipients, each.at]
                      for each in self.tries],
        }  # fmt: skip
        (self.folder / "ledgers.json").write_text(json.dumps(plain, indent=1) + "\n", "utf-8")


def scratch() -> Path:
    """A short folder on the fastest disk that takes a store; for houses outside a run of the bench."""
    return Path(tempfile.mkdtemp(prefix="pr-house-", dir="/tmp" if os.access("/tmp", os.W_OK) else None))
