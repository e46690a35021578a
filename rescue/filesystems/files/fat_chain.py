"""Chains of clusters, as FAT and exFAT keep them, and the times of both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

from rescue.errors import FormatError
from rescue.filesystems.files.stored import Run


def chain_runs(
    first: int, limit: int, following: Callable[[int], int | None], place: Callable[[int], int], cluster_size: int
) -> Iterator[Run]:
    """The clusters from ``first`` on as runs, neighbours made one; at most ``limit`` clusters.

    ``following`` gives the next cluster, None at the end; both callables raise FormatError outside of the file system.
    A chain that bites its own tail ends at ``limit``, as it would be for Windows.
    """
    cluster: int | None = first
    done = 0
    start, begin, length = 0, 0, 0
    while cluster is not None and done < limit:
        where = place(cluster)
        if length and where == begin + length:
            length += cluster_size
        else:
            if length:
                yield Run(start, begin, length)
            start, begin, length = done * cluster_size, where, cluster_size
        done += 1
        cluster = following(cluster) if done < limit else None
    if length:
        yield Run(start, begin, length)


def dos_time(date: int, time: int, hundredths: int = 0, east: timedelta = timedelta()) -> int:
    """A DOS date and time in nanoseconds since 1970; 0 when it is none. ``east`` of UTC; without one it is taken for UTC."""
    try:
        moment = datetime(
            1980 + (date >> 9), date >> 5 & 15, date & 31, time >> 11, time >> 5 & 63, min(2 * (time & 31), 59), tzinfo=UTC
        )
    except ValueError:
        return 0
    return (round((moment - east).timestamp()) * 100 + min(hundredths, 199)) * 10**7


def require_length(runs: list[Run], size: int, what: str) -> None:
    """Raise FormatError when the runs are shorter than a file of ``size`` bytes."""
    if sum(run.length for run in runs) < size:
        raise FormatError(f"{what}: the chain of a file is shorter than the file.")
