"""One file for each screen; ``VIEW`` in it is the screen's class."""
