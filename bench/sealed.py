"""What encryption costs: backup and restore with it and without."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bench import ours
from bench.bench import empty, settle
from bench.contest import Contest, Line, cost
from bench.disk import DISK
from bench.stage import Stage
from bench.truth import same_bytes
from bench.turns import Contender, Sample, alternate

GOAL = 0.15
_TEXT = """
A full backup of day 1 with `--encrypt` and without, and the restore of both images onto blank targets; both without the proof at
the end. Seconds include deriving the key from the passphrase. Everything is read from a warm cache. Checked once: all
bytes in use are those of day 1, all others zeros.
"""


class _Side:
    """Backup and restore of one sort of image."""

    def __init__(self, stage: Stage, name: str, passphrase: Path | None) -> None:
        self._stage = stage
        self._name = name
        self._folder = stage.folder / f"image-{name}"
        self._passphrase = passphrase

    def backup(self) -> Contender:
        """The backup's turn."""

        def prepare() -> None:
            empty(self._folder)
            settle(DISK)

        def work() -> Sample:
            result = ours.backup(DISK, self._folder, passphrase=self._passphrase)
            return Sample(result.seconds, result.size)

        return Contender(f"backup, {self._name}", prepare, work, lambda: None)

    def restore(self) -> Contender:
        """The restore's turn."""

        def prepare() -> None:
            self._stage.blank_target()
            settle(ours.image_in(self._folder))

        def work() -> Sample:
            image = ours.image_in(self._folder)
            result = ours.restore(image, self._stage.target, proof=False, delta=False, passphrase=self._passphrase)
            return Sample(result.seconds)

        def check() -> None:
            same_bytes(DISK, self._stage.target, blank=True)

        return Contender(f"restore, {self._name}", prepare, work, check)


def contest(stage: Stage, say: Callable[[str], None]) -> Contest:
    """Measure it."""
    stage.folder.mkdir(parents=True, exist_ok=True)
    passphrase = stage.folder / "passphrase"
    passphrase.write_text("correct horse battery staple\n")
    passphrase.chmod(0o600)
    sealed, plain = _Side(stage, "encrypted", passphrase), _Side(stage, "plain", None)
    rows = alternate([sealed.backup(), plain.backup(), sealed.restore(), plain.restore()], stage.rounds, say)
    stage.remove("image-encrypted", "image-plain")
    stage.target.unlink(missing_ok=True)
    lines = [
        Line("encryption makes the backup longer by", rows[0], rows[1], cost(GOAL)),
        Line("encryption makes the restore longer by", rows[2], rows[3], cost(GOAL)),
    ]
    return Contest("What encryption costs", rows, lines, _TEXT)
