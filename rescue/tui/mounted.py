"""The images that are mounted, and the places that they are on, which stay mounted as long."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rescue.errors import RescueError
from rescue.planning.words import plain
from rescue.services import MountedImage
from rescue.tui.dialogs import Notice
from rescue.tui.flow import Flow, OpenedPlace

if TYPE_CHECKING:
    from rescue.tui.app import RescueApp


class Mounts:
    """Mount images, and know which are: also those that others mounted."""

    def __init__(self, app: RescueApp) -> None:
        self._app = app
        self.images: list[MountedImage] = []  # by folder
        self._places: dict[str, tuple[OpenedPlace, ...]] = {}  # by the folder that an image on them is mounted in

    def needs(self, opened: OpenedPlace) -> bool:
        """Whether an image on this place is mounted."""
        return any(opened in places for places in self._places.values())

    def mount(self, flow: Flow, folder: str, failed: Callable[[RescueError], None]) -> None:
        """Mount the image of a flow, in a thread, and say where."""
        app, image = self._app, flow.image
        machine = flow.machine or app.machine
        if image is None:
            return
        app.push_screen(waiting := Notice("Mounting …", plain(folder), bad=False))

        def done() -> None:
            if waiting is app.screen:
                app.pop_screen()

        def mounted(found: MountedImage) -> None:
            done()
            self._places[found.folder] = flow.places
            self.look()
            text = "\n".join(plain(point) for point in found.points)
            problems = "\n\n".join(plain(problem) for problem in found.problems)
            ends = "It can only be read. On the Home screen, M shows it and unmounts it."
            app.push_screen(Notice("It is mounted", f"{text}\n\n{ends}", problems, bad=False))

        def not_mounted(error: RescueError) -> None:
            done()
            failed(error)

        app.in_thread(lambda: machine.mount_image(image.path, folder, salvage=flow.salvage), mounted, not_mounted)

    def look(self) -> None:
        """Ask which images are mounted, in a thread; places that none of them needs any more are given back."""
        app = self._app

        def found(mounted: list[MountedImage]) -> None:
            self.images = mounted
            folders = {one.folder for one in mounted}
            for folder in [folder for folder in self._places if folder not in folders]:
                for opened in self._places.pop(folder):
                    app.give_back(opened)
            app.tell_of_mounts()

        app.in_thread(app.machine.mounted_images, found, app.say_failed)
