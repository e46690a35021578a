"""How many files this process may have open."""

from __future__ import annotations

import resource
from typing import Final

from rescue.errors import RefusedError

_OTHERS: Final = 256  # files that this process has open besides


def allow_open_files(count: int) -> None:
    """Make room for ``count`` more open files. Raises RefusedError when the system's limit is lower."""
    wanted = count + _OTHERS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise RefusedError(
            f"{count} files would have to be open at once, and this system allows {hard}.",
            "Start the command where the limit is higher (`ulimit -Hn`).",
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
