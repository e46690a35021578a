"""The command: build the ISO, or hand out the one that was built from the same inputs."""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from isobuild.base import open_base
from isobuild.host import BuildError, say
from isobuild.inputs import Tree
from isobuild.layer import make_layer
from isobuild.medium import put_together
from isobuild.mirrors import of_this_machine
from isobuild.workshop import open_workshop

_DESCRIPTION = """Build the live ISO. Slow results are kept in .cache/iso and used again while their inputs are the same.
RESCUE_MIRROR and RESCUE_SECURITY_MIRROR name the Debian mirrors; otherwise the ones of this machine's apt are used."""
_KEPT_ISOS = 2


def main(arguments: Sequence[str]) -> int:
    """Build and return the exit code: 0 done, 1 failed, 2 wrong usage."""
    parser = argparse.ArgumentParser(prog="build-iso", description=_DESCRIPTION)
    parser.add_argument("out", type=Path, metavar="OUT.iso", help="where the ISO goes")
    parser.add_argument("--refresh", action="store_true", help="fetch Debian's packages anew, for security updates")
    chosen = parser.parse_args(arguments)
    try:
        build(Tree(Path(__file__).resolve().parents[2]), chosen.out, refresh=chosen.refresh)
    except BuildError as error:
        print(f"build-iso: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("build-iso: stopped", file=sys.stderr)
        return 1
    return 0


def build(tree: Tree, out: Path, *, refresh: bool) -> None:
    """Build the ISO of the checkout `tree` into `out`. Raises BuildError."""
    tree.cache.mkdir(parents=True, exist_ok=True)
    with (tree.cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        finished = tree.cache / f"rescue-{tree.iso_key()}.iso"
        if refresh or not finished.exists():
            _check_host()
            if refresh:
                _forget_base(tree)
            mirrors = of_this_machine(os.environ)
            workshop = open_workshop(tree, mirrors)
            base = open_base(tree, workshop, mirrors)
            layer = make_layer(tree, workshop)
            put_together(tree, workshop, base, layer).rename(finished)
            shutil.rmtree(layer.parent)
            _forget_old_isos(tree)
        else:
            os.utime(finished, (time.time(), finished.stat().st_mtime))
        _hand_out(finished, out)
    say(f"{out}: {out.stat().st_size / 1e6:.0f} MB")


def _check_host() -> None:
    if os.geteuid() != 0:
        raise BuildError("The ISO is built as root: it makes and enters a Debian root file system. Use sudo.")
    for program in ("mmdebstrap", "unshare", "git"):
        if shutil.which(program) is None:
            raise BuildError(f"{program} is missing. Install the packages of image-build/packages.txt first.")


def _forget_base(tree: Tree) -> None:
    for path in [*tree.cache.glob("base-*.iso"), *tree.cache.glob("workshop-*"), tree.cache / "live-build-cache"]:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _forget_old_isos(tree: Tree) -> None:
    by_use = sorted(tree.cache.glob("rescue-*.iso"), key=lambda path: path.stat().st_atime, reverse=True)
    for path in by_use[_KEPT_ISOS:]:
        path.unlink()


def _hand_out(finished: Path, out: Path) -> None:
    """Copy the ISO to `out` in one step, unless it is there. Not a link: who writes to his copy must not change the kept one."""
    there = out.stat() if out.exists() else None
    kept = finished.stat()
    if there and (there.st_size, there.st_mtime_ns) == (kept.st_size, kept.st_mtime_ns):
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(out.name + ".partial")
    shutil.copyfile(finished, partial)
    os.utime(partial, ns=(kept.st_atime_ns, kept.st_mtime_ns))
    partial.replace(out)
