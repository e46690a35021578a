"""The images in a folder, found by content."""

from __future__ import annotations

import datetime
from pathlib import Path

from rescue.errors import CredentialError, DamagedError, FormatError, RescueError, UnsupportedError
from rescue.images.begun import read_header
from rescue.images.crypto import ImageKeys
from rescue.images.format import Header
from rescue.images.reader import open_image
from rescue.images.secrets import NO_SECRETS, Secrets
from rescue.model.survey import ImageSummary
from rescue.planning.words import plain
from rescue.records import replace
from rescue.stores.folder import FolderStore, ObjectFacts
from rescue.system.joined import open_source
from rescue.units import human_size

# Names under which people expect a disk image: listed even when the content is another.
_IMAGE_NAMES = (".img.zst", ".rimg", ".img", ".qcow2", ".vmdk", ".vhd", ".vhdx", ".vdi", ".raw", ".wim", ".fsa")


def list_images(store: FolderStore, secrets: Secrets = NO_SECRETS) -> list[ImageSummary]:
    """What is an image, and with its problem what is a damaged one or looks like one; newest first.

    Encrypted images that ``secrets`` do not open are there with what their headers say.
    """
    names = store.names() + [name for name in store.incomplete() if name.lower().endswith(_IMAGE_NAMES)]
    headers = {name: _header(store.path(name)) for name in names}
    keys: dict[str, ImageKeys] = {}
    found = []
    # The newest first: an encrypted image holds the keys of those before it, and trying a passphrase takes half a second.
    for name in sorted(names, key=lambda name: _created(headers[name]), reverse=True):
        summary = _summary(store, name, headers[name], secrets, keys)
        if summary is not None:
            found.append(summary)
    found = _with_chains_checked(store, found)
    found += [_clonezilla(path.parent) for path in sorted(store.folder.glob("*/clonezilla-img"))]
    return sorted(found, key=lambda image: image.order, reverse=True)


def _created(header: Header | None) -> int:
    return header.created if header else 0


def _header(path: Path) -> Header | None:
    try:
        with open_source(path) as source:
            return read_header(source)
    except RescueError:
        return None  # what is wrong is found again, and told, when it is opened as an image


def _is_there(store: FolderStore, name: str) -> bool:
    """Whether an image was not removed since the folder was read. Raises RescueError."""
    return name in store.names() or name in store.incomplete()


def _facts(store: FolderStore, name: str) -> ObjectFacts | None:
    """None for what was removed since the folder was read. Raises RescueError."""
    try:
        facts = store.facts(name)
    except RescueError:
        if _is_there(store, name):
            raise
        return None
    return facts if _is_there(store, name) else None


def _with_chains_checked(store: FolderStore, images: list[ImageSummary]) -> list[ImageSummary]:
    """The same, those with a problem that need another image which is not here, or itself not whole.

    One that was removed meanwhile, and what it needed with it, is left out.
    """
    here = {(image.uuid, image.fingerprint) for image in images}
    checked = []
    for image in images:
        missing = [link for link in image.chain if (link.uuid, link.fingerprint) not in here]
        if missing and not _is_there(store, image.name):
            continue
        if missing and not image.problem:
            names = ", ".join(plain(link.name) for link in missing)
            cost = human_size(sum(link.data_bytes for link in missing))
            problem = f"It needs {names}, not found here: {cost} of its data are missing."
            image = replace(image, problem=problem, problem_exit_code=DamagedError.exit_code)
        checked.append(image)
    return checked


def _summary(
    store: FolderStore, name: str, header: Header | None, secrets: Secrets, keys: dict[str, ImageKeys]
) -> ImageSummary | None:
    path = store.path(name)
    try:
        with open_image(path, secrets, keys.get(header.uuid_text) if header else None) as image:
            for member in image.manifest.chain:
                if member.keys:
                    keys[member.uuid] = ImageKeys.from_bytes(bytes.fromhex(member.keys))
            return image.summary()
    except CredentialError as error:
        return _locked(store, name, header, error) if header else None
    except (DamagedError, UnsupportedError) as error:
        return _with_problem(store, name, error)
    except FormatError as error:
        return _with_problem(store, name, error) if path.name.lower().endswith(_IMAGE_NAMES) else None
    except RescueError as error:
        return _with_problem(store, name, error)


def _locked(store: FolderStore, name: str, header: Header, error: CredentialError) -> ImageSummary | None:
    facts = _facts(store, name)
    if facts is None:
        return None
    return ImageSummary(
        path=str(store.path(name)),
        name=name,
        stored_size=facts.size,
        uuid=header.uuid_text,
        kind=header.kind.word,
        created=_time(header.created),
        encrypted=True,
        locked=True,
        problem=plain(error.message),
        problem_exit_code=error.exit_code,
    )


def _with_problem(store: FolderStore, name: str, error: RescueError) -> ImageSummary | None:
    facts = _facts(store, name)
    if facts is None:
        return None
    return ImageSummary(
        path=str(store.path(name)),
        name=name,
        stored_size=facts.size,
        created=_time(facts.modified),
        problem=plain(str(error)),
        problem_exit_code=error.exit_code,
    )


def _clonezilla(folder: Path) -> ImageSummary:
    return ImageSummary(
        path=str(folder),
        name=folder.name,
        stored_size=sum(entry.stat().st_size for entry in folder.iterdir() if entry.is_file()),
        created=_time(folder.stat().st_mtime),
        problem="An image made by Clonezilla, which cannot be restored with this program yet. Use Clonezilla for it.",
        problem_exit_code=1,
    )


def _time(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
