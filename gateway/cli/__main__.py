"""``python -m gateway.cli``: the command line without its entry script."""

from gateway.cli import main

raise SystemExit(main())
