"""Files: of which partition?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from textual import on
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from rescue.model.survey import DiskSurvey, ImageSummary
from rescue.model.volume import Volume
from rescue.planning.words import content_words, plain
from rescue.tui.flow import Flow
from rescue.tui.frame import RescueScreen
from rescue.tui.screens.files import FilesScreen
from rescue.tui.screens.files_words import source_words
from rescue.tui.theme import QUIET, WARN
from rescue.tui.widgets.choices import Choice, Choices
from rescue.units import human_size


def volume_obstacle(volume: Volume) -> str:
    """Why a volume has no files to show, as a clause; empty when it may have."""
    if volume.identity.usage == "crypto":
        return f"locked ({content_words(volume.identity)})"
    if volume.identity.usage != "filesystem" or volume.identity.type == "swap":
        return "holds no files"
    return ""


def volume_choice(volume: Volume) -> Choice:
    """Label and file system; the system on it, how big it is."""
    obstacle = volume_obstacle(volume)
    number = f"Partition {volume.partition}" if volume.partition else "The whole disk"
    label = f"  “{plain(volume.identity.label)}”" if volume.identity.label else ""
    system = f"{plain(volume.system)}, " if volume.system else ""
    used = "" if obstacle or volume.whole_because else f", {human_size(volume.used_bytes)} used"
    return Choice(
        str(volume.partition),
        Content.assemble(
            f"{'– ' if obstacle else '● '}{number}{label}  {content_words(volume.identity) or 'unknown content'}\n",
            (f"   {system}{human_size(volume.size)}{used}", QUIET),
            (f" – {obstacle}" if obstacle else "", WARN),
        ),
        not obstacle,
    )


def after_source(flow: Flow) -> RescueScreen:
    """Which partition? Not asked where only one has files."""
    source = flow.image or flow.source
    volumes = [volume for volume in (source.volumes if source else ()) if not volume_obstacle(volume)]
    return FilesScreen(replace(flow, volume=volumes[0])) if len(volumes) == 1 else FilesPartitionScreen(flow)


class FilesPartitionScreen(RescueScreen):
    """Choose a partition of an image or a disk."""

    HEADING = "Files: Which partition?"
    HELP = "Each partition has files of its own. The one with the most data, or with your system's name, is most often the one."

    def __init__(self, flow: Flow) -> None:
        super().__init__()
        self._flow = flow

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
        """The biggest first that can be chosen."""
        volumes = self._source.volumes if self._source else ()
        ordered = sorted(volumes, key=lambda volume: (bool(volume_obstacle(volume)), -volume.used_bytes))
        choices = [volume_choice(volume) for volume in ordered]
        if not any(choice.enabled for choice in choices):
            self.query_one("#state", Static).update(Content.styled("There are no files here. Esc goes back.", WARN))
        self.query_one(Choices).show(choices)

    @on(Choices.OptionSelected)
    def _chosen(self, event: Choices.OptionSelected) -> None:
        volumes = self._source.volumes if self._source else ()
        volume = next(volume for volume in volumes if str(volume.partition) == event.option_id)
        self.rescue.push_screen(FilesScreen(replace(self._flow, volume=volume)))
