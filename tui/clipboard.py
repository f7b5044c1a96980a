"""Copy over SSH: into the clipboard of the terminal that the person sits at, not of the host.

OSC 52 is what carries it; inside tmux its buffer is set as well, and ``-w`` makes tmux pass it on outwards. Terminals
drop sequences that are too long, so there is a cap, and ``V`` shows the text for selecting by hand.
"""

from __future__ import annotations

import base64
import os
import subprocess
from collections.abc import Callable
from contextlib import suppress

CAP = 74_994
"""Bytes of base64 that terminals take."""
SECONDS = 2.0


def copy(text: str, write: Callable[[str], object]) -> str:
    """Copy a text; ``write`` writes to the terminal. Says where it went, in words."""
    encoded = base64.b64encode(text.encode("utf-8", "replace")).decode("ascii")
    if len(encoded) > CAP:
        return f"too long to copy ({len(encoded):,} of {CAP:,} bytes): V shows it for selecting"
    write(f"\x1b]52;c;{encoded}\x07")
    where = "the clipboard (OSC 52)"
    if os.environ.get("TMUX") and _tmux(text):
        where = "the tmux buffer and the clipboard (OSC 52)"
    return f"copied to {where}; V shows it for selecting"


def _tmux(text: str) -> bool:
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(
            ["tmux", "load-buffer", "-w", "-"], input=text.encode("utf-8", "replace"),
            capture_output=True, timeout=SECONDS, check=False,
        )  # fmt: skip
        return done.returncode == 0
    return False
