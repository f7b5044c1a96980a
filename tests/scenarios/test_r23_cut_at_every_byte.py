"""R23: the connection is cut at every byte of the send dialogue, the server's and ours; the class is right at each.

The oracle is what the server knows: it had the whole content, or it had not; its word on that went out whole, or not.
What it never had whole may be sent again at no cost; what it answered is known; all between is unknown, and nothing
else is.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest

from gateway.connectors import Outcome, Outgoing
from gateway.connectors.smtp import SmtpSending, SmtpTimeouts
from pipeline.errors import NeedsPerson, Poison, PostroomError
from pipeline.touchpoint import Security, SentCopy, Server
from tests.unit.housing import BOTH, a_house, hurry, until

TIMES = SmtpTimeouts(connect=5, command=5, block=5, after_dot=5, goodbye=0.1)
CONTENT = b"Subject: Your order\r\nMessage-ID: <1@shop.example>\r\n\r\nIt is\r\n.on its way\r\n"
REPLIES = {
    "": b"220 far.example ESMTP\r\n",
    "EHLO": b"250-far.example\r\n250-SIZE 1000000\r\n250 AUTH PLAIN\r\n",
    "AUTH": b"235 2.7.0 Welcome\r\n",
    "MAIL": b"250 2.1.0 OK\r\n",
    "RCPT": b"250 2.1.5 OK\r\n",
    "DATA": b"354 Go on\r\n",
    ".": b"250-2.0.0 Taken\r\n250 2.0.0 as 4711\r\n",
}
DIALOGUE = b"".join(REPLIES.values())
SAID_354 = DIALOGUE.index(REPLIES["."])
"""Bytes that the server has said once it waits for the content."""


@dataclass
class Cutter:
    """A server that says ``says`` bytes in all, hears ``hears`` bytes, and is gone."""

    says: int = len(DIALOGUE)
    hears: int = 1 << 30
    reset: bool = False
    """By RST instead of FIN."""
    heard: bytearray = field(default_factory=bytearray)
    said: int = 0
    connections: int = 0
    port: int = 0

    @property
    def took(self) -> bool:
        """Whether it had the whole content."""
        return b"\r\n.\r\n" in self.heard

    @property
    def answered(self) -> bool:
        """Whether its word on the content went out whole."""
        return self.took and self.said >= len(DIALOGUE)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Cutter]:
        """Listens, for one connection that counts; any further one is refused at its greeting."""
        server = await asyncio.start_server(self._talk, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            if self.connections == 1:
                await self._dialogue(reader, writer)
            else:
                writer.write(b"421 4.3.2 not now\r\n")
        except ConnectionError:
            pass
        finally:
            if self.reset:
                sock = writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
            writer.close()

    async def _dialogue(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._say(writer, "")
        while line := await self._hear(reader, b"\r\n"):
            verb = line.split(b" ")[0].strip().upper().decode()
            if verb not in REPLIES:
                return
            await self._say(writer, verb)
            if verb == "DATA":
                await self._hear(reader, b"\r\n.\r\n")
                await self._say(writer, ".")

    async def _hear(self, reader: asyncio.StreamReader, end: bytes) -> bytes:
        """Up to this end, or cut off."""
        line = bytearray()
        while not line.endswith(end):
            if len(self.heard) >= self.hears or not (byte := await reader.read(1)):
                raise ConnectionResetError
            line += byte
            self.heard += byte
        return bytes(line)

    async def _say(self, writer: asyncio.StreamWriter, place: str) -> None:
        reply = REPLIES[place][: self.says - self.said]
        self.said += len(reply)
        writer.write(reply)
        await writer.drain()
        if len(reply) < len(REPLIES[place]):
            raise ConnectionResetError


def outgoing() -> Outgoing:
    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(CONTENT), 20):
            yield CONTENT[start : start + 20]

    return Outgoing(
        sender="desk@shop.example", recipients=("buyer@far.example",), message_id="<1@shop.example>",
        size=len(CONTENT), chunks=chunks,
    )  # fmt: skip


def sending(port: int) -> SmtpSending:
    server = Server(host="127.0.0.1", port=port, security=Security.NONE)
    return SmtpSending(server, "desk", "secret", timeouts=TIMES)


async def class_of(cutter: Cutter) -> str:
    """What the connector makes of it: safe, known or unknown."""

    async def before_data(left_out: Sequence[str] = ()) -> None:
        return None

    connector = sending(cutter.port)
    try:
        result = await connector.send(outgoing(), before_data)
    except PostroomError as error:
        assert not isinstance(error, (NeedsPerson, Poison)), error
        return "safe"
    finally:
        await connector.close()
    match result.outcome:
        case Outcome.RETRY:
            assert result.code == 0, result
            return "safe"
        case Outcome.UNKNOWN:
            return "unknown"
        case _:
            assert (result.outcome, result.code) == (Outcome.ACCEPTED, 250), result
            return "known"


@pytest.mark.parametrize("reset", [False, True], ids=["fin", "rst"])
async def test_the_server_is_cut_at_each_of_its_bytes(reset: bool) -> None:
    seen: dict[str, int] = {}
    for said in range(len(DIALOGUE) + 1):
        async with Cutter(says=said, reset=reset).serving() as cutter:
            found = await class_of(cutter)
        expected = "known" if cutter.answered else "unknown" if said >= SAID_354 else "safe"
        if reset and expected == "known":  # a reset may overtake the answer
            assert found in ("known", "unknown"), said
        else:
            assert found == expected, f"cut after {said} bytes: {DIALOGUE[:said][-30:]!r}"
        seen[found] = seen.get(found, 0) + 1
    assert seen.keys() >= {"safe", "unknown"}


async def our_bytes() -> bytes:
    """All that we say, up to the answer to the content."""
    async with Cutter().serving() as cutter:
        assert await class_of(cutter) == "known"
    whole = bytes(cutter.heard)
    return whole[: whole.index(b"\r\n.\r\n") + 5]


@pytest.mark.parametrize("reset", [False, True], ids=["fin", "rst"])
async def test_we_are_cut_at_each_of_our_bytes(reset: bool) -> None:
    ours = await our_bytes()
    before_content = ours.index(b"DATA\r\n") + 6
    for heard in range(len(ours) + 1):
        async with Cutter(hears=heard, says=SAID_354, reset=reset).serving() as cutter:
            found = await class_of(cutter)
        where = f"cut after {heard} bytes: {ours[:heard][-30:]!r}"
        if heard < before_content:
            assert found == "safe", where
        elif cutter.took:
            assert found == "unknown", where
        else:  # whether all of it had left us by then is the network's secret; that it was answered is not possible
            assert found in ("safe", "unknown"), where


FATES = {"safe": {"waiting"}, "known": {"delivered"}, "unknown": {"unknown"}}


@pytest.mark.parametrize("said", [*range(0, len(DIALOGUE) + 1, 40), SAID_354, len(DIALOGUE) - 1, len(DIALOGUE)])
async def test_the_spool_says_so_too(said: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same through the lane and the store: nothing is lost, and what is unknown is not sent again."""
    hurry(monkeypatch)
    monkeypatch.setattr("pipeline.retry.BACKOFF_FIRST", 1000.0)
    async with (
        Cutter(says=said).serving() as cutter,
        a_house(connection=replace(BOTH, sent_copy=SentCopy.PROVIDER)) as house,
    ):

        async def made(touchpoint: object) -> SmtpSending:
            return sending(cutter.port)

        house.services.sending = made
        await house.room.relay(1)
        house.at_work()
        await until(lambda: {"touchpoint.backoff", "mail.delivered"} & {fact.what.value for fact in house.facts()})
        (state,) = await house.values("SELECT CASE state WHEN 'done' THEN disposition ELSE state END FROM entry")
        assert state == ("delivered" if cutter.answered else "unknown" if said >= SAID_354 else "waiting")
        assert cutter.connections == 1
