"""Another UUID or serial number for a file system that is not mounted: by its own tool, for FAT and exFAT by us."""

from __future__ import annotations

from typing import Final

from rescue.engine.hidden_sectors import seal_exfat
from rescue.engine.resizing import EXT, Check, flush, require_sound, settle_ext, work
from rescue.errors import DamagedError, FormatError, UnsupportedError
from rescue.filesystems.fields import Fields
from rescue.filesystems.identify import identify
from rescue.model.source import SliceSource, Source
from rescue.model.volume import Identity
from rescue.system.blockfile import FileSink, FileSource
from rescue.system.loop import loop_device
from rescue.system.run import have

_PROGRAMS: Final = {
    **dict.fromkeys(EXT, "tune2fs"),
    "xfs": "xfs_admin",
    "btrfs": "btrfstune",
    "ntfs": "ntfslabel",
    "swap": "swaplabel",
}
_EXFAT_SERIAL: Final = 100
_EXFAT_BOOT_SECTORS: Final = 12


def set_uuid(path: str, start: int, end: int, identity: Identity, new: str, check: Check) -> str:
    """Give the file system ``[start, end)`` of a disk or file another UUID, written as blkid writes it; it is checked afterwards.

    Gives a sentence for the journal. ``check`` is called often, and what it raises ends the work. Needs root but for FAT and
    exFAT. Raises UnsupportedError, DamagedError, FormatError, ProgramError, TargetWriteError.
    """
    kind = identity.type
    program = _PROGRAMS.get(kind)
    if program is not None and not have(program):
        raise UnsupportedError(f"{program}, which gives {kind} another UUID, is not installed.")
    if kind in ("vfat", "exfat"):
        with FileSource(path) as source, FileSink(path) as sink:
            volume = SliceSource(source, start, end)
            for place, data in _fat(volume, new) if kind == "vfat" else _exfat(volume, new):
                sink.pwrite(data, start + place)
            sink.flush()
    else:
        with loop_device(path, offset=start, size=end - start, writable=True) as node:
            _by_tool(node, kind, new, check)
            flush(node)
    flush(path)
    found = identify(path, start, end - start)
    if found.uuid.casefold() != new.casefold():
        raise DamagedError(f"{kind} on {path} did not take the UUID {new}: it says {found.uuid or 'none'}.")
    if kind != "swap":
        with loop_device(path, offset=start, size=end - start) as node:
            require_sound(found, node)
    return f"{kind} has the UUID {new}; it was {identity.uuid}."


def _by_tool(node: str, kind: str, new: str, check: Check) -> None:
    match kind:
        case _ if kind in EXT:
            settle_ext(node, check)  # all checksums are made anew, which is only done to what was just checked
            work(["tune2fs", "-U", new, node], check)
        case "xfs":
            work(["xfs_admin", "-U", new, node], check)
        case "btrfs":
            work(["btrfstune", "-f", "-M", new, node], check)
        case "ntfs":
            work(["ntfslabel", "--force", f"--new-serial={new}", node], check)
        case "swap":
            work(["swaplabel", "--uuid", new, node], check)
        case _:
            raise UnsupportedError(f"No program gives {kind or 'unknown content'} another UUID.")


def _serial(text: str) -> bytes:
    try:
        return int(text.replace("-", ""), 16).to_bytes(4, "little")
    except (ValueError, OverflowError) as error:
        raise FormatError(f"{text} is no serial number of a FAT file system.") from error


def _fat(volume: Source, new: str) -> list[tuple[int, bytes]]:
    """The boot sector and its copy, the copy first."""
    boot = Fields(volume.pread(512, 0), "FAT boot sector")
    sector, reserved, is_fat32 = boot.u16(11), boot.u16(14), boot.u16(22) == 0
    boot.require(sector in (512, 1024, 2048, 4096), f"a sector size of {sector}")
    at = 67 if is_fat32 else 39
    boot.require(boot.u8(at - 1) in (0x28, 0x29), "it has no serial number")
    places = [0]
    if is_fat32 and 0 < boot.u16(50) < reserved:
        places.insert(0, boot.u16(50) * sector)
    found = []
    for place in places:
        data = bytearray(volume.pread(sector, place))
        if place == 0 or data[3:11] == boot.bytes(3, 8):
            data[at : at + 4] = _serial(new)
            found.append((place, bytes(data)))
    return found


def _exfat(volume: Source, new: str) -> list[tuple[int, bytes]]:
    """Both boot regions, the backup first."""
    boot = Fields(volume.pread(512, 0), "exFAT boot sector")
    boot.require(boot.bytes(3, 8) == b"EXFAT   ", "it has no signature")
    boot.require(9 <= boot.u8(108) <= 12, "its sector size makes no sense")
    sector = 1 << boot.u8(108)
    length = _EXFAT_BOOT_SECTORS * sector
    boot.require(2 * length <= volume.size, "it is shorter than its boot region")
    found = []
    for place in (length, 0):
        region = bytearray(volume.pread(length, place))
        if region[3:11] == b"EXFAT   ":
            region[_EXFAT_SERIAL : _EXFAT_SERIAL + 4] = _serial(new)
            seal_exfat(region, sector)
            found.append((place, bytes(region)))
    return found
