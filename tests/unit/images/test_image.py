"""Whole images: what stock tools and the stand-alone reader make of them, and every kind of damage."""

from __future__ import annotations

import importlib.util
import io
import shutil
from pathlib import Path
from types import ModuleType

import pytest
import pyzstd
import zstandard

from rescue.engine.deploy import Deployment
from rescue.engine.verify import verify_image
from rescue.errors import DamagedError, FormatError, RefusedError, RescueError, UnsupportedError, UsageError
from rescue.images.format import SKIPPABLE_HEAD, SKIPPABLE_MAGIC, RowKind
from rescue.images.reader import ImageReader, open_image
from rescue.model.progress import CancelToken
from rescue.units import KIB, MIB
from tests.unit.images.disks import SmallDisk, small_disk, write_image

DISK = small_disk()
TINY = small_disk(2, 9 * MIB)
SPECK = small_disk(2, 1 * MIB, 64 * KIB)  # to be read hundreds of times


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("image") / "disk.img.zst"
    assert write_image(DISK, path).stored_size == path.stat().st_size
    return path


def verify(path: Path) -> int:
    result = verify_image(str(path), token=CancelToken(), progress=lambda done, total: None, notify=lambda message: None)
    return result.checked_bytes


def restore(image: Path, target: Path) -> None:
    with Deployment(str(image), str(target)) as deployment:
        deployment.wipe()
        deployment.write_data(CancelToken(), lambda done, total: None)
        deployment.write_head()
        deployment.read_back(CancelToken(), lambda done, total: None)


def allocated_equal(disk: SmallDisk, found: bytes) -> bool:
    allocated = disk.layout.gaps
    for _, extents in disk.volumes:
        allocated = allocated.union(extents)
    return all(found[start:end] == disk.content[start:end] for start, end in allocated)


def test_a_stock_decoder_gives_the_disk(image: Path) -> None:
    reader = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(image.read_bytes()), read_across_frames=True)
    assert reader.read(len(DISK.content) + 1) == DISK.kept


def test_a_seekable_reader_of_others_reads_a_range(image: Path) -> None:
    with pyzstd.SeekableZstdFile(str(image), "r") as file:
        for offset in (0, 7 * MIB + 13, len(DISK.content) - 1000):
            file.seek(offset)
            assert file.read(100_000) == DISK.kept[offset : offset + 100_000]


def test_the_index_describes_the_disk(image: Path) -> None:
    with open_image(image) as reader:
        position = 0
        for row in reader.rows():
            assert row.start == position
            position = row.end
            if row.kind == RowKind.ZERO:
                assert not any(DISK.kept[row.start : row.end])
        assert position == len(DISK.content)
        assert reader.manifest.layout == DISK.layout
        assert reader.manifest.volumes == tuple(volume for volume, _ in DISK.volumes)


def test_verify_counts_every_byte(image: Path) -> None:
    with open_image(image) as reader:
        assert verify(image) == reader.manifest.statistics.data_bytes > 0


def test_restore_over_noise_keeps_every_allocated_byte(image: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"\xa5" * len(DISK.content))
    restore(image, target)
    assert allocated_equal(DISK, target.read_bytes())


def test_restore_onto_a_bigger_target(image: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"\xa5" * (len(DISK.content) + 3 * MIB + 512))
    restore(image, target)
    assert allocated_equal(DISK, target.read_bytes()[: len(DISK.content)])


def test_one_sector_too_small_is_refused_before_anything_is_written(image: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"\xa5" * (len(DISK.content) - 512))
    with pytest.raises(RefusedError, match="512 bytes less"):
        restore(image, target)
    assert target.read_bytes() == b"\xa5" * (len(DISK.content) - 512)


