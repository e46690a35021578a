"""A container in a partition that was made larger in place: LVM gets the room as free extents, LUKS has it by itself."""

from __future__ import annotations

import tempfile
from typing import Final

from rescue.errors import DamagedError, FormatError, UnsupportedError
from rescue.system.blockfile import FileSource
from rescue.system.run import have, run
from rescue.units import human_size
from rescue.volumes.luks_header import read_luks_header
from rescue.volumes.lvm_group import parse_group
from rescue.volumes.lvm_label import read_physical_volume
from rescue.volumes.stack import LUKS, LVM

GROWN: Final = frozenset({LUKS, LVM})
_SECONDS: Final = 300.0
_STAYS: Final = "What is in it stays as it is."
# The group is not active here: nothing of it is to be suspended, and nothing is to be written beside it.
_CONFIG: Final = (
    "backup { backup=0 archive=0 } global { use_lvmpolld=0 use_lvmlockd=0 event_activation=0 }"
    ' devices { use_devicesfile=0 external_device_info_source="none" obtain_device_list_from_udev=0 }'
    ' activation { udev_sync=0 udev_rules=0 monitoring=0 } global { locking_dir="%s" }'
)


def grow_container(node: str, kind: str, size: int) -> str:
    """Let a container on a device of ``size`` bytes that holds nothing else have all of it; a sentence on what came of it.

    Raises ProgramError, DamagedError when LVM's description does not say so afterwards, FormatError, SourceReadError.
    """
    if kind == LUKS:
        return _luks(node, size)
    spread = _members(node)
    if spread > 1 or not have("lvm"):
        why = f"its volume group is spread over {spread} places" if spread > 1 else "lvm is not installed"
        return f"LVM stays as it is, for {why}. The rest of its partition is not used until pvresize is run."
    with tempfile.TemporaryDirectory(prefix="rescue-") as folder:
        command = ["lvm", "pvresize", "--driverloaded", "n", "--devices", node, "--config", _CONFIG % folder, "--yes", node]
        run(command, timeout=_SECONDS, env={"LVM_SUPPRESS_FD_WARNINGS": "1"})
    if not spread:
        return f"LVM fills its partition of {human_size(size)}. It is in no volume group."
    free = _free(node, size)
    return f"LVM fills its partition of {human_size(size)}: {human_size(free)} of its volume group are free. {_STAYS}"


def _luks(node: str, size: int) -> str:
    with FileSource(node) as source:
        try:
            is_fixed = read_luks_header(source).is_fixed
        except UnsupportedError:
            is_fixed = True
    if is_fixed:
        return "LUKS stays as it is: its header says how long its content is. The rest of its partition is not used."
    return f"LUKS fills its partition of {human_size(size)} when it is opened. {_STAYS}"


def _members(node: str) -> int:
    """Over how many places the group is spread; 0 where it is in none."""
    with FileSource(node) as source:
        return max((len(parse_group(text).members) for text in read_physical_volume(source).texts), default=0)


def _free(node: str, size: int) -> int:
    """The bytes in free extents. Raises DamagedError when the physical volume does not fill the device."""
    with FileSource(node) as source:
        source.drop_cache()
        texts = read_physical_volume(source).texts
    try:
        group = max(map(parse_group, texts), key=lambda found: found.seqno)
        (member,) = group.members.values()
    except ValueError as error:
        raise FormatError("LVM metadata: the group is not what it was.") from error
    if member.start + (member.count + 1) * group.extent_size <= size:
        raise DamagedError("LVM was to fill its partition, and its description does not say so.", "Run pvresize on it.")
    return (member.count - sum(volume.extents for volume in group.volumes.values())) * group.extent_size
