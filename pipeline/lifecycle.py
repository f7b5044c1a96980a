"""The life of a touchpoint: two tables and one joint rule.

    connection     NEW --connect--> CONNECTING --signed in--> CONNECTED
                   CONNECTING, CONNECTED --trouble that heals--> BACKOFF --try again--> CONNECTING
                   CONNECTING, CONNECTED --needs a person------> LOST ----reconnect---> CONNECTING
    activation     INACTIVE --activate--> ACTIVE --deactivate--> INACTIVE

A connector has two halves, receiving and sending, each with a connection of its own, so that a broken submission
server does not stop mail from coming in. People see one state: the worse of the two (``joint``).

Mail moves only when CONNECTED and ACTIVE (``moves``).
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from pipeline.errors import NeedsPerson, PostroomError


class ConnectionState(StrEnum):
    """Where a connection stands."""

    NEW = "new"
    """Never connected: nobody gave it credentials that work."""
    CONNECTING = "connecting"
    CONNECTED = "connected"
    BACKOFF = "backoff"
    """Broken in a way that heals by itself."""
    LOST = "lost"
    """Broken until a person acts."""


class ConnectionEvent(StrEnum):
    """What can happen to a connection."""

    CONNECT = "connect"
    """Somebody or some timer starts it."""
    SIGNED_IN = "signed-in"
    TROUBLE = "trouble"
    PERSON_NEEDED = "person-needed"
    FORGOTTEN = "forgotten"
    """The credentials were taken away."""


_S, _E = ConnectionState, ConnectionEvent
CONNECTION: dict[ConnectionState, dict[ConnectionEvent, ConnectionState]] = {
    _S.NEW: {_E.CONNECT: _S.CONNECTING},
    _S.CONNECTING: {_E.SIGNED_IN: _S.CONNECTED, _E.TROUBLE: _S.BACKOFF, _E.PERSON_NEEDED: _S.LOST,
                    _E.FORGOTTEN: _S.NEW},
    _S.CONNECTED: {_E.CONNECT: _S.CONNECTING, _E.TROUBLE: _S.BACKOFF, _E.PERSON_NEEDED: _S.LOST, _E.FORGOTTEN: _S.NEW},
    _S.BACKOFF: {_E.CONNECT: _S.CONNECTING, _E.SIGNED_IN: _S.CONNECTED, _E.TROUBLE: _S.BACKOFF,
                 _E.PERSON_NEEDED: _S.LOST, _E.FORGOTTEN: _S.NEW},
    _S.LOST: {_E.CONNECT: _S.CONNECTING, _E.FORGOTTEN: _S.NEW},
}  # fmt: skip

_WORST_FIRST = (_S.LOST, _S.BACKOFF, _S.CONNECTING, _S.NEW, _S.CONNECTED)


def after(state: ConnectionState, event: ConnectionEvent) -> ConnectionState:
    """The next state; raises ValueError for what cannot happen."""
    try:
        return CONNECTION[state][event]
    except KeyError:
        raise ValueError(f"a connection that is {state} cannot see {event}") from None


def joint(halves: Iterable[ConnectionState]) -> ConnectionState:
    """The one state that people see: the worst of a connector's halves; NEW where there is none."""
    states = set(halves)
    return next((state for state in _WORST_FIRST if state in states), _S.NEW)


def moves(state: ConnectionState, active: bool) -> bool:
    """Whether mail moves; where it does not, outbound mail is parked."""
    return active and state is ConnectionState.CONNECTED


def event_of(error: PostroomError) -> ConnectionEvent:
    """Permanent or transient? Unknown means transient."""
    return ConnectionEvent.PERSON_NEEDED if isinstance(error, NeedsPerson) else ConnectionEvent.TROUBLE
