"""The wheel: built, installed into an environment of its own, and made to do the main job from there.

The libraries come from the environment that runs the tests, by a path file; the code under test comes from the wheel
alone, so a module or data file that the wheel forgets is missed here.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("conf", "gateway", "pipeline", "stages", "tui")
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def run(*command: str | Path, cwd: Path, timeout: float = 180) -> subprocess.CompletedProcess[str]:
    """Run a command with an empty environment and no terminal; its whole output is kept."""
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={"PATH": os.defpath, "LC_ALL": "C.UTF-8", "PIP_CONFIG_FILE": os.devnull},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built by hatchling without a network."""
    target = tmp_path_factory.mktemp("wheel")
    built = run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", target, cwd=ROOT)
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = target.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of commands of a fresh environment that has the wheel, and the libraries of this one."""
    home = tmp_path_factory.mktemp("installed")
    venv.create(home, with_pip=False, symlinks=True)
    python = home / "bin" / "python"
    pip = run(
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        wheel,
        cwd=home,
    )
    assert pip.returncode == 0, pip.stdout + pip.stderr
    (site,) = home.glob("lib/python*/site-packages")
    # A plain path, not a site folder: the path files in it, an editable Postroom's too, are not followed.
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return home / "bin"


def test_the_wheel_holds_every_module_and_data_file(wheel: Path) -> None:
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    there = {
        path.relative_to(ROOT).as_posix()
        for top in PACKAGES
        for path in (ROOT / top).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc"
    }
    assert packed == there


def test_the_wheel_says_what_it_is(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (name,) = [each for each in archive.namelist() if each.endswith(".dist-info/METADATA")]
    metadata = archive.read(name).decode()
    assert "\nName: postroom\n" in metadata
    assert "\nLicense-Expression: GPL-3.0-or-later\n" in metadata
    assert any(each.endswith("/licenses/LICENSE") for each in archive.namelist())
    version = re.search(r'__version__ = "([^"]+)"', (ROOT / "gateway" / "__init__.py").read_text(encoding="utf-8"))
    assert version and f"\nVersion: {version[1]}\n" in metadata


def test_all_code_comes_from_the_wheel(installed: Path) -> None:
    code = f"import {', '.join(PACKAGES)}; print(*(m.__file__ for m in ({', '.join(PACKAGES)})), sep='\\n')"
    answer = run(installed / "python", "-c", code, cwd=installed)
    assert answer.returncode == 0, answer.stderr
    assert all(Path(line).is_relative_to(installed.parent) for line in answer.stdout.splitlines()), answer.stdout


def test_the_installed_command_explains_itself(installed: Path) -> None:
    answer = run(installed / "postroom", "--help", cwd=installed)
    assert answer.returncode == 0, answer.stderr
    assert "demo" in answer.stdout and "run" in answer.stdout
    assert answer.stderr == ""


def test_the_installed_demo_loses_nothing(installed: Path, tmp_path: Path) -> None:
    answer = run(installed / "postroom", "demo", "--json", cwd=tmp_path)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    account = json.loads(answer.stdout)
    assert account["lost"] == 0
    assert (account["taken"], account["accepted"]) == (60, 10)
    assert list(tmp_path.iterdir()) == [], "the demo leaves nothing behind where it is called"


def test_no_library_is_declared_without_being_imported() -> None:
    declared = {
        re.split(r"[<>=\[;]", line)[0].replace("-", "_").lower() for line in PYPROJECT["project"]["dependencies"]
    }
    names = {"argon2_cffi": "argon2"}
    source = "\n".join(path.read_text(encoding="utf-8") for top in PACKAGES for path in (ROOT / top).rglob("*.py"))
    idle = [name for name in declared if not re.search(rf"^\s*(?:from|import) {names.get(name, name)}\b", source, re.M)]
    assert idle == []
