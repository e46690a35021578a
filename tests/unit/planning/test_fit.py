"""Fitting as a law: whatever the table and the target, the answer keeps its promises or says by how much it cannot."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from rescue.model.fit import DoesNotFitError, FitMode, Fitted, FitVolume, FitWish
from rescue.model.layout import Layout, Partition
from rescue.model.tables import link_offsets
from rescue.planning.fit import fit
from rescue.units import GIB, MIB, TIB, align_up
from tests.examples import examples
from tests.unit.planning.layouts import contents, dos_layouts, gpt_layouts, wishes_for

SETTINGS = settings(
    max_examples=examples(200), deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
LAYOUTS = st.one_of(gpt_layouts(), dos_layouts())
TARGETS = st.one_of(
    st.integers(0, 40 * GIB),
    st.sampled_from([64 * MIB, 20 * GIB - 512, 20 * GIB, 20 * GIB + 512, 500 * GIB, 3 * TIB, 20 * TIB]),
)
SAME: st.SearchStrategy[FitMode] = st.just("same")
MODES: st.SearchStrategy[FitMode] = st.sampled_from(["auto", "keep"])
SECTORS = st.sampled_from([512, 4096])


def check_table(fitted: Fitted, target: int, sector: int) -> None:
    """The table is one that can be written: nothing overlaps, everything is inside, in sectors, with room for EBRs."""
    layout = fitted.layout
    assert (layout.size, layout.sector_size) == (target, sector)
    assert list(layout.partitions) == sorted(layout.partitions, key=lambda p: (p.start, p.kind != "extended"))
    for p in layout.partitions:
        assert p.start % sector == p.end % sector == 0
        assert layout.usable_start <= p.start < p.end <= layout.usable_end <= target
    data = layout.data_partitions
    assert all(left.end <= right.start for left, right in pairwise(data))
    for extent in layout.table:
        assert 0 <= extent.start < extent.end <= target
        assert not any(p.start < extent.end and extent.start < p.end for p in data)
    if layout.label == "dos":
        assert layout.usable_end <= (1 << 32) * sector
    logical = [p for p in data if p.kind == "logical"]
    outer = [p for p in layout.partitions if p.kind != "logical"]
    assert all(left.end <= right.start for left, right in pairwise(outer))
    if logical:
        extended = next(p for p in layout.partitions if p.kind == "extended")
        assert all(extended.start < p.start and p.end <= extended.end for p in logical)
        assert sorted(p.number for p in logical) == list(range(5, 5 + len(logical)))
        links = link_offsets(layout)
        assert links[5] == extended.start
        assert len(set(links.values())) == len(logical)
        named = [range(e.start, e.end) for e in layout.table]
        assert all(any(offset in r and offset + sector - 1 in r for r in named) for offset in links.values())


def check_kept(source: Layout, fitted: Fitted) -> None:
    """Type codes, GUIDs, names, flags and the disk's id are those of the source; the placements say what the table says."""
    assert (fitted.layout.label, fitted.layout.id) == (source.label, source.id)
    before = {p.number: p for p in source.data_partitions}
    after = {p.number: p for p in fitted.layout.data_partitions}
    assert len(after) == len(fitted.placements) == len(fitted.layout.data_partitions)
    for placed in fitted.placements:
        old, new = before[placed.number], after[placed.target_number]
        assert (placed.source_start, placed.source_end) == (old.start, old.end)
        assert (placed.target_start, placed.target_end) == (new.start, new.end)
        assert (new.type, new.name, new.attributes, new.kind) == (old.type, old.name, old.attributes, old.kind)
        if source.label == "gpt":
            assert (new.uuid, new.number) == (old.uuid, old.number)
        elif new.kind == "primary":
            assert new.number == old.number
        assert source.label == "gpt" or new.uuid == f"{source.id}-{new.number:02x}"


def check_places(source: Layout, volumes: list[FitVolume], fitted: Fitted, wished: dict[int, FitWish]) -> None:
    """Starts are aligned unless nothing changed, sizes are inside of their bounds, fixed ones keep theirs."""
    sector = fitted.layout.sector_size
    by_number = {v.partition: v for v in volumes}
    gap = min((p.start for p in source.partitions), default=MIB)
    for placed in fitted.placements:
        size, had = placed.target_end - placed.target_start, placed.source_end - placed.source_start
        volume = by_number.get(placed.number, FitVolume(placed.number, had))
        wish = wished.get(placed.number)
        whole = align_up(had, sector)
        assert placed.target_start % MIB == 0 or (placed.target_start, size) == (placed.source_start, had)
        assert placed.target_start >= min(MIB, gap)
        assert size >= min(volume.minimum, had)
        if not volume.can_grow:
            assert size <= whole
        if wish is None and volume.fixed:
            assert size == whole
        if wish is not None and wish.kind == "keep":
            assert size == whole
        if wish is not None and wish.kind == "exactly":
            assert size == align_up(wish.size, sector)
        if wish is not None and wish.kind == "at-least":
            assert size >= wish.size
        assert not wish or wish.kind != "leave-out"


