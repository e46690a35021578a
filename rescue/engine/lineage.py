"""Which images of a store need which others, read from the images themselves; without secrets, as far as headers tell."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

from rescue.errors import CredentialError, DamagedError, FormatError, RescueError, UnsupportedError
from rescue.images.begun import read_header
from rescue.images.crypto import ImageKeys
from rescue.images.format import Header
from rescue.images.reader import ImageFile, open_image
from rescue.images.secrets import NO_SECRETS, Secrets
from rescue.model.lineage import Lineage
from rescue.stores.folder import FolderStore
from rescue.system.blockfile import FileSource
from rescue.system.joined import files_of

# What lacks a part is counted as an image by its name: its header may be in the part that is missing.
_IMAGE_NAMES: Final = (".img.zst", ".rimg")


class _Seen(NamedTuple):
    state: tuple[tuple[int, int, int, int], ...]
    lineage: Lineage | None


class Lineages:
    """Looks at the images of a store, any number of times; what has not changed is opened once."""

    def __init__(self, store: FolderStore, secrets: Secrets = NO_SECRETS) -> None:
        self._store = store
        self._secrets = secrets
        self._keys: dict[str, ImageKeys] = {}  # by UUID: an encrypted image holds those of its chain
        self._seen: dict[str, _Seen] = {}

    def look(self) -> tuple[Lineage, ...]:
        """The images that are there now, sorted by name; other files are left out. Raises RescueError."""
        incomplete = [name for name in self._store.incomplete() if name.lower().endswith(_IMAGE_NAMES)]
        names = [*self._store.names(), *incomplete]
        headers = {name: header_of(self._store.path(name)) for name in names}
        found: dict[str, _Seen] = {}
        # The newest first: they hold the keys of those before them.
        for name in sorted(names, key=lambda name: _created(headers[name]), reverse=True):
            state = _state(self._store.path(name))
            before = self._seen.get(name)
            if before is None or before.state != state:
                before = _Seen(state, self._lineage(name, headers[name]))
            found[name] = before
        self._seen = found
        return tuple(seen.lineage for _, seen in sorted(found.items()) if seen.lineage is not None)

    def _lineage(self, name: str, header: Header | None) -> Lineage | None:
        path = self._store.path(name)
        known = Lineage(name)
        if header is not None:
            known = Lineage(
                name, "", header.kind.word, None, header.parent.hex(), bool(header.encryption), header.disk_size
            )  # fmt: skip
        try:
            with open_image(path, self._secrets, self._keys.get(header.uuid_text) if header else None) as image:
                for member in image.manifest.chain:
                    if member.keys:
                        self._keys[member.uuid] = ImageKeys.from_bytes(bytes.fromhex(member.keys))
                needs = frozenset(member.fingerprint for member in image.manifest.chain if member.data_bytes)
                return _replace(known, image.fingerprint, needs=needs)
        except CredentialError as error:
            return _replace(known, _fingerprint(path), problem=error.message, locked=True)
        except UnsupportedError as error:
            return _replace(known, _fingerprint(path), problem=error.message)
        except FormatError as error:
            if header is None:
                return None  # somebody else's file
            return _replace(known, _fingerprint(path), problem=error.message)
        except RescueError as error:
            if header is None and not isinstance(error, DamagedError) and not name.lower().endswith(_IMAGE_NAMES):
                return None  # nobody could say what it is, and nothing speaks for an image
            return _replace(known, _fingerprint(path), problem=error.message)


def _replace(
    known: Lineage, fingerprint: str, *, needs: frozenset[str] | None = None, problem: str = "", locked: bool = False
) -> Lineage:
    return Lineage(
        known.name, fingerprint, known.kind, needs, known.parent, known.encrypted, known.disk_size, locked, problem
    )  # fmt: skip


def _created(header: Header | None) -> int:
    return header.created if header else 0


def header_of(path: Path) -> Header | None:
    """The header of an image, also of one that lacks other parts; None when it cannot be read."""
    try:
        files = files_of(path)
        if not files:
            return None
        with FileSource(files[0]) as source:
            return read_header(source)
    except RescueError:
        return None  # what is wrong is found again when it is opened


def _fingerprint(path: Path) -> str:
    try:
        with ImageFile(path) as image:
            return image.fingerprint
    except RescueError:
        return ""


def _state(path: Path) -> tuple[tuple[int, int, int, int], ...]:
    """What differs when a file is another one, or was changed."""
    try:
        found = [file.stat() for file in files_of(path)]
    except (OSError, RescueError):
        return ()
    return tuple((state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns) for state in found)
