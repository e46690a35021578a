"""Whether QEMU can run guests on the processor itself here: a KVM device may be there and hang, so one is run to see."""

from __future__ import annotations

import os
import tempfile
from functools import cache
from pathlib import Path

from rescue.errors import ProgramError
from rescue.system.run import run

QEMU = "qemu-system-x86_64"
_PATIENCE = 6.0  # seconds; the guest below ends within one where KVM works
_DEBUG_EXIT_PORT = 0xF4
_ENDED_BY_GUEST = 33

# A boot sector that enters protected mode, counts 30 million rounds (0.1 s in emulation) and ends the machine:
# a nested KVM was seen to run the firmware and then to stand still there. isa-debug-exit makes 2 V + 1 of the value V.
_CODE = bytes.fromhex(
    "fa 31c0 8ed8"  # cli; xor ax, ax; mov ds, ax
    "660f0116457c"  # lgdt [0x7c45]
    "0f20c0 0c01 0f22c0 ea187c0800"  # set the lowest bit of cr0; jmp 0x08:0x7c18
    "66b81000 8ed8 8ec0"  # mov ax, 0x10; mov ds, ax; mov es, ax
    "b980c3c901 49 75fd"  # mov ecx, 30000000; dec ecx until 0
    "b010 e6f4 f4"  # mov al, 0x10; out 0xf4, al; hlt
    "0000000000000000 ffff0000009acf00 ffff00000092cf00"  # null, code, data descriptor
    "1700 2d7c0000"  # the table's limit and address
)
_SECTOR = _CODE.ljust(510, b"\0") + b"\x55\xaa"

KVM = ("-accel", "kvm", "-cpu", "host")
# "rep stosb" is emulated byte by byte and the kernel clears pages with it: without erms and fsrm a boot is 15 s shorter.
TCG = ("-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max,-erms,-fsrm")


@cache
def acceleration() -> tuple[str, ...]:
    """The arguments for the fastest way to run a guest that works here; ``RESCUE_VM_ACCEL=tcg`` skips the probe."""
    if os.environ.get("RESCUE_VM_ACCEL") == "tcg" or not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return TCG
    return KVM if _guest_runs(KVM) else TCG


def accelerated() -> bool:
    """Whether guests run at the machine's own speed."""
    return acceleration() == KVM


def _guest_runs(arguments: tuple[str, ...]) -> bool:
    with tempfile.TemporaryDirectory(prefix="rescue-accel-") as folder:
        disk = Path(folder) / "sector.raw"
        disk.write_bytes(_SECTOR.ljust(1 << 20, b"\0"))
        command = [
            *(QEMU, *arguments, "-M", "q35", "-m", "64", "-display", "none", "-nodefaults", "-no-reboot"),
            *("-device", f"isa-debug-exit,iobase={_DEBUG_EXIT_PORT:#x},iosize=1"),
            *("-drive", f"file={disk},format=raw,if=ide,readonly=off"),
        ]
        try:
            run(command, timeout=_PATIENCE, ok=(_ENDED_BY_GUEST,))
        except ProgramError:
            return False
        return True
