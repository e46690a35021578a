"""Which volumes care about the size of sectors, found out on real ones, and NTFS that is made to count in others."""

from __future__ import annotations

from pathlib import Path

import pytest

from rescue.engine.hidden_sectors import set_hidden_sectors
from rescue.engine.sectors import sector_fit, set_ntfs_sectors
from rescue.errors import FormatError
from rescue.filesystems.identify import identify
from rescue.model.source import SliceSource
from rescue.model.volume import Identity
from rescue.system.blockfile import FileSink, FileSource
from rescue.system.loop import loop_device
from rescue.system.run import run
from rescue.units import KIB, MIB

pytestmark = pytest.mark.engine

_START = 3 * MIB


def _volume(path: Path, size: int, *command: str) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
    run([*command, str(path)])
    return path


@pytest.mark.parametrize(
    ("command", "size", "sector", "how"),
    [
        (["mkfs.ext4", "-q", "-F", "-b", "4096"], 64, 4096, "copy"),
        (["mkfs.ext4", "-q", "-F", "-b", "1024"], 64, 4096, "refill"),
        (["mkfs.ext4", "-q", "-F", "-b", "1024"], 64, 512, "copy"),
        (["mkfs.ext2", "-q", "-F", "-b", "2048"], 64, 4096, "refill"),
        (["mkfs.xfs", "-q"], 320, 4096, "refill"),
        (["mkfs.xfs", "-q", "-s", "size=4096"], 320, 4096, "copy"),
        (["mkfs.xfs", "-q", "-s", "size=4096"], 320, 512, "copy"),
        (["mkfs.btrfs", "-q"], 128, 4096, "copy"),
        (["mkswap", "-q"], 16, 4096, "copy"),
        (["mkfs.vfat"], 64, 4096, "refill"),
        (["mkfs.vfat", "-S", "4096"], 64, 4096, "copy"),
        (["mkfs.vfat", "-S", "4096"], 64, 512, "refill"),
        (["mkfs.exfat"], 64, 4096, "refill"),
        (["mkntfs", "-q", "-F", "-Q"], 64, 512, "copy"),
        (["mkntfs", "-q", "-F", "-Q", "-s", "4096"], 64, 4096, "copy"),
        (["mkntfs", "-q", "-F", "-Q", "-s", "4096"], 64, 512, "patch"),
        (["mkntfs", "-q", "-F", "-Q"], 96, 4096, "refill"),
    ],
)
def test_what_is_asked_of_each(command: list[str], size: int, sector: int, how: str, tmp_path: Path) -> None:
    path = _volume(tmp_path / "volume", size * MIB, *command)
    with FileSource(path) as source:
        found = sector_fit(source, identify(str(path), 0, size * MIB), "", sector)
    assert found.how == how
    assert bool(found.because) == (how == "refuse" or found.needed > 0)


@pytest.mark.parametrize("kind", ["crypto_LUKS", "LVM2_member", "linux_raid_member", "BitLocker", "apfs"])
def test_what_is_not_known_from_inside_is_refused_by_name(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "volume"
    path.write_bytes(bytes(MIB))
    with FileSource(path) as source:
        found = sector_fit(source, Identity(kind), "", 4096)
        assert found.how == "refuse"
        assert kind.removesuffix("2_member")[-3:] in found.because or "RAID" in found.because
        assert sector_fit(source, Identity(""), "", 4096).how == "copy"


def test_what_was_not_cleanly_unmounted_is_not_changed(tmp_path: Path) -> None:
    path = _volume(tmp_path / "volume", 64 * MIB, "mkfs.vfat")
    with FileSource(path) as source:
        assert "It is dirty." in sector_fit(source, Identity("vfat"), "It is dirty.", 4096).because
        assert sector_fit(source, Identity("vfat"), "It is dirty.", 512).how == "copy"
    path.write_bytes(bytes(64 * MIB))
    with FileSource(path) as source:
        assert sector_fit(source, Identity("exfat"), "", 4096).how == "refuse"


def test_an_ext_full_of_small_files_takes_more_in_larger_blocks(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for number in range(6000):
        (tree / f"{number}").write_bytes(b"x")
    path = _volume(tmp_path / "volume", 32 * MIB, "mkfs.ext4", "-q", "-F", "-b", "1024", "-N", "8000", "-d", str(tree))
    with FileSource(path) as source:
        found = sector_fit(source, Identity("ext4"), "", 4096)
    assert found.how == "refill"  # where there is more room
    assert found.needed > 32 * MIB
    assert "in blocks of 4096 bytes" in found.because


def _disk(tmp_path: Path, sector: str, cluster: str) -> tuple[Path, int, int]:
    size = 96 * MIB
    volume = _volume(
        tmp_path / "volume", size, "mkntfs", "-q", "-F", "-Q", "-s", sector, "-c", cluster, "-p", str(_START // int(sector)),
        "-H", "255", "-S", "63",
    )  # fmt: skip
    (tmp_path / "content").write_bytes(bytes(range(256)) * 20 * KIB)
    run(["ntfscp", "-q", str(volume), str(tmp_path / "content"), "file"])
    disk = tmp_path / "disk"
    with disk.open("wb") as file:
        file.truncate(_START + size + MIB)
    run(["dd", f"if={volume}", f"of={disk}", "bs=1M", f"seek={_START // MIB}", "conv=notrunc,sparse"])
    return disk, _START, _START + size


@pytest.mark.parametrize("cluster", ["4096", "65536"])
def test_an_ntfs_counts_in_sectors_of_512_and_of_4096_again(cluster: str, tmp_path: Path) -> None:
    disk, start, end = _disk(tmp_path, "4096", cluster)
    wanted = (tmp_path / "content").read_bytes()
    for sector in (512, 4096):
        with FileSource(disk) as source, FileSink(disk) as sink:
            assert f"sectors of {sector} bytes" in set_ntfs_sectors(source, sink, start, end, sector)
            set_hidden_sectors(source, sink, start, end, sector, Identity("ntfs"))
            assert set_ntfs_sectors(source, sink, start, end, sector) == ""
            volume = SliceSource(source, start, end)
            boot = volume.pread(512, 0)
            assert int.from_bytes(boot[11:13], "little") == sector
            assert int.from_bytes(boot[28:32], "little") == start // sector
            # The copy is the last sector of the partition.
            assert volume.pread(512, end - start - sector) == boot
        with loop_device(str(disk), offset=start, size=end - start, sector_size=sector) as node:
            run(["ntfsfix", "--no-action", node])
            run(["ntfsresize", "--info", "--force", "--no-progress-bar", node])
            assert run(["ntfscat", node, "file"]).stdout == wanted


def test_records_that_are_smaller_than_a_sector_stay(tmp_path: Path) -> None:
    disk, start, end = _disk(tmp_path, "512", "4096")
    before = disk.read_bytes()
    with FileSource(disk) as source, FileSink(disk) as sink, pytest.raises(FormatError, match="cannot be counted"):
        set_ntfs_sectors(source, sink, start, end, 4096)
    assert disk.read_bytes() == before
