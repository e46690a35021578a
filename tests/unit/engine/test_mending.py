"""Images of small disks with bad sectors: captured around them, gone on with, mended, restored."""

from __future__ import annotations

import errno
import io
import random
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import pytest

from rescue.engine import mending
from rescue.engine.capture import Capture, CaptureResult
from rescue.engine.deploy import Deployment
from rescue.engine.gaps import pieces
from rescue.engine.making import Making, Plain
from rescue.engine.mending import Mended, mend_image, missing_of
from rescue.engine.rescue_map import Status, load_map
from rescue.engine.salvage import Salvage, make_ready
from rescue.engine.verify import verify_image
from rescue.errors import CancelledError, CredentialError, DamagedError, RefusedError, SourceReadError
from rescue.images.chain import Chain
from rescue.images.format import Kind, RowKind
from rescue.images.secrets import NO_SECRETS, Secrets
from rescue.images.view import ImageView
from rescue.model.disk import Disk
from rescue.model.extents import Extent, ExtentMap
from rescue.model.progress import CancelToken
from rescue.model.source import Source
from rescue.units import KIB, MIB
from tests.unit.engine.failing import FailingDisk
from tests.unit.images.disks import CREATED, small_disk

_DISK = small_disk(seed=3, size=12 * MIB)
_ALLOCATED = _DISK.layout.gaps.union(ExtentMap(sorted(e for _, extents in _DISK.volumes for e in extents)))
# In text, in noise, in zeros, in free space; a sector, a chunk and more; at both ends of the disk.
_BAD = ExtentMap(
    [
        (3 * MIB, 3 * MIB + 512),
        (4 * MIB + 1536, 4 * MIB + 2048),
        (7 * MIB, 7 * MIB + 700 * KIB),
        (9 * MIB + 256 * KIB - 512, 9 * MIB + 256 * KIB + 512),
        (12 * MIB - 1024, 12 * MIB),
    ]
)
_LOST = _BAD.intersection(_ALLOCATED)


def _nothing(*_: object) -> None:
    return None


def _description(path: Path | str = "disk") -> Disk:
    return Disk(str(path), len(_DISK.content), is_file=True)


@dataclass
class _Place:
    """A folder for images, and the failing disk that ``FileSource`` opens."""

    folder: Path
    disk: FailingDisk

    @property
    def kept(self) -> Path:
        return self.folder / "kept"

    def salvage(self, source: Source | None = None) -> Salvage:
        return Salvage(source or self.disk, self.kept, disk=_description().who)

    def salvage_of(self, image: Path) -> Salvage:
        with Chain(image) as chain:
            return Salvage(self.disk, self.kept, disk=_description().who, image=chain.header.uuid_text)

    def image(self, name: str = "one.img.zst", making: Making | None = None, secrets: Secrets = NO_SECRETS) -> Path:
        path = self.folder / name
        output = io.BytesIO()
        making = making or Making(level=3)
        with Chain(making.parent, secrets) if making.parent else nullcontext() as parent, self.salvage() as salvage:
            capture = Capture(self.disk, _description(), _DISK.layout, _DISK.volumes, making, parent, salvage)
            self.result: CaptureResult = capture.run(Plain(output.write), secrets, CREATED, CancelToken(), _nothing, _nothing)
        path.write_bytes(output.getvalue())
        return path

    def mend(self, image: Path, name: str, secrets: Secrets = NO_SECRETS, token: CancelToken | None = None) -> Mended:
        class Output(Plain):
            def commit(self) -> None:
                path.write_bytes(output.getvalue())

        path, output = self.folder / name, io.BytesIO()

        @contextmanager
        def opened() -> Iterator[Output]:
            yield Output(output.write)

        return mend_image(
            _description(), str(image), self.kept, opened, making=Making(level=3), secrets=secrets, created=CREATED,
            token=token or CancelToken(), progress=_nothing,
        )  # fmt: skip


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> _Place:
    made = _Place(tmp_path, FailingDisk(_DISK.content, _BAD))

    @contextmanager
    def opened(path: str, *, direct: bool) -> Iterator[FailingDisk]:
        yield made.disk

    monkeypatch.setattr(mending, "FileSource", opened)
    return made


