"""Identification and the choice of a reader, on real file systems at an offset inside a file."""

from __future__ import annotations

import random
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest

from rescue.errors import ProgramError
from rescue.filesystems.identify import identify
from rescue.filesystems.maps import used_map
from rescue.model.source import SliceSource
from rescue.model.volume import Identity, UsedMap
from rescue.system.blockfile import FileSource
from rescue.system.loop import loop_device
from rescue.system.run import run
from rescue.units import KIB, MIB
from tests.engine.filesystems.oracle import Tree, describe, noise_file, restore_onto_noise, sparse_file

pytestmark = pytest.mark.engine

_OFFSET = 3 * MIB + 512  # no multiple of any block size
_SIZE = 320 * MIB


def _place(tmp_path: Path, *command: str, size: int = _SIZE) -> Path:
    """A disk of noise with a file system made by ``command`` at the offset."""
    volume = sparse_file(tmp_path / "volume", size)
    run([*command, str(volume)], timeout=120)
    disk = noise_file(tmp_path / "disk", _OFFSET + size + 1 * MIB)
    run(["dd", f"if={volume}", f"of={disk}", "bs=1M", f"seek={_OFFSET}", "oflag=seek_bytes", "conv=notrunc"])
    volume.unlink()
    return disk


def _map(disk: Path, size: int, *, mounted: bool = False) -> tuple[Identity, UsedMap]:
    identity = identify(str(disk), _OFFSET, size)
    with FileSource(disk) as source:
        volume = SliceSource(source, _OFFSET, _OFFSET + size)
        return identity, used_map(volume, identity, path=str(disk), offset=_OFFSET, mounted=mounted)


@pytest.mark.parametrize(
    ("kind", "command"),
    [
        ("ext2", ("mke2fs", "-q", "-F", "-t", "ext2")),
        ("ext3", ("mke2fs", "-q", "-F", "-t", "ext3")),
        ("ext4", ("mke2fs", "-q", "-F", "-t", "ext4")),
        ("xfs", ("mkfs.xfs", "-q", "-f")),
        ("btrfs", ("mkfs.btrfs", "-q", "-f")),
        ("ntfs", ("mkntfs", "-q", "-F", "-Q", "-p", "0", "-s", "512", "-H", "16", "-S", "63")),
        ("vfat", ("mkfs.vfat",)),
        ("exfat", ("mkfs.exfat",)),
        ("swap", ("mkswap", "-q")),
        ("f2fs", ("mkfs.f2fs", "-q", "-f")),
    ],
)
def test_each_has_its_reader(kind: str, command: tuple[str, ...], tmp_path: Path) -> None:
    disk = _place(tmp_path, *command)
    identity, used = _map(disk, _SIZE)
    assert identity.type == kind
    assert not used.whole_because
    assert 0 < used.extents.total < _SIZE // 2
    assert used.extents.end <= _SIZE
    assert _map(disk, _SIZE, mounted=True)[1].whole_because.startswith("It is mounted")


def test_label_and_uuid_come_out_as_they_went_in(tmp_path: Path) -> None:
    label, uuid = "a b\\x41'\"$é\nTYPE", "0f3b8f8e-4c6e-4f3e-9a43-0a8d5a7b1c2d"
    disk = _place(tmp_path, "mke2fs", "-q", "-F", "-t", "ext4", "-L", label, "-U", uuid, size=32 * MIB)
    identity = identify(str(disk), _OFFSET, 32 * MIB)
    # libblkid itself trims and replaces nothing here; 16 bytes are all the label there is room for.
    assert identity == Identity("ext4", "filesystem", label.encode()[:16].decode(), uuid, "1.0")


