"""What resize2fs forgets: it gives a folder the present time when an inode that it names gets another number.

lib/ext2fs, resize/resize2fs.c (``check_and_change_inodes``). On a strong shrink that is most folders.
"""

from __future__ import annotations

import tempfile
import zlib
from array import array
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from rescue.errors import FormatError, ProgramError, UnsupportedError
from rescue.filesystems.files.ext_tree import ExtTree
from rescue.filesystems.files.tree import Entry
from rescue.records import replace
from rescue.system.blockfile import FileSource
from rescue.system.process import watch

_SECOND: Final = 10**9
_AT_ONCE: Final = 20_000  # folders: debugfs says each of its commands again, all of which is kept


class _Folder(msgspec.Struct, frozen=True):
    number: int  # of its inode
    names: int  # a checksum of what is in it
    modified: int  # nanoseconds
    precise: bool  # whether its inode has room for parts of a second: else attributes may be at that place


@contextmanager
def folder_times_kept(path: str, check: Callable[[], None]) -> Iterator[None]:
    """Put back the times of modification of all folders of the ext on ``path`` behind what is done in the context.

    Names stay in their order, so folders are found again by their places in a walk. ``check`` is called often. Raises
    ProgramError when the folders are not the same ones, or when debugfs fails.
    """
    times, names = array("q"), array("L")
    for folder in _folders(path, check):
        times.append(folder.modified)
        names.append(folder.names)
    yield
    wrong: list[_Folder] = []
    count = 0
    for folder in _folders(path, check):
        if count >= len(times) or folder.names != names[count]:
            raise ProgramError("The folders are not what they were before resize2fs.")
        if folder.modified != times[count]:
            wrong.append(replace(folder, modified=times[count]))
        count += 1
    if count != len(times):
        raise ProgramError(f"There were {len(times)} folders before resize2fs, and there are {count}.")
    if wrong:
        _set_times(path, wrong, check)


def _folders(path: str, check: Callable[[], None]) -> Iterator[_Folder]:
    """All folders, breadth first. None of a file system with features that are not known, which keeps its new times."""
    with FileSource(path) as source:
        try:
            tree = ExtTree(source)
        except UnsupportedError:
            return
        root = tree.root().inode
        pending = deque([root])
        seen = {root}
        while pending:
            check()
            folder = tree.load("", "", pending.popleft())
            sum_of_names = 0
            for name, below in _below(tree, folder):
                sum_of_names = zlib.crc32(name.encode("utf-8", "surrogateescape") + b"/", sum_of_names)
                if below is not None and below.inode not in seen:
                    seen.add(below.inode)
                    pending.append(below.inode)
            yield _Folder(folder.inode, sum_of_names, folder.modified, tree.keeps_nanoseconds(folder))


def _below(tree: ExtTree, folder: Entry) -> Iterator[tuple[str, Entry | None]]:
    """Names in a folder, and the folders among them. A damaged folder ends where the damage begins, each time."""
    try:
        yield from tree.folders(folder)
    except FormatError:
        return


def _set_times(path: str, wanted: list[_Folder], check: Callable[[], None]) -> None:
    """Give folders their times with debugfs, which keeps the checksums right. Raises ProgramError."""
    for first in range(0, len(wanted), _AT_ONCE):
        part = wanted[first : first + _AT_ONCE]
        with tempfile.TemporaryDirectory(prefix="rescue-") as name:
            script = Path(name) / "times"
            script.write_text("".join(map(_commands, part)))
            code, said = watch(["debugfs", "-w", "-f", str(script), path], lambda _text: check())
        with FileSource(path) as source:
            tree = ExtTree(source)
            if code or any(tree.load("", "", folder.number).modified != folder.modified for folder in part):
                last = (said.strip().splitlines() or ["it said nothing"])[-1][:300]
                raise ProgramError(f"debugfs did not set the times of folders (exit code {code}): {last}")


def _commands(folder: _Folder) -> str:
    seconds, rest = divmod(folder.modified, _SECOND)
    # By halves: some versions of debugfs write the upper half with the lower one, whether there is room for it or not.
    said = f"set_inode_field <{folder.number}> mtime_lo {seconds % 2**32}\n"
    if folder.precise:
        # The nanoseconds, and the bits of the seconds beyond 32.
        said += f"set_inode_field <{folder.number}> mtime_hi {rest << 2 | _epoch(seconds)}\n"
    return said


def _epoch(seconds: int) -> int:
    """What the two bits in the extra field add to the 32 signed ones (fs/ext4/ext4.h, ext4_encode_extra_time)."""
    low = (seconds + 2**31) % 2**32 - 2**31
    return seconds - low >> 32 & 3
