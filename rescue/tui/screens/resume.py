"""Go on with a job that was interrupted: with its disk, its place, its image, as they are now."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

from textual import on
from textual.containers import Horizontal
from textual.widget import Widget

from rescue.errors import CredentialError, RefusedError, RescueError
from rescue.model.plan import CaptureDisk
from rescue.model.survey import DiskSurvey, Place
from rescue.planning.words import plain
from rescue.services import BackupRequest, CloneRequest, Machine, RestoreRequest
from rescue.tui.describe import job_words
from rescue.tui.flow import Flow, OpenedPlace
from rescue.tui.follow import Follower
from rescue.tui.frame import Body, RescueScreen
from rescue.tui.interrupted import disk_of, fit_of, folder_of, image_of, place_of, same_disk
from rescue.tui.screens.review import ReviewScreen
from rescue.tui.secret_dialogs import UnlockDialog
from rescue.tui.theme import PLAIN, QUIET, STRONG, WARN
from rescue.tui.widgets.button import PushButton
from rescue.tui.widgets.lines import BLANK, Line, Lines

_MEANS = {
    "backup": "What is written of the image is compared with the disk and kept; only the rest is written.",
    "clone": "The two disks are compared, and what arrived already is left as it is: only the rest is written.",
    "restore": "The disk is compared with the image, and what it holds already is left as it is: only the rest is written.",
}


def request_of(step: CaptureDisk) -> BackupRequest:
    """What was asked of a backup, as its step tells."""
    return BackupRequest(
        name=step.name,
        level=step.level,
        comment=step.comment,
        kind=step.kind,
        parent=step.parent,
        encrypt=step.encrypt,
        split=step.split,
    )


class ResumeScreen(RescueScreen):
    """Say what was interrupted and what going on means; then the review."""

    HELP = (
        "This job did not come to its end. Going on begins with the review, as the first time: nothing is done before you "
        "start it there.\n\n"
        "“Do not offer it again” takes the word about it off the Home screen; it changes nothing on any disk."
    )

    def __init__(self, follower: Follower) -> None:
        super().__init__()
        self._follower = follower
        self._plan = follower.job.plan
        self._opened: OpenedPlace | None = None
        self._working = False

    def heading(self) -> str:
        """What for."""
        return "Go on with what was interrupted"

    def content(self) -> Iterable[Widget]:
        """What it was, how it ended, what going on means."""
        finished = self._follower.finished
        lines = [Line(job_words(self._plan), STRONG), BLANK]
        image = image_of(self._plan)
        if image:
            lines.append(Line(f"From the image {plain(image.rsplit('/', 1)[-1])}", PLAIN))
        if finished is not None:
            lines += [Line(plain(finished.message), WARN, "■ "), Line(plain(finished.hint), QUIET, "  ")]
        lines += [BLANK, Line(_MEANS.get(self._plan.kind, ""), PLAIN, "▶ ", STRONG)]
        yield Body(Lines(lines, name="verdict"), name="text")
        yield Lines(name="state")
        yield Horizontal(
            PushButton("Back", name="back"),
            PushButton("Go on with it", name="go"),
            PushButton("Do not offer it again", name="forget"),
            classes="row",
        )

    def on_mount(self) -> None:
        """The harmless one first."""
        self.query_one("#back").focus()

    def on_unmount(self) -> None:
        """Left: unmount what no job needs."""
        self.rescue.give_back(self._opened)

    @on(PushButton.Pressed, "#back")
    def _back(self) -> None:
        self.action_back()

    @on(PushButton.Pressed, "#forget")
    def _forget(self) -> None:
        self.rescue.forget(self._follower)
        self.action_back()

    @on(PushButton.Pressed, "#go")
    def _go(self) -> None:
        disk = disk_of(self._plan)
        survey = same_disk(self.rescue.surveys or [], disk) if disk else None
        if disk is None or survey is None:
            what = plain(disk.title) if disk else "Its disk"
            self.failed(RefusedError(f"{what} is not here.", "Plug it in: it appears on the Home screen by itself."))
            return
        if self._plan.kind == "clone":
            self._go_on_with_clone(survey)
            return
        if self._working:
            return
        self._working = True
        if self._opened is not None:
            self._with_folder(survey)
            return
        self._say("Looking for the images …")
        self.in_thread(self.rescue.machine.places, partial(self._open, survey))

    def _go_on_with_clone(self, target: DiskSurvey) -> None:
        disk = self._plan.source
        source = same_disk(self.rescue.surveys or [], disk) if disk else None
        if source is None:
            what = plain(disk.title) if disk else "The disk that is to be copied"
            self.failed(RefusedError(f"{what} is not here.", "Plug it in: it appears on the Home screen by itself."))
            return
        mode, wishes = fit_of(self._plan)
        self._review(Flow("clone", source=source, target=target, clone=CloneRequest(delta=True, fit=mode, wishes=wishes)))

    def _say(self, words: str) -> None:
        self.query_one("#state", Lines).show([Line(words, QUIET)] if words else [])

    def failed(self, error: RescueError) -> None:
        """It can be tried again."""
        self._working = False
        self._say("")
        super().failed(error)

    def _open(self, survey: DiskSurvey, places: list[Place]) -> None:
        folder = folder_of(self._plan)
        place = place_of(places, folder)
        if place is not None:
            self._say(f"Opening {plain(place.title)} …")
            self.rescue.open_place(place, self._plan.kind == "backup", partial(self._mounted, survey), self._not_mounted)
        elif Path(folder).is_dir():
            self._with_folder(survey)
        else:
            self.failed(RefusedError(f"The disk that held {plain(folder)} is not here.", "Plug it in and try again."))

    def _mounted(self, survey: DiskSurvey, opened: OpenedPlace) -> None:
        if not self.is_attached:
            self.rescue.give_back(opened)
            return
        self._opened = opened
        self._with_folder(survey)

    def _not_mounted(self, error: RescueError) -> None:
        self.call_later(self.failed, error)

    def _with_folder(self, survey: DiskSurvey) -> None:
        step = self._plan.steps[0]
        mode, wishes = fit_of(self._plan)
        flow = Flow(
            "backup" if self._plan.kind == "backup" else "restore",
            opened=self._opened,
            folder=Path(folder_of(self._plan)),
            restore=RestoreRequest(delta=True, fit=mode, wishes=wishes),
        )
        if isinstance(step, CaptureDisk):
            self._go_on_with_backup(replace(flow, source=survey, request=request_of(step)), step)
        else:
            self._go_on_with_restore(replace(flow, target=survey))

    def _go_on_with_backup(self, flow: Flow, step: CaptureDisk) -> None:
        source = flow.source
        if not step.encrypt or source is None:
            self._review(flow)
            return

        def check(machine: Machine) -> None:
            planned = machine.plan_backup(source, step.store, flow.request).steps[0]
            if not isinstance(planned, CaptureDisk) or not planned.begun:
                raise CredentialError("That does not open the interrupted backup, or nothing of it is left.")

        self._ask(plain(step.name), check, lambda machine: self._review(replace(flow, machine=machine)))

    def _go_on_with_restore(self, flow: Flow) -> None:
        image, machine = image_of(self._plan), self.rescue.machine

        def with_machine(flow: Flow, machine: Machine) -> None:
            self.in_thread(lambda: machine.image(image), lambda found: self._review(replace(flow, image=found)))

        def known(encrypted: bool) -> None:
            if encrypted:
                self._ask(
                    plain(image.rsplit("/", 1)[-1]),
                    lambda machine: machine.image(image),
                    lambda machine: with_machine(replace(flow, machine=machine), machine),
                )
            else:
                with_machine(flow, machine)

        self.in_thread(lambda: machine.is_encrypted(image), known)

    def _ask(self, name: str, check: Callable[[Machine], object], then: Callable[[Machine], None]) -> None:
        def answered(machine: Machine | None) -> None:
            self._working = False
            self._say("")
            if machine is not None:
                then(machine)

        self.rescue.push_screen(UnlockDialog(name, check), answered)

    def _review(self, flow: Flow) -> None:
        self._working = False
        self._say("")
        self.rescue.push_screen(ReviewScreen(flow))
