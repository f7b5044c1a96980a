"""The demo's verdict: it must notice whatever is lost, doubled, altered or misplaced."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from gateway.demo import corpus
from gateway.demo.mailbox import Mailboxes
from gateway.demo.press import TOUCHPOINTS, Expected
from gateway.demo.reckoning import Evidence, Taken, reckon
from gateway.demo.smtp_server import Submitted

NOW = 1_800_000_000.0
TRACE = b"Received: from client.test by relay.test with ESMTPA;\r\n Fri, 15 Jan 2027 08:00:00 +0000\r\n"
SIGNATURE = "The desk · signed"


def _sent(sender: str, recipients: tuple[str, ...], content: bytes, message_id: str) -> Submitted:
    return Submitted(
        sender=sender, recipients=recipients, content=content, message_id=message_id, user="x@demo.example", at=NOW
    )


def _signed(content: bytes) -> bytes:
    """As the signature stage would: in each text part."""
    block = SIGNATURE.encode("utf-8")
    return content.replace(b"case is solved.", b"case is solved. " + block).replace(
        b"unterwegs.", b"unterwegs. " + SIGNATURE.encode("iso-8859-1").replace("·".encode("iso-8859-1"), b"=B7")
    )


def good() -> Evidence:
    """The evidence of a run in which everything went well."""
    items = corpus.mails(NOW)
    boxes = Mailboxes()
    for address in TOUCHPOINTS:
        boxes.open(address, "pw")
    taken = []
    for item in items:
        box = boxes.find(item.to)
        assert box is not None
        key = box.folders[item.folder].key(box.folders[item.folder].add(item.content).uid)
        taken.append(Taken(touchpoint=item.to, state=item.state.value, digest=boxes.ledger.held[key]))
    submissions = corpus.submissions(NOW)
    reply = b"From: support@demo.example\r\nAuto-Submitted: auto-replied\r\n\r\nThank you\r\n"
    arrived = [
        _sent(
            each.sender,
            each.recipients,
            TRACE + (_signed(each.content) if each.signed else each.content),
            each.message_id,
        )
        for each in submissions
    ] + [_sent("", (item.sender,), reply, f"<reply-{n}@x>") for n, item in enumerate(items) if item.answered]
    states = [item.state for item in items]
    account = {
        "taken": len(items),
        "queued": states.count(Expected.QUEUED),
        "stopped": states.count(Expected.STOPPED),
        "held_in": states.count(Expected.HELD),
        "accepted": 10,
        "delivered": 10,
        "auto_replied": sum(item.answered for item in items),
        "lost": 0,
    }
    return Evidence(
        account=account,
        taken=taken,
        ledger=boxes.ledger,
        items=items,
        submissions=submissions,
        arrived=arrived,
        signature=SIGNATURE,
        waited=7,
        waited_and_delivered=7,
    )


def test_a_good_run_has_no_faults() -> None:
    reckoning = reckon(good())
    assert reckoning.faults == ()
    assert reckoning.line == (
        "taken 57 = queued 54 + stopped 1 + held 2 · accepted 10 = delivered 10 · auto-replied 17 · lost 0"
        " · waited during the outage 7, delivered after it 7"
    )


def _altered(evidence: Evidence, place: int, change: Callable[[Submitted], Submitted]) -> Evidence:
    arrived = list(evidence.arrived)
    arrived[place] = change(arrived[place])
    return replace(evidence, arrived=arrived)


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (lambda e: replace(e, taken=e.taken[1:]), "lost on its way in: everyday, English"),
        (lambda e: replace(e, taken=[*e.taken, e.taken[0]]), "everyday, English at jobs@demo.example: queued"),
        (lambda e: replace(e, taken=[replace(e.taken[0], state="held"), *e.taken[1:]]), "held, which was not expected"),
        (lambda e: replace(e, taken=[replace(e.taken[0], digest="00"), *e.taken[1:]]), "a mail that nobody sent"),
        (lambda e: replace(e, account={**e.account, "queued": 53}), "the account says queued 53, expected 54"),
        (lambda e: replace(e, account={**e.account, "lost": 1}), "the account says lost 1, expected 0"),
        (lambda e: replace(e, waited_and_delivered=6), "7 waited, but 6 were delivered"),
        (lambda e: replace(e, arrived=e.arrived[1:]), "lost on its way out: plain text"),
        (lambda e: replace(e, arrived=e.arrived[:-1]), "no auto-reply to guest.8@inn.test"),
        (
            lambda e: replace(e, arrived=[*e.arrived, e.arrived[-1]]),
            "an auto-reply to guest.8@inn.test was not expected",
        ),
        (lambda e: replace(e, arrived=[*e.arrived, e.arrived[0]]), "plain text: arrived 2 times"),
        (lambda e: _altered(e, 1, lambda mail: replace(mail, content=mail.content + b"x")), "its bytes changed"),
        (lambda e: _altered(e, 1, lambda mail: replace(mail, content=TRACE + mail.content)), "its bytes changed"),
        (lambda e: _altered(e, 5, lambda mail: replace(mail, recipients=mail.recipients[:2])), "its envelope changed"),
        (lambda e: _altered(e, 0, lambda mail: replace(mail, content=e.submissions[0].content)), "stands 0 times"),
        (lambda e: _altered(e, 2, lambda mail: replace(mail, content=_signed(mail.content))), "stands 2 times"),
        (lambda e: _altered(e, -1, lambda mail: replace(mail, sender="support@demo.example")), "not what RFC 3834"),
        (
            lambda e: _altered(e, -1, lambda mail: replace(mail, content=b"Bcc: v@far.test\r\n" + mail.content)),
            "not what RFC 3834",
        ),
    ],
)
def test_damage_is_noticed(damage: Callable[[Evidence], Evidence], fault: str) -> None:
    assert any(fault in each for each in reckon(damage(good())).faults)


def test_lost_mail_is_counted_even_where_the_daemon_says_that_none_is() -> None:
    evidence = good()
    assert reckon(replace(evidence, taken=evidence.taken[2:])).figures["lost"] == 2
