"""Disks with LUKS and LVM, onto larger and smaller ones: all in them follows, as LVM, cryptsetup and fsck see it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from pathlib import Path

import pytest

from rescue.system.loop import loop_device
from rescue.system.run import run
from rescue.units import MIB
from tests.engine.cli.command import Rescue
from tests.engine.devices.loops import mounted, sparse
from tests.engine.fit.stubborn import stubborn_tools
from tests.engine.volumes.stacks import (
    PASSPHRASE,
    Ext4,
    Group,
    decrypted,
    encrypted,
    ext4,
    gpt_disk,
    group,
    lvm_on,
    noise,
    part_of,
    require_ext4,
    tree,
)
from tests.hashes import digest

pytestmark = pytest.mark.engine


def _places(disk: Path, rescue: Rescue) -> dict[int, tuple[int, int]]:
    (told,) = json.loads(rescue.ok("disks", "--json", disk).out)
    return {p["number"]: (p["start"], p["end"]) for p in told["partitions"]}


def _ext4_size(file: Path) -> int:
    told = run(["dumpe2fs", "-h", str(file)]).text
    count, size = (int(re.findall(rf"^{name}: +(\d+)", told, re.MULTILINE)[0]) for name in ("Block count", "Block size"))
    return count * size


def _found_by_lvm(folder: Path, pv: Path, name: str) -> tuple[Group, dict[str, str]]:
    """A group as LVM's own commands find and check it; sizes and free bytes in its words."""
    folder.mkdir(exist_ok=True)
    with lvm_on(folder, pv) as (lvm, nodes):
        lvm.run("vgck", name)
        run(["pvck", "--dump", "headers", nodes[0]], env={"LVM_SYSTEM_DIR": str(folder / "lvm")})
        columns = "vg_uuid,vg_free,vg_seqno,pv_size,dev_size"
        said = lvm.run("vgs", "--noheadings", "--units", "b", "--nosuffix", "-o", columns, name)
        names = ("uuid", "free", "seqno", "pv", "device")
        return Group((pv,), lvm.places()), dict(zip(names, said.split(), strict=True))


class Plain:
    """LVM with ext4 in two pieces, swap space between them, and xfs."""

    def __init__(self, folder: Path) -> None:
        pv = sparse(folder / "pv", 900 * MIB)
        self.group = group(
            folder,
            "vg0",
            [pv],
            (
                ("root", "-L", "160M"),
                ("swap", "-L", "32M"),
                ("root", "extend", "-L", "+40M"),
                ("data", "-L", "600M"),
            ),
        )
        self.root = ext4(folder, "root", 200 * MIB, 24)
        self.group.write("root", self.root.file)
        swap = sparse(folder / "swap", 32 * MIB)
        run(["mkswap", "-q", "-U", "11111111-2222-4333-8444-555555555555", str(swap)])
        self.group.write("swap", swap)
        data = sparse(folder / "data.xfs", 600 * MIB)
        run(["mkfs.xfs", "-q", "-L", "data", str(data)])
        self.hashes = {}
        with loop_device(str(data), offset=0, size=600 * MIB, writable=True) as node, mounted(node, folder / "at"):
            self.hashes = tree(folder / "at" / "tree", 5, 30)
        self.group.write("data", data)
        self.disk = folder / "disk.raw"
        self.parts = gpt_disk(self.disk, pv)
        self.uuid = _found_by_lvm(folder / "before", pv, "vg0")[1]["uuid"]

    def require(self, target: Path, rescue: Rescue, folder: Path) -> tuple[dict[str, int], dict[str, str]]:
        """All of it is there; sizes of the file systems."""
        place = _places(target, rescue)[1]
        pv = part_of(target, place, folder / "pv")
        found, said = _found_by_lvm(folder / "after", pv, "vg0")
        assert said["uuid"] == self.uuid
        assert int(said["device"]) == place[1] - place[0]
        root = found.read("root", folder / "root")
        require_ext4(root, self.root, folder)
        swap = found.read("swap", folder / "swap")
        assert "11111111-2222" in run(["blkid", "-p", "-o", "export", str(swap)]).text
        data = found.read("data", folder / "data")
        with loop_device(str(data), offset=0, size=data.stat().st_size) as node:
            run(["xfs_repair", "-n", node])
            with mounted(node, folder / "at", "-o", "ro,norecovery"):
                assert {p.name: digest(p) for p in (folder / "at" / "tree").iterdir()} == self.hashes
        geometry = run(["xfs_db", "-r", "-c", "sb 0", "-c", "print dblocks blocksize", str(data)]).text
        blocks, size = (int(number) for number in re.findall(r"= (\d+)", geometry))
        sizes = {"root": _ext4_size(root), "data": blocks * size}
        for name, size in sizes.items():
            length = sum(area.length for area in found.volumes[name])
            assert length - MIB < size <= length  # each fills its volume
        return {**sizes, "swap": swap.stat().st_size}, said


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Plain:
    """Nobody writes to it."""
    return Plain(tmp_path_factory.mktemp("plain"))


