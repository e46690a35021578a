"""What begins at a place: recognised among noise, and nothing that is written there leads astray."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rescue.filesystems.beginnings import _MAGICS, HEAD, beginning, places
from rescue.model.source import BytesSource
from rescue.units import KIB, MIB
from tests.examples import examples
from tests.unit.filesystems.volumes import SparseVolume

_NAMES = {"btrfs.xz": "btrfs"}


@pytest.mark.parametrize(("name", "kind"), _NAMES.items())
def test_a_real_one(name: str, kind: str) -> None:
    volume = SparseVolume.load(name)
    found = beginning(volume)
    assert found is not None
    assert (found.type, found.before) == (kind, 0)
    assert 0 < found.size <= volume.size
    assert 0 in list(places(volume.pread(HEAD, 0), 512, 512))


def test_places_are_at_whole_steps() -> None:
    window = bytearray(random.Random(1).randbytes(MIB + HEAD))
    for start in (0, 4 * KIB, 64 * KIB + 512, MIB - 512):
        window[start + 3 : start + 11] = b"NTFS    "
    window[7003:7011] = b"NTFS    "  # between two sectors
    window[MIB + 3 : MIB + 11] = b"NTFS    "  # behind the window
    found = set(places(bytes(window), MIB, 512))
    assert {0, 4 * KIB, 64 * KIB + 512, MIB - 512} <= found
    assert MIB not in found
    assert all(start % 512 == 0 for start in found)


def test_nothing_begins_in_zeros_or_noise() -> None:
    assert beginning(BytesSource(bytes(MIB))) is None
    for seed in range(50):
        assert beginning(BytesSource(random.Random(seed).randbytes(128 * KIB))) is None


@settings(deadline=None, max_examples=examples(400))
@given(
    st.sampled_from([*_MAGICS, (b"\x53\xef", 1024 + 56)]),
    st.binary(max_size=2 * KIB),
    st.sampled_from([512, 4 * KIB, 71 * KIB, 100 * KIB, MIB]),
    st.booleans(),
)
def test_hostile_beginnings_never_lead_astray(magic: tuple[bytes, int], noise: bytes, size: int, ones: bool) -> None:
    data = bytearray((b"\xff" if ones else b"\0") * size)
    at = 1024 if magic[1] >= 1024 else 0
    data[at : at + len(noise)] = noise
    data[510:512] = b"\x55\xaa"
    data[magic[1] : magic[1] + len(magic[0])] = magic[0]
    source = BytesSource(bytes(data[:size]))
    found = beginning(source)
    if found is not None and not found.before:
        assert 0 <= found.size <= source.size
