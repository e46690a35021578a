"""Words for people: how disks, volumes and images are named on the screens. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from rescue.model.disk import Disk
from rescue.model.plan import ConsolidateImage, ExportImage, MountImage, Plan, RemoveImages, VerifyImage, VerifyStore
from rescue.model.survey import DiskSurvey, ImageSummary
from rescue.model.volume import Volume
from rescue.planning.words import content_words, plain, role_words
from rescue.units import MIB, human_duration, human_size

_TRANSPORTS = {
    "nvme": "NVMe",
    "sata": "SATA",
    "ata": "SATA",
    "usb": "USB",
    "virtio": "virtual",
    "mmc": "SD card",
    "sas": "SAS",
    "file": "file",
}
_FILESYSTEMS = {
    "crypto_LUKS": "LUKS",
    "BitLocker": "BitLocker",
    "xfs": "XFS",
}  # short, where it is said beside them that it is locked
_LOCKED = frozenset({"crypto_LUKS", "BitLocker"})
_FACTS = {
    "used_bytes": "Data kept",
    "stored_size": "Size of the image",
    "verified_bytes": "Read again and compared",
    "read_back_bytes": "Read back and compared",
    "checked_volumes": "File systems checked",
    "mounted_volumes": "File systems mounted",
    "files_read": "Files read in them",
    "exported": "Exported as",
    "same_bytes": "There already, not written",
    "compared": "Compared with",
    "compared_bytes": "Compared",
    "content_bytes": "Copied",
    "written_bytes": "Written",
    "erased_bytes": "Overwritten with zeros",
    "samples": "Samples of its content that are gone",
    "new_ids": "New identifiers",
    "saved": "The old partition table is kept in",
    "moved_bytes": "Moved",
    "bad_bytes": "Could not be read",
    "missing_bytes": "Missing",
    "won_bytes": "Won by reading again",
    "damaged_places": "Damaged places",
    "images": "Images",
    "whole_images": "Whole images",
    "removed": "Removed",
    "stayed": "Stayed all the same",
    "freed_bytes": "Free again",
    "data_bytes": "Data",
    "recompressed_bytes": "Compressed again",
    "file_size": "Size of the file",
    "damaged_files": "Damaged files",
    "seconds": "Time",
}
# Of each kind of job: its name, and what it is doing.
JOB_NAMES: Final[dict[str, tuple[str, str]]] = {
    "backup": ("Back up", "Backing up"),
    "restore": ("Restore", "Restoring"),
    "verify": ("Check", "Checking"),
    "export": ("Export", "Exporting an image"),
    "extract": ("Files", "Copying files"),
    "prune": ("Remove images", "Removing images"),
    "consolidate": ("Make a full image", "Making a full image"),
    "clone": ("Clone", "Cloning a disk"),
    "wipe": ("Wipe", "Wiping a disk"),
    "partition": ("Partitions", "Changing partitions"),
}
_ROUGH_RATES = {"usb": (25 * MIB, 120 * MIB), "mmc": (15 * MIB, 60 * MIB), "nvme": (300 * MIB, 1000 * MIB)}


def is_locked(volume: Volume) -> bool:
    """Whether the volume is encrypted and not opened."""
    return volume.identity.type in _LOCKED


def disk_name(disk: Disk) -> str:
    """Model, or the path where there is none."""
    return plain(disk.path if disk.is_file or not disk.model else disk.model)


def disk_details(disk: Disk, width: int = 1000) -> str:
    """Transport, serial and path, "NVMe, serial S5GX…, /dev/nvme0n1", without path, then transport, where there is no room."""
    transport = plain(_TRANSPORTS.get(disk.transport, disk.transport))
    serial = f"serial {plain(disk.serial)}" if disk.serial.strip() else "no serial"
    path = "" if disk_name(disk) == disk.path else plain(disk.path)
    for parts in ((transport, serial, path), (transport, serial), (serial,)):
        details = ", ".join(part for part in parts if part)
        if len(details) <= width:
            break
    return details


def disk_headline(survey: DiskSurvey) -> str:
    """What the disk is, in three words: the system on it, "blank", "locked with LUKS", "rescue medium, protected"."""
    if survey.is_rescue_medium:
        return "rescue medium, protected"
    if survey.unreadable:
        return "cannot be read"
    systems = list(dict.fromkeys(plain(volume.system) for volume in survey.volumes if volume.system))
    if systems:
        return " and ".join(systems)
    locked = [_FILESYSTEMS.get(volume.identity.type, volume.identity.type) for volume in survey.volumes if is_locked(volume)]
    if locked:
        return f"locked with {locked[0]}"
    if survey.layout.label == "none" and not survey.volumes:
        return "blank"
    if not survey.layout.data_partitions and not survey.volumes:
        return "no partitions"
    return "data"


def partition_words(survey: DiskSurvey, number: int) -> str:
    """One partition in a few words: 'NTFS "Windows" 310.2 of 464.5 GiB used'. Number 0: the whole disk."""
    volume = next((v for v in survey.volumes if v.partition == number), None)
    partition = next((p for p in survey.layout.partitions if p.number == number), None)
    size = partition.size if partition else volume.size if volume else 0
    role = role_words(partition) if partition else ""
    if volume is None or not volume.identity.type:
        return f"{role or (plain(partition.name) if partition else '') or 'unknown content'} {human_size(size)}"
    label = plain(volume.identity.label or (partition.name if partition and not role else ""))
    named = f"{_FILESYSTEMS.get(volume.identity.type) or content_words(volume.identity)}{f' “{label}”' if label else ''}"
    if is_locked(volume):
        return f"{named} locked {human_size(volume.size)}"
    if volume.identity.usage != "filesystem" or volume.identity.type == "swap" or volume.whole_because:
        return f"{named} {human_size(volume.size)}"
    return f"{named} {used_of(volume.used_bytes, volume.size)}"


def used_of(used: int, size: int) -> str:
    """``20.1 of 50.0 GiB used``; the unit is said once where it is the same."""
    first, second = human_size(used), human_size(size)
    if first.split()[1:] == second.split()[1:]:
        first = first.split()[0]
    return f"{first} of {second} used"


def image_date(image: ImageSummary) -> str:
    """When the image was made, in this machine's time zone: "2026-11-21 14:03"."""
    try:
        moment = datetime.fromisoformat(image.created)
    except ValueError:
        return plain(image.created) or "date unknown"
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return moment.astimezone().strftime("%Y-%m-%d %H:%M")


