"""Images whose end or index is damaged or cut off: what is left of them is found, and never another byte."""

from __future__ import annotations

import os
import random
from contextlib import suppress
from pathlib import Path

import pytest

from rescue.engine.salvaged_image import open_salvaged
from rescue.errors import DamagedError, FormatError, RescueError, SourceReadError
from rescue.images.chain import Chain
from rescue.images.format import SKIPPABLE_HEAD, Kind, RowKind
from rescue.images.reader import ImageReader
from rescue.images.view import ImageView
from rescue.model.volume import Identity
from rescue.units import MIB
from tests.unit.images.days import three_days
from tests.unit.images.disks import SmallDisk, small_disk, write_image

_SIZE = 12 * MIB


@pytest.fixture(autouse=True)
def many_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments of a small disk, and no program that looks at volumes."""
    monkeypatch.setattr("rescue.images.writer._SEGMENT_SPAN", 2 * MIB)
    monkeypatch.setattr("rescue.engine.salvaged_image.identify", lambda path, offset, size: Identity("ext4", "filesystem"))


@pytest.fixture(scope="module")
def disk() -> SmallDisk:
    return small_disk(3, _SIZE)


@pytest.fixture
def image(disk: SmallDisk, tmp_path: Path) -> Path:
    path = tmp_path / "image.img.zst"
    write_image(disk, path)
    with ImageReader(path) as reader:
        assert len(reader.manifest.segments) >= 4
    return path


def _flip(path: Path, *offsets: int) -> None:
    content = bytearray(path.read_bytes())
    for offset in offsets:
        content[offset] ^= 0x41
    path.write_bytes(content)


def _lost(path: Path, expected: bytes) -> int:
    """Bytes of the disk that cannot be had; all others are compared."""
    lost = 0
    with open_salvaged(path) as chain:
        view = ImageView(chain)
        assert view.size == len(expected)
        for row in chain.rows():
            if row.kind == RowKind.BAD:
                lost += row.length
                with pytest.raises(SourceReadError):
                    view.pread(1, row.start)
                continue
            try:
                assert view.pread(row.length, row.start) == expected[row.start : row.end]
            except (DamagedError, SourceReadError):
                lost += row.length
    return lost


def _parts(path: Path) -> tuple[list[tuple[int, int]], int, int, int]:
    """Offset and length of the segments' frames; where the manifest's, the trailer's frame and the seek table start."""
    with ImageReader(path) as reader:
        segments = [(entry.offset, SKIPPABLE_HEAD.size + entry.length) for entry in reader.manifest.segments]
        return segments, reader.trailer.manifest_offset, reader.seek_table_offset - 120, reader.seek_table_offset


def test_a_whole_image_has_no_defects(image: Path, disk: SmallDisk) -> None:
    assert _lost(image, disk.kept) == 0
    with open_salvaged(image) as chain:
        assert chain.defects == ()
        assert not chain.summary().problem


@pytest.mark.parametrize("what", ["footer", "seek table", "trailer", "trailer gone"])
def test_the_end_is_damaged(image: Path, disk: SmallDisk, what: str) -> None:
    _, _, trailer, table = _parts(image)
    if what == "trailer gone":
        os.truncate(image, trailer)
    else:
        _flip(image, {"footer": image.stat().st_size - 1, "seek table": table + 5, "trailer": trailer + 60}[what])
    if what != "seek table":  # which only a check reads
        with pytest.raises(DamagedError, match="--salvage"):
            Chain(image)
    with open_salvaged(image) as chain:
        assert bool(chain.defects) == (what != "seek table")
        assert chain.layout.partitions == disk.layout.partitions
        assert [volume.identity.label for volume in chain.manifest.volumes] == ["volume 1", "volume 2"]
    assert _lost(image, disk.kept) == 0


@pytest.mark.parametrize("gone", ["damaged", "cut off"])
def test_the_manifest_is_lost(image: Path, disk: SmallDisk, gone: str) -> None:
    _, manifest, _, _ = _parts(image)
    if gone == "cut off":
        os.truncate(image, manifest + 30)
    else:
        _flip(image, manifest + 40)
    with open_salvaged(image) as chain:
        assert "its description is damaged" in " ".join(chain.defects)
        assert "partitions (2) were found in its data" in " ".join(chain.defects)
        assert chain.layout.partitions == disk.layout.partitions
        assert [volume.partition for volume in chain.manifest.volumes] == [1, 2]
        assert chain.manifest.statistics.data_bytes > _SIZE // 4
        assert chain.summary().problem_exit_code == 4
    assert _lost(image, disk.kept) == 0


