"""A disk with LUKS and LVM on it is fitted: what the plan does and says."""

from __future__ import annotations

import pytest

from rescue.model.container import Bears
from rescue.model.disk import Disk
from rescue.model.fit import DoesNotFitError, FitWish, FitWishes
from rescue.model.fitting import FitDisk, FittedInner
from rescue.model.layout import Layout, Partition
from rescue.model.plan import Plan
from rescue.model.volume import Identity, Nested, Volume
from rescue.planning.fitting import FitChoice, FitSource, plan_fit
from rescue.units import GIB, MIB
from tests.unit.planning.machines import BLANK_SURVEY, sized

_SIZE = 40 * GIB
_PARTITION = Partition(1, MIB, 30 * GIB, "0FC63DAF-8483-4772-8E79-3D69D8477DE4", "AAAAAAAA-0000-4000-8000-000000000001")
_LAYOUT = Layout(_SIZE, 512, "gpt", "AAAAAAAA-0000-4000-8000-000000000000", MIB, _SIZE - MIB, (_PARTITION,))
_LOCKED = "It is encrypted (LUKS), and its passphrase was not given."


def _volume(because: str = "", *inside: Nested) -> Volume:
    return Volume(1, MIB, 30 * GIB, Identity("crypto_LUKS"), 5 * GIB, because, inside=inside)


def _stack() -> Bears:
    root = Bears(("", "vg0/root"), "ext4", 20 * GIB, 4 * GIB, can_grow=True)
    data = Bears(("", "vg0/data"), "xfs", 8 * GIB, 2 * GIB, can_grow=True, anew=True)
    group = Bears(("",), "LVM2_member", _PARTITION.size - 16 * MIB, 0, overhead=MIB, grain=4 * MIB, inside=(root, data))
    return Bears((), "crypto_LUKS", _PARTITION.size, 0, overhead=16 * MIB, grain=4096, inside=(group,))


def _plan(size: int, container: Bears, volume: Volume | None = None, *wishes: FitWish) -> Plan:
    source = FitSource("", "/dev/sda", Disk("/dev/sda", _SIZE), _LAYOUT, (volume or _volume(),), 5 * GIB)
    choice = FitChoice("clone", "auto", {}, wishes=FitWishes(wishes), containers={1: container}, unlock=(1,))
    return plan_fit(source, sized(BLANK_SURVEY, size), choice)


def _step(plan: Plan) -> FitDisk:
    return next(step for step in plan.steps if isinstance(step, FitDisk))


def test_it_is_laid_out_anew_with_all_that_is_in_it() -> None:
    plan = _plan(20 * GIB, _stack())
    (volume,) = _step(plan).volumes
    assert (volume.how, volume.grows) == ("rebuild", False)
    sizes = {inner.way: inner.size for inner in volume.inside}
    assert sizes[()] == volume.target_end - volume.target_start
    assert sizes["", "vg0/root"] + sizes["", "vg0/data"] <= sizes[("",)] - MIB
    assert FittedInner(("", "vg0/data"), "xfs", 8 * GIB, sizes["", "vg0/data"], True) in volume.inside
    said = " ".join(plan.sentences)
    assert "In it vg0/root becomes smaller: 20.0 GiB → " in said
    assert "In it vg0/data becomes smaller: 8.0 GiB → " in said
    assert "It is made anew, with the same UUID, and filled by its files." in said
    assert not any("keeps its size" in warning for warning in plan.warnings)
    assert plan.command[-2:] == ("--unlock", "1")


def test_in_the_same_room_nothing_changes() -> None:
    (volume,) = _step(_plan(_SIZE, _stack(), None, FitWish(1, "keep"))).volumes
    assert (volume.how, volume.inside) == ("copy", ())


def test_what_was_whole_without_its_key_is_not_any_more() -> None:
    """An image was made without the passphrase, which is given now."""
    assert not any("every byte" in warning for warning in _plan(80 * GIB, _stack(), _volume(_LOCKED)).warnings)
    locked = Bears((), "crypto_LUKS", _PARTITION.size, _PARTITION.size, because=_LOCKED)
    warnings = _plan(80 * GIB, locked, _volume(_LOCKED)).warnings
    assert any("every byte is kept" in warning for warning in warnings)
    assert any(f"it keeps its size, for it holds other volumes. {_LOCKED}" in warning for warning in warnings)


def test_too_small_says_by_how_much() -> None:
    with pytest.raises(DoesNotFitError) as raised:
        _plan(5 * GIB, _stack())
    # 6 GiB and what LVM, LUKS and the table take.
    assert 6 * GIB < raised.value.needed < 6 * GIB + 40 * MIB
    assert raised.value.partition == 1
