"""What is encrypted on the disk and clear in the image: the disk comes back as it was, whoever reads it."""

from __future__ import annotations

import io
import random
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st
from rich.pretty import pretty_repr

from rescue.engine.capture import Capture
from rescue.engine.deploy import Deployment
from rescue.engine.making import Making, Plain, new_start
from rescue.errors import DamagedError, UnsupportedError, UsageError
from rescue.images.chain import Chain
from rescue.images.clear import Clear, ClearContent, are_sane
from rescue.images.format import Header, RowKind
from rescue.images.secrets import NO_SECRETS, Secrets
from rescue.images.view import ImageView
from rescue.model.disk import Disk
from rescue.model.extents import ExtentMap
from rescue.model.progress import CancelToken
from rescue.model.source import BytesSource
from rescue.records import replace
from rescue.units import KIB, MIB
from tests.unit.images.disks import CREATED, small_disk

DISK = small_disk()
SIZE = len(DISK.content)
SECRETS = Secrets(key_file=bytes(range(32)))
START, END = 6 * MIB + 64 * KIB, 23 * MIB - 512  # in the second partition
CONTENT = ClearContent(2, START, END, "uuid", "aes", "xts-plain64", 512, 7, bytes(range(64)).hex())
ALLOCATED = DISK.layout.gaps.union(DISK.volumes[0][1]).union(DISK.volumes[1][1])


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nobody writes to it."""
    path = tmp_path_factory.mktemp("clear") / "one.rimg"
    output = io.BytesIO()
    making = Making(encrypt=True, level=3, decrypt=(2,))
    capture = Capture(
        BytesSource(DISK.content), Disk("disk", SIZE, is_file=True), DISK.layout, DISK.volumes, making, clear=(CONTENT,)
    )
    capture.run(Plain(output.write), SECRETS, CREATED, CancelToken(), lambda done, total: None, lambda message: None)
    path.write_bytes(output.getvalue())
    return path


def test_the_view_is_the_disk(image: Path) -> None:
    """Whatever is read of it; only what belongs to nothing is zeros."""
    draw = random.Random(4)
    with Chain(image, SECRETS) as chain:
        assert chain.volume_keys({"other": b"x"}) == {"uuid": bytes(range(64)), "other": b"x"}
        view = ImageView(chain, cache=8 * MIB)
        whole = view.pread(SIZE, 0)
        assert all(whole[start:end] == DISK.content[start:end] for start, end in ALLOCATED)
        position = 0
        for held in view.extents():
            assert held.start == position
            position = held.end
            if held.kind in (RowKind.HOLE, RowKind.ZERO):
                assert not any(whole[held.start : held.end])
        for _ in range(60):
            offset = draw.randrange(SIZE)
            length = draw.randrange(min(SIZE - offset, 300 * KIB))
            assert view.pread(length, offset) == whole[offset : offset + length]
        stored = ImageView(chain, as_stored=True).pread(SIZE, 0)
        clear = Clear((CONTENT,)).opened(BytesSource(DISK.content))
        assert all(stored[start:end] == clear.pread(end - start, start) for start, end in ALLOCATED)
        assert stored[START:END] != whole[START:END]


def test_a_restore_gives_the_disk(image: Path, tmp_path: Path) -> None:
    """Read back; again nothing is written; one changed byte is found."""
    target = tmp_path / "target"
    target.write_bytes(random.Random(5).randbytes(SIZE))
    for again in (False, True):
        with Deployment(str(image), str(target), SECRETS) as deployment:
            deployment.write_data(CancelToken(), lambda done, total: None, again or None)
            deployment.write_head()
            assert deployment.read_back(CancelToken(), lambda done, total: None) > 0
            assert (deployment.same_bytes > 0) is again
        written = target.read_bytes()
        assert all(written[start:end] == DISK.content[start:end] for start, end in ALLOCATED)
    with Deployment(str(image), str(target), SECRETS) as deployment:
        deployment.write_data(CancelToken(), lambda done, total: None, False)
        deployment.write_head()
        at = next(iter(DISK.volumes[1][1].overlapping(START + MIB, END))).start
        with target.open("r+b") as file:
            file.seek(at)
            file.write(bytes([written[at] ^ 1]))
        with pytest.raises(DamagedError):
            deployment.read_back(CancelToken(), lambda done, total: None)


def test_without_its_end_nobody_can_restore_it(image: Path, tmp_path: Path) -> None:
    """The keys are there: what is clear must not be taken for what is on the disk."""
    cut = tmp_path / "cut.rimg"
    cut.write_bytes(image.read_bytes()[:-40_000])
    with Chain(cut, SECRETS, salvage=True) as chain, pytest.raises(DamagedError, match="in clear"):
        ImageView(chain)
    target = tmp_path / "target"
    target.write_bytes(bytes(SIZE))
    with pytest.raises(DamagedError, match="in clear"):
        Deployment(str(cut), str(target), SECRETS, salvage=True)


def test_only_in_an_encrypted_image() -> None:
    with pytest.raises(UsageError, match="encrypted itself"):
        new_start(Making(decrypt=(1,)), Disk("disk", SIZE), 256 * KIB, 8 * MIB, CREATED, None, NO_SECRETS)
    header = Header(bytes(16), SIZE, 0, 256 * KIB, 8 * MIB, encryption=1, clear=True)
    assert Header.unpack(header.pack()) == header
    with pytest.raises(UnsupportedError):
        Header.unpack(replace(header, encryption=0).pack())
    # Another flag is of a newer version.
    payload = bytearray(header.pack())
    payload[14] = 3
    payload[-32:] = blake3(bytes(payload[:-32])).digest()
    with pytest.raises(UnsupportedError):
        Header.unpack(bytes(payload))


@pytest.mark.parametrize(
    "changed",
    [
        {"start": -512}, {"end": SIZE + 512}, {"end": START}, {"end": END - 1}, {"sector_size": 520}, {"sector_size": 1 << 40},
        {"first": -1}, {"first": 1 << 60}, {"key": "zz" * 32}, {"key": "00" * 1000}, {"key": ""},
    ],
)  # fmt: skip
def test_numbers_that_make_no_sense(changed: dict[str, Any]) -> None:
    assert are_sane((CONTENT,), SIZE, 256 * KIB)
    assert not are_sane((replace(CONTENT, **changed),), SIZE, 256 * KIB)
    assert not are_sane((CONTENT, CONTENT), SIZE, 256 * KIB)


def test_a_cipher_that_is_not_known() -> None:
    with pytest.raises(UnsupportedError, match="serpent"):
        Clear((replace(CONTENT, cipher="serpent"),))


def test_a_key_is_not_shown() -> None:
    assert CONTENT.key not in repr(CONTENT) + pretty_repr(CONTENT)


@given(st.integers(0, 4096), st.integers(0, 4096), st.integers(0, 512))
def test_any_bytes_there_and_back(one: int, other: int, odd: int) -> None:
    """Two contents with something between them; any place, aligned or not."""
    low, high = sorted((one, other))
    contents = [
        replace(CONTENT, start=odd, end=odd + 1024),
        replace(CONTENT, start=2048, end=3584, first=99),
    ]
    clear = Clear([content for content in contents if content.end > content.start and content.start <= 2048 - 1024])
    disk = random.Random(9).randbytes(4096)
    opened = clear.opened(BytesSource(disk))
    back = clear.on_disk(opened)
    assert back.pread(high - low, low) == disk[low:high]
    sealed = bytearray()
    for start, end, _ in clear.pieces(0, 4096):
        sealed += clear.sealed(opened.pread(end - start, start), start)
    assert sealed == disk
    assert ExtentMap((start, end) for start, end, _ in clear.pieces(low, high)).total == high - low
