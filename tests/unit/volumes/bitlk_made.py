"""An encoder of BitLocker volumes by the specification ("BitLocker Drive Encryption (BDE) format", libbde)."""

from __future__ import annotations

import hashlib
import uuid
import zlib
from dataclasses import dataclass
from functools import cache

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESCCM

from rescue.units import KIB

AREA = 64 * KIB
HEADER = 8 * KIB
NORMAL = uuid.UUID("4967d63b-2e29-4ad8-8399-f6a339e3d001")
VOLUME = uuid.UUID("0b7ee0a2-9a2c-4b4e-8f5e-2f1f5d1b7c11")
RECOVERY = "471207-278498-422125-177177-561902-537405-468006-693451"  # the example of the specification
XTS128, XTS256, CBC128, CBC256 = 0x8004, 0x8005, 0x8002, 0x8003
_KEY_SIZE = {XTS128: 32, XTS256: 64, CBC128: 16, CBC256: 32}
_VMK = bytes(range(100, 132))


@dataclass(frozen=True)
class Made:
    """What is to be different from an ordinary volume."""

    method: int = XTS128
    sector: int = 512
    clear: bool = False
    password: str = ""
    recovery: bool = False
    identifier: uuid.UUID = NORMAL
    volume: uuid.UUID = VOLUME
    states: tuple[int, int] = (4, 4)
    signature: bytes = b"-FVE-FS-"
    boot: bytes = b"\xeb\x58\x90"
    has_header_entry: bool = True
    broken: tuple[int, ...] = ()  # copies of the metadata whose checksum is wrong
    size: int = 0  # that the metadata tell; 0: the right one
    changed: tuple[int, int] | None = None  # 8 bytes at an offset of the metadata


def volume_key(method: int) -> bytes:
    """The key of the volumes that are made."""
    return bytes((7 * n + method) % 251 for n in range(_KEY_SIZE[method]))


def entry(kind: int, value: int, data: bytes) -> bytes:
    """One entry of the metadata."""
    return b"".join(number.to_bytes(2, "little") for number in (8 + len(data), kind, value, 1)) + data


def sealed(key: bytes, content: bytes, counter: int) -> bytes:
    """AES-CCM: nonce, check, secret."""
    nonce = (133_000_000_000_000_000).to_bytes(8, "little") + counter.to_bytes(4, "little")
    secret = AESCCM(key, tag_length=16).encrypt(nonce, content, None)
    return nonce + secret[-16:] + secret[:-16]


def contained(key: bytes, method: int) -> bytes:
    """A key with its length and kind."""
    head = (12 + len(key)).to_bytes(4, "little") + (1).to_bytes(2, "little") + bytes(2) + method.to_bytes(4, "little")
    return head + key


@cache
def stretched(first: bytes, salt: bytes) -> bytes:
    """A password's or a recovery key's own key, after 2^20 rounds."""
    last = bytes(32)
    for count in range(1 << 20):
        last = hashlib.sha256(last + first + salt + count.to_bytes(8, "little")).digest()
    return last


def _master(protection: int, inner: bytes, number: int) -> bytes:
    head = bytes([number] * 16) + bytes(8) + bytes(2) + protection.to_bytes(2, "little")
    return entry(2, 8, head + inner)


