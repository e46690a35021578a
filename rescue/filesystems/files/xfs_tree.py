"""Files on xfs, versions 4 and 5.

Specification: "XFS Algorithms & Data Structures", 3rd edition, "On-disk Inode" and following; fs/xfs/libxfs/xfs_format.h,
xfs_da_format.h.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from rescue.errors import FormatError, UnsupportedError
from rescue.filesystems import xfs_log
from rescue.filesystems.files.stored import FOLDER_LIMIT, Run, StoredTree, kind_of_mode, read_runs
from rescue.filesystems.files.tree import Entry, Kind
from rescue.filesystems.files.xfs_attributes import read_attributes
from rescue.filesystems.files.xfs_inode import Fork, Geometry, Inode, fork_runs, parse_inode
from rescue.filesystems.xfs_superblock import read_superblock
from rescue.model.source import SliceSource, Source

_LEAF_SPACE: Final = 1 << 35  # where a folder's names end and its index begins, in bytes of the folder
_LINK_LIMIT: Final = 1024
_LINK_HEADER: Final = 56
_REALTIME: Final = 0x1
_UNUSED: Final = 0xFFFF
_BLOCK_MAGICS: Final = (b"XD2B", b"XDB3")
_DATA_MAGICS: Final = (b"XD2D", b"XDD3")


class XfsTree(StoredTree[int]):
    """A FileTree; a reference is the number of an inode."""

    kind = "xfs"

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        superblock = read_superblock(self.volume)
        if "features" in superblock.untrusted:
            raise UnsupportedError(f"xfs: {superblock.untrusted}")
        self._geometry = Geometry.read(self.volume, superblock)
        if superblock.untrusted:
            self.notes.append(superblock.untrusted)
        elif not xfs_log.is_clean(SliceSource(self.volume, superblock.log_start, superblock.log_start + superblock.log_size)):
            self.notes.append(
                "It was not cleanly unmounted: its log has not been replayed. Its newest changes may be missing here."
            )

    def root(self) -> Entry:
        """See FileTree."""
        entry = self.load("", "", self._geometry.root)
        if entry.kind is not Kind.FOLDER:
            raise FormatError("xfs: its root is not a folder.")
        return entry

    def load(self, name: str, path: str, ref: int) -> Entry:
        """See StoredTree."""
        inode = parse_inode(self.volume, self._geometry, ref)
        kind = kind_of_mode(inode.mode)
        problem = "" if kind is not Kind.UNKNOWN else f"Its mode {inode.mode:#o} is unknown."
        if inode.flags & _REALTIME and kind is Kind.FILE:
            problem = "It is in the realtime part, on another device."
        return Entry(
            name,
            path,
            kind,
            size=inode.size if kind in (Kind.FILE, Kind.FOLDER, Kind.LINK) else 0,
            allocated=inode.blocks * self._geometry.block_size,
            mode=inode.mode & 0o7777,
            uid=inode.uid,
            gid=inode.gid,
            accessed=inode.accessed,
            modified=inode.modified,
            changed=inode.changed,
            created=inode.created,
            inode=ref,
            links=inode.links,
            device=_device(inode.data.area) if kind in (Kind.BLOCK, Kind.CHARACTER) else (0, 0),
            problem=problem,
            handle=inode,
        )

    def names(self, entry: Entry) -> Iterator[tuple[str, int]]:
        """See StoredTree."""
        inode = _inode_of(entry)
        if inode.data.format == Fork.LOCAL:
            yield from self._short_names(inode.data.area)
            return
        size = self._geometry.folder_block_size
        if inode.size > FOLDER_LIMIT:
            raise FormatError(f"xfs: the folder in inode {entry.inode} has {inode.size} bytes.")
        block = bytearray()
        start = 0
        # A folder's block may be several blocks of the file system, which need not lie together.
        for run in fork_runs(self.volume, self._geometry, inode.data):
            for offset in range(run.start, min(run.start + run.length, _LEAF_SPACE, inode.size), self._geometry.block_size):
                if offset % size == 0:
                    block.clear()
                    start = offset
                if offset != start + len(block):
                    raise FormatError(f"xfs: the folder in inode {entry.inode} has half a block.")
                block += self.volume.pread(self._geometry.block_size, run.place + offset - run.start)
                if len(block) == size:
                    yield from self._block_names(bytes(block))

    def _short_names(self, area: bytes) -> Iterator[tuple[str, int]]:
        count, wide = area[0], area[1] > 0
        size = 8 if wide else 4
        typed = 1 if self._geometry.typed_names else 0
        position = 2 + size
        for _ in range(count):
            if position + 3 > len(area) or position + 3 + area[position] + typed + size > len(area):
                raise FormatError("xfs: a short folder is cut.")
            length = area[position]
            name = area[position + 3 : position + 3 + length]
            position += 3 + length + typed
            yield name.decode("utf-8", "surrogateescape"), int.from_bytes(area[position : position + size], "big")
            position += size

    def _block_names(self, block: bytes) -> Iterator[tuple[str, int]]:
        magic, end = block[:4], len(block)
        if magic in _BLOCK_MAGICS:
            end -= 8 + 8 * int.from_bytes(block[-8:-4], "big")
        elif magic not in _DATA_MAGICS:
            raise FormatError("xfs: a folder's block has no magic number.")
        position = 64 if magic in (b"XDB3", b"XDD3") else 16
        typed = 1 if self._geometry.typed_names else 0
        while position + 12 <= end:
            if int.from_bytes(block[position : position + 2], "big") == _UNUSED:
                length = int.from_bytes(block[position + 2 : position + 4], "big")
                if length < 8 or length % 8:
                    raise FormatError("xfs: a folder's free space is damaged.")
                position += length
                continue
            inode, name_length = struct.unpack_from(">QB", block, position)
            name = block[position + 9 : position + 9 + name_length]
            length = 8 + 1 + name_length + typed + 2 + 7 & ~7
            if not name or position + length > end:
                raise FormatError("xfs: a name in a folder is cut.")
            if name not in (b".", b".."):
                yield name.decode("utf-8", "surrogateescape"), inode
            position += length

    def content(self, entry: Entry) -> Iterator[tuple[int, bytes]]:
        """See StoredTree."""
        inode = _inode_of(entry)
        if inode.data.format == Fork.LOCAL:
            raise FormatError(f"xfs: the data of {entry.path} is in its inode, which xfs never does.")
        return read_runs(self.source, fork_runs(self.volume, self._geometry, inode.data), inode.size)

    def readlink(self, entry: Entry) -> str:
        """See FileTree."""
        inode = _inode_of(entry)
        if not 0 < inode.size <= _LINK_LIMIT:
            raise FormatError(f"xfs: the link {entry.path} has {inode.size} bytes.")
        if inode.data.format == Fork.LOCAL:
            target = inode.data.area[: inode.size]
        else:
            target = b"".join(self._link_parts(fork_runs(self.volume, self._geometry, inode.data)))[: inode.size]
        if len(target) < inode.size:
            raise FormatError(f"xfs: the link {entry.path} is cut.")
        return target.rstrip(b"\0").decode("utf-8", "surrogateescape")

    def _link_parts(self, runs: Iterator[Run]) -> Iterator[bytes]:
        """In version 5 each extent begins with a header."""
        for run in runs:
            part = self.volume.pread(min(run.length, 4 * _LINK_LIMIT), run.place)
            if self._geometry.version < 5:
                yield part
            elif part[:4] == b"XSLM":
                yield part[_LINK_HEADER:][: int.from_bytes(part[8:12], "big")]
            else:
                raise FormatError("xfs: a link has no magic number.")

    def xattrs(self, entry: Entry) -> dict[str, bytes]:
        """See FileTree."""
        inode = _inode_of(entry)
        return read_attributes(self.volume, self._geometry, inode.attributes) if inode.attributes else {}


def _inode_of(entry: Entry) -> Inode:
    if not isinstance(entry.handle, Inode):
        raise FormatError(f"{entry.path} cannot be read. {entry.problem}")
    return entry.handle


def _device(area: bytes) -> tuple[int, int]:
    number = int.from_bytes(area[:4], "big")
    return number >> 18, number & 0x3FFFF
