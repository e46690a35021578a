"""``python -m bench.fuzz_files [CASES] [--seed N]``: damaged file systems through all that reads them without mounting.

Whatever the structures say: files and used maps come out, or an error of ours. Never another exception, a hang, a read that
small structures do not need, or more than 1 GiB of memory. A case is repeated by its seed and number.
"""

from __future__ import annotations

import argparse
import faulthandler
import itertools
import random
import sys
import time
from collections import Counter
from typing import Final

from bench.fuzz import memory_now, memory_peak
from rescue.errors import RescueError
from rescue.filesystems.files.open import open_tree
from rescue.filesystems.files.tree import FileTree, Kind, walk
from rescue.filesystems.maps import used_map
from rescue.filesystems.owners import owners
from rescue.model.extents import ExtentMap
from rescue.model.volume import Identity
from rescue.units import GIB, KIB, MIB
from tests.unit.filesystems.volumes import SparseVolume

# Those with files are read through; of the others, which are larger, the used maps are.
VOLUMES: Final = {
    "files-ext4": "ext4", "files-ext2": "ext2", "files-xfs": "xfs", "files-ntfs": "ntfs", "files-fat": "vfat",
    "files-exfat": "exfat",
    "btrfs": "btrfs", "btrfs-mixed": "btrfs", "ext4-meta": "ext4", "xfs-4": "xfs", "ntfs": "ntfs", "exfat": "exfat",
}  # fmt: skip
_NUMBERS: Final = (0, 1, 2, 0x7F, 0x80, 0xFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1)
_MOST_READS: Final = 200_000  # the undamaged volume that takes most takes some thousands
_MOST_ENTRIES: Final = 20_000


class Fuzz:
    """The good volumes, and which of their blocks hold structures."""

    def __init__(self) -> None:
        self._good = {name: SparseVolume.load(f"{name}.xz") for name in VOLUMES}
        self._places: dict[str, list[tuple[int, int]]] = {}
        for name, volume in self._good.items():
            self._use(name, volume, "files")
            self._use(name, volume, "map")
            self._places[name] = sorted(set(volume.reads))

    def case(self, seed: int, number: int, hang: float) -> tuple[str, str]:
        """Run one; the volume, and what came of it. Raises AssertionError, or what must not be raised."""
        chance = random.Random(f"files {seed} {number}")
        name = list(VOLUMES)[number % len(VOLUMES)]
        volume = self._good[name].copy()
        for _ in range(chance.choice((1, 1, 2, 3, 6, 20))):
            offset, length = chance.choice(self._places[name])
            at = offset + chance.randrange(length)
            size = min(chance.choice((1, 1, 2, 4, 8)), volume.size - at)
            old = int.from_bytes(volume.pread(size, at), "little")
            new = chance.choice(
                (chance.choice(_NUMBERS), old + chance.choice((-1, 1, 8, 4096)), old ^ 1 << chance.randrange(8 * size))
            )
            volume.write((new % (1 << 8 * size)).to_bytes(size, "little"), at)
        volume.reads.clear()
        faulthandler.dump_traceback_later(hang, exit=True)
        try:
            self._use(name, volume, chance.choice(("files", "files", "map", "owners")))
        except RescueError as error:
            return name, type(error).__name__
        finally:
            faulthandler.cancel_dump_traceback_later()
            assert len(volume.reads) < _MOST_READS
        return name, "used"

    @staticmethod
    def _use(name: str, volume: SparseVolume, how: str) -> None:
        identity = Identity(VOLUMES[name], "filesystem")
        if how == "owners":
            bad = ExtentMap([(volume.size // 3 & ~4095, (volume.size // 3 & ~4095) + 64 * KIB)])
            assert owners(volume, identity, bad, seconds=20).file_bytes <= bad.total
        elif how == "files" and name.startswith("files-"):
            _read_all(open_tree(volume, identity))
        else:
            used = used_map(volume, identity, path="", offset=0)
            assert used.extents.end <= volume.size


def _read_all(tree: FileTree) -> None:
    for entry in itertools.islice(walk(tree, tree.root()), _MOST_ENTRIES):
        try:
            tree.xattrs(entry)
            tree.left_out(entry)
            if entry.kind is Kind.FILE and not entry.problem:
                after = 0
                for offset, data in itertools.islice(tree.read(entry), 64):
                    assert after <= offset
                    assert offset + len(data) <= entry.size
                    after = offset + len(data)
            elif entry.kind is Kind.LINK and not entry.problem:
                tree.readlink(entry)
        except RescueError:
            continue


def campaign(cases: int, seed: int, first: int = 0, hang: float = 60) -> Counter[tuple[str, str]]:
    """Run cases; how often which volume came to what. Raises AssertionError, or what the program must not raise."""
    fuzz = Fuzz()
    outcomes: Counter[tuple[str, str]] = Counter()
    before = memory_now()
    for number in range(first, first + cases):
        try:
            outcomes[fuzz.case(seed, number, hang)] += 1
        except BaseException as error:
            error.add_note(f"case {number} of seed {seed}")
            raise
    assert memory_peak() - before < GIB
    return outcomes


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(prog="bench.fuzz_files")
    parser.add_argument("cases", nargs="?", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--hang", type=float, default=60, metavar="SECONDS", help="that one case may take")
    options = parser.parse_args()
    began = time.monotonic()
    outcomes = campaign(options.cases, options.seed, options.first, options.hang)
    rate = options.cases / (time.monotonic() - began)
    for (name, what), count in sorted(outcomes.items()):
        sys.stdout.write(f"{name:12} {what:18} {count}\n")
    sys.stdout.write(f"{options.cases} cases, {rate:.0f} a second, {memory_peak() // MIB} MiB of memory at most\n")


if __name__ == "__main__":
    main()
