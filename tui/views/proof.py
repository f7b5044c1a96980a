"""The proof that nothing is lost, asked for from the overview and from a touchpoint, and shown as a text to read."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

from gateway.control import MissingRow, Proof, Prove, ShowProving
from tui.views.stations import number

if TYPE_CHECKING:
    from tui.acts import Rows
    from tui.view import View

PAUSE = 1.0
"""Seconds between two looks at how far it is."""
IN = (
    ("queued", "queued"),
    ("stopped", "stopped"),
    ("held", "held"),
    ("waiting", "waiting"),
    ("dropped", "dropped"),
    ("pending", "pending: the server did not give them out yet"),
    ("moved", "moved from another folder"),
    ("older", "older than the first connect"),
    ("skipped", "left alone, as a person said"),
    ("gone", "gone before they were fetched"),
    ("not_taken", "not yet taken"),
)
OUT = (
    ("delivered", "delivered"),
    ("waiting", "waiting"),
    ("parked", "parked"),
    ("unknown", "of unknown outcome"),
    ("held", "held"),
    ("failed", "failed"),
    ("dropped", "dropped"),
)


async def prove_all(view: View, rows: Rows) -> None:
    """All touchpoints and all mail."""
    await _prove(view, Prove(), "everything")


async def prove_one(view: View, rows: Rows) -> None:
    """One touchpoint."""
    await _prove(view, Prove(touchpoint=str(rows[0].id)), rows[0].address)


async def _prove(view: View, call: Prove, about: str) -> None:
    from tui.dialogs import Show

    ui = view.ui
    asking = asyncio.ensure_future(ui.call(call))
    done = False
    while not done:
        at = await ui.call(ShowProving())
        words = f"{at.step}, {at.done} of {at.of} touchpoints" if at.running else "asking the servers"
        ui.say(f"proving: {words}", seconds=30.0)
        done = bool((await asyncio.wait({asking}, timeout=PAUSE))[0])
    proof = await asking
    ui.say("nothing is missing" if not proof.missing else f"{number(proof.missing)} missing",
           "bad" if proof.missing else "warn" if proof.unproven else "good")  # fmt: skip
    await ui.ask(Show(ui, f"proof of {about}", "\n".join(report(proof))))


def report(proof: Proof) -> list[str]:
    """A proof in lines."""
    told = [f"{number(proof.missing)} missing" if proof.missing else "Nothing is missing."]
    if proof.unproven:
        told.append(f"{number(proof.unproven)} of {number(proof.asked)} touchpoints could not be asked.")
    told += ["", *_account("In", proof.inward, IN), "", *_account("Out", proof.outward, OUT)]
    if proof.untold:
        told += ["", f"Of {number(proof.untold)} failed mails no notice tells."]
    if proof.touchpoints:
        told += ["", *(f"{'' if row.proven else 'not proven: '}{row.touchpoint}: {row.words}"
                       for row in proof.touchpoints)]  # fmt: skip
    if proof.found:
        told += ["", "Missing:", *map(_line, proof.found)]
    if (more := proof.missing - len(proof.found)) > 0:
        told.append(f"and {number(more)} more")
    return told


def _account(title: str, places: Mapping[str, int], order: tuple[tuple[str, str], ...]) -> list[str]:
    total = sum(places.get(place, 0) for place, _ in order) + places.get("missing", 0)
    rows = [f"{number(places[place]):>12}  {words}" for place, words in order if places.get(place)]
    return [f"{title} {number(total)}", *rows, f"{number(places.get('missing', 0)):>12}  missing"]


def _line(row: MissingRow) -> str:
    place = f"{row.folder} uid {row.remote_id}" if row.remote_id else row.folder
    mail = f"mail {row.id}" if row.id else ""
    where = ", ".join(filter(None, (row.touchpoint, place, mail, row.message_id, row.subject)))
    return f"{where or 'the books'}: {row.words}"
