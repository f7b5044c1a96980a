"""The life of a connection: what can happen, what cannot, and what people see of two halves."""

from __future__ import annotations

import inspect
from itertools import product
from typing import TypeAlias

import pytest
from hypothesis import given, strategies as st

from pipeline import errors
from pipeline.lifecycle import CONNECTION, ConnectionEvent, ConnectionState, after, event_of, joint, moves

S: TypeAlias = ConnectionState
E: TypeAlias = ConnectionEvent
states = st.sampled_from(list(S))


def test_the_way_up_and_down() -> None:
    state: S = S.NEW
    for event, expected in (
        (E.CONNECT, S.CONNECTING),
        (E.SIGNED_IN, S.CONNECTED),
        (E.TROUBLE, S.BACKOFF),
        (E.TROUBLE, S.BACKOFF),
        (E.CONNECT, S.CONNECTING),
        (E.PERSON_NEEDED, S.LOST),
        (E.CONNECT, S.CONNECTING),
        (E.SIGNED_IN, S.CONNECTED),
        (E.FORGOTTEN, S.NEW),
    ):
        state = after(state, event)
        assert state is expected


@pytest.mark.parametrize(("state", "event"), list(product(S, E)))
def test_the_table_is_all_that_can_happen(state: S, event: E) -> None:
    if event in CONNECTION[state]:
        assert after(state, event) is CONNECTION[state][event]
    else:
        with pytest.raises(ValueError, match=f"{state} cannot see {event}"):
            after(state, event)


def test_a_lost_connection_waits_for_a_person() -> None:
    assert set(CONNECTION[S.LOST]) == {E.CONNECT, E.FORGOTTEN}


@given(st.lists(states, max_size=4))
def test_people_see_the_worst_half(halves: list[S]) -> None:
    seen = joint(halves)
    assert seen in (halves or [S.NEW])
    assert joint(reversed(halves)) is seen
    if S.LOST in halves:
        assert seen == S.LOST
    elif S.BACKOFF in halves:
        assert seen == S.BACKOFF
    assert (seen == S.CONNECTED) == (set(halves) == {S.CONNECTED})


@pytest.mark.parametrize(("state", "active"), list(product(S, (False, True))))
def test_mail_moves_when_connected_and_active(state: S, active: bool) -> None:
    assert moves(state, active) == (active and state is S.CONNECTED)


ERRORS = [found for _, found in inspect.getmembers(errors, inspect.isclass) if issubclass(found, errors.PostroomError)]


@pytest.mark.parametrize("kind", ERRORS)
def test_unknown_means_transient(kind: type[errors.PostroomError]) -> None:
    expected = E.PERSON_NEEDED if issubclass(kind, errors.NeedsPerson) else E.TROUBLE
    assert event_of(kind("why")) is expected
