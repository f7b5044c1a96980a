"""Keeps a password out of what a server says: servers repeat a command in their complaint about it.

What they repeat is the command's own form of the password, so every form in which we send it is looked for: as it is,
with the backslashes of a quoted string (RFC 3501 section 9), and within base64 (RFC 4616), wherever it begins there.
"""

from __future__ import annotations

import base64

_SHORTEST = 4
"""Shorter forms are not looked for: every word would seem to hold them."""


class Veil:
    """Called with a text, it puts ``***`` in the place of the password."""

    __slots__ = ("_forms",)

    def __init__(self, password: str = "") -> None:
        quoted = password.replace("\\", "\\\\").replace('"', '\\"')
        forms = {password, quoted, *_in_base64(password.encode("utf-8", "replace"))}
        self._forms = sorted((form for form in forms if len(form) >= _SHORTEST), key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """The text without the password."""
        for form in self._forms:
            if form in text:
                text = text.replace(form, "***")
        return text


def _in_base64(octets: bytes) -> list[str]:
    """How ``octets`` look within base64: what all texts that hold them have in common, for each place of three."""
    if len(octets) < _SHORTEST:
        return []
    coded = (base64.b64encode(bytes(before) + octets).decode() for before in range(3))
    return [text[-(-before * 8 // 6) : (before + len(octets)) * 8 // 6] for before, text in enumerate(coded)]
