"""Encrypted images as a hostile store gives them back: swapped, cut, replayed, flipped; and what they tell without the key."""

from __future__ import annotations

import itertools
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import zstandard
from blake3 import blake3

from rescue.engine.deploy import Deployment
from rescue.engine.verify import verify_image
from rescue.errors import CredentialError, DamagedError, FormatError, RescueError
from rescue.images.chain import Chain
from rescue.images.crypto import ImageKeys
from rescue.images.format import Kind, Row, RowKind, Trailer, skippable
from rescue.images.keyslots import FIRST_SLOT_OFFSET, SLOT_SIZE, SLOTS
from rescue.images.reader import ImageReader, open_image
from rescue.images.rekey import Changes, key_area_of, rekey_file
from rescue.images.secrets import NO_SECRETS, Secrets, new_recovery_key
from rescue.jobs.destination import StoreDestination
from rescue.model.progress import CancelToken
from rescue.records import replace
from rescue.services.library import list_images
from rescue.stores.folder import FolderStore
from rescue.units import KIB, MIB
from tests.unit.images.disks import SmallDisk, small_disk
from tests.unit.jobs.attempts import CHEAP, DISK, Attempt, allocated_byte, altered, content_of, small_segments

__all__ = ["small_segments"]
pytestmark = pytest.mark.usefixtures("small_segments")

SECRETS = Secrets(passphrase="correct horse")


def sealed(folder: Path, disk: SmallDisk = DISK, secrets: Secrets = SECRETS, **options: object) -> Path:
    made = Attempt(folder, disk, secrets, name=str(options.pop("name", "x.rimg")), **options)  # type: ignore[arg-type]
    made.run()
    return made.image


def verify(path: Path, secrets: Secrets = SECRETS) -> None:
    verify_image(str(path), secrets, token=CancelToken(), progress=lambda done, total: None, notify=lambda message: None)


def restore(path: Path, target: Path, secrets: Secrets = SECRETS, disk: SmallDisk = DISK) -> bytes:
    target.write_bytes(bytes(len(disk.content)))
    with Deployment(str(path), str(target), secrets) as deployment:
        deployment.wipe()
        deployment.write_data(CancelToken(), lambda done, total: None)
        deployment.write_head()
        deployment.read_back(CancelToken(), lambda done, total: None)
    return target.read_bytes()


def refused(path: Path, data: bytes, *, harmless: bool = False, disk: SmallDisk = DISK) -> None:
    """Refused by everything that reads it, as damaged. ``harmless``: what a restore does not need may pass it unnoticed."""
    path.write_bytes(data)
    with pytest.raises(DamagedError) as told:
        verify(path)
    assert told.value.exit_code == 4
    try:
        found = restore(path, path.with_name("target"), disk=disk)
    except DamagedError:
        return
    assert harmless
    assert found == disk.kept


def frames(path: Path) -> list[Row]:
    """A row of each data frame."""
    with Chain(path, SECRETS) as chain:
        rows = [row for row in chain.rows() if row.kind == RowKind.DATA]
    return [next(group) for _, group in itertools.groupby(rows, lambda row: row.frame_offset)]


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return sealed(tmp_path)


def test_a_wrong_passphrase_tells_nothing_else(image: Path) -> None:
    for secrets in (Secrets(passphrase="wrong"), Secrets(recovery=new_recovery_key()), Secrets(key_file=bytes(32)), NO_SECRETS):
        with pytest.raises(CredentialError) as told:
            open_image(image, secrets)
        assert told.value.exit_code == 5
        assert "volume" not in f"{told.value} {told.value.hint}"
        (listed,) = list_images(FolderStore(image.parent), secrets)
        assert listed.locked
        assert (listed.layout, listed.disk, listed.volumes, listed.comment, listed.host) == (None, None, (), "", "")


