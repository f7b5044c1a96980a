"""Every error that Postroom's own code raises or translates into.

The first question to an error is *permanent or transient?*; the tree answers it. Unknown errors of a library
are translated to ``Transient``: mail is kept and tried again rather than given up.

    PostroomError
    ├── Transient             heals by itself: try again later (a touchpoint goes to BACKOFF)
    │   ├── NetworkFault      no route, refused, reset, name not found
    │   ├── TimedOut          no answer in time
    │   ├── CertificateFault  the server's certificate does not verify
    │   ├── Throttled         the provider asks us to slow down, maybe until a time
    │   ├── ProviderFault     an error of the server's own, or an answer that breaks the protocol
    │   └── StoreFull         no room on the disk: pause and resume
    ├── NeedsPerson           does not heal by itself (a touchpoint goes to LOST)
    │   ├── AuthRequired      credentials refused
    │   ├── AccessBlocked     signed in, but not let in
    │   ├── CursorLost        the server renumbered the folder
    │   └── SecretFault       a sealed secret cannot be opened
    ├── Gone                  the item is no longer on the server
    ├── Poison                one item that cannot be fetched, through its own fault
    ├── StaleVersion          the touchpoint changed meanwhile: decide again
    ├── Damaged               the store's file is not what was written; nothing more may be written to it
    └── Refused               a person asked for what cannot be done (the text says why and what to do)
"""

from __future__ import annotations

from enum import StrEnum


class Cause(StrEnum):
    """Why a connection is not working, as shown to people (semantics.md section 7 of the design: told apart)."""

    NETWORK = "network"
    TIMEOUT = "timeout"
    CERTIFICATE = "certificate"
    THROTTLED = "throttled"
    PROVIDER = "provider"
    DISK_FULL = "disk-full"
    CREDENTIAL = "credential"
    BLOCKED = "blocked-access"
    RENUMBERED = "renumbered"


class PostroomError(Exception):
    """The root of all errors that are ours."""


class Transient(PostroomError):
    """Heals by itself; try again later."""

    cause = Cause.PROVIDER


class NetworkFault(Transient):
    """The server cannot be reached."""

    cause = Cause.NETWORK


class TimedOut(Transient):
    """The server did not answer in time."""

    cause = Cause.TIMEOUT


class CertificateFault(Transient):
    """The server's certificate does not verify; nothing was sent to it."""

    cause = Cause.CERTIFICATE


class Throttled(Transient):
    """The provider asks for a pause of ``seconds`` (None: it did not say)."""

    cause = Cause.THROTTLED

    def __init__(self, text: str, seconds: float | None = None) -> None:
        super().__init__(text)
        self.seconds = seconds


class ProviderFault(Transient):
    """The server failed, or broke the protocol."""

    cause = Cause.PROVIDER


class StoreFull(Transient):
    """The disk under the store has no room; resumes by itself."""

    cause = Cause.DISK_FULL


class NeedsPerson(PostroomError):
    """Does not heal by itself."""

    cause = Cause.CREDENTIAL


class AuthRequired(NeedsPerson):
    """The server refused the credentials."""

    cause = Cause.CREDENTIAL


class AccessBlocked(NeedsPerson):
    """The credentials are right, yet the server lets us not in."""

    cause = Cause.BLOCKED


class CursorLost(NeedsPerson):
    """The server renumbered a folder (UIDVALIDITY changed, RFC 9051 section 2.3.1.1), or set it back.

    ``start`` is the cursor before everything that the folder holds by now, under its new numbers: with it the folder
    is resumed (``gateway/resume.py``). Where it is "" nobody can tell, and a person has to look.
    """

    cause = Cause.RENUMBERED

    def __init__(self, text: str, start: str = "") -> None:
        super().__init__(text)
        self.start = start


class Gone(PostroomError):
    """The item is no longer on the server."""


class Poison(PostroomError):
    """One item that cannot be fetched; the others can."""


class StaleVersion(PostroomError):
    """The touchpoint's settings changed between the decision and its commit."""


class Refused(PostroomError):
    """A person asked for what cannot be done; the text says why and what to do instead."""


class Damaged(PostroomError):
    """The store's file is not what was written to it; the text says what to do."""


class SecretFault(NeedsPerson):
    """A sealed secret does not open: altered, moved to another row, or sealed under another key."""
