"""A copy with identifiers of its own: nothing is called as on the source, every check is clean, and what names them follows."""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from rescue.devices.table import read_layout
from rescue.model.layout import Layout
from rescue.model.progress import Progress
from rescue.system.blockfile import FileSource
from rescue.system.loop import loop_device
from rescue.system.run import run
from rescue.units import MIB
from tests.engine.cli.command import Rescue
from tests.engine.devices.loops import mounted, sparse
from tests.hashes import digest

pytestmark = pytest.mark.engine

_PARTS = (
    ("vfat", 64, "uefi", "ef"),
    ("ext4", 128, "linux", "83"),
    ("xfs", 320, "linux", "83"),
    ("btrfs", 160, "linux", "83"),
    ("swap", 16, "swap", "82"),
    ("ntfs", 64, "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7", "07"),
    ("exfat", 64, "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7", "07"),
)
_SIZE = 900 * MIB
_FILES = ("etc/fstab", "etc/crypttab", "etc/default/grub", "boot/grub/grub.cfg", "loader/entries/debian.conf")


@dataclass(frozen=True)
class Source:
    """A disk file, what its file systems are called, and what names them."""

    path: Path
    uuids: dict[str, str]
    text: str
    image: Path


def _layout(path: Path) -> Layout:
    with FileSource(path) as source:
        return read_layout(source, 512)


def _uuid(node: str) -> str:
    return run(["blkid", "--probe", "--output", "value", "--match-tag", "UUID", node]).text.strip()


def _partuuids(path: Path) -> list[str]:
    return [p.uuid.lower() for p in _layout(path).data_partitions]


def _write(root: Path, text: str) -> None:
    for name in _FILES:
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o640)


