"""Plan a full image out of an incremental or differential one."""

from __future__ import annotations

from pathlib import Path

from rescue.errors import CredentialError, RefusedError
from rescue.model.plan import ConsolidateImage, Plan, VerifyImage
from rescue.model.survey import ImageSummary
from rescue.planning.backup import StoreFacts
from rescue.planning.names import OTHER_SUFFIX, SUFFIX, with_suffix
from rescue.planning.verify import image_words, usable
from rescue.planning.words import plain
from rescue.stores.names import check_new_name, check_split
from rescue.units import GIB, human_size

_FAT_FILE_LIMIT = 4 * GIB - 1


def plan_consolidate(image: ImageSummary, store: StoreFacts, name: str = "", split: int = 0, *, can_seal: bool = True) -> Plan:
    """Put a full image of the disk in ``image`` together in ``store``, and check it. ``can_seal``: there are secrets.

    Raises as :func:`usable`; RefusedError (it is full already, the name is taken), UsageError, CredentialError.
    """
    usable(image)
    if image.kind == "full":
        raise RefusedError(f"{plain(image.name)} is a full image already.", "It needs no other: it can be copied as it is.")
    if image.encrypted and not can_seal:
        raise CredentialError(f"{plain(image.name)} is encrypted.", "Give its passphrase or key: it opens the new image as well.")
    check_split(split)
    suffix = OTHER_SUFFIX if image.encrypted else SUFFIX
    taken = set(store.names) | set(store.busy)
    chosen = with_suffix(name, suffix) if name else _default_name(image.name, suffix, taken)
    check_new_name(chosen)
    if chosen in taken:
        raise RefusedError(f"{store.folder}/{chosen} exists already.", "Choose another name; images are never overwritten.")
    if store.filesystem in ("vfat", "msdos"):
        split = min(split or _FAT_FILE_LIMIT, _FAT_FILE_LIMIT)
    data = sum(link.data_bytes for link in image.chain) + image.own_bytes
    members = ", ".join(plain(link.name) for link in image.chain)
    path = f"{store.folder}/{chosen}"
    command = ["rescue", "consolidate", image.path, store.folder]
    if name:
        command += ["--name", name]
    if split and split != _FAT_FILE_LIMIT:
        command += ["--split", str(split)]
    warnings = []
    if image.encrypted:
        warnings.append("The new image opens with what is given now; other keys of the old one have to be added to it again.")
    if store.free_bytes < data:
        warnings.append(
            f"{plain(store.folder)} has {human_size(store.free_bytes)} free for {human_size(data)} of data: it is enough only if"
            " the data can be compressed that far. If not, this stops; it can go on when there is more room."
        )
    return Plan(
        kind="consolidate",
        steps=(
            ConsolidateImage(title="Put the image together", image=image.path, store=store.folder, name=chosen, split=split),
            VerifyImage(title="Check the image", image=path),
        ),
        sentences=(
            f"Read {image_words(image)} and what it needs: {members}. They are not changed.",
            f"Write a full image of the same disk, {plain(chosen)}, into {plain(store.folder)}"
            f" ({human_size(store.free_bytes)} free). Compressed data are copied as they are where that is possible.",
            "Read the new image again and check every hash in it.",
        ),
        warnings=tuple(warnings),
        command=tuple(command),
        estimated_bytes=2 * data,
    )


def _default_name(image: str, suffix: str, taken: set[str]) -> str:
    """``laptop-2026-11-23-full.img.zst`` for ``laptop-2026-11-23.rimg``; unique in the store."""
    base = with_suffix(Path(image).name, "") + "-full"
    name, count = base + suffix, 1
    while name in taken:
        count += 1
        name = f"{base}-{count}{suffix}"
    return name
