"""The layer: our program, what it needs from PyPI, and the look of the live system, as a small squashfs above Debian's.

live-boot stacks it over the base, so a change in the program does not rebuild Debian.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
from pathlib import Path

from isobuild.host import run, say
from isobuild.inputs import Tree, words
from isobuild.workshop import Workshop

# Debian 13 has Python 3.13 and glibc 2.41.
PYTHON = "3.13"
_PLATFORMS = ("manylinux_2_34", "manylinux_2_28", "manylinux_2_17", "manylinux2014", "manylinux_2_12", "manylinux2010")
_PROGRAM = "usr/lib/rescue/site-packages"
_FONT = "/usr/share/consolefonts/Uni2-Terminus16.psf.gz"


def make_layer(tree: Tree, workshop: Workshop) -> Path:
    """Make the squashfs and return its path."""
    wheels = _download(tree)
    say("packing the program into its layer")
    folder = tree.cache / "layer"
    if folder.exists():
        shutil.rmtree(folder)
    root = folder / "root"
    root.mkdir(parents=True)
    run(["cp", "-a", "--no-preserve=ownership", f"{tree.live_config}/includes/.", root])
    site = root / _PROGRAM
    site.mkdir(parents=True)
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "install",
        "--quiet",
        "--no-index",
        "--no-deps",
        "--no-compile",
    ]
    pip += ["--root-user-action=ignore", "--target", str(site), *_target_options()]
    run([*pip, *sorted(wheels.glob("*.whl"))], log=tree.cache / "logs/layer.log")
    shutil.rmtree(site / "bin", ignore_errors=True)
    # The second backend of zstandard, which only PyPy uses: 12 MB.
    next((site / "zstandard").glob("_cffi*.so")).unlink()
    shutil.copytree(tree.top / "rescue", site / "rescue", ignore=shutil.ignore_patterns("__pycache__"))
    _mask(root, words(tree.live_config / "masked-units.txt"))
    _write(root / "usr/share/rescue/version", f"{tree.version()}\n")
    _write(root / "etc/os-release", _os_release(tree.version()))
    shutil.copy(tree.live_config / "console-font/palette", root / "usr/share/rescue/palette")
    for document in ("iso.md",):
        if (tree.top / "docs" / document).exists():
            target = root / "usr/share/doc/rescue" / document
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(tree.top / "docs" / document, target)
    shutil.copytree(tree.live_config / "console-font", folder / "console-font")
    run(["chmod", "-R", "u=rwX,go=rX", root])
    workshop.run(_finish_script(), folder=folder, log=tree.cache / "logs/layer.log", epoch=tree.source_date_epoch())
    return folder / "rescue.squashfs"


def _target_options() -> list[str]:
    platforms = [f"--platform={name}_x86_64" for name in _PLATFORMS]
    return [f"--python-version={PYTHON}", "--implementation=cp", *platforms, "--only-binary=:all:"]


def _download(tree: Tree) -> Path:
    """Download the wheels of requirements.lock for the live system's Python, hashes checked, unless they are here."""
    key = hashlib.sha256((tree.top / "requirements.lock").read_bytes() + " ".join(_target_options()).encode()).hexdigest()[:16]
    wheels = tree.cache / f"wheels-{key}"
    if not wheels.exists():
        say("downloading the Python packages of requirements.lock")
        unfinished = tree.cache / "wheels-unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps", "--require-hashes"]
        run(
            [*pip, "--dest", unfinished, "-r", tree.top / "requirements.lock", *_target_options()],
            log=tree.cache / "logs/wheels.log",
        )
        unfinished.rename(wheels)
    return wheels


def _mask(root: Path, names: list[str]) -> None:
    """Mask units and generators: a link to /dev/null in /etc stands above the package's own file."""
    for name in names:
        folder = root / "etc/systemd" / ("system-generators" if name.endswith("-generator") else "system")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to("/dev/null")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _os_release(version: str) -> str:
    return (
        f'NAME="Rescue"\nPRETTY_NAME="Rescue {version}"\nID=rescue\nID_LIKE=debian\n'
        f'VERSION_ID="13"\nVERSION_CODENAME=trixie\nDEBIAN_VERSION_FULL=13\n'
    )


def _finish_script() -> str:
    """Compile with the live system's own Python, make the font, and pack; same input, same bytes."""
    compile_all = f"python3 -I -m compileall -q -j0 --invalidation-mode unchecked-hash -s root -p / root/{_PROGRAM}"
    pack = "mksquashfs root rescue.squashfs -quiet -no-progress -noappend -all-root -comp zstd -Xcompression-level 19"
    return "\n".join(
        [
            "cd /srv",
            compile_all,
            f"python3 -I console-font/make-font {_FONT} root/usr/share/rescue/console.psf.gz",
            # mksquashfs takes the time of its making from SOURCE_DATE_EPOCH; the files get the same one here.
            "find root -exec touch --no-dereference --date=@$SOURCE_DATE_EPOCH {} +",
            pack,
        ]
    )
