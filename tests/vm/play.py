"""Boot the ISO in a virtual machine to play with: a Debian to back up, a disk with an image of it, a blank disk to restore onto.

With a desktop, in a window; without one, on its serial console in this terminal. The disks stay in build/run.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from rescue.errors import RescueError
from rescue.units import GIB
from tests.vm.acceleration import QEMU, accelerated, acceleration
from tests.vm.debian_disk import blank_disk, copy_sparse, debian_disk, formatted_disk
from tests.vm.firmware import Firmware, firmware_arguments

ROOT = Path(__file__).resolve().parents[2]
DISKS = (("debian", "SCRATCH-DEBIAN-1D0B"), ("images", "SCRATCH-IMAGES-22C7"), ("blank", "SCRATCH-BLANK-3E94"))


def main() -> int:
    """Make the disks that are missing, say how to leave, become QEMU."""
    arguments = parse()
    folder = ROOT / "build" / "run"
    folder.mkdir(parents=True, exist_ok=True)
    if arguments.fresh:
        for name, _ in DISKS:
            (folder / f"{name}.raw").unlink(missing_ok=True)
    make_disks(folder)
    with tempfile.TemporaryDirectory(prefix="rescue-run-") as scratch:
        command = machine(arguments, folder, Path(scratch)) + interface()
        return subprocess.run(command, check=False).returncode


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="image-build/run-qemu", description=__doc__)
    parser.add_argument("iso", nargs="?", type=Path, default=ROOT / "build" / "rescue.iso")
    parser.add_argument("--firmware", type=Firmware, default=Firmware.BIOS, help="bios (default), uefi or secure-boot")
    parser.add_argument("--fresh", action="store_true", help="throw away what earlier runs left on the disks")
    parser.add_argument("--restored", action="store_true", help="start from the disk that was restored onto, without the ISO")
    parser.add_argument("--memory", type=int, default=2048, metavar="MIB")
    return parser.parse_args()


def make_disks(folder: Path) -> None:
    """The three disks, about 1 GB at first."""
    debian, images, blank = (folder / f"{name}.raw" for name, _ in DISKS)
    if not debian.exists():
        print("Making a disk with a small Debian on it …", flush=True)
        # mmdebstrap installs a system as root does; the copy belongs to whoever plays with it.
        code = "from tests.vm.debian_disk import debian_disk; print(debian_disk())"
        if os.geteuid() == 0:
            source = debian_disk()
        else:
            asked = ["sudo", "env", f"PYTHONPATH={ROOT}", sys.executable, "-c", code]
            source = Path(subprocess.run(asked, check=True, stdout=subprocess.PIPE, text=True).stdout.strip())
        copy_sparse(source, debian)
    if not images.exists():
        print("Making an image of it, to have one to restore …", flush=True)
        with tempfile.TemporaryDirectory(dir=folder) as samples:
            os.chmod(samples, 0o755)
            rescue = [sys.executable, "-m", "rescue", "backup", str(debian), samples, "--name", "sample-debian"]
            subprocess.run([*rescue, "--comment", "made by make run"], check=True, cwd=ROOT)
            formatted_disk(images, 8 * GIB, content=Path(samples))
    if not blank.exists():
        blank_disk(blank, 4 * GIB)


def machine(arguments: argparse.Namespace, folder: Path, scratch: Path) -> list[str]:
    """QEMU's command, without how it is shown."""
    firmware: Firmware = arguments.firmware
    command = [
        *(QEMU, "-M", firmware.machine, *acceleration(), "-smp", "2", "-m", str(arguments.memory), "-name", "Rescue"),
        *("-device", "qemu-xhci", "-device", "usb-tablet", "-boot", "menu=off,strict=on"),
        *firmware_arguments(firmware, scratch),
    ]
    for name, serial in DISKS:
        boot = ",bootindex=0" if arguments.restored and name == "blank" else ""
        command += ["-drive", f"id={name},file={folder / name}.raw,format=raw,if=none,discard=unmap"]
        command += ["-device", f"virtio-blk-pci,drive={name},serial={serial}{boot}"]
    if not arguments.restored:
        command += ["-drive", f"id=medium,file={arguments.iso},format=raw,if=none,media=cdrom,readonly=on"]
        command += ["-device", "ide-cd,drive=medium,bootindex=0"]
    return command


def interface() -> list[str]:
    """A window where there is a desktop and QEMU can draw on it, else the serial console in this terminal."""
    if not accelerated():
        print("This machine cannot accelerate virtual machines: the start takes one to two minutes.")
    if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        known = subprocess.run([QEMU, "-display", "help"], check=True, capture_output=True, text=True).stdout.split()
        for display in ("gtk", "sdl"):
            if display in known:
                print(f"Opening a window ({display}). Close it to end the machine.")
                return ["-vga", "std", "-display", display]
        print("QEMU has no window here (the package qemu-system-gui brings it).")
    print("The machine's serial console follows in this terminal.")
    print("To end the machine: Ctrl-A, then X.  QEMU's monitor and back: Ctrl-A, then C.", flush=True)
    return ["-vga", "std", "-display", "none", "-serial", "mon:stdio"]


if __name__ == "__main__":
    try:
        sys.exit(main())
    except RescueError as problem:
        sys.exit(str(problem))
