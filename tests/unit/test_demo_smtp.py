"""The demo's submission server: what it takes, from whom, and where it goes."""

from __future__ import annotations

import asyncio
import base64
import smtplib
import ssl
from collections.abc import AsyncIterator

import pytest

from gateway.demo.provider import Provider
from gateway.demo.smtp_server import Refusal
from tests.servers.tls import make_ca

DESK, OTHER, FAR = "desk@demo.example", "other@demo.example", "customer@far.example"
HEAD = b"From: desk@demo.example\r\nTo: customer@far.example\r\nMessage-ID: <m1@demo.example>\r\n\r\n"
MAIL = HEAD + b".\r\n..dots\r\nend\r\n"


class Client:
    """Sends lines and reads replies."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, provider: Provider) -> Client:
        client = cls(*await asyncio.open_connection("127.0.0.1", provider.smtp_port))
        assert (await client.reply()).startswith(b"220 ")
        assert (await client.say(b"EHLO client.test")).startswith(b"250-")
        return client

    async def reply(self) -> bytes:
        lines = b""
        while True:
            line = await self.reader.readline()
            if not line:
                raise ConnectionResetError
            lines += line
            if line[3:4] == b" ":
                return lines

    async def say(self, line: bytes) -> bytes:
        self.writer.write(line + b"\r\n")
        return await self.reply()

    async def signed_in(self) -> Client:
        assert (await self.say(b"AUTH PLAIN " + base64.b64encode(b"\0desk@demo.example\0pw"))).startswith(b"235")
        return self

    async def to_data(self, *recipients: str) -> bytes:
        await self.say(b"MAIL FROM:<desk@demo.example>")
        for recipient in recipients:
            await self.say(b"RCPT TO:<%s>" % recipient.encode())
        return await self.say(b"DATA")


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    provider = Provider()
    provider.open_mailbox(DESK, "pw")
    provider.open_mailbox(OTHER, "pw2")
    await provider.start()
    yield provider
    await provider.close()


def inbox(provider: Provider, address: str, folder: str = "INBOX") -> list[bytes]:
    mailbox = provider.mailboxes.find(address)
    assert mailbox is not None
    return [message.content for message in mailbox.folders[folder].messages.values()]


def _submit(
    port: int, *, recipients: list[str], content: bytes = MAIL, context: ssl.SSLContext | None = None
) -> object:
    with smtplib.SMTP("127.0.0.1", port, timeout=10) as client:
        if context is not None:
            client.starttls(context=context)
        client.login(DESK, "pw")
        return client.sendmail(DESK, recipients, content)


async def test_a_foreign_client_hands_over_a_mail(provider: Provider) -> None:
    provider.policy.sent_copy = True
    refused = await asyncio.to_thread(_submit, provider.smtp_port, recipients=[FAR, OTHER])
    assert refused == {}
    [mail] = provider.submitted
    assert (mail.sender, mail.recipients, mail.content) == (DESK, (FAR, OTHER), MAIL)
    assert (mail.message_id, mail.user) == ("<m1@demo.example>", DESK)
    [local] = inbox(provider, OTHER)
    assert local.startswith(b"Return-Path: <desk@demo.example>\r\nDelivered-To: other@demo.example\r\n")
    assert local.endswith(MAIL)
    assert inbox(provider, DESK, "Sent") == [MAIL]


async def test_big_mail_over_starttls(tmp_path_factory: pytest.TempPathFactory) -> None:
    files = make_ca(tmp_path_factory.mktemp("ca"))
    provider = Provider(tls=files.server_context())
    provider.open_mailbox(DESK, "pw")
    await provider.start()
    big = MAIL + b".x\r\n" * 300_000
    await asyncio.to_thread(_submit, provider.smtp_port, recipients=[FAR], content=big, context=files.client_context())
    assert provider.submitted[0].content == big
    client = await Client.open(provider)
    assert (await client.say(b"AUTH PLAIN AGEAYg==")).startswith(b"538")
    await provider.close()


async def test_refusals_for_good_for_now_and_for_some_times(provider: Provider) -> None:
    provider.policy.refusals = {
        "gone@far.example": Refusal(550, "5.1.1 No such user"),
        "busy@far.example": Refusal(450, "4.2.1 Try later", times=1),
    }
    client = await (await Client.open(provider)).signed_in()
    await client.say(b"MAIL FROM:<desk@demo.example> SIZE=100 BODY=8BITMIME")
    assert await client.say(b"RCPT TO:<Gone@far.example>") == b"550 5.1.1 No such user\r\n"
    assert await client.say(b"RCPT TO:<busy@far.example>") == b"450 4.2.1 Try later\r\n"
    assert (await client.say(b"DATA")).startswith(b"554")
    assert (await client.say(b"RCPT TO:<busy@far.example>")).startswith(b"250")
    assert (await client.say(b"DATA")).startswith(b"354")
    assert (await client.say(b"Subject: x\r\n\r\ny\r\n.")).startswith(b"250 2.0.0 Ok: queued as D1")
    assert provider.submitted[0].recipients == ("busy@far.example",)


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ([b"MAIL FROM:<desk@demo.example>"], b"530"),
        ([b"AUTH PLAIN " + base64.b64encode(b"\0desk@demo.example\0no")], b"535"),
        ([b"AUTH PLAIN %%%"], b"501"),
        ([b"AUTH CRAM-MD5"], b"501"),
        ([b"NONSENSE"], b"502"),
        ([b"STARTTLS"], b"503"),
        ([b"AUTH LOGIN", base64.b64encode(DESK.encode()), base64.b64encode(b"pw")], b"235"),
    ],
)
async def test_before_signing_in(provider: Provider, lines: list[bytes], code: bytes) -> None:
    client = await Client.open(provider)
    answer = b""
    for line in lines:
        answer = await client.say(line)
    assert answer.startswith(code)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"MAIL FROM:<other@demo.example>", b"553"),
        (b"MAIL FROM:<desk+tag@demo.example>", b"250"),
        (b"MAIL FROM:<>", b"250"),
        (b"MAIL FROM:desk@demo.example", b"501"),
        (b"MAIL FROM:<desk@demo.example> SIZE=999999999999", b"552"),
        (b"RCPT TO:<a@far.example>", b"503"),
        (b"DATA", b"503"),
        (b"AUTH PLAIN AGEAYg==", b"503"),
        (b"RSET", b"250"),
        (b"NOOP", b"250"),
        (b"QUIT", b"221"),
    ],
)
async def test_signed_in(provider: Provider, line: bytes, code: bytes) -> None:
    client = await (await Client.open(provider)).signed_in()
    assert (await client.say(line)).startswith(code)


async def test_a_provider_may_refuse_the_null_sender(provider: Provider) -> None:
    provider.policy.null_sender = False
    client = await (await Client.open(provider)).signed_in()
    assert (await client.say(b"MAIL FROM:<>")).startswith(b"553")


async def test_data_ends_with_a_lone_dot_between_full_line_ends_only(provider: Provider) -> None:
    client = await (await Client.open(provider)).signed_in()
    await client.to_data(FAR)
    client.writer.write(b"a\n.\nb\r.\rc\r\n.\nd\r\n..e\r\n.\r\nNOOP\r\n")
    assert (await client.reply()).startswith(b"250 2.0.0 Ok: queued")
    assert (await client.reply()).startswith(b"250")
    assert provider.submitted[0].content == b"a\n.\nb\r.\rc\r\n\nd\r\n.e\r\n"


async def test_the_dot_may_come_in_pieces_and_content_may_be_empty(provider: Provider) -> None:
    client = await (await Client.open(provider)).signed_in()
    for content in (b"", b"x\r\n"):
        await client.to_data(FAR)
        for byte in content + b".\r\n":
            client.writer.write(bytes([byte]))
            await client.writer.drain()
            await asyncio.sleep(0)
        assert (await client.reply()).startswith(b"250")
    assert [mail.content for mail in provider.submitted] == [b"", b"x\r\n"]


async def test_while_it_admits_nothing_no_content_goes(provider: Provider) -> None:
    client = await (await Client.open(provider)).signed_in()
    provider.smtp.admitting.clear()
    client.writer.write(b"MAIL FROM:<desk@demo.example>\r\n")
    client.writer.write(b"RCPT TO:<a@far.example>\r\n")
    other = await Client.open(provider)
    assert (await other.say(b"NOOP")).startswith(b"250")
    provider.kill()
    with pytest.raises(ConnectionResetError):
        await client.reply()
    await provider.resume()
    await (await (await Client.open(provider)).signed_in()).to_data(FAR)
    assert provider.submitted == []


async def test_an_answer_can_get_lost_after_the_mail_was_taken(provider: Provider) -> None:
    provider.policy.swallow_answers = 1
    client = await (await Client.open(provider)).signed_in()
    await client.to_data(FAR)
    client.writer.write(MAIL + b".\r\n")
    with pytest.raises(ConnectionResetError):
        await client.reply()
    assert len(provider.submitted) == 1


async def test_too_many_errors_end_the_talk(provider: Provider) -> None:
    client = await Client.open(provider)
    replies = [await client.say(b"NONSENSE") for _ in range(20)]
    assert replies[-1].startswith(b"502")
    assert (await client.reply()).startswith(b"421")
