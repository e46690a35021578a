"""Verify: read a stored image again and check every frame and every hash in it, as this program and as a stock decoder see it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from queue import SimpleQueue
from typing import Final, NamedTuple

import msgspec

from rescue.engine.pipeline import Buffers, run_ordered, worker_count
from rescue.engine.stored import Stored, StoredBuffers
from rescue.errors import DamagedError, FormatError, RescueError, SourceReadError
from rescue.images.chain import Chain
from rescue.images.format import HEADER_SIZE, SKIPPABLE_HEAD, TRAILER_SIZE, Row, SeekEntry, zero_checksum, zero_frame
from rescue.images.frames import BadFrameError, FrameDecoder, FrameUse, place, segment_uses
from rescue.images.keyslots import KEY_AREA_SIZE
from rescue.images.secrets import NO_SECRETS, Secrets
from rescue.images.segment import SegmentEntry
from rescue.images.walk import SegmentWalk
from rescue.model.extents import ExtentMap
from rescue.model.progress import CancelToken, Message
from rescue.units import human_size

_TOLD: Final = 1000  # places that are named
_GIVEN_UP: Final = 64  # frames in a row that a medium did not give: it is gone


class VerifyResult(msgspec.Struct, frozen=True):
    """What was proved: every chunk's hash, and that a plain file is a seekable ``.zst`` of the disk. Sizes in bytes."""

    uuid: str
    fingerprint: str
    checked_bytes: int
    chunks: int
    disk_size: int
    bad_bytes: int = 0  # of the disk, which the image does not know


class DamagedImageError(DamagedError):
    """An image was read to its end, and is damaged. ``lost``: the bytes of the disk that it does not give back.

    ``places`` are sentences: what is damaged where in which file, in the order of the disk, at most 1000 of ``count``.
    """

    def __init__(self, path: str, places: Sequence[str], count: int, lost: ExtentMap) -> None:
        what = "1 place" if count == 1 else f"{count} places"
        costs = f"{human_size(lost.total)} of the disk are lost" if lost else "but nothing of the disk is lost"
        hint = "Use another image of this disk; or restore all that is whole with --salvage."
        more = f" The first: {places[0]}" if count > 1 else f" {places[0]}"
        super().__init__(f"{path} is damaged in {what}; {costs}.{more}", hint)
        self.headline = f"{path} is damaged in {what}; {costs}."
        self.places = tuple(places)
        self.count = count
        self.lost = lost


class _Found:
    """What is damaged, as it is found."""

    def __init__(self, image: Chain) -> None:
        self._image = image
        self._places: list[str] = []
        self._count = 0
        self._lost: list[tuple[int, int]] = []

    def note(self, sentence: str, lost: Iterable[tuple[int, int]] = ()) -> None:
        self._count += 1
        if len(self._places) < _TOLD:
            self._places.append(sentence)
        self._lost += lost

    def frame(self, use: FrameUse, what: str, bad: Sequence[Row]) -> None:
        """Chunks of a frame that are not right; none of them when what is damaged costs nothing."""
        file = self._image.files[use.file]
        path = file.path if file else self._image.path
        first = (bad or use.chunks)[0]
        cost = sum(chunk.length for chunk in bad)
        lost = f"{human_size(cost)} there are lost" if cost else "nothing there is lost"
        where = f"byte {use.offset} of {path} ({use.length} bytes)"
        sentence = f"{place(self._image.layout, first.start)}: the data {what}; {lost}. They stand at {where}."
        self.note(sentence[0].upper() + sentence[1:], [(chunk.start, chunk.end) for chunk in bad])

    def error(self) -> DamagedImageError | None:
        if not self._count:
            return None
        return DamagedImageError(self._image.path, self._places, self._count, ExtentMap(sorted(self._lost)))


class _Frame(NamedTuple):
    """A data frame; ``checksum`` is the one in the seek table, None where a stock decoder does not decode it."""

    use: FrameUse
    checksum: int | None


class _ZeroFrame(NamedTuple):
    offset: int
    length: int  # of its content


class _Checked(NamedTuple):
    """A frame (None: one of zeros), what is wrong with it ("": nothing), and which of its chunks that costs."""

    use: FrameUse | None
    what: str = ""
    bad: tuple[Row, ...] = ()
    error: RescueError | None = None  # it could not be read at all


def verify_image(
    path: str,
    secrets: Secrets = NO_SECRETS,
    *,
    own_only: bool = False,
    token: CancelToken,
    progress: Callable[[int, int], None],
    notify: Callable[[Message], None],
) -> VerifyResult:
    """Check an image completely: its own file, and what its index points to in other files of its chain unless ``own_only``.

    ``progress`` is told bytes of content. All that is damaged is looked for: DamagedImageError. Raises DamagedError and
    FormatError when its end or its manifest is damaged; SourceReadError when the medium gives nothing at all; CancelledError.
    """
    with Chain(path, secrets) as image:
        return verify_chain(image, own_only=own_only, token=token, progress=progress)


