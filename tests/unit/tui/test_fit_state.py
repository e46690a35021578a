"""What keys on the Fit screen come to, in bytes and words."""

from __future__ import annotations

from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescue.errors import RescueError
from rescue.model.fit import DoesNotFitError, FitFacts, Fitted, FitWish, SectorFit
from rescue.planning.fitting import FitSource
from rescue.records import replace
from rescue.tui.fit_state import FitState, answer, proposed_mode
from rescue.units import GIB, MIB
from tests.unit.tui.recorded_disks import BLANK, all_disks
from tests.unit.tui.recorded_plans import minimums_of

WINDOWS, DEBIAN = all_disks()[:2]
_KEYS = ("left", "right", "keep", "leave-out", "min", "max", "auto", "earlier", "later", "table", "mode-keep", "mode-same")


def state_of(survey: object = WINDOWS, size: int = BLANK.size) -> FitState:
    found = WINDOWS if survey is WINDOWS else DEBIAN
    source = FitSource("", "it", found.disk, found.layout, found.volumes, found.used_bytes)
    return FitState(source, size, 512, "clone", facts=FitFacts(minimums_of(found)))


def after(state: FitState, number: int) -> int:
    """Bytes of a partition on the target."""
    place = state.placed(number, state.result())
    assert place is not None
    return place.target_end - place.target_start


def pressed(state: FitState, key: str, number: int) -> FitState:
    kinds: dict[str, Literal["keep", "leave-out", "min", "max"]] = {
        "keep": "keep", "leave-out": "leave-out", "min": "min", "max": "max",
    }  # fmt: skip
    if key in kinds:
        return state.toggled(number, kinds[key])
    match key:
        case "left" | "right":
            return state.stepped(number, -1 if key == "left" else 1)
        case "auto":
            return state.with_wish(number, None)
        case "earlier" | "later":
            return state.moved(number, -1 if key == "earlier" else 1)
        case "table":
            return state.with_other_table()
        case "mode-keep":
            return state.with_mode("keep")
        case _:
            return state.with_mode("same")


def test_steps_go_to_whole_steps_and_stop_at_what_the_content_needs() -> None:
    state = state_of()
    assert state.step == 4 * GIB
    assert after(state.stepped(3, -1), 3) % state.step == 0
    for _ in range(300):
        state = state.stepped(3, -1)
    assert after(state, 3) - state.least(3) < MIB
    assert state.stepped(3, -1) == state


def test_what_cannot_grow_stops_at_its_own_size() -> None:
    state = state_of()
    assert state.stepped(2, 1) == state
    assert not state.can_grow(2)


def test_a_size_that_is_its_own_is_a_pin() -> None:
    state = state_of(DEBIAN).with_wish(1, FitWish(1, "exactly", 56 * GIB))
    for _ in range(2):
        state = state.stepped(1, 1)
    assert state.wish(1) == FitWish(1, "exactly", 64 * GIB)
    state = replace(state, size=DEBIAN.disk.size)
    assert state.with_wish(1, FitWish(1, "keep")).note(1, state.result()).startswith("▪")


def test_the_same_key_takes_it_back() -> None:
    state = state_of()
    assert state.toggled(4, "leave-out").toggled(4, "leave-out") == state
    assert state.toggled(4, "leave-out").is_left_out(4)


def test_leaving_out_and_taking_in_keeps_an_order_complete() -> None:
    state = state_of().moved(4, -1).toggled(1, "leave-out")
    assert state.wishes.order == (2, 4, 3)
    assert isinstance(state.result(), Fitted)
    back = state.toggled(1, "leave-out")
    assert sorted(back.wishes.order) == [1, 2, 3, 4]
    assert isinstance(back.result(), Fitted)


def test_an_order_that_is_that_of_the_disk_is_no_wish() -> None:
    assert state_of().moved(4, -1).moved(4, 1).wishes.order == ()
    assert state_of().moved(1, -1) == state_of()


def test_a_wish_ends_that_all_stays_the_same_and_that_ends_wishes() -> None:
    state = state_of().with_mode("same").stepped(3, 1)
    assert state.mode == "keep"
    assert state.with_mode("same").wishes.volumes == ()


