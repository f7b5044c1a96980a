"""A daemon that is the real one but for what its environment says: ``python -m tests.scenarios.odd run ...``.

``ODD_DIES`` names a file: if it is there, the process removes it and ends by SIGKILL where it would store the server's
answer to a send, in the one window in which nobody can know. ``ODD_GRACE`` is how many seconds a mail in hand has when
the daemon stops. The looks into Sent, two minutes as a rule, take a second.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import gateway.daemon
import pipeline.unknown
from gateway.cli import main
from pipeline.spool import Spool

pipeline.unknown.LOOKS = (0.2, 0.2, 0.2, 0.4)
if "ODD_GRACE" in os.environ:
    gateway.daemon.GRACE = 2 * float(os.environ["ODD_GRACE"])

_settle = Spool.settle


async def _dying(self: Spool, *of: Any, **by: Any) -> Any:
    mine = Path(os.environ.get("ODD_DIES", "/nowhere"))
    if mine.exists():
        mine.unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    return await _settle(self, *of, **by)


Spool.settle = _dying  # type: ignore[method-assign]

if __name__ == "__main__":
    sys.exit(main())
