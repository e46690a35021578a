"""Whether the log of an xfs is clean: whether the last thing in it is an unmount record.

Specification: "XFS Algorithms & Data Structures", 3rd edition, "Journaling Log", and the search that the kernel does at
every mount (fs/xfs/xfs_log_recover.c: xlog_find_head, xlog_check_unmount_rec).
"""

from __future__ import annotations

from typing import NamedTuple

from rescue.model.source import Source

_BASIC_BLOCK = 512
_RECORD_MAGIC = 0xFEEDBABE
_VERSION_2 = 0x2
_HEADER_CYCLES = 32 * 1024  # bytes of a record that one header block describes
_UNMOUNT_FLAG = 0x20
# An unmount record is one operation, padded to the log stripe unit, of at most 256 KiB, behind up to 8 header blocks.
_SEARCH_BLOCKS = 512 + 16


def is_clean(log: Source) -> bool:
    """Whether there is nothing to replay in a log, given as a Source of just its bytes. Raises SourceReadError."""
    blocks = log.size // _BASIC_BLOCK
    if blocks < 2:
        return False
    first_cycle, last_cycle = _cycle(log, 0), _cycle(log, blocks - 1)
    if first_cycle == 0:
        return last_cycle == 0  # never written to: the kernel takes it as clean
    head = blocks if first_cycle == last_cycle else _find_cycle(log, blocks, last_cycle)
    newest = _record_before(log, blocks, head)
    if newest is not None and newest.end != head:
        # It is cut off, and does not count (xlog_find_verify_log_record). xfs_admin and xfs_repair leave such a log: an unmount
        # record in a new pass, in front of a pass that is full of them.
        head = newest.start
        newest = _record_before(log, blocks, head)
    return newest is not None and newest.end == head and newest.is_unmount


def _cycle(log: Source, block: int) -> int:
    """The pass over the log in which a block was written: in its first word, in the second of a record header."""
    data = log.pread(8, block * _BASIC_BLOCK)
    first = int.from_bytes(data[:4], "big")
    return int.from_bytes(data[4:], "big") if first == _RECORD_MAGIC else first


def _find_cycle(log: Source, blocks: int, last_cycle: int) -> int:
    """The first block written in the pass in which the last one was: where the newest record ends."""
    low, high = 0, blocks - 1
    while high - low > 1:
        middle = (low + high) // 2
        if _cycle(log, middle) == last_cycle:
            high = middle
        else:
            low = middle
    return high


class _Record(NamedTuple):
    """A record of the log by its blocks, half-open."""

    start: int
    end: int
    is_unmount: bool


def _record_before(log: Source, blocks: int, head: int) -> _Record | None:
    """The last record that begins before block ``head`` (0 to ``blocks``); None when none is near enough for an unmount."""
    for back in range(1, min(_SEARCH_BLOCKS, blocks) + 1):
        block = (head - back) % blocks
        header = log.pread(_BASIC_BLOCK, block * _BASIC_BLOCK)
        if int.from_bytes(header[:4], "big") != _RECORD_MAGIC:
            continue
        version, length, number, operations, size = (
            int.from_bytes(header[place : place + 4], "big") for place in (8, 12, 20, 40, 320)
        )
        if number != block:
            return None
        header_blocks = -(-size // _HEADER_CYCLES) if version & _VERSION_2 and size > _HEADER_CYCLES else 1
        end = head - back + header_blocks - (-length // _BASIC_BLOCK)
        operation = log.pread(12, (block + header_blocks) % blocks * _BASIC_BLOCK)
        return _Record(block, end, operations == 1 and bool(operation[9] & _UNMOUNT_FLAG))
    return None
