"""Writing a full image that is put together from a chain into a store."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from rescue.engine.consolidate import confirmed, consolidate
from rescue.errors import CredentialError
from rescue.images.begun import Begun
from rescue.images.chain import Chain
from rescue.images.secrets import Secrets
from rescue.jobs.destination import StoreDestination
from rescue.jobs.execute import Facts
from rescue.jobs.reporter import Reporter
from rescue.model.plan import ConsolidateImage
from rescue.model.progress import CancelToken, Message
from rescue.stores.folder import FolderStore
from rescue.units import human_size


def consolidate_image(step: ConsolidateImage, secrets: Secrets, token: CancelToken, reporter: Reporter) -> Facts:
    """Do the step, or go on with it. The chain is kept from being removed meanwhile.

    When it does not end well, what can be gone on with is kept. Raises RefusedError (the name is taken, the chain or the
    store is in use), DamagedError, TargetWriteError, CancelledError.
    """
    store = FolderStore(step.store)
    source = FolderStore(Path(step.image).parent)
    with ExitStack() as stack:
        chain = stack.enter_context(Chain(step.image, secrets))
        for file in chain.files:
            if file is not None:
                stack.enter_context(source.hold(file.name))
        stack.enter_context(store.exclusive())
        output = stack.enter_context(StoreDestination(store, step.name, step.split))
        begun = confirmed(chain, _left(output, secrets))
        if begun is not None:
            where = human_size(begun.disk_position)
            reporter.message(Message("info", f"Going on at {where} of the disk: the rest was written before."))
        result = consolidate(chain, output, secrets, token=token, progress=reporter.progress, begun=begun, go_on=output.go_on)
        output.commit()
    return {
        "image": f"{step.store}/{step.name}",
        "made_from": step.image,
        "uuid": result.uuid,
        "hash": result.fingerprint,
        "stored_size": result.stored_size,
        "data_bytes": result.data_bytes,
        "recompressed_bytes": result.recompressed_bytes,
    }


def _left(output: StoreDestination, secrets: Secrets) -> Begun | None:
    """What an interrupted attempt left, if it opens; another's is replaced."""
    try:
        return output.begun(secrets)
    except CredentialError:
        return None
