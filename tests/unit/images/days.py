"""A small disk as the days pass: changed, deleted, moved content, and a chain of images of it."""

from __future__ import annotations

import importlib.util
import random
import struct
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType

from rescue.devices.table import read_layout
from rescue.engine.deploy import Deployment
from rescue.images.chain import Chain
from rescue.images.format import Kind
from rescue.model.extents import ExtentMap
from rescue.model.progress import CancelToken
from rescue.model.source import BytesSource
from rescue.model.volume import Identity, Volume
from rescue.units import KIB, MIB
from tests.unit.images.disks import SmallDisk, write_image

CHUNK = 256 * KIB
SIZE = 16 * MIB
READER = Path(__file__).parents[3] / "docs" / "read-image.py"


@lru_cache(maxsize=8)
def _noise(seed: int, length: int) -> bytes:
    return random.Random(seed).randbytes(length)


@dataclass
class Day:
    """A disk with two partitions that can be changed. Offsets are of partition 2, in chunks."""

    chunks: dict[int, bytes]
    start: int = 4 * MIB
    length: int = 10 * MIB

    def disk(self) -> SmallDisk:
        """The disk of this day: partition 1 never changes; what is free in partition 2 holds noise."""
        content = bytearray(_noise(1, SIZE))
        first = (63 * 512, 2 * MIB + 512)
        content[: first[0]] = bytes(first[0])
        content[first[1] :] = bytes(SIZE - first[1])
        end = self.start + self.length
        content[self.start : end] = _noise(self.start, self.length)
        for number, data in self.chunks.items():
            content[self.start + number * CHUNK : self.start + (number + 1) * CHUNK] = data
        content[440:444] = b"\xcd\xab\x34\x12"
        for entry, (low, high) in enumerate((first, (self.start, end))):
            struct.pack_into("<B3xB3xII", content, 446 + 16 * entry, 0, 0x83, low // 512, (high - low) // 512)
        content[510:512] = b"\x55\xaa"
        layout = read_layout(BytesSource(content), 512)
        kept = ExtentMap((self.start + n * CHUNK, self.start + (n + 1) * CHUNK) for n in sorted(self.chunks))
        volumes = (
            (Volume(1, *first, Identity("ext4", "filesystem", "one"), first[1] - first[0]), ExtentMap([first])),
            (Volume(2, self.start, end, Identity("ext4", "filesystem", "two"), kept.total), kept),
        )
        return SmallDisk(bytes(content), layout, volumes)

    def next(self, seed: int) -> Day:
        """The day after: chunks changed, deleted, zeroed, new, moved; every fifth day the partition may move."""
        chance = random.Random(seed)
        chunks = dict(self.chunks)
        for number in chance.sample(sorted(chunks), len(chunks) // 4):
            match chance.randrange(4):
                case 0:
                    chunks[number] = chance.randbytes(CHUNK)
                case 1:
                    del chunks[number]
                case 2:
                    chunks[number] = bytes(CHUNK)
                case _:
                    free = [n for n in range(self.length // CHUNK) if n not in chunks]
                    chunks[chance.choice(free)] = chunks.pop(number)
        chunks[chance.randrange(self.length // CHUNK)] = chance.randbytes(CHUNK)
        start = chance.choice((4 * MIB, 4 * MIB + 512, 5 * MIB)) if seed % 5 == 0 else self.start
        return Day(chunks, start, self.length)


def first_day(seed: int = 7) -> Day:
    """Half of the second partition is allocated."""
    chance = random.Random(seed)
    return Day({number: chance.randbytes(CHUNK) for number in chance.sample(range(10 * MIB // CHUNK), 20)})


@dataclass(frozen=True)
class Story:
    """Three days in a folder: a full image, an incremental one upon it, a differential one."""

    folder: Path
    days: tuple[Day, Day, Day]

    def path(self, day: int) -> Path:
        """The image of a day, from 0."""
        return self.folder / ("full.img.zst", "second.rimg", "third.rimg")[day]


def three_days(folder: Path) -> Story:
    """Write the images of three days."""
    folder.mkdir(exist_ok=True)
    one = first_day()
    two = one.next(1)
    story = Story(folder, (one, two, two.next(2)))
    write_image(one.disk(), story.path(0))
    write_image(two.disk(), story.path(1), Kind.INCREMENTAL, story.path(0))
    write_image(story.days[2].disk(), story.path(2), Kind.DIFFERENTIAL, story.path(0))
    return story


def restored(image: Path, target: Path, before: bytes = bytes(SIZE), delta: bool | None = False) -> int:
    """Restore onto a file that held ``before``; how many bytes were on it already."""
    target.write_bytes(before)
    with Deployment(str(image), str(target)) as deployment:
        deployment.wipe()
        deployment.write_data(CancelToken(), lambda done, total: None, delta)
        deployment.write_head()
        deployment.read_back(CancelToken(), lambda done, total: None)
        return deployment.same_bytes


def own_bytes(image: Path) -> int:
    """Bytes of the disk that are stored in the image's own file."""
    with Chain(image) as chain:
        return chain.manifest.statistics.own_bytes


def stand_alone() -> ModuleType:
    """The stand-alone reader, as a module."""
    spec = importlib.util.spec_from_file_location("read_image", READER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
