"""Another label for a file system that is not mounted, by its own tool."""

from __future__ import annotations

from typing import Final

from rescue.engine.resizing import EXT, Check, settle_ext, work
from rescue.errors import DamagedError, RefusedError, UnsupportedError
from rescue.filesystems.identify import identify
from rescue.model.volume import Identity
from rescue.system.blockfile import FileSink
from rescue.system.loop import loop_device
from rescue.system.run import have

_PROGRAMS: Final = {
    **dict.fromkeys(EXT, "e2label"), "xfs": "xfs_admin", "btrfs": "btrfs", "ntfs": "ntfslabel", "vfat": "fatlabel",
    "exfat": "exfatlabel", "f2fs": "f2fslabel", "swap": "swaplabel",
}  # fmt: skip


def set_label(path: str, start: int, end: int, identity: Identity, label: str, check: Check) -> None:
    """Give the file system ``[start, end)`` of a disk or file another label, "" for none, and see that it took it.

    Needs root. Raises UnsupportedError (its program is missing), RefusedError, DamagedError, ProgramError, TargetWriteError.
    """
    kind = identity.type
    program = _PROGRAMS.get(kind)
    if program is None or not have(program):
        raise UnsupportedError(f"There is no program here that labels {kind or 'what is in it'}.")
    if kind == "f2fs" and not label:
        raise RefusedError("The label of f2fs cannot be taken away.", "Give it another one.")
    with loop_device(path, offset=start, size=end - start, writable=True) as node:
        if kind in EXT:
            settle_ext(node, check)
        work(_command(kind, node, label), check)
        with FileSink(node) as sink:
            sink.flush()
    with FileSink(path) as sink:
        sink.flush()
    found = identify(path, start, end - start)
    if found.label.casefold() != label.casefold():
        raise DamagedError(f"{kind} on {path} did not take the label {label or '(none)'}: it says {found.label or 'none'}.")


def _command(kind: str, node: str, label: str) -> list[str]:
    match kind:
        case "xfs":
            return ["xfs_admin", "-L", label or "--", node]
        case "btrfs":
            return ["btrfs", "filesystem", "label", node, label]
        case "vfat":
            return ["fatlabel", node, label] if label else ["fatlabel", "--reset", node]
        case "swap":
            return ["swaplabel", "--label", label, node]
        case "ntfs":
            return ["ntfslabel", "--force", node, label]
        case _:
            return [_PROGRAMS[kind], node, label]
