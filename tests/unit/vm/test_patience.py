"""The clock of a machine stands nearly still while its threads wait for a processor."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.vm.patience import GuestClock


class _Process:
    """A process of which the test says how long its threads waited, in seconds, and what time it is."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = 100.0
        self.waits({"7": 5.0, "8": 0.0})
        self.clock = GuestClock(7, proc=folder, time_of_day=lambda: self.now)

    def waits(self, threads: dict[str, float]) -> None:
        """Each thread's seconds of waiting so far."""
        for name, seconds in threads.items():
            task = self.folder / "7" / "task" / name
            task.mkdir(parents=True, exist_ok=True)
            (task / "schedstat").write_text(f"123456 {int(seconds * 1e9)} 42\n")


@pytest.fixture
def process(tmp_path: Path) -> _Process:
    return _Process(tmp_path)


def test_all_time_counts_that_is_not_waited(process: _Process) -> None:
    process.now += 10
    assert process.clock() == pytest.approx(10)


def test_waiting_does_not_count(process: _Process) -> None:
    process.waits({"7": 5.5, "8": 4.0})
    process.now += 10
    assert process.clock() == pytest.approx(6)


def test_a_tenth_counts_whatever_was_waited(process: _Process) -> None:
    process.waits({"7": 5.0, "8": 1000.0})
    process.now += 10
    assert process.clock() == pytest.approx(1)


def test_a_wait_that_is_counted_late_is_made_up_for(process: _Process) -> None:
    process.now += 10
    assert process.clock() == pytest.approx(10)
    process.waits({"8": 9.0})
    process.now += 5
    assert process.clock() == pytest.approx(10.5)
    process.now += 5
    assert process.clock() == pytest.approx(11)
    process.now += 5
    assert process.clock() == pytest.approx(16)


def test_the_waiting_of_a_thread_from_before_does_not_count(process: _Process) -> None:
    process.waits({"9": 50.0})
    process.now += 10
    assert process.clock() == pytest.approx(10)


def test_time_goes_on_where_the_kernel_does_not_count(tmp_path: Path) -> None:
    process = _Process(tmp_path)
    for path in tmp_path.rglob("schedstat"):
        path.unlink()
    process.now += 3
    assert process.clock() == pytest.approx(3)
