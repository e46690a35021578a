"""Whether an NTFS volume was cleanly left by Windows: dirty flag, log file, hibernation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from rescue.errors import FormatError
from rescue.filesystems.fields import Fields
from rescue.filesystems.ntfs_mft import (
    DATA,
    INDEX_ALLOCATION,
    INDEX_ROOT,
    VOLUME_INFORMATION,
    Mft,
    Stream,
    apply_fixups,
)
from rescue.units import KIB

_LOG_FILE: Final = 2
_VOLUME: Final = 3
_ROOT: Final = 5

_DIRTY: Final = 0x0001
_CHECK_UNDERWAY: Final = 0x4000
_LOG_CLEAN: Final = 0x0002
_NO_CLIENT: Final = 0xFFFF
_ENTRY_HAS_CHILD: Final = 1
_ENTRY_IS_LAST: Final = 2
_NODE_LIMIT: Final = 16_384  # index blocks of the root directory: about half a million names

DIRTY = "Windows marked it for a check (its dirty flag is set)."
LOG_OPEN = "Its journal was not replayed (it was not cleanly unmounted)."
FAST_RESTART = "Windows keeps part of its metadata in its own cache (fast restart); shut Windows down completely first."
HIBERNATED = "Windows is hibernated on it (fast startup); shut Windows down completely to have only its files imaged."
UNKNOWN_VERSION = "It has an NTFS version that this program does not know."


def why_unclean(mft: Mft) -> str:
    """Why the bitmap cannot be relied on, as a sentence for people; "" when the volume is clean. Raises FormatError."""
    return _volume_state(mft) or _log_state(mft) or _hibernation_state(mft)


def _volume_state(mft: Mft) -> str:
    stream = mft.stream_of(_VOLUME, VOLUME_INFORMATION)
    if stream is None or stream.value is None:
        raise FormatError("NTFS: $Volume holds no volume information.")
    information = Fields(stream.value, "NTFS volume information")
    if (information.u8(8), information.u8(9)) not in ((1, 2), (3, 0), (3, 1)):
        return UNKNOWN_VERSION
    return DIRTY if information.u16(10) & (_DIRTY | _CHECK_UNDERWAY) else ""


def _log_state(mft: Mft) -> str:
    """Look at the restart pages of $LogFile: the newer valid one says whether a client had it open."""
    log = mft.stream_of(_LOG_FILE, DATA)
    if log is None:
        raise FormatError("NTFS: $LogFile has no data.")
    head = log.read(min(log.size, 64 * KIB), 0)
    if head == b"\xff" * len(head):
        return ""  # emptied: what a check or ntfs-3g leaves when nothing is to be replayed
    if head[:4] != b"RSTR":
        return LOG_OPEN
    page_size = Fields(head, "NTFS restart page").u32(16)
    if page_size < 512 or page_size > 64 * KIB or page_size & (page_size - 1):
        raise FormatError(f"NTFS: restart pages of {page_size} bytes.")
    newest = max(_restart_pages(log, page_size), default=None)
    return LOG_OPEN if newest is None else newest[1]


def _restart_pages(log: Stream, page_size: int) -> Iterator[tuple[int, str]]:
    """The log sequence number of each whole restart page and what it says about the volume; a torn page is left out."""
    for offset in (0, page_size):
        block = log.read(page_size, offset)
        if block[:4] != b"RSTR":
            continue
        try:
            page = apply_fixups(block, "NTFS restart page")
        except FormatError:
            continue  # the other page is for this case
        area = page.u16(24)
        yield page.u64(area), _restart_area_state(page, area)


def _restart_area_state(page: Fields, area: int) -> str:
    major = page.u16(28)
    if major == 2:
        return FAST_RESTART
    if major > 2:
        return UNKNOWN_VERSION
    clean = page.u16(area + 14) & _LOG_CLEAN or page.u16(area + 12) == _NO_CLIENT
    return "" if clean else LOG_OPEN


def _hibernation_state(mft: Mft) -> str:
    """Hibernation writes the header of \\hiberfil.sys; resuming changes it. In doubt: hibernated."""
    for reference, name in _root_names(mft):
        if name.lower() != "hiberfil.sys":
            continue
        data = mft.stream_of(reference & 0xFFFFFFFFFFFF, DATA)
        if data is None or data.size == 0:
            continue
        magic = data.read(min(4, data.size), 0)
        if magic.lower() not in (b"\x00\x00\x00\x00", b"wake"):
            return HIBERNATED
    return ""


def _root_names(mft: Mft) -> Iterator[tuple[int, str]]:
    """MFT reference and name of everything in the root directory: the whole B+ tree, each node once."""
    root = mft.stream_of(_ROOT, INDEX_ROOT, "$I30")
    if root is None or root.value is None:
        raise FormatError("NTFS: the root directory has no index.")
    head = Fields(root.value, "NTFS index root")
    block_size = head.u32(8)
    head.require(512 <= block_size <= 64 * KIB and not block_size & (block_size - 1), f"index blocks of {block_size} bytes")
    allocation = mft.stream_of(_ROOT, INDEX_ALLOCATION, "$I30")
    # Children are numbered in clusters, or in units of 512 bytes where a cluster is larger than an index block.
    unit = mft.geometry.cluster_size if mft.geometry.cluster_size <= block_size else 512
    pending: list[int] = []
    seen: set[int] = set()
    yield from _entries(head, 16, pending)
    while pending:
        child = pending.pop()
        if child in seen or allocation is None or len(seen) >= _NODE_LIMIT:
            raise FormatError("NTFS: the index of the root directory is damaged or too large.")
        seen.add(child)
        block = allocation.read(block_size, child * unit)
        if block[:4] != b"INDX":
            raise FormatError("NTFS: an index block of the root directory has no INDX signature.")
        yield from _entries(apply_fixups(block, "NTFS index block"), 24, pending)


def _entries(node: Fields, header: int, pending: list[int]) -> Iterator[tuple[int, str]]:
    """The names of one node, whose index header is at ``header``; its children are added to ``pending``."""
    position = header + node.u32(header)
    end = min(header + node.u32(header + 4), len(node))
    while position + 16 <= end:
        length, flags = node.u16(position + 8), node.u16(position + 12)
        node.require(length >= 16 and length % 8 == 0 and position + length <= end, f"an index entry of {length} bytes")
        if flags & _ENTRY_HAS_CHILD:
            pending.append(node.u64(position + length - 8))
        if flags & _ENTRY_IS_LAST:
            return
        if node.u16(position + 10) >= 66:
            key = position + 16
            yield node.u64(position), node.bytes(key + 66, 2 * node.u8(key + 64)).decode("utf-16-le", "replace")
        position += length
    raise FormatError(f"{node.what}: it has no last entry.")
