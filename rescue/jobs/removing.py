"""Removing images from a store: one after the other, each looked at anew right before it goes."""

from __future__ import annotations

from functools import partial

from rescue.engine.lineage import Lineages
from rescue.errors import CancelledError, GoneError, RefusedError, RescueError, TargetWriteError
from rescue.images.lost import remove_damage
from rescue.images.proofs import remove_proof
from rescue.images.reader import ImageFile
from rescue.images.secrets import Secrets
from rescue.jobs.execute import Facts, IncompleteError, removed_words
from rescue.jobs.reporter import Reporter
from rescue.model.lineage import needed_by
from rescue.model.plan import DoomedImage, RemoveImages
from rescue.model.progress import CancelToken, Message
from rescue.model.text import shown
from rescue.stores.folder import FolderStore


def remove_images(step: RemoveImages, secrets: Secrets, token: CancelToken, reporter: Reporter) -> Facts:
    """Do the step. What is in use, needed, changed, a link or gone by now is left as it is, and said.

    Raises IncompleteError (some could not be removed), RefusedError (another process removes images from this store),
    TargetWriteError (nothing is known to have reached the medium, so nothing more goes), CancelledError, RescueError.
    """
    store = FolderStore(step.store)
    lineages = Lineages(store, secrets)
    removed: list[str] = []
    stayed: list[str] = []
    failed: list[str] = []
    freed = 0
    total = sum(_size(store, image.name) for image in step.images)
    with store.exclusive():
        store.clear_removed()
        for image in step.images:
            token.check()
            size = _size(store, image.name)
            gone = Message("info", f"{shown(image.name)} is gone already.")
            if image.name not in store.names():
                reporter.message(gone)
                continue
            try:
                store.remove(image.name, partial(_last_look, store, image, lineages))
            except GoneError:
                reporter.message(gone)
                continue
            except (CancelledError, TargetWriteError):
                raise
            except RefusedError as error:
                # In use, or needed: what it needs in turn is found to be needed by it, and stays as well.
                stayed.append(image.name)
                reporter.message(Message("warning", f"{shown(image.name)} stays. {error.message}"))
                continue
            except RescueError as error:
                stayed.append(image.name)
                failed.append(error.message)
                reporter.message(Message("warning", f"{shown(image.name)} stays. {error.message}"))
                continue
            removed.append(image.name)
            freed += size
            reporter.progress(freed, total)
    facts: Facts = {"store": step.store, "removed": removed, "stayed": stayed, "freed_bytes": freed}
    if failed:
        more = f" {len(failed) - 1} more could not be removed either." if len(failed) > 1 else ""
        raise IncompleteError(
            f"{removed_words(facts, step.store)} {failed[0]}{more}",
            facts,
            "Run the same command again when that is mended.",
        )
    return facts


def _size(store: FolderStore, name: str) -> int:
    try:
        return store.facts(name).size
    except RescueError:
        return 0


def _last_look(store: FolderStore, image: DoomedImage, lineages: Lineages) -> None:
    """Called when nobody can begin to depend on the image any more. Raises RefusedError when it has to stay."""
    try:
        with ImageFile(store.path(image.name)) as file:
            same = file.fingerprint == image.fingerprint
    except RescueError:
        same = False
    if not same:
        raise RefusedError("It is another image than the one that was to be removed, or was damaged since.")
    needing = needed_by(lineages.look()).get(image.name, frozenset())
    if needing:
        names = ", ".join(shown(name) for name in sorted(needing))
        raise RefusedError(f"It is needed by {names}.")
    # Before the image: cut off here, the image is there without its proof, and is removed when the command is run again.
    remove_proof(store.path(image.name))
    remove_damage(store.path(image.name))
