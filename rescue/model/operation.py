"""What can be done to the partitions of a disk, as values. A queue of pending operations is a tuple of them."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

FileSystem: TypeAlias = Literal["ext2", "ext3", "ext4", "xfs", "btrfs", "ntfs", "vfat", "exfat", "f2fs", "swap"]


class NewTable(msgspec.Struct, frozen=True, tag_field="operation", tag="table"):
    """A new, empty partition table of this kind. Every partition is lost."""

    label: Literal["gpt", "dos"]
    id: str  # the disk's GUID, or eight hex digits


class Create(msgspec.Struct, frozen=True, tag_field="operation", tag="create"):
    """A new partition. ``start`` -1: in the largest free stretch; ``size`` 0: all that is free behind the start."""

    type: str  # GUID, or "0x83"; "extended" for an extended partition of an MBR
    uuid: str
    start: int = -1
    size: int = 0
    name: str = ""
    filesystem: FileSystem | Literal[""] = ""
    label: str = ""


class Add(msgspec.Struct, frozen=True, tag_field="operation", tag="add"):
    """A partition that is on the disk already and that the table does not name; its borders are exact."""

    type: str
    uuid: str
    start: int
    size: int
    name: str = ""


class Delete(msgspec.Struct, frozen=True, tag_field="operation", tag="delete"):
    """The partition is not in the table any more; its content is not touched."""

    number: int


class Resize(msgspec.Struct, frozen=True, tag_field="operation", tag="resize"):
    """The partition and the file system in it get another size; ``size`` 0: as large as there is room."""

    number: int
    size: int


class Move(msgspec.Struct, frozen=True, tag_field="operation", tag="move"):
    """The partition and what it holds begin elsewhere."""

    number: int
    start: int


class Format(msgspec.Struct, frozen=True, tag_field="operation", tag="format"):
    """A new, empty file system in a partition."""

    number: int
    filesystem: FileSystem
    label: str = ""


class Label(msgspec.Struct, frozen=True, tag_field="operation", tag="label"):
    """The label of the file system in a partition."""

    number: int
    label: str


class Copy(msgspec.Struct, frozen=True, tag_field="operation", tag="copy"):
    """A new partition with what another one holds. ``start`` -1: in the largest free stretch.

    ``uuid`` is the new partition's, and what the file system's own new identifier is made of.
    """

    number: int
    uuid: str
    start: int = -1


class Name(msgspec.Struct, frozen=True, tag_field="operation", tag="name"):
    """The partition's name in a GPT."""

    number: int
    name: str


class SetType(msgspec.Struct, frozen=True, tag_field="operation", tag="type"):
    """What the table says that the partition is for."""

    number: int
    type: str


class Flag(msgspec.Struct, frozen=True, tag_field="operation", tag="flag"):
    """One attribute of a partition: the bit, on or off."""

    number: int
    bit: int
    on: bool


class Convert(msgspec.Struct, frozen=True, tag_field="operation", tag="convert"):
    """The partition table becomes one of this kind; partitions stay where they are.

    ``guids`` are new ones for it: as many as it has partitions, and one more.
    """

    label: Literal["gpt", "dos"]
    guids: tuple[str, ...]


Operation: TypeAlias = NewTable | Create | Add | Delete | Resize | Move | Copy | Format | Label | Name | SetType | Flag | Convert
