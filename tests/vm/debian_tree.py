"""A file tree with everything that a restore could lose: links, holes, attributes, odd names, many sizes. The same each time."""

from __future__ import annotations

import os
import random
from pathlib import Path

_SMALL_FILES = 2600
_MIDDLE_FILES = 60
_LARGE_FILES = 6
_SPARSE_SIZE = 128 << 20
_TIME = 1_700_000_000  # seconds; a fixed past moment, so that a lost modification time shows
_WORDS = (
    *("disk", "image", "restore", "proof", "table", "extent", "sector"),
    *("header", "backup", "partition", "volume", "journal", "chunk", "frame"),
)
_ODD_NAMES = (
    "Übergrößenträger.txt",
    "文件系统.txt",
    "файл с пробелами.txt",
    "🛟 rescue.txt",
    "e\u0301 is not é.txt",
    " leading and trailing ",
    "quotes ' and \" and $HOME",
    "back\\slash",
    "-rf",
    "x" * 255,
)


def make_tree(folder: Path) -> None:
    """Fill ``folder`` with about 2,700 files of about 200 MB. Needs root: owners other than root and device-like modes."""
    chance = random.Random(2)
    folder.mkdir(parents=True)
    for number in range(_SMALL_FILES):
        place = folder / "small" / f"{number % 26:02d}" / f"{number % 7}"
        place.mkdir(parents=True, exist_ok=True)
        _text(place / f"file-{number}.txt", chance, int(chance.paretovariate(0.9) * 120) % 60_000)
    (folder / "middle").mkdir()
    for number in range(_MIDDLE_FILES):
        (folder / "middle" / f"noise-{number}.bin").write_bytes(chance.randbytes(chance.randrange(200_000, 2_500_000)))
    (folder / "large").mkdir()
    for number in range(_LARGE_FILES):
        block = chance.randbytes(1 << 20)
        with (folder / "large" / f"half-{number}.bin").open("wb") as file:
            for _ in range(8 + number * 2):
                file.write(block)
                file.write(bytes(1 << 18))
    _odd(folder / "odd", chance)
    _stamp(folder, chance)


def _text(path: Path, chance: random.Random, size: int) -> None:
    path.write_text(" ".join(chance.choices(_WORDS, k=size // 8)))


def _odd(folder: Path, chance: random.Random) -> None:
    folder.mkdir()
    for name in _ODD_NAMES:
        (folder / name).write_text(f"The name of this file is {name!r}.\n")
    (folder / "empty").touch()
    deep = folder.joinpath(*["deep"] * 40)
    deep.mkdir(parents=True)
    (deep / "bottom.txt").write_text("Forty folders down.\n")
    with (folder / "sparse.bin").open("wb") as file:
        for offset in (0, 37 << 20, _SPARSE_SIZE - 4096):
            file.seek(offset)
            file.write(chance.randbytes(4096))
    with (folder / "hole-at-end.bin").open("wb") as file:
        file.write(chance.randbytes(10_000))
        file.truncate(9 << 20)
    original = folder / "linked-1"
    original.write_bytes(chance.randbytes(70_000))
    for number in range(2, 6):
        os.link(original, folder / f"linked-{number}")
    os.symlink("linked-1", folder / "symlink")
    os.symlink("/nowhere/" + "long/" * 40 + "target", folder / "dangling symlink")
    os.mkfifo(folder / "fifo")
    attributed = folder / "attributed"
    attributed.write_text("Look at my attributes.\n")
    os.setxattr(attributed, "user.comment", "größer than text".encode())
    os.setxattr(attributed, "user.large", chance.randbytes(2000))
    owned = folder / "owned"
    owned.write_text("Not root's.\n")
    os.chown(owned, 1000, 1001)
    os.chmod(owned, 0o6751)


def _stamp(folder: Path, chance: random.Random) -> None:
    for place, folders, files in os.walk(folder, topdown=False):
        for name in sorted(files) + sorted(folders):
            moment = _TIME + chance.randrange(10_000_000)
            os.utime(Path(place) / name, (moment, moment), follow_symlinks=False)
