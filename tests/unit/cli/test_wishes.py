"""The options that say what becomes of single partitions: arguments in, a request out."""

from __future__ import annotations

import pytest

from rescue.cli.main import main
from rescue.model.fit import NO_WISHES, FitWish, FitWishes
from rescue.model.plan import Plan
from rescue.model.survey import DiskSurvey
from rescue.planning.fitting import FitChoice, FitSource, plan_fit
from rescue.records import replace
from rescue.services import CloneRequest, RestoreRequest
from rescue.units import GIB, MIB
from tests.unit.cli.recorded import RecordedMachine
from tests.unit.planning.machines import sized


class _Fitting(RecordedMachine):
    """Keeps what was asked for, and fits a clone by it."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[FitWishes] = []

    def plan_clone(self, source: DiskSurvey, target: DiskSurvey, request: CloneRequest) -> Plan:
        """See Machine."""
        self.asked.append(request.wishes)
        disk = FitSource("", source.disk.path, source.disk, source.layout, source.volumes, source.used_bytes)
        choice = FitChoice("clone", request.fit or "auto", {3: 220 * GIB}, wishes=request.wishes)
        return plan_fit(disk, sized(target, 500 * GIB), choice)

    def plan_restore(self, image: str, target: DiskSurvey, request: RestoreRequest) -> Plan:
        """See Machine."""
        self.asked.append(request.wishes)
        return super().plan_restore(image, target, replace(request, wishes=NO_WISHES))


_OPTIONS = "--size 3=300GiB --size 1=same --leave-out 2 --order 3,1 --overlay /mnt/usb/x --sector-size 512"
_WISHES = FitWishes(
    (FitWish(3, "exactly", 300 * GIB), FitWish(1, "keep"), FitWish(2, "leave-out")),
    order=(3, 1),
    overlay="/mnt/usb/x",
    sector_size=512,
)


def test_the_options_reach_the_request() -> None:
    machine = _Fitting()
    assert main(["clone", "/dev/nvme0n1", "/dev/sdb", "--dry-run", *_OPTIONS.split()], lambda: machine) == 0
    assert main(["restore", "/x.img.zst", "/dev/sdb", "--dry-run", *_OPTIONS.split()], lambda: machine) == 0
    assert main(["restore", "/x.img.zst", "/dev/sdb", "--dry-run"], lambda: machine) == 0
    assert machine.asked == [_WISHES, _WISHES, NO_WISHES]


@pytest.mark.parametrize(
    ("text", "wish"),
    [
        ("3=max", FitWish(3, "max")),
        ("3=min", FitWish(3, "min")),
        ("3=700M+", FitWish(3, "at-least", 700 * MIB)),
        ("3=4096", FitWish(3, "exactly", 4096)),
    ],
)
def test_a_size_in_words(text: str, wish: FitWish) -> None:
    machine = _Fitting()
    main(["clone", "/dev/nvme0n1", "/dev/sdb", "--dry-run", "--size", text], lambda: machine)
    assert machine.asked[0].volumes == (wish,)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--size 3", "not N=SIZE"),
        ("--size x=3G", "not the number of a partition"),
        ("--size 3=big", "not a size"),
        ("--size 3=-4G", "not a size"),
        ("--size 3=", "not a size"),
        ("--leave-out first", "not the number of a partition"),
        ("--order 1,,3", "not the number of a partition"),
        ("--size 9=4G", "no partition 9"),
        ("--size 3=4G --leave-out 3", "only one thing"),
        ("--sector-size 520", "invalid choice"),
        ("--leave-out 1 --leave-out 2 --leave-out 3", "nothing would be written"),
        ("--order 1,2", "every partition that is kept"),
        ("--fit same --size 3=max", "all are to be the same"),
    ],
)
def test_what_makes_no_sense_is_wrong_usage(options: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = main(["clone", "/dev/nvme0n1", "/dev/sdb", "--dry-run", *options.split()], _Fitting)
    except SystemExit as left:  # argparse's own way
        code = int(left.code or 0)
    assert code == 2
    assert says in " ".join(capsys.readouterr().err.split())


def test_a_dry_run_shows_the_table_of_the_target(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["clone", "/dev/nvme0n1", "/dev/sdb", "--dry-run", "--size", "3=300G", "--leave-out", "2"], _Fitting) == 0
    said = capsys.readouterr().out
    table, plan = said.split("\n\n", 1)
    assert table.splitlines()[0] == "On the target:"
    assert "300.0 GiB  NTFS" in table
    assert "Microsoft reserved" not in table
    text = " ".join(plan.split())
    assert "Partition 3 becomes smaller: 399.0 GiB → 300.0 GiB." in text
    assert "Partition 2, Microsoft reserved, 16.0 MiB: is left out" in text
    assert "--fit auto --size 3=300GiB --leave-out 2" in text


def test_too_much_is_refused_with_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["clone", "/dev/nvme0n1", "/dev/sdb", "--dry-run", "--size", "3=600G"], _Fitting) == 3
    said = " ".join(capsys.readouterr().err.split())
    assert "too small by 100.5 GiB" in said
    assert "Partition 3 was asked to be 380.0 GiB larger than it must be." in said
    assert main(["clone", "/dev/nvme0n1", "/dev/sdb", "--dry-run", "--size", "3=100G"], _Fitting) == 3
    assert f"Partition 3 cannot be made smaller than 220.0 GiB ({220 * GIB} bytes)" in " ".join(capsys.readouterr().err.split())
