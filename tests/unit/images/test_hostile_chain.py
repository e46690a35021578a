"""Chains that lie: circles, doubles, numbers out of range. Every hash is right; each is refused with a sentence."""

from __future__ import annotations

import resource
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.mutate import Parts
from rescue.errors import DamagedError, FormatError, RefusedError
from rescue.images.chain import Chain
from rescue.images.format import MAX_FILES, RowKind
from rescue.images.known import KnownChunks
from rescue.images.segment import ROW_SIZE
from rescue.services.library import list_images
from rescue.stores.folder import FolderStore
from tests.unit.images.days import SIZE, Story, restored, stand_alone, three_days


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Story:
    return three_days(tmp_path_factory.mktemp("days"))


@pytest.fixture
def story(written: Story, tmp_path: Path) -> Story:
    shutil.copytree(written.folder, tmp_path / "images")
    return Story(tmp_path / "images", written.days)


def forge(path: Path, change: Callable[[Parts], None]) -> None:
    """Change an image and make its hashes right again."""
    parts = Parts.of(path)
    change(parts)
    path.write_bytes(parts.join()[0])


def member(number: int, **other: Any) -> dict[str, Any]:
    """A file of a chain that nobody has."""
    return {
        "uuid": str(uuid.UUID(int=number + 1)), "fingerprint": "ab" * 32, "name": f"image-{number}", "kind": "incremental",
        "created": "2026-11-22T12:00:00Z", "data_bytes": 0, **other,
    }  # fmt: skip


def _itself(parts: Parts) -> None:
    parts.manifest["chain"].insert(0, member(0, uuid=parts.manifest["uuid"]))


def _twice(parts: Parts) -> None:
    parts.manifest["chain"].insert(0, dict(parts.manifest["chain"][0], kind="incremental"))


def _no_full(parts: Parts) -> None:
    parts.manifest["chain"][-1]["kind"] = "incremental"


def _two_full(parts: Parts) -> None:
    parts.manifest["chain"].insert(0, member(0, kind="full"))


def _nothing(parts: Parts) -> None:
    parts.manifest["chain"] = []


def _negative(parts: Parts) -> None:
    parts.manifest["chain"][0]["data_bytes"] = -1


def _too_many(parts: Parts) -> None:
    parts.manifest["chain"] = [*(member(number) for number in range(MAX_FILES - 1)), *parts.manifest["chain"]]


def _other_kind(parts: Parts) -> None:
    parts.manifest["kind"] = "full"


def _kind_of_header(parts: Parts) -> None:
    parts.header[12] = 0


@pytest.mark.parametrize(
    "change", [_itself, _twice, _no_full, _two_full, _nothing, _negative, _too_many, _other_kind, _kind_of_header]
)
def test_a_chain_that_cannot_be_is_refused(story: Story, change: Callable[[Parts], None]) -> None:
    forge(story.path(1), change)
    target = story.folder / "target"
    with pytest.raises(FormatError, match="contradicts its header"):
        restored(story.path(1), target, b"\xa5" * SIZE)
    assert target.read_bytes() == b"\xa5" * SIZE


def test_images_that_list_each_other_are_used_as_files_only(story: Story) -> None:
    """No index of another file is followed, so there is no circle to go round in."""
    second = Parts.of(story.path(1))

    def change(parts: Parts) -> None:
        parts.manifest["chain"].insert(0, member(0, uuid=second.manifest["uuid"], name=story.path(1).name, data_bytes=5))

    forge(story.path(2), change)
    third = Parts.of(story.path(2))

    def back(parts: Parts) -> None:
        parts.manifest["chain"].insert(0, member(0, uuid=third.manifest["uuid"], name=story.path(2).name, data_bytes=5))

    forge(story.path(1), back)
    for day in (1, 2):
        with pytest.raises(DamagedError, match="has the same UUID and another content"):
            Chain(story.path(day))


def _row(parts: Parts, in_member: bool) -> int:
    return next(
        at for at in range(0, len(parts.rows), ROW_SIZE)
        if parts.rows[at] == RowKind.DATA and bool(parts.rows[at + 2]) == in_member
    )  # fmt: skip


