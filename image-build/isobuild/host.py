"""The machine that builds: messages, programs, temporary mounts."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

_STARTED = time.monotonic()


class BuildError(Exception):
    """The build cannot go on; the text says what to do."""


def say(text: str) -> None:
    """Print one line of progress with the seconds since the start."""
    print(f"[{time.monotonic() - _STARTED:6.1f} s] {text}", file=sys.stderr, flush=True)


def run(arguments: Sequence[str | Path], *, log: Path | None = None, environment: Mapping[str, str] | None = None) -> None:
    """Run a program, its output into `log` if given. Raises BuildError with the end of the output if it fails."""
    words = [str(argument) for argument in arguments]
    settings = {**os.environ, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive", **(environment or {})}
    if log is None:
        done = subprocess.run(words, env=settings, stdin=subprocess.DEVNULL, check=False)
        tail = ""
    else:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            done = subprocess.run(words, env=settings, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False)
        tail = "\n" + "\n".join(log.read_text(errors="replace").splitlines()[-40:]) + f"\n(whole output: {log})"
    if done.returncode != 0:
        raise BuildError(f"exit code {done.returncode} from: {shlex.join(words)[:300]}{tail}")


def output_of(arguments: Sequence[str | Path], *, directory: Path) -> str | None:
    """Return what a program prints, without the last newline, or None if it fails or is not there."""
    try:
        done = subprocess.run([str(a) for a in arguments], cwd=directory, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
