"""What may stand in the directory as an address or a name; the borders of what people type.

International addresses are welcome (RFC 6531 local parts, RFC 5890 domains); quoted local parts, domain literals and
everything that cannot be seen on a screen are not. Never used to judge received mail.
"""

from __future__ import annotations

import re
import unicodedata

from pipeline.errors import Refused
from pipeline.touchpoint import normalise

_ATOM = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.\-\u0080-\U0010ffff]+")  # RFC 5321 §4.1.2, RFC 6531 §3.3
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")


def check_address(text: str) -> str:
    """The address as it is to be stored, trimmed; raises Refused with what is wrong with it."""
    address = unicodedata.normalize("NFC", text.strip())
    shown = ascii(address[:80])
    local, at, _ = address.rpartition("@")
    if not at or "@" in local:
        raise Refused(f"{shown} is not an address: it needs exactly one @, as in support@example.org")
    if not visible(address) or " " in address:
        raise Refused(f"{shown} is not an address: it holds a space or a character that cannot be seen")
    if not _ATOM.fullmatch(local) or local.startswith(".") or local.endswith(".") or ".." in local:
        raise Refused(f"{shown} is not an address: the part before the @ is not a plain name")
    if len(local.encode()) > 64:  # RFC 5321 §4.5.3.1.1
        raise Refused(f"{shown} is not an address: the part before the @ is longer than 64 bytes")
    check_domain(address.rpartition("@")[2])
    return address


def check_domain(text: str) -> str:
    """A domain in A-labels; raises Refused."""
    domain = normalise(f"x@{text}").partition("@")[2] if len(text) <= 255 else ""
    labels = domain.split(".")
    if len(domain) > 255 or not all(_LABEL.fullmatch(label) for label in labels) or domain.isdigit():
        raise Refused(f"{text[:80]!a} is not a domain name, such as example.org")
    return domain


def check_pattern(text: str) -> str:
    """A blocklist entry in the form in which it is compared: ``user@domain`` or ``@domain``; raises Refused."""
    pattern = text.strip()
    if "@" not in pattern:
        return "@" + check_domain(pattern)
    if pattern.startswith("@"):
        return "@" + check_domain(pattern[1:])
    return normalise(check_address(pattern))


def check_name(text: str, what: str, longest: int = 200) -> str:
    """A name for people, trimmed; raises Refused naming ``what`` it was for."""
    name = unicodedata.normalize("NFC", text.strip()[: 4 * longest])
    if not name:
        raise Refused(f"{what} must not be empty")
    if len(name) > longest:
        raise Refused(f"{what} is longer than {longest} characters")
    if not visible(name):
        raise Refused(f"{what} holds a control character or one that cannot be seen")
    return name


def visible(text: str) -> bool:
    """Whether every character can be seen: no controls, formats, surrogates, unassigned, nor odd spaces."""
    return all(char == " " or unicodedata.category(char)[0] not in "CZ" for char in text)
