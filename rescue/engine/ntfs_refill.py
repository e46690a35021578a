"""An NTFS made anew for sectors of another size, and filled by its files, with streams, access lists and reparse points.

Windows keeps a record of its MFT in a whole sector at least. So one with records of 1 KiB cannot be on sectors of 4096 bytes as
it is, and nothing changes the size of records in place. wimlib reads and writes NTFS without mounting it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from rescue.engine.refill_compare import require_equal
from rescue.engine.resizing import Check, mounted_here, onto_medium, require_sound, work
from rescue.errors import FormatError
from rescue.filesystems.maps import used_map
from rescue.filesystems.ntfs_mft import Mft, read_geometry
from rescue.model.source import Source
from rescue.model.volume import Identity
from rescue.system.blockfile import FileSource
from rescue.system.loop import loop_device

PROGRAMS: Final = ("mkntfs", "wimcapture", "wimapply", "ntfs-3g", "ntfslabel")
# The main process is the one that writes: when it is ended, the other one has nobody to write to. By itself wimcapture leaves
# files out that Windows makes anew (pagefile.sys, System Volume Information), and turns links.
_COPY: Final = (
    'exec wimapply --quiet --norpfix --strict-acls - 1 "$2" < <('
    "exec wimcapture --quiet --norpfix --strict-acls --pipable --compress=none"
    " --config=<(printf '[ExclusionList]\\n') \"$1\" -)"
)
_OPTIONS: Final = ("ro", "streams_interface=xattr")
_DATA: Final = 0x80
_RECORD: Final = 4096
_SPARE: Final = 32 << 20  # its log, bitmaps and tables
# FILE_ATTRIBUTE_SPARSE_FILE, COMPRESSED and NORMAL: how it is stored, or nothing at all.
_STORED: Final = 0x200 | 0x800 | 0x80


def needed_size(volume: Source) -> int:
    """Bytes that it takes with records of 4096 bytes. Raises FormatError, SourceReadError."""
    geometry = read_geometry(volume)
    records = Mft(volume).stream_of(0, _DATA)
    if records is None:
        raise FormatError("NTFS: its MFT has no content.")
    count = sum(end - start for start, end in records.extents()) // geometry.record_size
    return least_size(volume) + count * (_RECORD - min(geometry.record_size, _RECORD))


def least_size(volume: Source) -> int:
    """Bytes that it takes with records as it has them. Raises FormatError, SourceReadError."""
    return used_map(volume, Identity("ntfs"), path="", offset=0).extents.total + _SPARE


def refill(old: str, identity: Identity, target: str, start: int, size: int, sector_size: int, check: Check) -> None:
    """Make the NTFS on the device or file ``old``, which is not mounted, anew in ``size`` bytes at ``start`` of a disk or file.

    ``sector_size`` in bytes; 0: as it has. It is compared name by name. To be called where mounts are private. Raises
    ProgramError, DamagedError, TargetWriteError.
    """
    with FileSource(old) as source:
        geometry = read_geometry(source)
    sector_size = sector_size or geometry.sector_size
    cluster = max(geometry.cluster_size, sector_size)
    label = ["--label", identity.label] if identity.label else []
    place = ["--sector-size", str(sector_size), "--partition-start", str(start // sector_size), "-H", "255", "-S", "63"]
    with loop_device(target, offset=start, size=size, writable=True, sector_size=sector_size) as node:
        work(["mkntfs", "--quick", "--force", "--quiet", *place, "--cluster-size", str(cluster), *label, node], check)
        work(["bash", "-c", _COPY, "bash", old, node], check)
        work(["ntfslabel", "--force", f"--new-serial={identity.uuid}", node], check)
        onto_medium(node, target)
        with mounted_here(old, "ntfs-3g", _OPTIONS) as ours, mounted_here(node, "ntfs-3g", _OPTIONS) as theirs:
            require_equal(ours, theirs, check, more=_MORE)
        require_sound(identity, node)


def _same(value: bytes) -> bytes:
    return value


def _attributes(value: bytes) -> bytes:
    return (int.from_bytes(value, "little") & ~_STORED).to_bytes(8, "little")


# What ntfs-3g gives but does not list.
_MORE: Final[dict[str, Callable[[bytes], bytes]]] = {
    "system.ntfs_acl": _same,
    "system.ntfs_attrib": _attributes,
    "system.ntfs_reparse_data": _same,
    "system.ntfs_object_id": _same,
    "system.ntfs_dos_name": _same,
}
