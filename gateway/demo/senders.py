"""Who writes to the demo's touchpoints besides everyday customers: people near the rules' edges, robots, attackers.

Each function gives mails with what must become of them. What is special about a mail is its ``name``.
"""

from __future__ import annotations

from dataclasses import replace

from gateway.demo.press import DOMAIN, JOBS, SALES, SUPPORT, Expected, Item, Press
from gateway.demo.writing import Header, crlf, date, encoded, file_part, mail, multipart, nested, noise, text_part

BIG = 600_000
"""Bytes of the big attachment."""
BLOCKED = {SUPPORT: "pest@spam.test", SALES: "@flood.test"}
"""Touchpoint -> the entry of its blocklist."""


def attachments(press: Press) -> list[Item]:
    pixel = b"GIF89a\1\0\1\0\x80\0\0\xff\xff\xff\0\0\0,\0\0\0\0\1\0\1\0\0\2\2D\1\0;"
    note = text_part("Please see the file.\n")
    page = text_part('<p>Our logo: <img src="cid:logo@shop.test"></p>', subtype="html")
    related = nested("related", page, file_part("logo.gif", "image/gif", pixel, inline="logo@shop.test"))
    invitation = text_part(
        "BEGIN:VCALENDAR\nMETHOD:REQUEST\nBEGIN:VEVENT\nSUMMARY:Visit\nEND:VEVENT\nEND:VCALENDAR\n",
        subtype="calendar; method=REQUEST",
    )
    forwarded = mail([("From", "depot@shop.test"), ("Subject", "Delivery note")], b"Two boxes.\r\n")
    enclosed = b"Content-Type: message/rfc822\r\n\r\n" + forwarded
    return [
        press.item(
            "a CV as PDF",
            JOBS,
            "applicant.1@people.test",
            multipart("mixed", note, file_part("cv.pdf", "application/pdf", b"%PDF-1.7\n" + noise("cv", 30_000))),
            subject="My CV",
        ),
        press.item(
            "an attachment of 600 kB",
            JOBS,
            "applicant.2@people.test",
            multipart("mixed", note, file_part("portfolio.zip", "application/zip", noise("portfolio", BIG))),
            subject="Portfolio",
        ),
        press.item(
            "an inline image",
            SALES,
            "buyer.1@shop.test",
            multipart("alternative", text_part("Our logo is in the HTML part.\n"), related),
            subject="Printing our logo",
        ),
        press.item(
            "an invitation",
            SALES,
            "buyer.2@shop.test",
            multipart("alternative", note, invitation),
            subject="Visit on Monday",
        ),
        press.item(
            "a forwarded mail",
            SUPPORT,
            "buyer.3@shop.test",
            multipart("mixed", text_part("See below.\n"), enclosed),
            subject="Fwd: Delivery note",
            answered=True,
        ),
        press.item(
            "HTML alone",
            SUPPORT,
            "buyer.4@shop.test",
            (
                ("Content-Type", "text/html; charset=utf-8"),
                crlf("<h1>Broken</h1><p>It is <b>broken</b>.</p>\n").encode("ascii"),
            ),
            subject="Broken",
            answered=True,
        ),
    ]


