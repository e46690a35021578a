"""``make bench``: this program and Clonezilla's pipelines take turns on the generated disk; a table against the goals.

Nothing is asserted: times on a shared machine are noisy, and a person reads the ratios. Needs root and what
``bench/packages.txt`` names.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bench import limits, ours, peers
from bench.disk import CACHE, DISK, BenchDisk
from bench.document import DOCUMENT, put
from bench.make_disk import make_disk
from bench.report import Figures, Machine, Pair, Series, document, limits_table, table
from rescue.errors import RescueError
from rescue.system.run import run

WARM, COLD, VERIFY, RESTORE, PROOF = "backup", "backup, cold cache", "verify", "restore", "restore with read-back proof"
GOALS = {WARM: 3.3, COLD: 2.5, VERIFY: 12.0, RESTORE: 6.0, PROOF: 4.0}


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


@dataclass
class Session:
    """One run: where things lie, and what was measured so far."""

    disk: BenchDisk
    folder: Path
    pairs: dict[str, list[Pair]] = field(default_factory=dict)
    size_ours: int = 0
    size_peer: int = 0
    memory: int = 0

    @property
    def our_folder(self) -> Path:
        """Where our image goes."""
        return self.folder / "ours"

    @property
    def peer_folder(self) -> Path:
        """Where Clonezilla's images go."""
        return self.folder / "peer"

    @property
    def target(self) -> Path:
        """The file that is restored onto."""
        return self.folder / "target.img"

    def _ours(self, result: ours.OurResult) -> float:
        self.memory = max(self.memory, result.memory)
        return result.seconds

    def turn(self, name: str, first: Callable[[], float], second: Callable[[], float], *, swap: bool) -> None:
        """Measure both sides next to each other; ``swap`` lets the peer (``second``) go first."""
        if swap:
            peer, peer_cpu = with_cpu(second)
            mine, my_cpu = with_cpu(first)
        else:
            mine, my_cpu = with_cpu(first)
            peer, peer_cpu = with_cpu(second)
        pair = Pair(mine, peer)
        self.pairs.setdefault(name, []).append(pair)
        _say(
            f"{name}: {mine:.1f} s (CPU {my_cpu:.1f} s), Clonezilla {peer:.1f} s (CPU {peer_cpu:.1f} s): {pair.ratio:.2f}×; "
            f"load {os.getloadavg()[0]:.1f}"
        )

    def back_up_ours(self, *, cold: bool) -> float:
        """Our backup into an empty folder."""
        empty(self.our_folder)
        settle(DISK, cold=cold)
        result = ours.backup(DISK, self.our_folder)
        self.size_ours = result.size
        return self._ours(result)

    def back_up_peer(self, *, cold: bool) -> float:
        """Clonezilla's backup into an empty folder."""
        empty(self.peer_folder)
        settle(DISK, cold=cold)
        result = peers.backup(self.disk, DISK, self.peer_folder)
        self.size_peer = result.size
        return result.seconds

    def verify_ours(self) -> float:
        """Our verification of our image."""
        image = ours.image_in(self.our_folder)
        settle(image)
        return self._ours(ours.verify(image))

    def check_peer(self) -> float:
        """Clonezilla's check of its images."""
        settle(*self.peer_folder.iterdir())
        return peers.check(self.disk, self.peer_folder).seconds

    def restore_ours(self, *, proof: bool) -> float:
        """Our restore onto a new target."""
        self.new_target()
        image = ours.image_in(self.our_folder)
        settle(image)
        return self._ours(ours.restore(image, self.target, proof=proof))

    def restore_peer(self) -> float:
        """Clonezilla's restore onto a new target."""
        self.new_target()
        settle(*self.peer_folder.iterdir())
        return peers.restore(self.disk, self.peer_folder, self.target).seconds

    def new_target(self) -> None:
        """A new file of the disk's size whose blocks are all there: as with a disk, none is allocated during the restore."""
        self.target.unlink(missing_ok=True)
        with self.target.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, self.disk.size)


