"""The proof on the screen: asked for by a key, told as it goes on, and shown in words that are safe."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from gateway import control as c
from tests.tui.canned import served, short
from tests.tui.house import PROOF, a_house
from tests.tui.screen import Clock, terminal
from tui.views.proof import report


async def test_a_proof_is_shown_as_a_text_to_read(tmp_path: Path) -> None:
    canned = a_house()
    async with (
        served(canned, short(tmp_path)) as path,
        terminal(path, size=(100, 30), now=Clock(), mouse=False) as at,
    ):
        await at.quiet()
        await at.send("P")
        await at.shows("proof of everything")
        text = at.text()
        for words in ("1 missing", "1 of 6 touchpoints could not be asked.", "22,190  delivered", "not yet taken",
                      "not proven: press@acme.example: credential:", "INBOX uid 4711, mail 899"):  # fmt: skip
            assert words in text, text
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert canned.asked(c.ShowProving)
        await at.send("escape", "2", "P")
        await at.shows("proof of press@acme.example")


def test_where_all_is_well_the_first_line_says_so() -> None:
    proof = replace(PROOF, missing=0, unproven=0, found=(), touchpoints=(), inward={"queued": 7, "missing": 0})
    assert report(proof)[:5] == ["Nothing is missing.", "", "In 7", "           7  queued", "           0  missing"]


def test_of_many_the_rest_is_counted() -> None:
    assert report(replace(PROOF, missing=130))[-1] == "and 129 more"
    assert "Of 2 failed mails no notice tells." in report(replace(PROOF, untold=2))
