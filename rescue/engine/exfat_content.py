"""Everything in an exFAT file system as it is there: entry sets, and where what they name lies (exFAT specification, 2019)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from rescue.errors import DamagedError, FormatError
from rescue.filesystems.exfat import Geometry, read_geometry
from rescue.model.source import Source
from rescue.units import MIB

ENTRY: Final = 32
BITMAP: Final = 0x81
UPCASE: Final = 0x82
FILE: Final = 0x85
STREAM: Final = 0xC0
HAS_CLUSTERS: Final = 0x01  # in the flags of a secondary entry
IN_ONE_PIECE: Final = 0x02
_IN_USE: Final = 0x80
_SECONDARY: Final = 0xC0
_FOLDER: Final = 0x10
_FOLDER_LIMIT: Final = 256 * MIB
_FOLDERS: Final = 4_000_000
_END: Final = 0xFFFFFFFF
_PIECE: Final = MIB // 4
_PIECES: Final = 64
_HINT: Final = "Check the exFAT file system first."


class Chain(msgspec.Struct):
    """A file, folder or table: where it is, its allocated bytes, and where it will be. ``size``: bytes to copy."""

    runs: tuple[tuple[int, int], ...]
    size: int
    folder: Folder | None = None
    first: int = 0


class Folder(msgspec.Struct):
    """The entries of a folder that are in use, and what each of them names, by its offset in ``entries``."""

    entries: bytearray
    named: dict[int, Chain] = msgspec.field(default_factory=dict)


class Content(msgspec.Struct):
    """``chains``: all, the root directory first, in the order in which they are to lie. ``bitmap`` is one of them."""

    geometry: Geometry
    root: Folder
    chains: list[Chain]
    bitmap: Chain


class _Reader:
    def __init__(self, volume: Source) -> None:
        self.volume = volume
        self.geometry = read_geometry(volume)
        if self.geometry.version != 1 or self.geometry.fats != 1:
            raise FormatError("exFAT: it has a version that this program does not know, or two tables.")
        self._seen = bytearray((self.geometry.clusters + 9) // 8)
        self._pieces: dict[int, bytes] = {}

    def _following(self, cluster: int) -> int:
        number, inside = divmod(cluster * 4, _PIECE)
        piece = self._pieces.get(number)
        if piece is None:
            if len(self._pieces) >= _PIECES:
                self._pieces.clear()
            start = self.geometry.fat_start + number * _PIECE
            piece = self._pieces[number] = self.volume.pread(min(_PIECE, self.volume.size - start), start)
        return int.from_bytes(piece[inside : inside + 4], "little")

    def chain(self, first: int, length: int | None, in_one_piece: bool, what: str) -> tuple[tuple[int, int], ...]:
        """The byte ranges of ``length`` bytes, or of all of a chain. Raises DamagedError."""
        geometry = self.geometry
        size = geometry.cluster_size
        if length is not None and length > geometry.clusters * size:
            raise DamagedError(f"{what} is longer than the exFAT file system.", _HINT)
        count = geometry.clusters if length is None else -(-length // size)
        runs: list[tuple[int, int]] = []
        cluster = first
        for done in range(count):
            if not 2 <= cluster < geometry.clusters + 2:
                raise DamagedError(f"{what}: its chain leads out of the exFAT file system or to a free place.", _HINT)
            if self._seen[cluster >> 3] & 1 << (cluster & 7):
                raise DamagedError(f"{what}: its chain is also that of another file.", _HINT)
            self._seen[cluster >> 3] |= 1 << (cluster & 7)
            start, end = geometry.extent(cluster)
            if runs and runs[-1][1] == start:
                runs[-1] = (runs[-1][0], end)
            else:
                runs.append((start, end))
            if in_one_piece:
                cluster += 1
                continue
            cluster = self._following(cluster)
            if cluster == _END:
                if length is not None and done + 1 < count:
                    raise DamagedError(f"{what}: its chain is shorter than it is.", _HINT)
                break
        return tuple(runs)

    def entries(self, runs: tuple[tuple[int, int], ...]) -> bytearray:
        """The entry sets of a folder that are in use, without the deleted ones."""
        if sum(end - start for start, end in runs) > _FOLDER_LIMIT:
            raise DamagedError("A folder of the exFAT file system is larger than one can be.", _HINT)
        data = b"".join(self.volume.pread(end - start, start) for start, end in runs)
        kept = bytearray()
        for offset in range(0, len(data) - ENTRY + 1, ENTRY):
            if not data[offset]:
                break
            if data[offset] & _IN_USE:
                kept += data[offset : offset + ENTRY]
        return kept


def read_content(volume: Source) -> Content:
    """Read all directories and follow all chains. Raises DamagedError, FormatError, SourceReadError."""
    reader = _Reader(volume)
    runs = reader.chain(reader.geometry.root, None, False, "The root directory")
    root = Folder(reader.entries(runs))
    chains = [Chain(runs, sum(end - start for start, end in runs), root)]
    bitmaps = []
    pending = [root]
    for number, folder in enumerate(pending):
        if number > _FOLDERS:
            raise DamagedError("The exFAT file system has more folders than there can be.", _HINT)
        for offset, is_folder in _naming(folder):
            entry = folder.entries[offset : offset + ENTRY]
            first, length = int.from_bytes(entry[20:24], "little"), int.from_bytes(entry[24:32], "little")
            table = entry[0] in (BITMAP, UPCASE)
            runs = reader.chain(first, length, not table and bool(entry[1] & IN_ONE_PIECE), f"The entry at {offset}")
            chain = Chain(runs, length)
            if is_folder:
                chain.folder = Folder(reader.entries(runs))
                pending.append(chain.folder)
            if entry[0] == BITMAP:
                bitmaps.append(chain)
            folder.named[offset] = chain
            chains.append(chain)
    if len(bitmaps) != 1:
        raise FormatError("exFAT: it has not exactly one allocation bitmap.")
    return Content(reader.geometry, root, chains, bitmaps[0])


def _naming(folder: Folder) -> Iterator[tuple[int, bool]]:
    """Offset of every entry that names clusters, and whether these are a folder."""
    is_folder = False
    for offset in range(0, len(folder.entries), ENTRY):
        kind = folder.entries[offset]
        entry = folder.entries[offset : offset + ENTRY]
        if kind == FILE:
            is_folder = bool(entry[4] & _FOLDER)
        named = kind in (BITMAP, UPCASE) or (kind >= _SECONDARY and entry[1] & HAS_CLUSTERS)
        if named and any(entry[20:24]) and any(entry[24:32]):
            yield offset, is_folder and kind == STREAM


def sets(entries: bytes | bytearray) -> Iterator[tuple[int, int]]:
    """Start and end of each file's entry set. Raises DamagedError when one has no end."""
    offset = 0
    while offset < len(entries):
        end = offset + ENTRY
        if entries[offset] == FILE:
            end += entries[offset + 1] * ENTRY
            if end > len(entries) or any(entries[place] < _SECONDARY for place in range(offset + ENTRY, end, ENTRY)):
                raise DamagedError("A folder of the exFAT file system holds entries that do not belong together.", _HINT)
            yield offset, end
        offset = end


