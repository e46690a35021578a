"""How each file system is made smaller or larger by its own tool, on a device that holds nothing else."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

from rescue.engine.btrfs_identity import as_another
from rescue.engine.checkers import check
from rescue.engine.ext_times import folder_times_kept
from rescue.errors import DamagedError, FormatError, ProgramError, TargetWriteError
from rescue.filesystems.btrfs_trees import SUPERBLOCK
from rescue.filesystems.fields import Fields
from rescue.model.volume import Identity
from rescue.system.blockfile import FileSink, FileSource
from rescue.system.loop import loop_device
from rescue.system.mounts import in_private_mounts, mounted
from rescue.system.process import watch
from rescue.system.run import run
from rescue.units import GIB, KIB, MIB, align_up

EXT: Final = ("ext2", "ext3", "ext4", "ext4dev")
CHECK_SECONDS: Final = 6 * 3600.0
Check = Callable[[], None]  # is called often while programs run; what it raises ends them

_ERROR: Final = re.compile(r"\berror\b", re.IGNORECASE)
_BALANCE: Final = (-1, 0, 40, 80)  # block groups that are filled up to so many percent are joined; first of all none
_ROOM: Final = GIB
_DEV_ITEM: Final = 201  # of the superblock
_STEPS: Final = (8.0, 4.0, 2.0, 1.5, 1.25, 1.1, 1.0)  # of the wanted size


def nothing() -> None:
    """A Check that never says stop."""


def work(arguments: Sequence[str], check: Check, *, ok: Sequence[int] = (0,)) -> str:
    """Run a program that may take hours; the end of what it said. Raises ProgramError, and what ``check`` raises."""
    code, said = watch(arguments, lambda _text: check())
    if code not in ok:
        lines = [line.strip() for line in said.replace("\r", "\n").splitlines() if line.strip()]
        # What it says of its progress may come behind the error: the two are buffered apart.
        line = next((line for line in reversed(lines) if _ERROR.search(line)), lines[-1] if lines else "it said nothing")
        told = "".join(c if c.isprintable() else "?" for c in line)[:300]
        raise ProgramError(f"{arguments[0]} failed (exit code {code}): {told}", f"The command was: {' '.join(arguments)}")
    return said


def require_sound(identity: Identity, path: str) -> None:
    """The file system's own check, which only looks. Raises DamagedError with its first complaint, ProgramError."""
    checked = check(identity.type, path, dirty=False, timeout=CHECK_SECONDS)
    if checked.problem:
        raise DamagedError(f"The file system ({identity.type}) is damaged: {checked.problem}", "Check and repair it first.")
    if not checked.done:
        raise ProgramError(f"The file system ({identity.type}) could not be checked: {checked.note}.")


def settle_ext(path: str, check: Check) -> None:
    """Replay the journal and put right what an interrupted system leaves behind by design. Raises DamagedError, ProgramError."""
    code, said = watch(["e2fsck", "-f", "-p", path], lambda _text: check())
    if code not in (0, 1):
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        told = next((line for line in lines if "UNEXPECTED INCONSISTENCY" in line or "rror" in line), lines[-1] if lines else "")
        plain = "".join(c if c.isprintable() else "?" for c in told.replace(path, "it"))[:300]
        raise DamagedError(
            f"The file system is damaged beyond what its journal repairs (e2fsck, exit code {code}): {plain}",
            "Check and repair it with e2fsck first.",
        )


def resize_ext(path: str, size: int | None, check: Check, *, in_place: bool = False) -> None:
    """Give an ext2, ext3 or ext4 that was just checked ``size`` bytes, or all of the device. Raises ProgramError.

    ``in_place``: there is no other copy, so what has begun to write is not ended by ``check``. Otherwise a failure loses
    nothing, and it is also tried below what resize2fs takes for the smallest size.
    """
    check()
    writing = nothing if in_place else check
    if size is None:
        work(["resize2fs", path], writing)
        return
    with folder_times_kept(path, writing):
        work(["resize2fs", *([] if in_place else ["-f"]), path, f"{size // KIB}K"], writing)


def resize_ntfs(path: str, size: int | None, check: Check, *, in_place: bool = False) -> None:
    """Give an NTFS ``size`` bytes, its backup boot sector included, or all of the device. Raises ProgramError.

    ``in_place`` as for :func:`resize_ext`.
    """
    check()
    writing = nothing if in_place else check
    wanted = [] if size is None else ["--size", str(size)]
    # Each --force answers one of its questions.
    work(["ntfsresize", "--force", "--force", "--no-progress-bar", *wanted, path], writing)
    # It leaves a mark that makes Windows check the volume at its next start; we have just done so, and it must be clean.
    work(["ntfsfix", "--clear-dirty", path], writing)


def flush(path: str) -> None:
    """Have a device or file write down what it was given. Raises TargetWriteError."""
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        raise TargetWriteError(
            f"{path} does not take data any more: {error.strerror}.", "Check the cable and the disk."
        ) from error
    finally:
        os.close(fd)


def onto_medium(node: str, target: str) -> None:
    """The same for a loop device over a disk or file, both of which forget it then: what is read next comes from the medium.

    Raises TargetWriteError, ProgramError.
    """
    flush(node)
    flush(target)
    with FileSource(target) as written:
        written.drop_cache()
    run(["blockdev", "--flushbufs", node])


