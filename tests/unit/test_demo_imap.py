"""The demo's IMAP server, byte by byte: what a client may send, and what it must be told."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import imaplib
import re
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.demo.imap_syntax import Bad, decode_name, encode_name, number_set, tokens
from gateway.demo.provider import Provider
from tests.servers.tls import make_ca

ADDRESS = "desk@demo.example"
MAIL = b"From: a@example.org\r\nSubject: one\r\nMessage-ID: <one@example.org>\r\n\r\nHello\r\nthere\r\n"


class Client:
    """Sends lines and reads answers, literals included."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.count = 0

    @classmethod
    async def open(cls, port: int, **options: object) -> Client:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**22, **options)  # type: ignore[arg-type]
        client = cls(reader, writer)
        assert (await client.answer()).startswith(b"* OK ")
        return client

    async def answer(self) -> bytes:
        line = await self.reader.readline()
        if not line:
            raise ConnectionResetError
        while found := re.search(rb"\{(\d+)\}\r\n$", line):
            line += await self.reader.readexactly(int(found[1])) + await self.reader.readline()
        return line

    async def run(self, command: bytes, *literals: bytes) -> list[bytes]:
        """The untagged answers and the tagged one, without tag."""
        self.count += 1
        tag = b"t%d" % self.count
        self.writer.write(tag + b" " + command + b"\r\n")
        answers: list[bytes] = []
        waiting = list(literals)
        while True:
            line = await self.answer()
            if line.startswith(b"+"):
                self.writer.write(waiting.pop(0) + b"\r\n")
            elif line.startswith(tag + b" "):
                return [*answers, line[len(tag) + 1 :].rstrip(b"\r\n")]
            else:
                answers.append(line)

    async def last(self, command: bytes, *literals: bytes) -> bytes:
        return (await self.run(command, *literals))[-1]

    async def login(self) -> Client:
        assert (await self.last(b"LOGIN " + ADDRESS.encode() + b' "s3cret \\"x\\""')).startswith(b"OK")
        return self


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    provider = Provider()
    provider.open_mailbox(ADDRESS, 's3cret "x"', folders=["Ablage/Übrig & neu"])
    await provider.start()
    yield provider
    await provider.close()


@pytest.fixture
async def client(provider: Provider) -> AsyncIterator[Client]:
    client = await Client.open(provider.imap_port)
    yield await client.login()
    client.writer.close()


async def selected(provider: Provider, client: Client, *mails: bytes) -> Client:
    for mail in mails:
        provider.deliver(ADDRESS, mail, internaldate=1_700_000_000)
    assert (await client.last(b"SELECT inbox")).startswith(b"OK [READ-WRITE]")
    return client


@pytest.mark.parametrize(
    ("command", "literals", "expected"),
    [
        (b'LOGIN "desk@demo.example" "s3cret \\"x\\""', (), b"OK [CAPABILITY IMAP4rev1 "),
        (b"LOGIN {17}", (b"desk@demo.example {10}", b's3cret "x"'), b"OK "),
        (b'LOGIN {17+}\r\ndesk@demo.example {10+}\r\ns3cret "x"', (), b"OK "),
        (b"LOGIN desk@demo.example wrong", (), b"NO [AUTHENTICATIONFAILED]"),
        (b"LOGIN nobody@demo.example x", (), b"NO [AUTHENTICATIONFAILED]"),
        (b"AUTHENTICATE PLAIN", (base64.b64encode(b'\0desk@demo.example\0s3cret "x"'),), b"OK "),
        (b"AUTHENTICATE PLAIN " + base64.b64encode(b'\0desk@demo.example\0s3cret "x"'), (), b"OK "),
        (b"AUTHENTICATE PLAIN", (b"*",), b"BAD"),
        (b"AUTHENTICATE PLAIN", (b"%%%",), b"BAD"),
        (b"AUTHENTICATE XOAUTH2 abc", (), b"NO [CANNOT]"),
        (b"SELECT INBOX", (), b"BAD"),
        (b"LOGIN {999999}", (), b"BAD [TOOBIG]"),
        (b"LOGIN (a b", (), b"BAD"),
    ],
)
async def test_signing_in(provider: Provider, command: bytes, literals: tuple[bytes, ...], expected: bytes) -> None:
    client = await Client.open(provider.imap_port)
    assert (await client.last(command, *literals)).startswith(expected)


