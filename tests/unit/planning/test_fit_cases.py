"""Fitting by example: what people ask for, with numbers that were worked out by hand."""

from __future__ import annotations

import pytest

from rescue.errors import RefusedError, UsageError
from rescue.model.extents import Extent
from rescue.model.fit import DoesNotFitError, FitVolume, FitWish, Placement
from rescue.model.layout import Layout, Partition
from rescue.model.volume import Identity
from rescue.planning.fit import fit
from rescue.planning.fit_kinds import is_fixed
from rescue.planning.fit_share import share
from rescue.records import replace
from rescue.units import GIB, MIB, TIB

ESP = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
LINUX = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
DATA = "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7"
SWAP = "0657FD6D-A4AB-43C4-84E5-0933C84B4F4F"

# 20 GiB: ESP 512 MiB, ext4 10 GiB, NTFS 8 GiB, swap 1 GiB.
PC = Layout(
    20 * GIB,
    512,
    "gpt",
    "11111111-2222-4333-8444-555555555555",
    34 * 512,
    20 * GIB - 33 * 512,
    (
        Partition(1, 1 * MIB, 513 * MIB, ESP, "A", "EFI"),
        Partition(2, 513 * MIB, 513 * MIB + 10 * GIB, LINUX, "B", "root", 1 << 60),
        Partition(3, 513 * MIB + 10 * GIB, 513 * MIB + 18 * GIB, DATA, "C", "Windows"),
        Partition(4, 513 * MIB + 18 * GIB, 513 * MIB + 19 * GIB, SWAP, "D"),
    ),
    (Extent(0, 34 * 512), Extent(20 * GIB - 33 * 512, 20 * GIB)),
)
CONTENT = (
    FitVolume(1, 40 * MIB, True, True),
    FitVolume(2, 3 * GIB, True),
    FitVolume(3, 3 * GIB, True),
    FitVolume(4, GIB, True, True),
)

# 100 GiB as XP left them: from sector 63, an extended partition with two logical ones.
OLD = Layout(
    100 * GIB,
    512,
    "dos",
    "0badcafe",
    512,
    100 * GIB,
    (
        Partition(1, 63 * 512, 20 * GIB, "0x07", "0badcafe-01", attributes=1),
        Partition(2, 20 * GIB, 90 * GIB, "0x0f", "0badcafe-02", kind="extended"),
        Partition(5, 20 * GIB + 63 * 512, 50 * GIB, "0x07", "0badcafe-05", kind="logical"),
        Partition(6, 50 * GIB + 63 * 512, 90 * GIB, "0x83", "0badcafe-06", kind="logical"),
    ),
    (Extent(0, 512), Extent(20 * GIB, 20 * GIB + 512), Extent(50 * GIB, 50 * GIB + 512)),
)
OLD_CONTENT = (FitVolume(1, 5 * GIB, True), FitVolume(5, 10 * GIB, True), FitVolume(6, 10 * GIB, True))


def mib(layout: Layout) -> list[tuple[int, float, float]]:
    """Number, start and end in MiB."""
    return [(p.number, p.start / MIB, p.end / MIB) for p in layout.partitions]


def test_a_pc_onto_a_disk_of_8_gib() -> None:
    fitted = fit(PC, CONTENT, 8 * GIB, 512)
    # 8190 MiB from the first to the backup table; what ESP and swap leave is 6654, of which NTFS needs more than 8/18.
    assert mib(fitted.layout) == [(1, 1, 513), (2, 513, 4095), (3, 4095, 7167), (4, 7167, 8191)]
    assert [(p.moves, p.shrinks, p.grows) for p in fitted.placements] == [
        (False, False, False),
        (False, True, False),
        (True, True, False),
        (True, False, False),
    ]
    assert [(p.name, p.attributes) for p in fitted.layout.partitions][:2] == [("EFI", 0), ("root", 1 << 60)]


def test_a_pc_onto_a_disk_of_100_gib() -> None:
    fitted = fit(PC, CONTENT, 100 * GIB, 512)
    shared = 102398 - 512 - 1024
    ext4 = shared * 10 // 18
    assert mib(fitted.layout)[1:3] == [(2, 513, 513 + ext4), (3, 513 + ext4, 513 + shared)]
    assert mib(fitted.layout)[3] == (4, 102399 - 1024, 102399)


