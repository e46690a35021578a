"""The proof by mounting: a good image passes; one whose used map forgot something fails, whatever the file system is."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from rescue.devices.table import read_layout
from rescue.engine.capture import Capture
from rescue.engine.making import Making, Plain
from rescue.engine.mounting import MountProof, prove_mounts
from rescue.engine.survey import map_disk
from rescue.errors import CancelledError, DamagedError, SourceReadError
from rescue.images.chain import Chain
from rescue.images.format import RowKind
from rescue.images.secrets import NO_SECRETS
from rescue.model.disk import Disk
from rescue.model.extents import ExtentMap
from rescue.model.progress import CancelToken, Message
from rescue.model.volume import Volume
from rescue.system.blockfile import FileSource
from rescue.system.run import run
from rescue.units import KIB, MIB
from tests.engine.devices.loops import sparse
from tests.engine.filesystems import test_btrfs, test_exfat, test_ext, test_fat, test_ntfs, test_xfs
from tests.engine.filesystems.oracle import Case, mounted
from tests.unit.images.disks import CREATED

pytestmark = pytest.mark.engine

CASES = {
    "ext4": test_ext._CASES[0],
    "xfs": test_xfs._CASES[0],
    "btrfs": test_btrfs._CASES[0],
    "ntfs": test_ntfs._CASES[0],
    "vfat": test_fat._CASES[4],
    "exfat": test_exfat._CASES[0],
}
KERNEL = set(re.findall(r"(\w+)$", Path("/proc/filesystems").read_text(), re.MULTILINE)) | {"ntfs"}
Change = Callable[[Volume, ExtentMap], ExtentMap]


@dataclass(frozen=True)
class Laid:
    """A disk without a table that holds one file system."""

    path: Path
    case: Case


def same(volume: Volume, extents: ExtentMap) -> ExtentMap:
    """Change nothing."""
    del volume
    return extents


def capture(disk: Path, image: Path, change: Change = same) -> Path:
    """Image a disk as the product does, with another used map."""
    description = Disk(str(disk), disk.stat().st_size, is_file=True)
    with FileSource(disk) as source, image.open("wb") as output:
        layout = read_layout(source, 512)
        volumes = [(volume, change(volume, extents)) for volume, extents in map_disk(description, source, layout)]
        taken = Capture(source, description, layout, volumes, Making(level=1))
        taken.run(Plain(output.write), NO_SECRETS, CREATED, CancelToken(), lambda done, total: None, lambda message: None)
    return image


def prove(image: Path, disk: Path | None = None) -> tuple[MountProof, list[str]]:
    """The proof of an image, with what it warned of."""
    said: list[Message] = []
    with Chain(image) as chain:
        if disk is None:
            proof = prove_mounts(chain, token=CancelToken(), progress=lambda done, total: None, notify=said.append)
        else:
            with FileSource(disk) as source:
                proof = prove_mounts(
                    chain, source=source, token=CancelToken(), progress=lambda done, total: None, notify=said.append
                )
    return proof, [message.text for message in said]


@pytest.fixture(scope="module", params=CASES)
def laid(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Laid:
    case = CASES[request.param]
    path = sparse(tmp_path_factory.mktemp("laid") / "disk.raw", case.size)
    case.make(path)
    case.populate(path)
    return Laid(path, case)


@pytest.fixture(autouse=True)
def _nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Everything that a proof makes is in one folder, by which its mounts and loop devices are known; nothing of it may stay."""
    # pytest's own folders have names that are too long for a socket.
    with tempfile.TemporaryDirectory(prefix="p-") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield
        assert os.listdir(folder) == []
        assert folder not in Path("/proc/self/mounts").read_text()
        assert folder not in run(["losetup", "--list", "--noheadings", "--output", "NAME,BACK-FILE"]).text
        monkeypatch.undo()


def test_a_good_image_is_proved(laid: Laid, tmp_path: Path) -> None:
    image = capture(laid.path, tmp_path / "image")
    before = image.read_bytes()
    proof, said = prove(image)
    (volume,) = proof.volumes
    assert volume.checked
    assert not volume.problem
    assert volume.mounted == (volume.filesystem in KERNEL)
    if volume.mounted:
        assert not said
        assert volume.files_read > 3
        assert volume.bytes_read > 1 * MIB
    else:
        assert "was not mounted" in " ".join(said)
    assert image.read_bytes() == before


def _without_largest(volume: Volume, extents: ExtentMap) -> ExtentMap:
    """The map without the end of its largest extent: a MiB of somebody's data."""
    del volume
    largest = max(extents, key=lambda extent: extent.length)
    return extents.difference(ExtentMap([(max(largest.end - 1 * MIB, largest.start), largest.end)]))


def test_a_forgotten_extent_fails_the_proof(laid: Laid, tmp_path: Path) -> None:
    image = capture(laid.path, tmp_path / "image", _without_largest)
    for disk in (None, laid.path):
        with pytest.raises(DamagedError, match=r"The file system: .*in use and not in the image"):
            prove(image, disk)


