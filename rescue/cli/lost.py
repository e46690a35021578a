"""``rescue partition DISK --search``: what was found in free space, and the command that puts it into the table."""

from __future__ import annotations

import argparse
import shlex
import time
from collections.abc import Callable, Sequence
from typing import TextIO

from rescue.cli.follow import progress_line
from rescue.cli.json_text import json_text
from rescue.cli.options import Context, progress_style
from rescue.cli.text import table
from rescue.model.lost import Lost
from rescue.model.progress import CancelToken, Progress
from rescue.model.survey import DiskSurvey
from rescue.planning.lost import believed, operations_for, type_of
from rescue.planning.words import content_words, plain
from rescue.units import human_size

_EVERY = 0.2  # seconds


def search(arguments: argparse.Namespace, context: Context, survey: DiskSurvey) -> int:
    """Search, and print what was found. Nothing is written to the disk."""
    shown = progress_style(arguments, context.stderr) == "bar"
    progress = _bar(context.stderr) if shown else lambda done, total: None
    lost = context.machine.find_lost(survey, arguments.deep, CancelToken(), progress)
    if shown:
        context.stderr.write("\r\x1b[K")
    command = ["rescue", "partition", survey.disk.path, *operations_for(survey.layout, believed(lost))]
    if arguments.json:
        found = [
            {
                "start": one.start, "size": one.end - one.start, "type": one.identity.type, "label": one.identity.label,
                "uuid": one.identity.uuid, "whole": one.whole, "overlaps": one.overlaps, "damaged": one.damaged,
                "inside": one.inside, "twin_of": one.twin_of, "partition_type": type_of(one, survey.layout.label),
            }
            for one in lost
        ]  # fmt: skip
        print(json_text({"lost": found, "command": command if believed(lost) else []}), file=context.stdout)
        return 0
    print("\n".join(_text(survey, lost, command, arguments.deep)), file=context.stdout)
    return 0


def _text(survey: DiskSurvey, lost: Sequence[Lost], command: Sequence[str], deep: bool) -> list[str]:
    name = survey.disk.path
    if not lost:
        hint = [] if deep else [f"Look at every sector, which takes longer: rescue partition {shlex.quote(name)} --search --deep"]
        return [f"No lost partition was found in the free space of {name}.", *hint]
    rows = [
        (human_size(one.start), human_size(one.end - one.start), content_words(one.identity), _label(one), _state(one))
        for one in lost
        if not one.inside
    ]
    hidden = len(lost) - len(rows)
    lines = [f"Found in the free space of {name}, by start, size and what it holds:", *table(rows, right=(0, 1), indent=2), ""]
    if hidden:
        lines += [
            f"{hidden} more begin inside of those that are whole: they are files in them, or remains of what was before.",
            "",
        ]
    if not believed(lost):
        return [*lines, "None of it is sure enough to put it into the table."]
    return [
        *lines,
        "What is whole is put into the table, with nothing in it changed, by",
        f"  {shlex.join(command)}",
        "Look at what --dry-run says of it first.",
    ]


def _label(one: Lost) -> str:
    return f"“{plain(one.identity.label)}”" if one.identity.label else ""


def _state(one: Lost) -> str:
    if one.damaged:
        return "its beginning is damaged"
    if not one.whole:
        return "only its beginning is there"
    if one.twin_of:
        return f"a copy of partition {one.twin_of}, with the same identifier"
    return "overlaps another" if one.overlaps else "whole"


def _bar(stderr: TextIO) -> Callable[[int, int], None]:
    began = time.monotonic()
    last = 0.0

    def show(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < _EVERY:
            return
        last = now
        rate = done / max(now - began, 0.001)
        progress = Progress("Search for lost partitions", 0, done, total, rate, (total - done) / rate if rate else 0.0)
        stderr.write(f"\r\x1b[K{progress_line(progress, 79)}")
        stderr.flush()

    return show
