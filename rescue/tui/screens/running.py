"""Running: each step and the whole, rates, time left, messages. Leaving the screen does not stop the job."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Final

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from rescue.model.clone import CloneDisk, CloneReadBack, CloneTable
from rescue.model.edit import (
    CopyVolume,
    EraseExtents,
    FormatVolume,
    MoveVolume,
    PutTableBack,
    ResizeVolume,
    SanitizeDisk,
    SetTable,
)
from rescue.model.fitting import FitDisk, FitIds, FitReadBack, FitTable, FitVolumes
from rescue.model.plan import (
    CaptureDisk,
    ConsolidateImage,
    DeployImage,
    ExportImage,
    MendImage,
    MountImage,
    Plan,
    ReadBack,
    RemoveImages,
    VerifyImage,
    WipeTarget,
    WriteTable,
)
from rescue.planning.words import plain
from rescue.tui.describe import JOB_NAMES, job_words, used_of
from rescue.tui.dialogs import Question
from rescue.tui.follow import Follower, StepState
from rescue.tui.frame import HELP_KEY, Body, RescueScreen
from rescue.tui.screens.done import DoneScreen
from rescue.tui.theme import GOOD, PLAIN, QUIET, STRONG, WARN
from rescue.tui.widgets.bars import KeyHint
from rescue.tui.widgets.graph import RateGraph, bar
from rescue.tui.widgets.lines import Line, Lines
from rescue.units import human_duration, human_rate

_NO_TABLE: Final = (
    "What was on the target disk is gone as soon as writing began, and what was written so far cannot be used: the disk is left "
    "without a partition table. It can be gone on with; what is written so far is used."
)


def consequence(plan: Plan, index: int) -> str:
    """What stopping a job in the step with this index leaves behind."""
    step = plan.steps[index] if 0 <= index < len(plan.steps) else None
    match step:
        case CaptureDisk():
            return "What is written of the image is kept and can be gone on with. The disk that is being read stays as it is."
        case WipeTarget() | CloneDisk() | CloneTable() if plan.kind == "clone":
            return (
                "What was on the target disk is gone, and what was copied so far cannot be used: the disk is left without a "
                "partition table. The clone can be gone on with; what is written so far is used."
            )
        case WipeTarget() | DeployImage() | WriteTable():
            return (
                "What was on the target disk is gone, and what was restored so far cannot be used: the disk is left without a "
                "partition table. The restore can be gone on with; what is written so far is used."
            )
        case FitDisk() | FitTable() | FitIds():
            return _NO_TABLE
        case FitVolumes() | FitReadBack() if any(isinstance(later, FitIds) for later in plan.steps):
            return _NO_TABLE  # it comes last then
        case FitVolumes():
            return "The disk is written completely, but not all its file systems fill their partitions."
        case ReadBack() | CloneReadBack() | FitReadBack():
            return "The disk is written completely, but it is then not proved that it was written right."
        case MendImage():
            return "The image is complete but for what could not be read. What was won since is kept and can be gone on with."
        case ConsolidateImage():
            return "What is written of the full image is kept and can be gone on with. The other images stay as they are."
        case RemoveImages():
            return "Each image is whole or gone: the rest of them stays."
        case ExportImage():
            return "The unfinished file is removed. The image stays as it is."
        case MountImage() if plan.kind == "backup":
            return "The image is complete and its hashes are right, but it is then not proved that its file systems are."
        case VerifyImage() if plan.kind in ("backup", "consolidate"):
            return "The image is complete, but it is then not proved that it can be read."
        case EraseExtents() | SanitizeDisk():
            return "What is erased so far is gone, and the disk may look as if it held something."
        case SetTable() | PutTableBack():
            return "The partition table may be the old or the new one. No data have been touched."
        case FormatVolume():
            return "The partition that is being formatted then holds nothing that can be used."
        case CopyVolume():
            return "The copy is then not complete, and no partition holds it. Nothing else has been changed."
        case ResizeVolume():
            return "What is changing the file system is not interrupted: it is waited for, and the rest is not done."
        case MoveVolume():
            return "The partition is then between two places, and nothing of it is lost: rescue partition --continue goes on."
        case _:
            return "Nothing has been changed, and nothing is lost."


def _rates(step: StepState) -> str:
    """``now 340.0, average 339.4 MiB/s``; the unit is said once where it is the same."""
    now = human_rate(step.rate)
    if not step.average:
        return f"now {now}"
    average = human_rate(step.average)
    same = now.split()[1:] == average.split()[1:]
    return f"now {now.split()[0] if same else now}, average {average}"


class RunningScreen(RescueScreen):
    """Follow one job until its verdict; then Done takes this screen's place."""

    HELP = (
        "Esc goes to the Home screen while the job goes on; J comes back here. C asks whether to stop the job, "
        "and says what that means.\n\n"
        "“now” is the speed of the last seconds, “average” since this screen began to follow the job. "
        "The graph shows one column a second. "
        "The job also goes on when this program ends or the line breaks."
    )
    KEYS = (HELP_KEY, KeyHint("Esc", "Home, the job goes on", "screen.back"), KeyHint("C", "Stop the job", "screen.cancel"))
    BINDINGS: ClassVar[list[BindingType]] = [Binding("c", "cancel", show=False)]

    def __init__(self, follower: Follower) -> None:
        super().__init__()
        self.follower = follower

    def heading(self) -> str:
        """What for."""
        return JOB_NAMES[self.follower.job.plan.kind][1]

    def content(self) -> Iterable[Widget]:
        """What, steps, numbers, graph, messages."""
        yield Static(Content.styled(job_words(self.follower.job.plan), STRONG), classes="gap")
        yield Static("", id="steps", classes="gap")
        yield Static("", id="numbers", classes="gap")
        yield RateGraph()
        yield Body(Lines(name="messages"), name="talk")

    def on_mount(self) -> None:
        """Draw what is known."""
        self.jobs_changed()

    def on_resize(self) -> None:
        """The bars are as wide as the screen, the graph is taller where there is room."""
        self.query_one(RateGraph).styles.height = 3 if self.size.height < 30 else 8
        self._draw()

    def jobs_changed(self) -> None:
        """Draw; when the job has ended, show the verdict instead, if this is the screen in front."""
        if self.follower.ended and self.rescue.screen is self:
            self.rescue.switch_screen(DoneScreen(self.follower))
            return
        self._draw()

    def on_screen_resume(self) -> None:
        """A dialog in front was closed."""
        self.jobs_changed()

    def _draw(self) -> None:
        self.query_one("#steps", Static).update(Content("\n").join(self._steps()))
        self.query_one("#numbers", Static).update(Content("\n").join(self._numbers()))
        self.query_one(RateGraph).show(list(self.follower.rates))
        talk = [
            Line(plain(m.text), WARN if m.level == "warning" else QUIET, "⚠ " if m.level == "warning" else "– ")
            for m in self.follower.messages
        ]
        body = self.query_one("#talk", Body)
        at_end = body.scroll_offset.y >= body.max_scroll_y
        self.query_one("#messages", Lines).show(talk)
        if at_end:
            body.scroll_end(animate=False)

    def _steps(self) -> Iterable[Content]:
        follower = self.follower
        width = max((len(step.title) for step in follower.steps), default=0)
        room = max(min(self.size.width - width - 16, 60), 8)
        for index, step in enumerate(follower.steps):
            title = plain(step.title).ljust(width)
            if follower.step_is_done(index):
                yield Content.assemble(("✓ ", GOOD), (title, QUIET), ("  done", GOOD))
            elif index == follower.current:
                percent = f"{int(step.share * 100):3d} %"
                yield Content.assemble(
                    ("▶ ", STRONG), (title, STRONG), ("  ", ""), (bar(step.share, room), "ansi_cyan"), (f" {percent}", STRONG)
                )
            else:
                yield Content.assemble(("○ ", QUIET), (title, QUIET))

    def _numbers(self) -> Iterable[Content]:
        follower = self.follower
        if follower.current < 0:
            yield Content.styled("Starting …", STRONG)
        elif not follower.steps[follower.current].counts_bytes:
            step = follower.steps[follower.current]
            words = f"{int(step.share * 100)} %" if step.share else "at work"
            yield Content.assemble(("This step  ", QUIET), (words, STRONG))
            yield Content.assemble(("In all     ", QUIET), (f"{int(follower.share * 100)} %", STRONG))
        elif not follower.all_total:
            yield Content.styled("Starting …", STRONG)
        else:
            step = follower.steps[follower.current]
            left = step.left or ((step.total - step.done) / step.average if step.average else 0.0)
            yield Content.assemble(
                ("This step  ", QUIET),
                (f"{used_of(step.done, step.total).removesuffix(' used')}", STRONG),
                (f"   {_rates(step)}", PLAIN),
                (f"   {human_duration(left)} left" if left else "", STRONG),
            )
            left = follower.seconds_left
            yield Content.assemble(
                ("In all     ", QUIET),
                (
                    f"{used_of(follower.all_done, follower.all_total).removesuffix(' used')}, {int(follower.share * 100)} %",
                    STRONG,
                ),
                (f"   {human_duration(left)} left" if left else "", STRONG),
            )
        stalled = follower.stalled_for(self.rescue.clock())
        if follower.cancelling:
            yield Content.styled("⚠ Stopping …", WARN)
        elif stalled:
            yield Content.styled(f"⚠ Stalled: no data for {human_duration(stalled)}. A disk may be failing or unplugged.", WARN)

    def action_back(self) -> None:
        """Home; the job goes on."""
        self.rescue.go_home()

    def action_cancel(self) -> None:
        """Ask first."""
        if self.follower.ended or self.follower.cancelling:
            return

        def answered(answer: str | None) -> None:
            if answer == "stop" and not self.follower.ended:
                self.follower.cancelling = True
                self.rescue.in_thread(self.follower.job.cancel, lambda _: None, self.failed)
                self._draw()

        self.rescue.push_screen(
            Question(
                "Stop the job?",
                "",
                [("go-on", "Let it go on"), ("stop", "Stop the job")],
                warning=consequence(self.follower.job.plan, self.follower.current),
            ),
            answered,
        )