def test_from_512_to_4096_the_table_takes_more_and_the_partitions_stay() -> None:
    fitted = fit(PC, CONTENT, 20 * GIB, 4096)
    assert mib(fitted.layout) == mib(PC)
    assert (fitted.layout.usable_start, fitted.layout.usable_end) == (6 * 4096, 20 * GIB - 5 * 4096)
    assert fitted.layout.table == (Extent(0, 6 * 4096), Extent(20 * GIB - 5 * 4096, 20 * GIB))


def test_keep_moves_together_before_it_makes_smaller() -> None:
    gap = replace(PC, partitions=(*PC.partitions[:1], *PC.partitions[2:]))
    fitted = fit(gap, CONTENT, 10 * GIB, 512, "keep")
    assert mib(fitted.layout) == [(1, 1, 513), (3, 513, 513 + 8192), (4, 513 + 8192, 513 + 9216)]
    assert not any(p.shrinks or p.grows for p in fitted.placements)
    smaller = fit(gap, CONTENT, 6 * GIB, 512, "keep")
    assert mib(smaller.layout) == [(1, 1, 513), (3, 513, 5119), (4, 5119, 6143)]


def test_keep_on_a_larger_disk_changes_nothing() -> None:
    assert mib(fit(PC, CONTENT, TIB, 512, "keep").layout) == mib(PC)


def test_wishes() -> None:
    wishes = [FitWish(2, "exactly", 4 * GIB), FitWish(4, "leave-out"), FitWish(1, "at-least", 600 * MIB)]
    fitted = fit(PC, CONTENT, 10 * GIB, 512, "auto", wishes)
    sizes = {p.number: p.size for p in fitted.layout.partitions}
    assert set(sizes) == {1, 2, 3}
    assert sizes[2] == 4 * GIB
    assert sizes[1] >= 600 * MIB
    assert fitted.layout.partitions[-1].end == 10 * GIB - MIB
    pinned = fit(PC, CONTENT, 30 * GIB, 512, "auto", [FitWish(3, "keep")])
    assert [p.size for p in pinned.layout.partitions] == [512 * MIB, 30718 * MIB - 512 * MIB - 9 * GIB, 8 * GIB, GIB]


def test_a_wish_on_keep_moves_what_is_behind_it_and_no_more() -> None:
    fitted = fit(PC, CONTENT, 30 * GIB, 512, "keep", [FitWish(3, "exactly", 9 * GIB)])
    assert [p.moves for p in fitted.placements] == [False, False, False, True]
    assert mib(fitted.layout)[3] == (4, 513 + 19 * 1024, 513 + 20 * 1024)


def test_as_small_and_as_large_as_can_be() -> None:
    smallest = fit(PC, CONTENT, 20 * GIB, 512, "auto", [FitWish(2, "min")])
    assert [p.size for p in smallest.layout.partitions] == [512 * MIB, 3 * GIB, 20478 * MIB - 512 * MIB - 4 * GIB, GIB]
    largest = fit(PC, CONTENT, 30 * GIB, 512, "keep", [FitWish(2, "max")])
    assert [p.size for p in largest.layout.partitions] == [512 * MIB, 30718 * MIB - 512 * MIB - 9 * GIB, 8 * GIB, GIB]
    # The last MiB holds the backup table; what was free between the last partition and it counts too.
    same = fit(PC, CONTENT, 20 * GIB, 512, "auto", [FitWish(3, "max"), FitWish(4, "leave-out")])
    assert [p.size for p in same.layout.partitions] == [512 * MIB, 10 * GIB, 20478 * MIB - 512 * MIB - 10 * GIB]
    swap = fit(PC, CONTENT, 30 * GIB, 512, "auto", [FitWish(4, "max"), FitWish(2, "min")])
    assert swap.layout.partitions[3].size == 30718 * MIB - 512 * MIB - 11 * GIB


