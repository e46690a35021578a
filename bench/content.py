"""Deterministic file content that compresses like what people keep: text, programs, packed data, pages, records, zeros."""

from __future__ import annotations

import random
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import zstandard

from bench.records import records
from rescue.units import KIB, MIB


class Kind(Enum):
    """What a file is made of."""

    TEXT = "text"
    PROGRAM = "program"
    PACKED = "packed"
    PAGES = "pages"
    RECORDS = "records"
    ZEROS = "zeros"


@dataclass(frozen=True, slots=True)
class Shape:
    """File sizes of one kind: log-normal around ``median`` bytes, never above ``largest``; ``suffix`` names them."""

    median: int
    sigma: float
    largest: int
    suffix: str


SHAPES: Mapping[Kind, Shape] = {
    Kind.TEXT: Shape(24 * KIB, 1.4, 16 * MIB, "txt"),
    Kind.PROGRAM: Shape(192 * KIB, 1.5, 96 * MIB, "so"),
    Kind.PACKED: Shape(1536 * KIB, 1.3, 256 * MIB, "jpg"),
    Kind.PAGES: Shape(24 * MIB, 0.8, 256 * MIB, "db"),
    Kind.RECORDS: Shape(2 * MIB, 1.4, 128 * MIB, "log"),
    Kind.ZEROS: Shape(8 * MIB, 0.6, 64 * MIB, "img"),
}


@dataclass(frozen=True, slots=True)
class Corpus:
    """Real text and real machine code, from which new files are pieced together."""

    text: bytes
    program: bytes


def read_corpus(tree: Path, text_limit: int = 64 * MIB, program_limit: int = 192 * MIB) -> Corpus:
    """Gather text and ELF programs from a ``.tar.zst`` of a Debian tree, every so many files so that all of it is seen."""
    text, program = bytearray(), bytearray()
    with (
        tree.open("rb") as raw,
        zstandard.ZstdDecompressor().stream_reader(raw) as plain,
        tarfile.open(fileobj=plain, mode="r|") as archive,
    ):
        for member in archive:
            if not member.isfile() or not 2 * KIB <= member.size <= 16 * MIB:
                continue
            stream = archive.extractfile(member)
            data = stream.read() if stream else b""
            if data.startswith(b"\x7fELF") and len(program) < program_limit:
                program += data[: 2 * MIB]
            elif b"\0" not in data[:4096] and not data.startswith(b"\x1f\x8b") and len(text) < text_limit:
                text += data[: 64 * KIB]
    return Corpus(bytes(text), bytes(program))


def _slices(blob: bytes, size: int, shortest: int, longest: int, rng: random.Random) -> bytes:
    """Pieces of ``blob`` from random places: as compressible as the original, but no long run appears twice."""
    pieces: list[bytes] = []
    have = 0
    while have < size:
        length = min(rng.randint(shortest, longest), size - have)
        start = rng.randrange(len(blob) - longest)
        pieces.append(blob[start : start + length])
        have += length
    return b"".join(pieces)


def _pages(size: int, rng: random.Random) -> bytes:
    """Database pages of 4 KiB: a number, some random payload, the rest empty."""
    pages: list[bytes] = []
    for number in range(0, size, 4 * KIB):
        payload = rng.randbytes(rng.randint(256, 2048))
        pages.append((number.to_bytes(8, "little") + payload).ljust(4 * KIB, b"\0"))
    return b"".join(pages)[:size]


def blocks(kind: Kind, size: int, corpus: Corpus, rng: random.Random) -> Iterator[bytes]:
    """The content of one file of ``size`` bytes, in blocks of at most 1 MiB."""
    if kind is Kind.RECORDS:
        yield from records(size, MIB, rng)
        return
    for start in range(0, size, MIB):
        length = min(MIB, size - start)
        match kind:
            case Kind.TEXT:
                yield _slices(corpus.text, length, 512, 8 * KIB, rng)
            case Kind.PROGRAM:
                yield _slices(corpus.program, length, 8 * KIB, 128 * KIB, rng)
            case Kind.PACKED:
                yield rng.randbytes(length)
            case Kind.PAGES:
                yield _pages(length, rng)
            case Kind.ZEROS:
                yield bytes(length)


def file_size(kind: Kind, rng: random.Random) -> int:
    """A size drawn from the kind's shape, in bytes."""
    shape = SHAPES[kind]
    return max(1, min(int(shape.median * rng.lognormvariate(0.0, shape.sigma)), shape.largest))


@dataclass(frozen=True, slots=True)
class Mix:
    """How many bytes of each kind a folder gets, and how many bytes of noise are written among them and deleted."""

    text: int
    program: int
    packed: int
    pages: int
    records: int
    zeros: int
    deleted: int

    def of(self, kind: Kind) -> int:
        """Bytes of one kind."""
        return int(getattr(self, kind.value))


def fill(folder: Path, mix: Mix, corpus: Corpus, seed: int) -> list[Path]:
    """Write the files of ``mix`` below ``folder``; return the noise files among them that are to be deleted.

    Kinds and noise are interleaved, so that once the noise is gone the free space is dirty and in many places.
    """
    rng = random.Random(seed)
    left: dict[Kind | None, int] = {kind: mix.of(kind) for kind in Kind} | {None: mix.deleted}
    doomed: list[Path] = []
    number = 0
    while open_kinds := [kind for kind, size in left.items() if size > 0]:
        # The kind that lacks most of its bytes is the likeliest, counted in files, not in bytes.
        weights = [left[kind] / SHAPES[kind or Kind.PACKED].median for kind in open_kinds]
        kind = rng.choices(open_kinds, weights)[0]
        size = min(file_size(kind or Kind.PACKED, rng), left[kind])
        left[kind] -= size
        where = folder / f"{number // 4000:02d}" / f"{number // 200 % 20:02d}"
        where.mkdir(parents=True, exist_ok=True)
        path = where / f"{number:06d}.{SHAPES[kind].suffix if kind else 'tmp'}"
        with path.open("wb") as out:
            for block in blocks(kind or Kind.PACKED, size, corpus, rng):
                out.write(block)
        if kind is None:
            doomed.append(path)
        number += 1
    return doomed
