"""Scenario 24: the path dies while the server is asked by IDLE; found out within six minutes, and nothing is lost."""

from __future__ import annotations

import asyncio
import socket

from gateway import settings
from gateway.connectors import imap_client
from gateway.connectors.imap_wire import Limits
from tests.scenarios.inside import inside, letter
from tests.servers.fault_proxy import FaultProxy, Trouble

DESK, BUYER = "desk@shop.example", "buyer@example.org"
SIX_MINUTES = 360.0


async def test_r24_a_blackhole_is_found_out_and_what_came_meanwhile_is_taken() -> None:
    async with (
        inside("[intake]\nsweep_seconds = 1.0\ntimeout_seconds = 1.0\n") as house,
        FaultProxy(house.provider.imap_port) as proxy,
    ):
        await house.furnish(DESK, imap=proxy.port)
        house.provider.deliver(DESK, letter(BUYER, DESK, "before"))
        await house.until_taken(1)
        proxy.trouble = Trouble.STALL  # every path is dead now, old and new, and nobody is told
        house.provider.deliver(DESK, letter(BUYER, DESK, "meanwhile"))
        row = await house.until_state(DESK, "backoff")
        assert row.cause == "timeout", row
        assert (await house.account())["taken"] == 1
        proxy.trouble = Trouble.NONE
        await house.until_taken(2)
        assert sorted(mail.subject for mail in await house.mails("in")) == ["before", "meanwhile"]
        assert (await house.account())["lost"] == 0


def test_r24_the_defaults_find_out_within_six_minutes() -> None:
    intake = settings.load(None).intake
    asked_after = min(intake.sweep_seconds, intake.idle_seconds)
    assert asked_after + Limits().done <= SIX_MINUTES


async def test_r24_the_kernel_finds_out_too() -> None:
    """Keep-alive probes, for networks that drop what is silent."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as sock:
        imap_client._keep_alive(sock)
        idle, pause, count = (
            sock.getsockopt(socket.IPPROTO_TCP, option)
            for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        )
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert idle + pause * count <= SIX_MINUTES
    await asyncio.sleep(0)
