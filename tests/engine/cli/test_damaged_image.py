"""Images whose end or index is damaged or cut off, through the command line: what is whole comes out, what is not is told."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from rescue.images.chain import Chain
from rescue.images.frames import FrameUse
from rescue.images.frames import uses as all_uses
from rescue.images.reader import ImageFile, ImageReader
from rescue.system.run import run
from rescue.units import GIB, MIB
from tests.engine.cli.command import Rescue
from tests.engine.cli.conftest import DISK_SIZE
from tests.engine.devices.loops import sparse
from tests.hashes import digest

pytestmark = pytest.mark.engine


def _copy(image: Path, folder: Path) -> Path:
    copy = folder / f"damaged{''.join(image.suffixes)}"
    run(["cp", "--reflink=auto", str(image), str(copy)])
    return copy


def _flip(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 0x41]))


def test_cut_off_in_the_middle(rescue: Rescue, wide_disk: Path, wide_image: Path, tmp_path: Path) -> None:
    """The first partitions come back whole, the last ones are named as lost, and files are found without the manifest."""
    cut = _copy(wide_image, tmp_path)
    os.truncate(cut, int(wide_image.stat().st_size * 0.6))
    target = sparse(tmp_path / "target.raw", 6 * GIB)
    before = digest(target)
    for command in (("restore", cut, target, "--yes"), ("ls", cut), ("extract", cut, "1:/file-0", tmp_path / "out")):
        refused = rescue(*command)
        assert refused.code == 4
        assert "--salvage" in refused.err
    assert digest(target) == before

    listed = rescue.ok("ls", cut, "--salvage", "--json")
    assert "Its end is cut off" in listed.err
    # What is on the last two is lost, but not where they are.
    filesystems = ["ext4", "ext4", "ext4", "", ""]
    assert [(v["partition"], v["filesystem"]) for v in json.loads(listed.out)] == list(enumerate(filesystems, 1))
    assert "file-11" in rescue.ok("ls", cut, "1:/", "--salvage").out
    rescue.ok("extract", cut, "1:/file-3", tmp_path / "out", "--salvage")
    expected = run(["debugfs", "-c", "-R", "cat /file-3", f"{wide_disk}?offset={MIB}"], output_limit=4 * MIB).stdout
    assert (tmp_path / "out" / "file-3").read_bytes() == expected

    point = tmp_path / "point"
    held = rescue.ok("mount", cut, point, "--salvage", "--partition", "1")
    try:
        assert "Its end is cut off" in held.err
        assert (point / "1" / "file-3").read_bytes() == expected
    finally:
        rescue.ok("umount", point)

    result = rescue("restore", cut, target, "--yes", "--salvage", "--json")
    assert result.code == 4, result
    verdict = json.loads(result.out)
    assert "incomplete" in verdict["message"]
    assert "Partition 5 lacks" in verdict["message"]
    assert verdict["facts"]["missing_bytes"] > GIB
    assert verdict["facts"]["read_back"] is True
    assert "Its end is cut off" in verdict["message"]
    whole = sparse(tmp_path / "whole.raw", 6 * GIB)
    rescue.ok("restore", wide_image, whole, "--yes")
    size = 2 * 1226 * MIB
    run(["cmp", f"--bytes={size}", str(target), str(whole)])
    # The second copy of the table is made anew from the first.
    table = run(["sfdisk", "--json", str(target)])
    assert json.loads(table.text)["partitiontable"]["partitions"][4]["size"] == 1226 * 2048
    assert b"backup GPT" not in table.stderr
    run(["e2fsck", "-f", "-n", f"{target}?offset={MIB}"])


@pytest.fixture(scope="module")
def restored(wide_image: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The hash of what the image is restored to when nothing is wrong with it."""
    folder = tmp_path_factory.mktemp("restored")
    target = sparse(folder / "whole.raw", 6 * GIB)
    Rescue(folder / "jobs").ok("restore", wide_image, target, "--yes")
    found = digest(target)
    target.unlink()
    return found


