"""Journey 1: a customer's mail comes by LMTP into a real Dovecot and lands in the queues of its ring groups.

A blocked sender is held, a person gets exactly one auto-reply, a robot none, and what people see adds up.
"""

from __future__ import annotations

import email
import email.policy
from collections.abc import Callable

from gateway.control import Block, CreateRingGroup, LinkRingGroup, SetTemplate, Why
from tests.daemon import Daemon
from tests.journeys.conftest import PASSWORD, Mailbox, mail
from tests.servers.postfix import Postfix


def test_mail_is_assigned_blocked_and_answered(
    daemon: Daemon, new_mailbox: Callable[..., Mailbox], postfix: Postfix, trusted: str
) -> None:
    box = new_mailbox()
    box.deliver(mail("old@example.net", box.address, "from before the first connect"))
    daemon.furnish(
        box.address, PASSWORD, imap=box.imap, smtp=f"127.0.0.1:{postfix.submission}:starttls", ca_file=trusted
    )
    for name in ("Desk one", "Desk two"):
        daemon.call(CreateRingGroup(name=name))
        daemon.call(LinkRingGroup(touchpoint=box.address, ring_group=name))
    daemon.call(Block(touchpoint=box.address, pattern="@pest.example"))
    daemon.call(SetTemplate(touchpoint=box.address, kind="auto_reply", active=True, text="We have your mail."))

    person = "person1@example.net"
    robot = "Auto-Submitted: auto-generated\n"
    box.deliver(
        mail(person, box.address, "Where is my order?", message_id="<first@example.net>"),
        mail("spam@pest.example", box.address, "Buy now"),
        mail("robot@example.net", box.address, "Report", extra=robot),
        mail(person, box.address, "One more thing"),
    )
    daemon.until(lambda: daemon.account()["taken"] == 4, "four mails are taken")
    daemon.until(lambda: daemon.account()["auto_replied"] == 1, "one is answered")

    account = daemon.account()
    assert (account["queued"], account["held_in"], account["lost"]) == (3, 1, 0)
    rows = {row.subject: row for row in daemon.mails("in")}
    assert "from before the first connect" not in rows
    assert rows["Where is my order?"].queues == ("Desk one", "Desk two")
    assert (rows["Buy now"].state, rows["Buy now"].cause) == ("held", "blocked")
    assert rows["Report"].kind == "auto"

    [reply] = _wait_for_replies(postfix, daemon, person)
    assert reply.sender == ""
    parsed = email.message_from_bytes(reply.content, policy=email.policy.default)
    assert parsed["In-Reply-To"] == "<first@example.net>"
    assert parsed["Auto-Submitted"] == "auto-replied"
    assert parsed["From"].addresses[0].addr_spec == box.address
    assert "We have your mail." in parsed.get_content()
    assert not postfix.far_end.to("robot@example.net")
    assert not postfix.far_end.to("spam@pest.example")

    answer = daemon.call(Why(message_id="<first@example.net>"))
    trail = {step.stage: step.reason for walk in answer.mails[0].walks for step in walk.steps}
    assert list(trail) == ["ingest", "blocklist", "auto_reply", "ring_group"]


def test_a_released_mail_walks_again_and_a_reply_finds_its_conversation(
    daemon: Daemon, new_mailbox: Callable[..., Mailbox]
) -> None:
    box = new_mailbox()
    daemon.furnish(box.address, PASSWORD, imap=box.imap, ca_file=box.ca_file)
    daemon.call(Block(touchpoint=box.address, pattern="friend@example.net"))
    box.deliver(mail("friend@example.net", box.address, "Hello", message_id="<a@example.net>"))
    daemon.until(lambda: daemon.account()["held_in"] == 1, "the mail is held")
    held = daemon.mails("in", "held")[0]

    done = daemon.cli("spool", "release", str(held.id))
    assert done.returncode == 0, done.stderr
    daemon.until(lambda: daemon.account()["queued"] == 1, "the released mail is queued")
    why = daemon.cli("why", str(held.id)).stdout
    assert "released by" in why

    daemon.cli("blocklist", "remove", box.address, "friend@example.net")
    reply = "In-Reply-To: <a@example.net>\nReferences: <a@example.net>\n"
    box.deliver(
        mail("friend@example.net", box.address, "Re: Hello", extra=reply),
        mail("stranger@example.net", box.address, "Re: Hello", extra=reply),
    )
    daemon.until(lambda: daemon.account()["queued"] == 3, "both answers are queued")
    details = [daemon.call(Why(id=row.id)).mails[0] for row in daemon.mails("in")]
    first, friend, stranger = (detail.conversation_id for detail in details)
    assert friend == first
    assert stranger != first


def _wait_for_replies(postfix: Postfix, daemon: Daemon, recipient: str) -> list:  # type: ignore[type-arg]
    daemon.until(lambda: postfix.far_end.to(recipient), "the auto-reply reaches the far end")
    return postfix.far_end.to(recipient)
