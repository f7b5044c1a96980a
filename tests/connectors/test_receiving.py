"""What every mailbox must do for us: one suite, run against each server that we can start."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from gateway.connectors import Fetched, Folder, FolderRole, Missing, Receiving, Ref
from gateway.connectors.imap_smtp import WINDOW, ImapReceiving
from pipeline.cursor import FolderCursor
from pipeline.errors import AuthRequired, CertificateFault, CursorLost, Refused, Transient
from pipeline.headers import Headers, head_hash
from pipeline.mail import OPENING
from pipeline.touchpoint import Connection, Security, Server
from tests.connectors.writing import Writer
from tests.servers.dovecot import Dovecot
from tests.servers.embedded import Embedded
from tests.servers.tls import TlsFiles, make_ca

PASSWORD = 'pä"ss\\word'
INBOX = Folder(name="INBOX", role=FolderRole.INBOX)
JUNK = Folder(name="Junk", role=FolderRole.JUNK)
_NUMBERS = itertools.count(1)

MailServer = Dovecot | Embedded


@pytest.fixture(scope="module")
def embedded() -> Iterator[Embedded]:
    with Embedded() as server:
        yield server


@pytest.fixture(params=["embedded", pytest.param("dovecot", marks=pytest.mark.dovecot)])
def imap_server(request: pytest.FixtureRequest) -> MailServer:
    """Every server that this suite runs against."""
    server: MailServer = request.getfixturevalue(request.param)
    return server


@pytest.fixture
def user(imap_server: MailServer) -> str:
    """A mailbox of this test's own."""
    address = f"desk{next(_NUMBERS)}.{time.monotonic_ns()}@example.test"
    imap_server.open_mailbox(address, PASSWORD)
    return address


def put(server: MailServer, user: str, content: bytes, folder: str = "INBOX") -> None:
    if isinstance(server, Dovecot):
        server.save(user, content, folder)
    else:
        server.deliver(user, content, folder)


def seen(server: MailServer, user: str, folder: str = "INBOX") -> list[int]:
    """UIDs that bear the flag."""
    if isinstance(server, Dovecot):
        return sorted(uid for uid, flags in server.flags(user, folder).items() if "\\Seen" in flags)
    mailbox = server.provider.mailboxes.find(user)
    assert mailbox is not None
    return sorted(uid for uid, mail in mailbox.folders[folder].messages.items() if "\\Seen" in mail.flags)


def mail(number: int, size: int = 0) -> bytes:
    head = f"From: a@example.org\r\nSubject: mail {number} :( {{5}}\r\n\r\n".encode()
    lines = (f"{n:09} {'x' * 60}\r\n".encode() for n in itertools.count())
    body = bytearray()
    while len(head) + len(body) < size - 80:
        body += next(lines)
    return head + bytes(body) + b"y" * max(0, size - len(head) - len(body) - 2) + b"\r\n"


def receiving(
    server: MailServer, user: str, security: Security = Security.STARTTLS, *, password: str = PASSWORD,
    tls: TlsFiles | None = None, mark: str = "",
) -> ImapReceiving:  # fmt: skip
    port = server.imaps_port if security is Security.TLS else server.imap_port
    connection = Connection(user=user, imap=Server(host="127.0.0.1", port=port, security=security), mark=mark)
    context = (tls or server.tls).client_context()
    return ImapReceiving(connection, password, ssl_context=context, timeout=10)


@asynccontextmanager
async def opened(server: MailServer, user: str, mark: str = "") -> AsyncIterator[ImapReceiving]:
    mailbox = receiving(server, user, mark=mark)
    await mailbox.open()
    try:
        yield mailbox
    finally:
        await mailbox.close()


async def contents(mailbox: Receiving, refs: Sequence[Ref]) -> dict[int, Fetched | Missing]:
    """One answer for each ref."""
    answers = [answer async for answer in mailbox.fetch(refs, Writer)]
    assert sorted(answer.ref.remote_id for answer in answers) == sorted(ref.remote_id for ref in refs)
    return {answer.ref.remote_id: answer for answer in answers}