def _without(start: int, length: int) -> Change:
    return lambda volume, extents: extents.difference(ExtentMap([(start, start + length)]))


def _number(pattern: str, *command: str | Path) -> int:
    found = re.search(pattern, run([str(part) for part in command]).text)
    assert found is not None
    return int(found[1])


def _ext_inodes(disk: Path) -> ExtentMap:
    block = _number(r"Inode table at (\d+)-", "dumpe2fs", disk)
    size = _number(r"Block size: +(\d+)", "dumpe2fs", "-h", disk)
    return ExtentMap([(block * size, block * size + 8 * KIB)])


def _xfs_inodes(disk: Path) -> ExtentMap:
    root = _number(r"rootino = (\d+)", "xfs_db", "-r", "-c", "sb 0", "-c", "p rootino", disk)
    sector = _number(r"\((\d+)\)", "xfs_db", "-r", "-c", f"convert inode {root} daddr", disk)
    return ExtentMap([(sector * 512, sector * 512 + 16 * KIB)])


def _btrfs_leaf(disk: Path) -> ExtentMap:
    dump = run(["btrfs", "inspect-internal", "dump-tree", "-t", "5", str(disk)]).text
    leaf = re.findall(r"leaf (\d+) items", dump)[-1]
    copies = run(["btrfs-map-logical", "-l", leaf, str(disk)]).text
    return ExtentMap(sorted((int(at), int(at) + 16 * KIB) for at in re.findall(r"physical (\d+)", copies)))


def _ntfs_records(disk: Path) -> ExtentMap:
    cluster = _number(r"Cluster Size: (\d+)", "ntfsinfo", "-m", disk)
    first = _number(r"LCN of Data Attribute for FILE_MFT: (\d+)", "ntfsinfo", "-m", disk)
    start = first * cluster + 66 * KIB
    return ExtentMap([(start, start + 8 * KIB)])


@pytest.mark.parametrize(
    ("name", "find", "program"),
    [
        ("ext4", _ext_inodes, "e2fsck"),
        ("xfs", _xfs_inodes, "xfs_repair"),
        ("btrfs", _btrfs_leaf, "btrfs"),
        ("ntfs", _ntfs_records, "ntfs"),
    ],
)
def test_forgotten_metadata_fails_the_file_systems_own_check(
    name: str, find: Callable[[Path], ExtentMap], program: str, tmp_path: Path
) -> None:
    case = CASES[name]
    disk = sparse(tmp_path / "disk.raw", case.size)
    case.make(disk)
    case.populate(disk)
    lost = find(disk)
    assert lost
    image = capture(disk, tmp_path / "image", lambda volume, extents: extents.difference(lost))
    with pytest.raises(DamagedError, match=f"Its check finds it damaged \\({program}"):
        prove(image, disk)


def _data_of(disk: Path, name: str, options: str) -> tuple[int, int]:
    """Where the first extent of a file is on its volume, by filefrag."""
    with mounted(disk, options) as root:
        told = run(["filefrag", "-b1", "-v", str(root / name)]).text
    start, end = re.findall(r"^ +0: +\d+\.\. +\d+: +(\d+)\.\. +(\d+):", told, re.MULTILINE)[0]
    return int(start), int(end) + 1


