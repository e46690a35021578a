"""Planning the export of an image."""

from __future__ import annotations

import pytest

from rescue.errors import DamagedError, RefusedError, UsageError
from rescue.model.plan import ExportImage
from rescue.planning.export import FileFacts, plan_export
from rescue.records import replace
from rescue.units import GIB, TIB
from tests.unit.planning.machines import IMAGE

FILE = FileFacts("/vm/laptop.qcow2", ".qcow2", False, "/vm", 1000 * GIB)


@pytest.mark.parametrize(
    ("suffix", "named", "chosen"),
    [
        (".qcow2", "", "qcow2"),
        (".vmdk", "", "vmdk"),
        (".img", "", "raw"),
        (".vhdx", "", "vhdx"),
        (".vdi", "raw", "raw"),
        ("", "vhd", "vhd"),
    ],
)
def test_the_format_is_told_by_the_suffix_or_named(suffix: str, named: str, chosen: str) -> None:
    image = replace(IMAGE, disk=replace(IMAGE.disk, size=100 * GIB))  # type: ignore[type-var]
    plan = plan_export(image, replace(FILE, path=f"/vm/x{suffix}", suffix=suffix), named)
    (step,) = plan.steps
    assert isinstance(step, ExportImage)
    assert (step.format, step.file, step.image) == (chosen, f"/vm/x{suffix}", IMAGE.path)
    assert plan.command[:3] == ("rescue", "export", IMAGE.path)
    assert ("--format" in plan.command) == bool(named)
    assert plan.target is None


def test_refusals() -> None:
    with pytest.raises(UsageError, match="--format"):
        plan_export(IMAGE, replace(FILE, path="/vm/x.doc", suffix=".doc"))
    with pytest.raises(RefusedError, match="exists already"):
        plan_export(IMAGE, replace(FILE, exists=True))
    big = replace(IMAGE, disk=replace(IMAGE.disk, size=3 * TIB))  # type: ignore[type-var]
    with pytest.raises(RefusedError, match="VHDX"):
        plan_export(big, replace(FILE, suffix=".vhd"))
    with pytest.raises(DamagedError, match="not complete"):
        plan_export(replace(IMAGE, problem="It is not complete.", problem_exit_code=4), FILE)


def test_little_space_is_a_warning() -> None:
    (warning,) = plan_export(IMAGE, replace(FILE, free_bytes=1)).warnings
    assert "stops and removes" in warning
    assert plan_export(IMAGE, FILE).warnings == ()