def image_origin(image: ImageSummary) -> str:
    """Computer and disk that an image was made of."""
    disk = f"{disk_name(image.disk)}, {human_size(image.disk.size)}" if image.disk else ""
    return " – ".join(part for part in (plain(image.host), disk) if part) or plain(image.name)


def target_obstacle(survey: DiskSurvey, image: ImageSummary | None, source: DiskSurvey | None = None) -> str:
    """Why this disk cannot be written over with ``image`` or ``source`` (or at all), as a clause; empty when it can."""
    if source is not None and (survey.disk.path, survey.disk.serial) == (source.disk.path, source.disk.serial):
        return "the disk that is to be copied"
    if survey.is_rescue_medium:
        return "rescue medium, protected"
    if survey.unreadable:
        return f"cannot be read: {plain(survey.unreadable)}"
    if survey.protections:
        return "; ".join(plain(protection.reason) for protection in survey.protections)
    if survey.disk.read_only:
        return "write-protected"
    if source is None and (image is None or image.disk is None):
        return ""
    # File systems are made smaller on the way, and made for other sectors; whether that can be is for the plan to say.
    used = source.used_bytes if source else image.used_bytes if image else 0
    missing = used - survey.disk.size
    if missing > 0:
        return f"too small by {human_size(missing)}"
    return ""


def rough_duration(total: int, disk: Disk | None) -> str:
    """How long ``total`` bytes should take: a range, because no disk has been measured yet."""
    slow, fast = _ROUGH_RATES.get(disk.transport if disk else "", (150 * MIB, 600 * MIB))
    if disk and disk.rotational:
        slow, fast = 60 * MIB, 160 * MIB
    if total <= 0:
        return "not known before it starts"
    if total / slow < 60:
        return "less than a minute"
    shortest = human_duration(max(total / fast, 60))
    longest = human_duration(total / slow)
    if shortest == longest:
        return f"about {longest}"
    if shortest.endswith("min") and longest.endswith("min") and " h " not in longest:
        shortest = shortest.removesuffix(" min")
    return f"about {shortest} to {longest}, depending on the disks"


def job_words(plan: Plan) -> str:
    """What a job is about, in one line."""
    match plan.kind:
        case "backup" if plan.source is not None:
            return f"Back up {plain(plan.source.title)}"
        case "restore" if plan.target is not None:
            return f"Restore onto {plain(plan.target.title)}"
        case "clone" if plan.target is not None:
            return f"Clone onto {plain(plan.target.title)}"
        case "wipe" if plan.target is not None:
            return f"Wipe {plain(plan.target.title)}"
        case "partition" if plan.target is not None:
            return f"Change the partitions of {plain(plan.target.title)}"
        case "verify" if any(isinstance(step, VerifyStore) for step in plan.steps):
            return f"Check all images in {plain(next(s.store for s in plan.steps if isinstance(s, VerifyStore)))}"
        case "prune":
            return f"Remove images from {plain(next((s.store for s in plan.steps if isinstance(s, RemoveImages)), 'a folder'))}"
        case "consolidate":
            image = next(step.image for step in plan.steps if isinstance(step, ConsolidateImage))
            return f"Make a full image of {plain(image.rsplit('/', 1)[-1])}"
        case "verify" | "export":
            images = [step.image for step in plan.steps if isinstance(step, VerifyImage | MountImage | ExportImage)]
            verb = "Check" if plan.kind == "verify" else "Export"
            return f"{verb} {plain(images[0].rsplit('/', 1)[-1])}" if images else JOB_NAMES[plan.kind][1]
        case "extract":
            return plain(plan.sentences[1])
        case _:
            return plain(plan.sentences[0]) if plan.sentences else JOB_NAMES[plan.kind][1]


def fact_words(name: str, value: str | int | float | bool | list[str]) -> str:
    """One of a job's facts as a line: ``used_bytes: 1073741824`` is shown as "Data kept: 1.0 GiB"; of a list its length."""
    label = _FACTS.get(name) or plain(name.replace("_", " ").replace("-", " ")).strip().capitalize()
    match value:
        case bool():
            shown = "yes" if value else "no"
        case int() if "bytes" in name or name.endswith("size"):
            shown = human_size(value)
        case int() | float() if "seconds" in name:
            shown = human_duration(value)
        case list():
            shown = str(len(value))
        case _:
            shown = plain(str(value))
    return f"{label}: {shown}"
