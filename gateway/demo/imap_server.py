"""The demo provider's IMAP server: IMAP4rev1 (RFC 3501) over mailboxes in memory.

It speaks what a mail client of today uses: STARTTLS or TLS, LOGIN and AUTHENTICATE PLAIN, LIST with SPECIAL-USE
(RFC 6154), SELECT and EXAMINE, UID SEARCH, FETCH, STORE, COPY and MOVE (RFC 6851), APPEND, UIDPLUS (RFC 4315), IDLE
(RFC 2177), ID, UNSELECT and LITERAL+. Strict in grammar, bounded in memory, told of other sessions' changes as a real
server tells: between commands and in IDLE. It is a provider to show and test against, not a server to keep mail in.

Here are the connection, signing in and the folders; what happens in an open folder is ``imap_selected.py``.
"""

from __future__ import annotations

import base64
import binascii
import re
import ssl
from collections.abc import Awaitable, Callable

from gateway.demo.imap_selected import FLAGS, Command, Faults, Selected, flags
from gateway.demo.imap_syntax import (
    LITERAL,
    Bad,
    No,
    Token,
    decode_name,
    encode_name,
    parse_date_time,
    quoted,
    tokens,
    word,
    words,
)
from gateway.demo.mailbox import Folder, Mailbox, Mailboxes
from gateway.demo.wire import Hangup, Wire

_CAPABILITIES = b"IMAP4rev1 LITERAL+ SASL-IR ID IDLE MOVE UIDPLUS SPECIAL-USE UNSELECT"
_STRING_LIMIT = 8 * 1024
_APPEND_LIMIT = 64 * 1024 * 1024
_BAD_LIMIT = 20
_LOGIN_LIMIT = 5
_FOLDERS = 1000
# RFC 3501 section 7.4.1: while a client names mails by number, no number may change under it.
_BY_NUMBER = (b"FETCH", b"SEARCH")


class ImapServer:
    """What all sessions share."""

    def __init__(
        self, mailboxes: Mailboxes, *, starttls: ssl.SSLContext | None = None, clear_passwords: bool = False
    ) -> None:
        self.mailboxes = mailboxes
        self.starttls = starttls
        self.clear_passwords = clear_passwords or starttls is None
        """Whether signing in without TLS is allowed."""
        self.faults = Faults()
        self._sessions: set[Session] = set()

    async def talk(self, wire: Wire) -> None:
        """Serve one client until it goes."""
        session = Session(self, wire)
        self._sessions.add(session)
        try:
            await session.run()
        finally:
            session.leave()
            self._sessions.discard(session)

    def kick(self, mailbox: Mailbox) -> int:
        """Reset every connection that is signed in to this mailbox; how many."""
        kicked = [session for session in self._sessions if session.mailbox is mailbox]
        for session in kicked:
            session.wire.reset()
        return len(kicked)


