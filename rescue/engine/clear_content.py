"""Which LUKS volumes of a disk an image is to hold in clear, and how they are encrypted on the disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rescue.errors import CredentialError, UnsupportedError, UsageError
from rescue.images.clear import ClearContent
from rescue.model.source import SliceSource, Source
from rescue.model.volume import Volume
from rescue.volumes.luks_content import can_decrypt
from rescue.volumes.luks_header import read_luks_header
from rescue.volumes.stack import LUKS


def clear_contents(
    source: Source, volumes: Sequence[Volume], wanted: Sequence[int], keys: Mapping[str, bytes]
) -> tuple[ClearContent, ...]:
    """The contents of the LUKS volumes in the partitions ``wanted`` of a disk, in its order. ``keys`` are volume keys by UUID.

    Raises UsageError for a partition that is no LUKS volume, CredentialError for one without a key, UnsupportedError,
    FormatError, SourceReadError.
    """
    by_number = {volume.partition: volume for volume in volumes}
    found = [_content(source, by_number.get(number), number, keys) for number in set(wanted)]
    return tuple(sorted(found, key=lambda content: content.start))


def _content(source: Source, volume: Volume | None, number: int, keys: Mapping[str, bytes]) -> ClearContent:
    name = f"Partition {number}" if number else "The disk"
    if volume is None or volume.identity.type != LUKS:
        raise UsageError(f"{name} is no LUKS volume that an image could hold in clear.")
    header = read_luks_header(SliceSource(source, volume.start, volume.end))
    key = keys.get(header.uuid)
    if key is None or not header.digest.fits(key):
        raise CredentialError(f"{name} is encrypted, and was not unlocked.", f"Give its passphrase: --unlock {number}")
    if not can_decrypt(header) or header.start % header.sector_size:
        raise UnsupportedError(
            f"{name} is encrypted in a way that an image cannot hold in clear ({header.cipher}-{header.mode}).",
            f"Leave --decrypt {number} out: it stays encrypted then.",
        )
    return ClearContent(
        number, volume.start + header.start, volume.start + header.end, header.uuid, header.cipher, header.mode,
        header.sector_size, header.first, key.hex(),
    )  # fmt: skip
