"""How small the volumes of an image or a disk can be made: asked of their own tools, over an overlay."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from rescue.devices.kernel import Kernel
from rescue.devices.usage import Mounted, mounts_of, stands_on
from rescue.engine import exfat_content, fat_content
from rescue.engine.container_fit import bears
from rescue.engine.containers import stacks
from rescue.engine.minimum import minimum_size
from rescue.engine.ntfs_refill import PROGRAMS as NTFS_PROGRAMS
from rescue.engine.overlay import MEMORY, SourceBlocks, overlay_estimate, require_free
from rescue.engine.refilled import room_for
from rescue.engine.sectors import sector_fit
from rescue.engine.shrink import SHRINKABLE
from rescue.errors import DamagedError, FormatError, RefusedError, UsageError
from rescue.filesystems.maps import used_map
from rescue.images.chain import Chain
from rescue.images.nbd.session import Blocks
from rescue.images.view import ImageView
from rescue.model.container import Bears
from rescue.model.disk import Disk
from rescue.model.fit import FitFacts, SectorFit
from rescue.model.fitting import FitDisk
from rescue.model.plan import Plan
from rescue.model.source import SliceSource, Source
from rescue.model.survey import DiskSurvey
from rescue.model.volume import Identity, Volume
from rescue.planning.writable import target_sectors
from rescue.records import replace
from rescue.system.blockfile import FileSource
from rescue.system.run import have, run
from rescue.units import human_size


def checked_overlay(folder: str, target: Disk, kernel: Kernel, source: Disk | None = None) -> Path:
    """The folder that a person named for overlays ("": the memory). Raises UsageError; RefusedError when a disk would be written.

    It must be neither on ``target``, which is erased, nor on ``source``, which is only read.
    """
    if not folder:
        return MEMORY
    path = Path(folder)
    if not path.is_absolute() or not path.is_dir():
        raise UsageError(f"{folder} is no folder that can hold an overlay.", "Name an existing folder by its whole path.")
    if not os.access(path, os.W_OK):
        raise RefusedError(f"{folder} cannot be written to.", "Name another folder.")
    devices, files = stands_on(kernel, folder)
    below = {f"/dev/{name}" for name in devices} | files
    for disk, what in ((target, "the disk that is to be erased"), (source, "the disk that is only to be read")):
        if disk is not None and disk.path in below:
            raise RefusedError(f"{folder} is on {disk.title}, {what}.", "Name a folder on another disk.")
    return path


def image_facts(chain: Chain, target: Disk, keys: Mapping[str, bytes]) -> FitFacts:
    """What the volumes of an image allow on a target. Raises RescueError."""
    own = chain.layout.sector_size
    sector_size = target_sectors(target, own, 0)
    sectors = image_sectors(chain, sector_size) if sector_size != own else None
    containers = image_containers(chain, keys, smaller=True) if sectors is None else {}
    return FitFacts(image_minimums(chain), image_refillable(chain), sectors, containers)


def disk_facts(disk: DiskSurvey, target: Disk, keys: Mapping[str, bytes]) -> FitFacts:
    """The same of a disk, which is only read."""
    own = disk.layout.sector_size
    sector_size = target_sectors(target, own, 0)
    sectors = disk_sectors(disk, sector_size) if sector_size != own else None
    containers = disk_containers(disk, keys, smaller=True) if sectors is None else {}
    return FitFacts(disk_minimums(disk), disk_refillable(disk), sectors, containers)


def image_minimums(chain: Chain, folder: Path = MEMORY) -> dict[int, int]:
    """Bytes by partition, of the volumes that can be made smaller. ``folder`` takes overlays. Raises RescueError."""
    return _minimums(ImageView(chain), chain.manifest.volumes, folder)


def disk_minimums(disk: DiskSurvey, folder: Path = MEMORY) -> dict[int, int]:
    """The same of a disk, which is only read."""
    with FileSource(disk.disk.path, direct=True, cached=True) as source:
        if source.is_device:
            source.drop_cache()
        return _minimums(SourceBlocks(source), disk.volumes, folder)


def _minimums(blocks: Blocks, volumes: Sequence[Volume], folder: Path) -> dict[int, int]:
    if os.geteuid() != 0:
        return {}  # the tools need devices; without them volumes keep their sizes
    shrinkable = [v for v in volumes if _can_shrink(v.identity.type) and not v.whole_because]
    return {v.partition: minimum_size(blocks, v.start, v.end, v.identity, folder=folder).bytes for v in shrinkable}


def image_containers(chain: Chain, keys: Mapping[str, bytes], folder: Path = MEMORY, *, smaller: bool) -> dict[int, Bears]:
    """What LUKS and LVM in an image bear, by partition. ``keys`` open LUKS; ``smaller``: also how small. Raises RescueError."""
    return _containers(ImageView(chain), chain.manifest.volumes, (), chain.volume_keys(keys), folder, smaller=smaller)


def disk_containers(disk: DiskSurvey, keys: Mapping[str, bytes], folder: Path = MEMORY, *, smaller: bool) -> dict[int, Bears]:
    """The same of a disk, which is only read."""
    with FileSource(disk.disk.path, direct=True, cached=True) as source:
        if source.is_device:
            source.drop_cache()
        return _containers(source, disk.volumes, mounts_of(disk.disk), keys, folder, smaller=smaller)


def _containers(
    source: Source,
    volumes: Sequence[Volume],
    mounts: Sequence[Mounted],
    keys: Mapping[str, bytes],
    folder: Path,
    *,
    smaller: bool,
) -> dict[int, Bears]:
    quiet = [v for v in volumes if not any(m.start < v.end and v.start < m.end for m in mounts)]
    found = stacks(source, quiet, keys)
    anew = frozenset({"xfs"} if found and smaller and _can_shrink("xfs") else ())
    return {number: bears(stack, smaller=smaller, anew=anew, folder=folder) for number, stack in found.items()}


def image_refillable(chain: Chain) -> frozenset[int]:
    """The partitions of an image with a FAT32 or exFAT that can be made anew in a larger one. Raises RescueError."""
    return _refillable(ImageView(chain), chain.manifest.volumes)


def disk_refillable(disk: DiskSurvey) -> frozenset[int]:
    """The same of a disk, which is only read."""
    with FileSource(disk.disk.path, direct=True, cached=True) as source:
        if source.is_device:
            source.drop_cache()
        return _refillable(source, disk.volumes)


def _refillable(disk: Source, volumes: Sequence[Volume]) -> frozenset[int]:
    found = set()
    for volume in volumes:
        # FAT12 and FAT16 have few clusters: how large they may get depends on what they have now.
        is_fat = volume.identity.type == "vfat" and volume.identity.version == "FAT32"
        if volume.whole_because or not (is_fat or volume.identity.type == "exfat"):
            continue
        read = fat_content.read_content if is_fat else exfat_content.read_content
        # One that is damaged keeps its size; its check tells what is wrong with it.
        with suppress(DamagedError, FormatError):
            read(SliceSource(disk, volume.start, volume.end))
            found.add(volume.partition)
    return frozenset(found)


def image_sectors(chain: Chain, sector_size: int) -> dict[int, SectorFit]:
    """What sectors of ``sector_size`` bytes ask of each volume of an image, by partition. Raises RescueError."""
    return _sectors(ImageView(chain), chain.manifest.volumes, sector_size)


def disk_sectors(disk: DiskSurvey, sector_size: int) -> dict[int, SectorFit]:
    """The same of a disk, which is only read."""
    with FileSource(disk.disk.path, direct=True, cached=True) as source:
        if source.is_device:
            source.drop_cache()
        return _sectors(source, disk.volumes, sector_size)


def _sectors(disk: Source, volumes: Sequence[Volume], sector_size: int) -> dict[int, SectorFit]:
    found = {
        v.partition: sector_fit(SliceSource(disk, v.start, v.end), v.identity, v.whole_because, sector_size) for v in volumes
    }
    for volume in volumes:
        if found[volume.partition].how == "refill" and (why := _why_no_refill(volume.identity.type)):
            found[volume.partition] = SectorFit("refuse", why)
    return found


def _why_no_refill(filesystem: str) -> str:
    """Why no file system of this kind can be made anew and filled on this system; "" when it can."""
    if filesystem in ("vfat", "exfat"):
        return ""
    needed = {"xfs": ("mkfs.xfs", "xfsdump", "xfsrestore"), "f2fs": ("mkfs.f2fs", "rsync"), "ntfs": NTFS_PROGRAMS}
    programs = needed.get(filesystem, ("mke2fs", "rsync"))
    missing = [name for name in programs if not have(name)]
    if missing:
        return f"It would have to be made anew, for which {missing[0]} is not installed."
    if os.geteuid() != 0:
        return f"Its {filesystem} would have to be made anew and filled, which takes root."
    if filesystem != "ntfs" and not _has_driver(filesystem):
        return f"Its {filesystem} would have to be made anew, and this system has no driver for it."
    return ""


def image_plan_with_room(plan: Plan, chain: Chain, folder: Path) -> Plan:
    """The plan, which says what making file systems smaller on their way takes. Raises RefusedError when ``folder`` has less."""
    return _with_room(plan, ImageView(chain), folder)


def disk_plan_with_room(plan: Plan, disk: DiskSurvey, folder: Path) -> Plan:
    """The same of a disk, which is only read."""
    with FileSource(disk.disk.path) as source:
        return _with_room(plan, source, folder)


def _with_room(plan: Plan, source: Source, folder: Path) -> Plan:
    needed = 0
    for volume in (v for step in plan.steps if isinstance(step, FitDisk) for v in step.volumes):
        identity, place = Identity(volume.filesystem), SliceSource(source, volume.start, volume.end)
        if volume.how == "shrink":
            used = used_map(place, identity, path="", offset=0)
            needed += overlay_estimate(used.extents, volume.target_end - volume.target_start)
        elif volume.is_made_beside:
            needed += room_for(place, identity)
    if not needed:
        return plan
    require_free(needed, folder)
    where = "of memory" if folder == MEMORY else f"in {folder}"
    sentence = f"What is made smaller or anew on its way takes about {human_size(needed)} {where} until that is done."
    return replace(plan, sentences=(*plan.sentences, sentence))


def _can_shrink(filesystem: str) -> bool:
    """Whether this system has what it takes: it is found out before anything is written."""
    if filesystem in SHRINKABLE or filesystem in ("vfat", "exfat"):
        return True
    return filesystem in ("xfs", "f2fs") and not _why_no_refill(filesystem)


def _has_driver(filesystem: str) -> bool:
    if have("modprobe"):
        run(["modprobe", "--quiet", filesystem], ok=(0, 1))
    known = Path("/proc/filesystems").read_text().splitlines()
    return any(line.split()[-1] == filesystem for line in known)
