"""The scan of MIME parts: places, limits, and the doubts that it must report."""

from __future__ import annotations

import email
import email.message

import pytest
from hypothesis import given, strategies as st

from pipeline.headers import Headers
from pipeline.mime import MAX_DEPTH, MAX_PARTS, Structure, content_type, decoded, scan_parts

NESTED = """Content-Type: multipart/mixed; boundary="a b"

preamble
--a b
Content-Type: multipart/alternative;
 boundary=in

--in

one
--in
Content-Type: text/html; charset="UTF-8"

<p>
--in--
epilogue
--a b\x20
Content-Type: application/pdf
Content-Disposition: Attachment; filename=x

%PDF
--a b--
"""
HEAD = b"Content-Type: multipart/mixed; boundary=b\n\n"


def scan(data: bytes, *, whole: bool = True, depth: int = MAX_DEPTH) -> Structure:
    return scan_parts(data, Headers.scan(data), whole=whole, depth=depth)


def types(structure: Structure) -> list[str]:
    return [part.type for part in structure.parts]


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_parts_are_found_with_their_places(newline: str) -> None:
    data = NESTED.replace("\n", newline).encode()
    found = scan(data)
    assert found.degraded == ""
    assert types(found) == [
        "multipart/mixed", "multipart/alternative", "text/plain", "text/html", "application/pdf",
    ]  # fmt: skip
    assert [part.parent for part in found.parts] == [-1, 0, 1, 1, 0]
    assert [part.depth for part in found.parts] == [0, 1, 2, 2, 1]
    assert [data[part.body : part.end] for part in found.parts[2:]] == [b"one", b"<p>", b"%PDF"]
    assert found.parts[3].charset == "utf-8" and found.parts[2].charset == "us-ascii"
    assert found.parts[4].attached and not found.parts[2].attached
    assert data[found.parts[3].start :].startswith(b"Content-Type: text/html")


def test_depth_can_be_limited() -> None:
    found = scan(NESTED.encode(), depth=1)
    assert types(found) == ["multipart/mixed", "multipart/alternative", "application/pdf"] and found.degraded == ""


def test_what_lies_beyond_the_opening_has_no_end() -> None:
    data = NESTED.encode()
    cut = data[: data.index(b"%PDF") + 2]
    found = scan(cut, whole=False)
    assert found.degraded == ""
    assert [part.end is None for part in found.parts] == [True, False, False, False, True]


def test_a_mail_without_parts_is_one_part() -> None:
    found = scan(b"Subject: x\r\n\r\nbody\r\n")
    assert types(found) == ["text/plain"] and found.parts[0].end == 20


DEGRADED = {
    "not closed": (HEAD + b"--b\n\nx\n", "not closed"),
    "no boundary": (b"Content-Type: multipart/mixed\n\n--b\n\nx\n", "boundary"),
    "long boundary": (b"Content-Type: multipart/mixed; boundary=" + b"b" * 201 + b"\n\n", "boundary"),
    "shared boundary": (HEAD + b"--b\n" + HEAD + b"--b\n\nx\n--b--\n", "share"),
    "two types": (HEAD + b"--b\nContent-Type: text/plain\nContent-Type: text/html\n\nx\n--b--\n", "two types"),
    "two types of the mail": (b"Content-Type: text/plain\nContent-Type: text/html\n\nx", "two types"),
    "many parts": (HEAD + b"--b\n\nx\n" * 40_000 + b"--b--", "parts"),
    "headers": (b"A: b\njunk\n\n", "no field"),
}


@pytest.mark.parametrize("data, reason", DEGRADED.values(), ids=DEGRADED)
def test_doubts_are_told(data: bytes, reason: str) -> None:
    found = scan(data)
    assert reason in found.degraded and len(found.parts) <= MAX_PARTS


