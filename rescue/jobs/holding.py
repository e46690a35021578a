"""Keeping an image mounted in a process of its own, and ending that: ``rescue mount`` and ``rescue umount``."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

import rescue
from rescue.errors import CredentialError, DamagedError, ProgramError, RefusedError, RescueError, UsageError
from rescue.images.secrets import Secrets
from rescue.jobs.hold import HoldAnswer, HoldRequest
from rescue.jobs.job import start_time
from rescue.jobs.secrets import send
from rescue.jobs.spawn import SECRET_VARIABLES
from rescue.model import documents
from rescue.system.run import run

# Who keeps what mounted, as long as this computer runs.
REGISTER: Final = Path("/run/rescue/mounts")
_END_SECONDS: Final = 60.0
_ERRORS: Final = {error.exit_code: error for error in (UsageError, RefusedError, DamagedError, CredentialError)}
_OCTAL: Final = re.compile(rb"\\([0-7]{3})")


class Holder(msgspec.Struct, frozen=True):
    """The process that keeps ``folder`` mounted."""

    folder: str
    image: str
    workspace: str
    pid: int
    started: int

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        try:
            state = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return False
        return state != "Z" and start_time(self.pid) == self.started


def hold(request: HoldRequest, secrets: Secrets | None, register: Path) -> tuple[Holder, HoldAnswer]:
    """Mount in a process that stays, and is found again in the folder ``register``. Waits until it is done.

    Raises RescueError when nothing could be mounted: its exit code is that of the cause.
    """
    pipe = send(secrets) if secrets is not None and (secrets or secrets.volume_keys) else None
    command = [sys.executable, "-m", "rescue.jobs.hold", documents.encode(request).decode()]
    environment = {name: value for name, value in os.environ.items() if name not in SECRET_VARIABLES}
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    try:
        child = subprocess.Popen(
            command if pipe is None else [*command, str(pipe)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={**environment, "PYTHONPATH": str(Path(rescue.__file__).parent.parent)},
            pass_fds=() if pipe is None else (pipe,),
            start_new_session=True,
        )
    except OSError as error:
        raise RescueError(f"The process that shall keep it mounted cannot be started: {error.strerror}.") from error
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        if pipe is not None:
            os.close(pipe)
    assert child.stdout is not None
    with child.stdout as said:
        line = said.readline()
    try:
        answer = documents.decode(line, type=HoldAnswer)
    except msgspec.MsgspecError as error:
        raise RescueError("The process that shall keep it mounted died.") from error
    if answer.exit_code or not any(volume.folder for volume in answer.shown):
        child.wait()
    if answer.exit_code:
        raise _ERRORS.get(answer.exit_code, RescueError)(answer.message, answer.hint)
    holder = Holder(request.folder, request.image, answer.workspace, child.pid, start_time(child.pid))
    if child.poll() is None:
        register.mkdir(mode=0o700, parents=True, exist_ok=True)
        (register / f"{child.pid}.json").write_bytes(documents.encode(holder))
    return holder, answer


def holders(register: Path) -> Iterator[Holder]:
    """Those that were started and not ended by :func:`release`, also when they have died since."""
    for file in sorted(register.glob("*.json")):
        with contextlib.suppress(OSError, msgspec.MsgspecError):
            yield documents.decode(file.read_bytes(), type=Holder)


def release(folder: str, register: Path) -> None:
    """Unmount what is mounted in ``folder`` and end its process. Raises RefusedError when nothing is, or when it is in use."""
    holder = next((h for h in holders(register) if h.folder == folder), None)
    if holder is None:
        raise RefusedError(f"No image is mounted at {folder}.")
    for point in mounts_below(folder):
        try:
            run(["umount", "--", point])
        except ProgramError as error:
            raise RefusedError(f"{point} is in use.", "Close what is open there (see: fuser -vm) and try again.") from error
    if holder.alive:
        os.kill(holder.pid, signal.SIGTERM)
        deadline = time.monotonic() + _END_SECONDS
        while holder.alive:
            if time.monotonic() > deadline:
                raise RescueError(f"The process {holder.pid}, which held {folder}, does not end.")
            time.sleep(0.02)
    else:
        _clean_up_after(holder)
    (register / f"{holder.pid}.json").unlink(missing_ok=True)


def mounts_below(folder: str) -> list[str]:
    """The mount points directly in a folder."""
    # The kernel writes blanks, tabs, line ends and backslashes as octal numbers.
    lines = Path("/proc/self/mounts").read_bytes().splitlines()
    points = (os.fsdecode(_OCTAL.sub(lambda found: bytes([int(found[1], 8)]), line.split()[1])) for line in lines)
    return [point for point in points if os.path.dirname(point) == folder]


def _clean_up_after(holder: Holder) -> None:
    """What a holder that was killed left: loop devices, dead mounts of FUSE, empty folders."""
    for line in run(["losetup", "--list", "--noheadings", "--output", "NAME,BACK-FILE"]).text.splitlines():
        node, _, file = line.strip().partition(" ")
        if file.strip().startswith(f"{holder.workspace}/"):
            run(["losetup", "--detach", node])
    for point in mounts_below(holder.workspace):
        run(["umount", "--lazy", "--", point])
    shutil.rmtree(holder.workspace, ignore_errors=True)
    for empty in sorted(Path(holder.folder).glob("[0-9]*")):
        empty.rmdir()
