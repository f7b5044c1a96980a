"""Answers the first mail of a conversation once, as RFC 3834 asks; off by default.

Who is answered is a table, read from the top; the first row that matches says why there is no answer. No reply is
always the safe failure: what cannot be read counts as a reason against. The answer goes to the return path, carries
our loop mark, and its Message-ID follows from the mail alone, so that deciding twice makes the same mail.
A row keeps its number for good, since trails and tests name it; the numbers missing here are for checks to come.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass

from pipeline import evidence
from pipeline.bounce import classify
from pipeline.conversation import conversation_key
from pipeline.header_writer import Encoded, clean, compose, write_address, write_ids
from pipeline.headers import date_header
from pipeline.mail import Direction, Kind, Mail
from pipeline.stage import Context
from pipeline.touchpoint import domain_of, normalise, without_tag
from pipeline.verdict import Send, Verdict, passed

MAX_SUBJECT = 200
_DAY = 86400.0


@dataclass(frozen=True, kw_only=True, slots=True)
class AutoReplyStage:
    """Answer the first mail of a conversation, if a person wrote it to us."""

    quiet_days: float = 7.0
    """No second answer to one sender within this time; between one hour and 90 days."""
    max_age_hours: float = 72.0
    """Older mail gets no answer: a backlog after an outage must not fire old replies."""
    per_hour: int = 200
    """Most answers of one touchpoint in an hour."""
    per_domain_hour: int = 20
    """Most answers of one touchpoint to one domain in an hour."""
    postmaster_is_robot: bool = True
    """RFC 5230 section 4.6 warns that postmaster may be a person."""

    @property
    def window(self) -> float:
        """``quiet_days`` in seconds, kept between its bounds."""
        return min(max(self.quiet_days * _DAY, 3600.0), 90 * _DAY)

    async def __call__(self, mail: Mail, context: Context) -> Verdict:
        """Awaits nothing."""
        if not context.touchpoint.auto_reply.active:
            return passed("auto-reply is off")
        if (reason := unanswerable(mail, context, self)) is not None:
            return passed(f"no auto-reply: {reason}")
        return passed(f"auto-reply to {return_address(mail, context)}", _answer(mail, context, self.window))


_Test = Callable[[Mail, Context, AutoReplyStage], str]


@dataclass(frozen=True, slots=True)
class Row:
    """One reason not to answer: ``test`` says it in words, or ""."""

    number: int
    source: str
    test: _Test


def unanswerable(mail: Mail, context: Context, settings: AutoReplyStage) -> str | None:
    """Why a mail gets no auto-reply; None if it gets one."""
    return next((reason for row in ROWS if (reason := row.test(mail, context, settings))), None)


def return_address(mail: Mail, context: Context) -> str:
    """Where an answer goes, as written: the return path (RFC 3834 section 4); "" for nowhere."""
    path = mail.headers.return_path if "return-path" in mail.headers else mail.envelope.sender
    if path is None:
        return mail.headers.author if context.touchpoint.connection.strips_return_path else ""
    return path


def _off(mail: Mail, context: Context, settings: AutoReplyStage) -> str:
    if mail.direction is Direction.OUT:
        return "outbound mail is never answered"
    if not context.touchpoint.active or not context.touchpoint.auto_reply.active:
        return "the touchpoint or its auto-reply is off"
    if not context.touchpoint.auto_reply.text.strip():
        return "the auto-reply has no text"
    age = context.now - mail.received_at
    return f"it is {age / 3600:.0f} hours old" if age > settings.max_age_hours * 3600 else ""


def _before_activation(mail: Mail, context: Context, settings: AutoReplyStage) -> str:
    if mail.resumed:
        return "it came up when its folder was renumbered"
    # INTERNALDATE has whole seconds: mail of the second of the activation counts as new.
    old = mail.received_at < int(context.touchpoint.activated_at)
    return "it came before the touchpoint was activated" if old else ""


def _answered(mail: Mail, context: Context, settings: AutoReplyStage) -> str:
    return "it was answered already" if _message_id(mail, context) in context.memory.auto_replies else ""


def _no_return_path(mail: Mail, context: Context, settings: AutoReplyStage) -> str:
    return "" if return_address(mail, context) else "it has a null return path, or none that can be used"


def _report(mail: Mail, context: Context, settings: AutoReplyStage) -> str:
    if context.facts.kind is Kind.BOUNCE:
        return "it is a bounce"
    report = classify(mail)
    return f"it is a report ({report})" if report is not None else ""


def _robot(mail: Mail, context: Context, settings: AutoReplyStage) -> str:
    senders = (return_address(mail, context), mail.headers.author)
    found = (evidence.robot_address(one, postmaster=settings.postmaster_is_robot) for one in senders)
    return next(filter(None, found), "")


def _own(mail: Mail, context: Context, settings: AutoReplyStage) -> str:
    own = context.installation.addresses | _own_addresses(context)
    named = [one.address for name in ("from", "reply-to", "sender") for one in mail.headers.addresses(name)]
    if any(without_tag(one) in own for one in (return_address(mail, context), *named)):
        return "its sender is an address of this installation"
    return evidence.looped(mail.headers, context.installation.id)


def _junk(mail: Mail, context: Context, settings: AutoReplyStage) -> str:
    return "it lay in the Junk folder" if mail.junk else evidence.forged(mail.headers)


def _not_to_us(mail: Mail, context: Context, settings: AutoReplyStage) -> str:
    own = _own_addresses(context)
    for name in ("to", "cc", "bcc", "resent-to", "resent-cc", "resent-bcc"):
        if any(without_tag(one.address) in own for one in mail.headers.addresses(name)):
            return ""
    return "our address is not among its recipients"


def _loop(mail: Mail, context: Context, settings: AutoReplyStage) -> str:
    headers = mail.headers
    return (
        evidence.hops(headers)
        or evidence.delivered_twice(headers, _own_addresses(context))
        or evidence.own_hops(headers, context.installation.id)
    )


def _answers_auto_reply(mail: Mail, context: Context, settings: AutoReplyStage) -> str:
    replies = context.memory.auto_replies
    return "it answers an auto-reply of ours" if any(one in replies for one in mail.headers.references) else ""


def _continues(mail: Mail, context: Context, settings: AutoReplyStage) -> str:
    return "it continues a conversation" if context.facts.continues else ""


_AUTO_SUBJECTS = (
    "automatic reply", "automated reply", "auto reply", "auto-reply", "autoreply", "auto:", "auto response",
    "auto-response", "automatic response", "out of office", "out of the office", "on vacation", "vacation reply",
    "away from office", "abwesenheit", "abwesend", "automatische antwort", "außer haus", "ausser haus",
    "nicht im büro", "réponse automatique", "reponse automatique", "absence du bureau", "absent du bureau",
    "respuesta automática", "respuesta automatica", "fuera de la oficina", "fuera de oficina", "risposta automatica",
    "fuori ufficio", "resposta automática", "resposta automatica", "fora do escritório", "ausência temporária",
    "automatisch antwoord", "afwezigheid", "niet aanwezig", "automatiskt svar", "frånvaro", "automatisk svar",
    "autosvar", "fravær", "automaattinen vastaus", "poissa", "odpowiedź automatyczna", "automatyczna odpowiedź",
    "poza biurem", "automatická odpověď", "automatická odpoveď", "automatikus válasz", "házon kívül",
    "răspuns automat", "automatski odgovor", "samodejni odgovor", "автоматический ответ", "автоответ",
    "автоматична відповідь", "автоматичен отговор", "otomatik yanıt", "ofis dışında", "αυτόματη απάντηση",
    "自动回复", "自動回覆", "自動応答", "自動返信", "不在通知", "자동 회신", "부재중", "תשובה אוטומטית", "رد تلقائي",
    "trả lời tự động", "ตอบกลับอัตโนมัติ", "balasan otomatis", "vastus automaatne",
)  # fmt: skip
_SUBJECT_MARKS = re.compile(r"(?:[\s(*]|\[[^\]]{0,40}\]|(?:re|aw|sv|antw|fwd?|wg)\s*:)+", re.IGNORECASE)


def _auto_subject(mail: Mail, context: Context, settings: AutoReplyStage) -> str:
    subject = mail.headers.subject.casefold()
    marks = _SUBJECT_MARKS.match(subject)
    begun = subject[marks.end() if marks else 0 :].startswith(_AUTO_SUBJECTS)
    return "its subject is that of an automatic answer" if begun else ""


def _answered_lately(mail: Mail, context: Context, settings: AutoReplyStage) -> str:
    last = context.memory.answered.get(without_tag(return_address(mail, context)))
    lately = last is not None and context.now - last < settings.window
    return "this sender was answered lately" if lately else ""


def _too_many(mail: Mail, context: Context, settings: AutoReplyStage) -> str:
    if context.memory.replies_this_hour >= settings.per_hour:
        return f"{settings.per_hour} auto-replies went out in the last hour"
    domain = domain_of(return_address(mail, context))
    if context.memory.replies_to_domain.get(domain, 0) >= settings.per_domain_hour:
        return f"{settings.per_domain_hour} auto-replies went to {domain} in the last hour"
    return ""


def _degraded(mail: Mail, context: Context, settings: AutoReplyStage) -> str:
    if mail.headers.degraded:
        return f"its headers cannot be relied on: {mail.headers.degraded}"
    return "" if mail.headers.author else "its author cannot be told for sure"


_PLAIN_LOCAL = re.compile(r"[A-Za-z0-9.+_=/~^$#&*'?{}|`-]{1,64}")


def _odd_address(mail: Mail, context: Context, settings: AutoReplyStage) -> str:
    # Percent hacks, bang paths, quoted local parts and source routes would let a forger relay through us.
    local, _, domain = return_address(mail, context).rpartition("@")
    if _PLAIN_LOCAL.fullmatch(local) is None or domain.startswith("["):
        return "its return path is of a form that is not written to"
    return "" if normalise(f"x@{domain}").isascii() else "its return path has a domain that ASCII cannot carry"


ROWS = (
    Row(1, "switched off, outbound, or an old backlog", _off),
    Row(2, "first sync, renumbering, re-import", _before_activation),
    Row(3, "one answer for each mail taken", _answered),
    Row(4, "RFC 3834 section 2", _no_return_path),
    Row(5, "RFC 3834 section 5", lambda mail, *_: evidence.auto_submitted(mail.headers)),
    Row(6, "RFC 3464, RFC 8098, RFC 5965", _report),
    Row(7, "RFC 5230 section 4.6", lambda mail, *_: evidence.mailing_list(mail.headers)),
    Row(8, "RFC 2076 section 3.9", lambda mail, *_: evidence.precedence(mail.headers)),
    Row(9, "MS-OXCMAIL", lambda mail, *_: evidence.suppressed(mail.headers)),
    Row(10, "fields of answering machines", lambda mail, *_: evidence.auto_responder(mail.headers)),
    Row(11, "RFC 5230 section 4.6", _robot),
    Row(12, "loops within the installation", _own),
    Row(14, "a spam verdict, or a failed check of the sender (RFC 7489, RFC 7208)", _junk),
    Row(15, "RFC 5230 section 4.5", _not_to_us),
    Row(16, "loops", _loop),
    Row(17, "an answer to our auto-reply", _answers_auto_reply),
    Row(18, "one for a conversation", _continues),
    Row(19, "a guess from the subject", _auto_subject),
    Row(20, "RFC 5230 section 4.2", _answered_lately),
    Row(21, "brake on storms", _too_many),
    Row(22, "never answer what could not be read", _degraded),
    Row(23, "RFC 6531, RFC 5321 appendix C", _odd_address),
)
"""Row 13 needs to know which server's Authentication-Results can be relied on; that comes with the provider presets."""


