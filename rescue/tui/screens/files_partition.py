"""Files: of which partition, or which volume in one?"""

from __future__ import annotations

from collections.abc import Iterable

from textual import on
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from rescue.errors import RescueError
from rescue.model.survey import DiskSurvey, ImageSummary
from rescue.model.volume import Volume
from rescue.planning.words import content_words, plain
from rescue.records import replace
from rescue.services import Machine
from rescue.tui.flow import Flow
from rescue.tui.frame import RescueScreen
from rescue.tui.inner import Inner, inner_from, inner_of
from rescue.tui.screens.files import FilesScreen
from rescue.tui.screens.files_words import source_words
from rescue.tui.secret_dialogs import UnlockVolumeDialog
from rescue.tui.theme import QUIET, WARN
from rescue.tui.widgets.choices import Choice, Choices
from rescue.units import human_size


def volume_obstacle(volume: Inner | Volume) -> str:
    """Why a volume has no files to show, as a clause; empty when it may have, or may when it is unlocked."""
    if isinstance(volume, Inner) and volume.is_locked:
        return ""
    if volume.identity.usage == "crypto":
        return f"locked ({content_words(volume.identity)})"
    if volume.identity.usage != "filesystem" or volume.identity.type == "swap":
        return "holds no files"
    return ""


def volume_choice(volume: Inner) -> Choice:
    """Label and file system; the system on it, how big it is."""
    obstacle = volume_obstacle(volume)
    number = f"Partition {volume.partition}" if volume.partition else "The whole disk"
    inside = f", {plain(volume.name)}" if volume.name else ""
    label = f"  “{plain(volume.identity.label)}”" if volume.identity.label else ""
    system = f"{plain(volume.system)}, " if volume.system else ""
    used = "" if obstacle or volume.whole_because or volume.is_locked else f", {human_size(volume.used_bytes)} used"
    reason = f" – {obstacle}" if obstacle else " – locked, Enter asks for its passphrase" if volume.is_locked else ""
    return Choice(
        volume.key,
        Content.assemble(
            f"{'– ' if obstacle else '▪ ' if volume.is_locked else '● '}{number}{inside}{label}"
            f"  {content_words(volume.identity) or 'unknown content'}\n",
            (f"   {system}{human_size(volume.size)}{used}", QUIET),
            (reason, WARN),
        ),
        not obstacle,
    )


def volumes_of(flow: Flow) -> list[Inner]:
    """All that a source holds, as far as it is known without opening anything."""
    source = flow.image or flow.source
    volumes = source.volumes if source else ()
    return [inner for volume in volumes for inner in inner_of(volume, opened=volume.partition in flow.unlocked)]


def after_source(flow: Flow) -> RescueScreen:
    """Which partition? Not asked where only one has files."""
    possible = [inner for inner in volumes_of(flow) if not volume_obstacle(inner)]
    if len(possible) == 1 and not possible[0].is_locked:
        return FilesScreen(with_volume(flow, possible[0]))
    return FilesPartitionScreen(flow)


def with_volume(flow: Flow, inner: Inner) -> Flow:
    """The flow with what was chosen."""
    source = flow.image or flow.source
    volume = next((v for v in source.volumes if v.partition == inner.partition), None) if source else None
    return replace(flow, volume=volume, inside=inner.name)


class FilesPartitionScreen(RescueScreen):
    """Choose a partition of an image or a disk, or unlock one."""

    HEADING = "Files: Which partition?"
    HELP = (
        "Each partition has files of its own. The one with the most data, or with your system's name, is most often the one.\n\n"
        "One that is locked asks for its passphrase, or a key file: those of the computer that it is of. It is then looked "
        "into without being changed. What it holds appears here."
    )

    def __init__(self, flow: Flow) -> None:
        super().__init__()
        self._flow = flow
        self._opened: dict[int, list[Inner]] = {}  # what was found in partitions that were unlocked

    @property
    def _source(self) -> ImageSummary | DiskSurvey | None:
        return self._flow.image or self._flow.source

    def content(self) -> Iterable[Widget]:
        """What is looked into, its partitions."""
        name = source_words(self._source) if self._source else ""
        yield Static(Content.styled(f"In {name}:", QUIET), classes="gap")
        yield Static("", id="state", classes="note")
        yield Choices()

    def on_mount(self) -> None:
        """Show what is known."""
        self._draw()

    def _volumes(self) -> list[Inner]:
        """The biggest first that can be chosen."""
        known = [inner for inner in volumes_of(self._flow) if inner.partition not in self._opened]
        found = [*known, *(inner for inners in self._opened.values() for inner in inners)]
        return sorted(found, key=lambda volume: (bool(volume_obstacle(volume)), -volume.used_bytes))

    def _draw(self) -> None:
        choices = [volume_choice(volume) for volume in self._volumes()]
        if not any(choice.enabled for choice in choices):
            self._say("There are no files here. Esc goes back.", WARN)
        self.query_one(Choices).show(choices)

    def _say(self, words: str, style: str = QUIET) -> None:
        self.query_one("#state", Static).update(Content.styled(words, style))

    @on(Choices.OptionSelected)
    def _chosen(self, event: Choices.OptionSelected) -> None:
        inner = next(volume for volume in self._volumes() if volume.key == event.option_id)
        if inner.is_locked:
            self._unlock(inner)
        else:
            self.rescue.push_screen(FilesScreen(with_volume(self._flow, inner)))

    def _unlock(self, inner: Inner) -> None:
        source = self._source
        if source is None:
            return

        def opened(machine: Machine | None) -> None:
            if machine is not None:
                self._say("Looking what is in it …")
                self._flow = replace(self._flow, machine=machine, unlocked=(*self._flow.unlocked, inner.partition))
                salvage = self._flow.salvage
                self.in_thread(
                    lambda: machine.volumes_in(source, inner.partition, salvage=salvage),
                    lambda found: self._show(inner.partition, inner_from(found)),
                )

        number = f"Partition {inner.partition}" if inner.partition else "The whole disk"
        inside = f", {plain(inner.name)}" if inner.name else ""
        what = f"{number}{inside}, {content_words(inner.identity)}, {human_size(inner.size)}"
        machine = self._flow.machine or self.rescue.machine
        self.rescue.push_screen(UnlockVolumeDialog(what, machine, source, inner.partition), opened)

    def _show(self, partition: int, found: list[Inner]) -> None:
        self._say("")
        self._opened[partition] = found
        self._draw()
        possible = [inner for inner in found if not volume_obstacle(inner) and not inner.is_locked]
        if len(possible) == 1:
            self.rescue.push_screen(FilesScreen(with_volume(self._flow, possible[0])))

    def failed(self, error: RescueError) -> None:
        """Others may be looked into."""
        self._say("")
        super().failed(error)
