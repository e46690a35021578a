"""Everything that a copy of a file tree could lose or change, one line for each path."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from blake3 import blake3

_BLOCK = 4 << 20


def record(folder: Path) -> dict[str, str]:
    """Each path below ``folder`` (not the folder itself): kind, mode, owner, links, time, extended attributes, content."""
    found = {}
    for parent, folders, names in os.walk(folder):
        for name in [*folders, *names]:
            path = os.path.join(parent, name)
            found[os.path.relpath(path, folder)] = _line(path)
    return found


def differences(wanted: dict[str, str], found: dict[str, str]) -> str:
    """The first few paths that differ, with both lines; empty when none does."""
    paths = [path for path in sorted(wanted.keys() | found.keys()) if wanted.get(path) != found.get(path)]
    lines = [f"{path}: {wanted.get(path, 'not there')} → {found.get(path, 'gone')}" for path in paths[:10]]
    return "\n".join([f"{len(paths)} paths differ", *lines]) if paths else ""


def _line(path: str) -> str:
    about = os.lstat(path)
    words = [f"{about.st_mode:o} {about.st_uid}:{about.st_gid} {about.st_mtime_ns}"]
    if stat.S_ISLNK(about.st_mode):
        words.append(os.readlink(path))
    elif stat.S_ISREG(about.st_mode):
        words.append(f"x{about.st_nlink} {about.st_size} {_digest(path)}")
    elif stat.S_ISBLK(about.st_mode) or stat.S_ISCHR(about.st_mode):
        words.append(f"{about.st_rdev}")
    for name in sorted(os.listxattr(path, follow_symlinks=False)):
        words.append(f"{name}={blake3(os.getxattr(path, name, follow_symlinks=False)).hexdigest(length=8)}")
    return " ".join(words)


def _digest(path: str) -> str:
    digest = blake3()
    with open(path, "rb", buffering=0) as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest(length=16)
