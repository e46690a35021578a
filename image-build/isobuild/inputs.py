"""What an ISO is made of, and the keys under which slow results are cached."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from isobuild.host import output_of

_SOURCES = ("rescue", "live-config", "image-build", "requirements.lock")


@dataclass(frozen=True, slots=True)
class Tree:
    """The checkout and the folders in it that the build uses."""

    top: Path

    @property
    def image_build(self) -> Path:
        """The recipe."""
        return self.top / "image-build"

    @property
    def live_config(self) -> Path:
        """What the live system looks like."""
        return self.top / "live-config"

    @property
    def cache(self) -> Path:
        """Everything slow; git ignores it, and it may be deleted at any time."""
        return self.top / ".cache/iso"

    def workshop_key(self) -> str:
        """Key of the workshop: its package list and how it is made."""
        return _digest(self.top, [self.image_build / "workshop-packages.txt", self.image_build / "isobuild/workshop.py"])

    def base_key(self) -> str:
        """Key of the base: the Debian packages, their configuration and the workshop."""
        recipe = [self.live_config / "packages.txt", self.live_config / "base", self.image_build / "isobuild/base.py"]
        return _digest(self.top, recipe, self.workshop_key())

    def iso_key(self) -> str:
        """Key of the whole: everything above, our program, its requirements and the includes."""
        everything = [self.image_build, self.live_config, self.top / "rescue", self.top / "requirements.lock"]
        return _digest(self.top, everything, self.base_key(), str(self.source_date_epoch()), self.version())

    def source_date_epoch(self) -> int:
        """Seconds since 1970 of the last commit (or SOURCE_DATE_EPOCH): the only clock that the ISO sees."""
        if "SOURCE_DATE_EPOCH" in os.environ:
            return int(os.environ["SOURCE_DATE_EPOCH"])
        said = self._last_commit("%ct", _SOURCES)
        return int(said) if said else 1_735_689_600

    def version(self) -> str:
        """The version from pyproject.toml and the commit, for people."""
        lines = (self.top / "pyproject.toml").read_text().splitlines()
        number = next(line.split('"')[1] for line in lines if line.startswith("version = "))
        commit = self._last_commit("%h", _SOURCES)
        return f"{number} ({commit})" if commit else number

    def _last_commit(self, what: str, paths: Sequence[str]) -> str | None:
        # With sudo the checkout belongs to somebody else, which git refuses to read unless told that it may.
        git = ["git", "-c", f"safe.directory={self.top}", "log", "-1", f"--format={what}", "--"]
        return output_of([*git, *paths], directory=self.top)


def files_under(paths: Iterable[Path]) -> list[Path]:
    """Return the files and links among and below `paths`, sorted, without what Python leaves behind."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            found += [p for p in path.rglob("*") if (p.is_symlink() or p.is_file()) and "__pycache__" not in p.parts]
        elif path.exists() or path.is_symlink():
            found.append(path)
    return sorted(found)


def _digest(top: Path, paths: Iterable[Path], *more: str) -> str:
    digest = hashlib.sha256("\0".join(more).encode())
    for path in files_under(paths):
        content = os.readlink(path).encode() if path.is_symlink() else path.read_bytes()
        kind = "link" if path.is_symlink() else f"{path.stat().st_mode & 0o111:o}"
        digest.update(f"\0{path.relative_to(top)}\0{kind}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:16]


def words(path: Path) -> list[str]:
    """Return the lines of a package list without comments and blank lines."""
    lines = (line.split("#", 1)[0].strip() for line in path.read_text().splitlines())
    return [line for line in lines if line]
