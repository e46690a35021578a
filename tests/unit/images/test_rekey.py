"""Changing what opens an image, interrupted at every write."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest
from blake3 import blake3

from rescue.errors import CredentialError, DamagedError, FormatError, RefusedError, RescueError, UnsupportedError, UsageError
from rescue.images.crypto import ImageKeys
from rescue.images.keyslots import FIRST_SLOT_OFFSET, KEY_AREA_OFFSET, KEY_FRAME_OFFSET, SLOT_SIZE, SLOTS, KeyArea, SlotKind
from rescue.images.rekey import Changes, key_area_of, read_key_area, rekey, rekey_file
from rescue.images.secrets import Secrets, new_recovery_key
from tests.unit.images.test_keyslots import ALL, CHEAP, KEY_FILE, KEYS
from tests.unit.images.test_secrets import TEXT

OLD = Secrets(passphrase="correct horse")
NEW = Secrets(passphrase="battery staple")
REST = b"the data of the image, which nobody touches" * 100


class _CutError(Exception):
    """The power went."""


class File:
    """A file in memory that loses power after ``budget`` bytes, and counts flushes."""

    def __init__(self, data: bytes, budget: int | None = None) -> None:
        self.data = bytearray(data)
        self.budget = budget
        self.log: list[str] = []
        self.touched: set[int] = set()

    @property
    def size(self) -> int:
        """See Source."""
        return len(self.data)

    def pread(self, length: int, offset: int) -> bytes:
        """See Source."""
        assert 0 <= offset <= offset + length <= len(self.data)
        return bytes(self.data[offset : offset + length])

    def pwrite(self, data: bytes, offset: int) -> None:
        """See Sink."""
        kept = data if self.budget is None else data[: self.budget]
        self.data[offset : offset + len(kept)] = kept
        self.touched.update(range(offset, offset + len(kept)))
        self.log.append("write")
        if self.budget is not None:
            self.budget -= len(kept)
            if len(kept) < len(data):
                raise _CutError

    def flush(self) -> None:
        """See Sink."""
        self.log.append("flush")


def header(encryption: int = 1, version: int = 1, uuid: bytes = b"U" * 16) -> bytes:
    """The header's frame, as far as it matters here."""
    fields = b"RSCUHEAD" + version.to_bytes(2, "little") + (128).to_bytes(2, "little") + bytes([0, encryption])
    fields = fields.ljust(48, b"\x00") + uuid + bytes(32)
    return b"\x5b\x2a\x4d\x18" + (128).to_bytes(4, "little") + fields + blake3(fields).digest()


def image(secrets: Secrets = ALL) -> bytes:
    """The start of an image, and something after it."""
    head = header()
    area = KeyArea.new(head[-32:], secrets, KEYS, CHEAP).pack()
    return head + b"\x5b\x2a\x4d\x18" + len(area).to_bytes(4, "little") + area + REST


IMAGE = image()


def opens(data: bytes | bytearray, secrets: Secrets) -> ImageKeys | None:
    """The keys, or None for a wrong secret."""
    try:
        return read_key_area(File(bytes(data))).open(secrets)
    except CredentialError:
        return None


def test_the_passphrase_is_changed() -> None:
    file = File(IMAGE)
    area = rekey(file, OLD, Changes(NEW), CHEAP)
    assert area == read_key_area(file)
    assert opens(file.data, NEW) == KEYS
    assert opens(file.data, OLD) is None
    assert opens(file.data, Secrets(key_file=KEY_FILE)) == opens(file.data, Secrets(recovery=TEXT)) == KEYS


def test_only_slots_are_written_each_flushed_and_the_old_one_leaves_nothing() -> None:
    file = File(IMAGE)
    before = read_key_area(File(IMAGE)).slots[0]
    rekey(file, OLD, Changes(NEW), CHEAP)
    assert file.log == ["write", "flush"] * 2
    assert min(file.touched) >= FIRST_SLOT_OFFSET
    assert max(file.touched) < FIRST_SLOT_OFFSET + SLOTS * SLOT_SIZE
    assert len(file.touched) == 2 * SLOT_SIZE
    assert file.data[-len(REST) :] == REST
    assert len(file.data) == len(IMAGE)
    assert not isinstance(before, DamagedError | None)
    assert before.wrapped not in file.data
    assert before.salt not in file.data


@pytest.mark.parametrize("budget", [*range(0, 2 * SLOT_SIZE, 97), 1, 171, 172, 4063, SLOT_SIZE - 1, SLOT_SIZE, SLOT_SIZE + 1])
def test_a_power_cut_anywhere_leaves_the_old_or_the_new_and_again_finishes(budget: int) -> None:
    file = File(IMAGE, budget)
    with pytest.raises(_CutError):
        rekey(file, OLD, Changes(NEW), CHEAP)
    old, new = opens(file.data, OLD), opens(file.data, NEW)
    assert KEYS in (old, new)
    assert {old, new} <= {KEYS, None}
    assert opens(file.data, Secrets(key_file=KEY_FILE)) == KEYS
    # The same command again; with the new passphrase where the old one has gone already.
    again = File(bytes(file.data))
    rekey(again, OLD if old else NEW, Changes(NEW), CHEAP)
    assert opens(again.data, NEW) == KEYS
    assert opens(again.data, OLD) is None
    area = read_key_area(again)
    assert area.damaged == 0
    assert len(area.numbers(SlotKind.PASSPHRASE)) == 1


def test_unflushed_writes_may_be_lost_in_any_order() -> None:
    """The old slot is touched only after the new one was flushed."""
    file = File(IMAGE)
    seen: list[bytes] = []

    class Watched(File):
        def flush(self) -> None:
            super().flush()
            seen.append(bytes(self.data))

    file = Watched(IMAGE)
    rekey(file, OLD, Changes(NEW), CHEAP)
    assert opens(seen[0], OLD) == opens(seen[0], NEW) == KEYS
    assert opens(seen[1], OLD) is None


