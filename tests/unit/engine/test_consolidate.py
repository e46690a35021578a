"""A full image out of a chain: the same disk, its frames copied where that can be."""

from __future__ import annotations

import io
import random
from itertools import pairwise
from pathlib import Path

import pytest
import zstandard

from rescue.engine.consolidate import ConsolidateResult, confirmed, consolidate
from rescue.engine.pieces import pieces
from rescue.engine.verify import verify_image
from rescue.errors import CancelledError, DamagedError
from rescue.images.begun import read_begun
from rescue.images.chain import Chain
from rescue.images.format import Header, Kind, Row, RowKind
from rescue.model.progress import CancelToken
from rescue.model.source import BytesSource
from rescue.units import KIB, MIB
from tests.unit.images.days import CHUNK, Day, Story, first_day, stand_alone, three_days
from tests.unit.images.disks import small_disk, write_image


def made(image: Path, target: Path, token: CancelToken | None = None) -> ConsolidateResult:
    """Consolidate into a new file."""
    output = io.BytesIO()
    with Chain(image) as chain:
        result = consolidate(chain, output, token=token or CancelToken(), progress=lambda done, total: None)
    target.write_bytes(output.getvalue())
    return result


def facts(rows: list[Row]) -> list[tuple[int, int, int, bytes]]:
    """What an index says of the disk, neighbours without data of one kind as one."""
    found: list[tuple[int, int, int, bytes]] = []
    for row in rows:
        if found and row.kind != RowKind.DATA and found[-1][0] == row.kind:
            found[-1] = (row.kind, found[-1][1], found[-1][2] + row.length, row.hash)
        else:
            found.append((row.kind, row.start, row.length, row.hash))
    return found


def check_same(image: Path, full: Path, disk: bytes) -> None:
    """The full image is a whole one, of the same disk, for this program and for others."""
    with Chain(image) as one, Chain(full) as two:
        assert facts(list(one.rows())) == facts(list(two.rows()))
        assert (two.manifest.chain, two.manifest.parent, two.manifest.kind) == ((), "", "full")
        assert two.manifest.made_from == one.manifest.uuid
        assert two.manifest.uuid != one.manifest.uuid
        for field in ("created", "host", "comment", "disk", "layout", "volumes", "tables"):
            assert getattr(one.manifest, field) == getattr(two.manifest, field)
        assert one.manifest.statistics.bad_bytes == two.manifest.statistics.bad_bytes
    verify_image(str(full), token=CancelToken(), progress=lambda done, total: None, notify=lambda message: None)
    stock = zstandard.ZstdDecompressor().stream_reader(full.read_bytes(), read_across_frames=True).read()
    assert stock == disk


@pytest.mark.parametrize("day", [1, 2])
def test_a_day_of_a_chain_becomes_a_full_image(tmp_path: Path, day: int) -> None:
    story = three_days(tmp_path / "images")
    full = tmp_path / "new" / "full.img.zst"
    full.parent.mkdir()
    result = made(story.path(day), full)
    check_same(story.path(day), full, story.days[day].disk().kept)
    with Chain(full) as chain:
        assert result.data_bytes == chain.manifest.statistics.data_bytes
        assert result.fingerprint == chain.fingerprint
    stand_alone().main([str(full), str(tmp_path / "alone")])
    assert (tmp_path / "alone").read_bytes() == story.days[day].disk().kept


def test_what_did_not_change_is_copied_as_it_is(tmp_path: Path) -> None:
    disk = small_disk(3, 60 * MIB)
    base, same, full = tmp_path / "base.img.zst", tmp_path / "same.rimg", tmp_path / "out.img.zst"
    write_image(disk, base)
    write_image(disk, same, Kind.INCREMENTAL, base)
    result = made(same, full)
    assert result.recompressed_bytes == 0
    check_same(same, full, disk.kept)


