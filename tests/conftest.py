"""What all tests share: the real servers, free ports, and how hypothesis searches.

A test that asks for the ``dovecot`` or ``postfix`` fixture gets one real server per test process. Where the server is
not installed the test is left out by name, with the apt line that brings it, and the summary says so once; with
``POSTROOM_REQUIRE_SERVERS=1`` it fails instead. Every server is gone when the tests are over.
"""

from __future__ import annotations

import importlib
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from tests.servers.dovecot import Dovecot
    from tests.servers.postfix import Postfix
    from tests.servers.tmux import Tmux

SERVERS = ("dovecot", "postfix", "tmux")
"""Fixtures, and the modules of ``tests/servers`` behind them."""
LONG = frozenset(
    f"test_{name}.py"
    for name in (
        "03_kill", "04_outage", "06_terminal", "hostile", "screens", "terminal",
        "r04_power_cut", "r14_disk_full", "r15_fsync_eio", "r33_damaged_store",
    )
)  # fmt: skip
"""Files of tests that take seconds each."""

# The same examples each time, so that a red run is red again; POSTROOM_SEARCH=1 looks further.
settings.register_profile(
    "same",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("search", deadline=None, max_examples=2_000, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("search" if os.environ.get("POSTROOM_SEARCH") == "1" else "same")


def required() -> bool:
    """Whether a missing real server is a failure."""
    return os.environ.get("POSTROOM_REQUIRE_SERVERS") == "1"


def missing(name: str) -> str | None:
    """The sentence that says what a real server lacks here, the apt line included; None when nothing."""
    verdict: str | None = importlib.import_module(f"tests.servers.{name}").missing()
    return verdict


def demand(name: str) -> None:
    """Leave the test out, or fail it, when this real server is missing."""
    if (sentence := missing(name)) is None:
        return
    if required():
        pytest.fail(sentence, pytrace=False)
    pytest.skip(sentence)


@pytest.fixture(scope="session")
def server_directory() -> Iterator[Callable[[str], Path]]:
    """Makes throw-away folders that servers under another user can reach, with short names for their sockets."""
    made: list[str] = []

    def make(name: str) -> Path:
        made.append(tempfile.mkdtemp(prefix=f"postroom-{name}-"))
        os.chmod(made[-1], 0o755)
        return Path(made[-1])

    yield make
    for directory in made:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def dovecot(server_directory: Callable[[str], Path]) -> Iterator[Dovecot]:
    """A real Dovecot on loopback, shared by all tests of this process: use a mailbox of your own."""
    demand("dovecot")
    from tests.servers.dovecot import Dovecot

    with Dovecot(server_directory("dovecot")) as server:
        yield server


@pytest.fixture(scope="session")
def postfix(dovecot: Dovecot, server_directory: Callable[[str], Path]) -> Iterator[Postfix]:
    """A real Postfix on loopback, shared by all tests of this process: use addresses of your own.

    It asks the ``dovecot`` fixture for passwords (``dovecot.add_user``).
    """
    demand("postfix")
    from tests.servers.postfix import Postfix

    with Postfix(server_directory("postfix"), auth_client_path=dovecot.auth_client_path) as server:
        yield server


@pytest.fixture
def tmux(server_directory: Callable[[str], Path]) -> Iterator[Tmux]:
    """A real terminal of 80x24, with nothing started in it."""
    demand("tmux")
    from tests.servers.tmux import Tmux

    with Tmux(server_directory("tmux")) as terminal:
        yield terminal


@pytest.fixture
def free_port() -> int:
    """A TCP port on loopback that nothing listens on now; bind to port 0 instead wherever you can."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--accept``: take screens and generated pages as they are now."""
    parser.addoption("--accept", action="store_true", help="write golden screens and generated pages anew")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that use a real server, so that ``-m 'not dovecot'`` leaves them out; spread the long ones.

    Each test process begins with a share of the list in a row, so the stories would all be told by the same one.
    """
    for item in items:
        for name in SERVERS:
            if name in getattr(item, "fixturenames", ()):
                item.add_marker(name)
    stories = [item for item in items if item.path.name in LONG]
    if stories and len(items) > 10 * len(stories):
        rest = [item for item in items if item.path.name not in LONG]
        step = len(rest) // len(stories)
        for number, item in enumerate(stories):
            rest.insert(number * (step + 1), item)
        items[:] = rest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the real servers that are missing, once, at the end."""
    sentences = [sentence for name in SERVERS if (sentence := missing(name)) is not None]
    if sentences:
        terminalreporter.section("real servers that are missing here", sep="-", yellow=True)
        for sentence in sentences:
            terminalreporter.write_line(sentence)
