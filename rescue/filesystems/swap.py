"""The used map of Linux swap space: the header with its UUID, label and bad pages, nothing of the content.

Specification: the Linux kernel's include/linux/swap.h (``union swap_header``) and kernel/power/swap.c.
"""

from __future__ import annotations

from rescue.errors import FormatError
from rescue.filesystems.fields import Fields
from rescue.model.extents import ExtentMap
from rescue.model.source import Source
from rescue.model.volume import UsedMap
from rescue.units import KIB

_PAGE_SIZES = (4 * KIB, 8 * KIB, 16 * KIB, 32 * KIB, 64 * KIB)
_SIGNATURE = b"SWAPSPACE2"
# Where the signature was, the kernel (S1SUSPEND, LINHIB0001), uswsusp (S2SUSPEND, ULSUSPEND) and TuxOnIce leave theirs.
_HIBERNATED = (b"S1SUSPEND", b"S2SUSPEND", b"ULSUSPEND", b"LINHIB0001", b"\xed\xc3\x02\xe9\x98\x56\xe5\x0c")
HIBERNATED = "It holds a hibernated system."


def used_map(volume: Source) -> UsedMap:
    """The first page, and all behind the end of the swap space. Offsets relative to the volume. Raises FormatError."""
    for page in _PAGE_SIZES:
        if page > volume.size:
            break
        signature = volume.pread(10, page - 10)
        if signature.startswith(_HIBERNATED):
            return UsedMap.whole(volume.size, HIBERNATED)
        if signature == _SIGNATURE:
            return UsedMap(ExtentMap([(0, page), (_end(volume, page), volume.size)]))
    raise FormatError("swap header: no page size has a signature that is known.")


def _end(volume: Source, page: int) -> int:
    """Bytes that the swap space says it has, the header included; it may be more than the volume has."""
    fields = Fields(volume.pread(page, 0), "swap header")
    version, last_page = fields.u32(1024), fields.u32(1028)
    if version.to_bytes(4, "little") == (1).to_bytes(4, "big"):  # made by a machine of the other byte order
        version, last_page = 1, int.from_bytes(fields.bytes(1028, 4), "big")
    fields.require(version == 1, f"version {version} is unknown")
    return (last_page + 1) * page
