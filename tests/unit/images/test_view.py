"""The disk in an image as a Source: the same bytes as the disk, in any order, from many threads, never unproved."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest

from rescue.engine.capture import Capture
from rescue.engine.making import Making, Plain
from rescue.errors import DamagedError, FormatError, SourceReadError, UsageError
from rescue.images.chain import Chain
from rescue.images.format import Kind, Row, RowKind
from rescue.images.secrets import NO_SECRETS
from rescue.images.view import ImageView
from rescue.model.disk import Disk
from rescue.model.progress import CancelToken
from rescue.model.source import BytesSource
from rescue.records import replace
from rescue.units import KIB, MIB
from tests.unit.images.disks import CREATED, SmallDisk, small_disk, write_image

DISK = small_disk()
KEPT = DISK.kept
SIZE = len(KEPT)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("image") / "disk.img.zst"
    write_image(DISK, path)
    return path


@pytest.fixture
def chain(image: Path) -> Iterator[Chain]:
    with Chain(image) as chain:
        yield chain


def _ranges(seed: int, count: int) -> Iterator[tuple[int, int]]:
    chance = random.Random(seed)
    for _ in range(count):
        length = chance.choice((0, 1, 511, 512, 4 * KIB, 300 * KIB, 3 * MIB))
        yield chance.randrange(SIZE - length + 1), length


def test_random_reads_give_the_bytes_of_the_disk(chain: Chain) -> None:
    view = ImageView(chain)
    assert view.size == SIZE
    for offset, length in _ranges(1, 300):
        assert view.pread(length, offset) == KEPT[offset : offset + length]


def test_a_buffer_full_of_old_bytes_is_filled_wholly(chain: Chain) -> None:
    view = ImageView(chain)
    buffer = bytearray(b"\xa5" * SIZE)
    view.pread_into(memoryview(buffer), 0)
    assert buffer == KEPT


def test_a_cache_smaller_than_a_frame_changes_nothing_but_speed(chain: Chain) -> None:
    view = ImageView(chain, cache=1)
    for offset, length in _ranges(2, 40):
        assert view.pread(length, offset) == KEPT[offset : offset + length]


def test_many_threads(chain: Chain) -> None:
    view = ImageView(chain, cache=9 * MIB)

    def read(seed: int) -> bool:
        return all(view.pread(length, offset) == KEPT[offset : offset + length] for offset, length in _ranges(seed, 40))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(1, 17)))


def test_outside_of_the_disk(chain: Chain) -> None:
    view = ImageView(chain)
    for offset, length in ((-1, 1), (SIZE, 1), (SIZE - 1, 2), (0, SIZE + 1)):
        with pytest.raises(FormatError):
            view.pread(length, offset)


def test_a_partition_is_a_slice(chain: Chain) -> None:
    view = ImageView(chain)
    for partition in DISK.layout.partitions:
        piece = view.partition(partition.number)
        assert piece.pread(piece.size, 0) == KEPT[partition.start : partition.end]
    assert view.partition(0).size == SIZE
    with pytest.raises(UsageError, match=r"no partition 7\. It holds 1, 2"):
        view.partition(7)


def test_extents_cover_the_disk_and_tell_what_reads_as_zeros(chain: Chain) -> None:
    view = ImageView(chain)
    position = 0
    before = None
    for held in view.extents():
        assert held.start == position < held.end
        assert held.kind != before
        if held.kind != RowKind.DATA:
            assert not any(KEPT[held.start : held.end])
        position, before = held.end, held.kind
    assert position == SIZE
    whole = list(view.extents())
    for offset, length in _ranges(3, 100):
        expected = [(max(h.start, offset), min(h.end, offset + length), h.kind) for h in whole]
        assert list(view.extents(offset, offset + length)) == [e for e in expected if e[0] < e[1]]


def _upon(parent: Path, disk: SmallDisk, path: Path, kind: Kind) -> None:
    output = io.BytesIO()
    description = Disk("disk", len(disk.content), is_file=True)
    with Chain(parent) as chain:
        capture = Capture(BytesSource(disk.content), description, disk.layout, disk.volumes, Making(kind, level=3), chain)
        capture.run(Plain(output.write), NO_SECRETS, CREATED, CancelToken(), lambda done, total: None, lambda message: None)
    path.write_bytes(output.getvalue())


def _changed(disk: SmallDisk, seed: int) -> SmallDisk:
    """Some chunks overwritten, some moved elsewhere, some zeroed."""
    chance = random.Random(seed)
    content = bytearray(disk.content)
    for _ in range(6):
        at, source = (chance.randrange(6 * MIB, SIZE - 2 * MIB) // (256 * KIB) * (256 * KIB) for _ in range(2))
        content[at : at + 256 * KIB] = chance.choice(
            (chance.randbytes(256 * KIB), content[source : source + 256 * KIB], bytes(256 * KIB))
        )
    return replace(disk, content=bytes(content))


def test_a_chain_gives_the_disk_of_each_day(tmp_path: Path) -> None:
    days = [DISK]
    for number in range(1, 4):
        days.append(_changed(days[-1], number))
    paths = [tmp_path / f"day-{number}.img.zst" for number in range(4)]
    write_image(days[0], paths[0])
    _upon(paths[0], days[1], paths[1], Kind.INCREMENTAL)
    _upon(paths[1], days[2], paths[2], Kind.INCREMENTAL)
    _upon(paths[2], days[3], paths[3], Kind.DIFFERENTIAL)
    for day, path in zip(days, paths, strict=True):
        kept = day.kept
        with Chain(path) as chain:
            view = ImageView(chain, cache=16 * MIB)
            assert view.pread(SIZE, 0) == kept
            assert all(view.pread(length, offset) == kept[offset : offset + length] for offset, length in _ranges(4, 50))


def test_a_missing_file_of_the_chain_is_bad_not_zeros(tmp_path: Path) -> None:
    paths = [tmp_path / "one.img.zst", tmp_path / "two.img.zst"]
    write_image(DISK, paths[0])
    changed = _changed(DISK, 9)
    _upon(paths[0], changed, paths[1], Kind.INCREMENTAL)
    paths[0].unlink()
    with Chain(paths[1], incomplete=True) as chain:
        view = ImageView(chain)
        kinds = set()
        for held in view.extents():
            kinds.add(held.kind)
            if held.kind == RowKind.BAD:
                with pytest.raises(SourceReadError):
                    view.pread(1, held.start)
            else:
                assert view.pread(held.end - held.start, held.start) == changed.kept[held.start : held.end]
        assert {RowKind.BAD, RowKind.DATA} <= kinds


def _with_bad(chain: Chain, monkeypatch: pytest.MonkeyPatch, low: int, high: int) -> None:
    real = chain.segment_rows

    def rows(number: int) -> Iterator[Row]:
        for row in real(number):
            yield Row(RowKind.BAD, row.start, row.length) if low <= row.start < high else row

    monkeypatch.setattr(chain, "segment_rows", rows)


def test_bad_ranges_are_never_data(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    _with_bad(chain, monkeypatch, 10 * MIB, 11 * MIB)
    view = ImageView(chain)
    held = next(h for h in view.extents() if h.kind == RowKind.BAD)
    with pytest.raises(SourceReadError, match="partition 2") as caught:
        view.pread(8 * KIB, held.start - 4 * KIB)
    assert (caught.value.offset, caught.value.length) == (held.start, 4 * KIB)
    with pytest.raises(SourceReadError):
        view.pread(1, held.end - 1)
    assert view.pread(4 * KIB, held.end) == KEPT[held.end : held.end + 4 * KIB]
    zeros = ImageView(chain, bad_as_zeros=True)
    buffer = bytearray(b"\xa5" * (held.end - held.start + 8 * KIB))
    zeros.pread_into(memoryview(buffer), held.start - 4 * KIB)
    expected = bytearray(KEPT[held.start - 4 * KIB : held.end + 4 * KIB])
    expected[4 * KIB : -4 * KIB] = bytes(held.end - held.start)
    assert buffer == expected


def _first_data(path: Path) -> Row:
    with Chain(path) as chain:
        return next(row for row in chain.rows() if row.kind == RowKind.DATA and row.start >= 6 * MIB)


def test_a_flipped_bit_in_a_frame_is_told_each_time(image: Path, tmp_path: Path) -> None:
    row = _first_data(image)
    content = bytearray(image.read_bytes())
    content[row.frame_offset + row.frame_length // 2] ^= 1
    path = tmp_path / "damaged.img.zst"
    path.write_bytes(content)
    with Chain(path) as chain:
        view = ImageView(chain)
        for _ in range(2):
            with pytest.raises(DamagedError, match="partition 2"):
                view.pread(row.frame_content - row.in_frame, row.start)
        assert view.pread(512, 63 * 512) == KEPT[63 * 512 : 64 * 512]


def test_a_chunk_that_is_asked_for_later_is_proved_too(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame in the cache, one chunk of it proved: another one, whose hash differs, is not given out."""
    rows = [row for row in chain.rows() if row.kind == RowKind.DATA]
    first, second = next((a, b) for a, b in pairwise(rows) if a.frame_offset == b.frame_offset)
    real = chain.segment_rows

    def lying(number: int) -> Iterator[Row]:
        for row in real(number):
            yield row._replace(hash=bytes(32)) if row == second else row

    monkeypatch.setattr(chain, "segment_rows", lying)
    view = ImageView(chain)
    assert view.pread(first.length, first.start) == KEPT[first.start : first.end]
    for _ in range(2):
        with pytest.raises(DamagedError, match="does not match its hash"):
            view.pread(1, second.start)


def test_a_frame_length_that_no_writer_makes_is_refused_before_it_is_read(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    long = [row._replace(frame_length=0xFFFFFFFF) if row.kind == RowKind.DATA else row for row in chain.rows()]
    monkeypatch.setattr(chain, "segment_rows", lambda number: iter(long))
    monkeypatch.setattr(chain.image.source, "pread", lambda length, offset: pytest.fail(f"read {length} bytes"))
    start = next(row.start for row in long if row.kind == RowKind.DATA)
    with pytest.raises(DamagedError, match="longer than it can be"):
        ImageView(chain).pread(1, start)
