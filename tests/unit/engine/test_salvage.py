"""Salvage of disks that fail in every way: everything readable is got, nothing else is claimed, nothing is read for nothing."""

from __future__ import annotations

import errno
import mmap
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rescue.engine.rescue_map import RescueMap, Status, load_map, save_map
from rescue.engine.salvage import Base, Salvage, forget
from rescue.engine.salvage_passes import BLOCK, Outcome, undecided
from rescue.errors import CancelledError, FormatError, RefusedError, SourceReadError, TargetWriteError
from rescue.model.extents import Extent, ExtentMap
from rescue.model.progress import CancelToken
from rescue.model.source import BytesSource
from rescue.units import KIB, MIB
from tests.unit.engine.failing import FailingDisk

_SIZE = 3 * MIB
_DATA = random.Random(5).randbytes(_SIZE)
_WHOLE = ExtentMap([(0, _SIZE)])
_STRETCH = 1 * MIB


def _open(disk: FailingDisk, folder: Path, base: Base | None = None, name: str = "serial 1") -> Salvage:
    return Salvage(disk, folder, disk=name, base=base, clock=lambda: disk.clock)


def _capture(salvage: Salvage, wanted: ExtentMap = _WHOLE) -> tuple[bytes, ExtentMap]:
    """What a capture does: read stretch after stretch; the bytes, and what is missing of them."""
    got = bytearray(salvage.size)
    missing: list[Extent] = []
    buffer = memoryview(mmap.mmap(-1, _STRETCH))
    for extent in wanted:
        for start in range(extent.start, extent.end, _STRETCH):
            end = min(start + _STRETCH, extent.end)
            buffer[:] = b"\xee" * len(buffer)
            missing += salvage.read(start, end, buffer)
            got[start:end] = buffer[: end - start]
    return bytes(got), ExtentMap(missing)


def _masked(data: bytes, missing: ExtentMap) -> bytes:
    masked = bytearray(data)
    for start, end in missing:
        masked[start:end] = bytes(end - start)
    return bytes(masked)


def _rescue(salvage: Salvage, wanted: ExtentMap, seconds: float | None = None, retries: int = 1) -> Outcome:
    return salvage.rescue(wanted, token=CancelToken(), progress=lambda done, total: None, seconds=seconds, retries=retries)


_BAD = ExtentMap([(0, 512), (700 * KIB, 701 * KIB), (1 * MIB + 512, 1 * MIB + 300 * KIB), (_SIZE - 512, _SIZE)])


def test_a_good_disk_is_read_once_and_nothing_is_missing(tmp_path: Path) -> None:
    disk = FailingDisk(_DATA, ExtentMap())
    with _open(disk, tmp_path / "s") as salvage:
        assert _capture(salvage) == (_DATA, ExtentMap())
    assert disk.reads == [Extent(n, n + _STRETCH) for n in range(0, _SIZE, _STRETCH)]


@pytest.mark.parametrize("precise", [True, False])
def test_the_first_pass_is_quick_and_says_what_it_left(tmp_path: Path, precise: bool) -> None:
    disk = FailingDisk(_DATA, _BAD, precise=precise)
    with _open(disk, tmp_path / "s") as salvage:
        got, missing = _capture(salvage)
    assert got == _masked(_DATA, missing)
    assert not _BAD.difference(missing)
    assert missing.total < 1.5 * MIB
    assert disk.errors < 20


@pytest.mark.parametrize("precise", [True, False])
def test_the_hard_passes_get_everything_readable(tmp_path: Path, precise: bool) -> None:
    disk = FailingDisk(_DATA, _BAD, precise=precise)
    with _open(disk, tmp_path / "s") as salvage:
        _, missing = _capture(salvage)
        outcome = _rescue(salvage, missing)
        assert outcome == Outcome(missing.total - _BAD.total, _BAD, True)
        assert not undecided(salvage.map, missing)
        before = len(disk.reads)
        assert [salvage.read(e.start, e.end, memoryview(bytearray(e.length))) for e in missing.intersection(_BAD)]
        assert len(disk.reads) == before
        assert _capture(salvage) == (_masked(_DATA, _BAD), _BAD)
    assert salvage.map.phase == "+"


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 1023), st.integers(1, 300)), max_size=10),
    st.lists(st.tuples(st.integers(0, 1023), st.integers(1, 3)), max_size=5),
    st.lists(st.tuples(st.integers(0, 1023), st.integers(1, 600)), min_size=1, max_size=5),
    st.booleans(),
)
def test_whatever_is_bad_the_result_is_exact(
    tmp_path_factory: pytest.TempPathFactory,
    bad: list[tuple[int, int]],
    flaky: list[tuple[int, int]],
    wanted: list[tuple[int, int]],
    precise: bool,
) -> None:
    size = 512 * KIB
    bad_map = ExtentMap((n * 512, min((n + count) * 512, size)) for n, count in sorted(bad))
    wanted_map = ExtentMap((n * 512, min((n + count) * 512, size)) for n, count in sorted(wanted))
    disk = FailingDisk(_DATA[:size], bad_map, flaky={n * 512: times for n, times in flaky}, precise=precise)
    with _open(disk, tmp_path_factory.mktemp("s")) as salvage:
        _, missing = _capture(salvage, wanted_map)
        outcome = _rescue(salvage, missing, retries=3)
        assert outcome.missing == bad_map.intersection(wanted_map)
        assert outcome.won == missing.total - outcome.missing.total
        got, still = _capture(salvage, wanted_map)
    assert still == outcome.missing
    kept = wanted_map.difference(still)
    assert all(got[e.start : e.end] == _DATA[e.start : e.end] for e in kept)
    assert all(not any(got[e.start : e.end]) for e in still)
    # Nothing outside of what is wanted may cost a read of a dying disk, but for the probe of a sector that was good.
    assert not ExtentMap(sorted(disk.reads)).difference(wanted_map)


