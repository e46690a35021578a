"""Asking for what opens an encrypted image, and making what shall open a new one.

What is typed is taken out of its field at once: it lives on in the machine that :meth:`Machine.with_secrets` makes, and
nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final, Generic, TypeVar, cast

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from rescue.errors import RescueError
from rescue.images.secrets import Secrets, hash_key_file, passphrase_bytes, recovery_bytes
from rescue.model.survey import DiskSurvey, ImageSummary
from rescue.services import Machine
from rescue.tui.theme import BAD, PLAIN, QUIET, STRONG, WARN
from rescue.tui.widgets.toggle import Toggle
from rescue.volumes.secret import opened_by_file, typed_secret

if TYPE_CHECKING:
    from rescue.tui.app import RescueApp

Answer = TypeVar("Answer")

_WAYS: Final = ("Passphrase", "Key file", "Recovery key")
_PLACEHOLDERS: Final = ("", "path of the file", "as on the paper; hyphens do not matter")
_KEYS: Final = "Enter takes it, Esc goes back."


def key_file_secrets(path: str) -> Secrets:
    """What a key file opens. Raises OSError, UsageError for a file that is too short."""
    with open(path, "rb") as file:
        return Secrets(key_file=hash_key_file(file))


def secrets_from(way: int, typed: str) -> Secrets:
    """What was typed as passphrase (0), path of a key file (1) or recovery key (2). Raises OSError, RescueError."""
    match way:
        case 0:
            passphrase_bytes(typed)
            return Secrets(passphrase=typed)
        case 1:
            return key_file_secrets(typed.strip())
        case _:
            recovery_bytes(typed)
            return Secrets(recovery=typed)


class _Dialog(ModalScreen[Answer | None], Generic[Answer]):
    """A window that is left with Esc, and whose arrow keys go from field to field."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", show=False),
        Binding("down", "app.focus_next", show=False),
        Binding("up", "app.focus_previous", show=False),
    ]

    @property
    def rescue(self) -> RescueApp:
        """The app, by its own type."""
        return cast("RescueApp", self.app)

    def say(self, text: str, style: str = BAD) -> None:
        """One line about what was typed."""
        self.query_one("#said", Static).update(Content.styled(text, style))

    def action_leave(self) -> None:
        """No answer."""
        self.dismiss(None)


class _Opening(_Dialog[Machine]):
    """Ask until what was typed opens it; gives the machine that has it open, or None."""

    TITLE_WORDS: ClassVar[str] = "Encrypted"
    WAYS: ClassVar[tuple[str, ...]] = _WAYS
    INTRODUCTION: ClassVar[str] = " is opened by any of these:\n"

    def __init__(self, what: str) -> None:
        super().__init__()
        self._what = what
        self._trying = False

    def attempt(self, way: int, typed: str) -> Machine:
        """The machine that has it open; called in a thread. Raises RescueError, OSError."""
        raise NotImplementedError

    def compose(self) -> ComposeResult:
        """What is to be opened, with what, the field, what was wrong."""
        with Vertical(id="dialog"):
            yield Static(Content.styled(self.TITLE_WORDS, STRONG))
            yield Static(Content.assemble(("\n" + self._what, PLAIN), (self.INTRODUCTION, QUIET)))
            with Horizontal(classes="pair"):
                yield Static(Content.styled("Open it with", PLAIN), classes="label")
                yield Toggle(self.WAYS, 0, name="way")
            with Horizontal(classes="pair"):
                yield Static(Content.styled(self.WAYS[0], PLAIN), classes="label", id="what")
                yield Input(password=True, id="secret")
            yield Static("", id="said")
            yield Static(Content.styled(f"\n{_KEYS}", QUIET))

    def on_mount(self) -> None:
        """Most have a passphrase: type at once."""
        self.query_one("#secret").focus()

    @on(Toggle.Turned)
    def _turned(self, event: Toggle.Turned) -> None:
        field = self.query_one("#secret", Input)
        field.value = ""
        # A recovery key is compared with its paper while it is typed; a path is no secret.
        field.password = event.index == 0
        field.placeholder = _PLACEHOLDERS[event.index]
        self.query_one("#what", Static).update(Content.styled(self.WAYS[event.index], PLAIN))
        self.say("")

    @on(Input.Submitted)
    def _submitted(self) -> None:
        field = self.query_one("#secret", Input)
        if self._trying or not field.value:
            return
        way, typed = self.query_one("#way", Toggle).index, field.value
        if way != 1:
            field.value = ""
        self._trying = True
        self.say("Trying …", QUIET)
        self.rescue.in_thread(lambda: self.attempt(way, typed), self._opened, self._wrong)

    def _opened(self, machine: Machine) -> None:
        if self.is_attached:
            self.dismiss(machine)

    def _wrong(self, error: RescueError) -> None:
        self._trying = False
        if self.is_attached:
            self.say(f"✗ {error.message} {error.hint}".strip())
            self.query_one("#secret").focus()