def test_lvm_onto_a_larger_disk(plain: Plain, tmp_path: Path) -> None:
    """The volumes that can grow share what there is more; swap space and what was free stay."""
    rescue = Rescue(tmp_path / "jobs")
    before = digest(plain.disk)
    target = noise(tmp_path / "target.raw", 1700 * MIB)
    plan = rescue.ok("clone", plain.disk, target, "--fit", "auto", "--dry-run").out
    assert "In it vg0/root becomes larger: 200.0 MiB → " in plan
    assert "keeps its size" not in plan
    rescue.ok("clone", plain.disk, target, "--fit", "auto", "--yes")
    assert digest(plain.disk) == before
    sizes, said = plain.require(target, rescue, tmp_path)
    assert sizes["root"] > 390 * MIB
    assert sizes["data"] > 1180 * MIB
    assert sizes["swap"] == 32 * MIB
    assert 60 * MIB < int(said["free"]) < 70 * MIB


def test_lvm_onto_a_smaller_disk_from_an_image(plain: Plain, tmp_path: Path) -> None:
    """ext4 is shrunk on the way, xfs made anew in its place on the target, which LVM finds in order."""
    rescue = Rescue(tmp_path / "jobs")
    rescue.ok("backup", plain.disk, tmp_path, "--name", "plain", "--no-verify")
    target = noise(tmp_path / "target.raw", 640 * MIB)
    plan = rescue.ok("restore", tmp_path / "plain.img.zst", target, "--dry-run").out
    plan = " ".join(plan.split())
    assert "In it vg0/data becomes smaller: 600.0 MiB → " in plan
    assert "It is made anew, with the same UUID, and filled by its files." in plan
    rescue.ok("restore", tmp_path / "plain.img.zst", target, "--yes")
    sizes, said = plain.require(target, rescue, tmp_path)
    assert sizes["swap"] == 32 * MIB
    assert int(said["free"]) < 16 * MIB
    assert int(said["seqno"]) > 1


class Locked:
    """LUKS2 with LVM, ext4 and swap space in it."""

    def __init__(self, folder: Path) -> None:
        pv = sparse(folder / "pv", 192 * MIB)
        self.group = group(folder, "vault", [pv], [("swap", "-L", "8M"), ("home", "-L", "168M")])
        self.home = ext4(folder, "home", 168 * MIB, 30)
        self.group.write("home", self.home.file)
        swap = sparse(folder / "swap", 8 * MIB)
        run(["mkswap", "-q", str(swap)])
        self.group.write("swap", swap)
        self.disk = folder / "disk.raw"
        self.parts = gpt_disk(self.disk, encrypted(folder, pv, "luks", "--sector-size", "4096"))
        self.unlock = ["--unlock", f"1={folder / 'passphrase'}"]
        (folder / "passphrase").write_bytes(PASSPHRASE + b"\n")

    def require(self, target: Path, rescue: Rescue, folder: Path) -> int:
        """cryptsetup opens it by the old passphrase, LVM finds the group in it; the size of home."""
        luks = part_of(target, _places(target, rescue)[1], folder / "luks")
        pv = decrypted(luks, folder / "pv", folder)
        found, _ = _found_by_lvm(folder / "after", pv, "vault")
        home = found.read("home", folder / "home")
        require_ext4(home, self.home, folder)
        assert home.stat().st_size - MIB < _ext4_size(home) <= home.stat().st_size
        assert "swap" in run(["blkid", "-p", "-o", "export", str(found.read("swap", folder / "swap"))]).text
        return home.stat().st_size


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Locked:
    """Nobody writes to it."""
    return Locked(tmp_path_factory.mktemp("locked"))


@pytest.mark.parametrize(("size", "least", "most"), [(480, 330, 480), (170, 60, 141)])
def test_lvm_on_luks_onto_another_size(locked: Locked, size: int, least: int, most: int, tmp_path: Path) -> None:
    """The same volume key, so that every key slot opens it; nothing in clear is on the target."""
    rescue = Rescue(tmp_path / "jobs")
    target = noise(tmp_path / "target.raw", size * MIB)
    rescue.ok("clone", locked.disk, target, "--fit", "auto", *locked.unlock, "--yes")
    assert b"a sentence that nobody may find" not in target.read_bytes()
    home = locked.require(target, rescue, tmp_path)
    assert least * MIB < home < most * MIB