def test_max_is_refused_when_the_others_leave_too_little() -> None:
    with pytest.raises(DoesNotFitError, match=r"Partition 3 was asked to be 5\.0 GiB larger") as refused:
        fit(PC, CONTENT, 12 * GIB, 512, "auto", [FitWish(2, "max")])
    assert refused.value.needed == 513 * MIB + 12 * GIB + 33 * 512
    with pytest.raises(UsageError, match="all are to be the same"):
        fit(PC, CONTENT, 30 * GIB, 512, "same", [FitWish(2, "max")])


def test_what_no_program_makes_larger_is_at_most_as_large_as_it_is() -> None:
    fitted = fit(PC, [FitVolume(2, GIB)], 40 * GIB, 512, "auto", [FitWish(2, "max")])
    assert fitted.layout.partitions[1].size == 10 * GIB


def test_reorder() -> None:
    fitted = fit(PC, CONTENT, 20 * GIB, 512, "keep", order=[1, 4, 2, 3])
    assert [p.number for p in fitted.layout.partitions] == [1, 4, 2, 3]
    assert [p.name for p in fitted.layout.partitions] == ["EFI", "", "root", "Windows"]


def test_the_refusal_says_by_how_many_bytes_and_which() -> None:
    needed = 513 * MIB + 7 * GIB + 33 * 512
    with pytest.raises(DoesNotFitError) as refused:
        fit(PC, CONTENT, 7 * GIB, 512)
    assert (refused.value.short, refused.value.needed, refused.value.partition) == (needed - 7 * GIB, needed, 2)
    assert refused.value.message == (
        f"The partitions do not fit: the disk is too small by 513.0 MiB ({needed - 7 * GIB} bytes)."
        " Partition 2 cannot be made smaller than 3.0 GiB."
    )
    assert refused.value.hint == f"Choose a disk of at least {needed} bytes, or leave a partition out."
    assert fit(PC, CONTENT, needed, 512).layout.partitions[-1].end == needed - 33 * 512


def test_a_wish_that_is_the_reason_is_named() -> None:
    with pytest.raises(DoesNotFitError, match=r"Partition 3 was asked to be 3\.0 GiB larger") as refused:
        fit(PC, CONTENT, 8 * GIB, 512, "auto", [FitWish(3, "exactly", 6 * GIB)])
    assert refused.value.partition == 3


def test_what_keeps_its_size_but_need_not_is_named() -> None:
    hibernating = [*CONTENT[:3], FitVolume(4, MIB, True, True)]
    with pytest.raises(DoesNotFitError) as refused:
        fit(PC, hibernating, 7 * GIB, 512)
    assert refused.value.hint.endswith("or let partition 4 be smaller than 1.0 GiB.")
    assert fit(PC, hibernating, 7 * GIB, 512, "auto", [FitWish(4, "at-least", MIB)]).layout.usable_end < 7 * GIB


def test_same_is_refused_by_the_last_partition() -> None:
    with pytest.raises(DoesNotFitError, match="Partition 4 ends behind") as refused:
        fit(PC, CONTENT, 19 * GIB, 512, "same")
    assert refused.value.needed == 513 * MIB + 19 * GIB + 33 * 512
    assert "--fit auto" in refused.value.hint


def test_same_is_refused_on_sectors_that_the_partitions_do_not_begin_with() -> None:
    with pytest.raises(DoesNotFitError, match="Partition 1 cannot stay where it is: it does not start"):
        fit(OLD, OLD_CONTENT, 200 * GIB, 4096, "same")
    turned = replace(PC, partitions=(replace(PC.partitions[0], start=34 * 512), *PC.partitions[1:]))
    with pytest.raises(DoesNotFitError, match="the order is another one"):
        fit(turned, CONTENT, 20 * GIB, 512, "same", order=[2, 1, 3, 4])
    early = replace(PC, partitions=(replace(PC.partitions[0], start=5 * 4096),))
    with pytest.raises(DoesNotFitError, match="the partition table needs that place"):
        fit(early, CONTENT, 20 * GIB, 4096, "same")


