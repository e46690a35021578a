"""Go on with a job that was interrupted: with its disk, its place, its image, as they are now."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from textual import on
from textual.containers import Horizontal
from textual.widget import Widget

from rescue.errors import CredentialError, RefusedError, RescueError
from rescue.model.plan import CaptureDisk, MendImage
from rescue.model.survey import DiskSurvey, Place
from rescue.planning.words import plain
from rescue.records import replace
from rescue.services import BackupRequest, CloneRequest, Machine, RestoreRequest
from rescue.tui.describe import job_words
from rescue.tui.flow import Flow, OpenedPlace
from rescue.tui.follow import Follower
from rescue.tui.frame import Body, RescueScreen
from rescue.tui.interrupted import disk_of, fit_of, folder_of, image_of, place_of, same_disk, unlocked_of
from rescue.tui.screens.review import ReviewScreen
from rescue.tui.screens.unlock import volume_title
from rescue.tui.secret_dialogs import UnlockDialog, UnlockVolumeDialog
from rescue.tui.theme import PLAIN, QUIET, STRONG, WARN
from rescue.tui.widgets.button import PushButton
from rescue.tui.widgets.lines import BLANK, Line, Lines
from rescue.units import human_size

_MEANS = {
    "backup": "What is written of the image is compared with the disk and kept; only the rest is written.",
    "clone": "The two disks are compared, and what arrived already is left as it is: only the rest is written.",
    "restore": "The disk is compared with the image, and what it holds already is left as it is: only the rest is written.",
}
_FAILING = "It goes on over what cannot be read; afterwards it tries hard for that, and names the files that are damaged."
_AGAIN = (
    "The disk is asked only for what is still missing. One that was switched off for an hour, or lies another way, may give more."
)


def meaning(follower: Follower) -> str:
    """What going on with a job means."""
    if mends(follower):
        return _AGAIN
    if follower.finished is not None and follower.finished.facts.get("source_failed") and follower.job.plan.kind == "backup":
        return f"{_MEANS['backup']} {_FAILING}"
    return _MEANS.get(follower.job.plan.kind, "")


def mends(follower: Follower) -> bool:
    """Whether an image of the failing disk is complete but for what could not be read."""
    plan = follower.job.plan
    step = plan.steps[follower.current] if 0 <= follower.current < len(plan.steps) else None
    incomplete = follower.finished is not None and bool(follower.finished.facts.get("missing_bytes"))
    return plan.kind == "backup" and (isinstance(step, MendImage) or incomplete)


def request_of(follower: Follower) -> BackupRequest:
    """What was asked of a backup, as its steps tell; with salvage where the disk failed."""
    plan = follower.job.plan
    unlocked = unlocked_of(plan)
    step = plan.steps[0]
    failed = follower.finished is not None and bool(follower.finished.facts.get("source_failed"))
    if isinstance(step, CaptureDisk) and not mends(follower):
        return BackupRequest(
            name=step.name,
            level=step.level,
            comment=step.comment,
            kind=step.kind,
            parent=step.parent,
            encrypt=step.encrypt,
            split=step.split,
            salvage=bool(step.salvage) or failed,
            unlock=unlocked,
        )
    if isinstance(step, CaptureDisk | MendImage):
        encrypt = isinstance(step, CaptureDisk) and step.encrypt
        return BackupRequest(
            level=step.level, comment=step.comment, split=step.split, encrypt=encrypt, salvage=True, unlock=unlocked
        )
    return BackupRequest(salvage=True, unlock=unlocked)


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
        lines += [BLANK, Line(meaning(self._follower), PLAIN, "▶ ", STRONG)]
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
        clone = CloneRequest(delta=True, fit=mode, wishes=wishes, unlock=unlocked_of(self._plan))
        self._with_unlocked(Flow("clone", source=source, target=target, clone=clone), self._review)

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
        mode, wishes = fit_of(self._plan)
        salvage = "--salvage" in self._plan.command
        flow = Flow(
            "backup" if self._plan.kind == "backup" else "restore",
            opened=self._opened,
            folder=Path(folder_of(self._plan)),
            restore=RestoreRequest(delta=True, fit=mode, wishes=wishes, salvage=salvage, unlock=unlocked_of(self._plan)),
            salvage=salvage,
        )
        if self._plan.kind == "backup":
            flow = replace(flow, source=survey, request=request_of(self._follower))
            self._with_unlocked(flow, self._go_on_with_backup)
        else:
            self._go_on_with_restore(replace(flow, target=survey))

    def _with_unlocked(self, flow: Flow, then: Callable[[Flow], None]) -> None:
        """With what was unlocked the first time: else it would be kept whole, or in its size, which is another job."""
        source, machine = flow.image or flow.source, flow.machine or self.rescue.machine
        left = [number for number in unlocked_of(self._plan) if number not in flow.unlocked]
        volume = next((v for v in source.volumes if left and v.partition == left[0]), None) if source else None
        if source is None or volume is None:
            then(flow)
            return
        unlocked = (*flow.unlocked, volume.partition)

        def answered(opened: Machine | None) -> None:
            if opened is None:
                self._working = False
                self._say("")
                return
            more = replace(flow, machine=opened, unlocked=unlocked)
            if flow.source is None:
                self._with_unlocked(more, then)
                return
            path = flow.source.disk.path
            self._say("Looking what is used in it …")
            self.in_thread(lambda: opened.survey_one(path), lambda found: self._with_unlocked(replace(more, source=found), then))

        what = f"{volume_title(volume)}, {human_size(volume.size)}"
        self.rescue.push_screen(UnlockVolumeDialog(what, machine, source, volume.partition), answered)

    def _go_on_with_backup(self, flow: Flow) -> None:
        step = next(step for step in self._plan.steps if isinstance(step, CaptureDisk | MendImage))
        if isinstance(step, CaptureDisk):
            self._with_secrets(flow, step.store, step.name, flow.request.encrypt)
            return
        machine, image = self.rescue.machine, f"{step.store}/{step.image}"
        self.in_thread(
            lambda: machine.is_encrypted(image), lambda encrypted: self._with_secrets(flow, step.store, step.image, encrypted)
        )

    def _with_secrets(self, flow: Flow, store: str, name: str, encrypted: bool) -> None:
        source = flow.source
        if not encrypted or source is None:
            self._review(flow)
            return
        flow = replace(flow, request=replace(flow.request, encrypt=True))

        def check(machine: Machine) -> None:
            planned = machine.plan_backup(source, store, flow.request).steps[0]
            if not isinstance(planned, MendImage) and (not isinstance(planned, CaptureDisk) or not planned.begun):
                raise CredentialError("That does not open what is there of it, or nothing of it is left.")

        self._ask(plain(name), check, lambda machine: self._review(replace(flow, machine=machine)), flow.machine)

    def _go_on_with_restore(self, flow: Flow) -> None:
        image, machine = image_of(self._plan), self.rescue.machine
        salvage = flow.salvage

        def with_machine(flow: Flow, machine: Machine) -> None:
            self.in_thread(
                lambda: machine.image(image, salvage=salvage),
                lambda found: self._with_unlocked(replace(flow, image=found), self._review),
            )

        def known(encrypted: bool) -> None:
            if encrypted:
                self._ask(
                    plain(image.rsplit("/", 1)[-1]),
                    lambda machine: machine.image(image, salvage=salvage),
                    lambda machine: with_machine(replace(flow, machine=machine), machine),
                )
            else:
                with_machine(flow, machine)

        self.in_thread(lambda: machine.is_encrypted(image), known)

    def _ask(
        self,
        name: str,
        check: Callable[[Machine], object],
        then: Callable[[Machine], None],
        base: Machine | None = None,
    ) -> None:
        def answered(machine: Machine | None) -> None:
            self._working = False
            self._say("")
            if machine is not None:
                then(machine)

        self.rescue.push_screen(UnlockDialog(name, check, base), answered)

    def _review(self, flow: Flow) -> None:
        self._working = False
        self._say("")
        self.rescue.push_screen(ReviewScreen(flow))
