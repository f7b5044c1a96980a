"""What a client of the demo's IMAP server does in an open folder: search, fetch, store, copy, move, expunge, idle.

``Selected`` keeps the client's view, the UIDs in the order of the sequence numbers that the client was told, apart
from what the folder holds by now; ``tell`` brings the two together at the moments at which RFC 3501 section 7.4.1
allows it. A command says its untagged answers and returns the text of its tagged OK.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

from gateway.demo.imap_fetch import Wanted, flag_list, plain_items, search, wanted
from gateway.demo.imap_syntax import Bad, No, Token, decode_name, number_set, word, words
from gateway.demo.mailbox import Folder, Mailbox, Message
from gateway.demo.wire import Hangup, Wire

FLAGS = b"(\\Answered \\Flagged \\Deleted \\Seen \\Draft)"
_SLICE = 64 * 1024

Command = Callable[[list[Token]], Awaitable[str]]


@dataclass(slots=True)
class Faults:
    """How the server is made to fail, for the demo and for tests."""

    cut_after: int | None = None
    """Bytes of content that are still served before ``die`` is called in the middle of a literal."""
    die: Callable[[], None] = lambda: None


class Selected:
    """One client's open folder."""

    def __init__(self, wire: Wire, mailbox: Mailbox, folder: Folder, faults: Faults, *, read_only: bool) -> None:
        self._wire = wire
        self._mailbox = mailbox
        self._folder = folder
        self._faults = faults
        self._read_only = read_only
        self._view = list(folder.messages)
        self._changed = asyncio.Event()
        folder.watchers.add(self._changed)

    def leave(self) -> None:
        """Hear no more of the folder."""
        self._folder.watchers.discard(self._changed)

    def commands(self) -> dict[bytes, Command]:
        """What can be done here."""
        return {
            b"CHECK": self._check,
            b"IDLE": self._idle,
            b"EXPUNGE": self._expunge,
            b"UID EXPUNGE": self._uid_expunge,
            b"SEARCH": self._search,
            b"UID SEARCH": self._uid_search,
            b"FETCH": self._fetch,
            b"UID FETCH": self._uid_fetch,
            b"UID STORE": self._uid_store,
            b"UID COPY": self._uid_copy,
            b"UID MOVE": self._uid_move,
        }

    async def tell(self, *, expunges: bool = True) -> None:
        """What happened in the folder since this client was last told."""
        self._changed.clear()
        lines = []
        if expunges:
            for place in range(len(self._view) - 1, -1, -1):
                if self._view[place] not in self._folder.messages:
                    lines.append(b"* %d EXPUNGE" % (place + 1))
                    del self._view[place]
        last = self._view[-1] if self._view else 0
        if new := [uid for uid in self._folder.messages if uid > last]:
            self._view.extend(new)
            lines.append(b"* %d EXISTS" % len(self._view))
        await self._wire.say(*lines)

    async def _check(self, line: list[Token]) -> str:
        return "done"

    # Waiting ------------------------------------------------------------------------------------------------------

    async def _idle(self, line: list[Token]) -> str:
        await self._wire.say(b"+ idling")
        done = asyncio.ensure_future(self._wire.line())
        try:
            while not done.done():
                await self.tell()
                await self._until_changed(done)
            answer = done.result()
        finally:
            done.cancel()
            with contextlib.suppress(asyncio.CancelledError, Hangup):
                await done
        if answer.upper() != b"DONE":
            raise Bad("DONE expected")
        return "idle is over"

    async def _until_changed(self, done: asyncio.Future[bytes]) -> None:
        changed = asyncio.ensure_future(self._changed.wait())
        try:
            either: set[asyncio.Future[Any]] = {done, changed}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            changed.cancel()

    # Looking ------------------------------------------------------------------------------------------------------

    async def _search(self, line: list[Token]) -> str:
        found = {message.uid for message in self._found(line)}
        numbers = [number for number, uid in enumerate(self._view, 1) if uid in found]
        await self._wire.say(b" ".join([b"* SEARCH", *(b"%d" % number for number in numbers)]))
        return "searched"

    async def _uid_search(self, line: list[Token]) -> str:
        # What the client has not been told of is still found: by UID there is nothing to confuse.
        await self.tell()
        await self._wire.say(b" ".join([b"* SEARCH", *(b"%d" % message.uid for message in self._found(line))]))
        return "searched"

    def _found(self, line: list[Token]) -> list[Message]:
        return search(line, [self._folder.messages[uid] for uid in self._view if uid in self._folder.messages])

    async def _fetch(self, line: list[Token]) -> str:
        return await self._answer(line, by_uid=False)

    async def _uid_fetch(self, line: list[Token]) -> str:
        return await self._answer(line, by_uid=True)

    async def _answer(self, line: list[Token], *, by_uid: bool) -> str:
        if len(line) != 2:
            raise Bad("FETCH takes a set and items")
        want = wanted(line[1], by_uid=by_uid)
        refused = False
        for message in self._chosen(line, by_uid=by_uid):
            if want.sections and message.uid in self._folder.unreadable:
                refused = True
            else:
                await self._row(message, want)
        if refused:
            raise No("[UNAVAILABLE] FETCH Server error - Please try again later")
        return "fetched"

    async def _row(self, message: Message, want: Wanted) -> None:
        if want.sees and not self._read_only:
            message.flags.add("\\Seen")
        await self._wire.send(b"* %d FETCH (%s" % (self._number(message), b" ".join(plain_items(message, want))))
        separator = b" " if want.plain else b""
        for section in want.sections:
            data = section.of(message.content)
            await self._wire.send(b"%s%s {%d}\r\n" % (separator, section.label, len(data)))
            await self._serve(data)
            separator = b" "
            if not section.name and section.offset + len(data) >= len(message.content):
                self._folder.served(message.uid)
        await self._wire.send(b")\r\n")

    async def _serve(self, data: bytes) -> None:
        """Send content in slices; the place where the provider dies when it is told to."""
        for start in range(0, len(data), _SLICE):
            piece = data[start : start + _SLICE]
            left = self._faults.cut_after
            if left is not None and len(piece) > left:
                await self._wire.send(piece[:left])
                self._faults.cut_after = None
                self._faults.die()
                raise Hangup("died as told")
            if left is not None:
                self._faults.cut_after = left - len(piece)
            await self._wire.send(piece)

    # Changing -----------------------------------------------------------------------------------------------------

    async def _uid_store(self, line: list[Token]) -> str:
        self._writable()
        if len(line) < 3:
            raise Bad("STORE takes a set, a verb and flags")
        verb = word(line[1]).upper()
        silent = verb.endswith(b".SILENT")
        verb = verb.removesuffix(b".SILENT")
        if verb not in (b"FLAGS", b"+FLAGS", b"-FLAGS"):
            raise Bad("Unknown STORE verb")
        given = set().union(*(flags(each) for each in line[2:]))
        for message in self._chosen(line, by_uid=True):
            kept = message.flags if verb != b"FLAGS" else set()
            message.flags = kept - given if verb == b"-FLAGS" else kept | given
            if not silent:
                row = self._number(message), message.uid, flag_list(message.flags)
                await self._wire.say(b"* %d FETCH (UID %d FLAGS %s)" % row)
        return "stored"

    async def _uid_copy(self, line: list[Token]) -> str:
        code, _ = self._copy(line)
        return f"{code}copied"

    async def _uid_move(self, line: list[Token]) -> str:
        folder = self._writable()
        code, uids = self._copy(line)
        # RFC 6851 section 4.3: COPYUID comes untagged, before the EXPUNGEs.
        if code:
            await self._wire.say(b"* OK %smoved" % code.encode("ascii"))
        folder.remove(uids)
        return "moved"

    def _copy(self, line: list[Token]) -> tuple[str, list[int]]:
        """Copy, INTERNALDATE and flags kept (RFC 3501 section 6.4.7); the COPYUID code and the UIDs copied."""
        if len(line) != 2:
            raise Bad("A set and a mailbox, please")
        target = self._mailbox.folder(decode_name(word(line[1])))
        if target is None:
            raise No("[TRYCREATE] No such mailbox")
        chosen = self._chosen(line, by_uid=True)
        if not chosen:
            return "", []
        new = [target.add(each.content, internaldate=each.internaldate, flags=each.flags).uid for each in chosen]
        old = [message.uid for message in chosen]
        return f"[COPYUID {target.uid_validity} {_joined(old)} {_joined(new)}] ", old

    async def _expunge(self, line: list[Token]) -> str:
        folder = self._writable()
        folder.remove(_deleted(folder.messages.values()))
        return "expunged"

    async def _uid_expunge(self, line: list[Token]) -> str:
        self._writable().remove(_deleted(self._chosen(line, by_uid=True)))
        return "expunged"

    def expunge_silently(self) -> None:
        """What CLOSE does (RFC 3501 section 6.4.2)."""
        if not self._read_only:
            self._folder.remove(_deleted(self._folder.messages.values()))

    def _writable(self) -> Folder:
        if self._read_only:
            raise No("[READ-ONLY] The folder was examined, not selected")
        return self._folder

    def _number(self, message: Message) -> int:
        return bisect_left(self._view, message.uid) + 1

    def _chosen(self, line: list[Token], *, by_uid: bool) -> list[Message]:
        """The mails that the set at the start of ``line`` names, as far as they are still there."""
        messages = self._folder.messages
        if not line:
            raise Bad("Missing set")
        if by_uid:
            return [messages[uid] for uid in number_set(word(line[0]), self._view) if uid in messages]
        numbers = number_set(word(line[0]), range(1, len(self._view) + 1))
        return [messages[uid] for number in numbers if (uid := self._view[number - 1]) in messages]


def flags(token: Token) -> set[str]:
    """A list of flags; system flags in their usual case."""
    given = {each.decode("ascii", "replace") for each in words(token)}
    if len(given) > 50 or not all(re.fullmatch(r"\\?[!#-'+-\[\]-z|}~]{1,60}", flag) for flag in given):
        raise Bad("Invalid flag")
    return {flag.title() if flag.startswith("\\") else flag for flag in given}


def _deleted(messages: Iterable[Message]) -> list[int]:
    return [message.uid for message in messages if "\\Deleted" in message.flags]


def _joined(uids: list[int]) -> str:
    return ",".join(str(uid) for uid in uids)
