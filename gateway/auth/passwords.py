"""Passwords of relay users: argon2id hashes, and the check that takes the same time for a name nobody has.

Both calls work for some tens of milliseconds and need 64 MiB; run them in a thread, few at a time.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from pipeline.errors import Refused

if TYPE_CHECKING:
    from argon2 import PasswordHasher

LONGEST = 1024


def hash_password(password: str) -> str:
    """The hash to store; raises Refused for a password that is no good."""
    if len(password) < 8:
        raise Refused("the password is shorter than 8 characters")
    if len(password) > LONGEST or "\0" in password or "\n" in password:
        raise Refused(f"the password is longer than {LONGEST} characters, or holds a line break or NUL")
    return _hasher().hash(password)


def verify_password(password_hash: str | None, password: str) -> bool:
    """Whether the password is right; with no hash the same work is done, so that names cannot be guessed by time."""
    from argon2.exceptions import InvalidHashError, VerificationError

    if len(password) > LONGEST:
        return False
    try:
        return _hasher().verify(password_hash or _nobody(), password) and password_hash is not None
    except (VerificationError, InvalidHashError):
        return False


@cache
def _hasher() -> PasswordHasher:
    from argon2 import PasswordHasher

    return PasswordHasher()


@cache
def _nobody() -> str:
    return _hasher().hash("the password of nobody")
