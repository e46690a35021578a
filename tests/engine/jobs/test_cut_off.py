"""A backup that was cut off anywhere: the same command again ends in the same image, and keeps only what is right."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from rescue.errors import CancelledError, CredentialError, RefusedError, TargetWriteError
from rescue.images.begun import read_begun
from rescue.images.format import Kind
from rescue.images.reader import open_image
from rescue.images.secrets import NO_SECRETS, Secrets, new_recovery_key
from rescue.jobs.destination import StoreDestination
from rescue.model.extents import ExtentMap
from rescue.records import replace
from rescue.stores.folder import FolderStore
from rescue.system.blockfile import FileSource
from rescue.units import KIB, MIB
from tests.unit.images.disks import SmallDisk
from tests.unit.jobs.attempts import (
    DISK,
    SEGMENT,
    Attempt,
    Content,
    allocated_byte,
    altered,
    content_of,
    dense_disk,
    small_segments,
)

__all__ = ["small_segments"]
pytestmark = pytest.mark.usefixtures("small_segments")


PASSPHRASE = Secrets(passphrase="correct horse")


def attempt(folder: Path, disk: SmallDisk = DISK, **options: object) -> Attempt:
    folder.mkdir(exist_ok=True)
    return Attempt(folder, disk, **options)  # type: ignore[arg-type]


def climbing(seed: int, end: int) -> list[int]:
    """Places where a backup is cut off, one behind the other."""
    chance = random.Random(seed)
    return sorted(chance.randrange(end - 300) for _ in range(6))


def whole(folder: Path, disk: SmallDisk = DISK, **options: object) -> tuple[Content, bytes]:
    """An image that was made without interruption: its content, and its file."""
    made = attempt(folder, disk, **options)
    made.run()
    return content_of(made.image, made.secrets), made.image.read_bytes()


def segments(partial: Path, secrets: Secrets = NO_SECRETS) -> list[tuple[int, int]]:
    """Start and end in the file of the segments that can be gone on from."""
    with FileSource(partial) as source:
        begun = read_begun(source, secrets)
        return [(entry.offset, entry.offset + 8 + entry.length) for entry in begun.segments] if begun else []


def goes_on(made: Attempt, expected: Content) -> str:
    """Run it again; where on the disk it went on ("" when it began anew)."""
    told = [message for message in made.run().messages if message.startswith("Going on at ")]
    assert content_of(made.image, made.secrets) == expected
    assert [path.name for path in made.folder.iterdir()] == [made.name]
    return told[0].removeprefix("Going on at ").split(" of the disk")[0] if told else ""


def test_cut_off_at_every_kind_of_place(tmp_path: Path) -> None:
    """Around the end of every segment, inside of headers, and at random places."""
    expected, file = whole(tmp_path / "whole")
    made = attempt(tmp_path / "cut")
    made.partial.write_bytes(file)
    ends = [end for _, end in segments(made.partial)]
    assert len(ends) > 4
    chance = random.Random(1)
    cuts = {0, 1, 135, 136, 137, len(file) - 1, len(file)}
    cuts |= {end + step for end in ends for step in (-1, 0, 9)}
    cuts |= {chance.randrange(len(file)) for _ in range(12)}
    for cut in sorted(cuts & set(range(len(file) + 1))):
        made.partial.write_bytes(file[:cut])
        went_on = goes_on(made, expected)
        assert bool(went_on) == (cut >= ends[0]), cut
        made.image.unlink()


def test_what_is_kept_is_not_written_again(tmp_path: Path) -> None:
    made = attempt(tmp_path)
    _, file = whole(tmp_path / "whole")
    made.partial.write_bytes(file)
    end = segments(made.partial)[2][1]
    made.partial.write_bytes(file[: end + 100])
    before = made.partial.stat().st_ino
    with open_image(tmp_path / "whole" / made.name) as image:
        uuid = image.manifest.uuid
    run = made.run()
    assert run.uuid == uuid
    assert made.image.stat().st_ino == before
    assert made.image.read_bytes()[:end] == file[:end]


def test_interrupted_and_gone_on_with_again_and_again(tmp_path: Path) -> None:
    expected, file = whole(tmp_path / "whole")
    made = attempt(tmp_path / "again")
    for position in climbing(2, len(file)):
        made.interrupted(position)
    assert goes_on(made, expected)


def test_a_bit_that_flipped_in_what_is_kept(tmp_path: Path) -> None:
    """In frames, in zeros, in the index: it goes on before that, and never takes it over."""
    expected, file = whole(tmp_path / "whole")
    made = attempt(tmp_path / "cut")
    chance = random.Random(3)
    made.partial.write_bytes(file)
    places = segments(made.partial)
    last = places[-2][1]
    for at in [chance.randrange(144, last) for _ in range(20)] + [places[1][0] + 20, places[2][1] - 5, 20, 100]:
        data = bytearray(file[: last + 500])
        data[at] ^= 1 << chance.randrange(8)
        made.partial.write_bytes(data)
        goes_on(made, expected)
        made.image.unlink()


def test_what_the_power_cut_lost_in_the_middle(tmp_path: Path) -> None:
    """Later parts of the file are on the medium, an earlier one is zeros: no order is kept among writes that were not flushed."""
    expected, file = whole(tmp_path / "whole")
    made = attempt(tmp_path / "cut")
    made.partial.write_bytes(file)
    last = segments(made.partial)[-2][1]
    chance = random.Random(4)
    for _ in range(10):
        data = bytearray(file[: last + 5000])
        start = chance.randrange(len(data)) // 4096 * 4096
        end = min(start + 4096 * chance.choice((1, 8, 100)), len(data))
        data[start:end] = bytes(end - start)
        made.partial.write_bytes(data)
        goes_on(made, expected)
        made.image.unlink()


@pytest.mark.parametrize("segment", [0, 1, 4])
def test_the_disk_has_changed_since(tmp_path: Path, segment: int) -> None:
    """It goes on from before the change, and the image is that of the disk as it is now."""
    made = attempt(tmp_path / "cut")
    made.interrupted(len(whole(tmp_path / "whole")[1]) - 300)
    changed = altered(DISK, allocated_byte(DISK, segment * SEGMENT + SEGMENT // 2))
    expected, _ = whole(tmp_path / "changed", changed)
    went_on = goes_on(made.of(changed), expected)
    assert bool(went_on) == (segment > 0)


def test_the_used_map_has_changed_since(tmp_path: Path) -> None:
    """Files came and went: the frames are cut in other places from there on."""
    _, file = whole(tmp_path / "whole")
    made = attempt(tmp_path / "cut")
    made.interrupted(len(file) - 300)
    volume, extents = DISK.volumes[1]
    middle = volume.start + 3 * MIB
    for change in (
        extents.union(ExtentMap([(middle, middle + 900 * KIB)])),
        extents.clip(volume.start, middle).union(extents.clip(middle + 700 * KIB, volume.end)),
    ):
        disk = SmallDisk(DISK.content, DISK.layout, (DISK.volumes[0], (replace(volume, used_bytes=change.total), change)))
        expected, _ = whole(tmp_path / "changed", disk)
        shutil.copy(made.partial, tmp_path / "kept")
        assert goes_on(made.of(disk), expected)
        shutil.rmtree(tmp_path / "changed")
        made.image.unlink()
        shutil.move(tmp_path / "kept", made.partial)


def test_another_disk_of_the_same_size(tmp_path: Path) -> None:
    other = dense_disk(9)
    expected, file = whole(tmp_path / "whole")
    made = attempt(tmp_path / "cut", other)
    made.interrupted(len(file) // 2)
    assert goes_on(made.of(DISK), expected) == ""


def test_the_disk_has_other_partitions_now(tmp_path: Path) -> None:
    made = attempt(tmp_path / "cut")
    made.interrupted(len(whole(tmp_path / "whole")[1]) // 2)
    other = dense_disk(3, 12 * MIB + 512)
    expected, _ = whole(tmp_path / "other", other)
    assert goes_on(made.of(other), expected) == ""


@pytest.mark.parametrize("algorithm", [0, 2])
def test_encrypted(tmp_path: Path, algorithm: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if algorithm:
        monkeypatch.setattr("rescue.engine.making.best_algorithm", lambda flags: algorithm)
    expected, file = whole(tmp_path / "whole", secrets=PASSPHRASE, name="x.rimg")
    made = attempt(tmp_path / "cut", secrets=PASSPHRASE, name="x.rimg")
    for position in climbing(5, len(file)):
        made.interrupted(position)
    assert goes_on(made, expected)


def test_encrypted_with_another_passphrase(tmp_path: Path) -> None:
    """It is not overwritten: somebody may want to go on with it."""
    made = attempt(tmp_path / "cut", secrets=PASSPHRASE, name="x.rimg")
    made.interrupted(5 * MIB)
    before = made.partial.read_bytes()
    with pytest.raises(CredentialError, match="interrupted backup that does not open") as told:
        replace(made, secrets=Secrets(passphrase="wrong")).run()
    assert "--anew" in told.value.hint
    assert made.partial.read_bytes() == before


def test_encrypted_opens_with_what_is_given_when_it_goes_on(tmp_path: Path) -> None:
    """The recovery key of the first attempt was never printed; the one that is printed in the end has to open the image."""
    first = Secrets(passphrase="correct horse", recovery=new_recovery_key())
    made = attempt(tmp_path / "cut", secrets=first, name="x.rimg")
    expected, _ = whole(tmp_path / "whole", secrets=first, name="x.rimg")
    made.interrupted(5 * MIB)
    second = Secrets(passphrase="correct horse", recovery=new_recovery_key(), key_file=b"k" * 32)
    assert goes_on(replace(made, secrets=second), expected)
    for one in (Secrets(passphrase="correct horse"), Secrets(recovery=second.recovery), Secrets(key_file=b"k" * 32)):
        with open_image(made.image, one) as image:
            assert image.manifest.kind == "full"
    with pytest.raises(CredentialError):
        open_image(made.image, Secrets(recovery=first.recovery))


def test_a_piece_of_an_earlier_state_of_an_encrypted_one(tmp_path: Path) -> None:
    """An attempt that wrote another content to the same place of the file: sealed with the same key, and not taken."""
    made = attempt(tmp_path / "cut", secrets=PASSPHRASE, name="x.rimg")
    expected, file = whole(tmp_path / "whole", secrets=PASSPHRASE, name="x.rimg")
    made.interrupted(len(file) - 300)
    old = made.partial.read_bytes()
    changed = altered(DISK, allocated_byte(DISK, 7 * MIB))
    again = made.of(changed)
    again.interrupted(len(file) - 300)
    new = made.partial.read_bytes()
    assert new[:136] == old[:136]
    different = next(at for at in range(len(old)) if old[at] != new[at])
    places = segments(made.partial, PASSPHRASE)
    count = sum(end <= different for _, end in places)
    start, end = places[count - 1][1], places[count][0]
    # The frames of the old state under the index of the new one.
    made.partial.write_bytes(new[:start] + old[start:end] + new[end:])
    expected, _ = whole(tmp_path / "changed", changed, secrets=PASSPHRASE, name="x.rimg")
    assert goes_on(again, expected)


def test_encrypted_and_plain_are_not_mixed(tmp_path: Path) -> None:
    made = attempt(tmp_path / "cut", secrets=PASSPHRASE)
    made.interrupted(4 * MIB)
    with pytest.raises(CredentialError):
        replace(made, secrets=NO_SECRETS).run()


@pytest.mark.parametrize("kind", [Kind.INCREMENTAL, Kind.DIFFERENTIAL])
@pytest.mark.parametrize("secrets", [NO_SECRETS, PASSPHRASE])
def test_upon_a_parent(tmp_path: Path, kind: Kind, secrets: Secrets) -> None:
    parent = attempt(tmp_path, secrets=secrets, name="day1.img.zst")
    parent.run()
    disk = altered(
        altered(altered(DISK, allocated_byte(DISK, MIB)), allocated_byte(DISK, 5 * MIB)), allocated_byte(DISK, 9 * MIB)
    )
    options = {"secrets": secrets, "kind": kind, "parent": parent.image}
    one = attempt(tmp_path, disk, name="whole.rimg", **options)
    one.run()
    expected, size = content_of(one.image, secrets), one.image.stat().st_size
    one.image.unlink()
    made = attempt(tmp_path, disk, name="x.rimg", **options)
    chance = random.Random(6)
    for _ in range(3):
        made.interrupted(chance.randrange(size // 2, size))
        made.run()
        assert content_of(made.image, secrets) == expected
        made.image.unlink()


def test_upon_another_parent(tmp_path: Path) -> None:
    """The rows of the unfinished image would point into files that the new one has not."""
    one = attempt(tmp_path, name="one.img.zst")
    one.run()
    two = attempt(tmp_path, altered(DISK, allocated_byte(DISK, 3 * MIB)), name="two.img.zst")
    two.run()
    disk = altered(DISK, allocated_byte(DISK, 9 * MIB))
    options = {"kind": Kind.INCREMENTAL, "name": "x.rimg"}
    expected = attempt(tmp_path, disk, parent=two.image, kind=Kind.INCREMENTAL, name="y.rimg")
    expected.run()
    made = attempt(tmp_path, disk, parent=one.image, **options)
    made.interrupted(expected.image.stat().st_size // 2)
    assert len(segments(made.partial)) > 1
    assert made.run(StoreDestination(FolderStore(tmp_path), "z.rimg", 0)).messages == []
    replace(made, parent=two.image).run()
    assert content_of(made.image) == content_of(expected.image)


@pytest.mark.parametrize("secrets", [NO_SECRETS, PASSPHRASE])
def test_in_parts(tmp_path: Path, secrets: Secrets) -> None:
    expected, file = whole(tmp_path / "whole", secrets=secrets)
    made = attempt(tmp_path / "cut", split=MIB, secrets=secrets)
    for position in climbing(7, len(file)):
        made.interrupted(position)
    assert any("Going on" in message for message in made.run().messages)
    assert not made.image.exists()
    assert content_of(made.image, secrets) == expected
    joined = b"".join(path.read_bytes() for path in sorted(made.folder.iterdir()))
    assert len(list(made.folder.iterdir())) == -(-len(joined) // MIB)


def test_in_parts_of_another_size(tmp_path: Path) -> None:
    made = attempt(tmp_path / "cut", split=MIB)
    made.interrupted(4 * MIB)
    before = {path.name: path.read_bytes() for path in made.folder.iterdir()}
    with pytest.raises(RefusedError, match="begun with other parts"):
        replace(made, split=2 * MIB).run()
    assert {path.name: path.read_bytes() for path in made.folder.iterdir()} == before


def test_a_disk_that_holds_images(tmp_path: Path) -> None:
    """Its data look like segments: of other images, and copies of its own."""
    _, inner = whole(tmp_path / "inner")
    volume, _ = DISK.volumes[1]
    content = bytearray(DISK.content)
    length = min(len(inner), volume.end - volume.start - MIB)
    content[volume.start : volume.start + length] = inner[:length]
    everything = ExtentMap([(volume.start, volume.end)])
    disk = SmallDisk(bytes(content), DISK.layout, (DISK.volumes[0], (replace(volume, used_bytes=everything.total), everything)))
    expected, file = whole(tmp_path / "whole", disk)
    assert file.count(b"RSCUSEGM") >= 8
    made = attempt(tmp_path / "cut", disk)
    for cut in range(2 * MIB, len(file), 3 * MIB + 4321):
        made.partial.write_bytes(file[:cut])
        goes_on(made, expected)
        made.image.unlink()


def test_a_copy_of_its_own_segment_in_its_data_is_none(tmp_path: Path) -> None:
    """The unfinished image was copied to the disk that it is of: the copy's segments have its UUID and point to its own."""
    _, file = whole(tmp_path / "whole")
    made = attempt(tmp_path / "cut")
    made.partial.write_bytes(file)
    places = segments(made.partial)
    # Behind the third segment: what is stored of a disk that holds a copy of the fourth.
    start, end = places[3]
    tail = file[places[2][1] : places[2][1] + 1000] + file[start:end] + bytes(700)
    made.partial.write_bytes(file[: places[2][1]] + tail)
    expected, _ = whole(tmp_path / "again")
    assert goes_on(made, expected)