@contextmanager
def mounted_here(path: str, driver: str, options: Sequence[str]) -> Iterator[Path]:
    """The device mounted at a folder that is made for it. Raises UnsupportedError, ProgramError."""
    with tempfile.TemporaryDirectory(prefix="rescue-") as name, mounted(path, Path(name), driver, options) as root:
        yield root


def grow_xfs(path: str, check: Check) -> None:
    """Give an xfs all of the device. Raises UnsupportedError without the kernel's driver, ProgramError."""

    def grow() -> None:
        with mounted_here(path, "xfs", ["rw", "nouuid"]) as root:
            work(["xfs_growfs", "-d", str(root)], check)

    in_private_mounts(grow)


def grow_btrfs(path: str, check: Check) -> None:
    """Give a btrfs all of the device. Raises UnsupportedError without the kernel's driver, ProgramError."""

    def grow() -> None:
        with mounted_here(path, "btrfs", ["rw"]) as root:
            work(["btrfs", "filesystem", "resize", "max", str(root)], check)

    with as_another(path):
        in_private_mounts(grow)


def shrink_btrfs(path: str, size: int, check: Check, folder: Path | None = None) -> None:
    """Give a btrfs ``size`` bytes. ``folder`` takes what finds no room for a time: only for a copy that can be lost.

    Raises UnsupportedError without the kernel's driver, ProgramError.
    """

    number = _device_number(path)

    def shrink() -> None:
        with mounted_here(path, "btrfs", ["rw"]) as root:
            try:
                _resize_btrfs(root, size, check, number)
            except ProgramError:
                # Half empty block groups take the room. New ones are the smaller, the smaller the file system is by then.
                _compact_btrfs(root, size, check, number)
                try:
                    _resize_btrfs(root, size, check, number)
                except ProgramError:
                    if folder is None:
                        raise
                    with _more_room(path, root, folder, check):
                        _resize_btrfs(root, size, check, number)

    with as_another(path):
        in_private_mounts(shrink)


@contextmanager
def _more_room(path: str, root: Path, folder: Path, check: Check) -> Iterator[None]:
    """Add a sparse file in ``folder`` to a mounted btrfs, and take it out again: what came to lie in it moves back.

    A block group goes elsewhere as a whole, up to a GiB of it, and one that lies across the new end leaves no room below
    for itself. With another device it finds some, and then all that is below the new end is free for it.
    """
    with tempfile.TemporaryDirectory(prefix="rescue-", dir=folder) as name:
        file = Path(name) / "room"
        with FileSource(path) as volume:
            size = align_up(max(volume.size, _ROOM), MIB)
        with file.open("wb") as made:
            made.truncate(size)
        with loop_device(str(file), offset=0, size=size, writable=True) as node:
            work(["btrfs", "device", "add", "--force", "--nodiscard", node, str(root)], check)
            yield
            work(["btrfs", "device", "remove", node, str(root)], check)


def _device_number(path: str) -> int:
    """What a btrfs calls its device: the first field of dev_item in the superblock (fs/btrfs/ctree.h)."""
    with FileSource(path) as volume:
        return int.from_bytes(volume.pread(8, SUPERBLOCK + _DEV_ITEM), "little")


def _resize_btrfs(root: Path, size: int, check: Check, device: int) -> None:
    work(["btrfs", "filesystem", "resize", f"{device}:{size}", str(root)], check)


def _compact_btrfs(root: Path, size: int, check: Check, device: int) -> None:
    """Come close to ``size`` step by step, joining half empty block groups where there is no room for a step."""
    for factor in _STEPS:
        step = align_up(int(size * factor), 64 * KIB)
        present = os.statvfs(root)
        if step >= present.f_blocks * present.f_frsize:
            continue
        for percent in _BALANCE:
            # A balance or a step that finds no room is no failure yet.
            if percent >= 0:
                filters = [f"-dusage={percent}", f"-musage={percent}"]
                watch(["btrfs", "balance", "start", *filters, str(root)], lambda _text: check())
            if not watch(["btrfs", "filesystem", "resize", f"{device}:{step}", str(root)], lambda _text: check())[0]:
                break


def resize_swap(path: str, size: int) -> None:
    """Make swap space say that it has ``size`` bytes; its UUID, label and all else stay. Raises FormatError."""
    with FileSource(path) as volume:
        for page in (4 * KIB << shift for shift in range(5)):
            if page <= volume.size and volume.pread(10, page - 10) == b"SWAPSPACE2":
                header = bytearray(volume.pread(page, 0))
                break
        else:
            raise FormatError("swap header: no page size has a signature that is known.")
    fields = Fields(header, "swap header")
    order: Literal["little", "big"] = "little" if fields.u32(1024) == 1 else "big"
    last = size // page - 1
    bad = int.from_bytes(fields.bytes(1032, 4), order)
    fields.require(last >= 10, f"{size} bytes are too few")
    fields.require(bad == 0, "it has bad pages")
    header[1028:1032] = last.to_bytes(4, order)
    with FileSink(path) as sink:
        sink.pwrite(bytes(header), 0)
        sink.flush()
