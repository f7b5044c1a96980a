"""mbsync of isync as a peer: one mailbox into a Maildir, durably (``FSync yes``)."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench.processes import peak

CONFIG = """
FSync yes

IMAPStore far
Host {host}
Port {port}
User {user}
Pass {password}
{tls}
AuthMechs LOGIN

MaildirStore near
Path {home}/mail/
Inbox {home}/mail/INBOX

Channel all
Far :far:INBOX
Near :near:INBOX
MaxSize 0
Sync Pull
Create Near
SyncState {home}/state/
"""
PATIENCE = 1800.0
_LOOK = 0.01


def configure(home: Path, *, host: str, port: int, tls: str, user: str, password: str) -> Path:
    """Make an empty place and the settings for it; ``tls`` is the lines about it."""
    for name in ("mail", "state"):
        (home / name).mkdir(parents=True, exist_ok=True)
    path = home / "mbsyncrc"
    path.write_text(
        CONFIG.format(host=host, port=port, tls=tls, user=user, password=password, home=home), encoding="utf-8"
    )
    return path


def watched(config: Path) -> tuple[int, float]:
    """Run it; its peak memory in bytes, looked at every 10 ms, and seconds."""
    start = time.perf_counter()
    with subprocess.Popen(
        ["mbsync", "-q", "-c", str(config), "all"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={"HOME": str(config.parent), "PATH": os.environ["PATH"]},
    ) as process:
        held = 0
        while process.poll() is None:
            if time.perf_counter() - start > PATIENCE:
                process.kill()
            try:
                held = max(held, peak(process.pid))
            except RuntimeError:  # it ended between the two looks
                break
            time.sleep(_LOOK)
        seconds = time.perf_counter() - start
        words = process.stderr.read() if process.stderr is not None else ""
    if process.returncode != 0:
        raise RuntimeError(f"mbsync failed: {words}")
    return held, seconds


def mails(home: Path) -> Iterator[Path]:
    """What it stored."""
    for folder in ("new", "cur"):
        yield from (home / "mail" / "INBOX" / folder).iterdir()
