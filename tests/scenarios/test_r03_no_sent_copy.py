"""R3: the same death, at a provider that files no copies: the touchpoint's policy decides, and people see what it did.

``verify_then_resend`` sends the same bytes under the same Message-ID once more, marked as possibly twice;
``hold_for_person`` leaves one copy and asks somebody (I8, I11).
"""

from __future__ import annotations

from gateway.control import GetStatus
from tests.scenarios.outbound import Outbound, outbound


def dead_in_the_window(world: Outbound) -> None:
    """A mail that the provider has and we know nothing of."""
    world.dies.touch()
    world.submit()
    world.until_died()
    world.daemon.start()


def test_it_is_sent_once_more_and_marked() -> None:
    with outbound(files_copies=False) as world:
        dead_in_the_window(world)
        detail = world.until("delivered")
        first, second = world.taken
        assert (first.content, first.message_id, first.recipients) == (
            second.content,
            second.message_id,
            second.recipients,
        )
        assert detail.row.mark == "possibly twice"
        assert [each.outcome for each in detail.attempts] == ["accepted", "unknown"]
        assert "possibly twice" in world.daemon.cli("why", "1").stdout
        assert "possibly twice" in world.daemon.cli("spool", "show", "1").stdout


def test_or_held_for_a_person_who_says_what_became_of_it() -> None:
    with outbound(files_copies=False, policy="hold_for_person") as world:
        dead_in_the_window(world)
        detail = world.until("held")
        assert detail.row.cause == "unknown-outcome"
        assert "the provider files no copies in Sent" in detail.row.reason
        assert [need.kind for need in world.daemon.call(GetStatus()).needs_you] == ["held"]
        said = world.daemon.cli("spool", "confirm", "1")
        assert "mail 1 is confirmed: delivered" in said.stderr + said.stdout
        assert world.until("delivered").attempts[0].outcome == "confirmed"
        assert "mail.confirm" in world.daemon.cli("audit", "list").stdout
        assert len(world.taken) == 1
