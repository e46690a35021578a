"""The names in an NTFS folder: the index $I30, read block after block.

NTFS Documentation, R. Russon and Y. Fledel, 2004: "$INDEX_ROOT", "$INDEX_ALLOCATION", "$FILE_NAME".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from rescue.filesystems.fields import Fields
from rescue.filesystems.files.ntfs_attributes import Joined
from rescue.filesystems.files.stored import FOLDER_LIMIT, decode_utf16
from rescue.filesystems.ntfs_mft import INDEX_ALLOCATION, INDEX_ROOT, Mft, apply_fixups

NAME: Final = "$I30"
_BITMAP: Final = 0xB0
_LAST: Final = 2
_DOS_NAME: Final = 2  # the short twin of a long name


def folder_names(mft: Mft, attributes: Sequence[Joined]) -> Iterator[tuple[str, int]]:
    """Names and file references (sequence number in the upper 16 bits). Raises FormatError."""
    parts = {part.type: part for part in attributes if part.name == NAME}
    root = Fields(parts[INDEX_ROOT].value or b"" if INDEX_ROOT in parts else b"", "NTFS folder")
    root.require(len(root) >= 32, "it has no index")
    yield from _node(root, 16)
    if INDEX_ALLOCATION not in parts:
        return
    size = root.u32(8)
    root.require(512 <= size <= 65536 and not size & (size - 1), f"index blocks of {size} bytes")
    blocks = parts[INDEX_ALLOCATION].stream(mft)
    root.require(blocks.size <= FOLDER_LIMIT and _BITMAP in parts, f"an index of {blocks.size} bytes")
    # Blocks that were freed still hold old names: the bitmap says which are in use.
    bitmap = parts[_BITMAP].stream(mft)
    count = blocks.size // size
    used = bitmap.read(min(-(-count // 8), bitmap.size), 0)
    for number in range(min(count, 8 * len(used))):
        if used[number // 8] >> number % 8 & 1:
            block = blocks.read(size, number * size)
            found = apply_fixups(block, "NTFS index block")
            found.require(block[:4] == b"INDX", "it has no INDX signature")
            yield from _node(found, 24)


def _node(node: Fields, header: int) -> Iterator[tuple[str, int]]:
    position = header + node.u32(header)
    end = min(header + node.u32(header + 4), len(node))
    while position + 16 <= end:
        length, key_length, flags = node.u16(position + 8), node.u16(position + 10), node.u16(position + 12)
        if flags & _LAST:
            return
        node.require(length >= 16 + key_length and key_length >= 66 and position + length <= end, "an entry of its index is cut")
        name_length, namespace = node.u8(position + 16 + 64), node.u8(position + 16 + 65)
        node.require(66 + 2 * name_length <= key_length, "a name in its index is cut")
        if namespace != _DOS_NAME and name_length:
            yield decode_utf16(node.bytes(position + 82, 2 * name_length)), node.u64(position)
        position += length
