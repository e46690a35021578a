"""Copying files out: what is planned, what is refused, what is said before."""

from __future__ import annotations

import pytest

from rescue.engine.counting import Amount
from rescue.errors import DamagedError, UsageError
from rescue.filesystems.files.tree import Entry, Kind
from rescue.model.disk import Protection
from rescue.model.plan import ExtractFiles
from rescue.planning.extract import AlreadyThereError, FolderFacts, amount_words, plan_extract, without_nested
from rescue.planning.request import ExtractRequest
from rescue.records import replace
from rescue.units import GIB, KIB
from tests.unit.planning.machines import IMAGE, LAPTOP_SURVEY

VOLUME = LAPTOP_SURVEY.volumes[0]
LETTER = Entry("letter", "home/letter", Kind.FILE, 3 * KIB)
HOME = Entry("home", "home", Kind.FOLDER)
AMOUNT = Amount(2, 1, 3 * KIB)
FACTS = FolderFacts("/mnt/usb", 10 * GIB, "ext4")


def _request(*entries: Entry, overwrite: bool = False) -> ExtractRequest:
    return ExtractRequest(tuple(entry.path for entry in entries), "/mnt/usb", overwrite)


def test_from_a_disk() -> None:
    plan = plan_extract(LAPTOP_SURVEY, VOLUME, [LETTER], AMOUNT, FACTS, _request(LETTER))
    (step,) = plan.steps
    assert isinstance(step, ExtractFiles)
    assert (step.paths, step.folder, step.disk, step.image) == ((b"home/letter",), "/mnt/usb", LAPTOP_SURVEY.disk, "")
    assert plan.source == LAPTOP_SURVEY.disk  # that it is still the same one is checked before it is read
    assert plan.target is None
    assert plan.command == ("rescue", "extract", LAPTOP_SURVEY.disk.path, f"{VOLUME.partition}:/home/letter", "/mnt/usb")
    assert plan.losses == plan.warnings == ()


def test_from_an_image() -> None:
    plan = plan_extract(IMAGE, VOLUME, [HOME], AMOUNT, FACTS, _request(HOME))
    (step,) = plan.steps
    assert isinstance(step, ExtractFiles)
    assert (step.image, step.disk, plan.source) == (IMAGE.path, None, None)


def test_an_image_with_a_problem_is_refused() -> None:
    with pytest.raises(DamagedError):
        plan_extract(replace(IMAGE, problem="Cut off.", problem_exit_code=4), VOLUME, [HOME], AMOUNT, FACTS, _request(HOME))


def test_what_is_there_is_refused_or_named() -> None:
    facts = replace(FACTS, present={"letter": False, "home": True})
    with pytest.raises(AlreadyThereError, match="holds home, letter already") as caught:
        plan_extract(LAPTOP_SURVEY, VOLUME, [LETTER], AMOUNT, facts, _request(LETTER))
    assert caught.value.exit_code == 3
    plan = plan_extract(LAPTOP_SURVEY, VOLUME, [LETTER], AMOUNT, facts, _request(LETTER, overwrite=True))
    assert plan.losses == ("In the folder home: every file that is among those to be copied", "letter")
    assert plan.command[-1] == "--overwrite"


def test_two_of_one_name_and_nothing_are_refused() -> None:
    other = replace(LETTER, path="work/letter")
    with pytest.raises(UsageError, match="same name: letter"):
        plan_extract(LAPTOP_SURVEY, VOLUME, [LETTER, other], AMOUNT, FACTS, _request(LETTER, other))
    with pytest.raises(UsageError, match="Nothing was chosen"):
        plan_extract(LAPTOP_SURVEY, VOLUME, [], Amount(), FACTS, _request())


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (replace(FACTS, free_bytes=2 * KIB), "not room enough: 3.0 KiB"),
        (replace(FACTS, filesystem="vfat"), "FAT keeps no owners"),
        (replace(FACTS, disks=(LAPTOP_SURVEY.disk.path,)), "on the same disk"),
    ],
)
def test_warnings(facts: FolderFacts, words: str) -> None:
    plan = plan_extract(LAPTOP_SURVEY, VOLUME, [LETTER], AMOUNT, facts, _request(LETTER))
    (warning,) = plan.warnings
    assert words in warning


def test_a_disk_in_use_is_warned_of() -> None:
    used = replace(LAPTOP_SURVEY, protections=(Protection("mounted at /mnt"),))
    (warning,) = plan_extract(used, VOLUME, [LETTER], AMOUNT, FACTS, _request(LETTER)).warnings
    assert "is in use" in warning


def test_names_that_are_no_text_survive_and_are_shown() -> None:
    evil = Entry("a\x1b\udcff", "a\x1b\udcff", Kind.FILE)
    plan = plan_extract(LAPTOP_SURVEY, VOLUME, [evil], AMOUNT, FACTS, _request(evil))
    (step,) = plan.steps
    assert isinstance(step, ExtractFiles)
    assert step.paths == (b"a\x1b\xff",)
    assert all(text.isprintable() for text in (*plan.sentences, *plan.command))
    assert "a\\x1b\\xff" in plan.sentences[1]


@pytest.mark.parametrize(
    ("paths", "left"),
    [
        (("a", "a/b", "b"), ("a", "b")),
        (("a/b/c", "a"), ("a",)),
        (("a", "ab", "a"), ("a", "ab")),
        (("x", "", "y"), ("",)),
        ((), ()),
    ],
)
def test_what_is_inside_of_something_marked_is_not_copied_twice(paths: tuple[str, ...], left: tuple[str, ...]) -> None:
    assert without_nested(paths) == left


def test_amounts_in_words() -> None:
    assert amount_words(Amount(1, 0, 1)) == "1 file, 1 byte"
    assert amount_words(Amount(20, 3, 2 * KIB, complete=False)) == "more than 20 files in 3 folders, 2.0 KiB"
