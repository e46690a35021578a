"""Proof: the bytes of a disk held against the hashes of an image, reading in parallel."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from rescue.engine.pipeline import Buffers, run_ordered, worker_count
from rescue.images.cipher import Digest
from rescue.images.format import Row, RowKind
from rescue.model.progress import CancelToken
from rescue.units import MIB

_SPAN: Final = 16 * MIB  # of one read; not below the largest chunk


def prove(
    rows: Iterable[Row],
    total: int,
    digest: Digest,
    read: Callable[[memoryview, int], None],
    wrong: Callable[[int], None],
    token: CancelToken,
    progress: Callable[[int, int], None],
) -> int:
    """Read every DATA and ZERO row by ``read(buffer, offset)`` and compare; return the bytes that were compared.

    ``total`` is how many those are expected to be, ``digest`` the hash that is in the rows.

    ``wrong`` is told the offset of each chunk that differs (from several threads; it may raise). ``progress`` is told
    bytes read and bytes in all.
    """
    workers = 2 * worker_count()  # they mostly wait for the medium
    buffers = Buffers(workers, _SPAN, total)
    done = 0

    def spans() -> Iterator[list[Row]]:
        for span in _spans(_with_hashes(rows, digest)):
            token.check()
            yield span

    def check(span: list[Row]) -> int:
        start = span[0].start
        length = span[-1].end - start
        buffer = buffers.lend()
        try:
            read(buffer[:length], start)
            for row in span:
                if digest(buffer[row.start - start : row.end - start]) != row.hash:
                    wrong(row.start)
        finally:
            buffers.give_back(buffer)
        return length

    def count(length: int) -> None:
        nonlocal done
        token.check()
        done += length
        progress(done, max(total, done))

    progress(0, total)
    run_ordered(spans(), check, count, workers=workers, window=2 * workers)
    return done


def _with_hashes(rows: Iterable[Row], digest: Digest) -> Iterator[Row]:
    """DATA rows as they are, ZERO rows cut to the size of a read and with the hash of their zeros."""
    hashes: dict[int, bytes] = {}
    for row in rows:
        if row.kind == RowKind.DATA:
            yield row
        elif row.kind == RowKind.ZERO:
            for start in range(row.start, row.end, _SPAN):
                length = min(_SPAN, row.end - start)
                if length not in hashes:
                    hashes[length] = digest(bytes(length))
                yield Row(row.kind, start, length, hash=hashes[length])


def _spans(rows: Iterator[Row]) -> Iterator[list[Row]]:
    """Rows that follow each other on the disk, up to one buffer of them: one read each."""
    span: list[Row] = []
    for row in rows:
        if span and (row.start != span[-1].end or row.end - span[0].start > _SPAN):
            yield span
            span = []
        span.append(row)
    if span:
        yield span
