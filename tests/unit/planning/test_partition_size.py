"""What a partition holds decides which sizes it can get; the reason and the way out are in the refusal."""

from __future__ import annotations

import pytest

from rescue.errors import RefusedError
from rescue.filesystems.btrfs import MANY_DEVICES
from rescue.model.plan import Plan
from rescue.model.volume import Identity, Volume
from rescue.planning.partition_plan import PartitionRequest, plan_partition
from rescue.records import replace
from rescue.units import GIB, MIB
from tests.unit.planning.machines import LAPTOP_SURVEY

_GUID = "0F3B1E5C-0000-4000-8000-0000000000AA"


def _plan(kind: str, *operations: str, because: str = "") -> Plan:
    """With ``kind`` in partition 3."""
    volume = Volume(3, 1 * GIB, 400 * GIB, Identity(kind, "filesystem"), 1 * MIB, because)
    survey = replace(LAPTOP_SURVEY, volumes=(*LAPTOP_SURVEY.volumes[:2], volume))
    return plan_partition(survey, PartitionRequest(operations, "/var/x"), lambda: _GUID)


@pytest.mark.parametrize(
    ("kind", "because", "operation", "says"),
    [
        ("btrfs", "", "resize 3 size=255MiB", r"no size below 256\.0 MiB"),
        ("btrfs", MANY_DEVICES, "resize 3 size=300GiB", "over several devices"),
        ("btrfs", MANY_DEVICES, "resize 3 size=max", "over several devices"),
        ("btrfs", MANY_DEVICES, "label 3 x", "over several devices"),
        ("crypto_LUKS", "It is locked.", "resize 3 size=300GiB", r"encrypted in it would have to get smaller first.*--unlock 3"),
        ("xfs", "", "resize 3 size=300GiB", "xfs cannot shrink"),
        ("", "No file system was found on it.", "resize 3 size=300GiB", "nothing that is known is in it.*'delete 3' 'create"),
    ],
)
def test_what_cannot_be_made_smaller_says_what_can_be_done(kind: str, because: str, operation: str, says: str) -> None:
    with pytest.raises(RefusedError, match=says) as refused:
        _plan(kind, operation, because=because)
    assert "Check and repair" not in refused.value.hint


def test_a_btrfs_that_is_made_in_the_queue_has_the_least_size_too() -> None:
    assert _plan("btrfs", "resize 3 size=256MiB")
    with pytest.raises(RefusedError, match="no size below"):
        _plan("ntfs", "delete 3", "create size=200MiB fs=btrfs", "resize 3 size=220MiB")
    with pytest.raises(RefusedError, match="nothing that is known"):
        _plan("ntfs", "create size=2GiB", "resize 4 size=1GiB")
