"""Check all images of a store: every file's own data once, then that what images share is what they mean."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from queue import SimpleQueue
from typing import Final, Literal, TypeAlias

import msgspec

from rescue.engine.pipeline import Buffers, run_ordered, worker_count
from rescue.engine.sharing import doubtful
from rescue.engine.stored import Stored, StoredBuffers
from rescue.engine.verify import verify_chain
from rescue.errors import CancelledError, CredentialError, DamagedError, FormatError, RescueError, UnsupportedError
from rescue.images.begun import read_header
from rescue.images.chain import Chain
from rescue.images.crypto import ImageKeys
from rescue.images.format import Header
from rescue.images.frames import FrameDecoder, FrameUse, uses
from rescue.images.secrets import NO_SECRETS, Secrets
from rescue.model.progress import CancelToken
from rescue.records import replace
from rescue.stores.folder import FolderStore
from rescue.system.joined import files_of, open_source

State: TypeAlias = Literal["whole", "damaged", "locked", "unreadable"]

_IMAGE_NAMES: Final = (".img.zst", ".rimg")


class Checked(msgspec.Struct, frozen=True):
    """What was found of one image. ``why`` is a sentence; ``needs`` are the names of damaged images that it needs.

    "damaged" was found out, "unreadable" is what could not be read or is not known to this program.
    """

    name: str
    path: str
    state: State
    why: str = ""
    needs: tuple[str, ...] = ()
    checked_bytes: int = 0


class _Image(msgspec.Struct):
    name: str
    path: str
    files: Sequence[str] = ()  # see sharing.Index: not which images they are, of which there may be copies of other health
    rows: int = 0
    own_bytes: int = 0
    losses: str = ""
    error: RescueError | None = None  # of its own file
    found: Checked | None = None
    keys: ImageKeys | None = None

    def open(self, *, incomplete: bool = True) -> Chain:
        """The image, whose keys are known by now: deriving them takes half a second each time."""
        return Chain(self.path, keys=self.keys, incomplete=incomplete)

    def tables(self) -> Iterator[bytes]:
        """See sharing.Index."""
        with self.open() as chain:
            for number in range(len(chain.manifest.segments)):
                yield chain.segment_table(number)


def check_store(
    store: FolderStore,
    secrets: Secrets = NO_SECRETS,
    *,
    token: CancelToken,
    progress: Callable[[int, int], None],
    found: Callable[[Checked], None],
) -> list[Checked]:
    """Check every image in ``store``; other files are left out. ``found`` is told of each, sorted by name, as ``store`` goes on.

    ``progress`` is told bytes of data checked and in all. Raises CancelledError, RescueError (the store cannot be read).
    """
    images = _look_at_all(store, secrets)
    total = sum(image.own_bytes for image in images)
    done = 0
    progress(0, total)
    for image in images:
        token.check()
        if image.found is None:
            _check_own(image, token, lambda part, _, before=done: progress(before + part, total))  # type: ignore[misc]
            done += image.own_bytes
    open_ = [image for image in images if image.found is None]
    proved = [image for image in open_ if image.error is None]
    checked = _shared(open_, proved, token)
    bad = {image.files[0]: image.name for image in open_ if image.error is not None}
    results = []
    for image in images:
        result = image.found or _result(image, checked.get(image.name), bad, token)
        found(result)
        results.append(result)
    return results


def _names(store: FolderStore) -> list[str]:
    return sorted([*store.names(), *(name for name in store.incomplete() if name.lower().endswith(_IMAGE_NAMES))])


def _look_at_all(store: FolderStore, secrets: Secrets) -> list[_Image]:
    """The images, sorted by name. The newest are opened first: an encrypted one holds the keys of those that it needs."""
    names = _names(store)
    headers = {name: _header(store, name) for name in names}
    keys: dict[str, ImageKeys] = {}
    found: dict[str, _Image] = {}
    for name in sorted(names, key=lambda name: header.created if (header := headers[name]) else 0, reverse=True):
        header = headers[name]
        image = _look(store, name, secrets, keys.get(header.uuid_text) if header else None, keys)
        if image is not None:
            found[name] = image
    return [found[name] for name in sorted(found)]


def _header(store: FolderStore, name: str) -> Header | None:
    try:
        with open_source(store.path(name)) as source:
            return read_header(source)
    except RescueError:
        return None  # what is wrong is found again, and told, when it is opened as an image


def _look(
    store: FolderStore, name: str, secrets: Secrets, own_keys: ImageKeys | None, keys: dict[str, ImageKeys]
) -> _Image | None:
    """An image before its data are checked; None for another file. ``keys`` are added to, by UUID."""
    path = str(store.path(name))
    image = _Image(name, path)
    try:
        with Chain(path, secrets, keys=own_keys, incomplete=True) as chain:
            image.keys = chain.image.keys
            for member in chain.manifest.chain:
                if member.keys:
                    keys[member.uuid] = ImageKeys.from_bytes(bytes.fromhex(member.keys))
            image.files = [_place(file.path) if file else "" for file in chain.files]
            image.rows = sum(entry.rows for entry in chain.manifest.segments)
            image.own_bytes = chain.manifest.statistics.own_bytes
            image.losses = " ".join(loss.sentence for loss in chain.losses)
    except CredentialError as error:
        image.found = Checked(name, path, "locked", error.message)
    except UnsupportedError as error:
        image.found = Checked(name, path, "unreadable", error.message)
    except FormatError as error:
        if not name.lower().endswith(_IMAGE_NAMES):
            return None
        image.found = Checked(name, path, "unreadable", error.message)
    except DamagedError as error:
        image.found = Checked(name, path, "damaged", error.message)
    except RescueError as error:
        if not name.lower().endswith(_IMAGE_NAMES):
            return None
        image.found = Checked(name, path, "unreadable", error.message)
    return image


def _place(path: str) -> str:
    """Of the first file of an image, by which a chain may have opened the whole."""
    return os.path.realpath(next(iter(files_of(path)), path))


def _check_own(image: _Image, token: CancelToken, progress: Callable[[int, int], None]) -> None:
    try:
        with image.open() as chain:
            verify_chain(chain, own_only=True, token=token, progress=progress)
    except CancelledError:
        raise
    except RescueError as error:
        image.error = error


def _shared(images: Sequence[_Image], proved: Sequence[_Image], token: CancelToken) -> dict[str, set[int]]:
    """For each image the numbers of the files of its chain whose data it has to have checked itself."""
    token.check()
    needed = {file for image in images for file in image.files[1:]}
    readable = [image for image in images if image.error is None]
    found = doubtful(readable, [image for image in proved if image.files[0] in needed])
    return {image.name: files for image, files in zip(readable, found, strict=True)}


def _result(image: _Image, files: set[int] | None, bad: dict[str, str], token: CancelToken) -> Checked:
    needs = tuple(bad[file] for file in image.files[1:] if file in bad)
    plain = Checked(image.name, image.path, "whole", "", needs, image.own_bytes)
    if image.error is not None:
        state: State = "damaged" if isinstance(image.error, DamagedError | FormatError) else "unreadable"
        return replace(plain, state=state, why=image.error.message)
    if image.losses:
        return replace(plain, state="damaged", why=image.losses)
    if not files:
        return replace(plain, needs=())
    try:
        with image.open(incomplete=False) as chain:
            _check_frames(chain, files, token)
    except CancelledError:
        raise
    except (DamagedError, FormatError) as error:
        return replace(plain, state="damaged", why=error.message)
    except RescueError as error:
        return replace(plain, state="unreadable", why=error.message)
    return plain


def _check_frames(chain: Chain, files: set[int], token: CancelToken) -> None:
    """Read and check all that an image needs of some files of its chain. Raises DamagedError, FormatError, SourceReadError."""
    workers = worker_count()
    window = 2 * workers + 2
    buffers = Buffers(workers, chain.header.frame_limit, chain.header.disk_size)
    stored_buffers = StoredBuffers(chain, window + 1)
    decoders: SimpleQueue[FrameDecoder] = SimpleQueue()
    for _ in range(workers):
        decoders.put(FrameDecoder())

    def load() -> Iterator[tuple[FrameUse, Stored]]:
        for use in uses(chain):
            if isinstance(use, FrameUse) and use.file in files:
                token.check()
                yield use, stored_buffers.read(use)

    def check(loaded: tuple[FrameUse, Stored]) -> None:
        use, stored = loaded
        decoder, buffer = decoders.get(), buffers.lend()
        try:
            decoder.decode(chain, use, stored.frame, buffer)
        finally:
            stored_buffers.give_back(stored)
            buffers.give_back(buffer)
            decoders.put(decoder)

    run_ordered(load(), check, lambda _: None, workers=workers, window=window)