def robots(press: Press) -> list[Item]:
    """What no person wrote: none of it is answered."""
    return [
        _bounce(press, SUPPORT, "reader.9@gone.test"),
        press.item(
            "an old-style bounce",
            SUPPORT,
            "mailer-daemon@relay.test",
            "Sorry, your mail could not be delivered to reader.7@gone.test.\n",
            ("X-Failed-Recipients", "reader.7@gone.test"),
            subject="Mail delivery failed: returning message to sender",
            envelope="",
        ),
        press.item(
            "out of office, RFC 3834",
            SUPPORT,
            "clerk.1@office.test",
            "I am away until Monday.\n",
            ("Auto-Submitted", "auto-replied (vacation)"),
            subject="Out of office: your mail",
        ),
        press.item(
            "out of office, answering an out of office",
            SUPPORT,
            "clerk.2@office.test",
            "Ich bin nicht im Haus.\n",
            ("X-Auto-Response-Suppress", "All"),
            subject=encoded("Abwesenheitsnotiz: Automatische Antwort: Rückfrage"),
        ),
        press.item(
            "out of office by its subject alone",
            SUPPORT,
            "clerk.3@office.test",
            "I am travelling.\n",
            subject="Automatic reply: your order",
        ),
        press.item(
            "a mailing list",
            SUPPORT,
            "member.1@lists.test",
            "Has anyone seen this?\n",
            ("List-Id", "Users of desks <desks.lists.test>"),
            ("Precedence", "list"),
            subject="[desks] Wobbling legs",
            envelope="desks-bounces@lists.test",
        ),
        press.item(
            "a newsletter",
            SUPPORT,
            "news@letters.test",
            "This week: chairs.\n",
            ("List-Unsubscribe", "<https://letters.test/out>"),
            subject="This week: chairs",
        ),
        press.item(
            "a no-reply robot", SUPPORT, "no-reply@tickets.test", "Ticket 12 was closed.\n", subject="Ticket 12"
        ),
        press.item(
            "a sender that counts its bounces",
            SUPPORT,
            "parcel@carrier.test",
            "Your parcel is on its way.\n",
            subject="Parcel 99",
            envelope="bounces+99=support@carrier.test",
        ),
        press.item(
            "monitoring",
            SUPPORT,
            "watch@hosts.test",
            "disk 91 %\n",
            ("Auto-Submitted", "auto-generated"),
            subject="WARNING disk",
        ),
        _circling(press),
    ]


def _circling(press: Press) -> Item:
    """A mail that was passed on sixty times (RFC 5321 section 6.3)."""
    hops: list[Header] = [("Received", f"from hop{n}.ring.test by hop{n + 1}.ring.test; {date(0)}") for n in range(60)]
    return press.item(
        "a mail going round in circles", SUPPORT, "echo@ring.test", "Hello?\n", *hops, state=Expected.STOPPED
    )


def _bounce(press: Press, to: str, failed: str) -> Item:
    """A delivery status notification (RFC 3464) for a mail that we never sent."""
    status = (
        "Reporting-MTA: dns; mx.relay.test\n\n"
        f"Final-Recipient: rfc822; {failed}\nAction: failed\nStatus: 5.1.1\nDiagnostic-Code: smtp; 550 no such user\n"
    )
    returned = (
        f"Message-ID: <never-sent-{failed.partition('@')[0]}@{DOMAIN}>\nFrom: {to}\nTo: {failed}\nSubject: News\n"
    )
    body = multipart(
        "report",
        text_part(f"Your mail to {failed} could not be delivered.\n"),
        b"Content-Type: message/delivery-status\r\n\r\n" + crlf(status).encode("ascii"),
        b"Content-Type: text/rfc822-headers\r\n\r\n" + crlf(returned).encode("ascii"),
        extra="; report-type=delivery-status",
    )
    return press.item(
        "a bounce (RFC 3464)",
        to,
        "mailer-daemon@relay.test",
        body,
        ("Auto-Submitted", "auto-replied"),
        subject="Undelivered Mail Returned to Sender",
        envelope="",
    )


