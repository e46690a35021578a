"""Compare: does a disk still hold what an image of it holds?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import msgspec

from rescue.devices.table import read_layout
from rescue.engine.proof import prove
from rescue.engine.reading import read_extents
from rescue.engine.survey import map_disk
from rescue.errors import DamagedError
from rescue.images.chain import Chain
from rescue.images.frames import place
from rescue.images.secrets import NO_SECRETS, Secrets
from rescue.model.disk import Disk
from rescue.model.extents import ExtentMap
from rescue.model.progress import CancelToken
from rescue.system.blockfile import FileSource


class CompareResult(msgspec.Struct, frozen=True):
    """The bytes that were compared and are equal."""

    compared_bytes: int


def compare_with_disk(
    image_path: str,
    disk: Disk,
    secrets: Secrets = NO_SECRETS,
    *,
    token: CancelToken,
    progress: Callable[[int, int], None],
) -> CompareResult:
    """Hold every chunk of the image against the disk, unallocated bytes taken as zeros on both sides.

    Raises DamagedError that names the partitions that differ and the first difference.
    """
    with Chain(image_path, secrets) as image, FileSource(disk.path) as source:
        if source.size < image.header.disk_size:
            raise DamagedError(f"{disk.title} is smaller than the disk in {image_path}: it cannot hold the same.")
        if not disk.is_file:
            source.drop_cache()
        layout = read_layout(source, image.header.logical_sector_size)
        volumes = map_disk(disk, source, layout, image.volume_keys(secrets.volume_keys))
        content = image.clear.opened(source)
        kept = ExtentMap((volume.start, volume.end) for volume, _ in volumes).complement(source.size)
        for _, extents in volumes:
            kept = kept.union(extents)
        differing: list[int] = []

        def read(buffer: memoryview, offset: int) -> None:
            end = offset + len(buffer)
            read_extents(content, offset, end, kept.overlapping(offset, end), buffer)

        statistics = image.manifest.statistics
        expected = statistics.data_bytes + statistics.zero_bytes
        compared = prove(image.rows(), expected, image.digest, read, differing.append, token, progress)
        if differing:
            raise DamagedError(_difference(image, disk, sorted(differing)), "One of them changed since the image was made.")
        return CompareResult(compared)


def _difference(image: Chain, disk: Disk, offsets: list[int]) -> str:
    counts: Counter[str] = Counter()
    for offset in offsets:
        number = next((p.number for p in image.layout.data_partitions if p.start <= offset < p.end), 0)
        counts[f"partition {number}" if number else "outside of the partitions"] += 1
    where = ", ".join(f"{name}: {count} chunk{'s' if count > 1 else ''}" for name, count in sorted(counts.items()))
    return f"{disk.title} differs from {image.path} ({where}). The first is {place(image.layout, offsets[0])}."
