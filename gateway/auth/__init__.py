"""Credentials: sealed at rest here; the sign-in at providers comes beside it."""
