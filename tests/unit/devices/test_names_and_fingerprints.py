"""What people call a disk, and whether it is still the same one."""

from __future__ import annotations

from pathlib import Path

import pytest
from blake3 import blake3

from rescue.devices.fingerprint import check_unchanged, fingerprint
from rescue.devices.open import by_serial, names_of, resolve
from rescue.errors import RefusedError, UsageError
from rescue.model.disk import Disk, Fingerprint
from rescue.model.source import BytesSource
from rescue.records import replace
from rescue.units import MIB
from tests.unit.devices.recorded import recorded

SDA = Disk("/dev/sda", 1000, serial="WD-1234", wwn="0x5")
SDC = Disk("/dev/sdc", 1000)


def test_a_serial_number_names_one_disk() -> None:
    assert by_serial([SDA, SDC], "wd-1234") == SDA
    with pytest.raises(UsageError, match="no disk with the serial number"):
        by_serial([SDA, SDC], "")
    with pytest.raises(UsageError, match="/dev/sda and /dev/sdd have the same serial"):
        by_serial([SDA, replace(SDA, path="/dev/sdd")], "WD-1234")


@pytest.mark.parametrize(("name", "sector_size"), [("gpt-4096", 4096), ("gpt-sfdisk", 512), ("dos-4096", 512)])
def test_a_plain_file_is_a_disk_with_the_sector_size_of_its_gpt(tmp_path: Path, name: str, sector_size: int) -> None:
    path = tmp_path / "disk.img"
    disk, _, _ = recorded(name)
    with path.open("wb") as file:
        file.truncate(disk.size)
        for start, end in disk.content:
            file.seek(start)
            file.write(disk.pread(end - start, start))
    found = resolve(str(path))
    assert (found.path, found.size, found.logical_sector_size) == (str(path.resolve()), disk.size, sector_size)
    assert (found.is_file, found.transport) == (True, "file")


def test_what_is_no_disk_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no disk and no file named"):
        resolve(str(tmp_path / "nothing"))
    with pytest.raises(UsageError, match="is a folder"):
        resolve(str(tmp_path))
    empty = tmp_path / "empty"
    empty.touch()
    with pytest.raises(UsageError, match="is an empty file"):
        resolve(str(empty))
    with pytest.raises(UsageError, match="no disk and no file named"):
        resolve(str(empty / "below"))
    odd = tmp_path / "odd"
    odd.write_bytes(bytes(1000))
    with pytest.raises(UsageError, match="1000 bytes, is no whole number of sectors"):
        resolve(str(odd))


def test_names_that_last(tmp_path: Path) -> None:
    target = tmp_path / "sda"
    target.touch()
    by_id = tmp_path / "by-id"
    by_id.mkdir()
    (by_id / "wwn-0x5").symlink_to(target)
    (by_id / "ata-WD_1234").symlink_to(target)
    (by_id / "ata-OTHER").symlink_to(tmp_path / "sdb")
    disk = replace(SDA, path=str(target))
    assert names_of(disk, by_id) == ("serial:WD-1234", f"{by_id}/ata-WD_1234", f"{by_id}/wwn-0x5")
    assert names_of(SDC, tmp_path / "nothing") == ()


@pytest.mark.parametrize("size", [0, 1, MIB - 1, MIB, MIB + 7, 2 * MIB, 5 * MIB])
def test_a_fingerprint_covers_both_ends(size: int) -> None:
    data = bytearray(range(256)) * (size // 256) + bytearray(size % 256)
    found = fingerprint(SDA, BytesSource(data))
    ends = data if size <= 2 * MIB else data[:MIB] + data[-MIB:]
    assert found == Fingerprint("/dev/sda", size, "WD-1234", "0x5", 0, blake3(ends).hexdigest())


PLANNED = Fingerprint("/dev/sda", 1000, "WD-1234", "0x5", 7, "aa")


@pytest.mark.parametrize(
    ("now", "says"),
    [
        (replace(PLANNED, serial="X"), "another disk .* was WD-1234 and is X"),
        (replace(PLANNED, wwn="0x6"), "another disk"),
        (replace(PLANNED, size=2000), "another size"),
        (replace(PLANNED, path="/dev/sdb"), "was called /dev/sda"),
        (replace(PLANNED, diskseq=8), "unplugged"),
        (replace(PLANNED, table_hash="bb"), "has changed since"),
    ],
)
def test_what_changed_is_said(now: Fingerprint, says: str) -> None:
    with pytest.raises(RefusedError, match=says):
        check_unchanged(PLANNED, now)


def test_a_disk_that_is_the_same_passes() -> None:
    check_unchanged(PLANNED, replace(PLANNED))