async def test_folders_are_listed_with_what_they_are_for(client: Client) -> None:
    answers = await client.run(b'LIST "" "*"')
    assert b'* LIST (\\HasNoChildren) "/" "INBOX"\r\n' in answers
    assert b'* LIST (\\HasNoChildren \\Junk) "/" "Junk"\r\n' in answers
    assert b'* LIST (\\HasNoChildren \\Sent) "/" "Sent"\r\n' in answers
    assert b'* LIST (\\HasNoChildren) "/" "Ablage/&ANw-brig &- neu"\r\n' in answers
    assert len(await client.run(b'LIST (SPECIAL-USE) "" "*"')) == 3
    assert len(await client.run(b'LIST "" "%"')) == 4
    assert (await client.last(b'SELECT "Ablage/&ANw-brig &- neu"')).startswith(b"OK")
    assert (await client.last(b"SELECT Nowhere")).startswith(b"NO [NONEXISTENT]")
    assert (await client.last(b"UID SEARCH ALL")).startswith(b"BAD"), "a failed SELECT deselects"


async def test_select_tells_the_epoch_and_the_next_uid(provider: Provider, client: Client) -> None:
    answers = b"".join(await (await selected(provider, client, MAIL, MAIL)).run(b"EXAMINE INBOX"))
    epoch = provider.mailboxes.find(ADDRESS).folders["INBOX"].uid_validity  # type: ignore[union-attr]
    assert b"* 2 EXISTS" in answers and b"[UIDNEXT 3]" in answers and b"[UIDVALIDITY %d]" % epoch in answers
    assert answers.endswith(b"OK [READ-ONLY] examined")


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        (b"ALL", b" 1 2 3"),
        (b"UID 2:*", b" 2 3"),
        (b"UID 99:*", b" 3"),
        (b"UID 1,3", b" 1 3"),
        (b"2:3", b" 2 3"),
        (b"HEADER Message-ID <one@example.org>", b" 1"),
        (b'UID 2:3 HEADER "Message-ID" {17+}\r\n<two@example.org>', b" 2"),
        (b"UNSEEN UNDELETED", b" 1 2 3"),
        (b"SEEN", b""),
    ],
)
async def test_uid_search(provider: Provider, client: Client, keys: bytes, found: bytes) -> None:
    await selected(provider, client, MAIL, MAIL.replace(b"one@", b"two@"), MAIL.replace(b"one@", b"three@"))
    assert (await client.run(b"UID SEARCH " + keys))[-2:] == [b"* SEARCH" + found + b"\r\n", b"OK searched"]


async def test_uid_fetch(provider: Provider, client: Client) -> None:
    await selected(provider, client, MAIL)
    header, text = MAIL[: MAIL.index(b"Hello")], MAIL[MAIL.index(b"Hello") :]
    assert await client.run(b"UID FETCH 1 (UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[])") == [
        b'* 1 FETCH (UID 1 FLAGS () INTERNALDATE "14-Nov-2023 22:13:20 +0000" RFC822.SIZE %d BODY[] {%d}\r\n%s)\r\n'
        % (len(MAIL), len(MAIL), MAIL),
        b"OK fetched",
    ]
    for item, answer in {
        b"BODY.PEEK[HEADER]": b"BODY[HEADER] {%d}\r\n%s" % (len(header), header),
        b"BODY.PEEK[TEXT]": b"BODY[TEXT] {%d}\r\n%s" % (len(text), text),
        b"BODY.PEEK[]<5.9>": b"BODY[]<5> {9}\r\n" + MAIL[5:14],
        b"BODY.PEEK[]<9999.5>": b"BODY[]<9999> {0}\r\n",
        b"BODY.PEEK[HEADER.FIELDS (Subject X-No)]": (
            b"BODY[HEADER.FIELDS (Subject X-No)] {16}\r\nSubject: one\r\n\r\n"
        ),
        b"RFC822.HEADER": b"RFC822.HEADER {%d}\r\n%s" % (len(header), header),
    }.items():
        assert (await client.run(b"UID FETCH 1:* " + item))[0] == b"* 1 FETCH (UID 1 " + answer + b")\r\n"
    assert (await client.run(b"UID FETCH 1 (FLAGS)"))[0] == b"* 1 FETCH (UID 1 FLAGS ())\r\n", "PEEK leaves no mark"
    await client.run(b"UID FETCH 1 BODY[]")
    assert (await client.run(b"FETCH 1 FLAGS"))[0] == b"* 1 FETCH (FLAGS (\\Seen))\r\n"
    assert await client.run(b"UID FETCH 77 (FLAGS)") == [b"OK fetched"]
    assert (await client.last(b"UID FETCH 1 BODY.PEEK[1.2]")).startswith(b"BAD")


