"""Labelling what is in a partition, and copying it to another one."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from rescue.errors import RefusedError, UsageError
from rescue.filesystems.btrfs import MANY_DEVICES
from rescue.model.edit import CopyVolume, LabelVolume
from rescue.model.extents import Extent
from rescue.model.layout import Layout, Partition
from rescue.model.operation import Copy, FileSystem
from rescue.model.volume import Identity
from rescue.planning.new_ids import fresh
from rescue.planning.partition import partition_of
from rescue.planning.partition_draft import Draft, is_new, place_words, what_of
from rescue.planning.partition_size import spread_error
from rescue.planning.words import plain
from rescue.records import replace

# The bytes of the longest label.
_LABELS: Final[dict[FileSystem, int]] = {
    "ext2": 16, "ext3": 16, "ext4": 16, "xfs": 12, "btrfs": 255, "ntfs": 32, "vfat": 11, "exfat": 11, "f2fs": 128, "swap": 15,
}  # fmt: skip
_READABLE: Final = 250  # libblkid cuts what is longer when it is escaped, so that the label is not found again
_NOT_IN_FAT: Final = '*?.,;:/\\|+=<>[]"'  # mkfs.vfat and fatlabel
_DASH_IS_OPTION: Final = ("vfat", "exfat", "ntfs", "f2fs")  # for the tool that labels it
# What another UUID can be given to, and what must not be there twice.
_RENEWABLE: Final = ("ext2", "ext3", "ext4", "xfs", "btrfs", "ntfs", "vfat", "exfat", "swap")
_ONE_ONLY: Final = ("LVM2_member", "linux_raid_member")


def check_label(filesystem: FileSystem, label: str, *, present: bool = False) -> None:
    """Refuse what the tools of a file system do not take for its label. ``present``: it is there already, and labelled anew.

    Raises UsageError.
    """
    why = _why_no_label(filesystem, label, present=present)
    if why:
        raise UsageError(f"“{plain(label)}” cannot be the label of {filesystem}: {why}.")


def _why_no_label(filesystem: FileSystem, label: str, *, present: bool) -> str:
    longest = _LABELS[filesystem]
    if not label.isprintable() or len(label.encode()) > longest or _escaped(label) > _READABLE:
        return f"at most {longest} plain characters can"
    if label.endswith(" "):
        return "it cannot end with a space"
    if filesystem in ("vfat", "exfat") and not label.isascii():
        return "its tools take only ASCII, no accents and no other scripts"
    if filesystem == "vfat" and any(sign in label for sign in _NOT_IN_FAT):
        return f"it cannot have any of {_NOT_IN_FAT}"
    if filesystem == "vfat" and label.startswith(" "):
        return "it cannot begin with a space"
    if filesystem == "vfat" and label == "NO NAME":
        return "that says that it has none"
    if present and filesystem in _DASH_IS_OPTION and label.startswith("-"):
        return "one that is there already takes none that begins with -"
    if present and filesystem == "xfs" and (" " in label or "'" in label or label == "--"):
        return "one that is there already takes no space, no ' and not --"
    return ""


def _escaped(label: str) -> int:
    """The bytes that libblkid makes of it: four of what is neither a letter nor a digit nor one of some signs."""
    return sum(len(c.encode()) if c.isalnum() or not c.isascii() or c in "#+-.:=@_" else 4 for c in label)


def label_volume(draft: Draft, partition: Partition, label: str) -> None:
    volume = draft.contents.get(partition.start)
    filesystem = next((known for known in _LABELS if volume and known == volume.identity.type), None)
    what = what_of(draft, partition)
    if volume is None or filesystem is None:
        raise RefusedError(f"{what} holds no file system that can be labelled.", "A partition itself is named with: name N NAME")
    if volume.whole_because == MANY_DEVICES:
        raise spread_error(what)
    if volume.whole_because and filesystem != "swap":
        raise RefusedError(f"{what} cannot be labelled. {volume.whole_because}", "Check and repair it first.")
    check_label(filesystem, label, present=True)
    if filesystem == "f2fs" and not label:
        raise RefusedError("The label of f2fs cannot be taken away.", "Give it another one.")
    draft.flush()
    draft.steps.append(
        LabelVolume(
            title=f"Label what is in partition {partition.number}", target=draft.disk, start=partition.start, end=partition.end,
            identity=volume.identity, label=label,
        )
    )  # fmt: skip
    draft.changed.append(Extent(partition.start, partition.end))
    draft.sentences.append(f"{what}: label it “{plain(label)}”." if label else f"{what}: take its label away.")
    draft.contents[partition.start] = replace(volume, identity=replace(volume.identity, label=label))


def copy_partition(draft: Draft, operation: Copy, after: Layout) -> None:
    before = draft.layout
    old = partition_of(before, operation.number)
    new = next(p for p in after.partitions if p not in before.partitions and is_new(p, before))
    volume = draft.contents.get(old.start)
    identity = volume.identity if volume else Identity()
    what = what_of(draft, old)
    if volume is not None and volume.whole_because == MANY_DEVICES:
        raise spread_error(what)
    if identity.type in _ONE_ONLY:
        raise RefusedError(f"{what} cannot be copied: a system that finds two of it takes neither, or the wrong one.")
    uuid = fresh(identity.type, lambda: UUID(operation.uuid)) if identity.type in _RENEWABLE else ""
    draft.flush()  # what other operations made of the old one is to be there
    draft.steps.append(
        CopyVolume(
            title=f"Copy partition {old.number}", target=draft.disk, start=old.start, end=old.end, to=new.start,
            sector_size=before.sector_size, identity=identity, new_uuid=uuid,
        )
    )  # fmt: skip
    draft.changed.append(Extent(new.start, new.end))
    own = " The copy gets an identifier of its own." if uuid else ""
    draft.sentences.append(f"{what}: copy it to partition {new.number}, {place_words(new)}, and read the copy back.{own}")
    if identity.type and not uuid:
        draft.warnings.append(
            f"The copy of {what} keeps its identifier: a system that looks for it may find either. Leave one of them out of use."
        )
    draft.bytes += 2 * (volume.used_bytes if volume else old.size)
    draft.forget(new.start, new.end)
    if volume is not None:
        draft.contents[new.start] = replace(volume, partition=new.number, start=new.start, end=new.start + old.size)
    draft.layout = after