def test_an_old_disk_onto_a_smaller_one() -> None:
    fitted = fit(OLD, OLD_CONTENT, 50 * GIB, 512)
    by_number = {p.number: p for p in fitted.layout.partitions}
    assert by_number[1].start == MIB
    assert by_number[1].attributes == 1
    assert by_number[2].start == by_number[1].end
    assert by_number[5].start == by_number[2].start + MIB
    assert by_number[6].start == by_number[5].end + MIB
    assert by_number[6].end == by_number[2].end == 50 * GIB
    links = (Extent(by_number[2].start, by_number[2].start + 512), Extent(by_number[5].end, by_number[5].end + 512))
    assert fitted.layout.table == (Extent(0, 512), *links)


def test_an_old_disk_onto_an_equal_one_stays_unaligned() -> None:
    fitted = fit(OLD, OLD_CONTENT, 100 * GIB, 512)
    assert fitted.layout == OLD


def test_logical_partitions_behind_one_that_is_left_out_get_new_numbers() -> None:
    fitted = fit(OLD, OLD_CONTENT, 60 * GIB, 512, "auto", [FitWish(5, "leave-out")])
    assert [(p.number, p.target_number) for p in fitted.placements] == [(1, 1), (6, 5)]
    assert fitted.layout.partitions[-1].uuid == "0badcafe-05"
    alone = fit(OLD, OLD_CONTENT, 60 * GIB, 512, "auto", [FitWish(5, "leave-out"), FitWish(6, "leave-out")])
    assert [p.kind for p in alone.layout.partitions] == ["primary"]


def test_an_mbr_ends_at_2_tib() -> None:
    fitted = fit(OLD, OLD_CONTENT, 4 * TIB, 512)
    assert fitted.layout.usable_end == max(p.end for p in fitted.layout.partitions) == 2 * TIB
    assert fitted.notes == ("An MBR describes only the first 2.0 TiB of a disk with sectors of 512 bytes: 2.0 TiB stay unused.",)
    assert not fit(OLD, OLD_CONTENT, 4 * TIB, 4096).notes
    big = replace(OLD, size=4 * TIB, sector_size=4096, partitions=(Partition(1, MIB, 3 * TIB, "0x07"),), table=(Extent(0, 4096),))
    with pytest.raises(DoesNotFitError, match=r"only the first 2\.0 TiB .* 1\.0 TiB .* too little") as refused:
        fit(big, [], 4 * TIB, 512)
    assert (refused.value.short, refused.value.needed, refused.value.partition) == (TIB, 0, 1)
    assert "GPT" in refused.value.hint


def test_a_boot_loader_before_the_first_partition_is_not_written_over() -> None:
    board = replace(
        PC, partitions=(Partition(1, 16 * MIB, 272 * MIB, DATA, "A", "boot"), Partition(2, 272 * MIB, 8 * GIB, LINUX, "B"))
    )
    fitted = fit(board, [FitVolume(2, GIB, True)], 4 * GIB, 512)
    assert fitted.layout.partitions[0].start == 16 * MIB
    # Behind a deleted partition there is none.
    free = replace(PC, partitions=(Partition(2, 10 * GIB, 18 * GIB, LINUX, "B"),))
    assert fit(free, [FitVolume(2, GIB, True)], 4 * GIB, 512).layout.partitions[0].start == MIB


def test_the_first_partition_that_need_not_change_stays_unaligned() -> None:
    apple = replace(
        PC, partitions=(Partition(1, 40 * 512, 409640 * 512, ESP, "A"), Partition(2, 409640 * 512, 8 * GIB, LINUX, "B"))
    )
    fitted = fit(apple, [FitVolume(1, MIB, False, True), FitVolume(2, GIB, True)], 4 * GIB, 512)
    assert [p.moves for p in fitted.placements] == [False, True]
    assert fitted.layout.partitions[1].start == 201 * MIB


