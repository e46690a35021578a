"""The content of a LUKS volume in clear, as a Source; and the other way round."""

from __future__ import annotations

from rescue.model.extents import ExtentMap
from rescue.model.source import Source, check_range
from rescue.system.dmcrypt import Encryption, SectorCipher, is_known
from rescue.units import align_down, align_up
from rescue.volumes.luks_header import LuksHeader
from rescue.volumes.placed import Placed, Window


def can_decrypt(header: LuksHeader) -> bool:
    """Whether this program knows the cipher."""
    return is_known(header.cipher, header.mode)


def encryption_of(header: LuksHeader, key: bytes) -> Encryption:
    """How the content of a volume with this header is encrypted."""
    return Encryption(header.cipher, header.mode, header.sector_size, header.first, key)


class Decrypted:
    """The content of a LUKS volume. Any thread may read. Raises UnsupportedError as SectorCipher."""

    def __init__(self, lower: Placed, header: LuksHeader, key: bytes) -> None:
        self._lower = Window(lower, header.start, header.end)
        self._cipher = SectorCipher(encryption_of(header, key))

    @property
    def size(self) -> int:
        """Bytes."""
        return self._lower.size

    def pread(self, length: int, offset: int) -> bytes:
        """See Source."""
        check_range(self.size, offset, length)
        start = align_down(offset, self._cipher.sector_size)
        end = align_up(offset + length, self._cipher.sector_size)
        clear = bytearray(end - start)
        self._cipher.decrypt(memoryview(self._lower.pread(end - start, start)), memoryview(clear), start)
        return bytes(memoryview(clear)[offset - start : offset - start + length])

    def pread_into(self, buffer: memoryview, offset: int) -> None:
        """See Source."""
        buffer[:] = self.pread(len(buffer), offset)

    def down(self, used: ExtentMap) -> ExtentMap:
        """See Placed. Whole sectors: a part of one is of no use."""
        check_range(self.size, 0, used.end)
        return self._lower.down(used.align(self._cipher.sector_size, self.size))


class Encrypted:
    """What clear content looks like on a LUKS volume; it is a multiple of the volume's sectors long. Any thread may read."""

    def __init__(self, clear: Source, header: LuksHeader, key: bytes) -> None:
        self._clear = clear
        self._cipher = SectorCipher(encryption_of(header, key))
        if clear.size % self._cipher.sector_size:
            raise ValueError(f"{clear.size} bytes are no whole sectors of {self._cipher.sector_size}")

    @property
    def size(self) -> int:
        """Bytes."""
        return self._clear.size

    def pread(self, length: int, offset: int) -> bytes:
        """See Source."""
        check_range(self.size, offset, length)
        start = align_down(offset, self._cipher.sector_size)
        end = align_up(offset + length, self._cipher.sector_size)
        secret = bytearray(end - start)
        self._cipher.encrypt(memoryview(self._clear.pread(end - start, start)), memoryview(secret), start)
        return bytes(memoryview(secret)[offset - start : offset - start + length])

    def pread_into(self, buffer: memoryview, offset: int) -> None:
        """See Source."""
        buffer[:] = self.pread(len(buffer), offset)