def bytes_of(answer: Fetched | Missing) -> bytes:
    assert isinstance(answer, Fetched)
    content = Writer.stored[answer.content_id] if answer.content_id else answer.data
    assert answer.sha256 == hashlib.sha256(content).digest()
    assert answer.size == len(content)
    assert bool(answer.content_id) == (len(content) > OPENING)
    if answer.content_id:
        assert answer.opening == content[:OPENING]
    return content


# -- signing in ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("security", Security)
async def test_signing_in(imap_server: MailServer, user: str, security: Security) -> None:
    mailbox = receiving(imap_server, user, security)
    identity = await mailbox.open()
    assert identity.principal == user
    folders = await mailbox.folders()
    assert folders == [INBOX, JUNK, Folder(name="Sent", role=FolderRole.SENT)]
    await mailbox.close()
    await mailbox.close()


@pytest.mark.parametrize("security", [Security.TLS, Security.STARTTLS])
async def test_a_wrong_password_needs_a_person(imap_server: MailServer, user: str, security: Security) -> None:
    with pytest.raises(AuthRequired) as caught:
        await receiving(imap_server, user, security, password="not this one").open()
    assert "not this one" not in str(caught.value)


@pytest.mark.parametrize("security", [Security.TLS, Security.STARTTLS])
async def test_another_authority_is_a_certificate_fault(
    imap_server: MailServer, user: str, security: Security, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = make_ca(tmp_path_factory.mktemp("other"))
    with pytest.raises(CertificateFault):
        await receiving(imap_server, user, security, tls=other).open()


# -- listing ---------------------------------------------------------------------------------------------------------


async def test_what_was_there_before_is_left_alone(imap_server: MailServer, user: str) -> None:
    put(imap_server, user, mail(1))
    async with opened(imap_server, user) as mailbox:
        cursor, low = await mailbox.baseline(INBOX)
        assert low == 1
        assert (await mailbox.changes(INBOX, cursor)).refs == ()
        put(imap_server, user, mail(2))
        page = await mailbox.changes(INBOX, cursor)
        assert [ref.remote_id for ref in page.refs] == [2]
        assert not page.more
        assert page.refs[0].size == len(mail(2))
        assert abs(page.refs[0].internaldate - time.time()) < 3600
        again = await mailbox.changes(INBOX, cursor)  # the same cursor gives the same answer
        assert again == page
        assert (await mailbox.changes(INBOX, page.cursor)).refs == ()


async def test_an_empty_folder(imap_server: MailServer, user: str) -> None:
    async with opened(imap_server, user) as mailbox:
        cursor, low = await mailbox.baseline(INBOX)
        assert low == 0
        page = await mailbox.changes(INBOX, cursor)
        assert (page.refs, page.more) == ((), False)
        assert (await mailbox.changes(INBOX, "")).refs == ()


async def test_pages(imap_server: MailServer, user: str) -> None:
    for number in range(7):
        put(imap_server, user, mail(number))
    async with opened(imap_server, user) as mailbox:
        cursor, found, mores = "", [], []
        for _ in range(3):
            page = await mailbox.changes(INBOX, cursor, 3)
            found += [ref.remote_id for ref in page.refs]
            mores.append(page.more)
            cursor = page.cursor
        assert found == [1, 2, 3, 4, 5, 6, 7]
        assert mores == [True, True, False]
        first = await mailbox.changes(INBOX, "", 3)
        rest = await mailbox.changes(INBOX, first.refs[1].cursor)  # right behind the second item
        assert [ref.remote_id for ref in rest.refs] == [3, 4, 5, 6, 7]


async def test_junk_is_a_folder_of_its_own(imap_server: MailServer, user: str) -> None:
    put(imap_server, user, mail(1), "Junk")
    async with opened(imap_server, user) as mailbox:
        assert (await mailbox.changes(INBOX, "")).refs == ()
        page = await mailbox.changes(JUNK, "")
        assert [ref.folder for ref in page.refs] == ["Junk"]
        assert bytes_of((await contents(mailbox, page.refs))[1]) == mail(1)


async def test_a_renumbered_folder_is_lost_and_says_where_to_begin(imap_server: MailServer, user: str) -> None:
    put(imap_server, user, mail(1))
    async with opened(imap_server, user) as mailbox:
        page = await mailbox.changes(INBOX, "")
        await asyncio.to_thread(imap_server.renumber, user)
        await mailbox.close()
        await mailbox.open()
        with pytest.raises(CursorLost) as lost:
            await mailbox.changes(INBOX, page.cursor)
        anew = await mailbox.changes(INBOX, lost.value.start)
        assert [(ref.size, ref.internaldate) for ref in anew.refs] == [(len(mail(1)), page.refs[0].internaldate)]
        assert anew.refs[0].epoch > page.refs[0].epoch
        with pytest.raises(CursorLost):
            await contents(mailbox, page.refs)
        with pytest.raises(CursorLost):
            await mailbox.mark(page.refs[0], "seen")


async def test_an_epoch_keeps_its_generation(imap_server: MailServer, user: str) -> None:
    put(imap_server, user, mail(1))
    async with opened(imap_server, user) as mailbox:
        (ref,) = (await mailbox.changes(INBOX, "")).refs
        start = FolderCursor((3 << 32) | ref.epoch, 0).text()
        page = await mailbox.changes(INBOX, start)
        assert [each.epoch for each in page.refs] == [(3 << 32) | ref.epoch]
        assert bytes_of((await contents(mailbox, page.refs))[ref.remote_id]) == mail(1)
        assert (await mailbox.changes(INBOX, page.cursor)).refs == ()


# -- heads -----------------------------------------------------------------------------------------------------------

HEADS = {
    "plain": b"From: a@example.org\r\nSubject: hello\r\nMessage-ID: <1@example.org>\r\n"
    b"Date: Mon, 23 Nov 2026 10:00:00 +0000\r\n",
    "folded, in other case": b"SUBJECT: a\r\n very\r\n\tlong one\r\nfrom:b@example.org\r\n"
    b"MESSAGE-id: <2@example.org>\r\n",
    "one field twice": b"Subject: one\r\nX-Other: y\r\nSubject: two\r\nFrom: c@example.org\r\n",
    "none of them": b"X-Only: this\r\n",
    "octets beyond ASCII": "Subject: Grüße\r\nFrom: d@example.org\r\n".encode(),
}


async def test_the_head_alone_says_what_the_whole_mail_says(imap_server: MailServer, user: str) -> None:
    for head in HEADS.values():
        put(imap_server, user, head + b"\r\nSubject: this is no field\r\n")
    async with opened(imap_server, user) as mailbox:
        refs = (await mailbox.changes(INBOX, "")).refs
        found = {uid: head async for uid, head in mailbox.heads(refs)}
        assert await _none(mailbox, refs)
    assert seen(imap_server, user) == []
    wanted = [head_hash(Headers.scan(head + b"\r\nbody")) for head in HEADS.values()]
    assert [head_hash(Headers.scan(found[ref.remote_id])) for ref in refs] == wanted


async def _none(mailbox: Receiving, refs: Sequence[Ref]) -> bool:
    """Nothing comes for what is not there."""
    gone = [replace(ref, remote_id=ref.remote_id + 1000) for ref in refs]
    return [each async for each in mailbox.heads(gone)] == []


# -- fetching --------------------------------------------------------------------------------------------------------


async def test_many_small_mails(imap_server: MailServer, user: str) -> None:
    sent = {number: mail(number, 3000 + number) for number in range(1, 13)}
    for content in sent.values():
        put(imap_server, user, content)
    async with opened(imap_server, user) as mailbox:
        page = await mailbox.changes(INBOX, "")
        answers = await contents(mailbox, page.refs)
        assert {uid: bytes_of(answer) for uid, answer in answers.items()} == sent
    assert seen(imap_server, user) == []


@pytest.mark.parametrize("size", [3 * WINDOW + 17, WINDOW, WINDOW + 1, OPENING, OPENING + 1])
async def test_big_mail_comes_by_windows(imap_server: MailServer, user: str, size: int) -> None:
    content = mail(1, size)
    assert len(content) == size
    put(imap_server, user, mail(0))
    put(imap_server, user, content)
    put(imap_server, user, mail(2))
    async with opened(imap_server, user) as mailbox:
        page = await mailbox.changes(INBOX, "")
        answers = await contents(mailbox, page.refs)
        assert bytes_of(answers[2]) == content
        assert (bytes_of(answers[1]), bytes_of(answers[3])) == (mail(0), mail(2))
        assert bytes_of((await contents(mailbox, page.refs[1:2]))[2]) == content


async def test_what_was_expunged_meanwhile_is_gone(imap_server: MailServer, user: str) -> None:
    for number in range(1, 5):
        put(imap_server, user, mail(number, OPENING + 5000 if number == 4 else 0))
    async with opened(imap_server, user) as mailbox:
        page = await mailbox.changes(INBOX, "")
        await asyncio.to_thread(imap_server.expunge, user, [2, 4])
        answers = await contents(mailbox, page.refs)
        assert answers[2] == Missing(ref=page.refs[1], gone=True)
        assert answers[4] == Missing(ref=page.refs[3], gone=True)
        assert (bytes_of(answers[1]), bytes_of(answers[3])) == (mail(1), mail(3))
        assert (await contents(mailbox, [page.refs[1]]))[2] == Missing(ref=page.refs[1], gone=True)
        assert await mailbox.present(INBOX, [1, 2, 3, 4, 99]) == {1, 3}


# -- waiting ---------------------------------------------------------------------------------------------------------


async def test_waiting_ends_with_new_mail(imap_server: MailServer, user: str) -> None:
    async with opened(imap_server, user) as mailbox:
        page = await mailbox.changes(INBOX, "")
        waiting = asyncio.create_task(mailbox.wait(INBOX, 60))
        await asyncio.sleep(0.2)
        assert not waiting.done()
        await asyncio.to_thread(put, imap_server, user, mail(1))
        assert await waiting
        assert len((await mailbox.changes(INBOX, page.cursor)).refs) == 1


async def test_waiting_ends_in_time_and_when_cancelled(imap_server: MailServer, user: str) -> None:
    async with opened(imap_server, user) as mailbox:
        page = await mailbox.changes(INBOX, "")
        assert not await mailbox.wait(INBOX, 0.1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await mailbox.wait(INBOX, 60)
        await asyncio.to_thread(put, imap_server, user, mail(1))
        assert len((await mailbox.changes(INBOX, page.cursor)).refs) == 1


async def test_mail_that_came_before_the_wait_is_not_waited_for(imap_server: MailServer, user: str) -> None:
    async with opened(imap_server, user) as mailbox:
        await mailbox.changes(INBOX, "")
        await asyncio.to_thread(put, imap_server, user, mail(1))
        await mailbox.changes(JUNK, "")
        assert await mailbox.wait(INBOX, 60)


async def test_being_thrown_out_ends_the_wait_with_an_error(imap_server: MailServer, user: str) -> None:
    async with opened(imap_server, user) as mailbox:
        await mailbox.changes(INBOX, "")
        waiting = asyncio.create_task(mailbox.wait(INBOX, 60))
        await asyncio.sleep(0.2)
        await asyncio.to_thread(imap_server.kick, user)
        with pytest.raises(Transient):
            await waiting
        with pytest.raises(Transient):
            await mailbox.changes(INBOX, "")
        await mailbox.open()
        assert (await mailbox.changes(INBOX, "")).refs == ()


# -- after the commit ------------------------------------------------------------------------------------------------


async def test_marking_as_seen(imap_server: MailServer, user: str) -> None:
    for number in range(1, 4):
        put(imap_server, user, mail(number))
    async with opened(imap_server, user, mark="seen") as mailbox:
        page = await mailbox.changes(INBOX, "")
        await contents(mailbox, page.refs)
        assert seen(imap_server, user) == []
        for _ in range(2):
            await mailbox.mark(page.refs[1], "seen")
        assert await asyncio.to_thread(seen, imap_server, user) == [2]


@pytest.mark.parametrize("folder", ["Erledigt & gut", "Ablage/Ä"])
async def test_moving(imap_server: MailServer, folder: str) -> None:
    user = f"mover{next(_NUMBERS)}@example.test"
    imap_server.open_mailbox(user, PASSWORD, folders=[folder])
    for number in range(1, 4):
        put(imap_server, user, mail(number))
    async with opened(imap_server, user, mark=f"move:{folder}") as mailbox:
        page = await mailbox.changes(INBOX, "")
        for _ in range(2):
            await mailbox.mark(page.refs[1], f"move:{folder}")
        assert await mailbox.present(INBOX, [1, 2, 3]) == {1, 3}
        moved = await mailbox.changes(Folder(name=folder), "")
        assert [bytes_of(each) for each in (await contents(mailbox, moved.refs)).values()] == [mail(2)]


async def test_moving_to_nowhere_is_refused(imap_server: MailServer, user: str) -> None:
    put(imap_server, user, mail(1))
    async with opened(imap_server, user) as mailbox:
        page = await mailbox.changes(INBOX, "")
        with pytest.raises(Refused, match="Nowhere"):
            await mailbox.mark(page.refs[0], "move:Nowhere")
        with pytest.raises(Refused):
            await mailbox.mark(page.refs[0], "paint:red")
        assert await mailbox.present(INBOX, [1]) == {1}


async def test_a_sent_copy_is_filed_once(imap_server: MailServer, user: str) -> None:
    content = b"Message-ID: <a.1@example.test>\r\n" + mail(1, 600_000)

    async def chunks() -> AsyncIterator[bytes]:
        for at in range(0, len(content), OPENING):
            yield content[at : at + OPENING]

    async with opened(imap_server, user) as mailbox:
        for _ in range(2):
            await mailbox.file_copy(chunks(), len(content), "<a.1@example.test>")
        page = await mailbox.changes(Folder(name="Sent", role=FolderRole.SENT), "")
        assert [bytes_of(each) for each in (await contents(mailbox, page.refs)).values()] == [content]
    assert seen(imap_server, user, "Sent") == [1]


# -- the server as a whole -------------------------------------------------------------------------------------------


@pytest.mark.dovecot
async def test_a_server_that_stops_says_why(dovecot: Dovecot, tmp_path_factory: pytest.TempPathFactory) -> None:
    with Dovecot(tls=dovecot.tls) as server:
        server.open_mailbox("own@example.test", PASSWORD)
        mailbox = receiving(server, "own@example.test")
        await mailbox.open()
        await mailbox.changes(INBOX, "")
        waiting = asyncio.create_task(mailbox.wait(INBOX, 60))
        await asyncio.sleep(0.2)
        await asyncio.to_thread(server.down)
        with pytest.raises(Transient, match="shutting down"):
            await waiting
        with pytest.raises(Transient):
            await mailbox.open()
        await asyncio.to_thread(server.up)
        await mailbox.open()
        server.deliver("own@example.test", mail(1))
        assert len((await mailbox.changes(INBOX, "")).refs) == 1
        await asyncio.to_thread(server.kill)
        with pytest.raises(Transient):
            await mailbox.changes(INBOX, "")


@pytest.mark.dovecot
async def test_thousands_of_mails_saved_at_once(dovecot: Dovecot) -> None:
    dovecot.open_mailbox("many@example.test", PASSWORD)
    dovecot.save_many("many@example.test", (mail(number) for number in range(1200)))
    async with opened(dovecot, "many@example.test") as mailbox:
        page = await mailbox.changes(INBOX, "", 1000)
        assert (len(page.refs), page.more) == (1000, True)
        rest = await mailbox.changes(INBOX, page.cursor, 1000)
        assert (len(rest.refs), rest.more) == (200, False)
        answers = await contents(mailbox, rest.refs)
        assert {len(bytes_of(answer)) for answer in answers.values()} == {len(mail(1000))}
