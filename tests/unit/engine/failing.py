"""A disk that fails on purpose: bad sectors, sectors that give in after some tries, a cable that is pulled out."""

from __future__ import annotations

import errno
import os

from rescue.errors import SourceReadError
from rescue.model.extents import Extent, ExtentMap
from rescue.model.source import check_range


class FailingDisk:
    """A Source over bytes. Reads that touch ``bad`` fail; those that touch a sector of ``flaky`` fail that many times.

    ``precise``: an error says how far the read came, as Linux does; else it names the start of the read. ``pull_after``:
    after so many reads each one fails. ``clock`` is how many seconds its errors took.
    """

    def __init__(
        self, data: bytes, bad: ExtentMap, *, flaky: dict[int, int] | None = None, precise: bool = True, pull_after: int = 0
    ) -> None:
        self.data = data
        self.bad = bad
        self.flaky = dict(flaky or {})
        self.precise = precise
        self.pull_after = pull_after
        self.gone_as = errno.EIO
        self.reads: list[Extent] = []
        self.errors = 0
        self.clock = 0.0
        self.error_takes = 0.001

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.data)

    def pread(self, length: int, offset: int) -> bytes:
        """See Source."""
        buffer = bytearray(length)
        self.pread_into(memoryview(buffer), offset)
        return bytes(buffer)

    def pread_into(self, buffer: memoryview, offset: int) -> None:
        """See Source."""
        end = offset + len(buffer)
        check_range(self.size, offset, len(buffer))
        self.reads.append(Extent(offset, end))
        if self.pull_after and len(self.reads) > self.pull_after:
            self._fail(offset, end, self.gone_as)
        for sector, times in sorted(self.flaky.items()):
            if times > 0 and sector < end and offset < sector + 512:
                self.flaky[sector] -= 1
                self._fail(sector, end, errno.EIO)
        for where in self.bad.overlapping(offset, end):
            self._fail(where.start if self.precise else offset, end, errno.EIO)
        buffer[:] = self.data[offset:end]

    def _fail(self, offset: int, end: int, code: int) -> None:
        self.errors += 1
        self.clock += self.error_takes
        raise SourceReadError(f"byte {offset}", offset, end - offset) from OSError(code, os.strerror(code))
