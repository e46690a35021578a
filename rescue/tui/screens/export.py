"""As what is an image exported? Then where to, and under which name."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from textual import on
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from rescue.errors import RescueError
from rescue.planning.names import with_suffix
from rescue.planning.words import plain
from rescue.records import replace
from rescue.tui.describe import image_date, image_origin
from rescue.tui.dialogs import AskLine
from rescue.tui.flow import Flow, OpenedPlace
from rescue.tui.frame import RescueScreen
from rescue.tui.screens.review import ReviewScreen
from rescue.tui.screens.where import WhereScreen
from rescue.tui.theme import QUIET, STRONG
from rescue.tui.widgets.choices import Choice, Choices
from rescue.units import human_size

_FORMATS: Final = (
    ("qcow2", "QCOW2", "for QEMU, KVM, Proxmox, GNOME Boxes; takes only the room of the data"),
    ("vmdk", "VMDK", "for VMware"),
    ("vdi", "VDI", "for VirtualBox"),
    ("vhdx", "VHDX", "for Hyper-V, and Windows 8 and later, which open it as a disk"),
    ("vhd", "VHD", "for Azure and old Hyper-V; at most 2040 GiB"),
    ("raw", "Raw", "the disk byte by byte, for dd and every other program"),
)


class ExportScreen(RescueScreen):
    """Choose a format; place and name follow, then the review."""

    HELP = (
        "The disk in the image becomes a file that a virtual machine takes for its disk, or that other programs can read. The "
        "image is not changed. What was written is compared with the image.\n\n"
        "The file takes about as much room as the data, without compression."
    )

    def __init__(self, flow: Flow) -> None:
        super().__init__()
        self._flow = flow

    def heading(self) -> str:
        """What for."""
        return f"{self._flow.name}: As what?"

    def content(self) -> Iterable[Widget]:
        """Which image, the formats."""
        image = self._flow.image
        if image is not None:
            words = Content.assemble(("Image of ", QUIET), (f"{image_date(image)}  {image_origin(image)}", STRONG))
            yield Static(words, classes="gap")
        yield Static("")
        yield Choices()

    def on_mount(self) -> None:
        """That of most virtual machines first."""
        self.query_one(Choices).show(
            [Choice(key, Content.assemble(f"● {name}\n", (f"   {words}", QUIET))) for key, name, words in _FORMATS]
        )

    @on(Choices.OptionSelected)
    def _chosen(self, event: Choices.OptionSelected) -> None:
        image, kind = self._flow.image, event.option_id or "raw"
        if image is None:
            return
        flow = replace(self._flow, format=kind)
        stem = with_suffix(image.name, "")

        def named(folder: Path, opened: OpenedPlace | None, name: str | None) -> None:
            if name is None:
                return
            if "/" in name or name in (".", ".."):
                self.failed(RescueError(f"{plain(name)} is not the name of a file.", "Give it a name without a slash."))
                return
            self.rescue.push_screen(ReviewScreen(replace(flow, destination=opened, file=folder / name)))

        def then(folder: Path, opened: OpenedPlace | None) -> None:
            ask = AskLine(
                "The new file", f"Its name in {plain(str(folder) if opened is None else opened.place.title)}:", f"{stem}.{kind}"
            )
            self.rescue.push_screen(ask, lambda name: named(folder, opened, name))

        what = f"{plain(image.name)} as {kind}, about {human_size(image.used_bytes)}"
        where = plain(self._flow.place_title)
        self.rescue.push_screen(WhereScreen(flow, "Where to put it?", then, what=what, beside=where))
