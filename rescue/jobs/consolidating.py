"""Writing a full image that is put together from a chain into a store."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from rescue.engine.consolidate import consolidate
from rescue.images.chain import Chain
from rescue.images.secrets import Secrets
from rescue.jobs.execute import Facts
from rescue.jobs.reporter import Reporter
from rescue.model.plan import ConsolidateImage
from rescue.model.progress import CancelToken
from rescue.stores.folder import FolderStore


def consolidate_image(step: ConsolidateImage, secrets: Secrets, token: CancelToken, reporter: Reporter) -> Facts:
    """Do the step. The chain is kept from being removed meanwhile; what was written is removed when it does not end well.

    Raises RefusedError (the name is taken, the chain or the store is in use), DamagedError, TargetWriteError, CancelledError.
    """
    store = FolderStore(step.store)
    source = FolderStore(Path(step.image).parent)
    with ExitStack() as stack:
        chain = stack.enter_context(Chain(step.image, secrets))
        for file in chain.files:
            if file is not None:
                stack.enter_context(source.hold(file.name))
        stack.enter_context(store.exclusive())
        writer = stack.enter_context(store.open_for_write(step.name, step.split))
        result = consolidate(chain, writer, secrets, token=token, progress=reporter.progress)
        writer.commit()
    return {
        "image": f"{step.store}/{step.name}",
        "made_from": step.image,
        "uuid": result.uuid,
        "hash": result.fingerprint,
        "stored_size": result.stored_size,
        "data_bytes": result.data_bytes,
        "recompressed_bytes": result.recompressed_bytes,
    }