def _masters(made: Made) -> bytes:
    found = b""
    if made.clear:
        key = bytes(range(32))
        inner = entry(0, 1, (0x2002).to_bytes(4, "little") + key) + entry(0, 5, sealed(key, contained(_VMK, 0x2003), 3))
        found += _master(0x0000, inner, 1)
    secrets = []
    if made.password:
        secrets.append((0x2000, hashlib.sha256(hashlib.sha256(made.password.encode("utf-16-le")).digest()).digest()))
    if made.recovery:
        numbers = b"".join((int(part) // 11).to_bytes(2, "little") for part in RECOVERY.split("-"))
        secrets.append((0x0800, hashlib.sha256(numbers).digest()))
    for protection, first in secrets:
        salt = hashlib.sha256(first).digest()[:16]
        own = entry(0, 3, (0x1000).to_bytes(4, "little") + salt)
        own += entry(0, 5, sealed(stretched(first, salt), contained(_VMK, 0x2003), 4))
        found += _master(protection, own, 2 + protection // 0x1000)
    return found


def _block(made: Made, size: int, areas: tuple[int, int, int], header: int) -> bytes:
    entries = entry(7, 2, "WIN 2026\0".encode("utf-16-le")) + _masters(made)
    entries += entry(3, 5, sealed(_VMK, contained(volume_key(made.method), made.method), 5))
    if made.has_header_entry:
        entries += entry(0xF, 0xF, header.to_bytes(8, "little") + HEADER.to_bytes(8, "little"))
    length = 48 + len(entries)
    total = -(-(64 + length) // 16) * 16
    head = b"-FVE-FS-" + (total // 16).to_bytes(2, "little") + (2).to_bytes(2, "little")
    head += b"".join(state.to_bytes(2, "little") for state in made.states)
    head += (made.size or size).to_bytes(8, "little") + bytes(4) + (HEADER // made.sector).to_bytes(4, "little")
    head += b"".join(area.to_bytes(8, "little") for area in areas) + header.to_bytes(8, "little")
    meta = length.to_bytes(4, "little") + (1).to_bytes(4, "little") + (48).to_bytes(4, "little") + length.to_bytes(4, "little")
    meta += made.volume.bytes_le + (9).to_bytes(4, "little") + made.method.to_bytes(2, "little") + bytes(2)
    meta += (133_000_000_000_000_000).to_bytes(8, "little")
    block = bytearray((head + meta + entries).ljust(total, b"\0"))
    if made.changed:
        at, value = made.changed
        block[at : at + 8] = value.to_bytes(8, "little")
    proof = (
        (44).to_bytes(2, "little") + bytes(2) + (1).to_bytes(2, "little") + bytes(2) + (0x2005).to_bytes(2, "little") + bytes(2)
    )
    proof = sealed(_VMK, proof + hashlib.sha256(block).digest(), 6)
    check = (88).to_bytes(2, "little") + (2).to_bytes(2, "little") + zlib.crc32(block).to_bytes(4, "little")
    check += (80).to_bytes(2, "little") + bytes(2) + (5).to_bytes(2, "little") + bytes(2) + proof
    return bytes(block) + check


def encrypted_sector(made: Made, place: int, clear: bytes) -> bytes:
    """A sector that is stored at byte ``place``."""
    key = volume_key(made.method)
    if made.method in (XTS128, XTS256):
        number = (place // made.sector).to_bytes(16, "little")
        return Cipher(algorithms.AES(key), modes.XTS(number)).encryptor().update(clear)
    vector = Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(place.to_bytes(16, "little"))
    return Cipher(algorithms.AES(key), modes.CBC(vector)).encryptor().update(clear)


def bitlocked(content: bytes | bytearray, areas: tuple[int, int, int], header: int, made: Made | None = None) -> bytearray:
    """A volume with this content, its metadata at ``areas`` and its first sectors at ``header``: places that are free in it."""
    made = made or Made()
    size, sector = len(content), made.sector
    volume = bytearray(size)
    for place in range(HEADER, size, sector):
        volume[place : place + sector] = encrypted_sector(made, place, bytes(content[place : place + sector]))
    for at in range(0, HEADER, sector):
        volume[header + at : header + at + sector] = encrypted_sector(made, header + at, bytes(content[at : at + sector]))
    block = _block(made, size, areas, header)
    for number, area in enumerate(areas):
        volume[area : area + AREA] = block.ljust(AREA, b"\0")
        if number in made.broken:
            volume[area + 70] ^= 1
    place = 424 if made.signature == b"MSWIN4.1" else 160
    boot = bytearray(HEADER)
    boot[0:11] = made.boot + made.signature
    boot[11:13] = sector.to_bytes(2, "little")
    boot[13] = 8
    boot[82:90] = b"FAT32   "
    boot[place : place + 16] = made.identifier.bytes_le
    for number, area in enumerate(areas):
        boot[place + 16 + 8 * number : place + 24 + 8 * number] = area.to_bytes(8, "little")
    boot[510:512] = b"\x55\xaa"
    volume[:HEADER] = boot
    return volume


def decrypted(volume: bytes, areas: tuple[int, int, int], header: int, made: Made) -> bytearray:
    """The content of a volume that was made so, by the same specification the other way round."""
    key, content = volume_key(made.method), bytearray(len(volume))
    for place in range(0, len(volume), made.sector):
        stored = header + place if place < HEADER else place
        number = (stored // made.sector).to_bytes(16, "little")
        if made.method in (XTS128, XTS256):
            context = Cipher(algorithms.AES(key), modes.XTS(number)).decryptor()
        else:
            vector = Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(stored.to_bytes(16, "little"))
            context = Cipher(algorithms.AES(key), modes.CBC(vector)).decryptor()
        content[place : place + made.sector] = context.update(volume[stored : stored + made.sector])
    for start, length in (*((area, AREA) for area in areas), (header, HEADER)):
        content[start : start + length] = bytes(length)
    return content
