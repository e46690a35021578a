"""Swap space: what is kept of it, for every page size, and what is not taken for swap."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rescue.errors import FormatError
from rescue.filesystems.swap import used_map
from rescue.model.source import BytesSource
from rescue.units import KIB
from tests.unit.filesystems.volumes import bears

_SIZE = 256 * KIB


def _swap(page: int, *, size: int = _SIZE, order: str = "<", signature: bytes = b"SWAPSPACE2", version: int = 1) -> BytesSource:
    """As the kernel's union swap_header describes it."""
    data = bytearray(size)
    struct.pack_into(f"{order}III", data, 1024, version, _SIZE // page - 1, 0)
    data[page - len(signature) : page] = signature
    return BytesSource(data)


@pytest.mark.parametrize("page", [4 * KIB, 8 * KIB, 16 * KIB, 32 * KIB, 64 * KIB])
@pytest.mark.parametrize("order", ["<", ">"])
def test_only_the_header_is_kept(page: int, order: str) -> None:
    used = used_map(_swap(page, order=order))
    assert list(used.extents) == [(0, page)]
    assert not used.whole_because


def test_what_is_behind_it_is_kept() -> None:
    assert list(used_map(_swap(4096, size=_SIZE + 1000)).extents) == [(0, 4096), (_SIZE, _SIZE + 1000)]


def test_it_may_say_that_it_is_larger_than_its_partition() -> None:
    assert list(used_map(_swap(4096, size=_SIZE - 8192)).extents) == [(0, 4096)]


@pytest.mark.parametrize(
    "mark", [b"S1SUSPEND\0", b"S2SUSPEND\0", b"ULSUSPEND\0", b"LINHIB0001", b"\xed\xc3\x02\xe9\x98\x56\xe5\x0c\0\0"]
)
def test_a_hibernated_system_is_whole(mark: bytes) -> None:
    used = used_map(_swap(4096, signature=mark))
    assert used.extents.total == _SIZE
    assert used.whole_because == "It holds a hibernated system."


@pytest.mark.parametrize("source", [_swap(4096, signature=b"SWAP-SPACE"), _swap(4096, version=2), BytesSource(bytes(100))])
def test_what_is_not_known_is_refused(source: BytesSource) -> None:
    with pytest.raises(FormatError):
        used_map(source)


@settings(deadline=None)
@given(st.binary(min_size=12, max_size=12), st.integers(0, 70_000))
def test_garbage_never_crashes_it(header: bytes, size: int) -> None:
    data = bytearray(size)
    data[1024:1036] = header
    data[4086:4096] = b"SWAPSPACE2"
    bears(BytesSource(data), used_map)
