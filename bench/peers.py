"""Clonezilla's own pipelines (clonezilla 5, ocs-functions with -z9p), one partition after the other.

Save, restore and check run the same commands with the same options as ``ocs-sr`` does: ``partclone.<fs> -z 10485760 -c`` into
``zstdmt -c -3`` and back, ``partclone.chkimg`` for the check. What ocs-sr does around them (probing, waiting, menus) is left
out, in the peer's favour.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.disk import BenchDisk, BenchPartition
from bench.loop import loop_device
from rescue.system.run import run
from rescue.units import MIB

# partclone.restore once looped and wrote 9.5 GB of log: nothing here may run or print without an end.
_TIMEOUT = 900.0
_OUTPUT_LIMIT = 16 * MIB

_PARTCLONE = frozenset({"btrfs", "exfat", "ext2", "ext3", "ext4", "f2fs", "fat12", "fat16", "fat32", "ntfs", "xfs"})

# $1 file system, $2 device node, $3 image file, $4 partclone's log. Redirections and pipes as in ocs-functions.
_SAVE = 'partclone."$1" -z 10485760 -L "$4" -c -s "$2" --output - | zstdmt -c -3 > "$3"'
_RESTORE = 'zstdmt -dc < "$3" | partclone."$1" -z 10485760 -L "$4" -s - -r -o "$2"'
_CHECK = 'zstdmt -dc < "$3" | partclone.chkimg -L "$4" -s -'
# What partclone does not know is copied whole by dd.
_SAVE_WHOLE = 'dd if="$2" bs=1M status=none | zstdmt -c -3 > "$3"'
_RESTORE_WHOLE = 'zstdmt -dc < "$3" | dd of="$2" bs=1M iflag=fullblock conv=fsync status=none'
_CHECK_WHOLE = 'zstdmt -t "$3"'


@dataclass(frozen=True, slots=True)
class PeerResult:
    """Seconds that the pipelines took together, and bytes of the image that they wrote or read."""

    seconds: float
    size: int


def _image(folder: Path, partition: BenchPartition) -> Path:
    return folder / f"part{partition.number}.{partition.fs}-ptcl-img.zst"


def _timed(script: str, arguments: Sequence[str]) -> float:
    """Run one pipeline whose every part must succeed; seconds. Raises ProgramError."""
    began = time.perf_counter()
    run(["bash", "-o", "pipefail", "-c", script, "pipeline", *arguments], timeout=_TIMEOUT, output_limit=_OUTPUT_LIMIT)
    return time.perf_counter() - began


def _each(disk: BenchDisk, folder: Path, device: Path | None, scripts: tuple[str, str], *, read_only: bool) -> PeerResult:
    """Run the script of each partition: ``scripts`` are for what partclone knows and for the rest."""
    seconds = 0.0
    with TemporaryDirectory() as logs:
        for partition in disk.partitions:
            script = scripts[0] if partition.fs in _PARTCLONE else scripts[1]
            image, log = str(_image(folder, partition)), str(Path(logs) / "partclone.log")
            if device is None:
                seconds += _timed(script, [partition.fs, "", image, log])
            else:
                with loop_device(device, partition.start, partition.size, read_only=read_only) as node:
                    seconds += _timed(script, [partition.fs, node, image, log])
    return PeerResult(seconds, sum(path.stat().st_size for path in folder.iterdir()))


def backup(disk: BenchDisk, source: Path, folder: Path) -> PeerResult:
    """Save every partition of ``source`` into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    return _each(disk, folder, source, (_SAVE, _SAVE_WHOLE), read_only=True)


def restore(disk: BenchDisk, folder: Path, target: Path) -> PeerResult:
    """Restore every partition from ``folder`` to its place in ``target``, a file of the disk's size that exists."""
    return _each(disk, folder, target, (_RESTORE, _RESTORE_WHOLE), read_only=False)


def restore_partition(partition: BenchPartition, folder: Path, target: Path) -> float:
    """Restore one partition to its place in ``target``; seconds."""
    script = _RESTORE if partition.fs in _PARTCLONE else _RESTORE_WHOLE
    with TemporaryDirectory() as logs, loop_device(target, partition.start, partition.size) as node:
        return _timed(script, [partition.fs, node, str(_image(folder, partition)), str(Path(logs) / "partclone.log")])


def check(disk: BenchDisk, folder: Path) -> PeerResult:
    """Check the image of every partition."""
    return _each(disk, folder, None, (_CHECK, _CHECK_WHOLE), read_only=True)
