"""The key area: known answers, who opens it, and hostile or damaged ones."""

from __future__ import annotations

import hashlib
import hmac
import struct
import threading
from collections.abc import Callable

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from rescue.errors import CredentialError, DamagedError, FormatError, RefusedError, RescueError, UsageError
from rescue.images import keyslots
from rescue.images.crypto import ImageKeys
from rescue.images.keyslots import (
    DEFAULT_COST,
    FIRST_SLOT_OFFSET,
    KEY_AREA_OFFSET,
    KEY_AREA_SIZE,
    SLOT_SIZE,
    SLOTS,
    Cost,
    KeyArea,
    Slot,
    SlotKind,
)
from rescue.images.secrets import NO_SECRETS, Secrets, recovery_bytes
from rescue.jobs.secrets import receive, send
from rescue.records import replace
from rescue.units import GIB, KIB, MIB
from tests.examples import examples
from tests.unit.images.test_secrets import TEXT

BINDING = bytes(range(100, 132))
KEYS = ImageKeys.from_bytes(bytes(range(96)))
CHEAP = Cost(8 * MIB, 1, 1)
KEY_FILE = bytes([7]) * 32
FIRST = FIRST_SLOT_OFFSET - KEY_AREA_OFFSET
ALL = Secrets("correct horse", KEY_FILE, TEXT)


def fixed(length: int) -> bytes:
    """The salt and the nonce of the known answers."""
    return bytes(range(32)) if length == 32 else bytes(range(200, 212))


# Made with argon2-cffi, pycryptodomex and the standard library's hmac from the words of docs/image-format.md.
WRAPPED = {
    SlotKind.PASSPHRASE: "b1fb44eff69bf19ff167f915c2a68565f4f41d27dd7a4755f44aefa25cda763a5349dc170ea94acc4ac4d06a483bcdff"
    "63f95776dffb41129d3eb95912cee2170c6001cd6cf6b64e7d75b87f32440efb41231f7eb899ab264d1ecbadfe6a7d4b1d79c84373667a3fd70a1780cc6ef4dd",
    SlotKind.KEY_FILE: "a54a96abb9e491df7b4b429e41f8f4645e4e65be99562cc9fd06bc162185a932f0e7be96185985563616c791e8723d84"
    "a86d6a45a5c7da248dda869e95bf00d4228061c65d7688dc5c45e7227fe2b507ebbf6142f3a28d840cda6e075ec61523037a4fcda72320f0e14220f19c742141",
    SlotKind.RECOVERY: "c3033b74c9813f8e5c9bef8ae6bf1974237f4014fdcccea242ba789242387fc15ad0f7f71e2b6af2c1db2febe4e635ec"
    "a9459134663bf2c6abe98edb206abc299b323dfea712ab580ac98f540441d7f87ef34bc14e2953bf6946f31f5122842d7c49dfc9ebc380f3c8b1d2778fc2aa8d",
}


@pytest.fixture(scope="module")
def area() -> KeyArea:
    """Three slots, one of each kind."""
    return KeyArea.new(BINDING, ALL, KEYS, CHEAP)


@pytest.mark.parametrize(
    ("kind", "material"),
    [
        (SlotKind.PASSPHRASE, "Zoë 🔑".encode()),
        (SlotKind.KEY_FILE, KEY_FILE),
        (SlotKind.RECOVERY, recovery_bytes(TEXT)),
    ],
)
def test_known_answers(kind: SlotKind, material: bytes) -> None:
    slot = KeyArea(BINDING).wrap(kind, material, KEYS, Cost(8 * MIB, 2, 3), fixed)
    assert slot.wrapped.hex() == WRAPPED[kind]


def test_the_derivation_of_strong_secrets_is_rfc_5869() -> None:
    slot = KeyArea(BINDING).wrap(SlotKind.KEY_FILE, KEY_FILE, KEYS, random=fixed)
    extracted = hmac.new(slot.salt, KEY_FILE, hashlib.sha256).digest()
    expected = hmac.new(extracted, b"rescue key file\x01", hashlib.sha256).digest()
    assert keyslots._derive(slot, KEY_FILE, {}) == expected


