"""Plan to wipe a disk: its signatures, all of it, or by its own controller."""

from __future__ import annotations

from typing import Final

import msgspec

from rescue.devices.sanitize import Sanitizing
from rescue.errors import RefusedError, UsageError
from rescue.model.edit import EraseExtents, ProveErased, SanitizeDisk, SanitizeWay, WipeMethod
from rescue.model.extents import Extent, ExtentMap
from rescue.model.layout import Layout
from rescue.model.plan import Plan, Step
from rescue.model.survey import DiskSurvey
from rescue.planning.words import disk_words, losses_of
from rescue.planning.writable import refuse_unwritable
from rescue.units import MIB, human_duration, human_size

_BORDER: Final = 1 * MIB  # every signature that libblkid knows is within, at either end

_WAYS: Final[dict[SanitizeWay, str]] = {
    "nvme-block": "NVMe Sanitize, erasing every block",
    "nvme-crypto": "NVMe Sanitize, throwing away the key of all data",
    "nvme-overwrite": "NVMe Sanitize, overwriting",
    "nvme-format": "NVMe Format with erasing",
    "nvme-format-crypto": "NVMe Format, throwing away the key of all data",
    "ata": "ATA Security Erase",
    "ata-enhanced": "ATA Security Erase, enhanced",
    "discard": "secure discard",
}


class WipeRequest(msgspec.Struct, frozen=True):
    """What a person asks of wiping."""

    method: WipeMethod
    verify: bool = True


def signature_extents(layout: Layout) -> tuple[Extent, ...]:
    """Where signatures are: tables, and the first and last MiB of the disk and of each partition."""
    spans = [(0, layout.size), *((p.start, p.end) for p in layout.partitions)]
    ends = [(start, min(start + _BORDER, end)) for start, end in spans]
    ends += [(max(end - _BORDER, start), end) for start, end in spans]
    whole = ExtentMap([(0, layout.size)])
    return tuple(ExtentMap(sorted([*ends, *layout.table])).intersection(whole))


def plan_wipe(target: DiskSurvey, request: WipeRequest, sanitizing: Sanitizing | None = None) -> Plan:
    """Erase a disk. ``sanitizing`` is needed for the method of that name. Raises RefusedError, UsageError."""
    refuse_unwritable(target)
    disk = target.disk
    who = disk_words(disk)
    steps: list[Step]
    warnings: list[str] = []
    match request.method:
        case "quick":
            extents = signature_extents(target.layout)
            steps = [EraseExtents(title=f"Erase the signatures on {disk.path}", target=disk.path, extents=extents)]
            sentences = [f"Erase the partition table and the beginning and end of everything on {who}: it looks blank then."]
            warnings.append("The content of files stays on the disk and can be recovered from it.")
        case "zeros":
            extents = (Extent(0, disk.size),)
            steps = [EraseExtents(title=f"Write zeros over {disk.path}", target=disk.path, extents=extents)]
            sentences = [f"Write zeros over all {human_size(disk.size)} of {who}."]
            if disk.is_flash:
                warnings.append(
                    "Flash keeps spare blocks that cannot be addressed; what was in them stays. A disk that can erase itself"
                    " (sanitize) erases those too."
                )
            if disk.is_file:
                warnings.append(
                    "The blocks that the file has by now are overwritten. What its file system holds elsewhere stays: blocks that"
                    " the file gave back before, and all of them where changes go to a new place (btrfs, snapshots)."
                )
        case "sanitize":
            if sanitizing is None:
                raise UsageError("It is not known how this disk erases itself.")
            if sanitizing.way is None:
                raise RefusedError(f"{disk.title} cannot be told to erase itself: {sanitizing.refusal}.", sanitizing.hint)
            extents = ()
            way = _WAYS[sanitizing.way]
            steps = [
                SanitizeDisk(title=f"Have {disk.path} erase itself", target=disk.path, way=sanitizing.way, prove=request.verify)
            ]
            takes = f" It says that this takes {human_duration(sanitizing.seconds)}." if sanitizing.seconds else ""
            sentences = [f"Have {who} erase itself ({way}).{takes}"]
            warnings.append("Once begun it cannot be stopped: do not switch this computer or the disk off.")
            if request.verify:
                sentences.append("Look at samples of the disk before and after: nothing of what they held may be left.")
    if request.verify and extents:
        steps.append(ProveErased(title="Read back", target=disk.path, extents=extents))
        sentences.append("Read back from the disk what was erased, and see that nothing on it is taken for content.")
    if not request.verify:
        warnings.append("What is erased will not be read back.")
    command = ["rescue", "wipe", disk.path, "--method", request.method, *([] if request.verify else ["--no-verify"])]
    total = sum(extent.length for extent in extents)
    return Plan(
        kind="wipe",
        steps=tuple(steps),
        sentences=tuple(sentences),
        losses=losses_of(target),
        warnings=tuple(warnings),
        command=tuple(command),
        fingerprint=target.fingerprint,
        target=disk,
        estimated_bytes=total * (2 if request.verify else 1),
    )
