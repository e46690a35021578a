"""What is said of files: one of them, the marked ones."""

from __future__ import annotations

import stat
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Final

from rescue.filesystems.files.tree import Entry, Kind
from rescue.model.survey import DiskSurvey, ImageSummary
from rescue.model.text import shown
from rescue.planning.words import plain
from rescue.tui.describe import disk_name
from rescue.tui.theme import GOOD, PLAIN, QUIET, STRONG, WARN
from rescue.tui.widgets.lines import BLANK, Line
from rescue.units import human_size

_KINDS: Final = {Kind.FILE: "file", Kind.FOLDER: "folder", Kind.LINK: "link to another place", Kind.UNKNOWN: "damaged"}


def moment(nanoseconds: int) -> str:
    """Day and minute in this machine's time zone."""
    try:
        return datetime.fromtimestamp(nanoseconds // 10**9, UTC).astimezone().strftime("%Y-%m-%d %H:%M")
    except (OverflowError, ValueError, OSError):
        return "a time that no calendar has"


def source_words(source: ImageSummary | DiskSurvey) -> str:
    """The image or disk by name, short."""
    return plain(source.name) if isinstance(source, ImageSummary) else disk_name(source.disk)


def entry_lines(entry: Entry, owners: bool, target: str = "") -> list[Line]:
    """One entry: name, kind, size, times, owner, what is wrong with it."""
    lines = [Line(shown(entry.name) or "/", STRONG), BLANK]
    kind = _KINDS.get(entry.kind, entry.kind.value)
    if entry.kind is Kind.FILE:
        kind += f", {human_size(entry.size)}"
    lines += [Line(kind[0].upper() + kind[1:], PLAIN), Line(f"Changed {moment(entry.modified)}", QUIET)]
    if "/" in entry.path:
        lines.append(Line(f"In /{shown(entry.path.rpartition('/')[0])}", QUIET))
    if entry.created is not None:
        lines.append(Line(f"Made {moment(entry.created)}", QUIET))
    if entry.kind is Kind.LINK and target:
        lines.append(Line(f"Leads to {shown(target)}", QUIET))
    if owners:
        lines.append(Line(f"Owner {entry.uid}, group {entry.gid}, {stat.filemode(entry.mode)[1:]}", QUIET))
    if entry.links > 1 and entry.kind is Kind.FILE:
        lines.append(Line(f"Has {entry.links} names", QUIET))
    if entry.problem:
        lines += [BLANK, Line(shown(entry.problem), WARN, "✗ ")]
    return lines


def marked_words(marked: Collection[Entry]) -> str:
    """``2 folders and 3 files (18.0 MiB) are marked``."""
    folders = sum(entry.kind is Kind.FOLDER for entry in marked)
    files = len(marked) - folders
    parts = []
    if folders:
        parts.append("1 folder" if folders == 1 else f"{folders} folders")
    if files:
        size = human_size(sum(entry.size for entry in marked if entry.kind is Kind.FILE))
        parts.append(f"{'1 file' if files == 1 else f'{files} files'} ({size})")
    return f"{' and '.join(parts)} marked" if parts else "Nothing is marked"


def marked_lines(marked: Collection[Entry]) -> list[Line]:
    """How much is marked, and what to do with it."""
    if not marked:
        return [Line("Space marks what you want to copy out; C copies it.", QUIET)]
    return [Line(marked_words(marked), GOOD, "● "), Line("C copies it out, M shows it.", QUIET)]