@pytest.mark.parametrize("what", ["the very end", "the trailer", "the manifest", "the index", "the index and the end"])
def test_what_is_there_twice(rescue: Rescue, wide_image: Path, restored: str, tmp_path: Path, what: str) -> None:
    """Nothing of the disk is lost: it is restored completely, and said that the image is damaged."""
    damaged = _copy(wide_image, tmp_path)
    with ImageReader(wide_image) as reader:
        segment, manifest, table = reader.manifest.segments[2], reader.trailer.manifest_offset, reader.seek_table_offset
    if "index" in what:
        _flip(damaged, segment.offset + segment.length // 2)
    if "end" in what:
        os.truncate(damaged, damaged.stat().st_size - 7)
    if what == "the trailer":
        _flip(damaged, table - 60)
    if what == "the manifest":
        _flip(damaged, manifest + 50)
    target = sparse(tmp_path / "target.raw", 6 * GIB)
    refused = rescue("restore", damaged, target, "--yes")
    assert refused.code == 4
    result = rescue("restore", damaged, target, "--yes", "--salvage", "--json")
    assert result.code == 0, result
    assert "The image itself is damaged." in json.loads(result.out)["message"]
    assert digest(target) == restored


def test_an_encrypted_image_and_its_child(rescue: Rescue, disk: Path, dest: Path, tmp_path: Path) -> None:
    """The ends of both are cut off: all that is needed is found with the passphrase."""
    secret = tmp_path / "secret"
    secret.write_text("correct horse battery")
    opening = ("--passphrase-file", secret)
    rescue.ok("backup", disk, dest, "--name", "one", "--encrypt", "--no-verify", *opening)
    changed = tmp_path / "changed.raw"
    run(["cp", "--reflink=auto", str(disk), str(changed)])
    with changed.open("r+b") as file:
        file.seek(200 * MIB)
        file.write(os.urandom(MIB))
    rescue.ok("backup", changed, dest, "--name", "two", "--encrypt", "--no-verify", *opening)
    whole = sparse(tmp_path / "whole.raw", DISK_SIZE)
    rescue.ok("restore", dest / "two.rimg", whole, "--yes", *opening)
    with ImageFile(dest / "two.rimg") as file:
        manifest = file.trailer.manifest_offset
    os.truncate(dest / "two.rimg", manifest)
    target = sparse(tmp_path / "target.raw", DISK_SIZE)
    assert rescue("restore", dest / "two.rimg", target, "--yes", "--salvage").code == 5
    result = rescue("restore", dest / "two.rimg", target, "--yes", "--salvage", *opening)
    assert result.code == 0, result
    assert digest(target) == digest(whole)


def test_verify_tells_all_of_it(rescue: Rescue, wide_image: Path, tmp_path: Path) -> None:
    """Files of three partitions are hit: each place and each file is named, and the result is kept."""
    damaged = _copy(wide_image, tmp_path)
    hit = []
    with Chain(wide_image) as chain:
        uses = [use for use in all_uses(chain) if isinstance(use, FrameUse)]
        for partition in chain.layout.data_partitions[:3]:
            # File contents: larger than any structure of the file system.
            hit.append(
                max((use for use in uses if partition.start < use.chunks[0].start < partition.end), key=lambda use: use.length)
            )
    for use in hit:
        _flip(damaged, use.offset + use.length // 2)
    result = rescue("verify", damaged, "--json")
    assert result.code == 4, result
    verdict = json.loads(result.out)
    assert f"{damaged} is damaged in 3 places" in verdict["message"]
    for number, use in enumerate(hit, 1):
        assert f"Partition {number}, byte" in verdict["message"]
        assert f"byte {use.offset} of {damaged}" in verdict["message"]
        assert any(name.startswith(f"{number}:/file-") for name in verdict["facts"]["damaged_files"])
    assert 0 < verdict["facts"]["missing_bytes"] <= sum(chunk.length for use in hit for chunk in use.chunks)
    assert "FAILED" in rescue.ok("list", tmp_path).out
    told = rescue("verify", damaged)
    assert "\n  /file-" in told.err
