"""BitLocker volumes: their metadata, the content in clear, and what of them is kept."""

from __future__ import annotations

import random
import uuid
import zlib
from contextlib import suppress
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rescue.errors import CredentialError, FormatError, UnsupportedError
from rescue.model.extents import ExtentMap
from rescue.model.source import BytesSource
from rescue.units import KIB
from rescue.volumes.bitlk_content import BitlkContent, key_fits, own_bytes
from rescue.volumes.bitlk_header import BitlkHeader, read_bitlk_header
from rescue.volumes.bitlk_key import clear_key, find_bitlk_key
from rescue.volumes.placed import WholeDisk
from tests.unit.volumes.bitlk_made import AREA, CBC128, CBC256, HEADER, VOLUME, XTS128, XTS256, Made, bitlocked, volume_key

_AREAS = (128 * KIB, 256 * KIB, 384 * KIB)
_HEADER_AT = 512 * KIB
_SIZE = 768 * KIB


def _content() -> bytearray:
    content = bytearray(random.Random(3).randbytes(_SIZE))
    content[3:11] = b"NTFS    "
    content[510:512] = b"\x55\xaa"
    # Where the metadata are, a volume of BitLocker has zeros.
    for start, length in (*((area, AREA) for area in _AREAS), (_HEADER_AT, HEADER)):
        content[start : start + length] = bytes(length)
    return content


_CONTENT = _content()


@cache
def _volume(made: Made = Made()) -> bytes:  # noqa: B008
    return bytes(bitlocked(_CONTENT, _AREAS, _HEADER_AT, made))


def _header(volume: bytes | bytearray) -> BitlkHeader:
    return read_bitlk_header(BytesSource(volume))


@pytest.mark.parametrize("method", [XTS128, XTS256, CBC128, CBC256])
@pytest.mark.parametrize("sector", [512, 4096])
def test_content_in_clear(method: int, sector: int) -> None:
    """Its first sectors, which are elsewhere, and zeros where its own structures are; at any offset."""
    volume = _volume(Made(method=method, sector=sector))
    header = _header(volume)
    assert (header.uuid, header.size, header.sector_size, header.header_size) == (str(VOLUME), _SIZE, sector, HEADER)
    content = BitlkContent(WholeDisk(BytesSource(volume)), header, volume_key(method))
    assert content.pread(_SIZE, 0) == _CONTENT
    for offset, length in (
        (0, 1),
        (511, 3),
        (HEADER - 5, 10),
        (_AREAS[0] - 100, AREA + 200),
        (_HEADER_AT + 7, 9),
        (_SIZE - 1, 1),
    ):
        assert content.pread(length, offset) == _CONTENT[offset : offset + length]
    buffer = bytearray(1000)
    content.pread_into(memoryview(buffer), HEADER - 500)
    assert buffer == _CONTENT[HEADER - 500 : HEADER + 500]


def test_what_is_kept() -> None:
    """Sectors where they are stored; the first ones elsewhere; all that is BitLocker's own."""
    volume = _volume()
    header = _header(volume)
    content = BitlkContent(WholeDisk(BytesSource(volume)), header, volume_key(XTS128))
    assert content.down(ExtentMap([(700, 710)])) == ExtentMap([(_HEADER_AT + 512, _HEADER_AT + 1024)])
    assert content.down(ExtentMap([(HEADER - 1, HEADER + 1)])) == ExtentMap(
        [(HEADER, HEADER + 512), (_HEADER_AT + HEADER - 512, _HEADER_AT + HEADER)]
    )
    own = own_bytes(header, _SIZE + 4096)
    assert own == ExtentMap([(0, HEADER), *((area, area + AREA) for area in _AREAS), (_SIZE, _SIZE + 4096)])
    with pytest.raises(FormatError):
        content.down(ExtentMap([(_SIZE, _SIZE + 1)]))


@pytest.mark.parametrize("broken", [(0,), (0, 1), (1, 2)])
def test_damaged_copies_of_the_metadata(broken: tuple[int, ...]) -> None:
    found, whole = _header(_volume(Made(broken=broken))), _header(_volume())
    assert (found.uuid, found.areas, len(found.entries)) == (whole.uuid, whole.areas, len(whole.entries))


