"""A full image out of a chain is planned with a name that can be."""

from __future__ import annotations

import pytest

from rescue.errors import UsageError
from rescue.planning.backup import StoreFacts
from rescue.planning.consolidate import plan_consolidate
from rescue.records import replace
from rescue.units import GIB
from tests.unit.planning.test_retention import image

CHILD = image("child.rimg", needs=("full.img.zst",))
STORE = StoreFacts("/mnt/usb", 500 * GIB)


@pytest.mark.parametrize("name", ["a/b", "..", ".hid", "x" * 245, "bad\udcff"])
def test_names_that_cannot_be(name: str) -> None:
    with pytest.raises(UsageError, match=r"the name of an image|too long"):
        plan_consolidate(CHILD, STORE, name)


def test_a_name_made_of_another_has_to_be_one_too() -> None:
    assert plan_consolidate(CHILD, STORE).steps
    with pytest.raises(UsageError, match="no UTF-8"):
        plan_consolidate(image("bad\udcff.rimg", needs=("full.img.zst",)), STORE)


def test_a_place_with_too_little_room_is_told() -> None:
    needed = CHILD.own_bytes + 1000
    assert plan_consolidate(CHILD, replace(STORE, free_bytes=needed)).warnings == ()
    (warning,) = plan_consolidate(CHILD, replace(STORE, free_bytes=needed - 1)).warnings
    assert warning.startswith("/mnt/usb has ")
