"""f2fs: when its last checkpoint is all there is. The volumes are made as include/linux/f2fs_fs.h describes them."""

from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import given, settings

from rescue.errors import FormatError
from rescue.filesystems.f2fs import why_unclean
from rescue.model.extents import ExtentMap
from rescue.model.source import Source
from rescue.model.volume import UsedMap
from tests.examples import examples
from tests.unit.filesystems.volumes import FLIPS, Flip, SparseVolume, bears, damaged, refused

_FIRST = 512  # block of the first checkpoint


def _volume(*packs: tuple[int, int]) -> SparseVolume:
    """A volume with up to two checkpoints, each given by its version and its flags."""
    volume = SparseVolume(16 << 20)
    superblock = bytearray(3072)
    struct.pack_into("<IHHIIIII", superblock, 0, 0xF2F52010, 1, 16, 9, 3, 12, 9, 1)
    struct.pack_into("<I", superblock, 76, _FIRST)
    volume.write(bytes(superblock), 1024)
    for number, (version, flags) in enumerate(packs):
        block = bytearray(4096)
        struct.pack_into("<Q", block, 0, version)
        struct.pack_into("<II", block, 132, flags, 8)
        struct.pack_into("<I", block, 164, 4092)
        struct.pack_into("<I", block, 4092, zlib.crc32(block[:4092], 0xF2F52010 ^ 0xFFFFFFFF) ^ 0xFFFFFFFF)
        for place in (0, 7):
            volume.write(bytes(block), (_FIRST + 512 * number + place) * 4096)
    return volume


@pytest.mark.parametrize(
    ("packs", "words"),
    [
        (((1, 0x1),), ""),
        (((1, 0x0), (2, 0x81)), ""),
        (((3, 0x1), (2, 0x0)), ""),
        (((3, 0x1), (4, 0x0)), "not cleanly unmounted"),
        (((3, 0x0), (2, 0x1)), "not cleanly unmounted"),
        (((3, 0x11),), "having errors"),
        (((3, 0x9),), "having errors"),
        (((3, 0x1001),), "not cleanly unmounted"),
    ],
)
def test_the_newest_checkpoint_decides(packs: tuple[tuple[int, int], ...], words: str) -> None:
    said = why_unclean(_volume(*packs))
    assert words in said
    assert bool(said) == bool(words)


def test_a_checkpoint_that_was_not_finished_does_not_count() -> None:
    volume = _volume((3, 0x1), (4, 0x0))
    volume.write(b"\xff", (_FIRST + 512 + 7) * 4096 + 20)
    assert why_unclean(volume) == ""
    volume.write(b"\xff", _FIRST * 4096)
    with pytest.raises(FormatError, match="neither of its checkpoints"):
        why_unclean(volume)


def test_several_devices() -> None:
    volume = _volume((1, 1))
    volume.write(b"/dev/sdc", 1024 + 2201 + 68)
    assert why_unclean(volume) == "It is spread over several devices."


def _as_map(volume: Source) -> UsedMap:
    said = why_unclean(volume)
    return UsedMap.whole(volume.size, said) if said else UsedMap(ExtentMap([(0, volume.size)]))


def test_no_superblock() -> None:
    refused(SparseVolume(1 << 20), _as_map, "magic")
    refused(SparseVolume(2048), _as_map, "too small")


@settings(max_examples=examples(100), deadline=None)
@given(FLIPS)
def test_damage_never_crashes_it(flips: list[Flip]) -> None:
    bears(damaged(_volume((3, 1), (4, 1)), _as_map, flips), _as_map)
