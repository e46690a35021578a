"""A disk with bad sectors, salvaged by command: what can be read is there, damaged files are named, a second run gets more."""

from __future__ import annotations

import json
import os
import random
import re
import signal
from pathlib import Path

import pytest

from rescue.model.extents import ExtentMap
from rescue.system.run import run
from rescue.units import KIB, MIB
from tests.engine.cli.command import Rescue
from tests.engine.cli.failing import failing_disk
from tests.engine.devices.loops import sparse

pytestmark = pytest.mark.engine

_OFFSET = MIB
_SIZE = 64 * MIB
_FILES = 12


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """A disk with an ext4 of some files."""
    path = sparse(tmp_path / "good.raw", _SIZE + 2 * MIB)
    run(["sfdisk", "--quiet", str(path)], stdin=f"label: gpt\nstart=2048, size={_SIZE // 512}, type=L\n".encode())
    tree = tmp_path / "tree"
    tree.mkdir()
    for number in range(_FILES):
        (tree / f"file-{number}").write_bytes(random.Random(number).randbytes(MIB))
    run(["mkfs.ext4", "-q", "-F", "-d", str(tree), "-E", f"offset={_OFFSET}", str(path), "64m"])
    return path


def _place(good: Path, number: int) -> int:
    """Where on the disk a file begins."""
    text = run(["debugfs", "-R", f"stat /file-{number}", f"{good}?offset={_OFFSET}"]).text
    size = int(re.search(r"Block size:\s+(\d+)", run(["dumpe2fs", "-h", f"{good}?offset={_OFFSET}"]).text)[1])  # type: ignore[index]
    return _OFFSET + size * int(re.search(r"\(0-\d+\):(\d+)-", text)[1])  # type: ignore[index]


def _dump(disk: Path, number: int, to: Path) -> bytes:
    run(["debugfs", "-R", f"dump /file-{number} {to}", f"{disk}?offset={_OFFSET}"])
    return to.read_bytes()


def test_salvage(rescue: Rescue, tmp_path: Path, good: Path, dest: Path) -> None:
    three, seven, nine = _place(good, 3), _place(good, 7), _place(good, 9)
    bad = ExtentMap([(three + 8192, three + 8192 + 512), (seven + 300 * KIB, seven + 340 * KIB), (nine, nine + 512)])
    disk, target, dumped = tmp_path / "disk.raw", tmp_path / "target", tmp_path / "dumped"
    with failing_disk(good, disk, bad):
        refused = rescue("backup", disk, dest, "--name", "laptop")
        assert (refused.code, "--salvage" in refused.err) == (1, True)
        first = rescue("backup", disk, dest, "--name", "laptop", "--salvage", "--json")
    assert first.code == 4, first
    facts = json.loads(first.out)["facts"]
    assert facts["missing_bytes"] == bad.total
    assert facts["damaged_files"] == ["1:/file-3", "1:/file-7", "1:/file-9"]
    assert facts["won_bytes"] > 0
    newest = Path(facts["image"])
    assert newest.name == "laptop-more.rimg"
    verified = rescue.ok("verify", newest)
    assert "incomplete" in verified.out
    refused = rescue("restore", newest, target, "--yes")
    assert refused.code == 4
    assert not target.exists()
    assert "/file-7" in refused.err
    restored = rescue("restore", newest, target, "--yes", "--salvage", "--json")
    assert restored.code == 4
    assert json.loads(restored.out)["facts"]["damaged_files"] == facts["damaged_files"]
    expected = bytearray(good.read_bytes())
    for number in range(_FILES):
        start = _place(good, number)
        held = target.read_bytes()[start : start + MIB]
        wanted = expected[start : start + MIB]
        for low, high in bad.overlapping(start, start + MIB):
            wanted[low - start : high - start] = bytes(high - low)
        assert held == wanted
    # Some sectors give in; the second run asks for nothing else, and what it gets completes the files.
    with failing_disk(good, disk, ExtentMap([(three + 8192, three + 8192 + 512)])):
        second = rescue("backup", disk, dest, "--name", "laptop", "--salvage", "--json")
    facts = json.loads(second.out)["facts"]
    assert (second.code, facts["missing_bytes"], facts["won_bytes"]) == (4, 512, bad.total - 512)
    assert facts["damaged_files"] == ["1:/file-3"]
    with failing_disk(good, disk, ExtentMap()):
        third = rescue("backup", disk, dest, "--name", "laptop", "--salvage", "--json")
    assert third.code == 0, third
    last = Path(json.loads(third.out)["facts"]["image"])
    assert not list(dest.glob("*.rescue"))
    rescue.ok("restore", last, target, "--yes")
    for number in range(_FILES):
        assert _dump(target, number, dumped) == _dump(good, number, tmp_path / "expected")
    run(["e2fsck", "-fn", f"{target}?offset={_OFFSET}"])
    rescue.ok("verify", last, "--mount")


