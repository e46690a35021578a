"""A salvage that is cut off in its quick part: it goes on, and asks a failing disk for nothing twice that is stored."""

from __future__ import annotations

from pathlib import Path

import pytest

from rescue.engine.capture import Capture
from rescue.engine.making import Making
from rescue.engine.mending import missing_of
from rescue.engine.salvage import Salvage
from rescue.engine.verify import verify_image
from rescue.images.chain import Chain
from rescue.images.secrets import NO_SECRETS
from rescue.images.view import ImageView
from rescue.jobs.destination import StoreDestination
from rescue.model.disk import Disk
from rescue.model.extents import ExtentMap
from rescue.model.progress import CancelToken
from rescue.stores.folder import FolderStore
from rescue.units import KIB, MIB
from tests.unit.engine.failing import FailingDisk
from tests.unit.images.disks import CREATED, SmallDisk, small_disk
from tests.unit.jobs.attempts import Cut, CutError, small_segments

__all__ = ["small_segments"]

_DISK = small_disk(seed=3, size=12 * MIB)
_BAD = ExtentMap([(2 * MIB, 2 * MIB + 8 * KIB), (7 * MIB, 7 * MIB + 300 * KIB)])
_NAME = "x.img.zst"


def _run(folder: Path, source: FailingDisk, disk: SmallDisk, output: StoreDestination) -> list[str]:
    said: list[str] = []
    description = Disk("disk", len(disk.content), is_file=True)
    with Salvage(source, folder.parent / "kept", disk=description.who) as salvage:
        capture = Capture(source, description, disk.layout, disk.volumes, Making(level=3), None, salvage)
        capture.run(output, NO_SECRETS, CREATED, CancelToken(), lambda done, total: None, lambda m: said.append(m.text))
    output.commit()
    return said


@pytest.fixture
def folder(tmp_path: Path, small_segments: None) -> Path:
    made = tmp_path / "dest"
    made.mkdir()
    return made


def _cut_off(folder: Path, source: FailingDisk) -> None:
    output = Cut(FolderStore(folder), _NAME, 0, after=2 * MIB)
    with pytest.raises(CutError):
        _run(folder, source, _DISK, output)
    assert output._writer is not None
    output._writer.abort(keep=True)


def test_it_goes_on_without_reading_again(folder: Path) -> None:
    source = FailingDisk(_DISK.content, _BAD)
    _cut_off(folder, source)
    before = ExtentMap(sorted(source.reads))
    source.reads.clear()
    errors = source.errors
    with StoreDestination(FolderStore(folder), _NAME, 0) as output:
        said = _run(folder, source, _DISK, output)
    assert any(text.startswith("Going on at ") for text in said)
    again = ExtentMap(sorted(source.reads)).intersection(before)
    # Where each region begins is looked at: the disk could be in another state.
    assert again.total < before.total
    assert source.errors - errors <= 8
    image = folder / _NAME
    verify_image(str(image), token=CancelToken(), progress=lambda done, total: None, notify=lambda message: None)
    with Chain(image) as chain:
        missing = missing_of(chain)
        expected = bytearray(_DISK.kept)
        for start, end in missing:
            expected[start:end] = bytes(end - start)
        assert missing
        assert ImageView(chain, bad_as_zeros=True).pread(len(expected), 0) == expected


def test_a_disk_in_another_state_is_begun_anew(folder: Path) -> None:
    source = FailingDisk(_DISK.content, _BAD)
    _cut_off(folder, source)
    content = bytearray(_DISK.content)
    start = next(iter(_DISK.volumes[0][1])).start
    content[start] ^= 1
    changed = SmallDisk(bytes(content), _DISK.layout, _DISK.volumes)
    with StoreDestination(FolderStore(folder), _NAME, 0) as output:
        said = _run(folder, FailingDisk(changed.content, _BAD), changed, output)
    with Chain(folder / _NAME) as chain:
        found = ImageView(chain, bad_as_zeros=True).pread(1, start)
    assert found == content[start : start + 1], said
