"""The backups in a folder that were interrupted and can be gone on with."""

from __future__ import annotations

from rescue.errors import RescueError
from rescue.images.begun import Begun, read_begun
from rescue.images.cipher import digest_of
from rescue.images.format import RowKind
from rescue.images.secrets import NO_SECRETS, Secrets
from rescue.model.survey import BegunImage, DiskSurvey
from rescue.stores.folder import FolderStore
from rescue.system.blockfile import FileSource


def begun_images(store: FolderStore, survey: DiskSurvey, secrets: Secrets = NO_SECRETS) -> list[BegunImage]:
    """Those that are of this disk, as far as its first bytes tell, the newest first. What cannot be read is left out."""
    found = []
    for left in sorted(store.partials(), key=lambda partial: partial.modified, reverse=True):
        try:
            partial = store.partial(left.name)
            if partial is None:
                continue
            with partial:
                begun = read_begun(partial, secrets)
                if begun is None or not _is_of(begun, survey):
                    continue
                header = begun.header
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
            continue  # it is being written now, encrypted with another passphrase, or damaged: the new backup has another name
    return found


def _is_of(begun: Begun, survey: DiskSurvey) -> bool:
    """Whether it is of a disk of this size that starts with the same bytes: there are the ids of its partition table."""
    header = begun.header
    if (header.disk_size, header.logical_sector_size) != (survey.disk.size, survey.disk.logical_sector_size):
        return False
    first = begun.rows(0)[0]
    if first.kind != RowKind.DATA:
        return True
    with FileSource(survey.disk.path) as source:
        return digest_of(begun.keys)(source.pread(first.length, first.start)) == first.hash