def test_partitions_that_need_not_change_stay_between_whole_mebibytes() -> None:
    edges = (40 * 512, 409640 * 512, 409640 * 512 + 100 * MIB, 401 * MIB, 8 * GIB)
    second, third = (Partition(n, edges[n - 1], edges[n], ESP, "B") for n in (2, 3))
    tight = (Partition(1, edges[0], edges[1], ESP, "A"), second, third, Partition(4, edges[3], edges[4], LINUX, "D"))
    fixed = [FitVolume(n, MIB, False, True) for n in (1, 2, 3)]
    fitted = fit(replace(PC, partitions=tight), [*fixed, FitVolume(4, GIB, True)], 4 * GIB, 512)
    assert [p.moves for p in fitted.placements] == [False] * 4
    assert [p.shrinks for p in fitted.placements] == [False] * 3 + [True]
    gap = (*tight[:2], replace(third, start=edges[2] + 4096), tight[3])
    fitted = fit(replace(PC, partitions=gap), [*fixed, FitVolume(4, GIB, True)], 4 * GIB, 512)
    assert [p.moves for p in fitted.placements] == [False] * 4
    wished = fit(
        replace(PC, partitions=gap), [*fixed, FitVolume(4, GIB, True)], 20 * GIB, 512, "keep", [FitWish(4, "exactly", GIB)]
    )
    assert [p.moves for p in wished.placements] == [False] * 4
    assert wished.layout.partitions[-1].size == GIB


def test_aligned_logical_partitions_stay_when_one_behind_them_changes() -> None:
    logical = (
        Partition(5, 20 * GIB + MIB, 50 * GIB, "0x07", kind="logical"),
        Partition(6, 50 * GIB + 3 * MIB, 90 * GIB, "0x83", kind="logical"),
    )
    source = replace(OLD, partitions=(*OLD.partitions[:2], *logical), table=())
    fitted = fit(source, OLD_CONTENT, 100 * GIB, 512, "keep", [FitWish(6, "exactly", 20 * GIB)])
    assert [p.moves for p in fitted.placements] == [False] * 3
    assert fitted.layout.partitions[1] == replace(OLD.partitions[1], end=70 * GIB + 3 * MIB)
    assert fitted.layout.table[2] == Extent(50 * GIB + 2 * MIB, 50 * GIB + 2 * MIB + 512)


def test_a_high_number_has_an_entry_in_the_table_for_other_sectors() -> None:
    high = replace(PC, partitions=(*PC.partitions[:3], replace(PC.partitions[3], number=140)), usable_start=MIB)
    fitted = fit(high, CONTENT, 20 * GIB, 4096)
    assert fitted.layout.table[0] == Extent(0, 2 * 4096 + 160 * 128)
    assert fitted.layout.usable_start == 2 * 4096 + 160 * 128


