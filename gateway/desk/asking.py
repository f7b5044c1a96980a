"""The call that answers "why?": from our books, and from the servers where our books know nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway import finding, views, why
from gateway.control import Role, Why
from gateway.desk.parts import Parts
from gateway.finding import day
from gateway.rows import Finding, LedgerRow, MailDetail, MailRow, WhyAnswer
from gateway.searching import search
from gateway.server import Caller
from gateway.why import Question
from pipeline.errors import Refused
from pipeline.store import Tx

_MOST_ANSWERS = 5
_MOST_REFUSALS = 3
_WHEN = ("", "never", "always")
_ASKERS = frozenset({Role.OPS, Role.ADMIN})
"""Who may have servers asked: it takes the touchpoint's credentials."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Books:
    """What our books say."""

    mails: tuple[MailDetail, ...]
    rows: tuple[MailRow, ...]
    items: tuple[LedgerRow, ...]
    findings: tuple[Finding, ...]
    more: bool


class Asking:
    """Answers the question "why?"."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def why(self, call: Why, caller: Caller) -> WhyAnswer:
        """What became of a mail."""
        if call.servers not in _WHEN:
            raise Refused(f"servers are asked never, always, or where our books know nothing; not {call.servers!a:.40}")
        scene = self._parts.scene
        asked = why.questions(scene, call)
        for each in asked:
            books = await self._books(each)
            if known := bool(books.mails or books.items):
                break
        findings = list(books.findings)
        if call.servers == "always" or (not known and call.servers != "never"):
            findings += await self._servers(asked, caller)
        if not known and (numbers := sorted({each.mail for each in findings if each.mail}, reverse=True)):
            found = await self._found(numbers)
            books, known = found, True
            findings = [*found.findings, *(each for each in findings if not each.mail)]
        if not known:
            findings += self._refusals(asked)
        if not findings:
            findings.append(_nothing(call))
        return WhyAnswer(
            mails=books.mails, items=books.items, more=books.more, candidates=books.rows, findings=tuple(findings)
        )

    async def _books(self, asked: Question) -> _Books:
        def work(tx: Tx) -> _Books:
            ids, more = why.candidates(tx, asked)
            return self._told(tx, ids, () if ids else tuple(why.items(tx, asked)), more=more)

        return await self._parts.store.read(work)

    async def _found(self, ids: list[int]) -> _Books:
        """Mails that the servers led to: without their bytes our books do not know what they say."""
        return await self._parts.store.read(lambda tx: self._told(tx, ids, (), more=False))

    def _told(self, tx: Tx, ids: list[int], items: tuple[LedgerRow, ...], *, more: bool) -> _Books:
        scene = self._parts.scene
        mails = tuple(views.mail_detail(tx, scene, number) for number in ids[:_MOST_ANSWERS])
        rows = sorted(views.mail_rows(tx, scene, ids), key=lambda row: -row.id) if len(ids) > 1 else []
        return _Books(
            mails=mails,
            rows=tuple(rows),
            items=items,
            findings=(
                *(finding.of_mail(tx, scene, each) for each in mails),
                *(finding.of_item(tx, each) for each in items),
            ),
            more=more,
        )

    async def _servers(self, asked: Sequence[Question], caller: Caller) -> list[Finding]:
        if asked[0].id or self._parts.services is None:
            return []
        if _ASKERS.isdisjoint(caller.roles):
            words = "Our books do not know it. The servers were not asked: that is for ops."
            return [Finding(kind="not-asked", words=words, command="postroom whoami")]
        return await search(self._parts.services, self._parts.scene, asked)

    def _refusals(self, all_asked: Sequence[Question]) -> list[Finding]:
        """What the relay refused lately: a mail of ours that nobody ever accepted leaves no other trace."""
        asked = all_asked[-1]
        ours = self._parts.house.directory.find(asked.author) is not None
        outward = asked.message_id or not asked.author or ours
        last = [
            row
            for row in self._parts.house.relay_watch.state().refusals
            if asked.since <= row.at < (asked.until or float("inf"))
        ]
        if not outward or not last:
            return []
        said = "; ".join(
            f"{day(row.at)} from {row.peer}{f' ({row.user})' if row.user else ''}: {row.code} {row.text}"
            for row in last[:_MOST_REFUSALS]
        )
        words = (
            "If it was handed in to the relay, it was never accepted: what is refused gets no mail here."
            f" The relay refused {len(last)} lately, the last: {said}."
        )
        return [Finding(kind="refused", words=words, command="postroom relay show", since=last[0].at)]


def _nothing(call: Why) -> Finding:
    words = "No such mail was ever seen here: not fetched by any touchpoint, not accepted by the relay."
    command = "postroom status"
    if call.since or call.until:
        words += " Other days were not looked at."
    return Finding(kind="nothing", words=words, command=command)
