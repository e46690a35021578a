"""``python -m bench.mix``: does zstd find the generated disk as hard as the one that the goals were measured on?

Sizes are those of all used data at several levels and windows. Speeds are of one thread, in CPU time, and divided by
that of BLAKE3 on the same data, so that they do not depend on the machine. Takes about two minutes.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import zstandard
from blake3 import blake3

from bench.chunks import stretches
from bench.disk import DISK
from rescue.units import MIB


@dataclass(frozen=True, slots=True)
class Setting:
    """A zstd level, and the bytes of plain data that are compressed together."""

    level: int
    window: int


@dataclass(frozen=True, slots=True)
class Numbers:
    """What describes the content of a disk: bytes after compression, and speeds as fractions of that of BLAKE3."""

    sizes: dict[Setting, int]
    compress: float
    decompress: float


MAIN: Final = Setting(3, 4 * MIB)
REFERENCE: Final = Numbers(
    {
        MAIN: 3_845_900_000,
        Setting(1, MIB): 4_009_000_000,
        Setting(3, MIB): 3_886_300_000,
        Setting(5, MIB): 3_841_800_000,
        Setting(3, 16 * MIB): 3_831_800_000,
    },
    compress=577 / 6600,
    decompress=2600 / 6600,
)
_ROUNDS: Final = 3
_TIMED: Final = 4  # one piece in so many is also timed
_LARGEST: Final = max(setting.window for setting in REFERENCE.sizes)


def _joined(pieces: Iterable[memoryview]) -> Iterator[memoryview]:
    """The same bytes in pieces of the largest window."""
    pending = bytearray()
    for piece in pieces:
        pending += piece
        while len(pending) >= _LARGEST:
            yield memoryview(bytes(pending[:_LARGEST]))
            del pending[:_LARGEST]
    if pending:
        yield memoryview(bytes(pending))


def _least(work: Callable[[bytes | memoryview], object], data: bytes | memoryview) -> float:
    """CPU seconds of the quickest of a few rounds."""
    seconds = []
    for _ in range(_ROUNDS):
        began = time.thread_time()
        work(data)
        seconds.append(time.thread_time() - began)
    return min(seconds)


def measure(pieces: Iterable[memoryview]) -> tuple[int, Numbers]:
    """How many bytes of data there are, and their numbers."""
    compressors = {setting: zstandard.ZstdCompressor(level=setting.level) for setting in REFERENCE.sizes}
    decompressor = zstandard.ZstdDecompressor()
    sizes = dict.fromkeys(REFERENCE.sizes, 0)
    plain, timed, compress, decompress, digest = 0, 0, 0.0, 0.0, 0.0
    for number, data in enumerate(_joined(pieces)):
        plain += len(data)
        for setting, compressor in compressors.items():
            cuts = [data[at : at + setting.window] for at in range(0, len(data), setting.window)]
            frames = [compressor.compress(cut) for cut in cuts]
            sizes[setting] += sum(map(len, frames))
            if setting == MAIN and number % _TIMED == 0:
                timed += len(data)
                for cut, frame in zip(cuts, frames, strict=True):
                    compress += _least(compressor.compress, cut)
                    decompress += _least(decompressor.decompress, frame)
                    digest += _least(lambda plain: blake3(plain).digest(), cut)
    print(f"{timed / compress / 1e6:.0f} {timed / decompress / 1e6:.0f} {timed / digest / 1e6:.0f} MB/s", file=sys.stderr)
    return plain, Numbers(sizes, digest / compress, digest / decompress)


def report(plain: int, ours: Numbers, reference: Numbers = REFERENCE) -> str:
    """A table: reference, ours, the difference."""
    lines = [f"{plain / 1e6:,.1f} MB of used data", f"{'':34}{'reference':>11}{'this disk':>11}"]
    for setting, size in reference.sizes.items():
        name = f"MB at level {setting.level}, windows of {setting.window // MIB} MiB"
        here = ours.sizes[setting]
        lines.append(f"{name:34}{size / 1e6:11,.1f}{here / 1e6:11,.1f} {here / size - 1:+.2%}")
    for name, wanted, found in (
        ("compression : BLAKE3", reference.compress, ours.compress),
        ("decompression : BLAKE3", reference.decompress, ours.decompress),
    ):
        lines.append(f"{name:34}{wanted:11.4f}{found:11.4f} {found / wanted - 1:+.2%}")
    return "\n".join(lines)


def main() -> int:
    """Measure the generated disk, or the disk file that is named."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else DISK
    if not path.exists():
        sys.exit("There is no disk yet: run python -m bench.make_disk.")
    print(report(*measure(data for _, data in stretches(path))))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