def _is_equal_but_for(found: Path, good: Path, bad: ExtentMap) -> bool:
    """All files, with zeros where they could not be read."""
    data, expected = found.read_bytes(), bytearray(good.read_bytes())
    for start, end in bad:
        expected[start:end] = bytes(end - start)
    places = [_place(good, number) for number in range(_FILES)]
    return all(data[start : start + MIB] == expected[start : start + MIB] for start in places)


def test_files_out_of_an_image_with_gaps(rescue: Rescue, tmp_path: Path, good: Path, dest: Path) -> None:
    seven = _place(good, 7)
    disk, out = tmp_path / "disk.raw", tmp_path / "out"
    with failing_disk(good, disk, ExtentMap([(seven, seven + 4096)])):
        assert rescue("backup", disk, dest, "--name", "laptop", "--salvage", "--no-verify").code == 4
    newest = dest / "laptop-more.rimg"
    assert "file-7" in rescue.ok("ls", newest, "1:/").out
    out.mkdir()
    rescue.ok("extract", newest, "1:/file-6", out)
    assert (out / "file-6").read_bytes() == _dump(good, 6, tmp_path / "dumped")
    failed = rescue("extract", newest, "1:/file-7", out)
    assert failed.code == 1
    assert "file-7" in failed.err
    assert not (out / "file-7").exists()
    told = json.loads(rescue.ok("info", newest, "--json").out)
    assert (told["bad"], [volume["files"] for volume in told["damage"]]) == (4096, [["/file-7"]])
    # One image of both: as incomplete as they are, and no more.
    rescue.ok("consolidate", newest, dest, "--name", "whole")
    for image in (dest / "laptop.img.zst", newest):
        image.unlink()
    refused = rescue("restore", dest / "whole.img.zst", tmp_path / "target", "--yes")
    assert (refused.code, "/file-7" in refused.err) == (4, True)
    assert rescue("restore", dest / "whole.img.zst", tmp_path / "target", "--yes", "--salvage").code == 4
    assert _is_equal_but_for(tmp_path / "target", good, ExtentMap([(seven, seven + 4096)]))


def test_a_missing_file_of_the_chain(rescue: Rescue, tmp_path: Path, good: Path, dest: Path) -> None:
    seven = _place(good, 7)
    disk, target = tmp_path / "disk.raw", tmp_path / "target"
    with failing_disk(good, disk, ExtentMap([(seven, seven + 4096)])):
        rescue("backup", disk, dest, "--name", "laptop", "--salvage", "--no-verify")
    (dest / "laptop.img.zst").rename(tmp_path / "elsewhere")
    refused = rescue("restore", dest / "laptop-more.rimg", target, "--yes")
    assert (refused.code, target.exists()) == (4, False)
    assert "laptop.img.zst" in refused.err
    assert "--salvage" in refused.err
    restored = rescue("restore", dest / "laptop-more.rimg", target, "--yes", "--salvage", "--json")
    verdict = json.loads(restored.out)
    assert (restored.code, verdict["exit_code"]) == (4, 4)
    assert verdict["facts"]["missing_bytes"] > MIB
    assert rescue("ls", dest / "laptop-more.rimg", "1:/").code == 4
    assert rescue("extract", dest / "laptop-more.rimg", "1:/file-7", tmp_path / "out").code == 4
    # What is in the file that is missing cannot be read: here all that names files.
    assert rescue("ls", dest / "laptop-more.rimg", "1:/", "--salvage").code == 1
    # The other way round: of a day's file alone that is missing, all else can be had.
    (tmp_path / "elsewhere").rename(dest / "laptop.img.zst")
    with failing_disk(good, disk, ExtentMap()):
        rescue.ok("backup", disk, dest, "--name", "laptop", "--salvage", "--no-verify")
    (dest / "laptop-more.rimg").unlink()
    last, out = dest / "laptop-more-2.rimg", tmp_path / "out"
    assert rescue("extract", last, "1:/file-1", out).code == 4
    rescue.ok("extract", last, "1:/file-1", out, "--salvage")
    assert (out / "file-1").read_bytes() == random.Random(1).randbytes(MIB)
    assert rescue("extract", last, "1:/file-7", out, "--salvage").code == 1


