"""Checking all images of a store, and keeping beside each what was found."""

from __future__ import annotations

import datetime
from contextlib import suppress
from typing import Final

from rescue.engine.check_store import Checked, check_store
from rescue.engine.damage import damage_of
from rescue.engine.verify import DamagedImageError
from rescue.errors import CredentialError, DamagedError, RescueError
from rescue.images.chain import Chain
from rescue.images.proofs import record_result
from rescue.images.reader import ImageFile
from rescue.images.secrets import Secrets
from rescue.images.view import ImageView
from rescue.jobs.execute import Facts, IncompleteError
from rescue.jobs.reporter import Reporter
from rescue.jobs.salvaging import damage_facts
from rescue.model.damage import VolumeDamage, damage_lines
from rescue.model.plan import VerifyStore
from rescue.model.progress import CancelToken
from rescue.model.text import shown
from rescue.stores.folder import FolderStore

_DAMAGE_SECONDS: Final = 30.0  # for each volume
_PLACES_TOLD: Final = 20


class DamagedImagesError(IncompleteError):
    """Some images of a store are damaged."""

    exit_code = DamagedError.exit_code


class LockedImagesError(IncompleteError):
    """Nothing is damaged, but some images could not be opened."""

    exit_code = CredentialError.exit_code


def damaged_image(path: str, error: DamagedImageError, secrets: Secrets) -> DamagedImagesError:
    """What the check of one image ends with that found it damaged: every place, and which files that costs."""
    found: tuple[VolumeDamage, ...] = ()
    if error.lost:
        with suppress(RescueError), Chain(path, secrets, incomplete=True) as chain:
            found = damage_of(ImageView(chain), chain.manifest.volumes, error.lost, seconds=_DAMAGE_SECONDS)
    told = list(error.places[:_PLACES_TOLD])
    if error.count > len(told):
        told.append(f"and {error.count - len(told)} more places")
    facts = damage_facts(found) | {"image": path, "missing_bytes": error.lost.total, "damaged_places": list(error.places)}
    return DamagedImagesError("\n".join([error.headline, *told, *damage_lines(found)]), facts, error.hint)


def verify_store(step: VerifyStore, secrets: Secrets, token: CancelToken, reporter: Reporter) -> Facts:
    """Do the step; the facts have a line for each image.

    Raises DamagedImagesError, LockedImagesError, IncompleteError (some could not be read), CancelledError, RescueError.
    """
    store = FolderStore(step.store)
    results = check_store(store, secrets, token=token, progress=reporter.progress, found=_record)
    by_state = {state: [r for r in results if r.state == state] for state in ("whole", "damaged", "locked", "unreadable")}
    facts: Facts = {
        "store": step.store,
        "images": [line(result) for result in results],
        "whole_images": len(by_state["whole"]),
        "damaged": [result.name for result in by_state["damaged"]],
        "locked": [result.name for result in by_state["locked"]],
        "unreadable": [result.name for result in by_state["unreadable"]],
        "verified_bytes": sum(result.checked_bytes for result in by_state["whole"]),
    }
    if by_state["damaged"]:
        names = "; ".join(_with_needs(result) for result in by_state["damaged"])
        raise DamagedImagesError(
            f"{len(by_state['damaged'])} of {len(results)} images in {step.store} are damaged: {names}.",
            facts,
            "Make a full backup anew where it can still be made. What is whole can be restored.",
        )
    if by_state["unreadable"]:
        names = ", ".join(shown(result.name) for result in by_state["unreadable"])
        raise IncompleteError(f"Not all images in {step.store} could be checked: {names}.", facts, "The others are whole.")
    if by_state["locked"]:
        names = ", ".join(shown(result.name) for result in by_state["locked"])
        raise LockedImagesError(
            f"Encrypted images in {step.store} were not checked, because they were not opened: {names}.",
            facts,
            "Give their passphrase or key. The others are whole.",
        )
    return facts


def line(checked: Checked) -> str:
    """One image: ``a.img.zst: whole``."""
    name = shown(checked.name)
    if checked.state == "whole":
        rest = f", though it needs {_names(checked.needs)}, which is damaged elsewhere" if checked.needs else ""
        return f"{name}: whole{rest}"
    needs = f" It needs {_names(checked.needs)}, which is damaged." if checked.needs else ""
    return f"{name}: {checked.state}. {shown(checked.why)}{needs}"


def _names(names: tuple[str, ...]) -> str:
    return ", ".join(shown(name) for name in names)


def _with_needs(checked: Checked) -> str:
    return f"{shown(checked.name)} (needs {_names(checked.needs)})" if checked.needs else shown(checked.name)


def _record(checked: Checked) -> None:
    if checked.state not in ("whole", "damaged"):
        return
    try:
        with ImageFile(checked.path) as file:
            fingerprint = file.fingerprint
    except RescueError:
        return  # an image whose very end is damaged has no fingerprint that a result could be kept for
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    record_result(checked.path, fingerprint, "hashes", checked.state == "whole", now)