def test_deep_nesting_is_bounded() -> None:
    data = b"".join(
        b"--%d\nContent-Type: multipart/mixed; boundary=%d\n\n" % (level, level + 1) if level else
        b"Content-Type: multipart/mixed; boundary=1\n\n" for level in range(1000)
    )  # fmt: skip
    found = scan(data)
    assert "nested" in found.degraded and len(found.parts) <= MAX_DEPTH + 1


def test_a_delimiter_within_a_field_wins() -> None:
    data = b'Content-Type: multipart/mixed; boundary="b:c"\n\n--b:c\nX: y\n--b:c\n\nsecond\n--b:c--\n'
    found = scan(data)
    assert data[found.parts[1].body : found.parts[1].end] == b""
    assert data[found.parts[2].body : found.parts[2].end] == b"second"


@pytest.mark.parametrize(
    "value, kind, params",
    [("text/plain", "text/plain", {}), ("TEXT/Html; Charset=\"a b\";x=y", "text/html", {"charset": "a b", "x": "y"}),
     ("text/plain; charset=a; charset=b", "text/plain", {"charset": "a"}), ("text", "", {}), ("", "", {}),
     ('x/y; a="\\"q\\""', "x/y", {"a": '"q"'}), ("text/plain (really); charset=z", "text/plain", {"charset": "z"}),
     ("text/plain;charset", "text/plain", {}), ("a/b/c", "", {})],
)  # fmt: skip
def test_content_type(value: str, kind: str, params: dict[str, str]) -> None:
    assert content_type(Headers.scan(f"Content-Type: {value}\r\n\r\n".encode())) == (kind, params)


@pytest.mark.parametrize(
    "encoding, body, result",
    [("7bit", b"a=20b", b"a=20b"), ("quoted-printable", b"a=20=\nb", b"a b"), ("BASE64", b"YWJj\nZGV", b"abcde"),
     ("base64", b"YWJjZA==\n-- \nfooter of a list", b"abcd"), ("base64", b"YWJjZ", b"abc"), ("base64", b"!!", b"")],
)  # fmt: skip
def test_decoded(encoding: str, body: bytes, result: bytes) -> None:
    data = f"Content-Transfer-Encoding: {encoding}\n\n".encode() + body
    assert decoded(data, scan(data).parts[0]) == result


PIECES = [
    b"--b\n", b"--b--\n", b"--c\r\n", b"--c--\n", b"\n", b"\r\n", b"x", b"--", b"b", b"\xff", HEAD,
    b"Content-Type: multipart/mixed; boundary=c\n", b"Content-Type: text/plain\n",
]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=30), st.booleans())
def test_places_always_lie_in_the_opening(pieces: list[bytes], whole: bool) -> None:
    data = HEAD + b"".join(pieces)
    for part in scan(data, whole=whole).parts:
        end = len(data) if part.end is None else part.end
        assert 0 <= part.start <= part.body <= len(data)
        assert part.body <= end <= len(data)


LEAVES = st.text("ab \n-", max_size=20).map(lambda text: ("text/plain", text.replace("\n\n", "\n")))
TREES = st.recursive(LEAVES, lambda inner: st.lists(inner, min_size=1, max_size=3), max_leaves=8)


def build(tree: object) -> email.message.EmailMessage:
    message = email.message.EmailMessage()
    if isinstance(tree, tuple):
        message.set_content(tree[1])
        return message
    message["Content-Type"] = "multipart/mixed"
    assert isinstance(tree, list)
    message.set_payload([build(one) for one in tree])
    return message


@given(TREES)
def test_the_parts_are_those_that_the_standard_library_finds(tree: object) -> None:
    data = build(tree).as_bytes()
    theirs = list(email.message_from_bytes(data).walk())
    ours = scan(data)
    assert ours.degraded == "" and types(ours) == [part.get_content_type() for part in theirs]
    for part, theirs_part in zip(ours.parts, theirs, strict=True):
        if not theirs_part.is_multipart():
            assert data[part.body : part.end].decode() == theirs_part.get_payload()
