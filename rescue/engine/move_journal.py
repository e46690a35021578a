"""How far a move got, kept on the disk itself in unallocated space, so that it is there after a power cut of a live system.

Two slots are written in turn, each with a checksum: the newer good one counts. Behind them, once, what is moved where.
"""

from __future__ import annotations

import struct
import zlib
from typing import Final

import msgspec
import zstandard
from blake3 import blake3

from rescue.errors import FormatError, SourceReadError
from rescue.model.extents import Extent, ExtentMap
from rescue.model.layout import Layout
from rescue.model.source import Sink, Source
from rescue.model.volume import Identity
from rescue.units import KIB, MIB, align_down, align_up

LENGTH: Final = 256 * KIB
_UNIT: Final = 4 * KIB  # the largest sector
_PARTS: Final = 16  # of a disk: at each of their borders a journal may be
# Magic, hash of the record, generation, bytes of the extents that are whole at the new place; the stretch that was copied last
# (on the disk) and the hash of its data.
_SLOT: Final = struct.Struct("<16s32sQQQQ32s")
_MAGIC: Final = b"rescue-move-0001"
_RECORD: Final = struct.Struct("<16sII")  # magic, bytes, CRC
_MAX_RECORD: Final = LENGTH - 3 * _UNIT
_UNPACKED: Final = 16 * MIB


class MoveRecord(msgspec.Struct, frozen=True):
    """A move: partition ``number`` of ``before`` goes where it is in ``after``.

    ``extents`` are what of it is copied, relative to its start. ``queue`` are the operations from this one on. ``head`` is what
    stood at its beginning, which is blanked where it stands until the move is complete; empty when it is left there.
    """

    number: int
    before: Layout
    after: Layout
    identity: Identity
    queue: tuple[str, ...]
    extents: tuple[Extent, ...]
    head: bytes = b""

    @property
    def start(self) -> int:
        """Where the partition begins before the move, in bytes."""
        return next(p.start for p in self.before.partitions if p.number == self.number)

    @property
    def to(self) -> int:
        """Where it begins afterwards."""
        return next(p.start for p in self.after.partitions if p.number == self.number)

    @property
    def size(self) -> int:
        """Bytes of the partition."""
        return next(p.size for p in self.before.partitions if p.number == self.number)


def _spare(layout: Layout) -> ExtentMap:
    """What is in no partition (an extended one counts) and no table, and not where boot code lives."""
    taken = ExtentMap(sorted((p.start, p.end) for p in layout.partitions)).union(ExtentMap(layout.table))
    head = 2 * layout.sector_size + align_up(16 * KIB, layout.sector_size) if layout.label == "gpt" else MIB
    low, high = align_up(head, _UNIT), align_down(layout.usable_end, _UNIT)
    return ExtentMap([(low, high)]).difference(taken)


def _edges(spare: ExtentMap) -> list[Extent]:
    found = []
    for extent in spare:
        first, last = align_up(extent.start, _UNIT), align_down(extent.end, _UNIT) - LENGTH
        if first + LENGTH <= extent.end:
            found += [Extent(first, first + LENGTH), Extent(last, last + LENGTH)]
    return list(dict.fromkeys(found))