def test_nothing_shows_of_content_labels_and_names(tmp_path: Path) -> None:
    """With or without a stock decoder; neither of the disk, nor what was said of it."""
    options: dict[str, Any] = {"comment": "before the great update", "host": "machine-of-the-boss"}
    path = sealed(tmp_path, **options)
    plain = sealed(tmp_path, secrets=NO_SECRETS, name="plain.img.zst", **options)
    data = path.read_bytes()
    with open_image(plain) as clear:
        hashes = [row.hash for row in clear.rows() if row.kind == RowKind.DATA]
        manifest = clear.manifest.pack()
    told = zstandard.ZstdDecompressor().decompress(manifest[12:])
    assert b"machine-of-the-boss" in told
    assert b'"ext4"' in told
    # Four bytes alone would be found by chance in one of a thousand runs.
    secret = [b"volume 1", b"volume 2", b'"ext4"', b"great update", b"machine-of-the-boss", b"correct horse", *hashes]
    chance = random.Random(1)
    kept = DISK.kept
    while len(secret) < 300:
        at = chance.randrange(len(kept) - 16)
        if len(set(kept[at : at + 16])) > 12:
            secret.append(kept[at : at + 16])
    assert not [piece for piece in secret if piece in data]
    # All of it is skippable frames: a stock decoder gives nothing.
    reader = zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True)
    assert reader.read(100) == b""
    assert zstandard.FRAME_HEADER not in data[: FIRST_SLOT_OFFSET + SLOTS * SLOT_SIZE]


def test_flipped_bits(tmp_path: Path) -> None:
    """Everywhere: in frames, segments, the manifest, the trailer and the seek table, which a restore does not need."""
    speck = small_disk(2, MIB, 64 * KIB)  # it is read more than a hundred times
    image = sealed(tmp_path, speck)
    data = image.read_bytes()
    keys_end = FIRST_SLOT_OFFSET + SLOTS * SLOT_SIZE
    chance = random.Random(2)
    with ImageReader(image, SECRETS) as reader:
        segments = [entry.offset + 8 + at for entry in reader.manifest.segments for at in (0, 9, 30, entry.length - 1)]
        trailer, table = reader.trailer, reader.seek_table_offset
    places = [*segments, trailer.manifest_offset + 8, trailer.manifest_offset + 40, len(data) - 1, len(data) - 200]
    places += [row.frame_offset + at for row in frames(image)[:4] for at in (0, 4, 8, 16, 30, row.frame_length - 1)]
    places += [chance.randrange(keys_end, len(data)) for _ in range(25)]
    path = tmp_path / "damaged.rimg"
    for at in places:
        flipped = bytearray(data)
        flipped[at] ^= 1 << chance.randrange(8)
        refused(path, bytes(flipped), harmless=at > table, disk=speck)


def test_flipped_bits_before_the_data(image: Path, tmp_path: Path) -> None:
    """In the header and in what opens the image; what nothing depends on (other slots) may stay unnoticed."""
    data = image.read_bytes()
    path = tmp_path / "damaged.rimg"
    chance = random.Random(3)
    for at in [*range(16, 136, 7), *range(144, 192, 5), 4070, FIRST_SLOT_OFFSET, FIRST_SLOT_OFFSET + 20, FIRST_SLOT_OFFSET + 90]:
        flipped = bytearray(data)
        flipped[at] ^= 1 << chance.randrange(8)
        path.write_bytes(flipped)
        with pytest.raises(RescueError) as told:
            verify(path)
        known = isinstance(told.value, FormatError) and at < 18  # the version of the format
        assert told.value.exit_code in (4, 5) or known, (at, told.value)


def test_cut_at_every_kind_of_place(image: Path, tmp_path: Path) -> None:
    data = image.read_bytes()
    ends = [row.frame_offset + row.frame_length for row in frames(image)]
    path = tmp_path / "cut.rimg"
    for end in [*ends[::3], 137, 200, 4096, FIRST_SLOT_OFFSET + SLOTS * SLOT_SIZE, len(data) - 1, len(data) - 130]:
        refused(path, data[:end])


