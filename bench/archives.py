"""restic and borg, backing up a raw disk: repositories with day 1 in them, put back into that state before each round.

Both are given what suits them: warm caches of their own, no encryption for borg (restic has none without), their defaults
for all that is not named. What is kept of day 1 is hard-linked into the repository of the round: both write new files and
never change old ones. That this is so is checked before each round. Their small caches, which do change, are copied.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from bench.turns import Sample
from rescue.errors import RescueError
from rescue.system.run import run

_TIMEOUT: Final = 1800.0
_NAME: Final = "disk.img"


class Archiver(Protocol):
    """One program and its settings. ``root`` holds its repository (``root/repo``) and its caches (``root/cache``)."""

    def create(self, root: Path) -> None:
        """Make an empty repository."""

    def back_up(self, root: Path, disk: Path, name: str) -> None:
        """Back the disk file up under a name."""

    def compare(self, root: Path, disk: Path, name: str) -> None:
        """Raise RescueError unless what was backed up is the disk, byte for byte."""


def _shell(script: str, arguments: Sequence[str], env: Mapping[str, str]) -> None:
    """Run a script of bash; every part of its pipes must succeed."""
    run(["bash", "-o", "pipefail", "-c", script, "pipeline", *arguments], env=env, timeout=_TIMEOUT)


@dataclass(frozen=True, slots=True)
class Restic:
    """restic with its defaults; ``stdin``: the disk comes through standard input and not as the name of a file."""

    stdin: bool

    def _env(self, root: Path) -> dict[str, str]:
        return {"RESTIC_REPOSITORY": str(root / "repo"), "RESTIC_CACHE_DIR": str(root / "cache"), "RESTIC_PASSWORD": "bench"}

    def create(self, root: Path) -> None:
        """See Archiver. Version 2 of the repository's format is the one that compresses."""
        run(["restic", "init", "--quiet", "--repository-version", "2"], env=self._env(root), timeout=_TIMEOUT)

    def back_up(self, root: Path, disk: Path, name: str) -> None:
        """See Archiver."""
        options = ["--quiet", "--tag", name, *(["--no-scan"] if restic_version() >= (0, 15) else [])]
        if self.stdin:
            script = 'disk="$1"; shift; restic backup "$@" --stdin < "$disk"'
            _shell(script, [str(disk), *options, "--stdin-filename", _NAME], self._env(root))
        else:
            run(["restic", "backup", *options, str(disk)], env=self._env(root), timeout=_TIMEOUT)

    def compare(self, root: Path, disk: Path, name: str) -> None:
        """See Archiver."""
        inside = f"/{_NAME}" if self.stdin else str(disk)
        _shell('restic dump --tag "$1" latest "$2" | cmp - "$3"', [name, inside, str(disk)], self._env(root))


@dataclass(frozen=True, slots=True)
class Borg:
    """borg with its own default chunker, or another one, and a compression for what is new."""

    compression: str
    chunker: str = "buzhash,19,23,21,4095"

    def _env(self, root: Path) -> dict[str, str]:
        return {"BORG_BASE_DIR": str(root / "cache"), "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes"}

    def create(self, root: Path) -> None:
        """See Archiver."""
        run(["borg", "init", "--encryption", "none", str(root / "repo")], env=self._env(root), timeout=_TIMEOUT)

    def back_up(self, root: Path, disk: Path, name: str) -> None:
        """See Archiver."""
        options = ["--compression", self.compression, "--chunker-params", self.chunker]
        run(["borg", "create", *options, f"{root / 'repo'}::{name}", str(disk)], env=self._env(root), timeout=_TIMEOUT)

    def compare(self, root: Path, disk: Path, name: str) -> None:
        """See Archiver."""
        _shell('borg extract --stdout "$1" | cmp - "$2"', [f"{root / 'repo'}::{name}", str(disk)], self._env(root))


class Repository:
    """A repository that holds day 1, below ``folder``, and can be put back into that state."""

    def __init__(self, folder: Path) -> None:
        self._root = folder / "work"
        self._kept = folder / "kept"
        self._state: dict[str, tuple[int, int]] = {}

    def fill(self, archiver: Archiver, disk: Path) -> None:
        """Make it, back day 1 up into it, and keep that."""
        shutil.rmtree(self._root.parent, ignore_errors=True)
        (self._root / "cache").mkdir(parents=True)
        archiver.create(self._root)
        archiver.back_up(self._root, disk, "day1")
        self._root.rename(self._kept)
        self._state = _state(self._kept)

    def reset(self) -> None:
        """Bring back the state after day 1. Raises RescueError when that was not left alone."""
        if _state(self._kept) != self._state:
            raise RescueError(f"What was kept of day 1 in {self._kept} was changed by a backup of day 2.", "Start again.")
        shutil.rmtree(self._root, ignore_errors=True)
        self._root.mkdir()
        shutil.copytree(self._kept / "repo", self._root / "repo", copy_function=os.link)
        shutil.copytree(self._kept / "cache", self._root / "cache", symlinks=True)

    def second(self, archiver: Archiver, disk: Path) -> Sample:
        """Back day 2 up, timed; the bytes that the repository grew by."""
        before = size_of(self._root / "repo")
        began = time.perf_counter()
        archiver.back_up(self._root, disk, "day2")
        seconds = time.perf_counter() - began
        return Sample(seconds, size_of(self._root / "repo") - before)

    def compare(self, archiver: Archiver, disk: Path) -> None:
        """Raise RescueError unless day 2 comes out of the repository as it is."""
        archiver.compare(self._root, disk, "day2")


def _state(folder: Path) -> dict[str, tuple[int, int]]:
    """Sizes and times of the files of a kept repository."""
    stats = ((path, path.stat()) for path in (folder / "repo").rglob("*") if path.is_file())
    return {str(path): (stat.st_size, stat.st_mtime_ns) for path, stat in stats}


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def restic_version() -> tuple[int, ...]:
    """Of the installed restic. Raises RescueError when it does not tell."""
    return _version(["restic", "version"])


def borg_version() -> tuple[int, ...]:
    """Of the installed borg. Raises RescueError when it does not tell."""
    return _version(["borg", "--version"])


def _version(command: Sequence[str]) -> tuple[int, ...]:
    text = run(command).text
    if not (found := re.search(r"\d+(?:\.\d+)+", text)):
        raise RescueError(f"{command[0]} does not tell its version: {text.strip()!r}.")
    return tuple(int(part) for part in found[0].split("."))
