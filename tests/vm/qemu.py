"""One virtual machine: what it is made of, its start, its consoles, its disks pulled and plugged, and its certain end."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import TracebackType

from rescue.errors import RescueError
from tests.vm.acceleration import QEMU, acceleration
from tests.vm.console import Console, GuestPanicError, GuestTimeoutError
from tests.vm.firmware import Firmware, firmware_arguments
from tests.vm.patience import GuestClock
from tests.vm.qmp import Qmp, QmpError
from tests.vm.shell import Shell, shell_arguments

_SPARE_PORTS = 2


class Bus(Enum):
    """How a disk is connected."""

    VIRTIO = "virtio"
    NVME = "nvme"
    SATA = "sata"
    USB = "usb"


@dataclass(frozen=True, slots=True)
class Drive:
    """A disk: a raw file, seen by the guest with this serial. ``boot_index`` 0 is tried first; None is never booted."""

    path: Path
    serial: str
    bus: Bus = Bus.VIRTIO
    boot_index: int | None = None
    sector_size: int = 512

    @property
    def id(self) -> str:
        """QEMU's name of the device."""
        return f"disk-{self.serial}"


@dataclass(frozen=True, slots=True)
class Medium:
    """The ISO, as a disc or (``stick``) as a read-only USB stick. Booted first."""

    path: Path
    stick: bool = False


@dataclass(frozen=True, slots=True)
class MachineSpec:
    """What a machine is made of. ``limit`` is the hard end of its life, in seconds of its clock."""

    firmware: Firmware = Firmware.BIOS
    drives: tuple[Drive, ...] = ()
    medium: Medium | None = None
    memory_mib: int = 2048
    processors: int = 2
    root_shell: bool = False
    limit: float = 1500.0


class MachineError(RescueError):
    """QEMU itself did not start or had to be ended."""


