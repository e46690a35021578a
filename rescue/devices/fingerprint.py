"""Who a disk is and in what state: noted when a plan is made, compared again right before the first write."""

from __future__ import annotations

from blake3 import blake3

from rescue.errors import RefusedError
from rescue.model.disk import Disk, Fingerprint
from rescue.model.source import Source
from rescue.units import MIB, human_size


def fingerprint(disk: Disk, source: Source) -> Fingerprint:
    """The fingerprint of a disk, with the BLAKE3 of its first and last MiB. Raises SourceReadError."""
    hasher = blake3()
    hasher.update(source.pread(min(MIB, source.size), 0))
    start = max(source.size - MIB, min(MIB, source.size))
    hasher.update(source.pread(source.size - start, start))
    return Fingerprint(disk.path, source.size, disk.serial, disk.wwn, disk.diskseq, hasher.hexdigest())


def check_unchanged(planned: Fingerprint, now: Fingerprint) -> None:
    """Raise RefusedError, saying what changed, unless the disk is still the one that a plan was made for."""
    if planned == now:
        return
    if (planned.serial, planned.wwn) != (now.serial, now.wwn):
        old, new = planned.serial or planned.wwn or "none", now.serial or now.wwn or "none"
        what = f"is another disk than the one that was chosen (its serial number was {old} and is {new})"
    elif planned.size != now.size:
        what = f"has another size than when it was chosen ({human_size(planned.size)} then, {human_size(now.size)} now)"
    elif planned.path != now.path:
        what = f"was called {planned.path} when it was chosen"
    elif planned.diskseq != now.diskseq:
        what = "was unplugged, or another disk was plugged in, since it was chosen"
    else:
        what = "has changed since it was chosen: what is at its start or end is not the same"
    raise RefusedError(f"{now.path} {what}. Nothing was written.", "Look at the disks again and choose anew.")
