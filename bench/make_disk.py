"""Generate the benchmark's disk: 12 GiB, GPT, five file systems, a real Debian, mixed files, dirty free space.

It is made once and kept below ``.cache/bench``; a change of the recipe makes it anew. Needs root, loop devices and the mkfs
tools. The Debian mirror is the machine's own (apt's configuration) unless RESCUE_MIRROR names another.

The mix. The goals were measured on an earlier disk whose recipe is lost. What is known of it are sizes, and speeds that
do not depend on the machine when they are divided by that of BLAKE3. The kinds below were compressed one by one, and
their shares chosen so that the sum agrees; about 38 % of the generated files is packed (photos, archives), 28 % records,
17 % pages, 13 % text and programs beside the real Debian, 3.5 % zeros (2.3 % of what is in use). ``python -m bench.mix``
measures it, here on version 2, and on version 1 (30 % programs, 29 % text, no records):

    zstd                              lost disk    version 2          version 1
    MB at level 3, windows of 4 MiB     3,845.9      3,809.8 -0.9 %     3,699.0 -3.8 %
    MB at level 1, windows of 1 MiB     4,009.0      3,943.8 -1.6 %     3,967.0 -1.1 %
    MB at level 3, windows of 1 MiB     3,886.3      3,836.3 -1.3 %     3,748.1 -3.6 %
    MB at level 5, windows of 1 MiB     3,841.8      3,795.4 -1.2 %     3,682.8 -4.1 %
    MB at level 3, windows of 16 MiB    3,831.8      3,802.8 -0.8 %     3,682.9 -3.9 %
    compression : BLAKE3                 0.0874       0.0913 +4.4 %      0.0630 -28 %
    decompression : BLAKE3               0.3939       0.4105 +4.2 %      0.2760 -30 %

Version 2 is thus a little easier for zstd than the lost disk. The speeds count the small holes that stay inside a frame as
zeros (9,987 MB for 8,653 MB in use); how the lost disk's were counted is not known.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from bench.content import Corpus, Mix, fill, read_corpus
from bench.disk import CACHE, DESCRIPTION, DISK, BenchDisk, BenchPartition, load, save
from bench.loop import loop_device, mounted
from rescue.errors import RescueError
from rescue.system.run import run
from rescue.units import GIB, MIB
from tests.vm.mirrors import debian_mirror

SECTOR = 512
HOUR = 3600.0

MOUNT_OPTIONS: Mapping[str, tuple[str, str]] = {
    "ext4": ("ext4", "noatime"),
    "ntfs": ("ntfs-3g", "noatime,big_writes"),
    "xfs": ("xfs", "noatime"),
    # Without nodiscard btrfs would punch what is deleted out of the file, and the free space would be clean.
    "btrfs": ("btrfs", "noatime,nodiscard"),
}


@dataclass(frozen=True, slots=True)
class Part:
    """One partition of the recipe: GPT type, size in MiB, file system, its content."""

    name: str
    type_guid: str
    mebibytes: int
    fs: str
    mix: Mix
    debian: bool = False


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that the disk depends on. ``version`` changes when the generating code does."""

    version: int
    suite: str
    packages: tuple[str, ...]
    size: int
    parts: tuple[Part, ...]

    @property
    def key(self) -> str:
        """A name for this recipe."""
        return hashlib.sha256(msgspec.json.encode(asdict(self), order="deterministic")).hexdigest()[:16]

    @property
    def tree_key(self) -> str:
        """A name for the Debian tree alone."""
        return hashlib.sha256(" ".join((self.suite, *self.packages)).encode()).hexdigest()[:16]


def _mix(text: int, program: int, packed: int, pages: int, records: int, zeros: int, deleted: int) -> Mix:
    """A mix in MiB."""
    return Mix(text * MIB, program * MIB, packed * MIB, pages * MIB, records * MIB, zeros * MIB, deleted * MIB)


