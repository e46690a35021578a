"""Salvage of a disk with bad sectors that the kernel reports, against GNU ddrescue, and maps exchanged with its tools."""

from __future__ import annotations

import mmap
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rescue.engine.rescue_map import RescueMap, Status, load_map, save_map
from rescue.engine.salvage import Salvage
from rescue.model.extents import Extent, ExtentMap
from rescue.model.progress import CancelToken
from rescue.system.blockfile import FileSource
from rescue.system.run import run
from rescue.units import KIB, MIB

pytestmark = pytest.mark.engine

_SIZE = 32 * MIB
_BAD = ExtentMap([(0, 512), (5 * MIB + 512, 5 * MIB + 1024), (11 * MIB, 11 * MIB + 90 * KIB), (20 * MIB, 20 * MIB + 8192)])


def _map_of(bad: ExtentMap) -> RescueMap:
    made = RescueMap(_SIZE)
    made.set(0, _SIZE, Status.RESCUED)
    for start, end in bad:
        made.set(start, end, Status.BAD)
    return made


@contextmanager
def _failing(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """A file of which some sectors give EIO: nbdkit's ddrescue filter takes them from a mapfile, nbdfuse shows the disk."""
    data = random.Random(4).randbytes(_SIZE)
    (folder / "good").write_bytes(data)
    save_map(folder / "errors", _map_of(_BAD))
    disk = folder / "disk"
    disk.touch()
    server = ["nbdkit", "-s", "-r", "--filter=ddrescue", "file", str(folder / "good"), f"ddrescue-mapfile={folder / 'errors'}"]
    with subprocess.Popen(["nbdfuse", str(disk), "--command", *server], stderr=subprocess.DEVNULL) as child:
        try:
            deadline = time.monotonic() + 30
            while disk.stat().st_size != _SIZE:
                assert child.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.02)
            yield disk, data
        finally:
            run(["fusermount3", "-u", str(disk)])
            child.wait()


def _quick(salvage: Salvage) -> tuple[bytes, ExtentMap]:
    buffer = memoryview(mmap.mmap(-1, 8 * MIB))
    got, missing = bytearray(), list[Extent]()
    for start in range(0, _SIZE, 8 * MIB):
        missing += salvage.read(start, start + 8 * MIB, buffer)
        got += buffer
    return bytes(got), ExtentMap(missing)


def _masked(data: bytes) -> bytes:
    masked = bytearray(data)
    for start, end in _BAD:
        masked[start:end] = bytes(end - start)
    return bytes(masked)


@pytest.mark.parametrize("direct", [True, False])
def test_it_gets_what_ddrescue_gets(tmp_path: Path, direct: bool) -> None:
    with _failing(tmp_path) as (disk, data), FileSource(disk, direct=direct) as source:
        with Salvage(source, tmp_path / "kept", disk="the failing one") as salvage:
            _, missing = _quick(salvage)
            assert missing.total < 2 * MIB
            outcome = salvage.rescue(missing, token=CancelToken(), progress=lambda done, total: None)
            got, still = _quick(salvage)
        run(["ddrescue", "-q", "-d", "-r1", str(disk), str(tmp_path / "theirs"), str(tmp_path / "theirs.map")], timeout=120)
    theirs = load_map(tmp_path / "theirs.map", _SIZE)
    if direct:
        assert outcome.missing == still == _BAD == theirs.having(Status.BAD)
        assert got == _masked(data)
    else:  # the page cache fails by pages
        assert not _BAD.difference(still)
    assert theirs.having(Status.RESCUED) == _BAD.complement(_SIZE)
    assert (tmp_path / "kept" / "rescued").stat().st_size < 3 * MIB


def test_a_killed_process_goes_on(tmp_path: Path) -> None:
    script = tmp_path / "run.py"
    script.write_text(
        "import mmap, os, signal, sys\n"
        "from pathlib import Path\n"
        "from rescue.engine.salvage import Salvage\n"
        "from rescue.model.extents import ExtentMap\n"
        "from rescue.model.progress import CancelToken\n"
        "from rescue.system.blockfile import FileSource\n"
        "def progress(done, total):\n"
        "    if done > total // 2:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "with FileSource(sys.argv[1], direct=True) as source:\n"
        "    salvage = Salvage(source, Path(sys.argv[2]), disk='the failing one')\n"
        "    salvage.rescue(ExtentMap([(4 << 20, 12 << 20)]), token=CancelToken(), progress=progress)\n"
    )
    wanted = ExtentMap([(4 * MIB, 12 * MIB)])
    with _failing(tmp_path) as (disk, data), FileSource(disk, direct=True) as source:
        command = [sys.executable, str(script), str(disk), str(tmp_path / "kept")]
        run(command, ok=(-9,), env={"PYTHONPATH": str(Path(__file__).parents[3])}, timeout=120)
        with Salvage(source, tmp_path / "kept", disk="the failing one") as salvage:
            won = salvage.map.having(Status.RESCUED).intersection(wanted).total
            assert won >= 3 * MIB
            outcome = salvage.rescue(wanted, token=CancelToken(), progress=lambda done, total: None)
            assert outcome.missing == _BAD.intersection(wanted)
            assert outcome.won == wanted.total - won - outcome.missing.total
            buffer = memoryview(mmap.mmap(-1, 8 * MIB))
            assert ExtentMap(salvage.read(4 * MIB, 12 * MIB, buffer)) == outcome.missing
            assert buffer == _masked(data)[4 * MIB : 12 * MIB]


def test_ddrescuelog_reads_our_maps(tmp_path: Path) -> None:
    ours = _map_of(_BAD)
    ours.set(1 * MIB, 2 * MIB, Status.UNTRIED)
    ours.set(3 * MIB, 3 * MIB + 512, Status.UNTRIMMED)
    ours.set(3 * MIB + 512, 3 * MIB + 2048, Status.UNSCRAPED)
    save_map(tmp_path / "map", ours)
    for status in Status:
        listed = run(["ddrescuelog", "-b512", f"--list-blocks={status.value}", str(tmp_path / "map")]).text.split()
        blocks = ExtentMap((int(number) * 512, int(number) * 512 + 512) for number in listed)
        assert blocks == ours.having(status), status
    run(["ddrescuelog", f"--compare-mapfile={tmp_path / 'map'}", str(tmp_path / "map")])


def test_we_read_what_ddrescuelog_writes(tmp_path: Path) -> None:
    ours = _map_of(_BAD)
    save_map(tmp_path / "map", ours)
    inverted = run(["ddrescuelog", "--change-types=+-,-+", str(tmp_path / "map")]).text
    assert RescueMap.from_text(inverted, _SIZE).having(Status.BAD) == _BAD.complement(_SIZE)
    assert RescueMap.from_text(inverted, _SIZE).having(Status.RESCUED) == _BAD
