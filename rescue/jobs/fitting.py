"""The steps of a restore or clone that fits the partitions to the target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TypeAlias

from rescue.devices.table import read_layout
from rescue.devices.write_table import table_writes
from rescue.engine.container_rebuild import Filling, Rebuilder
from rescue.engine.containers import stacks
from rescue.engine.grow import grow
from rescue.engine.hidden_sectors import set_hidden_sectors
from rescue.engine.new_ids import set_uuid
from rescue.engine.overlay import MEMORY, SourceBlocks
from rescue.engine.references import Followed, follow
from rescue.engine.refill import anew_instead, refill
from rescue.engine.refilled import refilled
from rescue.engine.resizing import require_sound
from rescue.engine.sectors import set_ntfs_sectors
from rescue.engine.shrink import NotSmallerError, shrunk
from rescue.engine.survey import map_disk
from rescue.engine.target import prove_late, write_late
from rescue.engine.transfer import Part, Transfer
from rescue.engine.transfer_parts import merged
from rescue.errors import DamagedError, ProgramError, RefusedError, UnsupportedError
from rescue.images.chain import Chain
from rescue.images.format import RowKind
from rescue.images.nbd.session import Blocks
from rescue.images.secrets import Secrets
from rescue.images.view import ImageView
from rescue.jobs.reporter import Reporter
from rescue.model.extents import ExtentMap
from rescue.model.fitting import FitDisk, FitIds, FittedVolume, FitVolumes
from rescue.model.layout import Layout
from rescue.model.progress import CancelToken, Message
from rescue.model.source import SliceSource, Source
from rescue.model.text import shown
from rescue.model.volume import Identity, Volume
from rescue.records import replace
from rescue.system.blockfile import FileSink, FileSource
from rescue.system.loop import loop_device
from rescue.units import MIB, human_size
from rescue.volumes.stack import Stacked

_Found: TypeAlias = tuple[Source, Blocks, Layout, list[tuple[Volume, ExtentMap]]]
_Facts: TypeAlias = dict[str, str | int | float | bool | list[str]]


class Fitting:
    """Source and target, open from the first step to the last. A context manager; call in order.

    Opening raises RefusedError when the source is not what was planned for, or the target is in use; DamagedError,
    SourceReadError. Nothing has been written then.
    """

    def __init__(self, step: FitDisk, secrets: Secrets) -> None:
        self._step = step
        self._stack = ExitStack()
        self._transfer: Transfer | None = None
        self._has_table = self._is_let_go = False
        self._identities: dict[int, Identity] = {}
        self._keys = secrets.volume_keys
        self._fillings: list[tuple[FittedVolume, Filling]] = []
        self._stacks: Mapping[int, Stacked] | None = None
        self._beginning: list[tuple[int, bytes]] = []
        try:
            self._source, self._blocks, self._layout, self._volumes = self._open(secrets)
            self._head = self._source.pread(min(MIB, self._source.size), 0)
        except BaseException:
            self._stack.close()
            raise

    def _open(self, secrets: Secrets) -> _Found:
        step = self._step
        if step.image:
            chain = self._stack.enter_context(Chain(step.image, secrets))
            bad = chain.manifest.statistics.bad_bytes
            if bad:
                raise DamagedError(
                    f"{step.image} is incomplete: {human_size(bad)} of the disk are not in it. File systems with gaps cannot be"
                    " fitted to another disk.",
                    "Restore it with --salvage onto a disk that is at least as large.",
                )
            view = ImageView(chain)
            self._keys = chain.volume_keys(secrets.volume_keys)
            volumes = [(volume, _kept(view, volume)) for volume in chain.manifest.volumes]
            found: _Found = (view, view, chain.layout, volumes)
        else:
            source = self._stack.enter_context(FileSource(step.source.path, direct=True, cached=True))
            if not step.source.is_file:
                # What was written through a partition's node is not in the whole disk's cache: stale pages would be copied.
                source.drop_cache()
            layout = read_layout(source, step.source.logical_sector_size)
            disk = replace(step.source, size=source.size)
            found = (source, SourceBlocks(source), layout, map_disk(disk, source, layout, secrets.volume_keys))
        _check_places(step, [volume for volume, _ in found[3]])
        self._identities = {volume.partition: volume.identity for volume, _ in found[3]}
        return found

    def copy(self, token: CancelToken, reporter: Reporter) -> _Facts:
        """Make smaller what must be, then wipe the target and write all but its head and tables.

        Raises before anything is written what :func:`shrunk` raises; then as Transfer.copy.
        """
        step = self._step
        anew = [volume for volume in step.volumes if volume.how == "refill" and not volume.is_made_beside]
        parts = []
        for volume in (volume for volume in step.volumes if volume not in anew):
            part = self._part(volume, token, reporter)
            if part is None:
                anew.append(volume)
            else:
                parts.append(part)
        self._beginning = self._beginning_of(parts)
        with self._transferring(parts) as wiping:
            wiping.wipe()
        # Programs fill these, and a disk that is held cannot be opened by them. There is no table yet: nothing looks whole.
        for volume in anew:
            self._refill(volume, token, reporter)
        for volume, filling in self._fillings:
            self._fill_inner(volume, filling, token, reporter)
        self._transfer = self._stack.enter_context(self._transferring(parts))
        self._transfer.copy(token, reporter.progress, step.delta)
        return {
            "source": step.image or step.source.path,
            "target": step.target,
            "same_bytes": self._transfer.same_bytes,
            "written_bytes": self._transfer.written_bytes,
        }

    def _transferring(self, parts: Sequence[Part]) -> Transfer:
        step = self._step
        title, rotational = step.image or step.source.title, not step.image and step.source.rotational
        return Transfer(step.target, parts, self._late(), step.layout, title=title, rotational=rotational)

    def _beginning_of(self, parts: Sequence[Part]) -> list[tuple[int, bytes]]:
        """On a disk without a table the beginning of what is on it is what makes it look whole: it comes last."""
        if self._step.layout.label != "none":
            return []
        return [(part.target_start, part.source.pread(min(MIB, part.end - part.start), part.start)) for part in parts]

    def _refill(self, volume: FittedVolume, token: CancelToken, reporter: Reporter) -> None:
        size = human_size(volume.target_end - volume.target_start)
        reporter.message(
            Message("info", f"Making partition {volume.partition} ({volume.filesystem}) anew: {size}, filled by its files.")
        )
        said = refill(
            self._blocks, volume.start, volume.end, self._identities[volume.partition], self._step.target,
            volume.target_start, volume.target_end, sector_size=volume.sector_size, folder=self._folder, check=token.check,
        )  # fmt: skip
        reporter.message(Message("info", f"Partition {volume.target_partition}: {said}"))

    def _fill_inner(self, volume: FittedVolume, filling: Filling, token: CancelToken, reporter: Reporter) -> None:
        """The same of a volume in a container."""
        inner, start = filling.volume, volume.target_start + filling.start
        named = shown(f"{inner.name} in partition {volume.partition}")
        reporter.message(
            Message("info", f"Making {named} ({inner.identity.type}) anew: {human_size(filling.size)}, filled by its files.")
        )
        said = refill(
            SourceBlocks(inner.source), 0, inner.source.size, inner.identity, self._step.target, start, start + filling.size,
            folder=self._folder, check=token.check,
        )  # fmt: skip
        reporter.message(Message("info", f"{named}: {said}"))

    @property
    def _folder(self) -> Path:
        return Path(self._step.folder) if self._step.folder else MEMORY

    def _part(self, volume: FittedVolume, token: CancelToken, reporter: Reporter) -> Part | None:
        """What is copied of a volume; None for one that its own program did not make smaller, and that is made anew instead."""
        found, extents = next((v, e) for v, e in self._volumes if v.partition == volume.partition)
        what = f"partition {volume.partition}" if volume.partition else "the file system"
        name = f"{what} ({volume.filesystem or 'unknown content'})"
        place = (volume.target_start, volume.target_end)
        if volume.how == "copy":
            return Part(name, self._source, extents, found.start, found.end, *place)
        size = volume.target_end - volume.target_start
        if volume.how == "rebuild":
            return self._rebuilt(volume, name, size, token, reporter)
        if volume.how == "refill":
            return self._refilled(volume, found, name, token, reporter)
        reporter.message(Message("info", f"Making {name} smaller, over a throw-away overlay: {human_size(size)}."))
        try:
            smaller = self._stack.enter_context(
                shrunk(self._blocks, found.start, found.end, found.identity, size, folder=self._folder, check=token.check)
            )
        except NotSmallerError as error:
            said = anew_instead(SliceSource(self._source, found.start, found.end), found.identity, size, error)
            reporter.message(Message("warning", f"{name}: {said}"))
            return None if volume.target_partition else self._refilled(volume, found, name, token, reporter)
        reporter.message(Message("info", smaller.said))
        return Part(name, smaller.source, smaller.used, 0, size, *place, origin=found.start)

    def _refilled(self, volume: FittedVolume, found: Volume, name: str, token: CancelToken, reporter: Reporter) -> Part:
        """What is made anew beside the target, and copied."""
        size = volume.target_end - volume.target_start
        reporter.message(
            Message("info", f"Making {name} anew in {self._step.folder or 'memory'}: {human_size(size)}, filled by its files.")
        )
        made = self._stack.enter_context(
            refilled(
                SliceSource(self._source, found.start, found.end), found.identity, size,
                sector_size=volume.sector_size, folder=self._folder, check=token.check,
            )
        )  # fmt: skip
        reporter.message(Message("info", made.said))
        return Part(name, made.source, made.used, 0, size, volume.target_start, volume.target_end, origin=found.start)

    def _rebuilt(self, volume: FittedVolume, name: str, size: int, token: CancelToken, reporter: Reporter) -> Part:
        """A container as it is to be on the target."""
        if self._stacks is None:
            self._stacks = stacks(self._source, [found for found, _ in self._volumes], self._keys)
        reporter.message(Message("info", f"Laying {name} out anew: {human_size(size)}."))
        rebuilder = Rebuilder(
            {inner.way: inner.size for inner in volume.inside}, self._keys, self._stack, self._folder, token.check,
            lambda said: reporter.message(Message("info", said)),
        )  # fmt: skip
        made = rebuilder.rebuilt(self._stacks[volume.partition])
        self._fillings += [(volume, filling) for filling in made.fillings]
        return Part(name, made.source, made.used, 0, size, volume.target_start, volume.target_end, origin=volume.start)

    def _late(self) -> list[tuple[int, bytes]]:
        """The table, and on an MBR disk what boot loaders keep behind it."""
        layout = self._step.layout
        if (layout.sector_size, layout.label) != (self._layout.sector_size, self._layout.label):
            # Boot loaders count in sectors, and lie behind an MBR or in a partition: none of them would find itself.
            return table_writes(layout, b"")
        starts = [p.start for p in (*layout.partitions, *self._layout.partitions)]
        end = min([*starts, len(self._head), layout.size])
        gap = [(layout.sector_size, self._head[layout.sector_size : end])] if layout.label == "dos" and starts else []
        if layout.label == "none":
            return self._beginning
        return [*gap, *table_writes(layout, self._head)]

    def write_table(self) -> None:
        """See Transfer.write_head. After programs worked on the target it is read back at once."""
        self._has_table = True
        if not self._is_let_go:
            self._opened.write_head()
            return
        late = merged(self._late())
        with FileSink(self._step.target, direct=True) as sink:
            write_late(sink, late)
        with FileSource(self._step.target, direct=True) as target:
            target.drop_cache()
            prove_late(target, self._step.target, late, self._step.layout)

    def read_back(self, token: CancelToken, reporter: Reporter) -> _Facts:
        """See Transfer.read_back. The table only when it is there by then."""
        proved = self._opened.read_back(token, reporter.progress, head=self._has_table)
        return {"read_back": True, "read_back_bytes": proved}

    def _let_go(self) -> None:
        """A disk that is held cannot be opened by the programs."""
        if self._transfer is not None:
            self._transfer.close()
        self._is_let_go = True

    def renew(self, step: FitIds, token: CancelToken, reporter: Reporter) -> _Facts:
        """Give file systems new UUIDs, and let the files that name them follow. There is no table yet.

        Raises DamagedError, ProgramError, UnsupportedError, TargetWriteError, CancelledError.
        """
        self._let_go()
        names = dict(step.references)
        told = []
        unfollowed = []
        for done, volume in enumerate(step.volumes):
            token.check()
            reporter.progress(done, 2 * len(step.volumes))
            if volume.new:
                identity = Identity(volume.filesystem, uuid=volume.old)
                said = set_uuid(step.target, volume.start, volume.end, identity, volume.new, token.check)
                told.append(f"Partition {volume.partition}: {said}")
                reporter.message(Message("info", told[-1]))
        for done, volume in enumerate(step.volumes, len(step.volumes)):
            token.check()
            reporter.progress(done, 2 * len(step.volumes))
            try:
                followed = follow(step.target, volume.start, volume.end, volume.filesystem, names)
            except (ProgramError, UnsupportedError) as error:
                # The kernel has no driver for it, or not for its features. It is whole, and everything else is done.
                followed = Followed([], [])
                unfollowed.append(str(volume.partition))
                told.append(f"Partition {volume.partition}: files on it may name the old ones, and could not be looked at.")
                reporter.message(Message("warning", f"{told[-1]} {error.message}"))
            for file in followed.changed:
                told.append(f"Partition {volume.partition}: {shown(file)} names the new ones.")
                reporter.message(Message("info", told[-1]))
            for file in followed.left:
                unfollowed.append(str(volume.partition))
                told.append(f"Partition {volume.partition}: {shown(file)} names the old ones: it may not be changed.")
                reporter.message(Message("warning", told[-1]))
        reporter.progress(2 * len(step.volumes), 2 * len(step.volumes))
        return {"new_ids": told, "unfollowed": list(dict.fromkeys(unfollowed))}

    @property
    def _opened(self) -> Transfer:
        assert self._transfer is not None  # the steps come in order
        return self._transfer

    def fill(self, step: FitVolumes, token: CancelToken, reporter: Reporter) -> None:
        """Let volumes fill their partitions, and name their new places in their boot sectors; each is checked.

        Raises DamagedError, ProgramError, TargetWriteError, CancelledError.
        """
        self._let_go()
        for done, volume in enumerate(step.volumes):
            token.check()
            reporter.progress(done, len(step.volumes))
            identity = self._identities[volume.partition]
            said = ""
            if volume.target_start != volume.start or step.sector_size != self._layout.sector_size:
                with FileSource(step.target) as source, FileSink(step.target) as sink:
                    place = (source, sink, volume.target_start, volume.target_end, step.sector_size)
                    counted = set_ntfs_sectors(*place) if volume.sector_size and identity.type == "ntfs" else ""
                    said = " ".join(filter(None, (counted, set_hidden_sectors(*place, identity))))
                if said:
                    reporter.message(Message("info", f"Partition {volume.target_partition}: {said}"))
            if volume.grows:
                said = grow(step.target, volume.target_start, volume.target_end, identity, check=token.check)
                reporter.message(Message("info", f"Partition {volume.target_partition}: {said}"))
            elif said:
                length = volume.target_end - volume.target_start
                with loop_device(step.target, offset=volume.target_start, size=length) as node:
                    require_sound(identity, node)
        reporter.progress(len(step.volumes), len(step.volumes))

    def close(self) -> None:
        """Close all."""
        self._stack.close()

    def __enter__(self) -> Fitting:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _kept(view: ImageView, volume: Volume) -> ExtentMap:
    held = view.extents(volume.start, volume.end)
    return ExtentMap((extent.start, extent.end) for extent in held if extent.kind in (RowKind.DATA, RowKind.ZERO))


def _check_places(step: FitDisk, volumes: Sequence[Volume]) -> None:
    found = {(volume.partition, volume.start, volume.end) for volume in volumes}
    if any((planned.partition, planned.start, planned.end) not in found for planned in step.volumes):
        raise RefusedError(
            f"The partitions of {step.image or step.source.title} have changed since it was chosen. Nothing was written.",
            "Look at the disks again and choose anew.",
        )
