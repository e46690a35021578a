"""Two oracles for a used map: partclone's own map, and a restore of nothing but the mapped bytes onto noise."""

from __future__ import annotations

import os
import random
import re
import shutil
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rescue.model.extents import ExtentMap
from rescue.model.source import Source
from rescue.model.volume import UsedMap
from rescue.system.blockfile import FileSource
from rescue.system.run import run
from rescue.units import KIB, MIB
from tests.hashes import digest_of_stream

UsedMapReader = Callable[[Source], UsedMap]
Tree = dict[str, str]

_LINE = re.compile(r"^(0x[0-9A-Fa-f]+)\s+(0x[0-9A-Fa-f]+)\s+([+?])$", re.MULTILINE)


def nothing_explained(path: Path) -> ExtentMap:
    """No byte that partclone marks may be missing from our map."""
    del path
    return ExtentMap()


@dataclass(frozen=True, slots=True)
class Case:
    """One file system as its own mkfs makes it, and how to fill it, read it and check it. Sizes in bytes.

    ``populate`` writes files (and deletes some) and leaves the volume unmounted; ``read_back`` describes every file,
    so that two equal answers mean equal content; ``check`` raises when the file system's own check is not clean.
    ``may_lack`` computes the bytes that partclone marks and our map leaves out for a good reason, said in
    ``why_lacking``. ``counted`` is what the file system itself counts as used, for where partclone cannot help; our map
    may differ from it by a MiB. ``may_exceed`` is how many bytes more than partclone we may keep, for the reason in
    ``why_exceeding``.
    """

    name: str
    size: int
    make: Callable[[Path], None]
    populate: Callable[[Path], None]
    read_back: Callable[[Path], Tree]
    check: Callable[[Path], None]
    partclone: str = ""  # "extfs", "xfs", …; "" when partclone cannot read this case
    may_lack: Callable[[Path], ExtentMap] = nothing_explained
    why_lacking: str = ""
    may_exceed: int = 1 * MIB
    why_exceeding: str = ""
    counted: Callable[[Path], int] | None = None


@dataclass(frozen=True, slots=True)
class Proof:
    """What the oracles found: bytes that only partclone marks, and bytes that only we mark."""

    ours: ExtentMap
    theirs: ExtentMap
    only_theirs: ExtentMap
    only_ours: ExtentMap


def sparse_file(path: Path, size: int) -> Path:
    """A file of ``size`` bytes with nothing in it, replacing what was there."""
    path.unlink(missing_ok=True)
    with path.open("wb") as file:
        file.truncate(size)
    return path


def maker(*command: str) -> Callable[[Path], None]:
    """A ``make`` for a Case: the command with the path appended."""
    return lambda path: void(run([*command, str(path)], timeout=120))


def checker(*command: str) -> Callable[[Path], None]:
    """A ``check`` for a Case: the command with the path appended; any exit code but zero fails."""
    return lambda path: void(run([*command, str(path)], timeout=120))


def void(result: object) -> None:
    """Drop a result where a callable must return None."""
    del result


@contextmanager
def mounted(path: Path, options: str = "") -> Iterator[Path]:
    """The file mounted through a loop device; unmounted at the end in any case."""
    folder = path.with_name(path.name + ".mount")
    folder.mkdir(exist_ok=True)
    run(["mount", "-o", f"loop,{options}".rstrip(","), str(path), str(folder)])
    try:
        yield folder
    finally:
        run(["umount", str(folder)])
        folder.rmdir()


