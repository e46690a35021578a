"""Gigabytes of files, made as fast as a disk takes them, and the same each time: photos, documents, a few huge ones."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from rescue.units import MIB

# The share of all bytes, and the sizes from – to of such files in bytes.
_KINDS = ((0.35, 64 * MIB, 200 * MIB), (0.50, MIB, 20 * MIB), (0.15, 400, 300_000))
_GONE_EACH = 5
_GONE_MOST = 8 * MIB
_TEXT = b"".join(b"%06d the quick brown fox jumps over the lazy dog, again\n" % number for number in range(40_000))


def fill(folder: Path, seed: int, size: int) -> None:
    """Put files of ``size`` bytes together into ``folder``, three in four of which no program can make smaller.

    Others are written between them and removed at the end, so that free space is in pieces, and not clean.
    """
    draw = random.Random(seed)
    stream = Cipher(algorithms.AES(hashlib.sha256(b"%d" % seed).digest()), modes.CTR(bytes(16))).encryptor()
    sizes = _sizes(draw, size)
    gone = []
    for number, length in enumerate(sizes):
        place = folder / f"album {draw.randrange(9)}" / f"{draw.randrange(12):02d}"
        place.mkdir(parents=True, exist_ok=True)
        path = place / f"größe-{number:05d}.bin"
        with path.open("wb") as file:
            for start in range(0, length, 8 * MIB):
                part = min(8 * MIB, length - start)
                plain = number % 4 == 0
                file.write((_TEXT * (part // len(_TEXT) + 1))[:part] if plain else stream.update(bytes(part)))
        if number % _GONE_EACH == 0:
            gone.append(path.with_suffix(".gone"))
            gone[-1].write_bytes(stream.update(bytes(min(length, _GONE_MOST))))
    for path in gone:
        path.unlink()


def _sizes(draw: random.Random, size: int) -> list[int]:
    sizes = []
    for share, least, most in _KINDS:
        left = int(size * share)
        while left > 0:
            sizes.append(min(left, draw.randint(least, most)))
            left -= sizes[-1]
    draw.shuffle(sizes)
    return sizes
