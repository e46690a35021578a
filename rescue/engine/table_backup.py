"""The tables and headers of a disk, kept in a file before they are changed, and put back."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec
import zstandard

from rescue.devices.table import read_layout
from rescue.engine.editing import writes_of
from rescue.errors import FormatError, RefusedError, RescueError, UsageError
from rescue.filesystems.identify import identify
from rescue.model.disk import Disk
from rescue.model.extents import Extent, ExtentMap
from rescue.model.layout import Layout
from rescue.model.source import Source
from rescue.model.text import shown
from rescue.records import replace
from rescue.system.blockfile import FileSink, FileSource, is_block_device
from rescue.units import MIB

SUFFIX: Final = ".rescue-table"
_MAGIC: Final = b"rescue-table-1\n"
_BORDER: Final = 1 * MIB
_SECTOR: Final = 512
_LIMIT: Final = 1 << 30  # of what is unpacked: two MiB of each of 260 partitions, and more


class Piece(msgspec.Struct, frozen=True):
    """The bytes at an offset of a disk."""

    offset: int
    data: bytes


class TableBackup(msgspec.Struct, frozen=True):
    """What of a disk was kept.

    ``tables`` are the bytes of the old tables and of what the new ones were written over; ``headers`` the first and the last
    MiB of each partition (superblocks, headers of LVM, LUKS and RAID); ``written`` what the new tables are; ``changed`` the
    bytes outside of tables that were going to be written.
    """

    disk: Disk
    created: str
    before: Layout
    tables: tuple[Piece, ...]
    headers: tuple[Piece, ...]
    written: tuple[Piece, ...]
    changed: tuple[Extent, ...]


def _read(source: Source, extents: Iterable[tuple[int, int]]) -> tuple[Piece, ...]:
    whole = ExtentMap(sorted(extents)).intersection(ExtentMap([(0, source.size)]))
    return tuple(Piece(extent.start, source.pread(extent.length, extent.start)) for extent in whole)


def make_backup(
    source: Source, disk: Disk, created: str, before: Layout, layouts: Sequence[Layout], changed: Sequence[Extent]
) -> TableBackup:
    """Read what is to be kept before ``layouts`` are written one after the other. Raises SourceReadError, RefusedError."""
    first = source.pread(before.sector_size, 0)
    written: list[Piece] = []
    previous = before
    for layout in layouts:
        writes = writes_of(previous, layout, first)
        written += [Piece(offset, data) for offset, data in writes]
        previous, first = layout, next((data for offset, data in writes if offset == 0), first)
    places = [(extent.start, extent.end) for extent in before.table]
    places += [(piece.offset, piece.offset + len(piece.data)) for piece in written]
    borders = [(p.start, min(p.start + _BORDER, p.end)) for p in before.partitions]
    borders += [(max(p.end - _BORDER, p.start), p.end) for p in before.partitions]
    borders += [(0, min(_BORDER, source.size)), (max(source.size - _BORDER, 0), source.size)]
    return TableBackup(disk, created, before, _read(source, places), _read(source, borders), tuple(written), tuple(changed))


def write_backup(file: str, backup: TableBackup) -> None:
    """Keep it in a new file, on the medium. Raises RefusedError when the file is there, RescueError."""
    path = Path(file)
    # MessagePack holds UTF-8 alone, and what the disk was called is told to people.
    disk = replace(backup.disk, path=shown(backup.disk.path), beside=tuple(map(shown, backup.disk.beside)))
    data = msgspec.msgpack.encode(replace(backup, disk=disk))
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as out:
            out.write(_MAGIC + zstandard.ZstdCompressor().compress(data))
            out.flush()
            os.fsync(out.fileno())
    except FileExistsError as error:
        raise RefusedError(f"{file} is there already.", "Name another file.") from error
    except OSError as error:
        raise RescueError(
            f"The old partition table cannot be kept in {file}: {error.strerror}.", "Name another place with --save."
        ) from error


def read_backup(file: str) -> TableBackup:
    """What :func:`write_backup` kept. Raises FormatError, UsageError (no such file), RescueError."""
    try:
        data = Path(file).read_bytes()
    except FileNotFoundError as error:
        raise UsageError(
            f"{file} does not exist.",
            "--undo takes a file that --save wrote or that was kept before; without one it takes the last.",
        ) from error
    except OSError as error:
        raise RescueError(f"{file} cannot be read: {error.strerror}.") from error
    if not data.startswith(_MAGIC):
        raise FormatError(f"{file} is no saved partition table.")
    try:
        size = zstandard.frame_content_size(data[len(_MAGIC) :])
        if not 0 < size <= _LIMIT:
            raise FormatError(f"{file} is damaged: it says that it holds {size} bytes.")
        unpacked = zstandard.ZstdDecompressor().decompress(data[len(_MAGIC) :], max_output_size=_LIMIT)
        return msgspec.msgpack.decode(unpacked, type=TableBackup)
    except (zstandard.ZstdError, msgspec.MsgspecError) as error:
        raise FormatError(f"{file} is damaged.", "Use another saved partition table.") from error


def refuse_to_put_back(backup: TableBackup, disk: Disk, source: Source) -> None:
    """Raise RefusedError unless the old tables can be written again without making anything worse."""
    if (disk.size, disk.serial, disk.wwn) != (backup.disk.size, backup.disk.serial, backup.disk.wwn):
        raise RefusedError(
            f"The saved partition table is of another disk: {backup.disk.who}.", "Name the file that belongs to this disk."
        )
    if backup.changed:
        raise RefusedError(
            "What is in partitions was changed together with the table; the old table would not fit to it any more.",
            "Edit the partitions anew, or restore an image.",
        )
    old = ExtentMap(sorted((piece.offset, piece.offset + len(piece.data)) for piece in backup.tables))
    for piece in backup.written:
        now = source.pread(len(piece.data), piece.offset)
        inside = next((t for t in backup.tables if t.offset <= piece.offset < t.offset + len(t.data)), None)
        assert inside is not None, old
        then = inside.data[piece.offset - inside.offset : piece.offset - inside.offset + len(piece.data)]
        others = [p.data for p in backup.written if p.offset == piece.offset and len(p.data) == len(piece.data)]
        if now != then and now not in others and not _is_part_of(backup.before, disk, source):
            raise RefusedError(
                f"The partition table of {disk.path} was changed by something else since.",
                "Nothing was written. A later saved table may be the one to put back.",
            )
    if replaced := _replaced(backup, source):
        which = ", ".join(map(str, replaced))
        raise RefusedError(
            f"What is at the place of partition {which} on {disk.path} is not what was there when the table was kept.",
            "Nothing was written. A later saved table may be the one to put back.",
        )


def _replaced(backup: TableBackup, source: Source) -> list[int]:
    """The partitions that would come back, but at whose beginning or end other content is by now than was kept.

    What is blank by now is none. A partition that is in the table all the while may have been used.
    """
    before = backup.before
    try:
        here = {(p.start, p.end) for p in read_layout(source, before.sector_size).partitions}
    except FormatError:
        here = set()
    tables = ExtentMap(sorted((piece.offset, piece.offset + len(piece.data)) for piece in (*backup.tables, *backup.written)))
    replaced = []
    for partition in before.data_partitions:
        if (partition.start, partition.end) in here:
            continue
        edge = min(_BORDER, partition.size)
        borders = ExtentMap([(partition.start, partition.start + edge)]).union(ExtentMap([(partition.end - edge, partition.end)]))
        if any(_is_other(piece, borders.difference(tables), source) for piece in backup.headers):
            replaced.append(partition.number)
    return replaced


def _is_other(piece: Piece, borders: ExtentMap, source: Source) -> bool:
    """Whether there is something else on the disk than in a piece of what was kept, within ``borders``, and not zeros."""
    for start, end in borders.clip(piece.offset, piece.offset + len(piece.data)):
        now, then = source.pread(end - start, start), piece.data[start - piece.offset : end - piece.offset]
        sectors = range(0, end - start, _SECTOR)
        if now != then and any(
            now[at : at + _SECTOR] != then[at : at + _SECTOR] and any(now[at : at + _SECTOR]) for at in sectors
        ):
            return True
    return False


def is_put_back(backup: TableBackup, source: Source) -> bool:
    """Whether the tables on the disk are already those that were kept, byte by byte. Raises SourceReadError."""
    return all(source.pread(len(piece.data), piece.offset) == piece.data for piece in backup.tables)


def _is_part_of(before: Layout, disk: Disk, source: Source) -> bool:
    """Whether the disk has no partitions by now but some of the old ones: nothing is in their way."""
    try:
        present = read_layout(source, before.sector_size)
    except FormatError:
        return False
    if present.label == "none" and identify(disk.path, 0, disk.size).type:
        return False  # a file system on the whole disk
    return set(present.partitions) <= set(before.partitions)


def put_back(path: str, disk: Disk, backup: TableBackup) -> bool:
    """Write the old tables, the first sector last; False when they are there already, and nothing was written.

    Raises RefusedError, FormatError, TargetWriteError, SourceReadError.
    """
    sector = backup.before.sector_size
    with FileSource(path) as source:
        if any(not 0 <= p.offset <= p.offset + len(p.data) <= source.size for p in (*backup.tables, *backup.written)):
            raise FormatError("The saved partition table does not fit to the size of its disk.")
        refuse_to_put_back(backup, disk, source)
        if is_put_back(backup, source):
            return False
    with FileSink(path, direct=True) as sink:
        for piece in reversed(backup.tables):
            skipped = sector if piece.offset == 0 else 0
            sink.pwrite(piece.data[skipped:], piece.offset + skipped)
        sink.flush()
        for piece in backup.tables:
            if piece.offset == 0:
                sink.pwrite(piece.data[:sector], 0)
        sink.flush()
        if is_block_device(path):
            sink.reread_table()
    with FileSource(path, direct=True) as source:
        source.drop_cache()
        for piece in backup.tables:
            if source.pread(len(piece.data), piece.offset) != piece.data:
                raise RescueError(f"{path} does not give back what was written to it.", "The disk or its cable is faulty.")
    return True
