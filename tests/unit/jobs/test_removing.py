"""Removing images of a real chain: looked at anew each time, whole at every moment."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from rescue.engine.lineage import Lineages
from rescue.errors import CancelledError, RefusedError, RescueError, TargetWriteError
from rescue.images.chain import Chain
from rescue.images.format import Kind
from rescue.images.proofs import read_proof, record_result
from rescue.images.reader import ImageFile
from rescue.images.secrets import NO_SECRETS
from rescue.jobs.execute import Facts, IncompleteError
from rescue.jobs.removing import remove_images
from rescue.jobs.reporter import Reporter
from rescue.model.plan import DoomedImage, RemoveImages
from rescue.model.progress import CancelToken, Event, Message
from rescue.stores.folder import FolderStore
from tests.unit.images.days import first_day, three_days
from tests.unit.images.disks import write_image
from tests.unit.stores.crashes import deaths


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """full.img.zst, second.rimg upon it, third.rimg (differential), each with its proof; and things of others."""
    folder = tmp_path_factory.mktemp("story")
    three_days(folder)
    for path in sorted(folder.iterdir()):
        record_result(path, _fingerprint(path), "hashes", True, "2026-11-22T10:00:00Z")
    (folder / "notes.txt").write_text("mine")
    (folder / "x.img.zst.partial").write_bytes(b"begun")
    return folder


@pytest.fixture
def folder(story: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(story, tmp_path / "store"))


def _fingerprint(path: Path) -> str:
    with ImageFile(path) as file:
        return file.fingerprint


def step_of(folder: Path, *names: str) -> RemoveImages:
    return RemoveImages("Remove", str(folder), tuple(DoomedImage(name, _fingerprint(folder / name)) for name in names))


def removed(step: RemoveImages, token: CancelToken | None = None) -> tuple[Facts, list[str]]:
    events: list[Event] = []
    facts = remove_images(step, NO_SECRETS, token or CancelToken(), Reporter(events.append))
    return facts, [event.text for event in events if isinstance(event, Message)]


def test_an_image_goes_with_its_proof_and_nothing_else(folder: Path) -> None:
    size = (folder / "second.rimg").stat().st_size
    facts, said = removed(step_of(folder, "second.rimg"))
    assert facts == {"store": str(folder), "removed": ["second.rimg"], "stayed": [], "freed_bytes": size}
    assert said == []
    assert sorted(os.listdir(folder)) == [
        "full.img.zst", "full.img.zst.proof.json", "notes.txt", "third.rimg", "third.rimg.proof.json", "x.img.zst.partial",
    ]  # fmt: skip


def test_what_turns_out_to_be_needed_stays_with_its_proof(folder: Path) -> None:
    """As if a backup had ended between the plan and now."""
    facts, said = removed(step_of(folder, "second.rimg", "full.img.zst"))
    assert (facts["removed"], facts["stayed"]) == (["second.rimg"], ["full.img.zst"])
    assert said == ["full.img.zst stays. It is needed by third.rimg."]
    assert (folder / "full.img.zst.proof.json").exists()
    with Chain(folder / "third.rimg"):
        pass


def test_what_a_backup_holds_stays_and_so_does_what_that_needs(folder: Path) -> None:
    step = step_of(folder, "second.rimg", "third.rimg", "full.img.zst")
    with FolderStore(folder).hold("second.rimg"):
        facts, said = removed(step)
    assert (facts["removed"], facts["stayed"]) == (["third.rimg"], ["second.rimg", "full.img.zst"])
    assert "a backup that is running builds on it" in said[0]
    facts, _ = removed(step_of(folder, "second.rimg", "full.img.zst"))
    assert facts["stayed"] == []


def cut(folder: Path, name: str) -> None:
    """Into three parts."""
    content = (folder / name).read_bytes()
    (folder / name).unlink()
    third = len(content) // 3 + 1
    for number in range(3):
        (folder / f"{name}.00{number + 1}").write_bytes(content[number * third : (number + 1) * third])


@pytest.mark.parametrize("is_cut", [False, True])
@pytest.mark.parametrize("salvage", [False, True])
def test_what_is_read_stays_with_all_of_its_chain(folder: Path, is_cut: bool, salvage: bool) -> None:
    """Restored, mounted, checked, exported: all of them read through a chain."""
    step = step_of(folder, "second.rimg", "third.rimg", "full.img.zst")
    if is_cut:
        cut(folder, "full.img.zst")
        cut(folder, "third.rimg")
    with Chain(folder / "third.rimg", salvage=salvage) as chain:
        facts, said = removed(step)
        assert (facts["removed"], facts["stayed"]) == (["second.rimg"], ["third.rimg", "full.img.zst"])
        assert "it is mounted, it is being read" in said[0]
        for file in chain.files:
            assert file is not None
            assert len(file.source.pread(file.source.size, 0)) == file.source.size
    assert removed(step)[0]["removed"] == ["third.rimg", "full.img.zst"]


def test_what_is_read_by_a_link_stays(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link.img.zst").symlink_to(folder / "full.img.zst")
    with Chain(tmp_path / "link.img.zst"):
        assert removed(step_of(folder, "second.rimg", "third.rimg", "full.img.zst"))[0]["stayed"] == ["full.img.zst"]


def test_without_locks_it_is_read_all_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("rescue.stores.locks.fcntl.flock", no_locks)
    with Chain(folder / "third.rimg") as chain:
        assert not chain.losses


def test_what_is_being_removed_is_not_begun_to_be_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rescue.stores.removal._WAIT_SECONDS", 0)

    def look() -> None:
        for path in ("full.img.zst", "second.rimg"):
            with pytest.raises(RefusedError, match="is being removed or changed right now"):
                Chain(folder / path)
        raise RefusedError("It stays.")

    with pytest.raises(RefusedError, match="It stays"):
        FolderStore(folder).remove("full.img.zst", look)


def test_another_image_of_that_name_stays(folder: Path) -> None:
    step = step_of(folder, "second.rimg")
    write_image(first_day(99).disk(), folder / "second.rimg")
    facts, said = removed(step)
    assert facts["removed"] == []
    assert "It is another image" in said[0]
    (folder / "second.rimg").write_bytes((folder / "second.rimg").read_bytes()[:-7])
    assert removed(step)[0]["stayed"] == ["second.rimg"]


def test_what_is_gone_already_is_said(folder: Path) -> None:
    step = step_of(folder, "second.rimg")
    removed(step)
    facts, said = removed(step)
    assert facts["removed"] == []
    assert said == ["second.rimg is gone already."]


def test_one_that_cannot_be_removed_does_not_keep_the_others(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = step_of(folder, "second.rimg", "third.rimg", "full.img.zst")

    def remove_file(path: Path) -> None:
        if path.name == "second.rimg":
            raise RescueError(f"{path} cannot be removed: Operation not permitted.")
        path.unlink()

    monkeypatch.setattr("rescue.stores.removal.remove_file", remove_file)
    with pytest.raises(IncompleteError) as caught:
        removed(step)
    facts = caught.value.facts
    assert (facts["removed"], facts["stayed"]) == (["third.rimg"], ["second.rimg", "full.img.zst"])
    assert caught.value.exit_code == 1
    assert caught.value.message.startswith(f"1 image removed from {folder}, ")
    assert caught.value.message.endswith("second.rimg cannot be removed: Operation not permitted.")


def test_nothing_more_goes_when_the_medium_does_not_take_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Path) -> None:
        raise TargetWriteError("It cannot be written to.")

    monkeypatch.setattr("rescue.stores.removal.sync_folder", fail)
    with pytest.raises(TargetWriteError):
        removed(step_of(folder, "second.rimg", "third.rimg"))
    assert (folder / "third.rimg").exists()


def test_a_link_stays_and_what_is_behind_it(folder: Path, tmp_path: Path) -> None:
    step = step_of(folder, "second.rimg", "third.rimg")
    (folder / "second.rimg").rename(tmp_path / "away.rimg")
    (folder / "second.rimg").symlink_to(tmp_path / "away.rimg")
    facts, said = removed(step)
    assert (facts["removed"], facts["stayed"]) == (["third.rimg"], ["second.rimg"])
    assert "is a link" in said[0]
    assert (folder / "second.rimg").samefile(tmp_path / "away.rimg")


def test_a_file_that_only_has_the_name_of_a_proof_stays(folder: Path) -> None:
    (folder / "second.rimg.proof.json").write_text('{"my": "notes"}')
    (folder / "third.rimg.proof.json").unlink()
    (folder / "third.rimg.proof.json").symlink_to(folder / "full.img.zst.proof.json")
    removed(step_of(folder, "second.rimg", "third.rimg"))
    assert (folder / "second.rimg.proof.json").read_text() == '{"my": "notes"}'
    assert read_proof(folder / "full.img.zst", _fingerprint(folder / "full.img.zst")).hashes


def test_one_at_a_time_and_no_further_when_cancelled(folder: Path) -> None:
    step = step_of(folder, "second.rimg")
    with FolderStore(folder).exclusive(), pytest.raises(RefusedError, match="right now"):
        removed(step)
    token = CancelToken()
    token.cancel()
    with pytest.raises(CancelledError):
        removed(step, token)
    assert (folder / "second.rimg").exists()


@pytest.mark.parametrize("split", [False, True])
def test_dying_anywhere_leaves_whole_images_and_the_same_command_ends_alike(story: Path, tmp_path: Path, split: bool) -> None:
    folder = tmp_path / "store"
    shutil.copytree(story, folder)
    if split:
        for name in ("second.rimg", "full.img.zst"):
            cut(folder, name)
    step = step_of(folder, "second.rimg", "third.rimg", "full.img.zst")
    seen = set()
    for left in deaths(folder, lambda: removed(step), tmp_path):
        store = FolderStore(left)
        names = store.names()
        seen.add(len(names))
        for name in names:
            if name.endswith((".rimg", ".zst")):
                with Chain(left / name) as chain:
                    assert not chain.losses
        assert store.incomplete() == []
        assert [entry.name for entry in Lineages(store).look()] == [n for n in names if n.endswith((".rimg", ".zst"))]
        rest = [image for image in step.images if image.name in names]
        removed(RemoveImages("Remove", str(left), tuple(rest)))
        assert sorted(os.listdir(left)) == ["notes.txt", "x.img.zst.partial"]
    assert len(seen) > 3
    assert sorted(os.listdir(folder)) == ["notes.txt", "x.img.zst.partial"]


def test_what_lacks_a_part_is_not_known_and_other_files_are_none(folder: Path) -> None:
    content = (folder / "full.img.zst").read_bytes()
    (folder / "full.img.zst").unlink()
    half = len(content) // 2 + 1
    (folder / "full.img.zst.001").write_bytes(content[:half])
    (folder / "report.003").write_bytes(b"x")
    (folder / "other.img.zst").write_bytes(b"\x28\xb5\x2f\xfd" + bytes(100))
    (folder / "noise.rimg").write_bytes(os.urandom(5000))
    found = {entry.name: entry for entry in Lineages(FolderStore(folder)).look()}
    assert set(found) == {"second.rimg", "third.rimg", "full.img.zst"}
    assert (found["full.img.zst"].needs, found["full.img.zst"].kind) == (None, "full")
    assert found["second.rimg"].needs == frozenset({found["third.rimg"].parent})


def test_what_did_not_change_is_opened_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lineages = Lineages(FolderStore(folder))
    before = lineages.look()
    monkeypatch.setattr("rescue.engine.lineage.open_image", None)
    assert lineages.look() == before
    monkeypatch.undo()
    write_image(first_day(5).disk(), folder / "new.img.zst")
    write_image(first_day(6).disk(), folder / "newer.rimg", Kind.INCREMENTAL, folder / "new.img.zst")
    assert len(lineages.look()) == len(before) + 2
