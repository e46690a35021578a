"""Rescue: disk images, bare-metal restore, and proof before "done"."""

__version__ = "0.1.0"
