"""The step that copies files out of an image or a disk."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

from rescue.engine.beside import Together, volumes_beside
from rescue.engine.browse import open_image_files, volume_files
from rescue.engine.counting import count
from rescue.engine.extract import ExtractResult, extract
from rescue.engine.inner import inner_volume
from rescue.errors import RescueError
from rescue.filesystems.files.tree import Entry, FileTree
from rescue.images.secrets import Secrets
from rescue.jobs.execute import Facts, IncompleteError, copied_words
from rescue.jobs.reporter import Reporter
from rescue.model.plan import ExtractFiles
from rescue.model.progress import CancelToken, Message
from rescue.model.source import Source
from rescue.model.text import shown
from rescue.system.blockfile import FileSource

_FACTS_LIMIT: Final = 1000


def extract_files(step: ExtractFiles, secrets: Secrets, token: CancelToken, reporter: Reporter) -> Facts:
    """Count, then copy. Raises IncompleteError when something could not be copied, and as the engine's extract."""
    with _source(step, secrets) as (disk, keys), _files(disk, step, keys) as tree:
        for note in tree.notes:
            reporter.message(Message("warning", shown(note)))
        entries = _entries(tree, step)
        amount = count(tree, entries, token)
        total = amount.content_bytes
        reporter.progress(0, total)
        result = extract(
            tree,
            entries,
            Path(step.folder),
            overwrite=step.overwrite,
            token=token,
            progress=lambda done: reporter.progress(done, max(total, done)),
            # Names may hold anything, also what is no character and cannot be written down.
            notify=lambda message: reporter.message(Message(message.level, shown(message.text))),
        )
    # Of what could not be copied nothing is left to do.
    reporter.progress(result.content_bytes, result.content_bytes)
    facts = _facts(step, result)
    if result.failures:
        what = "1 thing" if result.failures == 1 else f"{result.failures} things"
        raise IncompleteError(
            f"Not everything was copied: {what} could not be. {copied_words(facts)}",
            facts,
            "The messages say which, and why.",
        )
    return facts


@contextmanager
def _source(step: ExtractFiles, secrets: Secrets) -> Iterator[tuple[Source, Mapping[str, bytes]]]:
    """The disk, and the keys of encrypted volumes on it."""
    if step.image:
        with open_image_files(Path(step.image), secrets, salvage=step.salvage) as opened:
            yield opened.source, opened.keys
    elif step.disk is not None:
        with volumes_beside(step.disk.beside) as beside, FileSource(step.disk.path) as source:
            yield Together(source, beside), secrets.volume_keys
    else:
        raise RescueError("The plan does not say what the files are copied from.", "Make a new plan.")


def _files(disk: Source, step: ExtractFiles, keys: Mapping[str, bytes]) -> AbstractContextManager[FileTree]:
    if not step.containers:
        return volume_files(disk, step.volume)
    _, source, volume = inner_volume(disk, step.containers, step.volume.partition, step.inside, keys)
    return volume_files(source, volume)


def _entries(tree: FileTree, step: ExtractFiles) -> list[Entry]:
    return [tree.entry(os.fsdecode(path)) for path in step.paths]


def _facts(step: ExtractFiles, result: ExtractResult) -> Facts:
    return {
        "folder": step.folder,
        "files": result.files,
        "folders": result.folders,
        "links": result.links,
        "content_bytes": result.content_bytes,
        "failures": result.failures,
        "lost": [f"{what}: {number}" for what, number in sorted(result.lost.items())],
        "failed": [shown(f"{path}: {why}") for path, why in result.failed[:_FACTS_LIMIT]],
    }
