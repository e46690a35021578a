"""Images upon images: what they store, what they give back, and what happens when a file of the chain is not what it was."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from blake3 import blake3

from rescue.engine.verify import verify_image
from rescue.errors import DamagedError, FormatError
from rescue.images.chain import Chain
from rescue.images.format import Kind, RowKind
from rescue.model.progress import CancelToken
from rescue.services.library import list_images
from rescue.stores.folder import FolderStore
from rescue.units import MIB
from tests.unit.images.days import CHUNK, SIZE, Day, Story, first_day, own_bytes, restored, stand_alone, three_days
from tests.unit.images.disks import write_image


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Story:
    return three_days(tmp_path_factory.mktemp("days"))


@pytest.fixture
def story(written: Story, tmp_path: Path) -> Story:
    """A copy that a test may damage."""
    folder = tmp_path / "images"
    shutil.copytree(written.folder, folder)
    return Story(folder, written.days)


def verify(path: Path, own_only: bool = False) -> int:
    return verify_image(
        str(path), own_only=own_only, token=CancelToken(), progress=lambda done, total: None, notify=lambda message: None
    ).checked_bytes


@pytest.mark.parametrize("day", [0, 1, 2])
def test_each_day_is_given_back(written: Story, tmp_path: Path, day: int) -> None:
    kept = written.days[day].disk().kept
    restored(written.path(day), tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == kept
    stand_alone().main([str(written.path(day)), str(tmp_path / "alone")])
    assert (tmp_path / "alone").read_bytes() == kept
    with Chain(written.path(day)) as chain:
        statistics = chain.manifest.statistics
    assert verify(written.path(day)) == statistics.data_bytes
    assert verify(written.path(day), own_only=True) == statistics.own_bytes


def test_only_what_the_chain_lacks_is_stored(written: Story) -> None:
    for day in (1, 2):
        before, now = written.days[0].chunks.values(), written.days[day].chunks.values()
        new = {data for data in now if any(data)} - set(before)
        with Chain(written.path(day)) as chain:
            statistics = chain.manifest.statistics
            assert statistics.own_bytes == len(new) * CHUNK
            assert statistics.own_bytes + sum(m.data_bytes for m in chain.manifest.chain) == statistics.data_bytes
            assert chain.header.kind.word == chain.manifest.kind == ("incremental", "differential")[day - 1]


def test_a_frame_holds_new_chunks_only_one_behind_the_other(written: Story) -> None:
    with Chain(written.path(1)) as chain:
        frames: dict[int, list[tuple[int, int, int]]] = {}
        for row in chain.rows():
            if row.kind == RowKind.DATA and not row.file:
                frames.setdefault(row.frame_offset, []).append((row.in_frame, row.length, row.frame_content))
        assert frames
        for chunks in frames.values():
            position = 0
            for in_frame, length, content in chunks:
                assert in_frame == position
                position += length
                assert content == chunks[0][2]
            assert position == chunks[0][2]
        assert list(frames) == sorted(frames)


def test_a_long_chain_with_deletions_and_moved_partitions(tmp_path: Path) -> None:
    day, path = first_day(), tmp_path / "day-00.img.zst"
    write_image(day.disk(), path)
    days = [(day, path)]
    for number in range(1, 21):
        day = day.next(number)
        parent, path = path, tmp_path / f"day-{number:02}.rimg"
        write_image(day.disk(), path, Kind.INCREMENTAL, parent)
        days.append((day, path))
    reader = stand_alone()
    for number in (0, 1, 7, 13, 20):
        day, path = days[number]
        restored(path, tmp_path / "target")
        assert (tmp_path / "target").read_bytes() == day.disk().kept
        (tmp_path / "alone").unlink(missing_ok=True)
        reader.main([str(path), str(tmp_path / "alone")])
        assert (tmp_path / "alone").read_bytes() == day.disk().kept
    with Chain(days[20][1]) as chain:
        assert [member.name for member in chain.manifest.chain] == [path.name for _, path in reversed(days[:20])]
        assert [member.kind for member in chain.manifest.chain] == ["incremental"] * 19 + ["full"]
        needs = {member.name for member in chain.manifest.chain if member.data_bytes}
    # What no row points into may go.
    assert len(needs) < 20
    for _, path in days[:20]:
        if path.name not in needs:
            path.unlink()
    restored(days[20][1], tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == days[20][0].disk().kept


def test_content_that_only_moved_is_not_stored_again(tmp_path: Path) -> None:
    day = first_day()
    write_image(day.disk(), tmp_path / "full")
    chance = random.Random(4)
    places = chance.sample(range(day.length // CHUNK), len(day.chunks))
    defragmented = Day(dict(zip(places, day.chunks.values(), strict=True)))
    write_image(defragmented.disk(), tmp_path / "moved", Kind.INCREMENTAL, tmp_path / "full")
    assert own_bytes(tmp_path / "moved") == 0
    elsewhere = Day(day.chunks, start=5 * MIB + 512)
    write_image(elsewhere.disk(), tmp_path / "elsewhere", Kind.INCREMENTAL, tmp_path / "full")
    assert 0 < own_bytes(tmp_path / "elsewhere") <= 63 * 512  # the table changed
    for image, expected in (("moved", defragmented), ("elsewhere", elsewhere)):
        restored(tmp_path / image, tmp_path / "target")
        assert (tmp_path / "target").read_bytes() == expected.disk().kept
        verify(tmp_path / image)


def test_a_differential_upon_an_incremental_points_to_the_full_one_alone(written: Story, story: Story) -> None:
    path = story.folder / "differential.rimg"
    write_image(story.days[2].disk(), path, Kind.DIFFERENTIAL, story.path(1))
    with Chain(path) as chain, Chain(story.path(0)) as full:
        (member,) = chain.manifest.chain
        assert (member.uuid, member.fingerprint, member.kind) == (full.manifest.uuid, full.fingerprint, "full")
        assert chain.manifest.parent == full.manifest.uuid
    story.path(1).unlink()
    restored(path, story.folder / "target")
    assert (story.folder / "target").read_bytes() == story.days[2].disk().kept
    assert written.path(1).exists()


@pytest.mark.parametrize("name", ["renamed.img.zst", "no suffix", "full.img.zst.001"])
def test_a_renamed_member_is_found_by_its_uuid(story: Story, name: str) -> None:
    content = story.path(0).read_bytes()
    story.path(0).rename(story.folder / name)
    if name.endswith(".001"):
        (story.folder / name).write_bytes(content[: MIB + 5])
        for number in range(2, len(content) // (MIB + 5) + 2):
            part = content[(number - 1) * (MIB + 5) : number * (MIB + 5)]
            (story.folder / f"full.img.zst.{number:03}").write_bytes(part)
    restored(story.path(1), story.folder / "target")
    kept = story.days[1].disk().kept
    assert (story.folder / "target").read_bytes() == kept
    stand_alone().main([str(story.path(1)), str(story.folder / "alone")])
    assert (story.folder / "alone").read_bytes() == kept


def _missing(story: Story) -> None:
    story.path(0).unlink()


def _another_of_the_same_name(story: Story) -> None:
    write_image(first_day(99).disk(), story.path(0))


def _same_uuid_other_content(story: Story) -> None:
    """Another manifest in a file with the old header: all its own hashes are right."""
    with Chain(story.path(0)) as chain:
        uuid = chain.header.uuid
    from_other = story.folder / "other"
    write_image(first_day(99).disk(), from_other)
    with Chain(from_other) as chain:
        other = chain.header.uuid
        trailer = chain.image.seek_table_offset - 120
    data = bytearray(from_other.read_bytes().replace(other, uuid))
    from_other.unlink()
    data[8 + 96 : 8 + 128] = blake3(data[8 : 8 + 96]).digest()
    data[trailer + 8 + 80 : trailer + 8 + 112] = blake3(data[trailer + 8 : trailer + 8 + 80]).digest()
    story.path(0).write_bytes(data)


def _flip(story: Story, offset: int) -> None:
    data = bytearray(story.path(0).read_bytes())
    data[offset] ^= 1
    story.path(0).write_bytes(data)


def _damaged_header(story: Story) -> None:
    _flip(story, 50)


def _damaged_trailer(story: Story) -> None:
    with Chain(story.path(0)) as chain:
        offset = chain.image.seek_table_offset
    _flip(story, offset - 20)


def _cut_off(story: Story) -> None:
    data = story.path(0).read_bytes()
    story.path(0).write_bytes(data[: len(data) // 2])


def _half_copied(story: Story) -> None:
    story.path(0).rename(story.folder / "full.img.zst.partial")


_HARM: dict[str, tuple[Callable[[Story], None], str]] = {
    "missing": (_missing, "is not in "),
    "another of the same name": (_another_of_the_same_name, "there is another image"),
    "the same UUID with other content": (_same_uuid_other_content, "has the same UUID and another content"),
    "a damaged header": (_damaged_header, "full.img.zst there is damaged"),
    "a damaged trailer": (_damaged_trailer, "is damaged"),
    "cut off": (_cut_off, "is not complete"),
    "half copied": (_half_copied, "is not in "),
}


@pytest.mark.parametrize("harm", _HARM)
def test_what_a_bad_member_costs_is_said_before_anything_is_written(story: Story, harm: str) -> None:
    with Chain(story.path(1)) as chain:
        one, two = (sum(r.length for r in chain.rows() if r.file and p.start <= r.start < p.end) for p in chain.layout.partitions)
        member = chain.manifest.chain[0]
    do, words = _HARM[harm]
    do(story)
    target = story.folder / "target"
    with pytest.raises(DamagedError) as caught:
        restored(story.path(1), target, b"\xa5" * SIZE)
    assert caught.value.exit_code == 4
    assert target.read_bytes() == b"\xa5" * SIZE
    target.unlink()
    told = caught.value.message
    assert words in told
    assert f"full image {member.name} (made {member.created})" in told
    assert f"{one / MIB:.1f} MiB of partition 1, {two / MIB:.1f} MiB of partition 2" in told
    with Chain(story.path(1), incomplete=True) as chain:
        bad = sum(row.length for row in chain.rows() if row.kind == RowKind.BAD)
        assert bad == chain.manifest.chain[0].data_bytes
        assert chain.summary().problem_exit_code == 4
    with pytest.raises(DamagedError):
        verify(story.path(1))
    summary = next(image for image in list_images(FolderStore(story.folder)) if image.name == "second.rimg")
    assert "full.img.zst" in summary.problem
    assert summary.problem_exit_code == 4
    with pytest.raises(SystemExit):
        stand_alone().main([str(story.path(1)), str(target)])
    assert not target.exists()


def test_a_damaged_frame_of_a_member_is_found_by_verify_and_by_restore(story: Story) -> None:
    with Chain(story.path(1)) as chain:
        row = next(row for row in chain.rows() if row.kind == RowKind.DATA and row.file)
    _flip(story, row.frame_offset + row.frame_length // 2)
    assert verify(story.path(1), own_only=True) == own_bytes(story.path(1))
    with pytest.raises(DamagedError, match=r"at byte \d+ of .*full\.img\.zst"):
        verify(story.path(1))
    with pytest.raises(DamagedError, match=r"full\.img\.zst is damaged"):
        restored(story.path(1), story.folder / "target")


def test_a_list_says_what_is_missing(story: Story) -> None:
    assert not any(image.problem for image in list_images(FolderStore(story.folder)))
    story.path(0).unlink()
    found = {image.name: image for image in list_images(FolderStore(story.folder))}
    for name in ("second.rimg", "third.rimg"):
        assert "needs full.img.zst, not found here" in found[name].problem


def test_one_damaged_copy_beside_a_good_one_does_no_harm(story: Story) -> None:
    shutil.copy(story.path(0), story.folder / "copy")
    _flip(story, len(story.path(0).read_bytes()) - 3)
    restored(story.path(1), story.folder / "target")
    assert (story.folder / "target").read_bytes() == story.days[1].disk().kept


def test_an_image_of_a_chain_alone_is_no_stock_file_of_the_disk(written: Story) -> None:
    with Chain(written.path(1)) as chain:
        assert not chain.header.is_plain
        assert chain.image.seek_entries()
    with pytest.raises(FormatError):
        Chain(written.folder)
