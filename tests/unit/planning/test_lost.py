"""Found partitions become operations, and those a table that names exactly them."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rescue.devices.table import read_layout
from rescue.devices.write_table import table_writes
from rescue.errors import RefusedError
from rescue.model.layout import Layout, Partition
from rescue.model.lost import Lost
from rescue.model.source import MemorySink
from rescue.model.volume import Identity
from rescue.planning.lost import believed, operations_for, type_of
from rescue.planning.operation_text import parse_operation
from rescue.planning.partition import apply
from rescue.records import replace
from rescue.units import GIB, MIB
from tests.examples import examples

_SIZE = 1 * GIB
_GUID = str(UUID(int=7)).upper()


def _lost(start: int, end: int, kind: str = "ext4", version: str = "") -> Lost:
    return Lost(start, end, Identity(kind, "filesystem", version=version), whole=True)


def _done(layout: Layout, lost: list[Lost]) -> Layout:
    for text in operations_for(layout, lost):
        layout = apply(layout, parse_operation(text, layout, lambda: _GUID))
    return layout


def _none(size: int = _SIZE) -> Layout:
    return Layout(size, 512, "none")


def test_only_what_is_whole_and_alone_is_believed() -> None:
    one, two, three = _lost(MIB, 9 * MIB), _lost(8 * MIB, 20 * MIB), _lost(30 * MIB, 40 * MIB)
    remains = Lost(29 * MIB, 60 * MIB, Identity("ntfs"), whole=False)
    file = Lost(32 * MIB, 35 * MIB, Identity("ext2"), whole=True, inside=True)
    assert believed([one, two, remains, three, file]) == [three]
    assert believed([replace(three, twin_of=1)]) == []


@pytest.mark.parametrize(
    ("kind", "version", "label", "expected"),
    [
        ("ntfs", "", "gpt", "windows"),
        ("vfat", "FAT32", "dos", "fat32"),
        ("vfat", "FAT16", "dos", "0x0e"),
        ("vfat", "FAT16", "gpt", "fat32"),
        ("crypto_LUKS", "2", "gpt", "linux"),
        ("LVM2_member", "", "dos", "lvm"),
    ],
)
def test_types(kind: str, version: str, label: str, expected: str) -> None:
    assert type_of(_lost(0, 1, kind, version), label) == expected


@settings(deadline=None, max_examples=examples(150))
@given(st.lists(st.integers(1, 2000), min_size=2, max_size=24, unique=True), st.booleans())
def test_every_table_names_what_was_found_exactly(borders: list[int], aligned: bool) -> None:
    """Wherever they are: on whole MiB under a GPT, anywhere under an MBR as long as logical ones have a sector before them."""
    unit = MIB if aligned else 63 * 512
    ordered = sorted(borders)
    pairs = list(zip(ordered[::2], ordered[1::2], strict=False))
    lost = [_lost(low * unit, high * unit - 512) for low, high in pairs]
    lost = [one for one in lost if one.end <= _SIZE - MIB]
    layout = _done(_none(), lost)
    assert [(p.start, p.end) for p in layout.data_partitions] == [(one.start, one.end) for one in lost]
    small = lost and lost[0].start == MIB and len(lost) <= 4
    assert layout.label == ("dos" if lost and (not aligned or small) else "gpt")


def _label(lost: list[Lost]) -> str:
    return _done(_none(), lost).label


def test_a_table_of_the_kind_that_was_lost() -> None:
    """An MBR is lost by one sector; of a GPT there is a copy at the other end."""
    two = [_lost(MIB, 90 * MIB), _lost(90 * MIB, 200 * MIB)]
    assert _label(two) == "dos"
    assert _label([replace(two[0], is_esp=True), two[1]]) == "gpt"
    assert _label([_lost(2 * MIB, 90 * MIB), two[1]]) == "gpt"
    assert _label([_lost(n * MIB, (n + 1) * MIB) for n in range(1, 6)]) == "gpt"  # a fifth would need a description before it
    assert _label([_lost(MIB, 90 * MIB), _lost(90 * MIB + 63 * 512, 200 * MIB)]) == "dos"


def test_what_is_left_of_a_gpt_speaks_for_one() -> None:
    disk = MemorySink(64 * MIB)
    gpt = Layout(64 * MIB, 512, "gpt", "0F3B1E5C-0000-4000-8000-0000000000AA", 34 * 512, 64 * MIB - 33 * 512)
    for offset, data in table_writes(gpt, b""):
        disk.pwrite(data, offset)
    protective = disk.pread(512, 0)
    disk.pwrite(bytes(MIB), 0)
    two = [_lost(MIB, 20 * MIB), _lost(20 * MIB, 40 * MIB)]
    assert _done(read_layout(disk, 512), two).label == "gpt"  # its copy at the other end
    disk.pwrite(bytes(MIB), 63 * MIB)
    assert _done(read_layout(disk, 512), two).label == "dos"
    disk.pwrite(protective, 0)
    assert _done(read_layout(disk, 512), two).label == "gpt"


def test_a_file_system_that_begins_with_the_disk_needs_no_table() -> None:
    assert believed([_lost(0, 60 * MIB)]) == []


def test_the_table_that_is_written_is_read_back() -> None:
    lost = [_lost(n * 63 * 512 * 100, (n * 100 + 50) * 63 * 512) for n in range(1, 8)]
    layout = _done(_none(64 * MIB), lost)
    sink = MemorySink(64 * MIB)
    for offset, data in table_writes(layout, b""):
        sink.pwrite(data, offset)
    assert [(p.start, p.end) for p in read_layout(sink, 512).data_partitions] == [(one.start, one.end) for one in lost]


def test_into_a_table_that_is_there() -> None:
    kept = Partition(2, 100 * MIB, 200 * MIB, "0x83")
    layout = Layout(_SIZE, 512, "dos", "1234abcd", 512, _SIZE, (kept,))
    after = _done(layout, [_lost(63 * 512, 50 * MIB), _lost(300 * MIB, 400 * MIB, "swap")])
    assert [(p.number, p.start, p.type) for p in after.partitions] == [
        (1, 63 * 512, "0x83"),
        (2, 100 * MIB, "0x83"),
        (3, 300 * MIB, "0x82"),
    ]
    with pytest.raises(RefusedError, match="Another partition"):
        _done(after, [_lost(150 * MIB, 250 * MIB)])


def test_into_the_extended_partition_that_is_there() -> None:
    extended = Partition(1, 100 * MIB, 900 * MIB, "0x0f", kind="extended")
    layout = Layout(_SIZE, 512, "dos", "1234abcd", 512, _SIZE, (extended,))
    after = _done(layout, [_lost(101 * MIB, 200 * MIB), _lost(200 * MIB + 512, 300 * MIB)])
    assert [(p.number, p.kind) for p in after.data_partitions] == [(5, "logical"), (6, "logical")]
    with pytest.raises(RefusedError, match="sector before"):
        _done(after, [_lost(300 * MIB, 400 * MIB), _lost(400 * MIB, 500 * MIB)])
    with pytest.raises(RefusedError, match="does not lie where"):
        _done(after, [_lost(800 * MIB, 901 * MIB)])
