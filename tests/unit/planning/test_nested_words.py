"""How volumes in volumes are told to people."""

from __future__ import annotations

import pytest

from rescue.model.layout import Layout, Partition
from rescue.model.nested import whole_parts
from rescue.model.volume import Identity, Nested, Volume
from rescue.planning.fit_containers import kept_sizes
from rescue.planning.words import contents_words, whole_warnings
from rescue.units import GIB

_EXT4 = Identity("ext4", "filesystem")
_ROOT = Nested("vg0/root", 9 * GIB, _EXT4, 3 * GIB)
_SWAP = Nested("vg0/swap", GIB, Identity("swap", "other"), 4096)
_POOL = Nested("vg0/po\x1b[2Jol", 2 * GIB, Identity(), 0, "It is a thin pool.")
_LVM = Identity("LVM2_member", "raid")
_LUKS = Identity("crypto_LUKS", "crypto")


def _volume(identity: Identity, *inside: Nested, because: str = "") -> Volume:
    return Volume(2, 0, 20 * GIB, identity, 4 * GIB, because, inside=inside)


@pytest.mark.parametrize(
    ("volume", "words"),
    [
        (_volume(_EXT4), "ext4"),
        (_volume(_LVM), "LVM"),
        (_volume(_LVM, _ROOT, _SWAP), "LVM vg0 → root (ext4, 3.0 GiB used), swap (swap)"),
        (
            _volume(_LUKS, Nested("", 19 * GIB, _LVM, GIB, inside=(_ROOT, _SWAP))),
            "LUKS (encrypted) → LVM vg0 → root (ext4, 3.0 GiB used), swap (swap)",
        ),
        (_volume(_LUKS, Nested("", 19 * GIB, _EXT4, GIB)), "LUKS (encrypted) → ext4 (1.0 GiB used)"),
        (
            _volume(Identity("linux_raid_member", "raid"), Nested("", 19 * GIB, _LVM, GIB, inside=(
                Nested("vg0/vault", GIB, _LUKS, GIB, inside=(Nested("", GIB, _EXT4, GIB),)), _POOL,
            ))),
            "RAID member → LVM vg0 → vault (LUKS (encrypted) → ext4 (1.0 GiB used)), po?[2Jol (unknown, whole)",
        ),
    ],
)  # fmt: skip
def test_contents(volume: Volume, words: str) -> None:
    assert contents_words(volume) == words


def test_what_is_whole_is_told_with_its_way() -> None:
    """In the warnings of a plan as in those of a job."""
    inner = Nested("", 19 * GIB, _LVM, GIB, inside=(_ROOT, _POOL))
    volume = _volume(_LUKS, inner)
    assert [(part.way, part.because) for part in whole_parts(volume)] == [(("vg0/po\x1b[2Jol",), "It is a thin pool.")]
    layout = Layout(40 * GIB, 512, "gpt", partitions=(Partition(2, 0, 20 * GIB, "x"),))
    (warning,) = whole_warnings(layout, [volume])
    assert warning == (
        "Partition 2, LUKS (encrypted), 20.0 GiB, 4.0 GiB used, vg0/po?[2Jol: every byte is kept. It is a thin pool."
    )
    assert kept_sizes(layout, [volume, _volume(_EXT4)], {}) == (
        "Partition 2, LUKS (encrypted), 20.0 GiB, 4.0 GiB used: it keeps its size, for it holds other volumes.",
    )
