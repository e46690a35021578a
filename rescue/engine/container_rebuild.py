"""What a partition with volumes in each other is to be on a disk of another size, composed on the way from what it is.

Nothing is activated and nothing but the target is written: headers and descriptions are made anew in memory, file systems are
made smaller or larger over throw-away overlays, content is encrypted again by the same key for its new place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import msgspec

from rescue.engine.container_fit import ANEW
from rescue.engine.grown import grown
from rescue.engine.overlay import MEMORY, SourceBlocks
from rescue.engine.refill import anew_instead
from rescue.engine.refilled import refilled
from rescue.engine.resizing import Check, nothing
from rescue.engine.shrink import NotSmallerError, Shrunk, shrunk
from rescue.errors import CredentialError, RefusedError, UnsupportedError, UsageError
from rescue.model.container import Way
from rescue.model.extents import ExtentMap
from rescue.model.source import BytesSource, SliceSource, Source
from rescue.model.text import shown
from rescue.records import replace
from rescue.units import align_down
from rescue.volumes.composed import Composed
from rescue.volumes.luks_content import Encrypted
from rescue.volumes.lvm_own import own_group
from rescue.volumes.placed import joined
from rescue.volumes.stack import LUKS, LVM, Stacked


class Filling(msgspec.Struct, frozen=True):
    """A file system that programs make anew at the bytes ``[start, start + size)`` of the new partition."""

    volume: Stacked
    start: int
    size: int


class Rebuilt(msgspec.Struct, frozen=True):
    """A volume of its new size: ``used`` is what of ``source`` is to be copied, ``fillings`` are done on the target."""

    source: Source
    used: ExtentMap
    fillings: tuple[Filling, ...] = ()

    def placed(self, start: int) -> tuple[ExtentMap, tuple[Filling, ...]]:
        """Used bytes and fillings of a volume that this one is in, from its byte ``start`` on."""
        return self.used.shift(start), tuple(replace(filling, start=filling.start + start) for filling in self.fillings)


class Rebuilder(msgspec.Struct, frozen=True):
    """``sizes`` are bytes by way, of all that gets another size and of containers above it; ``keys`` volume keys by UUID.

    What must stay open while the new volume is read is put onto ``opened``; ``tell`` gets sentences for the journal.
    """

    sizes: Mapping[Way, int]
    keys: Mapping[str, bytes]
    opened: ExitStack
    folder: Path = MEMORY
    check: Check = nothing
    tell: Callable[[str], None] = lambda _text: None

    def rebuilt(self, volume: Stacked, way: Way = (), *, sealed: bool = False) -> Rebuilt:
        """A volume with all that is in it; ``sealed``: it will be encrypted, so that programs cannot fill it on the target.

        Raises UsageError, UnsupportedError, FormatError, CredentialError (no key), DamagedError, RefusedError, ProgramError:
        always before anything is written.
        """
        size = self.sizes.get(way, volume.source.size)
        if not volume.inside:
            return self._file_system(volume, way, size, sealed)
        try:
            if volume.identity.type == LUKS:
                return self._luks(volume, way, size)
            if volume.identity.type == LVM:
                return self._lvm(volume, way, size, sealed)
            raise UnsupportedError(f"{volume.identity.type} cannot be laid out anew.")
        except UnsupportedError:
            if size != volume.source.size:
                raise
            return Rebuilt(volume.source, ExtentMap([(0, size)]))

    def _luks(self, volume: Stacked, way: Way, size: int) -> Rebuilt:
        header = volume.luks
        assert header is not None  # it was opened
        key = self.keys.get(header.uuid)
        if key is None:
            raise CredentialError("The encrypted volume was not unlocked.", "Give its passphrase with --unlock.")
        inner = volume.inside[0]
        room = align_down(size - header.start, header.sector_size)
        content = self.rebuilt(inner, (*way, inner.name), sealed=True)
        if content.source.size > room:
            raise UsageError(f"What is encrypted has {content.source.size} bytes, and there are {room}.")
        clear = Composed(room, [(0, content.source)])
        head = SliceSource(volume.source, 0, header.start)
        source = Composed(size, [(0, head), (header.start, Encrypted(clear, header, key))])
        used = content.used.align(header.sector_size, room).shift(header.start)
        return Rebuilt(source, joined([ExtentMap([(0, header.start)]), used]))

    def _lvm(self, volume: Stacked, way: Way, size: int, sealed: bool) -> Rebuilt:
        own = own_group(volume.source)
        by_name = {name: inner for inner in volume.inside for name in own.order if inner.name == f"{own.group.name}/{name}"}
        if set(by_name) != set(own.order):
            raise RefusedError("The volume group is not what it was when this was planned.", "Choose again.")
        ways = {name: (*way, inner.name) for name, inner in by_name.items()}
        sizes = {name: self.sizes.get(ways[name], inner.source.size) for name, inner in by_name.items()}
        head, starts = own.head(volume.source, size, {name: length // own.extent_size for name, length in sizes.items()})
        parts: list[tuple[int, Source]] = [(0, BytesSource(head))]
        maps = [ExtentMap([(0, len(head))])]
        fillings: tuple[Filling, ...] = ()
        for name in own.order:
            inner = self.rebuilt(by_name[name], ways[name], sealed=sealed)
            used, filled = inner.placed(starts[name])
            parts.append((starts[name], inner.source))
            maps.append(used)
            fillings += filled
        return Rebuilt(Composed(size, parts), joined(maps), fillings)

    def _file_system(self, volume: Stacked, way: Way, size: int, sealed: bool) -> Rebuilt:
        old, identity = volume.source.size, volume.identity
        if size == old:
            return Rebuilt(volume.source, volume.used)
        named = shown(", ".join(name for name in way if name)) or identity.type
        if volume.is_locked:
            raise CredentialError("The encrypted volume was not unlocked.", "Give its passphrase with --unlock.")
        if size > old:
            way_there = grown(volume.source, identity, size, folder=self.folder, check=self.check)
            return self._changed(way_there, named)
        if identity.type not in ANEW:
            try:
                blocks = SourceBlocks(volume.source)
                return self._changed(shrunk(blocks, 0, old, identity, size, folder=self.folder, check=self.check), named)
            except NotSmallerError as error:
                self.tell(f"{named}: {anew_instead(volume.source, identity, size, error)}")
        if sealed:
            return self._changed(refilled(volume.source, identity, size, folder=self.folder, check=self.check), named)
        # It is filled when the target was wiped; nothing of it is copied.
        return Rebuilt(Composed(size, []), ExtentMap(), (Filling(volume, 0, size),))

    def _changed(self, way_there: AbstractContextManager[Shrunk], named: str) -> Rebuilt:
        changed = self.opened.enter_context(way_there)
        self.tell(f"{named}: {changed.said}")
        return Rebuilt(changed.source, changed.used)
