"""Tables that we write, of fitted and of random disks: sfdisk reads them as they were meant, and finds no fault, nor sgdisk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from rescue.devices.write_table import table_writes
from rescue.model.fit import DoesNotFitError
from rescue.model.layout import Layout
from rescue.planning.fit import fit
from rescue.system.run import run
from rescue.units import GIB, MIB
from tests.engine.devices.loops import attached, sparse
from tests.unit.planning.layouts import contents, dos_layouts, gpt_layouts
from tests.unit.planning.test_fit_cases import CONTENT, OLD, OLD_CONTENT, PC

pytestmark = pytest.mark.engine

# A loop device for each takes its time; what fails is small enough as it comes.
SETTINGS = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
)
# 500 GiB and more are nothing to a file that is all holes, but to a loop device that is discarded.
TARGETS = st.one_of(st.integers(MIB, 40 * GIB), st.sampled_from([64 * MIB, 20 * GIB, 500 * GIB]))


def write(path: Path, layout: Layout) -> None:
    """A file that holds nothing but the table of the layout."""
    path.unlink(missing_ok=True)
    with sparse(path, layout.size).open("r+b") as file:
        for offset, data in table_writes(layout, b""):
            file.seek(offset)
            file.write(data)


def check(path: Path, layout: Layout) -> None:
    """What sfdisk reads is the layout, and neither sfdisk nor sgdisk has anything to complain about."""
    write(path, layout)
    with attached(path, "--sector-size", str(layout.sector_size)) as device:
        table: dict[str, Any] = json.loads(run(["sfdisk", "-J", device]).text)["partitiontable"]
        verified = run(["sfdisk", "--verify", device])
        assert "No errors detected" in verified.text
        assert not verified.stderr.strip()
        if layout.label == "gpt":
            assert "No problems found" in run(["sgdisk", "--verify", device]).text
    assert (table["label"], table["id"].removeprefix("0x")) == (layout.label, layout.id)
    sector = layout.sector_size
    seen = {int(p["node"].removeprefix(device).removeprefix("p")): p for p in table.get("partitions", ())}
    assert {n: (p["start"] * sector, (p["start"] + p["size"]) * sector) for n, p in seen.items()} == {
        p.number: (p.start, p.end) for p in layout.partitions
    }
    for partition in layout.partitions:
        said = seen[partition.number]
        assert said["type"].lower().zfill(2) == partition.type.lower().removeprefix("0x")
        if layout.label == "gpt":
            assert (said["uuid"], said.get("name", "")) == (partition.uuid, partition.name)
        else:
            assert said.get("bootable", False) is bool(partition.attributes & 1)
    if layout.label == "gpt":
        assert (table["firstlba"] * sector, (table["lastlba"] + 1) * sector) == (layout.usable_start, layout.usable_end)


@SETTINGS
@given(source=st.one_of(gpt_layouts(), dos_layouts()), target=TARGETS, sector=st.sampled_from([512, 4096]), data=st.data())
def test_any_disk_fitted_onto_any_disk(tmp_path: Path, source: Layout, target: int, sector: int, data: st.DataObject) -> None:
    volumes = data.draw(contents(source))
    target -= target % 4096  # a loop device has whole sectors
    try:
        fitted = fit(source, volumes, target, sector)
    except DoesNotFitError as refusal:
        if not refusal.needed:
            return
        fitted = fit(source, volumes, -(-refusal.needed // 4096) * 4096, sector)
    check(tmp_path / "disk", fitted.layout)


@pytest.mark.parametrize("sector", [512, 4096])
@pytest.mark.parametrize("size", [8 * GIB, 20 * GIB, 60 * GIB])
def test_a_pc(tmp_path: Path, size: int, sector: int) -> None:
    named = tuple(
        type(p)(p.number, p.start, p.end, p.type, f"{p.number:08X}-0000-4000-8000-000000000000", p.name, p.attributes)
        for p in PC.partitions
    )
    source = Layout(PC.size, 512, "gpt", PC.id, PC.usable_start, PC.usable_end, named, PC.table)
    check(tmp_path / "disk", fit(source, CONTENT, size, sector).layout)


@pytest.mark.parametrize("sector", [512, 4096])
@pytest.mark.parametrize("size", [40 * GIB, 100 * GIB, 200 * GIB])
def test_an_old_disk(tmp_path: Path, size: int, sector: int) -> None:
    check(tmp_path / "disk", fit(OLD, OLD_CONTENT, size, sector).layout)
