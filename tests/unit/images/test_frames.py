"""One stored frame and what can be wrong with it: every difference from what the index says is an error."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard
from blake3 import blake3

from rescue.errors import DamagedError
from rescue.images import frames
from rescue.images.chain import Chain
from rescue.images.format import Row, RowKind
from rescue.images.frames import FrameDecoder, FrameUse
from rescue.system.zstd import PortableDecompressor, decompressor
from rescue.units import KIB, MIB
from tests.unit.images.disks import small_disk, text_like, write_image

_CHUNK = 256 * KIB
_CONTENT = text_like(random.Random(8), 3 * _CHUNK + 1000)
_SMALL = text_like(random.Random(9), 600)


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    """Only for the names in messages."""
    path: Path = tmp_path_factory.mktemp("image") / "image"
    write_image(small_disk(2, 9 * MIB), path)
    with Chain(path) as opened:
        yield opened


@pytest.fixture(params=["system", "portable"])
def decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> FrameDecoder:
    monkeypatch.setattr(frames, "decompressor", decompressor if request.param == "system" else PortableDecompressor)
    return FrameDecoder()


def _stored(content: bytes, *, checksum: bool = True, size: bool = True) -> bytes:
    return zstandard.ZstdCompressor(level=3, write_checksum=checksum, write_content_size=size).compress(content)


def _use(content: bytes, stored: bytes, *, holes: int = 0, order: int = 1) -> FrameUse:
    """The rows of all whole and broken chunks but the first ``holes`` ones, forwards or backwards."""
    rows = [
        Row(RowKind.DATA, at, len(content[at : at + _CHUNK]), 0, at, 0, len(stored), len(content),
            blake3(content[at : at + _CHUNK]).digest())
        for at in range(holes * _CHUNK, len(content), _CHUNK)
    ]  # fmt: skip
    return FrameUse(0, 0, len(stored), len(content), tuple(rows[::order]))


def _decode(decoder: FrameDecoder, chain: Chain, use: FrameUse, stored: bytes) -> bytes:
    buffer = memoryview(bytearray(use.content + 100))
    decoder.decode(chain, use, memoryview(bytearray(stored)), buffer)
    return bytes(buffer[: use.content])


@pytest.mark.parametrize("order", [1, -1])
def test_good_frames(decoder: FrameDecoder, chain: Chain, order: int) -> None:
    stored = _stored(_CONTENT)
    assert _decode(decoder, chain, _use(_CONTENT, stored, order=order), stored) == _CONTENT
    assert _decode(decoder, chain, _use(_SMALL, _stored(_SMALL)), _stored(_SMALL)) == _SMALL


def test_every_flipped_bit_of_what_is_stored(decoder: FrameDecoder, chain: Chain) -> None:
    """Only the frame's own checksum is not looked at here: verifying compares it with its copy in the seek table."""
    stored = _stored(_SMALL)
    use = _use(_SMALL, stored)
    passed = []
    for bit in range(len(stored) * 8):
        damaged = bytearray(stored)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            assert _decode(decoder, chain, use, bytes(damaged)) == _SMALL
        except DamagedError:
            continue
        passed.append(bit)
    assert all(bit // 8 >= len(stored) - 4 for bit in passed)


@pytest.mark.parametrize("chunk", range(4))
def test_a_chunk_that_is_another_one(decoder: FrameDecoder, chain: Chain, chunk: int) -> None:
    stored = _stored(_CONTENT)
    use = _use(_CONTENT, stored)
    rows = list(use.chunks)
    rows[chunk] = rows[chunk]._replace(hash=bytes(32))
    with pytest.raises(DamagedError, match="does not match its hash"):
        _decode(decoder, chain, use._replace(chunks=tuple(rows)), stored)


def test_the_last_chunks_need_not_be_wanted(decoder: FrameDecoder, chain: Chain) -> None:
    stored = bytearray(_stored(_CONTENT))
    use = _use(_CONTENT, bytes(stored))
    assert _decode(decoder, chain, use._replace(chunks=use.chunks[:1]), bytes(stored)) == _CONTENT
    with pytest.raises(DamagedError, match="cannot be decompressed"):
        _decode(decoder, chain, use._replace(chunks=use.chunks[:1]), bytes(stored[:-5]))


@pytest.mark.parametrize("behind", [b"\x00", b"\xff" * 5, _stored(b"more"), b"\x5b\x2a\x4d\x18\x00\x00\x00\x00"])
def test_something_behind_the_frame(decoder: FrameDecoder, chain: Chain, behind: bytes) -> None:
    stored = _stored(_CONTENT) + behind
    with pytest.raises(DamagedError, match="cannot be decompressed"):
        _decode(decoder, chain, _use(_CONTENT, stored), stored)


@pytest.mark.parametrize("difference", [-1, 1])
def test_a_size_that_the_index_does_not_say(decoder: FrameDecoder, chain: Chain, difference: int) -> None:
    stored = _stored(_CONTENT)
    use = _use(_CONTENT, stored)._replace(content=len(_CONTENT) + difference, chunks=_use(_CONTENT, stored).chunks[:2])
    with pytest.raises(DamagedError, match="cannot be decompressed"):
        _decode(decoder, chain, use, stored)


@pytest.mark.parametrize(
    "stored", [_stored(_SMALL, checksum=False), _stored(_SMALL, size=False), b"", b"\x28\xb5\x2f\xfd", bytes(9)]
)
def test_frames_that_are_not_as_the_format_says(decoder: FrameDecoder, chain: Chain, stored: bytes) -> None:
    with pytest.raises(DamagedError, match="cannot be decompressed"):
        _decode(decoder, chain, _use(_SMALL, stored), stored)


def test_a_window_that_no_writer_asks_for(decoder: FrameDecoder, chain: Chain) -> None:
    """A small frame that is not single-segment and asks for 128 MiB: 4-byte size, checksum, window descriptor 27 - 10 << 3."""
    checksum = _stored(_SMALL)[-4:]
    head = b"\x28\xb5\x2f\xfd\x84" + bytes([(27 - 10) << 3]) + len(_SMALL).to_bytes(4, "little")
    block = (len(_SMALL) << 3 | 1).to_bytes(3, "little") + _SMALL
    stored = head + block + checksum
    with pytest.raises(DamagedError, match="cannot be decompressed"):
        _decode(decoder, chain, _use(_SMALL, stored), stored)
    modest = stored[:5] + bytes([(24 - 10) << 3]) + stored[6:]
    assert _decode(decoder, chain, _use(_SMALL, modest), modest) == _SMALL
