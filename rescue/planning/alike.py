"""Disks in one machine that are called alike: copies of each other, of which a system may take the wrong one."""

from __future__ import annotations

from collections.abc import Sequence

from rescue.model.survey import DiskSurvey
from rescue.planning.words import plain

_NO_ID = "00000000"


def alike_words(surveys: Sequence[DiskSurvey]) -> list[str]:
    """A sentence for each group of disks with the same identifier of the table, or of a file system on them."""
    groups: dict[tuple[str, ...], None] = {}
    for key in dict.fromkeys(key for survey in surveys for key in _names(survey)):
        paths = tuple(survey.disk.path for survey in surveys if key in _names(survey))
        if len(paths) > 1:
            groups[paths] = None
    return [
        f"{' and '.join(plain(path) for path in paths)} have the same identifiers. Take one of them out before a system is"
        " started from either: it may use the wrong one."
        for paths in groups
    ]


def _names(survey: DiskSurvey) -> list[str]:
    table = [f"table {survey.layout.id.lower()}"] if survey.layout.id and survey.layout.id != _NO_ID else []
    # Members of a RAID, of LVM or of a btrfs over several disks share a name without being copies.
    single = [v for v in survey.volumes if v.identity.usage == "filesystem" and v.identity.type not in ("btrfs", "zfs_member")]
    return table + [f"{v.identity.type} {v.identity.uuid}" for v in single if v.identity.uuid]
