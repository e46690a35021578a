"""Whether a disk may be written to at all."""

from __future__ import annotations

from rescue.errors import RefusedError
from rescue.model.survey import DiskSurvey


def refuse_unwritable(target: DiskSurvey) -> None:
    """Raise RefusedError, saying why and what to do, for a disk that is protected, unreadable or read-only."""
    disk = target.disk
    if target.protections:
        reasons = "; ".join(p.reason for p in target.protections)
        hints = " ".join(dict.fromkeys(p.hint for p in target.protections if p.hint))
        raise RefusedError(f"{disk.title} is protected: {reasons}.", hints or "Choose another disk.")
    if target.is_rescue_medium:
        raise RefusedError(
            f"{disk.title} is protected: the rescue system runs from it.",
            "Choose another disk, or start the rescue system into RAM.",
        )
    if target.unreadable:
        raise RefusedError(f"{disk.title} cannot be read. {target.unreadable}", "Check its cable, or choose another disk.")
    if disk.read_only:
        raise RefusedError(f"{disk.title} is read-only.", "Check its write-protect switch, or choose another disk.")
