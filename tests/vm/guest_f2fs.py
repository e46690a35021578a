"""Runs inside the rescue system, as root, beside guest_images.py: ``python3 -m tests.vm.guest_f2fs``.

The kernel of the rescue system knows f2fs, that of the machine where it is developed need not: a disk with one is imaged,
looked into, restored onto a smaller and a larger disk, and cloned, here.
"""

from __future__ import annotations

import os
import sys
import time

from tests.vm.guest_images import STORE, WORK, WrongError, by_serial, check, digests, mounted, nothing_left, rescue, run

MIB = 1 << 20
DISK = "F2F-SOURCE-5D31"
SMALL = "F2F-SMALLR-5D32"
LARGE = "F2F-LARGER-5D33"
SIZES = {DISK: 900 * MIB, SMALL: 520 * MIB, LARGE: 1500 * MIB}


def identity(device: str) -> tuple[str, str]:
    """UUID and label of a file system."""
    return tuple(run("blkid", "-p", "-o", "value", "-s", tag, device).out.strip() for tag in ("UUID", "LABEL"))  # type: ignore[return-value]


def made() -> dict[str, str]:
    """An f2fs of 800 MiB with 150 MB of files; their hashes."""
    device = by_serial(DISK)
    rescue("partition", device, "--yes", "table gpt", "create size=800MiB fs=f2fs label=phone")
    with mounted(f"{device}1", "f2fs", write=True) as folder:
        (folder / "etc").mkdir()
        (folder / "etc" / "name").write_text("one phone\n")
        for count in range(50):
            (folder / f"photo {count}").write_bytes(os.urandom(3_000_000 + count))
        for count in range(0, 50, 3):  # what is freed makes the log uneven
            (folder / f"photo {count}").unlink()
        os.symlink("name", folder / "etc" / "link")
        os.link(folder / "photo 1", folder / "hard link")
        os.setxattr(folder / "etc" / "name", "user.note", b"kept")
        os.chown(folder / "etc" / "name", 1234, 5678)
        os.chmod(folder / "etc" / "name", 0o640)
    with mounted(f"{device}1", "f2fs") as folder:
        return digests(folder)


def agrees(device: str, least: int, most: int, files: dict[str, str]) -> None:
    """The volume is whole by its own check, has the old identity and files, and fills ``least`` to ``most`` MiB."""
    run("udevadm", "settle")
    node = f"{device}1"
    check(identity(node) == identity(f"{by_serial(DISK)}1"), identity(node))
    checked = run("fsck.f2fs", "--dry-run", node).out
    check("[Fail]" not in checked, checked)
    with mounted(node, "f2fs") as folder:
        check(digests(folder) == files, "other files on", node)
        check(os.getxattr(folder / "etc" / "name", "user.note") == b"kept", "the attribute is lost")
        found = (folder / "etc" / "name").stat()
        check((found.st_uid, found.st_gid, found.st_mode & 0o7777) == (1234, 5678, 0o640), found)
        check(os.readlink(folder / "etc" / "link") == "name", "the link is lost")
        check((folder / "hard link").stat().st_nlink == 2, "the hard link is lost")
        space = os.statvfs(folder)
        size = space.f_blocks * space.f_frsize // MIB
        check(least <= size <= most, "the file system has", size, "MiB")


def main() -> int:
    """All of it; exit code 1 when something is wrong."""
    start = time.monotonic()
    try:
        files = made()
        source = by_serial(DISK)
        facts = rescue("backup", source, STORE, "--name", "phone", "--json", "--progress", "none").facts
        check(facts["used_bytes"] < 300 * MIB, "kept whole:", facts)
        image = facts["image"]
        listed = rescue("ls", image, "1:/etc").out
        check("name" in listed and "link" in listed, listed)
        out = WORK / "out"
        rescue("extract", image, "1:/etc", out)
        check((next(out.rglob("name"))).read_text() == "one phone\n", "another file came out")
        check("f2fs" in rescue("verify", "--mount", image).out + rescue("info", image).out, "f2fs is not named")
        nothing_left()
        for serial, least, most in ((SMALL, 350, 520), (LARGE, 1200, 1500)):
            device = by_serial(serial)
            rescue("restore", image, device, "--yes", "--fit", "auto")
            agrees(device, least, most, files)
            run("wipefs", "--all", f"{device}1", device)
            rescue("clone", source, device, "--yes", "--fit", "auto")
            agrees(device, least, most, files)
        nothing_left()
    except WrongError as error:
        print(f"WRONG: {error}")
        return 1
    print(f"{time.monotonic() - start:7.1f} s in all", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
