"""ARCHITECTURE.md stays one page, and true: what it names exists, and no package is left out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("pipeline", "stages", "gateway", "tui", "conf")
PAGE = 160
"""Lines that still count as one page with two pictures, a glossary and a table."""
_FILE = re.compile(r"(?<![\w./*-])(?:[\w.-]+/)*[\w-]+\.(?:py|toml|md|sql|service|socket)\b")
_FOLDER = re.compile(r"(?<![\w./*-])(?:[\w.-]+/)+(?=[\s`|,;:.)]|$)")


def absent(text: str) -> list[str]:
    """The files and folders that a text names and the tree lacks; a bare name may stand in any package."""
    here = {path.name for top in PACKAGES for path in (ROOT / top).rglob("*")} | {path.name for path in ROOT.iterdir()}
    names = _FILE.findall(text) + _FOLDER.findall(text)
    return sorted({name for name in names if not (ROOT / name).exists() and name.rstrip("/") not in here})


def unnamed(text: str) -> list[str]:
    """The packages that a text does not name by their path."""
    folders = {
        init.parent.relative_to(ROOT).as_posix() for top in PACKAGES for init in (ROOT / top).rglob("__init__.py")
    }
    return sorted(folder for folder in folders if not re.search(rf"(?<![\w/]){re.escape(folder)}(?![\w-])", text))


@pytest.fixture(scope="module")
def page() -> str:
    """The page itself."""
    return (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")


def test_every_file_it_names_exists(page: str) -> None:
    assert _FILE.findall(page), "a page that names no file explains nothing"
    assert absent(page) == []


def test_every_package_is_named(page: str) -> None:
    assert unnamed(page) == []


def test_it_is_one_page(page: str) -> None:
    assert len(page.splitlines()) <= PAGE


def test_the_check_sees_what_is_not_there() -> None:
    text = "`pipeline/mail.py` and mail.py, then gateway/nowhere.py, `never.py`, `pipeline/store/` and gateway/gone/."
    assert absent(text) == ["gateway/gone/", "gateway/nowhere.py", "never.py"]
    assert absent("see `gateway/lost/` or stages/, conf/") == ["gateway/lost/"]
    assert "pipeline/store" in unnamed("pipeline and stages") and "pipeline" not in unnamed("pipeline and stages")