def _masked(data: bytes, missing: ExtentMap) -> bytes:
    masked = bytearray(data)
    for start, end in missing:
        masked[start:end] = bytes(end - start)
    return bytes(masked)


def _check(image: Path, missing: ExtentMap, secrets: Secrets = NO_SECRETS) -> None:
    """The image says that just these bytes are missing, and has all others."""
    verify_image(str(image), secrets, token=CancelToken(), progress=_nothing, notify=_nothing)
    with Chain(image, secrets) as chain:
        assert missing_of(chain) == missing
        assert chain.manifest.statistics.bad_bytes == missing.total
        assert ImageView(chain, bad_as_zeros=True).pread(len(_DISK.content), 0) == _masked(_DISK.kept, missing)
        strict = ImageView(chain)
        for start, end in missing:
            with pytest.raises(SourceReadError):
                strict.pread(1, start)
            with pytest.raises(SourceReadError):
                strict.pread(1, end - 1)


@pytest.mark.parametrize(
    ("gaps", "expected"),
    [
        ([], [(0, 10, False), (10, 20, False), (20, 25, False)]),
        ([(0, 25)], [(0, 10, True), (10, 20, True), (20, 25, True)]),
        ([(3, 4), (9, 12)], [(0, 3, False), (3, 4, True), (4, 9, False), (9, 10, True), (10, 12, True), (12, 20, False),
                             (20, 25, False)]),
        ([(24, 99)], [(0, 10, False), (10, 20, False), (20, 24, False), (24, 25, True)]),
    ],
)  # fmt: skip
def test_chunks_are_cut_at_gaps(gaps: list[tuple[int, int]], expected: list[tuple[int, int, bool]]) -> None:
    assert list(pieces(0, 25, 10, ExtentMap(gaps))) == expected


def test_the_quick_image_has_what_was_easy(place: _Place) -> None:
    image = place.image()
    with Chain(image) as chain:
        missing = missing_of(chain)
        held = [row for row in chain.rows() if row.kind == RowKind.DATA]
        assert any(row.length % (256 * KIB) for row in held)
    assert not _LOST.difference(missing)
    assert not missing.difference(_ALLOCATED)
    assert place.result.bad_bytes == missing.total < 4 * MIB
    _check(image, missing)


def test_mending_gets_all_that_can_be_read(place: _Place) -> None:
    image = place.image()
    with Chain(image) as chain:
        easy = missing_of(chain)
    place.disk.reads.clear()
    mended = place.mend(image, "two.rimg")
    assert (mended.won, mended.missing, mended.gone) == (easy.total - _LOST.total, _LOST.total, None)
    _check(place.folder / "two.rimg", _LOST)
    # It asked for nothing else but where each volume begins.
    heads = ExtentMap(sorted((volume.start, volume.start + 128 * KIB) for volume, _ in _DISK.volumes))
    assert not ExtentMap(sorted(place.disk.reads)).difference(easy.union(heads))
    assert (place.folder / "two.rimg").stat().st_size < mended.won + 64 * KIB


def test_another_run_gets_more(place: _Place) -> None:
    image = place.image()
    place.mend(image, "two.rimg")
    nothing = place.mend(place.folder / "two.rimg", "none.rimg")
    assert (nothing.won, nothing.missing, nothing.uuid) == (0, _LOST.total, "")
    assert not (place.folder / "none.rimg").exists()
    first = next(iter(_LOST)).start
    left = ExtentMap([(first, first + 512)])
    place.disk.bad = left
    place.mend(place.folder / "two.rimg", "three.rimg")
    _check(place.folder / "three.rimg", left)
    place.disk.bad = ExtentMap()
    last = place.mend(place.folder / "three.rimg", "four.rimg")
    assert last.missing == 0
    _check(place.folder / "four.rimg", ExtentMap())
    assert place.mend(place.folder / "four.rimg", "five.rimg") == Mended(0, 0)