async def test_the_ledger_counts_what_was_served_to_its_last_byte(provider: Provider, client: Client) -> None:
    await selected(provider, client, MAIL, MAIL + b"more\r\n", MAIL + b"unread\r\n")
    await client.run(b"UID FETCH 1 BODY.PEEK[]")
    await client.run(b"UID FETCH 1:3 BODY.PEEK[]<0.20>")
    await client.run(b"UID FETCH 2 BODY.PEEK[]<20.4000>")
    served = {key.uid: count for key, count in provider.ledger.served.items()}
    assert served == {1: 1, 2: 1}
    assert [key.uid for key in provider.ledger.unserved()] == [3]
    assert provider.ledger.held[provider.ledger.unserved()[0]] == hashlib.sha256(MAIL + b"unread\r\n").hexdigest()


async def test_store_move_copy_and_expunge(provider: Provider, client: Client) -> None:
    await selected(provider, client, MAIL, MAIL, MAIL)
    assert (await client.run(b"UID STORE 1 +FLAGS (\\Seen $Mine)"))[0] == b"* 1 FETCH (UID 1 FLAGS ($Mine \\Seen))\r\n"
    assert await client.run(b"UID STORE 1 -FLAGS.SILENT $Mine") == [b"OK stored"]
    copied = await client.last(b"UID COPY 1 Sent")
    assert re.fullmatch(rb"OK \[COPYUID \d+ 1 1\] copied", copied)
    moved = await client.run(b"UID MOVE 1:2 Junk")
    assert re.fullmatch(rb"\* OK \[COPYUID \d+ 1,2 1,2\] moved\r\n", moved[0])
    assert moved[1:] == [b"* 2 EXPUNGE\r\n", b"* 1 EXPUNGE\r\n", b"OK moved"]
    junk = provider.mailboxes.find(ADDRESS).folders["Junk"].messages  # type: ignore[union-attr]
    assert [(each.internaldate, each.flags) for each in junk.values()] == [
        (1_700_000_000, {"\\Seen"}),
        (1_700_000_000, set()),
    ]
    await client.run(b"UID STORE 3 +FLAGS.SILENT (\\Deleted)")
    assert await client.run(b"EXPUNGE") == [b"* 1 EXPUNGE\r\n", b"OK expunged"]
    assert (await client.last(b"UID COPY 1:* Nowhere")).startswith(b"NO [TRYCREATE]")
    await client.run(b"EXAMINE INBOX")
    for command in (b"UID STORE 1 +FLAGS (\\Seen)", b"UID MOVE 1 Junk", b"EXPUNGE"):
        assert (await client.last(command)).startswith(b"NO [READ-ONLY]")