def test_a_flaky_sector_is_won_by_a_retry(tmp_path: Path) -> None:
    disk = FailingDisk(_DATA, ExtentMap(), flaky={100 * 512: 3})
    with _open(disk, tmp_path / "s") as salvage:
        _, missing = _capture(salvage)
        assert _rescue(salvage, missing, retries=0).missing == ExtentMap([(100 * 512, 101 * 512)])
        assert _rescue(salvage, missing, retries=0).missing == ExtentMap([(100 * 512, 101 * 512)])
        assert not _rescue(salvage, missing, retries=2).missing
        assert _capture(salvage) == (_DATA, ExtentMap())


def test_a_second_run_improves_the_first_and_reads_only_what_was_missing(tmp_path: Path) -> None:
    disk = FailingDisk(_DATA, _BAD, flaky={2 * MIB: 3})
    with _open(disk, tmp_path / "s") as salvage:
        first, missing = _capture(salvage)
        missing = _rescue(salvage, missing, retries=0).missing
        first, _ = _capture(salvage)
    assert missing == _BAD.union(ExtentMap([(2 * MIB, 2 * MIB + 512)]))
    forget(tmp_path / "s")
    assert not (tmp_path / "s").exists()
    disk.reads.clear()
    with _open(disk, tmp_path / "s", Base(BytesSource(first), _WHOLE.difference(missing))) as salvage:
        got, still = _capture(salvage)
        outcome = _rescue(salvage, still)
        got, still = _capture(salvage)
    assert outcome.missing == still == _BAD
    assert got == _masked(_DATA, _BAD)
    assert not ExtentMap(sorted(disk.reads)).difference(missing)


class _Killed(BaseException):
    """The process dies here."""


class _Deadly(FailingDisk):
    """A failing disk whose reader is killed at the n-th read."""

    kill_at = 0

    def pread_into(self, buffer: memoryview, offset: int) -> None:
        """See Source."""
        if len(self.reads) == self.kill_at:
            raise _Killed
        super().pread_into(buffer, offset)


