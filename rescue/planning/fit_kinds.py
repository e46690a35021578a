"""Which partitions keep their size on a disk of another size."""

from __future__ import annotations

from typing import Final

from rescue.model.layout import Partition
from rescue.model.volume import Identity
from rescue.units import GIB

# UEFI 2.10 §5.3.3, the Discoverable Partitions Specification, Microsoft's GPT documentation, and libfdisk's list.
_FIXED_GUIDS: Final = frozenset(
    {
        "C12A7328-F81F-11D2-BA4B-00A0C93EC93B",  # EFI system
        "BC13C2FF-59E6-4262-A352-B275FD6F7172",  # extended boot loader
        "21686148-6449-6E6F-744E-656564454649",  # BIOS boot
        "024DEE41-33E7-11D3-9D69-0008C781F39F",  # an MBR inside of a partition
        "E3C9E316-0B5C-4DB8-817D-F92DF00215AE",  # Microsoft reserved
        "DE94BBA4-06D1-4D40-A16A-BFD50179D6AC",  # Windows recovery
        "5808C8AA-7E8F-42E0-85D2-E1E90434CFB3",  # metadata of Windows' dynamic disks
        "0657FD6D-A4AB-43C4-84E5-0933C84B4F4F",  # Linux swap
        "516E7CB5-6ECF-11D6-8FF8-00022D09712B",  # FreeBSD swap
        "83BD6B9D-7F41-11DC-BE0B-001560B84F0F",  # FreeBSD boot
        "9E1A2D38-C612-4316-AA26-8B49521E5A8B",  # PowerPC PReP boot
        "426F6F74-0000-11AA-AA11-00306543ECAC",  # Apple boot and recovery
        "D3BFE2DE-3DAF-11DF-BA40-E3A556D89593",  # Intel Rapid Start
        "F4019732-066E-4E12-8273-346C5641494F",  # Sony's boot partition
        "BFBFAFE7-A34F-448A-9A5B-6213EB736C22",  # Lenovo's boot partition
        "FE3A2A5D-4F32-41A7-B725-ACCC3285A309",  # ChromeOS kernel
        "3DE21764-95BD-54BD-A5C3-4ABE786F38A8",  # U-Boot's environment
    }
)
_FIXED_CODES: Final = frozenset({"0xef", "0x27", "0x12", "0x82", "0x84", "0x41", "0xde", "0xa0", "0xda", "0xf0"})
_FIXED_CONTENT: Final = frozenset({"swap", "swsuspend"})
_BOOT_NAMES: Final = frozenset(
    {"boot", "/boot", "bootfs", "system-boot", "firmware", "efi", "esp", "recovery", "winre", "system reserved", "lrs_esp"}
)
_BOOT_LIMIT: Final = 4 * GIB
_ACTIVE_LIMIT: Final = 2 * GIB


def is_fixed(partition: Partition, identity: Identity) -> bool:
    """Whether a partition has a size that follows from its purpose and not from the disk's: ESP, recovery, boot, swap, …

    Told by its type, by what is in it, and for boot partitions that have the type of any other by their name or, on an MBR,
    by being small and active (as the one that Windows calls "System Reserved", in the language of its user).
    """
    return _is_of_fixed_size(partition, identity) or _is_small_and_active(partition)


def gives_way(partition: Partition, identity: Identity) -> int:
    """Of what is fixed, what may be smaller when there is no other way: 1 first, swap space, which holds nothing; then 2, what
    is taken for a boot partition only because it is small and active. Else 0.
    """
    if identity.type == "swap":
        return 1
    return 2 if _is_small_and_active(partition) and not _is_of_fixed_size(partition, identity) else 0


def _is_of_fixed_size(partition: Partition, identity: Identity) -> bool:
    if partition.type.upper() in _FIXED_GUIDS or partition.type.lower() in _FIXED_CODES or identity.type in _FIXED_CONTENT:
        return True
    names = {partition.name.strip().lower(), identity.label.strip().lower()}
    return partition.size <= _BOOT_LIMIT and bool(names & _BOOT_NAMES)


def _is_small_and_active(partition: Partition) -> bool:
    is_mbr = partition.type.lower().startswith("0x")
    return is_mbr and bool(partition.attributes & 1) and partition.size <= _ACTIVE_LIMIT
