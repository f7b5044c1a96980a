"""What *large* is measured against on the way out: a script that reads a mail and hands it to aiosmtplib.

``large_peer PORT CA FILE``: it says ``ready``, sends when it is told to, says ``sent``, and waits to be ended.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
from pathlib import Path

import aiosmtplib

from tests.bench.large import ADDRESS, FAR, PASSWORD


async def main(port: int, ca_file: str, mail: Path) -> None:
    """Send one mail at a word on standard input."""
    context = ssl.create_default_context(cafile=ca_file)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    async with aiosmtplib.SMTP(
        hostname="localhost", port=port, start_tls=True, tls_context=context, username=ADDRESS, password=PASSWORD
    ) as client:
        await client.sendmail(ADDRESS, [FAR], mail.read_bytes())
        print("sent", flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3])))
