"""Whether and how a disk's own controller can erase it: NVMe Sanitize and Format, ATA Security Erase, secure discard of eMMC.

The programs are asked for what the standards define as bytes, not for their texts, which change between versions.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

import msgspec

from rescue.devices.kernel import Kernel
from rescue.errors import FormatError, ProgramError
from rescue.model.disk import Disk
from rescue.model.edit import SanitizeWay
from rescue.system.run import Completed, run

_NVME_ID_SIZE: Final = 4096
_WORD: Final = re.compile(r"\b[0-9a-f]{4}\b")
_NAMESPACE: Final = re.compile(r"nvme(\d+)n\d+")
Run = Callable[[list[str]], Completed]


class Sanitizing(msgspec.Struct, frozen=True):
    """How a disk erases itself, with its own estimate. ``way`` None: it cannot, and ``refusal`` and ``hint`` say why."""

    way: SanitizeWay | None
    refusal: str = ""
    hint: str = ""
    seconds: int = 0


_OTHERWISE: Final = "Use --method zeros, which overwrites everything that can be addressed."


def nvme_sanitizing(controller: bytes, *, others: int) -> Sanitizing:
    """From the controller's Identify data (NVM Express 2.0, figure 275); ``others``: how many more namespaces it has.

    Raises FormatError when the data are not 4096 bytes.
    """
    if len(controller) != _NVME_ID_SIZE:
        raise FormatError("The NVMe controller's answer is not 4096 bytes long.")
    sanicap = int.from_bytes(controller[328:332], "little")
    oacs = int.from_bytes(controller[256:258], "little")
    fna = controller[524]
    if not others:  # a sanitize operation erases all namespaces
        ways: tuple[tuple[int, SanitizeWay], ...] = ((2, "nvme-block"), (1, "nvme-crypto"), (4, "nvme-overwrite"))
        for bit, way in ways:
            if sanicap & bit:
                return Sanitizing(way)
    if oacs & 2 and not (others and fna & 2):
        return Sanitizing("nvme-format-crypto" if fna & 4 else "nvme-format")
    if others:
        return Sanitizing(None, "its controller would erase the disk's other namespaces too", _OTHERWISE)
    return Sanitizing(None, "its controller offers neither Sanitize nor Format", _OTHERWISE)


def _minutes(word: int) -> int:
    """The time of an erase (ACS-4, words 89 and 90): in units of two minutes, with 15 bits where bit 15 is set."""
    return 2 * (word & 0x7FFF if word & 0x8000 else word & 0xFF)


def ata_sanitizing(identify: tuple[int, ...]) -> Sanitizing:
    """From the 256 words of IDENTIFY DEVICE (ACS-4, 7.13): words 82, 89, 90, 128. Raises FormatError when they are not 256."""
    if len(identify) != 256:
        raise FormatError("The disk's answer to IDENTIFY DEVICE is not 256 words long.")
    security = identify[128]
    if not identify[82] & 2 or not security & 1:
        return Sanitizing(None, "it does not know the command to erase itself", _OTHERWISE)
    if security & 8:
        return Sanitizing(
            None,
            "its firmware froze it against erasing",
            "Unplug the power of the disk for a moment while this computer runs, or let the computer sleep and wake up, then"
            " try again; most firmware freezes disks when the computer starts.",
        )
    if security & 4 or security & 2:
        return Sanitizing(
            None,
            "it is locked with a password",
            "Remove the password first (hdparm --security-disable), or have its owner do it.",
        )
    if security & 0x10:
        return Sanitizing(None, "it refuses passwords after too many wrong ones", "Switch it off and on again, then try again.")
    if security & 0x20:
        return Sanitizing("ata-enhanced", seconds=60 * _minutes(identify[90]))
    return Sanitizing("ata", seconds=60 * _minutes(identify[89]))


def identify_words(text: str) -> tuple[int, ...]:
    """The words that ``hdparm --Istdout`` prints: four hexadecimal digits each, after a line with the disk's name."""
    lines = [line for line in text.splitlines() if not line.rstrip().endswith(":")]
    return tuple(int(word, 16) for word in _WORD.findall("\n".join(lines)))


def _others(kernel: Kernel, name: str) -> int:
    this = _NAMESPACE.fullmatch(name)
    if not this:
        return 0
    found = (_NAMESPACE.fullmatch(other) for other in kernel.whole_devices())
    return sum(1 for other in found if other and other[1] == this[1] and other[0] != name)


def sanitizing(disk: Disk, kernel: Kernel | None = None, ask: Run = run) -> Sanitizing:
    """How a disk can erase itself; nothing is changed on it."""
    kernel = kernel or Kernel()
    name = disk.path.removeprefix("/dev/")
    if disk.is_file:
        return Sanitizing(None, "it is a file, not a disk", "Use --method quick or zeros.")
    try:
        if disk.transport == "nvme":
            answer = ask(["nvme", "id-ctrl", "--raw-binary", disk.path]).stdout
            return nvme_sanitizing(answer, others=_others(kernel, name))
        if disk.transport == "sata":
            return ata_sanitizing(identify_words(ask(["hdparm", "--Istdout", disk.path]).text))
    except (ProgramError, FormatError) as error:
        return Sanitizing(None, f"it does not say whether it can ({error.message})", _OTHERWISE)
    if disk.transport == "mmc":
        return Sanitizing("discard")
    if disk.transport == "usb":
        return Sanitizing(
            None, "disks at USB are not told to erase themselves reliably", "Connect it directly, or use --method zeros."
        )
    return Sanitizing(None, f"disks of its kind ({disk.transport or 'unknown'}) cannot", _OTHERWISE)
