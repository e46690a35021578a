"""Disks with LUKS and LVM on them: imaged by what is used in them, restored onto other content, as good as before."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rescue.system.run import run
from rescue.units import MIB
from tests.engine.cli.command import Rescue
from tests.engine.devices.loops import sparse
from tests.engine.volumes.stacks import (
    MARK,
    PASSPHRASE,
    Ext4,
    Group,
    decrypted,
    encrypted,
    ext4,
    gpt_disk,
    group,
    noise,
    part_of,
    require_ext4,
)
from tests.hashes import digest

pytestmark = pytest.mark.engine

_VOLUMES = (
    ("root", "-L", "48M", "%0"),
    ("swap", "-L", "16M", "%0"),
    ("root", "extend", "-L", "+16M", "%0"),  # behind the swap space: a second segment
    ("striped", "-L", "64M", "-i", "2", "-I", "64k"),
)


class Stack:
    """An unencrypted group over two partitions, with a plain one in front."""

    def __init__(self, folder: Path) -> None:
        pvs = [sparse(folder / "pv0", 160 * MIB), sparse(folder / "pv1", 96 * MIB)]
        for pv in pvs:
            noise(pv, pv.stat().st_size)
            with pv.open("r+b") as file:
                file.write(bytes(MIB))
        self.group: Group = group(folder, "vg0", pvs, _VOLUMES)
        self.plain = ext4(folder, "plain", 32 * MIB, 3)
        self.content: dict[str, Ext4] = {
            "root": ext4(folder, "root", 64 * MIB, 20),
            "striped": ext4(folder, "striped", 64 * MIB, 12),
        }
        for name, made in self.content.items():
            self.group.write(name, made.file)
        swap = noise(folder / "swap", 16 * MIB)
        run(["mkswap", "-q", str(swap)], ok=(0,))
        self.group.write("swap", swap)
        self.disk = folder / "disk.raw"
        self.parts = gpt_disk(self.disk, self.plain.file, *pvs)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Stack:
    """Nobody writes to it."""
    return Stack(tmp_path_factory.mktemp("stack"))


def test_lvm_is_imaged_by_what_is_used(stack: Stack, tmp_path: Path) -> None:
    """Two segments, stripes over two partitions, swap; what is free in the volumes and in the group is not in the image."""
    rescue = Rescue(tmp_path / "jobs")
    (told,) = json.loads(rescue.ok("disks", "--json", stack.disk).out)
    first, second = told["volumes"][1:]
    assert {inner["name"]: (inner["type"], inner["whole_because"]) for inner in first["inside"]} == {
        "vg0/root": ("ext4", ""), "vg0/swap": ("swap", ""), "vg0/striped": ("ext4", ""),
    }  # fmt: skip
    assert second["inside"] == []
    assert first["whole_because"] == second["whole_because"] == ""
    assert "LVM vg0 → root (ext4, " in rescue.ok("disks", stack.disk).out

    before = digest(stack.disk)
    done = rescue.ok("backup", stack.disk, tmp_path, "--name", "stack", "--json")
    facts = json.loads(done.out)["facts"]
    assert digest(stack.disk) == before
    assert facts["used_bytes"] < 72 * MIB
    # All three are checked, and as root mounted.
    assert facts["checked_volumes"] == 3
    target = noise(tmp_path / "target.raw", stack.disk.stat().st_size)
    rescue.ok("restore", tmp_path / "stack.img.zst", target, "--yes")
    pvs = [part_of(target, place, tmp_path / f"pv{number}") for number, place in enumerate(stack.parts[1:])]
    for name, made in stack.content.items():
        require_ext4(stack.group.read(name, tmp_path / name, pvs), made, tmp_path)
    assert (
        run(["blkid", "-p", "-o", "value", "-s", "TYPE", str(stack.group.read("swap", tmp_path / "swap", pvs))]).text == "swap\n"
    )
    require_ext4(part_of(target, stack.parts[0], tmp_path / "plain"), stack.plain, tmp_path)


def test_files_in_volumes_of_a_group(stack: Stack, tmp_path: Path) -> None:
    """Of a disk as of its image; a name is needed where there are several."""
    rescue = Rescue(tmp_path / "jobs")
    listed = json.loads(rescue.ok("ls", stack.disk, "--json").out)
    assert {(row["partition"], row["inside"], row["filesystem"]) for row in listed} >= {
        (1, "", "ext4"), (2, "vg0/root", "ext4"), (2, "vg0/striped", "ext4"), (2, "vg0/swap", "swap"), (3, "", "LVM2_member"),
    }  # fmt: skip
    assert "file-11" in rescue.ok("ls", stack.disk, "2/vg0/striped:/").out
    several = rescue("ls", stack.disk, "2:/")
    assert several.code == 2
    assert "2/vg0/root" in several.err
    assert rescue("ls", stack.disk, "2/vg0/none:/").code == 2
    assert rescue("ls", stack.disk, "1/vg0/root:/").code == 2
    rescue.ok("backup", stack.disk, tmp_path, "--name", "files", "--no-verify")
    out = tmp_path / "out"
    rescue.ok("extract", tmp_path / "files.img.zst", "2/vg0/striped:/file-3", out)
    assert digest(out / "file-3") == stack.content["striped"].hashes["file-3"]
    rescue.ok("extract", stack.disk, "2/vg0/root:/file-19", out)
    assert digest(out / "file-19") == stack.content["root"].hashes["file-19"]
    point = tmp_path / "point"
    said = json.loads(rescue.ok("mount", tmp_path / "files.img.zst", point, "--json").out)
    try:
        problems = [volume["problem"] for volume in said["volumes"] if volume["problem"] and volume["filesystem"] == "ext4"]
        assert not problems
        names = {volume["name"]: volume["folder"] for volume in said["volumes"]}
        assert names["vg0/root"] == str(point / "2-vg0-root")
        assert digest(point / "2-vg0-root" / "file-2") == stack.content["root"].hashes["file-2"]
        assert digest(point / "2-vg0-striped" / "file-2") == stack.content["striped"].hashes["file-2"]
        assert digest(point / "1" / "file-0") == stack.plain.hashes["file-0"]
    finally:
        rescue.ok("umount", point)
    assert not point.exists()


class Locked:
    """LUKS2 with LVM and an ext4 in it."""

    def __init__(self, folder: Path) -> None:
        pv = sparse(folder / "pv", 160 * MIB)
        self.group = group(folder, "vault", [pv], [("home", "-L", "128M"), ("swap", "-L", "8M")])
        self.home = ext4(folder, "home", 128 * MIB, 30)
        self.group.write("home", self.home.file)
        self.luks = encrypted(folder, pv, "luks", "--sector-size", "4096")
        self.disk = folder / "disk.raw"
        self.parts = gpt_disk(self.disk, self.luks)
        self.passphrase = folder / "passphrase"
        self.passphrase.write_bytes(PASSPHRASE + b"\n")


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Locked:
    """Nobody writes to it."""
    return Locked(tmp_path_factory.mktemp("locked"))


def test_encrypted_disk_stays_encrypted(locked: Locked, tmp_path: Path) -> None:
    """With the passphrase its image is as large as what is used, holds nothing in clear, and opens as before."""
    rescue = Rescue(tmp_path / "jobs")
    done = rescue.ok(
        "backup", locked.disk, tmp_path, "--name", "locked", "--unlock", f"1={locked.passphrase}", "--json", "--level", "1"
    )
    facts = json.loads(done.out)["facts"]
    image = tmp_path / "locked.img.zst"
    # 30 MiB of files, 8 MiB of journal and inodes, LVM's own, and 16 MiB before and behind that cryptsetup needed.
    assert facts["used_bytes"] < 100 * MIB
    assert facts["checked_volumes"] == 1
    assert image.stat().st_size < 100 * MIB
    clear = run(["zstd", "-dcq", str(image)], output_limit=1 << 30).stdout
    assert MARK not in clear
    assert b"file-1" not in clear
    assert PASSPHRASE not in clear
    for file in (tmp_path / "jobs").rglob("*"):
        assert not file.is_file() or PASSPHRASE not in file.read_bytes()

    unlock = ["--unlock", f"1={locked.passphrase}"]
    rescue.ok("extract", image, "1:/file-7", tmp_path / "out", *unlock)  # there is only one file system in it
    assert digest(tmp_path / "out" / "file-7") == locked.home.hashes["file-7"]
    shut = rescue("ls", image, "1:/")
    assert shut.code == 5
    assert "--unlock 1" in shut.err
    point = tmp_path / "point"
    rescue.ok("mount", image, point, *unlock)
    try:
        assert digest(point / "1-vault-home" / "file-3") == locked.home.hashes["file-3"]
    finally:
        rescue.ok("umount", point)
    assert rescue("mount", image, point).code != 0
    assert json.loads(rescue.ok("verify", image, "--mount", "--json", *unlock).out)["facts"]["checked_volumes"] == 1
    assert json.loads(rescue.ok("verify", image, "--mount", "--json").out)["facts"]["checked_volumes"] == 0
    assert "LUKS (encrypted) → LVM vault → home (ext4, " in rescue.ok("info", image).out

    target = noise(tmp_path / "target.raw", locked.disk.stat().st_size)
    rescue.ok("restore", image, target, "--yes")
    luks = part_of(target, locked.parts[0], tmp_path / "restored.luks")
    pv = decrypted(luks, tmp_path / "restored.pv", tmp_path)
    require_ext4(locked.group.read("home", tmp_path / "home", [pv]), locked.home, tmp_path)


def test_without_the_passphrase_it_is_whole(locked: Locked, tmp_path: Path) -> None:
    """And it says so, before and in the image."""
    rescue = Rescue(tmp_path / "jobs")
    told = rescue.ok("backup", locked.disk, tmp_path, "--name", "whole", "--dry-run").out
    assert "passphrase was not given" in told
    facts = json.loads(rescue.ok("backup", locked.disk, tmp_path, "--name", "whole", "--level", "1", "--json").out)["facts"]
    assert facts["used_bytes"] >= locked.luks.stat().st_size
    (volume,) = json.loads(rescue.ok("info", tmp_path / "whole.img.zst", "--json").out)["content"]["volumes"]
    assert "passphrase was not given" in volume["whole_because"]


def test_a_wrong_passphrase_is_told(locked: Locked, tmp_path: Path) -> None:
    """Exit code 5, nothing is written."""
    wrong = tmp_path / "wrong"
    wrong.write_text("incorrect horse")
    result = Rescue(tmp_path / "jobs")("backup", locked.disk, tmp_path, "--unlock", f"1={wrong}")
    assert result.code == 5
    assert "does not open" in result.err
    assert not list(tmp_path.glob("*.zst*"))
    nobody = Rescue(tmp_path / "jobs")("backup", locked.disk, tmp_path, "--unlock", "1")
    assert nobody.code == 5
    nothing = Rescue(tmp_path / "jobs")("backup", locked.disk, tmp_path, "--unlock", f"2={wrong}")
    assert nothing.code == 2


def test_a_clone_takes_what_is_used(locked: Locked, tmp_path: Path) -> None:
    """With the passphrase; free space of the target is left as it is."""
    rescue = Rescue(tmp_path / "jobs")
    target = noise(tmp_path / "target.raw", locked.disk.stat().st_size)
    done = rescue.ok("clone", locked.disk, target, "--unlock", f"1={locked.passphrase}", "--yes", "--no-delta", "--json")
    assert json.loads(done.out)["facts"]["written_bytes"] < 110 * MIB
    luks = part_of(target, locked.parts[0], tmp_path / "cloned.luks")
    pv = decrypted(luks, tmp_path / "cloned.pv", tmp_path)
    require_ext4(locked.group.read("home", tmp_path / "home", [pv]), locked.home, tmp_path)


def test_fitting_says_that_containers_keep_their_size(stack: Stack, tmp_path: Path) -> None:
    """By name, in the plan; and they do."""
    rescue = Rescue(tmp_path / "jobs")
    larger = sparse(tmp_path / "larger.raw", stack.disk.stat().st_size + 200 * MIB)
    plan = rescue.ok("clone", stack.disk, larger, "--fit", "auto", "--dry-run").out
    assert "Partition 2, LVM" in plan
    rescue.ok("clone", stack.disk, larger, "--fit", "auto", "--yes")
    (told,) = json.loads(rescue.ok("disks", "--json", larger).out)
    sizes = {p["number"]: p["end"] - p["start"] for p in told["partitions"]}
    assert (sizes[2], sizes[3]) == (160 * MIB, 96 * MIB)
    assert {inner["name"]: inner["type"] for inner in told["volumes"][1]["inside"]} == {
        "vg0/root": "ext4", "vg0/swap": "swap", "vg0/striped": "ext4",
    }  # fmt: skip
