"""What a virtual machine starts with: BIOS, UEFI, or UEFI with Secure Boot enforced."""

from __future__ import annotations

import shutil
from enum import Enum
from pathlib import Path

from rescue.errors import UnsupportedError

_FOLDERS = (Path("/usr/share/OVMF"), Path("/usr/share/edk2/x64"), Path("/usr/share/qemu"))


class Firmware(Enum):
    """The firmware of a machine."""

    BIOS = "bios"
    UEFI = "uefi"
    SECURE_BOOT = "secure-boot"

    @property
    def machine(self) -> str:
        """QEMU's machine type with what this firmware needs of it."""
        return "q35,smm=on" if self is Firmware.SECURE_BOOT else "q35"


def firmware_arguments(firmware: Firmware, folder: Path) -> list[str]:
    """QEMU's arguments; the variables are copied into ``folder`` so that a machine never writes to the distribution's files."""
    if firmware is Firmware.BIOS:
        return []
    secure = firmware is Firmware.SECURE_BOOT
    # Debian 12 and 13 and Ubuntu 24.04 name them alike; the .ms variables hold Microsoft's keys, which sign shim.
    code = _find(("OVMF_CODE_4M.secboot.fd", "OVMF_CODE_4M.ms.fd") if secure else ("OVMF_CODE_4M.fd", "OVMF_CODE.fd"))
    variables = folder / f"{firmware.value}-variables.fd"
    if not variables.exists():
        shutil.copyfile(_find(("OVMF_VARS_4M.ms.fd",) if secure else ("OVMF_VARS_4M.fd", "OVMF_VARS.fd")), variables)
    arguments = [
        *("-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={code}"),
        *("-drive", f"if=pflash,unit=1,format=raw,file={variables}"),
    ]
    if secure:
        arguments += ["-global", "driver=cfi.pflash01,property=secure,value=on", "-global", "ICH9-LPC.disable_s3=1"]
    return arguments


def _find(names: tuple[str, ...]) -> Path:
    for folder in _FOLDERS:
        for name in names:
            if (folder / name).exists():
                return folder / name
    raise UnsupportedError(f"No UEFI firmware for virtual machines ({names[0]}) is installed.", "Install the package ovmf.")
