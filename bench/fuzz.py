"""``python -m bench.fuzz [CASES] [--seed N]``: damaged chains of images, behind right checksums, through all that reads images.

Whatever a file says: it is used, or refused with an error of ours. Never another exception, a hang, a write outside of the
target, or more than 1 GiB of memory. Prints what every kind of damage came to, and cases a second; a case is repeated by its
seed and number. A million cases take about an hour.
"""

from __future__ import annotations

import argparse
import datetime
import faulthandler
import os
import random
import shutil
import struct
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.mutate import KINDS, Parts, mutate
from rescue.devices.table import read_layout
from rescue.engine.capture import Capture
from rescue.engine.deploy import Deployment
from rescue.engine.making import Making, Plain
from rescue.engine.salvaged_image import open_salvaged
from rescue.engine.verify import verify_image
from rescue.errors import RescueError
from rescue.images.chain import Chain
from rescue.images.format import Kind
from rescue.images.frames import FrameDecoder, FrameUse, uses
from rescue.images.known import KnownChunks
from rescue.images.secrets import NO_SECRETS
from rescue.images.view import ImageView
from rescue.model.disk import Disk
from rescue.model.extents import ExtentMap
from rescue.model.progress import CancelToken
from rescue.model.source import BytesSource
from rescue.model.volume import Identity, Volume
from rescue.services.library import list_images
from rescue.stores.folder import FolderStore
from rescue.units import GIB, KIB, MIB

SIZE: Final = 3 * MIB
HANG: Final = 60  # seconds that one case may take
NAMES: Final = ("full.img.zst", "second.rimg", "third.rimg")
_SOUND: Final = ("raw", "frame", "seek table")  # kinds of damage that change nothing of what says what the disk is with its hash
_CREATED: Final = datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC)
USES: Final = ("read", "read", "read", "view", "known", "list", "verify", "restore", "delta", "salvage")


def _nothing(done: int, total: int) -> None:
    del done, total


