"""Where this machine gets its Debian packages from, so that the tests fetch from nowhere else."""

from __future__ import annotations

import os
from collections.abc import Iterable
from urllib.parse import urlsplit

from rescue.system.run import have, run


def debian_mirror() -> str | None:
    """A Debian archive: ``RESCUE_MIRROR``, else the one that apt uses here, else None (mmdebstrap knows the public one)."""
    chosen = os.environ.get("RESCUE_MIRROR", "").strip()
    if chosen:
        return chosen.rstrip("/")
    if not have("apt-get"):
        return None
    listed = run(["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"], ok=(0, 100))
    return choose_debian(listed.text.split())


def choose_debian(addresses: Iterable[str]) -> str | None:
    """The first address that is a main Debian archive: by convention its path ends in ``/debian`` (Ubuntu's in ``/ubuntu``)."""
    for address in addresses:
        trimmed = address.rstrip("/")
        if urlsplit(trimmed).path.rsplit("/", 1)[-1] == "debian":
            return trimmed
    return None
