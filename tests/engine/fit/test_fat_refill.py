"""FAT file systems of every kind made anew in other sizes: the same names, attributes, times and content, clean for fsck."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from rescue.engine.fat_content import require_same
from rescue.engine.fat_refill import refill, smallest
from rescue.errors import CancelledError, DamagedError, FormatError, RefusedError
from rescue.filesystems.fat import read_geometry, used_map
from rescue.filesystems.identify import identify
from rescue.model.source import BytesSource, SliceSource
from rescue.system.blockfile import FileSink, FileSource
from rescue.system.run import run
from rescue.units import KIB, MIB
from tests.hashes import digest

pytestmark = pytest.mark.engine

KINDS = {
    "fat12": (8, ("-F", "12", "-s", "8")),
    "fat16": (64, ("-F", "16", "-s", "4")),
    "fat32": (200, ("-F", "32", "-s", "2")),
    "fat32, sectors of 4096": (300, ("-F", "32", "-S", "4096", "-s", "1")),
    "one table, much reserved": (64, ("-F", "16", "-f", "1", "-R", "17")),
}


def _mtools(*arguments: str, image: Path) -> str:
    environment = {**os.environ, "MTOOLS_SKIP_CHECK": "1", "LC_ALL": "C.UTF-8", "TZ": "UTC"}
    command = [arguments[0], "-i", str(image), *arguments[1:]]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout


def _noise(path: Path, size: int, seed: int) -> Path:
    block = random.Random(seed).randbytes(min(size, MIB))
    with path.open("wb") as file:
        for place in range(0, size, MIB):
            file.write(block[: size - place])
    return path


@pytest.fixture(scope="module", params=sorted(KINDS))
def volume(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A filled FAT file system with deleted, fragmented, hidden and read-only files."""
    size, options = KINDS[request.param]
    folder = tmp_path_factory.mktemp("fat")
    path = folder / "volume"
    with path.open("wb") as file:
        file.truncate(size * MIB)
    run(["mkfs.fat", "-i", "1234ABCD", "-n", "SOME LABEL", *options, str(path)])
    tree = folder / "tree"
    chance = random.Random(3)
    for number in range(60):
        below = tree / f"a folder with a long name {number % 5}" / "BELOW"
        below.mkdir(parents=True, exist_ok=True)
        name = f"{'long näme ' * (number % 4)}{number}.bin"
        _noise(below / name, chance.choice((0, 1, 511, 4096, 30_000, 60_001)), number)
    (tree / "EMPTY").mkdir()
    names = [str(path) for path in sorted(tree.iterdir())]
    _mtools("mcopy", "-s", "-m", *names, "::/", image=path)
    for number in range(0, 12, 2):
        _mtools("mcopy", str(_noise(folder / "gone", 40_000, number)), f"::/gone {number}", image=path)
        _mtools("mcopy", str(_noise(folder / "stays", 40_000, 99 + number)), f"::/stays {number}", image=path)
    for number in range(0, 12, 2):
        _mtools("mdel", f"::/gone {number}", image=path)
    _mtools("mcopy", str(_noise(folder / "in pieces", 200_000, 5)), "::/in pieces", image=path)
    _mtools("mattrib", "+h", "+s", "+r", "::/in pieces", image=path)
    yield path
    shutil.rmtree(folder)


def _listing(path: Path) -> list[str]:
    """What mdir tells of everything: names of both kinds, sizes, times."""
    lines = _mtools("mdir", "-/", "-a", "::/", image=path).splitlines()
    return [line for line in lines if not re.search(r"bytes (free|)|Volume in drive", line)]


def _contents(path: Path, folder: Path) -> dict[str, str]:
    folder.mkdir()
    _mtools("mcopy", "-s", "-n", "-m", "::/*", str(folder), image=path)
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): digest(file) for file in files}


def _made_anew(volume: Path, path: Path, size: int, start: int = 0) -> str:
    _noise(path, start + size, 1)
    with FileSource(volume) as source, FileSink(path) as sink:
        said = refill(source, sink, start, size, lambda: None)
        sink.flush()
    return said