@SETTINGS
@given(LAYOUTS, TARGETS, SECTORS, MODES, st.data())
def test_any_disk_onto_any_disk(source: Layout, target: int, sector: int, mode: FitMode, data: st.DataObject) -> None:
    volumes = data.draw(contents(source))
    wishes = data.draw(wishes_for(source, volumes)) if data.draw(st.booleans()) else []
    left_out = {w.partition for w in wishes if w.kind == "leave-out"}
    kept = [p.number for p in source.data_partitions if p.number not in left_out]
    is_ordered = source.label == "gpt" and data.draw(st.integers(0, 3)) == 0
    order = data.draw(st.permutations(kept)) if is_ordered else []
    try:
        fitted = fit(source, volumes, target, sector, mode, wishes, order)
    except DoesNotFitError as refusal:
        check_refusal(source, volumes, target, sector, mode, wishes, order, refusal)
        return
    check_table(fitted, target, sector)
    check_kept(source, fitted)
    check_places(source, volumes, fitted, {w.partition: w for w in wishes})
    assert {p.number for p in fitted.placements} == set(kept)
    if order:
        assert [p.number for p in sorted(fitted.placements, key=lambda p: p.target_start)] == list(order)


def check_refusal(
    source: Layout,
    volumes: list[FitVolume],
    target: int,
    sector: int,
    mode: FitMode,
    wishes: list[FitWish],
    order: list[int],
    refusal: DoesNotFitError,
) -> None:
    """The bytes that it says are the ones: with them it fits, with one sector less it does not."""
    assert refusal.short > 0
    assert str(refusal.short) in refusal.message or not refusal.needed
    assert refusal.partition in {p.number for p in source.data_partitions} | {0}
    if not refusal.needed:
        assert source.label == "dos"
        assert target > (1 << 32) * sector or refusal.short
        return
    assert refusal.needed == target + refusal.short
    fitted = fit(source, volumes, refusal.needed, sector, mode, wishes, order)
    check_table(fitted, refusal.needed, sector)
    check_places(source, volumes, fitted, {w.partition: w for w in wishes})
    with pytest.raises(DoesNotFitError) as again:
        fit(source, volumes, refusal.needed - 1, sector, mode, wishes, order)
    assert again.value.short == 1


@SETTINGS
@given(LAYOUTS, SECTORS, st.integers(0, 3), st.data())
def test_an_answer_is_possible_when_the_minimums_fit(source: Layout, sector: int, spare: int, data: st.DataObject) -> None:
    volumes = data.draw(contents(source))
    by_number = {v.partition: v for v in volumes}
    least = 34 * MIB  # the table at either end, and the longest boot gap that is kept
    for partition in source.data_partitions:
        volume = by_number.get(partition.number)
        minimum = partition.size if volume is None or volume.fixed else volume.minimum
        least += align_up(minimum, MIB) + (MIB if partition.kind == "logical" else 0)
    fitted = fit(source, volumes, least + spare * 512, sector)
    check_table(fitted, least + spare * 512, sector)


@SETTINGS
@given(LAYOUTS, st.one_of(MODES, SAME), st.data())
def test_nothing_changes_that_need_not(source: Layout, mode: FitMode, data: st.DataObject) -> None:
    volumes = data.draw(contents(source))
    sector = source.sector_size
    for size in {source.size, source.size - data.draw(st.integers(0, source.size // 2))}:
        room = size // sector * sector - (source.size // sector * sector - source.usable_end)
        if max((p.end for p in source.data_partitions), default=0) > room or size < MIB:
            continue
        fitted = fit(source, volumes, size, sector, mode)
        assert not any(p.moves or p.shrinks or p.grows for p in fitted.placements)
        check_table(fitted, size, source.sector_size)
        if size == source.size:
            assert fitted.layout.partitions == source.partitions
            assert fitted.layout.table == source.table
            assert (fitted.layout.usable_start, fitted.layout.usable_end) == (source.usable_start, source.usable_end)


@SETTINGS
@given(LAYOUTS, TARGETS, SECTORS)
def test_same_is_the_same_or_refused(source: Layout, target: int, sector: int) -> None:
    try:
        fitted = fit(source, [], target, sector, "same")
    except DoesNotFitError as refusal:
        said = refusal
        if not said.needed:
            # Only other sectors or an MBR's limit can make it impossible on a disk of any size.
            assert sector != source.sector_size
            return
        assert said.needed == target + said.short
        fitted, target = fit(source, [], said.needed, sector, "same"), said.needed
    assert not any(p.moves or p.shrinks or p.grows for p in fitted.placements)
    check_table(fitted, target, sector)
    check_kept(source, fitted)


@SETTINGS
@given(gpt_layouts(), st.data())
def test_a_larger_disk_is_filled_in_proportion(source: Layout, data: st.DataObject) -> None:
    assume(source.data_partitions)
    growing = {p.number for p in source.data_partitions if data.draw(st.booleans())}
    assume(growing)
    volumes = [FitVolume(p.number, p.size, p.number in growing) for p in source.data_partitions]
    target = 2 * source.size + 40 * MIB
    fitted = fit(source, volumes, target, source.sector_size)
    end = max(p.end for p in fitted.layout.data_partitions)
    free = sum(right.start - left.end for left, right in pairwise(fitted.layout.data_partitions))
    # Slack is at most what aligning each partition takes.
    assert fitted.layout.usable_end - end + free <= (len(source.data_partitions) + 1) * MIB
    # Of those that grew beyond their minimum, none got much more than in proportion.
    sizes = {p.number: p.target_end - p.target_start for p in fitted.placements}
    large: list[Partition] = [p for p in source.data_partitions if p.number in growing and sizes[p.number] >= p.size + 2 * MIB]
    for left, right in pairwise(large):
        a, b = sizes[left.number] * right.size, sizes[right.number] * left.size
        assert abs(a - b) <= 16 * MIB * max(left.size, right.size)
