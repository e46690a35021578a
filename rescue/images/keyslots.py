"""The key area of an encrypted image: slots that hold its keys, wrapped by one secret each (docs/image-format.md, section 10)."""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Callable
from enum import IntEnum
from typing import Final

import msgspec
from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from rescue.errors import CredentialError, DamagedError, FormatError, RefusedError, RescueError, UsageError
from rescue.images.crypto import KEY_SIZE, NONCE_SIZE, ImageKeys
from rescue.images.secrets import Secrets, passphrase_bytes, recovery_bytes
from rescue.records import replace
from rescue.units import GIB, KIB, MIB

TAG_KEYS: Final = b"RSCUKEYS"
SLOTS: Final = 8
SLOT_SIZE: Final = 4 * KIB
KEY_FRAME_OFFSET: Final = 8 + 128  # right after the header's frame
KEY_AREA_OFFSET: Final = KEY_FRAME_OFFSET + 8
# Each slot has a page of the file (and so a sector of the disk) of its own: writing one cannot tear another.
FIRST_SLOT_OFFSET: Final = SLOT_SIZE
KEY_AREA_SIZE: Final = FIRST_SLOT_OFFSET + SLOTS * SLOT_SIZE - KEY_AREA_OFFSET

# OpenSSL has one pool of threads for the lanes of all derivations in a process: two at once may wait for each other for ever.
_DERIVING: Final = threading.Lock()

_HEAD = struct.Struct("<8sHHI32s")
_HEAD_SIZE: Final = FIRST_SLOT_OFFSET - KEY_AREA_OFFSET
_SLOT = struct.Struct("<B3xIII32s12s112s")  # the last: ImageKeys and a tag
_SALT_SIZE: Final = 32
_HASH_SIZE: Final = 32
_EMPTY: Final = bytes(SLOT_SIZE)
_WRAP_DOMAIN: Final = b"RSCUWRAP"
# What the derivation from a slot may cost, so that a hostile image takes neither the memory nor the day of who tries it.
_MIN_MEMORY: Final = 8 * MIB
_MAX_MEMORY: Final = 512 * MIB
_MAX_LANES: Final = 16
_MAX_WORK: Final = 4 * GIB  # memory times iterations
_MAX_AREA_WORK: Final = 8 * GIB


class SlotKind(IntEnum):
    """What opens a slot."""

    PASSPHRASE = 1
    KEY_FILE = 2
    RECOVERY = 3

    @property
    def words(self) -> str:
        """For people."""
        return {SlotKind.PASSPHRASE: "passphrase", SlotKind.KEY_FILE: "key file", SlotKind.RECOVERY: "recovery key"}[self]


class Cost(msgspec.Struct, frozen=True):
    """What Argon2id takes: ``memory`` in bytes, and how often it passes over it."""

    memory: int
    iterations: int
    lanes: int

    @property
    def work(self) -> int:
        """Bytes passed over: what the time depends on, about 1 s for 1 GiB."""
        return self.memory * self.iterations

    def acceptable(self) -> bool:
        """Whether a reader may do this."""
        return (
            _MIN_MEMORY <= self.memory <= _MAX_MEMORY
            and self.memory % KIB == 0
            and self.iterations >= 1
            and 1 <= self.lanes <= _MAX_LANES
            and self.work <= _MAX_WORK
        )


# About half a second on two cores of today, two on an old laptop, and it fits into a machine with 1 GiB of memory.
DEFAULT_COST: Final = Cost(memory=128 * MIB, iterations=4, lanes=4)
_NO_COST: Final = Cost(0, 0, 0)
_MOST_DERIVED: Final = 64  # results that are kept: they go through a pipe to the job


class Slot(msgspec.Struct, frozen=True):
    """One wrapped copy of the image's keys."""

    kind: SlotKind
    cost: Cost
    salt: bytes
    nonce: bytes
    wrapped: bytes

    def pack(self) -> bytes:
        """SLOT_SIZE bytes."""
        cost = self.cost
        fields = _SLOT.pack(
            self.kind, cost.memory // KIB, cost.iterations, cost.lanes, self.salt, self.nonce, self.wrapped
        ).ljust(SLOT_SIZE - _HASH_SIZE, b"\x00")  # fmt: skip
        return fields + blake3(fields).digest()

    @staticmethod
    def unpack(data: bytes) -> Slot | None:
        """None for a free slot. Raises DamagedError for one that was torn or changed, FormatError for impossible parameters."""
        if data == _EMPTY:
            return None
        fields = data[:-_HASH_SIZE]
        if blake3(fields).digest() != data[-_HASH_SIZE:]:
            raise DamagedError("A slot of the image's key area is damaged.")
        kind, memory, iterations, lanes, salt, nonce, wrapped = _SLOT.unpack_from(fields)
        cost = Cost(memory * KIB, iterations, lanes)
        if kind not in tuple(SlotKind) or fields[1:4] != bytes(3) or any(fields[_SLOT.size :]):
            raise FormatError("A slot of the image's key area is of a kind that this program does not know.")
        if not (cost.acceptable() if kind == SlotKind.PASSPHRASE else cost == _NO_COST):
            raise FormatError("A slot of the image's key area asks for impossible amounts of memory or time.")
        return Slot(SlotKind(kind), cost, salt, nonce, wrapped)