def test_a_new_slot_that_does_not_read_back_keeps_the_old_one() -> None:
    class Rotten(File):
        def pwrite(self, data: bytes, offset: int) -> None:
            super().pwrite(data[:99] + bytes([data[99] ^ 1]) + data[100:], offset)

    file = Rotten(IMAGE)
    with pytest.raises(DamagedError, match="read back"):
        rekey(file, OLD, Changes(NEW), CHEAP)
    assert opens(file.data, OLD) == KEYS
    assert file.log == ["write", "flush"]


def test_a_lying_disk_that_keeps_the_old_bytes() -> None:
    class Lying(File):
        def pwrite(self, data: bytes, offset: int) -> None:
            self.log.append("write")

    file = Lying(IMAGE)
    with pytest.raises((DamagedError, RescueError)):
        rekey(file, OLD, Changes(NEW), CHEAP)
    assert bytes(file.data) == IMAGE


def test_the_wrong_secret_changes_nothing() -> None:
    for secrets in (Secrets("wrong"), Secrets(key_file=bytes(32)), Secrets(recovery=new_recovery_key())):
        file = File(IMAGE)
        with pytest.raises(CredentialError):
            rekey(file, secrets, Changes(NEW), CHEAP)
        assert bytes(file.data) == IMAGE


def test_key_files_are_added_the_recovery_key_is_replaced() -> None:
    file = File(IMAGE)
    text = new_recovery_key()
    rekey(file, Secrets(recovery=TEXT), Changes(Secrets(key_file=b"2" * 32, recovery=text)), CHEAP)
    assert opens(file.data, Secrets(recovery=TEXT)) is None
    for secrets in (OLD, Secrets(key_file=KEY_FILE), Secrets(key_file=b"2" * 32), Secrets(recovery=text)):
        assert opens(file.data, secrets) == KEYS


def test_dropping() -> None:
    file = File(IMAGE)
    area = rekey(file, OLD, Changes(drop=frozenset({SlotKind.KEY_FILE, SlotKind.PASSPHRASE})), CHEAP)
    assert area.kinds == {SlotKind.RECOVERY}
    before = bytes(file.data)
    with pytest.raises(UsageError, match="Nothing would open"):
        rekey(file, Secrets(recovery=TEXT), Changes(drop=frozenset(SlotKind)), CHEAP)
    assert bytes(file.data) == before
    rekey(file, Secrets(recovery=TEXT), Changes(Secrets("p"), frozenset(SlotKind)), CHEAP)
    assert opens(file.data, Secrets("p")) == KEYS
    assert read_key_area(file).kinds == {SlotKind.PASSPHRASE}


def test_no_place_left_changes_nothing() -> None:
    area = read_key_area(File(IMAGE))
    while None in area.slots:
        area = area.with_slot(area.free_slot(), area.wrap(SlotKind.KEY_FILE, KEY_FILE, KEYS))
    file = File(IMAGE[:KEY_AREA_OFFSET] + area.pack() + REST)
    before = bytes(file.data)
    with pytest.raises(RefusedError, match="taken"):
        rekey(file, OLD, Changes(NEW), CHEAP)
    assert bytes(file.data) == before


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", FormatError),
        (b"\x28\xb5\x2f\xfd" * 50, FormatError),
        (IMAGE[:100], DamagedError),
        (IMAGE[:KEY_FRAME_OFFSET], DamagedError),
        (IMAGE[: KEY_AREA_OFFSET + 5000], DamagedError),
        (header(0) + REST * 20, UsageError),
        (header(9) + REST * 20, UnsupportedError),
        (header(version=2) + REST * 20, UnsupportedError),
        (IMAGE[:50] + b"!" + IMAGE[51:], DamagedError),
        (IMAGE[:KEY_FRAME_OFFSET] + bytes(8) + IMAGE[KEY_AREA_OFFSET:], DamagedError),
        (header(uuid=b"V" * 16) + IMAGE[KEY_FRAME_OFFSET:], DamagedError),
    ],
)
def test_what_has_no_key_area(data: bytes, error: type[RescueError]) -> None:
    with pytest.raises(RescueError) as raised:
        read_key_area(File(data))
    assert type(raised.value) is error


def test_a_real_file(tmp_path: Path) -> None:
    path = tmp_path / "a.rimg"
    path.write_bytes(IMAGE)
    rekey_file(path, OLD, Changes(NEW), CHEAP)
    assert key_area_of(path).open(NEW) == KEYS
    with pytest.raises(CredentialError, match=r"a\.rimg: The passphrase is wrong"):
        rekey_file(path, OLD, Changes(NEW), CHEAP)
    assert path.stat().st_size == len(IMAGE)


@pytest.mark.parametrize(
    ("lock", "words"),
    [(fcntl.LOCK_EX, "is being changed by another command"), (fcntl.LOCK_SH, "is in use: a backup builds upon it")],
)
def test_two_at_once_are_refused(lock: int, words: str, tmp_path: Path) -> None:
    path = tmp_path / "a.rimg"
    path.write_bytes(IMAGE)
    fd = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(fd, lock)
        with pytest.raises(RefusedError, match=words):
            rekey_file(path, OLD, Changes(NEW), CHEAP)
    finally:
        os.close(fd)
    assert path.read_bytes() == IMAGE


def test_names_that_are_no_files(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        rekey_file(tmp_path / "none", OLD, Changes(NEW))
    with pytest.raises(UsageError, match="is not a file"):
        key_area_of(tmp_path)
