"""The numbers that describe the disk's content, against what zstd itself says about a known one."""

from __future__ import annotations

import random

import zstandard

from bench.mix import MAIN, REFERENCE, Numbers, Setting, measure, report
from rescue.units import MIB


def test_sizes_are_those_of_windows_cut_from_joined_pieces() -> None:
    noise = random.Random(1).randbytes(MIB)
    # Twice the same MiB: windows of 1 MiB keep it twice, larger ones once.
    plain, numbers = measure([memoryview(noise), memoryview(noise)])
    assert plain == 2 * MIB
    assert numbers.sizes[Setting(3, MIB)] == 2 * len(zstandard.ZstdCompressor(level=3).compress(noise))
    assert numbers.sizes[MAIN] < 1.1 * MIB
    assert numbers.compress > 0
    assert numbers.decompress > 0


def test_pieces_beyond_the_largest_window_are_all_counted() -> None:
    piece = memoryview(bytes(5 * MIB))
    plain, _ = measure([piece] * 4)
    assert plain == 20 * MIB


def test_the_report_shows_each_number_beside_its_reference() -> None:
    ours = Numbers({setting: size * 11 // 10 for setting, size in REFERENCE.sizes.items()}, 0.1, 0.5)
    text = report(8_700_000_000, ours, Numbers(REFERENCE.sizes, 0.08, 0.4))
    assert "8,700.0 MB of used data" in text
    assert text.count("+10.00%") == len(REFERENCE.sizes)
    assert text.count("+25.00%") == 2
