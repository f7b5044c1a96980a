"""The terminal UI will live here: a guest of the daemon that knows only the wire protocol."""
