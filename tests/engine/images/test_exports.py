"""The disk in an image as other programs see it: clients of others, files, devices, overlays; nothing is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from rescue.engine.exports import exported
from rescue.errors import DamagedError, ProgramError
from rescue.images.chain import Chain
from rescue.images.format import RowKind
from rescue.images.view import ImageView
from rescue.system.process import running
from rescue.system.run import run
from rescue.units import MIB
from tests.engine.devices.processes import children_of, is_alive
from tests.unit.images.disks import small_disk, write_image

pytestmark = pytest.mark.engine

DISK = small_disk()
KEPT = DISK.kept
START, END = 6 * MIB, len(KEPT) - MIB


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("image") / "disk.img.zst"
    write_image(DISK, path)
    return path


@pytest.fixture
def view(image: Path) -> Iterator[ImageView]:
    with Chain(image) as chain:
        yield ImageView(chain)


@pytest.fixture(autouse=True)
def _nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # pytest's own folders have names that are too long for a socket.
    with tempfile.TemporaryDirectory(prefix="p-") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield
        assert os.listdir(folder) == []
        assert folder not in Path("/proc/self/mounts").read_text()
        monkeypatch.undo()


def test_qemu_and_libnbd_read_the_same_bytes(view: ImageView, tmp_path: Path) -> None:
    with exported(view) as export:
        uri = f"nbd+unix:///?socket={export.socket}"
        run(["qemu-img", "convert", "-f", "raw", "-O", "raw", uri, str(tmp_path / "qemu.raw")])
        run(["nbdcopy", uri, str(tmp_path / "nbdcopy.raw")])
        listed = msgspec.json.decode(run(["nbdinfo", "--json", "--map", uri]).stdout)
    assert (tmp_path / "qemu.raw").read_bytes() == KEPT
    assert (tmp_path / "nbdcopy.raw").read_bytes() == KEPT
    states = {RowKind.DATA: 0, RowKind.ZERO: 2, RowKind.HOLE: 3}
    held = [(h.start, h.end - h.start, states[h.kind]) for h in view.extents()]
    assert [(e["offset"], e["length"], e["type"]) for e in listed] == held


def test_an_overlay_takes_writes_and_forgets_them(view: ImageView, image: Path) -> None:
    before = image.read_bytes()
    with exported(view) as export:
        for _ in range(2):
            with export.overlay(START, END) as layer, export.as_file(layer.socket) as file:
                assert file.read_bytes() == KEPT[START:END]
                with file.open("r+b") as opened:
                    opened.seek(70000)
                    opened.write(b"written")
                changed = bytearray(KEPT[START:END])
                changed[70000:70007] = b"written"
                assert file.read_bytes() == changed
        assert view.pread(END - START, START) == KEPT[START:END]
    assert image.read_bytes() == before


def test_without_an_overlay_nothing_can_be_written(view: ImageView) -> None:
    with exported(view) as export, export.as_file(export.socket) as file:
        assert file.read_bytes() == KEPT
        with pytest.raises(OSError):
            file.open("r+b")


def test_a_device(view: ImageView) -> None:
    with exported(view) as export, export.overlay(START, END) as layer, export.as_volume(layer) as node:
        with open(node, "r+b") as device:
            assert device.read() == KEPT[START:END]
            device.seek(0)
            device.write(b"written")
        assert Path(node).read_bytes()[:7] == b"written"


def test_damage_is_an_error_for_the_reader_and_its_reason_is_kept(image: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.img.zst"
    content = bytearray(image.read_bytes())
    with Chain(image) as chain:
        row = next(row for row in chain.rows() if row.kind == RowKind.DATA and row.start > START)
    content[row.frame_offset + row.frame_length // 2] ^= 1
    damaged.write_bytes(content)
    with Chain(damaged) as chain, exported(ImageView(chain)) as export:
        with pytest.raises(ProgramError):
            run(["qemu-img", "convert", "-f", "raw", f"nbd+unix:///?socket={export.socket}", str(tmp_path / "out")])
        assert isinstance(export.error, DamagedError)
        assert "partition 2" in export.error.message


@pytest.mark.parametrize("command", [["no-such-program"], ["nbdkit", "--foreground", "no-such-plugin"]])
def test_a_program_that_cannot_start_says_why(command: list[str]) -> None:
    with pytest.raises(ProgramError, match=r"ended too early: .*no-such-p"), running(command, lambda: False):
        pass


def test_programs_die_with_a_process_that_is_killed(tmp_path: Path) -> None:
    """SIGKILL leaves no time for anything: the kernel ends what was started."""
    script = (
        "import sys, time, pathlib\n"
        "from rescue.system.process import running\n"
        "with running(['sleep', '1000'], lambda: True):\n"
        "    print('running', flush=True)\n"
        "    time.sleep(1000)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"running\n"
    children = children_of(parent.pid)
    assert len(children) == 1
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 10
    while is_alive(children[0]):
        assert time.monotonic() < deadline
        time.sleep(0.01)
