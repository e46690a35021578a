"""Make the ext and xfs file systems of this folder again (root, e2fsprogs, xfsprogs, partclone).

Each is kept as its blocks of 4 KiB that are not zero, each behind its offset, all behind the size, compressed with xz.
``partclone.json`` holds the used ranges that partclone found in each.
"""

from __future__ import annotations

import json
import lzma
import re
import struct
import subprocess
import tempfile
from pathlib import Path

_BLOCK = 4096
_HERE = Path(__file__).parent
_MIB = 1 << 20
_CASES = {
    "ext4": (16 * _MIB, ["mke2fs", "-q", "-F", "-t", "ext4", "-b", "1024", "-g", "1024", "-G", "4", "-O", "^has_journal"]),
    "ext4-uninit": (
        16 * _MIB,
        ["mke2fs", "-q", "-F", "-t", "ext4", "-b", "1024", "-g", "1024", "-O", "^metadata_csum,uninit_bg,^flex_bg,^has_journal"],
    ),
    "ext4-meta": (
        16 * _MIB,
        ["mke2fs", "-q", "-F", "-t", "ext4", "-g", "512", "-O", "meta_bg,^resize_inode,^metadata_csum,^uninit_bg,^has_journal"],
    ),
    "ext2": (4 * _MIB, ["mke2fs", "-q", "-F", "-t", "ext2", "-b", "1024"]),
    "xfs": (64 * _MIB, ["mkfs.xfs", "-q", "-f", "--unsupported", "-b", "size=1024", "-d", "agcount=2"]),
    "xfs-4": (64 * _MIB, ["mkfs.xfs", "-q", "-f", "--unsupported", "-m", "crc=0", "-b", "size=512", "-d", "agcount=2"]),
}
_MOUNTED = ("ext4", "ext4-uninit", "ext4-meta", "ext2", "xfs")  # most kernels mount no xfs of version 4
_USED = re.compile(r"^(0x[0-9A-F]+)\s+(0x[0-9A-F]+)\s+\+$", re.MULTILINE)


def _pack(path: Path) -> bytes:
    data = path.read_bytes()
    packed = [struct.pack("<Q", len(data))]
    for offset in range(0, len(data), _BLOCK):
        block = data[offset : offset + _BLOCK]
        if any(block):
            packed.append(struct.pack("<Q", offset) + block.ljust(_BLOCK, b"\0"))
    return lzma.compress(b"".join(packed), preset=9)


def _use(path: Path, mount: Path) -> None:
    subprocess.run(["mount", "-o", "loop", path, mount], check=True)
    for number in range(120):
        (mount / f"{number}").write_bytes(bytes([number]) * 2000)
    for number in range(0, 120, 2):
        (mount / f"{number}").unlink()
    subprocess.run(["umount", mount], check=True)


def main() -> None:
    """Write all of them."""
    found: dict[str, list[tuple[int, int]]] = {}
    with tempfile.TemporaryDirectory() as name:
        path, mount, log = Path(name, "volume"), Path(name, "mount"), Path(name, "log")
        mount.mkdir()
        for case, (size, command) in _CASES.items():
            path.write_bytes(b"")
            with path.open("r+b") as file:
                file.truncate(size)
            subprocess.run([*command, str(path)], check=True)
            if case in _MOUNTED:
                _use(path, mount)
            program = "partclone.xfs" if case.startswith("xfs") else "partclone.extfs"
            said = subprocess.run([program, "-D", "-s", path, "-o", "-", "-L", log], check=True, capture_output=True, text=True)
            ranges = [(int(start, 16), int(length, 16)) for start, length in _USED.findall(said.stdout)]
            found[case] = [(start, start + length) for start, length in ranges]
            (_HERE / f"{case}.xz").write_bytes(_pack(path))
    (_HERE / "partclone.json").write_text(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