async def test_append(provider: Provider, client: Client) -> None:
    big = b"Subject: big\r\n\r\n" + b"0123456789abcdef\r\n" * 50_000
    command = b'APPEND Sent (\\Seen) "14-Nov-2023 22:13:20 +0000" {%d}' % len(big)
    assert re.fullmatch(rb"OK \[APPENDUID \d+ 1\] appended", await client.last(command, big))
    message = provider.mailboxes.find(ADDRESS).folders["Sent"].messages[1]  # type: ignore[union-attr]
    assert (message.content, message.internaldate, message.flags) == (big, 1_700_000_000, {"\\Seen"})
    assert (await client.last(b"APPEND Nowhere {3}", b"abc")).startswith(b"NO [TRYCREATE]")
    assert (await client.last(b"APPEND Sent {999999999}")).startswith(b"BAD [TOOBIG]")


async def test_idle_wakes_for_new_mail_and_for_a_deletion(provider: Provider, client: Client) -> None:
    await selected(provider, client, MAIL)
    client.writer.write(b"i1 IDLE\r\n")
    assert await client.answer() == b"+ idling\r\n"
    provider.deliver(ADDRESS, MAIL)
    assert await client.answer() == b"* 2 EXISTS\r\n"
    provider.expunge(ADDRESS, [1])
    assert await client.answer() == b"* 1 EXPUNGE\r\n"
    client.writer.write(b"DONE\r\n")
    assert await client.answer() == b"i1 OK idle is over\r\n"
    provider.deliver(ADDRESS, MAIL)
    assert await client.run(b"NOOP") == [b"* 2 EXISTS\r\n", b"OK done"]


async def test_numbers_stay_put_while_a_fetch_by_number_runs(provider: Provider, client: Client) -> None:
    await selected(provider, client, MAIL, MAIL, MAIL)
    provider.expunge(ADDRESS, [1])
    answers = await client.run(b"FETCH 1:3 (UID)")
    assert answers == [b"* 2 FETCH (UID 2)\r\n", b"* 3 FETCH (UID 3)\r\n", b"OK fetched"]
    assert await client.run(b"NOOP") == [b"* 1 EXPUNGE\r\n", b"OK done"]


async def test_one_unreadable_mail_does_not_hide_the_others(provider: Provider, client: Client) -> None:
    await selected(provider, client, MAIL, MAIL)
    provider.mailboxes.find(ADDRESS).folders["INBOX"].unreadable.add(1)  # type: ignore[union-attr]
    answers = await client.run(b"UID FETCH 1:2 (BODY.PEEK[TEXT])")
    assert answers[0].startswith(b"* 2 FETCH (UID 2 ") and answers[1].startswith(b"NO [UNAVAILABLE]")


async def test_kill_resets_and_resume_finds_everything_where_it_was(provider: Provider, client: Client) -> None:
    await selected(provider, client, MAIL)
    port = provider.imap_port
    provider.kill()
    with pytest.raises(ConnectionResetError):
        await client.answer()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
    provider.deliver(ADDRESS, MAIL)
    await provider.resume()
    again = await (await Client.open(port)).login()
    await again.run(b"SELECT INBOX")
    assert (await again.run(b"UID SEARCH ALL"))[0] == b"* SEARCH 1 2\r\n"
    assert provider.connections == 1


async def test_death_in_the_middle_of_a_literal(provider: Provider, client: Client) -> None:
    await selected(provider, client, b"X: y\r\n\r\n" + b"z" * 200_000)
    provider.cut_after(100_000)
    client.writer.write(b"f UID FETCH 1 BODY.PEEK[]\r\n")
    with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
        await client.answer()
    assert not provider.alive and not provider.ledger.served


async def test_kick_and_renumber(provider: Provider, client: Client) -> None:
    await selected(provider, client, MAIL, MAIL)
    old = provider.mailboxes.find(ADDRESS).folders["INBOX"].uid_validity  # type: ignore[union-attr]
    assert provider.kick(ADDRESS) == 1
    with pytest.raises(ConnectionResetError):
        await client.answer()
    provider.expunge(ADDRESS, [1])
    assert provider.renumber(ADDRESS) > old
    again = await (await Client.open(provider.imap_port)).login()
    assert b"[UIDNEXT 2]" in b"".join(await again.run(b"SELECT INBOX"))