def _places(layout: Layout) -> list[Extent]:
    """Where a journal may be on a disk with this layout: at the edges of unallocated space, and at some places within it.

    Those within are the same for every layout of a disk; half a MiB behind whole ones no file system begins.
    """
    spare = _spare(layout)
    starts = [align_down(layout.size * part // _PARTS, MIB) + MIB // 2 for part in range(1, _PARTS)]
    inside = [Extent(start, start + LENGTH) for start in starts]
    free = [place for place in inside if any(e.start <= place.start and place.end <= e.end for e in spare)]
    return list(dict.fromkeys([*_edges(spare), *free]))


def journal_places(before: Layout, after: Layout) -> list[Extent]:
    """Where the journal of the move from ``before`` to ``after`` may be put, from the end of the disk.

    It is found there again by either table. The first MiB is left to boot loaders; single boards have theirs behind a GPT.
    """
    later = set(_places(after))
    return sorted((place for place in _places(before) if place in later and place.start >= MIB), reverse=True)


def packed_extents(extents: ExtentMap, room: int = 8000) -> tuple[Extent, ...]:
    """The extents, those with the smallest gaps between them joined until there are at most ``room``."""
    found = list(extents)
    gap = _UNIT
    while len(found) > room:
        joined: list[Extent] = []
        for extent in found:
            if joined and extent.start - joined[-1].end <= gap:
                joined[-1] = Extent(joined[-1].start, extent.end)
            else:
                joined.append(extent)
        found = joined
        gap *= 2
    return tuple(found)


class MoveJournal:
    """The journal of one move at a place of a disk, open for writing."""

    def __init__(self, sink: Sink, place: Extent, record: MoveRecord, generation: int = 0) -> None:
        self._sink = sink
        self._place = place
        self._packed = _pack(record)
        self._key = blake3(self._packed).digest()
        self._generation = generation

    def begin(self) -> None:
        """Write it for the first time: nothing is moved yet. Raises FormatError (too large), TargetWriteError."""
        data = _RECORD.pack(_MAGIC, len(self._packed), zlib.crc32(self._packed)) + self._packed
        if len(data) > _MAX_RECORD:
            raise FormatError("The partition is too fragmented for the journal of its move.")
        self._sink.pwrite(data.ljust(align_up(len(data), _UNIT), b"\0"), self._place.start + 2 * _UNIT)
        self._sink.pwrite(bytes(2 * _UNIT), self._place.start)
        self._sink.flush()
        self.note(0, Extent(0, 0), b"")

    def note(self, done: int, last: Extent, data: bytes) -> None:
        """``done`` bytes of the extents are whole at the new place and on the medium, ``data`` in ``last`` among them."""
        self._generation += 1
        slot = _SLOT.pack(_MAGIC, self._key, self._generation, done, *last, blake3(data).digest())
        data = slot + struct.pack("<I", zlib.crc32(slot))
        self._sink.pwrite(data.ljust(_UNIT, b"\0"), self._place.start + self._generation % 2 * _UNIT)
        self._sink.flush()

    def end(self) -> None:
        """The move is complete: nobody finds the journal any more, and a place that was blank is so again."""
        self._sink.pwrite(bytes(3 * _UNIT), self._place.start)
        self._sink.flush()
        self._sink.pwrite(bytes(LENGTH - 3 * _UNIT), self._place.start + 3 * _UNIT)
        self._sink.flush()


def _pack(record: MoveRecord) -> bytes:
    return zstandard.ZstdCompressor().compress(msgspec.msgpack.encode(record))


class Begun(msgspec.Struct, frozen=True):
    """A move that was interrupted after ``done`` bytes of its extents; ``last`` was copied last, and has this hash."""

    record: MoveRecord
    place: Extent
    generation: int
    done: int
    last: Extent
    digest: bytes

    def is_of(self, layout: Layout) -> bool:
        """Whether a disk with this layout can be the one that was left so."""
        return _shape(layout) in (_shape(self.record.before), _shape(self.record.after))

    def is_at_table(self, layout: Layout) -> bool:
        """Whether all was moved, and the new table is there already as a whole."""
        moved = sum(extent.length for extent in self.record.extents)
        # One that was cut off in the middle is read from its backup.
        return self.done == moved and _shape(layout) == _shape(self.record.after) and not layout.problems

    def still_holds(self, source: Source) -> bool:
        """Whether what was copied last is still there: else something else wrote to the disk since."""
        start, end = self.last
        return start == end or blake3(source.pread(end - start, start)).digest() == self.digest


def _shape(layout: Layout) -> object:
    return layout.label, layout.id, [(p.number, p.start, p.end, p.type, p.uuid) for p in layout.partitions]


def read_journal(source: Source, place: Extent) -> Begun | None:
    """The move that is noted at a place; None: there is no journal. Raises SourceReadError."""
    slots = source.pread(2 * _UNIT, place.start)
    if _MAGIC not in (slots[:16], slots[_UNIT : _UNIT + 16]):
        return None
    header = source.pread(_RECORD.size, place.start + 2 * _UNIT)
    magic, length, crc = _RECORD.unpack(header)
    if magic != _MAGIC or length > _MAX_RECORD:
        return None
    packed = source.pread(length, place.start + 2 * _UNIT + _RECORD.size)
    if zlib.crc32(packed) != crc:
        return None
    key = blake3(packed).digest()
    best: tuple[int, int, Extent, bytes] | None = None
    for number in range(2):
        raw = slots[number * _UNIT :][: _SLOT.size + 4]
        magic, of, generation, done, start, end, digest = _SLOT.unpack(raw[: _SLOT.size])
        good = magic == _MAGIC and of == key and zlib.crc32(raw[: _SLOT.size]) == int.from_bytes(raw[_SLOT.size :], "little")
        if good and (best is None or generation > best[0]):
            best = (generation, done, Extent(start, end), digest)
    record = _unpack(packed)
    if best is None or record is None or best[1] > sum(e.length for e in record.extents):
        return None
    start, end = best[2]
    if not record.to <= start <= end <= record.to + record.size and (start, end) != (0, 0):
        return None
    return Begun(record, place, *best)


def _unpack(packed: bytes) -> MoveRecord | None:
    """The record, if it describes a move that could be; a disk may hold anything."""
    try:
        data = zstandard.ZstdDecompressor().decompress(packed, max_output_size=_UNPACKED)
        record = msgspec.msgpack.decode(data, type=MoveRecord)
    except (zstandard.ZstdError, msgspec.MsgspecError):
        return None
    numbers = [{p.number for p in layout.partitions} for layout in (record.before, record.after)]
    if not all(record.number in found for found in numbers):
        return None
    end = 0
    for extent in record.extents:
        if not end <= extent.start < extent.end <= record.size:
            return None
        end = extent.end
    fits = all(at >= 0 and at + record.size <= record.before.size for at in (record.start, record.to))
    fits = fits and len(record.head) <= max(min(record.to - record.start, record.size), 0)
    return record if fits and record.before.size == record.after.size else None


def find_move(source: Source, layout: Layout) -> Begun | None:
    """The move that was interrupted on this disk. What cannot be read holds no journal."""
    if layout.label == "none":
        return None
    for place in _places(layout):
        try:
            found = read_journal(source, place)
        except SourceReadError:
            continue
        if found is not None and found.record.before.size == source.size and found.is_of(layout):
            return found
    return None
