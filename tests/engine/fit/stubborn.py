"""resize2fs and ntfsresize that answer all questions, and fail when they are to make a file system smaller."""

from __future__ import annotations

import shutil
from pathlib import Path

_SCRIPT = """#!/bin/sh
case " $* " in *" -P "*|*" --info "*|*" --version "*) exec {real} "$@";; esac
echo "{name}: there is no room to move things to" >&2
exit 1
"""


def stubborn_tools(folder: Path) -> tuple[str, ...]:
    """What is put in front of a command, so that it and all that it starts get these instead of the real ones."""
    folder.mkdir()
    binds = []
    for name in ("resize2fs", "ntfsresize"):
        real = shutil.which(name)
        assert real, f"{name} is not installed"
        shutil.copy(real, folder / f"real-{name}")
        (folder / name).write_text(_SCRIPT.format(real=folder / f"real-{name}", name=name))
        (folder / name).chmod(0o755)
        binds.append(f"mount --bind {folder / name} {Path(real).resolve()}")
    return ("unshare", "--mount", "--propagation", "slave", "sh", "-c", f'{" && ".join(binds)} && exec "$@"', "sh")