class KeyArea(msgspec.Struct, frozen=True):
    """The slots of one image, by number: a slot, None where it is free, a DamagedError where it cannot be read."""

    binding: bytes
    slots: tuple[Slot | DamagedError | None, ...] = (None,) * SLOTS

    @staticmethod
    def new(
        binding: bytes, secrets: Secrets, keys: ImageKeys, cost: Cost = DEFAULT_COST, random: Callable[[int], bytes] = os.urandom
    ) -> KeyArea:
        """An area that any of ``secrets`` opens. ``binding``: bytes 96 to 127 of the header's payload. Raises UsageError."""
        if not secrets:
            raise UsageError("An encrypted image needs a passphrase, a key file or a recovery key.")
        area = KeyArea(binding)
        for kind, material in _materials(secrets):
            area = area.with_slot(area.free_slot(), area.wrap(kind, material, keys, cost, random, secrets.derived))
        return area

    def pack(self) -> bytes:
        """The payload of the key frame, KEY_AREA_SIZE bytes. Damaged slots become free ones."""
        head = _HEAD.pack(TAG_KEYS, 1, SLOTS, SLOT_SIZE, self.binding).ljust(_HEAD_SIZE - _HASH_SIZE, b"\x00")
        packed = [slot.pack() if isinstance(slot, Slot) else _EMPTY for slot in self.slots]
        return b"".join((head, blake3(head).digest(), *packed))

    @staticmethod
    def unpack(payload: bytes, binding: bytes) -> KeyArea:
        """Raises DamagedError (also when this area is another image's), FormatError for parameters out of bounds."""
        head, digest = payload[: _HEAD_SIZE - _HASH_SIZE], payload[_HEAD_SIZE - _HASH_SIZE : _HEAD_SIZE]
        if len(payload) != KEY_AREA_SIZE or blake3(head).digest() != digest:
            raise DamagedError("The image's key area is damaged.", "Use another image of this disk.")
        tag, version, count, size, its_binding = _HEAD.unpack_from(head)
        if (tag, version, count, size) != (TAG_KEYS, 1, SLOTS, SLOT_SIZE) or any(head[_HEAD.size :]):
            raise FormatError("The image's key area is of a kind that this program does not know.")
        if its_binding != binding:
            raise DamagedError("The image's key area belongs to another image.", "Use another image of this disk.")
        slots = tuple(_read_slot(payload[at : at + SLOT_SIZE]) for at in range(_HEAD_SIZE, KEY_AREA_SIZE, SLOT_SIZE))
        if sum(slot.cost.work for slot in slots if isinstance(slot, Slot)) > _MAX_AREA_WORK:
            raise FormatError("The slots of the image's key area together ask for impossible amounts of time.")
        return KeyArea(binding, slots)

    @property
    def kinds(self) -> frozenset[SlotKind]:
        """What can open the image: what to ask a person for."""
        return frozenset(slot.kind for slot in self.slots if isinstance(slot, Slot))

    @property
    def damaged(self) -> int:
        """How many slots cannot be read."""
        return sum(isinstance(slot, DamagedError) for slot in self.slots)

    def open(self, secrets: Secrets) -> ImageKeys:
        """The image's keys. Raises CredentialError when none of ``secrets`` opens it, DamagedError when no slot can be read."""
        if not self.kinds:
            raise DamagedError(
                "The image's key area is damaged: none of its keys can be read.",
                "Without them nothing in it can be read. Use another image of this disk.",
            )
        if not secrets:
            raise CredentialError(f"The image is encrypted: it opens with its {self._kinds_words()}.")
        tried = False
        # The cheap ones first: who gave a key file as well need not wait for a passphrase.
        for kind, material in reversed(list(_materials(secrets))):
            for slot in self.slots:
                if isinstance(slot, Slot) and slot.kind == kind:
                    tried = True
                    if (keys := self._unwrap(slot, material, secrets.derived)) is not None:
                        return keys
        hint = f"It opens with its {self._kinds_words()}."
        if self.damaged:
            hint += " Part of its key area is damaged; it may be the part that this would have opened."
        given = " or ".join(kind.words for kind, _ in _materials(secrets))
        raise CredentialError(f"The {given} is wrong." if tried else f"The image does not open with a {given}.", hint)

    def numbers(self, kind: SlotKind) -> tuple[int, ...]:
        """The slots of a kind."""
        return tuple(n for n, slot in enumerate(self.slots) if isinstance(slot, Slot) and slot.kind == kind)

    def free_slot(self) -> int:
        """A slot to write to: an empty one, else a damaged one, which opens nothing. Raises RefusedError when there is none."""
        empty = [number for number, slot in enumerate(self.slots) if slot is None]
        damaged = [number for number, slot in enumerate(self.slots) if isinstance(slot, DamagedError)]
        if not empty and not damaged:
            raise RefusedError(f"All {SLOTS} places for keys of this image are taken.", "Remove a key first.")
        return (empty or damaged)[0]

    def with_slot(self, number: int, slot: Slot | None) -> KeyArea:
        """The area with one slot replaced, or made free."""
        return replace(self, slots=(*self.slots[:number], slot, *self.slots[number + 1 :]))

    def wrap(
        self,
        kind: SlotKind,
        material: bytes,
        keys: ImageKeys,
        cost: Cost = DEFAULT_COST,
        random: Callable[[int], bytes] = os.urandom,
        derived: dict[str, bytes] | None = None,
    ) -> Slot:
        """A slot for this area that ``material`` opens; ``derived`` as in Secrets.

        Raises ValueError for a cost that no reader would accept.
        """
        if not cost.acceptable():
            raise ValueError(f"no reader would accept {cost}")
        salt, nonce = random(_SALT_SIZE), random(NONCE_SIZE)
        cost = cost if kind == SlotKind.PASSPHRASE else _NO_COST
        slot = Slot(kind, cost, salt, nonce, b"")
        wrapped = AESGCM(_derive(slot, material, {} if derived is None else derived)).encrypt(
            nonce, keys.to_bytes(), self._associated(kind)
        )
        return replace(slot, wrapped=wrapped)

    def _unwrap(self, slot: Slot, material: bytes, derived: dict[str, bytes]) -> ImageKeys | None:
        try:
            plain = AESGCM(_derive(slot, material, derived)).decrypt(slot.nonce, slot.wrapped, self._associated(slot.kind))
        except InvalidTag:
            return None
        return ImageKeys.from_bytes(plain)

    def _associated(self, kind: SlotKind) -> bytes:
        return _WRAP_DOMAIN + self.binding + bytes([kind])

    def _kinds_words(self) -> str:
        return " or its ".join(kind.words for kind in sorted(self.kinds))


