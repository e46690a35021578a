"""The images in a folder, found by content."""

from __future__ import annotations

import datetime
from pathlib import Path

from rescue.errors import DamagedError, FormatError, RescueError, UnsupportedError
from rescue.images.reader import open_image
from rescue.model.survey import ImageSummary
from rescue.planning.words import plain
from rescue.stores.folder import FolderStore

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
    found += [_clonezilla(path.parent) for path in sorted(store.folder.glob("*/clonezilla-img"))]
    return sorted(found, key=lambda image: (image.created, image.name), reverse=True)


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
