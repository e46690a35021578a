"""How disks say that they can erase themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from rescue.devices.kernel import Kernel
from rescue.devices.sanitize import ata_sanitizing, identify_words, nvme_sanitizing, sanitizing
from rescue.errors import FormatError, ProgramError
from rescue.model.disk import Disk
from rescue.system.run import Completed


def _controller(*, sanicap: int = 0, oacs: int = 0, fna: int = 0) -> bytes:
    data = bytearray(4096)
    data[328:332] = sanicap.to_bytes(4, "little")
    data[256:258] = oacs.to_bytes(2, "little")
    data[524] = fna
    return bytes(data)


@pytest.mark.parametrize(
    ("controller", "others", "way"),
    [
        (_controller(sanicap=7), 0, "nvme-block"),
        (_controller(sanicap=5), 0, "nvme-crypto"),
        (_controller(sanicap=4), 0, "nvme-overwrite"),
        (_controller(oacs=2), 0, "nvme-format"),
        (_controller(oacs=2, fna=4), 0, "nvme-format-crypto"),
        (_controller(sanicap=7, oacs=2), 1, "nvme-format"),
        (_controller(sanicap=7, oacs=2, fna=2), 1, None),
        (_controller(sanicap=7), 1, None),
        (_controller(), 0, None),
    ],
)
def test_an_nvme_disk_never_erases_other_namespaces(controller: bytes, others: int, way: str | None) -> None:
    found = nvme_sanitizing(controller, others=others)
    assert found.way == way
    assert bool(found.refusal and found.hint) == (way is None)


def _identify(words: dict[int, int]) -> tuple[int, ...]:
    return tuple(words.get(number, 0) for number in range(256))


@pytest.mark.parametrize(
    ("words", "way", "said"),
    [
        ({82: 2, 128: 0x0021, 89: 30, 90: 1}, "ata-enhanced", ""),
        ({82: 2, 128: 0x0001, 89: 30}, "ata", ""),
        ({82: 2, 128: 0x0029}, None, "froze"),
        ({82: 2, 128: 0x0023}, None, "password"),
        ({82: 2, 128: 0x0027}, None, "password"),
        ({82: 2, 128: 0x0031}, None, "too many"),
        ({82: 0, 128: 0x0021}, None, "does not know"),
        ({82: 2, 128: 0}, None, "does not know"),
    ],
)
def test_an_ata_disk_says_why_not(words: dict[int, int], way: str | None, said: str) -> None:
    found = ata_sanitizing(_identify(words))
    assert found.way == way
    assert said in found.refusal


def test_the_time_that_an_ata_disk_says_it_takes() -> None:
    assert ata_sanitizing(_identify({82: 2, 128: 0x21, 90: 1})).seconds == 120
    assert ata_sanitizing(_identify({82: 2, 128: 1, 89: 0x8000 | 300})).seconds == 36000


def test_the_words_that_hdparm_prints() -> None:
    lines = [" ".join(f"{8 * line + word:04x}" for word in range(8)) for line in range(32)]
    assert identify_words("\n/dev/face:\n" + "\n".join(lines) + "\n") == tuple(range(256))
    with pytest.raises(FormatError):
        ata_sanitizing(identify_words("/dev/sda:\n0040 3fff\n"))
    with pytest.raises(FormatError):
        nvme_sanitizing(b"short", others=0)


def _answer(data: bytes) -> Completed:
    return Completed(0, data, b"")


def test_the_disk_is_asked_and_others_of_its_controller_are_counted(tmp_path: Path) -> None:
    asked: list[list[str]] = []

    def ask(arguments: list[str]) -> Completed:
        asked.append(arguments)
        return _answer(_controller(sanicap=2))

    disk = Disk("/dev/nvme0n1", 1 << 30, transport="nvme")
    for name in ("nvme0n1", "nvme1n1"):
        (tmp_path / "sys/block" / name).mkdir(parents=True)
    assert sanitizing(disk, Kernel(tmp_path), ask).way == "nvme-block"
    (tmp_path / "sys/block/nvme0n2").mkdir()
    assert sanitizing(disk, Kernel(tmp_path), ask).way is None
    assert asked[0] == ["nvme", "id-ctrl", "--raw-binary", "/dev/nvme0n1"]


@pytest.mark.parametrize(
    ("disk", "said"),
    [
        (Disk("/tmp/disk.img", 1 << 30, is_file=True), "a file"),
        (Disk("/dev/sda", 1 << 30, transport="usb"), "USB"),
        (Disk("/dev/vda", 1 << 30, transport="virtio"), "virtio"),
        (Disk("/dev/xx", 1 << 30), "unknown"),
    ],
)
def test_others_are_refused_in_words(disk: Disk, said: str, tmp_path: Path) -> None:
    found = sanitizing(disk, Kernel(tmp_path), lambda _: pytest.fail("asked"))
    assert found.way is None
    assert said in found.refusal
    assert found.hint


def test_a_disk_that_does_not_answer_is_refused(tmp_path: Path) -> None:
    def ask(_: list[str]) -> Completed:
        raise ProgramError("hdparm failed.")

    assert "does not say" in sanitizing(Disk("/dev/sda", 1 << 30, transport="sata"), Kernel(tmp_path), ask).refusal
    assert sanitizing(Disk("/dev/mmcblk0", 1 << 30, transport="mmc"), Kernel(tmp_path), ask).way == "discard"
