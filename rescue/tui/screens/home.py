"""Home: the disks of this computer, live, and what can be done."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from textual import events, on
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from rescue.planning.words import plain
from rescue.tui.describe import job_words
from rescue.tui.dialogs import Question
from rescue.tui.flow import Flow
from rescue.tui.frame import HELP_KEY, Body, RescueScreen
from rescue.tui.screens.files_source import FilesSourceScreen
from rescue.tui.screens.leave import ask_to_leave
from rescue.tui.screens.log import LogScreen
from rescue.tui.screens.mounts import MountsScreen
from rescue.tui.screens.place import PlaceScreen
from rescue.tui.screens.resume import ResumeScreen
from rescue.tui.screens.running import RunningScreen
from rescue.tui.screens.source import SourceScreen
from rescue.tui.screens.target import TargetScreen
from rescue.tui.theme import BAD, QUIET, STRONG, WARN
from rescue.tui.widgets.bars import KeyBar, KeyHint
from rescue.tui.widgets.disk_panel import DiskPanel
from rescue.tui.widgets.menu import Entry, Menu

_ENTRIES = (
    Entry("restore", "r", "Restore", "Put an image back onto a disk, and prove that it is there."),
    Entry("backup", "b", "Back up", "Keep a whole disk in one image file. The disk itself is not changed."),
    Entry("clone", "c", "Clone", "Copy a disk straight onto another one, larger or smaller."),
    Entry("files", "f", "Files", "Look into an image or a disk, and copy files out of it."),
    Entry("partition", "t", "Partitions", "Create, delete, resize, move and format partitions of a disk."),
    Entry("wipe", "w", "Wipe", "Erase a disk, so that nothing is found on it any more."),
    Entry("images", "i", "Images", "Check them, remove old ones, mount, export, change what opens them."),
    Entry("log", "l", "Log & shell", "What ran, what it said, and a command line."),
    Entry("power", "p", "Power off", "Restart this computer, switch it off, or leave this program."),
)
_KEYS = (
    HELP_KEY,
    KeyHint("1-9", "Choose", "screen.help"),
    KeyHint("F5", "Look again", "screen.look_again"),
    KeyHint("PgDn", "More disks", "screen.scroll_body(1)"),
)
_JOB_KEY = KeyHint("J", "Running job", "screen.job")
_GO_ON_KEY = KeyHint("G", "Go on", "screen.go_on")
_MOUNTS_KEY = KeyHint("M", "Mounted", "screen.mounts")


class HomeScreen(RescueScreen):
    """Where the program starts, and where Esc ends."""

    HEADING = "Disks of this computer"
    HELP = (
        "Each disk is drawn to scale: █ is space that holds data, ░ is free space in a partition, · belongs to no partition. "
        "The numbers on the map are those of the partitions listed below it.\n\n"
        "Choose what to do with the arrow keys and Enter, with a number, or with a letter: R restore, B back up, C clone, "
        "F files, T partitions, W wipe, I images, L log and shell, P power off. J goes to the running job, M to mounted images, "
        "G goes on with one that was interrupted. "
        "Disks that are plugged in appear by themselves; F5 looks again."
    )
    KEYS = _KEYS
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f5", "look_again", show=False),
        Binding("j", "job", show=False),
        Binding("g", "go_on", show=False),
        Binding("m", "mounts", show=False),
    ]

    def content(self) -> Iterable[Widget]:
        """Disks, a line about running jobs, the menu."""
        yield Body(Static(Content.styled("Looking for disks …", STRONG), id="looking"), name="disks")
        yield Static("", id="jobs", classes="note")
        yield Static("", id="interrupted", classes="note")
        yield Static("", id="mounted", classes="note")
        yield Menu(_ENTRIES)

    def on_mount(self) -> None:
        """The survey may be there already."""
        self.jobs_changed()
        if self.rescue.surveys is not None or self.rescue.survey_error is not None:
            self.disks_changed()

    def disks_changed(self) -> None:
        """Draw the disks that are there now; panels of disks that stayed keep their place."""
        looking = self.query_one("#looking", Static)
        error = self.rescue.survey_error
        surveys = self.rescue.surveys
        if error is not None:
            looking.update(Content.assemble(("✗ The disks cannot be listed: ", BAD), (str(error), QUIET)))
        elif not surveys:
            looking.update(Content.styled("No disks were found. Plug one in, or press F5 to look again.", STRONG))
        looking.display = bool(error) or not surveys
        body = self.query_one("#disks", Body)
        panels = list(self.query(DiskPanel))
        wanted = surveys or []
        for panel, survey in zip(panels, wanted, strict=False):
            panel.show(survey)
        for panel in panels[len(wanted) :]:
            panel.remove()
        if len(wanted) > len(panels):
            body.mount(*(DiskPanel(survey) for survey in wanted[len(panels) :]))

        self.call_after_refresh(self._use_room)

    def on_resize(self) -> None:
        """There may be more room, or less."""
        self.call_after_refresh(self._use_room)

    def _use_room(self) -> None:
        panels = list(self.query(DiskPanel))
        needed = sum(panel.region.height + 1 + (panel.map_height == 1) for panel in panels)
        fits = needed <= self.query_one("#disks", Body).size.height
        for panel in panels:
            panel.map_height = 2 if fits else 1

    def jobs_changed(self) -> None:
        """Say which jobs run."""
        running, stopped = self.rescue.running, self.rescue.interrupted
        line = self.query_one("#jobs", Static)
        line.display = bool(running)
        gone_on = self.query_one("#interrupted", Static)
        gone_on.display = bool(stopped)
        if stopped:
            more = f" and {len(stopped) - 1} more" if len(stopped) > 1 else ""
            sentence = f"■ Interrupted{more}, press G: "
            gone_on.update(Content.assemble((sentence, WARN), (job_words(stopped[0].job.plan), QUIET)))
        mounted = self.rescue.mounts.images
        told = self.query_one("#mounted", Static)
        told.display = bool(mounted)
        if mounted:
            more = f" and {len(mounted) - 1} more" if len(mounted) > 1 else ""
            where = f"{plain(mounted[0].image.rsplit('/', 1)[-1])} at {plain(mounted[0].folder)}{more}"
            told.update(Content.assemble(("▪ Mounted, press M: ", STRONG), (where, QUIET)))
        if running:
            words = "1 job running" if len(running) == 1 else f"{len(running)} jobs running"
            sentence = job_words(running[0].job.plan)
            line.update(
                Content.assemble((f"▶ {words}, {int(running[0].share * 100)} %. Press J to see it. ", STRONG), (sentence, QUIET))
            )
        self.query_one(KeyBar).show(
            (*_KEYS, *((_JOB_KEY,) if running else ()), *((_GO_ON_KEY,) if stopped else ()), *((_MOUNTS_KEY,) if mounted else ()))
        )

    def mounts_changed(self) -> None:
        """Say which images are mounted."""
        self.jobs_changed()

    def on_screen_resume(self) -> None:
        """Back from a job, or from forgetting one."""
        self.jobs_changed()

    def on_key(self, event: events.Key) -> None:
        """Numbers and letters of the menu."""
        if event.character and self.query_one(Menu).choose_by_key(event.character.lower()):
            event.stop()

    @on(Menu.Chosen)
    def _chosen(self, event: Menu.Chosen) -> None:
        match event.name:
            case "restore":
                self.rescue.push_screen(PlaceScreen(Flow("restore")))
            case "backup":
                self.rescue.push_screen(SourceScreen(Flow("backup")))
            case "images":
                self.rescue.push_screen(PlaceScreen(Flow("images")))
            case "clone":
                self.rescue.push_screen(SourceScreen(Flow("clone")))
            case "partition" | "wipe":
                self.rescue.push_screen(TargetScreen(Flow(event.name)))
            case "files":
                self.rescue.push_screen(FilesSourceScreen())
            case "log":
                self.rescue.push_screen(LogScreen())
            case "power":
                ask_to_leave(self.rescue)

    def action_back(self) -> None:
        """There is nothing behind Home."""

    def action_look_again(self) -> None:
        """Survey now."""
        self.rescue.survey()

    def action_job(self) -> None:
        """To the newest running job."""
        if self.rescue.running:
            self.rescue.push_screen(RunningScreen(self.rescue.running[0]))

    def action_mounts(self) -> None:
        """To the images that are mounted."""
        if self.rescue.mounts.images:
            self.rescue.push_screen(MountsScreen())

    def action_go_on(self) -> None:
        """To the newest interrupted job, or to a choice of them."""
        stopped = self.rescue.interrupted
        if len(stopped) == 1:
            self.rescue.push_screen(ResumeScreen(stopped[0]))
        elif stopped:

            def answered(job: str | None) -> None:
                for follower in stopped:
                    if follower.job.id == job:
                        self.rescue.push_screen(ResumeScreen(follower))

            answers = [(follower.job.id, job_words(follower.job.plan)) for follower in stopped]
            self.rescue.push_screen(Question("Go on with which one?", "", answers), answered)
