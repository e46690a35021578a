"""The choice of a reader, what becomes of its errors, and the words of blkid and partclone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescue.errors import FormatError, ProgramError, SourceReadError
from rescue.filesystems import f2fs, maps, partclone
from rescue.filesystems.identify import parse_identity
from rescue.filesystems.partclone import parse_map
from rescue.model.extents import ExtentMap
from rescue.model.source import BytesSource, Source
from rescue.model.volume import Identity, UsedMap
from tests.unit.filesystems.volumes import SparseVolume

_NOISE = BytesSource(b"\x9d" * 65536)


def _map(volume: Source, type_: str, usage: str = "filesystem", *, mounted: bool = False) -> UsedMap:
    return maps.used_map(volume, Identity(type_, usage), path="disk", offset=0, mounted=mounted)


@pytest.mark.parametrize("type_", ["ext2", "ext3", "ext4", "xfs", "btrfs", "ntfs", "vfat", "exfat", "swap"])
def test_noise_that_poses_as_a_file_system_is_whole(type_: str) -> None:
    used = _map(_NOISE, type_)
    assert list(used.extents) == [(0, _NOISE.size)]
    assert used.whole_because.startswith("Its structures make no sense: ")


@pytest.mark.parametrize(
    ("type_", "usage", "words"),
    [
        ("", "", "No file system"),
        ("crypto_LUKS", "crypto", "encrypted (crypto_LUKS)"),
        ("BitLocker", "crypto", "encrypted (BitLocker)"),
        ("LVM2_member", "raid", "set of disks or volumes (LVM2_member)"),
        ("jbd", "other", "journal of another"),
        ("swsuspend", "other", "hibernated"),
        ("zfs_member", "filesystem", "zfs_member"),
        ("reiserfs", "filesystem", "cannot tell what reiserfs uses"),
    ],
)
def test_what_has_no_reader_is_whole_and_says_why(type_: str, usage: str, words: str) -> None:
    used = _map(_NOISE, type_, usage)
    assert list(used.extents) == [(0, _NOISE.size)]
    assert words in used.whole_because
    assert used.whole_because.endswith(".")


def test_a_mounted_one_is_whole() -> None:
    volume = SparseVolume.load("ext2.xz")
    assert not _map(volume, "ext2").whole_because
    assert _map(volume, "ext2", mounted=True).whole_because.startswith("It is mounted")


class _Unreadable(BytesSource):
    def pread(self, length: int, offset: int) -> bytes:
        raise SourceReadError(f"disk cannot be read at byte {offset}: Input/output error.", offset, length)


def test_one_that_cannot_be_read_is_whole() -> None:
    used = _map(_Unreadable(bytes(65536)), "xfs")
    assert used.extents.total == 65536
    assert "cannot be read" in used.whole_because


def test_a_program_that_fails_makes_it_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(program: str, path: str, offset: int, size: int) -> UsedMap:
        raise ProgramError(f"{program} failed (exit code 1): it said nothing")

    monkeypatch.setattr(maps, "have", lambda program: program == "partclone.f2fs")
    monkeypatch.setattr(f2fs, "why_unclean", lambda volume: "")
    monkeypatch.setattr(partclone, "used_map", fail)
    used = _map(_NOISE, "f2fs")
    assert used.extents.total == _NOISE.size
    assert "Its map cannot be made: partclone.f2fs failed" in used.whole_because


def test_f2fs_that_is_noise_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maps, "have", lambda program: True)
    assert "f2fs superblock: it has no magic number" in _map(_NOISE, "f2fs").whole_because


def test_what_blkid_prints() -> None:
    said = (
        b"ID_FS_LABEL=line_break\nID_FS_LABEL_ENC=line\\x0abreak\\x5cx\\xc3\\xa9\nID_FS_UUID=D69F-06B6\n"
        b"ID_FS_UUID_ENC=D69F-06B6\nID_FS_VERSION=FAT16\nID_FS_BLOCK_SIZE=512\nID_FS_TYPE=vfat\nID_FS_USAGE=filesystem\n"
    )
    assert parse_identity(said) == Identity("vfat", "filesystem", "line\nbreak\\xé", "D69F-06B6", "FAT16")
    assert parse_identity(b"") == Identity()


@given(st.binary(max_size=300))
def test_blkid_may_print_anything(said: bytes) -> None:
    parse_identity(said)


_PRINTED = """# Domain logfile created by unset_name v0.3.23
# Source: a
# current_pos  current_status
0x04000000     ?
#      pos        size  status
0x00000000  0x000C4800  +
0x000C4800  0x0073BC00  ?
0x00800400  0x000C0C00  +
0x008C1000  0x0073F400  ?
"""


def test_what_partclone_prints() -> None:
    assert parse_map(_PRINTED, 0x1000400) == ExtentMap([(0, 0xC4800), (0x800400, 0x8C1000)])


def test_what_partclone_does_not_mention_is_used() -> None:
    assert list(parse_map(_PRINTED, 0x2000000))[-1] == (0x1000400, 0x2000000)
    assert parse_map(_PRINTED, 0x900000).end == 0x8C1000


@pytest.mark.parametrize("text", ["", "0x0 0x10 +\n0x20 0x10 ?\n", "0x10 0x10 ?\n", "0x0 0x10 ?\n0x8 0x10 +\n"])
def test_a_map_with_gaps_is_refused(text: str) -> None:
    with pytest.raises(FormatError):
        parse_map(text, 1 << 20)
