"""The backups in a folder that were interrupted: which can be gone on with, and which are another's to go on with."""

from __future__ import annotations

from typing import NamedTuple

from rescue.engine.lineage import header_of
from rescue.engine.reading import read_extents
from rescue.engine.survey import map_disk
from rescue.errors import RescueError
from rescue.images.begun import Begun, read_begun
from rescue.images.cipher import digest_of
from rescue.images.format import Kind, RowKind
from rescue.images.secrets import NO_SECRETS, Secrets
from rescue.model.survey import BegunImage, DiskSurvey
from rescue.stores.folder import FolderStore
from rescue.system.blockfile import FileSource


class Interrupted(NamedTuple):
    """``begun``: those of this disk, as far as its first bytes tell, the newest first. ``others``: names not to be taken."""

    begun: tuple[BegunImage, ...]
    others: frozenset[str]


def interrupted(store: FolderStore, survey: DiskSurvey, secrets: Secrets = NO_SECRETS) -> Interrupted:
    """Looks at what interrupted backups left in a folder. What is not worth going on with is in neither."""
    found = []
    others = set()
    for left in sorted(store.partials(), key=lambda partial: partial.modified, reverse=True):
        try:
            partial = store.partial(left.name)
            if partial is None:
                continue
            with partial:
                begun = read_begun(partial, secrets)
                if begun is None:
                    continue
                if not _is_of(begun, survey, secrets):
                    others.add(left.name)
                    continue
                header = begun.header
                if header.kind is Kind.FULL and header.created in _dates(store):
                    others.add(left.name)  # a consolidation, which goes on by itself: its date is that of the image it is of
                    continue
                found.append(
                    BegunImage(
                        left.name,
                        header.kind.word,
                        bool(header.encryption),
                        header.parent.hex(),
                        begun.length,
                        begun.disk_position,
                    )
                )
        except RescueError:
            # It is being written now, does not open with these secrets, or cannot be read: the new backup has another name.
            others.add(left.name)
    return Interrupted(tuple(found), frozenset(others))


def _dates(store: FolderStore) -> frozenset[int]:
    """When the images of a store were begun, in seconds since 1970."""
    headers = (header_of(store.path(name)) for name in store.names())
    return frozenset(header.created for header in headers if header)


def _is_of(begun: Begun, survey: DiskSurvey, secrets: Secrets) -> bool:
    """Whether it is of a disk of this size that starts with the same bytes: there are the ids of its partition table."""
    header = begun.header
    if (header.disk_size, header.logical_sector_size) != (survey.disk.size, survey.disk.logical_sector_size):
        return False
    first = begun.rows(0)[0]
    if first.kind != RowKind.DATA:
        return True
    digest = digest_of(begun.keys)
    with FileSource(survey.disk.path) as source:
        content = bytearray(source.pread(first.length, first.start))
        if digest(content) != first.hash and survey.layout.label == "none":
            # A file system without a partition table: what is free there are zeros in the image.
            for _, allocated in map_disk(survey.disk, source, survey.layout, secrets.volume_keys):
                extents = list(allocated.overlapping(first.start, first.end))
                read_extents(source, first.start, first.end, extents, memoryview(content))
        return digest(content) == first.hash
