"""What LVM itself says of volumes that this program does not look into: every extent of them is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from rescue.model.volume import Identity
from rescue.system.blockfile import FileSource
from rescue.system.run import run
from rescue.units import MIB
from rescue.volumes.placed import WholeDisk
from rescue.volumes.stack import LVM, look_into
from tests.engine.devices.loops import sparse
from tests.engine.volumes.stacks import lvm_on

pytestmark = pytest.mark.engine

_DATA = Path(__file__).parents[2] / "data" / "volumes"
_UUID = "0iqMPS-b3ly-gh5g-cWCK-Wwl1-v5TR-JhoWkd"


def test_thin_pools_and_snapshots(tmp_path: Path) -> None:
    """With their origins and metadata; swap beside them is still taken by what is used of it, and free extents are not."""
    disk = sparse(tmp_path / "pv", 100 * MIB)
    with lvm_on(tmp_path, disk) as (lvm, (node,)):
        lvm.run("pvcreate", "--norestorefile", "--uuid", _UUID, node)
        lvm.run("vgcfgrestore", "--force", "--file", str(_DATA / "thin-and-snapshot.vg"), "vg0")
        whole = {}
        for name in ("root", "snap", "[pool_tmeta]", "[pool_tdata]", "home"):
            found = lvm.run("lvs", "--all", "--noheadings", "-o", "seg_pe_ranges", f"vg0/{name.strip('[]')}").strip()
            first, _, last = found.rpartition(":")[2].partition("-")
            whole[name] = (MIB + int(first) * MIB, MIB + (int(last) + 1) * MIB)
    home = whole.pop("home")
    with disk.open("r+b") as file:
        file.seek(home[0])
        swap = sparse(tmp_path / "swap", home[1] - home[0])
        run(["mkswap", str(swap)])
        file.write(swap.read_bytes())
    with FileSource(str(disk)) as source:
        (found_,) = look_into([(Identity(LVM, "raid"), WholeDisk(source))], {})
    kept = found_.kept()
    for start, end in whole.values():
        assert kept.clip(start, end).total == end - start
    assert kept.clip(*home).total == 4096
    assert kept.total == MIB + sum(end - start for start, end in whole.values()) + 4096
    told = {inner.name: inner.whole_because for inner in found_.inside}
    assert "thin pool" in told["vg0/pool"]
    assert "thin pool" in told["vg0/thin"]
    assert "snapshot" in told["vg0/root"]
    assert told["vg0/home"] == ""
