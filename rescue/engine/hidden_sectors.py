"""Boot sectors of Windows' file systems name the place of their partition, and boot loaders believe them."""

from __future__ import annotations

from typing import Final

from rescue.errors import FormatError
from rescue.filesystems.fields import Fields
from rescue.model.source import Sink, SliceSource, Source
from rescue.model.volume import Identity
from rescue.units import MIB

_PLACE: Final = 0x1C
_EXFAT_PLACE: Final = 64
_EXFAT_BOOT_SECTORS: Final = 12  # the last one holds the checksum of the others


def set_hidden_sectors(source: Source, sink: Sink, start: int, end: int, sector_size: int, identity: Identity) -> str:
    """Make the boot sectors of the volume ``[start, end)`` of a disk say that it begins at ``start``, copies included.

    ``source`` and ``sink`` are the whole disk, ``sector_size`` its logical one in bytes. Gives a sentence for the journal, ""
    when there was nothing to do. Raises FormatError when there is no such boot sector, SourceReadError, TargetWriteError.
    """
    volume = SliceSource(source, start, end)
    hidden = start // sector_size
    match identity.type:
        case "ntfs":
            changed = _ntfs(volume, hidden)
        case "vfat":
            changed = _fat(volume, hidden)
        case "exfat":
            changed = _exfat(volume, hidden)
        case _:
            return ""
    for place, data in changed:
        # Whole sectors: what is written past the page cache cannot be less.
        first = place - place % sector_size
        length = max(len(data), sector_size)
        block = bytearray(volume.pread(length, first))
        block[place - first : place - first + len(data)] = data
        sink.pwrite(bytes(block), start + first)
    sink.flush()
    return f"The boot sector says that the partition begins at sector {hidden}." if changed else ""


def _patched(boot: bytes, hidden: int) -> bytes:
    if hidden >= 1 << 32:
        raise FormatError(f"The partition begins at sector {hidden}, which is more than a boot sector can say.")
    return boot[:_PLACE] + hidden.to_bytes(4, "little") + boot[_PLACE + 4 :]


def _ntfs(volume: Source, hidden: int) -> list[tuple[int, bytes]]:
    boot = Fields(volume.pread(512, 0), "NTFS boot sector")
    boot.require(boot.bytes(3, 8) == b"NTFS    ", "it has no signature")
    sector, sectors = boot.u16(11), boot.u64(40)
    boot.require(sector in (512, 1024, 2048, 4096), f"a sector size of {sector}")
    boot.require(sectors * sector <= volume.size, f"{sectors} sectors do not fit into {volume.size} bytes")
    # The copy is behind the last sector of the file system; some tools put it at the end of the partition.
    return _changes(volume, hidden, sorted({0, sectors * sector, volume.size - sector}), b"NTFS    ")


def _fat(volume: Source, hidden: int) -> list[tuple[int, bytes]]:
    boot = Fields(volume.pread(512, 0), "FAT boot sector")
    sector, reserved = boot.u16(11), boot.u16(14)
    boot.require(sector in (512, 1024, 2048, 4096), f"a sector size of {sector}")
    boot.require(boot.u8(0) in (0xEB, 0xE9), "it has no jump")
    places = [0]
    if boot.u16(22) == 0 and 0 < boot.u16(50) < reserved:
        places.append(boot.u16(50) * sector)
    return _changes(volume, hidden, places, boot.bytes(3, 8))


def _changes(volume: Source, hidden: int, places: list[int], signature: bytes) -> list[tuple[int, bytes]]:
    """The boot sectors at ``places`` that say something else."""
    found = []
    for place in places:
        if place + 512 > volume.size:
            continue
        boot = volume.pread(512, place)
        new = _patched(boot, hidden)
        if boot[3:11] == signature and boot[510:512] == b"\x55\xaa" and new != boot:
            found.append((place, new))
    return found


def _exfat(volume: Source, hidden: int) -> list[tuple[int, bytes]]:
    boot = Fields(volume.pread(512, 0), "exFAT boot sector")
    boot.require(boot.bytes(3, 8) == b"EXFAT   ", "it has no signature")
    boot.require(9 <= boot.u8(108) <= 12, "its sector size makes no sense")
    sector = 1 << boot.u8(108)
    length = _EXFAT_BOOT_SECTORS * sector
    boot.require(2 * length <= min(volume.size, MIB), "it is shorter than its boot region")
    found = []
    for place in (0, length):
        region = volume.pread(length, place)
        new = bytearray(region)
        new[_EXFAT_PLACE : _EXFAT_PLACE + 8] = hidden.to_bytes(8, "little")
        seal_exfat(new, sector)
        if region[3:11] == b"EXFAT   " and new != region:
            found.append((place, bytes(new)))
    return found


def seal_exfat(region: bytearray, sector: int) -> None:
    """Put the checksum of the first eleven sectors of a boot region into its twelfth (exFAT specification, section 3.4)."""
    total = 0
    for index, byte in enumerate(memoryview(region)[: (_EXFAT_BOOT_SECTORS - 1) * sector]):
        if index not in (106, 107, 112):  # what changes while it is used
            total = ((total >> 1 | total << 31) + byte) & 0xFFFFFFFF
    region[(_EXFAT_BOOT_SECTORS - 1) * sector :] = total.to_bytes(4, "little") * (sector // 4)
