"""Runs inside the rescue system, as root: records what the kernel writes, for tests on machines without md and device-mapper.

``python3 guest_samples.py md|thin|snapshot FILE``. FILE gets one JSON object, which tests/data/volumes keeps compressed.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

KIB, MIB = 1 << 10, 1 << 20
BLOCK = 4 * KIB
WORK = Path("/run/work/samples")
ARRAY = "/dev/md78"


def run(*command: object, ok: tuple[int, ...] = (0,)) -> str:
    """A program; its standard output."""
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode not in ok:
        sys.exit(f"{' '.join(words)} ended with {done.returncode}: {done.stdout[-2000:]} {done.stderr[-2000:]}")
    return done.stdout


def packed(data: bytes) -> str:
    """For JSON."""
    return base64.b64encode(zlib.compress(data, 9)).decode()


def block(number: int) -> bytes:
    """What block ``number`` of a volume holds: itself, so that it is found wherever it is stored. No XOR of such is one."""
    head = b"RSCU" + zlib.crc32(b"block %d" % number).to_bytes(4, "little") + number.to_bytes(8, "little")
    return head * (BLOCK // len(head))


def numbers_in(data: bytes) -> list[tuple[int, int]]:
    """Where blocks are: the number of the block of ``data``, and which one it holds."""
    found = []
    for at in range(0, len(data), BLOCK):
        if data[at : at + 4] == b"RSCU":
            number = int.from_bytes(data[at + 8 : at + 16], "little")
            if data[at : at + BLOCK] == block(number):
                found.append((at // BLOCK, number))
    return found


def loops(count: int, size: int) -> list[str]:
    """New loop devices."""
    nodes = []
    for number in range(count):
        file = WORK / f"loop-{number}"
        file.unlink(missing_ok=True)
        file.write_bytes(b"")
        os.truncate(file, size)
        nodes.append(run("losetup", "--find", "--show", file).strip())
    return nodes


def detach(nodes: list[str]) -> None:
    """End them."""
    run("udevadm", "settle")
    for node in nodes:
        run("losetup", "--detach", node)


def fill(node: str) -> int:
    """Write every block of a volume; how many it has."""
    size = int(run("blockdev", "--getsize64", node))
    with open(node, "r+b", buffering=0) as file:
        for at in range(0, size - size % BLOCK, 64 * BLOCK):
            file.write(b"".join(block(number) for number in range(at // BLOCK, min(at // BLOCK + 64, size // BLOCK))))
        os.fsync(file.fileno())
    return size // BLOCK


_LAYOUTS = ("left-asymmetric", "right-asymmetric", "left-symmetric", "right-symmetric", "parity-first", "parity-last")
ARRAYS: dict[str, tuple[str, int, str, str]] = {
    "raid0": ("0", 3, "", "1.2"),
    "raid0-1.0": ("0", 2, "", "1.0"),
    "raid4": ("4", 4, "", "1.2"),
    "raid5-0.90": ("5", 3, "left-symmetric", "0.90"),
    "raid6-1.0": ("6", 4, "left-symmetric", "1.0"),
    **{f"raid5-{layout}": ("5", 4, layout, "1.2") for layout in _LAYOUTS},
    **{f"raid6-{layout}": ("6", 5, layout, "1.2") for layout in _LAYOUTS},
    **{f"raid10-{layout}-{disks}": ("10", disks, layout, "1.2") for layout in ("n2", "f2", "o2") for disks in (3, 4)},
    "raid10-n3-4": ("10", 4, "n3", "1.2"),
    "raid10-f3-5": ("10", 5, "f3", "1.2"),
    "raid10-n2-2": ("10", 2, "n2", "1.2"),
}


def md() -> dict[str, Any]:
    """Arrays of every level and layout: the superblock of each member, and where on it which block of the array is."""
    found: dict[str, Any] = {}
    for name, (level, disks, layout, metadata) in ARRAYS.items():
        found[name] = _array(level, loops(disks, 2 * MIB), layout, metadata)
    sizes = loops(3, 2 * MIB)
    for number, node in enumerate(sizes[1:], 1):
        os.truncate(WORK / f"loop-{number}", 2 * MIB + number * 512 * KIB)
        run("losetup", "--set-capacity", node)
    found["raid0-zones"] = _array("0", sizes, "", "1.2")
    return found


def _array(level: str, nodes: list[str], layout: str, metadata: str) -> dict[str, Any]:
    create = ["mdadm", "--create", ARRAY, "--run", f"--level={level}", f"--raid-devices={len(nodes)}", "--chunk=8"]
    create += [f"--metadata={metadata}", "--homehost=any"]
    if level != "0":
        create += ["--assume-clean", "--bitmap=none", "--size=256"]
    if layout:
        create.append(f"--layout={layout}")
    if metadata == "1.2":
        create.append("--data-offset=128")
    run(*create, *nodes)
    blocks = fill(ARRAY)
    run("udevadm", "settle")
    run("mdadm", "--stop", ARRAY)
    members = []
    for node in nodes:
        data = Path(node).read_bytes()
        where = [at for at in range(0, len(data), 4096) if data[at : at + 4] == b"\xfc\x4e\x2b\xa9"]
        at = where[0]
        members.append({"size": len(data), "at": at, "superblock": packed(data[at : at + 4096]), "blocks": numbers_in(data)})
    detach(nodes)
    return {"blocks": blocks, "members": members}


def _physical(size: int) -> str:
    (node,) = loops(1, size)
    run("pvcreate", "--devices", node, node)
    run("vgcreate", "--devices", node, "--physicalextentsize", "1M", "vgs", node)
    return node


def _write(node: str, places: list[tuple[int, int]]) -> None:
    """Write blocks ``first`` to ``last`` of a volume."""
    with open(node, "r+b", buffering=0) as file:
        for first, last in places:
            file.seek(first * BLOCK)
            file.write(b"".join(block(number) for number in range(first, last)))
        os.fsync(file.fileno())


def _read(node: str) -> str:
    return packed(Path(node).read_bytes())


def thin() -> dict[str, Any]:
    """A pool with two volumes and a snapshot of one: all of its physical volume, what they read as, what thin_dump says."""
    node = _physical(32 * MIB)
    on = ["--devices", node]
    run(
        "lvcreate",
        *on,
        "-y",
        "--type",
        "thin-pool",
        "--chunksize",
        "64k",
        "--poolmetadatasize",
        "2M",
        "-L",
        "16M",
        "-n",
        "pool",
        "vgs",
    )
    for name in ("one", "two"):
        run("lvcreate", *on, "-y", "-Wn", "--thin", "-V", "8M", "-n", name, "vgs/pool")
    _write("/dev/vgs/one", [(0, 40), (100, 133), (2000, 2048)])
    _write("/dev/vgs/two", [(16 * number, 16 * number + 3) for number in range(60, 0, -2)])
    run("lvcreate", *on, "-y", "--snapshot", "-n", "copy", "vgs/one")
    run("vgchange", *on, "-ay", "-K", "vgs")
    with open("/dev/vgs/one", "r+b", buffering=0) as file:
        for number in (3, 110):
            file.seek(number * BLOCK)
            file.write(block(number + 100_000))
        os.fsync(file.fileno())
    contents = {name: _read(f"/dev/vgs/{name}") for name in ("one", "two", "copy")}
    run("vgchange", *on, "-an", "vgs")
    data = Path(node).read_bytes()
    ranges = run("lvs", *on, "--all", "--noheadings", "-o", "lv_name,seg_pe_ranges", "vgs")
    start = int(run("pvs", *on, "--noheadings", "--units", "b", "--nosuffix", "-o", "pe_start", node).strip())
    meta = WORK / "tmeta"
    for line in ranges.splitlines():
        name, _, place = line.strip().partition(" ")
        if name == "[pool_tmeta]":
            first, last = (int(number) for number in place.strip().rpartition(":")[2].split("-"))
            meta.write_bytes(data[start + first * MIB : start + (last + 1) * MIB])
    dump = run("thin_dump", meta)
    detach([node])
    return {"disk": packed(data), "volumes": contents, "ranges": ranges, "pe_start": start, "dump": dump}


def snapshot() -> dict[str, Any]:
    """A volume with two snapshots, changed before, between and behind them."""
    node = _physical(32 * MIB)
    on = ["--devices", node]
    run("lvcreate", *on, "-y", "-Wn", "-L", "4M", "-n", "origin", "vgs")
    _write("/dev/vgs/origin", [(0, 300)])
    run("lvcreate", *on, "-y", "--snapshot", "--chunksize", "4k", "-L", "3M", "-n", "early", "vgs/origin")
    with open("/dev/vgs/origin", "r+b", buffering=0) as file:
        # More than an area of the store holds (256 exceptions).
        for number in (*range(290), 900):
            file.seek(number * BLOCK)
            file.write(block(number + 100_000))
        os.fsync(file.fileno())
    run("lvcreate", *on, "-y", "--snapshot", "--chunksize", "16k", "-L", "2M", "-n", "late", "vgs/origin")
    with open("/dev/vgs/late", "r+b", buffering=0) as file:
        file.seek(500 * BLOCK)
        file.write(block(200_000))
        os.fsync(file.fileno())
    contents = {name: _read(f"/dev/vgs/{name}") for name in ("origin", "early", "late")}
    run("vgchange", *on, "-an", "vgs")
    data = Path(node).read_bytes()
    detach([node])
    return {"disk": packed(data), "volumes": contents}


PARTS = {"md": md, "thin": thin, "snapshot": snapshot}


def main() -> int:
    """Record what is named."""
    WORK.mkdir(parents=True, exist_ok=True)
    Path(sys.argv[2]).write_text(json.dumps(PARTS[sys.argv[1]]()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
