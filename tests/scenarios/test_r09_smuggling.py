"""Scenario 9: sequences that some server takes for the end of data, cut at every byte; judged by what was stored.

Replies are not counted: a client that reads them in pieces sees more than there are. What counts is how many mails
lie in the spool, and how many the next hop got.
"""

from __future__ import annotations

import asyncio
import contextlib

from gateway.control import AddRelayUser
from tests.scenarios.inside import PASSWORD, PLAIN, Inside, inside
from tests.unit.relaying import Client
from tests.unit.test_relay_data import SMUGGLING

DESK = "desk@shop.example"
HEAD = f"From: {DESK}\r\nMessage-ID: <1@shop.example>\r\nDate: Mon, 23 Nov 2026 10:00:00 +0000\r\n\r\nfirst".encode()
SECOND = f"MAIL FROM:<{DESK}>\r\nRCPT TO:<victim@far.example>\r\nDATA\r\n".encode() + HEAD.replace(
    b"<1@", b"<2@"
).replace(b"first", b"second")
END = b"\r\n.\r\n"


async def test_r09_no_second_mail_is_stored_here_or_at_the_next_hop() -> None:
    async with inside(PLAIN) as house:
        await house.furnish(DESK)
        await house.call(AddRelayUser(name="printer", password=PASSWORD, grants=(DESK,)))
        for sequence in SMUGGLING.values():
            for cut in range(len(sequence) + 3):
                at = len(HEAD) - 1 + cut
                wire = HEAD + sequence + SECOND + END
                await _hand_in(house, wire[:at], wire[at:])
        await house.until_still()
        assert [row.subject for row in await house.mails("out")] == []
        assert house.provider.submitted == []

        for cut in range(len(END) + 1):  # and the true end, wherever it is cut, ends one mail
            at = len(HEAD) + cut
            await _hand_in(house, (HEAD + END)[:at], (HEAD + END)[at:])
        await _hand_in(house, HEAD + b"\r\n..\r\n...\r\nMAIL FROM:<x@y.example>" + END)
        await _hand_in(house, HEAD + END + SECOND, END)
        await house.until_still()
        expected = [HEAD + b"\r\n"] * (len(END) + 1)
        expected += [HEAD + b"\r\n.\r\n..\r\nMAIL FROM:<x@y.example>\r\n", HEAD + b"\r\n"]
        assert len(await house.mails("out")) == len(expected)
        got = [mail.content.partition(b"\r\nFrom: ")[2] for mail in house.provider.submitted]
        assert sorted(got) == sorted(content.removeprefix(b"From: ") for content in expected)


async def _hand_in(house: Inside, *segments: bytes) -> None:
    """An envelope, and these segments of content one after the other; until the daemon has said all it has to say."""
    client = await Client.connect(house.daemon.ports["plain"])
    await client.ask("EHLO printer.example")
    assert (await client.ask(f"MAIL FROM:<{DESK}>")).startswith("250")
    await client.ask("RCPT TO:<buyer@example.org>")
    await client.ask("DATA")
    with contextlib.suppress(ConnectionError):
        for segment in segments:
            client.writer.write(segment)
            await client.writer.drain()
            for _ in range(10):
                await asyncio.sleep(0)
        client.writer.write(b"QUIT\r\n")
        await client.reader.read()
    client.close()
