"""Disks with LUKS and LVM on them, made by those programs themselves, without the kernel's device-mapper.

Where a logical volume is, is asked of LVM (``lvs``, ``pvs``), never of our own reader; what is encrypted was encrypted by
cryptsetup (``reencrypt --encrypt``).
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from rescue.system.run import run
from rescue.units import MIB
from tests.engine.devices.loops import attached, sparse
from tests.hashes import digest, digest_of

PASSPHRASE = b"correct horse"
MARK = b"a sentence that nobody may find in a stored image"  # in files of every file system
_LUKS_HEADER = 32 * MIB  # what cryptsetup wants to have free behind the content that it encrypts


@dataclass(frozen=True)
class Place:
    """``length`` bytes at ``offset`` of a file."""

    file: Path
    offset: int
    length: int


@dataclass(frozen=True)
class Group:
    """A volume group in files: where each logical volume is, in its own order."""

    files: tuple[Path, ...]
    volumes: dict[str, tuple[Place, ...]]

    def write(self, name: str, content: Path) -> None:
        """Fill a logical volume."""
        with content.open("rb") as source:
            for place in self.volumes[name]:
                with place.file.open("r+b") as target:
                    target.seek(place.offset)
                    target.write(source.read(place.length))

    def read(self, name: str, to: Path, files: Sequence[Path] = ()) -> Path:
        """Copy a logical volume out; ``files`` are other copies of the group's own."""
        instead = dict(zip(self.files, files or self.files, strict=True))
        with to.open("wb") as target:
            for place in self.volumes[name]:
                with instead[place.file].open("rb") as source:
                    source.seek(place.offset)
                    target.write(source.read(place.length))
        return to


class Lvm:
    """LVM's commands on loop devices, in a configuration of their own."""

    def __init__(self, folder: Path, nodes: dict[str, Path]) -> None:
        self._nodes = nodes
        filters = ", ".join(f'"a|^{node}$|"' for node in nodes)
        self._config = (
            f'devices {{ filter = [{filters}, "r|.*|"] use_devicesfile=0 scan="/dev" external_device_info_source="none"'
            " obtain_device_list_from_udev=0 } activation { udev_sync=0 udev_rules=0 monitoring=0 }"
            f' global {{ locking_dir="{folder}/lock" use_lvmpolld=0 }} backup {{ backup=0 archive=0 }}'
        )
        self._env = {"LVM_SYSTEM_DIR": str(folder), "LVM_SUPPRESS_FD_WARNINGS": "1"}

    def run(self, command: str, *arguments: str) -> str:
        """Run one command."""
        quiet = () if command in ("lvs", "pvs") else ("--yes",)
        full = ["lvm", command, "--driverloaded", "n", "--config", self._config, *quiet, *arguments]
        return run(full, env=self._env).text

    def places(self) -> dict[str, tuple[Place, ...]]:
        """Where every logical volume is that LVM calls linear or striped."""
        columns = ["--noheadings", "--units", "b", "--nosuffix", "--separator", ";"]
        starts = dict(
            line.strip().split(";") for line in self.run("pvs", *columns, "-o", "pv_name,pe_start").splitlines() if line.strip()
        )
        found: dict[str, list[Place]] = {}
        fields = "lv_name,segtype,seg_start,seg_size,stripe_size,vg_extent_size,seg_pe_ranges"
        for line in sorted(self.run("lvs", *columns, "-o", fields).splitlines(), key=lambda text: int(text.split(";")[2])):
            name, type_, _, _, stripe, extent, ranges = line.strip().split(";")
            if type_ not in ("linear", "striped"):
                continue
            areas = []
            for text in ranges.split():
                node, _, span = text.rpartition(":")
                first, _, last = span.partition("-")
                start = int(starts[node]) + int(first) * int(extent)
                areas.append(Place(self._nodes[node], start, (int(last) - int(first) + 1) * int(extent)))
            step = int(stripe) or areas[0].length
            found.setdefault(name, []).extend(
                Place(area.file, area.offset + at, step) for at in range(0, areas[0].length, step) for area in areas
            )
        return {name: tuple(places) for name, places in found.items()}


@contextmanager
def lvm_on(folder: Path, *files: Path) -> Iterator[tuple[Lvm, list[str]]]:
    """LVM on files, and the loop devices that they are."""
    system = folder / "lvm"
    system.mkdir(exist_ok=True)
    with ExitStack() as stack:
        nodes = {stack.enter_context(attached(file)): file for file in files}
        yield Lvm(system, nodes), list(nodes)


