"""Scenario 30: malicious greetings, PREAUTH, wrong tags, and servers that repeat the password: all refused."""

from __future__ import annotations

import base64
import logging

import pytest

from gateway.client import CallFailed
from gateway.control import ConnectTouchpoint, CreateTouchpoint, ListLog, SetConnection
from tests.scenarios.inside import Inside, inside
from tests.servers.scripted_imap import Box, Dialogue, Lie, ScriptedImap
from tests.servers.scripted_smtp import Scripted

DESK = "desk@shop.example"
CANARY = 'canary-7f3a91 "q" secret'
FORMS = (CANARY, "canary-7f3a91", "Y2FuYXJ5LTdmM2E5MS")
"""None of them is in any log, row or answer."""


async def echo(dialogue: Dialogue) -> None:
    """Say again what was said, under another tag."""
    await dialogue.send(b"X9 NO " + dialogue.heard[-1] + b"\r\n")


async def echo_as_refusal(dialogue: Dialogue) -> None:
    await dialogue.send(b"TAG NO [AUTHENTICATIONFAILED] no user with " + dialogue.heard[-1] + b"\r\n")


async def echo_as_alert(dialogue: Dialogue) -> None:
    await dialogue.send(b"* OK [ALERT] " + dialogue.heard[-1] + b"\r\n* BYE " + dialogue.heard[-1] + b"\r\n")


LIES: dict[str, tuple[bytes, Lie, str]] = {
    # where, what is said, and the cause that people see
    "PREAUTH": (b"GREETING", b"* PREAUTH you are in\r\n", "provider"),
    "goodbye at once": (b"GREETING", b"* BYE BROKEN\r\n", "provider"),
    "no greeting of IMAP": (b"GREETING", b"220 mx.example ESMTP\r\n", "provider"),
    "a greeting with a tag": (b"GREETING", b"A1 OK ready\r\n", "provider"),
    "a greeting of 70 KB": (b"GREETING", b"* OK " + b"x" * 70_000 + b"\r\n", "provider"),
    "a greeting of NULs": (b"GREETING", b"\0" * 70_000, "provider"),
    "a wrong tag": (b"CAPABILITY", b"X9 OK done\r\n", "provider"),
    "a tagged answer too many": (b"CAPABILITY", b"TAG OK done\r\nTAG OK done\r\n", "provider"),
    "a continuation that nobody wanted": (b"CAPABILITY", b"+ your password, please\r\n", "provider"),
    "the password under a wrong tag": (b"LOGIN", echo, "provider"),
    "the password in the refusal": (b"LOGIN", echo_as_refusal, "credential"),
    "the password in an alert and a goodbye": (b"LOGIN", echo_as_alert, "provider"),
    "goodbye to LOGIN": (b"LOGIN", b"* BYE no\r\n", "provider"),
    "a refusal with a referral": (b"LOGIN", b"TAG NO [REFERRAL imap://evil.example/] go there\r\n", "credential"),
}


@pytest.mark.parametrize(("word", "lie", "cause"), LIES.values(), ids=LIES)
async def test_r30_the_connection_is_refused_and_no_secret_is_told(
    word: bytes, lie: Lie, cause: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr("pipeline.retry.BACKOFF_FIRST", 0.01)
    box = Box()
    async with ScriptedImap(box.play) as server, inside() as house:
        await house.call(CreateTouchpoint(address=DESK, name="Desk"))
        place = f"127.0.0.1:{server.port}:none"
        await house.call(SetConnection(touchpoint=DESK, preset="custom", user=DESK, imap=place, smtp=""))
        await house.call(ConnectTouchpoint(touchpoint=DESK, password=CANARY))
        await house.until_state(DESK, "connected")
        box.lies[word] = lie
        for dialogue in server.dialogues:
            dialogue.reset()

        async def refused() -> bool:
            row = await house.touchpoint(DESK)
            return (row.state, row.cause) == ("lost" if cause == "credential" else "backoff", cause)

        await house.until(refused)
        told = [caplog.text, *capfd.readouterr(), *await _all_words(house)]
        box.lies.clear()
        await house.call(ConnectTouchpoint(touchpoint=DESK, password=CANARY))
        await house.until_state(DESK, "connected")
    for form in FORMS:
        assert not [text for text in told if form in text]


async def _all_words(house: Inside) -> list[str]:
    """All that people can read: states, the journal, audit rows."""
    tables = await house.daemon.store.read(
        lambda tx: [dict(row) for name in ("touchpoint", "audit") for row in tx.all(f"SELECT * FROM {name}")]
    )
    log = await house.call(ListLog())
    return [repr(tables), repr(log)]


@pytest.mark.parametrize("code", ["535 5.7.8", "454 4.7.0"])
async def test_r30_a_submission_server_that_repeats_the_password_is_not_quoted(
    code: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    said = base64.b64encode(f"\0{DESK}\0{CANARY}".encode()).decode()
    async with Scripted({"AUTH": f"{code} no: AUTH PLAIN {said} is {CANARY}"}) as server, inside() as house:
        await house.call(CreateTouchpoint(address=DESK, name="Desk"))
        place = f"127.0.0.1:{server.port}:none"
        await house.call(SetConnection(touchpoint=DESK, preset="custom", user=DESK, imap="", smtp=place))
        with pytest.raises(CallFailed) as caught:
            await house.call(ConnectTouchpoint(touchpoint=DESK, password=CANARY))
        told = [caplog.text, str(caught.value), repr(caught.value), *await _all_words(house)]
    for form in (*FORMS, said):
        assert not [text for text in told if form in text]
