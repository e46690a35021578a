"""The file systems' own checks, in the way in which each of them only looks (or repairs nothing but a throw-away overlay)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from rescue.errors import ProgramError, ProgramTimeoutError
from rescue.system.run import Completed, have, run

_EXT: Final = ("ext2", "ext3", "ext4", "ext4dev")


class Checked(msgspec.Struct, frozen=True):
    """What a check found. ``done``: it ran to its end. ``problem`` is its first complaint, ``note`` why it did not end."""

    done: bool = False
    problem: str = ""
    note: str = ""


class _Checker(msgspec.Struct, frozen=True):
    """A command, the exit codes that mean "in order", and lines of its output that are no complaints."""

    command: tuple[str, ...]
    ok: tuple[int, ...] = (0,)
    chatter: str = r"$^"


_E2FSCK_CHATTER: Final = r"Pass \d|e2fsck |\*|Warning!|\S+: \d+/\d+ files|\S+: recovering journal"
_BTRFS_CHATTER: Final = r"Opening filesystem|Checking filesystem|UUID:|\[\d/\d\]"
_CHECKERS: Final[dict[str, tuple[_Checker, ...]]] = {
    **dict.fromkeys(_EXT, (_Checker(("e2fsck", "-f", "-n"), chatter=_E2FSCK_CHATTER),)),
    "xfs": (_Checker(("xfs_repair", "-n"), chatter=r"Phase \d|\s+- |No modify flag set"),),
    "btrfs": (_Checker(("btrfs", "check", "--readonly"), chatter=_BTRFS_CHATTER),),
    # The first reads the boot sectors, the log and the start of the MFT; the second holds all of the MFT against the bitmap.
    "ntfs": (
        _Checker(("ntfsfix", "--no-action"), chatter=r"Mounting volume|Processing of|Checking|OK$"),
        _Checker(
            ("ntfsresize", "--info", "--force", "--no-progress-bar"),
            chatter=r"ntfsresize v|Device name|NTFS volume|C\w+ \w+ size|=",
        ),
    ),
    "vfat": (_Checker(("fsck.fat", "-n"), chatter=r"fsck.fat "),),
    "exfat": (_Checker(("fsck.exfat", "-n"), chatter=r"exfatprogs "),),
    "f2fs": (_Checker(("fsck.f2fs", "--dry-run"), chatter=r"Info:|\s+\w+ \w+ = "),),
}
CHECKED: Final = frozenset(_CHECKERS)


def check(filesystem: str, device: str, *, dirty: bool, timeout: float) -> Checked:
    """Check what is on ``device``, which may be a file; where it is ``dirty`` it must be an overlay, because it may be repaired.

    ``filesystem`` is libblkid's word. A check that takes longer than ``timeout`` seconds is ended, which is no problem.
    """
    if dirty and filesystem in _EXT:
        # Replays the journal and puts right what an interrupted system leaves behind by design.
        checkers: Sequence[_Checker] = (_Checker(("e2fsck", "-f", "-p"), ok=(0, 1), chatter=_E2FSCK_CHATTER),)
    else:
        checkers = _CHECKERS[filesystem]
    for checker in checkers:
        program = checker.command[0]
        if not have(program):
            return Checked(note=f"{program} is not installed")
        try:
            done = run([*checker.command, device], timeout=timeout, ok=range(256))
        except ProgramTimeoutError:
            return Checked(note=f"{program} was ended after {timeout:.0f} s: it would have taken too long")
        except ProgramError as error:
            return Checked(done=True, problem=error.message)
        if done.code not in checker.ok:
            return Checked(done=True, problem=f"{program}: {_complaint(done, checker.chatter)}")
    return Checked(done=True)


def _complaint(done: Completed, chatter: str) -> str:
    """The first line of what a checker said that is no chatter."""
    text = done.text + "\n" + done.stderr.decode("utf-8", "replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    said = next((line for line in lines if not re.match(chatter, line)), "")
    plain = "".join(c if c.isprintable() else "?" for c in said)[:300]
    return plain or f"it ended with exit code {done.code}"
