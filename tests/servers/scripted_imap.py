"""A hostile IMAP server that plays a script: each test says what is sent, byte by byte, after which command.

``async with ScriptedImap(script) as server`` listens on a free loopback port and runs ``script(dialogue)`` once for
each connection. What goes wrong in a script is raised where the server ends. ``Box`` is a script ready made: a small
mailbox that serves what it holds, but for the places where a test has it lie.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

CAPABILITIES = b"IMAP4rev1 IDLE UIDPLUS MOVE"
_TAGGED = re.compile(rb"(\S+) (.*)", re.DOTALL)
_LITERAL = re.compile(rb"\{(\d+)\}$")


class Dialogue:
    """One connection, seen from the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.tag = b""
        self.heard: list[bytes] = []
        """All commands so far, without their tags; literals in place."""

    async def send(self, data: bytes) -> None:
        """Say something; ``TAG`` stands for the tag of the last command."""
        self._writer.write(data.replace(b"TAG", self.tag))
        await self._writer.drain()

    def push(self, data: bytes) -> None:
        """Say something without waiting for the client to take it."""
        self._writer.write(data)

    async def line(self) -> bytes:
        """The next line, without its end; b"" when the client is gone."""
        return (await self._reader.readline()).rstrip(b"\r\n")

    async def command(self) -> bytes:
        """The next command without its tag, its literals asked for; b"" when the client is gone."""
        line = await self.line()
        while match := _LITERAL.search(line):
            await self.send(b"+ go on\r\n")
            line += b"\r\n" + await self._reader.readexactly(int(match[1])) + await self.line()
        if (tagged := _TAGGED.match(line)) is None:
            return line
        self.tag = tagged[1]
        self.heard.append(tagged[2])
        return tagged[2]

    async def expect(self, word: bytes, answer: bytes = b"TAG OK done\r\n") -> bytes:
        """The next command, which must begin so; then ``answer`` is sent."""
        said = await self.command()
        assert said.upper().startswith(word.upper()), (word, said)
        await self.send(answer)
        return said

    async def greet(self) -> None:
        """An ordinary beginning, up to the end of CAPABILITY."""
        await self.send(b"* OK ready\r\n")
        await self.expect(b"CAPABILITY", b"* CAPABILITY %b\r\nTAG OK done\r\n" % CAPABILITIES)

    async def sign_in(self) -> None:
        """An ordinary beginning, up to the end of LOGIN."""
        await self.greet()
        await self.sign_in_only()

    async def sign_in_only(self) -> None:
        """An ordinary answer to LOGIN."""
        await self.expect(b"LOGIN", b"TAG OK [CAPABILITY %b] in\r\n" % CAPABILITIES)

    async def opened(self, *, exists: int = 1, epoch: int = 7, uidnext: int = 2) -> None:
        """An ordinary answer to EXAMINE or SELECT."""
        said = await self.command()
        assert said.upper().startswith((b"EXAMINE", b"SELECT")), said
        codes = b"* OK [UIDVALIDITY %d] v\r\n* OK [UIDNEXT %d] n\r\n" % (epoch, uidnext)
        await self.send(b"* FLAGS ()\r\n* %d EXISTS\r\n%bTAG OK [READ-WRITE] open\r\n" % (exists, codes))

    async def starttls(self, context: ssl.SSLContext) -> None:
        """Begin TLS on this connection."""
        await self._writer.start_tls(context)

    async def gone(self) -> None:
        """Until the client has left."""
        with contextlib.suppress(ConnectionError):
            while await self._reader.read(65536):
                pass

    def reset(self) -> None:
        """Tear the connection down with a RST."""
        sock = self._writer.get_extra_info("socket")
        with contextlib.suppress(OSError):  # it may be gone already
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


Script = Callable[[Dialogue], Awaitable[object]]


