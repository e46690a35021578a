"""Prune, consolidate, verify of a folder and list, as arguments, questions and text."""

from __future__ import annotations

import argparse
import io
import json
from pathlib import Path

import pytest

from rescue.cli import prune
from rescue.cli.chains import groups, list_text, needed_by
from rescue.cli.main import main
from rescue.cli.options import Context
from rescue.errors import RefusedError
from rescue.model.plan import ConsolidateImage, RemoveImages, VerifyStore
from rescue.model.progress import Finished
from rescue.model.survey import ImageSummary
from rescue.planning.prune import StoreState
from rescue.records import replace
from tests.unit.cli.recorded import RecordedMachine
from tests.unit.planning.machines import IMAGE
from tests.unit.planning.test_retention import image, lineage

OLD, NEW = image("old.img.zst", "2026-11-20T10:00:00Z"), image("new.img.zst", "2026-11-22T10:00:00Z")


@pytest.fixture
def machine() -> RecordedMachine:
    """A store with two images of one disk."""
    machine = RecordedMachine()
    machine.state = StoreState("/s", (NEW, OLD), (lineage(NEW), lineage(OLD)))
    return machine


class Terminal(io.StringIO):
    """A terminal at which somebody types."""

    def isatty(self) -> bool:
        """Yes."""
        return True


def run(machine: RecordedMachine, typed: str, *arguments: str) -> tuple[int, str]:
    parser = argparse.ArgumentParser()
    prune.add(parser.add_subparsers())
    error = io.StringIO()
    code = prune.run(parser.parse_args(["prune", *arguments]), Context(machine, Terminal(typed), io.StringIO(), error))
    return code, error.getvalue()


