"""A real, small Debian in a folder, that checks its files at each start, says so on its console and switches itself off."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from rescue.system.run import run
from tests.vm.debian_tree import make_tree
from tests.vm.mirrors import debian_mirror

ROOT_UUID = "5b2cf0de-3c15-4c0d-9d7b-0c5f2d8a7e10"
SWAP_UUID = "d1a6f2c4-77d5-49d0-8b6c-2f6d1c0e9a33"
ESP_SERIAL = "5E5C-0E5D"

_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_PACKAGES = (
    "attr",
    "grub-efi-amd64-signed",
    "grub-pc-bin",
    "initramfs-tools",
    "kmod",
    "linux-image-amd64",
    "shim-signed",
    "systemd-sysv",
    "udev",
    "zstd",
)
# What a disk may be connected by: the initial RAM disk holds only these, so it is 10 MB and starts fast in emulation.
_EARLY_MODULES = "virtio_pci virtio_blk nvme ahci sd_mod ext4 xhci_pci usb_storage uas"
_GRUB_CFG = """\
set timeout=0
search --no-floppy --fs-uuid --set=root {root}
linux /boot/vmlinuz-{version} root=UUID={root} ro console=tty0 console=ttyS0,115200n8 panic=-1
initrd /boot/initrd.img-{version}
boot
"""
# What Debian's signed GRUB looks for on the ESP, as grub-install writes it.
_GRUB_STUB = "search.fs_uuid {root} root\nset prefix=($root)'/boot/grub'\nconfigfile $prefix/grub.cfg\n"
_FSTAB = """\
UUID={root} / ext4 errors=remount-ro 0 1
UUID={esp} /boot/efi vfat umask=0077 0 1
UUID={swap} none swap sw 0 0
"""
_MASKED = (
    *("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "fstrim.timer"),
    # What writes into /boot at each start, and what only takes time in emulation.
    *(
        "grub-common.service",
        "ldconfig.service",
        "systemd-update-done.service",
        "getty-static.service",
        "systemd-tmpfiles-clean.timer",
    ),
    *("getty@tty1.service", "serial-getty@ttyS0.service", "e2scrub_reap.service", "systemd-journal-catalog-update.service"),
)
_LIST = """\
#!/bin/sh
# Prints one line for every file of the tree and of the system, so that whatever is lost or changed changes a line.
set -eu
export LC_ALL=C
find /srv/tree -printf '%p|%y|%m|%U|%G|%s|%n|%l|%Ts\\n' | grep -v '^/srv/tree|d' | sort
find /srv/tree -type d -printf '%p|%m|%U|%G\\n' | sort
(cd / && getfattr --recursive --physical --dump --encoding=hex --match=- srv/tree) | sort
find /srv/tree /boot /usr/bin -type f -print0 | sort -z | xargs -0 sha256sum
"""
_CHECK = """\
#!/bin/sh
# Compares what is on this disk with what was put on it, and tells the test bench on the console.
set -u
folder=/var/lib/guest-check
say() { printf '\\r\\nGUEST-CHECK: %s\\r\\n' "$1" > /dev/console; }
not_mounted() { awk '$2 ~ "^/" { print $2 }' /etc/fstab | while read -r point; do mountpoint -q "$point" || echo "$point"; done; }
errors='EXT4-fs error|XFS .*([Cc]orruption|[Ee]rror)|BTRFS (error|critical)'
"$folder/list" > /run/guest-check.txt 2> /run/guest-check.err || { say "FAIL $(head -n 1 /run/guest-check.err)"; exit; }
if ! cmp -s "$folder/expected.txt" /run/guest-check.txt; then
    say "FAIL $(diff "$folder/expected.txt" /run/guest-check.txt | head -n 4 | tr '\\n' ' ')"
