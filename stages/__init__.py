"""The stages of the lines, one decision per file; they import ``pipeline`` only, never each other."""
