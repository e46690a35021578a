"""The headers of LUKS: where the encrypted content is and how it is encrypted.

Specification: LUKS On-Disk Format 1.2.3 and LUKS2 On-Disk Format 1.1.4 (Milan Brož), gitlab.com/cryptsetup.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any, Final

import msgspec

from rescue.errors import FormatError, UnsupportedError
from rescue.model.source import Source
from rescue.units import KIB, MIB

_MAGIC: Final = b"LUKS\xba\xbe"
_SECOND: Final = b"SKUL\xba\xbe"
_SECTOR: Final = 512
_LUKS1_SIZE: Final = 592
_BINARY: Final = 4 * KIB
_SIZES: Final = tuple(16 * KIB << shift for shift in range(9))  # of one copy of a LUKS2 header, up to 4 MiB
_CHECKSUM: Final = slice(0x1C0, 0x200)
HEADER_LIMIT: Final = 64 * MIB  # what has to be read, at most, to try a passphrase: headers and key slots
_MAX_ITERATIONS: Final = 100_000_000


class KeyDigest(msgspec.Struct, frozen=True):
    """What a volume key is recognised by: PBKDF2 of it."""

    hash: str
    iterations: int
    salt: bytes
    value: bytes

    def fits(self, key: bytes) -> bool:
        """Whether it is the one."""
        found = hashlib.pbkdf2_hmac(self.hash, key, self.salt, self.iterations, len(self.value))
        return hmac.compare_digest(found, self.value)


class LuksHeader(msgspec.Struct, frozen=True):
    """The encrypted content is ``[start, end)`` of the volume, in sectors of ``sector_size`` bytes, by ``cipher`` in ``mode``.

    ``first`` is the number of its first sector, as initialisation vectors count: in units of 512 bytes. ``is_fixed``: the header
    says how long the content is; else it reaches to the end of the volume.
    """

    version: int
    uuid: str
    start: int
    end: int
    sector_size: int
    cipher: str  # "aes"
    mode: str  # "xts-plain64"
    first: int
    digest: KeyDigest
    is_fixed: bool = False


def read_luks_header(source: Source) -> LuksHeader:
    """Read the header of a LUKS volume.

    Raises FormatError (damaged), UnsupportedError (something that this program does not know is in use), SourceReadError.
    """
    head = source.pread(min(_BINARY, source.size), 0)
    found = _luks1(head, source.size) if head[:8] == _MAGIC + b"\0\1" else _luks2(source)
    if not 0 < found.start < found.end <= source.size or found.digest.iterations > _MAX_ITERATIONS:
        raise FormatError("LUKS header: its content leaves the volume.")
    try:
        hashlib.new(found.digest.hash)
    except ValueError as error:
        raise UnsupportedError(f"Its key is checked by {found.digest.hash}, which this program does not know.") from error
    return found


def _text(data: bytes) -> str:
    return data.split(b"\0")[0].decode("ascii", "replace")


def _luks1(head: bytes, size: int) -> LuksHeader:
    if len(head) < _LUKS1_SIZE:
        raise FormatError("LUKS header: it has no end.")
    start = int.from_bytes(head[104:108], "big") * _SECTOR
    if start == 0:
        raise UnsupportedError("Its LUKS header belongs to another volume.")
    digest = KeyDigest(_text(head[72:104]), int.from_bytes(head[164:168], "big"), head[132:164], head[112:132])
    end = size // _SECTOR * _SECTOR
    return LuksHeader(1, _text(head[168:208]), start, end, _SECTOR, _text(head[8:40]), _text(head[40:72]), 0, digest)


def _luks2(source: Source) -> LuksHeader:
    copies = [copy for offset in (0, *_SIZES) if (copy := _copy(source, offset)) is not None]
    if not copies:
        raise FormatError("LUKS header: no copy of it is whole.")
    _, uuid, text = max(copies, key=lambda copy: copy[0])
    try:
        json = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise FormatError("LUKS header: its description makes no sense.") from error
    try:
        return _described(json, uuid, source.size)
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise FormatError("LUKS header: its description is not complete.") from error


def _copy(source: Source, offset: int) -> tuple[int, str, bytes] | None:
    """One copy of a LUKS2 header, if it is whole: its number, the UUID, the JSON text."""
    if offset + _BINARY > source.size:
        return None
    head = source.pread(_BINARY, offset)
    size = int.from_bytes(head[8:16], "big")
    if head[:8] != (_SECOND if offset else _MAGIC) + b"\0\2" or size not in _SIZES or offset + size > source.size:
        return None
    if int.from_bytes(head[256:264], "big") != offset:
        return None
    whole = bytearray(source.pread(size, offset))
    expected = bytes(whole[_CHECKSUM])
    whole[_CHECKSUM] = bytes(64)
    try:
        found = hashlib.new(_text(head[72:104]), whole).digest()
    except ValueError:
        return None
    if expected[: len(found)] != found:
        return None
    return int.from_bytes(head[16:24], "big"), _text(head[168:208]), bytes(whole[_BINARY:]).split(b"\0")[0]


def _described(json: Any, uuid: str, size: int) -> LuksHeader:
    required = json["config"].get("requirements", {}).get("mandatory", [])
    if required:
        raise UnsupportedError(f"Its LUKS header asks for {', '.join(map(str, required))[:100]}.")
    if set(json["segments"]) != {"0"}:
        raise UnsupportedError("It is made of several segments: its encryption is being changed.")
    segment = json["segments"]["0"]
    if segment["type"] != "crypt" or "integrity" in segment or segment.get("flags"):
        raise UnsupportedError(f"Its content is of a kind that this program does not know (LUKS2 {str(segment['type'])[:40]}).")
    start = int(segment["offset"])
    sector_size = int(segment["sector_size"])
    if sector_size not in (512, 1024, 2048, 4096) or start < 2 * _SIZES[0] or start % _SECTOR or start > 1 << 50:
        raise FormatError("LUKS header: the place of its content makes no sense.")
    length = (size - start) // sector_size * sector_size if segment["size"] == "dynamic" else int(segment["size"])
    cipher, _, mode = str(segment["encryption"]).partition("-")
    digests = [digest for digest in json["digests"].values() if "0" in digest["segments"]]
    digest = digests[0]
    if digest["type"] != "pbkdf2":
        raise UnsupportedError("Its key is checked in a way that this program does not know.")
    known = KeyDigest(
        str(digest["hash"]), int(digest["iterations"]), base64.b64decode(digest["salt"]), base64.b64decode(digest["digest"])
    )
    if length <= 0 or length % sector_size or known.iterations <= 0 or not 16 <= len(known.value) <= 64:
        raise FormatError("LUKS header: its description makes no sense.")
    is_fixed = segment["size"] != "dynamic"
    return LuksHeader(2, uuid, start, start + length, sector_size, cipher, mode, int(segment["iv_tweak"]), known, is_fixed)