def with_cpu(measure: Callable[[], float]) -> tuple[float, float]:
    """What ``measure`` says, and the CPU seconds of the programs it ran: they tell a slow program from a busy machine."""
    before = os.times()
    seconds = measure()
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return seconds, used


def empty(folder: Path) -> None:
    """Make ``folder`` exist and be empty."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def settle(*inputs: Path, cold: bool = False) -> None:
    """Write out what the run before left dirty; then warm the cache with the inputs of the next run, or empty it."""
    os.sync()
    if cold:
        Path("/proc/sys/vm/drop_caches").write_text("3\n")
        return
    for path in inputs:
        limits.read_all(path)


def one_round(session: Session, *, swap: bool, cold: bool) -> None:
    """Measure every operation once on both sides."""
    session.turn(WARM, lambda: session.back_up_ours(cold=False), lambda: session.back_up_peer(cold=False), swap=swap)
    session.turn(VERIFY, session.verify_ours, session.check_peer, swap=swap)
    peer_restore = 0.0

    def restore_peer() -> float:
        nonlocal peer_restore
        peer_restore = session.restore_peer()
        return peer_restore

    session.turn(RESTORE, lambda: session.restore_ours(proof=False), restore_peer, swap=swap)
    session.turn(PROOF, lambda: session.restore_ours(proof=True), lambda: peer_restore, swap=swap)
    session.target.unlink()
    if cold:
        session.turn(COLD, lambda: session.back_up_ours(cold=True), lambda: session.back_up_peer(cold=True), swap=swap)


def machine() -> Machine:
    """This machine in numbers, without names."""
    partclone = run(["partclone.ext4", "--version"]).text
    zstd = run(["zstd", "--version"]).text
    versions = [re.search(r"v(\d+(?:\.\d+)+)", text) for text in (partclone, zstd)]
    names = [f"{name} {found.group(1)}" for name, found in zip(("partclone", "zstd"), versions, strict=True) if found]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Machine(os.cpu_count() or 1, memory, time.strftime("%Y-%m-%d"), ", ".join(names))


def _missing() -> list[str]:
    tools = ("losetup", "partclone.ext4", "partclone.ntfs", "partclone.chkimg", "zstdmt", "bash", "dd")
    return [tool for tool in tools if not shutil.which(tool)] + ([] if ours.RESCUE.exists() else [str(ours.RESCUE)])


def benchmark(rounds: int, *, cold: bool, folder: Path) -> Figures:
    """Make the disk if there is none and measure ``rounds`` rounds. Raises RescueError when a command fails."""
    ours.compile_program()
    disk = make_disk()
    session = Session(disk, folder)
    try:
        for number in range(rounds):
            _say(f"round {number + 1} of {rounds}")
            one_round(session, swap=number % 2 == 1, cold=cold)
        _say("limits of the machine")
        found = tuple(limits.measure(disk, DISK))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    series = tuple(Series(name, goal, tuple(session.pairs[name])) for name, goal in GOALS.items() if name in session.pairs)
    return Figures(disk.used, disk.size, series, session.size_ours, session.size_peer, session.memory, found)


def main(arguments: list[str] | None = None) -> int:
    """Measure, print the table, and keep it at the head of ``docs/benchmarks.md`` unless the run was a quick one."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=3, help="how many times each side is measured (default: 3)")
    parser.add_argument("--quick", action="store_true", help="one round, no cold cache, nothing written to docs/")
    asked = parser.parse_args(arguments)
    if os.geteuid() != 0:
        print("The benchmark needs root: for loop devices, mounts and for emptying the cache.", file=sys.stderr)
        return 1
    if missing := _missing():
        print(f"Missing: {', '.join(missing)}. Install what bench/packages.txt names and run make setup.", file=sys.stderr)
        return 1
    try:
        figures = benchmark(1 if asked.quick else max(1, asked.rounds), cold=not asked.quick, folder=CACHE / "work")
    except RescueError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(table(figures))
    print(limits_table(figures.limits), end="")
    if not asked.quick:
        put(DOCUMENT, head=document(figures, machine()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
