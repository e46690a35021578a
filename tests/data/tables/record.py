"""Record small real partition tables, and what sfdisk says about them, as the JSON files beside this one.

Run by hand when a case is added: ``python tests/data/tables/record.py`` (needs root for loop devices, which is how sfdisk
gets to see 4096-byte sectors, and fdisk, gdisk, parted, dosfstools, ntfs-3g).
"""

from __future__ import annotations

import base64
import json
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

from rescue.system.run import run

HERE = Path(__file__).parent
MIB = 1 << 20
BLOCK = 512

EXTENDED = """label: dos
label-id: 0x1a2b3c4d
start=2048, size=20480, type=83, bootable
start=22528, size=102400, type=5
start=24576, size=20480, type=82
start=47104, size=20480, type=7
start=69632, size=30000, type=83
start=126976, size=4096, type=c
"""

# sfdisk scripts know no continuation lines, so the GUIDs that all begin alike are shortened here.
UUID = "0B9A4F1E-93B1-4B7F-9D4F"
ESP = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
LINUX = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
WINDOWS = "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7"

GPT = f"""label: gpt
label-id: 6B2A9F6C-2D9D-4B8E-9D0B-0C5B8D0F7E11
start=2048, size=20480, type={ESP}, name="EFI system", uuid={UUID}-111111111111
start=22528, size=40960, type={LINUX}, name="Wurzel-Ω", uuid={UUID}-222222222222, attrs="RequiredPartition GUID:63"
start=73728, size=20480, type={WINDOWS}, uuid={UUID}-333333333333
"""

GPT_4K = f"""label: gpt
label-id: 6B2A9F6C-2D9D-4B8E-9D0B-0C5B8D0F7E22
start=256, size=2560, type={ESP}, name="ESP", uuid={UUID}-444444444444
start=2816, size=5120, type={LINUX}, name="root", uuid={UUID}-555555555555
"""

DOS_4K = """label: dos
label-id: 0x0badcafe
start=256, size=2560, type=83
start=2816, size=5120, type=f
start=3072, size=1024, type=83
start=4352, size=1024, type=83
"""


def sfdisk(script: str) -> Callable[[Path], None]:
    """Write the table of an sfdisk script."""

    def make(path: Path) -> None:
        run(["sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", str(path)], stdin=script.encode())

    return make


def programs(*commands: list[str]) -> Callable[[Path], None]:
    """Run programs with the disk's path appended, or in the place of ``@``."""

    def make(path: Path) -> None:
        for command in commands:
            run([str(path) if word == "@" else word for word in command] + ([] if "@" in command else [str(path)]))

    return make


CASES: dict[str, tuple[int, int, Callable[[Path], None]]] = {
    "dos-extended-sfdisk": (64 * MIB, 512, sfdisk(EXTENDED)),
    "dos-extended-parted": (
        64 * MIB,
        512,
        programs(
            ["parted", "-s", "@", "mklabel", "msdos"],
            ["parted", "-s", "@", "mkpart", "primary", "ext2", "1MiB", "10MiB"],
            ["parted", "-s", "@", "mkpart", "extended", "10MiB", "60MiB"],
            ["parted", "-s", "@", "mkpart", "logical", "ext2", "11MiB", "20MiB"],
            ["parted", "-s", "@", "mkpart", "logical", "ntfs", "30MiB", "40MiB"],
            ["parted", "-s", "@", "mkpart", "logical", "fat32", "21MiB", "29MiB"],
        ),
    ),
    "dos-4096": (64 * MIB, 4096, sfdisk(DOS_4K)),
    "dos-empty": (8 * MIB, 512, sfdisk("label: dos\nlabel-id: 0x00000abc\n")),
    "gpt-sfdisk": (64 * MIB, 512, sfdisk(GPT)),
    "gpt-4096": (64 * MIB, 4096, sfdisk(GPT_4K)),
    "gpt-sgdisk": (
        64 * MIB,
        512,
        programs(["sgdisk", "-n1:2048:+10M", "-t1:ef00", "-c1:boot", "-n5:0:+20M", "-t5:8300", "-n3:0:0", "-t3:8200", "@"]),
    ),
    "gpt-sgdisk-hybrid": (64 * MIB, 512, programs(["sgdisk", "-n1:2048:+10M", "-n2:0:+10M", "-h1", "@"])),
    "gpt-sgdisk-many-entries": (64 * MIB, 512, programs(["sgdisk", "-S", "256", "-n1:4096:+10M", "-n200:0:+10M", "@"])),
    "gpt-parted": (
        64 * MIB,
        512,
        programs(
            ["parted", "-s", "@", "mklabel", "gpt"],
            ["parted", "-s", "@", "mkpart", "one", "ext4", "1MiB", "20MiB"],
            ["parted", "-s", "@", "mkpart", "two", "ntfs", "20MiB", "63MiB"],
            ["parted", "-s", "@", "set", "2", "msftdata", "on"],
        ),
    ),
    "none-fat16": (16 * MIB, 512, programs(["mkfs.fat", "-I", "-F", "16", "-i", "12345678"])),
    "none-fat32": (64 * MIB, 512, programs(["mkfs.fat", "-I", "-F", "32", "-i", "12345678"])),
    "none-ntfs": (8 * MIB, 512, programs(["mkntfs", "-q", "-F", "-f", "-p", "0", "-H", "0", "-S", "0"])),
    "none-bsd": (16 * MIB, 512, programs(["parted", "-s", "@", "mklabel", "bsd"])),
    "none-sun": (16 * MIB, 512, programs(["parted", "-s", "@", "mklabel", "sun"])),
    "none-mac": (16 * MIB, 512, programs(["parted", "-s", "@", "mklabel", "mac"])),
}


def record(name: str) -> None:
    """Make the case's disk in a scratch file and write its non-zero sectors and sfdisk's words about it."""
    size, sector_size, make = CASES[name]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "disk"
        with path.open("wb") as file:
            file.truncate(size)
        loop = run(["losetup", "--find", "--show", "--sector-size", str(sector_size), str(path)]).text.strip()
        try:
            make(Path(loop))
            said = run(["sfdisk", "-J", loop], ok=(0, 1)).text
        finally:
            run(["partx", "--delete", loop], ok=(0, 1))  # parted told the kernel, which would keep them after the detach
            run(["losetup", "--detach", loop])
        data = path.read_bytes()
    blocks: dict[str, str] = {}
    start = -1
    for offset in range(0, size + BLOCK, BLOCK):
        empty = not any(data[offset : offset + BLOCK])
        # A volume without a table needs only its first and last sectors here.
        empty = empty or (name.startswith("none-") and 4096 <= offset < size - 4096)
        if not empty and start < 0:
            start = offset
        elif empty and start >= 0:
            blocks[str(start)] = base64.b85encode(zlib.compress(data[start:offset], 9)).decode()
            start = -1
    table = json.loads(said)["partitiontable"] if said.strip() else {}
    table.pop("device", None)
    for partition in table.get("partitions", ()):
        partition["node"] = partition["node"].removeprefix(loop).removeprefix("p")
    value = {"size": size, "sector_size": sector_size, "blocks": blocks, "sfdisk": table}
    (HERE / f"{name}.json").write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    for case in CASES:
        record(case)
