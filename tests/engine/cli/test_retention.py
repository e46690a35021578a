"""Chains of ten images over their life: checked together, made full, pruned; killed anywhere; while a backup runs."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rescue.jobs.job import list_jobs
from rescue.system.run import run
from rescue.units import MIB
from tests.engine.cli.command import Rescue, content
from tests.engine.devices.loops import sparse
from tests.hashes import digest

pytestmark = pytest.mark.engine

_READER = Path(__file__).parents[3] / "docs" / "read-image.py"
_OFFSET = MIB
_SIZE = 96 * MIB
_DAYS = 10
_OPTIONS = {"plain": [], "encrypted": ["--encrypt"], "split": ["--split", "1M"]}


@pytest.fixture(autouse=True)
def passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given to all commands; plain images do not ask for it."""
    monkeypatch.setenv("RESCUE_PASSPHRASE", "correct horse")


def _disk(folder: Path) -> Path:
    path = sparse(folder / "laptop.raw", _SIZE + 2 * MIB)
    run(["sfdisk", "--quiet", str(path)], stdin=f"label: gpt\nstart=2048, size={_SIZE // 512}, type=L\n".encode())
    tree = folder / "tree"
    tree.mkdir()
    for number in range(40):
        (tree / f"file-{number}").write_bytes(random.Random(number).randbytes(300_000) + bytes([number]) * 300_000)
    run(["mkfs.ext4", "-q", "-F", "-d", str(tree), "-E", f"offset={_OFFSET}", str(path), "96m"])
    return path


def _a_day_passes(path: Path, number: int, size: int = 400_000) -> None:
    new = path.with_name(f"new-{number}")
    new.write_bytes(random.Random(1000 + number).randbytes(size))
    script = f"rm file-{number}\nwrite {new} new-{number}\n"
    run(["debugfs", "-w", "-f", "/dev/stdin", f"{path}?offset={_OFFSET}"], stdin=script.encode())
    run(["e2fsck", "-fn", f"{path}?offset={_OFFSET}"])


