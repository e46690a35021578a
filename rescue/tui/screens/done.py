"""Done: the verdict, what was done and proved, what to do next, where the log is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar

from textual import on
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from rescue.model.edit import EraseExtents
from rescue.model.fitting import FitIds
from rescue.model.plan import Plan
from rescue.planning.words import plain
from rescue.tui.describe import JOB_NAMES, fact_words, job_words
from rescue.tui.follow import Follower
from rescue.tui.frame import HELP_KEY, Body, RescueScreen
from rescue.tui.interrupted import interrupted
from rescue.tui.screens.leave import ask_to_leave
from rescue.tui.screens.save_log import SaveLogScreen
from rescue.tui.theme import BAD, GOOD, PLAIN, QUIET, STRONG, WARN
from rescue.tui.widgets.bars import KeyHint
from rescue.tui.widgets.button import PushButton
from rescue.tui.widgets.lines import BLANK, Line, Lines

_NEXT = {
    "backup": "Keep the image's disk in a safe place. “Check an image” reads it again at any time.",
    "restore": "Remove the rescue stick and restart. If the disk holds a system, the computer can start from it.",
    "verify": "What was checked can be restored.",
    "export": "Give the file to a virtual machine as its disk.",
    "consolidate": "The images that it was made of can be removed now: “Images”, then O.",
    "prune": "What is left can be restored as before.",
    "clone": "Switch off, and take one of the two disks out: they have the same identifiers. Then start from the other.",
    "partition": "The disk can be used. “Partitions” shows it as it is now.",
    "extract": "The files are on their disk completely. It can be taken out when you are back on the Home screen.",
}
_OF_FILES = ("files", "folders", "links", "folder", "lost", "failed", "failures")  # in the verdict and the messages
# In the sentences, or only of use in the log.
_SAID_ELSEWHERE = frozenset(
    {
        "died", "verified", "read_back", "uuid", "hash", "saved", "resized", "damage", "next", "source_failed", "defects",
        "store", "damaged", "locked", "unreadable", "format", *_OF_FILES,
    }
)  # fmt: skip
_LOSSES = frozenset({"bad_bytes", "missing_bytes", "damaged_files", "damaged_places"})
_LISTED = 100  # of each list; all of it is in the log


def fact_lines(facts: Mapping[str, str | int | float | bool | list[str]], mark: str) -> list[Line]:
    """Facts one below the other, lists with their items; what came to nothing is left out."""
    lines = []
    for name, value in facts.items():
        if name in _SAID_ELSEWHERE or value in (0, "", []):
            continue
        if name == "bad_bytes" and value == facts.get("missing_bytes"):
            continue  # the same
        lost = name in _LOSSES
        lines.append(Line(fact_words(name, value), WARN if lost else PLAIN, "  ⚠ " if lost else f"  {mark} "))
        if isinstance(value, list):
            lines += [Line(plain(item), QUIET, "      ") for item in value[:_LISTED]]
            if len(value) > _LISTED:
                lines.append(Line(f"and {len(value) - _LISTED} more, in the log", QUIET, "      "))
    return lines


def next_words(plan: Plan) -> str:
    """What a person does after a job of this plan."""
    if plan.kind == "clone" and any(isinstance(step, FitIds) for step in plan.steps):
        return "Both disks can stay in this computer: each has identifiers of its own."
    if plan.kind != "wipe":
        return _NEXT.get(plan.kind, "")
    erased = next((step for step in plan.steps if isinstance(step, EraseExtents)), None)
    if erased is not None and len(erased.extents) > 1:
        return "“Partitions” makes a partition table on the disk. Do not give it away: what files held can be got back."
    if erased is not None and plan.target is not None and plan.target.is_flash:
        return (
            "The disk can be used anew: “Partitions” makes a partition table on it. No program gets back what files held, but"
            " flash keeps spare blocks that zeros do not reach: think of that before you give it away."
        )
    return "The disk can be given away, or used anew: “Partitions” makes a partition table on it."


def verdict_lines(follower: Follower) -> list[Line]:
    """Everything that is known about a job that has ended."""
    finished = follower.finished
    if finished is None:
        return []
    facts = finished.facts
    match finished.state:
        case "succeeded" if any(facts.get(name) for name in _LOSSES):
            lines, style = [Line("Done, but not all of the disk could be read.", f"bold {WARN}", "⚠ ")], PLAIN
        case "succeeded" if follower.job.plan.kind == "extract":
            lines, style = [Line("Done. Everything is copied.", f"bold {GOOD}", "✓ ")], PLAIN
        case "failed" if follower.job.plan.kind == "extract" and facts.get("failures"):
            lines, style = [Line("Done, but not everything could be copied.", f"bold {WARN}", "⚠ ")], PLAIN
        case "failed" if finished.exit_code == 4 and follower.job.plan.kind == "verify":
            lines, style = [Line("Damaged.", BAD, "✗ ")], BAD
        case "failed" if facts.get("missing_bytes"):
            lines, style = [Line("Done, but not all of it could be had.", f"bold {WARN}", "⚠ ")], PLAIN
        case "succeeded" if follower.job.plan.kind == "export" or facts.get("whole_images"):
            lines, style = [Line("Done, and proved.", f"bold {GOOD}", "✓ ")], PLAIN
        case "succeeded" if follower.job.plan.kind in ("partition", "prune"):
            lines, style = [Line("Done.", f"bold {GOOD}", "✓ ")], PLAIN
        case "succeeded" if facts.get("samples"):
            lines, style = [Line("Done, and proved.", f"bold {GOOD}", "✓ ")], PLAIN
        case "succeeded" if facts.get("verified") or facts.get("read_back"):
            lines, style = [Line("Done, and proved.", f"bold {GOOD}", "✓ ")], PLAIN
        case "succeeded":
            lines, style = [Line("Done. What was written was not read back.", f"bold {WARN}", "✓ ")], PLAIN
        case "cancelled":
            lines, style = [Line("Stopped.", f"bold {WARN}", "■ ")], WARN
        case _:
            lines, style = [Line("Failed.", BAD, "✗ ")], BAD
    lines += [BLANK, *(Line(plain(said), style) for said in finished.message.splitlines())]
    if finished.hint:
        lines.append(Line(plain(finished.hint), PLAIN))
    shown = fact_lines(facts, "✓" if finished.state == "succeeded" else "–")
    if shown:
        lines += [BLANK, *shown]
    warnings = [plain(message.text) for message in follower.messages if message.level == "warning"]
    if warnings:
        lines += [BLANK, Line("To know:", STRONG), *(Line(text, WARN, "  ⚠ ") for text in warnings)]
    lines.append(BLANK)
    then = next_words(follower.job.plan) if finished.state == "succeeded" else ""
    if facts.get("source_failed"):
        then = "“Salvage the disk” makes an image of all that can still be read."
    elif facts.get("missing_bytes") and follower.job.plan.kind == "restore":
        then = "Let the file systems on it be checked by their own programs before the disk is used."
    elif facts.get("missing_bytes") and follower.job.plan.kind == "backup":
        then = (
            "On the Home screen, G asks the disk again for what is missing. Restore the newest of the images to a healthy disk."
        )
    elif interrupted([follower]):
        then = "On the Home screen, G goes on with it: what was written so far is used."
    if then:
        lines.append(Line(then, PLAIN, "Next: ", STRONG))
    lines.append(Line(f"{follower.job.folder}/events.jsonl", QUIET, "Log:  ", STRONG))
    return lines


class DoneScreen(RescueScreen):
    """The verdict of one job."""

    HELP = (
        "“Done, and proved” is only shown after what was written was read back and compared.\n\n"
        "S copies the log to a disk of your choice: it is gone after a restart otherwise. M shows all that the job said."
    )
    KEYS = (
        HELP_KEY,
        KeyHint("Esc", "Home", "screen.back"),
        KeyHint("S", "Save the log", "screen.save"),
        KeyHint("M", "All messages", "screen.messages"),
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "save", show=False),
        Binding("m", "messages", show=False),
        Binding("h", "back", show=False),
    ]

    def __init__(self, follower: Follower) -> None:
        super().__init__()
        self.follower = follower

    def heading(self) -> str:
        """The verdict, in a word."""
        name = JOB_NAMES[self.follower.job.plan.kind][0]
        finished = self.follower.finished
        state = finished.state if finished else ""
        if finished and finished.exit_code == 4 and self.follower.job.plan.kind == "verify":
            return f"{name}: Damaged"
        if finished and finished.exit_code == 4 and finished.facts.get("missing_bytes"):
            return f"{name}: Not complete"
        if self.follower.finished and self.follower.job.plan.kind == "extract" and self.follower.finished.facts.get("failures"):
            return f"{name}: Not everything was copied"
        return f"{name}: " + {"succeeded": "Done", "cancelled": "Stopped"}.get(state, "Failed")

    def content(self) -> Iterable[Widget]:
        """The text, two buttons."""
        yield Body(
            Static(Content.styled(job_words(self.follower.job.plan), QUIET)),
            Lines(verdict_lines(self.follower), name="verdict"),
            name="text",
        )
        yield Horizontal(
            PushButton("Home", name="home"),
            *([PushButton("Salvage the disk", name="salvage")] if self._source_failed else []),
            PushButton("Save the log", name="save"),
            PushButton("Restart or switch off", name="power"),
            classes="row",
        )

    def on_mount(self) -> None:
        """Home is the next thing."""
        self.query_one("#home").focus()

    @on(PushButton.Pressed, "#home")
    def action_back(self) -> None:
        """Home."""
        self.rescue.go_home()

    @property
    def _source_failed(self) -> bool:
        """Whether it ended because the disk that is read failed."""
        finished = self.follower.finished
        return bool(finished and finished.facts.get("source_failed"))

    @on(PushButton.Pressed, "#salvage")
    def _salvage(self) -> None:
        """Make an image of all that can be read."""
        self.rescue.salvage(self.follower)

    @on(PushButton.Pressed, "#save")
    def action_save(self) -> None:
        """Choose where."""
        self.rescue.push_screen(SaveLogScreen(self.follower))

    @on(PushButton.Pressed, "#power")
    def _power(self) -> None:
        ask_to_leave(self.rescue)

    def action_messages(self) -> None:
        """All that the job said."""
        talk = [Line(plain(m.text), QUIET, "⚠ " if m.level == "warning" else "– ") for m in self.follower.messages]
        said = [BLANK, Line("All messages:", STRONG), *(talk or [Line("There were none.", QUIET)])]
        self.query_one("#verdict", Lines).show([*verdict_lines(self.follower), *said])
