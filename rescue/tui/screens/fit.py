"""Fit: the partitions before and after, one above the other and to scale, and what a person wants of each."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar, Final

from textual import on
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from rescue.errors import RescueError
from rescue.model.fit import NO_WISHES, FitFacts, FitMode, Fitted, FitWish
from rescue.model.volume import Volume
from rescue.planning.fitting import FitSource, fit_source_of
from rescue.planning.words import disk_words, plain
from rescue.planning.writable import target_sectors
from rescue.records import replace
from rescue.tui.describe import disk_name
from rescue.tui.dialogs import AskLine, Notice, Question
from rescue.tui.disk_map import Segment, draw_parts, parts_of
from rescue.tui.fit_state import FitState, answer, proposed_mode
from rescue.tui.flow import Flow, OpenedPlace
from rescue.tui.frame import BACK_KEY, HELP_KEY, RescueScreen
from rescue.tui.screens.review import ReviewScreen
from rescue.tui.screens.where import WhereScreen
from rescue.tui.theme import BAD, GOOD, PLAIN, QUIET, STRONG, WARN
from rescue.tui.widgets.bars import KeyHint
from rescue.tui.widgets.button import PushButton
from rescue.tui.widgets.choices import Choice, Choices
from rescue.tui.widgets.disk_panel import stretches_content
from rescue.tui.widgets.lines import Line, Lines
from rescue.tui.widgets.toggle import Toggle
from rescue.units import human_size, parse_size

_MODES: Final[tuple[FitMode, ...]] = ("auto", "keep", "same")
_MODE_NAMES: Final = ("Automatically, sharing the room", "Keep sizes where it can be", "All exactly as it was")
_IDS: Final = ("the same", "its own")
_NUMBERS: Final = 13  # cells of a size


def what_is_fitted(flow: Flow) -> FitSource | None:
    """What could be fitted to the target; None where there are no partitions that could be, or nothing is to be changed.

    An image that is incomplete is none: its review says why.
    """
    if flow.target is None:
        return None
    try:
        source = _clone_source(flow) if flow.kind == "clone" else fit_source_of(flow.image) if flow.image else None
    except RescueError:
        return None
    if source is None or not source.layout.data_partitions or flow.restore.salvage:
        return None
    target = flow.target.disk
    is_same = (
        source.disk.size == target.size and target_sectors(target, source.layout.sector_size, 0) == source.layout.sector_size
    )
    return None if is_same and flow.kind == "restore" else source


def _clone_source(flow: Flow) -> FitSource | None:
    found = flow.source
    if found is None:
        return None
    return FitSource("", disk_words(found.disk), found.disk, found.layout, found.volumes, found.used_bytes)


class FitScreen(RescueScreen):
    """Say how the partitions go onto the target; then the review."""

    KEYS = (
        HELP_KEY,
        BACK_KEY,
        KeyHint("←→", "Size", "screen.help"),
        KeyHint("S", "Type it", "screen.size"),
        KeyHint("P", "Pin", "screen.wish('keep')"),
        KeyHint("X", "Leave out", "screen.wish('leave-out')"),
        KeyHint("A", "Auto", "screen.automatic"),
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,minus", "step(-1)", show=False),
        Binding("right,plus", "step(1)", show=False),
        Binding("s", "size", show=False),
        Binding("p", "wish('keep')", show=False),
        Binding("x,delete", "wish('leave-out')", show=False),
        Binding("n", "wish('min')", show=False),
        Binding("m", "wish('max')", show=False),
        Binding("a,backspace", "automatic", show=False),
        Binding("t", "other_table", show=False),
        Binding("o", "overlay", show=False),
        Binding("left_square_bracket", "reorder(-1)", show=False),
        Binding("right_square_bracket", "reorder(1)", show=False),
    ]
    HELP = (
        "The upper map is the disk as it was, the lower one the target as it will be, both to the same scale. Nothing is "
        "written yet.\n\n"
        "In the list: ← and → make a partition smaller or larger, S takes a size that you type, P pins it to its size, X leaves "
        "it out, N makes it as small as what it holds allows, M gives it all the room that the others leave, A lets the program "
        "decide again, [ and ] change the order. Enter shows these as a list. T makes an MBR of a GPT, or a GPT of an MBR. O "
        "chooses where what is moved is kept while file systems are made smaller: in the memory, or on a disk.\n\n"
        "Identifiers: with its own, both disks can stay in one computer; files that name them, as fstab, follow.\n\n"
        "“At least” is what the content needs. What cannot be made smaller or larger keeps its size. File systems are made "
        "smaller on their way: the image or the old disk is not changed."
    )

    def __init__(self, flow: Flow, source: FitSource) -> None:
        super().__init__()
        self._flow = flow
        request = flow.clone if flow.kind == "clone" else flow.restore
        own = source.layout.sector_size
        size, sectors = (flow.target.disk.size, target_sectors(flow.target.disk, own, 0)) if flow.target else (0, own)
        self._state = FitState(
            source,
            size,
            sectors,
            "clone" if flow.kind == "clone" else "restore",
            request.fit or proposed_mode(source, size, sectors),
            request.wishes,
        )
        self._result: Fitted | RescueError = self._state.result()
        self._asking = True  # how small the file systems can get

    def heading(self) -> str:
        """What for."""
        return f"{self._flow.name}: Fit the partitions"

    def content(self) -> Iterable[Widget]:
        """The way, two maps, the answer, the partitions, a button."""
        how = Static(Content.styled("How", PLAIN), classes="label")
        yield Static("")
        yield Horizontal(
            how,
            Toggle(_MODE_NAMES, _MODES.index(self._state.mode), name="mode"),
            Static(Content.styled("Identifiers", PLAIN), id="ids-label"),
            Toggle(_IDS, int(self._state.wishes.new_ids), name="ids"),
            classes="field",
            id="row-mode",
        )
        yield Static("", id="maps", classes="note")
        yield Lines(name="answer")
        yield Static("", id="columns", classes="note")
        yield Choices()
        yield Horizontal(PushButton("Review", name="next"), classes="row")

    def on_mount(self) -> None:
        """Most people want what is proposed: the button first. How small things can get is asked in a thread."""
        self.query_one("#next").focus()
        self._draw()
        machine = self._flow.machine or self.rescue.machine
        source = self._flow.source if self._flow.kind == "clone" else self._flow.image
        target = self._flow.target
        if source is not None and target is not None:
            self.in_thread(lambda: machine.fit_facts(source, target), self._measured)

    def on_resize(self) -> None:
        """The maps are as wide as the screen."""
        self._draw()

    def failed(self, error: RescueError) -> None:
        """How small the file systems can get is not known: they keep their sizes."""
        self._asking = False
        self._set(replace(self._state, facts=FitFacts({})))
        self.rescue.push_screen(
            Notice(
                "It is not known how small the file systems can be made",
                f"{error.message} They keep their sizes, unless there is more room.",
                error.hint,
            )
        )

    def _measured(self, facts: FitFacts) -> None:
        self._asking = False
        self._set(replace(self._state, facts=facts))

    def _set(self, state: FitState) -> None:
        self._state = state
        self._result = state.result()
        self._draw()

    # Drawing

    def _draw(self) -> None:
        width = max(self.size.width - 2, 20)
        self.query_one("#maps", Static).update(self._maps(width))
        fits, words = answer(self._state, self._result)
        if not fits and self._asking:
            line = Line("Looking how small the file systems can be made …", STRONG)
        else:
            line = Line(words, GOOD if fits else BAD, "✓ " if fits else "✗ ")
        self.query_one("#answer", Lines).show([line])
        titles = ("Before", "At least", "After") if self._is_wide else ("Before", "After")
        name_width = max(width - 5 - len(titles) * _NUMBERS - 13, 12)
        columns = f"  {'  Partition':<{name_width}}" + "".join(f"{title:>{_NUMBERS}}" for title in titles)
        self.query_one("#columns", Static).update(Content.styled(columns, QUIET))
        self.query_one(Choices).show([self._row(p.number, name_width) for p in self._state.partitions])

    def _maps(self, width: int) -> Content:
        state, source = self._state, self._state.source
        target = self._flow.target
        largest = max(source.disk.size, state.size)
        tall = self.size.height >= 34
        before = parts_of(source.layout, source.volumes, source.disk.size)
        lines = [
            Content.assemble(("Before  ", QUIET), (f"{disk_name(source.disk)}  {human_size(source.disk.size)}", STRONG)),
            *self._map(before, max(width * source.disk.size // largest, 8), tall),
            Content.assemble(
                ("After   ", QUIET), (f"{disk_name(target.disk)}  {human_size(state.size)}" if target else "", STRONG)
            ),
        ]
        room = max(width * state.size // largest, 8)
        if isinstance(self._result, RescueError):
            return Content("\n").join([*lines, Content.styled(" does not fit ".center(room, "·")[:room], WARN)])
        after = parts_of(self._result.layout, self._volumes_after(self._result), state.size)
        return Content("\n").join([*lines, *self._map(after, room, tall)])

    @property
    def _is_wide(self) -> bool:
        """Whether there is room for a column that only helps."""
        return self.size.width >= 76

    def _map(self, parts: list[Segment], width: int, tall: bool) -> list[Content]:
        line = draw_parts(parts, width)
        return [stretches_content(line), *([stretches_content(line, marks=False)] if tall else [])]

    def _volumes_after(self, fitted: Fitted) -> list[Volume]:
        found = []
        for place in fitted.placements:
            volume = self._state.volume(place.number)
            if volume is not None:
                found.append(replace(volume, partition=place.target_number, start=place.target_start, end=place.target_end))
        return found

    def _row(self, number: int, name_width: int) -> Choice:
        state = self._state
        place = state.placed(number, self._result)
        name = f"{number} {state.named(number)}"
        if len(name) > name_width:
            name = f"{name[: name_width - 1]}…"
        will = human_size(place.target_end - place.target_start) if place else "–"
        least = "…" if self._asking else human_size(state.least(number))
        sizes = (human_size(state.partition(number).size), *((least,) if self._is_wide else ()))
        note = state.note(number, self._result)
        text = Content.assemble(
            f"  {name:<{name_width}}",
            ("".join(f"{size:>{_NUMBERS}}" for size in sizes), QUIET),
            f"{will:>{_NUMBERS}}",
            (f"  {note}", WARN if note.startswith("▪") else QUIET),
        )
        return Choice(str(number), text)

    # Keys

    @property
    def _number(self) -> int:
        return int(self.query_one(Choices).highlighted_key or 0)

    @on(Toggle.Turned, "#mode")
    def _turned(self, event: Toggle.Turned) -> None:
        self._set(self._state.with_mode(_MODES[event.index]))

    @on(Toggle.Turned, "#ids")
    def _ids_turned(self, event: Toggle.Turned) -> None:
        self._set(self._state.with_new_ids(event.index == 1))

    def _change(self, state: FitState) -> None:
        self._set(state)
        self.query_one("#mode", Toggle).index = _MODES.index(state.mode)

    def action_step(self, direction: int) -> None:
        """Smaller, larger."""
        if self._number:
            self._change(self._state.stepped(self._number, direction))

    def action_wish(self, kind: str) -> None:
        """Pin it, leave it out, the smallest, the rest; the same key again takes it back."""
        for known in ("keep", "leave-out", "min", "max"):
            if known == kind and self._number:
                self._change(self._state.toggled(self._number, known))

    def action_automatic(self) -> None:
        """Nothing is asked of it any more."""
        if self._number:
            self._change(self._state.with_wish(self._number, None))

    def action_reorder(self, direction: int) -> None:
        """Before the one before it, behind the one behind it."""
        if self._number:
            self._change(self._state.moved(self._number, direction))

    def action_other_table(self) -> None:
        """GPT or MBR."""
        self._change(self._state.with_other_table())

    def action_size(self) -> None:
        """Type a size."""
        number = self._number
        if not number:
            return
        least = "" if self._asking else f" It needs {human_size(self._state.least(number))} at least."
        self.rescue.push_screen(
            AskLine(
                f"How large shall partition {number} be?",
                f"{plain(self._state.described(number))}.{least} Such as 40GiB, 700M; 40GiB+ for at least that.",
            ),
            lambda typed: self._sized(number, typed),
        )

    def _sized(self, number: int, typed: str | None) -> None:
        if typed is None:
            return
        text = "".join(typed.split())
        try:
            size = parse_size(text.removesuffix("+"))
        except (ValueError, OverflowError):
            self.rescue.push_screen(Notice("That is no size", f"“{plain(typed)}” is no size.", "Write it as 700M or 4GiB."))
            return
        self._change(self._state.with_wish(number, FitWish(number, "at-least" if text.endswith("+") else "exactly", size)))

    # What is moved on the way

    def _overlay_words(self) -> str:
        return f"in {plain(self._state.wishes.overlay)}" if self._state.wishes.overlay else "in the memory"

    def action_overlay(self) -> None:
        """The memory, or a folder of another disk."""

        def answered(key: str | None) -> None:
            match key:
                case "memory":
                    self._with_overlay("", None)
                case "folder":
                    self.rescue.push_screen(
                        WhereScreen(
                            self._flow,
                            "Where is what is moved kept?",
                            self._overlay_chosen,
                            what="Where are the data kept that are moved while file systems are made smaller?",
                            obstacle="on a disk that is read or written",
                            hand_over=True,
                        )
                    )

        self.rescue.push_screen(
            Question(
                "Making file systems smaller",
                "The image, or the old disk, is never changed: what has to be moved in it is kept aside until it is copied. "
                f"Now it is kept {self._overlay_words()}.",
                [("memory", "In the memory of this computer"), ("folder", "On a disk, for where the memory is too small …")],
            ),
            answered,
        )

    def _overlay_chosen(self, folder: Path, opened: OpenedPlace | None) -> None:
        self.rescue.pop_screen()
        self._with_overlay(str(folder), opened)

    def _with_overlay(self, folder: str, opened: OpenedPlace | None) -> None:
        before, self._flow = self._flow.destination, replace(self._flow, destination=opened)
        if before is not opened:
            self.rescue.give_back(before)
        self._set(self._state.with_overlay(folder))

    def on_unmount(self) -> None:
        """Left: unmount what no job needs."""
        self.rescue.give_back(self._flow.destination)

    @on(Choices.OptionSelected)
    def _chosen(self) -> None:
        number = self._number
        wish = self._state.wish(number)
        answers = [
            ("", "Leave it as it is"),
            ("automatic", "Let the program decide"),
            ("keep", "Keep its size: pin it"),
            ("size", "Type a size …"),
            ("min", "As small as what it holds allows"),
            ("max", "All the room that the others leave"),
            ("leave-out", "Leave it out: it will not be on the target" if not self._state.is_left_out(number) else "Take it in"),
            ("earlier", "Before the one before it"),
            ("later", "Behind the one behind it"),
            ("table", "Of all of them: another kind of partition table"),
            ("overlay", f"Of all of them: what is moved is kept {self._overlay_words()} …"),
        ]
        if wish is None:
            answers = [answer for answer in answers if answer[0] != "automatic"]

        def answered(key: str | None) -> None:
            match key:
                case "automatic":
                    self.action_automatic()
                case "size":
                    self.action_size()
                case "table":
                    self.action_other_table()
                case "overlay":
                    self.action_overlay()
                case "earlier" | "later":
                    self.action_reorder(-1 if key == "earlier" else 1)
                case str():
                    self.action_wish(key)

        self.rescue.push_screen(Question(plain(self._state.described(number)), "", answers), answered)

    @on(PushButton.Pressed, "#next")
    def _next(self) -> None:
        fits, words = answer(self._state, self._result)
        if not fits:
            if not self._asking:
                self.rescue.push_screen(Notice("It does not fit", words))
            return
        flow, state = self._flow, self._state
        if not state.changes(self._result):
            state = replace(state, mode="same", wishes=NO_WISHES)  # copied as it is: the shorter way to the same
        if flow.kind == "clone":
            flow = replace(flow, clone=replace(flow.clone, fit=state.mode, wishes=state.wishes))
        else:
            flow = replace(flow, restore=replace(flow.restore, fit=state.mode, wishes=state.wishes))
        self.rescue.push_screen(ReviewScreen(flow))
