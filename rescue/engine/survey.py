"""Read a disk and understand it, changing nothing: its table, its volumes with their used maps, who protects it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from rescue.devices.fingerprint import fingerprint
from rescue.devices.protection import protections, runs_from
from rescue.devices.table import read_layout
from rescue.devices.usage import Mounted, mounts_of
from rescue.engine.beside import Together, volumes_beside
from rescue.engine.containers import open_containers
from rescue.engine.move_journal import find_move
from rescue.errors import ProgramError, RescueError
from rescue.filesystems.identify import identify
from rescue.filesystems.maps import used_map
from rescue.model.disk import Disk, Fingerprint
from rescue.model.extents import ExtentMap
from rescue.model.layout import Layout
from rescue.model.source import SliceSource, Source
from rescue.model.survey import DiskSurvey
from rescue.model.volume import Identity, UsedMap, Volume
from rescue.system.blockfile import FileSource
from rescue.system.run import have, run
from rescue.units import MIB

_OS_RELEASE: Final = ("/usr/lib/os-release", "/etc/os-release")
_NO_KEYS: Final[Mapping[str, bytes]] = {}
_ASSIGNMENT: Final = re.compile(r"""^(NAME|VERSION_ID|PRETTY_NAME)=(["']?)(.*?)\2\s*$""", re.MULTILINE)


class _Place(NamedTuple):
    """Where a volume is; ``kept_whole`` is why no map of it can be trusted, or ""."""

    partition: int
    start: int
    end: int
    kept_whole: str


def system_name(os_release: str) -> str:
    """The system's name from the text of an os-release file, "Debian GNU/Linux 13"; "" when it tells none."""
    values = {key: value for key, _, value in _ASSIGNMENT.findall(os_release)}
    if values.get("NAME") and values.get("VERSION_ID"):
        name = f"{values['NAME']} {values['VERSION_ID']}"
    else:
        name = values.get("PRETTY_NAME") or values.get("NAME", "")
    return "".join(c for c in name if c.isprintable())[:80]


def _system_on(path: str, offset: int, identity: Identity) -> str:
    """The operating system on an ext volume, read without mounting it; "" for other kinds and when there is none."""
    # debugfs takes what follows a question mark in the path for an option.
    if identity.type not in ("ext2", "ext3", "ext4") or "?" in path or not have("debugfs"):
        return ""
    for file in _OS_RELEASE:
        try:
            # -c reads no bitmaps: it is quick on a big volume, and cannot write.
            done = run(["debugfs", "-c", "-R", f"cat {file}", f"{path}?offset={offset}"], timeout=10, output_limit=1 * MIB)
        except ProgramError:
            return ""
        if name := system_name(done.text):
            return name
    return ""


def _volume(disk: Disk, source: Source, place: _Place, mounts: Sequence[Mounted]) -> tuple[Volume, ExtentMap]:
    partition, start, end, kept_whole = place
    identity = identify(disk.path, start, end - start)
    mounted = any(m.start < end and start < m.end for m in mounts)
    if kept_whole:
        used = UsedMap.whole(end - start, kept_whole)
    else:
        used = used_map(SliceSource(source, start, end), identity, path=disk.path, offset=start, mounted=mounted)
    volume = Volume(
        partition=partition,
        start=start,
        end=end,
        identity=identity,
        used_bytes=used.extents.total,
        whole_because=used.whole_because,
        system=_system_on(disk.path, start, identity),
    )
    return volume, used.extents.shift(start)


def _looks_blank(source: Source) -> bool:
    """Whether both ends of a disk are zeros: it holds no table, and no file system begins or ends there."""
    length = min(MIB, source.size)
    return not any(source.pread(length, 0)) and not any(source.pread(length, source.size - length))


def _whole_disk(disk: Disk, source: Source, layout: Layout, mounts: Sequence[Mounted]) -> list[tuple[Volume, ExtentMap]]:
    """The volume of a disk without partitions: a file system on the whole disk, unknown content, or none when blank."""
    if layout.size == 0 or layout.label == "gpt" or (layout.label == "none" and _looks_blank(source)):
        return []
    why = " ".join(layout.problems) if layout.label == "none" else ""
    volume, extents = _volume(disk, source, _Place(0, 0, layout.size, why), mounts)
    if layout.label == "dos" and not volume.identity.type:
        return []  # an empty table and nothing else
    return [(volume, extents.union(ExtentMap(layout.table)))]


def map_disk(disk: Disk, source: Source, layout: Layout, keys: Mapping[str, bytes] = _NO_KEYS) -> list[tuple[Volume, ExtentMap]]:
    """The volumes of a disk, sorted by start, each with the bytes that an image must keep as offsets on the disk.

    Bytes outside of all volumes are in none of the maps: an image keeps those that are not zero. A disk without
    partitions has one volume, or none when it is blank. ``keys`` open encrypted volumes: their volume keys by UUID.
    The disks beside it (``disk.beside``) are read, too.
    Raises SourceReadError; ProgramError when blkid is missing.
    """
    mounts = mounts_of(disk)
    if not layout.data_partitions:
        found = _whole_disk(disk, source, layout, mounts)
    else:
        found = [_volume(disk, source, _Place(p.number, p.start, p.end, ""), mounts) for p in layout.data_partitions]
    if layout.label == "none" and layout.problems:
        return found
    with volumes_beside(disk.beside) as beside:
        return open_containers(Together(source, beside), found, mounts, keys)


def survey_disk(disk: Disk, *, images: Sequence[str] = (), keys: Mapping[str, bytes] = _NO_KEYS) -> DiskSurvey:
    """Survey one disk, opened read-only. What cannot be read gives a survey that says so, never an exception.

    ``images`` are paths of images, or of folders for them: the disk that holds one is protected. ``keys`` as of :func:`map_disk`.
    """
    layout = Layout(size=disk.size, sector_size=disk.logical_sector_size, label="none")
    state = Fingerprint(disk.path, disk.size, disk.serial, disk.wwn, disk.diskseq, "")
    volumes: tuple[Volume, ...] = ()
    unreadable, moving = "", 0
    try:
        with FileSource(disk.path) as source:
            found = read_layout(source, disk.logical_sector_size)
            volumes = tuple(volume for volume, _ in map_disk(disk, source, found, keys))
            layout, state = found, fingerprint(disk, source)
            begun = find_move(source, found)
            moving = begun.record.number if begun else 0
    except RescueError as error:
        volumes, unreadable = (), error.message
    # A disk that cannot be read is protected as any other.
    reasons = protections(disk, images)
    return DiskSurvey(
        disk, layout, volumes, state, reasons, is_rescue_medium=runs_from(disk), unreadable=unreadable, moving=moving
    )