def test_cancelled_while_it_compares(tmp_path: Path) -> None:
    """Nothing of what was written before is lost."""
    _, file = whole(tmp_path / "whole")
    made = attempt(tmp_path / "cut")
    made.interrupted(len(file) - 300)
    before = made.partial.read_bytes()

    def compare() -> None:
        with StoreDestination(FolderStore(made.folder), made.name, 0) as output:
            assert output.begun(NO_SECRETS) is not None
            raise CancelledError("Cancelled.")

    with pytest.raises(CancelledError):
        compare()
    assert made.partial.read_bytes() == before


def test_stopped_by_an_error_it_keeps_what_is_worth_it(tmp_path: Path) -> None:
    _, file = whole(tmp_path / "whole")
    made = attempt(tmp_path / "cut")
    first = made.partial

    def write(length: int) -> None:
        with StoreDestination(FolderStore(made.folder), made.name, 0) as output:
            output.write(file[:length])
            raise TargetWriteError("It is full.")

    for after, kept in ((SEGMENT // 8, False), (len(file) - 300, True)):
        with pytest.raises(TargetWriteError):
            write(after)
        assert first.exists() == kept


def test_begun_upon_a_locked_one_is_refused(tmp_path: Path) -> None:
    made = attempt(tmp_path)
    made.interrupted(4 * MIB)
    with StoreDestination(FolderStore(tmp_path), made.name, 0) as output:
        output.begun(NO_SECRETS)
        with pytest.raises(RefusedError, match="Another backup is writing"):
            made.run()
