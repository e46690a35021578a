"""A table made one of another kind, cut off after any write: the old one counts or the new one does."""

from __future__ import annotations

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from rescue.devices.table import read_layout
from rescue.devices.write_table import table_writes
from rescue.engine.editing import writes_of
from rescue.errors import RefusedError
from rescue.model.layout import Layout
from rescue.planning.operation_text import parse_operation
from rescue.planning.partition import apply
from tests.unit.devices.recorded import SparseDisk
from tests.unit.planning.layouts import dos_layouts, gpt_layouts
from tests.unit.planning.test_label import counting


def _parts(layout: Layout) -> list[tuple[str, int, int, str]]:
    return sorted((layout.label, p.start, p.end, p.type) for p in layout.data_partitions)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.one_of(gpt_layouts(), dos_layouts()))
def test_a_conversion_that_is_cut_off_leaves_one_of_both_tables(drawn: Layout) -> None:
    new = counting()
    try:
        disk = SparseDisk(drawn.size, {})
        for offset, data in table_writes(drawn, b""):
            disk.pwrite(data, offset)
        before = read_layout(disk, drawn.sector_size)
        kind = "mbr" if before.label == "gpt" else "gpt"
        after = apply(before, parse_operation(f"convert {kind}", before, lambda: str(new())))
        writes = writes_of(before, after, disk.pread(before.sector_size, 0))
    except RefusedError:
        assume(False)
        raise
    assert _parts(read_layout(disk, before.sector_size)) == _parts(before)
    one_of = (_parts(before), _parts(after))
    for offset, data in writes:
        disk.pwrite(data, offset)
        assert _parts(read_layout(disk, before.sector_size)) in one_of
    found = read_layout(disk, before.sector_size)
    assert _parts(found) == _parts(after)
    assert not found.problems