def group(folder: Path, name: str, files: Sequence[Path], volumes: Sequence[tuple[str, ...]]) -> Group:
    """A volume group over files; ``volumes`` are a name and lvcreate's arguments; ``%0`` is the first loop device."""
    with lvm_on(folder, *files) as (lvm, nodes):
        for node in nodes:
            lvm.run("pvcreate", node)
        lvm.run("vgcreate", name, *nodes)
        for volume, *arguments in volumes:
            placed = [nodes[int(a[1:])] + a[2:] if a.startswith("%") else a for a in arguments]
            at = [a for a in placed if a.startswith("/")]
            options = [a for a in placed if not a.startswith("/")]
            if options[:1] == ["extend"]:
                lvm.run("lvextend", *options[1:], f"{name}/{volume}", *at)
            else:
                lvm.run("lvcreate", "-an", "-Zn", "-Wn", "-n", volume, *options, name, *at)
        return Group(tuple(files), lvm.places())


def encrypted(folder: Path, content: Path, name: str, *arguments: str) -> Path:
    """A LUKS2 volume with this content."""
    file = folder / name
    file.write_bytes(content.read_bytes())
    os.truncate(file, content.stat().st_size + _LUKS_HEADER)
    command = ["cryptsetup", "reencrypt", "--encrypt", "--type", "luks2", "--batch-mode", "--force-offline-reencrypt"]
    command += [
        "--pbkdf",
        "pbkdf2",
        "--pbkdf-force-iterations",
        "1000",
        "--reduce-device-size",
        f"{_LUKS_HEADER // 512}s",
        "--key-file",
        "-",
    ]
    run([*command, *arguments, str(file)], stdin=PASSPHRASE, timeout=300)
    return file


def tree(folder: Path, seed: int, megabytes: int) -> dict[str, str]:
    """Make files that cannot be compressed in a folder; their hashes."""
    folder.mkdir()
    draw = random.Random(seed)
    hashes = {}
    for number in range(megabytes):
        data = MARK + draw.randbytes(MIB - len(MARK))
        (folder / f"file-{number}").write_bytes(data)
        hashes[f"file-{number}"] = digest_of(data)
    return hashes


@dataclass(frozen=True)
class Ext4:
    """An ext4 in a file, and what is in it."""

    file: Path
    hashes: dict[str, str]


def ext4(folder: Path, name: str, size: int, megabytes: int) -> Ext4:
    """An ext4 of ``size`` bytes with so many MiB of files."""
    file = sparse(folder / f"{name}.ext4", size)
    hashes = tree(folder / f"{name}.tree", size + megabytes, megabytes)
    # What was deleted is still there on a used disk: free space must not be zeros.
    with file.open("r+b") as target:
        for at in range(0, size, MIB):
            target.seek(at)
            target.write(b"left over from an earlier life. " * (MIB // 32))
    run(
        ["mkfs.ext4", "-q", "-F", "-b", "4096", "-E", "nodiscard", "-L", name[:16], "-d", str(folder / f"{name}.tree"), str(file)]
    )
    return Ext4(file, hashes)


def require_ext4(file: Path, expected: Ext4, folder: Path) -> None:
    """The file system is whole by its own check, and every file in it is what it was."""
    run(["e2fsck", "-f", "-n", str(file)])
    out = folder / f"{file.name}.out"
    out.mkdir()
    run(["debugfs", "-R", f"rdump / {out}", str(file)])
    found = {path.name: digest(path) for path in out.glob("file-*")}
    assert found == expected.hashes


def gpt_disk(path: Path, *parts: Path) -> list[tuple[int, int]]:
    """A GPT disk whose partitions hold these files; the bytes ``[start, end)`` of each."""
    places = []
    position = MIB
    lines = ["label: gpt"]
    for part in parts:
        size = -(-part.stat().st_size // MIB) * MIB
        lines.append(f"start={position // 512}, size={size // 512}, type=L")
        places.append((position, position + size))
        position += size
    sparse(path, position + MIB)
    run(["sfdisk", "--quiet", str(path)], stdin="\n".join(lines).encode() + b"\n")
    with path.open("r+b") as disk:
        for part, (start, _) in zip(parts, places, strict=True):
            disk.seek(start)
            disk.write(part.read_bytes())
    return places


def part_of(disk: Path, place: tuple[int, int], to: Path) -> Path:
    """Copy a partition out."""
    with disk.open("rb") as source:
        source.seek(place[0])
        to.write_bytes(source.read(place[1] - place[0]))
    return to


def noise(path: Path, size: int) -> Path:
    """A disk that was used for something else."""
    draw = random.Random(7)
    with path.open("wb") as file:
        for at in range(0, size, MIB):
            file.write(draw.randbytes(min(MIB, size - at)))
    return path


def decrypted(luks: Path, to: Path, folder: Path) -> Path:
    """What is in a LUKS volume, decrypted by cryptsetup."""
    header = folder / "header"
    command = ["cryptsetup", "reencrypt", "--decrypt", "--batch-mode", "--force-offline-reencrypt", "--header", str(header)]
    copy = to.with_suffix(".luks")
    copy.write_bytes(luks.read_bytes())
    run([*command, "--key-file", "-", str(copy)], stdin=PASSPHRASE, timeout=300)
    return copy.rename(to)
