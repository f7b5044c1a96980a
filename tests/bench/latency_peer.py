"""What *latency* is measured against: a script that waits in IDLE by aioimaplib, and fetches what comes into files.

``latency_peer PORT CA FOLDER ADDRESS...``: each mail is a file, synced to the disk, before its Message-ID is said on
standard output. It says ``ready`` when all mailboxes are in IDLE for the first time, and runs until it is ended.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import ssl
import sys
from pathlib import Path

from aioimaplib import aioimaplib

from tests.bench.latency import PASSWORD


async def follow(user: str, port: int, context: ssl.SSLContext, folder: Path, ready: asyncio.Semaphore) -> None:
    """Wait for mail in one mailbox, and take it, again and again."""
    client = aioimaplib.IMAP4_SSL("localhost", port, ssl_context=context)
    await client.wait_hello_from_server()
    await client.login(user, PASSWORD)
    opened = re.search(rb"UIDNEXT (\d+)", b" ".join(map(bytes, (await client.select("INBOX")).lines)))
    if opened is None:
        raise RuntimeError(f"{user} cannot be opened")
    last = int(opened[1]) - 1
    while True:
        idle = await client.idle_start(timeout=600)
        ready.release()
        await client.wait_server_push()
        client.idle_done()
        await asyncio.wait_for(idle, 10)
        last = await take(client, last, user, folder)


async def take(client: aioimaplib.IMAP4_SSL, last: int, user: str, folder: Path) -> int:
    """Fetch what lies behind a UID; the last one now."""
    _, lines = await client.uid("fetch", f"{last + 1}:*", "(UID BODY.PEEK[])")
    for line, mail in itertools.pairwise(lines):
        found = re.search(rb"UID (\d+) BODY\[\] \{\d+\}$", bytes(line))
        if found and int(found[1]) > last:  # n:* names the last one even below n
            last = int(found[1])
            store(folder / f"{user}.{last}", bytes(mail))
    return last


def store(path: Path, mail: bytes) -> None:
    """Keep a mail so that it survives a power cut, then say so."""
    with open(path, "wb", buffering=0) as file:
        file.write(mail)
        os.fsync(file.fileno())
    name = re.search(rb"^Message-ID: (\S+)", mail, re.MULTILINE)
    print(name[1].decode() if name else "", flush=True)


async def main(port: int, ca_file: str, folder: Path, users: list[str]) -> None:
    """All mailboxes at once."""
    context, ready = ssl.create_default_context(cafile=ca_file), asyncio.Semaphore(0)
    async with asyncio.TaskGroup() as tasks:
        for user in users:
            tasks.create_task(follow(user, port, context, folder, ready))
        for _ in users:
            await ready.acquire()
        print("ready", flush=True)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), sys.argv[4:]))