def test_a_damaged_image(rescue: Rescue, tmp_path: Path, good: Path, dest: Path) -> None:
    rescue.ok("backup", good, dest, "--name", "laptop", "--level", "1")
    image, target = dest / "laptop.img.zst", tmp_path / "target"
    data = bytearray(image.read_bytes())
    # Inside of the data of the files, which are most of the image.
    data[len(data) // 2] ^= 0x10
    image.write_bytes(data)
    failed = rescue("restore", image, target, "--yes")
    assert failed.code == 4
    target.unlink(missing_ok=True)
    restored = rescue("restore", image, target, "--yes", "--salvage", "--json")
    facts = json.loads(restored.out)["facts"]
    assert restored.code == 4
    assert 0 < facts["missing_bytes"] <= 8 * MIB
    named = {int(name.removeprefix("1:/file-")) for name in facts["damaged_files"]}
    assert named
    differing = {n for n in range(_FILES) if _dump(target, n, tmp_path / "a") != _dump(good, n, tmp_path / "b")}
    assert differing == named


def test_nothing_beside_an_encrypted_image_tells_names(rescue: Rescue, tmp_path: Path, good: Path, dest: Path) -> None:
    seven = _place(good, 7)
    disk, key = tmp_path / "disk.raw", tmp_path / "key"
    key.write_bytes(b"k" * 64)
    with failing_disk(good, disk, ExtentMap([(seven, seven + 4096)])):
        made = rescue(
            "backup", disk, dest, "--name", "laptop", "--salvage", "--no-verify", "--json", "--encrypt", "--key-file", key
        )
    assert made.code == 4, made
    assert json.loads(made.out)["facts"]["damaged_files"] == ["1:/file-7"]
    for path in dest.rglob("*"):
        assert path.is_dir() or b"file-7" not in path.read_bytes()


def test_two_disks_that_are_called_the_same(rescue: Rescue, tmp_path: Path, dest: Path) -> None:
    ends = {"a": 23605248, "b": 23597056}
    contents, disks = {}, {}
    for name in ends:
        (tmp_path / name).mkdir()
        good = sparse(tmp_path / f"{name}.good", 32 * MIB)
        run(["sfdisk", "--quiet", str(good)], stdin=b"label: gpt\nstart=2048, size=61440, type=L\n")
        with good.open("r+b") as file:
            file.seek(_OFFSET)
            file.write(random.Random(name).randbytes(30 * MIB))
        contents[name], disks[name] = good.read_bytes(), tmp_path / name / "disk.raw"

    def salvage(name: str, *options: str) -> tuple[int, dict[str, object]]:
        bad = ExtentMap([(23592960, ends[name])])
        with failing_disk(tmp_path / f"{name}.good", disks[name], bad):
            result = rescue("backup", disks[name], dest, "--salvage", "--json", *options)
        return result.code, json.loads(result.out)["facts"]

    code, first = salvage("a")
    assert (code, first["missing_bytes"]) == (4, ends["a"] - 23592960)
    kept = {path: path.read_bytes() for path in dest.glob("*.rescue/rescued")}
    code, second = salvage("b", "--kind", "full")
    assert (code, second["missing_bytes"]) == (4, ends["b"] - 23592960)
    assert all(path.read_bytes() == data for path, data in kept.items())
    code, third = salvage("a")
    assert (code, third["won_bytes"], third["missing_bytes"]) == (4, 0, ends["a"] - 23592960)
    for name, facts in (("a", third), ("b", second)):
        target = tmp_path / f"{name}.target"
        assert rescue("restore", str(facts["image"]), target, "--yes", "--salvage").code == 4
        expected = bytearray(contents[name])
        expected[23592960 : ends[name]] = bytes(ends[name] - 23592960)
        assert target.read_bytes() == expected


@pytest.mark.parametrize("encrypted", [False, True])
def test_killed_among_the_hard_parts_it_goes_on(rescue: Rescue, tmp_path: Path, good: Path, dest: Path, encrypted: bool) -> None:
    (tmp_path / "key").write_bytes(b"k" * 64)
    key = ("--key-file", tmp_path / "key") if encrypted else ()
    options = ("--encrypt", *key) if encrypted else ()
    start = _place(good, 2)
    # Every other sector: much to try, and much to win.
    bad = ExtentMap([(at, at + 512) for at in range(start, start + MIB, 1024)])
    disk = tmp_path / "disk.raw"
    with failing_disk(good, disk, bad):
        process = rescue.start("backup", disk, dest, "--name", "laptop", "--salvage", "--json", *options)
        job = rescue.wait_for_bytes(2, 64 * KIB)
        os.kill(rescue.pid(job), signal.SIGKILL)
        rescue.finish(process)
        assert (dest / ("laptop.rimg" if encrypted else "laptop.img.zst")).exists()
        folder = next(dest.glob("*.rescue"))
        assert (folder / "map").exists()
        assert (folder / "rescued").stat().st_size > 64 * KIB
        assert not encrypted or not _tells(good, start, dest)
        if encrypted:
            (tmp_path / "wrong").write_bytes(b"w" * 64)
            before = _contents(dest)
            wrong = ("--encrypt", "--key-file", tmp_path / "wrong")
            assert rescue("backup", disk, dest, "--name", "laptop", "--salvage", *wrong).code == 5
            assert _contents(dest) == before
        again = rescue("backup", disk, dest, "--name", "laptop", "--salvage", "--json", *options)
    facts = json.loads(again.out)["facts"]
    assert (again.code, facts["missing_bytes"]) == (4, bad.total)
    assert facts["damaged_files"] == ["1:/file-2"]
    assert not encrypted or not _tells(good, start, dest)
    target = tmp_path / "target"
    assert rescue("restore", facts["image"], target, "--yes", "--salvage", *key).code == 4
    assert _is_equal_but_for(target, good, bad)


def _contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _tells(good: Path, start: int, dest: Path) -> list[Path]:
    """The files that hold a sector of a MiB of the disk, or a good part of one."""
    content = good.read_bytes()[start : start + MIB]
    parts = [content[at : at + 64] for at in range(0, MIB, 512)]
    return [path for path, data in _contents(dest).items() if any(part in data for part in parts)]