def people(press: Press) -> list[Item]:
    """What persons wrote, near the rules' edges."""
    first = press.item(
        "opens a conversation",
        SUPPORT,
        "tenant.1@houses.test",
        "The lift is stuck.\n",
        subject="Lift",
        message_id="<lift-1@houses.test>",
        answered=True,
    )
    return [
        first,
        press.item(
            "goes on with a conversation",
            SUPPORT,
            "tenant.1@houses.test",
            "It moves again.\n\n> The lift is stuck.\n",
            ("In-Reply-To", "<lift-1@houses.test>"),
            ("References", "<lift-1@houses.test>"),
            subject="Re: Lift",
        ),
        press.item("says that it is no robot", SUPPORT, "tenant.2@houses.test", "Key lost.\n", ("Auto-Submitted", "no"),
                   subject="Key", answered=True),
        press.item("writes again at once", SUPPORT, "Tenant.2+home@houses.test", "Key found.\n", subject="Key again"),
        press.item("has us in Cc", SUPPORT, "tenant.3@houses.test", "For your files.\n", ("Cc", f"Support <{SUPPORT}>"),
                   addressed="board@houses.test", subject="Minutes", answered=True),
        press.item("has us in Bcc", SUPPORT, "tenant.4@houses.test", "Quietly.\n", addressed="board@houses.test",
                   subject="Secret minutes"),
        press.item("a blocked sender", SUPPORT, "pest@spam.test", "Buy now!\n", subject="Last chance",
                   state=Expected.HELD),
        press.item("a blocked domain", SALES, "anyone@flood.test", "Win!\n", subject="You won", state=Expected.HELD),
        press.item("sorted into Junk by the provider", SALES, "buyer.9@odd.test", "Do you sell rope?\n", subject="Rope",
                   folder="Junk"),
    ]  # fmt: skip


def broken(press: Press) -> list[Item]:
    """Damaged, odd and hostile mail: taken like any other."""
    twin = press.item(
        "one of two equal mails", JOBS, "applicant.7@people.test", "Twice is safer.\n", subject="Sent twice"
    )
    plain: Header = ("Content-Type", "text/plain")
    return [
        press.item("a charset that lies", SUPPORT, "guest.1@inn.test",
                   (("Content-Type", "text/plain; charset=utf-8"), b"Caf\xe9 \xff\xfe ferm\xe9\r\n"),
                   subject="=?x-unknown?Q?Caf=E9?= =?utf-8?Q?=FF=FE?=", answered=True),
        press.item("a subject with an encoded line end", SUPPORT, "guest.2@inn.test", "Try me.\n",
                   subject="=?utf-8?Q?hi=0D=0ABcc=3A_victim=40far.test?=", answered=True),
        press.item("a subject that paints terminals", JOBS, "guest.3@inn.test", "Try me.\n",
                   subject=b"\x1b]0;owned\x07\x1b[2J =?utf-8?B?4oCu4oCL?= [/b]"),
        press.item("no Message-ID", SUPPORT, "guest.4@inn.test", without=("Message-ID",), answered=True),
        press.item("a Message-ID", SALES, "guest.5@inn.test", subject="First", message_id="<same@inn.test>"),
        press.item("the same Message-ID on another mail", SALES, "guest.6@inn.test", "Other.\n", subject="Second",
                   message_id="<same@inn.test>"),
        twin,
        replace(twin, name="the other of two equal mails"),
        press.item("headers in raw 8-bit", SALES, "guest.7@inn.test", subject="Grüße vom Wirt",
                   author=b"Wirt M\xfcller & S\xf6hne <guest.7@inn.test>"),
        press.item("an empty body", SUPPORT, "guest.8@inn.test", "", subject="", answered=True),
        press.item("a huge header", JOBS, "guest.9@inn.test", "Much ado.\n", ("X-Trace", "0123456789 " * 9_000)),
        press.item("neither From nor Date", JOBS, "guest.10@inn.test", without=("From", "Date", "MIME-Version")),
        press.item("a hundred nested parts", SALES, "guest.11@inn.test", _russian_doll(100)),
        press.item("bare line feeds and a NUL", SALES, "guest.12@inn.test", (plain, b"one\ntwo\rthree\x00\n.\nfour")),
        press.item("one line of 50 kB", SALES, "guest.13@inn.test", (plain, b"x" * 50_000)),
    ]  # fmt: skip


def _russian_doll(depth: int) -> tuple[Header, bytes]:
    part = text_part("In the middle.\n")
    for _ in range(depth - 1):
        part = nested("mixed", part)
    return multipart("mixed", part)
