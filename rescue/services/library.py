"""The images in a folder, found by content."""

from __future__ import annotations

import datetime
from dataclasses import replace
from pathlib import Path

from rescue.errors import DamagedError, FormatError, RescueError, UnsupportedError
from rescue.images.reader import open_image
from rescue.model.survey import ImageSummary
from rescue.planning.words import plain
from rescue.stores.folder import FolderStore
from rescue.units import human_size

# Names under which people expect a disk image: listed even when the content is another.
_IMAGE_NAMES = (".img.zst", ".rimg", ".img", ".qcow2", ".vmdk", ".vhd", ".vhdx", ".vdi", ".raw", ".wim", ".fsa")


def list_images(store: FolderStore) -> list[ImageSummary]:
    """What is an image, and with its problem what is a damaged one or looks like one; newest first."""
    found = []
    names = store.names() + [name for name in store.incomplete() if name.lower().endswith(_IMAGE_NAMES)]
    for name in names:
        summary = _summary(store, name)
        if summary is not None:
            found.append(summary)
    found = _with_chains_checked(found)
    found += [_clonezilla(path.parent) for path in sorted(store.folder.glob("*/clonezilla-img"))]
    return sorted(found, key=lambda image: (image.created, image.name), reverse=True)


def _with_chains_checked(images: list[ImageSummary]) -> list[ImageSummary]:
    """The same, those with a problem that need another image which is not here, or itself not whole."""
    here = {(image.uuid, image.fingerprint) for image in images}
    checked = []
    for image in images:
        missing = [link for link in image.chain if (link.uuid, link.fingerprint) not in here]
        if missing and not image.problem:
            names = ", ".join(plain(link.name) for link in missing)
            cost = human_size(sum(link.data_bytes for link in missing))
            problem = f"It needs {names}, not found here: {cost} of its data are missing."
            image = replace(image, problem=problem, problem_exit_code=DamagedError.exit_code)
        checked.append(image)
    return checked


def _summary(store: FolderStore, name: str) -> ImageSummary | None:
    path = store.path(name)
    try:
        with open_image(path) as image:
            return image.summary()
    except (DamagedError, UnsupportedError) as error:
        return _with_problem(store, name, error)
    except FormatError as error:
        return _with_problem(store, name, error) if path.name.lower().endswith(_IMAGE_NAMES) else None
    except RescueError as error:
        return _with_problem(store, name, error)


def _with_problem(store: FolderStore, name: str, error: RescueError) -> ImageSummary:
    facts = store.facts(name)
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
