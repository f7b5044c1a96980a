"""Looking into a mailbox without taking anything, at each server that we can start, and at hostile ones."""

# ruff: noqa: F811 (fixtures)

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from gateway.connectors import Folder, FolderRole, imap_looks as looks
from gateway.connectors.imap_smtp import ImapReceiving
from pipeline.errors import ProviderFault, Refused
from pipeline.touchpoint import Connection, Security, Server
from tests.connectors.test_receiving import (  # noqa: F401 (fixtures)
    INBOX,
    JUNK,
    PASSWORD,
    MailServer,
    embedded,
    imap_server,
    mail,
    opened,
    put,
    seen,
    user,
)
from tests.servers.scripted_imap import Dialogue, ScriptedImap

SENT = Folder(name="Sent", role=FolderRole.SENT)
DAY = 86400.0


def letter(number: int, *, sender: str = "shop@example.org", subject: str = "Order", message_id: str = "") -> bytes:
    written = message_id or f"Message-ID: <{number}@example.org>"
    return f"From: {sender}\r\nSubject: {subject} {number}\r\n{written}\r\n\r\nText {number}\r\n".encode()


# -- everything ------------------------------------------------------------------------------------------------------


async def test_everything_is_every_uid_and_changes_nothing(
    imap_server: MailServer, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr(looks, "SPAN", 3)
    imap_server.save_many(user, [mail(number) for number in range(1, 12)])
    async with opened(imap_server, user, mark="seen") as mailbox:
        before = await mailbox.everything(INBOX)
        assert list(before.remote_ids) == list(range(1, 12))
        assert (before.epoch > 0, before.next_id) == (True, 12)
        imap_server.expunge(user, [1, 4, 5, 6, 11])
        assert list((await mailbox.everything(INBOX)).remote_ids) == [2, 3, 7, 8, 9, 10]
        assert list((await mailbox.everything(JUNK)).remote_ids) == []
        assert seen(imap_server, user) == []


async def test_everything_since_keeps_what_is_new(imap_server: MailServer, user: str) -> None:
    put(imap_server, user, mail(1))
    async with opened(imap_server, user) as mailbox:
        assert list((await mailbox.everything(INBOX, time.time() - 60)).remote_ids) == [1]
        assert list((await mailbox.everything(INBOX, time.time() + 5 * DAY)).remote_ids) == []


async def test_a_new_numbering_shows_in_everything(imap_server: MailServer, user: str) -> None:
    put(imap_server, user, mail(1))
    async with opened(imap_server, user) as mailbox:
        before = await mailbox.everything(INBOX)
    epoch = imap_server.renumber(user)
    async with opened(imap_server, user) as mailbox:
        assert (await mailbox.everything(INBOX)).epoch == epoch != before.epoch


async def test_taking_goes_on_after_a_look(imap_server: MailServer, user: str) -> None:
    async with opened(imap_server, user, mark="seen") as mailbox:
        put(imap_server, user, mail(1))
        refs = (await mailbox.changes(INBOX, "")).refs
        await mailbox.everything(JUNK)
        await mailbox.mark(refs[0], "seen")
        await mailbox.everything(INBOX)
        await mailbox.mark(refs[0], "seen")
        assert seen(imap_server, user) == [1]


# -- folders ---------------------------------------------------------------------------------------------------------


async def test_every_folder_is_more_than_the_watched_ones(imap_server: MailServer) -> None:
    address = f"desk{time.monotonic_ns()}@example.test"
    imap_server.open_mailbox(address, PASSWORD, folders=["Bögen & Co"])
    async with opened(imap_server, address) as mailbox:
        folders = {folder.name: folder.role for folder in await mailbox.every_folder()}
    assert folders == {
        "INBOX": FolderRole.INBOX,
        "Junk": FolderRole.JUNK,
        "Sent": FolderRole.SENT,
        "Bögen & Co": FolderRole.OTHER,
    }


# -- finding ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"message_id": "<2@example.org>"}, [2]),
        ({"message_id": "2@example.org"}, [2]),
        ({"message_id": "<2@example"}, []),
        ({"message_id": "<12@example.org>"}, []),
        ({"sender": "buyer@example.org"}, [4, 3]),
        ({"sender": "BUYER"}, [4, 3]),
        ({"subject": "order"}, [5, 2, 1]),
        ({"subject": "Übergröße"}, [4]),
        ({"subject": 'a "quoted\\ word'}, [3]),
        ({"sender": "buyer", "subject": "gr"}, [4]),
        ({"subject": ') UID 1:* ("'}, []),
        ({}, [5, 4, 3, 2, 1]),
    ],
)
async def test_finding(
    imap_server: MailServer, user: str, wanted: dict[str, Any], found: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr(looks, "SPAN", 2)
    written = [
        letter(1),
        letter(2),
        letter(3, sender="buyer@example.org", subject='a "quoted\\ word'),
        letter(4, sender="buyer@example.org", subject="=?utf-8?q?=C3=9Cbergr=C3=B6=C3=9Fe?="),
        letter(5, message_id="X-Other: none"),
    ]
    for content in written:
        put(imap_server, user, content)
    async with opened(imap_server, user) as mailbox:
        refs = await mailbox.find(INBOX, **wanted)
    assert [ref.remote_id for ref in refs] == found
    assert [ref.size for ref in refs] == [len(written[uid - 1]) for uid in found]
    assert all(abs(ref.internaldate - time.time()) < 600 and ref.epoch for ref in refs)


async def test_finding_by_time(imap_server: MailServer, user: str) -> None:
    put(imap_server, user, letter(1))
    now = time.time()
    spans = {(now - 600, 0.0): 1, (0.0, now + 600): 1, (now - 600, now + 600): 1, (now + 600, 0.0): 0}
    spans |= {(0.0, now - 600): 0, (now + 400 * DAY, 0.0): 0, (0.0, 1.0): 0, (0.0, 1e15): 1, (1e15, 0.0): 0}
    async with opened(imap_server, user) as mailbox:
        for (since, before), count in spans.items():
            assert len(await mailbox.find(INBOX, subject="Order", since=since, before=before)) == count, (since, before)


async def test_the_newest_fifty_are_found(
    imap_server: MailServer, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr(looks, "SPAN", 40)
    imap_server.save_many(user, [letter(number) for number in range(1, 131)])
    async with opened(imap_server, user) as mailbox:
        assert [ref.remote_id for ref in await mailbox.find(INBOX, sender="shop")] == list(range(130, 80, -1))


@pytest.mark.parametrize("text", ["a\r\nA2 LOGOUT", "a\n", "a\0", "\ud800", "x" * 1001])
async def test_what_cannot_be_searched_for_is_refused(
    imap_server: MailServer, user: str, text: str
) -> None:  # fmt: skip
    put(imap_server, user, letter(1))
    async with opened(imap_server, user) as mailbox:
        searches: list[dict[str, Any]] = [{key: text + "."} for key in ("message_id", "sender", "subject")]
        for wanted in searches:
            with pytest.raises(Refused):
                await mailbox.find(INBOX, **wanted)
        assert await mailbox.copies(text + ".") is None
        assert len(await mailbox.find(INBOX)) == 1


# -- copies in Sent --------------------------------------------------------------------------------------------------


async def test_copies_are_counted_by_exact_message_id(imap_server: MailServer, user: str) -> None:
    for written in ("Message-ID: <1@example.org>", "message-id:\r\n <1@example.org>", "Message-ID: <11@example.org>"):
        put(imap_server, user, letter(1, message_id=written), "Sent")
    put(imap_server, user, letter(1))
    async with opened(imap_server, user) as mailbox:
        assert await mailbox.copies("<1@example.org>") == 2
        assert await mailbox.copies("<11@example.org>") == 1
        assert await mailbox.copies("<111@example.org>") == 0
        assert await mailbox.copies("") is None


# -- hostile servers -------------------------------------------------------------------------------------------------


def at(server: ScriptedImap) -> ImapReceiving:
    connection = Connection(user="a", imap=Server(host="127.0.0.1", port=server.port, security=Security.NONE))
    return ImapReceiving(connection, "secret", timeout=5)


async def test_without_a_sent_folder_there_is_no_evidence() -> None:
    async def script(dialogue: Dialogue) -> None:
        await dialogue.sign_in()
        await dialogue.expect(b"LIST", b'* LIST () "/" INBOX\r\nTAG OK done\r\n')

    async with ScriptedImap(script) as server:
        mailbox = at(server)
        await mailbox.open()
        assert await mailbox.copies("<1@example.org>") is None
        await mailbox.close()


async def test_a_folder_of_incredible_size_is_not_believed() -> None:
    async def script(dialogue: Dialogue) -> None:
        await dialogue.sign_in()
        await dialogue.opened(exists=4_000_000_000)

    async with ScriptedImap(script) as server:
        mailbox = at(server)
        await mailbox.open()
        with pytest.raises(ProviderFault, match="4000000000"):
            await mailbox.everything(INBOX)
        await mailbox.close()


async def test_uids_that_nobody_asked_for_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looks, "SPAN", 2)

    async def script(dialogue: Dialogue) -> None:
        await dialogue.sign_in()
        await dialogue.opened(exists=3, uidnext=9)
        await dialogue.expect(b"UID SEARCH 2", b"* SEARCH 5\r\nTAG OK done\r\n")
        await dialogue.expect(b"UID SEARCH UID 1:5", b"* SEARCH 7 5 3 3\r\nTAG OK done\r\n")
        await dialogue.expect(b"UID SEARCH UID 6:*", b"* SEARCH 5 8\r\nTAG OK done\r\n")

    async with ScriptedImap(script) as server:
        mailbox = at(server)
        await mailbox.open()
        assert list((await mailbox.everything(INBOX)).remote_ids) == [3, 5, 8]
        await mailbox.close()


async def test_text_beyond_ascii_is_refused_where_the_server_cannot_search_for_it() -> None:
    async def script(dialogue: Dialogue) -> None:
        await dialogue.sign_in()
        await dialogue.opened(exists=1)
        heard = await dialogue.expect(b"UID SEARCH CHARSET UTF-8 UID 1:*", b"TAG NO [BADCHARSET] US-ASCII only\r\n")
        assert heard.endswith("SUBJECT {7}\r\nÜbergr".encode()), heard

    async with ScriptedImap(script) as server:
        mailbox = at(server)
        await mailbox.open()
        with pytest.raises(Refused, match="beyond ASCII"):
            await asyncio.wait_for(mailbox.find(INBOX, subject="Übergr"), 5)
        await mailbox.close()
