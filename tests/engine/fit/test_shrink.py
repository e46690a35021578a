"""Volumes made smaller over an overlay by their own tools: whole, equal, and what they come from untouched."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from rescue.engine import ext_times, shrink
from rescue.engine.checkers import check
from rescue.engine.ext_times import folder_times_kept
from rescue.engine.minimum import minimum_size
from rescue.engine.overlay import SourceBlocks, overlay_estimate, volume_overlay
from rescue.engine.resizing import EXT, nothing
from rescue.engine.shrink import NotSmallerError, shrunk
from rescue.errors import CancelledError, DamagedError, RefusedError, SourceReadError, UnsupportedError, UsageError
from rescue.filesystems.ext_superblock import read_superblock
from rescue.filesystems.files.ext_tree import ExtTree
from rescue.filesystems.files.tree import Entry
from rescue.filesystems.identify import identify
from rescue.filesystems.maps import used_map
from rescue.images.chain import Chain
from rescue.images.view import ImageView
from rescue.model.extents import ExtentMap
from rescue.model.source import SliceSource, Source
from rescue.model.volume import Identity
from rescue.system.blockfile import FileSource
from rescue.system.run import run
from rescue.units import GIB, KIB, MIB, human_size
from tests.engine.filesystems.oracle import Tree, describe, fill, thin_out
from tests.engine.fit.volumes import START, Disk, copy_used, make, opened
from tests.engine.images.test_mounting import capture
from tests.hashes import digest

pytestmark = pytest.mark.engine

KINDS = ("ext4", "ext4-1k", "ext4-old", "ext3", "ext2", "ntfs", "btrfs", "btrfs-xxhash")


def _filled(path: Path, kind: str, size: int, amount: int) -> tuple[Disk, Tree]:
    disk = make(path, kind, size)
    driver = disk.identity.type
    with opened(path, disk.start, disk.end, driver) as folder:
        for number in range(4):
            fill(folder / f"old {number}", number, amount // 3)
            os.sync()
        for number in range(3):
            shutil.rmtree(folder / f"old {number}")
        thin_out(folder / "old 3", 2)
        if driver == "btrfs":
            run(["btrfs", "subvolume", "create", str(folder / "volume below")])
            run(["btrfs", "subvolume", "snapshot", str(folder / "volume below"), str(folder / "snapshot")])
        fill(folder / "new", 5, amount)
        tree = describe(folder)
    return disk, tree


@pytest.mark.parametrize("kind", KINDS)
def test_shrunk_to_its_minimum_it_is_whole_and_the_disk_is_untouched(kind: str, tmp_path: Path) -> None:
    disk, tree = _filled(tmp_path / "disk", kind, 2 * GIB, 150 * MIB)
    before = digest(disk.path)
    overlay = tmp_path / "overlay"
    overlay.mkdir()
    with disk.blocks() as blocks:
        least = minimum_size(blocks, disk.start, disk.end, disk.identity, folder=overlay)
        assert least.how == "shrink"
        assert 150 * MIB < least.bytes < 700 * MIB
        if disk.identity.type in EXT:  # resize2fs says more than half as much again
            with FileSource(disk.path) as source:
                in_use = used_map(SliceSource(source, disk.start, disk.end), disk.identity, path="", offset=0).extents.total
            assert least.bytes < in_use * 1.05 + 10 * MIB
        new = max(least.bytes, 200 * MIB)
        target = tmp_path / "target"
        with shrunk(blocks, disk.start, disk.end, disk.identity, new, folder=overlay) as volume:
            assert volume.source.size == new
            assert volume.used.end <= new
            copy_used(volume.source, volume.used, target, START, new)
            assert human_size(new) in volume.said
    assert list(overlay.iterdir()) == []
    assert digest(disk.path) == before
    driver = disk.identity.type
    assert identify(str(target), START, new) == disk.identity
    with opened(target, START, START + new, driver, "ro") as folder:
        assert describe(folder) == tree
    volume_only = tmp_path / "volume"
    run(["dd", f"if={target}", f"of={volume_only}", "bs=1M", f"skip={START // MIB}", "conv=sparse", "status=none"])
    found = check(driver, str(volume_only), dirty=False, timeout=300)
    assert found.done
    assert not found.problem


@pytest.mark.parametrize("kind", ["ext4", "ext4-128", "ext2-untyped"])
def test_folders_keep_their_times(kind: str, tmp_path: Path) -> None:
    """resize2fs gives the present time to every folder that names an inode with another number."""
    disk = make(tmp_path / "disk", kind, 4 * GIB)
    times = [-1, 0, 2**31 - 1, 981173106, -(2**31)]
    if kind == "ext4":
        times = [time * 10**9 + 123456789 for time in (*times, 2**31, 2**32, 2**33 - 1, -(2**30))]
    else:
        times = [time * 10**9 for time in times]
    with opened(disk.path, disk.start, disk.end, disk.identity.type) as top:
        folders = [top / f"folder {a}" / str(b) for a in range(40) for b in range(10)]
        for folder in folders:
            folder.mkdir(parents=True)
            (folder / "file").write_bytes(b"content")
            (folder / "link").symlink_to("file")
        for number, path in enumerate(sorted(top.rglob("*"), reverse=True)):
            os.utime(path, ns=(0, times[number % len(times)]), follow_symlinks=False)
        os.utime(top, ns=(0, times[3]))
        wanted = _times(top)
        numbers = _inodes(top)
    with disk.blocks() as blocks, shrunk(blocks, disk.start, disk.end, disk.identity, 200 * MIB, folder=tmp_path) as volume:
        copy_used(volume.source, volume.used, tmp_path / "target", START, 200 * MIB)
    with opened(tmp_path / "target", START, START + 200 * MIB, disk.identity.type, "ro") as top:
        assert _times(top) == wanted
        assert _inodes(top) != numbers


def test_attributes_where_others_have_parts_of_seconds_stay(tmp_path: Path) -> None:
    """Inodes by the ext3 of old kernels: four bytes of extra fields, and behind them the attributes."""
    volume = tmp_path / "volume"
    run(["mkfs.ext3", "-q", "-F", "-I", "256", str(volume), "64M"])
    names = [f"folder{number}" for number in range(5)]
    lines = [f"mkdir {name}\nset_inode_field {name} extra_isize 4\nea_set {name} user.note kept-{name}\n" for name in names]
    (tmp_path / "script").write_text("".join(lines))
    run(["debugfs", "-w", "-f", str(tmp_path / "script"), str(volume)])
    touch = "".join(f"set_inode_field {name} mtime_lo 77\n" for name in names)
    (tmp_path / "script").write_text(touch)
    with FileSource(volume) as source:
        before = [(entry.path, entry.modified) for entry in _folders_of(source)]
    with folder_times_kept(str(volume), nothing):
        run(["debugfs", "-w", "-f", str(tmp_path / "script"), str(volume)])
        with FileSource(volume) as source:
            assert {entry.modified for entry in _folders_of(source)} == {77 * 10**9}
    with FileSource(volume) as source:
        tree = ExtTree(source)
        assert [(entry.path, entry.modified) for entry in _folders_of(source)] == before
        for entry in _folders_of(source):
            assert tree.xattrs(entry) == {"user.note": f"kept-{entry.path}".encode()}
    run(["e2fsck", "-f", "-n", str(volume)])


def _folders_of(source: Source) -> list[Entry]:
    tree = ExtTree(source)
    return [entry for entry in tree.children(tree.root()) if entry.name.startswith("folder")]


def test_more_folders_than_are_done_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ext_times, "_AT_ONCE", 7)
    volume = tmp_path / "volume"
    top = tmp_path / "top"
    for number in range(50):
        (top / f"folder{number}").mkdir(parents=True)
    run(["mkfs.ext4", "-q", "-F", "-d", str(top), str(volume), "64M"])
    with FileSource(volume) as source:
        before = [(entry.path, entry.modified) for entry in _folders_of(source)]
    with folder_times_kept(str(volume), nothing):
        touch = "".join(f"set_inode_field folder{number} mtime_lo 77\n" for number in range(50))
        (tmp_path / "script").write_text(touch)
        run(["debugfs", "-w", "-f", str(tmp_path / "script"), str(volume)])
    with FileSource(volume) as source:
        assert [(entry.path, entry.modified) for entry in _folders_of(source)] == before


def _inodes(top: Path) -> set[int]:
    return {path.lstat().st_ino for path in top.rglob("*")}


def _times(top: Path) -> dict[str, int]:
    return {str(path.relative_to(top)): path.lstat().st_mtime_ns for path in (top, *top.rglob("*"))}


def _small(path: Path, kind: str = "ext4") -> Disk:
    disk = make(path, kind, 400 * MIB)
    with opened(path, disk.start, disk.end, disk.identity.type) as folder:
        fill(folder / "files", 1, 60 * MIB)
    return disk


def _refused(disk: Disk, size: int, folder: Path, blocks: SourceBlocks | None = None) -> Callable[[], None]:
    def attempt() -> None:
        with (
            FileSource(disk.path) as source,
            shrunk(blocks or SourceBlocks(source), disk.start, disk.end, disk.identity, size, folder=folder),
        ):
            raise AssertionError("it was made smaller")

    return attempt


@pytest.mark.parametrize("kind", ["ext4", "ntfs", "btrfs"])
def test_too_small_is_refused_with_numbers(kind: str, tmp_path: Path) -> None:
    disk = _small(tmp_path / "disk", kind)
    before = digest(disk.path)
    with pytest.raises(RefusedError, match=r"cannot be made smaller than \d{8,} bytes .*; 52428800 bytes \(50\.0 MiB\)"):
        _refused(disk, 50 * MIB, tmp_path)()
    assert digest(disk.path) == before


def test_a_journal_is_replayed_over_the_overlay(tmp_path: Path) -> None:
    disk = make(tmp_path / "disk", "ext4", 400 * MIB)
    copy = tmp_path / "copy"
    with opened(disk.path, disk.start, disk.end, "ext4") as folder:
        fill(folder / "files", 1, 30 * MIB)
        for path in [folder, *(p for p in sorted((folder / "files").rglob("*")) if not p.is_symlink())]:
            fd = os.open(path, os.O_RDONLY)
            os.fsync(fd)
            os.close(fd)
        tree = describe(folder)
        shutil.copyfile(disk.path, copy)
    before = digest(copy)
    with FileSource(copy) as source:
        blocks = SourceBlocks(source)
        assert minimum_size(blocks, disk.start, disk.end, disk.identity, folder=tmp_path).how == "shrink"
        with shrunk(blocks, disk.start, disk.end, disk.identity, 200 * MIB, folder=tmp_path) as volume:
            copy_used(volume.source, volume.used, tmp_path / "target", START, 200 * MIB)
    assert digest(copy) == before
    with opened(tmp_path / "target", START, START + 200 * MIB, "ext4", "ro") as folder:
        assert describe(folder) == tree


def _damage(disk: Disk, patches: dict[int, bytes]) -> None:
    with disk.path.open("r+b") as file:
        for place, data in patches.items():
            file.seek(disk.start + place)
            file.write(data)


def test_a_damaged_ext_is_refused(tmp_path: Path) -> None:
    disk = _small(tmp_path / "disk")
    said = run(["dumpe2fs", f"{disk.path}?offset={disk.start}"]).text
    table = int(next(line for line in said.splitlines() if "Inode table at" in line).split("at ")[1].split("-")[0])
    with FileSource(disk.path) as source:
        block = read_superblock(SliceSource(source, disk.start, disk.end)).block_size
    _damage(disk, {table * block: os.urandom(3 * 4096)})
    before = digest(disk.path)
    with pytest.raises(DamagedError, match=r"damaged beyond what its journal repairs"):
        _refused(disk, 300 * MIB, tmp_path)()
    assert digest(disk.path) == before


def test_an_ntfs_that_windows_must_look_at_first_is_refused(tmp_path: Path) -> None:
    disk = _small(tmp_path / "disk", "ntfs")
    with opened(disk.path, disk.start, disk.end, "ntfs") as folder:
        (folder / "hiberfil.sys").write_bytes(b"hibr" + os.urandom(4096))
    with pytest.raises(DamagedError, match=r"Windows is hibernated") as caught:
        _refused(disk, 300 * MIB, tmp_path)()
    assert "shut it down completely" in caught.value.hint
    with disk.blocks() as blocks:
        least = minimum_size(blocks, disk.start, disk.end, disk.identity, folder=tmp_path)
    assert (least.bytes, least.how) == (400 * MIB, "fixed")
    assert "hibernated" in least.because


def test_a_damaged_btrfs_is_refused(tmp_path: Path) -> None:
    disk = _small(tmp_path / "disk", "btrfs")
    with FileSource(disk.path) as source:
        data = source.pread(disk.end - disk.start, disk.start)
    # Nodes hold the UUID behind their checksum; the superblock is at 64 KiB. Both copies of all but the first MiB are spoilt.
    mark = bytes.fromhex(disk.identity.uuid.replace("-", ""))
    places = []
    place = data.find(mark, MIB)
    while place >= 0:
        places.append(place)
        place = data.find(mark, place + 4096)
    _damage(disk, {place + 200: os.urandom(64) for place in places if (place - 32) % 16384 == 0})
    with pytest.raises(DamagedError, match="cannot be made smaller"):
        _refused(disk, 390 * MIB, tmp_path)()


def test_an_overlay_without_room_is_refused_before_anything_moves(tmp_path: Path) -> None:
    disk = _small(tmp_path / "disk")
    folder = tmp_path / "small"
    folder.mkdir()
    run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(folder)])
    try:
        with pytest.raises(RefusedError, match=r"takes about \d.* for a time; .*/small has .* free"):
            _refused(disk, 300 * MIB, folder)()
    finally:
        run(["umount", str(folder)])


def test_an_overlay_that_fills_up_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = make(tmp_path / "disk", "ext4", 600 * MIB)
    with opened(disk.path, disk.start, disk.end, "ext4") as root:
        for number in range(4):
            fill(root / f"{number}", number, 120 * MIB)
        shutil.rmtree(root / "0")
        shutil.rmtree(root / "1")
    monkeypatch.setattr("rescue.engine.overlay.overlay_estimate", lambda used, size: 0)
    folder = tmp_path / "small"
    folder.mkdir()
    run(["mount", "-t", "tmpfs", "-o", "size=6m", "none", str(folder)])
    try:
        with pytest.raises(RefusedError, match=r"/small has no room left"):
            _refused(disk, 420 * MIB, folder)()
    finally:
        run(["umount", str(folder)])


class _Failing(SourceBlocks):
    """A disk with a place that cannot be read."""

    def __init__(self, source: Source, bad: int) -> None:
        super().__init__(source)
        self._bad = bad

    def pread(self, length: int, offset: int) -> bytes:
        if offset <= self._bad < offset + length:
            raise SourceReadError("The disk cannot be read there.", self._bad, 512)
        return super().pread(length, offset)

    def pread_into(self, buffer: memoryview, offset: int) -> None:
        buffer[:] = self.pread(len(buffer), offset)


@pytest.mark.parametrize(("kind", "bad"), [("ext4", 4096), ("ntfs", 16 * KIB), ("btrfs", 64 * KIB)])
def test_a_disk_that_cannot_be_read_is_named(kind: str, bad: int, tmp_path: Path) -> None:
    """It is not called a damaged file system, which somebody might try to repair."""
    disk = _small(tmp_path / "disk", kind)
    with FileSource(disk.path) as source, pytest.raises(SourceReadError, match=r"The disk cannot be read there"):
        _refused(disk, 300 * MIB, tmp_path, _Failing(source, disk.start + bad))()


def test_what_was_lost_is_not_taken_for_written(tmp_path: Path) -> None:
    """The kernel has told another program, which did not care, and shows what it could not keep as long as it remembers."""
    disk = tmp_path / "disk"
    disk.touch()
    os.truncate(disk, 32 * MIB)
    folder = tmp_path / "small"
    folder.mkdir()
    run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)])
    try:
        with FileSource(disk) as source, volume_overlay(SourceBlocks(source), 0, source.size, folder=folder) as overlay:
            with open(overlay.path, "r+b") as file:
                file.write(b"A" * (8 * MIB))
                with pytest.raises(OSError):
                    os.fsync(file)
            with pytest.raises(RefusedError, match=r"/small has no room left"):
                overlay.settle()
    finally:
        run(["umount", str(folder)])


def test_it_can_be_stopped(tmp_path: Path) -> None:
    disk = _small(tmp_path / "disk")
    before = digest(disk.path)
    calls = 0

    def stop() -> None:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise CancelledError("stopped")

    with (
        disk.blocks() as blocks,
        pytest.raises(CancelledError),
        shrunk(blocks, disk.start, disk.end, disk.identity, 300 * MIB, folder=tmp_path, check=stop),
    ):
        pass
    assert digest(disk.path) == before


def test_swap_keeps_its_names(tmp_path: Path) -> None:
    path = tmp_path / "swap"
    with path.open("wb") as file:
        file.truncate(64 * MIB)
    run(["mkswap", "-U", "a1b2c3d4-0102-4304-8506-0708090a0b0c", "-L", "swap here", str(path)])
    identity = identify(str(path), 0, 64 * MIB)
    with FileSource(path) as source, shrunk(SourceBlocks(source), 0, 64 * MIB, identity, 10 * MIB, folder=tmp_path) as volume:
        assert volume.used == ExtentMap([(0, 4096)])
        copy_used(volume.source, volume.used, tmp_path / "copy", 0, 10 * MIB)
    assert identify(str(tmp_path / "copy"), 0, 10 * MIB) == identity
    header = (tmp_path / "copy").read_bytes()[:4096]
    assert int.from_bytes(header[1028:1032], "little") == 10 * MIB // 4096 - 1


@pytest.mark.parametrize(
    ("kind", "size", "error"),
    [("xfs", MIB, UnsupportedError), ("", MIB, UnsupportedError), ("ext4", 0, UsageError), ("ext4", 9 * MIB, UsageError)],
)
def test_what_makes_no_sense_is_refused(kind: str, size: int, error: type[Exception], tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(bytes(8 * MIB))
    with pytest.raises(error):
        _refused(Disk(path, 0, 8 * MIB, Identity(kind)), size, tmp_path)()


def test_the_estimate_holds(tmp_path: Path) -> None:
    """What is written to the overlay is no more than was said before, where free space is in pieces."""
    disk = make(tmp_path / "disk", "ext4", 600 * MIB)
    with opened(disk.path, disk.start, disk.end, "ext4") as root:
        chance = random.Random(1)
        for number in range(1500):
            (root / str(number)).write_bytes(chance.randbytes(chance.choice((9_000, 70_000, 500_000))))
        os.sync()
        for number in range(0, 1500, 2):
            (root / str(number)).unlink()
    folder = tmp_path / "room"
    folder.mkdir()
    run(["mount", "-t", "tmpfs", "-o", "size=1g", "none", str(folder)])
    try:
        with disk.blocks() as blocks:
            least = minimum_size(blocks, disk.start, disk.end, disk.identity, folder=folder).bytes
            used = used_map(SliceSource(blocks, disk.start, disk.end), disk.identity, path="", offset=0)
            with shrunk(blocks, disk.start, disk.end, disk.identity, least, folder=folder):
                found = os.statvfs(folder)
                taken = (found.f_blocks - found.f_bfree) * found.f_frsize
            estimate = overlay_estimate(used.extents, least)
            assert taken <= estimate
            assert estimate < 6 * taken
    finally:
        run(["umount", str(folder)])


@pytest.mark.parametrize("kind", ["ext4", "ntfs", "btrfs"])
def test_the_volume_in_an_image(kind: str, tmp_path: Path) -> None:
    """An image holds the used blocks only; what is not in it reads as zeros."""
    made = _small(tmp_path / "disk", kind)
    alone = tmp_path / "alone"
    run(["dd", f"if={made.path}", f"of={alone}", "bs=1M", f"skip={START // MIB}", "count=400", "conv=sparse", "status=none"])
    driver = made.identity.type
    with opened(alone, 0, 400 * MIB, driver, "ro") as folder:
        tree = describe(folder)
    image = capture(alone, tmp_path / "image")
    before = digest(image)
    target = tmp_path / "target"
    with Chain(image) as chain:
        (volume,) = chain.manifest.volumes
        view = ImageView(chain)
        least = minimum_size(view, volume.start, volume.end, volume.identity, folder=tmp_path)
        new = min(max(least.bytes, 300 * MIB), 400 * MIB)
        assert least.how == "shrink"
        with shrunk(view, volume.start, volume.end, volume.identity, new, folder=tmp_path) as result:
            copy_used(result.source, result.used, target, START, new)
    assert digest(image) == before
    with opened(target, START, START + new, driver, "ro") as folder:
        assert describe(folder) == tree


def test_a_btrfs_whose_block_groups_find_no_room_below_its_new_end(tmp_path: Path) -> None:
    """They go elsewhere as a whole: the last ones have nowhere to go while they are in each other's way."""
    disk = make(tmp_path / "disk", "btrfs", 4 * GIB)
    with opened(disk.path, disk.start, disk.end, "btrfs", "rw,nodiscard") as folder:
        for number in range(28):
            with (folder / f"file {number}").open("wb") as file:
                file.write(os.urandom(MIB))
                os.posix_fallocate(file.fileno(), 0, 50 * MIB)
        os.sync()
        for number in range(0, 28, 4):
            (folder / f"file {number}").unlink()
        tree = describe(folder)
    target = tmp_path / "target"
    with disk.blocks() as blocks:
        new = minimum_size(blocks, disk.start, disk.end, disk.identity, folder=tmp_path).bytes
        assert new < 1700 * MIB
        with shrunk(blocks, disk.start, disk.end, disk.identity, new, folder=tmp_path) as volume:
            copy_used(volume.source, volume.used, target, START, new)
    with opened(target, START, START + new, "btrfs", "ro") as folder:
        assert describe(folder) == tree