def test_two_answers_are_none(tmp_path: Path) -> None:
    disk = _place(tmp_path, "mkfs.xfs", "-q", "-f")
    with disk.open("r+b") as file:  # an ext superblock between the sectors that xfs uses
        other = sparse_file(tmp_path / "other", 32 * MIB)
        run(["mkfs.btrfs", "-q", "-f", "-M", str(sparse_file(tmp_path / "other", 128 * MIB))])
        file.seek(_OFFSET + 64 * KIB)
        file.write(other.read_bytes()[64 * KIB : 68 * KIB])
    identity, used = _map(disk, _SIZE)
    assert identity == Identity()
    assert used.extents.total == _SIZE
    assert "No file system" in used.whole_because


def test_noise_is_whole(tmp_path: Path) -> None:
    disk = noise_file(tmp_path / "disk", _OFFSET + 8 * MIB)
    identity, used = _map(disk, 8 * MIB)
    assert identity == Identity()
    assert used == UsedMap.whole(8 * MIB, "No file system that this program knows was found on it.")


@pytest.mark.parametrize(
    ("kind", "command", "said"),
    [
        ("jbd", ("mke2fs", "-q", "-F", "-O", "journal_dev"), "journal of another"),
        ("minix", ("mkfs.minix",), "minix"),
    ],
)
def test_what_has_no_map_is_whole(kind: str, command: tuple[str, ...], said: str, tmp_path: Path) -> None:
    disk = _place(tmp_path, *command, size=48 * MIB)
    identity, used = _map(disk, 48 * MIB)
    assert identity.type == kind
    assert used.extents.total == 48 * MIB
    assert said in used.whole_because


@pytest.mark.parametrize("page", [4 * KIB, 64 * KIB])
def test_swap_keeps_its_header_label_and_uuid(page: int, tmp_path: Path) -> None:
    disk = _place(tmp_path, "mkswap", "-q", "-p", str(page), "-L", "swap of two", size=32 * MIB)
    identity, used = _map(disk, 32 * MIB)
    assert list(used.extents) == [(0, page)]
    restored = restore_onto_noise(disk, used.extents.shift(_OFFSET), tmp_path / "restored")
    assert identify(str(restored), _OFFSET, 32 * MIB) == identity
    assert identity.label == "swap of two"


@pytest.mark.parametrize("mark", [b"S1SUSPEND\0", b"ULSUSPEND\0", b"LINHIB0001"])
def test_a_hibernated_system_is_whole(mark: bytes, tmp_path: Path) -> None:
    disk = _place(tmp_path, "mkswap", "-q", size=32 * MIB)
    with disk.open("r+b") as file:
        file.seek(_OFFSET + 4096 - 10)
        file.write(mark)
    _, used = _map(disk, 32 * MIB)
    assert used == UsedMap.whole(32 * MIB, "It holds a hibernated system.")


def test_what_is_encrypted_is_whole(tmp_path: Path) -> None:
    disk = noise_file(tmp_path / "disk", _OFFSET + 8 * MIB)
    with disk.open("r+b") as file:  # LUKS On-Disk Format 1.2, "PHDR": magic, version, and the UUID at 168
        file.seek(_OFFSET)
        file.write(b"LUKS\xba\xbe\0\1".ljust(168, b"\0") + b"0f3b8f8e-4c6e-4f3e-9a43-0a8d5a7b1c2d".ljust(40, b"\0"))
    identity, used = _map(disk, 8 * MIB)
    assert identity.type == "crypto_LUKS"
    assert used.extents.total == 8 * MIB
    assert "encrypted" in used.whole_because


def _read_f2fs(disk: Path, folder: Path) -> Tree:
    """This kernel has no f2fs, so its own check and dump tools read it, inode by inode."""
    folder.mkdir()
    with loop_device(str(disk), offset=_OFFSET, size=_SIZE) as node:
        said = run(["fsck.f2fs", "--dry-run", node]).text
        assert "[Fail]" not in said
        assert "[Ok..]" in said
        for inode in range(4, 140):
            run(["env", "-C", str(folder), "dump.f2fs", "-i", f"{inode:x}", node], stdin=b"y\n", timeout=120)
    return describe(folder)


