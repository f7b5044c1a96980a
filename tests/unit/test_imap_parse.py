"""The grammar: framing that no split and no text confuses, limits that hold, values, names and dates."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given, strategies as st

from gateway.connectors import imap_parse as parse
from gateway.connectors.imap_parse import Framer, Malformed, Response, TooBig

STREAM = (
    b"* OK [ALERT] a smiley :( and {5}\r\n"
    b"* 1 FETCH (UID 3 BODY[] {12}\r\nab\r\n* 5 (\r\n! RFC822.SIZE 12)\r\n"
    b'* 2 FETCH (UID 4 BODY[] "5 * 3 * 2 {7}" FLAGS (\\Seen))\r\n'
    b"* 3 FETCH (UID 5 BODY[] {0}\r\n BODY[TEXT] ~{3}\r\n\r\n} X NIL)\r\n"
    b"* NO broken {3}\r\n"
    b"\r\n"
    b"+ idling {2}\r\n"
    b"A1 OK done {9}\r\n"
)
RESPONSES: list[Response] = [
    [b"* OK [ALERT] a smiley :( and {5}"],
    [b"* 1 FETCH (UID 3 BODY[] {12}", b"ab\r\n* 5 (\r\n!", b" RFC822.SIZE 12)"],
    [b'* 2 FETCH (UID 4 BODY[] "5 * 3 * 2 {7}" FLAGS (\\Seen))'],
    [b"* 3 FETCH (UID 5 BODY[] {0}", b"", b" BODY[TEXT] ~{3}", b"\r\n}", b" X NIL)"],
    [b"* NO broken {3}"],
    [b""],
    [b"+ idling {2}"],
    [b"A1 OK done {9}"],
]


def frame(pieces: Iterable[bytes], *, line: int = 1000, literal: int = 1000) -> list[Response]:
    framer = Framer(line=line, literal=literal)
    found = [response for piece in pieces for response in framer.feed(piece)]
    assert not framer.midway
    return found


@pytest.mark.parametrize("at", range(len(STREAM) + 1))
def test_framing_is_the_same_wherever_the_stream_is_cut(at: int) -> None:
    assert frame([STREAM[:at], STREAM[at:]]) == RESPONSES


@pytest.mark.parametrize("size", range(1, 20))
def test_framing_in_pieces(size: int) -> None:
    assert frame(STREAM[at : at + size] for at in range(0, len(STREAM), size)) == RESPONSES


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_framing_in_any_pieces(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(STREAM)]
    assert frame(STREAM[a:b] for a, b in pairwise(edges)) == RESPONSES


def test_a_million_bytes_of_lines_need_no_stack() -> None:
    assert len(frame([b"* 1 EXISTS\r\n" * 90_000])) == 90_000


def test_a_bare_line_feed_ends_no_line() -> None:
    assert frame([b"* OK a\nb\r\n", b"* OK a\r", b"b\r", b"\n"]) == [[b"* OK a\nb"], [b"* OK a\rb"]]


@pytest.mark.parametrize(
    ("pieces", "uid"),
    [
        ([b"* 1 FETCH (UID 12 BODY[] {99999999999}\r\n"], 12),
        ([b"* 1 FETCH (BODY[] {1001}\r\n"], 0),
        ([b"* 1 FETCH (BODY[] {%s}\r\n" % (b"9" * 40)], 0),
        ([b"* 1 FETCH (UID 9 A {600}\r\n" + b"x" * 600 + b" B {401}\r\n"], 9),
        ([b"* " + b"x" * 1001], 0),
        ([b"x"] * 1002, 0),
        ([b"* X" + b" {0}\r\n" * 300], 0),
        ([b"* 1 FETCH (UID 5 A {1}\r\nx" + b" " * 990 + b")\r\n"], 5),
    ],
)
def test_what_exceeds_a_limit_is_refused_before_it_is_kept(pieces: list[bytes], uid: int) -> None:
    with pytest.raises(TooBig) as caught:
        frame(pieces)
    assert caught.value.uid == uid


def test_limits_are_reached_but_not_exceeded_by_what_fits() -> None:
    fits = b"* 1 FETCH (A {1000}\r\n" + b"x" * 1000 + b")\r\n"
    assert frame([fits * 3])[2][1] == b"x" * 1000
    assert frame([b"* " + b"x" * 998 + b"\r\n"]) == [[b"* " + b"x" * 998]]


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (b"* 5 EXISTS", ("EXISTS", 5)),
        (b"* search 1 2", ("SEARCH", 0)),
        (b"* 12 FETCH (UID 1)", ("FETCH", 12)),
        (b"* ", ("", 0)),
        (b"* 5", ("5", 0)),
        (b"* \xff\xfe x", ("\ufffd\ufffd", 0)),
    ],
)
def test_what_a_response_is_about(line: bytes, kind: tuple[str, int]) -> None:
    assert parse.kind(line) == kind


@pytest.mark.parametrize(
    ("line", "word", "code", "argument", "text"),
    [
        (b"OK done", "OK", "", "", "done"),
        (b"no [AUTHENTICATIONFAILED] wrong", "NO", "AUTHENTICATIONFAILED", "", "wrong"),
        (b"OK [UIDVALIDITY 17] valid", "OK", "UIDVALIDITY", "17", "valid"),
        (b"OK [CAPABILITY IMAP4rev1 IDLE] in", "OK", "CAPABILITY", "IMAP4rev1 IDLE", "in"),
        (b"BAD", "BAD", "", "", ""),
        (b"NO [broken", "NO", "", "", "[broken"),
        (b"NO \xff", "NO", "", "", "\ufffd"),
    ],
)
def test_status(line: bytes, word: str, code: str, argument: str, text: str) -> None:
    assert parse.status(line) == parse.Status(word, code, argument, text)


@pytest.mark.parametrize(
    ("response", "row"),
    [
        ([b"* 1 FETCH (UID 3 BODY[] {3}", b"a)b", b")"], {"UID": 3, "BODY[]": b"a)b"}),
        ([b"* 1 FETCH (uid 3 rfc822.size 9)"], {"UID": 3, "RFC822.SIZE": 9}),
        ([b'* 1 FETCH (BODY[]<0> "a\\"b\\\\" UID 3)'], {"BODY[]<0>": b'a"b\\', "UID": 3}),
        ([b"* 1 FETCH (BODY[] NIL FLAGS (\\Seen $X))"], {"BODY[]": None, "FLAGS": [b"\\Seen", b"$X"]}),
        ([b"* 1 FETCH (BODY[HEADER.FIELDS (DATE FROM)] {1}", b"x", b")"], {"BODY[HEADER.FIELDS (DATE FROM)]": b"x"}),
        ([b"* 1 FETCH (BINARY[1] ~{2}", b"\0x", b" UID 1)"], {"BINARY[1]": b"\0x", "UID": 1}),
        ([b"* 1 FETCH ()"], {}),
        ([b'* 1 FETCH (ENVELOPE ("a" (("b" NIL)) NIL))'], {"ENVELOPE": [b"a", [[b"b", None]], None]}),
    ],
)
def test_rows(response: Response, row: dict[str, object]) -> None:
    assert parse.fetch_row(response) == row


@pytest.mark.parametrize(
    "response",
    [
        [b"* 1 FETCH"],
        [b"* 1 FETCH ("],
        [b"* 1 FETCH (UID"],
        [b"* 1 FETCH (UID)"],
        [b"* 1 FETCH (UID x)"],
        [b"* 1 FETCH (UID -1)"],
        [b"* 1 FETCH (UID (1))"],
        [b"* 1 FETCH (UID 99999999999999999999)"],
        [b"* 1 FETCH (UID 1))"],
        [b"* 1 FETCH (UID 1) (UID 2)"],
        [b'* 1 FETCH (BODY[] "open)'],
        [b"* 1 FETCH ((a) 1)"],
        [b"* 1 FETCH (BODY[] {5})"],
        [b"* 1 FETCH " + b"(" * 30_000],
        [b"* 1 FETCH (BODY[] {1} {1}", b"x", b")"],
    ],
)
def test_rows_that_are_none(response: Response) -> None:
    with pytest.raises(Malformed):
        parse.fetch_row(response)


@given(st.lists(st.binary(max_size=60), min_size=1, max_size=7))
def test_no_row_makes_it_fail_otherwise(parts: list[bytes]) -> None:
    for read in (parse.fetch_row, parse.listed):
        try:
            read([b"* 1 FETCH (" + parts[0], *parts[1:]])
        except Malformed:
            continue


NAMES = [
    ("INBOX", b"INBOX"),
    ("a & b", b"a &- b"),
    ("Entwürfe", b"Entw&APw-rfe"),
    ("台北", b"&U,BTFw-"),
    ("~peter/mail/台北/日本語", b"~peter/mail/&U,BTFw-/&ZeVnLIqe-"),
    ("😀", b"&2D3eAA-"),
    ("tab\there", b"tab&AAk-here"),
    ('q"\\', b'q"\\'),
    ("", b""),
]


@pytest.mark.parametrize(("name", "wire"), NAMES)
def test_mailbox_names(name: str, wire: bytes) -> None:
    assert parse.encode_mailbox(name) == wire
    assert parse.decode_mailbox(wire) == name


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\n"), max_size=30))
def test_every_name_comes_back(name: str) -> None:
    assert parse.decode_mailbox(parse.encode_mailbox(name)) == name


@pytest.mark.parametrize("name", ["a\rb", "a\nb", "a\0b", "\ud800"])
def test_names_that_cannot_be_sent(name: str) -> None:
    with pytest.raises(Malformed):
        parse.encode_mailbox(name)


@pytest.mark.parametrize("wire", [b"&", b"&U", b"&U,BTFw", b"&!!!-", b"&2D0-", b"&AA-", b"\xc3\xa4"])
def test_names_that_are_none(wire: bytes) -> None:
    with pytest.raises(Malformed):
        parse.decode_mailbox(wire)


@pytest.mark.parametrize(
    ("response", "name", "attributes", "leaf"),
    [
        ([b'* LIST (\\HasNoChildren \\Junk) "/" Junk'], "Junk", {"\\hasnochildren", "\\junk"}, "Junk"),
        ([b'* LIST () "/" "[Gmail]/Spam"'], "[Gmail]/Spam", set(), "Spam"),
        ([b'* LIST () "/" [Gmail]/Spam'], "[Gmail]/Spam", set(), "Spam"),
        ([b'* LIST () "." {5}', b'a"&-b', b""], 'a"&b', set(), 'a"&b'),
        ([b"* LIST () NIL Inbox"], "INBOX", set(), "INBOX"),
        ([b'* LIST () "/" &U,BTFw- (CHILDINFO ("SUBSCRIBED"))'], "台北", set(), "台北"),
    ],
)
def test_listings(response: Response, name: str, attributes: set[str], leaf: str) -> None:
    folder = parse.listed(response)
    assert (folder.name, folder.attributes, folder.leaf) == (name, attributes, leaf)


@pytest.mark.parametrize(
    "response",
    [
        [b"* LIST"],
        [b'* LIST () "/"'],
        [b'* LIST () "/" NIL'],
        [b'* LIST "/" x'],
        [b'* LIST () "/" {3}', b"a\r\n", b""],
        [b'* LIST () "/" {7}', b"&AA0ACg-", b""],
        [b'* LIST () "/" &AGE-'],
        [b'* LIST () "/" "\xd0\xa1"'],
    ],
)
def test_listings_of_what_could_not_be_asked_for_again(response: Response) -> None:
    with pytest.raises(Malformed):
        parse.listed(response)


@pytest.mark.parametrize(
    ("text", "wire"),
    [("abc", b'"abc"'), ('a"b\\', b'"a\\"b\\\\"'), ("", b'""'), ("pä", None), ("a\tb", None), ("x" * 1001, None)],
)
def test_quoting(text: str, wire: bytes | None) -> None:
    assert parse.quoted(text) == wire


@pytest.mark.parametrize(
    ("uids", "sets"),
    [([], []), ([5], ["5"]), ([3, 1, 2, 2], ["1:3"]), ([1, 3, 4, 9], ["1,3:4,9"])],
)
def test_uid_sets(uids: list[int], sets: list[str]) -> None:
    assert list(parse.uid_sets(uids)) == sets


@given(st.sets(st.integers(1, 400)), st.integers(7, 40))
def test_uid_sets_name_each_uid_and_stay_short(uids: set[int], most: int) -> None:
    sets = list(parse.uid_sets(uids, most))
    spans = [word.partition(":") for each in sets for word in each.split(",")]
    named = [uid for first, _, last in spans for uid in range(int(first), int(last or first) + 1)]
    assert named == sorted(uids)
    assert all(len(each) <= most for each in sets)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (b"17-Jul-1996 02:44:25 -0700", 837596665.0),
        (b" 1-Jan-1970 00:00:01 +0000", 1.0),
        (b"01-jan-1970 01:00:00 +0100", 0.0),
        (b"01-Foo-1970 00:00:00 +0000", 0.0),
        (b"01-Jan-0000 00:00:00 +0000", 0.0),
        (b"nonsense", 0.0),
        (None, 0.0),
    ],
)
def test_internaldate(text: bytes | None, seconds: float) -> None:
    assert parse.internaldate(text) == seconds
