"""exFAT file systems made anew in other sizes: equal for its own fsck and for a driver, damage refused."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rescue.engine.exfat_content import require_same
from rescue.engine.exfat_refill import refill, smallest
from rescue.engine.hidden_sectors import seal_exfat
from rescue.errors import CancelledError, DamagedError, FormatError, RefusedError
from rescue.filesystems.exfat import used_map
from rescue.filesystems.identify import identify
from rescue.model.source import BytesSource, SliceSource
from rescue.system.blockfile import FileSink, FileSource
from rescue.system.run import run
from rescue.units import MIB
from tests.engine.devices.loops import attached
from tests.engine.filesystems.oracle import fill, sparse_file, thin_out
from tests.hashes import digest

pytestmark = pytest.mark.engine

SIZE = 96 * MIB


@contextmanager
def _mounted(path: Path) -> Iterator[Path]:
    folder = path.with_name(path.name + ".mount")
    folder.mkdir(exist_ok=True)
    with attached(path) as node:
        run(["mount.exfat-fuse", node, str(folder)])
        try:
            yield folder
        finally:
            run(["umount", str(folder)])
            folder.rmdir()


def _described(folder: Path) -> dict[str, tuple[int, int, str]]:
    """Time, size and content of everything; exFAT has nothing more."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.stat()
        content = digest(path) if path.is_file() else ""
        found[str(path.relative_to(folder))] = (status.st_mtime_ns, status.st_size if content else 0, content)
    return found


def _filled(path: Path, cluster: str) -> Path:
    sparse_file(path, SIZE)
    run(["mkfs.exfat", "-L", "some label", "-c", cluster, str(path)])
    with _mounted(path) as folder:
        fill(folder / "old", 1, 9 * MIB, xattrs=False, links=False, sparse=False)
        thin_out(folder / "old", 2)
        fill(folder / "new", 3, 9 * MIB, xattrs=False, links=False, sparse=False)
        (folder / "empty").touch()
    run(["fsck.exfat", "-n", str(path)])
    return path


def _read(path: Path) -> dict[str, tuple[int, int, str]]:
    with _mounted(path) as folder:
        return _described(folder)


@pytest.mark.parametrize("cluster", ["512", "4K", "32K"])
@pytest.mark.parametrize("how", ["smallest", "larger"])
def test_all_is_there_in_another_size(cluster: str, how: str, tmp_path: Path) -> None:
    path = _filled(tmp_path / "volume", cluster)
    before = path.read_bytes()
    target = tmp_path / "target"
    with FileSource(path) as source:
        size = smallest(source) if how == "smallest" else 3 * SIZE
        assert how == "larger" or 12 * MIB < size < SIZE
        target.write_bytes(b"\xa5" * size)
        with FileSink(target) as sink:
            assert "made anew" in refill(source, sink, 0, size, lambda: None)
        with FileSource(target) as copy:
            require_same(source, copy, lambda: None)
            used = used_map(copy)
            assert not used.whole_because
            assert copy.pread(390, 120) == source.pread(390, 120)  # the boot code
    run(["fsck.exfat", "-n", str(target)])
    assert identify(str(target), 0, size) == identify(str(path), 0, SIZE)
    assert path.read_bytes() == before
    assert _read(target) == _read(path)


def test_it_takes_new_files(tmp_path: Path) -> None:
    path = _filled(tmp_path / "volume", "4K")
    target = sparse_file(tmp_path / "target", 64 * MIB)
    with FileSource(path) as source, FileSink(target) as sink:
        refill(source, sink, 0, 64 * MIB, lambda: None)
    data = os.urandom(20 * MIB)
    with _mounted(target) as folder:
        (folder / "more").write_bytes(data)
    with _mounted(target) as folder:
        assert (folder / "more").read_bytes() == data
    run(["fsck.exfat", "-n", str(target)])


def test_too_small_and_stopped(tmp_path: Path) -> None:
    path = _filled(tmp_path / "volume", "4K")
    target = tmp_path / "target"
    target.write_bytes(before := b"\xa5" * (10 * MIB))
    with FileSource(path) as source, FileSink(target) as sink, pytest.raises(RefusedError, match=r"takes \d+ bytes"):
        refill(source, sink, 0, 10 * MIB, lambda: None)
    assert target.read_bytes() == before
    calls = 0

    def stop() -> None:
        nonlocal calls
        calls += 1
        if calls == 9:
            raise CancelledError("stopped")

    copy = tmp_path / "copy"
    copy.write_bytes(path.read_bytes())
    with FileSource(path) as source, FileSink(copy) as sink, pytest.raises(CancelledError):
        refill(source, sink, 0, SIZE, stop)
    assert identify(str(copy), 0, SIZE).type == ""


