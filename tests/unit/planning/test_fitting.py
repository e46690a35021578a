"""A plan that fits a disk onto another: what it says of wishes, of what is left out, and what it does."""

from __future__ import annotations

import pytest

from rescue.errors import RefusedError
from rescue.model.fit import NO_WISHES, DoesNotFitError, FitWish, FitWishes, SectorFit
from rescue.model.fitting import FitDisk, FitVolumes
from rescue.model.layout import HYBRID_MBR, Layout, Partition
from rescue.model.plan import Plan
from rescue.model.volume import Identity, Volume
from rescue.planning.fitting import FitChoice, FitSource, fit_mode, fit_source, may_shrink, needs_fit, plan_fit, wish_options
from rescue.planning.writable import target_sectors
from rescue.records import replace
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


def test_a_hybrid_mbr_does_not_come_along_and_that_is_said() -> None:
    layout = replace(LAYOUT, problems=(HYBRID_MBR,))
    plan = plan_fit(replace(_SOURCE, layout=layout), sized(BLANK_SURVEY, TWICE), FitChoice("clone", "auto", {}))
    assert HYBRID_MBR in plan.warnings
    assert any("gets a plain GPT" in warning for warning in plan.warnings)
    assert not any("plain GPT" in warning for warning in _planned(TWICE).warnings)


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


def _on_4096(*wishes: FitWish, **fits: SectorFit) -> Plan:
    sectors = {1: SectorFit("refill"), 2: SectorFit("copy"), 3: SectorFit("patch")}
    sectors |= {int(number.removeprefix("p")): fit for number, fit in fits.items()}
    other = replace(BLANK_SURVEY, disk=replace(BLANK_SURVEY.disk, logical_sector_size=4096))
    choice = FitChoice("clone", "keep", {}, wishes=FitWishes(wishes), sectors=sectors)
    return plan_fit(_SOURCE, other, choice)


def test_other_sectors() -> None:
    plan = _on_4096()
    step = _step(plan)
    assert step.layout.sector_size == 4096
    assert [(v.how, v.sector_size) for v in step.volumes] == [("refill", 4096), ("copy", 0), ("copy", 4096)]
    (after,) = (step for step in plan.steps if isinstance(step, FitVolumes))
    assert after.sector_size == 4096
    # None of them moves, but boot sectors count where they are in sectors.
    assert [v.partition for v in after.volumes] == [1, 3]
    text = " ".join(plan.sentences)
    assert "for sectors of 4096 bytes; it was for 512." in text
    assert "Partition 1 (512.0 MiB) keeps its place. Its FAT is made anew" in text
    assert "Its NTFS is made to count in the new sectors." in text
    assert any("BIOS" in warning for warning in plan.warnings)
    assert not any("is not known. It is copied" in warning for warning in plan.warnings)  # a Microsoft reserved one is known


def test_a_file_with_large_sectors_gets_no_mbr_unasked() -> None:
    layout = replace(LAYOUT, sector_size=4096, partitions=LAYOUT.partitions[2:])
    source = replace(_SOURCE, layout=layout, volumes=VOLUMES[2:])
    target = replace(sized(BLANK_SURVEY, TWICE), disk=replace(BLANK_SURVEY.disk, size=TWICE, is_file=True))
    with pytest.raises(RefusedError, match=r"an MBR does not.*--sector-size 512"):
        plan_fit(source, target, FitChoice("clone", "auto", {}, wishes=FitWishes(table="dos")))
    assert plan_fit(source, target, FitChoice("clone", "auto", {}))
    asked = FitWishes(table="dos", sector_size=4096)
    assert plan_fit(source, target, FitChoice("clone", "auto", {}, wishes=asked))


def test_what_cannot_be_on_other_sectors_is_refused_by_name_unless_it_is_left_out() -> None:
    refused = SectorFit("refuse", "Its NTFS has records of 1024 bytes, which Windows cannot use there.")
    with pytest.raises(
        RefusedError, match=r"Partition 3, NTFS, “Windows”.*4096 bytes and not 512\. Its NTFS has records"
    ) as said:
        _on_4096(p3=refused)
    assert "--leave-out 3" in said.value.hint
    assert [v.partition for v in _step(_on_4096(FitWish(3, "leave-out"), p3=refused)).volumes] == [1, 2]