@pytest.mark.parametrize(
    ("wishes", "order", "mode", "error", "says"),
    [
        ([FitWish(9, "keep")], [], "auto", UsageError, "no partition 9"),
        ([FitWish(2, "keep"), FitWish(2, "leave-out")], [], "auto", UsageError, "only one thing"),
        ([FitWish(2, "exactly", 0)], [], "auto", UsageError, "size of 0 bytes"),
        ([FitWish(2, "at-least", -1)], [], "auto", UsageError, "size of -1 bytes"),
        ([FitWish(2, "exactly", 2 * GIB)], [], "auto", RefusedError, "smaller than 3.0 GiB"),
        ([FitWish(2, "exactly", 9 * GIB)], [], "same", UsageError, "all are to be the same"),
        ([], [1, 2, 3], "auto", UsageError, "every partition"),
        ([], [1, 2, 3, 4, 4], "auto", UsageError, "every partition"),
    ],
)
def test_wishes_that_make_no_sense(wishes: list[FitWish], order: list[int], mode: str, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        fit(PC, CONTENT, 20 * GIB, 512, "same" if mode == "same" else "auto", wishes, order)


def test_what_cannot_grow_is_not_grown() -> None:
    with pytest.raises(RefusedError, match="Partition 2 cannot be made larger"):
        fit(PC, [FitVolume(2, GIB)], 40 * GIB, 512, "auto", [FitWish(2, "at-least", 11 * GIB)])
    # Nothing is known of any content: the larger disk gets the same table.
    assert mib(fit(PC, [], 40 * GIB, 512).layout) == mib(PC)


def test_logical_partitions_stay_side_by_side() -> None:
    with pytest.raises(UsageError, match="side by side"):
        fit(OLD, OLD_CONTENT, 100 * GIB, 512, order=[5, 1, 6])
    fitted = fit(OLD, OLD_CONTENT, 100 * GIB, 512, order=[6, 5, 1])
    assert [p.number for p in fitted.layout.partitions] == [2, 6, 5, 1]


def test_a_disk_without_a_table() -> None:
    whole = Layout(20 * GIB, 512, "none", usable_end=20 * GIB)
    fitted = fit(whole, [FitVolume(0, 5 * GIB, True)], 8 * GIB, 512)
    assert (fitted.placements[0].target_end, fitted.layout.usable_end) == (8 * GIB, 8 * GIB)
    assert fit(whole, [FitVolume(0, 5 * GIB, True)], 30 * GIB, 4096).placements[0].target_end == 30 * GIB
    assert fit(whole, [FitVolume(0, 5 * GIB, True)], 30 * GIB, 512, "keep").placements[0].target_end == 20 * GIB
    assert fit(whole, [], 30 * GIB, 512).placements == (Placement(0, 0, 0, 20 * GIB, 0, 20 * GIB),)
    assert fit(whole, [FitVolume(0, GIB, False)], 8 * GIB, 512).placements[0].target_end == 8 * GIB
    odd = replace(whole, size=20 * GIB + 100)
    assert fit(odd, [], odd.size, 512).placements[0].target_end == odd.size
    for volumes, target in (([FitVolume(0, 5 * GIB, True)], 4 * GIB), ([], 20 * GIB - 512)):
        with pytest.raises(DoesNotFitError) as refused:
            fit(whole, volumes, target, 512)
        assert refused.value.needed == target + refused.value.short
        assert fit(whole, volumes, refused.value.needed, 512).placements
    with pytest.raises(UsageError):
        fit(whole, [], 30 * GIB, 512, wishes=[FitWish(0, "keep")])


def test_a_target_with_sectors_that_no_disk_has() -> None:
    with pytest.raises(UsageError):
        fit(PC, CONTENT, 20 * GIB, 520)
    with pytest.raises(UsageError):
        fit(PC, CONTENT, -1, 512)


@pytest.mark.parametrize(
    ("partition", "identity", "fixed"),
    [
        (PC.partitions[0], Identity("vfat"), True),
        (PC.partitions[1], Identity("ext4"), False),
        (PC.partitions[1], Identity("swap"), True),
        (PC.partitions[3], Identity(), True),
        (replace(PC.partitions[1], end=2 * GIB), Identity("ext4", label="boot"), True),
        (PC.partitions[1], Identity("ext4", label="boot"), False),
        (replace(PC.partitions[1], type="de94bba4-06d1-4d40-a16a-bfd50179d6ac"), Identity("ntfs"), True),
        (Partition(1, MIB, 500 * MIB, "0x07", attributes=1), Identity("ntfs", label="System-reserviert"), True),
        (Partition(1, MIB, 50 * GIB, "0x07", attributes=1), Identity("ntfs"), False),
        (Partition(1, MIB, 500 * MIB, "0x07"), Identity("ntfs"), False),
        (Partition(1, MIB, 500 * MIB, DATA, attributes=1), Identity("ntfs"), False),
        (Partition(1, MIB, 50 * GIB, "0x82"), Identity(), True),
        (Partition(1, MIB, 50 * GIB, "0xEF"), Identity(), True),
    ],
)
def test_which_keep_their_size(partition: Partition, identity: Identity, fixed: bool) -> None:
    assert is_fixed(partition, identity) is fixed


@pytest.mark.parametrize(
    ("weights", "floors", "caps", "total", "shares"),
    [
        ([1, 1], [0, 0], [100, 100], 10, [5, 5]),
        ([1, 3], [0, 0], [100, 100], 100, [25, 75]),
        ([1, 3], [40, 0], [100, 100], 100, [40, 60]),
        ([1, 3], [0, 0], [100, 60], 100, [40, 60]),
        ([1, 3], [0, 0], [10, 60], 100, [10, 60]),
        ([1, 1, 1], [50, 0, 0], [100, 10, 100], 100, [50, 10, 40]),
        ([5, 5], [7, 7], [7, 7], 20, [7, 7]),
        ([1, 1, 1], [0, 0, 0], [9, 9, 9], 10, [4, 3, 3]),
    ],
)
def test_sharing(weights: list[int], floors: list[int], caps: list[int], total: int, shares: list[int]) -> None:
    assert share(weights, floors, caps, total) == shares
