"""The steps that change a disk without an image: wiping it, and editing its partitions."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from rescue.model.extents import Extent

WipeMethod: TypeAlias = Literal["quick", "zeros", "sanitize"]
SanitizeWay: TypeAlias = Literal[
    "nvme-block", "nvme-crypto", "nvme-overwrite", "nvme-format", "nvme-format-crypto", "ata", "ata-enhanced", "discard"
]


class EraseExtents(msgspec.Struct, frozen=True, tag="erase-extents"):
    """Write zeros over these bytes of the target."""

    title: str
    target: str
    extents: tuple[Extent, ...]


class ProveErased(msgspec.Struct, frozen=True, tag="prove-erased"):
    """Read from the medium what was erased: zeros, and nothing on the target that a system would take for content."""

    title: str
    target: str
    extents: tuple[Extent, ...]


class SanitizeDisk(msgspec.Struct, frozen=True, tag="sanitize-disk"):
    """Have the target's own controller erase all of it; with ``prove`` see that samples of its content are gone."""

    title: str
    target: str
    way: SanitizeWay
    prove: bool = True


EditStep: TypeAlias = EraseExtents | ProveErased | SanitizeDisk