def key_material(kind: SlotKind, secrets: Secrets) -> bytes | None:
    """What a secret of one kind is derived from; None when it was not given. Raises UsageError, CredentialError (mistyped)."""
    match kind:
        case SlotKind.PASSPHRASE:
            return None if secrets.passphrase is None else passphrase_bytes(secrets.passphrase)
        case SlotKind.KEY_FILE:
            return secrets.key_file
        case SlotKind.RECOVERY:
            return None if secrets.recovery is None else recovery_bytes(secrets.recovery)


def _materials(secrets: Secrets) -> list[tuple[SlotKind, bytes]]:
    found = ((kind, key_material(kind, secrets)) for kind in SlotKind)
    return [(kind, material) for kind, material in found if material is not None]


def _derive(slot: Slot, material: bytes, derived: dict[str, bytes]) -> bytes:
    """The key that wraps. Only a passphrase needs an expensive derivation: the others are as hard to guess as the key itself."""
    if slot.kind == SlotKind.PASSPHRASE:
        cost = slot.cost
        parameters = b"%d %d %d " % (cost.memory, cost.iterations, cost.lanes)
        name = blake3(parameters + slot.salt + material).hexdigest()
        if name not in derived:
            if len(derived) >= _MOST_DERIVED:
                derived.pop(next(iter(derived)))
            derived[name] = _argon(cost, slot.salt, material)
        return derived[name]
    info = b"rescue key file" if slot.kind == SlotKind.KEY_FILE else b"rescue recovery key"
    return HKDF(SHA256(), KEY_SIZE, slot.salt, info).derive(material)


def _argon(cost: Cost, salt: bytes, material: bytes) -> bytes:
    argon = Argon2id(
        salt=salt, length=KEY_SIZE, iterations=cost.iterations, lanes=cost.lanes, memory_cost=cost.memory // KIB
    )  # fmt: skip
    try:
        with _DERIVING:
            return argon.derive(material)
    except MemoryError as error:
        raise RescueError(
            f"Checking the passphrase needs {cost.memory // MIB} MiB of memory, which this computer does not have free.",
            "Open the image with its key file or its recovery key, or end other programs.",
        ) from error


def _read_slot(data: bytes) -> Slot | DamagedError | None:
    try:
        return Slot.unpack(data)
    except DamagedError as error:
        return error
