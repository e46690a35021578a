"""Review: the plan in sentences, what will be lost, how long, the equivalent command. Cancel has the focus."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar, Final, assert_never

from textual import on
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, Static

from rescue.errors import RescueError
from rescue.model.plan import CaptureDisk, Plan
from rescue.model.survey import DiskSurvey
from rescue.planning.partition_plan import PartitionRequest
from rescue.planning.words import plain
from rescue.records import replace
from rescue.services import Machine
from rescue.tui.describe import disk_details, disk_name, rough_duration
from rescue.tui.flow import Flow, FlowKind
from rescue.tui.follow import Follower
from rescue.tui.frame import BACK_KEY, HELP_KEY, Body, RescueScreen
from rescue.tui.screens.running import RunningScreen
from rescue.tui.theme import BAD, GOOD, PLAIN, QUIET, STRONG, WARN
from rescue.tui.widgets.bars import KeyHint
from rescue.tui.widgets.button import PushButton
from rescue.tui.widgets.lines import BLANK, Line, Lines
from rescue.units import human_size

_START: Final[dict[FlowKind, str]] = {
    "backup": "Start the backup",
    "restore": "Erase and restore",
    "clone": "Erase and clone",
    "wipe": "Erase the disk",
    "partition": "Change the disk",
    "verify": "Start the check",
    "files": "Copy them out",
    "images": "Start",
    "prune": "Remove the images",
    "consolidate": "Make the full image",
    "export": "Start the export",
}


def begun_bytes(plan: Plan) -> int:
    """Bytes that an interrupted backup left and that this plan goes on with; 0 when it begins anew."""
    step = plan.steps[0]
    return step.begun if isinstance(step, CaptureDisk) else 0


def make_plan(machine: Machine, flow: Flow) -> Plan:
    """The machine's plan for what was chosen. Raises RescueError."""
    if flow.kind == "backup" and flow.source is not None:
        return machine.plan_backup(flow.source, str(flow.folder or Path("/")), flow.request)
    if flow.extract is not None and flow.volume is not None:
        source = flow.image or flow.source
        if source is not None:
            return machine.plan_extract(source, flow.volume.partition, flow.extract)
    if flow.kind == "clone" and flow.source is not None and flow.target is not None:
        return machine.plan_clone(flow.source, flow.target, flow.clone)
    if flow.kind == "wipe" and flow.target is not None and flow.wipe is not None:
        return machine.plan_wipe(flow.target, flow.wipe)
    if flow.kind == "partition" and flow.target is not None:
        return _plan_partition(machine, flow, flow.target)
    folder = str(flow.folder or Path("/"))
    if flow.kind == "prune" and flow.prune is not None:
        return machine.plan_prune(folder, flow.prune)
    if flow.kind == "verify" and flow.image is None:
        return machine.plan_verify_store(folder)
    if flow.image is None:
        raise RescueError("No image was chosen.")
    if flow.kind == "consolidate":
        return machine.plan_consolidate(flow.image.path, str(flow.into or folder))
    if flow.kind == "export" and flow.file is not None:
        return machine.plan_export(flow.image.path, str(flow.file), flow.format)
    if flow.kind == "restore" and flow.target is not None:
        return machine.plan_restore(flow.image.path, flow.target, flow.restore)
    return machine.plan_verify(flow.image.path, mount=flow.open_filesystems)


def _plan_partition(machine: Machine, flow: Flow, target: DiskSurvey) -> Plan:
    match flow.table:
        case "put-back":
            return machine.plan_undo(target, "")
        case "repair":
            return machine.plan_repair(target, "")
        case "":
            return machine.plan_partition(target, flow.edit or PartitionRequest((), ""))
        case _:
            assert_never(flow.table)


def plan_lines(plan: Plan) -> list[Line]:
    """Everything that the plan says, in the order of importance."""
    lines: list[Line] = []
    if plan.losses:
        what = {"extract": "replaced", "prune": "removed"}.get(plan.kind, "erased")
        lines.append(Line(f"This will be {what}:", BAD, "⚠ "))
        lines += [Line(plain(loss), WARN, "  ✗ ") for loss in plan.losses]
        lines.append(BLANK)
    if begun_bytes(plan):
        words = f"A backup of this disk was interrupted here. {human_size(begun_bytes(plan))} of it are kept: go on with it, "
        lines += [Line(words + "or begin anew and throw them away.", STRONG, "▶ "), BLANK]
    if plan.warnings:
        lines += [Line(plain(warning), WARN, "⚠ ") for warning in plan.warnings]
        lines.append(BLANK)
    lines.append(Line("What will be done:", STRONG))
    lines += [Line(plain(sentence), PLAIN, f"  {number}. ") for number, sentence in enumerate(plan.sentences, 1)]
    lines.append(BLANK)
    if plan.kind != "prune":
        lines.append(Line(rough_duration(plan.estimated_bytes, plan.target or plan.source), PLAIN, "Time:    ", STRONG))
    if plan.command:
        lines.append(Line(plain(shlex.join(plan.command)), QUIET, "Command: ", STRONG))
    return lines


