"""Which image a new one is made upon, for any folder of images."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescue.errors import CredentialError, RefusedError
from rescue.model.survey import ChainLink, DiskSurvey, ImageSummary
from rescue.planning.parent import choose_parent, is_same_disk
from rescue.planning.request import BackupRequest
from rescue.records import replace
from rescue.units import GIB
from tests.unit.planning.machines import BLANK_SURVEY, IMAGE, LAPTOP_SURVEY, sized

FOLDER = "/mnt/usb"
OTHER_GPT = replace(IMAGE, layout=replace(LAPTOP_SURVEY.layout, id="0F3B1E5C-0000-4000-8000-0000000000FF"))


def image(number: int, kind: str, problem: bool, other: bool, day: int) -> ImageSummary:
    """One of a folder."""
    return replace(
        OTHER_GPT if other else IMAGE, name=f"{number}.rimg", path=f"{FOLDER}/{number}.rimg", uuid=str(number), kind=kind,
        created=f"2026-11-{day:02}T00:00:00Z", problem="It is damaged." if problem else "",
    )  # fmt: skip


_ONE = st.tuples(st.sampled_from(["full", "incremental", "differential"]), st.booleans(), st.booleans(), st.integers(1, 28))
IMAGES = st.lists(_ONE, max_size=8).map(lambda many: [image(number, *one) for number, one in enumerate(many)])
KINDS = st.sampled_from(["", "full", "incremental", "differential"])
PARENTS = st.sampled_from(["", "auto", "0.rimg", f"{FOLDER}/1.rimg", "/elsewhere/0.rimg", "nothing"])


@given(IMAGES, KINDS, PARENTS)
def test_the_choice(images: list[ImageSummary], kind: str, parent: str) -> None:
    request = BackupRequest(kind=kind, parent=parent)  # type: ignore[arg-type]
    usable = [i for i in images if not i.problem and i.layout == LAPTOP_SURVEY.layout]
    try:
        chosen, upon = choose_parent(LAPTOP_SURVEY, images, request, FOLDER)
    except RefusedError:
        assert kind != "full"
        if parent in ("", "auto"):
            assert kind or parent
            assert not [i for i in usable if i.kind == "full" or kind != "differential"]
        else:
            named = [i for i in usable if parent in (i.path, i.name)]
            # A differential upon another is one upon its full image, which may not be there.
            assert not [i for i in named if i.kind == "full" or kind != "differential"]
        return
    assert chosen == (kind or ("incremental" if upon else "full"))
    assert (upon is None) == (chosen == "full")
    if upon is None:
        assert kind == "full" or not usable
        return
    assert upon in usable
    if parent in ("", "auto"):
        candidates = [i for i in usable if i.kind == "full" or kind != "differential"]
        assert upon.created == max(i.created for i in candidates)
    else:
        assert parent in (upon.path, upon.name)


@pytest.mark.parametrize(
    ("named", "words"),
    [
        (replace(OTHER_GPT, name="x.rimg", path=f"{FOLDER}/x.rimg"), "image of another disk"),
        (replace(IMAGE, name="x.rimg", path=f"{FOLDER}/x.rimg", problem="It is damaged."), "cannot be made the base"),
        (replace(IMAGE, name="y.rimg", path=f"{FOLDER}/y.rimg"), "is not an image in /mnt/usb"),
    ],
)
def test_a_named_parent_that_cannot_be(named: ImageSummary, words: str) -> None:
    with pytest.raises(RefusedError, match=words) as caught:
        choose_parent(LAPTOP_SURVEY, [named], BackupRequest(parent=f"{FOLDER}/x.rimg"), FOLDER)
    assert caught.value.exit_code == 3
    assert caught.value.hint or named.problem


_LOCKED = replace(
    IMAGE, name="x.rimg", path=f"{FOLDER}/x.rimg", disk=None, layout=None, encrypted=True, locked=True, problem="No.",
    problem_exit_code=5,
)  # fmt: skip


@pytest.mark.parametrize(
    "request_",
    [
        BackupRequest(encrypt=True, kind="incremental"),
        BackupRequest(encrypt=True, kind="differential", salvage=True),
        BackupRequest(encrypt=True, parent="auto"),
        BackupRequest(encrypt=True, parent="x.rimg"),
    ],
)
def test_a_wrong_passphrase_is_told_as_one(request_: BackupRequest) -> None:
    with pytest.raises(CredentialError, match=r"x\.rimg cannot be opened with this passphrase or key") as caught:
        choose_parent(LAPTOP_SURVEY, [_LOCKED], request_, FOLDER)
    assert caught.value.exit_code == 5
    assert "--kind full" in caught.value.hint


def test_a_locked_image_is_nothing_to_build_on_without_encryption() -> None:
    for parent, words in (("auto", "no whole image"), ("x.rimg", "cannot be made the base")):
        with pytest.raises(RefusedError, match=words):
            choose_parent(LAPTOP_SURVEY, [_LOCKED], BackupRequest(parent=parent), FOLDER)
    opened = replace(IMAGE, name="y.rimg", path=f"{FOLDER}/y.rimg", encrypted=True)
    request = BackupRequest(encrypt=True, kind="incremental")
    assert choose_parent(LAPTOP_SURVEY, [_LOCKED, opened], request, FOLDER) == ("incremental", opened)


def _link(of: ImageSummary) -> ChainLink:
    return ChainLink(of.uuid, of.fingerprint, of.name, 1000)


def test_nothing_is_made_upon_what_its_last_check_found_damaged() -> None:
    """Nor upon what needs it: such an image could not be restored."""
    good, bad, upon = (
        image(number, kind, False, False, number) for number, kind in enumerate(("full", "full", "incremental"), 1)
    )
    bad = replace(bad, health="FAILED")
    upon = replace(upon, chain=(_link(bad),))
    for images, chosen in (([good, bad, upon], good), ([bad, upon], None)):
        assert choose_parent(LAPTOP_SURVEY, images, BackupRequest(), FOLDER)[1] == chosen
    for named in (bad, upon):
        with pytest.raises(RefusedError, match=r"2\.rimg failed its last check") as caught:
            choose_parent(LAPTOP_SURVEY, [good, bad, upon], BackupRequest(parent=named.name), FOLDER)
        assert "--kind full" in caught.value.hint
    # What a failing disk did not give is no damage of its image: that is what a salvage goes on with.
    lacking = replace(bad, bad_bytes=512)
    assert choose_parent(LAPTOP_SURVEY, [good, lacking], BackupRequest(), FOLDER)[1] == lacking


def test_what_was_put_together_is_built_upon_so_that_the_chain_can_go() -> None:
    full, day = image(1, "full", False, False, 1), image(2, "incremental", False, False, 2)
    day = replace(day, chain=(_link(full),))
    whole = replace(image(0, "full", False, False, 2), made_from=day.uuid)
    assert choose_parent(LAPTOP_SURVEY, [full, day, whole], BackupRequest(), FOLDER)[1] == whole


def test_a_clock_that_went_back_does_not_split_the_chain() -> None:
    full, day = image(1, "full", False, False, 20), image(2, "incremental", False, False, 3)
    day = replace(day, chain=(_link(full),))
    assert choose_parent(LAPTOP_SURVEY, [full, day], BackupRequest(), FOLDER)[1] == day


def _with(survey: DiskSurvey, label: str, identity: str, serial: str) -> DiskSurvey:
    return replace(survey, disk=replace(survey.disk, serial=serial), layout=replace(survey.layout, label=label, id=identity))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("label", "identity", "serial", "bigger", "same"),
    [
        ("gpt", "0F3B", "S1", True, True),  # the GUID is enough: the disk may have been cloned to a bigger one
        ("gpt", "", "S1", False, False),
        ("dos", "0x1234abcd", "S1", False, True),
        ("dos", "0x1234abcd", "S1", True, False),
        ("dos", "0x00000000", "", False, True),  # by name and size, as a file
        ("none", "", "S1", False, True),
        ("none", "", "S1", True, False),
    ],
)
def test_the_same_disk(label: str, identity: str, serial: str, bigger: bool, same: bool) -> None:
    before = _with(BLANK_SURVEY, label, identity, serial)
    now = sized(before, before.disk.size + GIB) if bigger else before
    assert is_same_disk(replace(IMAGE, disk=before.disk, layout=before.layout), now) is same
    other = _with(now, label, identity and "0x0badf00d", "S2")
    assert not is_same_disk(replace(IMAGE, disk=before.disk, layout=before.layout), other)
    assert not is_same_disk(replace(IMAGE, disk=None), now)
