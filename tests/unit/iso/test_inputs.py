"""A kept ISO is handed out only while everything that it was made of is the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from isobuild.inputs import Tree, words


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1750000000")
    monkeypatch.setattr("isobuild.inputs.output_of", lambda *_, **__: None)
    for name in ("image-build/workshop-packages.txt", "image-build/isobuild/base.py", "image-build/isobuild/workshop.py"):
        _write(tmp_path / name, name)
    for name in ("live-config/packages.txt", "live-config/boot/grub.cfg", "live-config/base/hooks/slim", "rescue/main.py"):
        _write(tmp_path / name, name)
    _write(tmp_path / "requirements.lock", "x==1\n")
    _write(tmp_path / "pyproject.toml", 'version = "0.1.0"\n')
    return Tree(tmp_path)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


CHANGES: list[tuple[str, Callable[[Path], object], bool, bool]] = [
    ("a line of our program", lambda top: _write(top / "rescue/main.py", "changed"), False, True),
    ("a new module", lambda top: _write(top / "rescue/new.py", ""), False, True),
    ("a compiled module", lambda top: _write(top / "rescue/__pycache__/main.pyc", "x"), False, False),
    ("a requirement", lambda top: _write(top / "requirements.lock", "x==2\n"), False, True),
    ("the boot menu", lambda top: _write(top / "live-config/boot/grub.cfg", "changed"), False, True),
    ("a program made executable", lambda top: (top / "rescue/main.py").chmod(0o755), False, True),
    ("a link", lambda top: (top / "live-config/masked").symlink_to("/dev/null"), False, True),
    ("a Debian package", lambda top: _write(top / "live-config/packages.txt", "more"), True, True),
    ("a hook", lambda top: _write(top / "live-config/base/hooks/slim", "changed"), True, True),
    ("the workshop", lambda top: _write(top / "image-build/workshop-packages.txt", "more"), True, True),
]


@pytest.mark.parametrize(("what", "change", "base_changes", "iso_changes"), CHANGES, ids=[change[0] for change in CHANGES])
def test_what_is_built_anew(
    tree: Tree, what: str, change: Callable[[Path], object], base_changes: bool, iso_changes: bool
) -> None:
    base, iso = tree.base_key(), tree.iso_key()
    change(tree.top)
    assert (tree.base_key() != base) is base_changes, what
    assert (tree.iso_key() != iso) is iso_changes, what


def test_comments_are_not_packages(tmp_path: Path) -> None:
    (tmp_path / "packages.txt").write_text("# what for\n\nzstd\npigz  # fast\n")
    assert words(tmp_path / "packages.txt") == ["zstd", "pigz"]
