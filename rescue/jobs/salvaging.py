"""The step that reads the hard parts of a failing disk into an image upon the one that lacks them."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from rescue.engine.damage import damage_of
from rescue.engine.making import Making
from rescue.engine.mending import Mended, mend_image, missing_of
from rescue.images.chain import Chain
from rescue.images.lost import damage_path, keep_damage
from rescue.images.secrets import Secrets
from rescue.images.view import ImageView
from rescue.jobs.destination import StoreDestination
from rescue.jobs.execute import Facts
from rescue.jobs.reporter import Reporter
from rescue.model.damage import VolumeDamage, damage_lines
from rescue.model.plan import MendImage
from rescue.model.progress import CancelToken, Message
from rescue.stores.folder import FolderStore

FACTS_LIMIT: Final = 1000  # names of files in a job's facts


def mend(step: MendImage, secrets: Secrets, host: str, token: CancelToken, reporter: Reporter) -> Facts:
    """Read, write what was won, and name the damaged files. Raises as mend_image; SourceReadError when the disk is gone."""
    store = FolderStore(step.store)

    @contextmanager
    def opened() -> Iterator[StoreDestination]:
        with StoreDestination(store, step.name, step.split, anew=True) as output:
            output.hold(list(step.holds))
            yield output

    mended = mend_image(
        step.source,
        str(store.path(step.image)),
        Path(step.salvage),
        opened,
        making=Making(level=step.level, comment=step.comment, host=host),
        secrets=secrets,
        created=datetime.datetime.now(datetime.UTC),
        token=token,
        progress=reporter.progress,
    )
    path = store.path(step.name if mended.won else step.image)
    facts: Facts = {"image": str(path), "won_bytes": mended.won, "missing_bytes": mended.missing, "bad_bytes": mended.missing}
    if mended.fingerprint:
        facts |= {"uuid": mended.uuid, "hash": mended.fingerprint}
    if mended.missing:
        facts |= _damage(path, secrets, reporter)
        facts["next"] = _next(mended)
    return facts


def _damage(path: Path, secrets: Secrets, reporter: Reporter) -> Facts:
    with Chain(path, secrets) as chain:
        found = damage_of(ImageView(chain), chain.manifest.volumes, missing_of(chain))
        # Beside an encrypted image nothing is kept that tells what is in it.
        kept = not chain.header.encryption and keep_damage(path, chain.fingerprint, found)
    if kept and sum(len(volume.files) for volume in found) > 0:
        reporter.message(Message("info", f"The damaged files are listed in {damage_path(path)}."))
    return damage_facts(found)


def damage_facts(found: tuple[VolumeDamage, ...]) -> Facts:
    """For the verdict: sentences, and names of files by partition."""
    names = [f"{volume.partition}:{name}" for volume in found for name in volume.files]
    return {"damage": damage_lines(found), "damaged_files": names[:FACTS_LIMIT]}


def _next(mended: Mended) -> str:
    if mended.gone is not None:
        return f"{mended.gone.message} {mended.gone.hint}"
    return "Run the same command again to try again for what is missing; a disk that was switched off for a while may give more."