def test_a_half_restored_disk_has_no_head(image: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(DISK.content)
    token = CancelToken()
    with Deployment(str(image), str(target)) as deployment:
        deployment.wipe()
        with pytest.raises(RescueError):
            deployment.write_data(token, lambda done, total: token.cancel() if done > total // 2 else None)
    assert not any(target.read_bytes()[: 63 * 512])


def test_read_back_finds_a_byte_that_the_disk_changed(image: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(bytes(len(DISK.content)))
    with open_image(image) as reader:
        row = next(r for r in reader.rows() if r.kind == RowKind.DATA and r.start > 8 * MIB)
    with Deployment(str(image), str(target)) as deployment:
        deployment.wipe()
        deployment.write_data(CancelToken(), lambda done, total: None)
        deployment.write_head()
        with target.open("r+b") as file:
            file.seek(row.start + 5)
            byte = file.read(1)
            file.seek(row.start + 5)
            file.write(bytes([byte[0] ^ 1]))
        with pytest.raises(DamagedError, match="partition 2"):
            deployment.read_back(CancelToken(), lambda done, total: None)


def test_the_stand_alone_reader_gives_the_same_bytes(image: Path, tmp_path: Path) -> None:
    path = Path(__file__).parents[3] / "docs/read-image.py"
    assert len(path.read_text().splitlines()) <= 150
    reader = _load(path)
    reader.main([str(image), str(tmp_path / "disk")])
    assert (tmp_path / "disk").read_bytes() == DISK.kept


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("read_image", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def is_found_damaged(path: Path) -> bool:
    """Whether verify refuses the file with one of its own errors."""
    try:
        verify(path)
    except (DamagedError, FormatError):
        return True
    return False


def frames_of(data: bytes) -> list[tuple[str, int, int]]:
    """(kind, start, end) of every frame, walked as a stock decoder would, with the reader's own sizes for data frames."""
    offset = 0
    found = []
    while offset < len(data):
        magic, length = SKIPPABLE_HEAD.unpack_from(data, offset)
        if magic & 0xFFFFFFF0 == 0x184D2A50:
            kind = data[offset + 8 : offset + 16].decode() if magic == SKIPPABLE_MAGIC else "seek table"
            end = offset + 8 + length
        else:
            kind = "zero" if data[offset + 4 : offset + 6] == b"\x80\x38" else "data"
            decompressor = zstandard.ZstdDecompressor().decompressobj()
            decompressor.decompress(data[offset:])
            end = len(data) - len(decompressor.unused_data)
        found.append((kind, offset, end))
        offset = end
    return found


def test_flipped_bits_in_every_frame_kind_are_found(tmp_path: Path) -> None:
    path = tmp_path / "tiny.img.zst"
    write_image(SPECK, path)
    good = path.read_bytes()
    frames = frames_of(good)
    kinds = {kind for kind, _, _ in frames}
    assert kinds == {"RSCUHEAD", "data", "zero", "RSCUSEGM", "RSCUMANI", "RSCUTAIL", "seek table"}
    for kind in kinds:
        of_kind = [(start, end) for k, start, end in frames if k == kind]
        start, end = of_kind[0]
        step = max((end - start) // 40, 1)
        for offset in [*range(start, min(start + 24, end)), *range(start + 24, end, step), end - 1]:
            damaged = bytearray(good)
            damaged[offset] ^= 1 << (offset % 8)
            path.write_bytes(damaged)
            assert is_found_damaged(path), f"a flipped bit in a {kind} frame, at its byte {offset - start}"


def test_cut_off_anywhere_is_found(tmp_path: Path) -> None:
    path = tmp_path / "tiny.img.zst"
    write_image(TINY, path)
    good = path.read_bytes()
    cuts = {*range(400), *range(0, len(good), 4999), *range(len(good) - 3000, len(good))}
    for cut in sorted(cuts, reverse=True):
        with path.open("r+b") as file:
            file.truncate(cut)
        with pytest.raises((DamagedError, FormatError)) as caught:
            ImageReader(path)
        assert isinstance(caught.value, DamagedError) or cut < 24


def test_what_is_no_image_is_named(tmp_path: Path) -> None:
    jpeg = tmp_path / "holiday.jpg"
    jpeg.write_bytes(b"\xff\xd8\xff\xe0" + bytes(1000))
    with pytest.raises(FormatError, match="JPEG"):
        open_image(jpeg)
    clonezilla = tmp_path / "2026-img"
    clonezilla.mkdir()
    (clonezilla / "parts").write_text("sda1")
    with pytest.raises(FormatError, match="Clonezilla"):
        open_image(clonezilla)
    with pytest.raises(UsageError, match="does not exist"):
        open_image(tmp_path / "nothing")
    (tmp_path / "empty").touch()
    with pytest.raises(FormatError):
        open_image(tmp_path / "empty")


def test_version_99(image: Path, tmp_path: Path) -> None:
    path = tmp_path / "future.img.zst"
    shutil.copy(image, path)
    with path.open("r+b") as file:
        file.seek(16)
        file.write((99).to_bytes(2, "little"))
    with pytest.raises(UnsupportedError, match="version 99"):
        open_image(path)
