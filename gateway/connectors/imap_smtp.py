"""The inbound half of the ``imap_smtp`` connector: a mailbox at any IMAP server, signed in by password.

One connection serves one touchpoint. Its methods take turns on it (a lock), and ``wait`` may be cancelled at any time:
the next command ends the IDLE first. So no second connection is needed, and none is held.

- Folders are opened by EXAMINE, which changes nothing on the server, unless the touchpoint marks what it took.
- ``fetch`` answers each ref once. What does not come with the others is asked for alone; what does not come alone is
  ``Missing``, and ``gone`` only if the server no longer lists it. One bad mail costs one mail.
- Mail above 256 KiB comes by windows of 1 MiB and is never whole in memory.
- A folder that was renumbered, or set back, raises CursorLost: nothing is skipped or taken twice on a guess. Of an
  epoch the low 32 bits are UIDVALIDITY.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing

from gateway.connectors import ContentWriter, Everything, Fetched, Folder, FolderRole, Identity, Missing, Page, Ref
from gateway.connectors.imap_client import ImapWire, Selected, client_context
from gateway.connectors.imap_faults import LiteralTooBig, NotDone
from gateway.connectors.imap_looks import everything, find
from gateway.connectors.imap_parse import Listed, Row, internaldate, uid_sets
from gateway.connectors.imap_wire import Limits
from pipeline.cursor import UIDVALIDITY, FolderCursor, epoch_after
from pipeline.errors import CursorLost, NetworkFault, Refused
from pipeline.mail import OPENING
from pipeline.touchpoint import Connection

WINDOW = 1 << 20
"""Bytes of a big mail that are asked for at once."""
SPAN = 5000
"""UIDs that one SEARCH covers, so that its answer fits into a line of 64 KiB."""
HEAD = "BODY.PEEK[HEADER.FIELDS (MESSAGE-ID DATE FROM SUBJECT)]"
_STEPS = 1000
_FOLDERS = 1000
_POLL = 60.0
_PATIENCE = 3
"""Hints without mail before ``wait`` slows down."""
_JUNK_NAMES = ("junk", "spam", "junk e-mail", "junk email", "bulk mail")
_SENT_NAMES = ("sent", "sent items", "sent messages", "sent mail")


class ImapReceiving:
    """Receives from one mailbox; see ``gateway.connectors.Receiving``."""

    def __init__(
        self,
        connection: Connection,
        password: str,
        *,
        ssl_context: ssl.SSLContext | None = None,
        limits: Limits = Limits(),  # noqa: B008 (frozen)
        timeout: float = 30.0,
    ) -> None:
        self._connection = connection
        self._password = password
        self._context = ssl_context
        self._limits = limits
        self._timeout = timeout
        self._turn = asyncio.Lock()
        self._live: ImapWire | None = None
        self._opened: tuple[str, bool, Selected] | None = None
        self._sent = ""
        self._seen: dict[str, int] = {}
        """Folder -> where it ended when it was last listed."""
        self._idles = True
        self._fruitless = 0

    # Coming and going

    async def open(self) -> Identity:
        """Connect and sign in; again if need be."""
        server, user = self._connection.imap, self._connection.user
        if server is None:
            raise Refused("this touchpoint has no IMAP server")
        if self._live is not None:
            self._live.close()
        self._opened = self._live = None
        context = self._context or client_context(self._connection.ca_file)
        wire = await ImapWire.connect(server.host, server.port, server.security, context, self._limits, self._timeout)
        try:
            await wire.login(user, self._password)
        except BaseException:
            wire.close()
            raise
        self._live, self._idles = wire, "IDLE" in wire.capabilities
        return Identity(server=f"{server.host.lower()}:{server.port}", principal=user.casefold())

    async def close(self) -> None:
        """Say goodbye if that goes quickly; never raises."""
        wire, self._live = self._live, None
        if wire is not None:
            await wire.logout()

    @property
    def _wire(self) -> ImapWire:
        if self._live is None:
            raise NetworkFault("not connected")
        return self._live

    async def _go(self, name: str, epoch: int = 0, *, write: bool = False, anew: bool = False) -> Selected:
        """Have a folder open, to write if asked; of this epoch, unless 0."""
        write = write or self._connection.mark != ""
        if anew or self._opened is None or self._opened[0] != name or self._opened[1] < write:
            self._opened = None
            opened = await (self._wire.select(name) if write else self._wire.examine(name))
            self._opened = name, write, opened
        opened = self._opened[2]
        if epoch and epoch & UIDVALIDITY != opened.uidvalidity:
            was, now = epoch & UIDVALIDITY, opened.uidvalidity
            raise CursorLost(f"{name} was renumbered: UIDVALIDITY was {was} and is {now}", _start(epoch, now))
        return opened

    # Folders

    async def folders(self) -> list[Folder]:
        """INBOX, then Junk and Sent where there are such; a configured Junk folder that is not listed is left out."""
        roles = self._roles(await self._listed())
        return [Folder(name=name, role=role) for role, name in roles.items() if name]

    async def every_folder(self) -> list[Folder]:
        """All folders that can be opened, with what they are for."""
        listed = await self._listed()
        roles = {name: role for role, name in self._roles(listed).items()}
        names = dict.fromkeys(["INBOX", *(each.name for each in listed)])
        return [Folder(name=name, role=roles.get(name, FolderRole.OTHER)) for name in names][:_FOLDERS]

    async def _listed(self) -> list[Listed]:
        async with self._turn:
            return await self._wire.list_folders()

    def _roles(self, listed: Sequence[Listed]) -> dict[FolderRole, str]:
        roles = {FolderRole.INBOX: "INBOX"}
        if self._connection.junk_folder:
            wanted = self._connection.junk_folder
            junk = next((each.name for each in listed if each.name == wanted), "")
        else:
            junk = _by_role(listed, ("\\junk", "\\spam"), _JUNK_NAMES)
        roles[FolderRole.JUNK] = junk
        roles[FolderRole.SENT] = self._sent = _by_role(listed, ("\\sent",), _SENT_NAMES)
        return roles

    async def baseline(self, folder: Folder) -> tuple[str, int]:
        """The cursor that leaves everything now in the folder alone, and the highest UID left so."""
        async with self._turn:
            opened = await self._go(folder.name, anew=True)
            low = max(0, opened.uidnext - 1)
            if opened.exists:  # the last item, whatever UIDNEXT says
                async for row in self._wire.uid_fetch("*", "(UID)"):
                    low = max(low, _uid(row))
            self._seen[folder.name] = _end(opened)
            return FolderCursor(opened.uidvalidity, low).text(), low

    async def changes(self, folder: Folder, cursor: str, limit: int = 1000) -> Page:
        """What lies beyond the cursor, ascending by UID."""
        async with self._turn:
            at = FolderCursor.parse(cursor) if cursor else FolderCursor(0, 0)
            opened = await self._go(folder.name, at.epoch, anew=True)
            self._seen[folder.name] = _end(opened)
            epoch = at.epoch or opened.uidvalidity
            low, uids, more = await self._beyond(opened, epoch, at.low)
            refs = await self._refs(folder.name, epoch, low, uids[:limit]) if uids else ()
        if refs:
            self._fruitless = 0
        more = more or len(uids) > limit
        end = refs[-1].cursor if refs else FolderCursor(epoch, low).text()
        return Page(refs=refs, cursor=end, more=more)

    async def _beyond(self, opened: Selected, epoch: int, low: int) -> tuple[int, list[int], bool]:
        """Where the search began at last, the UIDs it found, and whether there may be more above them."""
        for _ in range(_STEPS):
            last = opened.exists <= SPAN or opened.uidnext - low <= SPAN
            found = await self._wire.uid_search(f"UID {low + 1}:{'*' if last else low + SPAN}")
            uids = [uid for uid in found if uid > low]  # n:* names the last item even below n (RFC 3501 section 6.4.8)
            if last and 0 < opened.uidnext <= low and max(found, default=0) < low:
                words = f"the folder was set back: it ends below {opened.uidnext}, we have read up to {low}"
                raise CursorLost(words, _start(epoch, opened.uidvalidity))
            if uids or last:
                return low, uids, not last
            low += SPAN
        return low, [], True

    async def _refs(self, name: str, epoch: int, low: int, uids: Sequence[int]) -> tuple[Ref, ...]:
        """What the server says about these UIDs; one that it says nothing about has size 0."""
        known: dict[int, tuple[float, int]] = dict.fromkeys(uids, (0.0, 0))
        try:
            async for row in self._wire.uid_fetch(f"{uids[0]}:{uids[-1]}", "(UID INTERNALDATE RFC822.SIZE)"):
                size = row.get("RFC822.SIZE", 0)
                if low < _uid(row) <= uids[-1]:  # one that SEARCH did not name yet is welcome
                    known[_uid(row)] = internaldate(row.get("INTERNALDATE")), size if isinstance(size, int) else 0
        except NotDone:  # some of them are gone or broken: fetch will tell which
            pass
        return tuple(
            Ref(name, epoch, uid, *known[uid], cursor=FolderCursor(epoch, uid).text()) for uid in sorted(known)
        )

    async def present(self, folder: Folder, remote_ids: Sequence[int]) -> set[int]:
        """Which of these items are still in the folder."""
        async with self._turn:
            await self._go(folder.name)
            return await self._present(remote_ids)

    async def _present(self, uids: Sequence[int]) -> set[int]:
        await self._wire.noop()  # lets the server tell what others expunged
        found: set[int] = set()
        for uid_set in uid_sets(uids):
            found.update(await self._wire.uid_search(f"UID {uid_set}"))
        return found & set(uids)

    # Looking, by EXAMINE whatever the touchpoint marks

    async def everything(self, folder: Folder, since: float = 0.0) -> Everything:
        """All UIDs of a folder; whole days of ``since`` at best."""
        async with self._turn:
            return await everything(self._wire, await self._examined(folder.name), since)

    async def find(
        self,
        folder: Folder,
        *,
        message_id: str = "",
        sender: str = "",
        subject: str = "",
        since: float = 0.0,
        before: float = 0.0,
    ) -> list[Ref]:
        """The mails of a folder that fit, newest first, at most 50."""
        async with self._turn:
            return await find(
                self._wire, await self._examined(folder.name), folder.name,
                message_id=message_id, sender=sender, subject=subject, since=since, before=before,
            )  # fmt: skip

    async def copies(self, message_id: str) -> int | None:
        """How many mails in Sent have this Message-ID; None without a Sent folder."""
        if not self._sent:
            await self.folders()
        if not self._sent or not message_id.strip():
            return None
        try:
            return len(await self.find(Folder(name=self._sent, role=FolderRole.SENT), message_id=message_id))
        except Refused:
            return None

    async def _examined(self, name: str) -> Selected:
        self._opened = None
        opened = await self._wire.examine(name)
        self._opened = name, False, opened
        return opened

    # Contents

    async def heads(self, refs: Sequence[Ref]) -> AsyncIterator[tuple[int, bytes]]:
        """The fields that tell mails apart, of items of one folder; nothing for what does not come."""
        left = {ref.remote_id for ref in refs}
        async with self._turn:
            # What does not come with the others is asked for alone, once.
            for uid_set in [*uid_sets(left), None]:
                for each in [uid_set] if uid_set else [str(uid) for uid in sorted(left)]:
                    async with aclosing(self._heads(refs[0], each)) as rows:
                        async for uid, head in rows:
                            if uid in left:
                                left.discard(uid)
                                yield uid, head

    async def _heads(self, first: Ref, uid_set: str) -> AsyncGenerator[tuple[int, bytes], None]:
        await self._go(first.folder, first.epoch)
        try:
            async with aclosing(self._wire.uid_fetch(uid_set, f"(UID {HEAD})")) as rows:
                async for row in rows:
                    for name, value in row.items():
                        if name.startswith("BODY[HEADER") and isinstance(value, bytes):
                            yield _uid(row), value
        except NotDone:
            return
        except LiteralTooBig:  # the connection is closed
            await self.open()

    async def fetch(self, refs: Sequence[Ref], writer: Callable[[], ContentWriter]) -> AsyncIterator[Fetched | Missing]:
        """The contents of these items of one folder, small ones first, one answer for each."""
        left = {ref.remote_id: ref for ref in refs}
        async with self._turn:
            small = [ref for ref in refs if ref.size <= OPENING]
            if len(small) > 1:
                async with aclosing(self._together(small)) as answers:
                    async for ref, data in answers:
                        if left.pop(ref.remote_id, None):
                            yield await _fetched(ref, data, writer)
            for ref in left.values():
                yield await self._alone(ref, writer)

    async def _together(self, refs: Sequence[Ref]) -> AsyncGenerator[tuple[Ref, bytes], None]:
        """The bodies that come when all are asked for at once; rows that nobody asked for are passed over."""
        await self._go(refs[0].folder, refs[0].epoch)
        wanted = {ref.remote_id: ref for ref in refs}
        try:
            for uid_set in uid_sets(wanted):
                async with aclosing(self._wire.uid_fetch(uid_set, "(UID BODY.PEEK[])")) as rows:
                    async for row in rows:
                        ref, data = wanted.get(_uid(row)), row.get("BODY[]")
                        if ref is not None and isinstance(data, bytes):
                            yield ref, data
        except NotDone:  # the others are asked for one by one
            return
        except LiteralTooBig:  # likewise, on a new connection, since the old one is closed
            await self.open()

    async def _alone(self, ref: Ref, writer: Callable[[], ContentWriter]) -> Fetched | Missing:
        await self._go(ref.folder, ref.epoch)
        try:
            fetched = await self._by_windows(ref, writer)
        except NotDone as error:
            return await self._missing(ref, str(error))
        except LiteralTooBig as error:
            await self.open()
            return Missing(ref=ref, gone=False, error=str(error))
        return fetched or await self._missing(ref, "the server lists it, and sends nothing")

    async def _missing(self, ref: Ref, error: str) -> Missing:
        gone = not await self._present([ref.remote_id])
        return Missing(ref=ref, gone=gone, error="" if gone else error)

    async def _by_windows(self, ref: Ref, writer: Callable[[], ContentWriter]) -> Fetched | None:
        """A mail window by window; None if the server sends no (more) row of it."""
        first, more = await self._window(ref.remote_id, 0)
        if first is None or not more:
            return None if first is None else await _fetched(ref, first, writer)
        content = writer()
        try:
            await _write(content, first)
            if await self._other_windows(ref, content):
                return await _finished(ref, content)
        except BaseException:
            await content.discard()
            raise
        await content.discard()
        return None

    async def _other_windows(self, ref: Ref, content: ContentWriter) -> bool:
        """The windows behind the first one; False if one of them does not come."""
        # Twice the size is more than servers are wrong by; without a size, what one is ready to believe.
        ceiling = 2 * ref.size + WINDOW if ref.size else 64 * WINDOW
        offset, more = WINDOW, True
        while more:
            data, more = await self._window(ref.remote_id, offset)
            if data is None:
                return False
            offset += len(data)
            if offset > ceiling:
                raise NotDone(f"more than {ceiling} bytes where {ref.size} were announced")
            await _write(content, data)
        return True

    async def _window(self, uid: int, offset: int) -> tuple[bytes | None, bool]:
        """One window and whether another one follows; None for no row, or for one that says NIL of a whole mail."""
        answer: tuple[bytes | None, bool] = None, False
        strange = False
        async for row in self._wire.uid_fetch(str(uid), f"(UID BODY.PEEK[]<{offset}.{WINDOW}>)"):
            name = next((name for name in row if name.startswith("BODY[]")), None)
            if _uid(row) != uid or name is None:
                continue
            data = row[name]
            if name == "BODY[]" and not offset:  # the server ignores windows: this is all of it
                answer = data if isinstance(data, bytes) else None, False
            elif name != f"BODY[]<{offset}>":
                strange = True
            elif isinstance(data, bytes):
                answer = data, len(data) == WINDOW
            elif offset:  # nothing behind the end
                answer = b"", False
        if strange:
            raise NotDone("the server answers with another part of the mail than was asked for")
        return answer

    # Waiting, marking, filing

    async def wait(self, folder: Folder, seconds: float) -> bool:
        """Until the folder may have grown (True) or the time is over (False); renewed by being called again."""
        async with self._turn:
            slow = min(0.1 * 2 ** (self._fruitless - _PATIENCE), 30.0, seconds) if self._fruitless > _PATIENCE else 0
            if slow:  # a server that cries wolf is believed less often
                await asyncio.sleep(slow)
            woke = await self._woken(folder.name, max(0.0, seconds - slow))
            self._fruitless += woke
            return woke

    async def _woken(self, name: str, seconds: float) -> bool:
        end = _end(await self._go(name))
        if end != self._seen.get(name, end):  # it grew since it was listed
            return True
        if self._idles:
            try:
                return await self._wire.idle(seconds)
            except NotDone:  # offered and refused: ask instead
                self._idles = False
        return await self._poll(seconds)

    async def _poll(self, seconds: float) -> bool:
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while (left := end - loop.time()) > 0:
            if await self._wire.news(min(_POLL, left)) or await self._wire.noop():
                return True
        return False

    async def mark(self, ref: Ref, action: str) -> None:
        """``seen`` or ``move:FOLDER``; harmless for an item that is gone, and when repeated."""
        verb, _, target = action.partition(":")
        async with self._turn:
            if not (await self._go(ref.folder, ref.epoch, write=True)).writable:
                raise Refused(f"the server allows no changes in {ref.folder}: switch marks off for this touchpoint")
            try:
                if verb == "seen":
                    await self._wire.uid_store(str(ref.remote_id), "+FLAGS.SILENT (\\Seen)")
                elif verb == "move" and target:
                    await self._wire.uid_move(str(ref.remote_id), target)
                else:
                    raise Refused(f"{action!r} is not a mark: use seen or move:FOLDER")
            except NotDone as error:
                if error.code in ("TRYCREATE", "NONEXISTENT"):
                    raise Refused(
                        f"there is no folder {target!r} to move mail to: make it, or change the mark"
                    ) from error
                if await self._present([ref.remote_id]):
                    raise

    async def file_copy(self, chunks: AsyncIterator[bytes], size: int, message_id: str) -> None:
        """File a copy of a sent mail in the Sent folder, read already, unless one with its Message-ID is there."""
        if not self._sent:
            await self.folders()
        async with self._turn:
            if not self._sent:
                await self._wire.create("Sent")
                self._sent = "Sent"
            await self._go(self._sent, anew=True)
            if not (message_id and await self._wire.search_message_id(message_id)):
                await self._wire.append(self._sent, ("\\Seen",), chunks, size)


def _by_role(listed: Sequence[Listed], attributes: Sequence[str], names: Sequence[str]) -> str:
    """The folder with such an attribute (RFC 6154), else the outermost one with such a name, else ""."""
    for folder in listed:
        if folder.attributes.intersection(attributes):
            return folder.name
    alike = [folder.name for folder in listed if folder.leaf.casefold() in names]
    return min(alike, key=len, default="")


def _start(epoch: int, uidvalidity: int) -> str:
    """The cursor before all that a folder holds, whose numbers of ``epoch`` mean nothing any more."""
    return FolderCursor(epoch_after(epoch, uidvalidity), 0).text()


def _end(opened: Selected) -> int:
    return opened.uidnext or opened.exists


def _uid(row: Row) -> int:
    uid = row.get("UID")
    return uid if isinstance(uid, int) else 0


async def _fetched(ref: Ref, data: bytes, writer: Callable[[], ContentWriter]) -> Fetched:
    """An answer with the content in hand; what is bigger than was announced goes to the store after all."""
    if len(data) <= OPENING:
        return Fetched(ref=ref, data=data, size=len(data), sha256=hashlib.sha256(data).digest())
    content = writer()
    await _write(content, data)
    return await _finished(ref, content)


async def _write(content: ContentWriter, data: bytes) -> None:
    for start in range(0, len(data), OPENING):
        await content.write(data[start : start + OPENING])


async def _finished(ref: Ref, content: ContentWriter) -> Fetched:
    written = await content.finish()
    return Fetched(
        ref=ref, content_id=written.content_id, opening=written.opening, size=written.size, sha256=written.sha256
    )
