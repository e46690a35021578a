"""How small the volumes of an image or a disk can be made: asked of their own tools, over an overlay."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from rescue.engine.minimum import minimum_size
from rescue.engine.overlay import SourceBlocks
from rescue.engine.shrink import SHRINKABLE
from rescue.images.chain import Chain
from rescue.images.nbd.session import Blocks
from rescue.images.view import ImageView
from rescue.model.survey import DiskSurvey
from rescue.model.volume import Volume
from rescue.system.blockfile import FileSource
from rescue.system.run import have, run


def image_minimums(chain: Chain) -> dict[int, int]:
    """Bytes by partition, of the volumes that can be made smaller. Raises RescueError."""
    return _minimums(ImageView(chain), chain.manifest.volumes)


def disk_minimums(disk: DiskSurvey) -> dict[int, int]:
    """The same of a disk, which is only read."""
    with FileSource(disk.disk.path, direct=True, cached=True) as source:
        if source.is_device:
            source.drop_cache()
        return _minimums(SourceBlocks(source), disk.volumes)


def _minimums(blocks: Blocks, volumes: Sequence[Volume]) -> dict[int, int]:
    if os.geteuid() != 0:
        return {}  # the tools need devices; without them volumes keep their sizes
    shrinkable = [v for v in volumes if _can_shrink(v.identity.type) and not v.whole_because]
    return {v.partition: minimum_size(blocks, v.start, v.end, v.identity).bytes for v in shrinkable}


def _can_shrink(filesystem: str) -> bool:
    """Whether this system has what it takes: it is found out before anything is written."""
    if filesystem in SHRINKABLE or filesystem in ("vfat", "exfat"):
        return True
    return filesystem == "xfs" and all(map(have, ("mkfs.xfs", "xfsdump", "xfsrestore"))) and _has_driver("xfs")


def _has_driver(filesystem: str) -> bool:
    if have("modprobe"):
        run(["modprobe", "--quiet", filesystem], ok=(0, 1))
    known = Path("/proc/filesystems").read_text().splitlines()
    return any(line.split()[-1] == filesystem for line in known)
