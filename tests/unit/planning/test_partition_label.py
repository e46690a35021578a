"""Which labels each file system takes, new or there already. The tools themselves are asked in the engine tests."""

from __future__ import annotations

import pytest

from rescue.errors import UsageError
from rescue.model.operation import FileSystem
from rescue.planning.partition_copy import check_label


@pytest.mark.parametrize(
    ("kind", "label", "says"),
    [
        *(("vfat", f"A{sign}B", "cannot have any of") for sign in '*?.,;:/\\|+=<>[]"'),
        ("vfat", " A", "begin with a space"),
        ("vfat", "NO NAME", "says that it has none"),
        ("vfat", "Ünter", "only ASCII"),
        ("exfat", "Ünter", "only ASCII"),
        ("ext4", "A ", "end with a space"),
        ("vfat", "A" * 12, "at most 11"),
        ("swap", "A" * 16, "at most 15"),
        ("btrfs", "/" * 80, "at most"),
        ("ext4", "a\nb", "plain characters"),
        ("ntfs", "\udcff", "plain characters"),
    ],
)
def test_what_its_tools_refuse(kind: FileSystem, label: str, says: str) -> None:
    for present in (False, True):
        with pytest.raises(UsageError, match=says) as refused:
            check_label(kind, label, present=present)
        assert str(refused.value).encode()


@pytest.mark.parametrize(
    ("kind", "label"), [("xfs", "a b"), ("xfs", "it's"), ("xfs", "--"), ("vfat", "-a"), ("exfat", "-a"), ("ntfs", "-a")]
)
def test_what_only_a_new_one_takes(kind: FileSystem, label: str) -> None:
    check_label(kind, label)
    with pytest.raises(UsageError, match="there already"):
        check_label(kind, label, present=True)


@pytest.mark.parametrize(("kind", "label"), [("vfat", "my disk"), ("ntfs", "Größe"), ("btrfs", "é" * 120), ("xfs", "-a$b`c")])
def test_what_they_take(kind: FileSystem, label: str) -> None:
    check_label(kind, label)
    check_label(kind, label, present=True)