def test_it_goes_to_the_middle_of_a_disk(tmp_path: Path) -> None:
    path = _filled(tmp_path / "volume", "4K")
    disk = tmp_path / "disk"
    disk.write_bytes(b"\x5a" * (60 * MIB))
    with FileSource(path) as source, FileSink(disk) as sink:
        refill(source, sink, 3 * MIB, 50 * MIB, lambda: None)
    content = disk.read_bytes()
    assert content[: 3 * MIB] == b"\x5a" * (3 * MIB)
    assert content[53 * MIB :] == b"\x5a" * (7 * MIB)
    with FileSource(path) as source, FileSource(disk) as copy:
        require_same(source, SliceSource(copy, 3 * MIB, 53 * MIB), lambda: None)


def _small(tmp_path: Path) -> bytearray:
    path = sparse_file(tmp_path / "volume", 8 * MIB)
    run(["mkfs.exfat", "-c", "4K", str(path)])
    with _mounted(path) as folder:
        (folder / "folder").mkdir()
        for number in range(4):
            (folder / "folder" / f"file {number}").write_bytes(os.urandom(9000))
    return bytearray(path.read_bytes())


def _stream(data: bytearray, name: str) -> int:
    """Where the stream entry of a file is: in front of its name."""
    return data.index(b"\xc1\x00" + name.encode("utf-16-le")) - 32


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (20, (1).to_bytes(4, "little"), "leads out of"),
        (20, (0x7FFFFFFF).to_bytes(4, "little"), "leads out of"),
        (24, (1 << 40).to_bytes(8, "little"), "longer than the exFAT"),
    ],
)
def test_damage_is_refused(place: int, value: bytes, said: str, tmp_path: Path) -> None:
    data = _small(tmp_path)
    at = _stream(data, "file 2") + place
    data[at : at + len(value)] = value
    target = tmp_path / "target"
    target.write_bytes(bytes(MIB))
    with pytest.raises(DamagedError, match=said), FileSink(target) as sink:
        refill(BytesSource(data), sink, 0, MIB, lambda: None)
    assert target.read_bytes() == bytes(MIB)


def test_two_files_in_one_place_are_refused(tmp_path: Path) -> None:
    data = _small(tmp_path)
    one, two = _stream(data, "file 1"), _stream(data, "file 2")
    data[two + 20 : two + 24] = data[one + 20 : one + 24]
    with pytest.raises(DamagedError, match="also that of another file"):
        smallest(BytesSource(data))


def test_differences_are_found(tmp_path: Path) -> None:
    data = _small(tmp_path)
    for place in (_stream(data, "file 3") + 8, _stream(data, "file 3") + 34):
        copy = bytearray(data)
        copy[place] ^= 1
        with pytest.raises(DamagedError, match="copy of the exFAT"):
            require_same(BytesSource(data), BytesSource(copy), lambda: None)


def test_hostile_numbers_never_end_in_anything_but_an_error_of_ours(tmp_path: Path) -> None:
    data = _small(tmp_path)
    chance = random.Random(5)
    root = _stream(data, "folder") - 32
    refused = 0
    for _ in range(400):
        places = [
            chance.choice(
                (chance.randrange(64, 120), root - 128 + chance.randrange(400), _stream(data, "file 0") + chance.randrange(300))
            )
            for _ in range(chance.randrange(1, 4))
        ]
        before = {place: data[place] for place in places}
        head = bytes(data[: 12 * 512])
        for place in places:
            data[place] = chance.randrange(256)
        region = data[: 12 * 512]
        seal_exfat(region, 512)
        data[: 12 * 512] = region
        try:
            smallest(BytesSource(data))
        except (DamagedError, FormatError):
            refused += 1
        for place, value in before.items():
            data[place] = value
        data[: 12 * 512] = head
    assert refused > 50
    assert smallest(BytesSource(data)) < 8 * MIB