def test_frames_that_changed_places(image: Path, tmp_path: Path) -> None:
    """Frames as long as each other, so that nothing else has to be forged."""
    content = bytearray(DISK.content)
    start = DISK.volumes[1][0].start
    chance = random.Random(4)
    # Noise: its frames are all as long as the noise.
    content[start : start + 4 * MIB] = chance.randbytes(4 * MIB)
    path = sealed(tmp_path, SmallDisk(bytes(content), DISK.layout, DISK.volumes), name="noise.rimg")
    data = path.read_bytes()
    rows = frames(path)
    pairs = [(a, b) for a, b in itertools.combinations(rows, 2) if a.frame_length == b.frame_length]
    assert pairs
    for one, two in pairs[:3]:
        swapped = bytearray(data)
        swapped[one.frame_offset : one.frame_offset + one.frame_length] = data[
            two.frame_offset : two.frame_offset + two.frame_length
        ]
        swapped[two.frame_offset : two.frame_offset + two.frame_length] = data[
            one.frame_offset : one.frame_offset + one.frame_length
        ]
        refused(tmp_path / "swapped.rimg", bytes(swapped))


def test_frames_of_another_image(image: Path, tmp_path: Path) -> None:
    """Of the same disk, with the same passphrase, at the same place; and with the very same keys."""
    data = image.read_bytes()
    first = frames(image)[2]
    other = sealed(tmp_path, name="other.rimg")
    with open_image(image, SECRETS) as opened:
        keys = opened.keys
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ImageKeys, "new", lambda *_: keys)
        twin = sealed(tmp_path, name="twin.rimg")
    for path in (other, twin):
        foreign = path.read_bytes()
        span = slice(first.frame_offset, first.frame_offset + first.frame_length)
        assert foreign[span] != data[span]
        refused(tmp_path / "mixed.rimg", data[: span.start] + foreign[span] + data[span.stop :])
        # The key area, and with it the header.
        refused(tmp_path / "mixed.rimg", data[:136] + foreign[136:36864] + data[36864:])
        refused(tmp_path / "mixed.rimg", foreign[:36864] + data[36864:])
        refused(tmp_path / "mixed.rimg", data[:36864] + foreign[36864:])


def test_an_earlier_state_of_a_frame(tmp_path: Path) -> None:
    """Two attempts with the same header and keys wrote another content to the same place: the index has one of them only."""
    made = Attempt(tmp_path, DISK, SECRETS, name="x.rimg")
    made.interrupted(6 * MIB)
    old = made.partial.read_bytes()
    changed = altered(DISK, allocated_byte(DISK, 5 * MIB))
    made.of(changed).run()
    new = made.image.read_bytes()
    assert new[:136] == old[:136]
    told = []
    for row in frames(made.image):
        span = slice(row.frame_offset, row.frame_offset + row.frame_length)
        if old[span] and old[span] != new[span] and len(old) >= span.stop:
            (tmp_path / "replayed.rimg").write_bytes(new[: span.start] + old[span] + new[span.stop :])
            try:
                verify(tmp_path / "replayed.rimg")
            except DamagedError as error:
                told.append(str(error))
    # The others hold what they held before: they were only sealed once more.
    assert len(told) == 1
    assert "does not match its hash" in told[0]


def test_another_manifest(image: Path, tmp_path: Path) -> None:
    """Its place is found by the trailer, which anybody can write anew: a segment of this image, or a manifest of another."""
    data = image.read_bytes()
    other = sealed(tmp_path, name="other.rimg")
    with open_image(other, SECRETS) as opened:
        foreign = opened._read_skippable(opened.trailer.manifest_offset, opened.trailer.manifest_length, 1 << 20)
    with open_image(image, SECRETS) as opened:
        entry = opened.manifest.segments[1]
        segment = opened.read_segment(entry)
        at, uuid, tail = opened.trailer.manifest_offset, opened.header.uuid, data[opened.seek_table_offset :]
    for payload in (segment, foreign, segment[:8] + bytes(4) + segment[12:], b"RSCUMANI" + bytes(4) + segment[12:], b"RSCUMANI"):
        trailer = Trailer(uuid, at, len(payload), blake3(payload).digest())
        forged = data[:at] + skippable(payload) + skippable(trailer.pack()) + tail
        refused(tmp_path / "forged.rimg", forged)


