"""What a person is told to do after a job."""

from __future__ import annotations

import pytest

from rescue.devices.sanitize import Sanitizing
from rescue.model.edit import WipeMethod
from rescue.planning.wipe import WipeRequest, plan_wipe
from rescue.records import replace
from rescue.tui.screens.done import next_words
from tests.unit.planning.machines import LAPTOP_SURVEY


@pytest.mark.parametrize(
    ("method", "rotational", "words"),
    [
        ("quick", False, "Do not give it away"),
        ("quick", True, "Do not give it away"),
        ("zeros", False, "flash keeps spare blocks"),
        ("zeros", True, "can be given away"),
        ("sanitize", False, "can be given away"),
    ],
)
def test_only_a_disk_that_holds_nothing_any_more_can_be_given_away(method: WipeMethod, rotational: bool, words: str) -> None:
    survey = replace(LAPTOP_SURVEY, disk=replace(LAPTOP_SURVEY.disk, rotational=rotational))
    said = next_words(plan_wipe(survey, WipeRequest(method), Sanitizing("nvme-block", seconds=600)))
    assert words in said
    assert ("can be given away" in said) == (words == "can be given away")
    assert "“Partitions” makes a partition table" in said
