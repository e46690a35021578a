"""The last word on a restored disk: the system on it starts, reads all its files and compares them."""

from __future__ import annotations

from pathlib import Path

from tests.vm.console import GuestTimeoutError
from tests.vm.qemu import Machine, MachineSpec, booted


def guest_check(spec: MachineSpec, artifacts: Path, *, passphrase: str = "") -> str:
    """Start the machine from its disk alone; what the Debian on it says: ``OK files=… sha=…`` or ``FAIL why``.

    A ``passphrase`` is typed when the system asks for that of its disk.
    """
    said = ""

    def wait_for_verdict(machine: Machine) -> None:
        nonlocal said
        try:
            if passphrase:
                machine.console.wait_for_output("[Pp]lease unlock disk", 400)
                machine.console.send(f"{passphrase}\r".encode())
            said = machine.console.wait_for_output(r"GUEST-CHECK: (OK files=\d+ sha=[0-9a-f]{64}|FAIL [^\r\n]*)", 400)[1]
        except GuestTimeoutError:
            machine.screenshot("no-verdict")
            raise

    with booted(spec, artifacts, wait_for_verdict) as machine:
        machine.wait_until_off(120)
    return said
