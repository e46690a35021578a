"""Operations as they are written on the command line: ``create size=10GiB type=linux fs=ext4 label=root``."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal, get_args
from uuid import UUID

from rescue.errors import UsageError
from rescue.model.layout import Layout
from rescue.model.operation import (
    Add,
    Convert,
    Copy,
    Create,
    Delete,
    FileSystem,
    Flag,
    Format,
    Label,
    Move,
    Name,
    NewTable,
    Operation,
    Resize,
    SetType,
)
from rescue.planning.words import plain
from rescue.units import parse_size

FILE_SYSTEMS: Final[tuple[str, ...]] = get_args(FileSystem)

# UEFI 2.10 §5.3.3, the Discoverable Partitions Specification, Microsoft's GPT documentation; MBR types as in fdisk.
TYPES: Final[dict[str, tuple[str, str]]] = {
    "linux": ("0FC63DAF-8483-4772-8E79-3D69D8477DE4", "0x83"),
    "swap": ("0657FD6D-A4AB-43C4-84E5-0933C84B4F4F", "0x82"),
    "efi": ("C12A7328-F81F-11D2-BA4B-00A0C93EC93B", "0xef"),
    "windows": ("EBD0A0A2-B9E5-4433-87C0-68B6B72699C7", "0x07"),
    "lvm": ("E6D6D379-F507-44C2-A23C-238F2A3DF928", "0x8e"),
    "raid": ("A19D880F-05FC-4D3B-A006-743F0F84911E", "0xfd"),
    "bios-boot": ("21686148-6449-6E6F-744E-656564454649", ""),
    "boot": ("BC13C2FF-59E6-4262-A352-B275FD6F7172", ""),
    "home": ("933AC7E1-2EB4-4F13-B844-0E14E2AEF915", ""),
    "recovery": ("DE94BBA4-06D1-4D40-A16A-BFD50179D6AC", "0x27"),
    "reserved": ("E3C9E316-0B5C-4DB8-817D-F92DF00215AE", ""),
    "fat32": ("EBD0A0A2-B9E5-4433-87C0-68B6B72699C7", "0x0c"),
    "extended": ("", "extended"),
}

# Bits of a GPT entry (UEFI 2.10 §5.3.3; Microsoft's for basic data partitions); of an MBR entry there is one.
GPT_FLAGS: Final = {"required": 0, "no-block-io": 1, "legacy-boot": 2, "read-only": 60, "hidden": 62, "no-automount": 63}
MBR_FLAGS: Final = {"active": 0}

_TABLES: Final[dict[str, Literal["gpt", "dos"]]] = {"gpt": "gpt", "mbr": "dos", "dos": "dos"}  # "dos" as fdisk and libblkid say
_UNUSED: Final = UUID(int=0)  # UEFI 2.10 table 5-6: an entry of this type is no partition
_MBR_TYPE: Final = re.compile(r"(0x)?[0-9a-fA-F]{1,2}")
_WORDS: Final = {
    "table": ("gpt|mbr", ()),
    "convert": ("gpt|mbr", ()),
    "create": ("", ("start", "size", "type", "name", "fs", "label")),
    "add": ("", ("start", "size", "type", "name")),
    "delete": ("N", ()),
    "resize": ("N", ("size",)),
    "move": ("N", ("start",)),
    "copy": ("N", ("start",)),
    "format": ("N", ("fs", "label")),
    "label": ("N LABEL", ()),
    "name": ("N NAME", ()),
    "type": ("N TYPE", ()),
    "flag": ("N FLAG=on|off", ()),
}


def parse_operation(text: str, layout: Layout, new_guid: Callable[[], str]) -> Operation:
    """One operation on a disk that has ``layout`` by then. ``new_guid`` makes identifiers. Raises UsageError."""
    if any("\ud800" <= c <= "\udfff" for c in text):  # how Python has bytes of the command line that are not UTF-8
        raise UsageError(f"“{plain(text)}” has bytes that are no text in UTF-8.")
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"“{text}” has a quotation mark without its second.") from error
    if not words or words[0] not in _WORDS:
        known = ", ".join(_WORDS)
        raise UsageError(f"“{text}” is no operation.", f"The operations are {known}.")
    word, rest = words[0], words[1:]
    if word == "flag":
        return _flag(text, rest, layout)
    bare = [part for part in rest if "=" not in part or word in ("name", "type", "label")]
    named = _named(text, word, [part for part in rest if part not in bare])
    wanted = len(_WORDS[word][0].split())
    if len(bare) != wanted:
        raise UsageError(f"“{text}” should read: {word} {_WORDS[word][0]}".rstrip() + ".")
    match word:
        case "table" | "convert":
            label = _TABLES.get(bare[0].lower())
            if label is None:
                raise UsageError(f"There is no partition table of the kind “{bare[0]}”.", "Write gpt or mbr.")
            if word == "convert":
                return Convert(label, tuple(new_guid() for _ in range(len(layout.data_partitions) + 1)))
            guid = new_guid()
            return NewTable(label, guid if label == "gpt" else guid[:8].lower())
        case "create":
            return _create(named, layout, new_guid)
        case "add":
            return Add(
                type=type_code(named.get("type", "linux"), layout),
                uuid=new_guid() if layout.label == "gpt" else "",
                start=_size(_needed(text, named, "start")),
                size=_size(_needed(text, named, "size")),
                name=named.get("name", ""),
            )
        case "delete":
            return Delete(_number(bare[0]))
        case "resize":
            return Resize(_number(bare[0]), _size(_needed(text, named, "size"), zero="max"))
        case "move":
            return Move(_number(bare[0]), _size(_needed(text, named, "start")))
        case "copy":
            return Copy(_number(bare[0]), new_guid(), _size(named["start"]) if "start" in named else -1)
        case "label":
            return Label(_number(bare[0]), bare[1])
        case "format":
            return Format(_number(bare[0]), _filesystem(_needed(text, named, "fs")), named.get("label", ""))
        case "name":
            return Name(_number(bare[0]), bare[1])
        case _:
            code = type_code(bare[1], layout)
            if code == "extended":
                raise UsageError("A partition that is there cannot become an extended one.", "Make one: create type=extended")
            return SetType(_number(bare[0]), code)


def _named(text: str, word: str, parts: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in parts:
        key, _, value = part.partition("=")
        if key not in _WORDS[word][1] or key in found:
            known = ", ".join(f"{name}=" for name in _WORDS[word][1]) or "nothing of the kind"
            raise UsageError(f"“{part}” cannot be in “{text}”.", f"{word} takes {known}.")
        found[key] = value
    return found


def _create(named: Mapping[str, str], layout: Layout, new_guid: Callable[[], str]) -> Create:
    filesystem = named.get("fs", "")
    if named.get("label") and not filesystem:
        raise UsageError("A label belongs to a file system.", "Give fs=… too, or name=… for the partition's own name.")
    usual = "swap" if filesystem == "swap" else "windows" if filesystem in ("ntfs", "exfat") else "linux"
    usual = "fat32" if filesystem == "vfat" else usual
    return Create(
        type=type_code(named.get("type", usual), layout),
        uuid=new_guid() if layout.label == "gpt" else "",
        start=_size(named["start"]) if "start" in named else -1,
        size=_size(named.get("size", "max"), zero="max"),
        name=named.get("name", ""),
        filesystem=_filesystem(filesystem) if filesystem else "",
        label=named.get("label", ""),
    )


def type_code(text: str, layout: Layout) -> str:
    """The type as the table has it: a GUID or ``0x83``. Raises UsageError for what this kind of table has not."""
    by_name = TYPES.get(text.lower())
    if by_name:
        code = by_name[0 if layout.label == "gpt" else 1]
        if not code:
            kind = "GPT" if layout.label == "gpt" else "MBR"
            raise UsageError(f"A {kind} partition table has no type “{text}”.", "Give the type's code.")
        return code
    if layout.label == "gpt":
        try:
            guid = UUID(text)
        except ValueError:
            guid = _UNUSED
        if guid != _UNUSED:
            return str(guid).upper()
    elif _MBR_TYPE.fullmatch(text) and int(text, 16) not in (0, 0x05, 0x0F, 0x85, 0xEE):
        return f"0x{int(text, 16):02x}"
    raise UsageError(f"“{text}” is no type of partition.", f"Write {', '.join(TYPES)}, or the type's code.")


def _flag(text: str, words: Sequence[str], layout: Layout) -> Flag:
    flags = GPT_FLAGS if layout.label == "gpt" else MBR_FLAGS
    name, _, state = words[1].partition("=") if len(words) == 2 else ("", "", "")
    if state not in ("on", "off"):
        raise UsageError(f"“{text}” should read: flag N FLAG=on|off.")
    if name not in flags:
        raise UsageError(f"“{name}” is no flag that this partition table has.", f"It has {', '.join(flags)}.")
    return Flag(_number(words[0]), flags[name], state == "on")


def _number(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1024:
        raise UsageError(f"“{text}” is no number of a partition.")
    return int(text)


def _size(text: str, zero: str = "") -> int:
    if zero and text == zero:
        return 0
    try:
        value = parse_size(text)
    except (ValueError, OverflowError) as error:
        raise UsageError(f"“{text}” is no size.", "Write it as 700M or 4GiB.") from error
    if value <= 0 or value >= 1 << 63:
        raise UsageError(f"“{text}” is no size that a partition can have.")
    return value


def _needed(text: str, named: Mapping[str, str], key: str) -> str:
    if key not in named:
        raise UsageError(f"“{text}” lacks {key}=….")
    return named[key]


def _filesystem(text: str) -> FileSystem:
    for known in get_args(FileSystem):
        if known == text:
            found: FileSystem = known
            return found
    raise UsageError(f"“{text}” is no file system that can be made here.", f"Write {', '.join(FILE_SYSTEMS)}.")
