"""What stands in the way of another size of a partition, as far as what it holds tells."""

from __future__ import annotations

from typing import Final

from rescue.errors import RefusedError
from rescue.filesystems.btrfs import MANY_DEVICES
from rescue.model.layout import Partition
from rescue.planning.partition_draft import Draft, what_of
from rescue.planning.words import content_words
from rescue.units import MIB, human_size

SHRINKABLE: Final = frozenset({"ext2", "ext3", "ext4", "ntfs", "btrfs", "swap"})
GROWABLE: Final = SHRINKABLE | {"ext4dev", "xfs", "f2fs", "crypto_LUKS", "LVM2_member"}
_BTRFS_LEAST: Final = 256 * MIB  # btrfs_ioctl_resize (fs/btrfs/ioctl.c) takes no smaller size, whether it shrinks or grows


def refuse_unlikely(draft: Draft, old: Partition, new: Partition) -> None:
    """Raise RefusedError when the system has no way to give what is in ``old`` the size of ``new``, whatever it takes."""
    volume = draft.contents.get(old.start) if old.kind != "extended" else None
    if volume is None or new.end == old.end:
        return
    what = what_of(draft, old)
    if volume.whole_because == MANY_DEVICES:
        raise spread_error(what)
    if volume.identity.type == "btrfs" and new.size < _BTRFS_LEAST:
        raise RefusedError(
            f"{what} cannot get {human_size(new.size)}: Linux gives a btrfs no size below {human_size(_BTRFS_LEAST)}.",
            "Give it more, or format it anew.",
        )


def refuse_smaller(draft: Draft, old: Partition, new: Partition) -> None:
    """Raise RefusedError when what is in ``old`` cannot be made as small as ``new``, as far as that is known."""
    if old.kind == "extended":
        return
    volume = draft.contents.get(old.start)
    what = what_of(draft, old)
    kind = volume.identity.type if volume else ""
    if volume is None and old.start in draft.added:
        raise RefusedError(f"{what} comes back with what is in it, and that is not known yet.", "Apply what is pending first.")
    if not kind:
        raise RefusedError(
            f"{what} cannot be made smaller: nothing that is known is in it, so that nobody can tell which of its bytes count.",
            f"If it is empty, delete it and create a smaller one: 'delete {old.number}' 'create size=…'.",
        )
    if kind not in SHRINKABLE:
        inside = " What is encrypted in it would have to get smaller first." if kind in ("crypto_LUKS", "BitLocker") else ""
        raise RefusedError(
            f"{what} cannot be made smaller: {content_words(volume.identity) if volume else kind} cannot shrink.{inside}",
            "Back the disk up and restore it, which fits it by its files"
            f"{f' (--unlock {old.number})' if kind == 'crypto_LUKS' else ''}; or delete the partition.",
        )
    if volume is not None and volume.whole_because and kind != "swap":
        raise RefusedError(f"{what} cannot be made smaller. {volume.whole_because}", "Check and repair it first.")
    if volume is not None and volume.used_bytes > new.size:
        raise RefusedError(f"{what} cannot be made as small as {human_size(new.size)}.", "Remove files first.")


def spread_error(what: str) -> RefusedError:
    """Why a btrfs of several devices is neither resized nor labelled nor copied."""
    return RefusedError(
        f"{what} holds a part of a btrfs over several devices, which cannot be resized, labelled or copied one by one.",
        "Mount it, and use its own program: btrfs filesystem resize, btrfs filesystem label.",
    )
