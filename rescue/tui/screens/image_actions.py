"""What can be done with one image beside restoring it: as a list, and where each leads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from rescue.errors import DamagedError
from rescue.model.survey import ImageSummary
from rescue.planning.names import with_suffix
from rescue.planning.words import plain
from rescue.records import replace
from rescue.services import Machine
from rescue.tui.dialogs import AskLine
from rescue.tui.flow import Flow, OpenedPlace
from rescue.tui.frame import RescueScreen
from rescue.tui.inner import encrypted
from rescue.tui.screens.check import CheckScreen
from rescue.tui.screens.export import ExportScreen
from rescue.tui.screens.files_partition import after_source
from rescue.tui.screens.keys import KeysScreen
from rescue.tui.screens.review import ReviewScreen
from rescue.tui.screens.target import TargetScreen
from rescue.tui.screens.unlock import volume_title
from rescue.tui.screens.where import WhereScreen
from rescue.tui.secret_dialogs import UnlockVolumeDialog
from rescue.units import human_size

_UNLOCK: Final = "unlock:"


def is_damaged(image: ImageSummary) -> bool:
    """Whether only a part of it is to be had: it is damaged, cut off, or lacks images of its chain."""
    return bool(image.problem) and image.problem_exit_code == DamagedError.exit_code


def is_incomplete(image: ImageSummary) -> bool:
    """Whether it is restored only with gaps: the disk could not be read completely, or a check found damage."""
    return bool(image.bad_bytes) or image.has_failed


def actions(flow: Flow, image: ImageSummary) -> list[tuple[str, str]]:
    """What an image can be used for, the harmless first. Of a damaged one what is whole."""
    damaged = is_damaged(image) or flow.salvage
    lacks = damaged or is_incomplete(image)
    part = " what is whole of it" if damaged else " it"
    found = [] if damaged else [("check", "Check it: read all of it again …")]
    found += [("files", f"Look into the files of{part} …" if damaged else "Look into its files …")]
    found += [("mount", f"Mount{part} in a folder of this computer …")]
    found += [("restore", f"Restore{' what is whole of it' if lacks else ' it'} onto a disk …")]
    if not damaged:
        found.append(("export", "Export it as a virtual disk …"))
        if image.kind != "full":
            found.append(("consolidate", "Make a full image out of it, which needs no other …"))
        if image.encrypted:
            found.append(("keys", "Change what opens it: passphrase, key file, recovery key …"))
    closed = [volume for volume in encrypted(image.volumes) if volume.partition not in flow.unlocked]
    return found + [(f"{_UNLOCK}{v.partition}", f"Unlock {volume_title(v)[0].lower()}{volume_title(v)[1:]} …") for v in closed]


def do_action(screen: RescueScreen, flow: Flow, key: str, again: Callable[[Flow], None]) -> None:
    """Go where an action leads. ``again`` shows the list of actions, with what was unlocked."""
    image = flow.image
    if image is None:
        return
    app = screen.rescue
    salvage = flow.salvage or is_incomplete(image)
    if key.startswith(_UNLOCK):
        _unlock(screen, flow, image, int(key.removeprefix(_UNLOCK)), again)
        return
    match key:
        case "check":
            app.push_screen(CheckScreen(replace(flow, kind="verify")))
        case "files":
            app.push_screen(after_source(replace(flow, kind="files")))
        case "restore":
            app.push_screen(TargetScreen(replace(flow, kind="restore", restore=replace(flow.restore, salvage=salvage))))
        case "export":
            app.push_screen(ExportScreen(replace(flow, kind="export")))
        case "keys":
            app.push_screen(KeysScreen(flow))
        case "mount":
            _mount(screen, flow, image)
        case "consolidate":
            app.push_screen(_where_to_consolidate(screen, replace(flow, kind="consolidate"), image))


def _unlock(screen: RescueScreen, flow: Flow, image: ImageSummary, partition: int, again: Callable[[Flow], None]) -> None:
    volume = next(volume for volume in image.volumes if volume.partition == partition)
    machine = flow.machine or screen.rescue.machine

    def opened(unlocked: Machine | None) -> None:
        if unlocked is not None:
            again(replace(flow, machine=unlocked, unlocked=(*flow.unlocked, partition)))

    what = f"{volume_title(volume)}, {human_size(volume.size)}"
    screen.rescue.push_screen(UnlockVolumeDialog(what, machine, image, partition), opened)


def _mount(screen: RescueScreen, flow: Flow, image: ImageSummary) -> None:
    def typed(folder: str | None) -> None:
        if folder is not None:
            screen.rescue.mounts.mount(flow, folder, screen.failed)

    ask = "An empty or a new folder. Each file system appears in a folder below it, and can only be read."
    screen.rescue.push_screen(AskLine("Mount it where?", ask, f"/mnt/{with_suffix(image.name, '')}"), typed)


def _where_to_consolidate(screen: RescueScreen, flow: Flow, image: ImageSummary) -> WhereScreen:
    def then(folder: Path, opened: OpenedPlace | None) -> None:
        screen.rescue.push_screen(ReviewScreen(replace(flow, into=folder, destination=opened)))

    what = f"A full image out of {plain(image.name)}, {human_size(image.used_bytes)} of data"
    return WhereScreen(flow, "Where to put it?", then, what=what, beside=plain(flow.place_title))