def set_checksum(entries: bytes | bytearray) -> int:
    """The checksum of an entry set (section 6.3.3)."""
    total = 0
    for index, byte in enumerate(entries):
        if index not in (2, 3):
            total = ((total >> 1 | total << 15) + byte) & 0xFFFF
    return total


def require_same(volume: Source, copy: Source, check: Callable[[], None]) -> None:
    """Raise DamagedError unless both hold the same entries and content, in the same order. Reads all files of both."""
    ours, theirs = read_content(volume), read_content(copy)
    if len(ours.chains) != len(theirs.chains):
        raise DamagedError("The copy of the exFAT file system has not as many files.")
    for one, other in zip(ours.chains, theirs.chains, strict=True):
        check()
        if one.folder is not None and other.folder is not None:
            if _without_clusters(one.folder) != _without_clusters(other.folder):
                raise DamagedError("The copy of the exFAT file system has other names or attributes.")
        elif one is not ours.bitmap and not _equal(volume, one, copy, other):
            raise DamagedError("The copy of the exFAT file system differs in the content of a file.")


def _without_clusters(folder: Folder) -> bytes:
    entries = bytearray(folder.entries)
    for start, _ in sets(entries):
        entries[start + 2 : start + 4] = bytes(2)
    for offset in folder.named:
        entries[offset + 20 : offset + 24] = bytes(4)
        entries[offset + 1] &= ~IN_ONE_PIECE
        if entries[offset] == BITMAP:
            entries[offset + 24 : offset + 32] = bytes(8)
    return bytes(entries)


def _equal(volume: Source, one: Chain, copy: Source, other: Chain) -> bool:
    if one.size != other.size:
        return False
    theirs = pieces(copy, other)
    held = b""
    for data in pieces(volume, one):
        while len(held) < len(data):
            held += next(theirs)
        if held[: len(data)] != data:
            return False
        held = held[len(data) :]
    return not held


def pieces(volume: Source, chain: Chain) -> Iterator[bytes]:
    """The content of a chain, a MiB at a time at most."""
    left = chain.size
    for start, end in chain.runs:
        while start < end and left > 0:
            data = volume.pread(min(end - start, MIB, left), start)
            yield data
            start += len(data)
            left -= len(data)
