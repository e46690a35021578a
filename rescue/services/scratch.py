"""A machine whose disks are the raw disk files of a folder: for trying the program out without risk to any disk."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

from rescue.devices.open import file_disk
from rescue.engine.survey import survey_disk
from rescue.errors import UsageError
from rescue.model.disk import Disk
from rescue.model.survey import DiskSurvey, Place
from rescue.services.beside import together
from rescue.services.local import LocalMachine


class ScratchMachine(LocalMachine):
    """Disks are the files ``*.img`` in ``folder``; the place for images is its folder ``images``."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        if not folder.is_dir():
            raise UsageError(f"{folder} is not a folder.", "Name a folder that holds raw disk files (*.img).")
        self._folder = folder.resolve()

    def survey(self) -> list[DiskSurvey]:
        """See Machine."""
        disks = [file_disk(str(path)) for path in sorted(self._folder.glob("*.img")) if path.stat().st_size]
        return together([survey_disk(disk) for disk in disks], {})

    def watch(self, changed: Callable[[], None]) -> Callable[[], None]:
        """See Machine. Copying a disk file into the folder plugs it in."""
        ended = threading.Event()

        def look() -> None:
            known = self._names()
            while not ended.wait(0.5):
                now = self._names()
                if now != known:
                    known = now
                    changed()

        threading.Thread(target=look, daemon=True, name="watch-folder").start()
        return ended.set

    def _names(self) -> set[tuple[str, int]]:
        return {(path.name, path.stat().st_size) for path in self._folder.glob("*.img")}

    def places(self) -> list[Place]:
        """See Machine."""
        images = self._folder / "images"
        images.mkdir(exist_ok=True)
        space = os.statvfs(images)
        size = space.f_blocks * space.f_frsize
        return [Place("images", "Scratch folder", "folder", size, Disk(str(self._folder), size, is_file=True), str(images))]
