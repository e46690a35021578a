"""Little-endian fields of an on-disk structure, every access checked against the bytes that are there."""

from __future__ import annotations

from rescue.errors import FormatError


class Fields:
    """The bytes of one structure. Every getter raises FormatError, naming the structure, when it would leave them."""

    __slots__ = ("data", "what")

    def __init__(self, data: bytes | bytearray, what: str) -> None:
        self.data = data
        self.what = what

    def __len__(self) -> int:
        return len(self.data)

    def bytes(self, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes at ``offset``."""
        if offset < 0 or length < 0 or offset + length > len(self.data):
            raise FormatError(f"{self.what}: {length} bytes at offset {offset} are outside of its {len(self.data)} bytes.")
        return bytes(self.data[offset : offset + length])

    def part(self, offset: int, length: int, what: str) -> Fields:
        """A structure inside this one."""
        return Fields(self.bytes(offset, length), what)

    def u8(self, offset: int) -> int:
        """Unsigned byte."""
        return self.bytes(offset, 1)[0]

    def s8(self, offset: int) -> int:
        """Signed byte."""
        return int.from_bytes(self.bytes(offset, 1), "little", signed=True)

    def u16(self, offset: int) -> int:
        """Unsigned 16-bit integer."""
        return int.from_bytes(self.bytes(offset, 2), "little")

    def u32(self, offset: int) -> int:
        """Unsigned 32-bit integer."""
        return int.from_bytes(self.bytes(offset, 4), "little")

    def u64(self, offset: int) -> int:
        """Unsigned 64-bit integer."""
        return int.from_bytes(self.bytes(offset, 8), "little")

    def require(self, condition: bool, said: str) -> None:
        """Raise FormatError with the structure's name and what is wrong, unless ``condition`` holds."""
        if not condition:
            raise FormatError(f"{self.what}: {said}.")
