"""The disks of this machine, from /sys and, where it runs, from udev's database; and word when one comes or goes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import pyudev  # type: ignore[import-untyped]

from rescue.devices.kernel import Kernel
from rescue.model.disk import Disk

_SECTOR: Final = 512  # the unit of /sys/block/*/size, whatever the disk's own sector is
# What is no disk of its own: volumes on disks, memory, optical drives, boot areas of eMMC.
_NO_DISK: Final = re.compile(r"(loop|ram|zram|dm-|md|sr|fd|mtdblock|bcache|zd)\d|md_|mmcblk\d+(boot\d+|rpmb)")
_ESCAPE: Final = re.compile(r"\\x([0-9a-fA-F]{2})")
_UDEV_CONTROL: Final = Path("/run/udev/control")
Properties = Mapping[str, str]


def _decoded(text: str) -> str:
    """Undo udev's ``\\x20`` escapes and collapse blanks."""
    return " ".join(_ESCAPE.sub(lambda match: chr(int(match[1], 16)), text).split())


def _model(kernel: Kernel, name: str, properties: Properties) -> str:
    model = _decoded(properties.get("ID_MODEL_ENC", "")) or " ".join(properties.get("ID_MODEL", "").replace("_", " ").split())
    vendor = _decoded(properties.get("ID_VENDOR_ENC", "")) or " ".join(properties.get("ID_VENDOR", "").replace("_", " ").split())
    model = model or " ".join((kernel.attribute(name, "device/model") or kernel.attribute(name, "device/name")).split())
    vendor = vendor or " ".join(kernel.attribute(name, "device/vendor").split())
    # libata calls every vendor "ATA"; virtio and PCI give a number.
    if not vendor or vendor == "ATA" or vendor.startswith("0x") or model.lower().startswith(vendor.lower()):
        return model
    return f"{vendor} {model}".strip()


def _serial(kernel: Kernel, name: str, properties: Properties) -> str:
    found = (
        properties.get("ID_SERIAL_SHORT", ""),
        properties.get("ID_SCSI_SERIAL", ""),
        kernel.attribute(name, "serial"),
        kernel.attribute(name, "device/serial"),
    )
    return next((" ".join(text.split()) for text in found if text.strip()), "")


def _wwn(kernel: Kernel, name: str, properties: Properties) -> str:
    found = (
        properties.get("ID_WWN_WITH_EXTENSION", ""),
        properties.get("ID_WWN", ""),
        kernel.attribute(name, "wwid"),
        kernel.attribute(name, "device/wwid"),
    )
    return next((" ".join(text.split()) for text in found if text.strip()), "")


def _transport(kernel: Kernel, name: str, properties: Properties) -> str:
    for prefix, transport in (("nvme", "nvme"), ("mmcblk", "mmc"), ("nbd", "nbd"), ("loop", "loop"), ("md", "md"), ("dm-", "dm")):
        if name.startswith(prefix):
            return transport
    path = str(kernel.folder(name).resolve())
    for part, transport in (("/usb", "usb"), ("/ata", "sata"), ("/virtio", "virtio")):
        if part in path:
            return transport
    bus = properties.get("ID_BUS", "")
    if bus:
        return {"ata": "sata"}.get(bus, bus)
    return "scsi" if "/host" in path else ""


def describe(kernel: Kernel, name: str, properties: Properties) -> Disk:
    """The Disk of a block device by its kernel name. What is missing in ``properties`` (udev) and /sys stays empty."""
    logical = kernel.number(name, "queue/logical_block_size") or _SECTOR
    return Disk(
        path=f"/dev/{name}",
        size=kernel.number(name, "size") * _SECTOR,
        logical_sector_size=logical,
        physical_sector_size=max(kernel.number(name, "queue/physical_block_size"), logical),
        model=_model(kernel, name, properties),
        serial=_serial(kernel, name, properties),
        wwn=_wwn(kernel, name, properties),
        transport=_transport(kernel, name, properties),
        rotational=kernel.number(name, "queue/rotational") == 1,
        removable=kernel.number(name, "removable") == 1,
        read_only=kernel.number(name, "ro") == 1,
        diskseq=kernel.number(name, "diskseq"),
    )


def _in_reading_order(path: str) -> tuple[str, int, tuple[tuple[str, int], ...]]:
    """sda, sdb … sdz, sdaa; nvme2n1 before nvme10n1."""
    letters = re.fullmatch(r"(/dev/(?:sd|vd|xvd|hd))([a-z]+)", path)
    if letters:
        return letters[1], len(letters[2]), ((letters[2], 0),)
    return re.split(r"\d", path)[0], 0, tuple((word, int(digits or 0)) for word, digits in re.findall(r"(\D+)(\d*)", path))


def disks_of(kernel: Kernel, properties: Mapping[str, Properties]) -> list[Disk]:
    """The whole disks that a kernel describes; ``properties`` are udev's, by kernel name. Empty card readers are left out."""
    disks = [
        describe(kernel, name, properties.get(name, {}))
        for name in kernel.whole_devices()
        if not _NO_DISK.match(name) and kernel.attribute(name, "hidden") != "1"
    ]
    return sorted((disk for disk in disks if disk.size > 0), key=lambda disk: _in_reading_order(disk.path))


def udev_properties() -> dict[str, Properties]:
    """What udev knows of each whole block device, by kernel name; little or nothing where udev does not run."""
    context = pyudev.Context()
    return {
        device.sys_name.replace("!", "/"): dict(device.properties)
        for device in context.list_devices(subsystem="block", DEVTYPE="disk")
    }


def list_disks() -> list[Disk]:
    """The whole disks of this machine, sorted; optical drives, RAM disks, loop devices and device-mapper volumes are none."""
    return disks_of(Kernel(), udev_properties())


def watch(changed: Callable[[], None]) -> Callable[[], None]:
    """Call ``changed`` from another thread whenever a block device appears, goes or changes. Returns what ends it.

    Loop devices do not count: whoever looks at a disk then may set one up for that (partclone reads an f2fs so), and would be
    called again because of it, without end.
    """
    # udev speaks when it has made the nodes and links; without it the kernel's own word has to do.
    monitor = pyudev.Monitor.from_netlink(pyudev.Context(), source="udev" if _UDEV_CONTROL.exists() else "kernel")
    monitor.filter_by("block")

    def heard(device: Any) -> None:
        if device.action in ("add", "remove", "change") and not device.sys_name.startswith("loop"):
            changed()

    observer = pyudev.MonitorObserver(monitor, callback=heard, name="disk-watch")
    observer.start()

    def stop() -> None:
        observer.send_stop()

    return stop
