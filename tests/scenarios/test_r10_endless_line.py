"""Scenario 10: a DATA line that never ends is cut off at the limit, and costs no memory."""

from __future__ import annotations

import asyncio
import tracemalloc

from gateway.control import AddRelayUser
from tests.scenarios.inside import PASSWORD, PLAIN, inside
from tests.unit.relaying import Client

DESK = "desk@shop.example"
MIB = 1 << 20


async def test_r10_an_endless_line_ends_at_the_limit() -> None:
    async with inside("[relay]\nlargest_mail = 1048576\n" + PLAIN) as house:
        await house.furnish(DESK)
        await house.call(AddRelayUser(name="printer", password=PASSWORD, grants=(DESK,)))
        client = await Client.connect(house.daemon.ports["plain"])
        await client.ask("EHLO printer.example")
        await client.ask(f"MAIL FROM:<{DESK}>")
        await client.ask("RCPT TO:<buyer@example.org>")
        assert (await client.ask("DATA")).startswith("354")
        tracemalloc.start()
        answer, sent = asyncio.ensure_future(client.answer()), 0
        try:
            while not answer.done() and sent < 5 * 1024 * MIB:
                client.writer.write(b"x" * 65536)
                sent += 65536
                await client.writer.drain()
                await asyncio.sleep(0)
        except ConnectionError:
            pass
        said = await answer
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        client.close()
        assert said[:3] in ("500", "550", "552")
        assert sent < 16 * MIB, "long before 5 GB"
        assert peak < 16 * MIB
        assert await house.mails("out") == []
        assert house.daemon._relay.in_hand == 0
