"""One raw disk that all tests of the command line image, and its image."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from rescue.system.run import run
from rescue.units import GIB, MIB
from tests.engine.cli.command import Rescue
from tests.engine.devices.loops import sparse

DISK_SIZE = 512 * MIB
DATA_START = 130 * MIB  # of partition 3, which holds bytes that no file system explains
DATA_SIZE = 300 * MIB

_PARTS = 5  # of the wide disk
_PART = 1226 * MIB
WIDE_USED = 250 * MIB  # about what it holds

_TABLE = """label: gpt
start=2048, size=32768, type=U, name="EFI system partition"
start=34816, size=200704, type=L, name="root"
start=266240, size=614400, type=L, name="data"
"""


@pytest.fixture(scope="session")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GPT disk with FAT, ext4 with files, and a partition of which every byte counts. Nobody writes to it."""
    folder = tmp_path_factory.mktemp("disk")
    path = sparse(folder / "laptop.raw", DISK_SIZE)
    run(["sfdisk", "--quiet", str(path)], stdin=_TABLE.encode())
    run(["mkfs.vfat", "-F", "16", "--offset", "2048", "-n", "ESP", str(path), str(16 * 1024)])
    tree = folder / "tree"
    tree.mkdir()
    for number in range(40):
        (tree / f"file-{number}").write_bytes(os.urandom(random.Random(number).randrange(1 << 20)))
    run(["mkfs.ext4", "-q", "-F", "-L", "root", "-d", str(tree), "-E", f"offset={34816 * 512}", str(path), "98m"])
    with path.open("r+b") as file:
        file.seek(DATA_START)
        for number in range(DATA_SIZE // MIB):
            # Half of it can be compressed; no two mebibytes are alike.
            file.write(os.urandom(MIB // 2) + number.to_bytes(2, "big") * (MIB // 4))
    return path


@pytest.fixture(scope="session")
def image(disk: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image of the disk. Nobody writes to it."""
    folder = tmp_path_factory.mktemp("images")
    Rescue(folder / "jobs").ok("backup", disk, folder, "--name", "laptop")
    return folder / "laptop.img.zst"


@pytest.fixture(scope="session")
def wide_disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disk of several segments: five partitions of more than a GiB with some files each."""
    folder = tmp_path_factory.mktemp("wide")
    path = sparse(folder / "wide.raw", 6 * GIB)
    sectors = _PART // 512
    table = "label: gpt\n" + "".join(f"start={2048 + n * sectors}, size={sectors}, type=L\n" for n in range(_PARTS))
    run(["sfdisk", "--quiet", str(path)], stdin=table.encode())
    for number in range(_PARTS):
        tree = folder / f"tree-{number}"
        tree.mkdir()
        for file in range(12):
            (tree / f"file-{file}").write_bytes(random.Random(number * 100 + file).randbytes(2 * MIB))
        offset = (2048 + number * sectors) * 512
        run(["mkfs.ext4", "-q", "-F", "-d", str(tree), "-E", f"offset={offset}", str(path), f"{_PART // 1024}k"])
    return path


@pytest.fixture(scope="session")
def wide_image(wide_disk: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image of that disk. Nobody writes to it."""
    folder = tmp_path_factory.mktemp("wide-image")
    Rescue(folder / "jobs").ok("backup", wide_disk, folder, "--name", "x", "--no-verify")
    return folder / "x.img.zst"


@pytest.fixture
def rescue(tmp_path: Path) -> Rescue:
    """The command."""
    return Rescue(tmp_path / "jobs")


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    """An empty folder for images."""
    folder = tmp_path / "dest"
    folder.mkdir()
    return folder
