"""The commands of IMAP that we need, one at a time, on one connection that one task owns.

A command that is cancelled is read to its end before the next one is sent, so the stream never slips. Errors are
those of ``pipeline.errors`` and nothing else; the password appears in none of them.

It never signs in on a connection that is not protected (loopback excepted), never follows referrals or alerts, and
never uses an extension that it does not need.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ipaddress
import socket
import ssl
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from copy import copy
from dataclasses import dataclass
from typing import cast

from gateway.connectors.imap_faults import NotDone, network_fault, translate
from gateway.connectors.imap_parse import (
    UID_MAX,
    Listed,
    Malformed,
    Response,
    Row,
    Status,
    encode_mailbox,
    fetch_row,
    forbidden,
    listed,
    number_of,
    quoted,
    status,
)
from gateway.connectors.imap_wire import Command, Limits, Protocol, Sink
from gateway.connectors.veil import Veil
from pipeline.errors import AccessBlocked, CertificateFault, PostroomError, ProviderFault, Refused
from pipeline.touchpoint import Security

_UIDS = 100_000


class Literal(bytes):
    """An argument that travels as a synchronising literal (RFC 3501 section 4.3)."""


@dataclass(frozen=True, slots=True)
class Selected:
    """A folder as it was when it was opened."""

    uidvalidity: int
    uidnext: int
    """0 where the server does not say."""
    exists: int
    writable: bool


class ImapWire:
    """A signed-in conversation with one server, used by one task."""

    def __init__(self, protocol: Protocol) -> None:
        self._protocol = protocol

    # Beginning and end

    @classmethod
    async def connect(
        cls,
        host: str,
        port: int,
        security: Security,
        ssl_context: ssl.SSLContext | None = None,
        limits: Limits = Limits(),  # noqa: B008 (frozen)
        timeout: float = 30.0,
    ) -> ImapWire:
        """Connect, read the greeting, secure the connection and learn the capabilities."""
        where = f"{host}:{port}"
        protocol = Protocol(asyncio.get_running_loop(), limits, where)
        try:
            async with asyncio.timeout(timeout):
                await _dial(protocol, host, port, security, ssl_context or client_context())
                wire = cls(protocol)
                await wire._welcome(security, ssl_context or client_context(), host)
                return wire
        except (OSError, ValueError) as error:
            fault = network_fault(error, where)
            protocol.fail(fault)
            raise fault from error
        except BaseException:
            protocol.fail(ProviderFault(f"{where}: given up"))
            raise

    async def _welcome(self, security: Security, context: ssl.SSLContext, host: str) -> None:
        protocol = self._protocol
        while protocol.greeting is None:
            await protocol.progress()
        if protocol.greeting.word != "OK":
            raise self._not_welcome(protocol.greeting)
        if security is Security.STARTTLS:
            await self._run("STARTTLS")
            await protocol.secure(context, host)
        await self._run("CAPABILITY")

    def _not_welcome(self, greeting: Status) -> PostroomError:
        if greeting.word == "BYE":
            return translate("BYE", greeting)
        if greeting.word == "PREAUTH":  # RFC 3501 section 7.1.4; TLS could not begin any more
            return ProviderFault(f"{self._protocol.where}: the server claims that we are signed in already; refused")
        return ProviderFault(f"{self._protocol.where}: not an IMAP server")

    async def login(self, user: str, password: str) -> None:
        """Sign in and learn the capabilities anew; the password appears in no error."""
        if "LOGINDISABLED" in self.capabilities:  # RFC 3501 section 6.2.3
            raise AccessBlocked("the server allows no sign-in by password here (LOGINDISABLED)")
        self._protocol.veil = Veil(password)
        self._protocol.capabilities = frozenset()
        await self._run("LOGIN", _string(user), _string(password))
        if not self.capabilities:
            await self._run("CAPABILITY")

    async def logout(self, timeout: float = 2.0) -> None:
        """Say goodbye if that goes quickly, then close; never raises."""
        self._protocol.leaving = True
        pending = self._protocol.pending
        if pending is not None and not pending.given_up:  # somebody still waits, for who knows how long
            return self.close()
        try:
            async with asyncio.timeout(timeout):
                await self._run("LOGOUT")
        except (PostroomError, TimeoutError):
            pass
        finally:
            self.close()
        return None

    def close(self) -> None:
        """Close at once."""
        self._protocol.fail(ProviderFault(f"{self._protocol.where}: closed by us"))

    @property
    def closed(self) -> bool:
        """Whether the connection is over."""
        return self._protocol.fault is not None

    @property
    def capabilities(self) -> frozenset[str]:
        """What the server offers, in upper case."""
        return frozenset(self._protocol.capabilities)

    # Folders

    async def list_folders(self) -> list[Listed]:
        """All mailboxes that can be opened; names that could not be asked for again are left out."""
        found: list[Listed] = []

        def sink(word: str, _number: int, response: Response) -> None:
            if word in ("LIST", "XLIST"):
                try:
                    found.append(listed(response))
                except Malformed:
                    return

        if {"SPECIAL-USE", "LIST-EXTENDED"} <= self.capabilities:
            try:
                await self._run("LIST", b'"" "*" RETURN (SPECIAL-USE)', sink=sink)
            except NotDone:
                found.clear()
        if not found:
            old = "XLIST" in self.capabilities and "SPECIAL-USE" not in self.capabilities
            await self._run("XLIST" if old else "LIST", b'"" "*"', sink=sink)
        return [folder for folder in found if not folder.attributes & {"\\noselect", "\\nonexistent"}]

    async def examine(self, mailbox: str) -> Selected:
        """Open a mailbox for reading only."""
        return await self._open("EXAMINE", mailbox)

    async def select(self, mailbox: str) -> Selected:
        """Open a mailbox for changing it."""
        return await self._open("SELECT", mailbox)

    async def _open(self, command: str, mailbox: str) -> Selected:
        codes: dict[str, int] = {}

        def sink(word: str, number: int, response: Response) -> None:
            if word == "EXISTS":
                codes[word] = number
            elif word == "OK":
                answer = status(response[0][2:])
                codes[answer.code] = number_of(answer.argument)

        name = _mailbox(mailbox)
        self._protocol.uidvalidity = 0
        answer = await self._run(command, name, sink=sink)
        epoch = codes.get("UIDVALIDITY", 0)
        if not 0 < epoch <= UID_MAX:  # RFC 3501 section 2.3.1.1: without it no cursor means anything
            raise ProviderFault(f"{self._protocol.where}: no valid UIDVALIDITY for {mailbox}")
        self._protocol.uidvalidity = epoch
        self._protocol.exists, self._protocol.news = codes.get("EXISTS", 0), False
        writable = command == "SELECT" and answer.code != "READ-ONLY"
        return Selected(epoch, codes.get("UIDNEXT", 0), self._protocol.exists, writable)

    # Items

    async def uid_search(self, criteria: str) -> list[int]:
        """The UIDs that match, ascending, each once; no CHARSET is sent, since some servers refuse any."""
        return await self.uid_search_for([_plain(criteria)])

    async def uid_search_for(self, arguments: Iterable[bytes]) -> list[int]:
        """The UIDs that match, ascending, each once; the arguments are IMAP already, ``Literal`` where they must be."""
        found: set[int] = set()

        def sink(word: str, _number: int, response: Response) -> None:
            if word == "SEARCH":
                found.update(int(n) for n in response[0].split()[2:] if n.isdigit() and len(n) <= 10)
                if len(found) > _UIDS:
                    self._broken("an answer to SEARCH without end")

        await self._run("UID SEARCH", *arguments, sink=sink)
        return sorted(uid for uid in found if 0 < uid <= UID_MAX)

    async def uid_fetch(self, uid_set: str, items: str) -> AsyncGenerator[Row, None]:
        """The rows as they come, asked for or not; those that came before an error are given out before it.

        Reading pauses while 1 MiB of rows waits for the consumer.
        """
        rows: deque[tuple[Row, int]] = deque()

        def sink(word: str, _number: int, response: Response) -> None:
            if word == "FETCH":
                try:
                    rows.append((fetch_row(response), octets := sum(map(len, response))))
                except Malformed:
                    return
                self._protocol.hold(octets)

        command = await self._start("UID FETCH", (_plain(f"{uid_set} {items}"),), sink)
        try:
            while rows or command.status is None:
                while rows:
                    row, octets = rows.popleft()
                    self._protocol.hold(-octets)
                    yield row
                if command.status is None:
                    await self._protocol.progress()
        finally:
            self._abandon(command)
            self._protocol.hold(-sum(octets for _, octets in rows))
        self._checked(command)

    async def uid_store(self, uid_set: str, change: str) -> None:
        """Change flags, as in ``+FLAGS.SILENT (FLAG)``."""
        await self._run("UID STORE", _plain(f"{uid_set} {change}"))

    async def uid_move(self, uid_set: str, mailbox: str) -> None:
        """Move items; Refused where the server can do so only by expunging what others deleted."""
        target = _mailbox(mailbox)
        if "MOVE" in self.capabilities:  # RFC 6851
            await self._run("UID MOVE", _plain(uid_set), target)
        elif "UIDPLUS" in self.capabilities:  # RFC 4315
            await self._run("UID COPY", _plain(uid_set), target)
            await self.uid_store(uid_set, "+FLAGS.SILENT (\\Deleted)")
            await self._run("UID EXPUNGE", _plain(uid_set))
        else:
            raise Refused("the server offers neither MOVE nor UIDPLUS: mail cannot be moved there; use `seen` instead")

    async def append(self, mailbox: str, flags: Iterable[str], chunks: AsyncIterable[bytes], size: int) -> None:
        """File a mail of exactly ``size`` bytes, streamed."""
        announced = _plain(f"({' '.join(flags)}) {{{size}}}")
        command = await self._start("APPEND", (_mailbox(mailbox), announced), None, streams=True)
        try:
            await self._go_ahead(command)
            async for chunk in chunks:
                size -= len(chunk)
                if size < 0:
                    break
                await self._protocol.write(chunk)
            if size:
                raise Refused("the mail to file is not as long as announced")
            await self._end(command)
            while command.status is None:
                await self._protocol.progress()
        finally:
            self._abandon(command)
        self._checked(command)

    # Waiting

    async def idle(self, seconds: float) -> bool:
        """IDLE (RFC 2177) until more messages than before (True) or the time is over; NotDone where it is refused."""
        if self._protocol.news:
            return True
        command = await self._start("IDLE", (), None, streams=True)
        try:
            await self._go_ahead(command)
            self._protocol.patience(command, float("inf"))
            return await self.news(seconds)
        finally:
            self._abandon(command)

    async def news(self, seconds: float) -> bool:
        """Until there is news that nobody asked for, or the time is over."""
        try:
            async with asyncio.timeout(seconds):
                while not self._protocol.news:
                    await self._protocol.progress()
        except TimeoutError:
            return False
        return True

    async def create(self, mailbox: str) -> None:
        """Make a mailbox; one that is there already is as good."""
        with contextlib.suppress(NotDone):
            await self._run("CREATE", _mailbox(mailbox))

    async def search_message_id(self, message_id: str) -> list[int]:
        """UIDs of the mails in the open folder that carry this Message-ID; none where it cannot be asked for."""
        wanted = quoted(message_id)
        return [] if wanted is None else await self.uid_search(f"HEADER MESSAGE-ID {wanted.decode('ascii')}")

    async def noop(self) -> bool:
        """Whether there is news (RFC 3501 section 6.1.2)."""
        await self._run("NOOP")
        return self._protocol.news

    # How a command runs

    async def _run(self, name: str, *arguments: bytes, sink: Sink | None = None) -> Status:
        command = await self._start(name, arguments, sink)
        try:
            while command.status is None:
                await self._protocol.progress()
        finally:
            self._abandon(command)
        return self._checked(command)

    async def _start(
        self, name: str, arguments: Iterable[bytes], sink: Sink | None, *, streams: bool = False
    ) -> Command:
        """Send a command; unless it ``streams``, all of it."""
        protocol = self._protocol
        while protocol.pending is not None:  # one that was given up: its answer comes first
            await protocol.progress()
        if protocol.fault is not None:
            raise copy(protocol.fault)
        command = protocol.begin(name, sink)
        line = command.tag + b" " + name.encode()
        try:
            for argument in arguments:
                if isinstance(argument, Literal):
                    await protocol.write(b"%b {%d}\r\n" % (line, len(argument)))
                    await self._go_ahead(command)
                    line = bytes(argument)
                else:
                    line += b" " + argument
            await protocol.write(line + b"\r\n")
            command.sending = streams
        except BaseException:
            self._abandon(command)
            raise
        return command

    async def _go_ahead(self, command: Command) -> None:
        """Until the server asks for more (``+``); raises its refusal if it refuses instead."""
        while not command.continued and command.status is None:
            await self._protocol.progress()
        if not command.continued:
            command.sending = False
            self._checked(command)
            raise self._broken(f"{command.name} was answered before it was complete")
        command.continued = False

    async def _end(self, command: Command) -> None:
        if command.status is not None:
            self._checked(command)
            raise self._broken(f"{command.name} was answered before it was complete")
        command.sending = False
        await self._protocol.write(b"\r\n")

    def _broken(self, text: str) -> PostroomError:
        fault = ProviderFault(f"{self._protocol.where}: {text}")
        self._protocol.fail(fault)
        return fault

    def _abandon(self, command: Command) -> None:
        """Nobody waits for this command any more; what it still brings is dropped."""
        protocol = self._protocol
        command.sink = None
        command.given_up = True
        if command.name == "IDLE" and command.status is None and protocol.fault is None:
            protocol.transport.write(b"DONE\r\n")
            protocol.patience(command, protocol.limits.done)
        elif command.sending and command.name != "IDLE":
            protocol.fail(ProviderFault(f"{protocol.where}: {command.name} was given up half way"))

    def _checked(self, command: Command) -> Status:
        answer = cast(Status, command.status)
        if answer.word == "OK":
            return answer
        raise translate(command.name.removeprefix("UID "), answer)


async def _dial(protocol: Protocol, host: str, port: int, security: Security, context: ssl.SSLContext) -> None:
    loop = asyncio.get_running_loop()
    address = await _loopback(host, port) if security is Security.NONE else host
    secure = context if security is Security.TLS else None
    transport, _ = await loop.create_connection(
        lambda: protocol, address, port, ssl=secure, server_hostname=host if secure else None
    )
    if (sock := transport.get_extra_info("socket")) is not None:
        _keep_alive(sock)


async def _loopback(host: str, port: int) -> str:
    """An address of a host that has none but loopback ones; Refused otherwise."""
    infos = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(info[4][0]) for info in infos]
    if not addresses or not all(ipaddress.ip_address(a.partition("%")[0]).is_loopback for a in addresses):
        raise Refused(
            f"{host} is not this machine: without TLS only loopback addresses are allowed; use tls or starttls"
        )
    return addresses[0]


def _keep_alive(sock: socket.socket) -> None:
    """A peer that vanished is noticed after two minutes."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4)):
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


@functools.cache
def client_context(ca_file: str = "") -> ssl.SSLContext:
    """The verifying context that connections share (17 KiB less for each); trusts ``ca_file`` alone if there is one."""
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
    except OSError as error:
        raise CertificateFault(f"the authority's file {ca_file} cannot be used: {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _plain(text: str) -> bytes:
    """An argument that is IMAP already; Refused with NUL, CR, LF or beyond ASCII."""
    if forbidden(text) or not text.isascii():
        raise Refused("an argument holds characters that IMAP cannot carry")
    return text.encode("ascii")


def _string(text: str) -> bytes:
    """A string argument, quoted or as a literal; Refused with NUL, CR or LF, without saying what it was."""
    if forbidden(text):
        raise Refused("the user name or password holds a character that IMAP cannot carry (NUL, CR or LF)")
    try:
        return quoted(text) or Literal(text.encode())
    except UnicodeEncodeError:
        raise Refused("the user name or password holds half a character") from None


def _mailbox(name: str) -> bytes:
    """A mailbox name as an argument; Refused where it cannot be one."""
    try:
        wire = encode_mailbox(name)
    except Malformed as error:
        raise Refused(str(error)) from None
    return quoted(wire.decode("ascii")) or Literal(wire)
