"""Fetches the bytes of held mail that a person let go on; ``receiver.py`` knows when, ``refetch.py`` has the rules.

One item at a time, streamed, whatever its size. Each try is counted before it is made, and noted in the flight note:
an item that breaks the connection waits like any other that does not come, and one that kills the process is poison
again. Nothing else of the mailbox waits for it longer than for a fetch.
"""

from __future__ import annotations

import hashlib

from gateway.connectors import Fetched, Folder, FolderRole, Missing, Receiving, Ref
from gateway.events import MailFact, MailWhat
from gateway.services import Services
from pipeline import refetch, strikes
from pipeline.errors import CursorLost
from pipeline.headers import Headers
from pipeline.mail import OPENING, Direction, Envelope, Mail
from pipeline.refetch import Came
from pipeline.retry import pending_delay
from pipeline.store import Row, Tx
from pipeline.store.content import ContentWriter
from pipeline.strikes import OUT, InHand


async def fetch_again(services: Services, connector: Receiving, folder: Folder, item: Row) -> None:
    """Ask a server for an item of the ledger that is due again, and make what comes durable."""
    touchpoint_id: int = item["touchpoint_id"]
    struck = await services.store.read(lambda tx: strikes.load(tx, touchpoint_id, item["folder"], item["epoch"]))
    if (count := struck.of(item["remote_id"])) >= OUT:
        await services.store.write(lambda tx: refetch.killed_again(tx, item, count))
        return _tell(services, item, "poison again")
    due = services.clock() + pending_delay(item["attempts"] + 1, services.chance())
    entry = await services.store.write(lambda tx: refetch.begin(tx, item, due))
    if entry is None:
        return None
    answer = await _fetched(services, connector, item)
    match answer:
        case Fetched():
            await _keep(services, folder, item, entry, answer)
        case Missing(gone=True):
            await services.store.write(lambda tx: refetch.gone(tx, item))
        case Missing() as missing:
            await services.store.write(lambda tx: refetch.did_not_come(tx, item, missing.error))
    return _tell(services, item, "fetched" if isinstance(answer, Fetched) else "not fetched")


async def _fetched(services: Services, connector: Receiving, item: Row) -> Fetched | Missing:
    ref = Ref(item["folder"], item["epoch"], item["remote_id"], item["internaldate"], item["size"])
    hand = InHand(touchpoint_id=item["touchpoint_id"], folder=ref.folder, epoch=ref.epoch, low=ref.remote_id,
                  high=ref.remote_id, phase="fetch")  # fmt: skip
    reserved = await services.budget.take(min(ref.size, OPENING))
    try:
        with services.flight.holding(hand):
            answers = [a async for a in connector.fetch([ref], lambda: ContentWriter(services.store))]
    except CursorLost as error:  # the next sweep finds the same, and renumbers
        return Missing(ref=ref, gone=False, error=str(error))
    finally:
        await services.budget.give_back(reserved)
    return answers[0] if answers else Missing(ref=ref, gone=False, error="the server said nothing about it")


async def _keep(services: Services, folder: Folder, item: Row, entry: Row, fetched: Fetched) -> None:
    opening = fetched.data[:OPENING] if fetched.data else fetched.opening
    headers = Headers.scan(opening)
    mail = Mail(
        direction=Direction.IN,
        envelope=Envelope(sender=headers.return_path),
        opening=opening,
        headers=headers,
        size=fetched.size,
        received_at=entry["received_at"],
        seed=entry["seed"],
        sha256=fetched.sha256 or hashlib.sha256(fetched.data).digest(),
        junk=folder.role is FolderRole.JUNK,
    )
    found = Came(mail=mail, data=fetched.data, content_id=fetched.content_id)
    touchpoint = services.directory.touchpoints[item["touchpoint_id"]]
    now = services.clock()

    def work(tx: Tx) -> bool:
        return refetch.came(tx, item, entry, found, touchpoint.connection.mark, now)

    await services.store.write(work, size=len(fetched.data))


def _tell(services: Services, item: Row, words: str) -> None:
    services.events.publish(MailFact(MailWhat.CHANGED, item["entry_id"], item["touchpoint_id"], words))
