"""Servers for tests: real ones started on loopback with throw-away state, and hostile ones played by script."""
