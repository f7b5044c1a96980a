"""What the house is put under: mail that arrives at five mailboxes, and internal senders at the relay.

Every mail has an id of its own. The relay clients keep the ledger that matters most: what the relay answered to each
try, or that it did not. They never try one mail twice, so that one try is one intention at most.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import itertools
import random
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.faults.house import House

FAR = "far.example"
"""Where everybody else lives."""
REFUSED = f"nobody@{FAR}"
"""The provider answers 550 for this recipient."""
LATER = f"later@{FAR}"
"""The provider answers 451 for this recipient, the first time for each house."""


class Answer(StrEnum):
    """How a try ended, as the client knows it."""

    OK = "ok"
    """250 after the final dot."""
    REFUSED = "refused"
    """4xx or 5xx, at whatever command."""
    UNSENT = "unsent"
    """The connection ended before the final dot was handed over."""
    UNANSWERED = "unanswered"
    """The final dot was handed over, and no answer came."""


@dataclass(slots=True)
class Try:
    """One mail that a relay client tried to hand in."""

    message_id: str
    sha256: str
    sender: str
    recipients: tuple[str, ...]
    at: float
    answer: Answer = Answer.UNSENT
    words: str = ""


class Gone(Exception):
    """The relay did not answer."""


class RelayClient:
    """One connection to the relay, made anew when it broke; used by one thread."""

    def __init__(self, port: int, ledger: list[Try], *, timeout: float = 10.0, sign_in: tuple[str, str] | None = None
                 ) -> None:  # fmt: skip
        self._port = port
        self._ledger = ledger
        self._timeout = timeout
        self._sign_in = sign_in
        self._socket: socket.socket | None = None
        self._buffer = b""
        self.refused_connections = 0
        """How often nobody listened."""

    def ready(self) -> bool:
        """Whether there is a connection, or one can be made now."""
        if self._socket is None:
            try:
                self._connect()
            except (OSError, Gone):
                self.close()
        return self._socket is not None

    def submit(self, content: bytes, message_id: str, sender: str, recipients: tuple[str, ...]) -> Try:
        """Try one mail once; the ledger has it before the first byte goes."""
        digest = hashlib.sha256(content).hexdigest()
        attempt = Try(message_id, digest, sender, recipients, time.time())
        self._ledger.append(attempt)
        try:
            self._hand_in(attempt, content)
        except (OSError, Gone) as error:
            attempt.words = attempt.words or repr(error)
            self.close()
        return attempt

    def _hand_in(self, attempt: Try, content: bytes) -> None:
        if self._socket is None:
            self._connect()
        commands = [f"MAIL FROM:<{attempt.sender}>", *(f"RCPT TO:<{each}>" for each in attempt.recipients), "DATA"]
        for command in commands:
            code, words = self._ask(command.encode() + b"\r\n")
            if code >= 400:
                attempt.answer, attempt.words = Answer.REFUSED, f"{code} {words}"
                self.close()
                return
        self._put(re.sub(rb"(?m)^\.", b"..", content))
        attempt.answer = Answer.UNANSWERED
        code, words = self._ask(b".\r\n" if content.endswith(b"\r\n") else b"\r\n.\r\n")
        attempt.answer = Answer.OK if code == 250 else Answer.REFUSED
        attempt.words = f"{code} {words}"

    def _connect(self) -> None:
        try:
            self._socket = socket.create_connection(("127.0.0.1", self._port), self._timeout)
        except ConnectionRefusedError:
            self.refused_connections += 1
            raise
        self._buffer = b""
        self._reply()
        self._ask(b"EHLO client.example.org\r\n")
        if self._sign_in is not None:
            secret = base64.b64encode("\0".join(("", *self._sign_in)).encode())
            code, words = self._ask(b"AUTH PLAIN " + secret + b"\r\n")
            if code != 235:
                raise Gone(f"{code} {words}")

    def _ask(self, line: bytes) -> tuple[int, str]:
        self._put(line)
        return self._reply()

    def _put(self, data: bytes) -> None:
        assert self._socket is not None
        self._socket.sendall(data)

    def _reply(self) -> tuple[int, str]:
        assert self._socket is not None
        while True:
            line, found, rest = self._buffer.partition(b"\r\n")
            if found:
                self._buffer = rest
                if line[3:4] != b"-":
                    return int(line[:3]), line[4:].decode("utf-8", "replace")
                continue
            data = self._socket.recv(4096)
            if not data:
                raise Gone("the relay hung up")
            self._buffer += data

    def close(self) -> None:
        """Hang up without a word."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


# -- mail --------------------------------------------------------------------------------------------------------------


