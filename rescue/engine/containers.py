"""The containers on a disk or in the disk of an image (LUKS, BitLocker, LVM, RAID) looked into, and opened with a passphrase."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from rescue.devices.usage import Mounted
from rescue.engine.beside import Together
from rescue.errors import CredentialError, UsageError
from rescue.filesystems.btrfs import MANY_DEVICES
from rescue.model.extents import ExtentMap
from rescue.model.source import Source
from rescue.model.volume import Volume
from rescue.records import replace
from rescue.volumes.bitlk_key import find_bitlk_key
from rescue.volumes.luks_key import find_volume_key
from rescue.volumes.placed import WholeDisk, Window, joined
from rescue.volumes.stack import CONTAINERS, Stacked, look_into

_NOTHING: Final[Mapping[str, bytes]] = {}


def stacks(source: Source, volumes: Sequence[Volume], keys: Mapping[str, bytes] = _NOTHING) -> dict[int, Stacked]:
    """What is in those of the volumes that are containers, or parts of others, by partition.

    ``source`` is the disk, perhaps Together with others. Raises ProgramError.
    """
    disk = WholeDisk(source)
    beside = source.beside if isinstance(source, Together) else ()
    containers = [volume for volume in volumes if volume.identity.type in CONTAINERS or volume.whole_because == MANY_DEVICES]
    found = look_into([(v.identity, Window(disk, v.start, v.end)) for v in containers], keys, beside) if containers else []
    return {volume.partition: stack for volume, stack in zip(containers, found, strict=True)}


def open_containers(
    source: Source, volumes: Sequence[tuple[Volume, ExtentMap]], mounts: Sequence[Mounted], keys: Mapping[str, bytes]
) -> list[tuple[Volume, ExtentMap]]:
    """The same volumes with their bytes, where those that are containers and not in use tell what is in them."""
    quiet = [v for v, _ in volumes if not any(m.start < v.end and v.start < m.end for m in mounts)]
    found = stacks(source, quiet, keys)
    if not found:
        return list(volumes)
    # A logical volume may be spread over partitions.
    kept = joined(stack.kept() for stack in found.values())
    opened = []
    for volume, extents in volumes:
        stack = found.get(volume.partition)
        if stack is not None:
            extents = kept.clip(volume.start, volume.end)
            inside = stack.nested().inside
            volume = replace(volume, used_bytes=extents.total, whole_because=stack.whole_because, inside=inside)
        opened.append((volume, extents))
    return opened


def unlock(
    source: Source, volumes: Sequence[Volume], partition: int, secret: bytes, keys: Mapping[str, bytes] = _NOTHING
) -> dict[str, bytes]:
    """The volume keys of all encrypted volumes in a partition that ``secret`` opens, one in another as well, and ``keys``.

    ``source`` is the disk, ``volumes`` are all of it. Raises UsageError when nothing there is locked, CredentialError when
    the secret opens nothing, ProgramError, FormatError.
    """
    known = dict(keys)
    tried: set[str] = set()
    opened = False
    while True:
        stack = stacks(source, volumes, known).get(partition)
        locked = [found for found in stack.walk() if found.is_locked] if stack else []
        fresh = [found for found in locked if found.lock and found.lock.uuid not in tried]
        if not fresh:
            break
        for found in fresh:
            assert found.lock is not None
            tried.add(found.lock.uuid)
            key = _find_key(found, secret)
            if key is not None:
                known[found.lock.uuid] = key
                opened = True
    name = f"Partition {partition}" if partition else "The disk"
    if not tried:
        why = "; ".join(found.whole_because for found in stack.walk() if found.whole_because) if stack else ""
        raise UsageError(f"{name} holds no locked volume that this program can open.", why)
    if not opened:
        raise CredentialError(f"The passphrase or key file does not open the encrypted volume in {name.lower()}.")
    return known


def _find_key(found: Stacked, secret: bytes) -> bytes | None:
    if found.bitlk is not None:
        return find_bitlk_key(found.source, found.bitlk, secret)
    return find_volume_key(found.source, found.luks, secret) if found.luks else None
