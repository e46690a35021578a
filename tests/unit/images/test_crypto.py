"""Sealing: known answers, and every way in which a piece is not what it should be."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.pretty import pretty_repr

from rescue.errors import DamagedError
from rescue.images.crypto import (
    SEAL_OVERHEAD,
    Algorithm,
    ImageKeys,
    Place,
    SealedKind,
    Sealer,
    best_algorithm,
    cpu_flags,
)

KEY = bytes(range(32, 64))
BINDING = bytes(range(100, 132))
NONCE = bytes(range(200, 212))
PLACE = Place(SealedKind.SEGMENT, 0x123456789A, 5)
PLAIN = b"the plain bytes"
# Made with pycryptodomex from the words of docs/image-format.md.
SEALED = {
    Algorithm.AES_256_GCM: "c8c9cacbcccdcecfd0d1d2d3d121cbc2c33ac3ab30bfe194961d76abbc0bfe2eb081784ce6f49b974c35af",
    Algorithm.CHACHA20_POLY1305: "c8c9cacbcccdcecfd0d1d2d387c8734f14d5db9d95e4dd0a7fbcb558d3282c62838771721682e232766983",
}
both = pytest.mark.parametrize("algorithm", list(Algorithm))


def sealer(algorithm: Algorithm = Algorithm.AES_256_GCM, key: bytes = KEY, binding: bytes = BINDING) -> Sealer:
    """One of each kind."""
    return Sealer(key, algorithm, binding)


@both
def test_known_answers(algorithm: Algorithm, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sealer(algorithm).open(bytes.fromhex(SEALED[algorithm]), PLACE) == PLAIN
    monkeypatch.setattr("rescue.images.crypto.os.urandom", lambda length: NONCE[:length])
    assert sealer(algorithm).seal(PLAIN, PLACE).hex() == SEALED[algorithm]


@both
@given(plain=st.binary(max_size=3000), number=st.integers(0, 2**32 - 1), position=st.integers(0, 2**63))
def test_round_trip(algorithm: Algorithm, plain: bytes, number: int, position: int) -> None:
    place = Place(SealedKind.DATA, position, number)
    sealed = sealer(algorithm).seal(memoryview(plain), place)
    assert len(sealed) == len(plain) + SEAL_OVERHEAD
    assert sealer(algorithm).open(memoryview(sealed), place) == plain


@both
def test_every_flipped_bit_is_refused(algorithm: Algorithm) -> None:
    sealed = sealer(algorithm).seal(PLAIN, PLACE)
    for bit in range(len(sealed) * 8):
        changed = bytearray(sealed)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DamagedError):
            sealer(algorithm).open(changed, PLACE)


@both
def test_every_cut_is_refused(algorithm: Algorithm) -> None:
    sealed = sealer(algorithm).seal(PLAIN, PLACE)
    for length in range(len(sealed)):
        with pytest.raises(DamagedError):
            sealer(algorithm).open(sealed[:length], PLACE)
    with pytest.raises(DamagedError):
        sealer(algorithm).open(sealed + b"\x00", PLACE)


@both
@pytest.mark.parametrize(
    "place",
    [
        Place(SealedKind.SEGMENT, 0x123456789A, 4),
        Place(SealedKind.SEGMENT, 0x1234567899, 5),
        Place(SealedKind.MANIFEST, 0x123456789A, 5),
        Place(SealedKind.DATA, 0x123456789A, 5),
    ],
)
def test_elsewhere_is_refused(algorithm: Algorithm, place: Place) -> None:
    sealed = sealer(algorithm).seal(PLAIN, PLACE)
    with pytest.raises(DamagedError):
        sealer(algorithm).open(sealed, place)


@both
def test_another_image_or_key_is_refused(algorithm: Algorithm) -> None:
    sealed = sealer(algorithm).seal(PLAIN, PLACE)
    with pytest.raises(DamagedError):
        sealer(algorithm, binding=bytes(32)).open(sealed, PLACE)
    with pytest.raises(DamagedError):
        sealer(algorithm, key=bytes(32)).open(sealed, PLACE)
    other = next(a for a in Algorithm if a is not algorithm)
    with pytest.raises(DamagedError):
        sealer(other).open(sealed, PLACE)


def test_nonces_differ_also_for_the_same_place() -> None:
    """A continued image seals other content at the same place."""
    one = sealer()
    assert len({bytes(one.seal(PLAIN, PLACE)[:12]) for _ in range(1000)}) == 1000


def test_keys() -> None:
    keys = ImageKeys.new()
    assert len({keys.frame_key, keys.meta_key, keys.hash_key, *ImageKeys.new().to_bytes().split()}) >= 3
    assert ImageKeys.from_bytes(keys.to_bytes()) == keys
    assert keys.to_bytes() != ImageKeys.new().to_bytes()
    with pytest.raises(ValueError, match="96"):
        ImageKeys.from_bytes(bytes(95))
    with pytest.raises(ValueError, match="32"):
        ImageKeys(bytes(32), bytes(31), bytes(32))


def test_a_child_shares_only_the_hash_key() -> None:
    parent = ImageKeys.new()
    child = ImageKeys.child(parent)
    assert child.hash_key == parent.hash_key
    assert not {child.frame_key, child.meta_key} & {parent.frame_key, parent.meta_key, parent.hash_key}


def test_nothing_prints_a_key() -> None:
    keys = ImageKeys(b"A" * 32, b"B" * 32, b"C" * 32)
    for shown in (repr(keys), str(keys), f"{keys}", pretty_repr(keys), repr(sealer(key=b"A" * 32))):
        assert not any(letter * 4 in shown for letter in "ABC")
        assert "41" not in shown


@pytest.mark.parametrize(
    ("text", "algorithm"),
    [
        ("processor\t: 0\nflags\t\t: fpu sse2 aes pclmulqdq ssse3\n", Algorithm.AES_256_GCM),
        ("flags : fpu sse2 aes\n", Algorithm.CHACHA20_POLY1305),
        ("flags : fpu vaes_not pclmulqdq\n", Algorithm.CHACHA20_POLY1305),
        ("", Algorithm.CHACHA20_POLY1305),
    ],
)
def test_the_processor_decides(tmp_path: Path, text: str, algorithm: Algorithm) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    assert best_algorithm(cpu_flags(tmp_path / "cpuinfo")) is algorithm


def test_a_processor_that_does_not_tell(tmp_path: Path) -> None:
    assert cpu_flags(tmp_path / "none") == frozenset()