def test_whether_a_target_has_sectors_of_its_own() -> None:
    disk = BLANK_SURVEY.disk
    assert target_sectors(disk, 4096, 0) == 512
    assert target_sectors(disk, 4096, 512) == 512
    with pytest.raises(RefusedError, match="has sectors of 512 bytes, 4096 were asked for"):
        target_sectors(disk, 512, 4096)
    file = replace(disk, is_file=True)
    assert [target_sectors(file, 4096, asked) for asked in (0, 512, 4096)] == [4096, 512, 4096]


def test_a_larger_disk_with_other_sectors_is_not_filled_unasked() -> None:
    assert fit_mode(10, 20, None, NO_WISHES) == "keep"
    assert fit_mode(10, 9, None, NO_WISHES) == "auto"
    assert fit_mode(10, 20, None, FitWishes(order=(1,))) == "auto"
    assert fit_mode(10, 20, "same", NO_WISHES) == "same"


def test_a_disk_without_a_table_is_fitted_like_a_partition() -> None:
    """Also what is made anew for that; but not with identifiers of its own."""
    layout = Layout(100 * GIB, 512, "none", usable_end=100 * GIB)
    for kind, own_ids, fits in (("ext4", False, True), ("xfs", False, True), ("ext4", True, False)):
        volumes = (Volume(0, 0, 100 * GIB, Identity(kind), 10 * GIB),)
        source = replace(_SOURCE, layout=layout, volumes=volumes)
        choice = FitChoice("clone", "auto", {0: 20 * GIB}, wishes=FitWishes(new_ids=own_ids))
        if not fits:
            with pytest.raises(DoesNotFitError):
                fit_source(source, 50 * GIB, choice)
            continue
        (place,) = fit_source(source, 50 * GIB, choice).placements
        assert (place.target_start, place.target_end) == (0, 50 * GIB)


def test_what_is_small_and_active_gives_way_when_there_is_no_other_way() -> None:
    parts = (
        Partition(1, MIB, GIB + MIB, "0x83", attributes=1),
        Partition(2, 2 * GIB, 9 * GIB, "0x83"),
    )
    layout = Layout(10 * GIB, 512, "dos", id="12345678", usable_end=10 * GIB, partitions=parts)
    volumes = tuple(Volume(p.number, p.start, p.end, Identity("ext4", "filesystem"), 100 * MIB) for p in parts)
    source = replace(_SOURCE, layout=layout, volumes=volumes)
    choice = FitChoice("clone", "auto", {1: 200 * MIB, 2: 2 * GIB})

    def size(target: int) -> int:
        first = fit_source(source, target, choice).placements[0]
        return first.target_end - first.target_start

    assert size(4 * GIB) == GIB
    assert size(20 * GIB) == GIB
    assert 200 * MIB <= size(2 * GIB + 500 * MIB) < GIB
    with pytest.raises(DoesNotFitError):
        size(2 * GIB)


def test_a_refusal_says_why_a_volume_cannot_be_smaller_and_what_helps() -> None:
    locked = replace(VOLUMES[2], identity=Identity("crypto_LUKS", "crypto"), whole_because="It is encrypted.")
    source = replace(_SOURCE, volumes=(*VOLUMES[:2], locked))
    with pytest.raises(DoesNotFitError, match="It is encrypted") as refused:
        fit_source(source, LAPTOP.size // 2, FitChoice("clone", "auto", {}))
    assert "--unlock 3" in refused.value.hint


def test_what_needs_more_on_other_sectors_grows_or_is_refused() -> None:
    tight = VOLUMES[2].size + 10 * GIB
    choice = FitChoice("clone", "keep", {}, sectors={3: SectorFit("refill", "It takes more.", needed=tight)})
    volumes = tuple(replace(v, identity=Identity("ext4", "filesystem")) if v.partition == 3 else v for v in VOLUMES)
    source = replace(_SOURCE, volumes=volumes)
    target = replace(sized(BLANK_SURVEY, TWICE), disk=replace(sized(BLANK_SURVEY, TWICE).disk, logical_sector_size=4096))
    (big,) = (v for v in _step(plan_fit(source, target, choice)).volumes if v.partition == 3)
    assert big.target_end - big.target_start >= tight
    with pytest.raises(RefusedError, match="It takes more"):
        plan_fit(source, target, replace(choice, mode="same"))