def verify_chain(
    image: Chain, *, own_only: bool = False, token: CancelToken, progress: Callable[[int, int], None]
) -> VerifyResult:
    """The same for an open image. One of which files are missing can be checked with ``own_only``. Raises as verify_image."""
    statistics = image.manifest.statistics
    expected = statistics.own_bytes if own_only else statistics.data_bytes
    done = 0
    chunks = 0
    workers = worker_count()
    window = 2 * workers + 2
    buffers = Buffers(workers, image.header.frame_limit, image.header.disk_size)
    stored_buffers = StoredBuffers(image, window + 1)
    decoders: SimpleQueue[FrameDecoder] = SimpleQueue()
    for _ in range(workers):
        decoders.put(FrameDecoder())

    found = _Found(image)
    silent = 0  # frames one after the other that could not be read

    def load() -> Iterator[tuple[_Frame, Stored | RescueError] | _ZeroFrame]:
        for item in _Walk(image, own_only, found).items():
            token.check()
            yield (item, _stored(item.use)) if isinstance(item, _Frame) else item

    def _stored(use: FrameUse) -> Stored | RescueError:
        """A frame as it is in its file, or why there is none: it cannot be read, or is longer than any sane writer's."""
        try:
            return stored_buffers.read(use)
        except (DamagedError, SourceReadError) as error:
            return error

    def check(loaded: tuple[_Frame, Stored | RescueError] | _ZeroFrame) -> _Checked:
        if isinstance(loaded, _ZeroFrame):
            return _Checked(
                None, "" if _is_zero_frame(image, loaded) else f"The zeros at byte {loaded.offset} of the file are none."
            )
        (use, checksum), stored = loaded
        if isinstance(stored, RescueError):
            return _Checked(use, f"cannot be read ({stored.message})", use.chunks, stored)
        decoder = decoders.get()
        buffer = buffers.lend()
        try:
            decoder.decode(image, use, stored.frame, buffer)
            return _Checked(use, _check_as_stock(image, use, checksum, stored.frame, buffer) if checksum is not None else "")
        except DamagedError as error:
            what = error.__cause__.what if isinstance(error.__cause__, BadFrameError) else error.message
            return _damaged(image, decoder, use, stored.frame, buffer, what)
        finally:
            stored_buffers.give_back(stored)
            buffers.give_back(buffer)
            decoders.put(decoder)

    def count(checked: _Checked) -> None:
        nonlocal done, chunks, silent
        use, what, bad, unread = checked
        if use is None:
            if what:
                found.note(what)
            return
        silent = silent + 1 if isinstance(unread, SourceReadError) else 0
        if unread is not None and silent >= _GIVEN_UP:
            raise unread
        if what:
            found.frame(use, what, bad)
        done += sum(chunk.length for chunk in use.chunks)
        chunks += len(use.chunks)
        progress(done, max(expected, done))

    progress(0, expected)
    run_ordered(load(), check, count, workers=workers, window=window)
    error = found.error()
    if error is not None:
        raise error
    if done != expected or (chunks != statistics.chunks and not own_only):
        raise DamagedError(f"{image.path} is damaged: its manifest counts other chunks than its index holds.")
    return VerifyResult(
        image.manifest.uuid, image.fingerprint, done, chunks, image.header.disk_size, statistics.bad_bytes
    )  # fmt: skip


def _is_zero_frame(image: Chain, frame: _ZeroFrame) -> bool:
    zeros = zero_frame(frame.length)
    try:
        return image.image.source.pread(len(zeros), frame.offset) == zeros
    except SourceReadError:
        return False


def _damaged(image: Chain, decoder: FrameDecoder, use: FrameUse, stored: memoryview, buffer: memoryview, what: str) -> _Checked:
    """What is damaged of a frame that could not be decoded as a whole."""
    file = image.files[use.file]
    assert file is not None  # it was read
    good = frozenset(decoder.salvage(file.cipher, image.digest, use, stored, buffer))
    return _Checked(use, what, tuple(chunk for chunk in use.chunks if chunk not in good))


