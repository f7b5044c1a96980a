"""The main job in twenty seconds: mail in, mail out, the provider dies in the middle and comes back, nothing is lost.

    1  a provider and the real daemon start; three touchpoints are furnished and connected
    2  the first half of the mail comes in, the first mails go out
    3  the provider stalls, then dies in the middle of a mail of 800 kB
    4  while it is dead, mail piles up at its doors, and the relay goes on accepting
    5  it comes back; everything that waited moves
    6  the two accounts are laid side by side (reckoning.py)

Every step waits for a fact, never for a time; a step whose fact does not come ends the demo with exit code 1.
Narration goes to stderr, the account to stdout.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import signal
import smtplib
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Sequence

from gateway.client import CallFailed, Unreachable
from gateway.control import GetStatus
from gateway.demo import corpus
from gateway.demo.corpus import Submission
from gateway.demo.house import PASSWORD, RUN, SIGNATURE, DemoFailed, House
from gateway.demo.living import live
from gateway.demo.press import SALES, SUPPORT, TOUCHPOINTS, Item
from gateway.demo.provider import Provider
from gateway.demo.reckoning import Evidence, Reckoning, Taken, reckon
from gateway.demo.senders import BIG
from gateway.demo.smtp_server import Submitted
from gateway.rows import MailRow, Status

_STEP_SECONDS = 25.0
_WHOLE_SECONDS = 50.0
_BEFORE = 3
"""Submissions before the outage; two more go out to a provider that has stopped answering."""
_STALLED = 2
_DYING = 5
"""Mails that come in while the provider is about to die, the big one first."""


async def play(*, as_json: bool, stay: bool) -> int:
    """Run the story; 0 if everything adds up."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    # Whatever ends the demo, the daemon that it started ends with it.
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    until = loop.time() + _WHOLE_SECONDS
    provider = Provider()
    await provider.start()
    try:
        _tell("starting a mail provider of our own on loopback, and the real daemon on a temporary store")
        async with House() as house:
            reckoning = await _played(provider, house, until)
            _print(reckoning, as_json=as_json)
            if stay:
                await _stay(provider, house)
            return 1 if reckoning.faults else 0
    except DemoFailed as failure:
        _tell(f"the demo failed: {failure}")
    finally:
        await provider.close()
    return 1


async def _played(provider: Provider, house: House, until: float) -> Reckoning:
    """The story's end, or DemoFailed with the daemon's last words."""
    try:
        async with asyncio.timeout_at(until):
            return await _Story(provider, house).run()
    except TimeoutError:
        why = f"it did not come to an end within {_WHOLE_SECONDS:.0f} s"
    except (CallFailed, Unreachable, OSError, smtplib.SMTPException) as error:
        why = str(error)
    raise DemoFailed(f"{why}\n{house.last_words()}")


def _tell(line: str) -> None:
    print(f"demo: {line}", file=sys.stderr, flush=True)


def _print(reckoning: Reckoning, *, as_json: bool) -> None:
    for fault in reckoning.faults:
        _tell(f"DOES NOT ADD UP: {fault}")
    if as_json:
        print(json.dumps(reckoning.figures | {"faults": list(reckoning.faults)}, ensure_ascii=False))
    else:
        print(reckoning.line, flush=True)


async def _stay(provider: Provider, house: House) -> None:
    """Keep everything alive, and offer the terminal UI on it, until somebody has seen enough."""
    living = asyncio.create_task(live(provider, lambda each: _hand_in(house.relay_port, each)))
    try:
        _tell("the demo lives on: mail comes and goes, and at times the provider dies for 10 s")
        _tell("try these in another terminal:")
        for command in ("tui", "status", "queue list", "why tenant.1@houses.test"):
            _tell(f"    postroom {command} --socket {house.socket}")
        while True:
            _tell("Enter opens the terminal UI on it; q and Enter ends the demo")
            if (await _line()).strip().lower() in ("q", "quit", "exit"):
                return
            if not (sys.stdin.isatty() and sys.stdout.isatty()):
                return
            await _watch(house)
    finally:
        living.cancel()
        await asyncio.gather(living, return_exceptions=True)