_LINUX = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
RECIPE = Recipe(
    version=2,
    suite="trixie",
    packages=(
        *("build-essential", "clang", "firefox-esr", "fonts-noto-core", "git", "golang-go", "grub-pc-bin", "libreoffice-writer"),
        *("linux-headers-amd64", "linux-image-amd64", "man-db", "openjdk-21-jre-headless", "openssh-server", "perl-doc"),
        *("python3-numpy", "python3-scipy", "systemd-sysv", "vim"),
    ),
    size=12 * GIB,
    parts=(
        Part("ESP", "C12A7328-F81F-11D2-BA4B-00A0C93EC93B", 256, "fat32", _mix(2, 40, 20, 0, 0, 0, 0)),
        Part("debian", _LINUX, 5120, "ext4", _mix(60, 50, 360, 180, 300, 50, 450), debian=True),
        Part("windows", "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7", 2560, "ntfs", _mix(82, 170, 680, 264, 404, 50, 250)),
        Part("data", _LINUX, 2048, "xfs", _mix(90, 60, 480, 260, 420, 50, 200)),
        Part("snapshots", _LINUX, 2048, "btrfs", _mix(90, 80, 515, 250, 415, 40, 200)),
    ),
)


def debian_tree(recipe: Recipe, folder: Path) -> Path:
    """The Debian tree as a ``.tar.zst``, made by mmdebstrap and kept."""
    path = folder / f"debian-{recipe.tree_key}.tar.zst"
    if not path.exists():
        partial = folder / "debian.partial.tar.zst"
        mirror = debian_mirror()
        run(
            [
                "mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", "--components=main", "--dpkgopt=force-unsafe-io",
                '--aptopt=APT::Install-Recommends "false"', f"--include={','.join(recipe.packages)}",
                recipe.suite, str(partial), *([f"deb {mirror} {recipe.suite} main"] if mirror else []),
            ],
            timeout=HOUR,
        )  # fmt: skip
        partial.rename(path)
    return path


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def _write_table(disk: Path, recipe: Recipe) -> list[tuple[int, int]]:
    """Write the GPT with fixed GUIDs; the partitions as (start, size) in bytes."""
    lines, places, start = ["label: gpt", "label-id: 6F1C9F9E-0000-4000-8000-000000000000"], [], MIB
    for number, part in enumerate(recipe.parts, 1):
        size = part.mebibytes * MIB
        guid = f"6F1C9F9E-0000-4000-8000-{number:012d}"
        lines.append(f"start={start // SECTOR}, size={size // SECTOR}, type={part.type_guid}, uuid={guid}, name={part.name}")
        places.append((start, size))
        start += size
    run(["sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", str(disk)], stdin="\n".join(lines).encode())
    return places


def used_bytes(where: Path) -> int:
    """Bytes in use in a mounted file system."""
    os.sync()
    stat = os.statvfs(where)
    return (stat.f_blocks - stat.f_bfree) * stat.f_frsize


