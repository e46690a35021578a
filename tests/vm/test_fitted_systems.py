"""20 GiB with about 6 GiB in use, fitted onto 8 and onto 100 GiB: every file is there, every check is clean, and it starts."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from rescue.system.run import run
from rescue.units import GIB, MIB
from tests.vm.conftest import KEPT
from tests.vm.debian_disk import blank_disk
from tests.vm.evidence import evidence_kept
from tests.vm.filled_disk import FilledDisk, esp_record, filled_disk, partitions, records, require_sound, room
from tests.vm.firmware import Firmware
from tests.vm.guest_check import guest_check
from tests.vm.qemu import Drive, Machine, MachineSpec, Medium, booted
from tests.vm.tree_record import differences

pytestmark = [pytest.mark.vm, pytest.mark.long, pytest.mark.timeout(9000)]

_RESCUE = str(Path(sys.executable).parent / "rescue")
_HOUR = 3600.0
_FILLER = 5600 * MIB  # with the system and what file systems need for themselves about 6 GiB
_SOURCE = "FIT-SOURCE-4C01"
_TARGET = "FIT-TARGET-4C02"


@dataclass
class _Source:
    """A filled disk and, once somebody needs it, an image of it."""

    disk: FilledDisk
    esp: dict[str, str]
    _image: list[Path] = field(default_factory=list)

    def image(self) -> Path:
        if not self._image:
            folder = self.disk.path.parent
            command = [_RESCUE, "backup", str(self.disk.path), str(folder), "--name", "disk", "--no-verify", "--progress", "none"]
            run(command, timeout=_HOUR)
            self._image.append(folder / "disk.img.zst")
        return self._image[0]


def _made(folder: Path, root: str, filler: int) -> _Source:
    disk = filled_disk(folder / "source.raw", root, filler)
    return _Source(disk, esp_record(disk.path))


class _Sources:
    """One source at a time, for one after the other: each takes 11 GiB."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._at_hand: tuple[str, _Source] | None = None

    def __call__(self, root: str) -> _Source:
        """The disk with this root, made unless the case before had it."""
        if self._at_hand is None or self._at_hand[0] != root:
            self._at_hand = None
            for path in self._folder.iterdir():
                path.unlink()
            self._at_hand = root, _made(self._folder, root, _FILLER)
        return self._at_hand[1]


@pytest.fixture(scope="module")
def sources() -> Iterator[_Sources]:
    """What the cases clone and restore."""
    KEPT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="disks-", dir=KEPT) as folder:
        yield _Sources(Path(folder))


@pytest.mark.parametrize(
    ("root", "how", "gigabytes", "firmware"),
    [
        ("ext4", "restore", 8, Firmware.BIOS),
        ("ext4", "clone", 8, Firmware.UEFI),
        ("ext4", "restore", 100, Firmware.UEFI),
        ("xfs", "restore", 8, Firmware.UEFI),
        ("xfs", "clone", 8, Firmware.BIOS),
        ("xfs", "clone", 100, Firmware.UEFI),
        ("btrfs", "restore", 8, Firmware.UEFI),
        ("btrfs", "clone", 8, Firmware.UEFI),
        ("btrfs", "clone", 100, Firmware.BIOS),
    ],
    ids=lambda value: value.value if isinstance(value, Firmware) else str(value),
)
def test_every_file_comes_along(
    root: str, how: str, gigabytes: int, firmware: Firmware, sources: _Sources, artifacts: Path, disks: Path
) -> None:
    """By the command line, on files; then the fitted disk alone starts in a machine."""
    source = sources(root)
    origin = source.image() if how == "restore" else source.disk.path
    before = source.disk.path.stat().st_mtime_ns
    target = blank_disk(disks / "target.raw", gigabytes * GIB)
    done = run([_RESCUE, how, str(origin), str(target), "--fit", "auto", "--yes", "--progress", "none"], timeout=_HOUR)
    (artifacts / "said.txt").write_text(done.text)
    assert source.disk.path.stat().st_mtime_ns == before, "The source was written to."
    _require_same(source, target)
    if target.stat().st_size > source.disk.path.stat().st_size:
        _require_filled(source, target)
    _require_start(target, firmware, artifacts / "fitted")


def test_cloned_by_the_rescue_system(iso: Path, artifacts: Path, disks: Path) -> None:
    """By the command in the rescue system, on block devices, with partitions that its kernel has."""
    source = _made(disks, "ext4", 1 * GIB)
    target = blank_disk(disks / "target.raw", 8 * GIB)
    spec = MachineSpec(
        medium=Medium(iso),
        root_shell=True,
        limit=2 * _HOUR,
        memory_mib=3072,
        drives=(Drive(source.disk.path, _SOURCE), Drive(target, _TARGET)),
    )

    def shell_is_there(machine: Machine) -> None:
        machine.shell.wait_until_there(300)
        machine.shell.run("udevadm settle && systemctl is-system-running --wait", 300, ok=None)

    before = source.disk.path.stat().st_mtime_ns
    with booted(spec, artifacts, shell_is_there) as machine, evidence_kept(machine):
        command = f"rescue clone serial:{_SOURCE} serial:{_TARGET} --fit auto --yes --progress none"
        started = machine.clock()
        (artifacts / "said.txt").write_text(machine.shell.run(command, 1.5 * _HOUR).text)
        (artifacts / "times.txt").write_text(f"{machine.clock() - started:.0f} s  {command}\n")
        left = machine.shell.run("losetup --list --noheadings --output BACK-FILE | grep -v squashfs", ok=(0, 1)).text
        assert not left.strip()
    assert source.disk.path.stat().st_mtime_ns == before, "The source was written to."
    _require_same(source, target)
    _require_start(target, Firmware.UEFI, artifacts / "fitted")


def _require_same(source: _Source, target: Path) -> None:
    require_sound(target, source.disk.root)
    found = records(target, source.disk.root)
    for number, wanted in source.disk.records.items():
        assert not (said := differences(wanted, found[number])), f"Partition {number}: {said}"
    assert not (said := differences(source.esp, esp_record(target))), f"ESP: {said}"


def _require_filled(source: _Source, target: Path) -> None:
    places = partitions(target)
    assert sum(end - start for start, end in places.values()) > target.stat().st_size * 0.99, places
    shares = room(target, source.disk.root)
    assert all(share > 0.95 for share in shares.values()), shares


def _require_start(target: Path, firmware: Firmware, artifacts: Path) -> None:
    spec = MachineSpec(firmware=firmware, drives=(Drive(target, _TARGET, boot_index=0),))
    said = guest_check(spec, artifacts)
    assert said.startswith("OK "), said
