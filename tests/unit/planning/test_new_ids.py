"""Identifiers of its own for a copy: what gets new ones, what keeps its own and why, and the order of the steps."""

from __future__ import annotations

import pytest

from rescue.errors import RefusedError
from rescue.model.fit import FitWishes
from rescue.model.fitting import FitDisk, FitIds, FitReadBack, FitTable
from rescue.model.layout import Layout
from rescue.model.plan import Plan
from rescue.model.survey import DiskSurvey
from rescue.model.volume import Identity, Volume
from rescue.planning.alike import alike_words
from rescue.planning.fitting import FitChoice, FitSource, needs_fit, plan_fit
from rescue.records import replace
from rescue.units import GIB, MIB
from tests.unit.planning.machines import BLANK_SURVEY, LAPTOP_SURVEY, fingerprint, sized
from tests.unit.planning.test_fit_cases import OLD, PC
from tests.unit.planning.test_label import counting

_KINDS = (
    Identity("vfat", "filesystem", uuid="1234-ABCD"),
    Identity("ext4", "filesystem", uuid="0a1b2c3d-1111-2222-3333-444455556666"),
    Identity("ntfs", "filesystem", uuid="0123456789ABCDEF"),
    Identity("crypto_LUKS", "crypto", uuid="99999999-1111-2222-3333-444455556666"),
)


def _planned(layout: Layout, identities: tuple[Identity, ...], **whole: str) -> Plan:
    volumes = tuple(
        Volume(p.number, p.start, p.end, identity, MIB, whole.get(f"p{p.number}", ""))
        for p, identity in zip(layout.data_partitions, identities, strict=True)
    )
    disk = replace(BLANK_SURVEY.disk, path="/dev/sdx", size=layout.size, serial="Z")
    source = FitSource("", "it", disk, layout, volumes, MIB)
    choice = FitChoice("clone", "keep", {}, wishes=FitWishes(new_ids=True), new_id=counting())
    return plan_fit(source, sized(BLANK_SURVEY, layout.size), choice)


def _step(plan: Plan) -> FitIds:
    return next(step for step in plan.steps if isinstance(step, FitIds))


def test_the_table_comes_last() -> None:
    plan = _planned(PC, _KINDS)
    assert [type(step) for step in plan.steps] == [FitDisk, FitReadBack, FitIds, FitTable]
    assert plan.command[-1] == "--new-ids"
    assert not any("same identifiers" in warning for warning in plan.warnings)
    assert any("identifiers of their own" in sentence for sentence in plan.sentences)
    assert any("Windows finds its partitions" in warning for warning in plan.warnings)


def test_everything_that_can_gets_another_name() -> None:
    plan = _planned(PC, _KINDS)
    (data,) = (step for step in plan.steps if isinstance(step, FitDisk))
    old = {PC.id, *(p.uuid for p in PC.partitions)}
    new = {data.layout.id, *(p.uuid for p in data.layout.partitions)}
    assert len(new) == 5
    assert not old & new
    step = _step(plan)
    assert step.target == "/dev/sdb"
    assert [(v.partition, v.filesystem, bool(v.new)) for v in step.volumes] == [
        (1, "vfat", True), (2, "ext4", True), (3, "ntfs", True), (4, "crypto_LUKS", False),
    ]  # fmt: skip
    for volume in step.volumes:
        if volume.new:
            assert (volume.old, volume.new) in step.references
            assert len(volume.new) == len(volume.old)
            assert [c == "-" for c in volume.new] == [c == "-" for c in volume.old]
    assert (PC.partitions[1].uuid.lower(), data.layout.partitions[1].uuid.lower()) in step.references
    assert any("Partition 4 (LUKS (encrypted)) keeps its identifiers" in warning for warning in plan.warnings)


def test_what_was_not_cleanly_unmounted_keeps_its_name() -> None:
    plan = _planned(PC, _KINDS, p2="Its journal was not replayed.")
    assert [v.partition for v in _step(plan).volumes] == [1, 3, 4]
    assert any("Partition 2 (ext4) keeps its identifiers" in w and "not replayed" in w for w in plan.warnings)


def test_an_mbr_has_one_number_for_all() -> None:
    plan = _planned(OLD, _KINDS[:3])
    (data,) = (step for step in plan.steps if isinstance(step, FitDisk))
    assert data.layout.id != OLD.id
    assert all(p.uuid == f"{data.layout.id}-{p.number:02x}" for p in data.layout.partitions)
    assert ("0badcafe-05", f"{data.layout.id}-05") in _step(plan).references
    assert ("0badcafe", data.layout.id) in _step(plan).references


def test_a_table_of_the_other_kind_has_names_of_its_own_and_they_are_followed() -> None:
    volumes = tuple(Volume(p.number, p.start, p.end, i, MIB) for p, i in zip(PC.partitions, _KINDS, strict=True))
    source = FitSource("", "it", replace(BLANK_SURVEY.disk, path="/dev/sdx", size=PC.size), PC, volumes, MIB)
    wishes = FitWishes(table="dos", new_ids=True)
    plan = plan_fit(source, sized(BLANK_SURVEY, PC.size), FitChoice("clone", "keep", {}, wishes=wishes, new_id=counting()))
    (data,) = (step for step in plan.steps if isinstance(step, FitDisk))
    assert (PC.partitions[1].uuid.lower(), f"{data.layout.id}-02") in _step(plan).references
    assert not any("PARTUUID" in warning for warning in plan.warnings)
    assert any("will not start by itself" in warning for warning in plan.warnings)


def test_a_disk_without_a_table_is_refused() -> None:
    whole = Layout(20 * GIB, 512, "none", usable_end=20 * GIB)
    source = FitSource("", "it", BLANK_SURVEY.disk, whole, (Volume(0, 0, 20 * GIB, _KINDS[1], MIB),), MIB)
    with pytest.raises(RefusedError, match="without a partition table"):
        plan_fit(source, sized(BLANK_SURVEY, 20 * GIB), FitChoice("clone", "keep", {}, wishes=FitWishes(new_ids=True)))
    assert needs_fit(1, 1, None, FitWishes(new_ids=True), "gpt")


def _named(path: str, table: str, *identities: Identity) -> DiskSurvey:
    disk = replace(BLANK_SURVEY.disk, path=path)
    volumes = tuple(Volume(n, n, n + 1, identity, 1) for n, identity in enumerate(identities))
    return DiskSurvey(disk, replace(BLANK_SURVEY.layout, id=table), volumes, fingerprint(disk))


def test_disks_that_are_called_alike_are_told() -> None:
    raid = Identity("linux_raid_member", "raid", uuid="same")
    spread = Identity("btrfs", "filesystem", uuid="same")
    disks = [
        _named("/dev/sda", "A", _KINDS[1]),
        _named("/dev/sdb", "a", _KINDS[1]),
        _named("/dev/sdc", "B", raid, spread),
        _named("/dev/sdd", "C", raid, spread),
        _named("/dev/sde", "00000000"),
        _named("/dev/sdf", "00000000"),
        _named("/dev/sdg", "", _KINDS[0]),
        _named("/dev/sdh", "", _KINDS[0]),
    ]
    said = alike_words(disks)
    assert [sentence.split(" have")[0] for sentence in said] == ["/dev/sda and /dev/sdb", "/dev/sdg and /dev/sdh"]
    assert alike_words([LAPTOP_SURVEY, BLANK_SURVEY]) == []
