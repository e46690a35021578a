"""The pipeline keeps order and bounds, and ends at once and cleanly when anything in it fails."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from rescue.engine.pipeline import run_ordered


def test_results_come_in_order_and_never_too_far_ahead() -> None:
    produced = 0
    consumed: list[int] = []
    ahead: list[int] = []

    def items() -> Iterator[int]:
        nonlocal produced
        for number in range(300):
            produced += 1
            ahead.append(produced - len(consumed))
            yield number

    run_ordered(items(), lambda n: n * n, consumed.append, workers=3, window=5)
    assert consumed == [n * n for n in range(300)]
    assert max(ahead) <= 5 + 1


@pytest.mark.parametrize("where", ["produce", "work", "consume"])
@pytest.mark.parametrize("at", [0, 1, 57, 99])
def test_the_first_failure_is_raised_and_no_thread_is_left(where: str, at: int) -> None:
    before = threading.active_count()

    def fail(stage: str, number: int) -> int:
        if stage == where and number == at:
            raise OSError(f"{stage} {number}")
        return number

    def items() -> Iterator[int]:
        for number in range(100):
            yield fail("produce", number)

    def consume(number: int) -> None:
        fail("consume", number)

    with pytest.raises(OSError, match=f"{where} {at}"):
        run_ordered(items(), lambda n: fail("work", n), consume, workers=2, window=4)
    assert threading.active_count() == before


def test_nothing_to_do() -> None:
    run_ordered(iter(()), lambda n: n, lambda n: None, workers=2, window=2)
