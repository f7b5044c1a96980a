"""Who may connect and try to sign in, and how often."""

from __future__ import annotations

import pytest

from gateway.smtp_guard import SignIns, client_of


def fails(guard: SignIns, client: str, name: str, now: float) -> bool:
    """Try with a wrong password; whether it was looked at."""
    ticket = guard.begin(client, name, now)
    if ticket:
        guard.end(ticket, now, good=False)
    return bool(ticket)


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2"),
        ("2001:db8:1:2::6", "2001:db8:1:2"),
        ("2001:db8::6", "2001:db8:0:0"),
        ("::1", "0:0:0:0"),
        ("", ""),
    ],
)
def test_a_client_is_an_address_or_a_64(address: str, client: str) -> None:
    assert client_of(address) == client


def test_ten_failures_a_minute_from_one_client() -> None:
    guard = SignIns()
    assert [fails(guard, "c", f"n{i}", i) for i in range(12)] == [True] * 10 + [False] * 2
    assert fails(guard, "d", "other", 12), "another client is not concerned"


def test_five_failures_a_minute_for_one_name_whoever_tries() -> None:
    guard = SignIns()
    assert [fails(guard, f"c{i}", "crm", i) for i in range(7)] == [True] * 5 + [False] * 2
    assert fails(guard, "c9", "other", 8)


def test_failures_far_apart_do_not_add_up() -> None:
    guard = SignIns()
    assert all(fails(guard, "c", "crm", i * 61.0) for i in range(50))


def test_lock_outs_double_up_to_fifteen_minutes_and_are_forgotten() -> None:
    guard, now, lengths = SignIns(), 0.0, []
    for _ in range(7):
        while fails(guard, "c", f"n{now}", now):
            now += 0.01
        begin = now
        while not guard.begin("c", "probe", now):
            now += 1.0
        lengths.append(round(now - begin, -1))
        guard.end((("client", "c"), ("name", "probe")), now, good=None)
    assert lengths == [60, 120, 240, 480, 900, 900, 900]
    now += 5000
    while fails(guard, "c", f"m{now}", now):
        now += 0.01
    assert guard.begin("c", "probe", now + 61)


def test_many_at_once_do_not_slip_through() -> None:
    guard = SignIns()
    tickets = [guard.begin("c", "crm", 0.0) for _ in range(100)]
    assert sum(map(bool, tickets)) == 5
    for ticket in tickets:
        guard.end(ticket, 0.0, good=False)
    assert not guard.begin("c", "crm", 1.0)


def test_ten_thousand_tries_from_five_addresses() -> None:
    guard = SignIns()
    seen = sum(fails(guard, f"c{i % 5}", f"name{i}", i / 1000) for i in range(10_000))
    assert seen <= 50


def test_a_client_that_knows_the_password_is_not_locked_out_by_others() -> None:
    guard = SignIns()
    guard.remember("own", "crm")
    for i in range(10):
        fails(guard, f"c{i}", "crm", i)
    assert not guard.begin("new", "crm", 10)
    assert guard.begin("own", "crm", 10)


def test_success_costs_nothing() -> None:
    guard = SignIns()
    for i in range(100):
        ticket = guard.begin("c", "crm", i / 100)
        assert ticket
        guard.end(ticket, i / 100, good=True)


def test_the_tables_are_bounded() -> None:
    guard = SignIns(entries=100)
    for i in range(1000):
        fails(guard, f"c{i}", f"n{i}", 0.0)
        guard.remember(f"c{i}", f"n{i}")
    assert len(guard._tries) <= 100
    assert len(guard._known) <= 100
