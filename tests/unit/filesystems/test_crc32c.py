"""CRC-32C against the values that its standard gives."""

from __future__ import annotations

import pytest

from rescue.filesystems.crc32c import crc32c, crc32c_update


@pytest.mark.parametrize(
    ("data", "expected"),
    [  # RFC 3720 appendix B.4, and the check value of the CRC catalogue
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(reversed(range(32))), 0x113FDB5C),
        (b"123456789", 0xE3069283),
    ],
)
def test_the_standard_values(data: bytes, expected: int) -> None:
    assert crc32c(data) == expected


def test_the_register_goes_on_where_it_stopped() -> None:
    data = bytes(range(256)) * 3
    assert crc32c_update(crc32c_update(0xFFFFFFFF, data[:101]), data[101:]) == crc32c(data) ^ 0xFFFFFFFF
