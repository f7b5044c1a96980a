"""The picture of the house: what a snapshot replaces, what events change, and what it never forgets to ask."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.control import Batch, Event, Snapshot, Status
from tests.tui.canned import ACCOUNT, mail, need, status, touchpoint
from tui.picture import FEED, Picture


def snapshot(made: Status) -> Snapshot:
    """What ``Watch`` answers."""
    return Snapshot(status=made, **{name: "boot" if name == "boot" else 1 for name in ("boot", "number")})


def batch(*events: Event, **more: Any) -> Batch:
    """What happened."""
    values: dict[str, Any] = {"left_out": 0, "gap": False, "account": None, "needs_you": None}
    return Batch(boot="boot", number=2, events=events, **(values | more))


def told(*rows: Any, **more: Any) -> Picture:
    """A picture of a house with these touchpoints."""
    picture = Picture()
    picture.take(snapshot(status(rows, **more)), 5.0)
    return picture


def test_a_snapshot_is_the_house() -> None:
    picture = told(touchpoint(1), touchpoint(2), needs_you=(need(),))
    assert picture.told_at == 5.0
    assert picture.hostname == "gw01.post.example"
    assert list(picture.touchpoints) == [1, 2]
    assert picture.needs == (need(),)
    assert picture.whole
    assert picture.difference() == 0


def test_a_second_snapshot_takes_the_place_of_the_first() -> None:
    picture = told(touchpoint(1), touchpoint(2, name="old"))
    picture.take(snapshot(status((touchpoint(2, name="new"),))), 6.0)
    assert {number: row.name for number, row in picture.touchpoints.items()} == {2: "new"}


def test_a_snapshot_of_those_in_trouble_leaves_the_rest_to_be_read() -> None:
    picture = told(touchpoint(1), touchpoint_count=3)
    assert not picture.whole
    picture.put_touchpoints([touchpoint(1), touchpoint(2)])
    assert not picture.whole
    picture.put_touchpoints([touchpoint(3)])
    assert picture.whole


def test_what_was_deleted_while_nobody_listened_goes_once_all_are_read() -> None:
    picture = told(*(touchpoint(n) for n in range(1, 6)))
    picture.take(snapshot(status((touchpoint(1),), touchpoint_count=4)), 6.0)
    assert not picture.whole, "those from before may be gone, or be others by now"
    assert len(picture.touchpoints) == 5, "and are shown until it is known"
    picture.take(batch(Event(what="touchpoint.created", touchpoint=touchpoint(9))), 7.0)
    picture.put_touchpoints([touchpoint(1), touchpoint(2, name="new name"), touchpoint(4)])
    picture.all_read()
    assert {number: row.name for number, row in picture.touchpoints.items()} == {
        1: "Support", 2: "new name", 4: "Support", 9: "Support",
    }  # fmt: skip
    assert picture.touchpoint_count == 4
    assert picture.whole


def test_one_that_is_told_to_be_gone_is_not_waited_for() -> None:
    picture = told(touchpoint(1), touchpoint(2))
    picture.take(snapshot(status((touchpoint(1),), touchpoint_count=2)), 6.0)
    picture.take(batch(Event(what="touchpoint.deleted", gone=2)), 7.0)
    assert picture.whole
    assert list(picture.touchpoints) == [1]


@pytest.mark.parametrize(
    ("event", "counts"),
    [
        (Event(what="touchpoint.created", touchpoint=touchpoint(3)), (3, 1, 0, 1)),
        (Event(what="touchpoint.changed", touchpoint=touchpoint(2, name="x")), (2, 1, 0, 1)),
        (Event(what="touchpoint.deleted", gone=2), (1, 1, 0, 1)),
        (Event(what="touchpoint.deleted", gone=77), (2, 1, 0, 1)),
        (Event(what="mail.queued", mail=mail(7)), (2, 0, 1, 1)),
        (Event(what="house.notice", words="x"), (2, 0, 0, 1)),
    ],
)
def test_an_event_changes_what_it_is_about(event: Event, counts: tuple[int, int, int, int]) -> None:
    picture = told(touchpoint(1), touchpoint(2))
    before = (picture.touchpoint_changes, picture.mail_changes, picture.feed_changes)
    picture.take(batch(event), 9.0)
    after = (picture.touchpoint_changes, picture.mail_changes, picture.feed_changes)
    grown = tuple(new - old for new, old in zip(after, before, strict=True))
    assert (len(picture.touchpoints), *grown) == counts
    assert picture.touchpoint_count == len(picture.touchpoints)
    assert picture.feed[-1].event is event
    assert picture.feed[-1].at == 9.0


def test_what_is_kept_has_an_end() -> None:
    picture = told()
    for number in range(2_500):
        picture.take(batch(Event(what="mail.queued", mail=mail(number))), 1.0)
    assert len(picture.feed) == FEED
    assert len(picture.changed_mail) == 2_000
    assert min(picture.changed_mail) == 500
    picture.take(batch(Event(what="mail.closed", mail=mail(600, state="done"))), 1.0)
    assert list(picture.changed_mail)[-1] == 600, "the newest stands last"
    assert picture.changed_mail[600].state == "done"


def test_what_the_daemon_was_too_busy_to_tell_makes_mail_stale() -> None:
    picture = told()
    before = picture.mail_changes
    picture.take(batch(left_out=40), 1.0)
    assert (picture.left_out, picture.mail_changes) == (40, before + 1)


def test_figures_that_are_not_told_stay_as_they_were() -> None:
    picture = told(needs_you=(need(),))
    picture.take(batch(), 1.0)
    assert picture.account == ACCOUNT
    assert picture.needs
    picture.take(batch(needs_you=(), account={**ACCOUNT, "taken": ACCOUNT["taken"] + 2}), 1.0)
    assert not picture.needs
    assert picture.difference() == 2


@pytest.mark.parametrize(("name", "by"), [("delivered", 1), ("accepted", 1), ("queued", -3), ("parked", 5)])
def test_a_difference_is_never_evened_out(name: str, by: int) -> None:
    picture = told(account={**ACCOUNT, name: ACCOUNT[name] + by})
    assert picture.difference() == abs(by)


def test_who_may_not_see_the_figures_sees_no_difference() -> None:
    assert told(account={}).difference() is None
    assert Picture().difference() is None


def test_states_are_counted_and_what_is_off_is_off() -> None:
    rows = (touchpoint(1), touchpoint(2, state="lost", active=False), touchpoint(3, active=False))
    picture = told(*rows, touchpoint(4, state="backoff"))
    assert picture.states() == {"connected": 1, "lost": 1, "off": 1, "backoff": 1}


@pytest.mark.parametrize("missing", ["taken", "parked", "accepted"])
def test_an_account_in_the_words_of_another_version_is_no_difference(missing: str) -> None:
    account = {name: number for name, number in ACCOUNT.items() if name != missing}
    assert told(account=account).difference() is None
