"""Content with everything that a Unix file system can hold, and a description of a folder that differs when anything does."""

from __future__ import annotations

import hashlib
import os
import random
import socket
import stat
import struct
from pathlib import Path
from typing import NamedTuple

from rescue.units import KIB, MIB

ACL_USER = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", *entry)
    for entry in (
        (1, 6, 0xFFFFFFFF),
        (2, 5, 1234),
        (4, 4, 0xFFFFFFFF),
        (8, 7, 4321),
        (0x10, 7, 0xFFFFFFFF),
        (0x20, 0, 0xFFFFFFFF),
    )
)
CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)  # cap_net_bind_service


_SHOWN_TWICE = ("trusted.SGI_ACL_FILE", "trusted.SGI_ACL_DEFAULT")  # how xfs stores ACLs, which root sees besides them


class Described(NamedTuple):
    """All that a copy must keep of one name."""

    kind: int
    mode: int
    owner: tuple[int, int]
    modified: int
    accessed: int  # of files; looking at folders and links changes it
    size: int
    content: str
    target: str
    attributes: tuple[tuple[str, bytes], ...]
    device: int
    same_as: bytes  # the first name, in order, of the same file
    data: tuple[tuple[int, int], ...]  # ranges that are no holes


def describe(folder: Path, *, holes: bool = True) -> dict[bytes, Described]:
    """Everything below a folder, by name relative to it."""
    answer: dict[bytes, Described] = {}
    first: dict[tuple[int, int], bytes] = {}
    pending = [(os.open(folder, os.O_RDONLY | os.O_DIRECTORY), b"")]
    while pending:
        parent, prefix = pending.pop(0)
        for name in sorted(os.listdir(parent)):
            path = prefix + os.fsencode(name)
            found = os.stat(name, dir_fd=parent, follow_symlinks=False)
            kind = stat.S_IFMT(found.st_mode)
            place = f"/proc/self/fd/{parent}/{name}"
            content, data = _content(name, parent, holes) if kind == stat.S_IFREG else ("", ())
            keys = os.listxattr(place, follow_symlinks=False)
            answer[path] = Described(
                kind,
                stat.S_IMODE(found.st_mode),
                (found.st_uid, found.st_gid),
                found.st_mtime_ns,
                found.st_atime_ns if kind == stat.S_IFREG else 0,
                found.st_size if kind == stat.S_IFREG else 0,
                content,
                os.readlink(name, dir_fd=parent) if kind == stat.S_IFLNK else "",
                tuple(sorted((key, os.getxattr(place, key, follow_symlinks=False)) for key in keys if key not in _SHOWN_TWICE)),
                found.st_rdev,
                first.setdefault((found.st_dev, found.st_ino), path) if kind != stat.S_IFDIR else b"",
                data,
            )
            if kind == stat.S_IFDIR:
                pending.append((os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=parent), path + b"/"))
        os.close(parent)
    return answer


def _content(name: str, parent: int, holes: bool) -> tuple[str, tuple[tuple[int, int], ...]]:
    fd = os.open(name, os.O_RDONLY | os.O_NOATIME, dir_fd=parent)
    try:
        # What is zero counts for nothing, so that a file of gigabytes of holes is not read.
        digest = hashlib.blake2b(digest_size=16)
        ranges: list[tuple[int, int]] = []
        size = os.fstat(fd).st_size
        position = 0
        while position < size:
            try:
                start = os.lseek(fd, position, os.SEEK_DATA)
            except OSError:
                break
            position = os.lseek(fd, start, os.SEEK_HOLE)
            ranges.append((start, position))
        # Only now: what was read of reserved blocks is in the page cache, and then counts as data.
        for offset in sorted({o for start, end in ranges for o in range(start - start % 4096, end, 4096)}):
            block = os.pread(fd, 4096, offset).rstrip(b"\0")
            if block:
                digest.update(offset.to_bytes(8, "little") + block)
        return digest.hexdigest(), tuple(ranges) if holes else ()
    finally:
        os.close(fd)


def assert_same(copy: Path, original: Path, *, holes: bool = True) -> None:
    """Every name of one folder is in the other, with the same of everything."""
    theirs, ours = describe(original, holes=holes), describe(copy, holes=holes)
    assert sorted(ours) == sorted(theirs), set(ours) ^ set(theirs)
    different = [
        (path, field, getattr(ours[path], field), getattr(theirs[path], field))
        for path in theirs
        for field in Described._fields
        if getattr(ours[path], field) != getattr(theirs[path], field)
    ]
    assert not different, different[:5]


def fill_unix(folder: Path, *, many: int = 300, scale: int = 1) -> None:
    """Files, folders, links, nodes, attributes of every kind. ``many`` names in one folder."""
    rng = random.Random(7)
    _sizes(folder / "sizes", rng)
    _sparse(folder / "sparse", rng, 600 * scale)
    _names(folder / "names", many)
    _links(folder / "links")
    _nodes(folder / "nodes")
    _attributes(folder / "attributes", rng)
    _times(folder / "times")


def _sizes(folder: Path, rng: random.Random) -> None:
    folder.mkdir()
    for size in (0, 1, 59, 60, 61, 100, 156, 157, 300, 1023, 1024, 1025, 4095, 4096, 4097, 70_000, 3 * MIB + 17):
        (folder / f"{size}").write_bytes(rng.randbytes(size))


