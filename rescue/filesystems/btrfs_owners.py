"""The owners of damaged bytes on btrfs: the leaves of every subvolume's tree say which file has which extent.

On-disk format: btrfs.readthedocs.io. A tree block is taken from the first of its copies that is whole; one without a whole
copy is left out, and said. A block that several snapshots share is read once and its files are named in the first of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from rescue.errors import FormatError
from rescue.filesystems.btrfs_checksums import checksum
from rescue.filesystems.btrfs_trees import CHUNK_ITEM, SUPERBLOCK, SUPERBLOCK_SIZE, ChunkMap, Forest, read_superblock
from rescue.filesystems.fields import Fields
from rescue.filesystems.lenient import LenientSource
from rescue.filesystems.owned import Owned
from rescue.model.extents import Extent, ExtentMap
from rescue.model.volume import Identity

_FS_TREE: Final = 5
_FIRST_FREE: Final = 256  # object numbers of files and of subvolumes, and the number of each subvolume's root folder
_LAST_FREE: Final = (1 << 64) - 256
_INODE_REF: Final = 12
_INODE_EXTREF: Final = 13
_EXTENT_DATA: Final = 108
_ROOT_ITEM: Final = 132
_ROOT_BACKREF: Final = 144
_INLINE: Final = 0
_HEADER: Final = 101
_LEVELS: Final = 8
_DEPTH: Final = 4096

OUT_OF_TIME: Final = "There was not enough time to look at every file."
LOST_BLOCKS: Final = "Some blocks of its trees cannot be read in any copy: files that they hold may be missing here."

_Key = tuple[int, int, int]


def walk_files(volume: LenientSource, identity: Identity, bad: ExtentMap, deadline: float, clock: Callable[[], float]) -> Owned:
    """Look at the extents of every file in every subvolume. Raises FormatError when there is no way in, UnsupportedError."""
    del identity
    walk = _Walk(volume, bad, deadline, clock)
    try:
        walk.read_chunks()
        walk.read_files()
    except _OutOfTimeError:
        return walk.owned(OUT_OF_TIME)
    return walk.owned()


class _OutOfTimeError(Exception):
    """The time that was given is over."""


class _Walk:
    def __init__(self, volume: LenientSource, bad: ExtentMap, deadline: float, clock: Callable[[], float]) -> None:
        self._volume = volume
        self._bad = bad
        self._deadline = deadline
        self._clock = clock
        self._superblock = read_superblock(volume)
        self._chunks: ChunkMap = Forest(volume, self._superblock).chunks
        self._seen: set[int] = set()
        self._lost = False
        self._content: list[Extent] = []
        self._structures: list[Extent] = list(bad.overlapping(SUPERBLOCK, SUPERBLOCK + SUPERBLOCK_SIZE))
        self._roots: dict[int, tuple[int, int]] = {}
        self._parents: dict[int, tuple[int, int, str]] = {}  # of subvolumes: parent tree, folder in it, name
        self._hits: dict[tuple[int, int], None] = {}  # tree and inode
        self._folders: dict[tuple[int, int], str] = {}

    def owned(self, *notes: str) -> Owned:
        """What was found so far."""
        names = frozenset(self._path(tree, inode) for tree, inode in self._hits)
        if self._lost:
            notes = (*notes, LOST_BLOCKS)
        return Owned(names, ExtentMap(self._content), ExtentMap(self._structures), not notes, notes)

    def read_chunks(self) -> None:
        """Complete the chunk map. Raises FormatError, UnsupportedError."""
        for block, (objectid, kind, offset), place, size in self._items(
            self._superblock.chunk_root, self._superblock.chunk_root_level
        ):
            del objectid
            if kind == CHUNK_ITEM:
                self._chunks.add(offset, block.part(place, size, block.what))

    def read_files(self) -> None:
        """Walk the trees of all subvolumes."""
        for block, (objectid, kind, offset), place, size in self._items(self._superblock.root, self._superblock.root_level):
            data = block.part(place, size, block.what)
            if kind == _ROOT_ITEM:
                self._roots[objectid] = data.u64(176), data.u8(238)
            elif kind == _ROOT_BACKREF:
                name = data.bytes(18, data.u16(16)).decode("utf-8", "surrogateescape")
                self._parents[objectid] = offset, data.u64(0), name
        for tree in sorted(self._roots):
            if tree != _FS_TREE and not _FIRST_FREE <= tree <= _LAST_FREE:
                continue
            for block, (inode, kind, _), place, size in self._items(*self._roots[tree]):
                if kind == _EXTENT_DATA:
                    self._look_at(tree, inode, block.part(place, size, block.what))

    def _look_at(self, tree: int, inode: int, item: Fields) -> None:
        if item.u8(20) == _INLINE:
            return  # inside of the leaf
        start, length = item.u64(21), item.u64(29)
        if not start:
            return  # a hole
        # A compressed extent is of use only as a whole; of another the file has a part.
        if not item.u8(16):
            start, length = start + item.u64(37), item.u64(45)
        item.require(start + length < 1 << 62, "an extent is out of bounds")
        copies = list(self._chunks.physical(start, start + length))
        found = [part for copy in copies for part in self._bad.overlapping(*copy)]
        if found:
            self._content += found
            self._hits[tree, inode] = None

    def _items(self, root: int, level: int) -> Iterator[tuple[Fields, _Key, int, int]]:
        """Block, key, place and size of the data of each item in a tree; blocks that were read before are left out."""
        pending = [(root, level)]
        while pending:
            address, level = pending.pop()
            if address in self._seen:
                continue
            self._seen.add(address)
            if self._clock() >= self._deadline:
                raise _OutOfTimeError
            block = self._block(address, level)
            if block is None:
                self._lost = True
                continue
            if level:
                pending += [(child, level - 1) for _, child, _ in reversed(_pointers(block))]
            else:
                yield from ((block, key, place, size) for key, place, size in _leaf(block))

    def _block(self, address: int, level: int) -> Fields | None:
        """The first whole copy of a tree block; None when there is none."""
        size = self._superblock.node_size
        if not 0 <= level < _LEVELS or address >= 1 << 62:
            return None
        try:
            copies = list(self._chunks.physical(address, address + size))
        except FormatError:
            return None
        whole: Fields | None = None
        for start, end in copies:
            self._structures += self._bad.overlapping(start, end)
            if whole is not None or end - start != size or end > self._volume.size:
                continue
            block = Fields(self._volume.pread(size, start), f"btrfs tree block at {address}")
            right = checksum(bytes(block.data), self._superblock.checksum_type)
            fits = block.bytes(32, 16) == self._superblock.fsid and block.u64(48) == address and block.u8(100) == level
            # Where the checksum cannot be computed, a copy with a hole in it is not taken.
            sound = block.bytes(0, len(right)) == right if right else not any(self._bad.overlapping(start, end))
            if fits and sound:
                whole = block
        return whole

    def _last(self, tree: int, inode: int, kind: int) -> tuple[int, Fields] | None:
        """Offset and data of the last item of an inode with this type."""
        wanted = (inode, kind, (1 << 64) - 1)
        if tree not in self._roots:
            return None
        address, level = self._roots[tree]
        while (block := self._block(address, level)) is not None:
            found = [entry for entry in (_pointers(block) if level else _leaf(block)) if entry[0] <= wanted]
            if not found:
                return None
            key, place, size = found[-1]
            if not level:
                return (key[2], block.part(place, size, block.what)) if key[:2] == wanted[:2] else None
            address, level = place, level - 1
        return None

    def _name_of(self, tree: int, inode: int) -> tuple[int, str] | None:
        """A folder that holds the inode, and its name there; one of them when it has several."""
        if (found := self._last(tree, inode, _INODE_REF)) is not None:
            parent, data = found
            return parent, data.bytes(10, data.u16(8)).decode("utf-8", "surrogateescape")
        if (found := self._last(tree, inode, _INODE_EXTREF)) is not None:
            _, data = found
            return data.u64(0), data.bytes(18, data.u16(16)).decode("utf-8", "surrogateescape")
        return None

    def _path(self, tree: int, inode: int) -> str:
        parts: list[str] = []
        while len(parts) < _DEPTH:
            if inode == _FIRST_FREE and tree in self._parents:
                tree, inode, name = self._parents[tree]
            elif inode == _FIRST_FREE:
                break
            elif (found := self._name_of(tree, inode)) is not None:
                inode, name = found
            else:
                parts.append(f"(inode {inode})")
                break
            parts.append(name)
        return "/" + "/".join(reversed(parts))


def _pointers(block: Fields) -> list[tuple[_Key, int, int]]:
    """Key, address and generation of each child of a node."""
    area = Fields(block.bytes(_HEADER, 33 * block.u32(96)), block.what)
    return [
        ((area.u64(at), area.u8(at + 8), area.u64(at + 9)), area.u64(at + 17), area.u64(at + 25))
        for at in range(0, len(area), 33)
    ]


def _leaf(block: Fields) -> list[tuple[_Key, int, int]]:
    """Key, place in the block and size of the data of each item of a leaf."""
    area = Fields(block.bytes(_HEADER, 25 * block.u32(96)), block.what)
    return [
        ((area.u64(at), area.u8(at + 8), area.u64(at + 9)), _HEADER + area.u32(at + 17), area.u32(at + 21))
        for at in range(0, len(area), 25)
    ]
