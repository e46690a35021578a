"""Files on exFAT.

Microsoft, "exFAT file system specification" (2019), section numbers below.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from datetime import timedelta
from typing import Final, NamedTuple

import msgspec

from rescue.errors import FormatError, UnsupportedError
from rescue.filesystems import exfat
from rescue.filesystems.files.fat_chain import chain_runs, dos_time, require_length
from rescue.filesystems.files.stored import FOLDER_LIMIT, Run, StoredTree, decode_utf16, joined, read_runs
from rescue.filesystems.files.tree import Entry, Kind
from rescue.model.source import Source

_FILE: Final = 0x85
_STREAM: Final = 0xC0
_NAME: Final = 0xC1
_READ_ONLY: Final = 0x01
_FOLDER: Final = 0x10
_NO_CHAIN: Final = 0x02
_END: Final = 0xFFFFFFF8


class _Place(msgspec.Struct, frozen=True):
    """Where a file's clusters are. Sizes in bytes; what is behind ``valid`` reads as zeros."""

    first: int
    size: int
    valid: int
    chained: bool


class Ref(NamedTuple):
    """The entry set of a file (section 7.4) and where on the volume it begins."""

    data: bytes
    place: int


class ExfatTree(StoredTree[Ref]):
    """A FileTree; a reference is an entry set."""

    kind = "exfat"
    owners = False
    folds_case = True

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._geometry = exfat.read_geometry(self.volume)
        if self._geometry.version != 1 or self._geometry.fats != 1:
            raise UnsupportedError(exfat.UNKNOWN_VERSION if self._geometry.version != 1 else exfat.TEXFAT)
        if self._geometry.flags & 0x2:
            self.notes.append(exfat.DIRTY)

    def root(self) -> Entry:
        """See FileTree."""
        where = _Place(self._geometry.root, FOLDER_LIMIT, FOLDER_LIMIT, True)
        return Entry("", "", Kind.FOLDER, mode=0o755, inode=self._geometry.root, handle=where)

    def _place(self, cluster: int) -> int:
        if not 2 <= cluster < self._geometry.clusters + 2:
            raise FormatError(f"exFAT: a chain leads to cluster {cluster}.")
        return self._geometry.extent(cluster)[0]

    def _following(self, cluster: int) -> int | None:
        found = int.from_bytes(self.volume.pread(4, self._geometry.fat_start + 4 * cluster), "little")
        return None if found >= _END else found

    def _runs(self, where: _Place, size: int) -> Iterator[Run]:
        cluster = self._geometry.cluster_size
        limit = min(-(-size // cluster), self._geometry.clusters)
        if where.chained:
            yield from chain_runs(where.first, limit, self._following, self._place, cluster)
        elif limit:
            begin = self._place(where.first)
            self._place(where.first + limit - 1)
            yield Run(0, begin, limit * cluster)

    def names(self, entry: Entry) -> Iterator[tuple[str, Ref]]:
        """See StoredTree. Sets whose checksum is wrong are left out, as by Windows and Linux."""
        where = entry.handle
        if not isinstance(where, _Place):
            raise FormatError(f"{entry.path} is not a folder.")
        gathered = b""
        place = 0
        size = self._geometry.cluster_size
        for run in joined(self._runs(where, min(where.size, FOLDER_LIMIT))):
            for offset in range(0, run.length, size):
                data = self.volume.pread(size, run.place + offset)
                for position in range(0, size, 32):
                    item = data[position : position + 32]
                    if not item[0]:
                        return
                    if item[0] == _FILE:
                        gathered, place = item, run.place + offset + position
                    elif gathered and item[0] & 0x40:
                        gathered += item
                    else:
                        gathered = b""
                    if gathered and len(gathered) == 32 * (gathered[1] + 1):
                        name = _name_of(gathered)
                        if name:
                            yield name, Ref(gathered, place)
                        gathered = b""

    def load(self, name: str, path: str, ref: Ref) -> Entry:
        """See StoredTree."""
        data = ref.data
        (attributes,) = struct.unpack_from("<H", data, 4)
        flags = data[33]
        valid, first, size = struct.unpack_from("<Q4xIQ", data, 40)
        if valid > size or size > self._geometry.clusters * self._geometry.cluster_size:
            raise FormatError(f"exFAT: a file of {size} bytes, of which {valid} are valid.")
        folder = bool(attributes & _FOLDER)
        if size:
            self._place(first)
        cluster = self._geometry.cluster_size
        mode = 0o755 if folder else 0o644
        return Entry(
            name,
            path,
            Kind.FOLDER if folder else Kind.FILE,
            size=0 if folder else size,
            allocated=-(-size // cluster) * cluster,
            mode=mode & ~0o222 if attributes & _READ_ONLY and not folder else mode,
            modified=_time(data, 12, data[21], data[23]),
            accessed=_time(data, 16, 0, data[24]),
            changed=_time(data, 12, data[21], data[23]),
            created=_time(data, 8, data[20], data[22]),
            inode=first if folder and size else 1 << 40 | ref.place // 32,
            handle=_Place(first, size, valid, not flags & _NO_CHAIN),
        )

    def content(self, entry: Entry) -> Iterator[tuple[int, bytes]]:
        """See StoredTree."""
        where = entry.handle
        if not isinstance(where, _Place) or not where.size:
            return iter(())
        runs = list(self._runs(where, where.size))
        require_length(runs, where.size, "exFAT")
        return read_runs(self.source, iter(runs), where.valid)

    def readlink(self, entry: Entry) -> str:
        """See FileTree. exFAT has no links."""
        raise FormatError(f"{entry.path} is not a link.")


def _name_of(entries: bytes) -> str:
    """The name in a set, "" when the set is damaged (sections 6.3.3, 7.7)."""
    checksum = 0
    for index, byte in enumerate(entries):
        if index not in (2, 3):
            checksum = ((checksum & 1) << 15 | checksum >> 1) + byte & 0xFFFF
    if checksum != struct.unpack_from("<H", entries, 2)[0] or len(entries) < 96 or entries[32] != _STREAM:
        return ""
    parts = [entries[start + 2 : start + 32] for start in range(64, len(entries), 32) if entries[start] == _NAME]
    return decode_utf16(b"".join(parts)[: 2 * entries[35]])


def _time(data: bytes, place: int, hundredths: int, zone: int) -> int:
    """A time (section 7.4.5); the zone counts quarters of an hour, its highest bit says that there is one."""
    time, date = struct.unpack_from("<HH", data, place)
    quarters = ((zone & 0x7F) ^ 0x40) - 0x40 if zone & 0x80 else 0
    return dos_time(date, time, hundredths, timedelta(minutes=15 * quarters))
