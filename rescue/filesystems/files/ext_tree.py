"""Files on ext2, ext3 and ext4.

Specification: the Linux kernel's Documentation/filesystems/ext4 ("Dynamic Structures"); fs/ext4/ext4.h, xattr.h, acl.h.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

import msgspec

from rescue.errors import FormatError, UnsupportedError
from rescue.filesystems.ext import descriptor_block
from rescue.filesystems.ext_superblock import INCOMPAT_64BIT, Superblock, read_superblock
from rescue.filesystems.fields import Fields
from rescue.filesystems.files import ext_xattrs
from rescue.filesystems.files.ext_blocks import extent_runs, indirect_runs
from rescue.filesystems.files.stored import FOLDER_LIMIT, Run, StoredTree, kind_of_mode, read_runs, whole
from rescue.filesystems.files.tree import Entry, Kind
from rescue.model.source import Source

_ROOT: Final = 2
_FOLDER: Final = 2  # type of a name: EXT4_FT_DIR
# filetype, recover, meta_bg, extents, 64bit, mmp, flex_bg, ea_inode, csum_seed, largedir, inline_data, encrypt, casefold.
_READABLE: Final = 0x2 | 0x4 | 0x10 | 0x40 | 0x80 | 0x100 | 0x200 | 0x400 | 0x2000 | 0x4000 | 0x8000 | 0x10000 | 0x20000
_INCOMPAT_FILETYPE: Final = 0x2
_INCOMPAT_LARGEDIR: Final = 0x4000
_RO_COMPAT_HUGE_FILE: Final = 0x8
_ENCRYPTED: Final = 0x800
_HUGE: Final = 0x40000
_EXTENTS: Final = 0x80000
_INLINE: Final = 0x10000000
_IN_INODE: Final = 60  # bytes for the block map, for a short link, or for the head of inline data
_LINK_LIMIT: Final = 65536
_MODIFIED_EXTRA: Final = 0x88
ENCRYPTED: Final = "It is encrypted (fscrypt)."


class Inode(msgspec.Struct, frozen=True):
    """An inode's raw bytes and what the tree needs of them."""

    number: int
    data: bytes
    mode: int
    flags: int
    size: int

    @property
    def block(self) -> bytes:
        """The block map, or what is kept in its place."""
        return self.data[0x28 : 0x28 + _IN_INODE]