class Machine:
    """A running machine. A context manager: however the block is left, QEMU has ended afterwards.

    Limits are seconds of ``clock``: what the machine had of the processors, not the time of day.
    Everything is kept in ``artifacts``: ``command.txt``, ``serial.log``, ``shell.log``, ``qemu.log``, ``screens/``.
    """

    def __init__(self, spec: MachineSpec, artifacts: Path) -> None:
        self.spec = spec
        self.artifacts = artifacts
        self._folder = Path(tempfile.mkdtemp(prefix="rescue-vm-"))
        self._free_ports: list[str] = []
        # The sixth port is the disc's.
        self._sata_ports = [f"ide.{number}" for number in range(5)]
        self._shots = 0
        (artifacts / "screens").mkdir(parents=True, exist_ok=True)
        self._serial_listener, serial = self._listen("serial")
        self._shell_listener, shell = self._listen("shell")
        self._qmp_listener, qmp = self._listen("qmp")
        command = self._command(serial, shell, qmp)
        (artifacts / "command.txt").write_text(" \\\n  ".join(command) + "\n")
        with (artifacts / "qemu.log").open("wb") as log:
            # setpriv makes the kernel end QEMU when the test run itself is killed.
            self._child = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self.clock = GuestClock(self._child.pid)
        self._ended = threading.Event()
        threading.Thread(target=self._end_at_limit, name="machine-limit", daemon=True).start()
        try:
            self.console = Console("serial", self._accept(self._serial_listener), artifacts / "serial.log", clock=self.clock)
            self._shell_console = Console("shell", self._accept(self._shell_listener), artifacts / "shell.log", clock=self.clock)
            self.qmp = Qmp(self._accept(self._qmp_listener), self.clock)
        except BaseException:
            self._kill()
            raise
        self.shell = Shell(self._shell_console)

    def _listen(self, name: str) -> tuple[socket.socket, Path]:
        # QEMU is the one that connects: nothing that the guest prints is lost, and it waits for nobody.
        path = self._folder / name
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen(1)
        listener.settimeout(0.2)
        return listener, path

    def _accept(self, listener: socket.socket) -> socket.socket:
        deadline = self.clock() + 30
        while self.clock() < deadline:
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                if self._child.poll() is not None:
                    break
            else:
                connection.settimeout(None)
                return connection
        said = (self.artifacts / "qemu.log").read_text(errors="replace").strip()
        raise MachineError(f"QEMU did not start: {said or 'it said nothing'}")

    def _command(self, serial: Path, shell: Path, qmp: Path) -> list[str]:
        spec = self.spec
        command = [
            *(QEMU, "-M", spec.firmware.machine, *acceleration(), "-smp", str(spec.processors), "-m", str(spec.memory_mib)),
            *("-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-vga", "std", "-rtc", "base=utc"),
            *("-boot", "menu=off,strict=on", "-device", "qemu-xhci,id=usb"),
            *("-chardev", f"socket,id=serial,path={serial}", "-serial", "chardev:serial"),
            *("-chardev", f"socket,id=shell,path={shell}", "-serial", "chardev:shell"),
            *("-chardev", f"socket,id=qmp,path={qmp}", "-mon", "chardev=qmp,mode=control"),
            *firmware_arguments(spec.firmware, self._folder),
        ]
        if spec.root_shell:
            command += shell_arguments()
        command += self._ports()
        for drive in spec.drives:
            command += ["-blockdev", _joined(_file_node(drive))]
            command += ["-device", _joined(self._device(drive))]
        if spec.medium:
            command += self._medium(spec.medium)
        return command

    def _ports(self) -> list[str]:
        count = sum(drive.bus in (Bus.VIRTIO, Bus.NVME) for drive in self.spec.drives) + _SPARE_PORTS
        arguments = []
        for number in range(count):
            # Only a disk on a port of its own can be pulled out of a running q35 machine.
            arguments += ["-device", f"pcie-root-port,id=port{number},chassis={number + 1},slot={number + 1}"]
            self._free_ports.append(f"port{number}")
        return arguments

    def _device(self, drive: Drive) -> dict[str, str | int]:
        device: dict[str, str | int] = {"id": drive.id, "drive": f"node-{drive.serial}", "serial": drive.serial}
        match drive.bus:
            case Bus.VIRTIO:
                device |= {"driver": "virtio-blk-pci", "bus": self._free_ports.pop(0)}
            case Bus.NVME:
                device |= {"driver": "nvme", "bus": self._free_ports.pop(0)}
            case Bus.SATA:
                device |= {"driver": "ide-hd", "bus": self._sata_ports.pop(0)}
            case Bus.USB:
                device |= {"driver": "usb-storage", "bus": "usb.0"}
        if drive.sector_size != 512:
            device |= {"logical_block_size": drive.sector_size, "physical_block_size": drive.sector_size}
        if drive.boot_index is not None:
            device["bootindex"] = drive.boot_index
        return device

    def _medium(self, medium: Medium) -> list[str]:
        kind = "usb-storage,bus=usb.0,removable=on,serial=RESCUESTICK" if medium.stick else "ide-cd,bus=ide.5"
        node = f"driver=raw,node-name=medium,read-only=on,file.driver=file,file.filename={medium.path}"
        return ["-blockdev", node, "-device", f"{kind},drive=medium,id=medium,bootindex=0"]

    def unplug(self, serial: str, timeout: float = 60.0) -> None:
        """Pull a disk out while the machine runs, and wait until it is gone. Raises QmpError."""
        self.qmp.command("device_del", {"id": f"disk-{serial}"})
        self.qmp.wait_for_event("DEVICE_DELETED", timeout)

    def plug(self, drive: Drive) -> None:
        """Plug a further disk in while the machine runs. Raises QmpError."""
        self.qmp.command("blockdev-add", _file_node(drive))
        self.qmp.command("device_add", self._device(drive))

    def screenshot(self, name: str) -> None:
        """Keep what the serial console and the machine's display show: ``screens/NN-name.txt`` and ``.png``."""
        self._shots += 1
        stem = self.artifacts / "screens" / f"{self._shots:02d}-{name}"
        stem.with_suffix(".txt").write_text(self.console.screen_text() + "\n")
        with contextlib.suppress(QmpError):  # the machine may have ended by itself: the text is there
            self.qmp.command("screendump", {"filename": str(stem.with_suffix(".png").absolute()), "format": "png"})

    def keys_on_keyboard(self, *names: str) -> None:
        """Press keys of the machine's own keyboard together (QEMU's names: ``ret``, ``down``, ``ctrl`` …)."""
        self.qmp.command("send-key", {"keys": [{"type": "qcode", "data": name} for name in names]})

    def wait_until_off(self, timeout: float) -> None:
        """Wait until the guest has switched itself off. Raises MachineError."""
        if not self._is_off(timeout):
            raise MachineError(f"The machine was still running after {timeout:.0f} s.")

    def power_off(self, timeout: float = 60.0) -> None:
        """Press the power button; pull the plug if the guest is still there after ``timeout`` seconds."""
        with contextlib.suppress(QmpError):
            self.qmp.command("system_powerdown")
        if not self._is_off(timeout):
            with contextlib.suppress(QmpError):
                self.qmp.command("quit")

    def _is_off(self, timeout: float) -> bool:
        deadline = self.clock() + timeout
        while self.clock() < deadline:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(0.5)
                return True
        return False

    def _end_at_limit(self) -> None:
        while not self._ended.wait(1.0):
            if self.clock() >= self.spec.limit:
                self._child.kill()
                return

    def close(self) -> None:
        """End the machine, whatever it does."""
        if self._child.poll() is None:
            self.screenshot("last")
            with contextlib.suppress(QmpError):
                self.qmp.command("quit")
        self._kill()
        self.qmp.close()
        self.console.close()
        self._shell_console.close()

    def _kill(self) -> None:
        self._ended.set()
        try:
            self._child.wait(5)
        except subprocess.TimeoutExpired:
            os.kill(self._child.pid, signal.SIGKILL)
            self._child.wait()
        for listener in (self._serial_listener, self._shell_listener, self._qmp_listener):
            listener.close()
        shutil.rmtree(self._folder)

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


