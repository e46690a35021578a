"""How disks, partitions and volumes are named to people. Text from disks and images is shown, never trusted."""

from __future__ import annotations

from collections.abc import Sequence

from rescue.model.disk import Disk
from rescue.model.layout import IMAGED_WHOLE, Layout, Partition
from rescue.model.nested import whole_parts
from rescue.model.survey import DiskSurvey
from rescue.model.volume import Identity, Nested, Volume
from rescue.units import human_size

# libblkid's words that people would not use.
_CONTENT = {
    "vfat": "FAT",
    "exfat": "exFAT",
    "ntfs": "NTFS",
    "hfsplus": "HFS+",
    "apfs": "APFS",
    "crypto_LUKS": "LUKS (encrypted)",
    "BitLocker": "BitLocker (encrypted)",
    "LVM2_member": "LVM",
    "linux_raid_member": "RAID member",
    "isw_raid_member": "RAID member",
    "zfs_member": "ZFS",
    "swsuspend": "swap (hibernated system)",
}

# UEFI 2.10 §5.3.3, the Discoverable Partitions Specification, and Microsoft's GPT documentation; MBR types as in fdisk.
_ROLES = {
    "C12A7328-F81F-11D2-BA4B-00A0C93EC93B": "EFI system",
    "21686148-6449-6E6F-744E-656564454649": "BIOS boot",
    "E3C9E316-0B5C-4DB8-817D-F92DF00215AE": "Microsoft reserved",
    "DE94BBA4-06D1-4D40-A16A-BFD50179D6AC": "Windows recovery",
    "0657FD6D-A4AB-43C4-84E5-0933C84B4F4F": "Linux swap",
    "E6D6D379-F507-44C2-A23C-238F2A3DF928": "Linux LVM",
    "A19D880F-05FC-4D3B-A006-743F0F84911E": "Linux RAID",
    "0xef": "EFI system",
    "0x27": "Windows recovery",
    "0x82": "Linux swap",
    "0x8e": "Linux LVM",
    "0xfd": "Linux RAID",
}


def plain(text: str) -> str:
    """Text from a disk or an image with everything that could steer a terminal made visible as ``?``."""
    return "".join(c if c.isprintable() else "?" for c in text).strip()


def table_problems(layout: Layout) -> tuple[str, ...]:
    """What is wrong with a partition table, for those who change it: without what it means for an image."""
    return tuple(problem.removesuffix(IMAGED_WHOLE).rstrip() for problem in layout.problems)


def disk_words(disk: Disk) -> str:
    """A disk by who it is: ``/dev/sdb (Samsung T7, 931.5 GiB, serial S5XNX0)``."""
    parts = [] if disk.is_file else [plain(disk.model)]
    parts.append(human_size(disk.size))
    if disk.serial:
        parts.append(f"serial {plain(disk.serial)}")
    return f"{plain(disk.path)} ({', '.join(p for p in parts if p)})"


def content_words(identity: Identity) -> str:
    """What libblkid found, in people's words; "" when it found nothing."""
    return _CONTENT.get(identity.type, plain(identity.type))


def role_words(partition: Partition) -> str:
    """What the partition table says a partition is for, where that says more than "data"; else ""."""
    return _ROLES.get(partition.type.upper(), "") or _ROLES.get(partition.type.lower(), "")


def volume_of(partition: Partition, volumes: Sequence[Volume]) -> Volume | None:
    """The volume that a partition holds."""
    return next((v for v in volumes if v.partition == partition.number), None)


def holds_words(partition: Partition, identity: Identity | None) -> str:
    """What a partition holds, in a list: ``FAT “ESP”, EFI system``. ``identity``: of its content, where it is known."""
    if partition.kind == "extended":
        return "extended: holds the logical ones"
    content = content_words(identity) if identity else ""
    role = role_words(partition)
    label = plain((identity.label if identity else "") or ("" if role else partition.name))
    holds = content or role or "unknown content"
    if label:
        holds += f" “{label}”"
    if content and role and content.casefold() not in role.casefold():
        holds += f", {role}"
    return holds


def partition_words(partition: Partition, volume: Volume | None) -> str:
    """One partition with everything that tells it from others: ``Partition 2, NTFS, “Data”, 310.0 GiB, 210.4 GiB used``."""
    content = content_words(volume.identity) if volume else ""
    parts = [f"Partition {partition.number}", content or role_words(partition) or "of an unknown kind"]
    label = (volume.identity.label if volume else "") or partition.name
    if label:
        parts.append(f"“{plain(label)}”")
    if volume and volume.system:
        parts.append(plain(volume.system))
    parts.append(human_size(partition.size))
    if volume and content and not volume.whole_because:
        parts.append(f"{human_size(volume.used_bytes)} used")
    return ", ".join(parts)


def losses_of(survey: DiskSurvey) -> tuple[str, ...]:
    """Everything on a disk that overwriting it would destroy, one sentence each; empty for a blank disk."""
    found = [partition_words(p, volume_of(p, survey.volumes)) for p in survey.layout.data_partitions]
    for volume in survey.volumes:
        if volume.partition:
            continue
        content = content_words(volume.identity)
        if content:
            label = f", “{plain(volume.identity.label)}”" if volume.identity.label else ""
            found.append(f"The whole disk without partitions, {content}{label}, {human_size(volume.used_bytes)} used")
        elif volume.used_bytes:
            found.append(f"Data of an unknown kind without a partition table, {human_size(volume.used_bytes)}")
    return tuple(found)


def inside_words(inside: Sequence[Nested]) -> str:
    """What is in a container: ``LVM vg0 → root (ext4, 3.1 GiB used), swap (swap)``; "" when that is not known."""
    words = []
    group = ""
    for nested in inside:
        before, slash, name = nested.name.partition("/")
        if slash and before != group:
            group = before
            words.append(f"{plain(group)} → {_nested_words(nested, plain(name))}")
        else:
            words.append(_nested_words(nested, plain(name if slash else nested.name)))
    return ", ".join(words)


def _nested_words(nested: Nested, name: str) -> str:
    content = content_words(nested.identity)
    below = inside_words(nested.inside)
    if below:
        chain = f"{content} {below}" if nested.identity.type == "LVM2_member" else f"{content} → {below}"
        return f"{name} ({chain})" if name else chain
    said = [content or "unknown"]
    if nested.whole_because:
        said.append("whole")
    elif nested.identity.type != "swap":
        said.append(f"{human_size(nested.used_bytes)} used")
    return f"{name} ({', '.join(said)})" if name else f"{said[0]} ({', '.join(said[1:])})" if said[1:] else said[0]


def contents_words(volume: Volume) -> str:
    """What a partition holds with all that is in it: ``LUKS (encrypted) → LVM vg0 → root (ext4, 3.1 GiB used)``."""
    content = content_words(volume.identity)
    below = inside_words(volume.inside)
    if not below:
        return content
    return f"{content} {below}" if volume.identity.type == "LVM2_member" else f"{content} → {below}"


def whole_warnings(layout: Layout, volumes: Sequence[Volume]) -> tuple[str, ...]:
    """Which volumes are kept whole, used or not, and why."""
    by_number = {p.number: p for p in layout.data_partitions}
    warnings = []
    for volume in volumes:
        partition = by_number.get(volume.partition)
        what = partition_words(partition, volume) if partition else "The whole disk"
        for part in whole_parts(volume):
            named = ", ".join((what, *map(plain, part.way)))
            warnings.append(f"{named}: every byte is kept. {part.because}")
    return tuple(warnings)
