"""Scenario 18: bounces, vacation notices, lists, reports and loops get no auto-reply; what nearly looks so gets one.

The rows are those of the table of the auto-reply stage. All lie in one mailbox, each from a domain of its own, and are
taken in by one page after the other, so that they also meet the memory of the mailbox.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import AsyncIterator

import pytest

from pipeline import touchpoints
from pipeline.store import Tx
from pipeline.touchpoints import TemplateKind
from tests.unit.deciding import HOME, OTHER, OURS, content
from tests.unit.housing import House, a_house, hurry, until
from tests.unit.making import NOW
from tests.unit.test_auto_reply import ENCODINGS, HEADER_ROWS, with_field
from tests.unit.test_bounce import report


@pytest.fixture
async def house(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    hurry(monkeypatch)
    async with a_house() as made:

        def furnish(tx: Tx) -> None:
            tx.run("UPDATE touchpoint SET address = :it, address_key = :it, activated_at = 1", {"it": OURS})
            touchpoints.create(tx, address=OTHER, name="Sales", now=NOW)
            touchpoints.edit(tx, 1, aliases=["help@shop.example"])
            touchpoints.set_template(tx, 1, TemplateKind.AUTO_REPLY, NOW, active=True, text="Thank you.")

        await made.change(furnish)
        yield made


def suppressed() -> list[bytes]:
    """Every row in every encoding, and the reports of servers."""
    rows = [
        with_field(name, encoding(name, value))
        for (_, name, value, _), encoding in itertools.product(HEADER_ROWS, ENCODINGS.values())
    ]
    return [*rows, report(), b"Return-Path: <>\r\n" + content({"Return-Path": None})]


def near() -> list[bytes]:
    """What nearly looks like a row."""
    found = []
    for _, _, _, (name, value) in HEADER_ROWS:
        data = content({name: value})
        if name not in content().decode():
            data = with_field(name, [f"{name}: {value}"])
        found.append(data)
    return found


def each_from_its_own_domain(mails: list[bytes]) -> list[bytes]:
    """So that neither the memory for a sender nor the brake for a domain hides what is tested."""
    return [re.sub(rb"@(example\.(?:org|net|com))", rb"@n%d.\1" % number, data) for number, data in enumerate(mails)]


async def test_r18_no_row_is_answered(house: House) -> None:
    own = house.services.directory.installation.id
    await take(house, each_from_its_own_domain([_with_id(data, own) for data in suppressed()]))
    assert await house.values("SELECT count(*) AS n FROM entry WHERE direction = 'out'") == [0]


async def test_r18_what_only_looks_like_a_row_is_answered_once(house: House) -> None:
    mails = each_from_its_own_domain(near())
    await take(house, mails)
    await take(house, mails, again=True)
    rows = await house.rows(
        "SELECT r.address AS address, count(*) AS n FROM entry AS e JOIN recipient AS r ON r.entry_id = e.id"
        " WHERE e.direction = 'out' GROUP BY r.address"
    )
    assert {row["n"] for row in rows} == {1}
    assert len(rows) == len(mails)


def _with_id(data: bytes, installation: str) -> bytes:
    """With the mark of the installation that runs, which is upper case in one encoding."""
    for form in (str.lower, str.upper):
        data = data.replace(form(HOME).encode(), form(installation).encode())
    return data


async def take(house: House, mails: list[bytes], *, again: bool = False) -> None:
    before = (await house.values("SELECT count(*) FROM entry WHERE direction = 'in'"))[0]
    start = max(house.mailbox.shelves["INBOX"].letters, default=0)
    for number, data in enumerate(mails, start + 1):
        unique = data.replace(b"<1@", b"<%d@" % number) if again else data
        house.mailbox.put(number, data=unique, at=house.clock.now)
    post = house.posts[0] if house.posts else house.at_work()
    post.wake.set()

    async def taken() -> bool:
        count = (await house.values("SELECT count(*) FROM entry WHERE direction = 'in' AND state <> 'waiting'"))[0]
        return bool(count == before + len(mails))

    await until(taken)