@pytest.mark.parametrize(("name", "options"), [("ext4", "ro,noload"), ("xfs", "ro,norecovery")])
def test_a_map_code_that_does_not_know_of_a_file_is_found_by_the_file(
    name: str, options: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The used map is wrong in the same way when it is made again: the kernel's own answer tells it."""
    disk = sparse(tmp_path / "disk.raw", CASES[name].size)
    CASES[name].make(disk)
    with mounted(disk) as root:
        (root / "small").write_bytes(b"small")
        (root / "big").write_bytes(os.urandom(3 * MIB))
    start, end = _data_of(disk, "big", options)
    image = capture(disk, tmp_path / "image", _without(start, end - start))
    monkeypatch.setattr("rescue.engine.mounting._Prover._missing", lambda self, path: "")
    with pytest.raises(DamagedError, match=r"big: its bytes at .* are not in the image"):
        prove(image, disk)


def test_a_btrfs_file_without_its_bytes_is_found_by_its_checksums(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = sparse(tmp_path / "disk.raw", CASES["btrfs"].size)
    CASES["btrfs"].make(disk)
    with mounted(disk) as root:
        (root / "big").write_bytes(os.urandom(20 * MIB))

    def change(volume: Volume, extents: ExtentMap) -> ExtentMap:
        largest = max(extents, key=lambda extent: extent.length)
        return extents.difference(ExtentMap([(largest.end - 64 * KIB, largest.end)]))

    image = capture(disk, tmp_path / "image", change)
    monkeypatch.setattr("rescue.engine.mounting._Prover._missing", lambda self, path: "")
    with pytest.raises(DamagedError, match=r"big: it cannot be read \(Input/output error\)"):
        prove(image, disk)


def test_what_is_damaged_on_the_disk_too_is_a_warning(tmp_path: Path) -> None:
    disk = sparse(tmp_path / "disk.raw", 96 * MIB)
    run(["mkfs.ext4", "-q", "-F", str(disk)])
    run(["debugfs", "-w", "-R", "set_inode_field <2> links_count 77", str(disk)])
    image = capture(disk, tmp_path / "image")
    with pytest.raises(DamagedError, match="Its check finds it damaged"):
        prove(image)  # nobody can tell whose fault it is
    proof, said = prove(image, disk)
    assert not proof.volumes[0].checked
    assert any("It is the same on the disk" in text for text in said)


def test_recorded_errors_are_the_disks_own(tmp_path: Path) -> None:
    disk = sparse(tmp_path / "disk.raw", 96 * MIB)
    run(["mkfs.ext4", "-q", "-F", str(disk)])
    run(["debugfs", "-w", "-R", "set_inode_field <2> links_count 77", str(disk)])
    image = capture(disk, tmp_path / "image")
    run(["debugfs", "-w", "-R", "ssv state 3", str(disk)])
    recorded = capture(disk, tmp_path / "recorded")
    with Chain(recorded) as chain:
        whole = chain.manifest.volumes[0].whole_because
    assert "errors" in whole
    prove(recorded)
    with pytest.raises(DamagedError):
        prove(image)


@pytest.mark.parametrize("name", ["ext4", "xfs", "btrfs"])
def test_one_that_was_not_unmounted_is_proved_over_its_replayed_journal(name: str, tmp_path: Path) -> None:
    disk = sparse(tmp_path / "disk.raw", CASES[name].size)
    CASES[name].make(disk)
    with mounted(disk) as root:
        (root / "synced").write_bytes(os.urandom(2 * MIB))
        run(["sync", "-f", str(root / "synced")])
        (root / "later").write_bytes(b"later")
        run(["sync", str(root / "later")])
        copy = tmp_path / "copy.raw"
        run(["cp", "--sparse=always", str(disk), str(copy)])
    image = capture(copy, tmp_path / "image")
    before = image.read_bytes()
    proof, _ = prove(image, copy)
    assert proof.volumes[0].mounted
    # The log of a btrfs is not replayed: the kernel could take the source, which has the same UUID, for the overlay.
    assert proof.volumes[0].files_read == (1 if name == "btrfs" else 2)
    assert image.read_bytes() == before


def test_a_good_image_is_not_called_bad_for_want_of_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A journal is replayed over an overlay, and /var/tmp is full."""
    disk = sparse(tmp_path / "disk.raw", CASES["ext4"].size)
    CASES["ext4"].make(disk)
    with mounted(disk) as root:
        for number in range(2000):
            (root / f"file-{number}").write_bytes(b"later")
        run(["sync", str(root / "file-1")])
        copy = tmp_path / "copy.raw"
        run(["cp", "--sparse=always", str(disk), str(copy)])
    image = capture(copy, tmp_path / "image")
    small = tmp_path / "small"
    small.mkdir()
    monkeypatch.setattr("rescue.engine.exports.KEPT_IN", small)
    run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(small)])
    try:
        proof, said = prove(image)
    finally:
        run(["umount", str(small)])
    assert not proof.volumes[0].problem
    assert "There was no room for this" in " ".join(said)


def test_a_damaged_image_says_so(tmp_path: Path) -> None:
    disk = sparse(tmp_path / "disk.raw", CASES["ext4"].size)
    CASES["ext4"].make(disk)
    CASES["ext4"].populate(disk)
    image = capture(disk, tmp_path / "image")
    with Chain(image) as chain:
        rows = [row for row in chain.rows() if row.kind == 2]
    content = bytearray(image.read_bytes())
    content[rows[0].frame_offset + rows[0].frame_length // 2] ^= 1
    image.write_bytes(content)
    with pytest.raises(DamagedError):
        prove(image, disk)


def test_a_medium_that_does_not_give_the_image_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is no fault of the image, and must not be kept as its result."""
    disk = sparse(tmp_path / "disk.raw", 64 * MIB)
    run(["mkfs.ext4", "-q", "-F", str(disk)])
    with mounted(disk) as root:
        (root / "big").write_bytes(os.urandom(20 * MIB))
    image = capture(disk, tmp_path / "image")
    with Chain(image) as chain:
        row = max((row for row in chain.rows() if row.kind == RowKind.DATA), key=lambda row: row.frame_length)
    good = FileSource.pread

    def pread(source: FileSource, length: int, offset: int) -> bytes:
        if source.path == str(image) and offset == row.frame_offset:
            raise SourceReadError(f"{image} cannot be read at byte {offset}: Input/output error.", offset, length)
        return good(source, length, offset)

    monkeypatch.setattr(FileSource, "pread", pread)
    with pytest.raises(SourceReadError, match=f"cannot be checked: .* cannot be read at byte {row.frame_offset}"):
        prove(image)


def test_cancelled(laid: Laid, tmp_path: Path) -> None:
    image = capture(laid.path, tmp_path / "image")
    token = CancelToken()
    token.cancel()
    with Chain(image) as chain, pytest.raises(CancelledError):
        prove_mounts(chain, token=token, progress=lambda done, total: None, notify=lambda message: None)