def fat_used(folder: Path) -> int:
    """Bytes that the files of a folder take on the ESP, each rounded up to whole clusters of 1 KiB."""
    return sum(-(-path.stat().st_size // 1024) * 1024 for path in folder.rglob("*") if path.is_file())


def _make_fat(disk: Path, place: tuple[int, int], mix: Mix, corpus: Corpus, seed: int) -> int:
    """An ESP, written through mtools: the kernel need not know vfat."""
    start, size = place
    # Two sectors a cluster: with mkfs.fat's own choice there are too few clusters for FAT32, and mtools refuses.
    lba = str(start // SECTOR)
    command = ["mkfs.fat", "-F", "32", "-s", "2", "-i", "0E5B0001", "-h", lba, "--offset", lba]
    run([*command, str(disk), str(size // 1024)])
    with TemporaryDirectory(dir=disk.parent) as scratch:
        folder = Path(scratch) / "EFI"
        fill(folder, mix, corpus, seed)
        run(["mcopy", "-s", "-Q", "-i", f"{disk}@@{start}", str(folder), "::/"], timeout=600)
        return fat_used(folder)


def _format(node: str, fs: str, start: int) -> None:
    """Make the file system on a node without discarding what was there."""
    match fs:
        case "ext4":
            run(["mkfs.ext4", "-q", "-F", "-E", "nodiscard", node], timeout=300)
        case "ntfs":
            run(
                ["mkfs.ntfs", "--quick", "--force", "--partition-start", str(start // SECTOR), "-H", "255", "-S", "63", node],
                timeout=300,
            )
        case "xfs":
            run(["mkfs.xfs", "-q", "-f", "-K", node], timeout=300)
        case "btrfs":
            run(["mkfs.btrfs", "--quiet", "--force", "--nodiscard", node], timeout=300)
        case _:
            raise RescueError(f"The recipe names an unknown file system: {fs}.")


def _make_volume(disk: Path, place: tuple[int, int], part: Part, tree: Path, corpus: Corpus, seed: int) -> int:
    """One partition through a loop device; bytes in use at the end."""
    start, size = place
    with loop_device(disk, start, size) as node:
        _format(node, part.fs, start)
        kind, options = MOUNT_OPTIONS[part.fs]
        with TemporaryDirectory(dir=disk.parent) as scratch, mounted(node, Path(scratch), kind, options) as where:
            if part.debian:
                run(
                    ["tar", "--extract", "--zstd", "--numeric-owner", "--xattrs", "-f", str(tree), "-C", str(where)], timeout=HOUR
                )
            doomed = fill(where / "home" if part.debian else where / "files", part.mix, corpus, seed)
            # The noise must reach the disk before it is deleted, or the free space would stay clean.
            os.sync()
            for path in doomed:
                path.unlink()
            return used_bytes(where)


def make_disk(recipe: Recipe = RECIPE, folder: Path = CACHE) -> BenchDisk:
    """Generate the disk unless one of this recipe is there. Raises RescueError when a tool or the mirror fails."""
    known = load(folder / DESCRIPTION.name)
    if known and known.key == recipe.key and (folder / DISK.name).exists():
        return known
    folder.mkdir(parents=True, exist_ok=True)
    (folder / DESCRIPTION.name).unlink(missing_ok=True)
    _say("Debian tree")
    tree = debian_tree(recipe, folder)
    _say("corpus")
    corpus = read_corpus(tree)
    partial = folder / "disk.partial"
    partial.unlink(missing_ok=True)
    partial.touch()
    os.truncate(partial, recipe.size)
    places = _write_table(partial, recipe)
    partitions: list[BenchPartition] = []
    for number, (part, place) in enumerate(zip(recipe.parts, places, strict=True), 1):
        _say(f"partition {number}: {part.fs}")
        if part.fs == "fat32":
            used = _make_fat(partial, place, part.mix, corpus, number)
        else:
            used = _make_volume(partial, place, part, tree, corpus, number)
        partitions.append(BenchPartition(number, *place, part.fs, used))
    disk = BenchDisk(recipe.key, recipe.size, tuple(partitions))
    os.sync()
    partial.rename(folder / DISK.name)
    save(disk, folder / DESCRIPTION.name)
    _say(f"done: {disk.used} bytes in use of {disk.size}")
    return disk


def main() -> int:
    """Make the disk and print its description."""
    needed = ("mmdebstrap", "sfdisk", "mkfs.fat", "mcopy", "mkfs.ext4", "mkfs.ntfs", "ntfs-3g", "mkfs.xfs", "mkfs.btrfs", "zstd")
    if missing := [tool for tool in needed if not shutil.which(tool)]:
        print(f"Missing: {', '.join(missing)}. Install what bench/packages.txt names.", file=sys.stderr)
        return 1
    try:
        make_disk()
    except RescueError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print((CACHE / DESCRIPTION.name).read_text(), end="")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
