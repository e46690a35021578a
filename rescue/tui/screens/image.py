"""Which image? A timeline for each computer and disk; what is damaged or foreign is at the end with its problem."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from textual import on
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from rescue.errors import CredentialError, RescueError
from rescue.model.survey import ImageSummary
from rescue.planning.words import plain
from rescue.records import replace
from rescue.services import Machine
from rescue.tui.describe import image_date
from rescue.tui.dialogs import Notice, Question
from rescue.tui.flow import Flow, FlowKind
from rescue.tui.frame import RescueScreen
from rescue.tui.screens.check import CheckScreen
from rescue.tui.screens.files_partition import after_source
from rescue.tui.screens.image_actions import is_damaged
from rescue.tui.screens.target import TargetScreen
from rescue.tui.secret_dialogs import UnlockDialog
from rescue.tui.theme import GOOD, PLAIN, QUIET, STRONG, WARN
from rescue.tui.timeline import Dependence, Timeline, chain_words, dependences, health_of, size_words
from rescue.tui.widgets.lines import Line, Lines
from rescue.tui.widgets.timeline import Row, RowList
from rescue.units import human_size

_UNINTERESTING = frozenset({"lost+found", "$RECYCLE.BIN", "System Volume Information"})
_FOLDER: Final = "folder:"

# What comes after an image was chosen.
NEXT: Final[dict[FlowKind, Callable[[Flow], RescueScreen]]] = {
    "restore": TargetScreen,
    "verify": CheckScreen,
    "files": after_source,
}


def folders_in(folder: Path) -> list[str]:
    """Names of the folders that a person may want to look into. Raises OSError."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
    return sorted(name for name in names if name not in _UNINTERESTING)


def image_row(image: ImageSummary, dependence: Dependence) -> Row:
    """Date, kind, size stored, health in words, comment, on one line."""
    health = health_of(image)
    style = WARN if health.bad else GOOD if health.mark == "✓" else QUIET
    date = f"{image_date(image):<16}"[:16]
    what = "encrypted" if image.locked else image.kind
    text = Content.assemble(
        (f" {date}", PLAIN),
        (f"  {what:<12} {human_size(image.stored_size):>10}  ", QUIET),
        (f"{health.mark} {health.short:<19}", style),
        (f"  {plain(image.comment)}" if image.comment else "", QUIET),
    )
    return Row(image.path, text, frozenset(needed.path for needed in dependence.needs))


def other_row(image: ImageSummary) -> Row:
    """Name, size and problem of what is no usable image."""
    text = Content.assemble(
        (f" ✗ {plain(image.name)}", PLAIN),
        (f"  {human_size(image.stored_size)}  ", QUIET),
        (plain(image.problem), WARN),
    )
    return Row(image.path, text)


def timeline_rows(found: Timeline, depends: dict[str, Dependence], folders: Iterable[str]) -> list[Row]:
    """All lines of the list: a heading for each disk and its images, what cannot be used, folders."""
    rows = []
    for group in found.groups:
        rows.append(Row("", Content.styled(f"{group.title}", STRONG)))
        rows += [image_row(image, depends[image.path]) for image in group.images]
    if found.others:
        rows.append(Row("", Content.styled("Cannot be used", STRONG)))
        rows += [other_row(image) for image in found.others]
    known = {image.name for image in found.others}
    inside = [Row(f"{_FOLDER}{name}", Content.styled(f" □ {plain(name)}/", PLAIN)) for name in folders if name not in known]
    return rows + ([Row("", Content.styled("Folders", STRONG)), *inside] if inside else [])


def detail_lines(image: ImageSummary, dependence: Dependence) -> list[Line]:
    """All that is known of one image: its name and sizes, its chain, its health, its comment."""
    health = health_of(image)
    encrypted = ", encrypted" if image.encrypted and not image.locked else ""
    comment = f"  “{plain(image.comment)}”" if image.comment else ""
    lines = [Line(f"{plain(image.name)}{comment}", STRONG), Line(f"{size_words(image)}{encrypted}", PLAIN)]
    chain = "" if health.short == "chain incomplete" else chain_words(image, dependence)
    if chain:
        lines.append(Line(chain, PLAIN))
    words = f"{health.short}: {health.sentence}" if health.short not in ("cannot be used", "locked") else health.sentence
    lines.append(Line(words, WARN if health.bad else QUIET, f"{health.mark} "))
    return lines