@contextlib.contextmanager
def booted(spec: MachineSpec, artifacts: Path, ready: Callable[[Machine], None], *, attempts: int = 3) -> Iterator[Machine]:
    """A machine that has come as far as ``ready`` waits for; a kernel that dies on the way there is started again."""
    for attempt in range(1, attempts + 1):
        with Machine(spec, artifacts if attempt == 1 else artifacts / f"attempt-{attempt}") as machine:
            try:
                ready(machine)
            except (GuestPanicError, GuestTimeoutError) as error:
                # A panic of the second processor can leave the first one waiting: only the log tells it from a slow start.
                if attempt == attempts or not (isinstance(error, GuestPanicError) or _died(machine)):
                    raise
                continue
            yield machine
            return


def _died(machine: Machine) -> bool:
    return re.search(r"Oops|rcu: INFO: rcu_.*detected stalls|soft lockup", machine.console.output()) is not None


def _file_node(drive: Drive) -> dict[str, object]:
    return {
        "driver": "raw",
        "node-name": f"node-{drive.serial}",
        "discard": "unmap",
        # The guest's flushes need not reach this machine's own disk: it is not its power that the tests cut.
        "cache": {"no-flush": True},
        "file": {"driver": "file", "filename": str(drive.path)},
    }


def _joined(values: dict[str, object] | dict[str, str | int]) -> str:
    parts = []
    for key, value in values.items():
        if isinstance(value, dict):
            parts += [f"{key}.{inner}={'on' if content is True else content}" for inner, content in value.items()]
        else:
            parts.append(f"{key}={value}")
    return ",".join(parts)
