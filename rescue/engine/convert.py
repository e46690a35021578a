"""Export: the disk in an image as a virtual disk of another program's format, compared with the image before it gets its name."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from rescue.engine.exports import exported
from rescue.errors import DamagedError, ProgramError, RefusedError, TargetWriteError
from rescue.images.chain import Chain
from rescue.images.view import ImageView
from rescue.model.plan import ExportFormat
from rescue.model.progress import CancelToken
from rescue.system.blockfile import FileSource
from rescue.system.process import watch

# The name and the options that qemu-img knows each format by. A VHD gets the exact size: else it is rounded to old geometry.
_FORMATS: Final[dict[ExportFormat, tuple[str, ...]]] = {
    "raw": ("raw",),
    "qcow2": ("qcow2",),
    "vmdk": ("vmdk",),
    "vhd": ("vpc", "subformat=dynamic,force_size=on"),
    "vhdx": ("vhdx", "subformat=dynamic"),
    "vdi": ("vdi",),
}
_PERCENT: Final = re.compile(r"\((\d+\.\d+)/100%\)")
_SAME, _DIFFERENT = 0, 1


def export_disk(
    chain: Chain, file: Path, format_: ExportFormat, *, token: CancelToken, progress: Callable[[int, int], None]
) -> int:
    """Write the disk in the image to the new file, hold both against each other, give the file's size on its medium in bytes.

    Until then it is called ``FILE.partial``; that is removed when something goes wrong. Holes stay holes. ``progress`` is
    told bytes of the disk, read twice. Raises RefusedError (it exists), TargetWriteError (full), DamagedError,
    CancelledError, ProgramError.
    """
    _refuse_existing(file)
    partial = file.with_name(f"{file.name}.partial")
    size = chain.header.disk_size
    name, *options = _FORMATS[format_]

    def look(offset: int) -> Callable[[str], None]:
        def tell(said: str) -> None:
            token.check()
            if found := _PERCENT.findall(said):
                progress(offset + int(size * float(found[-1]) / 100), 2 * size)

        return tell

    progress(0, 2 * size)
    try:
        with exported(ImageView(chain)) as export:
            disk = f"nbd+unix:///?socket={export.socket}"
            shape = ["-o", *options] if options else []
            command = ["qemu-img", "convert", "-p", "-W", "-m", "4", "-f", "raw", "-O", name, *shape, disk, str(partial)]
            code, said = watch(command, look(0))
            if code and export.error is not None:
                raise export.error
            if code:
                raise _failed("convert", said, file)
            _onto_medium(partial)
            code, said = watch(["qemu-img", "compare", "-p", "-f", "raw", "-F", name, disk, str(partial)], look(size))
            if export.error is not None:
                raise export.error
        if code == _DIFFERENT:
            raise DamagedError(f"{file} does not hold the same as the image: its medium may be failing.", "Use another one.")
        if code != _SAME:
            raise _failed("compare", said, file)
        _refuse_existing(file)
        partial.rename(file)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    progress(2 * size, 2 * size)
    return file.stat().st_blocks * 512


def _refuse_existing(file: Path) -> None:
    if os.path.lexists(file):
        raise RefusedError(f"{file} exists already.", "Choose another name; nothing is overwritten.")


def _onto_medium(file: Path) -> None:
    """Write back what the kernel still holds, and forget it, so that the comparison reads the medium."""
    fd = os.open(file, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        raise TargetWriteError(f"{file} does not take data: {error.strerror}.", "Check the medium it is on.") from error
    finally:
        os.close(fd)
    with FileSource(file) as source:
        source.drop_cache()


def _failed(what: str, said: str, file: Path) -> TargetWriteError | ProgramError:
    lines = [line.strip() for line in re.split(r"[\r\n]+", said) if line.strip() and not _PERCENT.search(line)]
    why = lines[-1].removeprefix("qemu-img: ") if lines else "it said nothing"
    if "No space left on device" in said:
        return TargetWriteError(f"{file.parent} is full.", "Free some space there, or export to another place.")
    return ProgramError(f"qemu-img {what} failed for {file}: {why}")
