"""The chunks of a chain by their hashes, on raw tables."""

from __future__ import annotations

import random
import tracemalloc
from array import array
from pathlib import Path

import pytest

from rescue.errors import FormatError
from rescue.images import known as module
from rescue.images.chain import Chain
from rescue.images.format import Kind, Row, RowKind
from rescue.images.known import KnownChunks
from rescue.images.segment import pack_row, unpack_row
from rescue.records import replace
from tests.unit.images.days import CHUNK, Story, first_day, three_days
from tests.unit.images.disks import write_image


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    return three_days(tmp_path_factory.mktemp("days"))


def data_rows(chain: Chain) -> list[Row]:
    return [row for row in chain.rows() if row.kind == RowKind.DATA]


@pytest.mark.parametrize("day", [0, 1, 2])
def test_every_chunk_is_found_in_the_file_that_has_it(story: Story, day: int) -> None:
    with Chain(story.path(day)) as chain:
        known = KnownChunks(chain)
        assert [member.uuid for member in known.members] == [
            chain.manifest.uuid, *(member.uuid for member in chain.manifest.chain)
        ]  # fmt: skip
        for row in data_rows(chain):
            found = known.find(row.hash, row.length)
            # Of equal chunks any will do.
            equal = [other for other in data_rows(chain) if other.hash == row.hash]
            assert found in [pack_row(other._replace(file=other.file + 1)) for other in equal]
            assert not known.find(row.hash, row.length - 512)
            assert not known.find(row.hash[:-1] + bytes([row.hash[-1] ^ 1]), row.length)
        assert not known.find(bytes(32), CHUNK)


def test_only_what_is_in_the_full_image(story: Story) -> None:
    with Chain(story.path(1)) as chain:
        known = KnownChunks(chain, only_full=True)
        assert [member.kind for member in known.members] == ["full"]
        in_full = {row.hash for row in data_rows(chain) if row.file == 1}
        assert in_full
        for row in data_rows(chain):
            found = known.find(row.hash, row.length)
            assert bool(found) == (row.hash in in_full)
            assert not found or unpack_row(found, 0).file == 1
    with Chain(story.path(0)) as chain:
        assert KnownChunks(chain, only_full=True).find(data_rows(chain)[0].hash, data_rows(chain)[0].length)


def test_beyond_the_limit_chunks_are_stored_again(story: Story) -> None:
    with Chain(story.path(0)) as chain:
        rows = list(chain.rows())
        known = KnownChunks(chain, limit=5)
        for number, row in enumerate(rows):
            if row.kind == RowKind.DATA:
                first = next(n for n, other in enumerate(rows) if other.hash == row.hash)
                assert bool(known.find(row.hash, row.length)) == (first < 5), number


def test_frames_that_are_too_large_for_a_new_header_are_not_referred_to(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    with Chain(story.path(0)) as chain:
        known = KnownChunks(chain)
        row = data_rows(chain)[0]
        monkeypatch.setattr(module, "FRAME_LIMIT", row.frame_content - 1)
        assert not known.find(row.hash, row.length)


def test_a_disk_of_one_pattern_is_as_fast_as_any(tmp_path: Path) -> None:
    """Equal chunks take one place: a million of them must not be compared with each other."""
    day = first_day()
    day.chunks = dict.fromkeys(range(30), b"\xa5" * CHUNK)
    write_image(day.disk(), tmp_path / "image")
    with Chain(tmp_path / "image") as chain:
        known = KnownChunks(chain)
        table: array[int] = known._table
        assert len(table) - table.count(0xFFFFFFFF) == len({row.hash for row in data_rows(chain)}) < len(data_rows(chain))


def test_a_chain_without_a_full_image_is_refused(story: Story) -> None:
    with Chain(story.path(1)) as chain:
        object.__setattr__(chain.image, "manifest", _without_full(chain))
        with pytest.raises(FormatError, match="does not end in a full image"):
            KnownChunks(chain, only_full=True)


def _without_full(chain: Chain) -> object:
    members = tuple(replace(member, kind=Kind.INCREMENTAL.word) for member in chain.manifest.chain)
    return replace(chain.manifest, chain=members)


def test_memory_of_many_rows_is_that_of_their_tables(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    """200,000 rows: 64 bytes each and a table of at most 12 a row, no object for any of them."""
    with Chain(story.path(0)) as chain:
        (entry,) = chain.manifest.segments
        table = chain.segment_table(0)
        count = 200_000
        chance = random.Random(1)
        row = next(table[n : n + 32] for n in range(0, len(table), 64) if table[n] == RowKind.DATA)
        big = b"".join(row + chance.randbytes(32) for _ in range(count))
        manifest = replace(chain.manifest, segments=(replace(entry, rows=count),))
        object.__setattr__(chain.image, "manifest", manifest)
        monkeypatch.setattr(chain, "segment_table", lambda number: big)
        tracemalloc.start()
        known = KnownChunks(chain)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < count * (64 + 12) + (1 << 20)
        assert known.find(big[32:64], int.from_bytes(row[8:16], "little"))
        assert known.find(big[-32:], int.from_bytes(row[8:16], "little"))
