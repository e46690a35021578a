"""The bound on pieces."""

from __future__ import annotations

from itertools import count

import pytest

from rescue.errors import UnsupportedError
from rescue.filesystems.pieces import bounded


def test_as_many_as_allowed_pass() -> None:
    assert list(bounded([(0, 1), (2, 3)], limit=2)) == [(0, 1), (2, 3)]


def test_more_are_refused_without_an_end() -> None:
    with pytest.raises(UnsupportedError, match="more than 5 pieces"):
        list(bounded(((n, n + 1) for n in count(0, 2)), limit=5))
