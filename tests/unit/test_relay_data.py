"""Line ends and dots: one content for one DATA, wherever the network cuts, and nothing smuggled either way."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from gateway.smtp_data import MAX_LINE, DataReader, DataWriter, unfit
from pipeline.errors import Poison
from tests.unit.relaying import Desk, Direct

HEAD, TAIL = (
    b"Subject: one\r\n\r\nfirst",
    b"MAIL FROM:<evil@far.example>\r\nRCPT TO:<x@far.example>\r\nDATA\r\nSubject: two\r\n",
)
SMUGGLING = {
    "LF.LF": b"\n.\n",
    "LF.CRLF": b"\n.\r\n",
    "LF.CR": b"\n.\r",
    "CRLF.LF": b"\r\n.\n",
    "CRLF.CR": b"\r\n.\r",
    "CR.CR": b"\r.\r",
    "CR.LF": b"\r.\n",
    "CR.CRLF": b"\r.\r\n",
    "CRLF NUL.CRLF": b"\r\n\0.\r\n",
    "CRLF.NUL CRLF": b"\r\n.\0\r\n",
    "CRLF.CRCRLF": b"\r\n.\r\r\n",
    "CRCRLF.CRCRLF": b"\r\r\n.\r\r\n",
    "LF..CRLF": b"\n..\r\n",
}


def read(*parts: bytes) -> tuple[bytes, DataReader, bytes]:
    reader, content, rest = DataReader(), b"", b""
    for part in parts:
        if reader.over:
            rest += part
            continue
        piece, rest = reader.feed(part)
        content += piece
    return content, reader, rest


def cuts(data: bytes) -> list[tuple[bytes, bytes]]:
    return [(data[:at], data[at:]) for at in range(len(data) + 1)]


@pytest.mark.parametrize(
    ("wire", "content"),
    [
        (b".\r\n", b""),
        (b"\r\n.\r\n", b"\r\n"),
        (b"a\r\n.\r\n", b"a\r\n"),
        (b"..\r\n.\r\n", b".\r\n"),
        (b".a\r\n.\r\n", b"a\r\n"),
        (b"a\r\n..\r\n...b\r\n.\r\n", b"a\r\n.\r\n..b\r\n"),
        (b"a.\r\nb.\r\n.\r\n", b"a.\r\nb.\r\n"),
        (b"\r\n\r\n\r\n.\r\n", b"\r\n\r\n\r\n"),
        (b"a\r\n..\r\n..\r\n.\r\n", b"a\r\n.\r\n.\r\n"),
    ],
)
def test_the_end_and_the_dots(wire: bytes, content: bytes) -> None:
    for first, second in cuts(wire):
        got, reader, rest = read(first, second)
        assert (got, reader.over, reader.fault, rest) == (content, True, "", b"")
    got, reader, _ = read(*(wire[i : i + 1] for i in range(len(wire))))
    assert (got, reader.over, reader.fault) == (content, True, "")


def test_what_lies_behind_the_end_is_not_content() -> None:
    for first, second in cuts(b"a\r\n.\r\nQUIT\r\n.\r\n"):
        got, _, rest = read(first, second)
        assert (got, rest) == (b"a\r\n", b"QUIT\r\n.\r\n")


@pytest.mark.parametrize("sequence", SMUGGLING.values(), ids=SMUGGLING.keys())
def test_no_other_end_of_data(sequence: bytes) -> None:
    wire = HEAD + sequence + TAIL
    for first, second in cuts(wire):
        content, reader, _ = read(first, second)
        assert not reader.over
        assert len(content) <= len(HEAD)
        _, reader, _ = read(first, second + b"\r\n.\r\n")
        assert reader.over
        assert reader.fault


@pytest.mark.parametrize("cut", range(8))
@pytest.mark.parametrize("sequence", SMUGGLING.values(), ids=SMUGGLING.keys())
async def test_smuggling_stores_nothing_and_ends_the_session(sequence: bytes, cut: int) -> None:
    direct = await Direct().ready_for_content()
    begin = len(HEAD) - 1
    wire = HEAD + sequence + TAIL + b"\r\n.\r\nNOOP\r\n"
    said = await direct.say(wire[: begin + cut], wire[begin + cut :])
    assert direct.desk.taken == []
    assert said.startswith("550 5.6.0 ")
    assert said.count("\r\n") == 1, "what lies behind is not looked at"
    assert direct.wire.closed


async def test_a_true_end_makes_two_mails_of_two() -> None:
    desk = Desk()
    for first, second in cuts(b"one\r\n.\r\n"):
        direct = await Direct(desk).ready_for_content()
        assert (await direct.say(first, second)).startswith("250 2.6.0")
        assert (await direct.say(b"MAIL FROM:<>\r\nRCPT TO:<b@far.example>\r\n")).count("250") == 2
        assert (await direct.say(b"DATA\r\n", b"two\r\n.\r\n")).splitlines()[-1].startswith("250 2.6.0")
    assert desk.contents() == [b"one\r\n", b"two\r\n"] * len(cuts(b"one\r\n.\r\n"))
    assert desk.taken[1].envelope.sender == ""


@pytest.mark.parametrize("size", [7, 100, 4096, 70_000])
def test_a_line_may_be_64_kib_long_and_no_longer(size: int) -> None:
    for length, good in ((MAX_LINE, True), (MAX_LINE + 3, False)):
        wire = b"head\r\n" + b"x" * length + b"\r\ntail\r\n.\r\n"
        _, reader, _ = read(*(wire[i : i + size] for i in range(0, len(wire), size)))
        assert reader.over
        assert (reader.fault == "") is good


@given(st.lists(st.sampled_from([b"\r\n", b".", b"a", b"\n", b"\r", b"\0", b"bc"]), max_size=12), st.data())
def test_reading_does_not_depend_on_the_cuts(words: list[bytes], data: st.DataObject) -> None:
    wire = b"".join(words) + b"\r\n.\r\nrest"
    points = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=4)))
    parts = [wire[a:b] for a, b in zip([0, *points], [*points, len(wire)], strict=True)]
    content, reader, rest = read(*parts)
    whole, reference, behind = read(wire)
    assert (rest, reader.over, bool(reader.fault)) == (behind, True, bool(reference.fault))
    if not reader.fault:
        assert content == whole


@given(st.lists(st.sampled_from([b"\r\n", b".", b"a", b"..", b"\r\n.\r\n", b"bc"]), max_size=12), st.integers(1, 9))
def test_what_the_writer_sends_the_reader_takes(words: list[bytes], chunk: int) -> None:
    content = b"".join(words)
    writer = DataWriter()
    wire = b"".join(writer.feed(content[i : i + chunk]) for i in range(0, len(content), chunk)) + writer.finish()
    got, reader, rest = read(wire)
    ended = content if content.endswith(b"\r\n") or not content else content + b"\r\n"
    assert (got, reader.fault, rest) == (ended, "", b"")


@given(st.lists(st.sampled_from([b"\r\n", b".", b"a", b"\n", b"\r", b"\0"]), max_size=10), st.integers(1, 5))
def test_the_writer_sends_no_bare_line_end(words: list[bytes], chunk: int) -> None:
    content = b"".join(words)
    writer = DataWriter()
    try:
        wire = b"".join(writer.feed(content[i : i + chunk]) for i in range(0, len(content), chunk)) + writer.finish()
    except Poison:
        assert unfit(content)
    else:
        assert not unfit(wire)
        assert wire.find(b"\r\n.\r\n") in (-1, len(wire) - 5)
