"""What this machine could do at best: compression, hashing and reading alone, on the disk's own content."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import blake3
import zstandard

from bench.disk import BenchDisk
from rescue.units import MIB

_WINDOW = 4 * MIB
_SAMPLES = 192


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit, in bytes of plain content a second."""

    name: str
    rate: float


def data_ranges(path: Path, begin: int = 0, stop: int | None = None) -> list[tuple[int, int]]:
    """The ranges of a sparse file, or of a part of it, that hold data, as (start, end) in bytes."""
    ranges: list[tuple[int, int]] = []
    with path.open("rb") as file:
        end, size = begin, path.stat().st_size if stop is None else stop
        while end < size:
            try:
                start = os.lseek(file.fileno(), end, os.SEEK_DATA)
            except OSError:  # ENXIO: only a hole is left
                break
            if start >= size:
                break
            end = min(os.lseek(file.fileno(), start, os.SEEK_HOLE), size)
            ranges.append((start, end))
    return ranges


def read_all(path: Path) -> tuple[int, float]:
    """Read all data of a file, which also warms the cache; bytes and seconds."""
    buffer = memoryview(bytearray(_WINDOW))
    total, began = 0, time.perf_counter()
    with path.open("rb", buffering=0) as file:
        for start, end in data_ranges(path):
            for offset in range(start, end, _WINDOW):
                total += os.preadv(file.fileno(), [buffer[: min(_WINDOW, end - offset)]], offset)
    return total, time.perf_counter() - began


def _sample(disk: BenchDisk, path: Path) -> list[bytes]:
    """Windows spread evenly over the partitions, those that are all zero left out."""
    zeros = bytes(_WINDOW)
    windows: list[bytes] = []
    total = sum(partition.size for partition in disk.partitions)
    with path.open("rb") as file:
        for partition in disk.partitions:
            count = max(1, _SAMPLES * partition.size // total)
            for number in range(count):
                data = os.pread(file.fileno(), _WINDOW, partition.start + number * (partition.size // count))
                if data != zeros[: len(data)]:
                    windows.append(data)
    return windows


def _rate(windows: list[bytes], work: Callable[[list[bytes]], object], workers: int) -> float:
    """Bytes a second when ``workers`` threads each do their share."""
    shares = [windows[number::workers] for number in range(workers)]
    with ThreadPoolExecutor(workers) as pool:
        began = time.perf_counter()
        list(pool.map(work, shares))
        return sum(map(len, windows)) / (time.perf_counter() - began)


def _compress(share: list[bytes]) -> list[bytes]:
    compressor = zstandard.ZstdCompressor(level=3)
    return [compressor.compress(window) for window in share]


def _decompress(share: list[bytes]) -> None:
    decompressor = zstandard.ZstdDecompressor()
    for frame in share:
        decompressor.decompress(frame)


def _hash(share: list[bytes]) -> None:
    for window in share:
        blake3.blake3(window).digest()


def measure(disk: BenchDisk, path: Path) -> list[Limit]:
    """Measure the limits; takes a few seconds."""
    cores = os.cpu_count() or 1
    windows = _sample(disk, path)
    plain = sum(map(len, windows))
    frames = _compress(windows)
    began = time.perf_counter()
    _decompress(frames)
    decompress = plain / (time.perf_counter() - began)
    read_all(path)
    read, seconds = read_all(path)
    return [
        Limit(f"zstd level 3, {cores} threads, windows of 4 MiB", _rate(windows, _compress, cores)),
        Limit("zstd decompression, one thread", decompress),
        Limit("BLAKE3, one thread", _rate(windows, _hash, 1)),
        Limit("reading the disk's data, warm, one thread", read / seconds),
    ]