class _Walk:
    """Goes through the file as a stock decoder does and holds every frame against the index and the seek table.

    What does not agree is noted once; from there on only the index leads.
    """

    def __init__(self, chain: Chain, own_only: bool, found: _Found) -> None:
        self._chain = chain
        self._own_only = own_only
        self._found = found
        self._walk = SegmentWalk(chain.header, chain.path, 0)
        self._agrees = True
        self._entries: Iterator[SeekEntry] = iter(())
        try:
            self._entries = iter(chain.image.seek_entries())
        except (DamagedError, SourceReadError):
            self._disagree()

    def items(self) -> Iterator[_Frame | _ZeroFrame]:
        """What is to be read and checked, in file order."""
        image = self._chain.image
        self._skip(HEADER_SIZE)
        if image.header.encryption:
            self._skip(KEY_AREA_SIZE)
        for number, entry in enumerate(image.manifest.segments):
            try:
                own, others = _parted(segment_uses(self._chain.segment_rows(number)))
            except (DamagedError, FormatError, SourceReadError) as error:
                self._without(number, entry, error)
                continue
            yield from self._frames(own, entry)
            if not self._own_only:
                yield from (_Frame(use, None) for use in others)
            if entry.offset != self._walk.offset:
                self._disagree()
                self._walk.offset = entry.offset
            self._skip(entry.length)
        trailer = image.trailer
        if trailer.manifest_offset != self._walk.offset:
            self._disagree()
        self._skip(trailer.manifest_length)
        self._skip(TRAILER_SIZE)
        whole = self._walk.disk == image.header.disk_size or not image.header.is_plain
        if self._agrees and (self._walk.offset != image.seek_table_offset or not whole or next(self._entries, None)):
            self._disagree()

    def _frames(self, own: Sequence[FrameUse], entry: SegmentEntry) -> Iterator[_Frame | _ZeroFrame]:
        """The frames of a segment in this file; when they are not where they must be, what the index says of the rest."""
        seen = 0
        try:
            for piece in self._walk.frames(own, entry.end):
                checksum = self._next(piece.stored, piece.content)
                if piece.use:
                    seen += 1
                    yield _Frame(piece.use, checksum if piece.content else None)
                elif checksum in (None, zero_checksum(piece.content)):
                    yield _ZeroFrame(piece.offset, piece.content)
                else:
                    self._disagree()
        except DamagedError:
            self._disagree()
            yield from (_Frame(use, None) for use in own[seen:])
            self._walk.disk = entry.end if self._chain.header.is_plain else self._walk.disk

    def _without(self, number: int, entry: SegmentEntry, error: RescueError) -> None:
        """Go on behind a segment that is damaged: what it describes cannot be checked."""
        size = human_size(entry.end - entry.start)
        where = f"byte {entry.offset} of the file, for {size} from byte {entry.start} of the disk"
        self._found.note(
            f"Part {number} of its index ({where}): {error.message} What it describes was not checked; --salvage looks for it.",
            [(entry.start, entry.end)],
        )
        self._agrees = False  # how many frames there are is not known
        self._walk.offset = entry.offset + SKIPPABLE_HEAD.size + entry.length
        self._walk.disk = entry.end if self._chain.header.is_plain else self._walk.disk

    def _disagree(self) -> None:
        if self._agrees:
            self._found.note(self._walk.wrong().message)
        self._agrees = False

    def _skip(self, payload: int) -> None:
        stored = SKIPPABLE_HEAD.size + payload
        if self._next(stored, 0) not in (None, SeekEntry(stored).checksum):
            self._disagree()
        self._walk.skip(stored)

    def _next(self, stored: int, content: int) -> int | None:
        """The checksum of the next frame, which must have these sizes; None when the seek table leads no more."""
        if not self._agrees:
            return None
        entry = next(self._entries, None)
        if entry is None or (entry.stored, entry.content) != (stored, content):
            self._disagree()
            return None
        return entry.checksum


def _check_as_stock(chain: Chain, use: FrameUse, checksum: int, stored: memoryview, content: memoryview) -> str:
    """What a stock decoder checks or gives out and no chunk's hash covers: the frame's checksum, and zeros between chunks.

    The checksum is not computed anew (the hashes say more): there are two copies of it, and they must agree. Returns what is
    wrong, "" when nothing is.
    """
    if int.from_bytes(stored[-4:], "little") != checksum:
        return "has a damaged checksum"
    covered = ExtentMap((chunk.in_frame, chunk.in_frame + chunk.length) for chunk in use.chunks)
    for gap in covered.complement(use.content):
        if chain.digest(content[gap.start : gap.end]) != chain.digest(bytes(gap.length)):
            return "is followed by something that is not zeros"
    return ""


def _parted(uses: Iterable[FrameUse | Row]) -> tuple[list[FrameUse], list[FrameUse]]:
    """The frames of a segment that are in the image's own file, and those in other files."""
    frames = [use for use in uses if isinstance(use, FrameUse)]
    return [use for use in frames if not use.file], [use for use in frames if use.file]