async def test_too_many_wrong_passwords_end_the_talk(provider: Provider) -> None:
    client = await Client.open(provider.imap_port)
    for _ in range(5):
        assert (await client.last(b"LOGIN desk@demo.example no")).startswith(b"NO")
    assert (await client.answer()).startswith(b"* BYE")


async def test_endless_lines_and_bad_commands_end_the_talk(provider: Provider) -> None:
    client = await Client.open(provider.imap_port)
    client.writer.write(b"a" * 300_000)
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        await client.answer()
    client = await Client.open(provider.imap_port)
    with pytest.raises(ConnectionResetError):
        for _ in range(100):
            await client.run(b"NONSENSE (((")


def _by_the_standard_library(port: int, files_ca: Path, starttls: bool) -> list[bytes]:
    context = ssl.create_default_context(cafile=str(files_ca))
    if starttls:
        client = imaplib.IMAP4("127.0.0.1", port, timeout=10)
        client.starttls(context)
    else:
        client = imaplib.IMAP4_SSL("127.0.0.1", port, ssl_context=context, timeout=10)
    client.login(ADDRESS, "pw")
    client.append("Sent", "", "", b"Subject: x\r\n\r\n" + b"y" * 700_000)  # type: ignore[arg-type]
    client.select("Sent")
    _, data = client.uid("FETCH", "1:*", "(UID BODY.PEEK[])")
    client.logout()
    return [part[1] for part in data if isinstance(part, tuple)]


@pytest.mark.parametrize("starttls", [True, False])
async def test_a_foreign_client_over_tls(tmp_path: Path, starttls: bool) -> None:
    files = make_ca(tmp_path)
    provider = Provider(tls=files.server_context())
    provider.open_mailbox(ADDRESS, "pw")
    await provider.start()
    port = provider.imap_port if starttls else provider.imaps_port
    contents = await asyncio.to_thread(_by_the_standard_library, port, files.ca, starttls)
    await provider.close()
    assert contents == [b"Subject: x\r\n\r\n" + b"y" * 700_000]


async def test_clear_passwords_are_refused_where_starttls_is_offered(tmp_path: Path) -> None:
    provider = Provider(tls=make_ca(tmp_path).server_context())
    provider.open_mailbox(ADDRESS, 's3cret "x"')
    await provider.start()
    client = await Client.open(provider.imap_port)
    assert b"LOGINDISABLED" in (await client.run(b"CAPABILITY"))[0]
    assert (await client.last(b'LOGIN desk@demo.example "s3cret \\"x\\""')).startswith(b"NO [PRIVACYREQUIRED]")
    client.writer.write(b"s STARTTLS\r\nx LOGIN smuggled in\r\n")
    assert (await client.answer()).startswith(b"s OK")
    with pytest.raises(ConnectionResetError):
        await client.answer()
    await provider.close()


def test_tokens() -> None:
    assert tokens([(b'A "b \\" c" (d (e) ())', None)]) == [b"A", b'b " c', [b"d", [b"e"], []]]
    assert tokens([(b"A {3}", b"x\r\n"), (b" B", None)]) == [b"A", b"x\r\n", b"B"]
    for wrong in (b"(", b")", b'"open', b"a\x0cb\n", b"(" * 50, b"x[y"):
        with pytest.raises(Bad):
            tokens([(wrong, None)])


def test_number_sets() -> None:
    assert number_set(b"1:*", []) == []
    assert number_set(b"5:2,9", [1, 3, 4, 9]) == [3, 4, 9]
    assert number_set(b"*", [1, 7]) == [7]
    for wrong in (b"0", b"", b"1:", b"a", b"1,,2", b"-1"):
        with pytest.raises(Bad):
            number_set(wrong, [1])


@pytest.mark.parametrize("name", ["INBOX", "Entwürfe", "A & B", "受信箱/日本", "&"])
def test_folder_names_travel(name: str) -> None:
    assert decode_name(encode_name(name).encode("ascii")) == name