def test_all_copies_damaged() -> None:
    with pytest.raises(FormatError, match="no copy"):
        _header(_volume(Made(broken=(0, 1, 2))))


def test_places_of_other_versions() -> None:
    """Windows 10 tells where the first sectors are in another place; BitLocker To Go has another boot sector."""
    assert _header(_volume(Made(has_header_entry=False))).header_offset == _HEADER_AT
    assert _header(_volume(Made(signature=b"MSWIN4.1"))).areas == _AREAS


@pytest.mark.parametrize(
    "made",
    [
        Made(states=(5, 1)), Made(states=(2, 4)), Made(identifier=uuid.UUID("92a84d3b-dd80-4d0e-9e4e-b1e3284eaed8")),
        Made(boot=b"\xeb\x52\x90"), Made(changed=(100, 0x9000)),
    ],
)  # fmt: skip
def test_states_in_which_it_is_kept_whole(made: Made) -> None:
    """Being encrypted or decrypted, only where it is written to, by Windows Vista, in an unknown way."""
    with pytest.raises(UnsupportedError):
        _header(_volume(made))


@pytest.mark.parametrize(
    "made",
    [
        Made(size=_SIZE + 512), Made(size=100), Made(changed=(32, 1 << 62)), Made(changed=(64, 1 << 31)),
        Made(signature=b"NTFS    "), Made(changed=(56, _SIZE), has_header_entry=False), Made(sector=1024),
    ],
)  # fmt: skip
def test_metadata_that_make_no_sense(made: Made) -> None:
    with pytest.raises(FormatError) as raised:
        _header(_volume(made))
    assert not isinstance(raised.value, UnsupportedError)


@pytest.mark.parametrize("method", [XTS128, XTS256, CBC256])
def test_key_in_clear(method: int) -> None:
    """Of a volume whose protection is suspended."""
    volume = _volume(Made(method=method, clear=True))
    header = _header(volume)
    key = clear_key(header)
    assert key == volume_key(method)
    assert key_fits(WholeDisk(BytesSource(volume)), header, key)
    assert clear_key(_header(_volume())) is None


def test_wrong_keys() -> None:
    volume = _volume()
    disk, header = WholeDisk(BytesSource(volume)), _header(volume)
    assert key_fits(disk, header, volume_key(XTS128))
    assert not key_fits(disk, header, bytes(range(32)))
    assert not key_fits(disk, header, volume_key(XTS256))
    with pytest.raises(FormatError):
        BitlkContent(disk, header, b"short")


def test_nothing_that_could_be_typed_opens_it() -> None:
    """A TPM does; the message says what helps."""
    volume = _volume(Made(clear=True))
    with pytest.raises(CredentialError) as raised:
        find_bitlk_key(BytesSource(volume), _header(volume), b"secret")
    assert "RecoveryPassword" in raised.value.hint


_FUZZED = _volume(Made(clear=True))


@settings(deadline=None)
@given(st.integers(0, 1023), st.integers(0, 255), st.booleans())
def test_any_metadata_end_in_an_answer(at: int, value: int, is_fixed: bool) -> None:
    volume = bytearray(_FUZZED)
    base = 0 if at < 512 else _AREAS[0] - 512
    volume[base + at] = value
    if is_fixed and base:
        _correct(volume)
    with suppress(FormatError):
        header = _header(volume)
        key = clear_key(header)
        if key is not None:
            key_fits(WholeDisk(BytesSource(volume)), header, key)


def _correct(volume: bytearray) -> None:
    """Make the checksum of the first copy right again."""
    start = _AREAS[0]
    size = 16 * int.from_bytes(volume[start + 8 : start + 10], "little")
    volume[start + size + 4 : start + size + 8] = zlib.crc32(volume[start : start + size]).to_bytes(4, "little")


@pytest.mark.parametrize("size", [0, 100, 512, 4096, 65536])
def test_small_volumes(size: int) -> None:
    with pytest.raises(FormatError):
        _header(bytes(size))
    with pytest.raises(FormatError):
        _header(bytes(_volume()[:size]))
