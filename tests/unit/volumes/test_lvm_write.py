"""A physical volume laid out anew: what our reader finds on it, and what is refused."""

from __future__ import annotations

import pytest

from rescue.errors import FormatError, UnsupportedError
from rescue.model.source import BytesSource
from rescue.records import replace
from rescue.units import KIB, MIB
from rescue.volumes.lvm_group import Place, parse_group
from rescue.volumes.lvm_label import read_physical_volume
from rescue.volumes.lvm_own import OwnGroup, own_group
from rescue.volumes.lvm_text import parse
from rescue.volumes.lvm_write import relaid, text_of
from tests.unit.volumes.made import START, UUIDS, crc, group_text, linear, physical_volume, segment, volume

_ROOT = volume("root", segment(1, 0, 20, linear("pv0", 30)), segment(2, 20, 4, linear("pv0", 0)))
_SWAP = volume("swap", segment(1, 0, 6, linear("pv0", 10)))
_TEXT = group_text(_ROOT, _SWAP)


def _own(text: bytes = _TEXT, **changed: int) -> OwnGroup:
    return own_group(BytesSource(physical_volume(text, **changed)))


@pytest.mark.parametrize("turn", [0, 300])
@pytest.mark.parametrize(("size", "root"), [(130 * MIB, 100), (20 * MIB, 12)])
def test_it_is_read_as_it_was_meant(size: int, root: int, turn: int) -> None:
    """Another size, each volume in one piece and in the old order; all else is as it was."""
    old = BytesSource(physical_volume(_TEXT, turn=turn))
    own = own_group(old)
    assert own.order == ("swap", "root")  # by where they begin: the first extents of the group are the end of root
    head, starts = own.head(old, size, {"root": root, "swap": 6})
    assert starts == {"swap": START, "root": START + 6 * MIB}
    assert len(head) == START
    read = read_physical_volume(BytesSource(head.ljust(size, b"\0")))
    assert read.uuid == UUIDS[0].replace("-", "")
    (text,) = read.texts
    assert text.endswith(b"\0")
    before, after = parse_group(_TEXT), parse_group(text)
    assert (after.name, after.uuid, after.seqno, after.extent_size) == (before.name, before.uuid, 4, MIB)
    assert after.members["pv0"] == replace(before.members["pv0"], count=size // MIB - 1)
    assert {name: (v.extents, v.status) for name, v in after.volumes.items()} == {
        "root": (root, before.volumes["root"].status), "swap": (6, before.volumes["swap"].status),
    }  # fmt: skip
    assert after.volumes["root"].segments[0].stripes == (Place("pv0", 6),)
    # What LVM itself reads: the size of the device in the label and in the text.
    assert size.to_bytes(8, "little") in head[512:1024]
    assert parse(text)["vg0"]["physical_volumes"]["pv0"]["dev_size"] == size // 512  # type: ignore[call-overload, index]
    assert crc(head[512 + 20 : 1024]) == int.from_bytes(head[512 + 16 : 512 + 20], "little")
    # Nothing is left of what was written before.
    assert head.count(b"seqno = 3") == 0


def test_a_text_is_read_as_it_was_written() -> None:
    text = b'a { b = "q \\" \\\\ {" \n c = [ "x", 5 ] d { e = 7 } f = [] }\nversion = 1\n'
    assert parse(text_of(parse(text))) == parse(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (group_text(_ROOT, members=2), "spread over 2"),
        (group_text(volume("pool", segment(1, 0, 4, 'type = "thin-pool"\nmetadata = "x"'))), "pool is not a plain linear one"),
        (group_text(volume("hidden", segment(1, 0, 4, linear("pv0", 0)), status='"READ", "WRITE"')), "hidden is not a plain"),
        (group_text(volume("held", segment(1, 0, 4, linear("pv0", 0)), status='"READ", "VISIBLE", "LOCKED"')), "held is not"),
        (group_text(volume("two", segment(1, 0, 4, 'type = "striped"\nstripe_count = 2\nstripe_size = 128\n'
                                                   'stripes = ["pv0", 0, "pv0", 9]'))), "two is not a plain"),
        (group_text(_ROOT, count=66), "larger than it"),
    ],
)  # fmt: skip
def test_groups_that_are_left_as_they_are(text: bytes, said: str) -> None:
    with pytest.raises(UnsupportedError, match=said):
        _own(text)


def test_a_copy_at_the_end_is_refused() -> None:
    """It would have to move; ``vgcreate --metadatacopies 2`` makes one."""
    data = physical_volume(_TEXT)
    at = 512 + 32 + 40 + 32  # the label's header, UUID and size, the list of data areas
    areas = bytearray(data[at : at + 32])
    areas[16:32] = (65 * MIB).to_bytes(8, "little") + MIB.to_bytes(8, "little")
    label = bytearray(data[512:1024])
    label[at - 512 : at - 512 + 32] = areas
    label[16:20] = crc(bytes(label[20:])).to_bytes(4, "little")
    data[512:1024] = label
    data[65 * MIB : 65 * MIB + 512] = data[4 * KIB : 4 * KIB + 512]
    with pytest.raises(UnsupportedError, match="behind its extents"):
        relaid(bytes(data[:START]), 80 * MIB, _TEXT)


def test_a_text_that_is_too_long() -> None:
    with pytest.raises(UnsupportedError, match="too long"):
        relaid(bytes(physical_volume(_TEXT)[:START]), 80 * MIB, b"x" * MIB)


def test_no_label() -> None:
    with pytest.raises(FormatError):
        relaid(bytes(START), 80 * MIB, _TEXT)


def test_what_does_not_fit() -> None:
    own = _own()
    with pytest.raises(FormatError, match="do not fit"):
        own.head(BytesSource(physical_volume(_TEXT)), 20 * MIB, {"root": 20, "swap": 6})
    with pytest.raises(FormatError, match="other volumes"):
        OwnGroup(own.group, own.description, own.start, ("swap",)).head(
            BytesSource(physical_volume(_TEXT)), 80 * MIB, {"swap": 6}
        )