class Writer:
    """Writes mail with ids of its own; one for each house."""

    def __init__(self, dice: random.Random, tag: str) -> None:
        self._dice = dice
        self._tag = tag
        self._numbers = itertools.count(1)

    def inbound(self, to: str, *, size: int = 0) -> bytes:
        """A person's mail to a touchpoint; people write more than once."""
        n = next(self._numbers)
        sender = f"buyer{n % 40}@{FAR}"
        return self._mail(n, "in", sender, to, f"Order {n}", size, extra=f"Return-Path: <{sender}>\r\n")

    def outbound(self, sender: str, recipients: tuple[str, ...], *, size: int = 0) -> tuple[bytes, str]:
        """An answer of an internal sender, and its Message-ID."""
        n = next(self._numbers)
        return self._mail(n, "out", sender, ", ".join(recipients), f"Answer {n}", size), self._id(n, "out")

    def _id(self, n: int, way: str) -> str:
        return f"<{way}.{self._tag}.{n}@ids.{FAR}>"

    def _mail(self, n: int, way: str, sender: str, to: str, subject: str, size: int, extra: str = "") -> bytes:
        size = size or self._dice.choice((200, 700, 1500, 3000))
        line = "".join(self._dice.choices("abcdefghijklmnopqrstuvwxyz     .", k=70)).rstrip(" .") + "x\r\n"
        head = (
            f"{extra}From: <{sender}>\r\nTo: {to}\r\nSubject: {subject}\r\nMessage-ID: {self._id(n, way)}\r\n"
            "Date: Mon, 23 Nov 2026 10:00:00 +0000\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\n"
        )
        return (head + f"number {n}\r\n" + line * (size // len(line) + 1)).encode()


# -- load --------------------------------------------------------------------------------------------------------------


@dataclass
class Load:
    """Mail in and mail out at steady rates, by threads of the harness, until it is stopped."""

    house: House
    inbound: float
    """Mails a second into all touchpoints together; 0 is none."""
    outbound: float
    """Tries a second by all clients together; 0 is none."""
    clients: int = 3
    big_every: int = 60
    """Each so-many-th mail has 300 kB, so that it is streamed."""
    put: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    """What went wrong in the harness itself."""
    refused_connections: int = 0

    def __enter__(self) -> Load:
        if self.inbound:
            self._spawn(self._deliver)
        for number in range(self.clients if self.outbound else 0):
            self._spawn(partial(self._submit, number))
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """No more mail; returns when every try has its answer or its end."""
        self._stop.set()
        for thread in self._threads:
            thread.join(30)
            if thread.is_alive():
                self.faults.append("a client did not end")
        self._threads.clear()

    def _spawn(self, work: Callable[[], None]) -> None:
        def guarded() -> None:
            try:
                work()
            except Exception as error:
                self.faults.append(f"the load ended: {error!r}")

        self._threads.append(threading.Thread(target=guarded, daemon=True))
        self._threads[-1].start()

    def _ticks(self, rate: float) -> Iterator[int]:
        """1, 2, 3 ... at a rate; what was missed for more than a second is not made up for."""
        due = time.monotonic()
        for number in itertools.count(1):
            due = max(due + 1.0 / rate, time.monotonic() - 1.0)
            if self._stop.wait(max(0.0, due - time.monotonic())):
                return
            yield number

    def _deliver(self) -> None:
        for number in self._ticks(self.inbound / 5):  # five at once: fewer turns of the provider's loop
            batch = []
            for part in range(5):
                desk = self.house.desks[(number * 5 + part) % len(self.house.desks)]
                folder = "Junk" if (number * 5 + part) % 20 == 7 else "INBOX"
                size = 300_000 if (number * 5 + part) % (self.big_every * 2) == 11 else 0
                batch.append((desk.address, self.house.writer.inbound(desk.address, size=size), folder))
            self.house.deliver(batch)
            self.put += 5

    def _submit(self, number: int) -> None:
        dice = random.Random(f"{self.house.name}/{number}")
        client = RelayClient(self.house.relay_port, self.house.tries)
        try:
            for n in self._ticks(self.outbound / self.clients):
                desk = dice.choice(self.house.desks)
                recipients = self._recipients(dice, n)
                size = 300_000 if n % self.big_every == 9 else 0
                content, message_id = self.house.writer.outbound(desk.address, recipients, size=size)
                while not client.ready():
                    if self._stop.wait(0.02):
                        return
                client.submit(content, message_id, desk.address, recipients)
        finally:
            self.refused_connections += client.refused_connections
            client.close()

    def _recipients(self, dice: random.Random, n: int) -> tuple[str, ...]:
        names = [f"reader{dice.randrange(1000)}@{FAR}"]
        if n % 5 == 0:
            names.append(f"reader{1000 + dice.randrange(1000)}@{FAR}")
        if n % 17 == 3:
            names = [REFUSED]
        elif n % 19 == 4:
            names.append(REFUSED)
        elif n % 23 == 5:
            names = [dice.choice(self.house.desks).address]
        return tuple(names)


@contextlib.contextmanager
def loaded(house: House, inbound: float, outbound: float, *, clients: int = 3) -> Iterator[Load]:
    """The house under load for as long as the block runs."""
    with Load(house, inbound, outbound, clients) as load:
        yield load
    house.notes += load.faults
