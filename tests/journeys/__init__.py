"""Numbered stories over the whole daemon."""