class ImageScreen(RescueScreen):
    """Choose an image of a folder, or go into a folder of it."""

    HELP = (
        "The images in this place, by computer and disk, newest first: when, of what kind, how big its file is, how it is.\n\n"
        "“proved” with a date: every hash was right and its file systems were opened. “verified”: every hash was right. "
        "“never checked”: nobody has read all of it yet. “FAILED”: the last check found damage. “locked”: it is encrypted, "
        "Enter asks for what opens it.\n\n"
        "A full image needs no other. An incremental or differential one holds only what changed: the line at the left leads "
        "from the one you are on to those that it needs. They have to stay together; restoring it is one step all the same.\n\n"
        "What cannot be used is at the end, with the reason; then the folders of this place."
    )

    def __init__(self, flow: Flow) -> None:
        super().__init__()
        self._flow = flow
        self._folder = flow.folder or Path("/")
        self._images: dict[str, ImageSummary] = {}
        self._depends: dict[str, Dependence] = {}
        self._folders: list[str] = []

    def heading(self) -> str:
        """What for."""
        return f"{self._flow.name}: Which image?"

    def content(self) -> Iterable[Widget]:
        """Where we are, the list, what is known of the chosen one."""
        yield Static(Content.styled(f"Images on {plain(self._flow.place_title)}:", QUIET), classes="note")
        yield Static("", id="state", classes="note")
        yield RowList()
        yield Lines(name="details")

    def on_mount(self) -> None:
        """Read the folder."""
        self.query_one("#details").display = False
        self._say("Reading the images …")
        self._read()

    def _read(self, key: str = "") -> None:
        folder, machine = self._folder, self._machine

        def read() -> tuple[list[ImageSummary], list[str]]:
            return machine.images(folder), folders_in(folder)

        self.in_thread(read, lambda found: self._show(*found, key))

    @property
    def _machine(self) -> Machine:
        return self._flow.machine or self.rescue.machine

    def _say(self, words: str) -> None:
        state = self.query_one("#state", Static)
        state.update(Content.styled(words, QUIET))
        state.display = bool(words)

    def failed(self, error: RescueError) -> None:
        """The folder cannot be read: say so here too, under the message."""
        self._say("This folder cannot be read. Esc goes back.")
        super().failed(error)

    def _show(self, images: list[ImageSummary], folders: list[str], key: str) -> None:
        found = Timeline.of(images)
        self._images = {image.path: image for image in images}
        self._depends = dependences(images)
        if found.groups:
            self._say("")
        elif found.others:
            self._say("Nothing here can be used.")
        else:
            self._say(
                "There are no images here." + (" Look into a folder, or go back with Esc." if folders else " Esc goes back.")
            )
        self.query_one(RowList).show(timeline_rows(found, self._depends, folders), key)

    @on(RowList.Highlighted)
    def _highlighted(self, event: RowList.Highlighted) -> None:
        image = self._images.get(event.key)
        details = self.query_one("#details", Lines)
        details.display = bool(event.key)
        if image is not None:
            details.show(detail_lines(image, self._depends[image.path]))
        elif event.key:
            details.show([Line("A folder. Enter looks into it.", QUIET)])

    @on(RowList.Chosen)
    def _chosen(self, event: RowList.Chosen) -> None:
        if event.key.startswith(_FOLDER):
            folder = self._folder / event.key.removeprefix(_FOLDER)
            self.rescue.push_screen(type(self)(replace(self._flow, folder=folder)))
        else:
            self._choose(self._images[event.key])

    def _choose(self, image: ImageSummary) -> None:
        if image.locked:
            self._unlock(image)
        elif is_damaged(image):
            self._offer_salvage(image, "This image is damaged", plain(image.problem))
        elif image.problem:
            hint = "Choose another image." if self._flow.kind == "restore" else ""
            self.rescue.push_screen(Notice(f"{plain(image.name)} cannot be used", plain(image.problem), hint))
        elif image.has_failed and self._flow.kind == "restore":
            self._offer_salvage(image, "This image failed its last check", "Some of what it holds is damaged.")
        elif image.bad_bytes and self._flow.kind == "restore":
            said = f"{human_size(image.bad_bytes)} of the disk could not be read when it was made."
            self._offer_salvage(image, "This image is not complete", said)
        else:
            self.use(image)

    def _unlock(self, image: ImageSummary, *, salvage: bool = False) -> None:
        found: list[ImageSummary] = []  # to try a passphrase takes a second: what it opened is kept

        def opened(machine: Machine | None) -> None:
            if machine is not None:
                self._flow = replace(self._flow, machine=machine)
                self._read(image.path)
                if salvage:
                    self.use(found[-1], salvage=True)
                else:
                    self._choose(found[-1])

        def check(machine: Machine) -> None:
            found.append(machine.image(image.path, salvage=salvage))

        self.rescue.push_screen(UnlockDialog(plain(image.name), check, self._flow.machine), opened)

    def _offer_salvage(self, image: ImageSummary, title: str, text: str) -> None:
        """What is whole of a damaged image can be had all the same."""

        def answered(answer: str | None) -> None:
            if answer == "use":
                self._open_damaged(image)

        verb = {"restore": "Restore all that is whole of it", "files": "Look at what is whole of it"}
        warning = "What is lost becomes zeros on the disk. The files that this costs are named, as far as that can be told."
        self.rescue.push_screen(
            Question(
                title,
                f"{plain(image.name)}\n\n{text}",
                [("back", "Choose another image"), ("use", verb.get(self._flow.kind, "Use what is whole of it"))],
                warning=warning if self._flow.kind == "restore" else "",
            ),
            answered,
        )

    def _open_damaged(self, image: ImageSummary) -> None:
        """With what can be had of it; reading a long index anew may take a while."""
        machine = self._machine
        self._say("Looking what is whole of it …")

        def look() -> ImageSummary | None:
            try:
                return machine.image(image.path, salvage=True)
            except CredentialError:
                return None

        def looked(found: ImageSummary | None) -> None:
            self._say("")
            if found is None:
                self._unlock(image, salvage=True)
            else:
                self.use(found, salvage=True)

        self.in_thread(look, looked)

    def use(self, image: ImageSummary, *, salvage: bool = False) -> None:
        """Go on with an image; with ``salvage`` it is damaged, and what is whole of it is taken."""
        flow = replace(self._flow, image=image, folder=self._folder, salvage=salvage)
        if flow.kind == "restore":
            flow = replace(flow, restore=replace(flow.restore, salvage=salvage))
        self.rescue.push_screen(NEXT[flow.kind](flow))

    @property
    def flow(self) -> Flow:
        """What was chosen so far, with the folder that is shown and what was unlocked here."""
        return replace(self._flow, folder=self._folder)

    @property
    def has_images(self) -> bool:
        """Whether there is anything here."""
        return bool(self._images)
