"""The medium: the base ISO with our layer and boot menu put in."""

from __future__ import annotations

import shutil
from pathlib import Path

from isobuild.host import BuildError, say
from isobuild.inputs import Tree
from isobuild.workshop import Workshop

LIMIT = 480 * 1000 * 1000

_PUT_TOGETHER = r"""
cd /srv
# live-build silently takes its own unsigned GRUB if it does not find the signed one where it looks.
xorriso -osirrox on -indev base.iso -extract /EFI/boot signed
cmp signed/bootx64.efi /usr/lib/shim/shimx64.efi.signed
cmp signed/grubx64.efi /usr/lib/grub/x86_64-efi-signed/gcdx64.efi.signed
kernel=$(xorriso -indev base.iso -find /live -name 'vmlinuz-*' 2>/dev/null | tr -d "'" | head -n 1)
initrd=$(xorriso -indev base.iso -find /live -name 'initrd.img-*' 2>/dev/null | tr -d "'" | head -n 1)
test -n "$kernel" && test -n "$initrd"
sed -e "s|@KERNEL@|$kernel|" -e "s|@INITRD@|$initrd|" grub.cfg.in >grub.cfg
printf 'filesystem.squashfs\nrescue.squashfs\n' >filesystem.module
touch --date=@$SOURCE_DATE_EPOCH grub.cfg filesystem.module rescue.squashfs
rm -f out.iso
xorriso -report_about SORRY -indev base.iso -outdev out.iso -boot_image any replay \
	-volume_date all_file_dates =$SOURCE_DATE_EPOCH -volume_date uuid "$(date --utc --date=@$SOURCE_DATE_EPOCH +%Y%m%d%H%M%S00)" \
	-rm_r /boot/grub/config.cfg /boot/grub/theme.cfg /boot/grub/live-theme -- \
	-map rescue.squashfs /live/rescue.squashfs \
	-map filesystem.module /live/filesystem.module \
	-map grub.cfg /boot/grub/grub.cfg \
	-compliance no_emul_toc -padding 0
"""


def put_together(tree: Tree, workshop: Workshop, base: Path, layer: Path) -> Path:
    """Put layer and boot menu into a copy of the base and return the finished ISO. Raises BuildError if it is too big."""
    say("putting the ISO together")
    folder = layer.parent
    shutil.copy(tree.live_config / "boot/grub.cfg", folder / "grub.cfg.in")
    (folder / "base.iso").unlink(missing_ok=True)
    (folder / "base.iso").hardlink_to(base)
    workshop.run(_PUT_TOGETHER, folder=folder, log=tree.cache / "logs/medium.log", epoch=tree.source_date_epoch())
    image = folder / "out.iso"
    if image.stat().st_size > LIMIT:
        raise BuildError(
            f"The ISO has {image.stat().st_size:,} bytes; the limit is {LIMIT:,}. Take packages out of live-config/packages.txt."
        )
    return image
