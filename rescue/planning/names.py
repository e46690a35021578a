"""Names of images."""

from __future__ import annotations

import datetime
import re
from collections.abc import Container
from typing import Final

from rescue.model.disk import Disk

SUFFIX: Final = ".img.zst"  # a stock decoder makes the disk of it
OTHER_SUFFIX: Final = ".rimg"

_LONGEST_SLUG = 60


def slug(text: str) -> str:
    """Lower-case letters, digits and dashes: what every file system takes. "" when nothing is left."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:_LONGEST_SLUG].strip("-")


def default_name(disk: Disk, host: str, today: datetime.date, taken: Container[str], suffix: str = SUFFIX) -> str:
    """``samsung-ssd-980-2026-11-22.img.zst``: the disk's model, a raw disk file's own name, or the host; unique in the store."""
    stem = disk.path.rsplit("/", 1)[-1].rsplit(".", 1)[0] if disk.is_file else disk.model
    base = f"{slug(stem) or slug(host) or 'disk'}-{today.isoformat()}"
    name, count = f"{base}{suffix}", 1
    while name in taken:
        count += 1
        name = f"{base}-{count}{suffix}"
    return name


def with_suffix(name: str, suffix: str = SUFFIX) -> str:
    """A name that a person gave, with the suffix that fits the image."""
    for given in (SUFFIX, OTHER_SUFFIX, ".zst", ".img"):
        if name.endswith(given):
            return name.removesuffix(given).removesuffix(".img") + suffix
    return name + suffix
