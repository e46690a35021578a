"""Parts of disks onto another disk: the right bytes in their places, nothing where nothing belongs, and what fails is told."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from rescue.engine.transfer import Part, Transfer
from rescue.engine.transfer_disk import late_of, layout_with, parts_of
from rescue.errors import CancelledError, DamagedError, RefusedError, SourceReadError, TargetWriteError
from rescue.model.extents import ExtentMap
from rescue.model.layout import Layout
from rescue.model.progress import CancelToken
from rescue.model.source import BytesSource, Source
from rescue.system.blockfile import FileSink, FileSource
from rescue.units import KIB, MIB
from tests.unit.engine.failing import FailingDisk
from tests.unit.images.disks import SmallDisk, small_disk

_SIZE = 24 * MIB


def quiet(done: int, total: int) -> None:
    """Nobody looks at the progress."""


@pytest.fixture(scope="module")
def disk() -> SmallDisk:
    return small_disk(3, _SIZE)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "target"
    path.write_bytes(random.Random(9).randbytes(_SIZE))
    return path


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """What is written to targets, zeros left out: (start, end)."""
    found: list[tuple[int, int]] = []
    pwrite = FileSink.pwrite

    def spy(sink: FileSink, data: bytes | memoryview, offset: int) -> None:
        found.append((offset, offset + len(data)))
        pwrite(sink, data, offset)

    monkeypatch.setattr(FileSink, "pwrite", spy)
    return found


def whole(disk: SmallDisk, path: Path, source: Source | None = None) -> Transfer:
    """A transfer of a disk onto a file."""
    source = source or BytesSource(disk.content)
    size = path.stat().st_size
    late = late_of(BytesSource(disk.content), disk.layout, disk.volumes, size)
    parts = parts_of(source, disk.layout, disk.volumes)
    return Transfer(str(path), parts, late, layout_with(late, size, 512), title="the disk")


def run(transfer: Transfer, delta: bool | None = False) -> int:
    """All of it; the bytes that were proved."""
    with transfer:
        transfer.wipe()
        transfer.copy(CancelToken(), quiet, delta)
        transfer.write_head()
        return transfer.read_back(CancelToken(), quiet)


def used(disk: SmallDisk) -> ExtentMap:
    """What must be on the target."""
    found = disk.layout.gaps
    for _, extents in disk.volumes:
        found = found.union(extents)
    return found


def is_right(disk: SmallDisk, path: Path) -> bool:
    found = path.read_bytes()
    return all(found[start:end] == disk.content[start:end] for start, end in used(disk))


@pytest.mark.parametrize("delta", [True, False, None])
@pytest.mark.parametrize("bigger", [0, 512, 3 * MIB])
def test_what_is_used_arrives_whatever_was_there(disk: SmallDisk, target: Path, delta: bool | None, bigger: int) -> None:
    with target.open("ab") as file:
        file.write(bytes(bigger))
    proved = run(whole(disk, target), delta)
    assert is_right(disk, target)
    assert proved >= used(disk).total


def test_what_is_not_used_is_left_alone(disk: SmallDisk, target: Path) -> None:
    before = target.read_bytes()
    run(whole(disk, target))
    after = target.read_bytes()
    # Chunks are written whole, and the borders of partitions are wiped.
    borders = ExtentMap((edge - MIB, edge + MIB) for p in disk.layout.partitions for edge in (max(p.start, MIB), p.end))
    near = ExtentMap((max(start - 512 * KIB, 0), end + 512 * KIB) for start, end in used(disk)).union(borders)
    free = near.complement(_SIZE)
    assert free.total > MIB
    assert all(before[start:end] == after[start:end] for start, end in free)


def test_the_first_sectors_come_last_and_the_borders_first(
    disk: SmallDisk, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[tuple[str, int, int]] = []
    for name in ("pwrite", "zero", "flush"):
        real = getattr(FileSink, name)

        def spy(sink: FileSink, *arguments: int | bytes, name: str = name, real: object = real) -> None:
            match name, arguments:
                case "pwrite", (bytes() | memoryview() as data, int() as offset):
                    order.append((name, offset, offset + len(data)))
                case "zero", (int() as start, int() as end):
                    order.append((name, start, end))
                case _:
                    order.append((name, 0, 0))
            real(sink, *arguments)  # type: ignore[operator]

        monkeypatch.setattr(FileSink, name, spy)
    run(whole(disk, target))
    assert order[0][0] == "zero"
    assert order[0][1] == 0
    assert order[0][2] >= MIB
    writes = [(start, end) for name, start, end in order if name == "pwrite"]
    assert writes[-1] == (0, 4096)
    assert not any(start < 4096 for start, _ in writes[:-1])
    last = [index for index, step in enumerate(order) if step[0] == "pwrite"][-1]
    assert order[last - 1][0] == "flush"
    assert order[last + 1][0] == "flush"
    first_data = next(index for index, step in enumerate(order) if step[0] == "pwrite")
    assert any(step[0] == "flush" for step in order[:first_data])


def test_only_what_differs_is_written(disk: SmallDisk, target: Path, written: list[tuple[int, int]]) -> None:
    run(whole(disk, target))
    written.clear()
    changed = bytearray(disk.content)
    place = next(e.start for e in disk.volumes[1][1] if e.length > MIB and e.start > 8 * MIB)
    changed[place : place + 100] = random.Random(1).randbytes(100)
    other = SmallDisk(bytes(changed), disk.layout, disk.volumes)
    with whole(other, target) as transfer:
        # Not wiped: that alone makes the borders differ.
        transfer.copy(CancelToken(), quiet, None)
        (found,) = written
        assert found[0] <= place < found[1]
        assert found[1] - found[0] <= 512 * KIB
        assert transfer.written_bytes == found[1] - found[0]
        assert transfer.same_bytes > 0
        transfer.write_head()
        transfer.read_back(CancelToken(), quiet)
    assert is_right(other, target)


def test_without_anything_in_common_nothing_is_compared(disk: SmallDisk, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Transfer, "_held", lambda *_: pytest.fail("compared"))
    run(whole(disk, target), None)
    assert is_right(disk, target)


def test_again_after_it_was_cut_off(disk: SmallDisk, target: Path) -> None:
    token = CancelToken()

    def stop(done: int, total: int) -> None:
        if done > total // 2:
            token.cancel()

    with whole(disk, target) as transfer:
        transfer.wipe()
        with pytest.raises(CancelledError):
            transfer.copy(token, stop, False)
    assert target.read_bytes()[: 63 * 512] == bytes(63 * 512)
    again = whole(disk, target)
    run(again, None)
    assert is_right(disk, target)
    assert again.same_bytes > 0


def test_parts_of_several_sources_at_new_places(tmp_path: Path) -> None:
    chance = random.Random(4)
    first, second = chance.randbytes(3 * MIB), chance.randbytes(2 * MIB)
    path = tmp_path / "target"
    before = chance.randbytes(12 * MIB)
    path.write_bytes(before)
    in_use = ExtentMap([(0, 100_000), (2 * MIB, 2 * MIB + 8192)])
    parts = [
        Part("partition 1 (ext4)", BytesSource(first), in_use, 0, 3 * MIB, 5 * MIB, 9 * MIB),
        Part("partition 2 (xfs)", BytesSource(second), ExtentMap([(MIB, 2 * MIB)]), MIB, 2 * MIB, 2 * MIB, 3 * MIB),
    ]
    table = [(0, b"\0" * MIB), (510, b"\x55\xaa"), (446, _entry(2 * MIB, 3 * MIB)), (462, _entry(5 * MIB, 9 * MIB))]
    layout = layout_with(table, 12 * MIB, 512)
    assert len(layout.partitions) == 2
    assert run(Transfer(str(path), parts, table, layout, title="the image")) > 0
    found = path.read_bytes()
    assert found[5 * MIB : 5 * MIB + 100_000] == first[:100_000]
    assert found[7 * MIB : 7 * MIB + 8192] == first[2 * MIB : 2 * MIB + 8192]
    assert found[2 * MIB : 3 * MIB] == second[MIB:]
    assert found[6 * MIB : 7 * MIB] == before[6 * MIB : 7 * MIB]
    assert found[9 * MIB : 11 * MIB] == before[9 * MIB : 11 * MIB]


def _entry(start: int, end: int) -> bytes:
    return b"\0\0\0\0\x83\0\0\0" + (start // 512).to_bytes(4, "little") + ((end - start) // 512).to_bytes(4, "little")


def test_zeros_are_made_in_use_and_left_in_wide_stretches(tmp_path: Path, written: list[tuple[int, int]]) -> None:
    path = tmp_path / "target"
    path.write_bytes(b"\xff" * (8 * MIB))
    zeros = BytesSource(bytes(2 * MIB))
    everything = ExtentMap([(0, 2 * MIB)])
    parts = [
        Part("partition 1 (swap)", zeros, everything, 0, 2 * MIB, 2 * MIB, 4 * MIB),
        Part("the space between partitions", zeros, everything, 0, 2 * MIB, 4 * MIB, 6 * MIB, zeros=False),
    ]
    with Transfer(str(path), parts, [(0, bytes(512))], Layout(8 * MIB, 512, "none"), title="x") as transfer:
        transfer.copy(CancelToken(), quiet, False)
        assert written == []
        transfer.write_head()
        # What a wide stretch holds is not compared either.
        assert transfer.read_back(CancelToken(), quiet) == 2 * MIB + 512
    assert path.read_bytes()[2 * MIB : 6 * MIB] == bytes(2 * MIB) + b"\xff" * (2 * MIB)


@pytest.mark.parametrize("where", ["data", "zeros", "head"])
def test_a_flipped_bit_is_found(disk: SmallDisk, target: Path, where: str) -> None:
    # Places where a whole chunk is zeros, and where it is not.
    places = [p for e in disk.volumes[1][1] for p in range(e.start, e.end - 600 * KIB, 64 * KIB)]
    zero = next(p for p in places if not any(disk.content[p : p + 600 * KIB])) + 300 * KIB
    data = next(p for p in places if any(disk.content[p : p + 512])) + 7
    place = {"data": data, "zeros": zero, "head": 700}[where]
    with whole(disk, target) as transfer:
        transfer.wipe()
        transfer.copy(CancelToken(), quiet, False)
        transfer.write_head()
        with target.open("r+b") as file:
            file.seek(place)
            (byte,) = file.read(1)
            file.seek(place)
            file.write(bytes([byte ^ 4]))
        with pytest.raises(DamagedError, match="does not give back what was written") as damage:
            transfer.read_back(CancelToken(), quiet)
    assert ("partition 2" in damage.value.message) == (where != "head")


def test_a_table_that_is_not_as_it_should_be_is_found(disk: SmallDisk, target: Path) -> None:
    late = late_of(BytesSource(disk.content), disk.layout, disk.volumes, _SIZE)
    with Transfer(str(target), [], late, Layout(_SIZE, 512, "dos", "1234"), title="x") as transfer:
        transfer.write_head()
        with pytest.raises(DamagedError, match="does not read back"):
            transfer.read_back(CancelToken(), quiet)


def test_a_source_that_cannot_be_read_is_named(disk: SmallDisk, target: Path) -> None:
    extent = next(e for e in disk.volumes[1][1] if e.length > 64 * KIB)
    bad = extent.start + 8192
    source = FailingDisk(disk.content, ExtentMap([(bad, bad + 512)]))
    with pytest.raises(SourceReadError, match=f"the disk cannot be read at byte {bad}") as failure:
        run(whole(disk, target, source))
    inside = bad - disk.layout.partitions[1].start
    assert f"which is byte {inside} of partition 2 (ext4)" in failure.value.message
    assert "smartctl" in failure.value.hint
    assert target.read_bytes()[: 63 * 512] == bytes(63 * 512)


def test_bad_sectors_where_nothing_is_do_not_matter(disk: SmallDisk, target: Path) -> None:
    free = [e for e in used(disk).complement(_SIZE) if e.length > 512 * KIB]
    source = FailingDisk(disk.content, ExtentMap((e.start + 200 * KIB, e.start + 210 * KIB) for e in free))
    run(whole(disk, target, source))
    assert is_right(disk, target)


def test_a_target_that_fails_ends_it(disk: SmallDisk, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(sink: FileSink, data: bytes | memoryview, offset: int) -> None:
        raise TargetWriteError(f"{sink.path} is full, at byte {offset}.")

    monkeypatch.setattr(FileSink, "pwrite", fail)
    with pytest.raises(TargetWriteError, match="is full"):
        run(whole(disk, target))


def test_what_of_a_target_cannot_be_read_is_written(disk: SmallDisk, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target.write_bytes(disk.content)
    read = FileSource.pread_into
    failing = True

    def fail(source: FileSource, buffer: memoryview, offset: int) -> None:
        if failing and offset <= 10 * MIB < offset + len(buffer):
            raise SourceReadError("bad", offset, len(buffer))
        read(source, buffer, offset)

    monkeypatch.setattr(FileSource, "pread_into", fail)
    with whole(disk, target) as transfer:
        transfer.copy(CancelToken(), quiet, True)
        failing = False
        transfer.write_head()
        transfer.read_back(CancelToken(), quiet)
        assert transfer.same_bytes > 0
    assert is_right(disk, target)


def test_too_small_a_target_is_refused_before_anything_is_written(disk: SmallDisk, target: Path) -> None:
    before = target.read_bytes()
    parts = parts_of(BytesSource(disk.content), disk.layout, disk.volumes)
    with target.open("r+b") as file:
        file.truncate(_SIZE - 512)
    with pytest.raises(RefusedError, match="512 bytes"):
        Transfer(str(target), parts, [], disk.layout, title="x")
    assert target.read_bytes() == before[:-512]


@pytest.mark.parametrize(
    ("place", "error"),
    [((0, 2 * MIB, 0, MIB), "does not fit"), ((MIB, 3 * MIB, 0, 4 * MIB), "outside"), ((-1, 4, 0, 9), "outside")],
)
def test_parts_that_cannot_be_are_not(place: Sequence[int], error: str) -> None:
    start, end, target_start, target_end = place
    with pytest.raises(ValueError, match=error):
        Part("x", BytesSource(bytes(2 * MIB)), ExtentMap(), start, end, target_start, target_end)


def test_a_volume_that_moves_takes_nothing_along(disk: SmallDisk) -> None:
    parts = parts_of(BytesSource(disk.content), disk.layout, disk.volumes, {1: 2 * MIB, 2: 7 * MIB})
    assert [(p.target_start, p.target_end - p.target_start) for p in parts] == [
        (2 * MIB, disk.volumes[0][0].size),
        (7 * MIB, disk.volumes[1][0].size),
    ]


def test_progress_counts_what_is_in_use(disk: SmallDisk, target: Path) -> None:
    told: list[tuple[int, int]] = []
    with whole(disk, target) as transfer:
        transfer.copy(CancelToken(), lambda done, total: told.append((done, total)), False)
    done = [item[0] for item in told]
    assert done == sorted(done)
    late = disk.layout.partitions[0].start
    assert told[-1][0] == told[-1][1] == used(disk).total - late
