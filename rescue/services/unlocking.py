"""The keys of the encrypted volumes of a disk, or of the disk in an image."""

from __future__ import annotations

from rescue.engine.beside import Together, volumes_beside
from rescue.engine.containers import unlock
from rescue.images.chain import open_chain
from rescue.images.secrets import Secrets
from rescue.images.view import ImageView
from rescue.model.survey import DiskSurvey, ImageSummary
from rescue.system.blockfile import FileSource


def volume_keys(source: ImageSummary | DiskSurvey, partition: int, secret: bytes, secrets: Secrets) -> dict[str, bytes]:
    """Those that are known and those that ``secret`` opens in a partition. Raises as :func:`~rescue.engine.containers.unlock`."""
    if isinstance(source, ImageSummary):
        with open_chain(source.path, secrets) as chain:
            return unlock(ImageView(chain), chain.manifest.volumes, partition, secret, secrets.volume_keys)
    with volumes_beside(source.disk.beside) as beside, FileSource(source.disk.path) as disk:
        return unlock(Together(disk, beside), source.volumes, partition, secret, secrets.volume_keys)
