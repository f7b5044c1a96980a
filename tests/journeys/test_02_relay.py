"""Journey 2: internal senders hand mail to the relay, and a real Postfix takes it on to the far end.

One relay user has the signature switched on and gets it exactly once; for the other the bytes are unchanged below the
trace field. Recipients get results of their own, and a final failure makes exactly one notice.
"""

from __future__ import annotations

import email
import email.policy
import smtplib
from collections.abc import Callable

import pytest

from gateway.control import AddRelayUser, SetTemplate
from tests.daemon import Daemon
from tests.journeys.conftest import PASSWORD, Mailbox, mail, submit
from tests.servers.postfix import Postfix

SIGNATURE = "The support desk of Example Ltd."


@pytest.fixture
def sending(daemon: Daemon, new_mailbox: Callable[..., Mailbox], postfix: Postfix, trusted: str) -> Mailbox:
    """A touchpoint that sends through Postfix, with a signature and two relay users."""
    box = new_mailbox("desk")
    daemon.furnish(
        box.address, PASSWORD, imap=box.imap, smtp=f"127.0.0.1:{postfix.submission}:starttls", ca_file=trusted,
        sent_copy="append",
    )  # fmt: skip
    daemon.call(SetTemplate(touchpoint=box.address, kind="signature", active=True, text=SIGNATURE))
    for name, signature in (("signed", True), ("plain", False)):
        daemon.call(
            AddRelayUser(
                name=name, password=PASSWORD, signature=signature, grants=(box.address,), notify="boss@far.example"
            )
        )
    return box


def test_the_signature_goes_in_exactly_once_and_only_where_it_is_switched_on(
    daemon: Daemon, sending: Mailbox, postfix: Postfix
) -> None:
    port = daemon.relay_port("relay")
    one, two = f"one-{sending.address}", f"two-{sending.address}"
    quoted = "Here is the answer.\n\nOn Monday a customer wrote:\n> Where is it?\n"
    submit(port, "signed", sending.address, [one], mail(sending.address, one, "Your order", quoted))
    plain = mail(sending.address, two, "Your order", "Nothing is added.\n.\n..dots\n")
    submit(port, "plain", sending.address, [two], plain)
    daemon.until(lambda: daemon.account()["delivered"] == 2, "both are delivered")

    daemon.until(lambda: postfix.far_end.to(one) and postfix.far_end.to(two), "both reach the far end")
    [signed] = postfix.far_end.to(one)
    text = email.message_from_bytes(signed.content, policy=email.policy.default).get_content()
    assert text.count(SIGNATURE) == 1
    assert text.index("Here is the answer.") < text.index(SIGNATURE) < text.index("> Where is it?")

    [unchanged] = postfix.far_end.to(two)
    assert unchanged.content.endswith(plain)
    assert unchanged.sender == sending.address
    added = email.message_from_bytes(unchanged.content[: -len(plain)] + b"\r\n")
    assert set(added.keys()) == {"Received"}
    assert daemon.account()["lost"] == 0

    daemon.until(lambda: len(sending.dovecot.contents(sending.address, "Sent")) == 2, "both copies are filed")
    copies = sending.dovecot.contents(sending.address, "Sent").values()
    assert sum(b"Nothing is added.\n.\n..dots\n" in copy for copy in copies) == 1  # doveadm shows bare LF


def test_each_recipient_has_its_own_result_and_a_failure_is_told_once(
    daemon: Daemon, sending: Mailbox, postfix: Postfix
) -> None:
    good, gone = f"good-{sending.address}", "gone@refuse.test"
    submit(daemon.relay_port("relay"), "plain", sending.address, [good, gone], mail(sending.address, good, "Both"))
    daemon.until(lambda: daemon.account()["delivered"] == 1, "the entry is delivered")
    [row] = [each for each in daemon.mails("out", "delivered") if each.origin == "relay"]
    why = daemon.cli("why", str(row.id), "--json").stdout
    assert '"state": "refused"' in why
    assert "550" in why
    daemon.until(lambda: postfix.far_end.to(good), "it reaches the far end")
    daemon.until(
        lambda: any(row.message_id.encode() in each.content for each in postfix.far_end.to("boss@far.example")),
        "the notice arrives",
    )
    told = [each for each in postfix.far_end.to("boss@far.example") if row.message_id.encode() in each.content]
    assert len(told) == 1
    assert told[0].sender == ""
    assert b"gone@refuse.test" in told[0].content


def test_the_relay_refuses_what_the_user_is_not_granted(daemon: Daemon, sending: Mailbox) -> None:
    port = daemon.relay_port("relay")
    foreign = mail("boss@example.org", "x@far.example", "Not mine")
    with pytest.raises(smtplib.SMTPResponseException) as refused:
        submit(port, "plain", sending.address, ["x@far.example"], foreign)
    assert refused.value.smtp_code == 550
    with pytest.raises(smtplib.SMTPAuthenticationError), smtplib.SMTP("127.0.0.1", port, timeout=30) as client:
        client.login("plain", "wrong password")
    daemon.cli("touchpoint", "deactivate", sending.address)
    with pytest.raises(smtplib.SMTPResponseException) as later:
        submit(port, "plain", sending.address, ["x@far.example"], mail(sending.address, "x@far.example", "Later"))
    assert later.value.smtp_code == 451
    assert daemon.account()["accepted"] == 0


def test_mail_waits_while_the_submission_server_is_down(daemon: Daemon, sending: Mailbox, postfix: Postfix) -> None:
    to = f"patient-{sending.address}"
    postfix.down()
    try:
        for number in range(5):
            submit(daemon.relay_port("relay"), "plain", sending.address, [to], mail(sending.address, to, f"{number}"))
        daemon.until(lambda: daemon.touchpoint(sending.address).state == "backoff", "the touchpoint is in BACKOFF")
        account = daemon.account()
        assert (account["accepted"], account["parked"], account["delivered"]) == (5, 5, 0)
        assert daemon.touchpoint(sending.address).cause == "network"
    finally:
        postfix.up()
    daemon.until(lambda: daemon.account()["delivered"] == 5, "all are delivered")
    daemon.until(lambda: len(postfix.far_end.to(to)) == 5, "all reach the far end")
    subjects = [email.message_from_bytes(each.content)["Subject"] for each in postfix.far_end.to(to)]
    assert sorted(subjects) == ["0", "1", "2", "3", "4"]
    rows = daemon.mails("out")
    assert [row.subject for row in sorted(rows, key=lambda row: row.settled_at)] == ["0", "1", "2", "3", "4"]
    assert all(row.attempts == 1 for row in rows)
