"""How a place is shown in a list of places."""

from __future__ import annotations

from textual.content import Content

from rescue.model.survey import Place
from rescue.planning.words import plain
from rescue.tui.describe import disk_name
from rescue.tui.theme import QUIET, WARN
from rescue.tui.widgets.choices import Choice
from rescue.units import human_size

PATH = "path"


def place_choice(place: Place, obstacle: str) -> Choice:
    """Two lines: label, size, file system; the disk that it is on, or why it cannot be chosen."""
    name = plain(place.label or place.device)
    first = f"{name}  {human_size(place.size)}  {plain(place.filesystem)}"
    second = f"   on {disk_name(place.disk)}, {plain(place.device)}"
    if place.folder:
        second += f", mounted at {plain(place.folder)}"
    mark = "– " if obstacle else "● "
    reason = f" – {obstacle}" if obstacle else ""
    return Choice(place.device, Content.assemble(f"{mark}{first}\n", (second, QUIET), (reason, WARN)), not obstacle)


def path_choice() -> Choice:
    """The entry for a folder that is not in the list."""
    return Choice(PATH, Content.assemble("+ Another folder …\n", ("   type its path", QUIET)))
