"""``python -m bench.second``: the second backup, the restore over a similar disk, one file out of an image, encryption,
cloning, fitting onto a smaller disk.

The contenders take turns in one run on one machine, and what each of them did is checked once. Writes its sections of
docs/benchmarks.md when all of them could be measured. Needs root and what ``bench/packages.txt`` names.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from typing import Final

from bench import again, archives, clones, duplicate, files_out, fits, sealed
from bench.bench import empty, machine
from bench.contest import Contest, section
from bench.day2 import make_day_2
from bench.disk import CACHE
from bench.document import DOCUMENT, put
from bench.make_disk import make_disk
from bench.ours import RESCUE, compile_program
from bench.stage import Stage
from rescue.errors import RescueError

CONTESTS: Final[Mapping[str, Callable[[Stage, Callable[[str], None]], Contest]]] = {
    "second": again.contest,
    "delta": duplicate.contest,
    "extract": files_out.contest,
    "encrypt": sealed.contest,
    "clone": clones.contest,
    "fit": fits.contest,
}
_TOOLS: Final = ("bash", "borg", "cmp", "dd", "ddrescue", "losetup", "partclone.ext4", "partclone.ntfs", "restic", "zstdmt")


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} load {os.getloadavg()[0]:.1f}: {text}", file=sys.stderr, flush=True)


def _measured(rounds: int) -> str:
    """When and by what a section was measured."""
    here = machine()
    tools = ", ".join(
        [
            f"restic {'.'.join(map(str, archives.restic_version()))}",
            f"borg {'.'.join(map(str, archives.borg_version()))}",
            here.tools,
        ]
    )
    times = "one round" if rounds == 1 else f"{rounds} rounds, median (least–most)"
    return f"Measured on {here.date}: {here.cores} cores, {here.memory / 2**30:.0f} GiB of memory, {tools}; {times}."


def main(arguments: list[str] | None = None) -> int:
    """Measure, print the sections, keep them in ``docs/benchmarks.md`` unless the run was a quick one or a row failed."""
    parser = argparse.ArgumentParser(prog="bench.second", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=3, help="how many times each side is measured (default: 3)")
    parser.add_argument("--quick", action="store_true", help="one round, nothing written to docs/")
    parser.add_argument("--only", choices=CONTESTS, action="append", help="only this contest (may be given again)")
    asked = parser.parse_args(arguments)
    if os.geteuid() != 0:
        print("The benchmark needs root: for loop devices and mounts.", file=sys.stderr)
        return 1
    if missing := [tool for tool in _TOOLS if not shutil.which(tool)] + ([] if RESCUE.exists() else [str(RESCUE)]):
        print(f"Missing: {', '.join(missing)}. Install what bench/packages.txt names and run make setup.", file=sys.stderr)
        return 1
    rounds = 1 if asked.quick else max(1, asked.rounds)
    contests: list[Contest] = []
    try:
        compile_program()
        disk = make_disk()
        stage = Stage(disk, make_day_2(disk), CACHE / "second", rounds)
        try:
            empty(stage.folder)
            for name in asked.only or CONTESTS:
                contests.append(CONTESTS[name](stage, _say))
                print(f"## {contests[-1].title}\n\n{section(contests[-1])}", flush=True)
        finally:
            stage.clear()
        measured = _measured(rounds)
    except RescueError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    if failed := [row.name for contest in contests for row in contest.rows if row.failure]:
        print(f"Not measured: {'; '.join(failed)}. Nothing is written to {DOCUMENT}.", file=sys.stderr)
        return 1
    if not asked.quick:
        put(DOCUMENT, sections={contest.title: f"{measured}\n\n{section(contest)}" for contest in contests})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
