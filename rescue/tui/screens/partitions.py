"""Partitions: the map of one disk, a queue of pending operations, and on to the review. Nothing is done here."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar, Final
from uuid import uuid4

from textual import on
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from rescue.errors import RescueError
from rescue.model.lost import Lost
from rescue.model.plan import Plan
from rescue.model.survey import DiskSurvey
from rescue.model.volume import Identity
from rescue.planning.lost import operations_for
from rescue.planning.operation_text import FILE_SYSTEMS
from rescue.planning.partition_plan import PartitionRequest
from rescue.planning.partition_preview import Preview, preview
from rescue.planning.words import plain, table_problems
from rescue.records import replace
from rescue.tui.describe import disk_details, disk_name
from rescue.tui.dialogs import Notice, Question
from rescue.tui.flow import Flow, TableWork
from rescue.tui.form import Field, Form
from rescue.tui.frame import BACK_KEY, HELP_KEY, Body, RescueScreen
from rescue.tui.partition_rows import Row, cells_of, flags_of, rows_of, types_of
from rescue.tui.screens.lost import LostScreen
from rescue.tui.screens.review import ReviewScreen
from rescue.tui.theme import PLAIN, QUIET, STRONG, WARN
from rescue.tui.widgets.bars import KeyHint
from rescue.tui.widgets.button import PushButton
from rescue.tui.widgets.choices import Choice, Choices
from rescue.tui.widgets.disk_panel import map_content
from rescue.tui.widgets.lines import Line, Lines
from rescue.units import human_size

_TABLES: Final = {"gpt": "GPT", "dos": "MBR", "none": "no partition table"}
_NO_FILE_SYSTEM: Final = "none"
_NUMBERS: Final = 12  # cells of a size


def new_guid() -> str:
    """An identifier as GPT writes it."""
    return str(uuid4()).upper()


def _size(text: str) -> str:
    """As an operation writes it: without blanks."""
    return "".join(text.split())


class PartitionsScreen(RescueScreen):
    """Make a queue; each operation is shown in the map at once and can be taken back."""

    KEYS = (
        HELP_KEY,
        BACK_KEY,
        KeyHint("Enter", "Change", "screen.menu"),
        KeyHint("N", "New", "screen.act('new')"),
        KeyHint("D", "Delete", "screen.act('delete')"),
        KeyHint("U", "Undo", "screen.undo"),
        KeyHint("A", "Apply", "screen.apply"),
        KeyHint("Z", "Table", "screen.whole_table"),
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        *(
            Binding(key, f"act('{name}')", show=False)
            for key, name in (
                ("n", "new"),
                ("d,delete", "delete"),
                ("s", "size"),
                ("m", "move"),
                ("f", "format"),
                ("c", "copy"),
                ("l", "label"),
                ("e", "name"),
                ("t", "type"),
                ("g", "flags"),
            )
        ),
        Binding("b", "new_table", show=False),
        Binding("u,backspace", "undo", show=False),
        Binding("a", "apply", show=False),
        Binding("z", "whole_table", show=False),
    ]
    HELP = (
        "What you do here is only noted: the map and the list show the disk as it would be. U takes the last change back, A "
        "shows all of them for review, and only after its confirmation is anything written.\n\n"
        "Enter shows what can be done with the entry under the mark: N makes a partition in free space, D deletes, S changes "
        "the size, M moves, C copies, F formats, L labels what it holds, E names the entry in the table, T sets the type, "
        "G flags. B makes another partition table.\n\n"
        "Z puts back the partition table that was kept before the last change of this disk, repairs a damaged one, or searches "
        "for partitions that are in no table any more."
    )

    def __init__(self, flow: Flow) -> None:
        super().__init__()
        self._flow = flow
        self._target = flow.target
        self._operations: tuple[str, ...] = flow.edit.operations if flow.edit else ()
        self._preview: Preview | None = None
        self._found: dict[int, Identity] = {}  # by place, of lost partitions that were added
        self._interrupted = ""  # what the plan to complete an interrupted move says

    def heading(self) -> str:
        """Of which disk."""
        return f"{self._flow.name}: {disk_name(self._target.disk)}" if self._target else self._flow.name

    def content(self) -> Iterable[Widget]:
        """Disk and map, rows, what is pending, two buttons."""
        yield Static("", id="disk", classes="gap")
        yield Static("", id="columns", classes="note")
        yield Choices()
        yield Body(Lines(name="pending"), name="queue")
        yield Horizontal(
            PushButton("Apply …", name="apply", disabled=True), PushButton("Undo the last one", name="undo"), classes="row"
        )

    def on_mount(self) -> None:
        """The list has the focus; whether a move was interrupted on the disk is asked in a thread."""
        self._set(self._operations)
        self.query_one(Choices).focus()
        target, machine = self._target, self.rescue.machine
        if target is not None:
            request = PartitionRequest((), "", go_on=True)
            self.rescue.in_thread(lambda: machine.plan_partition(target, request), self._found_move, lambda _: None)

    def on_resize(self) -> None:
        """The map is as wide as the screen."""
        self._draw()

    def _found_move(self, plan: Plan) -> None:
        if self.is_attached:
            self._interrupted = plan.sentences[0]
            self._set(())

    # The queue

    def _try(self, *operations: str) -> Preview:
        """What the queue with these at its end makes of the disk. Raises RefusedError, UsageError."""
        assert self._target is not None
        return preview(self._target, (*self._operations, *operations), new_guid)

    def _add(self, *operations: str) -> None:
        try:
            self._try(*operations)
        except RescueError as error:
            self.failed(error)
        else:
            self._set((*self._operations, *operations))

    def _set(self, operations: tuple[str, ...]) -> None:
        self._operations = operations
        self._preview = self._try() if self._target is not None else None
        self._draw()

    @property
    def _survey(self) -> DiskSurvey | None:
        return self._preview.survey if self._preview else None

    def _draw(self) -> None:
        survey, found = self._survey, self._preview
        if survey is None or found is None:
            return
        width = max(self.size.width - 2, 20)
        who = f"{human_size(survey.disk.size)}, {_TABLES[survey.layout.label]}"
        head = Content.assemble((who, STRONG), (f"   {disk_details(survey.disk, width - len(who) - 3)}", QUIET))
        maps = [map_content(survey, width), map_content(survey, width, marks=False)]
        self.query_one("#disk", Static).update(Content("\n").join([head, *maps[: 2 if self.size.height >= 30 else 1]]))
        name_width = max(width - 8 - 3 * _NUMBERS, 12)
        columns = f"  Nr  {'Holds':<{name_width}}{'Begins at':>{_NUMBERS}}{'Size':>{_NUMBERS}}{'Used':>{_NUMBERS}}"
        self.query_one("#columns", Static).update(Content.styled(columns, QUIET))
        rows = [self._choice(row, survey, name_width) for row in rows_of(survey.layout)]
        self.query_one(Choices).show(
            rows or [Choice("none", Content("  There is no partition table. Enter makes one; Z searches for lost ones."))]
        )
        self.query_one("#pending", Lines).show(self._pending(found))
        self.query_one("#queue", Body).scroll_end(animate=False)
        apply, undo = self.query_one("#apply", PushButton), self.query_one("#undo", PushButton)
        apply.disabled = not self._operations and not self._interrupted
        apply.rename("Complete the move …" if self._interrupted else "Apply …")
        undo.disabled = not self._operations
        undo.refresh()

    def _choice(self, row: Row, survey: DiskSurvey, name_width: int) -> Choice:
        number, holds, start, size, used = cells_of(row, survey, self._found)
        indent = "  " if row.logical else ""
        holds = f"{indent}{holds}"
        if len(holds) > name_width - 1:
            holds = f"{holds[: name_width - 2]}…"
        style = PLAIN if row.partition else QUIET
        return Choice(
            row.key,
            Content.assemble(
                (f"  {number:>2}  {holds:<{name_width}}", style),
                (f"{start:>{_NUMBERS}}{size:>{_NUMBERS}}{used:>{_NUMBERS}}", QUIET),
            ),
        )

    def _pending(self, found: Preview) -> list[Line]:
        if self._interrupted:
            said = "A move was interrupted on this disk. Until it is complete the partition cannot be read."
            return [Line(said, WARN, "⚠ "), Line(plain(self._interrupted), PLAIN)]
        problems = [Line(plain(problem), WARN, "⚠ ") for problem in table_problems(self._target.layout)] if self._target else []
        if not self._operations:
            return [*problems, Line("Nothing is changed yet. Changes are noted here before they are applied.", QUIET)]
        count = "1 change is" if len(self._operations) == 1 else f"{len(self._operations)} changes are"
        lines = [Line(f"{count} pending; nothing is written yet:", STRONG)]
        lines += [Line(plain(said), PLAIN, f"  {number}. ") for number, said in enumerate(found.sentences, 1)]
        return [*problems, *lines]

    # What can be done

    @property
    def _row(self) -> Row | None:
        survey = self._survey
        key = self.query_one(Choices).highlighted_key
        return next((row for row in rows_of(survey.layout) if row.key == key), None) if survey else None

    @on(Choices.OptionSelected)
    def action_menu(self) -> None:
        """Say what can be done with the row."""
        row, survey = self._row, self._survey
        if survey is None or self._is_held():
            return
        if row is None:
            self.action_new_table()
            return
        cells = cells_of(row, survey)
        if row.partition is None:
            title = f"Free space of {cells[3]} at {cells[2]}"
            answers = [
                ("", "Leave it free"),
                ("new", "Make a partition in it …"),
                ("lost", "Search it for partitions that were lost …"),
            ]
        else:
            title = f"Partition {row.partition.number}: {cells[1]}, {cells[3]}"
            answers = [("", "Leave it as it is"), ("size", "Make it smaller or larger …")]
            if row.partition.kind != "extended":
                answers += [("move", "Move it …"), ("copy", "Copy it into the largest free space")]
                answers += [("label", "Label what it holds …"), ("format", "Format it: make an empty file system in it …")]
            answers.append(("delete", "Delete it"))
            if row.partition.kind != "extended":
                if survey.layout.label == "gpt":
                    answers.append(("name", "Name it in the partition table …"))
                answers += [("type", "Set its type …"), ("flags", "Switch a flag …")]
        self.rescue.push_screen(Question(title, "", answers), lambda name: self.action_act(name) if name else None)

    def _is_held(self) -> bool:
        if self._interrupted:
            self.rescue.push_screen(Notice("A move was interrupted on this disk", "Complete it first: A applies it."))
        return bool(self._interrupted)

    def action_act(self, name: str) -> None:
        """Do one of the things that the row can take."""
        row, survey = self._row, self._survey
        if row is None or survey is None or self._is_held():
            return
        if row.partition is None:
            if name == "new":
                self._new(row)
            elif name == "lost":
                self.action_search()
            return
        number = row.partition.number
        match name:
            case "delete":
                self._add(f"delete {number}")
            case "size":
                self._resize(number, row)
            case "move":
                self._move(number)
            case "format":
                self._format(number, row)
            case "copy":
                self._add(f"copy {number}")
            case "label":
                self._label(number)
            case "name":
                self._rename(number, row.partition.name)
            case "type":
                types = [("", "Leave it as it is"), *types_of(survey.layout)]
                self._ask(f"Type of partition {number}", types, lambda kind: f"type {number} {kind}")
            case "flags":
                flags = [("", "Leave them as they are"), *flags_of(row.partition, survey.layout)]
                self._ask(f"Flags of partition {number}: which one is switched?", flags, lambda flag: f"flag {number} {flag}")

    def _ask(self, title: str, answers: list[tuple[str, str]], operation: Callable[[str], str], text: str = "") -> None:
        self.rescue.push_screen(Question(title, text, answers), lambda key: self._add(operation(key)) if key else None)

    def _fill(
        self, title: str, text: str, fields: list[Field], operations: Callable[[dict[str, str]], list[str]], button: str
    ) -> None:
        """Ask, and note what comes of it; what cannot be done is said while the fields are still there."""

        def taken(values: dict[str, str] | None) -> None:
            if values is not None:
                self._add(*operations(values))

        self.rescue.push_screen(Form(title, text, fields, lambda values: self._try(*operations(values)), button), taken)

    def _new(self, row: Row) -> None:
        size = human_size(row.extent.length)
        mbr = self._survey is not None and self._survey.layout.label == "dos"
        others = ("extended", _NO_FILE_SYSTEM) if mbr and not row.logical else (_NO_FILE_SYSTEM,)
        fields = [
            Field("size", "Size", "", placeholder=f"all of it: {size}"),
            Field("fs", "File system", "ext4", ("ext4", *(fs for fs in FILE_SYSTEMS if fs != "ext4"), *others)),
            Field("label", "Label", placeholder="none"),
        ]

        def operations(values: dict[str, str]) -> list[str]:
            words = ["create", f"start={row.extent.start}"]
            words += [f"size={_size(values['size'])}"] if values["size"] else []
            if values["fs"] == "extended":
                words.append("type=extended")
            elif values["fs"] != _NO_FILE_SYSTEM:
                words.append(f"fs={values['fs']}")
            words += [f"label={values['label']}"] if values["label"] else []
            return [shlex.join(words)]

        self._fill("A new partition", f"{size} are free at {human_size(row.extent.start)}.", fields, operations, "Note it")

    def _resize(self, number: int, row: Row) -> None:
        fields = [Field("size", "Size", placeholder="as large as there is room")]
        text = f"It has {human_size(row.extent.length)} now. Write it as 40GiB or 700M; what it holds is resized with it."
        self._fill(
            f"The size of partition {number}",
            text,
            fields,
            lambda values: [shlex.join(["resize", str(number), f"size={_size(values['size']) or 'max'}"])],
            "Note it",
        )

    def _move(self, number: int) -> None:
        free = [row for row in rows_of(self._survey.layout) if row.partition is None] if self._survey else []
        places = ", ".join(f"{human_size(row.extent.length)} at {human_size(row.extent.start)}" for row in free)
        text = f"Free is: {places or 'nothing'}. It may also move over its own place. It can be interrupted and gone on with."
        self._fill(
            f"Move partition {number}",
            text,
            [Field("start", "Begin at", placeholder="such as 20GiB")],
            lambda values: [shlex.join(["move", str(number), f"start={_size(values['start'])}"])],
            "Note it",
        )

    def _format(self, number: int, row: Row) -> None:
        fields = [Field("fs", "File system", "ext4", FILE_SYSTEMS), Field("label", "Label", placeholder="none")]

        def operations(values: dict[str, str]) -> list[str]:
            label = [f"label={values['label']}"] if values["label"] else []
            return [shlex.join(["format", str(number), f"fs={values['fs']}", *label])]

        held = cells_of(row, self._survey)[1] if self._survey else ""
        self._fill(f"Format partition {number}", f"What it holds is lost: {held}.", fields, operations, "Note it")

    def _label(self, number: int) -> None:
        held = next((v for v in self._survey.volumes if v.partition == number), None) if self._survey else None
        label = plain(held.identity.label) if held else ""
        self._fill(
            f"The label of what partition {number} holds",
            "It is in the file system itself. Empty takes it away.",
            [Field("label", "Label", label)],
            lambda values: [shlex.join(["label", str(number), values["label"]])],
            "Note it",
        )

    def _rename(self, number: int, name: str) -> None:
        self._fill(
            f"The name of partition {number}",
            "It is in the partition table; the label of what it holds is another one.",
            [Field("name", "Name", name)],
            lambda values: [shlex.join(["name", str(number), values["name"]])],
            "Note it",
        )

    def action_new_table(self) -> None:
        """A new, empty table."""
        if self._is_held():
            return
        label = self._survey.layout.label if self._survey else "none"
        answers = [
            ("", "Keep it as it is"),
            ("table gpt", "New and empty, GPT: for every computer of the last ten years"),
            ("table mbr", "New and empty, MBR: for old computers, and disks up to 2 TiB"),
        ]
        if label == "gpt":
            answers.append(("convert mbr", "An MBR around the same partitions"))
        if label == "dos":
            answers.append(("convert gpt", "A GPT around the same partitions"))
        text = "" if label == "none" else "In a new table all partitions are gone. What they hold is not overwritten, but lost."
        self._ask("Another partition table?", answers, lambda operation: operation, text)

    # Going on

    @on(PushButton.Pressed, "#undo")
    def action_undo(self) -> None:
        """Take the last change back."""
        if self._operations:
            self._set(self._operations[:-1])

    @on(PushButton.Pressed, "#apply")
    def action_apply(self) -> None:
        """Show all of it for review."""
        if self._interrupted:
            self.rescue.push_screen(ReviewScreen(replace(self._flow, edit=PartitionRequest((), "", go_on=True))))
        elif self._operations:
            self.rescue.push_screen(ReviewScreen(replace(self._flow, edit=PartitionRequest(self._operations, ""))))

    def action_whole_table(self) -> None:
        """Put the kept table back, or repair a damaged one: each has its own review."""
        works: dict[str, TableWork] = {"put-back": "put-back", "repair": "repair"}
        answers = [
            ("", "Leave it as it is"),
            ("put-back", "Put back the table that was kept before the last change"),
            ("repair", "Repair a damaged GPT from its copy that is whole"),
            ("lost", "Search for partitions that it has lost, where most begin"),
            ("deep", "Search for partitions that it has lost, at every sector"),
        ]

        def answered(key: str | None) -> None:
            if key in ("lost", "deep"):
                self.action_search(deep=key == "deep")
            elif key:
                self.rescue.push_screen(ReviewScreen(replace(self._flow, table=works[key])))

        self.rescue.push_screen(Question("The partition table as a whole", "", answers), answered)

    def action_search(self, *, deep: bool = False) -> None:
        """Search the disk as it is now; what is chosen is added to the queue."""
        if self._target is None or self._is_held():
            return

        def add(lost: Sequence[Lost]) -> None:
            assert self._survey is not None
            operations = operations_for(self._survey.layout, lost)
            self._try(*operations)
            self._found |= {one.start: one.identity for one in lost}
            self._set((*self._operations, *operations))

        self.rescue.push_screen(LostScreen(self._target, add, deep=deep))

    def action_back(self) -> None:
        """Pending changes are asked about before they are forgotten."""
        if not self._operations:
            super().action_back()
            return

        def answered(key: str | None) -> None:
            if key == "leave":
                self.rescue.pop_screen()

        count = "The pending change is" if len(self._operations) == 1 else f"The {len(self._operations)} pending changes are"
        self.rescue.push_screen(
            Question(
                "Leave without applying?",
                f"{count} forgotten then. Nothing was written.",
                [("stay", "Stay here"), ("leave", "Leave, and forget them")],
            ),
            answered,
        )
