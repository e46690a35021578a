"""An NTFS with records of 1 KiB made anew for sectors of 4096 bytes: everything that Windows keeps of a file is in it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from rescue.engine.ntfs_refill import needed_size
from rescue.engine.refill import refill
from rescue.engine.resizing import nothing
from rescue.engine.sectors import sector_fit
from rescue.errors import DamagedError, ProgramError
from rescue.filesystems.ntfs_mft import read_geometry
from rescue.model.source import SliceSource
from rescue.system.blockfile import FileSource
from rescue.system.loop import loop_device
from rescue.system.run import run
from rescue.units import MIB
from tests.engine.fit.volumes import Disk, make, opened
from tests.hashes import digest

pytestmark = pytest.mark.engine

_SIZE = 128 * MIB
# IO_REPARSE_TAG_MOUNT_POINT: a junction to C:\Users.
_NAME = "\\??\\C:\\Users".encode("utf-16-le")
_JUNCTION = (
    (0xA0000003).to_bytes(4, "little") + (len(_NAME) + 12).to_bytes(2, "little") + bytes(2)
    + bytes(2) + len(_NAME).to_bytes(2, "little") + (len(_NAME) + 2).to_bytes(2, "little") + bytes(2) + _NAME + bytes(4)
)  # fmt: skip


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    """Streams, hard links, attributes, times, a junction, short names, holes, and what copying programs like to leave out."""
    made = make(tmp_path / "disk", "ntfs", _SIZE)
    with opened(made.path, made.start, made.end, "ntfs", "rw,streams_interface=xattr") as root:
        (root / "deep/below").mkdir(parents=True)
        (root / "deep/below/large").write_bytes(os.urandom(5 * MIB))
        for number in range(300):
            (root / "deep" / f"file {number} with a long name.txt").write_bytes(os.urandom(number * 7))
        os.setxattr(root / "deep/below/large", "user.Zone.Identifier", b"[ZoneTransfer]")
        os.link(root / "deep/below/large", root / "other name")
        os.setxattr(root / "deep/below", "system.ntfs_attrib", (0x6).to_bytes(4, "little"))  # hidden, system
        (root / "short of name").write_bytes(b"x")
        os.setxattr(root / "short of name", "system.ntfs_dos_name", b"SHORTO~1")
        for name in ("pagefile.sys", "swapfile.sys"):
            (root / name).write_bytes(b"not empty")
        (root / "System Volume Information").mkdir()
        (root / "System Volume Information/tracking.log").write_bytes(b"x" * 5000)
        with (root / "holes").open("wb") as file:
            file.seek(9 * MIB)
            file.write(b"end")
        (root / "junction").mkdir()
        os.setxattr(root / "junction", "system.ntfs_reparse_data", _JUNCTION)
        os.utime(root / "deep", ns=(10**18, 10**18 + 100))
    return made


def _target(path: Path, size: int) -> Path:
    with path.open("wb") as file:
        file.truncate(size + 5 * MIB)
    return path


def _refill(disk: Disk, target: Path, folder: Path, check: Callable[[], None] = nothing) -> str:
    folder.mkdir(exist_ok=True)
    with disk.blocks() as blocks:
        return refill(
            blocks, disk.start, disk.end, disk.identity, str(target), 4 * MIB, 4 * MIB + _SIZE, sector_size=4096, folder=folder,
            check=check,
        )  # fmt: skip


def test_all_of_it_is_there_on_other_sectors(disk: Disk, tmp_path: Path) -> None:
    before = digest(disk.path)
    with FileSource(disk.path) as source:
        volume = SliceSource(source, disk.start, disk.end)
        assert sector_fit(volume, disk.identity, "", 4096).how == "refill"
        assert needed_size(volume) < _SIZE
    target = _target(tmp_path / "target", _SIZE)
    assert "compared" in _refill(disk, target, tmp_path / "folder")
    assert digest(disk.path) == before
    with FileSource(target) as source:
        volume = SliceSource(source, 4 * MIB, 4 * MIB + _SIZE)
        geometry = read_geometry(volume)
        assert (geometry.sector_size, geometry.record_size) == (4096, 4096)
        assert int.from_bytes(volume.pread(4, 28), "little") == 4 * MIB // 4096
    with loop_device(str(target), offset=4 * MIB, size=_SIZE, sector_size=4096) as node:
        run(["ntfsfix", "--no-action", node])
        run(["ntfsresize", "--info", "--force", "--no-progress-bar", node])
        found = run(["blkid", "--probe", "--output", "export", node]).text
    assert f"UUID={disk.identity.uuid}\n" in found
    assert "LABEL=some" in found
    with opened(target, 4 * MIB, 4 * MIB + _SIZE, "ntfs", "ro,streams_interface=xattr") as root:
        assert os.getxattr(root / "other name", "user.Zone.Identifier") == b"[ZoneTransfer]"
        assert (root / "other name").stat().st_nlink == 2
        assert os.getxattr(root / "short of name", "system.ntfs_dos_name") == b"SHORTO~1"
        assert int.from_bytes(os.getxattr(root / "deep/below", "system.ntfs_attrib"), "little") & 0x6 == 0x6
        assert os.getxattr(root / "junction", "system.ntfs_reparse_data", follow_symlinks=False) == _JUNCTION
        assert (root / "pagefile.sys").read_bytes() == b"not empty"
        assert (root / "System Volume Information/tracking.log").stat().st_size == 5000
        assert (root / "deep").stat().st_mtime_ns == 10**18 + 100
        assert (root / "holes").stat().st_size == 9 * MIB + 3


def test_a_copy_that_is_not_equal_is_found(disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What wimcapture leaves out by itself."""
    monkeypatch.setattr(
        "rescue.engine.ntfs_refill._COPY",
        'exec wimapply --quiet - 1 "$2" < <(exec wimcapture --quiet --pipable --compress=none "$1" -)',
    )
    with pytest.raises(DamagedError, match="it is in one of the two only"):
        _refill(disk, _target(tmp_path / "target", _SIZE), tmp_path / "folder")


def test_a_source_that_ends_early_is_no_copy(disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "rescue.engine.ntfs_refill._COPY",
        'exec wimapply --quiet - 1 "$2" < <(wimcapture --quiet --pipable --compress=none "$1" - | head -c 100000)',
    )
    with pytest.raises(ProgramError, match=r"wimapply|bash"):
        _refill(disk, _target(tmp_path / "target", _SIZE), tmp_path / "folder")


def test_it_can_be_stopped(disk: Disk, tmp_path: Path) -> None:
    calls = 0

    def stop() -> None:
        nonlocal calls
        calls += 1
        if calls > 3:
            raise InterruptedError(errno.EINTR, "stop")

    with pytest.raises(InterruptedError):
        _refill(disk, _target(tmp_path / "target", _SIZE), tmp_path / "folder", stop)


def test_a_full_one_takes_more_than_it_has(tmp_path: Path) -> None:
    made = make(tmp_path / "disk", "ntfs", 40 * MIB)
    with opened(made.path, made.start, made.end, "ntfs") as root:
        (root / "large").write_bytes(bytes(20 * MIB))
    with FileSource(made.path) as source:
        found = sector_fit(SliceSource(source, made.start, made.end), made.identity, "", 4096)
    assert found.how == "refill"  # where there is more room
    assert found.needed > 40 * MIB
    assert "with records of 4096 bytes" in found.because
