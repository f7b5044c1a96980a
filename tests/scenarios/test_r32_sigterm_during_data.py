"""R32: the daemon is told to stop while the provider has a mail and its answer is out.

It waits for the answer as long as its grace is, and stores it; or it says that the outcome is unknown, and finds out
after the next start. Never silent, never a second copy.
"""

from __future__ import annotations

import signal

from tests.scenarios.outbound import Outbound, outbound


def told_to_stop(world: Outbound) -> None:
    """Stopping, with a mail at the provider that is not answered."""
    world.provider.call(world.provider.provider.smtp.answering.clear)
    world.submit()
    world.daemon.until(lambda: world.taken, "the provider has it")
    assert world.daemon.process is not None
    world.daemon.process.send_signal(signal.SIGTERM)
    world.daemon.until(lambda: "house.stopping" in world.daemon.words(), "it is stopping")


def test_an_answer_within_the_grace_is_stored() -> None:
    with outbound(files_copies=True) as world:
        told_to_stop(world)
        world.provider.call(world.provider.provider.smtp.answering.set)
        assert world.daemon.stop() == 0
        world.daemon.start()
        detail = world.until("delivered")
        assert [each.outcome for each in detail.attempts] == ["accepted"]
        assert len(world.taken) == 1


def test_without_one_the_outcome_is_unknown_and_found_out_later() -> None:
    with outbound(files_copies=True, grace=0.5) as world:
        told_to_stop(world)
        assert world.daemon.stop() == 0
        assert "mail 1 of touchpoint 1: outcome unknown" in world.daemon.words()
        world.provider.call(world.provider.provider.smtp.answering.set)
        world.daemon.start()
        detail = world.until("delivered")
        assert [each.outcome for each in detail.attempts] == ["found"]
        assert len(world.taken) == 1
