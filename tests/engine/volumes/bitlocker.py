"""A BitLocker volume with an NTFS in it: the file system by mkntfs and ntfs-3g, BitLocker by an encoder of its own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rescue.filesystems.ntfs import used_map
from rescue.model.source import BytesSource
from rescue.system.run import run
from rescue.units import MIB
from tests.engine.volumes.stacks import noise, tree
from tests.hashes import digest
from tests.unit.volumes.bitlk_made import AREA, HEADER, Made, bitlocked, decrypted

PASSWORD = "correct horse 8"
SIZE = 48 * MIB


@dataclass(frozen=True)
class BitLocked:
    """An encrypted volume in a file, and what is in it."""

    file: Path
    hashes: dict[str, str]
    areas: tuple[int, int, int]
    header: int
    made: Made


@contextmanager
def mounted_ntfs(file: Path, point: Path, options: str = "rw") -> Iterator[Path]:
    """An NTFS in a file, by ntfs-3g."""
    point.mkdir(exist_ok=True)
    run(["ntfs-3g", "-o", options, str(file), str(point)])
    try:
        yield point
    finally:
        for attempt in range(20):
            if run(["umount", str(point)], ok=(0, 32) if attempt < 19 else (0,)).code == 0:
                break
            time.sleep(0.1)


def bitlocker(folder: Path, name: str, made: Made, megabytes: int = 12, size: int = SIZE) -> BitLocked:
    """A volume of ``size`` bytes with so many MiB of files; what is free in it is not zeros."""
    clear = noise(folder / f"{name}.ntfs", size)
    run(["mkntfs", "-q", "-F", "-Q", "-p", "2048", "-L", name, "-s", str(made.sector), str(clear)])
    files = folder / f"{name}.tree"
    hashes = tree(files, size + megabytes, megabytes)
    with mounted_ntfs(clear, folder / f"{name}.point") as point:
        for file in files.iterdir():
            (point / file.name).write_bytes(file.read_bytes())
    content = clear.read_bytes()
    free = used_map(BytesSource(content)).extents.complement(size)
    places = [at for extent in free for at in range(-(-extent.start // AREA) * AREA, extent.end - 2 * AREA, 2 * AREA)]
    areas = (places[0], places[len(places) // 2], places[-2])
    volume = bitlocked(content, areas, places[-1], made)
    file = folder / f"{name}.bitlocker"
    file.write_bytes(volume)
    return BitLocked(file, hashes, areas, places[-1], made)


def require_content(volume: Path, expected: BitLocked, folder: Path) -> None:
    """Every file is what it was, and the file system is clean; BitLocker's own structures are those that cryptsetup reads."""
    run(["cryptsetup", "bitlkDump", str(volume)])
    data = volume.read_bytes()
    assert data[:HEADER] == expected.file.read_bytes()[:HEADER]
    clear = folder / f"{volume.name}.clear"
    clear.write_bytes(decrypted(data, expected.areas, expected.header, expected.made))
    run(["ntfsfix", "-n", str(clear)])
    with mounted_ntfs(clear, folder / f"{volume.name}.point", "ro") as point:
        found = {path.name: digest(path) for path in point.glob("file-*")}
    assert found == expected.hashes