def test_a_slot_in_bytes() -> None:
    """The fields stand where docs/image-format.md says."""
    packed = KeyArea(BINDING).wrap(SlotKind.PASSPHRASE, b"x", KEYS, Cost(8 * MIB, 2, 3), fixed).pack()
    assert len(packed) == 4096
    assert packed[:16] == struct.pack("<IIII", 1, 8192, 2, 3)
    assert packed[16:48] == fixed(32)
    assert packed[48:60] == fixed(12)
    assert not any(packed[172:4064])
    assert packed[4064:] == blake3(packed[:4064]).digest()


def test_the_area_in_bytes(area: KeyArea) -> None:
    payload = area.pack()
    assert len(payload) == KEY_AREA_SIZE == 36720
    assert payload[:16] == b"RSCUKEYS" + struct.pack("<HHI", 1, 8, 4096)
    assert payload[16:48] == BINDING
    assert (KEY_AREA_OFFSET + FIRST) % 4096 == 0
    assert payload[FIRST - 32 : FIRST] == blake3(payload[: FIRST - 32]).digest()
    assert KeyArea.unpack(payload, BINDING) == area


@pytest.mark.parametrize(
    "secrets",
    [
        Secrets(passphrase="correct horse"),
        Secrets(key_file=KEY_FILE),
        Secrets(recovery=TEXT.lower()),
        Secrets("wrong", KEY_FILE),
        Secrets("correct horse", bytes(32)),
    ],
)
def test_any_secret_opens(area: KeyArea, secrets: Secrets) -> None:
    assert KeyArea.unpack(area.pack(), BINDING).open(secrets) == KEYS


@pytest.mark.parametrize(
    "secrets", [Secrets("wrong"), Secrets(key_file=bytes(32)), Secrets(passphrase=TEXT), Secrets("Correct horse")]
)
def test_a_wrong_secret_is_said_and_nothing_else(area: KeyArea, secrets: Secrets) -> None:
    with pytest.raises(CredentialError, match="is wrong") as raised:
        area.open(secrets)
    assert raised.value.exit_code == 5
    assert "damaged" not in raised.value.hint
    assert raised.value.__cause__ is None


def test_no_secret_and_a_kind_that_is_not_there() -> None:
    area = KeyArea.new(BINDING, Secrets("x"), KEYS, CHEAP)
    with pytest.raises(CredentialError, match="is encrypted: it opens with its passphrase"):
        area.open(NO_SECRETS)
    with pytest.raises(CredentialError, match="does not open with a key file"):
        area.open(Secrets(key_file=KEY_FILE))
    with pytest.raises(UsageError):
        KeyArea.new(BINDING, NO_SECRETS, KEYS, CHEAP)


