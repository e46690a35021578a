"""LUKS headers, and what they lead to."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st

from rescue.errors import FormatError, UnsupportedError
from rescue.model.extents import ExtentMap
from rescue.model.source import BytesSource
from rescue.system.dmcrypt import SectorCipher
from rescue.units import KIB, MIB
from rescue.volumes.luks_content import Decrypted, Encrypted, can_decrypt, encryption_of
from rescue.volumes.luks_header import KeyDigest, LuksHeader, read_luks_header
from rescue.volumes.placed import WholeDisk
from tests.unit.volumes.made import luks2, luks2_copy

_KEY = bytes(range(64))
_SIZE = 2 * MIB


def _read(data: bytes | bytearray) -> LuksHeader:
    return read_luks_header(BytesSource(data))


def _json(data: bytearray, **changed: Any) -> bytearray:
    """A header whose description was changed at its top, in both copies."""
    found = json.loads(bytes(data[4096 : 16 * KIB]).split(b"\0")[0]) | changed
    for offset in (0, 16 * KIB):
        data[offset : offset + 16 * KIB] = luks2_copy(found, offset, 4)
    return data


def test_luks2() -> None:
    header = _read(luks2(_KEY, total=_SIZE))
    assert (header.start, header.end, header.sector_size) == (MIB, _SIZE, 4096)
    assert (header.cipher, header.mode, header.first) == ("aes", "xts-plain64", 0)
    assert header.digest.fits(_KEY)
    assert not header.digest.fits(bytes(64))


def test_the_second_copy_serves() -> None:
    """The first is damaged; or older."""
    data = luks2(_KEY, total=_SIZE)
    data[5000] ^= 1
    assert _read(data).uuid == "9f3428a4-12ff-4bd0-9a80-c554795c0464"
    data[16 * KIB + 5000] ^= 1
    with pytest.raises(FormatError):
        _read(data)


def test_content_ends_with_a_whole_sector() -> None:
    """And where the header says it, if it does."""
    assert _read(luks2(_KEY, total=_SIZE + 100)).end == _SIZE
    assert _read(luks2(_KEY, MIB, _SIZE, size=str(512 * KIB))).end == MIB + 512 * KIB


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"type": "linear"}, "linear"),
        ({"integrity": {"type": "hmac(sha256)"}}, "kind"),
        ({"flags": ["in-reencryption"]}, "kind"),
    ],
)
def test_kinds_of_content_that_are_not_known(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(UnsupportedError, match=said):
        _read(luks2(_KEY, 1 * MIB, _SIZE, **changed))


def test_what_the_header_asks_for() -> None:
    """A requirement that this program does not know: reencryption, a disk that encrypts by itself."""
    config = {"json_size": "12288", "keyslots_size": "1", "requirements": {"mandatory": ["online-reencrypt-v2"]}}
    with pytest.raises(UnsupportedError, match="online-reencrypt-v2"):
        _read(_json(luks2(_KEY, total=_SIZE), config=config))
    several = {"0": {"type": "crypt"}, "1": {"type": "linear"}}
    with pytest.raises(UnsupportedError, match="segments"):
        _read(_json(luks2(_KEY, total=_SIZE), segments=several))


@pytest.mark.parametrize(
    "changed",
    [
        {"offset": "0"}, {"offset": "512"}, {"offset": "-4096"}, {"offset": "99999999999"}, {"offset": "1048577"},
        {"offset": "x"}, {"size": "0"}, {"size": "4096000"}, {"size": "4097"}, {"size": "-4096"}, {"sector_size": 513},
        {"sector_size": None}, {"iv_tweak": None}, {"encryption": None},
    ],
)  # fmt: skip
def test_numbers_that_make_no_sense(changed: dict[str, Any]) -> None:
    with pytest.raises(FormatError):
        _read(luks2(_KEY, 1 * MIB, _SIZE, **changed))


@pytest.mark.parametrize(
    "changed", [{"digests": {}}, {"digests": []}, {"segments": []}, {"config": None}, {"segments": {"0": 7}}]
)
def test_descriptions_that_are_not_complete(changed: dict[str, Any]) -> None:
    with pytest.raises((FormatError, UnsupportedError)):
        _read(_json(luks2(_KEY, total=_SIZE), **changed))


@settings(deadline=None)
@given(st.integers(0, 16 * KIB - 1), st.integers(0, 255))
def test_any_first_copy_ends_in_an_answer(at: int, value: int) -> None:
    data = luks2(_KEY, total=_SIZE)
    data[16 * KIB : 16 * KIB + 8] = bytes(8)
    data[at] = value
    with suppress(FormatError):
        _read(data)


def _luks1(payload: int = 4096, mode: bytes = b"cbc-essiv:sha256") -> bytearray:
    data = bytearray(_SIZE)
    data[:8] = b"LUKS\xba\xbe\0\1"
    data[8:11], data[40 : 40 + len(mode)], data[72:76] = b"aes", mode, b"sha1"
    data[104:108], data[108:112] = payload.to_bytes(4, "big"), (32).to_bytes(4, "big")
    data[164:168], data[168:172] = (1000).to_bytes(4, "big"), b"uuid"
    return data


def test_luks1() -> None:
    header = _read(_luks1(payload=2048))
    assert (header.version, header.uuid, header.start, header.end) == (1, "uuid", MIB, _SIZE)
    assert (header.cipher, header.mode, header.sector_size) == ("aes", "cbc-essiv:sha256", 512)
    for payload in (0, 4096, 0xFFFFFFFF):
        with pytest.raises(FormatError):
            _read(_luks1(payload))
    strange = _luks1(2048)
    strange[72:80] = b"unheard\0"
    with pytest.raises(UnsupportedError, match="unheard"):
        _read(strange)


def _header(mode: str, sector: int, first: int = 0) -> LuksHeader:
    return LuksHeader(2, "u", 8192, 8192 + 65536, sector, "aes", mode, first, KeyDigest("sha256", 1000, b"", b""))


@pytest.mark.parametrize("sector", [512, 4096])
def test_initialisation_vectors(sector: int) -> None:
    """They count in units of 512 bytes, from the tweak on, whatever the sector is."""
    clear = bytes(range(256)) * 256
    disk = bytearray(8192)
    for at in range(0, len(clear), sector):
        number = 7 + at // 512
        box = Cipher(algorithms.AES(_KEY), modes.XTS(number.to_bytes(16, "little"))).encryptor()
        disk += box.update(clear[at : at + sector]) + box.finalize()
    source = Decrypted(WholeDisk(BytesSource(disk)), _header("xts-plain64", sector, 7), _KEY)
    assert source.pread(source.size, 0) == clear
    assert source.pread(1000, 4000) == clear[4000:5000]
    assert source.pread(0, 65536) == b""
    with pytest.raises(FormatError):
        source.pread(1, 65536)
    # Whole sectors: a part of one is of no use.
    assert list(source.down(ExtentMap([(4100, 4101)]))) == [
        (8192 + 4100 // sector * sector, 8192 + 4100 // sector * sector + sector)
    ]


def test_ciphers_that_are_not_known() -> None:
    for mode in ("xts-random", "ctr-plain64", "cbc-essiv:sha512", ""):
        assert not can_decrypt(_header(mode, 512))
        with pytest.raises(UnsupportedError):
            SectorCipher(encryption_of(_header(mode, 512), _KEY))
    with pytest.raises(UnsupportedError):
        SectorCipher(encryption_of(_header("xts-plain64", 512), b"short"))


@pytest.mark.parametrize("sector", [512, 4096])
@pytest.mark.parametrize("mode", ["xts-plain64", "cbc-essiv:sha256"])
def test_what_was_decrypted_is_encrypted_to_the_same(mode: str, sector: int) -> None:
    """From any place of it."""
    secret = bytes(8192) + bytes(range(7, 135)) * 512
    header = _header(mode, sector, 7)
    key = _KEY if mode.startswith("xts") else _KEY[:32]
    clear = Decrypted(WholeDisk(BytesSource(secret)), header, key)
    back = Encrypted(clear, header, key)
    assert back.size == clear.size
    assert back.pread(back.size, 0) == secret[8192:]
    assert back.pread(1000, 4000) == secret[8192 + 4000 : 8192 + 5000]
    with pytest.raises(FormatError):
        back.pread(1, back.size)
    with pytest.raises(ValueError, match="whole sectors"):
        Encrypted(BytesSource(bytes(700)), header, key)


def test_a_key_is_not_shown() -> None:
    assert repr(encryption_of(_header("xts-plain64", 512), b"secret" * 5)) == "Encryption(aes-xts-plain64)"
