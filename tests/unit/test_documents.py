"""The commands that README.md and docs/operations.md show are commands that there are."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway import cli
from gateway.cli.base import Stop

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r"^```\n(.*?)^```", re.M | re.S)


def shown() -> Iterator[str]:
    """Every line of a code block that calls postroom."""
    for name in ("README.md", "docs/operations.md", "docs/tui.md"):
        for block in _BLOCK.findall((ROOT / name).read_text(encoding="utf-8")):
            for line in block.replace("\\\n", " ").splitlines():
                if line.startswith("postroom "):
                    yield line


@pytest.mark.parametrize("line", sorted(set(shown())))
def test_a_command_in_the_documents_is_understood(line: str) -> None:
    args = [each for each in shlex.split(line, comments=True)[1:] if each != "&"]
    try:
        cli._parser(args).parse_args(args)
    except SystemExit as end:
        assert end.code == 0, "only --help may end it"
    except Stop as stop:
        pytest.fail(str(stop), pytrace=False)


def test_there_are_commands_to_check() -> None:
    assert len(set(shown())) > 15


def test_the_screens_in_the_readme_are_those_of_the_journey() -> None:
    shown = re.findall(r"^```text\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S)
    taken = {path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "tui").glob("*.txt")}
    assert len(shown) >= 2
    assert set(shown) <= taken
