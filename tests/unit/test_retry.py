"""How long to wait: within the bounds that are promised, spread by chance, and given up by plan."""

from __future__ import annotations

from hypothesis import given, strategies as st

from pipeline.retry import BACKOFF_LONGEST, PENDING_LONGEST, Schedule, backoff, pending_delay

chances = st.floats(0, 1, exclude_max=True)
counts = st.integers(1, 10_000)


@given(counts, chances)
def test_a_mail_waits_five_minutes_to_4000_seconds(attempts: int, chance: float) -> None:
    assert 300.0 <= Schedule().delay(attempts, chance) <= 4000.0 * 1.25


@given(counts, chances)
def test_waits_grow(attempts: int, chance: float) -> None:
    assert Schedule().delay(attempts, chance) <= Schedule().delay(attempts + 1, chance)


@given(st.integers(2, 10_000))
def test_chance_spreads_even_the_longest_waits(attempts: int) -> None:
    """A thousand mails that one server deferred do not all come back in one second."""
    waits = {round(Schedule().delay(attempts, n / 100)) for n in range(100)}
    assert len(waits) > 50


def test_the_middle_of_chance_is_the_plain_doubling() -> None:
    assert [Schedule().delay(n, 0.5) for n in range(1, 7)] == [300.0, 600.0, 1200.0, 2400.0, 4000.0, 4000.0]


def test_a_mail_is_given_up_after_five_days_of_planned_waits() -> None:
    schedule, planned, attempts = Schedule(), 0.0, 0
    while not schedule.exhausted(planned):
        attempts += 1
        planned += schedule.delay(attempts, 0.5)
    assert 5 * 86400.0 <= planned < 5 * 86400.0 + 4000.0


def test_a_schedule_can_be_set() -> None:
    schedule = Schedule(first=1.0, longest=2.0, give_up=3.0)
    assert [schedule.delay(n, 0.5) for n in (1, 2, 3)] == [1.0, 2.0, 2.0]
    assert [schedule.exhausted(planned) for planned in (0.0, 2.9, 3.0)] == [False, False, True]


@given(counts, chances)
def test_a_connection_waits_a_second_to_five_minutes(failures: int, chance: float) -> None:
    assert 0.75 <= backoff(failures, chance) <= BACKOFF_LONGEST * 1.25
    assert backoff(failures, chance) <= backoff(failures + 1, chance)


@given(counts, chances)
def test_a_pending_item_waits_a_minute_to_six_hours(attempts: int, chance: float) -> None:
    assert 45.0 <= pending_delay(attempts, chance) <= PENDING_LONGEST * 1.25
    assert pending_delay(attempts, chance) <= pending_delay(attempts + 1, chance)