def test_the_number_of_images_is_asked_for(machine: RecordedMachine, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = run(machine, "1\n", "/s", "--keep-last", "1")
    assert code == 0
    assert "Removed:\n- old.img.zst (full, made 2026-11-20 10:00 UTC, 100 bytes)" in said
    assert "type how many they are, 1: " in said
    (job,) = machine.started
    (step,) = job.plan.steps
    assert isinstance(step, RemoveImages)
    assert [(doomed.name, doomed.fingerprint) for doomed in step.images] == [("old.img.zst", "old.img.zst")]


@pytest.mark.parametrize("typed", ["", "y\n", "yes\n", "2\n", "11\n"])
def test_anything_else_is_no(machine: RecordedMachine, typed: str) -> None:
    with pytest.raises(RefusedError, match="Not confirmed"):
        run(machine, typed, "/s", "--keep-last", "1")
    assert machine.started == []


def test_without_a_terminal_it_is_refused(machine: RecordedMachine, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prune", "/s", "--keep-last", "1"], lambda: machine) == 3
    assert "Add --yes" in capsys.readouterr().err
    assert main(["prune", "/s"], lambda: machine) == 2
    assert main(["prune", "/s", "--keep-daily", "-1"], lambda: machine) == 2
    assert machine.started == []
    assert main(["prune", "/s", "--keep-last", "1", "--yes"], lambda: machine) == 0
    assert len(machine.started) == 1


def test_nothing_to_remove_is_no_job_and_no_question(machine: RecordedMachine, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prune", "/s", "--keep-last", "2", "--json"], lambda: machine) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["facts"] == {"store": "/s", "removed": [], "stayed": [], "freed_bytes": 0}
    assert "Nothing is removed." in told.err
    assert machine.started == []


def test_an_interrupted_removal_is_finished_without_a_question(machine: RecordedMachine) -> None:
    machine.state = replace(machine.state, interrupted=True)
    assert main(["prune", "/s", "--keep-last", "2"], lambda: machine) == 0
    (job,) = machine.started
    assert job.plan.steps == (RemoveImages("Remove images", "/s", ()),)


def test_consolidate(machine: RecordedMachine, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["consolidate", "/mnt/usb/x.rimg", "/mnt/usb", "--split", "1G"], lambda: machine) == 0
    step = machine.started[0].plan.steps[0]
    assert step == ConsolidateImage("Put the image together", "/mnt/usb/x.rimg", "/mnt/usb", "x-full.img.zst", 1 << 30)
    machine.store = replace(machine.store, names=frozenset({"x-full.img.zst"}))
    assert main(["consolidate", "/mnt/usb/x.rimg", "/mnt/usb", "--dry-run", "--json"], lambda: machine) == 0
    assert json.loads(capsys.readouterr().out.split("It is done.\n")[1])["steps"][0]["name"] == "x-full-2.img.zst"
    assert main(["consolidate", "/mnt/usb/x.rimg", "/mnt/usb", "--name", "x-full"], lambda: machine) == 3
    assert main(["consolidate", "/mnt/usb/x.rimg", "/mnt/usb", "--split", "3"], lambda: machine) == 2


def test_verify_of_a_folder(machine: RecordedMachine, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    machine.events = [Finished("failed", 4, "1 of 2 images are damaged: b.", "", {"images": ["a: whole", "b: damaged. Oh."]})]
    assert main(["verify", str(tmp_path)], lambda: machine) == 4
    told = capsys.readouterr()
    assert told.out == "a: whole\nb: damaged. Oh.\n"
    assert "rescue: 1 of 2 images are damaged: b." in told.err
    assert isinstance(machine.started[0].plan.steps[0], VerifyStore)
    for option in (["--mount"], ["--against", "/dev/sda"]):
        assert main(["verify", str(tmp_path), *option], lambda: machine) == 2


def chain() -> list[ImageSummary]:
    """A full image, three upon each other, a branch of the first of them, a differential one; newest first."""
    full = image("full.img.zst", "2026-11-01T10:00:00Z")
    one = image("one.rimg", "2026-11-02T10:00:00Z", ("full.img.zst",))
    two = image("two.rimg", "2026-11-03T10:00:00Z", ("one.rimg", "full.img.zst"))
    three = image("three.rimg", "2026-11-04T10:00:00Z", ("two.rimg",), health="FAILED", comment="oh\x1b[2J")
    branch = image("branch.rimg", "2026-11-05T10:00:00Z", ("one.rimg",), health="verified 2026-11-06")
    diff = replace(image("diff.rimg", "2026-11-06T10:00:00Z", ("full.img.zst",)), kind="differential", health="never checked")
    return [diff, branch, three, two, one, full]


def test_chains_are_drawn() -> None:
    locked = ImageSummary(
        "/s/l.rimg", "l.rimg", 5, kind="incremental", created="2026-11-07T10:00:00Z", encrypted=True, locked=True,
        problem="It is encrypted.", problem_exit_code=5,
    )  # fmt: skip
    lines = list_text([locked, *chain()])
    assert lines == [
        "/dev/nvme0n1 (Samsung SSD 980, 512.0 GiB, serial S649NX0R)",
        "MADE (UTC)        KIND       SIZE  HEALTH     NAME",
        "2026-11-01 10:00  full  100 bytes  proved     full.img.zst",
        "2026-11-02 10:00  incr  100 bytes  proved     └ one.rimg",
        "2026-11-03 10:00  incr  100 bytes  proved       └ two.rimg",
        "2026-11-04 10:00  incr  100 bytes  FAILED       └ three.rimg",
        "    oh?[2J",
        "2026-11-05 10:00  incr  100 bytes  verified     └ branch.rimg",
        "2026-11-06 10:00  diff  100 bytes  unchecked  └ diff.rimg",
        "",
        "Images whose disk is not known",
        "MADE (UTC)        KIND     SIZE  HEALTH  NAME",
        "2026-11-07 10:00  incr  5 bytes  locked  l.rimg",
        "    It is encrypted.",
    ]


def test_who_needs_an_image_is_told() -> None:
    needing = needed_by(chain())
    assert needing["/s/one.rimg"] == ("branch.rimg", "two.rimg")
    assert needing["/s/full.img.zst"] == ("diff.rimg", "two.rimg", "one.rimg")
    assert needing["/s/diff.rimg"] == ()


def test_a_long_chain_does_not_run_out_of_the_screen_and_a_circle_ends() -> None:
    images = [image("0")]
    for number in range(1, 60):
        images.insert(0, image(str(number), needs=(str(number - 1),)))
    assert max(map(len, list_text(images))) <= 80
    assert len(list_text(images)) == 62
    one, two = image("one", needs=("two",)), image("two", needs=("one",))
    assert sorted(placed.image.name for group in groups([one, two]) for placed in group.images) == ["one", "two"]
    twins = [replace(IMAGE, path="/s/a", name="a"), replace(IMAGE, path="/s/b", name="b")]
    assert [placed.image.name for group in groups(twins) for placed in group.images] == ["a", "b"]