class ExtTree(StoredTree[int]):
    """A FileTree; a reference is the number of an inode."""

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._superblock: Superblock = read_superblock(self.volume)
        unknown = self._superblock.incompat & ~_READABLE
        if unknown:
            raise UnsupportedError(f"ext: it uses features that this program does not know ({unknown:#x}).")
        self.kind = "ext4" if self._superblock.incompat & 0x2C0 else "ext2"
        if self._superblock.unclean:
            self.notes.append(f"{self._superblock.unclean} Its newest changes may be missing here.")

    def root(self) -> Entry:
        """See FileTree."""
        entry = self.load("", "", _ROOT)
        if entry.kind is not Kind.FOLDER:
            raise FormatError("ext: its root is not a folder.")
        return entry

    def inode(self, number: int) -> Inode:
        """Read one inode. Raises FormatError when there is none of that number in use."""
        superblock = self._superblock
        group, index = divmod(number - 1, superblock.group_inodes)
        if number < 1 or group >= superblock.groups:
            raise FormatError(f"ext: there is no inode {number}.")
        per_block = superblock.block_size // superblock.descriptor_size
        place = descriptor_block(superblock, group // per_block) * superblock.block_size
        descriptor = self.volume.pread(superblock.descriptor_size, place + group % per_block * superblock.descriptor_size)
        (table,) = struct.unpack_from("<I", descriptor, 8)
        if superblock.incompat & INCOMPAT_64BIT:
            table |= struct.unpack_from("<I", descriptor, 0x28)[0] << 32
        if not superblock.first_block < table < superblock.blocks:
            raise FormatError(f"ext: the inodes of group {group} are outside of the file system.")
        data = self.volume.pread(superblock.inode_size, table * superblock.block_size + index * superblock.inode_size)
        mode, _, size = struct.unpack_from("<HHI", data)
        links, _, flags = struct.unpack_from("<HII", data, 0x1A)
        if not mode or not links:
            raise FormatError(f"ext: inode {number} is not in use.")
        kind = kind_of_mode(mode)
        if kind is Kind.FILE or (kind is Kind.FOLDER and superblock.incompat & _INCOMPAT_LARGEDIR):
            size |= struct.unpack_from("<I", data, 0x6C)[0] << 32
        return Inode(number, data, mode, flags, size)

    def load(self, name: str, path: str, ref: int) -> Entry:
        """See StoredTree."""
        inode = self.inode(ref)
        data = inode.data
        kind = kind_of_mode(inode.mode)
        uid, gid = struct.unpack_from("<H", data, 2)[0], struct.unpack_from("<H", data, 0x18)[0]
        uid_high, gid_high = struct.unpack_from("<HH", data, 0x78)
        blocks, blocks_high = struct.unpack_from("<I", data, 0x1C)[0], struct.unpack_from("<H", data, 0x74)[0]
        unit = 512
        if self._superblock.ro_compat & _RO_COMPAT_HUGE_FILE:
            blocks |= blocks_high << 32
            unit = self._superblock.block_size if inode.flags & _HUGE else 512
        encrypted = inode.flags & _ENCRYPTED and kind in (Kind.FILE, Kind.FOLDER, Kind.LINK)
        return Entry(
            name,
            path,
            kind,
            size=inode.size if kind in (Kind.FILE, Kind.FOLDER, Kind.LINK) else 0,
            allocated=blocks * unit,
            mode=inode.mode & 0o7777,
            uid=uid | uid_high << 16,
            gid=gid | gid_high << 16,
            accessed=_time(data, 0x08, 0x8C),
            changed=_time(data, 0x0C, 0x84),
            modified=_time(data, 0x10, _MODIFIED_EXTRA),
            created=_time(data, 0x90, 0x94) if _has(data, 0x94) else None,
            inode=ref,
            links=struct.unpack_from("<H", data, 0x1A)[0],
            device=_device(inode.block) if kind in (Kind.BLOCK, Kind.CHARACTER) else (0, 0),
            problem=ENCRYPTED if encrypted else "" if kind is not Kind.UNKNOWN else f"Its mode {inode.mode:#o} is unknown.",
            handle=inode,
        )

    def names(self, entry: Entry) -> Iterator[tuple[str, int]]:
        """See FileTree."""
        for name, number, _ in self._entries(entry):
            yield name, number

    def folders(self, entry: Entry) -> Iterator[tuple[str, Entry | None]]:
        """Every name in a folder, with its entry where it is a folder too. Raises FormatError.

        What is none is not looked at where names tell their types, which is much faster than :meth:`children`.
        """
        for name, number, kind in self._entries(entry):
            found = None
            if kind in (0, _FOLDER):
                found = self.load(name, f"{entry.path}/{name}" if entry.path else name, number)
            yield name, found if found and found.kind is Kind.FOLDER else None

    def keeps_nanoseconds(self, entry: Entry) -> bool:
        """Whether its inode has the field for parts of a second of its time of modification."""
        return _has(_inode_of(entry).data, _MODIFIED_EXTRA)

    def _entries(self, entry: Entry) -> Iterator[tuple[str, int, int]]:
        """Name, inode and type. Blocks of a hash tree's index look like blocks without names, so all are read in a row."""
        inode = _inode_of(entry)
        if inode.flags & _INLINE:
            data = self._inline(inode)
            yield from self._dirents(data[4:_IN_INODE])
            yield from self._dirents(data[_IN_INODE:])
            return
        if inode.size > FOLDER_LIMIT:
            raise FormatError(f"ext: the folder in inode {inode.number} has {inode.size} bytes.")
        size = self._superblock.block_size
        for run in self._runs(inode, inode.size):
            for offset in range(0, min(run.length, inode.size - run.start), size):
                yield from self._dirents(self.volume.pread(size, run.place + offset))

    def _dirents(self, block: bytes) -> Iterator[tuple[str, int, int]]:
        """Name, inode and type (0: not told) of what a block of a folder names."""
        typed = bool(self._superblock.incompat & _INCOMPAT_FILETYPE)
        position, end = 0, len(block)
        while position + 8 <= end:
            inode, length, name_length = struct.unpack_from("<IHH", block, position)
            kind = 0
            if typed:
                kind, name_length = name_length >> 8 & 7, name_length & 0xFF
            if length in (0, 65535):
                length = end - position if end == 65536 else length  # 64 KiB does not fit into the field
            if length < 8 or length % 4 or position + length > end or name_length + 8 > length:
                raise FormatError("ext: a folder is damaged.")
            name = block[position + 8 : position + 8 + name_length]
            if inode and name and name not in (b".", b".."):
                yield name.decode("utf-8", "surrogateescape"), inode, kind
            position += length

    def _runs(self, inode: Inode, size: int) -> Iterator[Run]:
        if inode.flags & _EXTENTS:
            return extent_runs(self.volume, self._superblock, inode.block, size)
        return indirect_runs(self.volume, self._superblock, inode.block, size)

    def _inline(self, inode: Inode) -> bytes:
        """Data kept inside the inode: the head in place of the block map, the rest as an attribute."""
        if not 0 <= inode.size <= self._superblock.inode_size:
            raise FormatError(f"ext: {inode.size} bytes do not fit into inode {inode.number}.")
        rest = ext_xattrs.inline_data(inode.data) if inode.size > _IN_INODE else b""
        if len(rest) < inode.size - _IN_INODE:
            raise FormatError(f"ext: the data in inode {inode.number} is cut.")
        return (inode.block + rest)[: inode.size]

    def content(self, entry: Entry) -> Iterator[tuple[int, bytes]]:
        """See StoredTree."""
        inode = _inode_of(entry)
        if inode.flags & _INLINE:
            data = self._inline(inode)
            if data:
                yield 0, data
            return
        yield from read_runs(self.source, self._runs(inode, inode.size), inode.size)

    def readlink(self, entry: Entry) -> str:
        """See FileTree."""
        inode = _inode_of(entry)
        if entry.problem:
            raise FormatError(f"The link {entry.path} cannot be read. {entry.problem}")
        if inode.flags & _INLINE:
            target = self._inline(inode)
        elif inode.size < _IN_INODE:
            target = inode.block[: inode.size]
        else:
            target = whole(read_runs(self.source, self._runs(inode, inode.size), inode.size), inode.size, _LINK_LIMIT, "A link")
        return target.rstrip(b"\0").decode("utf-8", "surrogateescape")

    def xattrs(self, entry: Entry) -> dict[str, bytes]:
        """See FileTree."""
        inode = _inode_of(entry)
        found = list(ext_xattrs.in_inode(inode.data))
        block = struct.unpack_from("<I", inode.data, 0x68)[0] | struct.unpack_from("<H", inode.data, 0x76)[0] << 32
        if block:
            if block >= self._superblock.blocks:
                raise FormatError(f"ext: the attributes of inode {inode.number} are outside of the file system.")
            size = self._superblock.block_size
            found += ext_xattrs.in_block(self.volume.pread(size, block * size))
        return {
            stored.name: ext_xattrs.as_given(stored, self._outside(stored) if stored.inode else stored.value)
            for stored in found
            if stored.name
        }

    def _outside(self, stored: ext_xattrs.Stored) -> bytes:
        """A value that has an inode of its own (ea_inode)."""
        inode = self.inode(stored.inode)
        if not inode.flags & ext_xattrs.VALUE_INODE:
            raise FormatError(f"ext: inode {inode.number} does not hold the value of an attribute.")
        pieces = read_runs(self.volume, self._runs(inode, inode.size), inode.size)
        return whole(pieces, inode.size, ext_xattrs.VALUE_LIMIT, "An attribute")


def _inode_of(entry: Entry) -> Inode:
    if not isinstance(entry.handle, Inode):
        raise FormatError(f"{entry.path} cannot be read. {entry.problem}")
    return entry.handle


def _has(data: bytes, field: int) -> bool:
    """Whether an inode is long enough to hold the 32-bit field beyond its first 128 bytes."""
    return len(data) > 128 and field + 4 <= 128 + struct.unpack_from("<H", data, 0x80)[0] and field + 4 <= len(data)


def _time(data: bytes, seconds: int, extra: int) -> int:
    """A time in nanoseconds; the extra field holds two more bits of the seconds, and nanoseconds."""
    value = int.from_bytes(data[seconds : seconds + 4], "little", signed=True)
    if not _has(data, extra):
        return value * 10**9
    more = int.from_bytes(data[extra : extra + 4], "little")
    return (value + ((more & 3) << 32)) * 10**9 + min(more >> 2, 10**9 - 1)


def _device(block: bytes) -> tuple[int, int]:
    fields = Fields(block, "ext device")
    old, new = fields.u32(0), fields.u32(4)
    return (old >> 8 & 0xFF, old & 0xFF) if old else (new >> 8 & 0xFFF, new & 0xFF | new >> 12 & 0xFFF00)
