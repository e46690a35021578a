"""A raw disk file of which some sectors cannot be read: an error for the command, as a failing disk gives it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rescue.engine.rescue_map import RescueMap, Status, save_map
from rescue.model.extents import ExtentMap
from rescue.system.run import run


@contextmanager
def failing_disk(good: Path, at: Path, bad: ExtentMap) -> Iterator[None]:
    """Shows ``good`` at ``at``, where reads of ``bad`` (whole sectors) fail: nbdkit's ddrescue filter, shown by nbdfuse."""
    size = good.stat().st_size
    errors = RescueMap(size)
    errors.set(0, size, Status.RESCUED)
    for start, end in bad:
        errors.set(start, end, Status.BAD)
    mapfile = at.with_name(at.name + ".errors")
    save_map(mapfile, errors)
    at.touch()
    server = ["nbdkit", "-s", "-r", "--filter=ddrescue", "file", str(good), f"ddrescue-mapfile={mapfile}"]
    with subprocess.Popen(["nbdfuse", str(at), "--command", *server], stderr=subprocess.DEVNULL) as child:
        try:
            deadline = time.monotonic() + 30
            while at.stat().st_size != size:
                assert child.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.02)
            yield
        finally:
            run(["fusermount3", "-u", str(at)])
            child.wait()