def fill_by_mount(options: str = "", *, amount: int = 24 * MIB, xattrs: bool = True) -> Callable[[Path], None]:
    """A ``populate`` that mounts the file, fills it twice with deletions between, and unmounts it."""

    def populate(path: Path) -> None:
        with mounted(path, options) as folder:
            fill(folder / "old", 1, amount, xattrs=xattrs)
            os.sync()
            thin_out(folder / "old", 2)
            os.sync()
            fill(folder / "new", 3, amount // 2, xattrs=xattrs)

    return populate


def read_by_mount(options: str = "ro") -> Callable[[Path], Tree]:
    """A ``read_back`` that mounts the file and describes the whole tree."""

    def read_back(path: Path) -> Tree:
        with mounted(path, options) as folder:
            return describe(folder)

    return read_back


def fill(folder: Path, seed: int, amount: int, *, xattrs: bool = True, links: bool = True, sparse: bool = True) -> None:
    """Write about ``amount`` bytes: many small files, large ones interleaved, a sparse one, links, attributes."""
    chance = random.Random(seed)
    folder.mkdir(parents=True)
    for number in range(200):
        below = folder / f"folder {number % 7}"
        below.mkdir(exist_ok=True)
        name = f"{number:03d} " + "ö" * chance.randrange(1, 60)
        (below / name).write_bytes(chance.randbytes(chance.choice([0, 7, 60, 150, 900, 4096, 13_000])))
    (folder / "empty folder").mkdir()
    # Several files grown in turns end up in many extents.
    with (folder / "turn a").open("wb") as a, (folder / "turn b").open("wb") as b, (folder / "turn c").open("wb") as c:
        for _ in range(max(amount // (3 * 256 * KIB), 1)):
            for file in (a, b, c):
                file.write(chance.randbytes(256 * KIB))
                file.flush()
                os.fsync(file.fileno())
    if sparse:
        with (folder / "sparse").open("wb") as file:
            for place in (0, 3 * MIB, 9 * MIB + 77):
                file.seek(place)
                file.write(chance.randbytes(100_001))
            file.truncate(16 * MIB)
    if links:
        os.link(folder / "turn a", folder / "hard link")
        (folder / "short link").symlink_to("turn a")
        (folder / "long link").symlink_to("x/" * 350)
    if xattrs:
        for number, path in enumerate(sorted((folder / "folder 1").iterdir())):
            os.setxattr(path, "user.note", chance.randbytes(20 + 30 * number))


def thin_out(folder: Path, seed: int) -> None:
    """Delete about half of the files below a folder."""
    chance = random.Random(seed)
    for path in sorted(folder.rglob("*")):
        if not path.is_dir() and chance.random() < 0.5:
            path.unlink()


def describe(folder: Path) -> Tree:
    """Every path below a folder with its kind, size, links, extended attributes and SHA-256."""
    tree: Tree = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        name = str(path.relative_to(folder))
        if name == "lost+found":
            continue
        if path.is_symlink():
            tree[name] = f"link to {path.readlink()}"
        elif stat.S_ISREG(status.st_mode):
            attributes = {key: os.getxattr(path, key).hex() for key in sorted(os.listxattr(path))}
            with path.open("rb") as file:
                digest = digest_of_stream(file)
            tree[name] = f"file {status.st_size} {status.st_mode:o} {status.st_nlink} {attributes} {digest}"
        else:
            tree[name] = f"other {status.st_mode:o}"
    return tree


def partclone_map(path: Path, filesystem: str) -> ExtentMap:
    """What ``partclone.<fs> -D`` says is used."""
    log = path.with_name(path.name + ".partclone.log")
    done = run([f"partclone.{filesystem}", "-D", "-s", str(path), "-o", "-", "-L", str(log)], timeout=120)
    log.unlink(missing_ok=True)
    found = [(int(start, 16), int(length, 16)) for start, length, mark in _LINE.findall(done.text) if mark == "+"]
    assert found, f"partclone.{filesystem} printed no map"
    return ExtentMap([(start, start + length) for start, length in found])


def noise_file(path: Path, size: int) -> Path:
    """A file in which no byte range looks like anything."""
    block = random.Random(size).randbytes(1 * MIB)
    with path.open("wb") as file:
        for offset in range(0, size, len(block)):
            file.write(block[: size - offset])
    return path


def restore_onto_noise(source: Path, used: ExtentMap, target: Path) -> Path:
    """Copy nothing but the used bytes of ``source`` onto a file of noise."""
    noise_file(target, source.stat().st_size)
    with source.open("rb") as reader, target.open("r+b") as writer:
        for start, end in used:
            reader.seek(start)
            writer.seek(start)
            while start < end:
                data = reader.read(min(end - start, 1 * MIB))
                writer.write(data)
                start += len(data)
    return target


def read_map(path: Path, used_map: UsedMapReader) -> UsedMap:
    """The used map of a file, which must lie inside it."""
    with FileSource(path) as volume:
        used = used_map(volume)
    assert used.extents.end <= path.stat().st_size
    return used


def prove(case: Case, folder: Path, used_map: UsedMapReader) -> Proof:
    """Make the file system, fill it, and hold its map against both oracles. Raises AssertionError, ProgramError."""
    path = sparse_file(folder / "original", case.size)
    case.make(path)
    case.populate(path)
    case.check(path)
    expected = case.read_back(path)
    used = read_map(path, used_map)
    assert not used.whole_because, used.whole_because
    with ThreadPoolExecutor(1) as background:  # partclone sleeps for seconds
        asked = background.submit(partclone_map, path, case.partclone) if case.partclone else None
        restored = restore_onto_noise(path, used.extents, folder / "restored")
        case.check(restored)
        assert expected, "the case wrote nothing"
        assert case.read_back(restored) == expected
        theirs = asked.result() if asked else used.extents
    only_theirs = theirs.difference(used.extents)
    only_ours = used.extents.difference(theirs)
    unexplained = only_theirs.difference(case.may_lack(path))
    assert not unexplained, f"partclone marks {unexplained}, we do not"
    assert only_ours.total <= case.may_exceed, f"we mark {only_ours.total} bytes more than partclone: {only_ours}"
    if case.counted is not None:
        assert abs(used.extents.total - case.counted(path)) <= 1 * MIB
    path.unlink()
    restored.unlink()
    return Proof(used.extents, theirs, only_theirs, only_ours)


def copy_while_mounted(path: Path, copy: Path, options: str = "") -> Tree:
    """Fill a mounted file system, fsync each file, copy its medium while it stays mounted; what the copy must hold."""
    with mounted(path, options) as folder:
        fill(folder / "synced", 5, 8 * MIB)
        for below in [folder, *sorted((folder / "synced").rglob("*"))]:
            if not below.is_symlink():
                descriptor = os.open(below, os.O_RDONLY)
                os.fsync(descriptor)
                os.close(descriptor)
        promised = describe(folder)
        shutil.copyfile(path, copy)
    return promised
