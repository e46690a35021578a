"""What a queue of pending operations makes of a disk, before anything is done: for a face that shows it at each key."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from rescue.model.survey import DiskSurvey
from rescue.planning.operation_text import parse_operation
from rescue.planning.partition_draft import NO_LOOKS, Draft, Looks
from rescue.planning.partition_plan import add_operation
from rescue.records import replace


class Preview(msgspec.Struct, frozen=True):
    """``survey`` is the disk as it is to be; ``sentences`` tell for each operation what it does, ``warnings`` what to know.

    ``added``: the starts of partitions with what is on the disk already, and which nobody could look at.
    """

    survey: DiskSurvey
    sentences: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    added: tuple[int, ...] = ()


def preview(target: DiskSurvey, operations: Sequence[str], new_guid: Callable[[], str], looks: Looks = NO_LOOKS) -> Preview:
    """The disk after a queue of operations, as far as it can be told without it. Raises RefusedError, UsageError."""
    draft = Draft.of(target, looks)
    said = []
    for index, text in enumerate(operations):
        before = len(draft.sentences)
        add_operation(draft, parse_operation(text, draft.layout, new_guid), tuple(operations[index:]), target)
        said.append(" ".join(draft.sentences[before:]))
    layout = draft.layout
    # A volume is known by its place; what lost its partition is not shown any more.
    volumes = [
        replace(draft.contents[p.start], partition=p.number, start=p.start, end=p.end)
        for p in layout.data_partitions
        if p.start in draft.contents
    ]
    if layout.label == "none":
        volumes = list(target.volumes)
    added = tuple(start for start in draft.added if start not in draft.contents)
    warnings = tuple(dict.fromkeys(draft.warnings))
    return Preview(replace(target, layout=layout, volumes=tuple(volumes)), tuple(said), warnings, added)
