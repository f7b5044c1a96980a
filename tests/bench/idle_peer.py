"""What *idle* is measured against: a script that waits for mail in many mailboxes by aioimaplib, as people write it.

``idle_peer LOOP PORT CA COUNT``: LOOP is asyncio or uvloop. All connections share one verifying context, which is the
thriftiest way to do it. It says ``ready`` when every connection is in IDLE, and ``woken`` for each one that hears of
mail; it ends with its standard input.
"""

from __future__ import annotations

import asyncio
import ssl
import sys

from aioimaplib import aioimaplib

from tests.bench.idle import PASSWORD, address

AT_ONCE = 20
"""Sign-ins under way."""


async def main(port: int, ca_file: str, count: int) -> None:
    """Be in IDLE with all of them until nobody wants that any more."""
    context, gate = ssl.create_default_context(cafile=ca_file), asyncio.Semaphore(AT_ONCE)

    async def wait_for_mail(number: int) -> None:
        async with gate:
            client = aioimaplib.IMAP4_SSL("localhost", port, ssl_context=context)
            await client.wait_hello_from_server()
            for answer in (await client.login(address(number), PASSWORD), await client.select("INBOX")):
                if answer.result != "OK":
                    raise RuntimeError(str(answer.lines))
            await client.idle_start()
        arrived.release()
        await client.wait_server_push()
        print("woken", flush=True)
        await asyncio.Event().wait()

    arrived = asyncio.Semaphore(0)
    async with asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(wait_for_mail(number)) for number in range(count)]
        for _ in waiting:
            await arrived.acquire()
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)
        for task in waiting:
            task.cancel()


if __name__ == "__main__":
    if sys.argv[1] == "uvloop":
        import uvloop

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    asyncio.run(main(int(sys.argv[2]), sys.argv[3], int(sys.argv[4])))
