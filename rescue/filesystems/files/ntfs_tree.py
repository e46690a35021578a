"""Files on NTFS.

NTFS Documentation, R. Russon and Y. Fledel, 2004; Microsoft [MS-FSCC] sections 2.1.2 (reparse points) and 2.6 (attributes).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from rescue.errors import FormatError
from rescue.filesystems import ntfs_state
from rescue.filesystems.fields import Fields
from rescue.filesystems.files import ntfs_reparse
from rescue.filesystems.files.ntfs_attributes import Joined, attributes_of
from rescue.filesystems.files.ntfs_data import read_content
from rescue.filesystems.files.ntfs_index import folder_names
from rescue.filesystems.files.stored import StoredTree, decode_utf16, whole
from rescue.filesystems.files.tree import Entry, Kind
from rescue.filesystems.ntfs_mft import DATA, Mft
from rescue.model.source import Source

_ROOT: Final = 5
_FIRST_USER_RECORD: Final = 16  # those before are the file system's own structures
_NUMBER: Final = (1 << 48) - 1
_STANDARD_INFORMATION: Final = 0x10
_REPARSE_POINT: Final = 0xC0
_IS_FOLDER: Final = 0x2
_READ_ONLY: Final = 0x1
_SYSTEM: Final = 0x4
_EPOCH: Final = 116444736 * 10**9  # from 1601 to 1970, in units of 100 ns
_STREAM_LIMIT: Final = 65536  # what an extended attribute may hold
_NOTE: Final = "The owners and access rights of Windows are not kept in copies."
LARGE_STREAMS: Final = "alternate data streams above 64 KiB"
ENCRYPTED: Final = "It is encrypted by Windows (EFS)."


class _File(msgspec.Struct, frozen=True):
    """What a file is made of."""

    attributes: tuple[Joined, ...]
    reparse: ntfs_reparse.Reparse | None
    interix: ntfs_reparse.Special | None

    @property
    def data(self) -> Joined | None:
        """The unnamed stream."""
        return next((part for part in self.attributes if part.type == DATA and not part.name), None)


class NtfsTree(StoredTree[int]):
    """A FileTree; a reference is one of a file: MFT record and sequence number."""

    kind = "ntfs"
    owners = False
    folds_case = True

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._mft = Mft(self.volume)
        self.notes.append(_NOTE)
        unclean = ntfs_state.why_unclean(self._mft)
        if unclean:
            self.notes.append(f"{unclean} Its newest changes may be missing here.")

    def root(self) -> Entry:
        """See FileTree."""
        entry = self.load("", "", _ROOT)
        if entry.kind is not Kind.FOLDER:
            raise FormatError("NTFS: its root is not a folder.")
        return entry

    def names(self, entry: Entry) -> Iterator[tuple[str, int]]:
        """See StoredTree. The file system's own structures ($MFT, …) are left out."""
        for name, reference in folder_names(self._mft, _file_of(entry).attributes):
            if reference & _NUMBER >= _FIRST_USER_RECORD:
                yield name, reference

    def load(self, name: str, path: str, ref: int) -> Entry:
        """See StoredTree."""
        number, sequence = ref & _NUMBER, ref >> 48
        record = self._mft.record(number)
        record.require(not sequence or record.u16(16) == sequence, f"a name ({name}) leads to a file that was there before")
        record.require(not record.u64(32) & _NUMBER, "it belongs to another record")
        attributes = tuple(attributes_of(self._mft, number, record))
        standard = Fields(_resident(attributes, _STANDARD_INFORMATION), f"NTFS file {number}")
        flags = standard.u32(32)
        found = _resident(attributes, _REPARSE_POINT, self._mft)
        reparse = ntfs_reparse.parse(found, flags) if found else None
        data = next((part for part in attributes if part.type == DATA and not part.name), None)
        interix = self._interix(data) if flags & _SYSTEM and data is not None and not reparse else None
        folder = bool(record.u16(22) & _IS_FOLDER)
        kind = Kind.FOLDER if folder else Kind.FILE
        problem = ""
        if data is not None and data.encrypted:
            problem = ENCRYPTED
        elif any(part.type == DATA and part.name == ntfs_reparse.COMPACT_STREAM for part in attributes):
            problem = ntfs_reparse.COMPACT
        device = (0, 0)
        if reparse is not None:
            kind = Kind.LINK if reparse.target else kind
            problem = problem or reparse.problem
        elif interix is not None:
            kind, device = interix.kind, interix.device
        mode = 0o777 if kind is Kind.LINK else 0o755 if kind is Kind.FOLDER else 0o644
        resident = data is not None and data.value is not None
        return Entry(
            name,
            path,
            kind,
            size=data.size if data is not None and kind is Kind.FILE else 0,
            allocated=0 if data is None else data.size if resident else data.clusters * self._mft.geometry.cluster_size,
            mode=mode & ~0o222 if flags & _READ_ONLY and kind is Kind.FILE else mode,
            created=_time(standard.u64(0)),
            modified=_time(standard.u64(8)),
            changed=_time(standard.u64(16)),
            accessed=_time(standard.u64(24)),
            inode=number,
            links=_links(attributes),
            device=device,
            problem=problem,
            handle=_File(attributes, reparse, interix),
        )

    def _interix(self, data: Joined) -> ntfs_reparse.Special | None:
        """What ntfs-3g and Windows Services for Unix keep as small system files: links and device nodes."""
        if data.size > ntfs_reparse.INTERIX_LIMIT or data.encrypted or not data.size:
            return None
        pieces = read_content(self.volume, self._mft.geometry.cluster_size, data)
        return ntfs_reparse.interix(whole(pieces, data.size, ntfs_reparse.INTERIX_LIMIT, "A system file"))

    def content(self, entry: Entry) -> Iterator[tuple[int, bytes]]:
        """See StoredTree."""
        data = _file_of(entry).data
        return read_content(self.source, self._mft.geometry.cluster_size, data) if data is not None else iter(())

    def readlink(self, entry: Entry) -> str:
        """See FileTree. Backslashes become slashes; what names a drive stays as it is (C:/Users)."""
        file = _file_of(entry)
        if file.reparse is not None and file.reparse.target:
            return file.reparse.target
        if file.interix is not None and file.interix.target:
            return file.interix.target
        raise FormatError(f"{entry.path} is not a link.")

    def xattrs(self, entry: Entry) -> dict[str, bytes]:
        """See FileTree. Alternate data streams are "user." and their name, as ntfs-3g gives them."""
        cluster_size = self._mft.geometry.cluster_size
        return {
            "user." + _shown(part.name): whole(
                read_content(self.volume, cluster_size, part), part.size, _STREAM_LIMIT, "A stream"
            )
            for part in _file_of(entry).attributes
            if part.type == DATA and part.name and part.size <= _STREAM_LIMIT and not part.encrypted
        }

    def left_out(self, entry: Entry) -> tuple[str, ...]:
        """See FileTree."""
        return tuple(
            LARGE_STREAMS
            for part in _file_of(entry).attributes
            if part.type == DATA and part.name and (part.size > _STREAM_LIMIT or part.encrypted)
        )


def _file_of(entry: Entry) -> _File:
    if not isinstance(entry.handle, _File):
        raise FormatError(f"{entry.path} cannot be read. {entry.problem}")
    return entry.handle


def _shown(name: str) -> str:
    return decode_utf16(name.encode("utf-16-le", "surrogatepass"))


def _resident(attributes: tuple[Joined, ...], kind: int, mft: Mft | None = None) -> bytes:
    """The value of a small attribute; b"" when there is none."""
    for part in attributes:
        if part.type == kind:
            if part.value is not None:
                return part.value
            if mft is not None and part.size <= ntfs_reparse.LIMIT:
                return part.stream(mft).read(part.size, 0)
    return b""


def _links(attributes: tuple[Joined, ...]) -> int:
    """Names of the file, the short twins of long ones not counted: those have namespace 2."""
    return max(sum(part.type == 0x30 and len(part.value or b"") > 65 and (part.value or b"")[65] != 2 for part in attributes), 1)


def _time(filetime: int) -> int:
    """Nanoseconds since 1970 of 100 ns since 1601; what is far outside of what Windows keeps is taken for nothing."""
    return (filetime - _EPOCH) * 100 if filetime < 1 << 63 else 0
