"""The volume key of a BitLocker volume: by its password, recovery key or startup key, which cryptsetup tries; or in clear.

Windows leaves the key in clear on a volume whose protection is suspended, or was never switched on (new computers).
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESCCM

from rescue.errors import CredentialError, FormatError
from rescue.filesystems.fields import Fields
from rescue.model.source import Source
from rescue.volumes.bitlk_content import key_size
from rescue.volumes.bitlk_header import METADATA_SIZE, BitlkHeader, Entry, read_entries
from rescue.volumes.luks_key import dump_volume_key

_MASTER_KEY: Final = 0x0002  # types of entries
_VOLUME_KEY: Final = 0x0003
_PLAIN: Final = 0x0001  # their values
_STRETCHED: Final = 0x0003
_ENCRYPTED: Final = 0x0005
_CLEAR: Final = 0x0000  # what protects a master key
_PASSWORD: Final = 0x2000
_ROUNDS: Final = 1 << 20
_TYPED: Final = frozenset({0x0200, 0x0800, _PASSWORD})  # startup key, recovery key, password
_BOOT: Final = 4096


def find_bitlk_key(source: Source, header: BitlkHeader, secret: bytes) -> bytes | None:
    """The key that encrypts the content; None when ``secret`` (password, recovery key, content of a .BEK file) does not open it.

    Nothing of it touches a disk, as of :func:`~rescue.volumes.luks_key.find_volume_key`. Raises CredentialError when nothing
    that a person could give opens it, ProgramError, FormatError, SourceReadError.
    """
    if not _TYPED & {protection for protection, _ in _master_keys(header)}:
        raise CredentialError(
            "This BitLocker volume opens by the TPM or a smart card alone.",
            "Add a recovery key in Windows: manage-bde -protectors -add C: -RecoveryPassword",
        )
    text = None if secret.isascii() else _text(secret)
    # cryptsetup (2.6) takes letters beyond ASCII for others than Windows does, and fails.
    key = _by_password(header, text) if text else _by_cryptsetup(source, header, secret)
    if key is not None and len(key) != key_size(header):
        raise FormatError(f"BitLocker metadata: its key has {len(key)} bytes.")
    return key


def _text(secret: bytes) -> str | None:
    try:
        return secret.decode()
    except UnicodeDecodeError:
        return None  # what a .BEK file holds


def _by_cryptsetup(source: Source, header: BitlkHeader, secret: bytes) -> bytes | None:
    copy = os.memfd_create("bitlk-header")
    try:
        os.ftruncate(copy, source.size)
        os.pwrite(copy, source.pread(min(_BOOT, source.size), 0), 0)
        for area in header.areas:
            os.pwrite(copy, source.pread(METADATA_SIZE, area), area)
        return dump_volume_key("bitlkDump", copy, secret)
    finally:
        os.close(copy)


def _by_password(header: BitlkHeader, password: str) -> bytes | None:
    """The key by a password; None when it does not open."""
    volume_key = _volume_key(header)
    first = hashlib.sha256(hashlib.sha256(password.encode("utf-16-le")).digest()).digest()
    for protection, inner in _master_keys(header):
        keys = {entry.value: entry.data for entry in inner}
        if protection == _PASSWORD and volume_key is not None and _STRETCHED in keys and _ENCRYPTED in keys:
            with suppress(FormatError):
                master = _opened(keys[_ENCRYPTED], _stretched(first, keys[_STRETCHED].bytes(4, 16)))
                return _shortened(header, _opened(volume_key, master))
    return None


def _stretched(first: bytes, salt: bytes) -> bytes:
    last = bytes(32)
    for count in range(_ROUNDS):
        last = hashlib.sha256(last + first + salt + count.to_bytes(8, "little")).digest()
    return last


def _volume_key(header: BitlkHeader) -> Fields | None:
    return next((e.data for e in header.entries if e.type == _VOLUME_KEY and e.value == _ENCRYPTED), None)


def clear_key(header: BitlkHeader) -> bytes | None:
    """The key that encrypts the content, where it is not protected; None where it is. Raises FormatError."""
    volume_key = _volume_key(header)
    for protection, inner in _master_keys(header):
        keys = {entry.value: entry.data for entry in inner}
        if protection == _CLEAR and volume_key is not None and _PLAIN in keys and _ENCRYPTED in keys:
            plain = keys[_PLAIN]
            master = _opened(keys[_ENCRYPTED], plain.bytes(4, len(plain) - 4))
            return _shortened(header, _opened(volume_key, master))
    return None


def _master_keys(header: BitlkHeader) -> list[tuple[int, list[Entry]]]:
    """What protects each copy of the master key, and how it is stored."""
    found = []
    for entry in header.entries:
        if entry.type == _MASTER_KEY:
            data = entry.data
            found.append((data.u16(26), list(read_entries(data.part(28, len(data) - 28, data.what)))))
    return found


def _opened(stored: Fields, key: bytes) -> bytes:
    """A stored key: its nonce, its check, and itself behind 12 bytes that tell its length and kind."""
    if len(key) not in (16, 24, 32):
        raise FormatError(f"{stored.what}: a key of {len(key)} bytes.")
    nonce, check, secret = stored.bytes(0, 12), stored.bytes(12, 16), stored.bytes(28, len(stored) - 28)
    try:
        clear = Fields(AESCCM(key, tag_length=16).decrypt(nonce, secret + check, None), stored.what)
    except InvalidTag as error:
        raise FormatError(f"{stored.what}: a key does not open with the one that is stored for it.") from error
    clear.require(clear.u16(0) == len(clear), "a key has another length than it says")
    return clear.bytes(12, len(clear) - 12)


def _shortened(header: BitlkHeader, key: bytes) -> bytes:
    """Keys of the diffuser are stored with room for 256 bits each."""
    if header.mode == "cbc-elephant" and header.bits == 128 and len(key) == 64:
        key = key[:16] + key[32:48]
    if len(key) != key_size(header):
        raise FormatError(f"BitLocker metadata: its key has {len(key)} bytes.")
    return key
