"""What opens an encrypted image, and changing that. The data are not rewritten; each change is done at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from textual import on
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from rescue.errors import RescueError
from rescue.images.secrets import NO_SECRETS, Secrets
from rescue.planning.words import plain
from rescue.records import replace
from rescue.services import Machine
from rescue.tui.dialogs import AskLine, Notice, Question
from rescue.tui.flow import Flow
from rescue.tui.frame import RescueScreen
from rescue.tui.secret_dialogs import NewPassphraseDialog, RecoveryKeyDialog, key_file_secrets
from rescue.tui.theme import QUIET, STRONG
from rescue.tui.widgets.choices import Choice, Choices
from rescue.tui.widgets.lines import Line, Lines

if TYPE_CHECKING:
    from rescue.images.keyslots import SlotKind

_PASSPHRASE: Final = "passphrase"
_KEY_FILE: Final = "key-file"
_RECOVERY: Final = "recovery"
_DROP: Final = "drop:"


def key_choices(kinds: tuple[SlotKind, ...]) -> list[Choice]:
    """What can be changed of an image that ``kinds`` open."""
    words = {kind.words for kind in kinds}
    too = "it opens the image too"
    passphrase = "it replaces the one that is there" if "passphrase" in words else too
    recovery = f"for a paper; {'it replaces the one before' if 'recovery key' in words else too}"
    choices = [
        Choice(_PASSPHRASE, Content.assemble("● A new passphrase …\n", (f"   {passphrase}", QUIET))),
        Choice(_RECOVERY, Content.assemble("● A new recovery key …\n", (f"   {recovery}", QUIET))),
        Choice(
            _KEY_FILE,
            Content.assemble("● A key file …\n", (f"   any file that you keep elsewhere; {too}", QUIET)),
        ),
    ]
    if len(kinds) > 1:
        choices += [
            Choice(
                f"{_DROP}{int(kind)}",
                Content.assemble(f"✗ Take the {kind.words} away …\n", ("   it does not open this image any more", QUIET)),
            )
            for kind in kinds
        ]
    return choices


class KeysScreen(RescueScreen):
    """Choose what is changed; every change is tried before the old one goes."""

    HELP = (
        "An encrypted image can be opened by several things: a passphrase, key files, a recovery key on paper. Here others are "
        "given to it, or taken away. Its data are not rewritten, so it takes a second.\n\n"
        "Each change is for this image alone: others, also those that it needs, keep what opens them. Copies of the image "
        "still open with what opened it when they were made."
    )

    def __init__(self, flow: Flow) -> None:
        super().__init__()
        self._flow = flow
        self._kinds: tuple[SlotKind, ...] = ()
        self._working = False

    def heading(self) -> str:
        """What for."""
        return "Images: What opens it?"

    def content(self) -> Iterable[Widget]:
        """Which image, what opens it now, what can be changed."""
        name = plain(self._flow.image.name) if self._flow.image else ""
        yield Static(Content.assemble(("Image ", QUIET), (name, STRONG)), classes="gap")
        yield Lines([Line("Looking what opens it …", QUIET)], name="so-far")
        yield Static("")
        yield Choices()

    def on_mount(self) -> None:
        """Ask the image."""
        machine, path = self._machine, self._path
        self.in_thread(lambda: machine.opens_with(path), self._show)

    @property
    def _machine(self) -> Machine:
        return self._flow.machine or self.rescue.machine

    @property
    def _path(self) -> str:
        return self._flow.image.path if self._flow.image else ""

    def _show(self, kinds: tuple[SlotKind, ...]) -> None:
        self._kinds = kinds
        self._working = False
        self.query_one("#so-far", Lines).show([Line(f"It opens with: {', '.join(kind.words for kind in kinds)}.", STRONG)])
        self.query_one(Choices).show(key_choices(kinds))

    def failed(self, error: RescueError) -> None:
        """Nothing was changed, or the old key still opens it: the message says which."""
        self._working = False
        if self._kinds:
            self._show(self._kinds)
        super().failed(error)

    @on(Choices.OptionSelected)
    def _chosen(self, event: Choices.OptionSelected) -> None:
        key = event.option_id or ""
        if self._working:
            return
        if key == _PASSPHRASE:
            self.rescue.push_screen(NewPassphraseDialog(), self._with_new)
        elif key == _KEY_FILE:
            self.rescue.push_screen(AskLine("A key file", "Its path. It has to have 32 bytes at least:", "/"), self._with_file)
        elif key == _RECOVERY:
            self._with_recovery()
        else:
            self._take_away(int(key.removeprefix(_DROP)))

    def _with_new(self, secrets: Secrets | None) -> None:
        if secrets is not None:
            self._change(lambda: secrets, "The new passphrase opens it.")

    def _with_file(self, path: str | None) -> None:
        if path is not None:
            self._change(lambda: key_file_secrets(path), f"The key file {plain(path)} opens it too.")

    def _with_recovery(self) -> None:
        key = self.rescue.new_recovery_key()

        def noted(written: bool | None) -> None:
            if written:
                self._change(lambda: Secrets(recovery=key), "The new recovery key opens it.")

        self.rescue.push_screen(RecoveryKeyDialog(key), noted)

    def _take_away(self, number: int) -> None:
        kind = next(kind for kind in self._kinds if kind == number)
        rest = ", ".join(other.words for other in self._kinds if other is not kind)

        def answered(answer: str | None) -> None:
            if answer == "drop":
                self._change(lambda: NO_SECRETS, f"The {kind.words} does not open it any more.", frozenset({kind}))

        self.rescue.push_screen(
            Question(
                f"Take the {kind.words} away?",
                f"What opens it then: {rest}.",
                [("keep", "Keep it"), ("drop", "Take it away")],
                warning="If that is lost too, nobody can open the image any more.",
            ),
            answered,
        )

    def _change(self, new: Callable[[], Secrets], said: str, drop: frozenset[SlotKind] = frozenset()) -> None:
        """Do it in a thread, for deriving a key takes a second."""
        from rescue.images.rekey import Changes

        machine, path = self._machine, self._path
        self._working = True
        self.query_one("#so-far", Lines).show([Line("Changing what opens it …", QUIET)])

        def work() -> tuple[Secrets, tuple[SlotKind, ...]]:
            secrets = new()
            return secrets, machine.change_keys(path, Changes(secrets, drop))

        def changed(found: tuple[Secrets, tuple[SlotKind, ...]]) -> None:
            secrets, kinds = found
            if secrets:
                # What was given before may be what was replaced.
                self._flow = replace(self._flow, machine=machine.with_secrets(secrets))
            self._show(kinds)
            self.rescue.push_screen(Notice("Done", said, bad=False))

        self.in_thread(work, changed)
