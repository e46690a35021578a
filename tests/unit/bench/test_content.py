"""The generated files: as many bytes as the mix says, the same every time, and as compressible as they claim."""

from __future__ import annotations

import hashlib
import random
import zlib
from pathlib import Path

from bench.content import Corpus, Kind, Mix, blocks, fill
from bench.records import records
from rescue.units import KIB, MIB

CORPUS = Corpus(text=b"".join(b"line %d of some text\n" % n for n in range(20_000)), program=random.Random(7).randbytes(1 * MIB))
MIX = Mix(
    text=300 * KIB, program=200 * KIB, packed=100 * KIB, pages=64 * KIB, records=80 * KIB, zeros=32 * KIB, deleted=150 * KIB
)


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_each_kind_gets_exactly_its_bytes_and_the_noise_is_listed(tmp_path: Path) -> None:
    doomed = fill(tmp_path, MIX, CORPUS, seed=1)

    def total(suffix: str) -> int:
        return sum(path.stat().st_size for path in tmp_path.rglob(f"*.{suffix}"))

    assert [total(suffix) for suffix in ("txt", "so", "jpg", "db", "log", "img", "tmp")] == [
        *(MIX.text, MIX.program, MIX.packed, MIX.pages, MIX.records, MIX.zeros, MIX.deleted)
    ]
    assert sorted(doomed) == sorted(tmp_path.rglob("*.tmp"))


def test_one_seed_gives_one_content_and_another_seed_another(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        fill(tmp_path / name, MIX, CORPUS, seed)
    first, again, other = (digests(tmp_path / name) for name in ("a", "b", "c"))
    assert first == again
    assert first != other


def test_kinds_compress_as_their_names_say() -> None:
    def ratio(kind: Kind) -> float:
        data = b"".join(blocks(kind, MIB + 5, CORPUS, random.Random(3)))
        assert len(data) == MIB + 5
        return len(data) / len(zlib.compress(data, 1))

    assert ratio(Kind.PACKED) < 1.01
    assert ratio(Kind.PAGES) > 2
    assert ratio(Kind.TEXT) > 2
    assert ratio(Kind.RECORDS) > 5
    assert ratio(Kind.ZEROS) > 100


def test_a_file_of_records_goes_on_from_block_to_block() -> None:
    whole = b"".join(records(100_000, 100_000, random.Random(4)))
    assert b"".join(records(100_000, 1000, random.Random(4))) == whole
    assert len(whole.splitlines()) > 100


def test_every_sort_of_records_repeats_its_structure_but_not_its_content() -> None:
    for seed in range(12):
        whole = b"".join(records(256 * KIB, MIB, random.Random(seed)))
        assert 4 < len(whole) / len(zlib.compress(whole, 6)) < 25