def test_nothing_changed_is_the_plain_copy() -> None:
    same = state_of(size=WINDOWS.disk.size)
    assert not same.changes(same.result())
    assert state_of().changes(state_of().result())
    assert not state_of().with_mode("same").changes(state_of().with_mode("same").result())
    assert same.toggled(4, "leave-out").changes(same.toggled(4, "leave-out").result())
    smaller = state_of(size=400 * GIB)
    assert smaller.changes(smaller.result())


def test_a_disk_of_nearly_the_same_size_gets_a_plain_copy() -> None:
    source, size = state_of().source, WINDOWS.disk.size
    sizes = [(size, 512), (size + 8 * GIB, 512), (size + 8 * GIB, 4096), (size - 512, 512), (2 * size, 512)]
    assert [proposed_mode(source, *target) for target in sizes] == ["same", "same", "auto", "auto", "auto"]


def test_the_answer_has_numbers_people_read() -> None:
    fits, words = answer(state_of(), state_of().result())
    assert (fits, words) == (True, "It fits, and fills the disk of 931.5 GiB. 1 partition becomes larger.")
    small = state_of(size=256060514304)
    fits, words = answer(small, small.result())
    assert not fits
    assert "too small by 42.9 GiB" in words
    assert "Partition 3 cannot be made smaller than 280.5 GiB" in words
    assert "bytes" not in words
    assert "--fit" not in words
    left = state_of().toggled(3, "keep").toggled(4, "leave-out")
    assert "466.5 GiB of 931.5 GiB stay unused. 1 is left out." in answer(left, left.result())[1]


def test_another_table_and_other_sectors_are_said() -> None:
    table = state_of(DEBIAN).with_other_table()
    assert "becomes a GPT" in answer(table, table.result())[1]
    assert table.changes(table.result())
    sectors = replace(state_of(DEBIAN), sector_size=4096)
    assert "Its sectors have 4096 bytes" in answer(sectors, sectors.result())[1]
    assert sectors.changes(sectors.result())


def test_what_the_sectors_forbid_is_said_until_it_is_left_out() -> None:
    sectors = {1: SectorFit("copy"), 6: SectorFit("refuse", "Its inside is not known.")}
    state = replace(state_of(DEBIAN), sector_size=4096, facts=FitFacts({}, sectors=sectors))
    fits, words = answer(state, state.result())
    assert not fits
    assert "Its inside is not known." in words
    assert isinstance(state.toggled(6, "leave-out").result(), Fitted)


def test_what_can_be_made_anew_can_grow() -> None:
    state = state_of()
    assert state.stepped(1, 1) == state
    assert replace(state, facts=FitFacts({}, frozenset({1}))).stepped(1, 1) != state


def test_identifiers_of_its_own_outlive_another_way() -> None:
    state = state_of(size=WINDOWS.disk.size).with_new_ids(True)
    assert state.changes(state.result())
    assert state.with_mode("same").wishes.new_ids


def test_without_minimums_everything_keeps_its_size() -> None:
    state = replace(state_of(size=400 * GIB), facts=None)
    result = state.result()
    assert isinstance(result, DoesNotFitError)
    assert state.least(3) == WINDOWS.layout.partitions[2].size


@pytest.mark.parametrize("survey", [WINDOWS, DEBIAN], ids=["gpt", "dos"])
@given(data=st.data())
def test_no_key_breaks_it(survey: object, data: st.DataObject) -> None:
    size = data.draw(st.sampled_from([120 * GIB, 300 * GIB, 466 * GIB, BLANK.size]))
    state = state_of(survey, size)
    numbers = [p.number for p in state.partitions]
    for key in data.draw(st.lists(st.sampled_from(_KEYS), max_size=8)):
        state = pressed(state, key, data.draw(st.sampled_from(numbers)))
        result = state.result()
        fits, words = answer(state, result)
        assert words
        assert fits is not isinstance(result, RescueError)
        assert sorted(p.number for p in state.partitions) == sorted(numbers)
        for number in numbers:
            assert isinstance(state.note(number, result), str)
            place = state.placed(number, result)
            if place is not None and state.wish(number) is None:
                assert place.target_end - place.target_start >= state.least(number) or state.volume(number) is None
