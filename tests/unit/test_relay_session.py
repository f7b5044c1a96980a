"""The relay's dialogue, byte by byte, with sessions that are fed by hand."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from dataclasses import replace

import pytest

from gateway.relay import MAX_AHEAD, MAX_AUTH, MAX_COMMAND
from gateway.smtp_grammar import Reply
from gateway.submission import Mode, RelayLimits
from pipeline.errors import StoreFull
from pipeline.mail import OPENING
from tests.unit.relaying import CRM, PASSWORD, PRINTER, Direct, plain, settle

CALM = RelayLimits(error_delay=0)
MAIL, RCPT = b"MAIL FROM:<desk@shop.example>\r\n", b"RCPT TO:<desk@far.example>\r\n"


# ---- the plain way ----


async def test_a_mail_is_handed_in_whole() -> None:
    direct = Direct()
    assert direct.heard() == "220 relay.example ESMTP\r\n"
    assert (await direct.say(b"EHLO client.example\r\n")).splitlines() == [
        "250-relay.example",
        f"250-SIZE {100 * 1024 * 1024}",
        "250-8BITMIME",
        "250 ENHANCEDSTATUSCODES",
    ]
    assert await direct.say(b"MAIL FROM:<desk@shop.example> SIZE=20\r\n") == "250 2.1.0 OK\r\n"
    assert await direct.say(RCPT) == "250 2.1.5 OK\r\n"
    assert await direct.say(b"RCPT TO:<shop@far.example>\r\n") == "250 2.1.5 OK\r\n"
    assert (await direct.say(b"DATA\r\n")).startswith("354 ")
    content = b"Subject: x\r\n\r\nhello\r\n.\r\n"
    assert await direct.say(content.replace(b"\r\n.", b"\r\n.."), b".\r\n") == "250 2.6.0 Taken\r\n"
    [taken] = direct.desk.taken
    assert (taken.data, taken.written, taken.opening, taken.size) == (content, None, content, len(content))
    assert taken.sha256 == hashlib.sha256(content).digest()
    assert (taken.user, taken.peer, taken.helo, taken.with_protocol) == (
        PRINTER,
        "127.0.0.1",
        "client.example",
        "ESMTP",
    )
    assert taken.envelope.sender == "desk@shop.example"
    assert taken.envelope.recipients == ("desk@far.example", "shop@far.example")
    assert await direct.say(b"QUIT\r\n") == "221 2.0.0 Bye\r\n"
    assert direct.wire.closed
    await settle()
    assert direct.relay.sessions == set()
    assert (direct.relay.connections.count, direct.relay.in_hand, direct.relay.in_data) == (0, 0, {})


async def test_helo_is_spoken_too() -> None:
    direct = Direct()
    assert (await direct.say(b"HELO old\r\n")).endswith("250 relay.example\r\n")
    await direct.say(MAIL, RCPT, b"DATA\r\n", b"x\r\n.\r\n")
    assert direct.desk.taken[0].with_protocol == "SMTP"


async def test_commands_that_queue_are_answered_in_order() -> None:
    direct = Direct()
    await direct.say(b"EHLO c\r\n")
    said = await direct.say(MAIL + RCPT + b"rcpt to:<>\r\nNoop\r\nRSET\r\n" + MAIL + RCPT + b"DATA\r\n")
    assert [line[:3] for line in said.splitlines()] == ["250", "250", "553", "250", "250", "250", "250", "354"]
    said = await direct.say(b"one\r\n.\r\n" + MAIL + RCPT + b"DATA\r\n")
    assert [line[:3] for line in said.splitlines()] == ["250", "250", "250", "354"]


@pytest.mark.parametrize("cut", [1, 4, 17, 30])
async def test_commands_may_come_in_pieces(cut: int) -> None:
    direct = Direct()
    await direct.say(b"EHLO c\r\n")
    assert await direct.say(MAIL[:cut]) == ""
    assert (await direct.say(MAIL[cut:])).startswith("250 2.1.0")


# ---- order and syntax ----


@pytest.mark.parametrize(
    ("before", "command", "answer"),
    [
        (b"", MAIL, "503 5.5.1"),
        (b"", RCPT, "503 5.5.1"),
        (b"", b"DATA\r\n", "503 5.5.1"),
        (b"", b"EHLO\r\n", "501 5.5.4"),
        (b"", b"EHLO a(b)\r\n", "501 5.5.4"),
        (b"", b"HELO \r\n", "501 5.5.4"),
        (b"", b"NOOP\r\n", "250 2.0.0"),
        (b"", b"VRFY desk\r\n", "252 2.0.0"),
        (b"", b"EXPN desk\r\n", "502 5.5.1"),
        (b"", b"HELP\r\n", "214 2.0.0"),
        (b"", b"STARTTLS\r\n", "503 5.5.1"),
        (b"", b"AUTH PLAIN\r\n", "502 5.5.1"),
        (b"", b"NONSENSE\r\n", "500 5.5.1"),
        (b"", b"\r\n", "500 5.5.1"),
        (b"", b" EHLO c\r\n", "500 5.5.1"),
        (b"", b"\xff\xfe\r\n", "500 5.5.1"),
        (b"EHLO c\r\n", RCPT, "503 5.5.1"),
        (b"EHLO c\r\n", b"MAIL\r\n", "501 5.5.4"),
        (b"EHLO c\r\n", b"MAIL FROM:<a\0b@c>\r\n", "553 5.1.7"),
        (b"EHLO c\r\n", b'MAIL FROM:<"a\rb"@c>\r\n', "553 5.1.7"),
        (b"EHLO c\r\n", "MAIL FROM:<ä@c>\r\n".encode(), "553 5.6.7"),
        (b"EHLO c\r\n", b"MAIL FROM:<u@c> SMTPUTF8\r\n", "555 5.5.4"),
        (b"EHLO c\r\n", b"MAIL FROM:<u@c> SIZE=104857601\r\n", "552 5.3.4"),
        (b"EHLO c\r\n" + MAIL, MAIL, "503 5.5.1"),
        (b"EHLO c\r\n" + MAIL, b"RCPT TO:<@r.example:u@o.example>\r\n", "553 5.1.3"),
        (b"EHLO c\r\n" + MAIL, b"RCPT TO:<>\r\n", "553 5.1.3"),
        (b"EHLO c\r\n" + MAIL, b"DATA\r\n", "503 5.5.1"),
        (b"EHLO c\r\n" + MAIL + RCPT, b"DATA now\r\n", "501 5.5.4"),
        (b"EHLO c\r\n" + MAIL + RCPT + b"RSET\r\n", b"DATA\r\n", "503 5.5.1"),
        (b"EHLO c\r\n" + MAIL + b"HELO c\r\n", RCPT, "503 5.5.1"),
        (b"EHLO c\r\n", b"MAIL FROM:<" + b"a" * MAX_COMMAND + b"@c>\r\n", "500 5.5.2"),
    ],
)
async def test_what_is_answered(before: bytes, command: bytes, answer: str) -> None:
    direct = Direct()
    for line in before.splitlines(keepends=True):
        await direct.say(line)
    direct.heard()
    said = await direct.say(command)
    assert said.startswith(answer)
    assert not direct.wire.closed


@pytest.mark.parametrize(
    ("segment", "answer"),
    [
        (b"GET / HTTP/1.1\r\nHost: relay.example\r\n\r\n", "521 5.5.1"),
        (b"POST /x HTTP/1.0\r\n\r\nMAIL FROM:<a@b>\r\n", "521 5.5.1"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", ""),
        (b"EHLO c\r\nMAIL FROM:<a@b>\r\n", "521 5.5.1"),
        (b"NOOP\nNOOP\r\n", "500 5.5.2"),
        (b"x" * (MAX_AUTH + 1), "500 5.5.2"),
        (b"BDAT 40 LAST\r\nMAIL FROM:<a@b>\r\nNOOP\r\n", "502 5.5.1"),
    ],
)
async def test_what_ends_the_session(segment: bytes, answer: str) -> None:
    direct = Direct()
    direct.heard()
    said = await direct.say(segment)
    assert said.startswith(answer)
    assert said.count("\r\n") == (1 if answer else 0), "what lies behind is not obeyed"
    assert direct.wire.closed


async def test_content_ahead_of_the_answer_to_data_is_not_taken() -> None:
    direct = Direct()
    await direct.say(b"EHLO c\r\n", MAIL, RCPT)
    assert (await direct.say(b"DATA\r\nSubject: x\r\n\r\nx\r\n.\r\n")).startswith("521 5.5.1")
    assert direct.wire.closed
    assert direct.desk.taken == []


async def test_a_stranger_on_the_plain_listener_is_sent_away() -> None:
    direct = Direct(peer="192.0.2.1")
    assert direct.heard().startswith("554 5.7.1 ")
    assert direct.wire.closed


# ---- nobody relays without having signed in ----


@pytest.mark.parametrize("mode", [Mode.SUBMISSION, Mode.SUBMISSIONS])
@pytest.mark.parametrize(
    "recipient",
    [
        "u@o.example",
        "u%o.example@relay.example",
        "o.example!u",
        '"u@o.example"@relay.example',
        "@relay.example:u@o.example",
        "u@[127.0.0.1]",
        "u@[IPv6:::1]",
        "",
        "u",
        "u@o.example.",
        '"u"@o.example',
    ],
)
async def test_no_recipient_before_signing_in(mode: Mode, recipient: str) -> None:
    direct = Direct(mode=mode)
    direct.heard()
    assert "354" not in await direct.say(b"EHLO c\r\n")
    for sender in ("", "desk@shop.example"):
        said = await direct.say(
            f"MAIL FROM:<{sender}>\r\n".encode(), f"RCPT TO:<{recipient}>\r\n".encode(), b"DATA\r\n"
        )
        assert [line[:9] for line in said.splitlines()] == ["530 5.7.0", "503 5.5.1", "503 5.5.1"]
    assert direct.desk.taken == []


async def test_signing_in_is_neither_offered_nor_taken_in_clear() -> None:
    direct = Direct(mode=Mode.SUBMISSION)
    said = await direct.say(b"EHLO c\r\n")
    assert "STARTTLS" in said
    assert "AUTH" not in said
    assert (await direct.say(b"AUTH PLAIN AGNybQBjb3JyZWN0IGhvcnNl\r\n")).startswith("538 5.7.11")
    assert direct.desk.tried == []


async def test_signing_in_in_clear_where_nothing_leaves_the_host() -> None:
    direct = Direct(mode=Mode.LOOPBACK)
    said = await direct.say(b"EHLO c\r\n")
    assert "AUTH PLAIN LOGIN" in said
    assert "STARTTLS" not in said
    assert (await direct.say(MAIL)).startswith("530 5.7.0")
    assert (await direct.say(f"AUTH PLAIN {plain('crm', PASSWORD)}\r\n".encode())).startswith("235 2.7.0")
    await direct.say(MAIL, RCPT, b"DATA\r\n", b"x\r\n.\r\n")
    assert (direct.desk.taken[0].user, direct.desk.taken[0].with_protocol) == (CRM, "ESMTPA")


async def test_input_behind_starttls_ends_the_session() -> None:
    direct = Direct(mode=Mode.SUBMISSION)
    await direct.say(b"EHLO c\r\n")
    assert (await direct.say(b"STARTTLS\r\nEHLO evil\r\n")).startswith("521 5.5.1")
    assert direct.wire.closed


# ---- the answer behind the final dot ----


async def test_the_answer_is_what_the_desk_says() -> None:
    direct = Direct()
    for reply in (Reply(550, "5.7.1", "Not yours"), Reply(451, "4.2.0", "Later"), Reply(250, "2.6.0", "Yes")):
        direct.desk.reply = reply
        await direct.ready_for_content()
        assert await direct.say(b"x\r\n.\r\n") == reply.line().decode()


async def test_a_full_disk_and_a_fault_are_for_later_and_say_nothing_of_us(caplog: pytest.LogCaptureFixture) -> None:
    direct = Direct()
    direct.desk.error = StoreFull("no room on /var")
    await direct.ready_for_content()
    assert (await direct.say(b"x\r\n.\r\n")).startswith("452 4.3.1 ")
    direct.desk.error = KeyError("secret")
    await direct.ready_for_content()
    with caplog.at_level(logging.ERROR):
        said = await direct.say(b"x\r\n.\r\n")
    assert said == "451 4.3.0 Internal error, try again later\r\n"
    assert "KeyError" in caplog.text


async def test_a_fault_in_a_command_is_ours(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    direct = Direct()
    monkeypatch.setattr("gateway.relay.read_helo", lambda argument: 1 / 0)
    direct.heard()
    assert await direct.say(b"EHLO c\r\n") == "451 4.3.0 Internal error, try again later\r\n"
    assert not direct.wire.closed
    assert "ZeroDivisionError" in caplog.text


async def test_commands_behind_the_dot_wait_for_the_answer() -> None:
    direct = await Direct().ready_for_content()
    direct.desk.gate.clear()
    assert await direct.say(b"x\r\n.\r\nNOOP\r\n") == ""
    assert not direct.wire.paused
    await direct.say(b"NOOP\r\n" * (MAX_AHEAD // 6 + 1))
    assert direct.wire.paused, "what waits is bounded"
    direct.desk.gate.set()
    await settle()
    said = direct.heard().splitlines()
    assert said[0].startswith("250 2.6.0")
    assert said[1].startswith("250 2.0.0")
    assert said[-1].startswith("421 4.7.0"), "and so are commands that bring nothing forward"


async def test_gone_behind_the_dot_is_committed_anyway() -> None:
    direct = await Direct().ready_for_content()
    direct.desk.gate.clear()
    await direct.say(b"x\r\n.\r\n")
    direct.wire.lose()
    await settle()
    assert direct.relay.sessions == set()
    direct.desk.gate.set()
    await settle()
    assert direct.desk.contents() == [b"x\r\n"]
    assert direct.relay.in_hand == 0


async def test_half_closed_behind_the_dot_gets_the_answer() -> None:
    direct = await Direct().ready_for_content()
    direct.desk.gate.clear()
    await direct.say(b"x\r\n.\r\n")
    assert direct.session.eof_received() is True, "the connection is kept"
    direct.desk.gate.set()
    await settle()
    assert direct.heard().startswith("250 2.6.0")
    assert direct.wire.closed


@pytest.mark.parametrize("content", [b"", b"x", b"x\r\n", b"x\r\n.", b"x\r\n.\r", b"x" * (OPENING + 1)])
async def test_gone_before_the_dot_leaves_nothing(content: bytes) -> None:
    direct = await Direct().ready_for_content()
    await direct.say(content)
    assert not direct.session.eof_received()
    direct.wire.lose()
    await settle()
    assert direct.desk.taken == []
    assert (direct.relay.in_hand, direct.relay.in_data) == (0, {})
    assert not any(writer.finished for writer in direct.desk.writers)


# ---- size ----


async def test_a_big_content_goes_to_the_store_while_it_is_read() -> None:
    direct = await Direct().ready_for_content()
    content = b"Subject: big\r\n\r\n" + (b"." + b"y" * 70 + b"\r\n") * 14_000
    wire = content.replace(b"\r\n.", b"\r\n..") + b".\r\n"
    most = 0
    for start in range(0, len(wire), 50_000):
        await direct.say(wire[start : start + 50_000])
        most = max(most, direct.relay.in_hand)
    assert direct.heard() == ""
    [taken] = direct.desk.taken
    assert direct.desk.contents() == [content]
    assert (taken.data, taken.size, taken.opening) == (None, len(content), content[:OPENING])
    assert taken.sha256 == hashlib.sha256(content).digest()
    assert most <= OPENING + 50_000
    assert direct.relay.in_hand == 0


async def test_reading_pauses_while_the_store_is_slow() -> None:
    direct = await Direct().ready_for_content()
    direct.session.data_received(b"x\r\n" * (OPENING // 3 + 9))
    assert direct.wire.paused
    direct.session.data_received(b"y\r\n.\r\n")
    assert direct.desk.taken == []
    await settle()
    assert not direct.wire.paused
    assert direct.desk.contents() == [b"x\r\n" * (OPENING // 3 + 9) + b"y\r\n"]


async def test_a_store_without_room_refuses_behind_the_dot() -> None:
    direct = await Direct().ready_for_content()
    direct.desk.store_error = StoreFull("full")
    assert await direct.say(b"x\r\n" * 100_000, b"y\r\n" * 100_000) == ""
    assert (await direct.say(b".\r\n")).startswith("452 4.3.1 ")
    assert direct.desk.taken == []
    direct.desk.store_error = None
    await direct.ready_for_content()
    assert (await direct.say(b"x\r\n.\r\n")).startswith("250 ")


async def test_too_big_is_said_behind_the_dot_and_far_too_big_at_once() -> None:
    limits = replace(CALM, size=1000)
    direct = await Direct(limits=limits).ready_for_content()
    assert await direct.say(b"x" * 998 + b"\r\n.\r\n") == "250 2.6.0 Taken\r\n"
    await direct.ready_for_content()
    assert await direct.say(b"x" * 999 + b"\r\n") == ""
    assert (await direct.say(b".\r\n")).startswith("552 5.3.4 ")
    await direct.ready_for_content()
    said = ""
    for _ in range(20):
        said += await direct.say(b"x\r\n" * 10_000)
        assert direct.relay.in_hand <= 1000
    assert said.startswith("552 5.3.4 ")
    assert direct.wire.closed
    assert len(direct.desk.taken) == 1


async def test_an_endless_line_is_not_kept() -> None:
    direct = await Direct().ready_for_content()
    for _ in range(40):
        await direct.say(b"x" * 10_000)
    assert direct.relay.in_hand <= 64 * 1024
    assert (await direct.say(b"\r\n.\r\n")).startswith("550 5.6.0 ")
    assert direct.wire.closed


async def test_when_too_much_is_in_hand_no_content_is_begun() -> None:
    limits = replace(CALM, in_hand=1000)
    first = await Direct(limits=limits).ready_for_content()
    await first.say(b"x\r\n" * 500)
    second = Direct(first.desk, relay=first.relay)
    await second.say(b"EHLO c\r\n", MAIL, RCPT)
    assert (await second.say(b"DATA\r\n")).startswith("452 4.3.1 ")
    await first.say(b".\r\n")
    assert (await second.say(b"DATA\r\n")).startswith("354 ")


# ---- patience ----


async def test_errors_slow_a_client_down_and_end_its_session() -> None:
    direct = Direct(limits=RelayLimits(error_delay=3600))
    direct.heard()
    said = await direct.say(b"WHAT\r\n" * 30)
    assert said.count("500 5.5.1") == 10, "the eleventh waits"
    direct = Direct()
    direct.heard()
    said = ""
    for _ in range(30):
        said += await direct.say(b"WHAT\r\n")
    assert said.count("500 5.5.1") == 20
    assert said.endswith("421 4.7.0 Too many errors\r\n")
    assert direct.wire.closed


async def test_a_mail_earns_new_patience() -> None:
    direct = Direct()
    for _ in range(4):
        for _ in range(8):
            await direct.say(b"WHAT\r\n")
        await direct.ready_for_content()
        await direct.say(b"x\r\n.\r\n")
    assert len(direct.desk.taken) == 4


async def test_commands_without_a_mail_are_counted() -> None:
    direct = Direct()
    direct.heard()
    said = await direct.say(b"NOOP\r\n" * 101)
    assert said.count("250 ") == 100
    assert said.endswith("421 4.7.0 Too many commands without a mail\r\n")


async def test_recipients_are_counted() -> None:
    direct = Direct(limits=replace(CALM, recipients=3))
    await direct.say(b"EHLO c\r\n", MAIL)
    said = await direct.say(RCPT * 4)
    assert [line[:9] for line in said.splitlines()] == ["250 2.1.5"] * 3 + ["452 4.5.3"]


async def test_connections_are_counted_by_client_and_in_all() -> None:
    first = Direct(limits=replace(CALM, per_client=2, connections=3))
    second = Direct(first.desk, relay=first.relay)
    third = Direct(first.desk, relay=first.relay)
    assert third.heard().startswith("421 4.7.0 ")
    assert third.wire.closed
    await settle()
    assert second.heard().startswith("220 ")
    first.wire.lose()
    assert Direct(first.desk, relay=first.relay).heard().startswith("220 ")
    elsewhere = Direct(first.desk, relay=first.relay, mode=Mode.SUBMISSION, peer="192.0.2.1")
    assert elsewhere.heard().startswith("220 ")
    assert Direct(first.desk, relay=first.relay, mode=Mode.SUBMISSION, peer="192.0.2.2").heard().startswith("421 ")


async def test_answers_that_nobody_reads_end_the_session() -> None:
    direct = Direct()
    direct.session.pause_writing()
    assert direct.wire.closed


# ---- time ----


async def test_idle_sessions_are_closed_sooner_when_it_is_full() -> None:
    direct = Direct(limits=replace(CALM, connections=2, per_client=2))
    now = asyncio.get_running_loop().time()
    direct.heard()
    direct.session.check_time(now + 299)
    assert not direct.wire.closed
    second = Direct(direct.desk, relay=direct.relay)
    second.heard()
    second.session.check_time(now + 11)
    assert second.heard().startswith("421 4.4.2 ")
    assert second.wire.closed
    await settle()
    direct.session.check_time(now + 301)
    assert direct.heard().startswith("421 4.4.2 ")


async def test_half_a_command_does_not_count_as_activity() -> None:
    direct = Direct()
    now = asyncio.get_running_loop().time()
    await direct.say(b"NOO")
    direct.session.check_time(now + 301)
    assert direct.wire.closed


async def test_dripping_content_is_cut_off_and_steady_content_is_not() -> None:
    now = asyncio.get_running_loop().time()
    for octets, seconds, closed in ((0, 59, False), (0, 61, True), (30_000, 119, False), (30_000, 121, True)):
        direct = await Direct().ready_for_content()
        await direct.say(b"x\r\n" * (octets // 3))
        direct.session.check_time(now + seconds)
        assert direct.wire.closed is closed
        assert direct.heard().startswith("421 4.4.2 " if closed else "")


async def test_a_whole_content_has_its_time_by_its_size() -> None:
    direct = Direct(limits=replace(CALM, slow_grace=1e6))
    now = asyncio.get_running_loop().time()
    await direct.say(b"EHLO c\r\n", b"MAIL FROM:<desk@shop.example> SIZE=50000\r\n", RCPT, b"DATA\r\n")
    direct.session._active_at = now + 698  # content came a moment ago
    direct.session.check_time(now + 699)
    assert not direct.wire.closed
    direct.session.check_time(now + 702)
    assert direct.wire.closed


async def test_our_own_slowness_closes_nothing() -> None:
    direct = await Direct().ready_for_content()
    direct.desk.gate.clear()
    await direct.say(b"x\r\n.\r\n")
    direct.session.check_time(asyncio.get_running_loop().time() + 1e6)
    assert not direct.wire.closed
    direct.desk.gate.set()


# ---- leaving ----


async def test_shutting_down_lets_a_content_end() -> None:
    idle = Direct()
    busy = await Direct(idle.desk, relay=idle.relay).ready_for_content()
    leaving = asyncio.create_task(idle.relay.close(grace=20))
    await settle()
    assert idle.heard().endswith("421 4.3.2 Shutting down\r\n")
    said = await busy.say(b"x\r\n.\r\n")
    assert [line[:9] for line in said.splitlines()] == ["250 2.6.0", "421 4.3.2"]
    await leaving
    assert len(idle.desk.taken) == 1


async def test_shutting_down_does_not_wait_for_ever_but_finishes_each_submission() -> None:
    submitted = await Direct().ready_for_content()
    dripping = await Direct(submitted.desk, relay=submitted.relay).ready_for_content()
    submitted.desk.gate.clear()
    await submitted.say(b"x\r\n.\r\n")
    leaving = asyncio.create_task(submitted.relay.close(grace=0))
    await settle()
    assert dripping.heard().startswith("421 4.3.2 ")
    assert not leaving.done()
    submitted.desk.gate.set()
    await leaving
    assert submitted.desk.contents() == [b"x\r\n"]
