"""The notify protocol against a real datagram socket, and inherited sockets by their numbers."""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.systemd import Notifier, inherited_sockets
from pipeline.errors import Refused


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A service manager's ear, and what NOTIFY_SOCKET says about it."""
    name = str(tmp_path / "notify") if request.param == "path" else "@postroom-" + secrets.token_hex(8)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(name.replace("@", "\0", 1) if request.param == "abstract" else name)
        ear.settimeout(5)
        yield ear, name


def test_each_word_arrives_as_one_datagram(manager: tuple[socket.socket, str]) -> None:
    ear, name = manager
    environ = {"NOTIFY_SOCKET": name}
    notifier = Notifier(environ)
    assert environ == {}, "a child must not speak in our name"
    said = [
        (notifier.ready("1 touchpoint"), b"READY=1\nSTATUS=1 touchpoint"),
        (notifier.ready(), b"READY=1"),
        (notifier.status("12 touchpoints, 1 lost"), b"STATUS=12 touchpoints, 1 lost"),
        (notifier.watchdog(), b"WATCHDOG=1"),
        (notifier.stopping(), b"STOPPING=1"),
        (notifier.extend(1.5), b"EXTEND_TIMEOUT_USEC=1500000"),
    ]
    for sent, expected in said:
        assert sent
        assert ear.recv(4096) == expected


def test_reloading_names_the_moment(manager: tuple[socket.socket, str]) -> None:
    ear, name = manager
    before = time.monotonic_ns() // 1000
    assert Notifier({"NOTIFY_SOCKET": name}).reloading()
    first, second = ear.recv(4096).decode().split("\n")
    assert first == "RELOADING=1"
    key, _, value = second.partition("=")
    assert key == "MONOTONIC_USEC"
    assert before <= int(value) <= time.monotonic_ns() // 1000


def test_a_status_cannot_smuggle_a_field(manager: tuple[socket.socket, str]) -> None:
    ear, name = manager
    assert Notifier({"NOTIFY_SOCKET": name}).status("lost: 535\nMAINPID=1\r\x1b[2J" + "x" * 10_000)
    datagram = ear.recv(65536)
    assert datagram.startswith(b"STATUS=lost: 535 MAINPID=1")
    assert b"\n" not in datagram and b"\x1b" not in datagram
    assert len(datagram) < 1000


@pytest.mark.parametrize("name", ["", "relative/path", "/nowhere/at/all", "vsock:2:1234"])
def test_without_a_listening_manager_nothing_happens(name: str) -> None:
    assert not Notifier({"NOTIFY_SOCKET": name}).ready("up")
    assert not Notifier({}).watchdog()


def test_a_full_manager_does_not_hold_the_loop_up(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(str(tmp_path / "notify"))
        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")})
        answers = [notifier.status("x" * 300) for _ in range(5_000)]
    assert answers[0] and not answers[-1], "the queue must have been full, or this test shows nothing"


@pytest.mark.parametrize(
    ("usec", "pid", "seconds"),
    [
        ("30000000", "", 30.0),
        ("30000000", "own", 30.0),
        ("30000000", "1", None),
        ("0", "own", None),
        ("", "", None),
        ("soon", "own", None),
        ("-5", "own", None),
    ],
)
def test_the_watchdog_is_for_this_process(usec: str, pid: str, seconds: float | None) -> None:
    environ = {"WATCHDOG_USEC": usec, "WATCHDOG_PID": str(os.getpid()) if pid == "own" else pid}
    assert Notifier(environ).watchdog_seconds == seconds
    assert environ == {}


FIRST = 200
"""Stands for descriptor 3, which a test process needs for itself."""


@pytest.fixture
def descriptors() -> Iterator[list[int]]:
    """Numbers to close at the end, whoever owned them."""
    numbers: list[int] = []
    yield numbers
    for number in numbers:
        try:
            os.close(number)
        except OSError:
            continue


def _hand_over(source: socket.socket, number: int, descriptors: list[int]) -> None:
    os.dup2(source.fileno(), number)
    descriptors.append(number)


def _environ(count: int, names: str, pid: int | None = None) -> dict[str, str]:
    return {"LISTEN_PID": str(pid or os.getpid()), "LISTEN_FDS": str(count), "LISTEN_FDNAMES": names}


def test_sockets_come_by_name_and_take_connections(descriptors: list[int]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        ports = [one.getsockname()[1], two.getsockname()[1]]
        for offset, source in enumerate((one, two, one)):
            _hand_over(source, FIRST + offset, descriptors)
    environ = _environ(3, "submission:submissions:submission")
    found = inherited_sockets(environ, FIRST)
    assert environ == {}
    assert {name: len(sockets) for name, sockets in found.items()} == {"submission": 2, "submissions": 1}
    assert [found[name][0].getsockname()[1] for name in ("submission", "submissions")] == ports
    assert not any(os.get_inheritable(each.fileno()) for group in found.values() for each in group)
    with socket.create_connection(("127.0.0.1", ports[1])):
        found["submissions"][0].setblocking(True)
        found["submissions"][0].accept()[0].close()
    for group in found.values():
        for each in group:
            each.close()


def test_unnamed_sockets_are_called_unknown(descriptors: list[int]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as one:
        _hand_over(one, FIRST, descriptors)
    (name, [listener]) = next(iter(inherited_sockets(_environ(1, ""), FIRST).items()))
    listener.close()
    assert name == "unknown"


@pytest.mark.parametrize(
    "environ",
    [{}, {"LISTEN_FDS": "1"}, _environ(1, "relay", pid=1), _environ(0, ""), {**_environ(1, ""), "LISTEN_FDS": "many"}],
)
def test_what_is_not_for_us_is_left_alone(environ: dict[str, str]) -> None:
    assert inherited_sockets(environ, FIRST) == {}
    assert environ == {}


def test_what_is_no_listening_stream_is_refused_by_name(descriptors: list[int], tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams, socket.socket() as deaf:
        _hand_over(datagrams, FIRST, descriptors)
        _hand_over(deaf, FIRST + 1, descriptors)
    descriptors.append(FIRST + 2)
    with open(tmp_path / "file", "wb") as file:
        os.dup2(file.fileno(), FIRST + 2)
    for number in (FIRST, FIRST + 1, FIRST + 2, FIRST + 3):
        with pytest.raises(Refused, match=rf"descriptor {number} \(relay\)"):
            inherited_sockets(_environ(1, "relay"), number)