def test_what_does_not_get_smaller_in_a_container_is_made_anew(plain: Plain, locked: Locked, tmp_path: Path) -> None:
    """In LVM on the target itself; in LUKS, where programs cannot write, in memory first."""
    prefix = stubborn_tools(tmp_path / "bin")
    rescue = Rescue(tmp_path / "jobs", prefix)
    target = noise(tmp_path / "target.raw", 640 * MIB)
    assert "filled by its files instead" in rescue.ok("clone", plain.disk, target, "--yes").err
    plain.require(target, rescue, tmp_path)
    target.unlink()
    shutil.rmtree(tmp_path / "after")
    smaller = noise(tmp_path / "smaller.raw", 170 * MIB)
    assert "filled by its files instead" in rescue.ok("clone", locked.disk, smaller, *locked.unlock, "--yes").err
    assert b"a sentence that nobody may find" not in smaller.read_bytes()
    assert locked.require(smaller, rescue, tmp_path) < 141 * MIB


def test_without_the_passphrase_luks_keeps_its_size(locked: Locked, tmp_path: Path) -> None:
    """And it says why; onto a smaller disk it is refused."""
    rescue = Rescue(tmp_path / "jobs")
    larger = sparse(tmp_path / "larger.raw", 480 * MIB)
    plan = rescue.ok("clone", locked.disk, larger, "--fit", "auto", "--dry-run").out
    plan = " ".join(plan.split())
    assert "it keeps its size, for it holds other volumes. It is encrypted (LUKS), and its passphrase was not given" in plan
    refused = rescue("clone", locked.disk, sparse(tmp_path / "smaller.raw", 170 * MIB), "--yes")
    assert refused.code == 3
    assert "Partition 1 cannot be made smaller" in refused.err


def test_a_restore_of_lvm_on_luks_goes_on_after_it_was_killed(locked: Locked, tmp_path: Path) -> None:
    """From an image that was made without the passphrase; the second run finds what the first one wrote."""
    rescue = Rescue(tmp_path / "jobs")
    rescue.ok("backup", locked.disk, tmp_path, "--name", "whole", "--level", "1", "--no-verify")
    rescue.forget()
    target = noise(tmp_path / "target.raw", 170 * MIB)
    command: tuple[str | Path, ...] = ("restore", tmp_path / "whole.img.zst", target, *locked.unlock, "--yes", "--json")
    first = rescue.start(*command)
    job = rescue.wait_for_bytes(0, 24 * MIB)
    first.send_signal(signal.SIGKILL)
    os.kill(rescue.pid(job), signal.SIGKILL)
    first.communicate()
    assert rescue("ls", target, "1:/").code != 0  # there is no table yet
    done = rescue.ok(*command)
    assert json.loads(done.out)["facts"]["same_bytes"] >= 8 * MIB
    locked.require(target, rescue, tmp_path)


class Direct:
    """LUKS2 with nothing but an ext4 in it, in sectors of 512 bytes."""

    def __init__(self, folder: Path) -> None:
        self.content: Ext4 = ext4(folder, "direct", 96 * MIB, 20)
        self.disk = folder / "disk.raw"
        gpt_disk(self.disk, encrypted(folder, self.content.file, "luks", "--sector-size", "512"))
        self.unlock = ["--unlock", f"1={folder / 'passphrase'}"]
        (folder / "passphrase").write_bytes(PASSPHRASE)


@pytest.mark.parametrize("size", [100, 300])
def test_a_file_system_on_luks(size: int, tmp_path: Path) -> None:
    """Without LVM; by an image that was made with the passphrase."""
    rescue = Rescue(tmp_path / "jobs")
    made = Direct(tmp_path)
    rescue.ok("backup", made.disk, tmp_path, "--name", "direct", *made.unlock, "--no-verify")
    target = noise(tmp_path / "target.raw", size * MIB)
    rescue.ok("restore", tmp_path / "direct.img.zst", target, "--fit", "auto", *made.unlock, "--yes")
    out = tmp_path / "after"
    out.mkdir()
    clear = decrypted(part_of(target, _places(target, rescue)[1], out / "luks"), out / "clear", out)
    require_ext4(clear, made.content, out)
    # cryptsetup leaves the file as long as it was, with the room of the header behind the content.
    assert _ext4_size(clear) == clear.stat().st_size - 16 * MIB