def test_a_long_chain(tmp_path: Path) -> None:
    day = first_day()
    path = tmp_path / "0.img.zst"
    write_image(day.disk(), path)
    for number in range(1, 11):
        day = day.next(number)
        after = tmp_path / f"{number}.rimg"
        write_image(day.disk(), after, Kind.DIFFERENTIAL if number % 4 == 0 else Kind.INCREMENTAL, path)
        path = after
    full = tmp_path / "full.img.zst"
    result = made(path, full)
    assert 0 < result.recompressed_bytes < result.data_bytes
    check_same(path, full, day.disk().kept)


def test_damage_is_found_and_not_copied(tmp_path: Path) -> None:
    story = three_days(tmp_path)
    with Chain(story.path(1)) as chain:
        row = next(row for row in chain.rows() if row.kind == RowKind.DATA and row.file == 1)
    data = bytearray(story.path(0).read_bytes())
    data[row.frame_offset + row.frame_length // 2] ^= 1
    story.path(0).write_bytes(data)
    with pytest.raises(DamagedError, match=r"full\.img\.zst is damaged"):
        made(story.path(1), tmp_path / "x.img.zst")


def test_a_cancelled_one_ends(tmp_path: Path) -> None:
    story = three_days(tmp_path)
    token = CancelToken()
    token.cancel()
    with pytest.raises(CancelledError):
        made(story.path(1), tmp_path / "x.img.zst", token)


def _rows(chance: random.Random, dense: bool) -> list[Row]:
    """Any rows of a segment, of few frames: in order, out of order, with gaps, more than once."""
    position = start = chance.randrange(4) * CHUNK
    rows: list[Row] = []
    for _ in range(chance.randrange(1, 40)):
        kind = chance.choice((RowKind.DATA, RowKind.DATA, RowKind.DATA, RowKind.HOLE, RowKind.ZERO, RowKind.BAD))
        if kind != RowKind.DATA:
            rows.append(Row(kind, position, chance.choice((512, CHUNK, 3 * CHUNK, 9 * MIB))))
        else:
            frame = chance.randrange(3)
            last = rows[-1] if rows else None
            if dense:
                last = next((row for row in reversed(rows) if row.kind == RowKind.DATA), None)
            inside = chance.choice((0, 0, 0, chance.randrange(8))) * CHUNK
            if last and last.kind == RowKind.DATA and chance.random() < 0.9:
                frame, inside = last.frame_offset // MIB, (last.in_frame + CHUNK) % (8 * CHUNK)
            elif last and chance.random() < 0.7:
                inside = position % (8 * CHUNK)
            rows.append(Row(kind, position, CHUNK, frame % 2, inside, frame * MIB, 1000, 8 * CHUNK, bytes([frame]) * 32))
        position = rows[-1].end
    assert rows[0].start == start
    return rows


@pytest.mark.parametrize("encryption", [0, 1])
def test_pieces_cover_the_rows_and_copied_frames_are_where_they_belong(encryption: int) -> None:
    header = Header(bytes(16), 1 << 40, 0, CHUNK, 16 * MIB, encryption=encryption)
    copied = 0
    for seed in range(1000):
        chance = random.Random(seed)
        rows = _rows(chance, bool(encryption))
        found = list(pieces(rows, header))
        flat = [row for piece in found for row in piece.rows]
        assert facts(flat) == facts(rows)
        assert all(one.end == two.start for one, two in pairwise(flat))
        for piece in found:
            data = [row for row in piece.rows if row.kind == RowKind.DATA]
            if piece.frame is None:
                size = piece.rows[-1].end - piece.rows[0].start
                assert not data or (size if not encryption else sum(row.length for row in data)) <= 8 * MIB
                assert not data or data[0] is piece.rows[0]
                continue
            copied += 1
            assert list(piece.frame.chunks) == data
            assert {(r.file, r.frame_offset) for r in data} == {(piece.frame.file, piece.frame.offset)}
            if encryption:
                assert [row.in_frame for row in data] == [n * CHUNK for n in range(8)]
            else:
                assert piece.rows[-1].end - piece.rows[0].start == piece.frame.content
                assert all(row.start - row.in_frame == piece.rows[0].start for row in data)
    assert copied > 100


def test_bad_rows_stay_bad() -> None:
    header = Header(bytes(16), 1 << 40, 0, 256 * KIB, 8 * MIB)
    rows = [Row(RowKind.BAD, 0, 4096), Row(RowKind.HOLE, 4096, 512)]
    assert [row for piece in pieces(rows, header) for row in piece.rows] == rows


def test_a_disk_with_nothing_on_it(tmp_path: Path) -> None:
    day = Day({})
    base, same = tmp_path / "base.img.zst", tmp_path / "same.rimg"
    write_image(day.disk(), base)
    write_image(day.disk(), same, Kind.INCREMENTAL, base)
    made(same, tmp_path / "x.img.zst")
    check_same(same, tmp_path / "x.img.zst", day.disk().kept)


class TestGoingOn:
    """An interrupted one goes on from its last segment that is right, wherever it was cut."""

    @pytest.fixture
    def story(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Story:
        monkeypatch.setattr("rescue.images.writer._SEGMENT_SPAN", 2 * MIB)
        return three_days(tmp_path / "images")

    @staticmethod
    def _gone_on(image: Path, left: bytes, target: Path) -> int:
        """Make it out of what is left; how much of the disk was there."""
        output = io.BytesIO(left)
        with Chain(image) as chain:
            begun = confirmed(chain, read_begun(BytesSource(left)))

            def go_on(length: int) -> None:
                output.truncate(length)
                output.seek(length)

            if begun is None:
                output = io.BytesIO()
            consolidate(chain, output, token=CancelToken(), progress=lambda done, total: None, begun=begun, go_on=go_on)
        target.write_bytes(output.getvalue())
        return begun.disk_position if begun else 0

    def test_cut_anywhere(self, story: Story, tmp_path: Path) -> None:
        full = tmp_path / "full.img.zst"
        made(story.path(1), full)
        whole = full.read_bytes()
        positions = []
        for share in (0.0, 0.1, 0.35, 0.6, 0.8, 0.99, 1.0):
            positions.append(self._gone_on(story.path(1), whole[: int(len(whole) * share)], full))
            check_same(story.path(1), full, story.days[1].disk().kept)
        assert positions == sorted(positions)
        assert positions[0] == 0
        assert positions[-1] == len(story.days[1].disk().content)

    def test_what_did_not_get_to_the_medium(self, story: Story, tmp_path: Path) -> None:
        """A late part is there and an earlier one is not: it goes on before that."""
        full = tmp_path / "full.img.zst"
        made(story.path(1), full)
        with Chain(full) as chain:
            entries = chain.manifest.segments
            row = next(row for row in chain.rows() if row.kind == RowKind.DATA and row.start >= entries[1].end)
            before = max(entry.end for entry in entries if entry.end <= row.start - row.in_frame)
        left = bytearray(full.read_bytes())
        left[row.frame_offset : row.frame_offset + row.frame_length] = bytes(row.frame_length)
        assert self._gone_on(story.path(1), bytes(left), full) == before
        check_same(story.path(1), full, story.days[1].disk().kept)

    def test_of_another_image(self, story: Story, tmp_path: Path) -> None:
        """Of another day: as far as the days are the same, or not at all."""
        full = tmp_path / "full.img.zst"
        made(story.path(2), full)
        assert self._gone_on(story.path(1), full.read_bytes(), full) < len(story.days[1].disk().content)
        check_same(story.path(1), full, story.days[1].disk().kept)
        small = tmp_path / "small.img.zst"
        write_image(small_disk(3, 12 * MIB), small)
        assert self._gone_on(story.path(1), small.read_bytes(), full) == 0
