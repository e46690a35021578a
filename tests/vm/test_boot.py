"""The ISO starts on every firmware: the interface on the serial console and on the screen, and nothing listens on the network."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from rescue.units import GIB
from tests.vm.acceleration import accelerated
from tests.vm.debian_disk import blank_disk
from tests.vm.evidence import evidence_kept
from tests.vm.firmware import Firmware
from tests.vm.qemu import Bus, Drive, Machine, MachineSpec, Medium, booted
from tests.vm.tui_driver import Tui

pytestmark = [pytest.mark.vm, pytest.mark.timeout(9000)]

_HOT = "HOT-PLUGGED-55E0"
_COLD = "COLD-BLANK-0001"


@pytest.mark.parametrize(
    ("firmware", "stick"),
    [
        pytest.param(Firmware.BIOS, True, id="bios-stick"),
        pytest.param(Firmware.UEFI, False, id="uefi-disc"),
        # The main job with Secure Boot starts the same ISO: on its own this one is for the long run.
        pytest.param(Firmware.SECURE_BOOT, True, id="secure-boot-stick", marks=pytest.mark.long),
    ],
)
def test_starts(firmware: Firmware, stick: bool, iso: Path, artifacts: Path, disks: Path) -> None:
    """Home on both consoles; the medium protected; no listening socket; a disk plugged in appears, pulled out it goes."""
    cold = Drive(blank_disk(disks / "cold.raw", GIB), _COLD)
    hot = Drive(blank_disk(disks / "hot.raw", GIB), _HOT, Bus.USB)
    spec = MachineSpec(firmware=firmware, medium=Medium(iso, stick=stick), drives=(cold,), root_shell=True)

    waited = 0.0

    def at_home(machine: Machine) -> None:
        nonlocal waited
        machine.console.wait_for_output("Starting Rescue", 120)
        day, had = time.monotonic(), machine.clock()
        Tui(machine).wait_for_home()
        waited = time.monotonic() - day - (machine.clock() - had)

    with booted(spec, artifacts, at_home) as machine, evidence_kept(machine):
        seen = time.monotonic()
        machine.shell.wait_until_there(60)
        uptime = float(machine.shell.run("cut -d ' ' -f 1 /proc/uptime").text)
        measured = {
            "kernel_to_interface_seconds": round(uptime - (time.monotonic() - seen), 1),
            "of_them_waiting_for_a_processor": round(waited, 1),
            "accelerated": accelerated(),
        }
        (artifacts / "start.json").write_text(json.dumps(measured) + "\n")

        tui = Tui(machine)
        tui.wait_for_disk(_COLD)
        assert ("rescue medium" in machine.console.screen_text()) == stick  # a disc is not among the disks
        assert "Disks" in tui.help()

        listening = machine.shell.run("ss --no-header --tcp --udp --raw --listening --numeric --processes").text
        assert listening.strip() == ""
        assert machine.shell.run("systemctl is-active 'rescue-tui@tty1.service'").text.strip() == "active"
        assert machine.shell.run("systemctl --failed --no-legend --plain").text.strip() == ""
        secure = machine.shell.run("cat /sys/kernel/security/lockdown", ok=None).text
        assert ("[none]" not in secure) == (firmware is Firmware.SECURE_BOOT)

        machine.plug(hot)
        tui.wait_for_disk(_HOT)
        machine.screenshot("plugged")
        machine.unplug(_HOT)
        tui.wait_for_disk_gone(_HOT)
        walk_on_the_screen(machine)


def walk_on_the_screen(machine: Machine) -> None:
    """Press keys on the machine's own keyboard and keep what its own screen shows, to be looked at."""
    for key, name in (("f1", "screen-help"), ("esc", "screen-home"), ("b", "screen-backup")):
        before = _picture(machine)
        machine.keys_on_keyboard(key)
        deadline = machine.clock() + 60
        while (after := _picture(machine)) == before:
            assert machine.clock() < deadline, f"The screen did not change after {key}."
        machine.screenshot(name)
        assert len(after) > 1000


def _picture(machine: Machine) -> bytes:
    path = machine.artifacts / "screens" / "now.png"
    machine.qmp.command("screendump", {"filename": str(path.absolute()), "format": "png"})
    picture = path.read_bytes()
    path.unlink()
    return picture
