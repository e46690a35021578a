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
    for name in store.names():
        summary = _summary(store.path(name))
        if summary is not None:
            found.append(summary)
    found += [_clonezilla(path.parent) for path in sorted(store.folder.glob("*/clonezilla-img"))]
    return sorted(found, key=lambda image: (image.created, image.name), reverse=True)


def _summary(path: Path) -> ImageSummary | None:
    try:
        with open_image(path) as image:
            return image.summary()
    except (DamagedError, UnsupportedError) as error:
        return _with_problem(path, error)
    except FormatError as error:
        return _with_problem(path, error) if path.name.lower().endswith(_IMAGE_NAMES) else None
    except RescueError as error:
        return _with_problem(path, error)


def _with_problem(path: Path, error: RescueError) -> ImageSummary:
    return ImageSummary(
        path=str(path),
        name=path.name,
        stored_size=path.stat().st_size,
        created=_modified(path),
        problem=plain(str(error)),
        problem_exit_code=error.exit_code,
    )


def _clonezilla(folder: Path) -> ImageSummary:
    return ImageSummary(
        path=str(folder),
        name=folder.name,
        stored_size=sum(entry.stat().st_size for entry in folder.iterdir() if entry.is_file()),
        created=_modified(folder),
        problem="An image made by Clonezilla, which cannot be restored with this program yet. Use Clonezilla for it.",
        problem_exit_code=1,
    )


def _modified(path: Path) -> str:
    return datetime.datetime.fromtimestamp(path.stat().st_mtime, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
