"""What an image holds in clear of what is encrypted on the disk (docs/image-format.md, section 12): to clear, and back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from rescue.errors import UnsupportedError
from rescue.model.source import Source, check_range
from rescue.records import Concealed
from rescue.system.dmcrypt import Encryption, SectorCipher, is_known
from rescue.units import align_down, align_up

MAX_CLEAR: Final = 128
_SECTORS: Final = (512, 1024, 2048, 4096)


class ClearContent(Concealed, frozen=True):
    """The bytes ``[start, end)`` of the disk are the content of the LUKS volume ``uuid``, and clear in the image.

    On the disk they are encrypted by ``cipher`` in ``mode`` with ``key`` (hex), in sectors of ``sector_size`` bytes, of which the
    first has the number ``first`` (in units of 512 bytes). Never shown: whoever has it can read the disk.
    """

    partition: int
    start: int
    end: int
    uuid: str
    cipher: str
    mode: str
    sector_size: int
    first: int
    key: str

    def __repr__(self) -> str:
        return f"ClearContent(partition {self.partition})"

    @property
    def key_bytes(self) -> bytes:
        """The volume key."""
        return bytes.fromhex(self.key)

    @property
    def encryption(self) -> Encryption:
        """How it is encrypted on the disk."""
        return Encryption(self.cipher, self.mode, self.sector_size, self.first, self.key_bytes)

    def is_sane(self, size: int, chunk: int) -> bool:
        """Whether it can be in an image of a disk of ``size`` bytes: every number is bounded by this."""
        if self.sector_size not in _SECTORS or not 0 <= self.first < 1 << 55 or len(self.key) not in (32, 48, 64, 128):
            return False
        if any(character not in "0123456789abcdef" for character in self.key) or chunk % self.sector_size:
            return False
        return 0 <= self.start < self.end <= size and (self.end - self.start) % self.sector_size == 0


def are_sane(contents: Sequence[ClearContent], size: int, chunk: int) -> bool:
    """Whether all of them are, and follow each other."""
    position = 0
    for content in contents:
        if not content.is_sane(size, chunk) or content.start < position:
            return False
        position = content.end
    return len(contents) <= MAX_CLEAR


class _Part(NamedTuple):
    start: int
    end: int
    cipher: SectorCipher


class Clear:
    """All clear contents of an image. False when there are none. Raises UnsupportedError for a cipher that is not known."""

    def __init__(self, contents: Sequence[ClearContent]) -> None:
        strange = [content for content in contents if not is_known(content.cipher, content.mode)]
        if strange:
            raise UnsupportedError(
                f"What is clear in the image is encrypted by {strange[0].cipher[:40]}-{strange[0].mode[:40]} on the disk.",
                "Use a newer version of this program.",
            )
        self._parts = [_Part(content.start, content.end, SectorCipher(content.encryption)) for content in contents]

    def __bool__(self) -> bool:
        return bool(self._parts)

    def pieces(self, start: int, end: int) -> Iterator[tuple[int, int, bool]]:
        """``[start, end)`` cut up: what is clear in the image and what is not."""
        for part in self._parts:
            low, high = max(part.start, start), min(part.end, end)
            if low >= high:
                continue
            if start < low:
                yield start, low, False
            yield low, high, True
            start = high
        if start < end:
            yield start, end, False

    def sealed(self, data: bytes | memoryview, offset: int) -> bytes | memoryview:
        """Bytes of the image (whole sectors) as they are on the disk at ``offset``."""
        if not any(clear for _, _, clear in self.pieces(offset, offset + len(data))):
            return data
        found = bytearray(data)
        view = memoryview(found)
        for low, high, clear in self.pieces(offset, offset + len(data)):
            if clear:
                part, here = self._part(low), slice(low - offset, high - offset)
                part.cipher.encrypt(memoryview(data)[here], view[here], low - part.start)
        return view

    def opened(self, disk: Source) -> Source:
        """A disk as the image holds it."""
        return _Recoded(self, disk, opens=True) if self else disk

    def on_disk(self, image: Source) -> Source:
        """What an image holds as it is on the disk."""
        return _Recoded(self, image, opens=False) if self else image

    def _part(self, offset: int) -> _Part:
        return next(part for part in self._parts if part.start <= offset < part.end)

    def recode(self, source: Source, buffer: memoryview, offset: int, *, opens: bool) -> None:
        """Fill ``buffer`` from a source: opened or sealed where the image is clear."""
        for low, high, clear in self.pieces(offset, offset + len(buffer)):
            target = buffer[low - offset : high - offset]
            if not clear:
                source.pread_into(target, low)
                continue
            part = self._part(low)
            start = part.start + align_down(low - part.start, part.cipher.sector_size)
            end = part.start + align_up(high - part.start, part.cipher.sector_size)
            code = part.cipher.decrypt if opens else part.cipher.encrypt
            content = memoryview(source.pread(end - start, start))
            if (start, end) == (low, high):
                code(content, target, start - part.start)
            else:
                whole = memoryview(bytearray(end - start))
                code(content, whole, start - part.start)
                target[:] = whole[low - start : high - start]


class _Recoded:
    """A Source whose clear or encrypted places are turned round."""

    def __init__(self, clear: Clear, source: Source, *, opens: bool) -> None:
        self._clear = clear
        self._source = source
        self._opens = opens

    @property
    def size(self) -> int:
        """Bytes."""
        return self._source.size

    def pread(self, length: int, offset: int) -> bytes:
        """See Source."""
        check_range(self.size, offset, length)
        buffer = bytearray(length)
        self.pread_into(memoryview(buffer), offset)
        return bytes(buffer)

    def pread_into(self, buffer: memoryview, offset: int) -> None:
        """See Source."""
        check_range(self.size, offset, len(buffer))
        self._clear.recode(self._source, buffer, offset, opens=self._opens)


NOTHING_CLEAR: Final = Clear(())
