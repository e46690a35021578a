"""Plans of the recorded machine for images, made by the real planners; and what is in an encrypted disk and its image."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, Final

from rescue.model.lineage import Lineage
from rescue.model.lost import Lost
from rescue.model.plan import Plan
from rescue.model.survey import DiskSurvey, ImageSummary
from rescue.model.volume import Identity, Nested, Volume
from rescue.planning.backup import StoreFacts, plan_backup
from rescue.planning.consolidate import plan_consolidate
from rescue.planning.export import FileFacts, plan_export
from rescue.planning.prune import StoreState, plan_prune
from rescue.planning.request import BackupRequest
from rescue.planning.retention import PruneRequest
from rescue.records import replace
from rescue.units import GIB, MIB
from tests.unit.tui.recorded_disks import LOCKED, all_disks, all_images, upon

DISK_PASSPHRASE: Final = b"opens the disk"
NOW: Final = datetime.datetime(2026, 11, 23, 9, 0, tzinfo=datetime.UTC)

_EXT4 = Identity("ext4", "filesystem", "", "11", "1.0")
_SWAP = Identity("swap", "other")
_LVM = Identity("LVM2_member", "raid", "", "22", "LVM2 001")


def inside_luks() -> tuple[Nested, ...]:
    """What is in the encrypted partition: a group with a system, the files of its users, swap."""
    group = (
        Nested("root", 60 * GIB, _EXT4, 12 * GIB, system="Debian GNU/Linux 13"),
        Nested("home", 400 * GIB, replace(_EXT4, label="home"), 19 * GIB),
        Nested("swap", 8 * GIB, _SWAP, 4096),
    )
    return (Nested("", 475 * GIB - 16 * MIB, _LVM, 31 * GIB, inside=(Nested("vg0", 475 * GIB, _LVM, 31 * GIB, inside=group),)),)


def volumes_in_luks(partition: int) -> list[tuple[str, Volume]]:
    """The same, as a machine finds them that has it open."""
    group = inside_luks()[0].inside[0].inside
    return [
        (f"vg0/{nested.name}", Volume(partition, 0, nested.size, nested.identity, nested.used_bytes, system=nested.system))
        for nested in group
    ]


def _opened(volumes: tuple[Volume, ...]) -> tuple[Volume, ...]:
    return tuple(
        replace(volume, used_bytes=31 * GIB, inside=inside_luks()) if volume.identity.type == "crypto_LUKS" else volume
        for volume in volumes
    )


def unlocked(survey: DiskSurvey) -> DiskSurvey:
    """The disk as it is surveyed with its passphrase."""
    return replace(survey, volumes=_opened(survey.volumes))


def image_of_locked(folder: str, *, by_used_blocks: bool = True) -> ImageSummary:
    """An image of the encrypted disk."""
    survey = next(disk for disk in all_disks() if disk.disk == LOCKED)
    return ImageSummary(
        f"{folder}/crypt-2026-11-18.img.zst", "crypt-2026-11-18.img.zst", 30 * GIB, "crypt", created="2026-11-18T10:00:00Z",
        host="travel", disk=LOCKED, layout=survey.layout, volumes=_opened(survey.volumes) if by_used_blocks else survey.volumes,
        used_bytes=31 * GIB, fingerprint="crypt", health="verified 2026-11-18",
    )  # fmt: skip


def lost_partitions() -> list[Lost]:
    """What a search of the blank disk finds: two that are whole, one beginning, and a file in the first."""
    return [
        Lost(1 * MIB, 100 * GIB, Identity("ext4", "filesystem", "photos"), True),
        Lost(30 * GIB, 31 * GIB, Identity("vfat", "filesystem"), True, inside=True),
        Lost(100 * GIB, 300 * GIB, Identity("ntfs", "filesystem", "Data"), True),
        Lost(400 * GIB, 500 * GIB, Identity("xfs", "filesystem"), False),
    ]


def recorded_prune(folder: str, images: Sequence[ImageSummary], request: PruneRequest) -> Plan:
    """See Machine.plan_prune."""
    ours = [image for image in images if image.uuid]
    lineages = tuple(
        Lineage(
            image.name,
            image.fingerprint or image.name,
            image.kind,
            None if image.locked else frozenset(link.fingerprint for link in image.chain),
            encrypted=image.encrypted,
            locked=image.locked,
        )
        for image in ours
    )
    return plan_prune(StoreState(folder, tuple(images), lineages), request, now=NOW, zone=datetime.UTC)


def _facts(store: str, images: Sequence[ImageSummary] = ()) -> StoreFacts:
    names = frozenset(image.name for image in images)
    return StoreFacts(store, 612 * GIB, names, filesystem="ntfs", images=tuple(images))


def recorded_consolidate(image: ImageSummary, store: str, name: str) -> Plan:
    """See Machine.plan_consolidate."""
    return plan_consolidate(image, _facts(store), name)


def recorded_export(image: ImageSummary, file: str, format_: str, there: AbstractSet[str]) -> Plan:
    """See Machine.plan_export; the files ``there`` exist."""
    path = Path(file)
    return plan_export(image, FileFacts(file, path.suffix, path.name in there, str(path.parent), 612 * GIB), format_)


def recorded_salvage(source: DiskSurvey, store: str, images: Sequence[ImageSummary], request: BackupRequest) -> Plan:
    """See Machine.plan_backup, of a failing disk."""
    request = replace(request, parent=Path(request.parent).name)
    return plan_backup(source, _facts(store, images), request, host="laptop", today=NOW.date())


def whole_of(image: ImageSummary) -> ImageSummary:
    """What is to be had of an image that was cut off."""
    survey = all_disks()[0]
    return replace(
        image, disk=survey.disk, layout=survey.layout, volumes=survey.volumes, used_bytes=140 * GIB, bad_bytes=48 * GIB
    )


def with_older(folder: str) -> list[ImageSummary]:
    """What the place holds, and three older images of the laptop: a chain of two, and a full one."""
    images = all_images(folder)
    full = next(image for image in images if image.name == "laptop-2026-11-20.img.zst")

    def made(name: str, created: str, stored: int, **more: Any) -> ImageSummary:
        changes = {"comment": "", "uuid": name, "fingerprint": name, "path": f"{folder}/{name}", **more}
        return replace(full, name=name, created=created, stored_size=stored, **changes)

    summer = made("laptop-2026-08-01.img.zst", "2026-08-01T20:00:00Z", 90 * GIB)
    week = made("laptop-2026-08-08.rimg", "2026-08-08T20:00:00Z", 2 * GIB, kind="incremental", own_bytes=3 * GIB)
    oldest = made("laptop-2026-07-01.img.zst", "2026-07-01T20:00:00Z", 88 * GIB)
    return [*images, upon(week, summer), summer, oldest]