elif ! grep -q '^/dev/' /proc/swaps; then say 'FAIL the swap partition is not in use'
elif [ -n "$(not_mounted)" ]; then say "FAIL not mounted: $(not_mounted)"
elif dmesg | grep -qE "$errors"; then say "FAIL $(dmesg | grep -m 1 -E "$errors")"
else say "OK files=$(wc -l < "$folder/expected.txt") sha=$(sha256sum < /run/guest-check.txt | cut -c 1-64)"
fi
"""
_UNIT = """\
[Unit]
Description=Check the files of this disk and switch off
After=multi-user.target local-fs.target swap.target
SuccessAction=poweroff
FailureAction=poweroff
[Service]
Type=oneshot
ExecStart=/var/lib/guest-check/check
TimeoutStartSec=900
[Install]
WantedBy=multi-user.target
"""


def make_system(folder: Path, release: str, more: Sequence[str] = ()) -> None:
    """Install Debian into ``folder``, which must not exist, with boot files for every firmware. Needs root and a mirror.

    ``more``: packages besides those that every such system has.
    """
    _install(folder, release, more)
    _configure(folder)
    make_tree(folder / "srv/tree")
    _boot_files(folder)
    _self_check(folder)


def _install(folder: Path, release: str, more: Sequence[str]) -> None:
    mirror = debian_mirror()
    setup = (
        'cd "$1/etc" && mkdir -p initramfs-tools/conf.d && '
        'printf "MODULES=list\\nRESUME=none\\n" > initramfs-tools/conf.d/bench && '
        f'printf "%s\\n" {_EARLY_MODULES} > initramfs-tools/modules'
    )
    command = [
        *("mmdebstrap", "--mode=root", "--variant=minbase", "--quiet", f"--include={','.join([*_PACKAGES, *more])}"),
        *('--aptopt=APT::Install-Recommends "false"', "--dpkgopt=path-exclude=/usr/share/doc/*"),
        *("--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/locale/*"),
        *(f"--essential-hook={setup}", release, str(folder)),
    ]
    if _KEYRING.exists():
        command.insert(1, f"--keyring={_KEYRING}")
    if mirror:
        command.append(mirror)
    run(command, timeout=1800)
    # The mirror is this machine's business; a disk that may be kept and shown does not name it.
    (folder / "etc/apt/sources.list").unlink(missing_ok=True)


def _configure(folder: Path) -> None:
    (folder / "etc/hostname").write_text("guest\n")
    (folder / "etc/machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    (folder / "etc/fstab").write_text(_FSTAB.format(root=ROOT_UUID, esp=ESP_SERIAL, swap=SWAP_UUID))
    (folder / "boot/efi").mkdir(exist_ok=True)
    units = folder / "etc/systemd/system"
    for name in _MASKED:
        (units / name).unlink(missing_ok=True)
        (units / name).symlink_to("/dev/null")
    (units / "guest-check.service").write_text(_UNIT)
    wants = units / "multi-user.target.wants"
    wants.mkdir(exist_ok=True)
    (wants / "guest-check.service").symlink_to("/etc/systemd/system/guest-check.service")


def _boot_files(folder: Path) -> None:
    (kernel,) = (folder / "boot").glob("vmlinuz-*")
    version = kernel.name.removeprefix("vmlinuz-")
    grub = folder / "boot/grub"
    grub.mkdir(exist_ok=True)
    shutil.copytree(folder / "usr/lib/grub/i386-pc", grub / "i386-pc")
    (grub / "grub.cfg").write_text(_GRUB_CFG.format(root=ROOT_UUID, version=version))
    shim, signed = folder / "usr/lib/shim", folder / "usr/lib/grub/x86_64-efi-signed"
    # The second place is where firmware looks on a disk that it has no boot entry for: a restored disk in a new machine.
    for place, first in (("debian", "shimx64.efi"), ("BOOT", "BOOTX64.EFI")):
        target = folder / "boot/efi/EFI" / place
        target.mkdir(parents=True)
        shutil.copyfile(shim / "shimx64.efi.signed", target / first)
        shutil.copyfile(shim / "mmx64.efi.signed", target / "mmx64.efi")
        shutil.copyfile(signed / "grubx64.efi.signed", target / "grubx64.efi")
        (target / "grub.cfg").write_text(_GRUB_STUB.format(root=ROOT_UUID))


def _self_check(folder: Path) -> None:
    place = folder / "var/lib/guest-check"
    place.mkdir()
    for name, text in (("list", _LIST), ("check", _CHECK)):
        (place / name).write_text(text)
        (place / name).chmod(0o755)
    expected = run(["chroot", str(folder), "/var/lib/guest-check/list"], timeout=1800)
    (place / "expected.txt").write_bytes(expected.stdout)