def test_xfs_on_luks_onto_a_smaller_disk(tmp_path: Path) -> None:
    """It is made anew on the way: nothing of it is on the target in clear, and the passphrase opens it."""
    rescue = Rescue(tmp_path / "jobs")
    clear = sparse(tmp_path / "data.xfs", 440 * MIB)
    run(["mkfs.xfs", "-q", "-s", "size=4096", "-L", "data", str(clear)])
    with loop_device(str(clear), offset=0, size=440 * MIB, writable=True) as node, mounted(node, tmp_path / "at"):
        hashes = tree(tmp_path / "at" / "tree", 6, 20)
    disk = tmp_path / "disk.raw"
    gpt_disk(disk, encrypted(tmp_path, clear, "luks", "--sector-size", "4096"))
    (tmp_path / "passphrase").write_bytes(PASSPHRASE)
    unlock = ["--unlock", f"1={tmp_path / 'passphrase'}"]
    target = noise(tmp_path / "target.raw", 400 * MIB)
    plan = " ".join(rescue.ok("clone", disk, target, *unlock, "--dry-run").out.split())
    assert "In it xfs becomes smaller: " in plan
    assert "It is made anew, with the same UUID, and filled by its files." in plan
    rescue.ok("clone", disk, target, *unlock, "--yes")
    assert b"a sentence that nobody may find" not in target.read_bytes()
    after = tmp_path / "after"
    after.mkdir()
    found = decrypted(part_of(target, _places(target, rescue)[1], after / "luks"), after / "clear", after)
    size = found.stat().st_size - 16 * MIB
    with loop_device(str(found), offset=0, size=size) as node:
        run(["xfs_repair", "-n", node])
        with mounted(node, after / "at", "-o", "ro,norecovery"):
            assert {p.name: digest(p) for p in (after / "at" / "tree").iterdir()} == hashes
    # In a folder without room it is refused before anything is written.
    small = tmp_path / "small"
    small.mkdir()
    run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(small)])
    try:
        before = digest(target)
        refused = rescue("clone", disk, target, *unlock, "--overlay", small, "--no-delta", "--yes")
        assert refused.code == 3
        assert "Name a folder on a disk with more free space." in refused.err
        assert digest(target) == before
    finally:
        run(["umount", str(small)])


def test_the_editor_makes_containers_larger(locked: Locked, tmp_path: Path) -> None:
    """LVM has the room as free extents, by its own words; LUKS has it when it is opened; what is in them is as it was."""
    rescue = Rescue(tmp_path / "jobs")
    pv = sparse(tmp_path / "pv", 64 * MIB)
    content = ext4(tmp_path, "root", 40 * MIB, 5)
    made = group(tmp_path, "vg0", [pv], [("root", "-L", "40M")])
    made.write("root", content.file)
    disk = tmp_path / "disk.raw"
    gpt_disk(disk, pv)

    def lengthen(path: Path, size: int) -> None:
        os.truncate(path, size)
        run(["sgdisk", "--move-second-header", str(path)])

    lengthen(disk, 200 * MIB)

    def edit(path: Path, name: str) -> str:
        return rescue.ok("partition", path, "resize 1 size=max", "--yes", "--save", tmp_path / name, "--json").out

    edit(disk, "one")
    place = _places(disk, rescue)[1]
    assert place[1] - place[0] > 190 * MIB
    copy = part_of(disk, place, tmp_path / "after.pv")
    found, said = _found_by_lvm(tmp_path / "after", copy, "vg0")
    assert int(said["device"]) == place[1] - place[0]
    assert int(said["free"]) > 140 * MIB
    require_ext4(found.read("root", tmp_path / "after.root"), content, tmp_path)
    # A group that is spread over two partitions is not touched: not all of it is here.
    two = [sparse(tmp_path / f"half{number}", 32 * MIB) for number in range(2)]
    group(tmp_path, "vg2", two, [("both", "-L", "40M")])
    spread = tmp_path / "spread.raw"
    places = gpt_disk(spread, two[1], two[0])
    before = part_of(spread, places[0], tmp_path / "before.pv").read_bytes()
    lengthen(spread, 200 * MIB)
    edited = rescue.ok("partition", spread, "delete 2", "resize 1 size=max", "--yes", "--save", tmp_path / "two")
    assert "spread over 2 places" in edited.err + edited.out
    assert part_of(spread, places[0], tmp_path / "after.half").read_bytes() == before

    luks = tmp_path / "luks.raw"
    luks.write_bytes(locked.disk.read_bytes())
    lengthen(luks, locked.disk.stat().st_size + 64 * MIB)
    edit(luks, "three")
    rescue.ok("extract", luks, "1/vault/home:/file-7", tmp_path / "out", *locked.unlock)
    assert digest(tmp_path / "out" / "file-7") == locked.home.hashes["file-7"]