def _answer(mail: Mail, context: Context, window: float) -> Send:
    """Row 24: the one reply (RFC 3834 section 3)."""
    touchpoint, headers = context.touchpoint, mail.headers
    local, _, domain = return_address(mail, context).rpartition("@")
    recipient = local + normalise(f"@{domain}")
    message_id = _message_id(mail, context)
    fields: list[tuple[str, str]] = [
        ("From", write_address(touchpoint.name, touchpoint.address)),
        ("To", write_address("", recipient)),
        ("Subject", _subject(mail, context)),
        ("Date", date_header(context.now)),
        ("Message-ID", Encoded(message_id)),
        ("In-Reply-To", write_ids([headers.message_id])),
        ("References", write_ids([*(one for one in headers.references if one != headers.message_id),
                                  headers.message_id])),
        ("Auto-Submitted", "auto-replied"),
        ("X-Auto-Response-Suppress", "All"),
        ("X-Postroom-Loop", context.installation.id),
    ]  # fmt: skip
    return Send(
        content=compose([field for field in fields if field[1]], touchpoint.auto_reply.text),
        envelope_sender="" if touchpoint.connection.null_sender else touchpoint.address,
        recipient=recipient,
        message_id=message_id,
        remember=without_tag(recipient),
        window=window,
    )


def _subject(mail: Mail, context: Context) -> str:
    return clean(context.touchpoint.auto_reply.subject or f"Auto: {mail.headers.subject}")[:MAX_SUBJECT].strip()


def _message_id(mail: Mail, context: Context) -> str:
    conversation = context.facts.conversation or conversation_key(context.touchpoint.id, mail.seed)
    seed = f"auto-reply\0{context.touchpoint.id}\0{mail.seed}".encode("utf-8", "surrogateescape")
    unique = hashlib.blake2b(seed, digest_size=10).hexdigest()
    return context.installation.message_ids.make(conversation, unique)


def _own_addresses(context: Context) -> frozenset[str]:
    touchpoint = context.touchpoint
    return frozenset(without_tag(one) for one in (touchpoint.address, *touchpoint.aliases))
