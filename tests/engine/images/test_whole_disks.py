"""Whole disks, every file system, every kind of table: imaged, held against stock tools, restored onto noise."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from blake3 import blake3

from rescue.devices.table import read_layout
from rescue.engine.survey import map_disk
from rescue.model.disk import Disk
from rescue.model.extents import ExtentMap
from rescue.system.blockfile import FileSource
from rescue.system.run import run
from rescue.units import MIB
from tests.engine.cli.command import Rescue
from tests.engine.devices.loops import attached
from tests.engine.filesystems import test_btrfs, test_exfat, test_ext, test_fat, test_ntfs, test_xfs
from tests.engine.filesystems.oracle import Case, noise_file, sparse_file

pytestmark = pytest.mark.engine

_READER = Path(__file__).parents[3] / "docs" / "read-image.py"
_FAT, _EXT, _XFS = test_fat._CASES[0], test_ext._CASES[0], test_xfs._CASES[0]
_BTRFS, _NTFS, _EXFAT = test_btrfs._CASES[0], test_ntfs._CASES[0], test_exfat._CASES[0]
_ALL = (_FAT, _EXT, _XFS, _BTRFS, _NTFS, _EXFAT)


@dataclass(frozen=True)
class Laid:
    """A disk file with file systems at byte offsets, and what is on them."""

    path: Path
    sector_size: int
    volumes: tuple[tuple[Case, int, dict[str, str]], ...]  # case, start, its files


def _lay(folder: Path, cases: tuple[Case, ...], script: str, starts: list[int], size: int, sector_size: int = 512) -> Laid:
    """Noise all over, a table by sfdisk, and each file system in its place."""
    disk = noise_file(folder / "disk.raw", size)
    if script:
        with attached(disk, "--sector-size", str(sector_size)) as device:
            run(["wipefs", "--all", device])
            # sfdisk cannot tell this kernel about partitions; the table is written all the same.
            run(["sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", device], stdin=script.encode())
    volumes = []
    for number, (case, start) in enumerate(zip(cases, starts, strict=True)):
        single = noise_file(folder / f"volume-{number}", case.size)
        case.make(single)
        case.populate(single)
        tree = case.read_back(single)
        run(["dd", f"if={single}", f"of={disk}", "bs=1M", f"seek={start}B", "conv=notrunc", "status=none"], timeout=120)
        single.unlink()
        volumes.append((case, start, tree))
    return Laid(disk, sector_size, tuple(volumes))


def _kept(laid: Laid) -> ExtentMap:
    with FileSource(laid.path) as source:
        layout = read_layout(source, laid.sector_size)
        disk = Disk(str(laid.path), source.size, laid.sector_size, laid.sector_size, is_file=True)
        kept = layout.gaps if layout.label != "none" else ExtentMap()
        for _, extents in map_disk(disk, source, layout):
            kept = kept.union(extents)
        return kept


def _digest_of_kept(path: Path, kept: ExtentMap) -> str:
    """The hash of a file as if all that is not kept were zeros."""
    digest = blake3()
    with path.open("rb") as file:
        for low in range(0, path.stat().st_size, 4 * MIB):
            length = min(4 * MIB, path.stat().st_size - low)
            block = bytearray(length)
            for start, end in kept.overlapping(low, low + length):
                file.seek(start)
                block[start - low : end - low] = file.read(end - start)
            digest.update(block)
    return digest.hexdigest()


def _digest_of_output(*command: str) -> str:
    digest = blake3()
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        while block := process.stdout.read(1 << 20):
            digest.update(block)
    assert process.returncode == 0
    return digest.hexdigest()


def _prove(laid: Laid, rescue: Rescue, folder: Path, bigger: int = 0) -> None:
    size = laid.path.stat().st_size
    kept = _kept(laid)
    expected = _digest_of_kept(laid.path, kept)
    dest = folder / "dest"
    dest.mkdir()
    rescue.ok("backup", laid.path, dest, "--name", "disk")
    image = dest / "disk.img.zst"

    run(["zstd", "-q", "-t", str(image)], timeout=300)
    assert _digest_of_output("zstd", "-dc", str(image)) == expected
    alone = folder / "alone.raw"
    run([sys.executable, str(_READER), str(image), str(alone)], timeout=300)
    assert _digest_of_kept(alone, ExtentMap([(0, size)])) == expected
    alone.unlink()

    target = noise_file(folder / "target.raw", size + bigger)
    rescue.ok("restore", image, target, "--yes")
    if not bigger:
        assert _digest_of_kept(target, kept) == expected
    for number, (case, start, tree) in enumerate(laid.volumes):
        single = sparse_file(folder / f"restored-{number}", case.size)
        run(["dd", f"if={target}", f"of={single}", "bs=1M", f"skip={start}B", f"count={case.size}B", "status=none"], timeout=120)
        case.check(single)
        assert case.read_back(single) == tree
        single.unlink()


def _script(cases: tuple[Case, ...], label: str, sector_size: int, kinds: tuple[str, ...]) -> tuple[str, list[int], int]:
    lines, starts, position = [f"label: {label}"], [], 1 * MIB
    for case, kind in zip(cases, kinds, strict=True):
        lines.append(f"start={position // sector_size}, size={case.size // sector_size}, type={kind}")
        starts.append(position)
        position += case.size + 1 * MIB
    return "\n".join(lines) + "\n", starts, position + 2 * MIB


_LINUX = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"


def test_gpt_with_every_file_system(rescue: Rescue, tmp_path: Path) -> None:
    script, starts, size = _script(_ALL, "gpt", 512, (_LINUX,) * 6)
    laid = _lay(tmp_path, _ALL, script, starts, size)
    _prove(laid, rescue, tmp_path)


def test_gpt_onto_a_bigger_disk(rescue: Rescue, tmp_path: Path) -> None:
    script, starts, size = _script((_EXT, _NTFS), "gpt", 512, (_LINUX,) * 2)
    laid = _lay(tmp_path, (_EXT, _NTFS), script, starts, size)
    _prove(laid, rescue, tmp_path, bigger=77 * MIB + 512)
    found = run(["sgdisk", "--verify", str(tmp_path / "target.raw")]).text
    assert "No problems found" in found
    assert "invalid" not in found


def test_gpt_with_4096_byte_sectors(rescue: Rescue, tmp_path: Path) -> None:
    cases = (_EXT, _BTRFS)
    script, starts, size = _script(cases, "gpt", 4096, (_LINUX,) * 2)
    laid = _lay(tmp_path, cases, script, starts, size, sector_size=4096)
    _prove(laid, rescue, tmp_path, bigger=3 * MIB)
    with attached(tmp_path / "target.raw", "--sector-size", "4096") as device:
        assert "No problems found" in run(["sgdisk", "--verify", device]).text


def test_mbr_with_logical_partitions_and_a_boot_loader_in_the_gap(rescue: Rescue, tmp_path: Path) -> None:
    cases = (_NTFS, _EXT, _FAT)
    first, second, third = 63 * 512, 63 * 512 + _NTFS.size + 2 * MIB, 63 * 512 + _NTFS.size + _EXT.size + 4 * MIB
    extended = second - 1 * MIB
    end = third + _FAT.size
    script = (
        f"label: dos\nlabel-id: 0x8badf00d\nstart=63, size={_NTFS.size // 512}, type=7, bootable\n"
        f"start={extended // 512}, size={(end - extended) // 512}, type=5\n"
        f"start={second // 512}, size={_EXT.size // 512}, type=83\nstart={third // 512}, size={_FAT.size // 512}, type=c\n"
    )
    laid = _lay(tmp_path, cases, script, [first, second, third], end + 5 * MIB)
    with laid.path.open("r+b") as file:
        file.write(os.urandom(440))  # boot code; the gap behind the MBR is noise already
    _prove(laid, rescue, tmp_path)
    with laid.path.open("rb") as one, (tmp_path / "target.raw").open("rb") as two:
        assert one.read(63 * 512) == two.read(63 * 512)
    dumped = [run(["sfdisk", "--dump", str(path)]).text.replace(str(path), "") for path in (laid.path, tmp_path / "target.raw")]
    assert dumped[0] == dumped[1]
    assert dumped[0].count("start=") == 4


@pytest.mark.parametrize("case", [_EXT, _XFS, _BTRFS, _FAT], ids=lambda case: case.name)
def test_a_file_system_on_the_whole_disk(case: Case, rescue: Rescue, tmp_path: Path) -> None:
    laid = _lay(tmp_path, (case,), "", [0], case.size)
    _prove(laid, rescue, tmp_path)


def test_no_table_at_all(rescue: Rescue, tmp_path: Path) -> None:
    laid = Laid(noise_file(tmp_path / "disk.raw", 30 * MIB + 512), 512, ())
    _prove(laid, rescue, tmp_path)


def test_a_blank_disk(rescue: Rescue, tmp_path: Path) -> None:
    laid = Laid(sparse_file(tmp_path / "disk.raw", 3000 * MIB), 512, ())
    _prove(laid, rescue, tmp_path)
    assert (tmp_path / "dest" / "disk.img.zst").stat().st_size < 1 * MIB