@pytest.mark.parametrize("after", [0, 5, 40, 300])
def test_a_killed_rescue_goes_on_without_reading_again_what_it_won(
    tmp_path: Path, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = _Deadly(_DATA, _BAD)
    disk.kill_at = -1
    salvage = _open(disk, tmp_path / "s")
    _, missing = _capture(salvage)
    salvage.save()
    disk.kill_at = len(disk.reads) + after
    with monkeypatch.context() as patch:
        patch.setattr(Salvage, "save", lambda self: None)  # what is not saved by then is lost
        with pytest.raises(_Killed):
            _rescue(salvage, missing)
    first = len(disk.reads)
    disk.kill_at = -1
    with _open(disk, tmp_path / "s") as again:
        won = again.map.having(Status.RESCUED)
        assert after < 5 or won
        outcome = _rescue(again, missing)
        assert outcome.missing == _BAD
        assert outcome.won == missing.total - _BAD.total - won.total
        assert not ExtentMap(sorted(disk.reads[first:])).intersection(won)
        assert _capture(again) == (_masked(_DATA, _BAD), _BAD)
    salvage.close()


@pytest.mark.parametrize("code", [errno.EIO, errno.ENODEV])
@pytest.mark.parametrize("after", [6, 30, 400])
def test_a_disk_that_is_pulled_out_is_not_taken_for_bad(tmp_path: Path, after: int, code: int) -> None:
    disk = FailingDisk(_DATA, _BAD, pull_after=after)
    disk.gone_as = code

    def run() -> None:
        _, missing = _capture(salvage)
        _rescue(salvage, missing)

    with _open(disk, tmp_path / "s") as salvage, pytest.raises(SourceReadError, match="does not answer any more") as caught:
        run()
    assert "it goes on where it was" in caught.value.hint
    errors = disk.errors
    disk.pull_after = 0
    with _open(disk, tmp_path / "s") as salvage:
        _, missing = _capture(salvage)
        assert _rescue(salvage, missing).missing == _BAD
        assert _capture(salvage) == (_masked(_DATA, _BAD), _BAD)
    assert errors < 800


def test_a_disk_of_which_nothing_can_be_read_comes_to_an_end(tmp_path: Path) -> None:
    disk = FailingDisk(_DATA, _WHOLE)
    with _open(disk, tmp_path / "s") as salvage:
        got, missing = _capture(salvage)
        assert missing == _WHOLE
        assert not any(got)
        assert _rescue(salvage, ExtentMap([(0, 256 * KIB)])).missing == ExtentMap([(0, 256 * KIB)])


def test_time_that_is_over_stops_it_and_more_time_goes_on(tmp_path: Path) -> None:
    disk = FailingDisk(_DATA, _BAD)
    disk.error_takes = 1
    with _open(disk, tmp_path / "s") as salvage:
        _, missing = _capture(salvage)
        outcome = _rescue(salvage, missing, seconds=10)
        assert not outcome.finished
        assert undecided(salvage.map, missing)
        assert not _BAD.difference(outcome.missing)
        clock = disk.clock
        disk.error_takes = 0.001
        assert not _rescue(salvage, missing, seconds=0).finished
        assert disk.clock == clock
        assert _rescue(salvage, missing).missing == _BAD


def test_cancelling_keeps_what_was_won(tmp_path: Path) -> None:
    disk = FailingDisk(_DATA, _BAD)
    token = CancelToken()
    with _open(disk, tmp_path / "s") as salvage:
        _, missing = _capture(salvage)

        def progress(done: int, total: int) -> None:
            if done > total // 2:
                token.cancel()

        with pytest.raises(CancelledError):
            salvage.rescue(missing, token=token, progress=progress)
    assert load_map(tmp_path / "s" / "map", _SIZE).having(Status.RESCUED).total >= missing.total // 3


def test_progress_only_grows_and_ends_at_the_total(tmp_path: Path) -> None:
    disk = FailingDisk(_DATA, _BAD)
    told: list[tuple[int, int]] = []
    with _open(disk, tmp_path / "s") as salvage:
        _, missing = _capture(salvage)
        salvage.rescue(missing, token=CancelToken(), progress=lambda *now: told.append(now), retries=2)
    assert told == sorted(told)
    assert told[0] == (0, missing.total)
    assert told[-1] == (missing.total, missing.total)


def test_the_map_is_saved_while_it_works(tmp_path: Path) -> None:
    disk = FailingDisk(_DATA, _BAD)
    disk.error_takes = 30
    with _open(disk, tmp_path / "s") as salvage:
        _capture(salvage)
        assert load_map(tmp_path / "s" / "map", _SIZE).failed


def test_a_map_of_ddrescue_saves_the_known_errors_and_claims_no_data(tmp_path: Path) -> None:
    """Its finished bytes are in ddrescue's own output: here they have to be read."""
    known = RescueMap(_SIZE)
    known.set(0, _SIZE, Status.RESCUED)
    for start, end in _BAD:
        known.set(start, end, Status.BAD)
    (tmp_path / "s").mkdir()
    save_map(tmp_path / "s" / "map", known)
    disk = FailingDisk(_DATA, _BAD)
    with _open(disk, tmp_path / "s") as salvage:
        assert _capture(salvage) == (_masked(_DATA, _BAD), _BAD)
    assert disk.errors == 0


def test_the_folder_of_another_disk_is_refused(tmp_path: Path) -> None:
    disk = FailingDisk(_DATA, _BAD)
    _open(disk, tmp_path / "s").close()
    with pytest.raises(RefusedError, match="another disk: serial 1"):
        _open(disk, tmp_path / "s", name="serial 2")
    (tmp_path / "file").write_text("")
    with pytest.raises(TargetWriteError, match="cannot be used"):
        _open(disk, tmp_path / "file")
    (tmp_path / "s" / "map").write_text("no map")
    with pytest.raises(FormatError, match="not a mapfile"):
        _open(disk, tmp_path / "s")


def test_as_a_source_it_gives_all_or_says_what_is_missing(tmp_path: Path) -> None:
    disk = FailingDisk(_DATA, ExtentMap([(1024, 1536)]), flaky={4096: 1})
    with _open(disk, tmp_path / "s") as salvage:
        assert salvage.pread(10, 100) == _DATA[100:110]
        with pytest.raises(SourceReadError) as caught:
            salvage.pread(1000, 600)
        assert caught.value.offset == 1024
        _rescue(salvage, ExtentMap([(0, BLOCK)]))
        assert salvage.pread(512, 512) == _DATA[512:1024]
        assert salvage.pread(9000, 1536) == _DATA[1536:10536]
        buffer = memoryview(bytearray(512))
        salvage.pread_into(buffer, 4096)
        assert bytes(buffer) == _DATA[4096:4608]
        with pytest.raises(FormatError, match="outside"):
            salvage.pread(2, _SIZE - 1)


def test_sectors_of_4096_bytes_are_not_read_in_parts(tmp_path: Path) -> None:
    disk = FailingDisk(_DATA, ExtentMap([(8192, 12288)]))
    with Salvage(disk, tmp_path / "s", disk="4Kn", sector_size=4096) as salvage:
        _, missing = _capture(salvage)
        assert _rescue(salvage, missing).missing == ExtentMap([(8192, 12288)])
    assert all(read.start % 4096 == 0 and read.end % 4096 == 0 for read in disk.reads)
