"""Each scenario that has to be proved has a test, or a family of faults, that carries its number."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
NUMBERS = {*range(1, 5), *range(6, 16), *range(17, 21), 23, 24, *range(28, 35), 36, 37}
_TEST = re.compile(r"^(?:async )?def test_r(\d\d)_", re.MULTILINE)
_PRINTED = re.compile(r"""["']R(\d{1,2})\b""")


def test_every_scenario_has_a_test_or_a_family_with_its_number() -> None:
    tested: set[int] = set()
    for file in (TESTS / "scenarios").glob("test_r*.py"):
        number, text = int(file.name[6:8]), file.read_text("utf-8")
        assert {int(other) for other in _TEST.findall(text)} <= {number}, f"{file.name} tests another number too"
        if "def test_" in text:
            tested.add(number)
    printed = {
        int(number) for file in (TESTS / "faults").glob("f*.py") for number in _PRINTED.findall(file.read_text("utf-8"))
    }
    assert sorted(NUMBERS - tested - printed) == []
