"""What is encrypted on the disk or in the image that is read: unlock it, or take it as it is?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec
from textual import on
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from rescue.errors import RescueError
from rescue.model.volume import Volume
from rescue.planning.words import plain
from rescue.records import replace
from rescue.services import Machine
from rescue.tui.describe import disk_name, image_date, image_origin, used_of
from rescue.tui.flow import Flow
from rescue.tui.frame import RescueScreen
from rescue.tui.inner import encrypted, is_closed
from rescue.tui.secret_dialogs import UnlockVolumeDialog
from rescue.tui.theme import GOOD, QUIET, STRONG
from rescue.tui.widgets.choices import Choice, Choices
from rescue.units import human_size

_GO_ON: Final = "go-on"


class Words(msgspec.Struct, frozen=True):
    """What becomes of an encrypted partition that is opened, and of those that are not; ``size`` is theirs."""

    opened: str
    closed: str


BACK_UP: Final = Words("only what is used in it is kept then, as it is: encrypted", "what is locked is kept whole: {size}")
CLONE: Final = Words("only what is used in it is copied then, as it is: encrypted", "what is locked is copied whole: {size}")
RESTORE: Final = Words("what is in it can be made larger or smaller then", "what is locked keeps its size")
_WORDS: Final = {"backup": BACK_UP, "clone": CLONE, "restore": RESTORE}


def volume_title(volume: Volume) -> str:
    """``Partition 2, LUKS “cryptroot”``."""
    label = f" “{plain(volume.identity.label)}”" if volume.identity.label else ""
    kind = {"crypto_LUKS": "LUKS", "BitLocker": "BitLocker", "LVM2_member": "LVM"}.get(volume.identity.type, "encrypted")
    return f"{f'Partition {volume.partition}' if volume.partition else 'The whole disk'}, {kind}{label}"


def unlock_choices(volumes: Sequence[Volume], closed: Sequence[Volume], words: Words) -> list[Choice]:
    """What is locked (``closed``, of the encrypted ``volumes``), what was opened, and going on."""
    choices = []
    for volume in volumes:
        title, size = volume_title(volume), human_size(volume.size)
        if volume in closed:
            text = Content.assemble(f"● Unlock {title[0].lower()}{title[1:]}, {size}\n", (f"   {words.opened}", QUIET))
            choices.append(Choice(str(volume.partition), text))
        else:
            used = used_of(volume.used_bytes, volume.size)
            choices.append(Choice(f"open:{volume.partition}", Content.assemble((f"✓ {title}: {used}", GOOD)), enabled=False))
    left = words.closed.format(size=human_size(sum(volume.used_bytes for volume in closed)))
    first, second = ("● Go on without", left) if closed else ("● Go on", "nothing is locked any more")
    return [*choices, Choice(_GO_ON, Content.assemble(f"{first}\n", (f"   {second}", QUIET)))]


class UnlockScreen(RescueScreen):
    """Ask for what opens the encrypted partitions of a source, then ``then`` is the next screen."""

    HELP = (
        "An encrypted partition tells nobody which part of it is used. With its passphrase, or a key file, only that part is "
        "read, and the image or the copy takes as long and as much room as the data. What is kept stays encrypted: it opens "
        "with the same passphrase afterwards.\n\n"
        "Without it the partition is kept whole, free space included. That is as good, but takes longer and more room.\n\n"
        "Onto a disk of another size, what is in it can be made larger or smaller only when it is open. On the new disk it is "
        "encrypted with the same key and opens with the same passphrases."
    )

    def __init__(self, flow: Flow, then: Callable[[Flow], RescueScreen]) -> None:
        super().__init__()
        self._flow, self._then = flow, then

    def heading(self) -> str:
        """What for."""
        return f"{self._flow.name}: Unlock what is encrypted?"

    def content(self) -> Iterable[Widget]:
        """Which disk or image, what is in it."""
        image, source = self._flow.image, self._flow.source
        if image is not None:
            before, who = "Encrypted in the image of ", f"{image_date(image)}  {image_origin(image)}"
        else:
            before, who = "Encrypted on ", f"{disk_name(source.disk)}, {human_size(source.disk.size)}" if source else ""
        yield Static(Content.assemble((before, QUIET), (who, STRONG)), classes="gap")
        yield Static("", id="state", classes="note")
        yield Choices()

    def on_mount(self) -> None:
        """What the survey found."""
        self._draw()

    def _draw(self) -> None:
        volumes = encrypted(_volumes(self._flow))
        self.query_one(Choices).show(unlock_choices(volumes, _closed(self._flow), _WORDS[self._flow.kind]))

    def _say(self, words: str) -> None:
        self.query_one("#state", Static).update(Content.styled(words, QUIET))

    @on(Choices.OptionSelected)
    def _chosen(self, event: Choices.OptionSelected) -> None:
        source, key = self._flow.image or self._flow.source, event.option_id or ""
        if key == _GO_ON or source is None:
            self.rescue.push_screen(self._then(self._flow))
            return
        volume = next(volume for volume in source.volumes if str(volume.partition) == key)
        machine = self._flow.machine or self.rescue.machine
        dialog = UnlockVolumeDialog(f"{volume_title(volume)}, {human_size(volume.size)}", machine, source, volume.partition)
        self.rescue.push_screen(dialog, lambda opened: self._opened(volume.partition, opened))

    def _opened(self, partition: int, machine: Machine | None) -> None:
        source = self._flow.source
        if machine is None:
            return
        unlocked = tuple(sorted({*self._flow.unlocked, partition}))
        flow = replace(self._flow, machine=machine, unlocked=unlocked)
        if source is None:
            self._go_on(replace(flow, restore=replace(flow.restore, unlock=unlocked)))
            return
        self._say("Looking what is used in it …")
        path = source.disk.path
        flow = replace(flow, request=replace(flow.request, unlock=unlocked), clone=replace(flow.clone, unlock=unlocked))
        self.in_thread(lambda: machine.survey_one(path), lambda survey: self._go_on(replace(flow, source=survey)))

    def _go_on(self, flow: Flow) -> None:
        """To the next screen when nothing is locked any more."""
        self._say("")
        self._flow = flow
        self._draw()
        if not _closed(flow):
            self.rescue.push_screen(self._then(flow))

    def failed(self, error: RescueError) -> None:
        """It can be gone on without."""
        self._say("")
        super().failed(error)


def _volumes(flow: Flow) -> Sequence[Volume]:
    source = flow.image or flow.source
    return source.volumes if source else ()


def _closed(flow: Flow) -> list[Volume]:
    """What is locked: on a disk as its survey says, in an image all that was not opened here."""
    volumes = encrypted(_volumes(flow))
    return [v for v in volumes if (v.partition not in flow.unlocked if flow.image is not None else is_closed(v))]


def unlocked_first(flow: Flow, then: Callable[[Flow], RescueScreen]) -> RescueScreen:
    """The screen that asks, where something on the source or in the image is locked; else the next one."""
    return UnlockScreen(flow, then) if _closed(flow) else then(flow)
