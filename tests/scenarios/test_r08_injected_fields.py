"""Scenario 8: a received subject that holds an encoded line end and a Bcc never becomes a field of what we send."""

from __future__ import annotations

import pytest

from gateway.control import AddRelayUser
from pipeline.headers import Headers
from tests.scenarios.inside import PASSWORD, Inside, inside, letter

DESK, BUYER, EVIL = "desk@shop.example", "buyer@example.org", "evil@evil.example"
SUBJECTS = {
    "line feed": "=?utf-8?q?hi=0aBcc=3a_evil=40evil.example?=",
    "carriage return": "=?utf-8?q?hi=0dBcc=3a_evil=40evil.example?=",
    "both, in base64": "=?utf-8?b?aGkNCkJjYzogZXZpbEBldmlsLmV4YW1wbGU=?=",
    "next line": "=?utf-8?q?hi=c2=85Bcc=3a_evil=40evil.example?=",
    "line separator": "=?utf-8?q?hi=e2=80=a8Bcc=3a_evil=40evil.example?=",
    "in a fold": "hi\r\n Bcc: evil@evil.example",
    "information separator": "=?utf-8?q?hi=1cBcc=3a_evil=40evil.example?=",
}
ANSWER = ["from", "to", "subject", "date", "message-id", "in-reply-to", "references", "auto-submitted",
          "x-auto-response-suppress", "x-postroom-loop", "mime-version", "content-type",
          "content-transfer-encoding"]  # fmt: skip


@pytest.mark.parametrize("subject", SUBJECTS.values(), ids=SUBJECTS)
async def test_r08_no_field_and_no_recipient_more_than_was_meant(subject: str) -> None:
    async with inside() as house:
        await house.furnish(DESK, auto_reply="We have your mail.", signature="The desk")
        await house.call(AddRelayUser(name="crm", password=PASSWORD, signature=True, grants=(DESK,)))
        house.provider.deliver(DESK, letter(BUYER, DESK, subject))
        await house.until_taken(1)
        await house.until_still()
        await _reply(house, f"Re: {subject}")
        await house.until_still()
        answer, reply = house.provider.submitted
        assert [answer.recipients, reply.recipients] == [(BUYER,), (BUYER,)]
        assert _names(answer.content) == sorted(ANSWER)
        assert _names(reply.content) == sorted(["received", "from", "to", "subject", "message-id", "date"])
        for mail in (answer, reply):
            assert b"\nbcc:" not in mail.content.lower()
            assert EVIL not in Headers.scan(mail.content).recipients


async def _reply(house: Inside, subject: str) -> None:
    """What a client makes that copies the subject as it came."""
    content = f"From: {DESK}\r\nTo: {BUYER}\r\nSubject: {subject}\r\nMessage-ID: <r@shop.example>\r\n"
    content += "Date: Mon, 23 Nov 2026 11:00:00 +0000\r\n\r\nHere you are.\r\n"

    assert (await house.submit(DESK, [BUYER], content.encode()))[0] == 250


def _names(content: bytes) -> list[str]:
    return sorted(field.name for field in Headers.scan(content).fields)
