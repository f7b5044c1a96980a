"""What an SMTP client may write in an envelope (RFC 5321 section 4.1.2), and nothing else.

Owns the grammar of EHLO, MAIL and RCPT. Each reader takes the argument of a command as it came from the wire and
answers a value, or the ``Reply`` that refuses it. Never raises; never lets a control byte, a source route, an address
without a domain or anything that is not ASCII through. Percent and bang addresses are ordinary local parts here:
what may be sent where is judged elsewhere.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

MAX_LOCAL, MAX_DOMAIN, MAX_ADDRESS = 64, 255, 254
"""RFC 5321 section 4.5.3.1: octets of a local part, of a domain, and of an address (a path of 256, less brackets)."""

_ATOM = rb"[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~]+"
_LOCAL = rb"(?:" + _ATOM + rb"(?:\." + _ATOM + rb")*|\"(?:[ !#-\[\]-~]|\\[ -~])*\")"
_LABEL = rb"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DOMAIN = rb"(?:" + _LABEL + rb"(?:\." + _LABEL + rb")*|\[[A-Za-z0-9.:]{1,64}\])"
_PATH = rb"<((" + _LOCAL + rb")@(" + _DOMAIN + rb"))>"
# One space after the colon is not in the grammar, yet many clients write it.
_MAIL = re.compile(rb"FROM: ?(?:<>|" + _PATH + rb")((?: [!-~]+)*) *", re.IGNORECASE)
_RCPT = re.compile(rb"TO: ?" + _PATH + rb"((?: [!-~]+)*) *", re.IGNORECASE)
_MAIL_SHAPE = re.compile(rb"FROM: ?<.*", re.IGNORECASE | re.DOTALL)
_RCPT_SHAPE = re.compile(rb"TO: ?<.*", re.IGNORECASE | re.DOTALL)
_PARAMETER = re.compile(rb"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([!-<>-~]+))?")
# Wider than RFC 5321 (names of old machines have underscores), narrow enough to be written into a trace field.
_HELO = re.compile(rb"[A-Za-z0-9._:\[\]-]{1,255}")


@dataclass(frozen=True, slots=True)
class Reply:
    """One line to the client: the code, the enhanced status of RFC 3463, and words."""

    code: int
    status: str
    text: str

    def line(self) -> bytes:
        """As it goes over the wire, line end included; one line whatever the text holds."""
        words = "".join(c if " " <= c <= "~" else "?" for c in self.text[:400])
        return f"{self.code} {self.status} {words}\r\n".encode("ascii")


@dataclass(frozen=True, slots=True)
class MailCommand:
    """MAIL FROM as it was meant: ``sender`` is "" for the null sender, ``size`` is 0 where none was announced."""

    sender: str
    size: int = 0


MAIL_SYNTAX = Reply(501, "5.5.4", "Syntax: MAIL FROM:<address> [parameters]")
RCPT_SYNTAX = Reply(501, "5.5.4", "Syntax: RCPT TO:<address>")
HELO_SYNTAX = Reply(501, "5.5.4", "Say your host name, or your address in brackets")
BAD_SENDER = Reply(553, "5.1.7", "This sender address is not valid")
BAD_RECIPIENT = Reply(553, "5.1.3", "This recipient address is not valid")
NOT_ASCII = Reply(553, "5.6.7", "Addresses beyond ASCII are not taken")
PARAMETER = Reply(555, "5.5.4", "Parameter not recognized or not implemented")
PARAMETER_SYNTAX = Reply(501, "5.5.4", "Parameter not understood")


def read_mail(argument: bytes) -> MailCommand | Reply:
    """The argument of MAIL, ``FROM:<...>`` and parameters."""
    match = _MAIL.fullmatch(argument)
    if match is None:
        return _refusal(argument, _MAIL_SHAPE, MAIL_SYNTAX, BAD_SENDER)
    address, local, domain, parameters = match.groups()
    if address is not None and not _lengths_hold(local, domain):
        return BAD_SENDER
    size = _mail_parameters(parameters) if parameters else 0
    if isinstance(size, Reply):
        return size
    return MailCommand(address.decode("ascii") if address else "", size)


def read_rcpt(argument: bytes) -> str | Reply:
    """The argument of RCPT, ``TO:<...>``: the address. The null path is refused, and so is every parameter."""
    match = _RCPT.fullmatch(argument)
    if match is None:
        return _refusal(argument, _RCPT_SHAPE, RCPT_SYNTAX, BAD_RECIPIENT)
    address, local, domain, parameters = match.groups()
    if not _lengths_hold(local, domain):
        return BAD_RECIPIENT
    if parameters:
        return PARAMETER
    text: str = address.decode("ascii")
    return text


def read_helo(argument: bytes) -> str | Reply:
    """The argument of EHLO or HELO: a name that is safe to write into a trace field."""
    name = argument.strip(b" ")
    return name.decode("ascii") if _HELO.fullmatch(name) else HELO_SYNTAX


def _lengths_hold(local: bytes, domain: bytes) -> bool:
    if len(local) > MAX_LOCAL or len(domain) > MAX_DOMAIN or len(local) + 1 + len(domain) > MAX_ADDRESS:
        return False
    return not domain.startswith(b"[") or _is_literal(domain[1:-1].decode("ascii"))


def _is_literal(text: str) -> bool:
    """RFC 5321 section 4.1.3; general address literals have no registered use and are refused."""
    try:
        if text[:5].upper() == "IPV6:":
            ipaddress.IPv6Address(text[5:])
        else:
            ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


def _refusal(argument: bytes, shape: re.Pattern[bytes], syntax: Reply, address: Reply) -> Reply:
    """Why an argument that does not match is refused."""
    if not argument.isascii():
        return NOT_ASCII
    return address if shape.fullmatch(argument) else syntax


def _mail_parameters(text: bytes) -> int | Reply:
    """The announced SIZE (RFC 1870); BODY (RFC 6152) is taken, AUTH (RFC 4954 section 5) is ignored."""
    size, seen = 0, set()
    for word in text.split():
        match = _PARAMETER.fullmatch(word)
        if match is None:
            return PARAMETER_SYNTAX
        key, value = match[1].upper(), match[2] or b""
        if key in seen:
            return PARAMETER_SYNTAX
        seen.add(key)
        if key == b"SIZE":
            if not value.isdigit() or len(value) > 20:
                return PARAMETER_SYNTAX
            size = int(value)
        elif key == b"BODY":
            if value.upper() not in (b"7BIT", b"8BITMIME"):
                return PARAMETER_SYNTAX
        elif key != b"AUTH" or not value:
            return PARAMETER
    return size
