"""Scenario 17: an internal user writes as a touchpoint that is somebody else's; refused and written down."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from gateway.accepting import MOST_NOTED
from tests.unit.housing import a_house, hurry
from tests.unit.making import OURS
from tests.unit.test_accepting import FULL, OTHER, Counter, a_letter

SPOOFS = {
    # what is tried: the author as written, further fields, MAIL FROM, who tries it
    "the envelope": (OURS, (), OTHER, "crm"),
    "From": (OTHER, (), OURS, "crm"),
    "both": (OTHER, (), OTHER, "crm"),
    "both, by a user without any grant": (OURS, (), OURS, "printer"),
    "Sender": (OURS, (f"Sender: {OTHER}",), OURS, "crm"),
    "Resent-From": (OURS, (f"Resent-From: {OTHER}",), OURS, "crm"),
    "Resent-Sender": (OURS, (f"Resent-Sender: {OTHER}",), OURS, "crm"),
    "an address in the display name": (f'"{OURS}" <{OTHER}>', (), OURS, "crm"),
    "an address of ours in a comment": (f"{OTHER} ({OURS})", (), OURS, "crm"),
    "an encoded display name": (f"=?utf-8?q?{OURS.replace('@', '=40')}?= <{OTHER}>", (), OURS, "crm"),
    "another case": (OTHER.upper(), (), OURS, "crm"),
    "a tag": (OTHER.replace("@", "+x@"), (), OURS, "crm"),
}
BROKEN = {
    "two From": a_letter(*FULL, f"From: {OTHER}"),
    "two From, the other way round": a_letter(*FULL, f"From: {OURS}", author=OTHER),
    "two authors in one From": a_letter(*FULL, author=f"{OURS}, {OTHER}"),
    "a From in another From's fold": a_letter(*FULL, author=f"{OURS}\r\n , {OTHER}"),
    "an encoded address": a_letter(*FULL, author="=?utf-8?q?support=40post.example?="),
    "a stray bracket": a_letter(*FULL, author=f"{OURS}){OTHER}"),
    "a source route": a_letter(*FULL, author=f"<@far.example:{OTHER}>"),
    "an empty group": a_letter(*FULL, author=f"{OURS}: {OTHER};"),
    "two Sender": a_letter(*FULL, f"Sender: {OURS}", f"Sender: {OTHER}"),
}


@pytest.fixture
async def counter(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Counter]:
    hurry(monkeypatch)
    async with a_house() as house:
        made = Counter(house)
        await made.furnish()
        yield made


@pytest.mark.parametrize(("author", "fields", "sender", "user"), SPOOFS.values(), ids=SPOOFS)
async def test_r17_another_touchpoint_is_refused_and_written_down(
    counter: Counter, author: str, fields: tuple[str, ...], sender: str, user: str
) -> None:
    for _ in range(3):
        code, words = await counter.says(a_letter(*FULL, *fields, author=author), sender=sender, user=user)
        assert (code, words.split(" ")[0]) == (550, "5.7.1"), words
    assert await counter.stored() == []
    rows = await counter.house.rows("SELECT actor, role, verb, subject FROM audit WHERE verb LIKE 'relay.refuse'")
    assert [(row["actor"], row["role"]) for row in rows] == [(user, "relay")], "one row, however often it is tried"


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
async def test_r17_what_two_readers_could_read_in_two_ways_is_refused(counter: Counter, data: bytes) -> None:
    assert (await counter.says(data))[0] == 550
    assert await counter.stored() == []


async def test_r17_a_program_gone_wild_does_not_fill_the_audit(counter: Counter) -> None:
    for number in range(MOST_NOTED + 20):
        await counter.says(a_letter(*FULL, author=f"u{number}@far.example"))
    assert await counter.house.values("SELECT count(*) FROM audit WHERE verb = 'relay.refuse'") == [MOST_NOTED]
    counter.house.clock.now += 3600
    await counter.says(a_letter(*FULL, author=OTHER))
    assert await counter.house.values("SELECT count(*) FROM audit WHERE verb = 'relay.refuse'") == [MOST_NOTED + 1]