def test_a_mistyped_recovery_key_is_not_tried(area: KeyArea, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> bytes:
        raise AssertionError("derived")

    monkeypatch.setattr(keyslots, "_derive", refuse)
    with pytest.raises(CredentialError, match="mistyped"):
        area.open(Secrets(recovery=TEXT[:-1] + "9"))


def test_an_area_is_bound_to_its_image(area: KeyArea) -> None:
    other = bytes(32)
    with pytest.raises(DamagedError, match="another image"):
        KeyArea.unpack(area.pack(), other)
    # Also when the attacker makes the clear part fit.
    with pytest.raises(CredentialError):
        KeyArea.unpack(replace(area, binding=other).pack(), other).open(Secrets(key_file=KEY_FILE))


def test_a_slot_cannot_change_its_kind(area: KeyArea) -> None:
    number = area.numbers(SlotKind.KEY_FILE)[0]
    slot = area.slots[number]
    assert isinstance(slot, Slot)
    moved = KeyArea(BINDING).with_slot(0, replace(slot, kind=SlotKind.RECOVERY))
    with pytest.raises(CredentialError):
        moved.open(Secrets(recovery=TEXT))


@settings(max_examples=examples(300))
@given(bit=st.integers(0, KEY_AREA_SIZE * 8 - 1))
def test_any_flipped_bit_is_noticed(bit: int) -> None:
    area = KeyArea(BINDING).with_slot(2, KeyArea(BINDING).wrap(SlotKind.KEY_FILE, KEY_FILE, KEYS))
    payload = bytearray(area.pack())
    payload[bit // 8] ^= 1 << bit % 8
    try:
        damaged = KeyArea.unpack(bytes(payload), BINDING)
    except DamagedError:
        assert bit // 8 < FIRST
    else:
        assert damaged.damaged == 1
        assert isinstance(damaged.slots[(bit // 8 - FIRST) // SLOT_SIZE], DamagedError)


def test_a_damaged_slot_leaves_the_others_and_is_mentioned(area: KeyArea) -> None:
    payload = bytearray(area.pack())
    payload[FIRST + SLOT_SIZE * area.numbers(SlotKind.PASSPHRASE)[0] + 70] ^= 1
    damaged = KeyArea.unpack(bytes(payload), BINDING)
    assert damaged.open(Secrets(key_file=KEY_FILE)) == KEYS
    with pytest.raises(CredentialError, match="damaged"):
        damaged.open(Secrets(passphrase="correct horse"))


def test_when_no_slot_can_be_read_it_is_damaged_not_a_wrong_passphrase(area: KeyArea) -> None:
    payload = bytearray(area.pack())
    for number in range(SLOTS):
        payload[FIRST + SLOT_SIZE * number] ^= 0x80
    with pytest.raises(DamagedError, match="key area is damaged"):
        KeyArea.unpack(bytes(payload), BINDING).open(Secrets("correct horse"))
    with pytest.raises(DamagedError):
        KeyArea(BINDING).open(Secrets("correct horse"))


@pytest.mark.parametrize("length", [0, 1, FIRST, KEY_AREA_SIZE - 1, KEY_AREA_SIZE + 1])
def test_an_area_of_another_length(area: KeyArea, length: int) -> None:
    with pytest.raises(DamagedError):
        KeyArea.unpack(area.pack().ljust(length, b"\x00")[:length], BINDING)


def forged(change: Callable[[bytearray], object]) -> bytes:
    """An area whose first slot an attacker changed, with a right checksum."""
    area = KeyArea(BINDING).with_slot(0, KeyArea(BINDING).wrap(SlotKind.PASSPHRASE, b"x", KEYS, CHEAP))
    payload = bytearray(area.pack())
    slot = payload[FIRST : FIRST + SLOT_SIZE - 32]
    change(slot)
    payload[FIRST : FIRST + SLOT_SIZE] = slot + blake3(bytes(slot)).digest()
    return bytes(payload)


@pytest.mark.parametrize(
    ("memory", "iterations", "lanes"),
    [
        (1 << 30, 1, 1),  # 1 TiB
        (0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF),
        (512 * KIB + 1, 1, 1),
        (512 * KIB, 9, 1),  # too long
        (8 * KIB, 1 << 20, 1),
        (8 * KIB, 1, 17),
        (8 * KIB, 1, 0),
        (8 * KIB, 0, 1),
        (0, 1, 1),
    ],
)
def test_hostile_costs_are_refused_before_anything_is_derived(
    memory: int, iterations: int, lanes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> bytes:
        raise AssertionError("derived")

    payload = forged(lambda slot: struct.pack_into("<III", slot, 4, memory, iterations, lanes))
    monkeypatch.setattr(keyslots, "_derive", refuse)
    with pytest.raises(FormatError, match="impossible amounts"):
        KeyArea.unpack(payload, BINDING).open(Secrets("x"))


@pytest.mark.parametrize(
    "change",
    [
        lambda slot: slot.__setitem__(0, 4),
        lambda slot: slot.__setitem__(0, 0),
        lambda slot: slot.__setitem__(1, 1),
        lambda slot: slot.__setitem__(4000, 1),
        lambda slot: slot.__setitem__(0, SlotKind.KEY_FILE),  # with the cost of a passphrase
    ],
)
def test_unknown_slots_are_refused(change: Callable[[bytearray], object]) -> None:
    with pytest.raises(FormatError):
        KeyArea.unpack(forged(change), BINDING)


def test_eight_dear_slots_are_too_much_together() -> None:
    dear = Cost(512 * MIB, 8, 1)
    assert dear.acceptable()
    slot = replace(KeyArea(BINDING).wrap(SlotKind.PASSPHRASE, b"x", KEYS, CHEAP), cost=dear)
    assert KeyArea.unpack(KeyArea(BINDING, (slot,) * 2 + (None,) * 6).pack(), BINDING)
    with pytest.raises(FormatError, match="together"):
        KeyArea.unpack(KeyArea(BINDING, (slot,) * 8).pack(), BINDING)


def test_a_machine_without_the_memory_says_so(area: KeyArea, monkeypatch: pytest.MonkeyPatch) -> None:
    class Exhausted:
        def __init__(self, **_: object) -> None: ...

        def derive(self, _material: bytes) -> bytes:
            raise MemoryError

    monkeypatch.setattr(keyslots, "Argon2id", Exhausted)
    with pytest.raises(RescueError, match="8 MiB of memory") as raised:
        area.open(Secrets("correct horse"))
    assert "key file" in raised.value.hint


def test_the_default_cost_fits_a_small_machine() -> None:
    assert DEFAULT_COST.acceptable()
    assert DEFAULT_COST.memory <= 256 * MIB
    assert 8 * DEFAULT_COST.work <= 8 * GIB  # eight passphrases are no hostile image
    # RFC 9106, section 4: at least as dear as its second recommendation
    assert DEFAULT_COST.memory >= 64 * MIB
    assert DEFAULT_COST.iterations >= 3
    with pytest.raises(ValueError, match="no reader"):
        KeyArea(BINDING).wrap(SlotKind.PASSPHRASE, b"x", KEYS, Cost(4 * GIB, 1, 1))


def test_places_run_out(area: KeyArea) -> None:
    slot = area.slots[0]
    assert isinstance(slot, Slot)
    full = KeyArea(BINDING, (slot,) * SLOTS)
    with pytest.raises(RefusedError):
        full.free_slot()
    torn = replace(full, slots=(slot, DamagedError("torn"), *full.slots[2:]))
    assert torn.free_slot() == 1
    assert torn.with_slot(5, None).free_slot() == 5


def test_the_same_secret_never_wraps_alike() -> None:
    empty = KeyArea(BINDING)
    slots = [empty.wrap(SlotKind.KEY_FILE, KEY_FILE, KEYS) for _ in range(100)]
    assert len({slot.salt for slot in slots}) == len({slot.wrapped for slot in slots}) == 100


def test_many_at_once_do_not_wait_for_each_other_for_ever() -> None:
    """OpenSSL's lanes share one pool of threads in a process."""
    cost = Cost(8 * MIB, 1, 4)
    derived: list[bytes] = []

    def derive() -> None:
        derived.extend(
            keyslots._derive(Slot(SlotKind.PASSPHRASE, cost, bytes(32), bytes(12), b""), b"secret", {}) for _ in range(10)
        )

    threads = [threading.Thread(target=derive, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(derived) == 40
    assert len(set(derived)) == 1


def test_a_passphrase_is_derived_from_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also by the job's process, which is given what was derived; another passphrase never opens by what is kept."""
    secrets = Secrets(passphrase="right")
    area = KeyArea.new(BINDING, secrets, KEYS, CHEAP)
    assert len(secrets.derived) == 1
    sent = receive(send(secrets))
    with monkeypatch.context() as patched:
        patched.setattr(keyslots, "Argon2id", None)
        assert area.open(sent) == KEYS
    with pytest.raises(CredentialError):
        area.open(replace(sent, passphrase="wrong"))
    for number in range(100):
        with pytest.raises(CredentialError):
            area.open(replace(sent, passphrase=f"wrong {number}"))
    assert len(sent.derived) == 64
    assert receive(send(sent)).derived == sent.derived
