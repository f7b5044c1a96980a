"""Learns what a mail is: ours or not, written by whom, part of which conversation. First stage of both lines.

It stops loops and copies of our own mail, applies the touchpoint's direction, and hands all it learnt to the stages
behind it as ``Facts``. It never stops a mail for what it quotes: a person who answers us passes, whatever ids stand
in References. A header alone never joins a conversation either; the author must take part in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pipeline import evidence
from pipeline.bounce import Report, classify, read_bounce
from pipeline.conversation import Known, conversation_key, find
from pipeline.mail import Bounce, Direction, Facts, Kind, Mail
from pipeline.stage import Context
from pipeline.touchpoint import DirectionType, normalise, without_tag
from pipeline.verdict import HoldCause, Verdict, held, passed, rejected, stopped


@dataclass(frozen=True, kw_only=True, slots=True)
class IngestStage:
    """Classify a mail and find its conversation; loops, own copies and the wrong direction end here."""

    async def __call__(self, mail: Mail, context: Context) -> Verdict:
        """Awaits nothing."""
        return _outbound(mail, context) if mail.direction is Direction.OUT else _inbound(mail, context)


def _inbound(mail: Mail, context: Context) -> Verdict:
    facts = _learn(mail, context)
    if not mail.headers.author and not mail.headers.fields:
        return held(HoldCause.UNDECODABLE, "there is no header field that can be read in it", facts=facts)
    if end := _loop(mail, context) or _own_copy(mail, context):
        return stopped(end, facts=Facts(kind=Kind.OWN, why=end, conversation=facts.conversation))
    reason = _told(facts)
    new = not facts.continues and not facts.answers
    if new and context.touchpoint.direction is DirectionType.OUTBOUND:
        text = f"this touchpoint takes in answers only, and this mail starts a conversation ({reason})"
        return held(HoldCause.DIRECTION, text, facts=facts)
    return passed(reason, facts=facts)


def _outbound(mail: Mail, context: Context) -> Verdict:
    # RFC 3463 section 3.5: X.4.6 is a routing loop, X.7.1 is not authorised.
    if loop := _loop(mail, context):
        return rejected("5.4.6", loop)
    recipients = [normalise(one) for one in mail.envelope.recipients]
    known = _join(mail.headers.references, recipients, context)
    if known is None and context.touchpoint.direction is DirectionType.INBOUND:
        text = "this touchpoint only answers: no conversation of it with one of the recipients is referred to"
        return rejected("5.7.1", text)
    why = evidence.auto_submitted(mail.headers)
    kind = Kind.AUTO if why else Kind.PERSON
    facts = _facts(mail, context, known, kind=kind, why=why)
    return passed(_told(facts), facts=facts)


def _learn(mail: Mail, context: Context) -> Facts:
    """What kind of mail it is, and the conversation it joins or opens."""
    kind, why, bounce = _kind(mail, context)
    if bounce is None:
        author = mail.headers.author
        known = _join(mail.headers.references, [author] if author else [], context)
        return _facts(mail, context, known, kind=kind, why=why)
    # RFC 3464: a bounce is nobody's mail, so it joins by what was sent, never by its author.
    ids = bounce.message_ids
    answers = dict.fromkeys(entry for one in ids for entry in context.memory.sent.get(one, ()))
    known = next((one for message_id in ids if _ours(message_id, context) for one in _named(message_id, context)), None)
    why = why if answers else f"{why}; it matches nothing that was sent from here"
    return _facts(mail, context, known, kind=kind, why=why, bounce=bounce, answers=tuple(answers))


def _kind(mail: Mail, context: Context) -> tuple[Kind, str, Bounce | None]:
    """The kind, its evidence in words, and what a bounce says."""
    headers = mail.headers
    report = classify(mail)
    if report is Report.DELIVERY and (bounce := read_bounce(mail)) is not None:
        said = " ".join(filter(None, (bounce.action, bounce.status)))
        return Kind.BOUNCE, f"a delivery status notification{': ' + said if said else ''}", bounce
    if headers.author and without_tag(headers.author) in context.installation.addresses:
        return Kind.OWN, "its author is an address of this installation", None
    if report is not None:
        return Kind.AUTO, f"a report ({report})", None
    if why := evidence.mailing_list(headers):
        return Kind.LIST, why, None
    why = (
        evidence.auto_submitted(headers)
        or evidence.precedence(headers)
        or evidence.suppressed(headers)
        or evidence.auto_responder(headers)
    )
    return (Kind.AUTO, why, None) if why else (Kind.PERSON, "", None)


def _loop(mail: Mail, context: Context) -> str:
    return evidence.looped(mail.headers, context.installation.id) or evidence.hops(mail.headers)


def _own_copy(mail: Mail, context: Context) -> str:
    """Written by this very touchpoint, under a Message-ID that we gave or sent."""
    author = mail.headers.author
    touchpoint = context.touchpoint
    if not author or not _ours(mail.headers.message_id, context):
        return ""
    own = {without_tag(one) for one in (touchpoint.address, *touchpoint.aliases)}
    return "a copy of our own mail" if without_tag(author) in own else ""


def _ours(message_id: str, context: Context) -> bool:
    signed = context.installation.message_ids.conversation_of(message_id)
    return signed is not None or message_id in context.memory.sent


def _join(references: tuple[str, ...], people: Iterable[str], context: Context) -> Known | None:
    """The conversation that the latest reference names and in which one of ``people`` takes part."""
    for message_id in reversed(references):
        pairs = [(message_id, known) for known in _named(message_id, context)]
        for person in people if pairs else ():
            if (known := find((message_id,), person, pairs)) is not None:
                return known
    return None


def _named(message_id: str, context: Context) -> Iterator[Known]:
    """Conversations that hold a Message-ID, and the one that it names under our own hand."""
    yield from context.memory.by_reference.get(message_id, ())
    key = context.installation.message_ids.conversation_of(message_id)
    if key is not None and key in context.memory.by_key:
        yield context.memory.by_key[key]


def _facts(
    mail: Mail,
    context: Context,
    known: Known | None,
    *,
    kind: Kind,
    why: str,
    bounce: Bounce | None = None,
    answers: tuple[int, ...] = (),
) -> Facts:
    return Facts(
        kind=kind,
        why=why,
        conversation=known.key if known else conversation_key(context.touchpoint.id, mail.seed),
        continues=known is not None,
        bounce=bounce,
        answers=answers,
    )


def _told(facts: Facts) -> str:
    what = {
        Kind.PERSON: "from a person",
        Kind.AUTO: "generated by a program",
        Kind.LIST: "from a mailing list",
        Kind.BOUNCE: "a bounce",
        Kind.OWN: "from this installation",
    }[facts.kind]
    where = "continues a conversation" if facts.continues else "starts a conversation"
    return f"{what}{f' ({facts.why})' if facts.why else ''}; {where}"