async def _watch(house: House) -> None:
    """The terminal UI in this terminal, until it is left."""
    ui = await asyncio.create_subprocess_exec(sys.executable, "-c", RUN, "tui", "--socket", str(house.socket))
    try:
        await ui.wait()
    finally:
        if ui.returncode is None:
            ui.terminate()
            await ui.wait()


async def _line() -> str:
    """What is typed, up to Enter; "q" where there is nobody to type."""
    typed: asyncio.Queue[str] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def read() -> None:
        text = sys.stdin.readline() or "q"
        with contextlib.suppress(RuntimeError):  # the loop has gone meanwhile
            loop.call_soon_threadsafe(typed.put_nowait, text)

    # A daemon thread, since nothing can end a read of the terminal when Ctrl-C comes instead of Enter.
    threading.Thread(target=read, daemon=True).start()
    return await typed.get()


class _Story:
    """One run, with what it has to remember."""

    def __init__(self, provider: Provider, house: House) -> None:
        self._provider = provider
        self._house = house
        now = time.time()
        self._incoming = list(corpus.mails(now))
        """What has not arrived at the provider yet."""
        self._outgoing = corpus.submissions(now)
        self._delivered: list[Item] = []
        self._accepted: list[Submission] = []

    async def run(self) -> Reckoning:
        """The story from its first step to its last."""
        await self._house.furnish(self._provider)
        _tell(f"three touchpoints are connected and active: {', '.join(TOUCHPOINTS)}")
        await self._first_half()
        await self._death()
        waiting = await self._outage()
        settled = await self._return(waiting)
        return await self._reckon(waiting, settled)

    # Steps --------------------------------------------------------------------------------------------------------

    async def _first_half(self) -> None:
        self._arrive(next(place for place, item in enumerate(self._incoming) if len(item.content) > BIG))
        await self._submit(self._outgoing[:_BEFORE])
        _tell(f"{len(self._delivered)} mails came in at the provider, {_BEFORE} went to the relay")
        answers = sum(item.answered for item in self._delivered)
        await self._until("the first mails to settle", lambda status: self._settled(status, answers))
        self._deliver([self._echo(1)])
        _tell("all of them are sorted or at the far end; a redirect sends one of our auto-replies back to us")
        await self._until("the loop to be stopped", lambda status: self._settled(status, answers))

    async def _death(self) -> None:
        """Mail on its way out and a mail half read: the worst moment to die."""
        self._provider.smtp.admitting.clear()
        await self._submit(self._outgoing[_BEFORE : _BEFORE + _STALLED])
        self._provider.cut_after(BIG // 2)
        self._arrive(_DYING)
        await self._wait("the provider to die", self._dead)
        _tell("the provider stopped answering, and died in the middle of a mail of 800 kB")

    async def _outage(self) -> int:
        """Both sides go on; how many mails wait when it ends."""
        self._arrive(len(self._incoming))
        self._deliver([self._echo(2), self._echo_of_relay()])
        await self._submit(self._outgoing[_BEFORE + _STALLED :])
        status = await self._until("the outage to be noticed", self._all_in_backoff)
        for row in status.touchpoints:
            _tell(f"{row.address}: {row.state} ({row.cause}), {row.parked} parked")
        waiting_in = len(self._delivered) - status.account["taken"]
        waiting_out = len(self._accepted) - len(self._far())
        _tell(f"{waiting_in} mails wait at the dead provider, {waiting_out} in our spool; the relay never said no")
        return waiting_in + waiting_out

    async def _return(self, waiting: int) -> int:
        """The provider is back; how many of the waiting mails have moved when all is quiet."""
        taken = (await self._status()).account["taken"]
        far = len(self._far())
        await self._provider.resume()
        _tell("the provider is back on the same ports")
        answers = sum(item.answered for item in self._delivered)
        status = await self._until("everything to settle", lambda status: self._settled(status, answers))
        settled = status.account["taken"] - taken + len(self._far()) - far
        _tell(f"{settled} of the {waiting} mails that waited have moved")
        return settled

    async def _reckon(self, waiting: int, settled: int) -> Reckoning:
        rows = await self._house.mails(direction="in")
        status = await self._status()
        evidence = Evidence(
            account=status.account,
            taken=[await self._taken(row) for row in rows],
            ledger=self._provider.ledger,
            items=self._delivered,
            submissions=self._accepted,
            arrived=self._provider.submitted,
            signature=SIGNATURE,
            waited=waiting,
            waited_and_delivered=settled,
        )
        return reckon(evidence)

    # Doing --------------------------------------------------------------------------------------------------------

    def _arrive(self, count: int) -> None:
        """The next mails of the corpus come in at the provider."""
        self._deliver(self._incoming[:count])
        del self._incoming[:count]

    def _deliver(self, items: Sequence[Item]) -> None:
        for item in items:
            self._provider.deliver(item.to, item.content, item.folder)
        self._delivered += items

    async def _submit(self, submissions: Sequence[Submission]) -> None:
        port = self._house.relay_port
        await asyncio.gather(*(asyncio.to_thread(_hand_in, port, each) for each in submissions))
        self._accepted += submissions

    def _echo(self, number: int) -> Item:
        reply = self._replies()[number - 1]
        return corpus.echo(number, SUPPORT, reply.content)

    def _echo_of_relay(self) -> Item:
        ours = next(mail for mail in self._far() if mail.sender == SALES)
        return corpus.echo(3, SALES, ours.content)

    # Looking ------------------------------------------------------------------------------------------------------

    def _far(self) -> list[Submitted]:
        """Relayed mail that arrived at the far end."""
        ids = {each.message_id for each in self._accepted}
        return [mail for mail in self._provider.submitted if mail.message_id in ids]

    def _replies(self) -> list[Submitted]:
        ids = {each.message_id for each in self._accepted}
        return [mail for mail in self._provider.submitted if mail.message_id not in ids]

    async def _taken(self, row: MailRow) -> Taken:
        content = await self._house.content(row.id)
        return Taken(touchpoint=row.touchpoint, state=row.state, digest=hashlib.sha256(content).hexdigest())

    async def _status(self) -> Status:
        return await self._house.client.call(GetStatus())

    def _settled(self, status: Status, answers: int) -> bool:
        """Whether all mail so far is where it ends, auto-replies at the far end included."""
        account = status.account
        return (
            account["taken"] >= len(self._delivered)
            and account["waiting_in"] == 0
            and account["delivered"] >= len(self._accepted)
            and len(self._far()) >= len(self._accepted)
            and len(self._replies()) >= answers
        )

    def _all_in_backoff(self, status: Status) -> bool:
        return all(row.state == "backoff" for row in status.touchpoints)

    async def _dead(self) -> bool:
        return not self._provider.alive

    async def _until(self, what: str, fact: Callable[[Status], bool]) -> Status:
        """Ask the daemon until a fact holds; the status that shows it."""
        found: list[Status] = []

        async def holds() -> bool:
            status = await self._status()
            found[:] = [status]
            return fact(status)

        await self._wait(what, holds)
        return found[0]

    async def _wait(self, what: str, fact: Callable[[], Awaitable[bool]]) -> None:
        try:
            async with asyncio.timeout(_STEP_SECONDS):
                while not await fact():
                    if not self._house.running:
                        raise DemoFailed(f"the daemon ended:\n{self._house.last_words()}")
                    await asyncio.sleep(0.05)
        except TimeoutError:
            status = await self._status()
            raise DemoFailed(
                f"waited {_STEP_SECONDS:.0f} s in vain for {what}\n{dict(status.account)}\n{self._house.last_words()}"
            ) from None


def _hand_in(port: int, submission: Submission) -> None:
    """Submit one mail as any SMTP client does."""
    with smtplib.SMTP("127.0.0.1", port, local_hostname="client.test", timeout=20) as client:
        client.ehlo()
        if client.has_extn("starttls"):
            # Unverified: a certificate of the demo's own proves nothing, and the wire is the loopback interface.
            client.starttls()
        client.login(submission.user, PASSWORD)
        client.sendmail(submission.sender, submission.recipients, submission.content)