class Session:
    """One client's talk. A command answers untagged what it has to say, and returns the text of its tagged OK."""

    def __init__(self, server: ImapServer, wire: Wire) -> None:
        self.wire = wire
        self.mailbox: Mailbox | None = None
        self._server = server
        self._selected: Selected | None = None
        self._over = False
        self._after: Callable[[], Awaitable[None]] | None = None
        """What follows the tagged OK."""
        self._refusals = 0
        self._bad = 0

    async def run(self) -> None:
        """Greet, then answer commands until LOGOUT."""
        await self.wire.say(b"* OK [CAPABILITY %s] ready" % self._capabilities())
        while not self._over:
            tag, parts = await self._read()
            try:
                await self._obey(tag, parts)
            except Bad as error:
                self._bad += 1
                await self.wire.say(b"%s BAD %s" % (tag, str(error).encode("ascii", "replace")))
            except No as error:
                await self.wire.say(b"%s NO %s" % (tag, str(error).encode("ascii", "replace")))
            if self._bad > _BAD_LIMIT or self._refusals >= _LOGIN_LIMIT:
                await self.wire.say(b"* BYE Too many errors")
                return

    def leave(self) -> None:
        """Let go of the selected folder."""
        if self._selected is not None:
            self._selected.leave()
            self._selected = None

    async def _read(self) -> tuple[bytes, list[tuple[bytes, bytes | None]]]:
        """One command: its tag, and the line in pieces with the literals between them."""
        tag, _, text = (await self.wire.line()).partition(b" ")
        if not re.fullmatch(rb"[!#$&',-\[\]-z|}~]{1,64}", tag):
            tag = b"*"
        limit = _STRING_LIMIT
        if self.mailbox is not None and text[:7].upper() == b"APPEND ":
            limit = _APPEND_LIMIT
        parts: list[tuple[bytes, bytes | None]] = []
        while (found := LITERAL.search(text)) is not None:
            limit -= int(found[1]) + len(text)
            if limit < 0:
                await self.wire.say(b"%s BAD [TOOBIG] Literal too big" % tag)
                raise Hangup("literal too big")
            if not found[2]:
                await self.wire.say(b"+ OK")
            parts.append((text, await self.wire.exactly(int(found[1]))))
            text = await self.wire.line()
        return tag, [*parts, (text, None)]

    async def _obey(self, tag: bytes, parts: list[tuple[bytes, bytes | None]]) -> None:
        line = tokens(parts)
        if tag == b"*" or not line:
            raise Bad("Missing tag or command")
        verb = word(line.pop(0)).upper()
        if verb == b"UID" and line:
            verb += b" " + word(line.pop(0)).upper()
        text = await self._command(verb)(line)
        if self._selected is not None:
            await self._selected.tell(expunges=verb not in _BY_NUMBER)
        await self.wire.say(b"%s OK %s" % (tag, text.encode("ascii", "replace")))
        if self._after is not None:
            after, self._after = self._after, None
            await after()

    def _command(self, verb: bytes) -> Command:
        """The method for a command, if this state allows it (RFC 3501 section 3)."""
        allowed: dict[bytes, Command] = {
            b"CAPABILITY": self._capability,
            b"NOOP": self._noop,
            b"LOGOUT": self._logout,
            b"ID": self._id,
        }
        if self.mailbox is None:
            allowed |= {b"STARTTLS": self._starttls, b"LOGIN": self._login, b"AUTHENTICATE": self._authenticate}
        else:
            allowed |= {
                b"LIST": self._list,
                b"LSUB": self._list,
                b"SELECT": self._select,
                b"EXAMINE": self._examine,
                b"STATUS": self._status,
                b"CREATE": self._create,
                b"APPEND": self._append,
            }
        if self._selected is not None:
            allowed |= self._selected.commands() | {b"CLOSE": self._close, b"UNSELECT": self._unselect}
        if verb not in allowed:
            raise Bad("Unknown command, or not now")
        return allowed[verb]

    def _capabilities(self) -> bytes:
        if self.mailbox is not None:
            return _CAPABILITIES
        offer = b" STARTTLS" if self._server.starttls is not None and not self.wire.secure else b""
        return _CAPABILITIES + offer + (b" LOGINDISABLED" if self._needs_tls() else b" AUTH=PLAIN")

    def _needs_tls(self) -> bool:
        return not (self.wire.secure or self._server.clear_passwords)

    async def _capability(self, line: list[Token]) -> str:
        await self.wire.say(b"* CAPABILITY " + self._capabilities())
        return "done"

    async def _noop(self, line: list[Token]) -> str:
        return "done"

    async def _id(self, line: list[Token]) -> str:
        await self.wire.say(b'* ID ("name" "Postroom demo provider")')
        return "done"

    async def _logout(self, line: list[Token]) -> str:
        self._over = True
        self.leave()
        await self.wire.say(b"* BYE logging out")
        return "done"

    # Signing in ---------------------------------------------------------------------------------------------------

    async def _starttls(self, line: list[Token]) -> str:
        context = self._server.starttls
        if context is None or self.wire.secure:
            raise Bad("STARTTLS is not offered")
        self._after = lambda: self.wire.start_tls(context)
        return "begin TLS negotiation now"

    async def _login(self, line: list[Token]) -> str:
        if len(line) != 2:
            raise Bad("LOGIN takes a user name and a password")
        return self._sign_in(word(line[0]), word(line[1]))

    async def _authenticate(self, line: list[Token]) -> str:
        if not line or word(line[0]).upper() != b"PLAIN":
            raise No("[CANNOT] Unsupported mechanism")
        if len(line) > 1:
            answer = word(line[1])
        else:
            await self.wire.say(b"+ ")
            answer = await self.wire.line(_STRING_LIMIT)
        if answer == b"*":
            raise Bad("Cancelled")
        try:
            _, user, password = base64.b64decode(answer, validate=True).split(b"\0")
        except (binascii.Error, ValueError) as error:
            raise Bad("Invalid answer") from error
        return self._sign_in(user, password)

    def _sign_in(self, user: bytes, password: bytes) -> str:
        if self._needs_tls():
            raise No("[PRIVACYREQUIRED] Use STARTTLS first")
        name, secret = user.decode("utf-8", "replace"), password.decode("utf-8", "replace")
        self.mailbox = self._server.mailboxes.sign_in(name, secret)
        if self.mailbox is None:
            self._refusals += 1
            raise No("[AUTHENTICATIONFAILED] Authentication failed.")
        return f"[CAPABILITY {self._capabilities().decode('ascii')}] Logged in"

    # Folders ------------------------------------------------------------------------------------------------------

    async def _list(self, line: list[Token]) -> str:
        special_only = bool(line) and isinstance(line[0], list)
        if special_only and [each.upper() for each in words(line.pop(0))] != [b"SPECIAL-USE"]:
            raise Bad("Unknown selection option")
        if len(line) < 2:
            raise Bad("LIST takes a reference and a pattern")
        if not word(line[1]):
            await self.wire.say(b'* LIST (\\Noselect) "/" ""')
            return "done"
        pattern = _pattern(decode_name(word(line[0]) + word(line[1])))
        for folder in list(self._own().folders.values()):
            if pattern.fullmatch(folder.name) and (folder.special or not special_only):
                attributes = f"\\HasNoChildren {folder.special}".strip().encode("ascii")
                await self.wire.say(b'* LIST (%s) "/" %s' % (attributes, quoted(encode_name(folder.name))))
        return "done"

    async def _select(self, line: list[Token]) -> str:
        await self._enter(line, read_only=False)
        return "[READ-WRITE] selected"

    async def _examine(self, line: list[Token]) -> str:
        await self._enter(line, read_only=True)
        return "[READ-ONLY] examined"

    async def _enter(self, line: list[Token], *, read_only: bool) -> None:
        # A failed SELECT leaves no folder selected (RFC 3501 section 6.3.1).
        self.leave()
        folder = self._named(line)
        self._selected = Selected(self.wire, self._own(), folder, self._server.faults, read_only=read_only)
        await self.wire.say(
            b"* FLAGS " + FLAGS,
            b"* OK [PERMANENTFLAGS %s] permitted" % (b"()" if read_only else FLAGS),
            b"* %d EXISTS" % len(folder.messages),
            b"* 0 RECENT",
            b"* OK [UIDVALIDITY %d] UIDs valid" % folder.uid_validity,
            b"* OK [UIDNEXT %d] predicted next UID" % folder.uid_next,
        )

    async def _close(self, line: list[Token]) -> str:
        if self._selected is not None:
            self._selected.expunge_silently()
        return await self._unselect(line)

    async def _unselect(self, line: list[Token]) -> str:
        self.leave()
        return "no folder selected"

    async def _status(self, line: list[Token]) -> str:
        folder = self._named(line)
        values = {
            b"MESSAGES": len(folder.messages),
            b"RECENT": 0,
            b"UIDNEXT": folder.uid_next,
            b"UIDVALIDITY": folder.uid_validity,
            b"UNSEEN": sum("\\Seen" not in message.flags for message in folder.messages.values()),
        }
        asked = [item.upper() for item in words(line[1])] if len(line) > 1 else []
        if not asked or not set(asked) <= set(values):
            raise Bad("Unknown STATUS item")
        answer = b" ".join(b"%s %d" % (item, values[item]) for item in asked)
        await self.wire.say(b"* STATUS %s (%s)" % (quoted(encode_name(folder.name)), answer))
        return "done"

    async def _create(self, line: list[Token]) -> str:
        name = decode_name(word(line[0])) if line else ""
        if not name or len(name) > 200 or len(self._own().folders) >= _FOLDERS:
            raise No("[CANNOT] Not this name")
        if self._own().folder(name) is not None:
            raise No("[ALREADYEXISTS] Mailbox exists")
        self._own().create(name)
        return "created"

    async def _append(self, line: list[Token]) -> str:
        folder = self._named(line, missing="[TRYCREATE] No such mailbox")
        middle, content = line[1:-1], word(line[-1])
        given = flags(middle.pop(0)) if middle and isinstance(middle[0], list) else set()
        date = parse_date_time(word(middle.pop(0))) if middle else None
        if middle or len(line) < 2:
            raise Bad("APPEND takes a mailbox, flags, a date and a literal")
        message = folder.add(content, internaldate=date, flags=given)
        return f"[APPENDUID {folder.uid_validity} {message.uid}] appended"

    def _own(self) -> Mailbox:
        assert self.mailbox is not None
        return self.mailbox

    def _named(self, line: list[Token], missing: str = "[NONEXISTENT] No such mailbox") -> Folder:
        folder = self._own().folder(decode_name(word(line[0]))) if line else None
        if folder is None:
            raise No(missing)
        return folder


def _pattern(text: str) -> re.Pattern[str]:
    """A LIST pattern; INBOX matches in any case."""
    if text.upper() == "INBOX":
        text = "INBOX"
    # Runs of wildcards are one wildcard, and few at all, or matching could take exponential time.
    runs = re.split(r"([*%]+)", text[:200])[:21]
    parts = ((".*" if "*" in run else "[^/]*") if i % 2 else re.escape(run) for i, run in enumerate(runs))
    return re.compile("".join(parts))