def write_chain(folder: Path, seed: int = 0) -> list[bytes]:
    """A full image and two incremental ones of a tiny disk; what each must give back."""
    chance = random.Random(seed)
    content = bytearray(SIZE)
    start, end = MIB // 2, SIZE - MIB // 4
    struct.pack_into("<B3xB3xII", content, 446, 0, 0x83, start // 512, (end - start) // 512)
    content[440:444], content[510:512] = b"\xcd\xab\x34\x12", b"\x55\xaa"
    allocated = ExtentMap([(start, start + MIB), (end - MIB // 2, end)])
    given = []
    for number, name in enumerate(NAMES):
        for _ in range(3):
            at = chance.choice([*range(start, start + MIB, 256 * KIB), end - MIB // 2])
            content[at : at + 200_000] = (chance.randbytes(100) * 2000)[:200_000]
        layout = read_layout(BytesSource(content), 512)
        volume = Volume(1, start, end, Identity("ext4", "filesystem", "x"), allocated.total)
        making = Making(
            kind=Kind.INCREMENTAL if number else Kind.FULL, parent=str(folder / NAMES[number - 1]) if number else "", level=3
        )
        parent = Chain(making.parent) if number else None
        with (folder / name).open("wb") as file:
            capture = Capture(
                BytesSource(content), Disk("disk", SIZE, is_file=True), layout, [(volume, allocated)], making, parent
            )
            capture.run(Plain(file.write), NO_SECRETS, _CREATED, CancelToken(), _nothing, lambda message: None)
        if parent:
            parent.close()
        kept = allocated.union(layout.gaps)
        given.append(b"".join(bytes(content[a:b]) if k else bytes(b - a) for a, b, k in _runs(kept)))
    return given


def _runs(kept: ExtentMap) -> list[tuple[int, int, bool]]:
    inside = [(start, end, True) for start, end in kept]
    return sorted(inside + [(start, end, False) for start, end in kept.complement(SIZE)])


@dataclass
class Bench:
    """A good chain in memory, and a folder (in memory too) where damaged copies are used."""

    folder: Path

    def __post_init__(self) -> None:
        self.good_disks = write_chain(self.folder)
        self.good = {name: (self.folder / name).read_bytes() for name in NAMES}
        self.parts = {name: Parts.of(self.folder / name) for name in NAMES}
        self.target = self.folder / "target"
        self._dirty: set[str] = set()

    def case(self, seed: int, number: int, hang: float = HANG) -> tuple[str, str]:
        """Run one; the kind of damage, and what came of it: "used" or the name of the error. Raises AssertionError."""
        chance = random.Random(f"{seed} {number}")
        kind = KINDS[number % len(KINDS)]
        damaged = chance.choice(NAMES)
        opened = NAMES[2] if chance.random() < 0.6 else damaged
        for name in self._dirty:
            (self.folder / name).write_bytes(self.good[name])
        self._dirty = {damaged}
        data, fingerprint = mutate(chance, self.parts[damaged], kind)
        (self.folder / damaged).write_bytes(data)
        if fingerprint and damaged != opened and chance.random() < 0.8:
            # The image that is opened means this file: what is wrong with it is met only behind that check.
            parts = self.parts[opened].copy()
            for member in parts.manifest["chain"]:
                if member["name"] == damaged:
                    member["fingerprint"] = fingerprint
            (self.folder / opened).write_bytes(parts.join()[0])
            self._dirty.add(opened)
        faulthandler.dump_traceback_later(hang, exit=True)
        try:
            how = chance.choice(USES)
            self._use(self.folder / opened, how, sound=kind in _SOUND)
        except RescueError as error:
            return kind, type(error).__name__
        finally:
            faulthandler.cancel_dump_traceback_later()
        if kind in _SOUND and how in ("restore", "delta"):
            # Nothing that says what the disk is was changed with its hash: it must be the right one.
            assert self.target.read_bytes() == self.good_disks[NAMES.index(opened)]
        return kind, "used"

    def _use(self, path: Path, how: str, *, sound: bool) -> None:
        match how:
            case "read":
                with Chain(path, incomplete=True) as chain:
                    decoder, buffer = FrameDecoder(), memoryview(bytearray(chain.header.frame_limit))
                    for use in uses(chain):
                        if isinstance(use, FrameUse):
                            file = chain.files[use.file]
                            assert file is not None
                            stored = file.source.pread(use.length, use.offset)
                            decoder.decode(chain, use, memoryview(stored), buffer)
            case "view":
                with Chain(path) as chain:
                    view = ImageView(chain)
                    for offset in range(0, min(view.size, 4 * SIZE), SIZE // 7):
                        view.pread(min(5000, view.size - offset), offset)
                    list(view.extents())
            case "known":
                with Chain(path) as chain:
                    known = KnownChunks(chain)
                    for row in chain.rows():
                        known.find(row.hash, row.length)
            case "list":
                list_images(FolderStore(self.folder))
            case "salvage":
                with open_salvaged(path) as chain:
                    disk = ImageView(chain)
                    wanted = self.good_disks[NAMES.index(path.name)] if sound else b""
                    for row in chain.rows():
                        try:
                            content = disk.pread(min(row.length, 4 * SIZE), row.start)
                        except RescueError:
                            continue
                        # Of what is lost nothing may be made up.
                        assert not sound or content == wanted[row.start : row.end]
            case "verify":
                verify_image(str(path), token=CancelToken(), progress=_nothing, notify=lambda message: None)
            case _:
                before = sorted(os.listdir(self.folder))
                self.target.write_bytes(self.good_disks[1] if how == "delta" else bytes(SIZE))
                try:
                    with Deployment(str(path), str(self.target)) as deployment:
                        deployment.wipe()
                        deployment.write_data(CancelToken(), _nothing, how == "delta")
                        deployment.write_head()
                        deployment.read_back(CancelToken(), _nothing)
                finally:
                    assert self.target.stat().st_size == SIZE
                    assert sorted({*os.listdir(self.folder), self.target.name}) == sorted({*before, self.target.name})


def memory_now() -> int:
    """Bytes of memory that this process has; its peak is counted anew from here (proc(5): clear_refs)."""
    Path("/proc/self/clear_refs").write_text("5")
    return _memory("VmRSS")


def memory_peak() -> int:
    """Bytes of memory that this process had at most since :func:`memory_now`."""
    return _memory("VmHWM")


def _memory(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{field}:")).split()[1]) * KIB


def campaign(cases: int, seed: int, first: int = 0, hang: float = HANG) -> Counter[tuple[str, str]]:
    """Run cases; how often which kind of damage came to what. Raises AssertionError, or what the program must not raise."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="rescue-fuzz-", dir=memory if memory.is_dir() else None))
    outcomes: Counter[tuple[str, str]] = Counter()
    try:
        bench = Bench(folder)
        before = memory_now()
        for number in range(first, first + cases):
            try:
                outcomes[bench.case(seed, number, hang)] += 1
            except BaseException as error:
                error.add_note(f"case {number} of seed {seed}")
                raise
        assert memory_peak() - before < GIB
    finally:
        shutil.rmtree(folder)
    return outcomes


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(prog="bench.fuzz")
    parser.add_argument("cases", nargs="?", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--hang", type=float, default=HANG, metavar="SECONDS", help="that one case may take")
    options = parser.parse_args()
    began = time.monotonic()
    outcomes = campaign(options.cases, options.seed, options.first, options.hang)
    seconds = time.monotonic() - began
    for (kind, what), count in sorted(outcomes.items()):
        sys.stdout.write(f"{kind:12} {what:18} {count}\n")
    rate = options.cases / seconds
    sys.stdout.write(f"{options.cases} cases, {rate:.0f} a second, {memory_peak() // MIB} MiB of memory at most\n")


if __name__ == "__main__":
    main()
