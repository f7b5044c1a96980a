"""Everything of Postroom that touches the world: sockets, clocks, providers, people."""

__version__ = "0.1.0"
