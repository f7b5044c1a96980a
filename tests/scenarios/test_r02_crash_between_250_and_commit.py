"""R2: the process dies between the provider's 250 and our commit of it, and the provider files copies in Sent.

After the restart the outcome is unknown; the copy in Sent is found, so that nobody gets the mail twice (I8, I10, I11).
"""

from __future__ import annotations

from tests.scenarios.outbound import BUYER, outbound


def test_it_is_found_in_sent_and_not_sent_again() -> None:
    with outbound(files_copies=True) as world:
        world.dies.touch()
        world.submit()
        world.until_died()
        assert [each.recipients for each in world.taken] == [(BUYER,)]
        world.daemon.start()
        detail = world.until("delivered")
        assert [each.outcome for each in detail.attempts] == ["found"]
        assert detail.attempts[0].text.endswith("found in Sent")
        assert detail.row.mark == ""
        world.submit(number=2)  # the lane serves on
        world.until("delivered", 2)
        assert [each.message_id for each in world.taken] == ["<1@shop.example>", "<2@shop.example>"]


def test_the_same_message_id_sent_before_is_no_evidence() -> None:
    """An earlier mail with this Message-ID was delivered, and its copy is in Sent: it proves nothing of the second."""
    with outbound(files_copies=True) as world:
        world.submit()
        world.until("delivered")
        world.provider.call(lambda: setattr(world.provider.provider.policy, "sent_copy", False))
        world.dies.touch()
        world.submit()
        world.until_died()
        world.daemon.start()
        detail = world.until("delivered", 2)
        assert detail.row.mark == "possibly twice"
        assert len(world.taken) == 3
