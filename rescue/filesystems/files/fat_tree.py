"""Files on FAT12, FAT16 and FAT32.

Microsoft, "FAT: General Overview of On-Disk Format" 1.03; long names as Windows and Linux keep them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import partial
from typing import Final, NamedTuple

from rescue.errors import FormatError
from rescue.filesystems import fat
from rescue.filesystems.files.fat_chain import chain_runs, dos_time, require_length
from rescue.filesystems.files.stored import FOLDER_LIMIT, Run, StoredTree, decode_utf16, read_runs
from rescue.filesystems.files.tree import Entry, Kind
from rescue.model.source import Source

_READ_ONLY: Final = 0x01
_LABEL: Final = 0x08
_FOLDER: Final = 0x10
_LONG: Final = 0x0F
_DELETED: Final = 0xE5
_LOWER_BASE: Final = 0x08
_LOWER_EXTENSION: Final = 0x10
_CODEPAGE: Final = "cp437"  # of short names without a long one; what Linux takes too
_TIMES: Final = "FAT keeps times without their zone: they are taken for UTC."


class Ref(NamedTuple):
    """A directory entry of 32 bytes and where on the volume it is."""

    data: bytes
    place: int


class FatTree(StoredTree[Ref]):
    """A FileTree; a reference is a directory entry."""

    kind = "vfat"
    owners = False
    folds_case = True

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._geometry = fat.read_geometry(self.volume)
        self._table = self._geometry.fat_start + (self._geometry.active or 0) * self._geometry.fat_size
        self.notes.append(_TIMES)
        if self._geometry.dirty:
            self.notes.append(fat.DIRTY)

    def root(self) -> Entry:
        """See FileTree."""
        # Where FAT12 and FAT16 keep the root, no cluster is: number 0 means it in their ".." entries too.
        return Entry("", "", Kind.FOLDER, mode=0o755, inode=self._geometry.root, handle=self._geometry.root)

    def _place(self, cluster: int) -> int:
        if not 2 <= cluster < self._geometry.clusters + 2:
            raise FormatError(f"FAT: a chain leads to cluster {cluster}.")
        return self._geometry.data_start + (cluster - 2) * self._geometry.cluster_size

    def _following(self, cluster: int) -> int | None:
        bits = self._geometry.bits
        if bits == 12:
            pair = int.from_bytes(self.volume.pread(2, self._table + cluster * 3 // 2), "little")
            found, end = (pair >> 4 if cluster & 1 else pair & 0xFFF), 0xFF8
        else:
            found = int.from_bytes(self.volume.pread(bits // 8, self._table + cluster * bits // 8), "little")
            found, end = (found & 0x0FFFFFFF, 0x0FFFFFF8) if bits == 32 else (found, 0xFFF8)
        return None if found >= end else found

    def _runs(self, first: int, size: int) -> Iterator[Run]:
        """The clusters of a chain that ``size`` bytes take."""
        limit = min(-(-size // self._geometry.cluster_size), self._geometry.clusters)
        return chain_runs(first, limit, self._following, self._place, self._geometry.cluster_size)

    def _folder_pieces(self, first: int) -> Iterator[tuple[int, bytes]]:
        """Place and bytes of each cluster of a folder."""
        geometry = self._geometry
        if not first:
            size = geometry.data_start - (geometry.fat_start + geometry.fats * geometry.fat_size)
            yield geometry.data_start - size, self.volume.pread(size, geometry.data_start - size)
            return
        for run in self._runs(first, FOLDER_LIMIT):
            for offset in range(0, run.length, geometry.cluster_size):
                yield run.place + offset, self.volume.pread(geometry.cluster_size, run.place + offset)

    def names(self, entry: Entry) -> Iterator[tuple[str, Ref]]:
        """See StoredTree. A long name that does not belong to the short one behind it is an orphan and left out."""
        if not isinstance(entry.handle, int):
            raise FormatError(f"{entry.path} is not a folder.")
        pieces: list[bytes] = []
        expected = checksum = 0
        for place, data in self._folder_pieces(entry.handle):
            for position in range(0, len(data), 32):
                item = data[position : position + 32]
                if not item[0]:
                    return
                if item[0] == _DELETED or item[11] & 0x3F != _LONG:
                    long = b"".join(reversed(pieces)) if pieces and not expected and _checksum(item) == checksum else b""
                    pieces, expected = [], 0
                    if item[0] == _DELETED or item[11] & _LABEL or item[:2] == b". " or item[:3] == b".. ":
                        continue
                    yield (_long_name(long) if long else _short_name(item)), Ref(item, place + position)
                    continue
                order = item[0]
                if order & 0x40:
                    pieces, expected, checksum = [], order & 0x3F, item[13]
                if not expected or order & 0x3F != expected or item[13] != checksum:
                    pieces, expected = [], 0
                    continue
                pieces.append(item[1:11] + item[14:26] + item[28:32])
                expected -= 1

    def load(self, name: str, path: str, ref: Ref) -> Entry:
        """See StoredTree."""
        hundredths, time, date, accessed, high, mtime, mdate, low, size = struct.unpack_from("<13xBHHHHHHHI", ref.data)
        attributes = ref.data[11]
        first = low | (high << 16 if self._geometry.bits == 32 else 0)
        folder = bool(attributes & _FOLDER)
        if folder:
            # Folders that would lead to the root again or have no cluster are damage; the root's own place is no cluster.
            self._place(first)
        cluster = self._geometry.cluster_size
        mode = 0o755 if folder else 0o644
        return Entry(
            name,
            path,
            Kind.FOLDER if folder else Kind.FILE,
            size=0 if folder else size,
            allocated=cluster if folder else -(-size // cluster) * cluster,
            mode=mode & ~0o222 if attributes & _READ_ONLY and not folder else mode,
            modified=dos_time(mdate, mtime),
            accessed=dos_time(accessed, 0),
            changed=dos_time(mdate, mtime),
            created=dos_time(date, time, hundredths),
            # A file has no number: the place of its entry is one, beyond those of the clusters.
            inode=first if folder else 1 << 40 | ref.place // 32,
            handle=first,
        )

    def content(self, entry: Entry) -> Iterator[tuple[int, bytes]]:
        """See StoredTree."""
        if not isinstance(entry.handle, int) or not entry.size:
            return iter(())
        runs = list(self._runs(entry.handle, entry.size))
        require_length(runs, entry.size, "FAT")
        return read_runs(self.source, iter(runs), entry.size)

    def readlink(self, entry: Entry) -> str:
        """See FileTree. FAT has no links."""
        raise FormatError(f"{entry.path} is not a link.")


def _checksum(item: bytes) -> int:
    value = 0
    for byte in item[:11]:
        value = ((value & 1) << 7 | value >> 1) + byte & 0xFF
    return value


def _long_name(units: bytes) -> str:
    for position in range(0, len(units), 2):
        if units[position : position + 2] == b"\0\0":
            return decode_utf16(units[:position])
    return decode_utf16(units)


def _short_name(item: bytes) -> str:
    decode = partial(str, encoding=_CODEPAGE, errors="replace")
    head = b"\xe5" + item[1:8] if item[0] == 0x05 else item[:8]
    base, extension = decode(head).rstrip(" "), decode(item[8:11]).rstrip(" ")
    base = base.lower() if item[12] & _LOWER_BASE else base
    extension = extension.lower() if item[12] & _LOWER_EXTENSION else extension
    return f"{base}.{extension}" if extension else base
