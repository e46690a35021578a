"""The base: Debian with its packages, kernel and boot loaders as an ISO of its own, built by live-build. Slow, rarely done."""

from __future__ import annotations

import shutil
from pathlib import Path

from isobuild.host import BuildError, run, say
from isobuild.inputs import Tree, words
from isobuild.mirrors import OFFICIAL, OFFICIAL_SECURITY, Mirrors
from isobuild.workshop import AREAS, SUITE, Workshop

_SQUASHFS_LEVEL = 15
# live-build's own hooks that do harm here: Python without its compiled modules starts slowly on every boot.
_UNWANTED_HOOKS = ("9010-remove-python-pyc", "5000-update-apt-file-cache", "8040-remove-mdadm-configuration")


def open_base(tree: Tree, workshop: Workshop, mirrors: Mirrors) -> Path:
    """Return the base ISO, building it first if its inputs changed."""
    image = tree.cache / f"base-{tree.base_key()}.iso"
    if image.exists():
        return image
    say("building the base with live-build (about five minutes without caches)")
    folder = tree.cache / "live-build"
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    kept = tree.cache / "live-build-cache"
    kept.mkdir(exist_ok=True)
    kept.rename(folder / "cache")
    log = tree.cache / "logs/base.log"
    log.unlink(missing_ok=True)
    try:
        workshop.run(_configuration_script(mirrors), folder=folder, log=log, epoch=tree.source_date_epoch())
        _add_configuration(tree, folder)
        workshop.run("cd /srv && lb build noauto --no-color", folder=folder, log=log, epoch=tree.source_date_epoch())
        built = folder / "live-image-amd64.hybrid.iso"
        if not built.exists():
            raise BuildError(f"live-build made no ISO, see {log}")
        for old in tree.cache.glob("base-*.iso"):
            old.unlink()
        built.rename(image)
        shutil.copyfile(folder / "chroot.packages.live", tree.cache / "packages.live")
    finally:
        if (folder / "cache").exists():
            (folder / "cache").rename(kept)
    shutil.rmtree(folder)
    return image


def _configuration_script(mirrors: Mirrors) -> str:
    options = {
        "mode": "debian",
        "distribution": SUITE,
        "architecture": "amd64",
        "archive-areas": AREAS,
        "mirror-bootstrap": f"{mirrors.main}/",
        "mirror-chroot": f"{mirrors.main}/",
        "mirror-chroot-security": f"{mirrors.security}/",
        "mirror-binary": f"{OFFICIAL}/",
        "mirror-binary-security": f"{OFFICIAL_SECURITY}/",
        "security": "true",
        "updates": "true",
        "backports": "false",
        "debootstrap-options": "--variant=minbase --include=ca-certificates",
        "apt": "apt",
        "apt-recommends": "false",
        "apt-indices": "false",
        "apt-source-archives": "false",
        "firmware-chroot": "false",
        "firmware-binary": "false",
        "linux-flavours": "amd64",
        "linux-packages": "linux-image",
        "initsystem": "systemd",
        "initramfs": "live-boot",
        "memtest": "none",
        "debian-installer": "none",
        "zsync": "false",
        "checksums": "none",
        "binary-image": "iso-hybrid",
        "bootloaders": "grub-pc,grub-efi",
        "uefi-secure-boot": "enable",
        "build-with-chroot": "false",
        "chroot-filesystem": "squashfs",
        "chroot-squashfs-compression-type": "zstd",
        "chroot-squashfs-compression-level": str(_SQUASHFS_LEVEL),
        "iso-volume": "RESCUE",
        "iso-application": "Rescue",
        "iso-publisher": "Rescue",
        "bootappend-live": "boot=live nocomponents",
        "cache": "true",
        "cache-packages": "true",
        "cache-indices": "false",
        "cache-stages": "bootstrap",
    }
    words_of_options = " ".join(f"--{name} '{value}'" for name, value in options.items())
    return f"cd /srv && lb config noauto {words_of_options}"


def _add_configuration(tree: Tree, folder: Path) -> None:
    """Put our package list, hooks and early files into live-build's configuration."""
    config = folder / "config"
    for name in _UNWANTED_HOOKS:
        for hook in (config / "hooks/normal").glob(f"{name}*"):
            hook.unlink()
    # live-build brings live-config by itself unless this list says otherwise.
    (config / "package-lists/live.list.chroot").unlink(missing_ok=True)
    packages = words(tree.live_config / "packages.txt")
    (config / "package-lists/rescue.list.chroot").write_text("\n".join(packages) + "\n")
    early = config / "includes.chroot_before_packages"
    run(["cp", "-a", "--no-preserve=ownership", f"{tree.live_config}/base/includes/.", early])
    # Our own boot menu is text: marked as done, the stage that draws a picture for it does not ask for a renderer of SVG.
    (folder / ".build/binary_bootloader_splash").touch()
    # Left out: kernel and initramfs, which lie beside the squashfs, caches, and firmware of routers, phones and Bluetooth.
    (config / "rootfs").mkdir(exist_ok=True)
    shutil.copy(tree.live_config / "base/squashfs-excludes", config / "rootfs/excludes")
    for hook in sorted((tree.live_config / "base/hooks").glob("*.hook.chroot")):
        shutil.copy(hook, config / "hooks/normal")
