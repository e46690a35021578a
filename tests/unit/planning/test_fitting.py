"""A plan that fits a disk onto another: what it says of wishes, of what is left out, and what it does."""

from __future__ import annotations

import pytest

from rescue.errors import RefusedError
from rescue.model.fit import FitWish, FitWishes
from rescue.model.fitting import FitDisk
from rescue.model.plan import Plan
from rescue.planning.fitting import FitChoice, FitSource, may_shrink, needs_fit, plan_fit, wish_options
from rescue.units import GIB, MIB
from tests.unit.planning.machines import BLANK_SURVEY, LAPTOP, LAPTOP_SURVEY, LAYOUT, VOLUMES, sized

TWICE = 2 * LAPTOP.size
_SOURCE = FitSource("", LAPTOP.path, LAPTOP, LAYOUT, VOLUMES, LAPTOP_SURVEY.used_bytes)


def _planned(size: int, *wishes: FitWish, order: tuple[int, ...] = (), overlay: str = "") -> Plan:
    choice = FitChoice("clone", "auto", {3: 220 * GIB}, wishes=FitWishes(wishes, order, overlay))
    return plan_fit(_SOURCE, sized(BLANK_SURVEY, size), choice)


def _step(plan: Plan) -> FitDisk:
    return next(step for step in plan.steps if isinstance(step, FitDisk))


def test_what_is_left_out_is_not_copied_and_is_told() -> None:
    plan = _planned(LAPTOP.size, FitWish(1, "leave-out"))
    assert [volume.partition for volume in _step(plan).volumes] == [2, 3]
    assert "Partition 1, FAT, “SYSTEM”, 512.0 MiB, 34.0 MiB used: is left out, and will not be on the target." in plan.warnings
    assert plan.estimated_bytes == 2 * (VOLUMES[1].used_bytes + VOLUMES[2].used_bytes)
    quiet = _planned(LAPTOP.size, FitWish(2, "leave-out"))
    assert not any("every byte is kept" in warning for warning in quiet.warnings)


def test_the_order_and_the_overlay_reach_the_step() -> None:
    step = _step(_planned(LAPTOP.size, order=(3, 1, 2), overlay="/mnt/x"))
    assert [volume.partition for volume in step.volumes] == [3, 1, 2]
    assert step.folder == "/mnt/x"


def test_max_takes_what_the_others_leave() -> None:
    (ntfs,) = (v for v in _step(_planned(TWICE, FitWish(3, "max"))).volumes if v.partition == 3)
    assert ntfs.target_end == TWICE - MIB
    (ntfs,) = (v for v in _step(_planned(TWICE, FitWish(3, "min"))).volumes if v.partition == 3)
    assert ntfs.target_end - ntfs.target_start == 220 * GIB
    with pytest.raises(RefusedError, match=r"cannot be made smaller than 220\.0 GiB"):
        _planned(200 * GIB, FitWish(3, "max"))


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        (FitWish(3, "exactly", 3 * GIB), "3=3GiB"),
        (FitWish(3, "exactly", 700 * MIB), "3=700MiB"),
        (FitWish(3, "at-least", 4097), "3=4097+"),
        (FitWish(3, "keep"), "3=same"),
        (FitWish(3, "min"), "3=min"),
        (FitWish(3, "max"), "3=max"),
    ],
)
def test_wishes_as_options(wish: FitWish, said: str) -> None:
    assert wish_options(FitWishes((wish,))) == ["--size", said]


def test_the_other_wishes_as_options() -> None:
    wishes = FitWishes((FitWish(2, "leave-out"),), (3, 1), "/mnt/x")
    assert wish_options(wishes) == ["--leave-out", "2", "--order", "3,1", "--overlay", "/mnt/x"]


def test_when_a_disk_is_fitted() -> None:
    assert not needs_fit(10, 10, None)
    assert needs_fit(10, 9, None)
    assert not needs_fit(10, 9, "same")
    assert needs_fit(10, 20, "keep")
    assert needs_fit(10, 10, "same", FitWishes(order=(2, 1)))
    assert not needs_fit(10, 10, None, FitWishes(overlay="/x"))
    assert may_shrink(10, 20, FitWishes((FitWish(1, "min"),)))
    assert not may_shrink(10, 20, FitWishes())
