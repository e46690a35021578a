"""Make the small file systems with files of every kind again (as root): ``python -m tests.data.filesystems.make_files``."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

from tests.data.filesystems.make import _empty, _pack, _run
from tests.engine.filesystems.files.content import ACL_USER
from tests.engine.filesystems.oracle import mounted

_MIB = 1 << 20


def _fill(folder: Path, *, unix: bool) -> None:
    (folder / "file").write_bytes(b"content " * 400)
    (folder / "folder/below").mkdir(parents=True)
    (folder / "folder/below/deep").write_text("deep")
    (folder / "many").mkdir()
    for index in range(260):
        (folder / "many" / f"a name that is long enough {index}").write_text("x" if index % 40 == 0 else "")
    with (folder / "pieces").open("wb") as file:
        for index in range(400 if unix else 12):
            file.seek(index * 8192)
            file.write(b"p")
    if unix:
        (folder / "short").symlink_to("file")
        (folder / "long").symlink_to("t" * 700)
        os.link(folder / "file", folder / "folder/again")
        os.mkfifo(folder / "fifo")
        os.setxattr(folder / "file", "user.note", b"v" * 90)
        os.setxattr(folder / "folder", "system.posix_acl_default", ACL_USER)
        for index in range(9):
            os.setxattr(folder / "pieces", f"user.{index}", bytes([65 + index]) * 60)


def main() -> None:
    """Make and pack them all."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for name, size, command in (
            ("files-ext4", 8, ("mkfs.ext4", "-q", "-b", "1024", "-I", "512", "-O", "inline_data,^metadata_csum,^has_journal")),
            ("files-ext2", 8, ("mkfs.ext2", "-q", "-b", "1024")),
            ("files-xfs", 300, ("mkfs.xfs", "-q", "-b", "size=1024", "-l", "size=64m")),
        ):
            path = _empty(folder, size * _MIB)
            _run(*command, path)
            with mounted(path) as mount:
                _fill(mount, unix=True)
            _pack(path, f"{name}.xz")
        path = _empty(folder, 16 * _MIB)
        _run("mkfs.ntfs", "-q", "-F", "-f", path)
        mount = folder / "mount"
        mount.mkdir()
        _run("ntfs-3g", "-o", "compression,streams_interface=xattr", path, mount)
        _fill(mount, unix=False)
        (mount / "packed").mkdir()
        os.setxattr(mount / "packed", "system.ntfs_attrib_be", (0x810).to_bytes(4, "big"))
        (mount / "packed/file").write_bytes(b"over and over again " * 5000)
        os.setxattr(mount / "file", "user.stream", b"stream")
        for index in range(40):
            os.link(mount / "file", mount / f"{'n' * 120}{index}")
        (mount / "link").symlink_to("file")
        _run("umount", mount)
        _pack(path, "files-ntfs.xz")
        path = _empty(folder, 4 * _MIB)
        _run("mkfs.vfat", "-F", "12", path)
        there = folder / "there"
        there.mkdir()
        _fill(there, unix=False)
        for extra in sorted(there.iterdir()):
            _run("mcopy", "-s", "-i", path, extra, "::/")
        _pack(path, "files-fat.xz")
        path = _empty(folder, 8 * _MIB)
        _run("mkfs.exfat", path)
        node = subprocess.run(
            ["losetup", "--find", "--show", str(path)], check=True, capture_output=True, text=True
        ).stdout.strip()
        _run("mount.exfat-fuse", node, mount)
        _fill(mount, unix=False)
        _run("umount", mount)
        _run("losetup", "--detach", node)
        _pack(path, "files-exfat.xz")


if __name__ == "__main__":
    main()