class UnlockDialog(_Opening):
    """An encrypted image: ``check`` accepts the machine with the secrets, or raises CredentialError. ``base`` is kept else."""

    def __init__(self, what: str, check: Callable[[Machine], object], base: Machine | None = None) -> None:
        super().__init__(what)
        self._check, self._base = check, base

    def attempt(self, way: int, typed: str) -> Machine:
        """See _Opening."""
        machine = (self._base or self.rescue.machine).with_secrets(secrets_from(way, typed))
        self._check(machine)
        return machine


class UnlockVolumeDialog(_Opening):
    """The encrypted volumes in a partition of a disk, or of the disk in an image."""

    TITLE_WORDS = "Encrypted partition"
    WAYS = _WAYS[:2]
    INTRODUCTION = "\nIts own passphrase, that of its computer. It is kept nowhere.\n"

    def __init__(self, what: str, machine: Machine, source: ImageSummary | DiskSurvey, partition: int) -> None:
        super().__init__(what)
        self._machine, self._source, self._partition = machine, source, partition

    def attempt(self, way: int, typed: str) -> Machine:
        """See _Opening."""

        def opened(secret: bytes) -> Machine:
            return self._machine.with_unlocked(self._source, self._partition, secret)

        return opened_by_file(Path(typed.strip()), opened) if way == 1 else opened(typed_secret(typed))


class NewPassphraseDialog(_Dialog[Secrets]):
    """A new passphrase, typed twice; ``note`` is said above."""

    def __init__(self, note: str = "") -> None:
        super().__init__()
        self._note = note

    def compose(self) -> ComposeResult:
        """What it is for, two fields, what was wrong."""
        with Vertical(id="dialog"):
            yield Static(Content.styled("Passphrase for the image", STRONG))
            yield Static(
                Content.styled(
                    "\nWithout it (or a recovery key) nobody can read the image, and nobody can help. Long is better than "
                    "complicated: four words or more.",
                    PLAIN,
                )
            )
            yield Static(Content.styled(f"{self._note}\n" if self._note else "", QUIET))
            for label, name in (("Passphrase", "first"), ("Once more", "second")):
                with Horizontal(classes="pair"):
                    yield Static(Content.styled(label, PLAIN), classes="label")
                    yield Input(password=True, id=name)
            yield Static("", id="said")
            yield Static(Content.styled(f"\n{_KEYS}", QUIET))

    def on_mount(self) -> None:
        """Type at once."""
        self.query_one("#first").focus()

    @on(Input.Submitted, "#first")
    def _one(self) -> None:
        self.query_one("#second").focus()

    @on(Input.Submitted, "#second")
    def _both(self) -> None:
        first, second = self.query_one("#first", Input), self.query_one("#second", Input)
        typed, again = first.value, second.value
        first.value = second.value = ""
        if typed != again:
            self._wrong("The two are not the same. Type them again.")
            return
        try:
            passphrase_bytes(typed)
        except RescueError as error:
            self._wrong(error.message)
            return
        self.dismiss(Secrets(passphrase=typed))

    def _wrong(self, words: str) -> None:
        self.say(f"✗ {words}")
        self.query_one("#first").focus()


class RecoveryKeyDialog(_Dialog[bool]):
    """Show a new recovery key; it is acknowledged by typing its last four characters."""

    def __init__(self, key: str) -> None:
        super().__init__()
        self._key = key

    def compose(self) -> ComposeResult:
        """Why, the key, the field."""
        groups = self._key.split("-")
        half = (len(groups) + 1) // 2
        with Vertical(id="dialog"):
            yield Static(Content.styled("Recovery key: write it down now", STRONG))
            yield Static(
                Content.styled(
                    "\nIt opens the image when the passphrase is forgotten. It is shown only here and only now, and it is kept "
                    "nowhere. Put the paper where neither the computer nor the image is.\n",
                    PLAIN,
                )
            )
            yield Static(Content.styled(f"     {'-'.join(groups[:half])}-\n     {'-'.join(groups[half:])}", STRONG))
            yield Static("")
            with Horizontal(classes="pair"):
                yield Static(Content.styled("Written down? Its last four characters:", PLAIN), id="ask")
                yield Input(id="last", max_length=4)
            yield Static("", id="said")
            yield Static(Content.styled("\nEnter goes on; Esc goes back, and this key is then worth nothing.", QUIET))

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        if event.value.strip().casefold() == self._key[-4:].casefold():
            self.dismiss(True)
        else:
            self.query_one("#last", Input).value = ""
            self.say("✗ Those are not the last four characters of this key.", WARN)


class OwnRecoveryKeyDialog(_Dialog[str]):
    """Type a recovery key that is on paper already, so that it opens the new image too."""

    def compose(self) -> ComposeResult:
        """What for, the field."""
        with Vertical(id="dialog"):
            yield Static(Content.styled("The recovery key that you have", STRONG))
            yield Static(Content.styled("\nType it as it is on the paper. It will open the new image too.\n", PLAIN))
            yield Input(placeholder=_PLACEHOLDERS[2], id="own")
            yield Static("", id="said")
            yield Static(Content.styled(f"\n{_KEYS}", QUIET))

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        try:
            recovery_bytes(event.value)
        except RescueError as error:
            self.say(f"✗ {error.message} {error.hint}".strip())
            return
        key = event.value
        self.query_one("#own", Input).value = ""
        self.dismiss(key)
