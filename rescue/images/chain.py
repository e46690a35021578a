"""An image with the files that its index points into: found, checked and opened before anything is done with them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec

from rescue.errors import DamagedError, FormatError, GoneError, RescueError
from rescue.images.cipher import Digest, digest_of
from rescue.images.clear import Clear
from rescue.images.crypto import ImageKeys
from rescue.images.format import HEADER_SIZE, SKIPPABLE_HEAD, TAG_HEADER, Header, Kind, Row, RowKind
from rescue.images.manifest import ChainMember, Manifest
from rescue.images.mended import MendedReader, OpenEnded
from rescue.images.reader import UNKNOWN_SIZE, ImageFile, ImageReader
from rescue.images.secrets import NO_SECRETS, Secrets
from rescue.images.segment import frames_are_within, rows_of, tally
from rescue.model.layout import Layout
from rescue.model.survey import ImageSummary
from rescue.records import replace
from rescue.stores.removal import hold_to_read
from rescue.system.open_files import allow_open_files
from rescue.units import human_size

_TOLD: Final = 5  # of the files that a chain lacks


class Loss(msgspec.Struct, frozen=True):
    """A file of the chain that cannot be used: why, as the end of a sentence, and what it costs of each part of the disk."""

    member: ChainMember
    why: str
    costs: tuple[tuple[str, int], ...]

    @property
    def sentence(self) -> str:
        """For people."""
        costs = ", ".join(f"{human_size(size)} of {where}" for where, size in self.costs)
        member = self.member
        return f"The {member.kind} image {member.name} (made {member.created}) {self.why}. It costs {costs}."


class Chain:
    """An open image and the files of its chain. A context manager.

    ``files[row.file]`` is the file that holds a row's frame; None for one that cannot be used and one that is not needed.
    As long as it is open its files are kept from being removed (by this program), where they can be locked.
    """

    def __init__(
        self,
        path: str | Path,
        secrets: Secrets = NO_SECRETS,
        *,
        keys: ImageKeys | None = None,
        incomplete: bool = False,
        salvage: bool = False,
    ) -> None:
        """``secrets`` or its ``keys`` open an encrypted image, which holds the keys of the others.

        Raises as ImageReader; RefusedError when a file is being removed right now; DamagedError when a file of the chain is
        missing or another one, unless ``incomplete``. With ``salvage`` it is opened though its end or its index is damaged or
        cut off, and so are the others: :attr:`defects`.
        """
        self._salvage = salvage
        incomplete = incomplete or salvage
        self._held = ExitStack()
        with suppress(FileNotFoundError):  # which is told when it is opened
            self._held.enter_context(hold_to_read(Path(path)))
        try:
            self.image: ImageReader = MendedReader(path, secrets, keys) if salvage else ImageReader(path, secrets, keys)
        except BaseException:
            self._held.close()
            raise
        self.digest: Digest = digest_of(self.image.keys)  # of a chunk
        self._members: list[ImageFile | None] = []
        self._sizes = [self.image.source.size]
        self.losses: tuple[Loss, ...] = ()
        try:
            if isinstance(self.image, MendedReader) and not self.image.described:
                self._find_chain(self.image, secrets)
            self._open_members()
            if self.losses and not incomplete:
                raise DamagedError(
                    f"{self.path} cannot be used: {self._losses_told()}",
                    f"Put the missing files into {Path(self.path).parent}, or use another image.",
                )
        except BaseException:
            self.close()
            raise

    @property
    def path(self) -> str:
        """Of the image itself."""
        return self.image.path

    @property
    def header(self) -> Header:
        """Of the image itself."""
        return self.image.header

    @property
    def manifest(self) -> Manifest:
        """Of the image itself."""
        return self.image.manifest

    @property
    def layout(self) -> Layout:
        """Of the disk in the image."""
        return self.image.manifest.layout

    @property
    def clear(self) -> Clear:
        """What is encrypted on the disk and clear in the image. Raises DamagedError when its keys are lost, UnsupportedError."""
        if self.header.clear and not self.manifest.clear:
            raise DamagedError(
                f"{self.path} holds in clear what is encrypted on the disk, and how is lost with the end of the image.",
                "Use another image of this disk.",
            )
        return Clear(self.manifest.clear)

    def volume_keys(self, known: Mapping[str, bytes]) -> dict[str, bytes]:
        """The keys of encrypted volumes on the disk, by UUID: those that are known, and those that the image holds."""
        return {**{content.uuid: content.key_bytes for content in self.manifest.clear}, **known}

    def summary(self) -> ImageSummary:
        """What a list shows of this image; what it lacks is its problem."""
        summary = self.image.summary()
        told = [f"{self.path} is damaged.", *self.defects] if self.defects else []
        told += [self._losses_told()] if self.losses else []
        return replace(summary, problem=" ".join(told), problem_exit_code=DamagedError.exit_code) if told else summary

    @property
    def defects(self) -> tuple[str, ...]:
        """What is damaged of the image's own file but for its data, as sentences. Found with ``salvage`` only."""
        return tuple(self.image.defects) if isinstance(self.image, MendedReader) else ()

    def _losses_told(self) -> str:
        more = len(self.losses) - _TOLD
        told = " ".join(loss.sentence for loss in self.losses[:_TOLD])
        return f"{told} {more} more of its images cannot be used." if more > 0 else told

    @property
    def fingerprint(self) -> str:
        """Of the image itself, in hex. It covers all data, also that in other files."""
        return self.image.fingerprint

    @property
    def files(self) -> tuple[ImageFile | None, ...]:
        """By the numbers that rows use; 0 is the image itself."""
        return (self.image, *self._members)

    def segment_table(self, number: int) -> bytes:
        """The rows of one segment as they are stored, those of missing files too, every number bounded.

        Raises DamagedError, FormatError, SourceReadError.
        """
        table = self.image.segment_table(number)
        if not frames_are_within(table, self._sizes):
            raise FormatError(
                f"{self.path}: part {number} of its index points outside of its files, or into one it does not need."
            )
        return table

    def segment_rows(self, number: int) -> Iterator[Row]:
        """The rows of one segment, those that a missing file holds as BAD. Raises as :meth:`segment_table`."""
        if self._salvage:
            return self._without_lost(rows_of(self.image.segment_table(number), self.manifest.segments[number].start))
        rows = rows_of(self.segment_table(number), self.manifest.segments[number].start)
        return self._without_lost(rows) if self.losses else rows

    def _without_lost(self, rows: Iterator[Row]) -> Iterator[Row]:
        ends = [file.source.size if file else 0 for file in self.files]
        for row in rows:
            there = row.kind != RowKind.DATA or (row.file < len(ends) and row.frame_offset + row.frame_length <= ends[row.file])
            yield row if there else Row(RowKind.BAD, row.start, row.length)

    def rows(self) -> Iterator[Row]:
        """All rows, in disk order, one segment in memory at a time. Raises as :meth:`segment_rows`."""
        for number in range(len(self.manifest.segments)):
            yield from self.segment_rows(number)

    def _find_chain(self, image: MendedReader, secrets: Secrets) -> None:
        """The files that an image whose manifest is lost needs: its header names the parent, whose manifest names the others."""
        if image.header.kind is Kind.FULL:
            return
        needed = self._data_by_file()
        parent = Folder(Path(self.path).parent).parent(image.header.parent.hex(), secrets)
        if parent is None:
            image.defects.append("The image that it was made upon was not found here: what is in that one is lost.")
            return
        with parent:
            keys = parent.keys.to_bytes().hex() if parent.keys is not None else ""
            found, about = parent.manifest, (parent.header.uuid_text, parent.fingerprint, parent.name)
            members = [ChainMember(*about, found.kind, found.created, 0, keys), *found.chain]
        chain = tuple(replace(member, data_bytes=needed[number]) for number, member in enumerate(members, 1))
        image.manifest = replace(image.manifest, chain=chain)

    def _data_by_file(self) -> Counter[int]:
        """How many bytes of the disk are in each file, by the numbers that rows use."""
        counts: Counter[int] = Counter()
        for number in range(len(self.manifest.segments)):
            counts.update(tally(self.image.segment_table(number)).files)
        return counts

    def _open_members(self) -> None:
        folder = Folder(Path(self.path).parent, salvage=self._salvage)
        # Each with its lock.
        allow_open_files(2 * sum(member.data_bytes > 0 for member in self.manifest.chain))
        failed: dict[int, str] = {}
        for number, member in enumerate(self.manifest.chain, 1):
            file: ImageFile | None = None
            if member.data_bytes:
                try:
                    file = folder.open(member)
                except RescueError as error:
                    failed[number] = error.message
            self._members.append(file)
            if file is not None:
                self._hold(file)
            # Into a file that is not needed no row may point; where one that is missing ended is not known.
            self._sizes.append(file.source.size if file else UNKNOWN_SIZE if number in failed else 0)
        if failed:
            costs = self._costs()
            self.losses = tuple(Loss(self.manifest.chain[n - 1], why, costs.get(n, ())) for n, why in failed.items())

    def _hold(self, file: ImageFile) -> None:
        try:
            self._held.enter_context(hold_to_read(Path(file.path)))
        except FileNotFoundError as error:
            raise GoneError(f"{file.path} is being removed right now.", "Look at the images again and choose anew.") from error

    def _costs(self) -> dict[int, tuple[tuple[str, int], ...]]:
        """How many bytes of which part of the disk are in other files, by their numbers."""
        counts: Counter[tuple[int, int]] = Counter()
        parts = self.layout.data_partitions
        for row in self.image.rows():
            if row.kind == RowKind.DATA and row.file:
                part = next((p.number for p in parts if p.start <= row.start < p.end), 0)
                counts[row.file, part] += row.length
        costs: dict[int, list[tuple[str, int]]] = {}
        for (file, part), size in sorted(counts.items()):
            where = f"partition {part}" if part else "the space outside of partitions"
            costs.setdefault(file, []).append((where, size))
        return {number: tuple(found) for number, found in costs.items()}

    def close(self) -> None:
        """Close all files."""
        self.image.close()
        for file in self._members:
            if file is not None:
                file.close()
        self._held.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class Folder:
    """Finds the files of a chain in one folder: by the name they had, else by their UUID."""

    def __init__(self, folder: Path, *, salvage: bool = False) -> None:
        """With ``salvage`` a file whose end is damaged is taken by its UUID: each chunk in it is proved by its hash."""
        self._folder = folder
        self._salvage = salvage
        self._by_uuid: dict[str, list[Path]] | None = None

    def open(self, member: ChainMember) -> ImageFile:
        """The file that is meant. Raises DamagedError whose message is the end of a sentence: "is not in /backups"."""
        named = self._folder / Path(member.name).name
        why = f"is not in {self._folder}" + self._what_has_its_name(named)
        damaged: ImageFile | None = None
        for path in self._candidates(named, member.uuid):
            try:
                keys = ImageKeys.from_bytes(bytes.fromhex(member.keys)) if member.keys else None
                file = ImageFile(path, keys=keys)
            except (RescueError, ValueError) as error:
                why = f"is damaged ({error})"
                damaged = damaged or self._open_ended(path, member)
                continue
            if file.fingerprint == member.fingerprint and bool(file.header.encryption) == bool(member.keys):
                if damaged is not None:
                    damaged.close()
                return file
            file.close()
            why = f"is not the one that was meant: {path} has the same UUID and another content"
        if damaged is not None:
            return damaged
        raise DamagedError(why)

    def _open_ended(self, path: Path, member: ChainMember) -> ImageFile | None:
        if not self._salvage:
            return None
        try:
            file = OpenEnded(path, keys=ImageKeys.from_bytes(bytes.fromhex(member.keys)) if member.keys else None)
        except (RescueError, ValueError):
            return None
        if bool(file.header.encryption) == bool(member.keys):
            return file
        file.close()
        return None

    def parent(self, fingerprint: str, secrets: Secrets) -> ImageReader | None:
        """The image with this fingerprint, if it is here, whole at its end and opens with ``secrets``."""
        for path in (path for paths in self._found().values() for path in paths):
            try:
                image = ImageReader(path, secrets)
            except RescueError:
                continue
            if image.fingerprint == fingerprint:
                return image
            image.close()
        return None

    def _candidates(self, named: Path, uuid: str) -> Iterator[Path]:
        """The files with this UUID; all others of the folder are looked into only if the named one is not what is wanted."""
        if _uuid_of(named) == uuid:
            yield named
        yield from (path for path in self._found().get(uuid, []) if path != named)

    def _what_has_its_name(self, path: Path) -> str:
        if not os.path.isfile(path):  # false also for names that no file can have
            return ""
        return f": the file {path.name} there is another image" if _uuid_of(path) else f": the file {path.name} there is damaged"

    def _found(self) -> dict[str, list[Path]]:
        if self._by_uuid is None:
            self._by_uuid = {}
            for path in sorted(self._folder.iterdir()):
                # An image that is being written has not got its name yet.
                if path.suffix == ".partial":
                    continue
                uuid = _uuid_of(path)
                if uuid:
                    self._by_uuid.setdefault(uuid, []).append(path)
        return self._by_uuid


def _uuid_of(path: Path) -> str:
    """The UUID in an image file's header; "" when it is none or cannot be read."""
    try:
        if not os.path.isfile(path):
            return ""
        with path.open("rb") as file:
            head = file.read(SKIPPABLE_HEAD.size + HEADER_SIZE)
        return Header.unpack(head[SKIPPABLE_HEAD.size :]).uuid_text if head[8:16] == TAG_HEADER else ""
    except (OSError, RescueError):
        return ""


def open_chain(path: str | Path, secrets: Secrets = NO_SECRETS, *, incomplete: bool = False, salvage: bool = False) -> Chain:
    """Open an image with its chain. Raises as :class:`Chain`."""
    return Chain(path, secrets, incomplete=incomplete, salvage=salvage)
