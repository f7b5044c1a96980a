"""Scenario 29: mail that breaks readers is taken, decided, opened and relayed like any other, and stops nobody.

What it costs those beside it is measured by the fault bench; here every mail of its table passes through the real
intake, the reading calls and the relay.
"""

from __future__ import annotations

from gateway.client import CallFailed
from gateway.control import AddRelayUser, ListMail, ReadText, ShapeOutbox, ShowMail, Why
from tests.faults.hostile import BUYER, DESK, MAILS, mail
from tests.scenarios.inside import PASSWORD, PLAIN, inside

BIG = 1 << 20
SMALL = {name: data for name, make in MAILS.items() if len(data := make()) <= BIG}
"""The biggest are for the fault bench."""
HEADLESS = {"no header section", "nothing but NUL", "nothing"} & SMALL.keys()
"""Nobody is their author: they are for a person to look at."""


async def test_r29_every_bomb_is_taken_decided_and_opened() -> None:
    async with inside() as house:
        await house.furnish(DESK, auto_reply="We have your mail.", signature="The desk")
        for data in SMALL.values():
            house.provider.deliver(DESK, data)
        house.provider.deliver(DESK, mail("Subject: the last one", "Message-ID: <last@example.org>"))
        await house.until_taken(len(SMALL) + 1)
        await house.until_still()
        account = await house.account()
        assert account["queued"] + account["stopped"] + account["held_in"] == account["taken"] == len(SMALL) + 1
        held = {(row.cause, row.size) for row in await house.mails("in", "held")}
        assert held == {("undecodable", len(SMALL[name])) for name in HEADLESS}
        assert account["lost"] == 0
        assert account["auto_replied"] == 1, "one sender, one answer"
        rows = (await house.call(ListMail(direction="in", limit=500))).rows
        assert rows[0].subject == "the last one"
        for row in (each for each in rows if each.size):
            text = await house.call(ReadText(id=row.id))
            assert len(text.text) <= 1 << 20
            assert await house.call(ShowMail(id=row.id))
            assert (await house.call(Why(id=row.id))).mails
        for by in ("domain", "recipient", "error"):
            try:
                await house.call(ShapeOutbox(by=by))
            except CallFailed as error:
                assert "by" in str(error)
        stored = {row.size for row in rows}
        assert {len(data) for data in SMALL.values()} <= stored


async def test_r29_every_bomb_is_relayed_or_refused() -> None:
    async with inside(PLAIN) as house:
        await house.furnish(DESK, signature="The desk")
        await house.call(AddRelayUser(name="printer", password=PASSWORD, signature=True, grants=(DESK,)))
        taken = 0
        for name, data in SMALL.items():
            ours = b"\r\n".join(data.replace(b"\r\n", b"\n").replace(b"\r", b"").split(b"\n"))
            ours = ours.replace(b"Buyer <" + BUYER.encode() + b">", DESK.encode(), 1)
            code, words = await house.submit(DESK, [BUYER], ours, user="")
            assert code in (250, 550), (name, code, words)
            taken += code == 250
        assert taken > len(SMALL) // 3
        await house.until_still()
        account = await house.account()
        assert (account["accepted"], account["lost"]) == (taken, 0)
        assert account["delivered"] + account["held_out"] + account["failed"] == taken
