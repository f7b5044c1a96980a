"""What a lying, broken or hostile mailbox can do to the inbound half: cost one mail, or its own connection."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.connectors import Fetched, Folder, FolderRole, Missing, Ref, imap_smtp as connector
from gateway.connectors.imap_smtp import WINDOW, ImapReceiving
from gateway.connectors.imap_wire import Limits
from pipeline.errors import CursorLost, ProviderFault, Refused, Throttled
from pipeline.mail import OPENING
from pipeline.touchpoint import Connection, Security, Server
from tests.connectors.writing import Writer
from tests.servers.scripted_imap import Dialogue, ScriptedImap

INBOX = Folder(name="INBOX", role=FolderRole.INBOX)
EPOCH = 7
_ASKED = re.compile(rb"UID FETCH (\S+) \(UID BODY\.PEEK\[\](?:<(\d+)\.(\d+)>)?\)")


class Mailbox:
    """A server with faults: ``body`` answers for each FETCH of one UID, None for silence."""

    def __init__(self, *uids: int, uidnext: int = 100, capabilities: bytes = b"IDLE MOVE", tail: bytes = b"") -> None:
        self.uids = set(uids)
        self.uidnext = uidnext
        self.capabilities = capabilities
        self.together: bytes | None = None
        """The whole answer to a FETCH of several UIDs; None: a row for each."""
        self.rows: dict[int, bytes] = {}
        """The whole answer to a FETCH of one UID, where it is not the ordinary one."""
        self.bodies: dict[int, bytes] = {}
        self.idle = b"+ idling\r\n"
        self.heard: list[bytes] = []
        self.windows = True
        self.signed_in = 0

    async def play(self, dialogue: Dialogue) -> None:
        await dialogue.send(b"* OK ready\r\n")
        while command := await dialogue.command():
            self.heard.append(command)
            await dialogue.send(self.answer(command))

    def answer(self, command: bytes) -> bytes:
        word = command.upper()
        if word.startswith((b"CAPABILITY", b"LOGIN")):
            self.signed_in += word.startswith(b"LOGIN")
            return b"* CAPABILITY IMAP4rev1 %b\r\nTAG OK done\r\n" % self.capabilities
        if word.startswith((b"EXAMINE", b"SELECT")):
            return b"* %d EXISTS\r\n* OK [UIDVALIDITY %d] v\r\n* OK [UIDNEXT %d] n\r\nTAG OK done\r\n" % (
                len(self.uids), EPOCH, self.uidnext)  # fmt: skip
        if word.startswith(b"UID SEARCH UID "):
            found = b" ".join(b"%d" % uid for uid in self.found(word.split()[-1].decode()))
            return b"* SEARCH %b\r\nTAG OK done\r\n" % found
        if asked := _ASKED.match(command):
            return self.fetched(asked[1], asked[2], asked[3])
        if word.startswith(b"UID FETCH"):
            rows = (b"* 1 FETCH (UID %d RFC822.SIZE 10)\r\n" % uid for uid in sorted(self.uids))
            return b"".join(rows) + b"TAG OK done\r\n"
        return self.idle if word == b"IDLE" else b"TAG OK done\r\n"

    def found(self, uid_set: str) -> list[int]:
        found: set[int] = set()
        for span in uid_set.split(","):
            first, _, last = span.partition(":")
            top = max(self.uids, default=0) if last == "*" else int(last or first)
            low, high = sorted((int(first), top))
            found |= {uid for uid in self.uids if low <= uid <= high}
        return sorted(found)

    def fetched(self, uid_set: bytes, offset: bytes | None, size: bytes | None) -> bytes:
        if offset is None:
            whole = b"".join(self.row(uid, self.body(uid)) for uid in self.found(uid_set.decode()))
            return self.together if self.together is not None else whole + b"TAG OK done\r\n"
        uid = int(uid_set)
        if uid in self.rows:
            return self.rows[uid]
        if uid not in self.uids:
            return b"TAG OK done\r\n"
        if not self.windows:
            return self.row(uid, self.body(uid)) + b"TAG OK done\r\n"
        at, length = int(offset), int(size or b"0")
        return self.row(uid, self.body(uid)[at : at + length], b"<%d>" % at) + b"TAG OK done\r\n"

    def body(self, uid: int) -> bytes:
        return self.bodies.get(uid, b"mail %d" % uid)

    def row(self, uid: int, data: bytes, origin: bytes = b"") -> bytes:
        return b"* 1 FETCH (UID %d BODY[]%b {%d}\r\n%b)\r\n" % (uid, origin, len(data), data)


@asynccontextmanager
async def opened(mailbox: Mailbox, limits: Limits = Limits(quiet=5)) -> AsyncIterator[ImapReceiving]:  # noqa: B008
    async with ScriptedImap(mailbox.play) as server:
        place = Server(host=server.host, port=server.port, security=Security.NONE)
        receiving = ImapReceiving(Connection(user="u", imap=place), "secret", limits=limits, timeout=10)
        await receiving.open()
        try:
            yield receiving
        finally:
            await receiving.close()


def ref(uid: int, size: int = 6) -> Ref:
    return Ref("INBOX", EPOCH, uid, 0.0, size)


async def answers(receiving: ImapReceiving, *refs: Ref) -> dict[int, bytes | str | None]:
    """For each UID the bytes, None for gone, or the error."""
    found: dict[int, bytes | str | None] = {}
    async for answer in receiving.fetch(refs, Writer):
        assert answer.ref.remote_id not in found
        if isinstance(answer, Missing):
            found[answer.ref.remote_id] = None if answer.gone else answer.error
        else:
            assert isinstance(answer, Fetched)
            found[answer.ref.remote_id] = Writer.stored[answer.content_id] if answer.content_id else answer.data
    assert sorted(found) == sorted(each.remote_id for each in refs)
    return found


ROWS = b"* 1 FETCH (UID 1 BODY[] {2}\r\nhi)\r\n"


@pytest.mark.parametrize(
    ("together", "first"),
    [
        (ROWS + b"TAG NO [SERVERBUG] Internal error\r\n", b"hi"),
        (b"TAG BAD cannot\r\n", b"mail 1"),
        (b"TAG OK done\r\n", b"mail 1"),
        (b"* 1 FETCH (UID 1 BODY[] NIL)\r\nTAG OK done\r\n", b"mail 1"),
        (b"* 1 FETCH (BODY[] {2}\r\nhi)\r\nTAG OK done\r\n", b"mail 1"),
        (b"* 1 FETCH (UID 9 BODY[] {4}\r\nevil)\r\n" + ROWS + b"TAG OK done\r\n", b"hi"),
        (ROWS + b"* 1 FETCH (UID 1 BODY[] {4}\r\nevil)\r\nTAG OK done\r\n", b"hi"),
        (b"* 1 FETCH (UID 1 BODY[ {4}\r\nevil)\r\nTAG OK done\r\n", b"mail 1"),
        (b"* 1 FETCH (FLAGS (\\Seen) UID 1)\r\n* 3 EXPUNGE\r\n" + ROWS + b"TAG OK done\r\n", b"hi"),
        (b'* 1 FETCH (UID 1 BODY[] "hi")\r\nTAG NO Some of the requested messages no longer exist\r\n', b"hi"),
    ],
)
async def test_what_does_not_come_with_the_others_comes_alone(together: bytes, first: bytes) -> None:
    mailbox = Mailbox(1, 2)
    mailbox.together = together
    async with opened(mailbox) as receiving:
        assert await answers(receiving, ref(1), ref(2), ref(3)) == {1: first, 2: b"mail 2", 3: None}


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (b"TAG NO [SERVERBUG] Internal error\r\n", "Internal error"),
        (b"TAG BAD cannot\r\n", "cannot"),
        (b"TAG OK done\r\n", "sends nothing"),
        (b"* 1 FETCH (UID 2 BODY[]<0> NIL)\r\nTAG OK done\r\n", "sends nothing"),
        (b"* 1 FETCH (UID 2 BODY[]<5> {2}\r\nhi)\r\nTAG OK done\r\n", "another part"),
        (b"* 1 FETCH (UID 2 BODY[]<0> {900000000}\r\n", "900000000"),
    ],
)
async def test_one_bad_mail_costs_one_mail(row: bytes, words: str) -> None:
    mailbox = Mailbox(1, 2, 3)
    mailbox.together = b"TAG NO trouble\r\n"
    mailbox.rows[2] = row
    async with opened(mailbox) as receiving:
        found = await answers(receiving, ref(1), ref(2), ref(3))
    assert (found[1], found[3]) == (b"mail 1", b"mail 3")
    assert words in str(found[2])


async def test_a_literal_above_the_limit_costs_a_new_connection() -> None:
    mailbox = Mailbox(1, 2, 3)
    mailbox.together = ROWS + b"* 2 FETCH (UID 2 BODY[] {99999999999}\r\n"
    async with opened(mailbox) as receiving:
        assert await answers(receiving, ref(1), ref(2), ref(3)) == {1: b"hi", 2: b"mail 2", 3: b"mail 3"}
    assert mailbox.signed_in == 2


async def test_a_request_to_slow_down_is_passed_on() -> None:
    mailbox = Mailbox(1, 2)
    mailbox.together = b"TAG NO Suggested Backoff Time: 2000 milliseconds\r\n"
    async with opened(mailbox) as receiving:
        with pytest.raises(Throttled) as caught:
            await answers(receiving, ref(1), ref(2))
    assert caught.value.seconds == 2.0


@pytest.mark.parametrize("announced", [1, OPENING, 3 * WINDOW, 0])
async def test_sizes_are_advisory(announced: int) -> None:
    mailbox = Mailbox(1)
    mailbox.bodies[1] = bytes(range(256)) * 1300
    async with opened(mailbox) as receiving:
        assert await answers(receiving, ref(1, announced)) == {1: mailbox.bodies[1]}


@pytest.mark.parametrize("size", [6, WINDOW, WINDOW + 1, 3 * WINDOW])
async def test_a_server_that_ignores_windows(size: int) -> None:
    mailbox = Mailbox(1)
    mailbox.windows = False
    mailbox.bodies[1] = b"x" * size
    async with opened(mailbox) as receiving:
        assert await answers(receiving, ref(1, size)) == {1: mailbox.bodies[1]}


async def test_a_mail_without_end_ends_at_twice_its_size() -> None:
    mailbox = Mailbox(1, 2)
    mailbox.bodies[1] = b"x" * (8 * WINDOW)
    async with opened(mailbox) as receiving:
        found = await answers(receiving, ref(1, 2 * WINDOW), ref(2))
    assert "announced" in str(found[1])
    assert found[2] == b"mail 2"
    assert sum(b"<" in each for each in mailbox.heard) < 8


async def test_mail_that_goes_between_two_windows_is_gone() -> None:
    mailbox = Mailbox(1)
    mailbox.bodies[1] = b"x" * (3 * WINDOW)

    class Leaving(Writer):
        async def write(self, data: bytes) -> None:
            mailbox.uids.clear()

    async with opened(mailbox) as receiving:
        found = [each async for each in receiving.fetch([ref(1, 3 * WINDOW)], Leaving)]
    assert found == [Missing(ref=ref(1, 3 * WINDOW), gone=True)]


# -- listing ---------------------------------------------------------------------------------------------------------


async def test_what_the_listing_leaves_out_is_still_accounted_for() -> None:
    mailbox = Mailbox(4, 5)
    mailbox.answer = _instead(mailbox, b"UID FETCH", b"* 1 FETCH (UID 5 RFC822.SIZE 8)\r\nTAG NO gone\r\n")  # type: ignore[method-assign]
    async with opened(mailbox) as receiving:
        page = await receiving.changes(INBOX, "1:7:3")
    assert [(each.remote_id, each.size) for each in page.refs] == [(4, 0), (5, 8)]


def _instead(mailbox: Mailbox, word: bytes, answer: bytes):  # type: ignore[no-untyped-def]
    ordinary = mailbox.answer
    return lambda command: answer if command.upper().startswith(word) else ordinary(command)


async def test_the_last_item_is_not_new_again() -> None:
    async with opened(Mailbox(1, 2, 3)) as receiving:
        page = await receiving.changes(INBOX, "1:7:3")
    assert (page.refs, page.cursor, page.more) == ((), "1:7:3", False)


@pytest.mark.parametrize(
    ("uids", "uidnext", "lost"), [((1, 2), 3, True), ((), 3, True), ((1, 9), 3, False), ((1,), 10, False)]
)
async def test_a_folder_that_was_set_back_is_lost(uids: tuple[int, ...], uidnext: int, lost: bool) -> None:
    async with opened(Mailbox(*uids, uidnext=uidnext)) as receiving:
        if lost:
            with pytest.raises(CursorLost, match="set back"):
                await receiving.changes(INBOX, "1:7:9")
        else:
            assert (await receiving.changes(INBOX, "1:7:9")).refs == ()


async def test_a_long_absence_is_searched_in_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connector, "SPAN", 10)
    mailbox = Mailbox(*range(1, 25), 61, 62, uidnext=70)
    found, cursor, more = [], "1:7:0", True
    async with opened(mailbox) as receiving:
        while more:
            page = await receiving.changes(INBOX, cursor, 8)
            found += [each.remote_id for each in page.refs]
            cursor, more = page.cursor, page.more
    assert found == sorted(mailbox.uids)
    assert b"UID SEARCH UID 1:10" in mailbox.heard
    assert b"UID SEARCH UID 1:*" not in mailbox.heard


@pytest.mark.parametrize(
    ("cursor", "start"), [("2:7:1", ""), ("x", ""), ("1:8:1", "1:4294967303:0"), ("1:6:1", "1:7:0")]
)
async def test_an_unknown_cursor_is_lost_and_one_of_other_numbers_says_where_to_begin(cursor: str, start: str) -> None:
    async with opened(Mailbox(1)) as receiving:
        with pytest.raises(CursorLost) as lost:
            await receiving.changes(INBOX, cursor)
        assert lost.value.start == start


# -- heads -----------------------------------------------------------------------------------------------------------

_HEAD = b"* 1 FETCH (UID %d BODY[HEADER.FIELDS (%b)] {%d}\r\n%b)\r\n"


def _head(uid: int, name: bytes = b"MESSAGE-ID DATE FROM SUBJECT") -> bytes:
    data = b"Subject: %d\r\n\r\n" % uid
    return _HEAD % (uid, name, len(data), data)


HEADS: dict[str, tuple[dict[bytes, bytes], list[int]]] = {
    "the names quoted, in another order": ({b"1:4": b"".join(_head(n, b'"Date" "From" "Subject" "Message-Id"')
                                            for n in range(1, 5))}, [1, 2, 3, 4]),
    "one refuses all": ({b"1:4": _head(1) + b"TAG NO cannot\r\n", b"2": b"TAG NO cannot\r\n"}, [1, 3, 4]),
    "nobody asked for these": ({b"1:4": _head(9) + _head(2), b"1": _head(2)}, [2, 3, 4]),
    "twice": ({b"1:4": _head(1) + _head(1)}, [1, 2, 3, 4]),
    "no bytes": ({b"1:4": b"* 1 FETCH (UID 1 BODY[HEADER.FIELDS (SUBJECT)] NIL)\r\n" + _head(3), b"1": b""}, [2, 3, 4]),
    "nothing": ({b"1:4": b"", b"1": b"", b"2": b"", b"3": b"", b"4": b""}, []),
}  # fmt: skip
"""What the server answers to each set, where it is not the ordinary thing; and whose heads come of it."""


@pytest.mark.parametrize(("answers", "come"), HEADS.values(), ids=HEADS)
async def test_heads_come_once_for_what_was_asked_for_and_come_at_all(
    answers: dict[bytes, bytes], come: list[int]
) -> None:
    mailbox = Mailbox(1, 2, 3, 4)
    ordinary = mailbox.answer

    def answer(command: bytes) -> bytes:
        if b"HEADER.FIELDS" not in command:
            return ordinary(command)
        asked = command.split()[2]
        rows = answers.get(asked, b"".join(_head(uid) for uid in mailbox.found(asked.decode())))
        return rows if rows.endswith(b"cannot\r\n") else rows + b"TAG OK done\r\n"

    mailbox.answer = answer  # type: ignore[method-assign]
    async with opened(mailbox) as receiving:
        found = [each async for each in receiving.heads([ref(uid) for uid in range(1, 5)])]
    assert sorted(found) == [(uid, b"Subject: %d\r\n\r\n" % uid) for uid in come]


# -- folders ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("capabilities", "listing", "configured", "junk", "sent"),
    [
        (b"SPECIAL-USE", b'() "/" Spam|(\\Junk) "/" Muell|(\\Sent) "/" Out', "", "Muell", "Out"),
        (b"SPECIAL-USE LIST-EXTENDED", b'(\\Junk) "/" Muell', "", "Muell", None),
        (b"XLIST", b'(\\Inbox) "/" Inbox|(\\Spam) "/" "[Gmail]/Spam"', "", "[Gmail]/Spam", None),
        (b"", b'() "/" INBOX|() "." INBOX.Spam|() "." Sent', "", "INBOX.Spam", "Sent"),
        (b"", b'() "/" "Bulk Mail"|() "/" Old/Spam', "", "Old/Spam", None),
        (b"", b'() "/" "Junk E-mail"|() "/" "Sent Items"', "", "Junk E-mail", "Sent Items"),
        (b"", b'(\\Junk) "/" Junk|() "/" Quarantine', "Quarantine", "Quarantine", None),
        (b"", b'(\\Junk) "/" Junk', "Nowhere", None, None),
        (b"", b'(\\Noselect) "/" Junk|bro ken', "", None, None),
    ],
)
async def test_roles_of_folders(
    capabilities: bytes, listing: bytes, configured: str, junk: str | None, sent: str | None
) -> None:
    mailbox = Mailbox(capabilities=capabilities)
    word = b"XLIST" if capabilities == b"XLIST" else b"LIST"
    lines = b"".join(b"* %b %b\r\n" % (word, each) for each in listing.split(b"|"))
    mailbox.answer = _instead(mailbox, word, lines + b"TAG OK done\r\n")  # type: ignore[method-assign]
    async with ScriptedImap(mailbox.play) as server:
        place = Server(host=server.host, port=server.port, security=Security.NONE)
        receiving = ImapReceiving(Connection(user="u", imap=place, junk_folder=configured), "secret")
        await receiving.open()
        roles = {folder.role: folder.name for folder in await receiving.folders()}
        await receiving.close()
    wanted = {FolderRole.INBOX: "INBOX", FolderRole.JUNK: junk, FolderRole.SENT: sent}
    assert roles == {role: name for role, name in wanted.items() if name}
    assert (b'LIST "" "*" RETURN (SPECIAL-USE)' in mailbox.heard) == (b"LIST-EXTENDED" in capabilities)


# -- waiting and marking ---------------------------------------------------------------------------------------------


async def test_idle_that_is_offered_and_refused_is_replaced_by_asking() -> None:
    mailbox = Mailbox(1)
    mailbox.idle = b"TAG BAD no such thing\r\n"
    async with opened(mailbox) as receiving:
        await receiving.changes(INBOX, "")
        assert not await receiving.wait(INBOX, 0.05)
        assert not await receiving.wait(INBOX, 0.05)
    assert mailbox.heard.count(b"IDLE") == 1
    assert mailbox.heard.count(b"NOOP") == 2


async def test_a_server_without_idle_is_asked() -> None:
    mailbox = Mailbox(1, capabilities=b"MOVE")
    async with opened(mailbox) as receiving:
        await receiving.changes(INBOX, "")
        mailbox.answer = _instead(mailbox, b"NOOP", b"* 2 EXISTS\r\nTAG OK done\r\n")  # type: ignore[method-assign]
        assert await receiving.wait(INBOX, 0.05)
    assert b"IDLE" not in mailbox.heard


async def test_a_folder_that_nobody_listed_yet_is_waited_for_in_earnest() -> None:
    mailbox = Mailbox(1, 2)
    async with opened(mailbox) as receiving:  # as for a touchpoint that is switched off: a lost connection must show
        assert not await receiving.wait(INBOX, 0.05)
    assert mailbox.heard.count(b"IDLE") == 1


async def test_a_server_that_cries_wolf_is_slowed_down(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    mailbox = Mailbox(1)
    mailbox.answer = _instead(mailbox, b"IDLE", b"+ idling\r\n* 99 EXISTS\r\n")  # type: ignore[method-assign]
    async with opened(mailbox) as receiving:
        cursor = (await receiving.changes(INBOX, "")).cursor
        monkeypatch.setattr(asyncio, "sleep", sleep)
        for _ in range(16):
            assert await receiving.wait(INBOX, 60)
            cursor = (await receiving.changes(INBOX, cursor)).cursor
        assert pauses[:4] == [0.2, 0.4, 0.8, 1.6]
        assert pauses[-1] == 30.0
        mailbox.uids.add(2)
        await receiving.changes(INBOX, cursor)
        assert await receiving.wait(INBOX, 60)
        assert len(pauses) == 12


async def test_closing_ends_a_wait_elsewhere() -> None:
    async with opened(Mailbox(1)) as receiving:
        await receiving.changes(INBOX, "")
        waiting = asyncio.create_task(receiving.wait(INBOX, 60))
        await asyncio.sleep(0.05)
        await receiving.close()
        with pytest.raises(ProviderFault, match="closed by us"):
            await waiting


async def test_marks_need_a_folder_that_can_be_changed() -> None:
    mailbox = Mailbox(1)
    read_only = b"* 1 EXISTS\r\n* OK [UIDVALIDITY 7] v\r\nTAG OK [READ-ONLY] x\r\n"
    mailbox.answer = _instead(mailbox, b"SELECT", read_only)  # type: ignore[method-assign]
    async with opened(mailbox) as receiving:
        with pytest.raises(Refused, match="no changes"):
            await receiving.mark(ref(1), "seen")


@pytest.mark.parametrize(("uids", "fails"), [((), False), ((1,), True)])
async def test_a_mark_that_fails_is_harmless_if_the_item_is_gone(uids: tuple[int, ...], fails: bool) -> None:
    mailbox = Mailbox(*uids)
    mailbox.answer = _instead(mailbox, b"UID STORE", b"TAG NO cannot\r\n")  # type: ignore[method-assign]
    async with opened(mailbox) as receiving:
        if fails:
            with pytest.raises(ProviderFault, match="cannot"):
                await receiving.mark(ref(1), "seen")
        else:
            await receiving.mark(ref(1), "seen")


async def test_examine_is_the_default_and_marks_ask_for_more() -> None:
    mailbox = Mailbox(1)
    async with opened(mailbox) as receiving:
        await receiving.changes(INBOX, "")
        assert mailbox.heard[-3:-1] == [b'EXAMINE "INBOX"', b"UID SEARCH UID 1:*"]
        await receiving.mark(ref(1), "seen")
        assert mailbox.heard[-2:] == [b'SELECT "INBOX"', b"UID STORE 1 +FLAGS.SILENT (\\Seen)"]
