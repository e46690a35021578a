"""A bounded pipeline of threads: produce in order, work in parallel, consume in order.

Python threads serve here because reads, writes, hashing and compression all release the interpreter's lock.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from queue import SimpleQueue
from threading import BoundedSemaphore, Condition, Thread
from typing import Final, Generic, TypeVar

from rescue.units import MIB

# Each takes several buffers of a frame: memory stays bounded on a machine with a hundred cores.
_MOST_WORKERS: Final = 12
# The kernel clears a huge page whole when its first byte is used. For less than this that takes longer than it ever saves.
_MUCH: Final = 256 * MIB

T = TypeVar("T")
R = TypeVar("R")


def worker_count() -> int:
    """Threads for hashing and compressing: one for each core this process may use, as far as a disk can keep them busy."""
    return min(max(len(os.sched_getaffinity(0)), 1), _MOST_WORKERS)


def aligned_buffer(size: int, *, huge: bool) -> memoryview:
    """Writable memory that starts at a page, as direct I/O wants it; in ``huge`` pages where the kernel has them.

    Decompression goes back and forth in a whole frame: with small pages the processor keeps looking up where they are.
    """
    memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if huge:
        with suppress(OSError):
            memory.madvise(mmap.MADV_HUGEPAGE)
    return memoryview(memory)


class Buffers:
    """A fixed set of page-aligned buffers, lent and given back, so that memory stays constant.

    ``content``: bytes of the disk or image that are going to pass through them, at most.
    """

    def __init__(self, count: int, size: int, content: int) -> None:
        self._free: SimpleQueue[memoryview] = SimpleQueue()
        for _ in range(count):
            self._free.put(aligned_buffer(size, huge=content >= _MUCH))

    def lend(self) -> memoryview:
        """A free buffer; waits for one."""
        return self._free.get()

    def give_back(self, buffer: memoryview) -> None:
        """Return a buffer that was lent."""
        self._free.put(buffer)


class _Pipeline(Generic[T, R]):
    def __init__(self, work: Callable[[T], R], window: int) -> None:
        self._work = work
        self._slots = BoundedSemaphore(window)
        self._tasks: SimpleQueue[tuple[int, T] | None] = SimpleQueue()
        self._changed = Condition()
        self._results: dict[int, R] = {}
        self._produced = -1  # how many items there are; known when the producer has ended
        self._failure: BaseException | None = None

    def fail(self, error: BaseException) -> None:
        with self._changed:
            if self._failure is None:
                self._failure = error
            self._changed.notify_all()

    def produce(self, items: Iterable[T], workers: int) -> None:
        count = 0
        try:
            iterator = iter(items)
            while True:
                self._slots.acquire()
                if self._failure is not None:
                    break
                try:
                    item = next(iterator)
                except StopIteration:
                    break
                self._tasks.put((count, item))
                count += 1
        except BaseException as error:  # noqa: BLE001 - handed to the calling thread, which raises it
            self.fail(error)
        finally:
            for _ in range(workers):
                self._tasks.put(None)
            with self._changed:
                self._produced = count
                self._changed.notify_all()

    def labour(self) -> None:
        while (task := self._tasks.get()) is not None:
            if self._failure is not None:
                continue
            number, item = task
            try:
                result = self._work(item)
            except BaseException as error:  # noqa: BLE001 - handed to the calling thread, which raises it
                self.fail(error)
                continue
            with self._changed:
                self._results[number] = result
                self._changed.notify_all()

    def consume(self, consume: Callable[[R], None]) -> None:
        number = 0
        while True:
            with self._changed:
                while number not in self._results:
                    if self._failure is not None:
                        raise self._failure
                    if number == self._produced:
                        return
                    self._changed.wait()
                result = self._results.pop(number)
            consume(result)
            self._slots.release()
            number += 1

    def release_producer(self) -> None:
        # The producer may be waiting for a slot; one is enough for it to see the failure.
        try:
            self._slots.release()
        except ValueError:
            return


def run_ordered(items: Iterable[T], work: Callable[[T], R], consume: Callable[[R], None], *, workers: int, window: int) -> None:
    """Give every item to ``work`` (in ``workers`` threads) and every result to ``consume`` (here), both in order.

    ``items`` is iterated in a thread of its own, at most ``window`` items ahead of the last consumed result.
    The first exception of any of them stops all and is raised here, after the threads have ended.
    """
    pipeline: _Pipeline[T, R] = _Pipeline(work, window)
    threads = [Thread(target=pipeline.produce, args=(items, workers), name="produce", daemon=True)]
    threads += [Thread(target=pipeline.labour, name=f"work-{n}", daemon=True) for n in range(workers)]
    for thread in threads:
        thread.start()
    try:
        pipeline.consume(consume)
    except BaseException as error:
        pipeline.fail(error)
        pipeline.release_producer()
        raise
    finally:
        for thread in threads:
            thread.join()