@pytest.fixture(scope="module", params=["gpt", "dos"])
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Source:
    """Every kind of file system that can be called otherwise, and a system's files that name them all."""
    folder = tmp_path_factory.mktemp(f"ids-{request.param}")
    path = sparse(folder / "disk.raw", _SIZE)
    lines = [f"label: {request.param}"]
    for number, (_, size, guid, code) in enumerate(_PARTS):
        if request.param == "dos" and number == 3:
            lines.append("type=5")
        lines.append(f"size={size}MiB, type={guid if request.param == 'gpt' else code}")
    run(["sfdisk", "--quiet", str(path)], stdin="\n".join(lines).encode())
    places = {kind: part for (kind, *_), part in zip(_PARTS, _layout(path).data_partitions, strict=True)}
    uuids = {}
    for kind, part in places.items():
        make = {
            "vfat": ["mkfs.vfat", "-F", "32"], "ext4": ["mkfs.ext4", "-q", "-F"], "xfs": ["mkfs.xfs", "-q"],
            "btrfs": ["mkfs.btrfs", "-q"], "swap": ["mkswap"], "ntfs": ["mkntfs", "-q", "-F", "-Q", "-p", str(part.start // 512),
            "-H", "255", "-S", "63"], "exfat": ["mkfs.exfat"],
        }[kind]  # fmt: skip
        with loop_device(str(path), offset=part.start, size=part.size, writable=True) as node:
            run([*make, node])
            uuids[kind] = _uuid(node)
    text = "".join(f"UUID={uuid} /{kind} /dev/disk/by-uuid/{uuid} search --fs-uuid {uuid}\n" for kind, uuid in uuids.items())
    text += "".join(f"PARTUUID={uuid} /p\n" for uuid in _partuuids(path))
    text += f"# {uuids['ext4']}-not, x{uuids['vfat'].upper()}: parts of others\nUUID={'0' * 36}\n"
    for kind in ("ext4", "xfs", "btrfs"):
        part = places[kind]
        with (
            loop_device(str(path), offset=part.start, size=part.size, writable=True) as node,
            mounted(node, folder / kind) as root,
        ):
            _write(root, text)
            (root / "note").write_text(text)
            (root / "etc/default/grub").unlink()
            (root / "etc/default/grub").symlink_to("/etc/hostname")
            if kind == "btrfs":
                run(["btrfs", "subvolume", "create", str(root / "@")])
                _write(root / "@", text)
    part = places["vfat"]
    (folder / "grub.cfg").write_text(f"search.fs_uuid {uuids['ext4']} root\nset prefix=($root)/boot/grub\n")
    with loop_device(str(path), offset=part.start, size=part.size, writable=True) as node:
        run(["mmd", "-i", node, "::EFI", "::EFI/debian"])
        run(["mcopy", "-i", node, str(folder / "grub.cfg"), "::EFI/debian/"])
    Rescue(folder / "jobs").ok("backup", path, folder, "--name", "disk", "--no-verify")
    return Source(path, uuids, text, folder / "disk.img.zst")


def _check(kind: str, node: str) -> None:
    command = {
        "vfat": ["fsck.fat", "-n"], "ext4": ["e2fsck", "-f", "-n"], "xfs": ["xfs_repair", "-n"],
        "btrfs": ["btrfs", "check", "--readonly"], "ntfs": ["ntfsfix", "-n"], "exfat": ["fsck.exfat", "-n"],
    }.get(kind)  # fmt: skip
    if command:
        run([*command, node])


def _prove(target: Path, source: Source, folder: Path) -> None:
    """All is called otherwise, sound, and named by its new names."""
    assert _layout(target).id != _layout(source.path).id
    old, new = _partuuids(source.path), _partuuids(target)
    assert not {*old} & {*new}
    if _layout(target).label == "gpt":
        assert "No problems found" in run(["sgdisk", "--verify", str(target)]).text
    names = dict(zip(old, new, strict=True))
    places = {kind: part for (kind, *_), part in zip(_PARTS, _layout(target).data_partitions, strict=True)}
    for kind, part in places.items():
        with loop_device(str(target), offset=part.start, size=part.size) as node:
            _check(kind, node)
            names[source.uuids[kind]] = found = _uuid(node)
            assert found
            assert found != source.uuids[kind]
            assert len(found) == len(source.uuids[kind])
    text = source.text
    for before, after in names.items():
        # Not what is only a part of something else.
        text = "".join(line if line.startswith("#") else line.replace(before, after) for line in text.splitlines(keepends=True))
    for kind in ("ext4", "xfs", "btrfs"):
        part = places[kind]
        options = "ro,norecovery" if kind == "xfs" else "ro"
        with (
            loop_device(str(target), offset=part.start, size=part.size) as node,
            mounted(node, folder / kind, "-o", options) as root,
        ):
            for base in (root, root / "@") if kind == "btrfs" else (root,):
                for name in _FILES:
                    file = base / name
                    if file.is_symlink():
                        continue
                    assert file.read_text() == text, file
                    assert file.stat().st_mode & 0o777 == 0o640
            assert (root / "note").read_text() == source.text
    with loop_device(str(target), offset=places["vfat"].start, size=places["vfat"].size) as node:
        said = run(["mtype", "-i", node, "::EFI/debian/grub.cfg"]).text
        assert said == f"search.fs_uuid {names[source.uuids['ext4']]} root\nset prefix=($root)/boot/grub\n"


@pytest.mark.parametrize("how", ["clone", "restore"])
def test_nothing_is_called_as_on_the_source(how: str, source: Source, tmp_path: Path) -> None:
    before = digest(source.path)
    target = sparse(tmp_path / "target.raw", _SIZE)
    taken = source.path if how == "clone" else source.image
    done = json.loads(Rescue(tmp_path / "jobs").ok(how, taken, target, "--new-ids", "--yes", "--json").out)
    assert "It has identifiers of its own" in done["message"]
    assert "the same identifiers" not in done["message"]
    told = "\n".join(done["facts"]["new_ids"])
    assert f"it was {source.uuids['xfs']}" in told
    assert "EFI/DEBIAN/GRUB.CFG" in told
    assert "@/etc/fstab" in told
    assert done["facts"]["read_back"] is True
    _prove(target, source, tmp_path)
    assert digest(source.path) == before


def test_also_on_a_larger_disk(source: Source, tmp_path: Path) -> None:
    """File systems grow first, and get their names afterwards."""
    target = sparse(tmp_path / "target.raw", 2 * _SIZE)
    Rescue(tmp_path / "jobs").ok("clone", source.path, target, "--new-ids", "--fit", "auto", "--yes")
    _prove(target, source, tmp_path)


def test_killed_in_between_it_looks_like_no_disk_and_the_same_command_ends_it(source: Source, tmp_path: Path) -> None:
    rescue = Rescue(tmp_path / "jobs")
    target = sparse(tmp_path / "target.raw", _SIZE)
    plan = json.loads(rescue.ok("clone", source.path, target, "--new-ids", "--dry-run", "--json").out)
    kinds = [step["type"] for step in plan["steps"]]
    assert kinds[-2:] == ["fit-ids", "fit-table"]
    command = rescue.start("clone", source.path, target, "--new-ids", "--yes")
    ids = kinds.index("fit-ids")
    # In slices of milliseconds only what matters: copying and reading back alone may take a busy machine a minute.
    job = rescue.job()
    while not any(isinstance(event, Progress) and event.index >= ids - 1 for event in job.events()):
        assert rescue.pid(job)
        assert command.poll() is None
        time.sleep(0.01)
    with rescue.held(ids, 3) as job:
        os.kill(rescue.pid(job), signal.SIGKILL)
    assert rescue.finish(command).code != 0
    rescue.forget()
    # The program that the job had started ends by itself, and its loop device with it.
    while str(target) in run(["losetup", "--list", "--noheadings", "--output", "BACK-FILE"]).text:
        time.sleep(0.01)
    assert _layout(target).label == "none"
    with target.open("rb") as file:
        assert not any(file.read(MIB))
    rescue.ok("clone", source.path, target, "--new-ids", "--yes")
    _prove(target, source, tmp_path)


def test_without_them_it_is_said_that_both_are_called_alike(source: Source, tmp_path: Path) -> None:
    target = sparse(tmp_path / "target.raw", _SIZE)
    rescue = Rescue(tmp_path / "jobs")
    done = json.loads(rescue.ok("clone", source.path, target, "--yes", "--no-verify", "--json").out)
    assert "Both disks have the same identifiers" in done["message"]
    shown = rescue.ok("disks", source.path, target).out
    assert "have the same identifiers" in shown


def test_a_disk_without_a_table_is_refused(tmp_path: Path) -> None:
    path = sparse(tmp_path / "disk.raw", 64 * MIB)
    run(["mkfs.ext4", "-q", "-F", str(path)])
    refused = Rescue(tmp_path / "jobs")("clone", path, sparse(tmp_path / "target.raw", 64 * MIB), "--new-ids", "--yes")
    assert refused.code == 3
    assert "without a partition table cannot get new identifiers" in refused.err
