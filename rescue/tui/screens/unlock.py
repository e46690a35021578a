"""What is encrypted on the disk that is read: unlock it, or keep it whole?"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from textual import on
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from rescue.errors import RescueError
from rescue.model.survey import DiskSurvey
from rescue.model.volume import Volume
from rescue.planning.words import plain
from rescue.services import Machine
from rescue.tui.describe import disk_name, used_of
from rescue.tui.flow import Flow
from rescue.tui.frame import RescueScreen
from rescue.tui.inner import encrypted, is_closed
from rescue.tui.secret_dialogs import UnlockVolumeDialog
from rescue.tui.theme import GOOD, QUIET, STRONG
from rescue.tui.widgets.choices import Choice, Choices
from rescue.units import human_size

_GO_ON: Final = "go-on"


def volume_title(volume: Volume) -> str:
    """``Partition 2, LUKS “cryptroot”``."""
    label = f" “{plain(volume.identity.label)}”" if volume.identity.label else ""
    kind = {"crypto_LUKS": "LUKS", "BitLocker": "BitLocker", "LVM2_member": "LVM"}.get(volume.identity.type, "encrypted")
    return f"{f'Partition {volume.partition}' if volume.partition else 'The whole disk'}, {kind}{label}"


def unlock_choices(survey: DiskSurvey, kept: str) -> list[Choice]:
    """What is locked, what was opened, and going on. ``kept``: the word for what is done with the rest."""
    choices = []
    closed = [volume for volume in encrypted(survey.volumes) if is_closed(volume)]
    for volume in encrypted(survey.volumes):
        title, size = volume_title(volume), human_size(volume.size)
        if volume in closed:
            words = Content.assemble(
                f"● Unlock {title[0].lower()}{title[1:]}, {size}\n",
                (f"   only what is used in it is {kept} then, as it is: encrypted", QUIET),
            )
            choices.append(Choice(str(volume.partition), words))
        else:
            used = used_of(volume.used_bytes, volume.size)
            choices.append(Choice(f"open:{volume.partition}", Content.assemble((f"✓ {title}: {used}", GOOD)), enabled=False))
    if closed:
        whole = human_size(sum(volume.used_bytes for volume in closed))
        going = Content.assemble("● Go on without\n", (f"   what is locked is {kept} whole: {whole}", QUIET))
    else:
        going = Content.assemble("● Go on\n", ("   nothing is locked any more", QUIET))
    return [*choices, Choice(_GO_ON, going)]


class UnlockScreen(RescueScreen):
    """Ask for what opens the encrypted partitions of a source, then ``then`` is the next screen."""

    HELP = (
        "An encrypted partition tells nobody which part of it is used. With its passphrase, or a key file, only that part is "
        "read, and the image or the copy takes as long and as much room as the data. What is kept stays encrypted: it opens "
        "with the same passphrase afterwards.\n\n"
        "Without it the partition is kept whole, free space included. That is as good, but takes longer and more room."
    )

    def __init__(self, flow: Flow, then: Callable[[Flow], RescueScreen]) -> None:
        super().__init__()
        self._flow, self._then = flow, then

    def heading(self) -> str:
        """What for."""
        return f"{self._flow.name}: Unlock what is encrypted?"

    def content(self) -> Iterable[Widget]:
        """Which disk, what is on it."""
        source = self._flow.source
        who = f"{disk_name(source.disk)}, {human_size(source.disk.size)}" if source else ""
        yield Static(Content.assemble(("Encrypted on ", QUIET), (who, STRONG)), classes="gap")
        yield Static("", id="state", classes="note")
        yield Choices()

    def on_mount(self) -> None:
        """What the survey found."""
        self._draw()

    def _draw(self) -> None:
        if self._flow.source is not None:
            kept = "copied" if self._flow.kind == "clone" else "kept"
            self.query_one(Choices).show(unlock_choices(self._flow.source, kept))

    def _say(self, words: str) -> None:
        self.query_one("#state", Static).update(Content.styled(words, QUIET))

    @on(Choices.OptionSelected)
    def _chosen(self, event: Choices.OptionSelected) -> None:
        source, key = self._flow.source, event.option_id or ""
        if key == _GO_ON or source is None:
            self.rescue.push_screen(self._then(self._flow))
            return
        volume = next(volume for volume in source.volumes if str(volume.partition) == key)
        machine = self._flow.machine or self.rescue.machine
        dialog = UnlockVolumeDialog(f"{volume_title(volume)}, {human_size(volume.size)}", machine, source, volume.partition)
        self.rescue.push_screen(dialog, lambda opened: self._opened(volume.partition, opened))

    def _opened(self, partition: int, machine: Machine | None) -> None:
        source = self._flow.source
        if machine is None or source is None:
            return
        self._say("Looking what is used in it …")
        path = source.disk.path
        self.in_thread(lambda: machine.survey_one(path), lambda survey: self._surveyed(partition, machine, survey))

    def _surveyed(self, partition: int, machine: Machine, survey: DiskSurvey) -> None:
        self._say("")
        unlocked = tuple(sorted({*self._flow.unlocked, partition}))
        flow = replace(self._flow, source=survey, machine=machine, unlocked=unlocked)
        flow = replace(flow, request=replace(flow.request, unlock=unlocked), clone=replace(flow.clone, unlock=unlocked))
        self._flow = flow
        self._draw()
        if not any(is_closed(volume) for volume in survey.volumes):
            self.rescue.push_screen(self._then(flow))

    def failed(self, error: RescueError) -> None:
        """It can be gone on without."""
        self._say("")
        super().failed(error)


def unlocked_first(flow: Flow, then: Callable[[Flow], RescueScreen]) -> RescueScreen:
    """The screen that asks, where something on the source is locked; else the next one."""
    locked = flow.source is not None and any(is_closed(volume) for volume in flow.source.volumes)
    return UnlockScreen(flow, then) if locked else then(flow)
