"""Images whose hashes are right and whose numbers are absurd: refused with a sentence, without crash, hang or much memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zstandard
from blake3 import blake3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rescue.engine.deploy import Deployment
from rescue.engine.verify import verify_image
from rescue.errors import RescueError
from rescue.images.format import TAG_MANIFEST, Row, SeekEntry, Trailer, pack_seek_table, skippable
from rescue.images.reader import ImageReader
from rescue.images.segment import pack_row, pack_segment
from rescue.model.progress import CancelToken
from rescue.records import replace
from rescue.units import KIB, MIB
from tests.examples import examples
from tests.unit.images.disks import small_disk, write_image

_DISK = small_disk(3, 2 * MIB, 128 * KIB)
_HUGE = (0, 1, 2**31 - 1, 2**32 - 1, 2**62, 2**63 - 1)
Json = dict[str, Any]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("good") / "good.img.zst"
    write_image(_DISK, path)
    return path


def _forge(
    good: Path, path: Path, *,
    rows: Callable[[list[Row]], list[Row]] = lambda rows: rows,
    manifest: Callable[[Json], None] = lambda manifest: None,
    trailer: Callable[[Trailer], Trailer] = lambda trailer: trailer,
    manifest_length: int | None = None,
) -> Path:  # fmt: skip
    """Write the good image with changed rows, manifest or trailer, every hash made right again."""
    with ImageReader(good) as reader:
        (entry,) = reader.manifest.segments
        data = good.read_bytes()[: entry.offset]
        changed = rows(list(reader.rows()))
        table = b"".join(map(pack_row, changed))
        segment = pack_segment(reader.header.uuid, 0, table, changed[0].start, changed[-1].end)
        document: Json = msgspec.json.decode(msgspec.json.encode(reader.manifest))
        document["segments"][0] |= {"length": len(segment), "hash": segment[-32:].hex()}
        count, start, end = (int.from_bytes(segment[a:b], "little") for a, b in ((28, 32), (32, 40), (40, 48)))
        document["segments"][0] |= {"rows": count, "start": start, "end": end}
        manifest(document)
        text = msgspec.json.encode(document)
        length = len(text) if manifest_length is None else manifest_length
        packed = TAG_MANIFEST + length.to_bytes(4, "little") + zstandard.ZstdCompressor().compress(text)
        body = data + skippable(segment)
        tail = trailer(Trailer(reader.header.uuid, len(body), len(packed), blake3(packed).digest()))
        entries = [*reader.seek_entries()[:-3], *(SeekEntry(size) for size in (len(segment) + 8, len(packed) + 8, 120))]
    path.write_bytes(body + skippable(packed) + skippable(tail.pack()) + pack_seek_table(entries))
    return path


def _read_all(path: Path) -> None:
    verify_image(str(path), token=CancelToken(), progress=lambda done, total: None, notify=lambda message: None)


def test_the_forge_itself_makes_a_good_image(good: Path, tmp_path: Path) -> None:
    _read_all(_forge(good, tmp_path / "same"))


@pytest.mark.parametrize("field", ["manifest_offset", "manifest_length"])
@pytest.mark.parametrize("value", _HUGE)
def test_trailers(good: Path, tmp_path: Path, field: str, value: int) -> None:
    def change(trailer: Trailer) -> Trailer:
        return replace(trailer, **{field: value})  # type: ignore[arg-type]

    with pytest.raises(RescueError):
        ImageReader(_forge(good, tmp_path / "bad", trailer=change))


@pytest.mark.parametrize("length", [0, 1, 64 * MIB, 64 * MIB + 1, 2**32 - 1])
def test_manifest_lengths(good: Path, tmp_path: Path, length: int) -> None:
    with pytest.raises(RescueError):
        ImageReader(_forge(good, tmp_path / "bad", manifest_length=length))


def _set(*keys: str | int) -> Callable[[Any], Callable[[Json], None]]:
    def with_value(value: Any) -> Callable[[Json], None]:
        def change(document: Json) -> None:
            place: Any = document
            for key in keys[:-1]:
                place = place[key]
            place[keys[-1]] = value

        return change

    return with_value


@pytest.mark.parametrize(
    "place",
    [
        ("segments", 0, "offset"), ("segments", 0, "length"), ("segments", 0, "start"), ("segments", 0, "end"),
        ("segments", 0, "rows"), ("disk", "size"), ("disk", "logical_sector_size"), ("layout", "size"),
        ("layout", "sector_size"), ("layout", "partitions", 0, "end"), ("volumes", 0, "end"), ("format",),
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("value", [-1, 2**40, 2**62, 2**63 - 1, 2**70, "x", None])
def test_manifests(good: Path, tmp_path: Path, place: tuple[str | int, ...], value: object) -> None:
    with pytest.raises(RescueError):
        _read_all(_forge(good, tmp_path / "bad", manifest=_set(*place)(value)))


@pytest.mark.parametrize("field", ["length", "file", "in_frame", "frame_offset", "frame_length", "frame_content"])
@pytest.mark.parametrize("value", [0, 1, 65535, 2**31, 2**32 - 1, 2**62])
def test_rows(good: Path, tmp_path: Path, field: str, value: int) -> None:
    limit = {"file": 2**16, "length": 2**63, "frame_offset": 2**63}.get(field, 2**32)
    value = min(value, limit - 1)
    if field == "file":
        value = max(value, 1)  # 0 is what they all say

    def change(rows: list[Row]) -> list[Row]:
        index = next(number for number, row in enumerate(rows) if row.kind == 2 and getattr(row, field) != value)
        rows[index] = Row(**(rows[index]._asdict() | {field: value}))
        return rows

    with pytest.raises(RescueError):
        _read_all(_forge(good, tmp_path / "bad", rows=change))


def test_many_rows_of_one_frame_do_not_make_it_be_unpacked_many_times_in_memory(good: Path, tmp_path: Path) -> None:
    """A row table that claims the largest frame for each chunk is refused without that memory being taken."""

    def change(rows: list[Row]) -> list[Row]:
        return [row._replace(frame_content=8 * MIB) if row.kind == 2 else row for row in rows]

    forged = _forge(good, tmp_path / "bad", rows=change)
    tracemalloc.start()
    with pytest.raises(RescueError):
        _read_all(forged)
    assert tracemalloc.get_traced_memory()[1] < 64 * MIB
    tracemalloc.stop()


@settings(max_examples=examples(150), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_random_damage_is_refused_or_harmless(good: Path, tmp_path: Path, data: st.DataObject) -> None:
    """Bytes overwritten, cut out or doubled anywhere: an error of ours, or exactly the same disk."""
    content = bytearray(good.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    piece = data.draw(st.binary(min_size=1, max_size=40))
    match data.draw(st.sampled_from(["overwrite", "cut", "insert"])):
        case "overwrite":
            content[at : at + len(piece)] = piece
        case "cut":
            del content[at : at + len(piece)]
        case _:
            content[at:at] = piece
    path = tmp_path / "damaged"
    path.write_bytes(content)
    target = tmp_path / "target"
    target.write_bytes(bytes(len(_DISK.content)))
    try:
        with Deployment(str(path), str(target)) as deployment:
            deployment.wipe()
            deployment.write_data(CancelToken(), lambda done, total: None)
            deployment.write_head()
            deployment.read_back(CancelToken(), lambda done, total: None)
    except RescueError:
        return
    assert target.read_bytes() == _DISK.kept
