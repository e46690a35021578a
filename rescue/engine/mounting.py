"""Proof by mounting: every file system of a stored image checked by its own tools, mounted, and a sample of its files read.

Hashes prove that an image gives back what was written into it. This proves that what was written is the file systems: a used
map that forgot a block is caught here, and not on the day of the restore.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Literal, NamedTuple

import msgspec

from rescue.engine.checkers import check
from rescue.engine.exports import KEPT_IN, Export, exported
from rescue.engine.sampling import NOT_IN_IMAGE, Limits, Sample, read_again, read_sample
from rescue.engine.to_prove import Opened, ToProve, file_systems
from rescue.errors import DamagedError, ProgramError, RescueError, SourceReadError, UnsupportedError
from rescue.filesystems.maps import used_map
from rescue.images.chain import Chain
from rescue.images.format import RowKind
from rescue.images.view import ImageView
from rescue.model.extents import ExtentMap
from rescue.model.progress import CancelToken, Message
from rescue.model.source import Source
from rescue.model.text import shown
from rescue.system.mounts import in_private_mounts, mounted
from rescue.system.run import run
from rescue.units import MIB, human_size

# For each volume. A checker that has to read all metadata of many terabytes is ended; that is said, and is no failure.
CHECK_SECONDS: Final = 90.0
SAMPLE: Final = Limits(seconds=12.0, bytes=256 * MIB)
_MAP_SECONDS: Final = 20.0
_CHAIN_HINT: Final = "An image that it needs may be damaged: rescue verify finds out. "
_MEDIUM: Final = "Check the disk that holds the image, its cable, and the network."
_NO_KEYS: Final[Mapping[str, bytes]] = {}


class Driver(NamedTuple):
    driver: str
    options: tuple[str, ...]
    tells_blocks: bool = False  # where the blocks of a file are on the volume


# nouuid, nologreplay: the same file system may be there a second time, on the source.
DRIVERS: Final[dict[str, Driver]] = {
    **dict.fromkeys(("ext2", "ext3", "ext4", "ext4dev"), Driver("ext4", ("ro",), tells_blocks=True)),
    "xfs": Driver("xfs", ("ro", "nouuid"), tells_blocks=True),
    "btrfs": Driver("btrfs", ("ro", "rescue=nologreplay")),
    "ntfs": Driver("ntfs-3g", ("ro",)),
    "vfat": Driver("vfat", ("ro",)),
    "exfat": Driver("exfat", ("ro",)),
    "f2fs": Driver("f2fs", ("ro",)),
}


class VolumeProof(msgspec.Struct, frozen=True):
    """What was proved of one volume. ``problem``: the image is not good. ``warnings``: so was the source, or not all was done."""

    partition: int
    filesystem: str
    checked: bool = False
    mounted: bool = False
    files_read: int = 0
    bytes_read: int = 0
    problem: str = ""
    warnings: tuple[str, ...] = ()
    name: str = ""


class MountProof(msgspec.Struct, frozen=True):
    """What was proved of an image: its volumes that hold a file system that can be checked."""

    volumes: tuple[VolumeProof, ...]

    @property
    def problems(self) -> tuple[str, ...]:
        """Sentences for people, by partition."""
        return tuple(f"{v.name}: {v.problem}" for v in self.volumes if v.problem)


class _Found(msgspec.Struct):
    """What was seen of one volume. ``problems`` are by what was done when they were met."""

    checked: bool = False
    mounted: bool = False
    sample: Sample = msgspec.field(default_factory=Sample)
    problems: dict[_Act, str] = msgspec.field(default_factory=dict)
    notes: list[str] = msgspec.field(default_factory=list)


class _Act(NamedTuple):
    """Something that was done with a volume, and that may be done again with the source."""

    kind: Literal["check", "mount", "read"]
    path: str = ""


def prove_mounts(
    chain: Chain,
    *,
    source: Source | None = None,
    keys: Mapping[str, bytes] = _NO_KEYS,
    token: CancelToken,
    progress: Callable[[int, int], None],
    notify: Callable[[Message], None],
) -> MountProof:
    """Open every file system of the image over a throw-away overlay, check it, mount it, read a sample of its files.

    Those inside of containers, too: ``keys`` are the volume keys of encrypted ones, by UUID.

    ``source`` is the disk that was imaged, unchanged since: what is wrong there too is a warning. Without root the checks
    are run and nothing is mounted. ``progress`` is told bytes of the volumes, ``notify`` every warning. Raises DamagedError
    with what is wrong of which partition and file, when something is; CancelledError, RescueError.
    """
    view = ImageView(chain)
    volumes, locked = file_systems(view, chain.manifest.volumes, chain.volume_keys(keys))
    for name, warning in locked:
        notify(Message("warning", f"{name}: {warning}"))
    total = sum(volume.used_bytes or volume.size for volume in volumes)

    def prove() -> MountProof:
        done = 0
        proofs = []
        progress(0, total)
        for volume in volumes:
            token.check()
            with exported(volume.opened.blocks) as export:
                proof = _Prover(chain, view, export, volume, source, token).prove()
            for warning in proof.warnings:
                notify(Message("warning", f"{shown(volume.name)}: {warning}"))
            proofs.append(proof)
            done += volume.used_bytes or volume.size
            progress(done, total)
        return MountProof(tuple(proofs))

    proof = in_private_mounts(prove) if os.geteuid() == 0 else prove()
    if proof.problems:
        raise DamagedError(
            f"{chain.path} is not a good image: {' '.join(proof.problems)}",
            (_CHAIN_HINT if chain.manifest.chain else "")
            + "Make a full backup (--kind full). If that fails in the same way, keep this message and report it.",
        )
    return proof


class _Prover:
    """The proof of one volume."""

    def __init__(
        self, chain: Chain, view: ImageView, export: Export, volume: ToProve, source: Source | None, token: CancelToken
    ) -> None:
        self._chain = chain
        self._view = view
        self._export = export
        self._volume = volume
        self._source = source
        self._token = token
        self._root = os.geteuid() == 0
        self._no_room = False  # whether there was none for what is written while it is looked at

    def prove(self) -> VolumeProof:
        volume = self._volume
        known = self._export.last_error
        with self._opened(self._export, volume.opened) as path:
            missing = "" if volume.whole_because else self._missing(path)
            found = self._examine(path)
        error = self._export.last_error
        if error is known:
            error = None
        if isinstance(error, SourceReadError) and not self._is_bad(error):
            # What a medium does not give says nothing of the image on it.
            raise SourceReadError(f"{self._chain.path} cannot be checked: {error.message}", error.offset, error.length, _MEDIUM)
        problems = [missing] if missing else []
        warnings = list(found.notes)
        excuses = self._excuses(found)
        for act, text in found.problems.items():
            if act in excuses:
                warnings.append(f"{text}. {excuses[act]}")
            else:
                problems.append(f"{text}.")
        if error is not None and not self._is_bad(error):
            problems.append(error.message)
        return VolumeProof(
            volume.partition, volume.identity.type, found.checked, found.mounted, found.sample.files_read,
            found.sample.bytes_read, " ".join(problems), tuple(warnings), shown(volume.name),
        )  # fmt: skip

    @contextmanager
    def _opened(self, export: Export, place: Opened) -> Iterator[str]:
        """The volume over an overlay of its own: a block device, or a file where there is no right to one."""
        with export.overlay(place.start, place.end) as layer:
            with export.as_volume(layer) as path:
                yield path
            self._no_room = self._no_room or layer.blocks.is_full

    @contextmanager
    def _mounted(self, path: str) -> Iterator[Path]:
        mount = DRIVERS[self._volume.identity.type]
        with (
            tempfile.TemporaryDirectory(prefix="rescue-") as folder,
            mounted(path, Path(folder), mount.driver, mount.options) as root,
        ):
            yield root
        if mount.driver == "btrfs":
            # The kernel remembers every device of a btrfs that it saw, by the UUID that the source has too.
            run(["btrfs", "device", "scan", "--forget", path], ok=range(256))

    def _missing(self, path: str) -> str:
        """The first bytes that the stored file system itself calls used and that are not in the image, as a sentence."""
        volume = self._volume
        used = used_map(volume.source, volume.identity, path=path, offset=0)
        if used.whole_because:
            return f"The file system cannot be read in the image. {used.whole_because}"
        if volume.used_bytes is not None and used.extents.total != volume.used_bytes:
            kept = human_size(volume.used_bytes)
            return f"{human_size(used.extents.total)} of it are in use, and {kept} were backed up: it changed meanwhile."
        needed = volume.down(used.extents)
        first = next(iter(needed), None)
        deadline = time.monotonic() + _MAP_SECONDS
        for held in self._view.extents(first.start, needed.end) if first else ():
            if held.kind == RowKind.HOLE:
                for lost in needed.overlapping(held.start, held.end):
                    if volume.stacked:
                        return f"Bytes {lost.start} to {lost.end} of the disk are in use by it and not in the image."
                    start = volume.volume.start
                    return f"Its bytes {lost.start - start} to {lost.end - start} are in use and not in the image."
            if time.monotonic() > deadline:
                break
        return ""

    def _examine(self, path: str) -> _Found:
        found = _Found()
        volume = self._volume
        filesystem = volume.identity.type
        if self._root and filesystem == "xfs" and volume.whole_because:
            # Its log is replayed by mounting alone; xfs_repair would not look at what is in it.
            with suppress(ProgramError, UnsupportedError), self._mounted(path):
                pass
        checked = check(filesystem, path, dirty=bool(volume.whole_because), timeout=CHECK_SECONDS)
        found.checked = checked.done and not checked.problem
        if checked.problem:
            found.problems[_Act("check")] = f"Its check finds it damaged ({checked.problem})"
        if checked.note:
            found.notes.append(f"It was not checked: {checked.note}.")
        self._token.check()
        if self._root:
            self._look_inside(path, found)
        return found

    def _look_inside(self, path: str, found: _Found) -> None:
        kept = self._is_kept if DRIVERS[self._volume.identity.type].tells_blocks and not self._volume.whole_because else None
        try:
            with self._mounted(path) as root:
                found.mounted = True
                found.sample = read_sample(root, self._chain.manifest.uuid, SAMPLE, kept, self._token.check)
        except UnsupportedError as error:
            found.notes.append(f"It was not mounted: {error.message}")
        except ProgramError as error:
            if "File exists" in error.message:
                found.notes.append("It was not mounted: the same file system is mounted already.")
            else:
                found.problems[_Act("mount")] = f"It cannot be mounted ({error.message})"
        for file, text in found.sample.problems.items():
            found.problems[_Act("read", file)] = f"{file}: {text}"

    def _is_kept(self, start: int, end: int) -> bool:
        if end > self._volume.size:
            return False
        places = self._volume.down(ExtentMap([(start, end)]))
        return all(held.kind != RowKind.HOLE for place in places for held in self._view.extents(*place))

    def _is_bad(self, error: RescueError) -> bool:
        """Whether it is about ranges that the source could not give when the image was made."""
        return isinstance(error, SourceReadError) and self._chain.manifest.statistics.bad_bytes > 0

    def _excuses(self, found: _Found) -> dict[_Act, str]:
        """Which problems are no fault of the image, and why."""
        if not found.problems:
            return {}
        if self._no_room:
            return dict.fromkeys(found.problems, f"There was no room for this in {KEPT_IN}.")
        if self._volume.whole_because:
            # Every byte is in the image, proved by its hash: what is wrong was so on the disk.
            return dict.fromkeys(found.problems, "The image holds every byte of it: it was so on the disk.")
        excuses: dict[_Act, str] = {}
        if self._chain.manifest.statistics.bad_bytes:
            why = "Parts of the disk could not be read when the image was made."
            excuses |= dict.fromkeys((act for act in found.problems if not found.problems[act].endswith(NOT_IN_IMAGE)), why)
        left = [act for act in found.problems if act not in excuses]
        if left and self._source is not None:
            place = self._volume.on(self._source, self._chain.manifest.volumes)
            if place is None:
                return excuses
            with exported(place.blocks) as export, self._opened(export, place) as path:
                excuses |= dict.fromkeys(self._same_on_source(path, left), "It is the same on the disk.")
        return excuses

    def _same_on_source(self, path: str, acts: Sequence[_Act]) -> list[_Act]:
        """Those that fail on the source as well."""
        same = []
        if _Act("check") in acts and check(self._volume.identity.type, path, dirty=False, timeout=CHECK_SECONDS).problem:
            same.append(_Act("check"))
        files = [act for act in acts if act.kind == "read"]
        if not files and _Act("mount") not in acts:
            return same
        try:
            with self._mounted(path) as root:
                same += [act for act in files if read_again(root, act.path)]
        except (ProgramError, UnsupportedError):
            same += [act for act in acts if act.kind != "check"]
        return same
