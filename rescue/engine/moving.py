"""Moving what a partition holds to another place of the same disk, also over its own, so that it can be interrupted anywhere.

A batch is copied only where nothing lies that the journal says is still to be copied. So at every moment each byte is whole
at its old place or at its new one, and the journal tells which. What is written is read back from the medium before it counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from rescue.devices.table import read_layout
from rescue.engine.editing import set_table
from rescue.engine.hidden_sectors import set_hidden_sectors
from rescue.engine.move_journal import MoveJournal, MoveRecord, packed_extents, read_journal
from rescue.errors import DamagedError, FormatError, RefusedError
from rescue.filesystems.maps import used_map
from rescue.model.edit import MoveVolume
from rescue.model.extents import Extent, ExtentMap
from rescue.model.progress import CancelToken
from rescue.model.source import Sink, SliceSource, Source
from rescue.records import replace
from rescue.system.blockfile import FileSink, FileSource
from rescue.units import KIB, MIB, align_down, align_up

_BATCH: Final = 32 * MIB
_UNIT: Final = 4096
# What tells a file system by its beginning is here, the superblock of a btrfs at 64 KiB included.
_HEAD: Final = 68 * KIB
Progress = Callable[[int, int], None]


class _Piece(NamedTuple):
    """A stretch, relative to the partition, and how many bytes of the extents come before it in the order of copying."""

    start: int
    end: int
    before: int


def _pieces(extents: Sequence[Extent], delta: int, done: int) -> Iterator[_Piece]:
    """What is to be copied after ``done`` bytes, in order: from the front when it moves to the front, else from the back."""
    longest = min(_BATCH, abs(delta))
    passed = 0
    for extent in extents if delta < 0 else reversed(extents):
        skip = min(max(done - passed, 0), extent.length)
        position = skip
        while position < extent.length:
            length = min(longest, extent.length - position)
            if delta < 0:
                yield _Piece(extent.start + position, extent.start + position + length, passed + position)
            else:
                yield _Piece(extent.end - position - length, extent.end - position, passed + position)
            position += length
        passed += extent.length


def copy_extents(
    source: Source, sink: Sink, drop_cache: Callable[[int, int], None], journal: MoveJournal, record: MoveRecord, done: int,
    token: CancelToken, progress: Progress,
) -> None:  # fmt: skip
    """Copy what is left of a move. Raises SourceReadError, TargetWriteError, DamagedError, CancelledError."""
    total = sum(extent.length for extent in record.extents)
    delta = record.to - record.start
    progress(done, total)
    if record.head and done < total:
        # The end is overwritten long before the beginning: nobody must take that for a whole file system meanwhile.
        sink.pwrite(bytes(len(record.head)), record.start)
        sink.flush()
        drop_cache(record.start, len(record.head))
    for piece in _pieces(record.extents, delta, done):
        token.check()
        data = source.pread(piece.end - piece.start, record.start + piece.start)
        if piece.start < len(record.head):
            known = record.head[piece.start : piece.end]
            data = known + data[len(known) :]
        place = record.to + piece.start
        sink.pwrite(data, place)
        sink.flush()
        drop_cache(place, len(data))
        if source.pread(len(data), place) != data:
            raise DamagedError(
                f"The disk does not give back what was written to it at byte {place}.",
                "The disk, its cable or this computer's memory is faulty. Until here nothing is lost.",
            )
        done = piece.before + len(data)
        journal.note(done, Extent(place, place + len(data)), data)
        progress(done, total)


def move_volume(step: MoveVolume, token: CancelToken, progress: Progress) -> int:
    """Move it, or go on where it was interrupted; the bytes of it. The table is changed when all is at the new place.

    Raises RefusedError, RescueError, CancelledError (it can be gone on with).
    """
    with FileSink(step.target, direct=True) as sink, FileSource(step.target, direct=True) as source:
        source.drop_cache()
        begun = read_journal(source, step.journal)
        if begun is not None and _same(begun.record, step):
            record = begun.record
            journal = MoveJournal(sink, step.journal, record, begun.generation)
            in_place = begun.is_at_table(read_layout(source, step.before.sector_size))
            if not in_place and not begun.still_holds(source):
                raise RefusedError(
                    f"{step.target} was written to since its move was interrupted; it cannot be gone on with.",
                    "Nothing was written. Restore an image of the disk.",
                )
            done = begun.done
        else:
            record, done, in_place = _record(step, source), 0, False
            journal = MoveJournal(sink, step.journal, record)
            journal.begin()
        copy_extents(source, sink, source.drop_cache, journal, record, done, token, progress)
    if not in_place:
        set_table(step.target, record.before, record.after)
    with FileSink(step.target, direct=True) as sink, FileSource(step.target, direct=True) as source:
        source.drop_cache()
        # What is no boot sector says nothing of where its partition is.
        with suppress(FormatError):
            set_hidden_sectors(source, sink, record.to, record.to + record.size, record.after.sector_size, record.identity)
        sink.flush()
        MoveJournal(sink, step.journal, record).end()
    return sum(extent.length for extent in record.extents)


def _same(record: MoveRecord, step: MoveVolume) -> bool:
    def places(one: MoveRecord | MoveVolume) -> object:
        return one.number, [(p.number, p.start, p.end) for layout in (one.before, one.after) for p in layout.partitions]

    return places(record) == places(step)


def _record(step: MoveVolume, source: FileSource) -> MoveRecord:
    partition = next(p for p in step.before.partitions if p.number == step.number)
    used = used_map(SliceSource(source, partition.start, partition.end), step.identity, path=step.target, offset=partition.start)
    extents = used.extents
    if not step.identity.type:
        extents = ExtentMap([(0, partition.size)])
    # Whole pages, so that direct reads and writes are never of less than a sector.
    rounded = ExtentMap((align_down(e.start, _UNIT), min(align_up(e.end, _UNIT), partition.size)) for e in extents)
    record = MoveRecord(step.number, step.before, step.after, step.identity, step.queue, packed_extents(rounded))
    if record.start < record.to < record.start + record.size:
        head = source.pread(min(_HEAD, record.size, record.to - record.start), record.start)
        record = replace(record, head=head)
    if any(step.journal.start < end and start < step.journal.end for start, end in _touched(record)):
        raise RefusedError("The journal of the move would lie where data are.", "Choose another place for the partition.")
    return record


def _touched(record: MoveRecord) -> list[tuple[int, int]]:
    return [(record.start, record.start + record.size), (record.to, record.to + record.size)]
