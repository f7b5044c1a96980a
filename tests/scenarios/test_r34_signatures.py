"""Scenario 34: the signature on signed, encrypted and odd mail, through the relay and the spool to the next hop.

Judged by the bytes that the next hop got: what is signed or encrypted is equal byte for byte below our trace field;
everything else carries the signature once, above the quote, and is still MIME that the standard library can read.
"""

from __future__ import annotations

import email
import email.policy
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.control import AddRelayUser
from tests.scenarios.inside import PASSWORD, Inside, inside
from tests.unit import test_signature as signing
from tests.unit.test_signature import PLAIN, TEXT, one, parts

DESK, BUYER = signing.OURS, "buyer@example.org"
DATED = b"Message-ID: <1@shop.example>\r\nDate: Mon, 23 Nov 2026 10:00:00 +0000\r\n"
QUOTE = "> what you wrote\n"
ODD = {name: data for name, data in signing.UNTOUCHED.items() if data.endswith(b"\r\n") and name != "degraded headers"}
FLOWED = "text/plain; charset=us-ascii; format=flowed; delsp=no"
SIGNED = {
    "plain": one(f"Hello\n\n{QUOTE}"),
    "flowed": one(f"Hello \nthere.\n\n{QUOTE}", FLOWED),
    "latin-1": one("Grüße\r\n\r\n> quoted\r\n".encode("latin-1"), "text/plain; charset=iso-8859-1", "8bit"),
    "koi8-r in base64": one("0NLJ18XUCg==\n", "text/plain; charset=koi8-r", "base64"),
    "iso-2022-jp": one("パスワード\r\n".encode("iso-2022-jp"), "text/plain; charset=iso-2022-jp"),
    "quoted-printable": one("Gr=C3=BC=C3=9Fe\n", "text/plain; charset=utf-8", "quoted-printable"),
    "empty": one("\n"),
    "html only": one("<p>Hello</p>\n<blockquote>what you wrote</blockquote>\n", "text/html; charset=utf-8"),
    "alternative": parts(PLAIN, ("Content-Type: text/html", "<p>Hello</p>"), kind="alternative"),
}


async def test_r34_what_is_signed_or_encrypted_is_equal_byte_for_byte() -> None:
    async with furnished() as house:
        for name, data in ODD.items():
            assert (await sent(house, data)).endswith(DATED + data), name


async def test_r34_everything_else_is_signed_once_above_the_quote() -> None:
    async with furnished() as house:
        for name, data in SIGNED.items():
            got = await sent(house, data)
            message = email.message_from_bytes(got, policy=email.policy.default)
            texts = [part for part in message.walk() if part.get_content_maintype() == "text"]
            assert texts, name
            for part in texts:
                assert not part.defects, name
                words = part.get_content()
                assert words.count("Your shop") == 1, (name, words)
                quote = max(words.find("> "), words.find("<blockquote"))
                assert quote < 0 or words.index("Your shop") < quote, (name, words)
                assert "\ufffd" not in words, name
            before = email.message_from_bytes(data, policy=email.policy.default).get_body()
            after = message.get_body()
            assert before is not None and after is not None
            first = before.get_content().strip().split("\n")[0].strip()
            assert first in after.get_content(), name
            assert before.get_param("format") == after.get_param("format"), name


@asynccontextmanager
async def furnished() -> AsyncIterator[Inside]:
    """A house with a touchpoint that signs what its relay user sends."""
    async with inside() as house:
        await house.furnish(DESK, signature=TEXT)
        await house.call(AddRelayUser(name="crm", password=PASSWORD, signature=True, grants=(DESK,)))
        yield house


async def sent(house: Inside, data: bytes) -> bytes:
    """What the next hop gets when this is relayed."""
    count = len(house.provider.submitted)
    code, words = await house.submit(DESK, [BUYER], DATED + data)
    assert code == 250, words

    async def arrived() -> bool:
        return len(house.provider.submitted) > count

    await house.until(arrived)
    return house.provider.submitted[-1].content