@pytest.mark.parametrize("in_member", [False, True])
@pytest.mark.parametrize(("at", "size"), [(2, 2), (16, 8), (24, 4)], ids=["file", "offset", "length"])
def test_rows_that_point_outside(story: Story, in_member: bool, at: int, size: int) -> None:
    def change(parts: Parts) -> None:
        row = _row(parts, in_member)
        parts.rows[row + at : row + at + size] = b"\xff" * size

    forge(story.path(1), change)
    target = story.folder / "target"
    with pytest.raises(FormatError, match="points outside of"):
        restored(story.path(1), target)
    with pytest.raises(SystemExit):
        stand_alone().main([str(story.path(1)), str(story.folder / "alone")])


def test_a_row_into_a_file_that_is_said_not_to_be_needed(story: Story) -> None:
    def change(parts: Parts) -> None:
        parts.manifest["chain"][0]["data_bytes"] = 0

    forge(story.path(1), change)
    with Chain(story.path(1)) as chain, pytest.raises(FormatError, match="does not need"):
        list(chain.rows())


def test_a_row_at_the_very_end_of_a_member_is_inside(story: Story) -> None:
    size = story.path(0).stat().st_size

    def change(parts: Parts) -> None:
        row = _row(parts, True)
        length = int.from_bytes(parts.rows[row + 24 : row + 28], "little")
        parts.rows[row + 16 : row + 24] = (size - length).to_bytes(8, "little")

    forge(story.path(1), change)
    with Chain(story.path(1)) as chain:
        assert max(row.frame_offset + row.frame_length for row in chain.rows() if row.file) == size


def test_the_longest_chain(story: Story) -> None:
    """65,535 files, all but one of them not needed; then all of them needed and missing: a short message."""

    def longest(parts: Parts) -> None:
        # The row's file is the last: its number takes all 16 bits.
        parts.manifest["chain"] = [*(member(number) for number in range(MAX_FILES - 2)), *parts.manifest["chain"]]
        for at in range(0, len(parts.rows), ROW_SIZE):
            if parts.rows[at] == RowKind.DATA and parts.rows[at + 2]:
                parts.rows[at + 2 : at + 4] = (MAX_FILES - 1).to_bytes(2, "little")

    forge(story.path(1), longest)
    restored(story.path(1), story.folder / "target")
    assert (story.folder / "target").read_bytes() == story.days[1].disk().kept
    with Chain(story.path(1)) as chain, pytest.raises(RefusedError, match="too many images"):
        KnownChunks(chain)


def test_many_missing_files_are_told_in_a_few_words(story: Story) -> None:
    def change(parts: Parts) -> None:
        parts.manifest["chain"] = [*(member(number, data_bytes=1) for number in range(300)), *parts.manifest["chain"]]
        for at in range(0, len(parts.rows), ROW_SIZE):
            if parts.rows[at] == RowKind.DATA and parts.rows[at + 2]:
                parts.rows[at + 2 : at + 4] = (301).to_bytes(2, "little")

    forge(story.path(1), change)
    with pytest.raises(DamagedError, match="295 more of its images cannot be used") as caught:
        Chain(story.path(1))
    assert len(caught.value.message) < 2000


def test_more_files_than_the_system_lets_be_open(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda what: (200, 250))
    with pytest.raises(RefusedError, match="this system allows 250"):
        Chain(story.path(1))
    set_to: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda what: (200, 4096))
    monkeypatch.setattr(resource, "setrlimit", lambda what, limits: set_to.append(limits))
    with Chain(story.path(1)):
        assert set_to == [(258, 4096)]


@pytest.mark.parametrize("name", ["", ".", "..", "/", "/etc/passwd", "../full.img.zst", "a\0b", "x" * 5000])
def test_names_cannot_leave_the_folder(story: Story, name: str) -> None:
    """The UUID finds the file; no name leads anywhere else."""
    outside = story.folder.parent / "full.img.zst"

    def change(parts: Parts) -> None:
        parts.manifest["chain"][0]["name"] = name

    forge(story.path(1), change)
    restored(story.path(1), story.folder / "target")
    story.path(0).rename(outside)
    with pytest.raises(DamagedError, match="is not in"):
        Chain(story.path(1))
    assert {image.name for image in list_images(FolderStore(story.folder)) if image.problem} >= {"second.rimg"}
