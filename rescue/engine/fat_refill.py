"""A FAT file system made anew, in another size or for other sectors: the same names, attributes and times, entry by entry.

No driver could do this: directories are copied as they are, short names and their order with them, and only the
numbers of clusters in them change. Files lie in one piece afterwards.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Iterator

from rescue.engine.fat_content import ENTRY, LONG_NAME, PARENT, SELF, Chain, Content, Folder, folders, read_content
from rescue.engine.fat_layout import FIRST, Layout, Table, laid_out
from rescue.errors import RefusedError
from rescue.model.source import Sink, Source
from rescue.units import MIB, align_up, human_size


def smallest(volume: Source, sector: int = 0) -> int:
    """The size in bytes of the smallest FAT file system of its type that holds all of it; its own where none is smaller.

    ``sector``: the bytes of a sector, 0 for those that it has. Raises DamagedError, FormatError.
    """
    tree = read_content(volume)
    low, high = 1, align_up(volume.size, MIB) // MIB
    while low < high:
        middle = (low + high) // 2
        if _fits(tree, middle * MIB, sector):
            high = middle
        else:
            low = middle + 1
    return min(high * MIB, volume.size)


def can_have(volume: Source, size: int, sector: int) -> bool:
    """Whether all of it has room in ``size`` bytes with sectors of ``sector`` bytes. Raises DamagedError, FormatError."""
    return _fits(read_content(volume), size, sector, spare=False)


def refill(volume: Source, sink: Sink, start: int, size: int, check: Callable[[], None], sector: int = 0) -> str:
    """Make ``volume`` anew in the ``size`` bytes at ``start`` of ``sink``; a sentence for the journal.

    With sectors of ``sector`` bytes; 0: of as many as it has. ``check`` is called for every file. Raises RefusedError when it
    does not fit, DamagedError, FormatError before the first write; SourceReadError, TargetWriteError.
    """
    tree = read_content(volume)
    new = laid_out(tree.layout, size, sector, len(tree.root.entries))
    if new.bits != tree.layout.bits:
        _place_root(tree)
    if _needed(tree, new.cluster_size) > new.clusters:
        least = smallest(volume, sector)
        raise RefusedError(f"The FAT file system takes {least} bytes ({human_size(least)}), and is to have {size}.")
    cluster = FIRST
    for chain in tree.chains:
        chain.first = cluster if chain.size else 0
        cluster += _clusters(chain, new.cluster_size)
    boot = _boot_region(volume, tree, new, cluster)
    # The first sector comes last: until then it is no file system.
    sink.zero(start, start + new.data_start)
    for copy in range(new.fats):
        place = start + (new.reserved + copy * new.fat_sectors) * new.sector
        for piece in _table(volume, tree, new):
            sink.pwrite(piece, place)
            place += len(piece)
    if tree.root.chain is None:
        sink.pwrite(_entries_of(tree.root, new), start + new.root_start)
    for chain in tree.chains:
        check()
        if chain.size:
            _copy(volume, chain, sink, start + new.place(chain.first), new)
    sink.flush()
    sink.pwrite(boot, start)
    sink.flush()
    return f"FAT{new.bits} made anew with {human_size(size)} and filled."


def _place_root(tree: Content) -> None:
    """Of what was a FAT32: the root directory gets a place of its own, and no cluster has a number of more than 16 bits."""
    tree.chains = [chain for chain in tree.chains if chain is not tree.root.chain]
    for folder in folders(tree.root):
        for offset in range(0, len(folder.entries), ENTRY):
            if folder.entries[offset + 11] & 0x3F != LONG_NAME:
                folder.entries[offset + 20 : offset + 22] = bytes(2)
    tree.root.chain = None


def _clusters(chain: Chain, cluster_size: int) -> int:
    return -(-chain.size // cluster_size)


def _needed(tree: Content, cluster_size: int) -> int:
    return sum(_clusters(chain, cluster_size) for chain in tree.chains)


def _fits(tree: Content, size: int, sector: int, *, spare: bool = True) -> bool:
    try:
        layout = laid_out(tree.layout, size, sector, len(tree.root.entries))
    except RefusedError:
        return False
    # A few clusters more, so that it can be written to.
    return _needed(tree, layout.cluster_size) + (layout.clusters // 100 if spare else 0) <= layout.clusters


def _put_cluster(entry: memoryview, cluster: int, bits: int) -> None:
    entry[26:28] = (cluster & 0xFFFF).to_bytes(2, "little")
    if bits == 32:  # others keep something else in these bytes
        entry[20:22] = (cluster >> 16).to_bytes(2, "little")


def _entries_of(folder: Folder, layout: Layout) -> bytes:
    entries = bytearray(folder.entries)
    view = memoryview(entries)
    for offset, chain in folder.named.items():
        _put_cluster(view[offset : offset + ENTRY], chain.first, layout.bits)
    if folder.parent is not None:
        for offset in range(0, min(2 * ENTRY, len(entries)), ENTRY):
            name = bytes(entries[offset : offset + 11])
            if name == SELF:
                _put_cluster(view[offset : offset + ENTRY], folder.chain.first if folder.chain else 0, layout.bits)
            elif name == PARENT:
                up = folder.parent.chain if folder.parent.parent is not None else None  # the root directory is 0 here
                _put_cluster(view[offset : offset + ENTRY], up.first if up else 0, layout.bits)
    return bytes(entries)


def _copy(volume: Source, chain: Chain, sink: Sink, place: int, layout: Layout) -> None:
    """Write a chain in one piece, zeros behind its end."""
    length = _clusters(chain, layout.cluster_size) * layout.cluster_size
    if chain.folder is not None:
        sink.pwrite(_entries_of(chain.folder, layout).ljust(length, b"\0"), place)
        return
    left = chain.size
    for start, end in chain.runs:
        while start < end and left > 0:
            data = volume.pread(min(end - start, MIB, left), start)
            start += len(data)
            left -= len(data)
            length -= len(data)
            if not left:
                data += bytes(length)
            sink.pwrite(data, place)
            place += len(data)


def _table(volume: Source, tree: Content, new: Layout) -> Iterator[bytes]:
    """The used part of the allocation table, in whole sectors."""
    old = Table(volume)
    end = {12: 0xFFF, 16: 0xFFFF, 32: 0x0FFFFFFF}[new.bits]
    entries = array("I", [old.entry(0) & end, old.entry(1) & end])
    cluster = FIRST
    for chain in tree.chains:
        count = _clusters(chain, new.cluster_size)
        if count:
            entries.extend(range(cluster + 1, cluster + count))
            entries.append(end)
            cluster += count
        while len(entries) >= MIB:
            yield _packed(entries[:MIB], new.bits)
            entries = entries[MIB:]
    packed = _packed(entries, new.bits)
    yield packed.ljust(align_up(len(packed), new.sector), b"\0")


def _packed(entries: array[int], bits: int) -> bytes:
    if bits == 12:
        pairs = zip(entries[::2], [*entries[1::2], 0], strict=False)
        return b"".join((low | high << 12).to_bytes(3, "little") for low, high in pairs)
    packed = array("H" if bits == 16 else "I", entries)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()


def _boot_region(volume: Source, tree: Content, new: Layout, next_free: int) -> bytes:
    """All reserved sectors as they are, boot code included, with the numbers of the new size."""
    region = bytearray(new.reserved * new.sector)
    if new.bits != tree.layout.bits:
        _put_short_boot_sector(memoryview(region)[:512], volume.pread(512, 0), new)
        _put_numbers(memoryview(region)[:512], tree, new)
        return bytes(region)
    old_sector = tree.layout.sector
    for number in range(new.reserved):
        # Where sectors are larger, each has the same at its start; in smaller ones there is no room for more.
        held = volume.pread(min(old_sector, new.sector), number * old_sector)
        region[number * new.sector : number * new.sector + len(held)] = held
    copies = [0]
    if new.bits == 32:
        copies += [int.from_bytes(region[50:52], "little")]
    for copy in copies:
        base = copy * new.sector
        if copy and (not 0 < copy < new.reserved or region[base + 510 : base + 512] != b"\x55\xaa"):
            continue
        _put_numbers(memoryview(region)[base : base + 512], tree, new)
    if new.bits == 32:
        info = int.from_bytes(region[48:50], "little")
        for sector in {info, info + copies[1]}:
            base = sector * new.sector
            if 0 < sector < new.reserved and region[base : base + 4] == b"RRaA" and region[base + 484 : base + 488] == b"rrAa":
                region[base + 488 : base + 492] = (new.clusters - (next_free - FIRST)).to_bytes(4, "little")
                region[base + 492 : base + 496] = min(next_free, new.clusters + FIRST - 1).to_bytes(4, "little")
    return bytes(region)


def _put_short_boot_sector(boot: memoryview, old: bytes, new: Layout) -> None:
    """The boot sector of a FAT16 or FAT12 out of that of a FAT32: another place for the same (Microsoft's fatgen103)."""
    boot[:3] = b"\xeb\x3c\x90"
    boot[3:36] = old[3:36]
    boot[36] = old[64]
    boot[38:54] = old[66:82]  # signature, serial number, label
    boot[54:62] = f"FAT{new.bits}   ".encode()
    boot[62:66] = b"\xcd\x18\xeb\xfe"  # a BIOS goes on with its next device
    boot[510:512] = b"\x55\xaa"


def _put_numbers(boot: memoryview, tree: Content, new: Layout) -> None:
    boot[11:13] = new.sector.to_bytes(2, "little")
    boot[13] = new.cluster_size // new.sector
    boot[14:16] = new.reserved.to_bytes(2, "little")
    boot[17:19] = (new.root_size // ENTRY).to_bytes(2, "little")
    short = new.bits != 32 and new.sectors < 1 << 16
    boot[19:21] = (new.sectors if short else 0).to_bytes(2, "little")
    boot[32:36] = (0 if short else new.sectors).to_bytes(4, "little")
    if new.bits == 32:
        boot[36:40] = new.fat_sectors.to_bytes(4, "little")
        boot[40:42] = bytes(2)  # all copies of the table are kept alike
        boot[44:48] = (tree.root.chain.first if tree.root.chain else 0).to_bytes(4, "little")
    else:
        boot[22:24] = new.fat_sectors.to_bytes(2, "little")
