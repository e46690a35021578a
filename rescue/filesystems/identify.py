"""What libblkid finds at a place on a disk or in a file."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rescue.model.volume import Identity
from rescue.system.run import run

_FOUND, _NOTHING, _AMBIVALENT = 0, 2, 8
_ESCAPE = re.compile(rb"\\x([0-9a-fA-F]{2})")


def identify(path: str, offset: int, size: int, *, pass_fds: Sequence[int] = ()) -> Identity:
    """Identify the ``size`` bytes at ``offset`` of a disk or a file. Several answers at once are none.

    ``pass_fds`` are descriptors that ``path`` may speak of. A place that cannot be read has no identity either: what is
    unknown is kept whole. Raises ProgramError.
    """
    if size <= 0:
        return Identity()
    # The udev format escapes what the export format lets through: a label with a line break could pose as a TYPE line.
    command = ["blkid", "-p", "-O", str(offset), "-S", str(size), "-o", "udev", path]
    done = run(command, ok=(_FOUND, _NOTHING, _AMBIVALENT), pass_fds=pass_fds)
    return parse_identity(done.stdout) if done.code == _FOUND else Identity()


def parse_identity(output: bytes) -> Identity:
    """Read what ``blkid -o udev`` prints."""
    values: dict[str, str] = {}
    for line in output.splitlines():
        key, separator, value = line.partition(b"=")
        if separator:
            decoded = _ESCAPE.sub(lambda found: bytes([int(found[1], 16)]), value)
            values[key.decode("ascii", "replace")] = decoded.decode("utf-8", "replace")
    return Identity(
        type=values.get("ID_FS_TYPE", ""),
        usage=values.get("ID_FS_USAGE", ""),
        label=values.get("ID_FS_LABEL_ENC", ""),
        uuid=values.get("ID_FS_UUID_ENC", ""),
        version=values.get("ID_FS_VERSION", ""),
    )
