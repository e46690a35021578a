"""What opens an encrypted image: a passphrase, a key file, a recovery key (docs/image-format.md, section 10)."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections.abc import Callable
from typing import BinaryIO, Final

import msgspec
from blake3 import blake3

from rescue.errors import CredentialError, UsageError
from rescue.records import Concealed
from rescue.units import KIB, MIB

MAX_PASSPHRASE: Final = 1 * KIB  # bytes of UTF-8
MIN_KEY_FILE: Final = 32
KEY_FILE_HASH_SIZE: Final = 32

# Crockford's alphabet: no I, L, O and U, so that nothing that is read off paper can be mistaken.
_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_READ_AS: Final = str.maketrans("ILO", "110", " -\t\r\n")
_RECOVERY_RANDOM: Final = 17  # bytes: 136 bits
_RECOVERY_CHECK: Final = 3
_RECOVERY_LETTERS: Final = (_RECOVERY_RANDOM + _RECOVERY_CHECK) * 8 // 5
_GROUP: Final = 4


class Secrets(Concealed, frozen=True):
    """What a person gave; any of them opens an image. Does not show it when printed.

    ``key_file`` is what :func:`hash_key_file` makes of the file, 32 bytes. ``volume_keys`` open no image but the encrypted
    volumes of a disk, also of one that is in an image: the key of each LUKS volume, by its UUID. ``derived``: what was made
    of the passphrase so far, by what it was made from, so that nobody waits for the same twice, the job's process included.
    """

    passphrase: str | None = None
    key_file: bytes | None = None
    recovery: str | None = None
    volume_keys: dict[str, bytes] = msgspec.field(default_factory=dict)
    derived: dict[str, bytes] = msgspec.field(default_factory=dict)

    def __bool__(self) -> bool:
        return not (self.passphrase is None and self.key_file is None and self.recovery is None)


NO_SECRETS: Final = Secrets()


def passphrase_bytes(passphrase: str) -> bytes:
    """What is derived from: Unicode form NFC, UTF-8. Raises UsageError for one that is empty, too long or no Unicode text."""
    try:
        data = unicodedata.normalize("NFC", passphrase).encode()
    except UnicodeEncodeError as error:
        raise UsageError(
            "The passphrase is not valid text (UTF-8).", "Use a key file for a secret of arbitrary bytes."
        ) from error
    if not data:
        raise UsageError("The passphrase is empty.")
    if len(data) > MAX_PASSPHRASE:
        raise UsageError(f"The passphrase is longer than {MAX_PASSPHRASE} bytes.", "Use a key file for long secrets.")
    return data


def hash_key_file(file: BinaryIO) -> bytes:
    """What Secrets holds of a key file of any size. Raises UsageError for one that is too short to be a secret."""
    hasher = blake3()
    size = 0
    while data := file.read(1 * MIB):
        hasher.update(data)
        size += len(data)
    if size < MIN_KEY_FILE:
        raise UsageError(
            f"The key file has {size} bytes; at least {MIN_KEY_FILE} are needed.",
            f"Make one with: head -c {2 * MIN_KEY_FILE} /dev/urandom > FILE",
        )
    return hasher.digest()


def new_recovery_key(random: Callable[[int], bytes] = os.urandom) -> str:
    """A recovery key to print: 32 letters and digits in groups of four, 136 random bits and a check."""
    secret = random(_RECOVERY_RANDOM)
    number = int.from_bytes(secret + _check(secret), "big")
    letters = "".join(_ALPHABET[number >> 5 * i & 31] for i in reversed(range(_RECOVERY_LETTERS)))
    return "-".join(letters[i : i + _GROUP] for i in range(0, len(letters), _GROUP))


def recovery_bytes(text: str) -> bytes:
    """The 17 secret bytes of a recovery key as a person typed it: case, spaces and hyphens do not matter.

    Raises CredentialError when it cannot be one: a letter too few, too many or mistyped.
    """
    letters = text.upper().translate(_READ_AS)
    wrong = sorted({letter for letter in letters if letter not in _ALPHABET})
    if wrong:
        raise CredentialError(f"The recovery key is mistyped: {wrong[0]!r} does not occur in one.", "Compare it with the paper.")
    if len(letters) != _RECOVERY_LETTERS:
        raise CredentialError(
            f"The recovery key is mistyped: it has {len(letters)} letters and digits instead of {_RECOVERY_LETTERS}.",
            "Compare it with the paper.",
        )
    number = 0
    for letter in letters:
        number = number << 5 | _ALPHABET.index(letter)
    data = number.to_bytes(_RECOVERY_RANDOM + _RECOVERY_CHECK, "big")
    secret, check = data[:_RECOVERY_RANDOM], data[_RECOVERY_RANDOM:]
    if _check(secret) != check:
        raise CredentialError("The recovery key is mistyped: a letter or digit in it is wrong.", "Compare it with the paper.")
    return secret


def _check(secret: bytes) -> bytes:
    return hashlib.sha256(b"rescue recovery key" + secret).digest()[:_RECOVERY_CHECK]