class ScriptedImap:
    """The server; ``dialogues`` keeps every connection for later questions."""

    host = "127.0.0.1"

    def __init__(self, script: Script, *, tls: ssl.SSLContext | None = None) -> None:
        self._script = script
        self._tls = tls
        self._errors: list[BaseException] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.dialogues: list[Dialogue] = []
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, self.host, 0, ssl=self._tls, limit=1 << 24)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._errors and error is None:
            raise self._errors[0]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        dialogue = Dialogue(reader, writer)
        self.dialogues.append(dialogue)
        try:
            await self._script(dialogue)
        except (ConnectionError, ssl.SSLError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client may leave, and the test may be over, at any time
        except AssertionError as error:
            self._errors.append(error)
        finally:
            self._tasks.discard(task)
            writer.close()


Lie = bytes | Callable[[Dialogue], Awaitable[object]]
"""What a box says instead of the truth, or does; ``TAG`` stands for the tag of the command."""
_FETCH = re.compile(rb"UID FETCH (\S+) \((.*)\)", re.IGNORECASE)
_WINDOW = re.compile(rb"BODY\.PEEK\[\](?:<(\d+)\.(\d+)>)?", re.IGNORECASE)


class Box:
    """A small, honest mailbox with an INBOX for ``ScriptedImap(box.play)``, until told to lie.

    ``lies`` maps what a command begins with (``UID FETCH``, or ``GREETING``) to what is said instead; ``bodies`` maps
    a UID to the whole answer to a FETCH of its body. ``deliver`` wakes whoever idles.
    """

    def __init__(self, *contents: bytes, epoch: int = 7, internaldate: bytes = b"23-Nov-2026 10:00:00 +0000") -> None:
        self.mails = dict(enumerate(contents, 1))
        self.epoch = epoch
        self.internaldate = internaldate
        self.lies: dict[bytes, Lie] = {}
        self.bodies: dict[int, Lie] = {}
        self.heard: list[bytes] = []
        self.signed_in = 0
        self.idling = 0
        """How often somebody began to idle."""
        self._idle: set[Dialogue] = set()
        self._all: set[Dialogue] = set()

    async def play(self, dialogue: Dialogue) -> None:
        """Serve one connection."""
        self._all.add(dialogue)
        try:
            await self._talk(dialogue)
        finally:
            self._all.discard(dialogue)

    def hang_up(self) -> None:
        """Reset every connection that is open."""
        for dialogue in list(self._all):
            dialogue.reset()

    async def _talk(self, dialogue: Dialogue) -> None:
        await self._say(dialogue, b"GREETING", b"* OK ready\r\n")
        while command := await dialogue.command():
            self.heard.append(command)
            word = command.upper()
            self.signed_in += word.startswith(b"LOGIN")
            if word == b"IDLE" and b"IDLE" not in self.lies:
                await self._be_idle(dialogue)
            elif (fetch := _FETCH.match(command)) and (window := _WINDOW.search(fetch[2])):
                await self._serve(dialogue, word, self._uids(fetch[1]), window)
            else:
                await self._say(dialogue, word, self._answer(word, command))
                if word.startswith(b"LOGOUT"):
                    return

    def deliver(self, *contents: bytes) -> None:
        """More mail, announced to whoever idles."""
        for content in contents:
            self.mails[max(self.mails, default=0) + 1] = content
        self.tell(b"* %d EXISTS\r\n" % len(self.mails))

    def tell(self, data: bytes) -> None:
        """Say something to whoever idles."""
        for dialogue in self._idle:
            dialogue.push(data)

    async def _be_idle(self, dialogue: Dialogue) -> None:
        await dialogue.send(b"+ idling\r\n")
        self._idle.add(dialogue)
        self.idling += 1
        try:
            await dialogue.line()
        finally:
            self._idle.discard(dialogue)
        await dialogue.send(b"TAG OK done\r\n")

    async def _say(self, dialogue: Dialogue, word: bytes, truth: bytes) -> None:
        lie: Lie = next((lie for begin, lie in self.lies.items() if word.startswith(begin)), truth)
        if isinstance(lie, bytes):
            await dialogue.send(lie)
        else:
            await lie(dialogue)

    async def _serve(self, dialogue: Dialogue, word: bytes, uids: list[int], window: re.Match[bytes]) -> None:
        begin, length = int(window[1] or 0), int(window[2] or 1 << 40)
        origin = b"<%d>" % begin if window[1] else b""
        for uid in uids:
            data = self.mails[uid][begin : begin + length]
            row = b"* %d FETCH (UID %d BODY[]%b {%d}\r\n%b)\r\n" % (uid, uid, origin, len(data), data)
            lie = self.bodies.get(uid, row)
            if isinstance(lie, bytes):
                await dialogue.send(lie)
            else:
                await lie(dialogue)
        await self._say(dialogue, word, b"TAG OK done\r\n")

    def _answer(self, word: bytes, command: bytes) -> bytes:
        if word.startswith((b"CAPABILITY", b"LOGIN")):
            return b"* CAPABILITY %b\r\nTAG OK done\r\n" % CAPABILITIES
        if word.startswith((b"EXAMINE", b"SELECT")):
            uidnext = max(self.mails, default=0) + 1
            codes = b"* OK [UIDVALIDITY %d] v\r\n* OK [UIDNEXT %d] n\r\n" % (self.epoch, uidnext)
            return b"* %d EXISTS\r\n%bTAG OK [READ-ONLY] open\r\n" % (len(self.mails), codes)
        if word.startswith(b"LIST"):
            return b'* LIST () "/" INBOX\r\nTAG OK done\r\n'
        if word.startswith(b"UID SEARCH UID"):
            found = b" ".join(b"%d" % uid for uid in self._uids(command.split()[3]))
            return b"* SEARCH %b\r\nTAG OK done\r\n" % found
        if fetch := _FETCH.match(command):
            return b"".join(map(self._listed, self._uids(fetch[1]))) + b"TAG OK done\r\n"
        return b"TAG OK done\r\n"

    def _listed(self, uid: int) -> bytes:
        size = len(self.mails[uid])
        return b'* %d FETCH (UID %d RFC822.SIZE %d INTERNALDATE "%b")\r\n' % (uid, uid, size, self.internaldate)

    def _uids(self, uid_set: bytes) -> list[int]:
        last = max(self.mails, default=0)
        found: set[int] = set()
        for span in uid_set.split(b","):
            low, _, high = span.partition(b":")
            ends = sorted(last if end == b"*" else int(end) for end in (low, high or low))
            found |= {uid for uid in self.mails if ends[0] <= uid <= ends[1]}
        return sorted(found)
