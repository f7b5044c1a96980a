"""The question about a folder with new numbers: who is told of it, who may answer, and what the answer leaves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.control import GetStatus, ListAudit, ResumeTouchpoint, Role, ShowTouchpoint
from gateway.rows import NeedRow, ResumeRow
from pipeline import resume, touchpoints
from pipeline.errors import Refused
from pipeline.resume import Found, Renumbered
from pipeline.touchpoint import ResumeChoice
from tests.unit.desking import Office, an_office, caller
from tests.unit.making import NOW, OURS

OPS = caller(Role.OPS)
FOUND = Found(known=3, left=2, unseen=400, old=390, high=405)


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    async with an_office(tmp_path) as made:
        for folder in ("INBOX", "Junk"):
            at = Renumbered(1, folder, 12)
            await made.room.store.write(lambda tx, at=at: resume.ask(tx, at, FOUND, NOW - 60))  # type: ignore[misc]
        yield made


async def needs(office: Office) -> list[NeedRow]:
    return [row for row in (await office.desk.answer(GetStatus(), OPS)).needs_you if row.kind == "resume"]


async def resumes(office: Office) -> dict[str, ResumeRow]:
    detail = await office.desk.answer(ShowTouchpoint(touchpoint=OURS), OPS)
    return {row.folder: row for row in detail.resumes}


async def test_a_person_is_told_and_shown_what_it_is_about(office: Office) -> None:
    first, second = await needs(office)
    assert first == NeedRow(
        kind="resume",
        touchpoint=OURS,
        count=400,
        since=NOW - 60,
        words="INBOX was renumbered: take 400 unseen mails, 390 of them old?",
        command=f"postroom touchpoint resume {OURS}",
    )
    assert second.words.startswith("Junk ")
    (row,) = [row for row in (await office.desk.answer(GetStatus(), OPS)).touchpoints if row.address == OURS]
    assert row.asks == 2
    assert (await resumes(office))["INBOX"] == ResumeRow(
        folder="INBOX", known=3, left_alone=2, unseen=400, old=390, asked_at=NOW - 60, resumed_at=0.0, choice="",
        chosen_by="",
    )  # fmt: skip


@pytest.mark.parametrize(("folder", "left"), [("INBOX", 1), ("", 0)])
async def test_an_answer_is_kept_with_who_gave_it(office: Office, folder: str, left: int) -> None:
    row = await office.desk.answer(ResumeTouchpoint(touchpoint=OURS, choice=ResumeChoice.LEAVE, folder=folder), OPS)
    assert row.asks == left
    assert len(await needs(office)) == left
    assert ((await resumes(office))["INBOX"].choice, (await resumes(office))["INBOX"].chosen_by) == (
        "leave",
        "somebody",
    )
    (audit,) = (await office.desk.answer(ListAudit(text="touchpoint.resume"), OPS)).rows
    assert (audit.actor, audit.subject) == ("somebody", OURS)
    with pytest.raises(Refused):
        await office.desk.answer(ResumeTouchpoint(touchpoint=OURS, choice=ResumeChoice.TAKE, folder="INBOX"), OPS)


async def test_nobody_is_asked_about_a_touchpoint_that_is_deleted(office: Office) -> None:
    await office.room.store.write(lambda tx: touchpoints.deactivate(tx, 1))
    await office.room.store.write(lambda tx: touchpoints.delete(tx, 1, NOW, leave_remote=True))
    await office.house.directory_changed(1)
    assert await needs(office) == []