class ReviewScreen(RescueScreen):
    """The last screen before anything is done."""

    HELP = (
        "Nothing has been done yet. Read what will happen and, above all, what will be erased.\n\n"
        "Where a disk is overwritten or changed, go to the field with Tab, type the last four characters of the disk's serial "
        "as shown, and press Enter. That is how the wrong disk is kept safe. Cancel or Esc goes back and changes nothing.\n\n"
        "Where a backup of this disk was interrupted, “Go on with it” keeps what is written and compares it first; "
        "“Begin anew” shows another plan, which throws it away."
    )
    KEYS = (
        HELP_KEY,
        BACK_KEY,
        KeyHint("Tab", "Next field", "app.focus_next"),
        KeyHint("PgDn", "More text", "screen.scroll_body(1)"),
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down", "app.focus_next", show=False),
        Binding("up", "app.focus_previous", show=False),
    ]

    def __init__(self, flow: Flow) -> None:
        super().__init__()
        self._flow = flow
        self._plan: Plan | None = None
        self._starting = False

    def heading(self) -> str:
        """What for."""
        return f"{self._flow.name}: Review"

    def content(self) -> Iterable[Widget]:
        """Text, the typed confirmation where something is overwritten, two buttons."""
        yield Body(Lines([Line("Making the plan …", QUIET)], name="plan"), name="text")
        if self._flow.target is not None:
            disk = self._flow.target.disk
            who = f"{disk_name(disk)}, {human_size(disk.size)}"
            yield Static(
                Content.assemble(
                    ("Target: ", QUIET),
                    (who, STRONG),
                    (f", {disk_details(disk, self.app.size.width - len(who) - 14)}", QUIET),
                ),
                classes="note",
            )
        if self._flow.target is not None or self._flow.kind == "prune":
            yield Horizontal(
                Static(Content.styled(self._ask(), PLAIN), classes="label", id="ask"),
                Input(placeholder="····", id="confirmation", max_length=8),
                Static("", id="verdict"),
                classes="row",
                id="confirm",
            )
        yield Horizontal(
            PushButton("Cancel", name="cancel"),
            PushButton(_START[self._flow.kind], name="start", disabled=True),
            PushButton("Begin anew", name="anew"),
            classes="row",
        )

    def _ask(self) -> str:
        """What is to be typed."""
        if self._flow.target is None:
            return "How many images are removed? Type the number:"
        disk = self._flow.target.disk
        what = "serial" if disk.serial.strip() else "name, without .img" if disk.path.endswith(".img") else "name"
        return f"Last four characters of its {what}:"

    @property
    def _expected(self) -> str:
        """What has to be typed; empty where nothing is asked."""
        plan = self._plan
        if plan is None:
            return ""
        if plan.target is not None:
            return plan.target.confirmation.strip()
        return str(len(plan.losses)) if plan.kind == "prune" and plan.losses else ""

    def on_mount(self) -> None:
        """Cancel has the focus; the plan is made in a thread."""
        self.query_one("#cancel").focus()
        self.query_one("#anew").display = False
        self._make_plan()

    def _make_plan(self) -> None:
        flow = self._flow
        machine = flow.machine or self.rescue.machine
        self.in_thread(lambda: make_plan(machine, flow), self._planned)

    def failed(self, error: RescueError) -> None:
        """Refused: the reason stays on the screen."""
        self._starting = False
        if self._plan is None:
            lines = [
                Line("This cannot be done.", BAD, "✗ "),
                BLANK,
                Line(plain(error.message), PLAIN),
                Line(plain(error.hint), QUIET),
            ]
            self.query_one("#plan", Lines).show(lines)
            for row in self.query("#confirm"):
                row.display = False
            self.query_one("#start").display = False
        else:
            super().failed(error)

    def _planned(self, plan: Plan) -> None:
        self._plan = plan
        self.query_one("#plan", Lines).show(plan_lines(plan))
        self.query_one("#anew").display = bool(begun_bytes(plan))
        if begun_bytes(plan):
            self.query_one("#start", PushButton).rename("Go on with it")
        self._allow()

    @property
    def confirmed(self) -> bool:
        """Whether there is a plan and, where something is lost, the right characters were typed."""
        if self._plan is None or not self._plan.steps:
            return False
        if not self._expected:
            return self._plan.target is None
        typed = "".join(field.value for field in self.query(Input)).strip()
        return typed.casefold() == self._expected.casefold()

    def _allow(self) -> None:
        self.query_one("#start", PushButton).disabled = not self.confirmed
        self.query_one("#start", PushButton).refresh()

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        self._allow()
        complete = bool(self._expected) and len(event.value.strip()) >= len(self._expected)
        words = (
            Content.styled(" ✓ right, Enter starts", GOOD)
            if self.confirmed
            else Content.styled(" ✗ not this disk" if self._flow.target else " ✗ not that many", BAD)
            if complete
            else Content("")
        )
        self.query_one("#verdict", Static).update(words)

    @on(Input.Submitted)
    @on(PushButton.Pressed, "#start")
    def _start(self) -> None:
        if not self.confirmed or self._plan is None or self._starting:
            return
        self._starting = True
        flow = replace(self._flow, plan=self._plan)
        self.rescue.start(self._plan, flow.places, self._started, self._not_started, flow.machine)

    def _started(self, follower: Follower) -> None:
        self.rescue.go_home()
        self.rescue.push_screen(RunningScreen(follower))

    def _not_started(self, error: RescueError) -> None:
        if self.is_attached:
            self.failed(error)
        else:
            self.rescue.say_failed(error)

    @on(PushButton.Pressed, "#anew")
    def _begin_anew(self) -> None:
        """Another plan, to be read before it is started."""
        self._flow = replace(self._flow, request=replace(self._flow.request, anew=True))
        self._plan = None
        self.query_one("#start", PushButton).rename(_START[self._flow.kind])
        self._allow()
        self.query_one("#cancel").focus()
        self.query_one("#anew").display = False
        self._make_plan()

    @on(PushButton.Pressed, "#cancel")
    def _cancel(self) -> None:
        self.action_back()
