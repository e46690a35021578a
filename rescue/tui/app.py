"""The application: owns the list of disks, the jobs that are followed, the places that are mounted. No logic of its own."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable
from typing import ClassVar, TypeVar

from rich.segment import Segments
from rich.traceback import Traceback
from textual.app import App
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.screen import Screen

from rescue.errors import RescueError
from rescue.images.secrets import new_recovery_key
from rescue.model.plan import Plan
from rescue.model.survey import DiskSurvey, Place
from rescue.services import BackupRequest, Job, Machine
from rescue.tui.dialogs import Notice
from rescue.tui.flow import Flow, OpenedPlace
from rescue.tui.follow import Follower
from rescue.tui.frame import RescueScreen
from rescue.tui.interrupted import interrupted, same_disk
from rescue.tui.mounted import Mounts
from rescue.tui.screens.home import HomeScreen
from rescue.tui.screens.leave import ask_to_leave
from rescue.tui.screens.place import PlaceScreen
from rescue.tui.screens.resume import ResumeScreen
from rescue.tui.shell import open_shell
from rescue.tui.theme import THEME

T = TypeVar("T")


def _start_thread(work: Callable[[], None]) -> None:
    # Daemons, not Textual's workers: popping a screen cancels those, and one read of a dying disk would keep
    # the program from ending.
    threading.Thread(target=work, daemon=True).start()


class RescueApp(App[None]):
    """The text interface of one Machine."""

    CSS_PATH = "app.tcss"
    TITLE = "Rescue"
    ENABLE_COMMAND_PALETTE = False
    # Tab has priority, so that the focus is where it belongs before the next key comes: keys may arrive faster than they
    # travel from a widget up to here.
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+q", "leave", show=False, priority=True),
        Binding("tab", "focus_next", show=False, priority=True),
        Binding("shift+tab", "focus_previous", show=False, priority=True),
    ]

    class DisksChanged(Message):
        """The machine says that a disk appeared, went or changed."""

    def __init__(
        self,
        machine: Machine,
        *,
        clock: Callable[[], float] = time.monotonic,
        launch: Callable[[Callable[[], None]], None] = _start_thread,
        poll_every: float | None = 0.5,
        run_shell: Callable[[], None] = open_shell,
        new_recovery_key: Callable[[], str] = new_recovery_key,
    ) -> None:
        super().__init__()
        self.machine = machine
        self.surveys: list[DiskSurvey] | None = None  # None: not known yet
        self.survey_error: RescueError | None = None
        self.followers: list[Follower] = []  # newest first
        self.clock = clock
        self.new_recovery_key = new_recovery_key
        self._launch = launch
        self._poll_every = poll_every
        self._run_shell = run_shell
        self._surveying = False
        self._survey_again = False
        self._end_watch: Callable[[], None] | None = None
        self._opened: list[OpenedPlace] = []
        self._forgotten: set[str] = set()
        self._places: dict[str, tuple[OpenedPlace, ...]] = {}  # job id -> the places it works on
        self.mounts = Mounts(self)

    def get_default_screen(self) -> Screen[None]:
        """Home."""
        return HomeScreen()

    def on_mount(self) -> None:
        """Show Home at once; disks and jobs follow from threads."""
        self.register_theme(THEME)
        self.theme = THEME.name
        self.animation_level = "none"
        self.survey()
        self.in_thread(lambda: self.machine.watch(self._disk_event), self._watching, self._watch_failed)
        self.in_thread(self.machine.jobs, self._found_jobs, self.say_failed)
        self.mounts.look()
        if self._poll_every is not None:
            self.set_interval(self._poll_every, self.poll_jobs)

    def on_unmount(self) -> None:
        """Stop watching; jobs and the places they use stay."""
        if self._end_watch is not None:
            self._end_watch()

    def _disk_event(self) -> None:
        self.post_message(self.DisksChanged())  # the one thing here that another thread may do

    def _watching(self, end: Callable[[], None]) -> None:
        self._end_watch = end

    def _watch_failed(self, error: RescueError) -> None:
        self.push_screen(
            Notice("New disks are not noticed by themselves", error.message, f"{error.hint} Press F5 to look again.".strip())
        )

    def say_failed(self, error: RescueError) -> None:
        """Show an error that belongs to no screen."""
        self.push_screen(Notice("That did not work", error.message, error.hint))

    def _say_bug(self, report: str) -> None:
        text = f"{report}\nRunning jobs are not touched by this. Esc goes on."
        self.push_screen(Notice("Rescue met an error of its own. Please report it:", text))

    def in_thread(self, work: Callable[[], T], done: Callable[[T], None], failed: Callable[[RescueError], None]) -> None:
        """Run ``work`` in a thread, then ``done`` or, for a RescueError or an OSError, ``failed`` in the interface."""

        def run() -> None:
            try:
                result = work()
            except RescueError as error:
                self.call_later(failed, error)
            except OSError as error:
                self.call_later(failed, RescueError(f"{error.filename or 'The system'}: {error.strerror or error}."))
            except Exception as error:  # noqa: BLE001 - a bug: this is the outermost face, which shows it
                self.call_later(self._say_bug, "".join(traceback.format_exception(error)))
            else:
                self.call_later(done, result)

        self._launch(run)

    # Disks

    def survey(self) -> None:
        """Look at the disks, in a thread; once more when something changed meanwhile."""
        if self._surveying:
            self._survey_again = True
            return
        self._surveying = True
        self.in_thread(self.machine.survey, self._surveyed, self._survey_failed)

    def on_rescue_app_disks_changed(self) -> None:
        """From Machine.watch."""
        self.survey()

    def _surveyed(self, surveys: list[DiskSurvey]) -> None:
        self.surveys, self.survey_error = surveys, None
        self._survey_ended()

    def _survey_failed(self, error: RescueError) -> None:
        self.survey_error = error
        self._survey_ended()

    def _survey_ended(self) -> None:
        self._surveying = False
        for screen in self._rescue_screens():
            screen.call_later(screen.disks_changed)
        if self._survey_again:
            self._survey_again = False
            self.survey()

    def _rescue_screens(self) -> list[RescueScreen]:
        # They are told through their own queues: one that is just being built then hears it when it is complete.
        return [screen for screen in self.screen_stack if isinstance(screen, RescueScreen)]

    # Jobs

    @property
    def running(self) -> list[Follower]:
        """The jobs that have not ended."""
        return [follower for follower in self.followers if not follower.ended]

    @property
    def interrupted(self) -> list[Follower]:
        """The jobs that can be gone on with, newest first, without those that the person wants to hear no more of."""
        return [follower for follower in interrupted(self.followers) if follower.job.id not in self._forgotten]

    def forget(self, follower: Follower) -> None:
        """Do not offer to go on with this job any more."""
        self._forgotten.add(follower.job.id)

    def jobs_words(self) -> str:
        """For the title line: "1 job running, 42 %"."""
        running = self.running
        if not running:
            return ""
        if len(running) == 1:
            return f"▶ 1 job running, {int(running[0].share * 100)} %"
        return f"▶ {len(running)} jobs running"

    def start(
        self,
        plan: Plan,
        places: tuple[OpenedPlace, ...],
        then: Callable[[Follower], None],
        failed: Callable[[RescueError], None],
        machine: Machine | None = None,
    ) -> None:
        """Start a job, on ``machine`` where secrets were given; it keeps its places mounted until it has ended."""
        on = machine or self.machine

        def started(job: Job) -> None:
            follower = Follower(job, self.clock())
            self.followers.insert(0, follower)
            self._places[job.id] = places
            self.poll_jobs()
            then(follower)

        self.in_thread(lambda: on.start(plan), started, failed)

    def open_place(
        self, place: Place, writable: bool, done: Callable[[OpenedPlace], None], failed: Callable[[RescueError], None]
    ) -> None:
        """Mount a place, in a thread; whoever gets it gives it back."""

        def opened(result: OpenedPlace) -> None:
            self._opened.append(result)
            done(result)

        self.in_thread(lambda: OpenedPlace(self.machine, place, writable), opened, failed)

    def is_used(self, opened: OpenedPlace) -> bool:
        """Whether a job works on this place, or an image on it is mounted."""
        return self.mounts.needs(opened) or any(opened in places for places in self._places.values())

    def give_back(self, opened: OpenedPlace | None) -> None:
        """Unmount a place, in a thread, unless a job needs it."""
        if opened in self._opened and not self.is_used(opened):
            self._opened.remove(opened)
            self.in_thread(opened.close, lambda _: None, self.say_failed)

    def close_places(self) -> None:
        """Unmount what no running job needs; for the end of the program."""
        for opened in self._opened:
            if not self.is_used(opened):
                opened.close()

    def _found_jobs(self, jobs: list[Job]) -> None:
        known = {follower.job.id for follower in self.followers}
        self.followers += [Follower(job, self.clock()) for job in jobs if job.id not in known]
        self.poll_jobs()

    def poll_jobs(self) -> None:
        """Read what the running jobs said, and tell the screens."""
        if self.read_jobs():
            self.tell_of_jobs()

    def read_jobs(self) -> bool:
        """Read what the running jobs said; whether there are any."""
        running = self.running
        now = self.clock()
        for follower in running:
            follower.poll(now)
            if follower.ended:
                for opened in self._places.pop(follower.job.id, ()):
                    self.give_back(opened)
                self.survey()
        return bool(running)

    def tell_of_jobs(self) -> None:
        """Let the screens show what is known of the jobs."""
        words = self.jobs_words()
        for screen in self._rescue_screens():
            screen.call_later(screen.show_jobs, words)

    def salvage(self, follower: Follower) -> None:
        """Make an image of all that can be read, after a job that ended because its source failed."""
        plan = follower.job.plan
        source = same_disk(self.surveys or [], plan.source) if plan.source else None
        if plan.kind == "backup":
            self.push_screen(ResumeScreen(follower))
        elif source is not None:
            self.push_screen(PlaceScreen(Flow("backup", source=source, request=BackupRequest(salvage=True))))

    def tell_of_mounts(self) -> None:
        """Let the screens show which images are mounted."""
        for screen in self._rescue_screens():
            screen.call_later(screen.mounts_changed)

    # Going

    def go_home(self) -> None:
        """Leave every screen but Home."""
        while len(self.screen_stack) > 1:
            self.pop_screen()

    def action_leave(self) -> None:
        """Ask how to leave."""
        ask_to_leave(self)

    def action_help_quit(self) -> None:
        """Ctrl+C: somebody wants to get out."""
        ask_to_leave(self)

    def _fatal_error(self) -> None:
        """As Textual's own, without the values of variables: a passphrase may be among them."""
        trace = Traceback(show_locals=False, width=None)
        self._exit_renderables.append(Segments(self.console.render(trace, self.console.options)))
        self._close_messages_no_wait()

    def shell(self) -> None:
        """Give the terminal to a shell until it ends."""
        with self.suspend():
            self._run_shell()
        self.refresh()


def run_tui(machine: Machine) -> int:
    """Show the interface until the person leaves it; the exit code."""
    app = RescueApp(machine)
    app.run()
    app.close_places()
    return app.return_code or 0
