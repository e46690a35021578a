"""Having a disk's own controller erase it, and a look at samples afterwards."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, assert_never

from rescue.errors import DamagedError, ProgramError, RescueError, SourceReadError
from rescue.model.edit import SanitizeWay
from rescue.model.source import Source
from rescue.system.blockfile import FileSource
from rescue.system.run import Completed, run
from rescue.units import KIB, align_down

_SAMPLES: Final = 256
_SAMPLE: Final = 4 * KIB
_LONGEST: Final = 48 * 3600.0  # a large rotating disk erases itself in a day
_POLL_SECONDS: Final = 2.0
_PASSWORD: Final = "rescue"  # ATA wants one for the time of the erase; printed when something goes wrong
_SANITIZE_ACTIONS: Final[dict[SanitizeWay, int]] = {"nvme-block": 2, "nvme-overwrite": 3, "nvme-crypto": 4}

Run = Callable[[list[str]], Completed]
Progress = Callable[[int, int], None]


def _patiently(arguments: list[str]) -> Completed:
    return run(arguments, timeout=_LONGEST)


def sanitize(
    path: str, way: SanitizeWay, progress: Progress, run_: Run = _patiently, sleep: Callable[[float], None] = time.sleep
) -> None:
    """Have the disk erase itself, and return when it has; it cannot be stopped. Raises RescueError."""
    progress(0, 1)
    match way:
        case "nvme-block" | "nvme-crypto" | "nvme-overwrite":
            run_(["nvme", "sanitize", path, f"--sanact={_SANITIZE_ACTIONS[way]}"])
            _wait_for_nvme(path, progress, run_, sleep)
        case "nvme-format" | "nvme-format-crypto":
            run_(["nvme", "format", path, f"--ses={2 if way.endswith('crypto') else 1}", "--force"])
        case "ata" | "ata-enhanced":
            _erase_ata(path, way == "ata-enhanced", run_)
        case "discard":
            run_(["blkdiscard", "--secure", "--force", path])
        case _:
            assert_never(way)
    progress(1, 1)


def sanitize_state(log: bytes) -> tuple[int, int]:
    """``(state, progress)`` of the NVMe sanitize log (NVM Express 2.0, figure 268): state 1 or 4 is done, 2 runs, 3 failed."""
    if len(log) < 4:
        raise RescueError("The disk does not tell how far it is with erasing itself.", "Wait, and look with: nvme sanitize-log")
    return int.from_bytes(log[2:4], "little") & 7, int.from_bytes(log[0:2], "little")


def _wait_for_nvme(path: str, progress: Progress, run_: Run, sleep: Callable[[float], None]) -> None:
    while True:
        state, done = sanitize_state(run_(["nvme", "sanitize-log", path, "--raw-binary"]).stdout)
        if state in (1, 4):
            return
        if state != 2:
            raise RescueError(
                f"{path} says that erasing itself failed.",
                "Until it has succeeded the disk answers nothing else: run the same command again.",
            )
        progress(done, 1 << 16)
        sleep(_POLL_SECONDS)


def _erase_ata(path: str, enhanced: bool, run_: Run) -> None:
    run_(["hdparm", "--user-master", "u", "--security-set-pass", _PASSWORD, path])
    try:
        run_(["hdparm", "--user-master", "u", "--security-erase-enhanced" if enhanced else "--security-erase", _PASSWORD, path])
    except ProgramError as error:
        unlocked = _unlocked(path, run_)
        state = "Its content is as it was." if unlocked else f"It may be locked with the password “{_PASSWORD}”."
        raise RescueError(
            f"{path} did not erase itself. {error.message} {state}",
            "" if unlocked else f"Switch the disk off and on, then: hdparm --security-disable {_PASSWORD} {path}",
        ) from error


def _unlocked(path: str, run_: Run) -> bool:
    try:
        run_(["hdparm", "--security-disable", _PASSWORD, path])
    except ProgramError:
        return False
    return True


def _samples(source: Source) -> dict[int, bytes]:
    """Some stretches of a disk by offset, those left out that hold one byte again and again or cannot be read."""
    last = align_down(max(source.size - _SAMPLE, 0), _SAMPLE)
    places = {align_down(last * number // (_SAMPLES - 1), _SAMPLE) for number in range(_SAMPLES)}
    found = {}
    for offset in sorted(places):
        try:
            data = source.pread(min(_SAMPLE, source.size - offset), offset)
        except SourceReadError:
            continue
        if data.strip(data[:1]):
            found[offset] = data
    return found


def samples_of(path: str) -> dict[int, bytes]:
    """What to hold the disk against afterwards. Raises RescueError when it cannot be opened."""
    with FileSource(path, direct=True) as source:
        source.drop_cache()
        return _samples(source)


def prove_sanitized(path: str, before: dict[int, bytes]) -> int:
    """See that none of the samples is still there; how many there were. Raises DamagedError."""
    with FileSource(path, direct=True) as source:
        source.drop_cache()
        for offset, data in before.items():
            try:
                now = source.pread(len(data), offset)
            except SourceReadError:
                continue  # some controllers give no bytes for what was never written since
            if now == data:
                raise DamagedError(
                    f"{path} said that it erased itself, but at byte {offset} it still holds what it held before.",
                    "Use --method zeros, or destroy the disk.",
                )
    return len(before)