@pytest.mark.parametrize("how", ["smallest", "half more", "same"])
def test_all_is_there_in_another_size(volume: Path, how: str, tmp_path: Path) -> None:
    before = digest(volume)
    present = volume.stat().st_size
    with FileSource(volume) as source:
        least = smallest(source)
    size = {"smallest": least, "half more": present * 3 // 2, "same": present}[how]
    assert least < present
    path = tmp_path / "copy"
    said = _made_anew(volume, path, size)
    assert "made anew" in said
    run(["fsck.fat", "-n", "-v", str(path)])
    assert identify(str(path), 0, size) == identify(str(volume), 0, present)
    assert _listing(path) == _listing(volume)
    assert _contents(path, tmp_path / "ours") == _contents(volume, tmp_path / "theirs")
    assert _mtools("mattrib", "-/", "::/", image=path) == _mtools("mattrib", "-/", "::/", image=volume)
    with FileSource(volume) as source, FileSource(path) as copy:
        require_same(source, copy, lambda: None)
        assert not used_map(copy).whole_because
        boot, old = copy.pread(512, 0), source.pread(512, 0)
        wide = boot[22:24] == bytes(2)
        assert boot[90 if wide else 62 :] == old[90 if wide else 62 :]  # the boot code
        assert boot[3:11] == old[3:11]
    assert digest(volume) == before


@pytest.mark.parametrize("sector", [512, 4096])
def test_all_is_there_on_other_sectors(volume: Path, sector: int, tmp_path: Path) -> None:
    """A FAT32 that would have too few clusters for one becomes a FAT16: firmware refuses it otherwise."""
    size = volume.stat().st_size
    path = _noise(tmp_path / "copy", size, 1)
    with FileSource(volume) as source, FileSink(path) as sink:
        refill(source, sink, 0, size, lambda: None, sector)
        sink.flush()
    run(["fsck.fat", "-n", "-v", str(path)])
    before, after = identify(str(volume), 0, size), identify(str(path), 0, size)
    assert (after.uuid, after.label) == (before.uuid, before.label)
    assert _listing(path) == _listing(volume)
    assert _contents(path, tmp_path / "ours") == _contents(volume, tmp_path / "theirs")
    assert _mtools("mattrib", "-/", "::/", image=path) == _mtools("mattrib", "-/", "::/", image=volume)
    with FileSource(volume) as source, FileSource(path) as copy:
        require_same(source, copy, lambda: None)
        assert not used_map(copy).whole_because
        assert int.from_bytes(copy.pread(2, 11), "little") == sector
        geometry = read_geometry(copy)
        if read_geometry(source).bits == 32 and sector != int.from_bytes(source.pread(2, 11), "little"):
            assert geometry.bits == (32 if geometry.clusters >= 65525 else 16)
            assert after.version == f"FAT{geometry.bits}"
    # And back: a FAT16 stays one.
    own = 4096 if sector == 512 else 512
    back = _noise(tmp_path / "back", size, 2)
    with FileSource(path) as source, FileSink(back) as sink:
        refill(source, sink, 0, size, lambda: None, own)
        sink.flush()
    run(["fsck.fat", "-n", "-v", str(back)])
    assert _listing(back) == _listing(volume)


def test_too_small_is_refused_before_the_first_write(volume: Path, tmp_path: Path) -> None:
    with FileSource(volume) as source:
        least = smallest(source)
    path = _noise(tmp_path / "copy", least - MIB, 1)
    before = path.read_bytes()
    with pytest.raises(RefusedError), FileSource(volume) as source, FileSink(path) as sink:
        refill(source, sink, 0, least // 2, lambda: None)
    assert path.read_bytes() == before


def test_the_check_can_stop_it_and_then_it_is_no_file_system(volume: Path, tmp_path: Path) -> None:
    calls = 0

    def stop() -> None:
        nonlocal calls
        calls += 1
        if calls == 20:
            raise CancelledError("stopped")

    size = volume.stat().st_size
    path = tmp_path / "copy"
    shutil.copyfile(volume, path)
    with pytest.raises(CancelledError), FileSource(volume) as source, FileSink(path) as sink:
        refill(source, sink, 0, size, stop)
    assert identify(str(path), 0, size).type == ""


def _fat32(tmp_path: Path) -> tuple[bytearray, int, int]:
    """A volume, and where its table and its data begin."""
    path = tmp_path / "volume"
    with path.open("wb") as file:
        file.truncate(70 * MIB)
    run(["mkfs.fat", "-F", "32", "-s", "1", str(path)])
    for name in ("ONE", "TWO"):
        _mtools("mcopy", str(_noise(tmp_path / name, 5000, 1)), f"::/{name}", image=path)
    data = bytearray(path.read_bytes())
    fat = int.from_bytes(data[14:16], "little") * 512
    return data, fat, fat + 2 * int.from_bytes(data[36:40], "little") * 512


@pytest.mark.parametrize(
    ("entry", "value", "said"),
    [
        (4, 3, "also that of another"),
        (5, 0, "leads out of"),
        (5, 0x0FFFFFF7, "leads out of"),
        (5, 0x0F000000, "leads out of"),
        (5, 0x0FFFFFFF, "shorter than the file"),
        (14, 4, "also that of another"),
    ],
)
def test_damage_is_refused(entry: int, value: int, said: str, tmp_path: Path) -> None:
    data, fat, _ = _fat32(tmp_path)
    data[fat + 4 * entry : fat + 4 * entry + 4] = value.to_bytes(4, "little")
    path = _noise(tmp_path / "copy", 64 * KIB, 1)
    before = path.read_bytes()
    with pytest.raises(DamagedError, match=said), FileSink(path) as sink:
        refill(BytesSource(bytes(data)), sink, 0, 64 * KIB, lambda: None)
    assert path.read_bytes() == before


def test_an_unknown_version_is_refused(tmp_path: Path) -> None:
    data, _, _ = _fat32(tmp_path)
    data[42] = 1
    with pytest.raises(FormatError, match="version"):
        smallest(BytesSource(bytes(data)))


def test_hostile_numbers_never_end_in_anything_but_an_error_of_ours(tmp_path: Path) -> None:
    data, fat, start = _fat32(tmp_path)
    chance = random.Random(11)
    refused = 0
    for _ in range(300):
        places = [
            chance.choice((chance.randrange(512), fat + chance.randrange(80), start + chance.randrange(512)))
            for _ in range(chance.randrange(1, 6))
        ]
        before = {place: data[place] for place in places}
        for place in places:
            data[place] = chance.randrange(256)
        try:
            smallest(BytesSource(data))
        except (DamagedError, FormatError):
            refused += 1
        for place, value in before.items():
            data[place] = value
    assert refused > 30


@pytest.mark.parametrize("place", ["content", "name", "more"])
def test_a_difference_is_found(place: str, tmp_path: Path) -> None:
    data, _, start = _fat32(tmp_path)
    copy = bytearray(data)
    if place == "content":
        copy[start + 512 * 3 + 100] ^= 1
    elif place == "name":
        copy[start] = ord("X")
    else:
        copy[start + 64] = 0
        data[start + 64 : start + 96] = b"EMPTY      \x20".ljust(32, b"\0")
    with pytest.raises(DamagedError, match="copy of the FAT"):
        require_same(BytesSource(bytes(data)), BytesSource(bytes(copy)), lambda: None)


def test_small_fat32_volumes_stay_what_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """mtools writes none with fewer clusters than the definition wants; EFI partitions are often such."""
    data, _, _ = _fat32(tmp_path)
    small, larger = (_noise(tmp_path / name, size, 3) for name, size in (("small", 20 * MIB), ("larger", 30 * MIB)))
    with monkeypatch.context() as patch, FileSink(small) as sink:
        patch.setattr("rescue.engine.fat_layout._FAT16_END", 1)
        refill(BytesSource(bytes(data)), sink, 0, 20 * MIB, lambda: None)
    with FileSource(small) as source, FileSink(larger) as sink:
        assert smallest(source) == MIB
        refill(source, sink, 0, 30 * MIB, lambda: None)
    for path in (small, larger):
        run(["fsck.fat", "-n", str(path)])
        with FileSource(path) as copy:
            require_same(BytesSource(bytes(data)), copy, lambda: None)
            assert copy.pread(8, 82) == b"FAT32   "


def test_it_goes_to_the_middle_of_a_disk(tmp_path: Path) -> None:
    data, _, _ = _fat32(tmp_path)
    disk = _noise(tmp_path / "disk", 50 * MIB, 4)
    before = disk.read_bytes()
    with FileSink(disk) as sink:
        refill(BytesSource(bytes(data)), sink, 3 * MIB, 40 * MIB, lambda: None)
    after = disk.read_bytes()
    assert after[: 3 * MIB] == before[: 3 * MIB]
    assert after[43 * MIB :] == before[43 * MIB :]
    with FileSource(disk) as source:
        require_same(BytesSource(bytes(data)), SliceSource(source, 3 * MIB, 43 * MIB), lambda: None)