def test_an_encrypted_image_is_mended_encrypted(place: _Place, monkeypatch: pytest.MonkeyPatch) -> None:
    from rescue.images import keyslots
    from tests.unit.jobs.attempts import CHEAP

    monkeypatch.setattr(keyslots.KeyArea.new, "__defaults__", (CHEAP, *(keyslots.KeyArea.new.__defaults__ or ())[1:]))
    secrets = Secrets(passphrase="correct horse")
    image = place.image("one.rimg", Making(encrypt=True, level=3), secrets)
    assert place.mend(image, "two.rimg", secrets).won > 0
    _check(place.folder / "two.rimg", _LOST, secrets)
    with Chain(place.folder / "two.rimg", secrets) as chain:
        assert chain.header.encryption


def test_what_is_kept_for_an_encrypted_image_is_sealed(place: _Place, monkeypatch: pytest.MonkeyPatch) -> None:
    from rescue.images import keyslots
    from tests.unit.jobs.attempts import CHEAP

    monkeypatch.setattr(keyslots.KeyArea.new, "__defaults__", (CHEAP, *(keyslots.KeyArea.new.__defaults__ or ())[1:]))
    secrets = Secrets(passphrase="correct horse")
    image = place.image("one.rimg", Making(encrypt=True, level=3), secrets)
    token = CancelToken()
    place.disk.reads = _Cancelling(token, 15)
    with pytest.raises(CancelledError):
        place.mend(image, "two.rimg", secrets, token)
    place.disk.reads = []
    kept = {path: path.read_bytes() for path in place.kept.iterdir()}
    won = load_map(place.kept / "map", len(_DISK.content)).having(Status.RESCUED)
    assert won.total > 4 * KIB
    _tells_nothing(place, won)
    with pytest.raises(CredentialError):
        place.mend(image, "two.rimg", Secrets(passphrase="wrong horse"))
    assert {path: path.read_bytes() for path in place.kept.iterdir()} == kept
    place.mend(image, "two.rimg", secrets)
    assert not won.intersection(ExtentMap(sorted(place.disk.reads)))
    _tells_nothing(place, won)
    _check(place.folder / "two.rimg", _LOST, secrets)
    # The image upon it has keys of its own, and goes on from the same folder.
    place.disk.bad = ExtentMap()
    place.mend(place.folder / "two.rimg", "three.rimg", secrets)
    _check(place.folder / "three.rimg", ExtentMap(), secrets)
    _tells_nothing(place, _ALLOCATED)


def _tells_nothing(place: _Place, won: ExtentMap) -> None:
    """No file holds anything of these bytes of the disk, but for zeros."""
    stored = [path.read_bytes() for path in place.folder.rglob("*") if path.is_file()]
    for extent in won:
        for start in range(extent.start, extent.end, 4096):
            content = _DISK.content[start : start + 64]
            assert len(set(content)) < 8 or not any(content in data for data in stored)


def test_an_incremental_image_of_a_failing_disk(place: _Place) -> None:
    place.disk.bad = ExtentMap()
    whole = place.image()
    place.disk.bad = _BAD
    upon = place.image("two.rimg", Making(kind=Kind.INCREMENTAL, parent=str(whole), level=3))
    place.mend(upon, "three.rimg")
    _check(place.folder / "three.rimg", _LOST)
    # And an ordinary one upon an image with gaps, once the disk gives all.
    place.disk.bad = ExtentMap()
    (place.kept / "map").unlink()
    later = place.image("four.rimg", Making(kind=Kind.INCREMENTAL, parent=str(place.folder / "three.rimg"), level=3))
    _check(later, ExtentMap())


def test_a_disk_that_was_used_meanwhile_is_refused(place: _Place) -> None:
    image = place.image()
    changed = bytearray(_DISK.content)
    start = next(e.start for e in _DISK.volumes[1][1] if e.start < _DISK.volumes[1][0].start + 128 * KIB)
    changed[start] ^= 1
    place.disk.data = bytes(changed)
    with pytest.raises(RefusedError, match="was written to since"):
        place.mend(image, "two.rimg")


