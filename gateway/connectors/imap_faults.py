"""The border at which an IMAP server's complaints and the network's become errors of ``pipeline.errors``.

``translate`` reads a tagged NO or BAD, or a BYE; ``network_fault`` reads what the socket and TLS raise. Unknown means
transient. The server's words stay in the error as they came (bounded): whoever shows them filters them, and nobody
follows what they say.
"""

from __future__ import annotations

import re
import socket
import ssl

from gateway.connectors.certificates import certificate_words
from gateway.connectors.imap_parse import Status
from pipeline.errors import (
    AccessBlocked,
    AuthRequired,
    CertificateFault,
    NetworkFault,
    PostroomError,
    ProviderFault,
    Throttled,
    TimedOut,
)

_WORDS = 500
_LONGEST_PAUSE = 300.0
_CREDENTIAL = {"AUTHENTICATIONFAILED", "EXPIRED"}
_BLOCKED = {"AUTHORIZATIONFAILED", "PRIVACYREQUIRED", "CONTACTADMIN"}
_AWAY = {"UNAVAILABLE", "INUSE"}
_OWN_FAULT = {"SERVERBUG", "CORRUPTION"}
_SLOW_DOWN = {"LIMIT", "THROTTLED", "OVERQUOTA"}
_BACKOFF = re.compile(r"Suggested Backoff Time:? *(\d{1,12}) *milliseconds", re.IGNORECASE)
_THROTTLED = re.compile(r"throttl|rate limit|too many|exceeded .*limit|bandwidth", re.IGNORECASE)
_TEMPORARY = re.compile(r"temporar|try again|unavailable|server busy|internal error|shutting down", re.IGNORECASE)


class NotDone(ProviderFault):
    """The server answered NO or BAD for a reason of that one command; the connection is fine."""

    def __init__(self, text: str, code: str = "") -> None:
        super().__init__(text)
        self.code = code
        """The response code (RFC 5530), or ""."""


class LiteralTooBig(ProviderFault):
    """The server sent more than was asked for, and the connection was closed; ``uid`` is 0 where it is not known."""

    def __init__(self, text: str, uid: int = 0) -> None:
        super().__init__(text)
        self.uid = uid


def translate(command: str, status: Status) -> PostroomError:
    """The error that a NO, BAD or BYE means; ``command`` is a name such as "LOGIN", never with its arguments."""
    said = f"{command}: {status.text[:_WORDS]}" if status.text else f"{command}: {status.word} {status.code}".rstrip()
    if match := _BACKOFF.search(status.text):
        return Throttled(said, min(int(match[1]) / 1000, _LONGEST_PAUSE))
    if status.code in _SLOW_DOWN and not (status.code == "OVERQUOTA" and command in ("APPEND", "COPY", "MOVE")):
        return Throttled(said)
    if status.code in _BLOCKED:
        return AccessBlocked(said)
    if status.code in _CREDENTIAL:
        return AuthRequired(said)
    if "authenticated but not connected" in status.text:  # Exchange: signed in to a mailbox that is not there
        return AuthRequired(said)
    return _by_words(command, status, said)


def _by_words(command: str, status: Status, said: str) -> PostroomError:
    signing_in, plain = command == "LOGIN", status.code in ("", "ALERT")
    if status.code in _AWAY:
        return ProviderFault(said)
    if command == "FETCH":  # one broken item must not look like a broken server
        return NotDone(said, status.code)
    if plain and _THROTTLED.search(status.text):
        return Throttled(said)
    if status.code in _OWN_FAULT or (plain and _TEMPORARY.search(status.text)):
        return ProviderFault(said)
    if signing_in and status.word == "NO":
        return AuthRequired(said)
    return ProviderFault(said) if signing_in or status.word == "BYE" else NotDone(said, status.code)


def network_fault(error: BaseException | None, where: str) -> PostroomError:
    """What a failed or lost connection means; None is an orderly end that nobody asked for."""
    words = f"{where}: {error}" if error is not None and str(error) else f"{where}: {type(error).__name__}"
    match error:
        case None:
            return NetworkFault(f"{where}: the server closed the connection")
        case PostroomError():
            return error
        case ssl.SSLCertVerificationError():
            return CertificateFault(f"{where}: {certificate_words(error)}")
        case ssl.SSLError():
            return ProviderFault(f"{where}: TLS failed: {getattr(error, 'reason', None) or error}")
        case TimeoutError():
            return TimedOut(f"{where}: no answer in time")
        case socket.gaierror():
            return NetworkFault(f"{where}: name not found: {error.strerror}")
        case OSError():
            return NetworkFault(words)
        case _:
            return ProviderFault(words)