def _sparse(folder: Path, rng: random.Random, pieces: int) -> None:
    folder.mkdir()
    with (folder / "only a hole").open("wb") as file:
        file.truncate(5 * MIB + 3)
    with (folder / "many pieces").open("wb") as file:  # more than fit into an inode, or a block
        for index in range(pieces):
            file.seek(index * 64 * KIB)
            file.write(rng.randbytes(3000))
    with (folder / "hole at the end").open("wb") as file:
        file.write(rng.randbytes(5000))
        file.truncate(40 * MIB)
    with (folder / "far away").open("wb") as file:
        file.seek(3 << 30)  # beyond what one indirect block reaches
        file.write(b"here")
    with (folder / "reserved").open("wb") as file:  # a hole, then blocks that were never written to, then data
        file.truncate(2 * MIB)
        try:
            os.posix_fallocate(file.fileno(), MIB, 256 * KIB)
        except OSError:
            return
        file.seek(MIB + 128 * KIB)
        file.write(rng.randbytes(64 * KIB))


def _names(folder: Path, many: int) -> None:
    folder.mkdir()
    for index in range(many):
        (folder / f"a name of some length, number {index:06}").touch()
    for raw in (b"x" * 255, "ünïcödé €".encode(), b"not utf-8 \xff\xfe", b"line\nbreak", b" ", b"-rf", "\U0001f600".encode()):
        (folder / os.fsdecode(raw)).write_bytes(raw)
    deep = folder / "deep"
    deep.mkdir()
    fd = os.open(deep, os.O_RDONLY | os.O_DIRECTORY)
    for level in range(40):  # longer together than any path may be
        name = f"{level:03}" + "d" * 180
        os.mkdir(name, dir_fd=fd)
        below = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(os.open("at the bottom", os.O_CREAT | os.O_WRONLY, 0o640, dir_fd=fd))
    os.close(fd)


def _links(folder: Path) -> None:
    folder.mkdir()
    (folder / "target").write_text("here")
    for length in (1, 58, 59, 60, 61, 100, 155, 156, 400, 1000):
        (folder / f"length {length}").symlink_to("t" * length)
    (folder / "up and away").symlink_to("../../../../etc/passwd")
    (folder / "absolute").symlink_to("/etc/passwd")
    (folder / "below").mkdir()
    os.link(folder / "target", folder / "second name")
    os.link(folder / "target", folder / "below/third name")
    os.link(folder / "absolute", folder / "second link", follow_symlinks=False)


def _nodes(folder: Path) -> None:
    folder.mkdir()
    os.mkfifo(folder / "fifo", 0o622)
    os.mknod(folder / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(folder / "disk", stat.S_IFBLK | 0o660, os.makedev(259, 70_000))
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.open(folder, os.O_RDONLY)
        listener.bind(f"/proc/self/fd/{here}/socket")
        os.close(here)


def _attributes(folder: Path, rng: random.Random) -> None:
    folder.mkdir()
    for name in ("small", "long", "many", "acl", "capable", "trusted", "both"):
        (folder / name).write_text(name)
    os.setxattr(folder / "small", "user.note", b"some text")
    os.setxattr(folder / "small", "user.empty", b"")
    os.setxattr(folder / "long", "user.long", rng.randbytes(700))
    for index in range(8):
        os.setxattr(folder / "many", f"user.number {index}", rng.randbytes(40 + index))
    os.setxattr(folder / "acl", "system.posix_acl_access", ACL_USER)
    os.setxattr(folder / "capable", "security.capability", CAPABILITY)
    os.setxattr(folder / "trusted", "trusted.secret", b"\0\1\2")
    os.setxattr(folder / "both", "system.posix_acl_access", ACL_USER)
    os.setxattr(folder / "both", "user.note", b"x" * 300)
    (folder / "inherits").mkdir()
    os.setxattr(folder / "inherits", "system.posix_acl_default", ACL_USER)
    os.setxattr(folder / "inherits", "user.on a folder", b"yes")
    os.symlink("small", folder / "link")
    os.setxattr(folder / "link", "trusted.on a link", b"yes", follow_symlinks=False)


def _times(folder: Path) -> None:
    folder.mkdir()
    for name, mode, owner, group in (("set", 0o6755, 1, 2), ("wide", 0o640, 100_000, 4_000_000_000), ("none", 0, 65_534, 65_535)):
        path = folder / name
        path.write_text(name)
        os.chown(path, owner, group)
        path.chmod(mode)
    (folder / "sticky").mkdir()
    (folder / "sticky").chmod(0o1777)
    (folder / "read only").mkdir()
    (folder / "read only/in it").touch()
    (folder / "read only").chmod(0o555)
    for name, seconds, nanoseconds in (
        ("set", 1, 1),
        ("wide", 2_000_000_000, 999_999_999),
        ("sticky", 1_234_567_890, 123_456_789),
    ):
        os.utime(folder / name, ns=(seconds * 10**9 + nanoseconds, seconds * 10**9 + nanoseconds))
    os.utime(folder / "read only", ns=(10**18, 10**18 + 7))
    os.utime(folder, ns=(10**18, 10**18))