def test_a_disk_that_goes_away_leaves_what_it_gave(place: _Place) -> None:
    image = place.image()
    with Chain(image) as chain:
        easy = missing_of(chain)
    place.disk.pull_after = len(place.disk.reads) + 12
    place.disk.gone_as = errno.ENODEV
    mended = place.mend(image, "two.rimg")
    assert mended.gone is not None
    assert "run the same command" in mended.gone.hint
    assert 0 < mended.won < easy.total - _LOST.total
    with Chain(place.folder / "two.rimg") as chain:
        missing = missing_of(chain)
    _check(place.folder / "two.rimg", missing)
    place.disk.pull_after = 0
    place.mend(place.folder / "two.rimg", "three.rimg")
    _check(place.folder / "three.rimg", _LOST)


def test_a_disk_that_goes_away_in_the_quick_part_is_an_error(place: _Place) -> None:
    place.disk.pull_after, place.disk.gone_as = 3, errno.ENODEV
    with pytest.raises(SourceReadError, match="does not answer any more"):
        place.image()


class _Cancelling(list[Extent]):
    """A list of reads that cancels at one of them."""

    def __init__(self, token: CancelToken, last: int) -> None:
        super().__init__()
        self._token = token
        self._last = last

    def append(self, read: Extent) -> None:
        super().append(read)
        if len(self) == self._last:
            self._token.cancel()


def test_cancelled_it_goes_on_with_what_it_won(place: _Place) -> None:
    image = place.image()
    token = CancelToken()
    place.disk.reads = _Cancelling(token, 15)
    with pytest.raises(CancelledError):
        place.mend(image, "two.rimg", token=token)
    with place.salvage() as salvage:
        held = salvage.held
    assert held
    place.disk.reads = []
    place.mend(image, "two.rimg")
    assert not held.intersection(ExtentMap(sorted(place.disk.reads)))
    _check(place.folder / "two.rimg", _LOST)


def test_what_was_won_for_another_image_is_not_used(place: _Place) -> None:
    """Two disks that are called the same, and a folder that is of the images of the one."""
    ours = place.image()
    place.disk = FailingDisk(bytes(len(_DISK.content)), _BAD)
    place.disk.data = b"".join((_DISK.content[:MIB], random.Random(9).randbytes(10 * MIB), _DISK.content[11 * MIB :]))
    with place.salvage() as salvage:
        salvage.rescue(ExtentMap([(7 * MIB, 8 * MIB)]), token=CancelToken(), progress=_nothing)
    owner = place.kept / "disk"
    owner.write_text(owner.read_text().replace("image ", "image 0"))
    before = {path.name: path.read_bytes() for path in place.kept.iterdir()}
    place.disk = FailingDisk(_DISK.content, _BAD)
    with pytest.raises(RefusedError, match="for another image") as refused:
        place.mend(ours, "two.rimg")
    assert "Move that folder elsewhere" in refused.value.hint
    assert {path.name: path.read_bytes() for path in place.kept.iterdir()} == before
    assert not (place.folder / "two.rimg").exists()
    with pytest.raises(RefusedError, match="for another image"):
        make_ready(place.kept, _description().who, goes_on=False)
    place.kept.rename(place.folder / "elsewhere")
    place.mend(ours, "two.rimg")
    _check(place.folder / "two.rimg", _LOST)


def test_a_mere_map_of_another_image_is_forgotten(place: _Place) -> None:
    ours = place.image()
    owner = place.kept / "disk"
    owner.write_text(owner.read_text().replace("image ", "image 0"))
    place.mend(ours, "two.rimg")
    _check(place.folder / "two.rimg", _LOST)


