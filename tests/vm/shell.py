"""A root shell inside the rescue system, on its second serial port, for what a test must see from within."""

from __future__ import annotations

import base64
from dataclasses import dataclass

from rescue.errors import RescueError
from tests.vm.console import Console, GuestTimeoutError

# No terminal on its standard error: so bash is not interactive, and neither prompts nor news of jobs get between answers.
# systemd (256 and later) takes units from SMBIOS strings: so the shell needs no change of the ISO, works behind every
# boot loader, and is not there on a machine whose owner did not put it there.
_UNIT = """\
[Unit]
Description=Root shell for the test bench
DefaultDependencies=no
After=systemd-udevd.service
[Service]
ExecStart=/bin/bash --noprofile --norc
Environment=HOME=/root TERM=dumb PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
StandardInput=tty-force
StandardOutput=tty
StandardError=null
TTYPath=/dev/ttyS1
TTYReset=yes
Restart=always
RestartSec=1
"""
_WANTED = "[Unit]\nWants=bench-shell.service\n"


def shell_arguments() -> list[str]:
    """QEMU's arguments that make the guest's systemd start the shell."""
    arguments = []
    for name, text in (("extra-unit.bench-shell.service", _UNIT), ("unit-dropin.sysinit.target", _WANTED)):
        encoded = base64.b64encode(text.encode()).decode()
        arguments += ["-smbios", f"type=11,value=io.systemd.credential.binary:systemd.{name}={encoded}"]
    return arguments


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command in the guest left behind: exit code and output (both streams)."""

    code: int
    text: str


class CommandError(RescueError):
    """A command in the guest failed although it had to succeed."""


class Shell:
    """Runs commands one after another; not for programs that ask questions."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._count = 0

    def wait_until_there(self, timeout: float) -> None:
        """Wait for the shell and stop its echo. Raises GuestTimeoutError."""
        # Typed ahead of the shell's start, which flushes its input, a command is lost: ask again until it answers.
        for _ in range(max(1, int(timeout / 2))):
            start = self._console.position
            self._console.send(b"\rstty -echo cols 200; echo bench-''ready\r")
            try:
                self._console.wait_for_output("bench-ready", 2, start)
            except GuestTimeoutError:
                continue
            return
        self._console.wait_for_output("bench-ready", 2)

    def run(self, command: str, timeout: float = 60.0, *, ok: tuple[int, ...] | None = (0,)) -> Answer:
        """Run one command line. Raises CommandError unless its exit code is in ``ok`` (None: any)."""
        self._count += 1
        mark = f"bench-{self._count}-end"
        start = self._console.position
        # The mark is typed in two parts, so that an echo of the command never looks like its end.
        self._console.send(f"{{ {command}\n}} 2>&1 </dev/null; printf '\\n%s %d\\n' 'bench-''{self._count}-end' $?\n".encode())
        found = self._console.wait_for_output(rf"{mark} (\d+)\r?\n", timeout, start)
        code = int(found[1])
        text = self._console.output(start).partition(f"\r\n{mark} ")[0].replace("\r\n", "\n")
        if ok is not None and code not in ok:
            raise CommandError(f"In the guest, {command!r} ended with exit code {code}: {text[-2000:]}")
        return Answer(code, text)
