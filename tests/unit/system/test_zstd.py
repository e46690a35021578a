"""Frames decompressed in place: exactly the content, or an error, by both libraries alike."""

from __future__ import annotations

import ctypes
import random
from collections.abc import Iterator

import pytest
import zstandard

from rescue.system import zstd
from rescue.system.zstd import Decompressor, PortableDecompressor, SystemDecompressor, decompressor
from rescue.units import KIB, MIB
from tests.unit.images.disks import text_like

_LIMIT = 64 * MIB
_TEXT = text_like(random.Random(3), 700 * KIB) + bytes(300 * KIB) + random.Random(4).randbytes(200 * KIB)


def _system() -> SystemDecompressor:
    library = zstd._library("libzstd.so.1", 1_05_00)  # on Debian 12 too old to be chosen, but it must work alike
    assert library, "tests/packages.txt names zstd, which brings libzstd.so.1"
    return SystemDecompressor(library, _LIMIT)


@pytest.fixture(params=["system", "portable"])
def both(request: pytest.FixtureRequest) -> Decompressor:
    return _system() if request.param == "system" else PortableDecompressor(_LIMIT)


def _frame(content: bytes, *, level: int = 3, checksum: bool = True) -> bytearray:
    return bytearray(zstandard.ZstdCompressor(level=level, write_checksum=checksum, write_content_size=True).compress(content))


def _fill(decompressor: Decompressor, frame: bytes | bytearray, length: int) -> bytes:
    """What is made of a frame. Behind it lie bytes that no decompressor may touch."""
    memory = bytearray(b"\xaa" * (length + 64))
    counts = list(decompressor.fill(memoryview(frame), memoryview(memory)[:length]))
    assert counts == sorted(counts)
    assert counts[-1] == length
    assert memory[length:] == b"\xaa" * 64
    return bytes(memory[:length])


@pytest.mark.parametrize("level", [-5, 1, 2, 3, 7, 19])
@pytest.mark.parametrize("content", [b"x", bytes(MIB), _TEXT, _TEXT[::-1], random.Random(5).randbytes(300 * KIB)])
def test_gives_the_content(both: Decompressor, content: bytes, level: int) -> None:
    assert _fill(both, _frame(content, level=level), len(content)) == content


