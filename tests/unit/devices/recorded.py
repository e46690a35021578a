"""Recorded disks: the non-zero sectors of real partition tables, and what sfdisk said about them."""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path
from typing import Any

from rescue.model.extents import ExtentMap
from rescue.model.source import check_range

TABLES = Path(__file__).parents[2] / "data" / "tables"
NAMES = sorted(path.stem for path in TABLES.glob("*.json"))


class SparseDisk:
    """A Source and Sink of any size that holds only what is not zero."""

    def __init__(self, size: int, blocks: dict[int, bytes]) -> None:
        self.size = size
        self.sectors: dict[int, bytes] = {}
        for offset, data in blocks.items():
            self.pwrite(data, offset)

    def pread(self, length: int, offset: int) -> bytes:
        check_range(self.size, offset, length)
        first, last = offset // 512, (offset + length + 511) // 512
        data = b"".join(self.sectors.get(index, bytes(512)) for index in range(first, last))
        return data[offset - first * 512 : offset - first * 512 + length]

    def pread_into(self, buffer: memoryview, offset: int) -> None:
        buffer[:] = self.pread(len(buffer), offset)

    def pwrite(self, data: bytes | memoryview, offset: int) -> None:
        check_range(self.size, offset, len(data))
        start, end = offset - offset % 512, -(-(offset + len(data)) // 512) * 512
        old = b"".join(self.sectors.get(index, bytes(512)) for index in range(start // 512, end // 512))
        new = old[: offset - start] + bytes(data) + old[offset - start + len(data) :]
        for index in range(start // 512, end // 512):
            self.sectors[index] = new[index * 512 - start : index * 512 - start + 512]

    def resized(self, size: int) -> SparseDisk:
        """The same content in a disk of another size."""
        disk = SparseDisk(size, {})
        disk.sectors = {index: data for index, data in self.sectors.items() if index * 512 < size}
        return disk

    @property
    def content(self) -> ExtentMap:
        """The sectors that are not zero."""
        return ExtentMap((i * 512, i * 512 + 512) for i, data in sorted(self.sectors.items()) if any(data))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SparseDisk):
            return NotImplemented
        kept = [{i: d for i, d in disk.sectors.items() if any(d)} for disk in (self, other)]
        return self.size == other.size and kept[0] == kept[1]

    __hash__ = None  # type: ignore[assignment]


def recorded(name: str) -> tuple[SparseDisk, int, dict[str, Any]]:
    """The disk of a case, its sector size, and sfdisk's JSON about it (empty when it saw no table)."""
    value = json.loads((TABLES / f"{name}.json").read_text())
    blocks = {int(offset): zlib.decompress(base64.b85decode(text)) for offset, text in value["blocks"].items()}
    return SparseDisk(value["size"], blocks), value["sector_size"], value["sfdisk"]
