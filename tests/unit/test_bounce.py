"""Reading reports: bounces of many systems, receipts, complaints, and mail that only looks like one."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from pipeline.bounce import MAX_MESSAGE_IDS, MAX_RECIPIENTS, Report, classify, read_bounce
from tests.unit.deciding import content, decide_mail

STATUS = """Reporting-MTA: dns; mx.example.org
Arrival-Date: Fri, 15 Jan 2027 08:00:00 +0000

Final-Recipient: rfc822; ops@example.org
Original-Recipient: rfc822;ops@alias.example.org
Action: failed
Status: 5.1.1
Diagnostic-Code: smtp; 550 5.1.1 <ops@example.org>:
    no such user
"""
ORIGINAL = "Message-ID: <sent-1@shop.example>\nSubject: Offer\nFrom: support@shop.example\n"


def report(status: str = STATUS, returned: str = ORIGINAL, *, kind: str = "delivery-status",
           returned_type: str = "text/rfc822-headers", **fields: str) -> bytes:  # fmt: skip
    changes: dict[str, str | None] = {
        "Return-Path": "<>",
        "From": "Mail Delivery System <MAILER-DAEMON@mx.example.org>",
        "MIME-Version": "1.0",
        "Content-Type": f'multipart/report; report-type={kind};\r\n boundary="=_x"',
    } | {name.replace("_", "-"): value for name, value in fields.items()}  # fmt: skip
    body = (
        f"--=_x\nContent-Type: text/plain\n\nSorry.\n--=_x\nContent-Type: message/{kind}\n\n{status}\n"
        f"--=_x\nContent-Type: {returned_type}\n\n{returned}\n--=_x--\n"
    )
    return content(changes, body=body.replace("\n", "\r\n"))


@pytest.mark.parametrize("returned_type", ["text/rfc822-headers", "message/rfc822", "message/global-headers"])
def test_a_bounce_by_the_book(returned_type: str) -> None:
    bounce = read_bounce(decide_mail(report(returned_type=returned_type)))
    assert bounce is not None
    assert bounce.message_ids == ("<sent-1@shop.example>",)
    assert bounce.recipients == ("ops@alias.example.org", "ops@example.org")
    assert (bounce.action, bounce.status) == ("failed", "5.1.1")
    assert bounce.diagnostic.startswith("smtp; 550 5.1.1") and "no such user" in bounce.diagnostic


def test_the_worst_action_counts() -> None:
    group = "Final-Recipient: rfc822; {}@example.org\nAction: {}\nStatus: {}\n"
    groups = [group.format("a", "delayed", "4.4.1"), group.format("b", "Failed", "5.2.2"),
              group.format("c", "delivered", "2.0.0")]  # fmt: skip
    bounce = read_bounce(decide_mail(report("Reporting-MTA: dns; x\n\n" + "\n".join(groups))))
    assert bounce is not None and (bounce.action, bounce.status) == ("failed", "5.2.2")
    assert bounce.recipients == ("a@example.org", "b@example.org", "c@example.org")


def test_a_warning_is_no_failure() -> None:
    status = "Reporting-MTA: dns; x\n\nFinal-Recipient: rfc822; a@b.example\nAction: delayed\nStatus: 4.0.0\n"
    bounce = read_bounce(decide_mail(report(status)))
    assert bounce is not None and bounce.action == "delayed"


def test_a_report_that_was_cut_tells_what_it_can() -> None:
    data = report()
    cut = data[: data.index(b"message/delivery-status")]
    bounce = read_bounce(decide_mail(cut))
    assert bounce is not None and bounce.action == "" and bounce.recipients == ()


def test_what_the_notice_refers_to_comes_second() -> None:
    bounce = read_bounce(decide_mail(report(References="<sent-0@shop.example> <sent-1@shop.example>")))
    assert bounce is not None
    assert bounce.message_ids == ("<sent-1@shop.example>", "<sent-0@shop.example>")


EXIM = """This message was created automatically by mail delivery software.

  ops@example.org
    Unrouteable address

------ This is a copy of your message, including all the headers. ------

Message-ID: <sent-1@shop.example>
"""
QMAIL = """Hi. This is the qmail-send program at mx.example.org.

<ops@example.org>:
Sorry, no mailbox here by that name.

--- Below this line is a copy of the message.

Message-Id: <sent-1@shop.example>
"""


def test_systems_without_the_format() -> None:
    exim = content({"Return-Path": "<>", "X-Failed-Recipients": "ops@example.org"}, body=EXIM)
    qmail = content({"Return-Path": "<>", "From": "MAILER-DAEMON@mx.example.org"}, body=QMAIL)
    first, second = read_bounce(decide_mail(exim)), read_bounce(decide_mail(qmail))
    assert first is not None and second is not None
    assert first.message_ids == second.message_ids == ("<sent-1@shop.example>",)
    assert (first.action, first.recipients) == ("failed", ("ops@example.org",))
    assert second.action == ""


@pytest.mark.parametrize(
    "kind, wanted",
    [("delivery-status", Report.DELIVERY), ("disposition-notification", Report.DISPOSITION),
     ("feedback-report", Report.FEEDBACK), ("something-else", Report.OTHER), ("DELIVERY-STATUS", Report.DELIVERY)],
)  # fmt: skip
def test_reports_are_told_apart(kind: str, wanted: Report) -> None:
    mail = decide_mail(report(kind=kind))
    assert classify(mail) is wanted
    assert (read_bounce(mail) is not None) == (wanted is Report.DELIVERY)


def test_a_status_part_counts_in_any_multipart() -> None:
    body = "--b\r\nContent-Type: message/disposition-notification\r\n\r\nx\r\n--b--\r\n"
    mail = decide_mail(content({"Content-Type": "multipart/mixed; boundary=b"}, body=body))
    assert classify(mail) is Report.DISPOSITION


NO_REPORT: dict[str, dict[str, str | None]] = {
    "a person": {},
    "a null path alone": {"Return-Path": "<>"},
    "a daemon with a path": {"From": "mailer-daemon@example.org"},
    "a daemon's namesake": {"Return-Path": "<>", "From": "postmasters@example.org"},
    "parts": {"Content-Type": "multipart/mixed; boundary=b"},
    "a word about it": {"Content-Type": "multipart/mixed; boundary=b", "Subject": "delivery-status"},
}


@pytest.mark.parametrize("changes", NO_REPORT.values(), ids=NO_REPORT)
def test_other_mail_is_no_report(changes: dict[str, str | None]) -> None:
    mail = decide_mail(content(changes, body="--b\r\n\r\nMessage-ID: <sent-1@shop.example>\r\n--b--\r\n"))
    assert classify(mail) is None and read_bounce(mail) is None


def test_a_bounce_is_bounded() -> None:
    groups = "".join(f"\nFinal-Recipient: rfc822; u{n}@example.org\nAction: failed\n" for n in range(5000))
    references = " ".join(f"<{n}@x>" for n in range(90))
    bounce = read_bounce(decide_mail(report("Reporting-MTA: dns; x\n" + groups, References=references)))
    assert bounce is not None
    assert len(bounce.recipients) == MAX_RECIPIENTS and len(bounce.message_ids) == MAX_MESSAGE_IDS


@given(st.binary(max_size=300), st.integers(min_value=0, max_value=2000))
def test_never_raises(noise: bytes, place: int) -> None:
    data = report()
    at = place % len(data)
    read_bounce(decide_mail(data[:at] + noise + data[at:]))