def test_a_btrfs_is_made_smaller_beside_the_one_that_it_comes_from(tmp_path: Path) -> None:
    """The kernel knows the source by the same UUID; it must not take one for the other."""
    disk, tree = _filled(tmp_path / "disk", "btrfs", 2 * GIB, 60 * MIB)
    with opened(disk.path, disk.start, disk.end, "btrfs", "ro") as source:
        before = digest(disk.path)
        with disk.blocks() as blocks, shrunk(blocks, disk.start, disk.end, disk.identity, 600 * MIB, folder=tmp_path) as volume:
            copy_used(volume.source, volume.used, tmp_path / "target", START, 600 * MIB)
        assert describe(source) == tree
    assert digest(disk.path) == before
    assert identify(str(tmp_path / "target"), START, 600 * MIB) == disk.identity
    with opened(tmp_path / "target", START, START + 600 * MIB, "btrfs", "ro") as folder:
        assert describe(folder) == tree


def test_what_is_not_in_order_after_its_own_program_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was sound before: the throw-away copy is at fault, and another way can be gone."""
    made = make(tmp_path / "disk", "ext4", 200 * MIB)

    def unsound(identity: Identity, path: str) -> None:
        raise DamagedError(f"{identity.type} on {path}: free blocks count wrong.")

    monkeypatch.setattr(shrink, "require_sound", unsound)
    with (
        FileSource(made.path) as disk,
        pytest.raises(NotSmallerError, match="free blocks count wrong") as failed,
        shrunk(SourceBlocks(disk), made.start, made.end, made.identity, 100 * MIB),
    ):
        pass
    assert "the original is not changed" in failed.value.hint
