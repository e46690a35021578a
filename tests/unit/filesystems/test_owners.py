"""Owners of damaged bytes: any damage of any small volume is accounted for, and nothing on it can make this fail."""

from __future__ import annotations

import errno

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rescue.errors import SourceReadError
from rescue.filesystems.lenient import LenientSource, Witness
from rescue.filesystems.owners import MORE_FAILED, MOST_NAMES, Damage, owners
from rescue.model.extents import ExtentMap
from rescue.model.source import BytesSource
from rescue.model.volume import Identity
from tests.unit.filesystems.volumes import SparseVolume

_VOLUMES = {name: SparseVolume.load(f"{name}.xz") for name in ("ext4", "ext2", "xfs", "ntfs", "exfat", "btrfs")}
_RANGES = st.lists(st.tuples(st.floats(0, 1), st.integers(1, 64)), min_size=1, max_size=6)


def _identity(name: str) -> Identity:
    return Identity(type=name, usage="filesystem")


def _spread(size: int, ranges: list[tuple[float, int]]) -> ExtentMap:
    """Ranges of sectors over the volume, most of them where structures are: near its start."""
    starts = (int(place * place * (size - 64 * 512)) // 512 * 512 for place, _ in ranges)
    return ExtentMap(sorted((start, start + 512 * count) for start, (_, count) in zip(starts, ranges, strict=True)))


def _adds_up(damage: Damage, bad: ExtentMap) -> None:
    assert damage.file_bytes + damage.metadata + damage.free + damage.unknown == bad.total, damage
    assert len(damage.files) <= MOST_NAMES
    assert all(name.startswith("/") for name in damage.files)
    assert not damage.unknown or damage.notes


@pytest.mark.parametrize("name", sorted(_VOLUMES))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ranges=_RANGES)
def test_all_damage_is_accounted_for(name: str, ranges: list[tuple[float, int]]) -> None:
    volume = _VOLUMES[name]
    bad = _spread(volume.size, ranges)
    _adds_up(owners(volume, _identity(name), bad), bad)


@pytest.mark.parametrize("name", sorted(_VOLUMES))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ranges=_RANGES, flips=st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), max_size=8))
def test_a_hostile_volume_is_borne(name: str, ranges: list[tuple[float, int]], flips: list[tuple[int, int]]) -> None:
    volume = _VOLUMES[name].copy()
    for place, value in flips:
        volume.write(bytes([value]), place % volume.size)
    bad = _spread(volume.size, ranges)
    _adds_up(owners(volume, _identity(name), bad), bad)


@pytest.mark.parametrize("name", sorted(_VOLUMES))
def test_a_volume_of_which_all_is_bad_costs_what_cannot_be_told(name: str) -> None:
    size = _VOLUMES[name].size
    damage = owners(_VOLUMES[name], _identity(name), ExtentMap([(0, size)]))
    assert (damage.files, damage.unknown) == ((), size)
    assert damage.notes


def test_nothing_bad_costs_nothing_and_is_not_looked_for() -> None:
    volume = _VOLUMES["ext4"].copy()
    volume.reads.clear()
    assert owners(volume, _identity("ext4"), ExtentMap([(volume.size, volume.size + 512)])) == Damage()
    assert not volume.reads


@pytest.mark.parametrize("kind", ["", "crypto_LUKS", "f2fs"])
def test_what_cannot_be_told_is_unknown(kind: str) -> None:
    damage = owners(BytesSource(bytes(8192)), _identity(kind), ExtentMap([(0, 512)]))
    assert (damage.unknown, damage.files, len(damage.notes)) == (512, (), 1)


class _Failing(SparseVolume):
    """A volume that cannot be read behind some byte."""

    broken_from = 0

    def pread(self, length: int, offset: int) -> bytes:
        """See Source."""
        if offset + length > self.broken_from:
            raise SourceReadError("no", offset, length) from OSError(errno.EIO, "Input/output error")
        return super().pread(length, offset)


def test_a_disk_that_fails_meanwhile_is_said() -> None:
    volume = _Failing(1 << 20)
    damage = owners(volume, _identity("ext4"), ExtentMap([(0, 512)]))
    assert MORE_FAILED in damage.notes
    assert damage.unknown == 512


def test_an_unreadable_place_that_was_not_known_reads_as_zeros() -> None:
    volume = _Failing(1 << 20)
    volume.write(b"x" * 512, 0)
    volume.broken_from = 4096
    lenient = LenientSource(volume, ExtentMap([(512, 1024)]))
    assert lenient.pread(1536, 0) == b"x" * 512 + bytes(1024)
    assert not lenient.failed
    assert lenient.pread(512, 8192) == bytes(512)
    assert lenient.failed


def test_a_witness_notes_only_what_is_bad() -> None:
    witness = Witness(100, ExtentMap([(10, 20), (30, 40)]))
    assert witness.pread(5, 0) == bytes(5)
    assert witness.touches.count == 0
    buffer = memoryview(bytearray(b"x" * 20))
    witness.pread_into(buffer, 15)
    assert bytes(buffer) == bytes(20)
    assert witness.touches.extents == ExtentMap([(15, 20), (30, 35)])
    for _ in range(200_001):
        witness.touches.note(12, 13)
    assert witness.touches.count == 200_003
    assert witness.touches.extents == ExtentMap([(12, 13), (15, 20), (30, 35)])