def test_f2fs_is_restored_from_its_map(tmp_path: Path) -> None:
    content = tmp_path / "content"
    content.mkdir()
    chance = random.Random(3)
    for number in range(50):
        (content / f"file {number}").write_bytes(chance.randbytes(chance.choice([10, 5000, 70_000, 700_000])))
    volume = sparse_file(tmp_path / "volume", _SIZE)
    run(["mkfs.f2fs", "-q", "-f", str(volume)])
    run(["sload.f2fs", "-f", str(content), str(volume)], timeout=120)
    disk = noise_file(tmp_path / "disk", _OFFSET + _SIZE)
    run(["dd", f"if={volume}", f"of={disk}", "bs=1M", f"seek={_OFFSET}", "oflag=seek_bytes", "conv=notrunc"])
    _, used = _map(disk, _SIZE)
    assert not used.whole_because
    assert used.extents.total < 64 * MIB
    restored = restore_onto_noise(disk, used.extents.shift(_OFFSET), tmp_path / "restored")
    tree = _read_f2fs(disk, tmp_path / "read from the original")
    assert sum(text.startswith("file") for text in tree.values()) == 50
    assert _read_f2fs(restored, tmp_path / "read from the restored") == tree


def test_f2fs_with_more_behind_its_checkpoint_is_whole(tmp_path: Path) -> None:
    disk = _place(tmp_path, "mkfs.f2fs", "-q", "-f")
    with disk.open("r+b") as file:  # what the kernel leaves while it is mounted: both checkpoints without the flag
        file.seek(_OFFSET + 1024 + 76)
        first = int.from_bytes(file.read(4), "little")
        for block in (first, first + 512):
            file.seek(_OFFSET + block * 4096)
            checkpoint = bytearray(file.read(4096))
            if not any(checkpoint):
                continue
            count = int.from_bytes(checkpoint[136:140], "little")
            checkpoint[132] &= ~1
            sum_ = zlib.crc32(checkpoint[:4092], 0xF2F52010 ^ 0xFFFFFFFF) ^ 0xFFFFFFFF
            checkpoint[4092:] = sum_.to_bytes(4, "little")
            for place in (block, block + count - 1):
                file.seek(_OFFSET + place * 4096)
                file.write(checkpoint)
    identity, used = _map(disk, _SIZE)
    assert identity.type == "f2fs"
    assert "not cleanly unmounted" in used.whole_because
    assert used.extents.total == _SIZE


def test_a_loop_device_is_read_only_and_goes_away(tmp_path: Path) -> None:
    disk = noise_file(tmp_path / "disk", 4 * MIB)
    with loop_device(str(disk), offset=1 * MIB, size=2 * MIB) as node:
        with FileSource(node) as source:
            assert source.size == 2 * MIB
            assert source.pread(4096, 0) == disk.read_bytes()[1 * MIB : 1 * MIB + 4096]
        with pytest.raises(OSError, match=r"Operation not permitted|Read-only"):
            Path(node).write_bytes(b"no")
        assert str(disk) in run(["losetup", node]).text
    assert subprocess.run(["losetup", "--associated", str(disk)], capture_output=True, check=True).stdout == b""
    with pytest.raises(ProgramError), loop_device(str(tmp_path / "nothing"), offset=0, size=512):
        pass


def test_a_loop_device_goes_with_the_process_that_is_killed(tmp_path: Path) -> None:
    disk = noise_file(tmp_path / "disk", 4 * MIB)
    script = (
        "import os, sys\nfrom rescue.system.loop import loop_device\n"
        "with loop_device(sys.argv[1], offset=0, size=1 << 20, writable=True):\n    os.kill(os.getpid(), 9)\n"
    )
    for _ in range(5):
        assert subprocess.run([sys.executable, "-c", script, str(disk)], check=False).returncode == -9
    deadline = time.monotonic() + 10
    while run(["losetup", "--associated", str(disk)]).stdout:  # udev may still look at it
        assert time.monotonic() < deadline
        time.sleep(0.05)
