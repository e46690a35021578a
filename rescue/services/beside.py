"""Surveys of disks together with others that hold the rest of what is on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from rescue.devices.open import resolve
from rescue.devices.udev import list_disks
from rescue.engine.beside import disks_of_use
from rescue.engine.survey import survey_disk
from rescue.errors import UsageError
from rescue.model.disk import Disk
from rescue.model.survey import DiskSurvey
from rescue.records import replace
from rescue.volumes.elsewhere import needs_others
from rescue.volumes.stack import CONTAINERS

_SPREAD: Final = CONTAINERS | {"btrfs"}


def survey_together(disk: Disk, beside: Sequence[str], keys: Mapping[str, bytes]) -> DiskSurvey:
    """Survey a disk with the others that a person named; for a device without any, with those that this machine has.

    Raises UsageError when one of them is no other disk.
    """
    others = tuple(resolve(name).path for name in beside)
    if disk.path in others:
        raise UsageError(f"{disk.path} is the disk itself, none beside it.", "Name the other disks with --with.")
    survey = survey_disk(replace(disk, beside=others), keys=keys)
    if others or disk.is_file or not _misses_others(survey):
        return survey
    near = disks_of_use([other.path for other in list_disks() if other.path != disk.path])
    return survey_disk(replace(disk, beside=near), keys=keys) if near else survey


def together(surveys: Sequence[DiskSurvey], keys: Mapping[str, bytes]) -> list[DiskSurvey]:
    """The same disks, those of them with the others that lack something without them."""
    spread = [s.disk.path for s in surveys if any(volume.identity.type in _SPREAD for volume in s.volumes)]
    found = []
    for survey in surveys:
        near = tuple(path for path in spread if path != survey.disk.path)
        if near and _misses_others(survey):
            found.append(survey_disk(replace(survey.disk, beside=near), keys=keys))
        else:
            found.append(survey)
    return found


def _misses_others(survey: DiskSurvey) -> bool:
    return any(needs_others(volume) for volume in survey.volumes)
