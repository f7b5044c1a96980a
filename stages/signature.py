"""Puts the touchpoint's signature into outgoing mail: plain text and HTML, above the quote, once. Off by default.

It works by splices on the original bytes (``pipeline.insertion``); whatever it does not understand for certain, it
leaves alone and says so. Signed and encrypted mail is never touched, nor mail that carries a DKIM signature: a
changed byte would break it. Auto-replies do not come here.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass

from pipeline.insertion import Body, CannotInsert, insert, read_body
from pipeline.mail import Direction, Mail
from pipeline.mime import Part, Structure, scan_parts
from pipeline.quote import own_html_end, own_text_end, visible_text
from pipeline.stage import Context
from pipeline.touchpoint import Signature
from pipeline.verdict import Rewrite, Splice, Verdict, passed

MARK = "postroom-signature"
"""Class of the element that holds an HTML signature."""
_SEALED = ("multipart/signed", "multipart/encrypted", "application/pkcs7-mime", "application/x-pkcs7-mime")
_SIGNED_FIELDS = ("dkim-signature", "domainkey-signature", "arc-message-signature", "arc-seal")
_PGP = "-----BEGIN PGP "


@dataclass(frozen=True, kw_only=True, slots=True)
class SignatureStage:
    """Add the signature where it is switched on for the sender or the touchpoint."""

    async def __call__(self, mail: Mail, context: Context) -> Verdict:
        """Awaits nothing."""
        signature = context.touchpoint.signature
        if mail.direction is not Direction.OUT or not signature.active:
            return passed("the signature is off")
        asked = mail.relay_user is not None and mail.relay_user.signature
        if not (asked or context.touchpoint.signs_relayed):
            return passed("the signature is not switched on for this sender")
        if not (signature.text.strip() or signature.html.strip()):
            return passed("the signature is empty")
        try:
            return _signed(mail, signature)
        except CannotInsert as reason:
            return passed(f"no signature: {reason}")


def _signed(mail: Mail, signature: Signature) -> Verdict:
    structure = scan_parts(mail.opening, mail.headers, whole=mail.whole)
    if reason := _sealed(mail, structure):
        raise CannotInsert(reason)
    parts = _shown(structure.parts, 0)
    if not parts:
        raise CannotInsert("there is no text part to put it into")
    splices: list[Splice] = []
    for part in parts:
        splices += _into(read_body(mail.opening, part), signature)
    if not splices:
        return passed("the signature is there already")
    ordered = tuple(sorted(splices, key=lambda one: one.offset))
    return passed(f"signature put into {' and '.join(part.type for part in parts)}", Rewrite(splices=ordered))


def _sealed(mail: Mail, structure: Structure) -> str:
    """Why not a byte may change; "" if it may."""
    if structure.degraded:
        return f"the mail cannot be read for certain: {structure.degraded}"
    if any(name in mail.headers for name in _SIGNED_FIELDS):
        return "the mail is signed by its domain (DKIM)"
    sealed = next((part.type for part in structure.parts if part.type in _SEALED), "")
    return f"the mail is signed or encrypted ({sealed})" if sealed else ""


def _shown(parts: tuple[Part, ...], index: int) -> list[Part]:
    """The text parts that a reader sees first: one, or the alternatives of one (RFC 2046 section 5.1.4)."""
    part = parts[index]
    if not part.type.startswith("multipart/"):
        return [part] if part.type in ("text/plain", "text/html") and not part.attached else []
    children = [at for at in range(index + 1, len(parts)) if parts[at].parent == index]
    if part.type == "multipart/alternative":
        return [one for child in children for one in _shown(parts, child)]
    return _shown(parts, children[0]) if children else []


def _into(body: Body, signature: Signature) -> tuple[Splice, ...]:
    if _PGP in body.text:
        raise CannotInsert("the mail is signed or encrypted (PGP in its text)")
    return _into_html(body, signature) if body.part.type == "text/html" else _into_text(body, signature)


def _into_text(body: Body, signature: Signature) -> tuple[Splice, ...]:
    words = signature.text.strip("\r\n ") or visible_text(signature.html)
    at = own_text_end(body.text)
    above, below = body.text[:at], body.text[at:]
    if _holds(_lines(above), _lines(words)):
        return ()
    lines = [_line(line, body.part) for line in re.split(r"\r\n|\r|\n", words)]
    before = "" if not above else "\n" if above.endswith("\n") else "\n\n"
    after = "\n\n" if not above and below.strip() else "\n" if above.endswith("\n") or below else ""
    return insert(body, at, before + "\n".join(lines) + after)


def _line(line: str, part: Part) -> str:
    """One line of the signature; fixed and space-stuffed in flowed text (RFC 3676 section 4)."""
    if part.params.get("format", "").lower() != "flowed":
        return line.rstrip() if line != "-- " else line
    stripped = line if line == "-- " else line.rstrip(" ")
    return f" {stripped}" if stripped.startswith((" ", ">", "From ")) else stripped


def _into_html(body: Body, signature: Signature) -> tuple[Splice, ...]:
    inner = signature.html.strip() or html.escape(signature.text.strip()).replace("\n", "<br>\n")
    at = own_html_end(body.text)
    above = body.text[:at]
    if f'class="{MARK}"' in above or visible_text(above).endswith(visible_text(inner)):
        return ()
    # Numeric references carry any character in any charset, so HTML never has to change its encoding.
    start = "" if not above or above.endswith("\n") else "\n"
    block = f'{start}<div class="{MARK}">\n{inner}\n</div>\n'.replace("\r\n", "\n").replace("\r", "\n")
    return insert(body, at, block.encode("ascii", "xmlcharrefreplace").decode("ascii"))


def _lines(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.split("\n") if line.strip()]


def _holds(lines: list[str], wanted: list[str]) -> bool:
    """Whether these lines stand in the text one behind the other, empty ones aside."""
    return f"\n{chr(10).join(wanted)}\n" in f"\n{chr(10).join(lines)}\n"
