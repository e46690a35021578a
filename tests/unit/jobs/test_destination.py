"""Where a backup is written, and what becomes of what an earlier attempt left there."""

from __future__ import annotations

from pathlib import Path

from rescue.images.secrets import NO_SECRETS
from rescue.jobs.destination import StoreDestination
from rescue.stores.folder import FolderStore


def test_anew_throws_away_what_was_begun(tmp_path: Path) -> None:
    (tmp_path / "a.img.zst.partial").write_bytes(b"what an earlier attempt left" * 100)
    with StoreDestination(FolderStore(tmp_path), "a.img.zst", 0, anew=True) as output:
        assert output.begun(NO_SECRETS) is None
        output.write(b"new")
        output.commit()
    assert [path.name for path in tmp_path.iterdir()] == ["a.img.zst"]
    assert (tmp_path / "a.img.zst").read_bytes() == b"new"
