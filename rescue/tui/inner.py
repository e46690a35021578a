"""What is in partitions that hold other volumes (LUKS, BitLocker, LVM, RAID), and what of it has to be unlocked. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec

from rescue.model.volume import Identity, Nested, Volume

_CRYPTO: Final = frozenset({"crypto_LUKS", "BitLocker"})  # what a passphrase or key file can open here


class Inner(msgspec.Struct, frozen=True):
    """A volume in a partition. ``name`` is "vg0/root" or, where the partition holds one, "". Sizes in bytes."""

    partition: int
    name: str
    size: int
    identity: Identity
    used_bytes: int
    whole_because: str = ""
    system: str = ""

    @property
    def is_locked(self) -> bool:
        """Whether a passphrase is needed to see what is in it."""
        return self.identity.type in _CRYPTO

    @property
    def key(self) -> str:
        """As people write it: ``2``, ``2/vg0/root``."""
        return f"{self.partition}/{self.name}" if self.name else str(self.partition)


def holds_encrypted(volume: Volume) -> bool:
    """Whether a passphrase opens something in it, or did."""
    return volume.identity.type in _CRYPTO or any(nested.identity.type in _CRYPTO for nested in _walk(volume.inside))


def encrypted(volumes: Iterable[Volume]) -> list[Volume]:
    """The partitions with something that a passphrase opens."""
    return [volume for volume in volumes if holds_encrypted(volume)]


def is_closed(volume: Volume) -> bool:
    """Whether something in it is locked, as a survey found it."""
    return (volume.identity.type in _CRYPTO and not volume.inside) or any(
        nested.identity.type in _CRYPTO and not nested.inside for nested in _walk(volume.inside)
    )


def inner_of(volume: Volume, *, opened: bool) -> list[Inner]:
    """The volumes in a partition, itself where it holds no others. Without ``opened`` what is encrypted is still locked,

    also where it is known what is in it.
    """
    if volume.inside and (opened or volume.identity.type not in _CRYPTO):
        return list(_leaves(volume.partition, volume.inside, "", opened))
    return [
        Inner(
            volume.partition, "", volume.size, volume.identity, volume.used_bytes, volume.whole_because, volume.system
        )
    ]  # fmt: skip


def inner_from(found: Sequence[tuple[str, Volume]]) -> list[Inner]:
    """The volumes in a partition as a machine opened them."""
    return [
        Inner(volume.partition, name, volume.size, volume.identity, volume.used_bytes, volume.whole_because, volume.system)
        for name, volume in found
    ]


def _walk(inside: Iterable[Nested]) -> Iterator[Nested]:
    for nested in inside:
        yield nested
        yield from _walk(nested.inside)


def _leaves(partition: int, inside: Iterable[Nested], above: str, opened: bool) -> Iterator[Inner]:
    for nested in inside:
        name = f"{above}/{nested.name}" if above and nested.name else above or nested.name
        if nested.inside and (opened or nested.identity.type not in _CRYPTO):
            yield from _leaves(partition, nested.inside, name, opened)
        else:
            yield Inner(
                partition, name, nested.size, nested.identity, nested.used_bytes, nested.whole_because, nested.system
            )  # fmt: skip
