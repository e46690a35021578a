"""Operations as they are written: what makes no sense is refused where it is read."""

from __future__ import annotations

import pytest

from rescue.errors import UsageError
from rescue.model.layout import Layout
from rescue.planning.operation_text import parse_operation
from rescue.units import GIB

_GPT = Layout(GIB, 512, "gpt")
_DOS = Layout(GIB, 512, "dos")


@pytest.mark.parametrize(
    "text", ["name 1 '\udcff'", "label 1 '\udcff\udcfe'", "create name=\udcff", "format 1 fs=ext4 label=\udcff"]
)
def test_bytes_that_are_no_text_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no text in UTF-8") as refused:
        parse_operation(text, _GPT, str)
    assert str(refused.value).encode()


@pytest.mark.parametrize(
    ("layout", "text", "says"),
    [
        (_DOS, "type 1 extended", "cannot become an extended one"),
        (_GPT, "type 1 extended", "has no type"),
        (_GPT, "type 1 00000000-0000-0000-0000-000000000000", "is no type of partition"),
        (_GPT, "create type=00000000-0000-0000-0000-000000000000", "is no type of partition"),
        (_DOS, "type 1 0x0f", "is no type of partition"),
    ],
)
def test_types_that_no_partition_can_get(layout: Layout, text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        parse_operation(text, layout, str)
