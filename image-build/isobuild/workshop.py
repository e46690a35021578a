"""The workshop: a small Debian 13 in which everything is built, so that every host builds with the same tools.

Ubuntu's live-build is a fork from 2013 and Debian 12's writes other boot menus, so the host's own tools are not used.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from isobuild.host import BuildError, run, say
from isobuild.inputs import Tree, words
from isobuild.mirrors import Mirrors

SUITE = "trixie"
AREAS = "main non-free-firmware"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

# Runs in mount and process namespaces of its own: nothing stays mounted and nothing stays running, however it ends. What is
# unmounted outside meanwhile is unmounted inside as well: it must not stay in use for as long as a build takes.
_ENTER = """
mount -t proc proc "$1/proc"
mount -t sysfs -o ro sys "$1/sys"
mount --rbind /dev "$1/dev"
mount -t tmpfs tmpfs "$1/tmp"
mount --bind "$2" "$1/srv"
root="$1" script="$3"
shift 3
exec env -i "$@" chroot "$root" /bin/sh -e -c "$script"
"""
_PASSED_ON = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


@dataclass(frozen=True, slots=True)
class Workshop:
    """A root file system with the build tools."""

    root: Path

    def run(self, script: str, *, folder: Path, log: Path, epoch: int) -> None:
        """Run a shell script in the workshop; `folder` is its /srv. Raises BuildError."""
        resolver = self.root / "etc/resolv.conf"
        resolver.unlink(missing_ok=True)
        resolver.write_bytes(Path("/etc/resolv.conf").read_bytes())
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        settings = {
            "PATH": path,
            "HOME": "/root",
            "LC_ALL": "C.UTF-8",
            "DEBIAN_FRONTEND": "noninteractive",
            "SOURCE_DATE_EPOCH": str(epoch),
        }
        settings |= {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        enter: list[str | Path] = ["unshare", "--mount", "--propagation", "slave", "--pid", "--fork", "--kill-child"]
        enter += ["sh", "-e", "-c", _ENTER]
        run([*enter, "enter", self.root, folder, script, *(f"{name}={value}" for name, value in settings.items())], log=log)


def open_workshop(tree: Tree, mirrors: Mirrors) -> Workshop:
    """Return the workshop, making it first if its package list changed."""
    root = tree.cache / f"workshop-{tree.workshop_key()}"
    if root.exists():
        return Workshop(root)
    if not KEYRING.exists():
        raise BuildError("The Debian archive keys are missing. Install the packages of image-build/packages.txt first.")
    for old in tree.cache.glob("workshop-*"):
        shutil.rmtree(old)
    say("making the workshop (a minimal Debian 13 with the build tools)")
    unfinished = tree.cache / "workshop-unfinished"
    packages = ",".join(words(tree.image_build / "workshop-packages.txt"))
    command: list[str | Path] = ["mmdebstrap", "--mode=root", "--variant=apt", "--architectures=amd64", f"--keyring={KEYRING}"]
    command += ['--aptopt=APT::Install-Recommends "false"', "--dpkgopt=force-unsafe-io", f"--include={packages}"]
    command += [SUITE, unfinished]
    command += [f"deb {mirrors.main} {SUITE} {AREAS}", f"deb {mirrors.main} {SUITE}-updates {AREAS}"]
    command += [f"deb {mirrors.security} {SUITE}-security {AREAS}"]
    log = tree.cache / "logs/workshop.log"
    log.unlink(missing_ok=True)
    run(command, log=log)
    unfinished.rename(root)
    return Workshop(root)
