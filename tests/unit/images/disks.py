"""Small disks in memory and images of them, written by the real capture."""

from __future__ import annotations

import datetime
import io
import random
import struct
from contextlib import nullcontext
from functools import lru_cache
from pathlib import Path

import msgspec

from rescue.devices.table import read_layout
from rescue.engine.capture import Capture, CaptureResult
from rescue.engine.making import Making, Plain
from rescue.images.chain import Chain
from rescue.images.format import Kind
from rescue.images.secrets import NO_SECRETS
from rescue.model.disk import Disk
from rescue.model.extents import ExtentMap
from rescue.model.layout import Layout
from rescue.model.progress import CancelToken
from rescue.model.source import BytesSource
from rescue.model.volume import Identity, Volume
from rescue.units import KIB, MIB

CREATED = datetime.datetime(2026, 11, 22, 12, 0, tzinfo=datetime.UTC)


class SmallDisk(msgspec.Struct, frozen=True):
    """Content, what of it is allocated, and how it is described."""

    content: bytes
    layout: Layout
    volumes: tuple[tuple[Volume, ExtentMap], ...]

    @property
    def kept(self) -> bytes:
        """The disk as an image must give it back: unallocated bytes as zeros."""
        allocated = self.layout.gaps
        for _, extents in self.volumes:
            allocated = allocated.union(extents)
        out = bytearray(len(self.content))
        for start, end in allocated:
            out[start:end] = self.content[start:end]
        return bytes(out)


def text_like(generator: random.Random, length: int) -> bytes:
    """Bytes that compress, but not to nothing."""
    words = [generator.randbytes(generator.randint(2, 9)) for _ in range(300)]
    found: list[bytes] = []
    left = length
    bits = generator.getrandbits
    while left > 0:
        # As Random.choice does, without its calls: megabytes are made of this.
        number = bits(9)
        if number < 300:
            word = words[number]
            found.append(word)
            left -= len(word)
    return b"".join(found)[:length]


@lru_cache(maxsize=8)
def small_disk(seed: int = 1, size: int = 24 * MIB, unit: int = MIB) -> SmallDisk:
    """Two partitions (one at an odd sector, one aligned) with text, noise, zeros and free space full of old noise.

    The first has 5 ``unit`` bytes; the other all but one of those at the end.
    """
    generator = random.Random(seed)
    content = bytearray(generator.randbytes(size))
    first = (63 * 512, 5 * unit + 512)
    second = (6 * unit, size - unit)
    lengths = [max(length * unit // MIB // 512 * 512, 4 * KIB) for length in (4 * KIB, 64 * KIB, 700 * KIB, 3 * MIB)]
    content[512 : first[0]] = bytes(first[0] - 512)
    content[first[1] : second[0]] = bytes(second[0] - first[1])
    volumes = []
    for number, (start, end) in enumerate((first, second), 1):
        extents = []
        position = start
        while position < end:
            length = min(generator.choice(lengths), end - position)
            match generator.randrange(4):
                case 0:
                    content[position : position + length] = text_like(generator, length)
                    extents.append((position, position + length))
                case 1:
                    content[position : position + length] = bytes(length)
                    extents.append((position, position + length))
                case 2:
                    extents.append((position, position + length))
                case _:
                    pass  # free space, full of what was there before
            position += length
        kept = ExtentMap(extents)
        identity = Identity("ext4", "filesystem", f"volume {number}")
        volumes.append((Volume(number, start, end, identity, kept.total), kept))
    content[:512] = bytes(512)
    content[440:444] = b"\xcd\xab\x34\x12"
    for entry, (start, end) in enumerate((first, second)):
        struct.pack_into("<B3xB3xII", content, 446 + 16 * entry, 0, 0x83, start // 512, (end - start) // 512)
    content[510:512] = b"\x55\xaa"
    layout = read_layout(BytesSource(content), 512)
    assert [(p.start, p.end) for p in layout.partitions] == [first, second]
    return SmallDisk(bytes(content), layout, tuple(volumes))


def write_image(disk: SmallDisk, path: Path, kind: Kind = Kind.FULL, parent: Path | None = None) -> CaptureResult:
    """Capture the disk into a file, upon ``parent`` where the image is not full."""
    output = io.BytesIO()
    making = Making(kind=kind, parent=str(parent or ""), level=3, comment="a comment", host="host")
    description = Disk("disk", len(disk.content), is_file=True)
    with Chain(parent) if parent else nullcontext() as chain:
        capture = Capture(BytesSource(disk.content), description, disk.layout, disk.volumes, making, chain)
        result = capture.run(
            Plain(output.write), NO_SECRETS, CREATED, CancelToken(), lambda done, total: None, lambda message: None
        )
    path.write_bytes(output.getvalue())
    return result