def test_pieces_are_right_as_soon_as_they_are_counted() -> None:
    text = _TEXT * (4 * MIB // len(_TEXT) + 1)
    memory = memoryview(bytearray(len(text)))
    done = 0
    steps = 0
    for filled in _system().fill(memoryview(_frame(text)), memory):
        assert memory[done:filled] == text[done:filled]
        done = filled
        steps += 1
    assert done == len(text)
    assert steps >= 3


def test_a_frame_may_be_read_only(both: Decompressor) -> None:
    assert _fill(both, bytes(_frame(_TEXT)), len(_TEXT)) == _TEXT


def test_works_on_after_a_damaged_frame_and_after_one_left_in_the_middle(both: Decompressor) -> None:
    frame = _frame(_TEXT)
    memory = memoryview(bytearray(len(_TEXT)))
    next(both.fill(memoryview(frame), memory))
    frame[len(frame) // 2] ^= 1
    with pytest.raises(zstandard.ZstdError):
        _fill(both, frame, len(_TEXT))
    assert _fill(both, _frame(_TEXT), len(_TEXT)) == _TEXT


@pytest.mark.parametrize("difference", [-len(_TEXT) + 1, -128 * KIB, -1, 1, 128 * KIB])
def test_another_size_than_the_frame_has(both: Decompressor, difference: int) -> None:
    with pytest.raises(zstandard.ZstdError):
        _fill(both, _frame(_TEXT), len(_TEXT) + difference)


@pytest.mark.parametrize(
    "behind",
    [
        b"\x00",
        bytes(8),
        b"junk",
        bytes(_frame(b"more")),
        bytes(_frame(b"")),
        b"\x5b\x2a\x4d\x18\x00\x00\x00\x00",
        bytes(300 * KIB),
    ],
)
@pytest.mark.parametrize("content", [b"x", _TEXT])
def test_something_behind_the_frame(both: Decompressor, content: bytes, behind: bytes) -> None:
    with pytest.raises(zstandard.ZstdError):
        _fill(both, _frame(content) + behind, len(content))


@pytest.mark.parametrize("missing", [1, 4, 5, 100 * KIB])
def test_a_frame_that_is_cut_off(both: Decompressor, missing: int) -> None:
    with pytest.raises(zstandard.ZstdError):
        _fill(both, _frame(_TEXT)[:-missing], len(_TEXT))


@pytest.mark.parametrize("length", [1, 4, 5, 6, 9])
def test_hardly_any_frame(both: Decompressor, length: int) -> None:
    with pytest.raises(zstandard.ZstdError):
        _fill(both, _frame(_TEXT)[:length], len(_TEXT))


@pytest.mark.parametrize("content", [b"abcabcabcabc" * 20 + bytes(50), random.Random(6).randbytes(120)])
def test_every_flipped_bit_is_found_or_changes_nothing(both: Decompressor, content: bytes) -> None:
    """Bits that say how it is decompressed may be without effect; the checksum, at the end, never is."""
    good = _frame(content)
    for bit in range(len(good) * 8):
        frame = bytearray(good)
        frame[bit // 8] ^= 1 << bit % 8
        try:
            assert _fill(both, frame, len(content)) == content
        except zstandard.ZstdError:
            continue
        assert bit // 8 < len(good) - 4


def _endless(blocks: int) -> Iterator[bytes]:
    """A frame that says it holds 8 MiB and goes on: RLE blocks of 128 KiB in four bytes each."""
    yield b"\x28\xb5\x2f\xfd\x80\x38" + (8 * MIB).to_bytes(4, "little")
    yield (128 * KIB << 3 | 2).to_bytes(3, "little").ljust(4, b"\x00") * blocks


@pytest.mark.parametrize("blocks", [63, 64, 65, 100_000])
def test_a_frame_that_never_ends_writes_nowhere_else(both: Decompressor, blocks: int) -> None:
    with pytest.raises(zstandard.ZstdError):
        _fill(both, b"".join(_endless(blocks)), 8 * MIB)


def test_what_is_there_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    found = zstd._library.__wrapped__
    monkeypatch.setattr(zstd, "_bundled", lambda: None)
    monkeypatch.setattr(zstd, "_library", lambda: found("libzstd.so.1", 1_05_00))
    assert isinstance(decompressor(_LIMIT), SystemDecompressor)


@pytest.mark.parametrize("name", ["libthere-is-none.so.1", "libc.so.6"])
def test_a_library_that_is_missing_or_cannot_do_it(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    found = zstd._library.__wrapped__
    monkeypatch.setattr(zstd, "_bundled", lambda: None)
    monkeypatch.setattr(zstd, "_library", lambda: found(name))
    assert isinstance(decompressor(_LIMIT), PortableDecompressor)


def test_the_library_of_python_zstandard_is_found_and_ignores_checksums() -> None:
    library = zstd._bundled()
    assert library is not None
    frame = _frame(_TEXT)
    frame[-1] ^= 1
    assert _fill(decompressor(_LIMIT), frame, len(_TEXT)) == _TEXT
    with pytest.raises(zstandard.ZstdError):
        _fill(SystemDecompressor(library, _LIMIT), frame, len(_TEXT))


def test_a_library_that_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    found = zstd._library.__wrapped__
    monkeypatch.setattr(zstd, "_bundled", lambda: None)
    monkeypatch.setattr(zstd, "_library", lambda: found("libzstd.so.1", 1_99_00))
    assert isinstance(decompressor(_LIMIT), PortableDecompressor)


def test_too_little_memory_for_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    class Empty:
        def __getattr__(self, name: str) -> object:
            return lambda *_: None

    library: ctypes.CDLL = Empty()  # type: ignore[assignment]
    with pytest.raises(MemoryError):
        SystemDecompressor(library, _LIMIT)
