"""One suite that every connector must pass."""