def test_damaged_slots(image: Path, tmp_path: Path) -> None:
    data = bytearray(image.read_bytes())
    data[FIRST_SLOT_OFFSET : FIRST_SLOT_OFFSET + SLOTS * SLOT_SIZE] = bytes(SLOTS * SLOT_SIZE)
    refused(tmp_path / "none.rimg", bytes(data))


def test_members_of_a_chain_have_other_passphrases(tmp_path: Path) -> None:
    parent = sealed(tmp_path, name="parent.rimg")
    changed = altered(DISK, allocated_byte(DISK, 5 * MIB))
    first = sealed(tmp_path, changed, name="first.rimg", kind=Kind.INCREMENTAL, parent=parent)
    new = Secrets(passphrase="another one")
    rekey_file(parent, SECRETS, Changes(new), CHEAP)
    again = altered(changed, allocated_byte(DISK, 8 * MIB))
    second = sealed(tmp_path, again, new, name="second.rimg", kind=Kind.INCREMENTAL, parent=parent)
    assert restore(first, tmp_path / "target", SECRETS) == changed.kept
    assert restore(second, tmp_path / "target", new) == again.kept
    for path, wrong in ((first, new), (second, SECRETS), (parent, SECRETS)):
        with pytest.raises(CredentialError):
            Chain(path, wrong)
    listed = {image.name: image.locked for image in list_images(FolderStore(tmp_path), SECRETS)}
    # An image that opens opens what it is made upon.
    assert listed == {"parent.rimg": False, "first.rimg": False, "second.rimg": True}
    assert content_of(second, new).statistics is not None


def test_a_member_that_is_not_encrypted_as_the_chain_says(tmp_path: Path) -> None:
    """Told before anything is written."""
    parent = sealed(tmp_path, name="parent.rimg")
    child = sealed(
        tmp_path, altered(DISK, allocated_byte(DISK, 5 * MIB)), name="child.rimg", kind=Kind.INCREMENTAL, parent=parent
    )
    plain = sealed(tmp_path, secrets=NO_SECRETS, name="plain.rimg")
    parent.unlink()
    shutil.move(plain, parent)
    with pytest.raises(DamagedError, match=r"parent\.rimg"):
        Chain(child, SECRETS)


@pytest.mark.parametrize("split", [0, MIB])
def test_another_key_for_an_image_in_parts(tmp_path: Path, split: int) -> None:
    path = sealed(tmp_path, split=split)
    first = path.with_name("x.rimg.001") if split else path
    assert first.exists()
    recovery = new_recovery_key()
    new = Secrets(passphrase="new", key_file=b"k" * 32, recovery=recovery)
    for named in (path, first):
        rekey_file(named, SECRETS if named == path else new, Changes(new), CHEAP)
        if named == first:
            break
    assert len(key_area_of(path).kinds) == 3
    for one in (Secrets(passphrase="new"), Secrets(key_file=b"k" * 32), Secrets(recovery=recovery)):
        assert restore(path, tmp_path / "target", one) == DISK.kept
    with pytest.raises(CredentialError):
        open_image(path, SECRETS)


def test_going_on_leaves_no_trace_of_secrets(tmp_path: Path) -> None:
    made = Attempt(tmp_path, DISK, SECRETS, name="x.rimg")
    made.interrupted(4 * MIB)
    with StoreDestination(FolderStore(tmp_path), "x.rimg", 0) as output:
        begun = output.begun(SECRETS)
        assert begun is not None
        assert begun.keys is not None
        shown = repr(begun) + repr(SECRETS)
        assert "correct horse" not in shown
        for key in (begun.keys.frame_key, begun.keys.meta_key, begun.keys.hash_key):
            assert repr(key)[2:-1] not in shown
    assert replace(made, secrets=SECRETS).run().uuid
