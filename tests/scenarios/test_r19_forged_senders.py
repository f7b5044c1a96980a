"""Scenario 19: ten thousand mails with forged senders get no auto-reply: nobody is told what he never asked."""

from __future__ import annotations

import pytest

from pipeline import touchpoints
from pipeline.store import Tx
from pipeline.touchpoints import TemplateKind
from stages.auto_reply import AutoReplyStage
from tests.unit.deciding import a_context, decide_mail
from tests.unit.housing import a_house, hurry, until
from tests.unit.making import NOW, OURS, a_content

FORGED = (
    "mx.example.net; dmarc=fail (p=reject) header.from=n{0}.example",
    "mx.example.net; spf=fail smtp.mailfrom=n{0}.example; dkim=none; dmarc=none",
    "mx.example.net;\r\n\tdkim=fail header.d=n{0}.example;\r\n\tspf=softfail; dmarc=none",
)
COUNT = 10_000


def honest(number: int) -> bytes:
    """From a sender that nobody doubts."""
    return f"Return-Path: <customer{number}@example.org>\r\n".encode() + a_content(number)


def forged(number: int) -> bytes:
    """From a victim of its own, in a domain of its own."""
    sender = f"buyer{number}@n{number}.example"
    fields = (f"Authentication-Results: {FORGED[number % len(FORGED)].format(number)}",)
    data = a_content(number, headers=fields).replace(b"customer%d@example.org" % number, sender.encode())
    return f"Return-Path: <{sender}>\r\n".encode() + data


async def test_r19_no_forged_sender_of_ten_thousand_is_answered() -> None:
    stage, context = AutoReplyStage(), a_context(address=OURS, activated_at=0.0)
    for number in range(COUNT):
        verdict = await stage(decide_mail(forged(number)), context)
        assert verdict.effects == (), verdict.reason
    assert (await stage(decide_mail(honest(COUNT)), context)).effects, "and one that was not forged is"


async def test_r19_forged_senders_leave_nothing_in_the_outbox(monkeypatch: pytest.MonkeyPatch) -> None:
    count = 400  # more than any brake lets through
    hurry(monkeypatch)
    async with a_house() as house:

        def furnish(tx: Tx) -> None:
            tx.run("UPDATE touchpoint SET activated_at = 1")
            touchpoints.set_template(tx, 1, TemplateKind.AUTO_REPLY, NOW, active=True, text="Thank you.")

        await house.change(furnish)
        for number in range(1, count + 1):
            house.mailbox.put(number, data=forged(number), at=house.clock.now)
        house.mailbox.put(count + 1, data=honest(count + 1), at=house.clock.now)
        house.at_work()

        async def taken() -> bool:
            return await house.values("SELECT count(*) FROM entry WHERE direction = 'in'") == [count + 1]

        await until(taken)
        replies = await house.values(
            "SELECT r.address FROM entry AS e JOIN recipient AS r ON r.entry_id = e.id WHERE e.direction = 'out'"
        )
        assert replies == [f"customer{count + 1}@example.org"], "only the one that was not forged"
