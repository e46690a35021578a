"""Where jobs live: one folder each, readable by its owner only."""

from __future__ import annotations

import os
import secrets
import stat
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from rescue.errors import RescueError

PLAN: Final = "plan.json"
JOURNAL: Final = "events.jsonl"
LOCK: Final = "lock"  # held by the job's process as long as it lives
PROCESS: Final = "process.json"


def jobs_root(environment: Mapping[str, str], uid: int) -> Path:
    """The folder of all jobs of a user; RESCUE_JOBS overrides it."""
    if environment.get("RESCUE_JOBS"):
        return Path(environment["RESCUE_JOBS"]).absolute()
    if uid == 0:
        return Path("/run/rescue/jobs")
    if environment.get("XDG_RUNTIME_DIR"):
        return Path(environment["XDG_RUNTIME_DIR"]) / "rescue" / "jobs"
    return Path(tempfile.gettempdir()) / f"rescue-{uid}" / "jobs"


def make_folder(root: Path, kind: str) -> Path:
    """A new, empty folder for one job. Raises RescueError, also when ``root`` is not ours alone to write to."""
    try:
        root.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        root.mkdir(mode=0o700, exist_ok=True)
        for folder in (root.parent, root):
            state = folder.lstat()
            # In a shared folder somebody else could have made it first, and put a plan of his own into our job.
            if not stat.S_ISDIR(state.st_mode) or state.st_uid not in (0, os.geteuid()):
                raise RescueError(f"{folder} belongs to somebody else.", "Remove it, or set RESCUE_JOBS to a folder of your own.")
        while True:
            folder = root / f"{time.strftime('%Y%m%d-%H%M%S')}-{kind}-{secrets.token_hex(2)}"
            try:
                folder.mkdir(mode=0o700)
            except FileExistsError:
                continue
            return folder
    except OSError as error:
        raise RescueError(f"No folder for the job can be made in {root}: {error.strerror}.") from error
