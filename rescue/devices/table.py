"""Which partition table a disk has, as a Layout; where its head ends; how its tables look on another disk."""

from __future__ import annotations

from rescue.devices import gpt, mbr
from rescue.errors import FormatError, RefusedError
from rescue.model.layout import HYBRID_MBR, IMAGED_WHOLE, Layout
from rescue.model.source import Source
from rescue.records import replace
from rescue.units import MIB, align_down, human_size


def _foreign_label(head: bytes) -> str:
    """The name of a partition table of another system in the first 1024 bytes of a disk, or ""."""
    if head[508:510] == b"\xda\xbe":
        return "Sun"
    if head[0:4] == b"\x0b\xe5\xa9\x41":
        return "SGI"
    if head[0:4] == b"\xc9\xc2\xd4\xc1":
        return "AIX"
    if head[0:2] == b"ER" and head[512:514] == b"PM":
        return "Apple"
    if b"\x57\x45\x56\x82" in (head[512:516], head[64:68]):
        return "BSD"
    return ""


def _none(source: Source, sector_size: int, *problems: str) -> Layout:
    end = align_down(source.size, sector_size)
    return Layout(size=source.size, sector_size=sector_size, label="none", usable_end=end, problems=problems)


def read_layout(source: Source, sector_size: int) -> Layout:
    """Read the partition table of a disk: GPT, else MBR, else label "none".

    A table that cannot be trusted (damaged, overlapping, of a kind that is not known) gives label "none" and a problem
    that says why the disk is imaged whole. Raises SourceReadError when the disk gives no bytes.
    """
    if source.size < sector_size:
        return _none(source, sector_size)
    first = source.pread(sector_size, 0)
    foreign = _foreign_label(source.pread(min(1024, source.size), 0))
    try:
        # A GPT counts only together with its protective MBR, as for the kernel: what was left at the end of a disk by an
        # earlier use is no table. A good primary GPT behind an empty first sector is one whose MBR was lost.
        if mbr.is_protective(first):
            layout = gpt.parse_gpt(source, sector_size)
            if layout is None:
                return _none(source, sector_size, f"{_why_no_gpt(source, sector_size)} {IMAGED_WHOLE}")
            if mbr.is_hybrid(first):
                layout = replace(layout, problems=(*layout.problems, HYBRID_MBR))
            return layout
        if not mbr.is_volume_boot_record(first) and not any(e.used for e in mbr.entries(first)) and not foreign:
            if gpt.has_backup_only(source, sector_size):
                return _none(
                    source, sector_size, f"Only a backup GPT was found, at the end of the disk; it is not in use. {IMAGED_WHOLE}"
                )
            layout = _gpt_without_mbr(source, sector_size)
            if layout is not None:
                return layout
        if foreign and not any(e.used for e in mbr.entries(first)):
            return _none(
                source, sector_size, f"The disk has a partition table of the {foreign} kind, which is not read. {IMAGED_WHOLE}"
            )
        if mbr.has_signature(first) and not mbr.is_table(first) and not mbr.is_volume_boot_record(first):
            # What a file system from an earlier use says of this disk cannot be trusted then.
            return _none(
                source, sector_size, f"The first sector is a boot sector, but no partition table that is known. {IMAGED_WHOLE}"
            )
        return mbr.parse_mbr(source, sector_size) or _none(source, sector_size)
    except FormatError as error:
        return _none(source, sector_size, f"The partition table cannot be used. {error.message} {IMAGED_WHOLE}")


def _why_no_gpt(source: Source, sector_size: int) -> str:
    """What to say of a disk with a protective MBR and no GPT where it should be."""
    other = 4096 if sector_size == 512 else 512
    if source.size // other >= 3:
        try:
            gpt.read_copy(source, 1, other, source.size // other)
        except FormatError:
            return "The disk says that it has a GPT, but there is none."
        # USB enclosures show some disks with sectors of 4096 bytes; taken out of them the disk has 512.
        return f"The GPT was written when the disk had sectors of {other} bytes; it is now connected with {sector_size}."
    return "The disk says that it has a GPT, but there is none."


def _gpt_without_mbr(source: Source, sector_size: int) -> Layout | None:
    try:
        layout = gpt.parse_gpt(source, sector_size)
    except FormatError:
        return None  # remains of an earlier GPT: nothing points to it
    if layout is None:
        return None
    return replace(layout, problems=(*layout.problems, "The protective MBR in the first sector is missing."))


def head_end(layout: Layout) -> int:
    """Where the head of the disk ends, which a restore writes last: the first partition's start, at most 1 MiB."""
    first = min((p.start for p in layout.partitions), default=layout.size)
    return min(first, MIB, layout.size)


def guess_sector_size(source: Source) -> int:
    """The sector size (512 or 4096) with which the GPT of a disk in a file was written; 512 when nothing tells."""
    for sector_size in (512, 4096):
        lbas = source.size // sector_size
        if lbas >= 3:
            try:
                gpt.read_copy(source, 1, sector_size, lbas)
            except FormatError:
                continue
            return sector_size
    for sector_size in (512, 4096):
        if source.size // sector_size >= 3 and gpt.has_backup_only(source, sector_size):
            return sector_size
    return 512


def tables_for(source: Source, layout: Layout, new_size: int) -> list[tuple[int, bytes]]:
    """The bytes ``(offset, data)`` of the partition tables of ``source`` for a disk of ``new_size`` bytes, in disk order.

    For the same size they are the bytes as they are; a GPT's backup moves to the end of a bigger disk. Empty for label
    "none". Raises RefusedError when the partitions do not fit.
    """
    if layout.label == "gpt" and new_size // layout.sector_size != layout.size // layout.sector_size:
        return gpt.relocate_from(source, layout.sector_size, new_size)
    end = max((p.end for p in layout.partitions), default=0)
    if end > new_size:
        raise RefusedError(f"The partitions do not fit: the disk is too small by {human_size(end - new_size)}.")
    return [(extent.start, source.pread(extent.length, extent.start)) for extent in layout.table]
