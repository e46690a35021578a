"""Everything in a FAT file system as it is there: directories entry by entry, and where each file lies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from rescue.engine.fat_layout import Layout, Table, layout_of, require_known
from rescue.errors import DamagedError
from rescue.model.source import Source
from rescue.units import MIB

ENTRY: Final = 32
SELF: Final = b".          "
PARENT: Final = b"..         "
_FOLDER: Final = 0x10
_LABEL: Final = 0x08
LONG_NAME: Final = 0x0F
_FOLDER_LIMIT: Final = 65536 * ENTRY  # FAT has no larger one
_FOLDERS: Final = 4_000_000


class Chain(msgspec.Struct):
    """A file or a folder: where it is, how many bytes count, and where it will be."""

    runs: tuple[tuple[int, int], ...]
    size: int
    folder: Folder | None = None
    first: int = 0


class Folder(msgspec.Struct):
    """The entries of a folder that are in use, and what each of them names, by its offset in ``entries``."""

    parent: Folder | None
    entries: bytearray
    named: dict[int, Chain] = msgspec.field(default_factory=dict)
    chain: Chain | None = None  # None for a root directory with a place of its own


class Content(msgspec.Struct):
    """``chains``: in the order in which they are to lie."""

    layout: Layout
    root: Folder
    chains: list[Chain]


def read_content(volume: Source) -> Content:
    """Read all directories and follow all chains. Raises DamagedError, FormatError, SourceReadError."""
    require_known(volume)
    table = Table(volume)
    layout = layout_of(volume)
    geometry = table.geometry
    chains: list[Chain] = []
    if geometry.root:
        runs = table.chain(geometry.root, "The root directory")
        root = Folder(None, _used_entries(_content(volume, runs)))
        root.chain = Chain(runs, 0, root)
        chains.append(root.chain)
    else:
        root = Folder(None, _used_entries(volume.pread(layout.root_size, layout.root_start)))
    pending = [root]
    for number, folder in enumerate(pending):
        if number > _FOLDERS:
            raise DamagedError("The FAT file system has more folders than there can be.")
        for offset, first, size, is_folder in _named(folder, geometry.bits):
            name = bytes(folder.entries[offset : offset + 11]).decode("cp850", "replace")
            if is_folder:
                runs = table.chain(first, name)
                below = Folder(folder, _used_entries(_content(volume, runs)))
                below.chain = chain = Chain(runs, 0, below)
                pending.append(below)
            else:
                runs = table.chain(first, name) if first else ()
                if sum(end - start for start, end in runs) < size:
                    raise DamagedError(f"{name}: its chain is shorter than the file.", "Check the FAT file system first.")
                chain = Chain(runs, size)
            folder.named[offset] = chain
            chains.append(chain)
    for chain in chains:
        if chain.folder is not None:
            chain.size = max(len(chain.folder.entries), 1)
    return Content(layout, root, chains)


def _content(volume: Source, runs: tuple[tuple[int, int], ...]) -> bytes:
    if sum(end - start for start, end in runs) > 2 * _FOLDER_LIMIT:
        raise DamagedError("A folder of the FAT file system is larger than one can be.", "Check it first.")
    return b"".join(volume.pread(end - start, start) for start, end in runs)


def _used_entries(data: bytes) -> bytearray:
    """All entries in front of the end mark, without the deleted ones."""
    kept = bytearray()
    for offset in range(0, len(data) - ENTRY + 1, ENTRY):
        if data[offset] == 0:
            break
        if data[offset] != 0xE5:
            kept += data[offset : offset + ENTRY]
    return kept


def _named(folder: Folder, bits: int) -> Iterator[tuple[int, int, int, bool]]:
    """Offset, first cluster, size and whether it is a folder, of every entry that names something else."""
    for offset in range(0, len(folder.entries), ENTRY):
        entry = folder.entries[offset : offset + ENTRY]
        attributes = entry[11]
        if attributes & 0x3F == LONG_NAME or attributes & _LABEL or bytes(entry[:11]) in (SELF, PARENT):
            continue
        first = int.from_bytes(entry[26:28], "little")
        if bits == 32:
            first |= int.from_bytes(entry[20:22], "little") << 16
        yield offset, first, int.from_bytes(entry[28:32], "little"), bool(attributes & _FOLDER)


def require_same(volume: Source, copy: Source, check: Callable[[], None]) -> None:
    """Raise DamagedError unless both hold the same entries and content, in the same order. Reads all files of both."""
    ours, theirs = read_content(volume), read_content(copy)
    # A root directory need not be a chain in both.
    ours_below = [chain for chain in ours.chains if chain is not ours.root.chain]
    theirs_below = [chain for chain in theirs.chains if chain is not theirs.root.chain]
    if len(ours_below) != len(theirs_below):
        raise DamagedError("The copy of the FAT file system has not as many files.")
    for one, other in zip(folders(ours.root), folders(theirs.root), strict=True):
        if _without_clusters(one) != _without_clusters(other):
            raise DamagedError("The copy of the FAT file system has other names or attributes.")
    for one_chain, other_chain in zip(ours_below, theirs_below, strict=True):
        check()
        if one_chain.folder is None and not _equal(volume, one_chain, copy, other_chain):
            raise DamagedError("The copy of the FAT file system differs in the content of a file.")


def folders(root: Folder) -> Iterator[Folder]:
    """All folders, those above others first."""
    pending = [root]
    for folder in pending:
        yield folder
        pending += [chain.folder for chain in folder.named.values() if chain.folder is not None]


def _without_clusters(folder: Folder) -> bytes:
    entries = bytearray(folder.entries)
    for offset in range(0, len(entries), ENTRY):
        if entries[offset + 11] & 0x3F != LONG_NAME:
            entries[offset + 20 : offset + 22] = entries[offset + 26 : offset + 28] = bytes(2)
    return bytes(entries)


def _equal(volume: Source, one: Chain, copy: Source, other: Chain) -> bool:
    if one.size != other.size:
        return False
    ours, theirs = _pieces(volume, one), _pieces(copy, other)
    held = b""
    for data in ours:
        while len(held) < len(data):
            more = next(theirs, b"")
            if not more:
                return False
            held += more
        if held[: len(data)] != data:
            return False
        held = held[len(data) :]
    return not held


def _pieces(volume: Source, chain: Chain) -> Iterator[bytes]:
    left = chain.size
    for start, end in chain.runs:
        while start < end and left > 0:
            data = volume.pread(min(end - start, MIB, left), start)
            yield data
            start += len(data)
            left -= len(data)
