"""The fault bench: a house under load, a nemesis that breaks it, and a checker that evaluates invariants by number.

``./dev faults`` is the short run, ``./dev faults --release`` the long one. ``house.py`` is the daemon as a process of
its own between servers and clients that keep their own ledgers and survive it; ``workload.py`` is what they do;
``nemesis.py`` says when the daemon dies, and of what; ``checker.py`` lays the ledgers beside the database. Each family
of faults is a file ``f<n>_*.py`` with a ``NAME`` and a ``run(plan)`` that yields results.
"""