@pytest.fixture(scope="module", params=list(_OPTIONS))
def history(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The kind, and a folder with the disk of the last day and the store of ten."""
    folder = tmp_path_factory.mktemp(request.param)
    before = os.environ.get("RESCUE_PASSPHRASE")
    os.environ["RESCUE_PASSPHRASE"] = "correct horse"
    try:
        disk, store = _disk(folder), folder / "store"
        store.mkdir()
        rescue = Rescue(folder / "jobs")
        for day in range(_DAYS):
            if day:
                _a_day_passes(disk, day)
                time.sleep(1)  # images know when they were made to the second
            rescue.ok("backup", disk, store, "--name", f"d{day}", "--no-verify", *_OPTIONS[request.param])
    finally:
        if before is None:
            del os.environ["RESCUE_PASSPHRASE"]
    yield request.param, folder
    shutil.rmtree(folder)


@pytest.fixture
def store(history: tuple[str, Path], tmp_path: Path) -> Path:
    """A copy of the store."""
    return Path(shutil.copytree(history[1] / "store", tmp_path / "store"))


def _forget(rescue: Rescue) -> None:
    """The command ends with its job's verdict; the job's process, a moment later."""
    deadline = time.monotonic() + 30
    while any(job.alive() for job in list_jobs(rescue.jobs)):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    rescue.forget()


def _split(kind: str) -> list[str]:
    return _OPTIONS[kind] if kind == "split" else []


def _kill_at_random(rescue: Rescue, command: subprocess.Popen[str], chance: random.Random, longest: float) -> bool:
    """SIGKILL the job, if there is one, after a random time; whether it was still running."""
    while command.poll() is None and not list_jobs(rescue.jobs):
        time.sleep(0.005)
    jobs = list_jobs(rescue.jobs)
    if jobs:
        pid = rescue.pid(jobs[0])
        time.sleep(chance.uniform(0.05, longest))
        if jobs[0].alive():
            os.kill(pid, signal.SIGKILL)
    result = rescue.finish(command)
    assert result.code == 0 or (result.code == 1 and "its process was killed" in result.err), result
    return result.code == 1


def _listed(rescue: Rescue, store: Path) -> dict[str, dict[str, object]]:
    return {image["name"]: image for image in json.loads(rescue.ok("list", store, "--json").out)}


def _restored(rescue: Rescue, image: Path, target: Path) -> str:
    target.unlink(missing_ok=True)
    rescue.ok("restore", image, target, "--yes")
    return digest(target)


def _names(store: Path) -> list[str]:
    return sorted(entry.name for entry in store.iterdir())


def test_from_a_chain_to_one_full_image(rescue: Rescue, history: tuple[str, Path], store: Path, tmp_path: Path) -> None:
    kind, folder = history
    listed = _listed(rescue, store)
    last = next(name for name in listed if name.startswith("d9"))
    assert [image["kind"] for image in listed.values()] == ["incremental"] * 9 + ["full"]
    assert last in next(i for n, i in listed.items() if n.startswith("d0"))["needed_by"]  # type: ignore[operator]
    shown = rescue.ok("list", store).out
    assert max(map(len, shown.splitlines())) <= 80
    assert f"└ {last}" in shown
    checked = rescue.ok("verify", store)
    assert checked.out.count(": whole\n") == _DAYS
    assert {image["health"][:8] for image in _listed(rescue, store).values()} == {"verified"}  # type: ignore[index]

    told = json.loads(rescue.ok("consolidate", store / last, store, "--name", "new", "--json", *_split(kind)).out)["facts"]
    new = Path(told["image"])
    assert 0 < told["recompressed_bytes"] < told["data_bytes"]
    rescue.ok("verify", new, "--against", folder / "laptop.raw")
    same = _restored(rescue, store / last, tmp_path / "target")
    assert _restored(rescue, new, tmp_path / "target") == same
    if kind != "encrypted":
        joined = tmp_path / "joined.img.zst"
        parts = [path for path in sorted(store.glob(f"{new.name}*")) if not path.name.endswith(".json")]
        joined.write_bytes(b"".join(part.read_bytes() for part in parts))
        assert len(parts) > 1 or kind == "plain"
        assert content(joined) == same
        run([sys.executable, str(_READER), str(joined), str(tmp_path / "alone")], timeout=120)
        assert digest(tmp_path / "alone") == same

    (store / "notes.txt").write_text("mine")
    plan = rescue.ok("prune", store, "--keep-last", "1", "--dry-run").out
    assert f"Keep {new.name}" in plan
    assert plan.count("\n- d") == _DAYS
    assert len(_listed(rescue, store)) == _DAYS + 1
    assert rescue("prune", store, "--keep-last", "1").code == 3  # nobody to confirm it
    assert len(_listed(rescue, store)) == _DAYS + 1
    rescue.ok("prune", store, "--keep-last", "1", "--yes")
    assert {name for name in _names(store) if not name.startswith(new.name)} == {"notes.txt"}
    assert [name for name in _names(store) if name.endswith(".json")] == [f"{new.name}.proof.json"]
    rescue.ok("verify", store)
    assert _restored(rescue, new, tmp_path / "target") == same
    assert rescue("consolidate", new, store).code == 3


def test_pruning_killed_again_and_again(rescue: Rescue, store: Path) -> None:
    # All were made today: a newer differential image upon the full one lets the others go.
    full = next(name for name in _names(store) if name.startswith("d0")).removesuffix(".001")
    options = ["--encrypt"] if full.endswith(".rimg") else []
    rescue.ok(
        "backup",
        _source(store),
        store,
        "--kind",
        "differential",
        "--parent",
        store / full,
        "--name",
        "x",
        "--no-verify",
        *options,
    )
    expected = sorted([*(name for name in _names(store) if name.startswith("d0")), "x.rimg"])
    _forget(rescue)
    chance = random.Random(7)
    for _ in range(8):
        command = rescue.start("prune", store, "--keep-last", "1", "--yes")
        _kill_at_random(rescue, command, chance, 0.4)
        _forget(rescue)
        result = rescue.ok("verify", store)
        assert "damaged" not in result.out
        _forget(rescue)
    rescue.ok("prune", store, "--keep-last", "1", "--yes")
    left = [name for name in _names(store) if not name.endswith(".proof.json")]
    assert left == expected
    assert {name.removesuffix(".proof.json") for name in _names(store)} - set(left) <= {full}


_SOURCES: dict[str, Path] = {}


def _source(store: Path) -> Path:
    return _SOURCES[str(store)]


@pytest.fixture(autouse=True)
def sources(request: pytest.FixtureRequest) -> None:
    """Which disk a copied store is of."""
    if "store" in request.fixturenames:
        _SOURCES[str(request.getfixturevalue("store"))] = request.getfixturevalue("history")[1] / "laptop.raw"


def test_consolidating_killed_again_and_again(rescue: Rescue, store: Path, tmp_path: Path) -> None:
    before = {name: digest(store / name) for name in _names(store)}
    last = next(name for name in before if name.startswith("d9")).removesuffix(".001")
    chance = random.Random(3)
    killed = 0
    for _ in range(6):
        command = rescue.start("consolidate", store / last, store, "--name", "new")
        killed += _kill_at_random(rescue, command, chance, 0.5)
        _forget(rescue)
        for left in store.glob("new*"):  # killed while it was being checked: complete all the same
            if ".partial" not in left.name:
                left.unlink()
        assert {name: digest(store / name) for name in before} == before
    assert killed
    rescue.ok("consolidate", store / last, store, "--name", "new")
    assert not list(store.glob("*.partial"))
    new = next(name for name in _listed(rescue, store) if name.startswith("new"))
    same = _restored(rescue, store / last, tmp_path / "target")
    assert _restored(rescue, store / new, tmp_path / "target") == same


def test_pruning_while_a_backup_runs(rescue: Rescue, store: Path, tmp_path: Path) -> None:
    """What the backup builds on stays, although no rule keeps it."""
    disk = _source(store)
    before = shutil.copy(disk, tmp_path)
    names = {name[:2]: name.removesuffix(".001") for name in _names(store) if name.endswith((".rimg", ".zst", ".001"))}
    options = ["--encrypt"] if names["d0"].endswith(".rimg") else []
    rescue.ok("backup", disk, store, "--kind", "differential", "--parent", store / names["d0"], "--name", "x", *options)
    _forget(rescue)
    _a_day_passes(disk, 20, 40_000_000)
    running = rescue.start(
        "backup", disk, store, "--parent", store / names["d9"], "--name", "y", "--level", "19", "--no-verify", *options
    )
    with rescue.held(0, 1):
        said = rescue.ok("prune", store, "--keep-last", "1", "--yes")
    assert running.poll() is None
    assert "stays" in said.err
    finished = rescue.finish(running)
    shutil.copy(before, disk)  # as others want it
    assert finished.code == 0, finished
    assert rescue.ok("verify", store).out.count(": whole\n") == len(_listed(rescue, store))
    assert "y.rimg" in _listed(rescue, store)


def test_damage_names_all_that_depend_on_it(rescue: Rescue, store: Path) -> None:
    files = sorted(store.glob("d0*"))
    damaged = files[len(files) // 2]
    data = bytearray(damaged.read_bytes())
    for at in range(len(data) // 3, len(data) * 2 // 3, 4096):
        data[at] ^= 1
    damaged.write_bytes(data)
    result = rescue("verify", store)
    assert result.code == 4, result
    told = json.loads(rescue("verify", store, "--json").out)
    assert len(told["facts"]["damaged"]) == _DAYS
    assert all(name in result.err for name in told["facts"]["damaged"])
    assert {image["health"] for image in _listed(rescue, store).values()} == {"FAILED"}
    # What is damaged is removed by no rule, and keeps nothing from being kept.
    rescue.ok("prune", store, "--keep-last", "1", "--yes")
    assert len(_listed(rescue, store)) == _DAYS
    last = next(name for name in _listed(rescue, store) if name.startswith("d9"))
    result = rescue("consolidate", store / last, store, "--name", "new")
    assert result.code == 4, result
    assert not list(store.glob("new*"))


@pytest.mark.parametrize("history", ["encrypted"], indirect=True)
def test_without_the_passphrase(rescue: Rescue, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for secret in (None, "wrong"):
        if secret:
            monkeypatch.setenv("RESCUE_PASSPHRASE", secret)
        else:
            monkeypatch.delenv("RESCUE_PASSPHRASE")
        before = _names(store)
        result = rescue("verify", store)
        assert result.code == 5
        assert result.out.count(": locked.") == _DAYS
        said = rescue.ok("prune", store, "--keep-last", "1", "--yes")
        assert "was not opened" in " ".join(said.err.split())
        assert _names(store) == before
        assert rescue("consolidate", store / "d9.rimg", store).code == 5


def test_a_full_store(rescue: Rescue, store: Path, tmp_path: Path) -> None:
    point = tmp_path / "small"
    point.mkdir()
    run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(point)])
    try:
        last = next(name for name in _listed(rescue, store) if name.startswith("d9"))
        result = rescue("consolidate", store / last, point)
        assert result.code == 1
        assert "is full" in result.err
        assert list(point.iterdir()) == []
    finally:
        subprocess.run(["umount", str(point)], check=True)
