"""How to back up: name, comment, kind, compression, encryption, check. Everything has a default: Enter, Enter."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar, Final, Literal

from textual import on
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, Static

from rescue.errors import RescueError
from rescue.images.secrets import Secrets
from rescue.model.plan import CaptureDisk, MendImage, Plan
from rescue.model.survey import ImageSummary
from rescue.planning.words import plain
from rescue.records import replace
from rescue.services import BackupRequest, Machine
from rescue.tui.describe import disk_name
from rescue.tui.flow import Flow
from rescue.tui.frame import RescueScreen
from rescue.tui.screens.review import ReviewScreen
from rescue.tui.secret_dialogs import NewPassphraseDialog, OwnRecoveryKeyDialog, RecoveryKeyDialog
from rescue.tui.theme import PLAIN, QUIET, WARN
from rescue.tui.widgets.button import PushButton
from rescue.tui.widgets.lines import Line, Lines
from rescue.tui.widgets.toggle import Toggle
from rescue.units import human_size

_LEVELS: Final = (1, 0, 9)
_LEVEL_NAMES: Final = ("Fast, bigger file", "Automatic", "Small file, slower")
_KINDS: Final[tuple[Literal["", "full", "incremental", "differential"], ...]] = ("", "full", "incremental", "differential")
_KIND_NAMES: Final = ("Automatic", "Full: everything", "Incremental: since the newest", "Differential: since the full one")
_RECOVERY_NAMES: Final = ("A new one, to write down", "The one I have on paper", "None: only the passphrase opens it")
_SALVAGE_NAMES: Final = ("No", "Yes: go on over what cannot be read")
_NEW, _OWN = 0, 1
_DECRYPT_NAMES: Final = ("As it is: it opens as before", "In clear inside of the image: smaller")


def forecast(plan: Plan) -> str:
    """What kind of image it will be, and upon which one, in a sentence."""
    step = plan.steps[0]
    if isinstance(step, MendImage):
        return f"It asks the disk only for the {human_size(plan.estimated_bytes)} that {plain(step.image)} lacks."
    if not isinstance(step, CaptureDisk):
        return ""
    if step.begun:
        return f"It goes on with {plain(step.name)}, which was interrupted."
    if step.kind == "full":
        return "It will be a full image: it needs no other."
    base = plain(os.path.basename(step.parent))
    return f"It will be {'an incremental' if step.kind == 'incremental' else 'a differential'} image upon {base}."


class OptionsScreen(RescueScreen):
    """A few settings, and on to the review."""

    HELP = (
        "Without a name, the image is named after the computer, the disk and today's date.\n\n"
        "Kind: automatic stores only what changed, if a whole image of this disk is here already, and everything if not. "
        "Incremental: what changed since the newest image. Differential: since the newest full one. Both need what they are "
        "made upon; a full image needs no other.\n\n"
        "Encryption: without the passphrase nobody can read what is in the image, not even names. A recovery key on paper "
        "opens it too. Encrypted partitions that were unlocked can be kept in clear inside of the encrypted image: then the "
        "image gets smaller, and a restore encrypts them anew, with the same passphrases.\n\n"
        "Failing disk: what cannot be read does not stop the backup. It takes first what can be read easily, then tries hard "
        "for the rest, and names the files that are damaged. Another backup like this asks the disk only for what is missing.\n\n"
        "Automatic compression is right for nearly everybody. "
        "Checking reads the finished image again from its disk, compares every hash and opens its file systems: leave it on "
        "unless you are in a hurry."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down", "app.focus_next", show=False),
        Binding("up", "app.focus_previous", show=False),
    ]

    def __init__(self, flow: Flow) -> None:
        super().__init__()
        self._flow = flow
        self._unlocked: Machine | None = None  # with the new image's secrets
        self._encrypted_here = False
        self._asked = 0

    def heading(self) -> str:
        """What for."""
        return "Back up: How?"

    def content(self) -> Iterable[Widget]:
        """The settings and a button."""
        source = self._flow.source
        what = f"{disk_name(source.disk)}, {human_size(source.disk.size)}" if source else ""
        yield Static(Content.styled(f"{what} → {plain(self._flow.place_title)}", QUIET), classes="gap")
        yield Static("")
        yield self._row("Name", Input(placeholder="made from computer, disk and date", id="name"))
        yield self._row("Comment", Input(placeholder="for yourself: “before the update”", id="comment"))
        yield self._row("Kind", Toggle(_KIND_NAMES, 0, name="kind"))
        yield Lines([Line("Looking at the images here …", QUIET)], name="forecast")
        yield self._row("Encryption", Toggle(("No", "Yes"), 0, name="encrypt"))
        yield self._row("Recovery key", Toggle(_RECOVERY_NAMES, _NEW, name="recovery"))
        yield self._row("Encrypted data", Toggle(_DECRYPT_NAMES, int(bool(self._flow.request.decrypt)), name="decrypt"))
        yield self._row("Compression", Toggle(_LEVEL_NAMES, 1, name="level"))
        yield self._row("Failing disk", Toggle(_SALVAGE_NAMES, int(self._flow.request.salvage), name="salvage"))
        yield self._row("Check afterwards", Toggle(("Yes", "No"), 0, name="verify"))
        yield Horizontal(PushButton("Review the backup", name="next"), classes="row")

    def _row(self, label: str, field: Widget) -> Horizontal:
        return Horizontal(Static(Content.styled(label, PLAIN), classes="label"), field, classes="field", id=f"row-{field.id}")

    def on_mount(self) -> None:
        """Most people want the defaults: the button first."""
        self._show_encryption()
        self.query_one("#next").focus()
        machine, folder = self._base, self._folder
        self.in_thread(lambda: machine.images(folder), self._looked)

    @property
    def _folder(self) -> Path:
        return self._flow.folder or Path("/")

    @property
    def _encrypt(self) -> bool:
        return self.query_one("#encrypt", Toggle).index == 1

    def _looked(self, images: list[ImageSummary]) -> None:
        """Where the newest image is encrypted, the next one should not lie beside it open to everybody."""
        newest = max((image for image in images if image.uuid), key=lambda image: image.created, default=None)
        self._encrypted_here = any(image.encrypted for image in images)
        if newest is not None and newest.encrypted:
            self.query_one("#encrypt", Toggle).index = 1
            self.query_one("#recovery", Toggle).index = _OWN
            self._show_encryption()
        if self._lacks(images):
            self.query_one("#salvage", Toggle).index = 1
        self._forecast()

    def _lacks(self, images: list[ImageSummary]) -> bool:
        """Whether the newest image of this disk is one of a failing disk, and lacks something."""
        source = self._flow.source
        mine = [i for i in images if source and i.disk and (i.disk.serial, i.disk.size) == (source.disk.serial, source.disk.size)]
        newest = max((image for image in mine if image.uuid), key=lambda image: image.order, default=None)
        return newest is not None and newest.bad_bytes > 0

    @on(Toggle.Turned, "#kind")
    def _kind_turned(self) -> None:
        self._forecast()

    @on(Toggle.Turned, "#encrypt")
    def _encryption_turned(self) -> None:
        self._unlocked = None
        self._show_encryption()
        self._forecast()

    @property
    def _salvage(self) -> bool:
        return self.query_one("#salvage", Toggle).index == 1

    @property
    def _base(self) -> Machine:
        """With what was unlocked on the way."""
        return self._flow.machine or self.rescue.machine

    @on(Toggle.Turned, "#salvage")
    def _salvage_turned(self) -> None:
        self._show_encryption()
        self._forecast()

    @on(Toggle.Turned, "#decrypt")
    def _decrypt_turned(self) -> None:
        self._forecast()

    @on(Toggle.Turned, "#recovery")
    def _recovery_turned(self) -> None:
        self._unlocked = None

    def _show_encryption(self) -> None:
        self.query_one("#row-recovery").display = self._encrypt
        self.query_one("#row-decrypt").display = self._encrypt and not self._salvage and bool(self._opened_luks)

    @property
    def _opened_luks(self) -> tuple[int, ...]:
        """The partitions that are LUKS and were unlocked: of those the image can hold the content in clear."""
        volumes = self._flow.source.volumes if self._flow.source else ()
        return tuple(v.partition for v in volumes if v.identity.type == "crypto_LUKS" and v.inside and not v.whole_because)

    @property
    def _decrypt(self) -> tuple[int, ...]:
        row, toggle = self.query_one("#row-decrypt"), self.query_one("#decrypt", Toggle)
        return self._opened_luks if row.display and toggle.index == 1 else ()

    def _forecast(self) -> None:
        """Say what the kind comes down to; only the answer to the last question counts."""
        self._asked += 1
        asked, source, folder = self._asked, self._flow.source, str(self._folder)
        machine = self._unlocked or self._base
        request = replace(
            self._flow.request,
            kind=_KINDS[self.query_one("#kind", Toggle).index],
            encrypt=self._encrypt,
            decrypt=self._decrypt,
            salvage=self._salvage,
        )
        if source is None:
            return
        if request.encrypt and self._unlocked is None:
            self._say("The passphrase comes next; it tells which images here this one can be made upon.", QUIET)
            return

        def say(words: str, style: str) -> None:
            if asked == self._asked and self.is_attached:
                self._say(words, style)

        self.rescue.in_thread(
            lambda: machine.plan_backup(source, folder, request),
            lambda plan: say(forecast(plan), QUIET),
            lambda error: say(f"{error.message} {error.hint}".strip(), WARN),
        )

    def _say(self, words: str, style: str) -> None:
        self.query_one("#forecast", Lines).show([Line(words, style)])

    @on(Input.Submitted)
    def _submitted(self) -> None:
        self.focus_next()

    def request(self) -> BackupRequest:
        """What the fields say."""
        return replace(
            self._flow.request,
            name=self.query_one("#name", Input).value.strip(),
            level=_LEVELS[self.query_one("#level", Toggle).index],
            comment=self.query_one("#comment", Input).value.strip(),
            verify=self.query_one("#verify", Toggle).index == 0,
            kind=_KINDS[self.query_one("#kind", Toggle).index],
            encrypt=self._encrypt,
            decrypt=self._decrypt,
            salvage=self._salvage,
        )

    @on(PushButton.Pressed, "#next")
    def _next(self) -> None:
        if self._encrypt and self._unlocked is None:
            note = (
                "\nEncrypted images are here: with their passphrase, this one is built upon them." if self._encrypted_here else ""
            )
            self.rescue.push_screen(NewPassphraseDialog(note), self._with_passphrase)
            return
        flow = replace(self._flow, folder=self._folder, request=self.request(), machine=self._unlocked or self._flow.machine)
        self.rescue.push_screen(ReviewScreen(flow))

    def _with_passphrase(self, secrets: Secrets | None) -> None:
        if secrets is None:
            return
        way = self.query_one("#recovery", Toggle).index
        if way == _NEW:
            key = self.rescue.new_recovery_key()
            self.rescue.push_screen(
                RecoveryKeyDialog(key), lambda noted: self._with_secrets(replace(secrets, recovery=key)) if noted else None
            )
        elif way == _OWN:
            self.rescue.push_screen(
                OwnRecoveryKeyDialog(), lambda own: self._with_secrets(replace(secrets, recovery=own)) if own else None
            )
        else:
            self._with_secrets(secrets)

    def _with_secrets(self, secrets: Secrets) -> None:
        self._unlocked = self._base.with_secrets(secrets)
        self._forecast()
        self._next()

    def failed(self, error: RescueError) -> None:
        """The images here cannot be listed: what is wrong is told again, and in full, by the review."""
        self._say(f"{error.message} {error.hint}".strip(), WARN)
