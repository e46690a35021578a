"""A backup that is killed while the file systems of its image are open leaves no mount, no device and no process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from rescue.system.run import run

pytestmark = pytest.mark.engine

# Stops in the middle of reading the files of the first volume: everything is open then.
_SCRIPT = """
import sys, time
from rescue.engine import mounting
from rescue.images.chain import Chain
from rescue.model.progress import CancelToken

def wait(*arguments):
    print("open", flush=True)
    time.sleep(1000)

mounting.read_sample = wait
with Chain(sys.argv[1]) as chain:
    mounting.prove_mounts(chain, token=CancelToken(), progress=lambda d, t: None, notify=lambda m: None)
"""


def _traces(folder: str) -> list[str]:
    """Processes, mounts of any process, and loop devices that have to do with a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if folder.encode() in (process / "cmdline").read_bytes() or folder in (process / "mounts").read_text():
                found.append(process.name)
        except OSError:
            continue
    loops = run(["losetup", "--list", "--noheadings", "--output", "NAME,BACK-FILE"]).text
    return found + [line for line in loops.splitlines() if folder in line]


def test_nothing_survives_a_kill(image: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="p-") as folder:
        child = subprocess.Popen(
            [sys.executable, "-c", _SCRIPT, str(image)], stdout=subprocess.PIPE, env={**os.environ, "TMPDIR": folder}
        )
        assert child.stdout is not None
        assert child.stdout.readline() == b"open\n"
        assert folder not in Path("/proc/self/mounts").read_text()  # nobody else sees it
        assert _traces(folder)
        loops = {line.split()[0] for line in _traces(folder) if line.startswith("/dev/loop")}
        assert loops
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        deadline = time.monotonic() + 30
        # The path of what is behind a loop device is shortened when the mount that it was on has gone.
        while traces := _traces(folder) + [line for line in _traces("/disk") if line.split()[0] in loops]:
            assert time.monotonic() < deadline, traces
            time.sleep(0.05)
