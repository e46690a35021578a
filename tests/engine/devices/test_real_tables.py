"""Tables made by sfdisk, sgdisk and parted now: read as sfdisk reads them, moved so that sgdisk finds no fault."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from rescue.devices.table import guess_sector_size, read_layout, tables_for
from rescue.model.layout import Layout
from rescue.system.blockfile import FileSource
from rescue.system.run import run
from rescue.units import GIB, MIB
from tests.engine.devices.loops import attached, sparse

pytestmark = pytest.mark.engine


def layout_of(path: Path, sector_size: int) -> Layout:
    with FileSource(path) as source:
        return read_layout(source, sector_size)


def as_sfdisk_reads(path: Path, sector_size: int) -> dict[int, tuple[int, int]]:
    with attached(path, "--sector-size", str(sector_size)) as device:
        table = json.loads(run(["sfdisk", "-J", device]).text)["partitiontable"]
    found = {int(p["node"].removeprefix(device).removeprefix("p")): p for p in table.get("partitions", ())}
    return {number: (p["start"] * sector_size, (p["start"] + p["size"]) * sector_size) for number, p in found.items()}


def as_we_read(layout: Layout) -> dict[int, tuple[int, int]]:
    return {p.number: (p.start, p.end) for p in layout.partitions}


def write(path: Path, script: str, sector_size: int) -> None:
    with attached(path, "--sector-size", str(sector_size)) as device:
        run(["sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", device], stdin=script.encode())


@pytest.mark.parametrize("sector_size", [512, 4096])
@pytest.mark.parametrize("label", ["gpt", "dos"])
@pytest.mark.parametrize("seed", range(3))
def test_random_tables(tmp_path: Path, sector_size: int, label: str, seed: int) -> None:
    chance = random.Random(f"{seed}{label}{sector_size}")
    path = sparse(tmp_path / "disk", chance.randrange(200, 400) * MIB)
    lines = [f"label: {label}"]
    # Sizes in sectors; sfdisk places them. On "dos", the fourth is extended and takes what is left for logical ones.
    for index in range(chance.randrange(1, 12)):
        if label == "dos" and index == 3:
            lines.append("type=5")
        lines.append(f"size={chance.randrange(1, 12) * MIB // sector_size}")
    write(path, "\n".join(lines) + "\n", sector_size)
    layout = layout_of(path, sector_size)
    assert (layout.label, layout.problems) == (label, ())
    assert as_we_read(layout) == as_sfdisk_reads(path, sector_size) != {}
    with FileSource(path) as source:
        assert guess_sector_size(source) == (sector_size if label == "gpt" else 512)


@pytest.mark.parametrize("sector_size", [512, 4096])
@pytest.mark.parametrize("backup_only", [False, True])
def test_a_gpt_moved_to_a_bigger_disk_has_no_fault(tmp_path: Path, sector_size: int, backup_only: bool) -> None:
    path = sparse(tmp_path / "disk", 200 * MIB)
    write(path, f"label: gpt\nsize={40 * MIB // sector_size}\nname=rest\n", sector_size)
    expected = as_sfdisk_reads(path, sector_size)
    if backup_only:
        with path.open("r+b") as file:
            file.seek(sector_size)
            file.write(b"\xff" * 40)
    bigger = sparse(tmp_path / "bigger", 3 * GIB)
    with FileSource(path) as source, bigger.open("r+b") as file:
        layout = read_layout(source, sector_size)
        for offset, data in tables_for(source, layout, 3 * GIB):
            file.seek(offset)
            file.write(data)
    assert as_sfdisk_reads(bigger, sector_size) == expected
    with attached(bigger, "--sector-size", str(sector_size)) as device:
        said = run(["sgdisk", "--verify", device]).text
        assert "No problems found" in said
        assert "damaged" not in said
        assert "No errors detected" in run(["sfdisk", "--verify", device]).text
    moved = layout_of(bigger, sector_size)
    assert (moved.problems, moved.id, moved.partitions) == ((), layout.id, layout.partitions)
    assert moved.usable_end > 3 * GIB - MIB - sector_size


def test_the_backup_is_found_where_gdisk_finds_it(tmp_path: Path) -> None:
    """sgdisk can keep the main entries away from the header, and so does the layout's table."""
    path = sparse(tmp_path / "disk", 64 * MIB)
    run(["sgdisk", "--move-main-table=1000", "--new=1:4096:+10M", str(path)])
    layout = layout_of(path, 512)
    assert layout.problems == ()
    assert [tuple(e) for e in layout.table] == [(0, 1024), (1000 * 512, 1032 * 512), (64 * MIB - 33 * 512, 64 * MIB)]


def test_parted_rescue_layout_with_a_gap_in_the_numbers(tmp_path: Path) -> None:
    path = sparse(tmp_path / "disk", 128 * MIB)
    parted = ["parted", "--script", str(path)]
    run([*parted, "mklabel", "msdos", "mkpart", "primary", "1MiB", "10MiB", "mkpart", "extended", "10MiB", "100%"])
    for start in (11, 31, 51, 71):
        run([*parted, "mkpart", "logical", f"{start}MiB", f"{start + 9}MiB"])
    run([*parted, "rm", "6"])
    layout = layout_of(path, 512)
    assert as_we_read(layout) == as_sfdisk_reads(path, 512)
    assert sorted(as_we_read(layout)) == [1, 2, 5, 6, 7]
