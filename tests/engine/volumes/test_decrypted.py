"""``--decrypt``: what is encrypted on the disk is in clear inside of an encrypted image, and encrypted again by a restore."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from rescue.system.run import run
from rescue.units import MIB
from tests.engine.cli.command import Rescue
from tests.engine.devices.loops import sparse
from tests.engine.volumes.stacks import PASSPHRASE, decrypted, encrypted, ext4, gpt_disk, group, noise, part_of
from tests.hashes import digest

pytestmark = pytest.mark.engine

_LINE = b"the same sentence again and again, which compresses. "
_FILES = 24


class Locked:
    """LUKS2 with LVM and an ext4 with text in it, and behind it a plain ext4."""

    def __init__(self, folder: Path) -> None:
        pv = sparse(folder / "pv", 112 * MIB)
        self.group = group(folder, "vault", [pv], [("home", "-L", "96M")])
        text = folder / "text"
        text.mkdir()
        for number in range(_FILES):
            (text / f"file-{number}").write_bytes((f"{number}: ".encode() + _LINE) * (MIB // 60))
        self.sums = {file.name: digest(file) for file in text.iterdir()}
        home = sparse(folder / "home", 96 * MIB)
        run(["mkfs.ext4", "-q", "-F", "-L", "home", "-d", str(text), str(home)])
        self.group.write("home", home)
        self.plain = ext4(folder, "plain", 24 * MIB, 2)
        self.disk = folder / "disk.raw"
        self.parts = gpt_disk(self.disk, encrypted(folder, pv, "luks", "--sector-size", "4096"), self.plain.file)
        (folder / "luks-passphrase").write_bytes(PASSPHRASE + b"\n")
        (folder / "passphrase").write_text("of the image\n")
        self.unlock = ("--unlock", f"1={folder / 'luks-passphrase'}")
        self.open = ("--passphrase-file", str(folder / "passphrase"))
        self.image = folder / "locked.rimg"
        self.backup = ("--encrypt", *self.open, *self.unlock, "--decrypt", "1")
        self.made = json.loads(
            Rescue(folder / "jobs").ok("backup", self.disk, folder, "--name", "locked", *self.backup, "--json").out
        )["facts"]

    def require(self, target: Path, folder: Path) -> None:
        """cryptsetup opens the partition by the old passphrase, and what is in it is whole."""
        folder.mkdir(exist_ok=True)
        pv = decrypted(part_of(target, self.parts[0], folder / "luks"), folder / "pv", folder)
        home = self.group.read("home", folder / "home", [pv])
        run(["e2fsck", "-f", "-n", str(home)])
        out = folder / "out"
        out.mkdir()
        run(["debugfs", "-R", f"rdump / {out}", str(home)])
        assert {file.name: digest(file) for file in out.glob("file-*")} == self.sums


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Locked:
    """Nobody writes to it."""
    return Locked(tmp_path_factory.mktemp("locked"))


def test_it_is_as_small_as_what_is_in_it_compresses(locked: Locked, tmp_path: Path) -> None:
    """And holds nothing in clear; the restored disk opens with the old passphrase, which the restore does not need."""
    rescue = Rescue(tmp_path / "jobs")
    # What cryptsetup left free in front of it (16 MiB) and LVM behind it (16 MiB) is noise; the rest are two MiB of such files.
    assert locked.made["used_bytes"] > 50 * MIB
    assert locked.made["checked_volumes"] == 2
    stored = locked.image.read_bytes()
    assert len(stored) < 36 * MIB
    for secret in (_LINE[:20], b"file-1", b"vault", PASSPHRASE):
        assert secret not in stored
    target = noise(tmp_path / "target.raw", locked.disk.stat().st_size)
    done = json.loads(rescue.ok("restore", locked.image, target, *locked.open, "--yes", "--json").out)["facts"]
    assert done["read_back"]
    assert _LINE[:20] not in target.read_bytes()
    locked.require(target, tmp_path / "restored")
    # What is there already is known by what it is when it is decrypted.
    again = json.loads(rescue.ok("restore", locked.image, target, *locked.open, "--yes", "--json").out)["facts"]
    assert again["same_bytes"] > 0.7 * locked.made["used_bytes"]  # the rest are zeros


def test_it_is_checked_and_compared(locked: Locked, tmp_path: Path) -> None:
    """Without the passphrase of the volume: who can open the image has what is in it."""
    rescue = Rescue(tmp_path / "jobs")
    facts = json.loads(rescue.ok("verify", locked.image, "--mount", *locked.open, "--json").out)["facts"]
    assert facts["checked_volumes"] == 2
    rescue.ok("verify", locked.image, "--against", locked.disk, *locked.open)
    changed = tmp_path / "changed.raw"
    changed.write_bytes(locked.disk.read_bytes())
    with changed.open("r+b") as disk:
        disk.seek(locked.parts[0][0] + 16 * MIB + MIB + 8)  # LUKS, LVM, the first block of home
        disk.write(b"x")
    told = rescue("verify", locked.image, "--against", changed, *locked.open)
    assert told.code != 0
    assert "partition 1: 1 chunk" in told.err


def test_files_in_it(locked: Locked, tmp_path: Path) -> None:
    """Listed, copied out, mounted; told by info, without the key."""
    rescue = Rescue(tmp_path / "jobs")
    assert "file-7" in rescue.ok("ls", locked.image, "1:/", *locked.open).out
    rescue.ok("extract", locked.image, "1:/file-7", tmp_path / "out", *locked.open)
    assert digest(tmp_path / "out" / "file-7") == locked.sums["file-7"]
    point = tmp_path / "point"
    rescue.ok("mount", locked.image, point, *locked.open)
    try:
        assert digest(point / "1-vault-home" / "file-3") == locked.sums["file-3"]
    finally:
        rescue.ok("umount", point)
    told = rescue.ok("info", locked.image, *locked.open, "--json").out
    assert json.loads(told)["clear"] == [1]
    assert "key" not in told
    # The disk in it is the encrypted one.
    rescue.ok("export", locked.image, tmp_path / "disk.raw", *locked.open)
    locked.require(tmp_path / "disk.raw", tmp_path / "exported")


def test_a_chain_of_them(locked: Locked, tmp_path: Path) -> None:
    """The second one stores what changed; a third that keeps it encrypted stores it as such; put together it is the same."""
    rescue = Rescue(tmp_path / "jobs")
    disk, store = tmp_path / "disk.raw", tmp_path / "store"
    store.mkdir()
    disk.write_bytes(locked.disk.read_bytes())
    rescue.ok("backup", disk, store, "--name", "one", *locked.backup, "--no-verify")
    with disk.open("r+b") as file:
        file.seek(locked.parts[1][0] + 512)  # in front of the superblock
        file.write(b"changed")
    second = rescue.ok("backup", disk, store, "--name", "two", *locked.backup, "--json")
    assert (store / "two.rimg").stat().st_size < 2 * MIB
    assert json.loads(second.out)["facts"]["checked_volumes"] == 2
    rescue.ok("backup", disk, store, "--name", "three", "--encrypt", *locked.open, *locked.unlock)
    assert (store / "three.rimg").stat().st_size > 40 * MIB
    rescue.ok("consolidate", store / "two.rimg", store, "--name", "whole", *locked.open)
    for name in ("two", "three", "whole"):
        target = noise(tmp_path / f"{name}.raw", disk.stat().st_size)
        rescue.ok("restore", store / f"{name}.rimg", target, *locked.open, "--yes")
        locked.require(target, tmp_path / name)
        with target.open("rb") as file:
            file.seek(locked.parts[1][0] + 512)
            assert file.read(7) == b"changed"
        target.unlink()


def test_onto_a_smaller_disk(locked: Locked, tmp_path: Path) -> None:
    """The key for it is in the image."""
    rescue = Rescue(tmp_path / "jobs")
    target = noise(tmp_path / "target.raw", 140 * MIB)
    rescue.ok("restore", locked.image, target, *locked.open, "--yes")
    (told,) = json.loads(rescue.ok("disks", target, "--json").out)
    place = told["partitions"][0]
    assert place["end"] - place["start"] < locked.parts[0][1] - locked.parts[0][0]
    luks = part_of(target, (place["start"], place["end"]), tmp_path / "luks")
    run(["cryptsetup", "open", "--test-passphrase", "--key-file", "-", str(luks)], stdin=PASSPHRASE)
    rescue.ok("extract", target, "1:/file-9", tmp_path / "out", *locked.unlock)
    assert digest(tmp_path / "out" / "file-9") == locked.sums["file-9"]


def test_it_goes_on_after_it_was_killed(locked: Locked, tmp_path: Path) -> None:
    """With the same command; one that asks for something else begins anew."""
    rescue = Rescue(tmp_path / "jobs")
    store = tmp_path / "store"
    store.mkdir()
    command = ("backup", locked.disk, store, "--name", "cut", *locked.backup, "--level", "9")
    first = rescue.start(*command)
    job = rescue.wait_for_bytes(0, 30 * MIB)
    os.kill(rescue.pid(job), signal.SIGKILL)
    first.communicate()
    rescue.ok(*command)
    target = noise(tmp_path / "target.raw", locked.disk.stat().st_size)
    rescue.ok("restore", store / "cut.rimg", target, *locked.open, "--yes")
    locked.require(target, tmp_path / "restored")


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("unlock", "--decrypt", "1"), 2, "Add --encrypt."),
        (("encrypt", "--decrypt", "1"), 2, "Add --unlock 1."),
        (("encrypt", "unlock", "--decrypt", "1", "--salvage"), 2, "do not go together"),
        (("encrypt", "unlock", "--decrypt", "1", "--decrypt", "2"), 2, "Add --unlock 2."),
    ],
)
def test_what_is_refused(locked: Locked, options: tuple[str, ...], code: int, said: str, tmp_path: Path) -> None:
    """Nothing is written then."""
    known = {"encrypt": ("--encrypt", *locked.open), "unlock": locked.unlock}
    given = [part for option in options for part in known.get(option, (option,))]
    told = Rescue(tmp_path / "jobs")("backup", locked.disk, tmp_path, *given)
    assert told.code == code
    assert said in told.err
    assert not list(tmp_path.glob("*.rimg*"))
