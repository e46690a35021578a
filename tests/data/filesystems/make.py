"""Make the small file systems of this folder again (as root): ``python tests/data/filesystems/make.py``.

Each is kept as its blocks of 4 KiB that are not zero, each with its offset, behind its size, compressed with xz.
"""

from __future__ import annotations

import lzma
import struct
import subprocess
import tempfile
from pathlib import Path

_BLOCK = 4096
_HERE = Path(__file__).parent


def _run(*command: str | Path) -> None:
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)


def _pack(path: Path, name: str) -> None:
    data = path.read_bytes()
    packed = [struct.pack("<Q", len(data))]
    for offset in range(0, len(data), _BLOCK):
        block = data[offset : offset + _BLOCK]
        if any(block):
            packed.append(struct.pack("<Q", offset) + block.ljust(_BLOCK, b"\0"))
    (_HERE / name).write_bytes(lzma.compress(b"".join(packed), preset=9))


def _empty(folder: Path, size: int) -> Path:
    path = folder / "volume"
    path.unlink(missing_ok=True)
    with path.open("wb") as file:
        file.truncate(size)
    return path


def _make_ntfs(folder: Path, mount: Path) -> None:
    path = _empty(folder, 8 << 20)
    _run("mkntfs", "-q", "-F", "-Q", "-T", "-c", "512", path)
    _run("ntfs-3g", path, mount)
    for number in range(60):
        (mount / f"a name in the root {number}").touch()
    (mount / "hiberfil.sys").write_bytes(b"wake" + bytes(8188))
    _run("umount", mount)
    _pack(path, "ntfs.xz")


def _make_exfat(folder: Path) -> None:
    path = _empty(folder, 8 << 20)
    _run("mkfs.exfat", "-c", "512", path)
    _pack(path, "exfat.xz")


def _make_btrfs(folder: Path, mount: Path, name: str, *options: str) -> None:
    path = _empty(folder, 128 << 20)
    _run("mkfs.btrfs", "-q", "-n", "4096", *options, path)
    _run("mount", "-o", "loop", path, mount)
    for number in range(250):
        (mount / f"{number}").write_bytes(bytes([number]) * (number * 40))
    for number in range(0, 250, 2):
        (mount / f"{number}").unlink()
    _run("umount", mount)
    _pack(path, name)


def main() -> None:
    """Write all of them."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        mount = folder / "mount"
        mount.mkdir()
        _make_ntfs(folder, mount)
        _make_exfat(folder)
        _make_btrfs(folder, mount, "btrfs.xz")
        _make_btrfs(folder, mount, "btrfs-mixed.xz", "-M")


if __name__ == "__main__":
    main()
