"""A shell on this terminal."""

from __future__ import annotations

import os
import subprocess


def open_shell() -> None:
    """Run an interactive shell until it ends.

    Not through ``system.run``: that one captures output and bounds time, and this one belongs to the person.
    """
    print("\nType exit to come back to Rescue.\n", flush=True)
    subprocess.run([os.environ.get("SHELL", "/bin/sh")], check=False)
