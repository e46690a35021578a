"""What a manifest tells of volumes in volumes: kept as it was, and bounded."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import zstandard

from rescue.errors import FormatError
from rescue.images.format import TAG_MANIFEST
from rescue.images.manifest import Manifest
from rescue.images.reader import ImageReader
from rescue.model.volume import Identity, Nested, Volume
from rescue.records import replace
from tests.unit.images.disks import small_disk, write_image

_INSIDE = (Nested("vg0/root", 100, Identity("ext4", "filesystem"), 7, "", "Debian", (Nested("", 50, Identity(), 50, "Why."),)),)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("image") / "good.img.zst"
    write_image(small_disk(3, 9 << 20), path)
    return path


def _changed(image: Path, inside: tuple[Nested, ...]) -> tuple[Manifest, ImageReader]:
    with ImageReader(image) as reader:
        volume = Volume(1, 0, 4096, Identity("LVM2_member", "raid"), 4096)
        return replace(reader.manifest, volumes=(replace(volume, inside=inside),)), reader


def test_it_comes_back(image: Path) -> None:
    manifest, reader = _changed(image, _INSIDE)
    assert Manifest.unpack(manifest.pack(), reader.header).volumes[0].inside == _INSIDE


def _deep(levels: int) -> tuple[Nested, ...]:
    inside: tuple[Nested, ...] = ()
    for _ in range(levels):
        inside = (Nested("", 1, Identity(), 1, inside=inside),)
    return inside


@pytest.mark.parametrize("inside", [_deep(17), _deep(400), (Nested("", -1, Identity(), 0),), (Nested("", 1, Identity(), -1),)])
def test_what_makes_no_sense_is_refused(image: Path, inside: tuple[Nested, ...]) -> None:
    manifest, reader = _changed(image, inside)
    with pytest.raises(FormatError):
        Manifest.unpack(manifest.pack(), reader.header)


@pytest.mark.parametrize("unknown", ['"inside":', '"something else":'])
def test_too_deep_for_any_reader(image: Path, unknown: str) -> None:
    """Not even unknown members may end the program."""
    manifest, reader = _changed(image, ())
    nested = "[" * 100_000 + "]" * 100_000
    text = msgspec.json.encode(manifest).decode().replace('"inside":', f'{unknown}{nested},"inside":', 1).encode()
    payload = TAG_MANIFEST + len(text).to_bytes(4, "little") + zstandard.ZstdCompressor().compress(text)
    with pytest.raises(FormatError):
        Manifest.unpack(payload, reader.header)