def test_a_disk_that_is_called_another_way_now_goes_on_with_its_image(place: _Place) -> None:
    """In another enclosure a disk has another serial number."""
    ours = place.image()
    owner = place.kept / "disk"
    owner.write_text(owner.read_text().replace("disk", "enclosure"))
    with place.salvage_of(ours) as salvage:
        salvage.rescue(ExtentMap([(7 * MIB - 4096, 7 * MIB)]), token=CancelToken(), progress=_nothing)
        held = salvage.held
    assert held
    place.disk.reads.clear()
    place.mend(ours, "two.rimg")
    assert not held.intersection(ExtentMap(sorted(place.disk.reads)))
    _check(place.folder / "two.rimg", _LOST)


def _restore(image: Path, target: Path, *, delta: bool | None = False) -> tuple[bytes, ExtentMap]:
    with target.open("wb") as file:
        file.write(b"\xa5" * len(_DISK.content))
    with Deployment(str(image), str(target), salvage=True) as deployment:
        deployment.wipe()
        deployment.write_data(CancelToken(), _nothing, delta)
        deployment.write_head()
        deployment.read_back(CancelToken(), _nothing)
        return target.read_bytes(), deployment.lost


def _same(found: bytes, lost: ExtentMap) -> bool:
    """Whether all that belongs to something is right, and zeros where it is lost."""
    expected = _masked(_DISK.kept, lost)
    return all(found[start:end] == expected[start:end] for start, end in _ALLOCATED)


@pytest.mark.parametrize("delta", [False, True])
def test_an_incomplete_image_is_restored_with_zeros(place: _Place, delta: bool) -> None:
    image = place.image()
    place.mend(image, "two.rimg")
    target = place.folder / "target"
    found, lost = _restore(place.folder / "two.rimg", target, delta=delta)
    assert lost == _LOST
    assert _same(found, lost)


def test_without_salvage_it_is_refused_before_anything_is_written(place: _Place) -> None:
    image = place.image()
    target = place.folder / "target"
    target.write_bytes(b"\xa5" * len(_DISK.content))
    with pytest.raises(DamagedError, match="incomplete"):
        Deployment(str(image), str(target))
    assert target.read_bytes() == b"\xa5" * len(_DISK.content)


def _flipped(image: Path, seed: int) -> ExtentMap:
    """Flip a byte in the middle of some data frame; the chunks in it."""
    with Chain(image) as chain:
        rows = [row for row in chain.rows() if row.kind == RowKind.DATA and row.file == 0]
    row = rows[seed * len(rows) // 5]
    data = bytearray(image.read_bytes())
    data[row.frame_offset + row.frame_length // 2] ^= 0x40
    image.write_bytes(data)
    return ExtentMap(sorted((r.start, r.end) for r in rows if r.frame_offset == row.frame_offset))


@pytest.mark.parametrize("seed", range(5))
def test_a_damaged_frame_costs_its_chunks_at_most(place: _Place, seed: int) -> None:
    place.disk.bad = ExtentMap()
    image = place.image()
    damaged = _flipped(image, seed)
    found, lost = _restore(image, place.folder / "target")
    assert lost
    assert not lost.difference(damaged)
    assert _same(found, lost) or _tables_differ_only(found, lost)


def _tables_differ_only(found: bytes, lost: ExtentMap) -> bool:
    """The partition table is in the manifest a second time: it is there where its chunk is lost."""
    expected = bytearray(_masked(_DISK.kept, lost))
    for start, end in _DISK.layout.table:
        expected[start:end] = _DISK.content[start:end]
    return all(found[start:end] == expected[start:end] for start, end in _ALLOCATED)


def test_a_missing_file_of_the_chain_costs_what_is_in_it(place: _Place) -> None:
    image = place.image()
    mended = place.mend(image, "two.rimg")
    image.rename(place.folder / "elsewhere")
    (place.folder / "elsewhere").unlink()
    with pytest.raises(DamagedError):
        Deployment(str(place.folder / "two.rimg"), str(place.folder / "target"))
    found, lost = _restore(place.folder / "two.rimg", place.folder / "target")
    assert lost
    held = _ALLOCATED.difference(lost)
    assert held.total >= mended.won
    assert _tables_differ_only(found, lost)