@pytest.mark.parametrize("number", [0, 1, 3])
@pytest.mark.parametrize("end", [False, True])
def test_a_segment_is_damaged(image: Path, disk: SmallDisk, number: int, end: bool) -> None:
    segments, manifest, _, _ = _parts(image)
    offset, length = segments[number]
    _flip(image, offset + length // 2, *([manifest + 40] if end else []))
    assert _lost(image, disk.kept) == 0
    with open_salvaged(image) as chain:
        assert "all data there were found" in " ".join(chain.defects)


def test_a_segment_and_a_frame_of_it_are_damaged(image: Path, disk: SmallDisk) -> None:
    """With the seek table, or up to the known end of the stretch, only that frame is lost."""
    segments, _, trailer, _ = _parts(image)
    with ImageReader(image) as reader:
        rows = [row for row in reader.segment_rows(1) if row.kind == RowKind.DATA]
    offset, length = segments[1]
    hit = rows[0]
    _flip(image, offset + length // 2, hit.frame_offset + hit.frame_length // 2)
    assert 0 < _lost(image, disk.kept) <= hit.frame_content
    _flip(image, trailer + 60)
    assert 0 < _lost(image, disk.kept) <= hit.frame_content
    # A length that is wrong leads nowhere: nothing behind it is taken for what it is not.
    _flip(image, hit.frame_offset + 5)
    assert 0 < _lost(image, disk.kept) <= 2 * MIB + 8 * MIB


@pytest.mark.parametrize("share", [0.02, 0.15, 0.3, 0.5, 0.77, 0.95, 0.999])
def test_it_is_cut_off(image: Path, disk: SmallDisk, share: float) -> None:
    with ImageReader(image) as reader:
        frames = {(row.frame_offset, row.frame_length): row for row in reader.rows() if row.kind == RowKind.DATA}
    cut = int(image.stat().st_size * share)
    os.truncate(image, cut)
    whole = [row.start - row.in_frame + row.frame_content for (offset, length), row in frames.items() if offset + length <= cut]
    reached = max(whole, default=0)
    assert _lost(image, disk.kept) <= _SIZE - reached
    with open_salvaged(image) as chain:
        bad = [row for row in chain.rows() if row.kind == RowKind.BAD]
        assert sum(row.length for row in bad) <= _SIZE - reached
        assert [row for row in bad if row.start < reached] == []
        told = " ".join(chain.defects)
    assert "Its end is cut off" in told
    assert ("are lost" in told) == bool(bad)


def test_nothing_but_a_header(image: Path, tmp_path: Path) -> None:
    head = tmp_path / "head.img.zst"
    head.write_bytes(image.read_bytes()[:136])
    assert _lost(head, bytes(_SIZE)) == _SIZE
    head.write_bytes(image.read_bytes()[:100])
    with pytest.raises(RescueError):
        open_salvaged(head)


@pytest.mark.parametrize("length", [1, 8, 136])
def test_the_header_is_damaged(image: Path, disk: SmallDisk, length: int) -> None:
    content = bytearray(image.read_bytes())
    for at in range(length):
        content[(20 if length == 1 else 0) + at] ^= 0xA5
    image.write_bytes(content)
    with pytest.raises(RescueError):
        Chain(image)
    assert _lost(image, disk.kept) == 0
    with open_salvaged(image) as chain:
        assert "Its header is damaged" in " ".join(chain.defects)
        assert chain.layout.partitions == disk.layout.partitions
        assert chain.summary().uuid == chain.manifest.uuid


def test_another_file_is_no_image(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(random.Random(1).randbytes(MIB))
    with pytest.raises(FormatError, match="not a disk image"):
        open_salvaged(other)


@pytest.mark.parametrize("seed", range(12))
def test_random_damage_gives_no_wrong_byte(image: Path, disk: SmallDisk, seed: int) -> None:
    chance = random.Random(seed)
    size = image.stat().st_size
    content = bytearray(image.read_bytes())
    for _ in range(chance.choice((1, 2, 5, 30))):
        at = chance.randrange(size)
        length = min(chance.choice((1, 1, 8, 512, 100_000)), size - at)
        content[at : at + length] = chance.randbytes(length)
    if chance.random() < 0.5:
        del content[chance.randrange(136, size) :]
    image.write_bytes(content)
    with suppress(FormatError):  # header and end are both gone
        _lost(image, disk.kept)


@pytest.mark.parametrize("gone", [2, 3, "last", "short"])
def test_a_part_is_missing(image: Path, disk: SmallDisk, gone: int | str) -> None:
    """Of an image in parts no more is lost than what was in the one that is missing, and frames that reach into it."""
    content = image.read_bytes()
    size = len(content) // 5 + 1
    image.unlink()
    files = [image.with_name(f"{image.name}.{number:03}") for number in range(1, 6)]
    for number, file in enumerate(files):
        file.write_bytes(content[number * size : (number + 1) * size])
    if gone == "short":
        files[2].write_bytes(files[2].read_bytes()[: size // 2])
    else:
        files[4 if gone == "last" else int(gone) - 1].unlink()
    with pytest.raises(DamagedError):
        Chain(image)
    assert 0 < _lost(image, disk.kept) < _SIZE
    with open_salvaged(image) as chain:
        assert gone == "last" or files[2 if gone == "short" else int(gone) - 1].name in " ".join(chain.defects)
        kept = sum(row.length for row in chain.rows() if row.kind == RowKind.DATA)
    assert kept > 0


class TestChain:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        return tmp_path / "days"

    def test_the_manifest_of_an_incremental_image_is_lost(self, folder: Path) -> None:
        story = three_days(folder)
        for day in (1, 2):
            path = story.path(day)
            _, manifest, _, _ = _parts(path)
            os.truncate(path, manifest)
            assert _lost(path, story.days[day].disk().kept) == 0

    def test_a_chain_of_three(self, folder: Path) -> None:
        story = three_days(folder)
        fourth = folder / "fourth.rimg"
        day = story.days[1].next(9)
        write_image(day.disk(), fourth, Kind.INCREMENTAL, story.path(1))
        _, manifest, _, _ = _parts(fourth)
        _flip(fourth, manifest + 40)
        assert _lost(fourth, day.disk().kept) == 0

    def test_its_parent_is_not_there(self, folder: Path) -> None:
        story = three_days(folder)
        path = story.path(1)
        _, manifest, _, _ = _parts(path)
        os.truncate(path, manifest)
        story.path(0).unlink()
        kept = story.days[1].disk().kept
        assert 0 < _lost(path, kept) < len(kept)
        with open_salvaged(path) as chain:
            assert "was not found here" in " ".join(chain.defects)

    @pytest.mark.parametrize("damage", ["end", "cut"])
    def test_a_file_of_the_chain_has_a_damaged_end(self, folder: Path, damage: str) -> None:
        story = three_days(folder)
        size = story.path(0).stat().st_size
        os.truncate(story.path(0), size - 100 if damage == "end" else size // 2)
        kept = story.days[1].disk().kept
        with pytest.raises(DamagedError):
            Chain(story.path(1))
        lost = _lost(story.path(1), kept)
        assert lost == 0 if damage == "end" else 0 < lost < len(kept)

    def test_its_segment_is_damaged(self, folder: Path) -> None:
        """What is where on the disk stands in the segment alone: that stretch is lost, and only that."""
        story = three_days(folder)
        path = story.path(1)
        segments, _, _, _ = _parts(path)
        with ImageReader(path) as reader:
            stretch = reader.manifest.segments[1]
        _flip(path, segments[1][0] + segments[1][1] // 2)
        assert _lost(path, story.days[1].disk().kept) == stretch.end - stretch.start


def test_the_shape_of_the_summary(image: Path) -> None:
    os.truncate(image, image.stat().st_size // 2)
    with open_salvaged(image) as chain:
        summary = chain.summary()
    assert summary.disk is not None
    assert summary.disk.size == _SIZE
    assert str(image) in summary.problem
    assert summary.created == "2026-11-22T12:00:00Z"
