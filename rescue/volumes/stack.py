"""What is in the containers of a disk, down to their file systems: LUKS, BitLocker, LVM and RAID in any order.

They are read by their own structures.

Whatever is not understood is kept whole, which is always right, and says why.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Final

import msgspec

from rescue.errors import FormatError, SourceReadError, UnsupportedError
from rescue.filesystems.btrfs import MANY_DEVICES
from rescue.filesystems.btrfs_devices import file_system_of, used_maps
from rescue.filesystems.maps import used_map
from rescue.model.extents import ExtentMap
from rescue.model.volume import Identity, Nested
from rescue.volumes.bitlk_content import BitlkContent, key_fits, own_bytes
from rescue.volumes.bitlk_header import BitlkHeader, read_bitlk_header
from rescue.volumes.bitlk_key import clear_key
from rescue.volumes.elsewhere import MISSING
from rescue.volumes.luks_content import Decrypted, can_decrypt
from rescue.volumes.luks_header import LuksHeader, read_luks_header
from rescue.volumes.lvm_group import Group, parse_group
from rescue.volumes.lvm_label import read_physical_volume
from rescue.volumes.lvm_thin import POOL
from rescue.volumes.lvm_volumes import logical_volumes
from rescue.volumes.md import RaidMember, read_raid_member
from rescue.volumes.md_array import array_content
from rescue.volumes.placed import Mirrored, Placed, Window, joined
from rescue.volumes.probe import identify_source

LUKS: Final = "crypto_LUKS"
BITLOCKER: Final = "BitLocker"
LVM: Final = "LVM2_member"
RAID: Final = "linux_raid_member"
CONTAINERS: Final = frozenset({LUKS, BITLOCKER, LVM, RAID})

_ENCRYPTED: Final = {LUKS: "It is encrypted (LUKS)", BITLOCKER: "It is encrypted (BitLocker)"}
_LOCKED: Final = "its passphrase was not given: what is used inside cannot be told."
_WRONG_KEY: Final = "the key that was given is not its own."
_MAX_DEPTH: Final = 8
_MAX_VOLUMES: Final = 2048

Keys = Mapping[str, bytes]  # volume keys by the UUID of their LUKS or BitLocker volume


class Stacked(msgspec.Struct):
    """A volume on a disk or in another volume.

    ``used`` are its own bytes that are kept for itself: all that its file system uses; of a container that was opened what is
    not ``inside`` (headers, metadata), and of one that was not, everything, which ``whole_because`` explains.
    """

    name: str
    source: Placed
    identity: Identity
    depth: int = 0
    used: ExtentMap = msgspec.field(default_factory=ExtentMap)
    whole_because: str = ""
    luks: LuksHeader | None = None
    bitlk: BitlkHeader | None = None
    inside: list[Stacked] = msgspec.field(default_factory=list)

    def kept(self) -> ExtentMap:
        """All that is kept for it, as bytes of the disk."""
        return joined([self.source.down(self.used), *(inner.kept() for inner in self.inside)])

    def keep_whole(self, because: str) -> None:
        """Keep every byte of it."""
        self.used, self.whole_because = ExtentMap([(0, self.source.size)]), because

    @property
    def is_locked(self) -> bool:
        """Whether it is an encrypted volume that a passphrase would open."""
        return self.lock is not None and not self.inside and self.whole_because.endswith((_LOCKED, _WRONG_KEY))

    @property
    def lock(self) -> LuksHeader | BitlkHeader | None:
        """Of an encrypted volume what describes it."""
        return self.luks or self.bitlk

    @property
    def is_here(self) -> bool:
        """Whether any of its bytes is on the disk that is looked at."""
        return bool(self.source.down(ExtentMap([(0, self.source.size)])))

    def keep_locked(self, key: bytes | None) -> None:
        """Keep every byte of it, because it is not opened by ``key``."""
        because = _LOCKED if key is None else _WRONG_KEY
        self.keep_whole(f"{_ENCRYPTED[self.identity.type]}, and {because}")

    def walk(self) -> Iterator[Stacked]:
        """It and everything inside."""
        yield self
        for inner in self.inside:
            yield from inner.walk()

    def nested(self) -> Nested:
        """The same as a value."""
        used = self.kept().total if self.inside else self.used.total
        inside = tuple(inner.nested() for inner in self.inside)
        return Nested(self.name, self.source.size, self.identity, used, self.whole_because, "", inside)


class _Member(msgspec.Struct):
    """A physical volume of LVM, met anywhere."""

    volume: Stacked
    uuid: str


def look_into(
    places: Sequence[tuple[Identity, Placed]], keys: Keys, beside: Sequence[tuple[Identity, Placed]] = ()
) -> list[Stacked]:
    """Look into volumes of one disk, of which any may be containers; one answer for each.

    A volume group or an array may be spread over several of them: what is in it is listed in the one that holds its beginning,
    and what is kept of it may be in others, too. ``beside`` are volumes of other disks (Elsewhere) that may hold the rest.
    Raises ProgramError when blkid is missing.
    """
    roots = [Stacked("", source, identity) for identity, source in (*places, *beside)]
    _Opening(keys).open(roots)
    return roots[: len(places)]


class _Opening:
    """One walk down. Groups are put together when all that could hold a part of them was opened."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._members: list[_Member] = []
        self._groups: dict[str, Group] = {}
        self._raids: list[tuple[Stacked, RaidMember]] = []
        self._spread: dict[bytes, list[Stacked]] = {}  # devices of file systems that have several, by those
        self._count = 0

    def open(self, volumes: Sequence[Stacked]) -> None:
        waiting = list(volumes)
        while waiting:
            while waiting:
                waiting += self._look(waiting.pop(0))
            waiting = self._assemble_arrays() or self._assemble_group()
        self._map_spread()

    def _look(self, volume: Stacked) -> list[Stacked]:
        """Tell what is on one volume; what was found in it is to be looked at, too."""
        self._count += 1
        if volume.depth > _MAX_DEPTH or self._count > _MAX_VOLUMES:
            volume.keep_whole("Too many volumes are in each other.")
            return []
        try:
            match volume.identity.type:
                case "crypto_LUKS":
                    return self._luks(volume)
                case "BitLocker":
                    return self._bitlk(volume)
                case "LVM2_member":
                    self._physical_volume(volume)
                case "linux_raid_member":
                    self._raids.append((volume, read_raid_member(volume.source)))
                case _:
                    used = used_map(volume.source, volume.identity, path="", offset=0)
                    volume.used, volume.whole_because = used.extents, used.whole_because
                    if used.whole_because == MANY_DEVICES:
                        self._spread.setdefault(file_system_of(volume.source), []).append(volume)
        except UnsupportedError as error:
            volume.keep_whole(error.message)
        except FormatError as error:
            volume.keep_whole(f"Its structures make no sense: {error.message}")
        except SourceReadError as error:
            volume.keep_whole(f"Its structures cannot be read: {error.message}")
        return []

    def _inner(self, outer: Stacked, name: str, source: Placed) -> Stacked:
        inner = Stacked(name, source, Identity(), outer.depth + 1)
        with suppress(SourceReadError):  # what is unknown is kept whole
            inner.identity = identify_source(source)
        outer.inside.append(inner)
        return inner

    def _luks(self, volume: Stacked) -> list[Stacked]:
        header = read_luks_header(volume.source)
        if not can_decrypt(header):
            raise UnsupportedError(f"It is encrypted by {header.cipher}-{header.mode}, which this program does not know.")
        volume.luks = header
        key = self._keys.get(header.uuid)
        if key is None or not header.digest.fits(key):
            volume.keep_locked(key)
            return []
        content = Decrypted(volume.source, header, key)
        volume.used = ExtentMap([(header.start, header.end)]).complement(volume.source.size)
        return [self._inner(volume, "", content)]

    def _bitlk(self, volume: Stacked) -> list[Stacked]:
        header = volume.bitlk = read_bitlk_header(volume.source)
        given = self._keys.get(header.uuid)
        key = next((key for key in (given, clear_key(header)) if key and key_fits(volume.source, header, key)), None)
        if key is None:
            volume.keep_locked(given)
            return []
        volume.used = own_bytes(header, volume.source.size)
        return [self._inner(volume, "", BitlkContent(volume.source, header, key))]

    def _assemble_arrays(self) -> list[Stacked]:
        """Open the arrays whose members were met. Members that others have left behind are kept whole."""
        found = []
        raids, self._raids = self._raids, []
        for uuid in dict.fromkeys(member.uuid for _, member in raids):
            same = [(volume, member) for volume, member in raids if member.uuid == uuid]
            newest = max(member.events for _, member in same)
            shape = next(member.shape for _, member in same if member.events == newest)
            current: list[tuple[Stacked, RaidMember]] = []
            for volume, member in same:
                if member.events != newest or member.shape != shape:
                    volume.keep_whole(f"It is a part of a {member.kind} that is older than another one.")
                else:
                    current.append((volume, member))
            try:
                source = _array(current)
            except UnsupportedError as error:
                for volume, _ in current:
                    volume.keep_whole(error.message)
                continue
            for volume, member in current:
                volume.used = ExtentMap([(member.start, member.end)]).complement(volume.source.size)
            outer = next((volume for volume, _ in current if volume.is_here), current[0][0])
            found.append(self._inner(outer, "", source))
        return found

    def _map_spread(self) -> None:
        """Tell what is used of each device of file systems that have several, where all of them were met."""
        for volumes in self._spread.values():
            try:
                maps = used_maps([volume.source for volume in volumes])
            except UnsupportedError as error:
                because = error.message.removeprefix("btrfs: ")
                because = because[:1].upper() + because[1:]
            except FormatError as error:
                because = f"Its structures make no sense: {error.message}"
            except SourceReadError as error:
                because = f"Its structures cannot be read: {error.message}"
            else:
                for volume, used in zip(volumes, maps, strict=True):
                    volume.used, volume.whole_because = used.extents.clip(0, volume.source.size), ""
                continue
            for volume in volumes:
                volume.keep_whole(because)

    def _physical_volume(self, volume: Stacked) -> None:
        read = read_physical_volume(volume.source)
        for text in read.texts:
            group = parse_group(text)
            known = self._groups.get(group.uuid)
            if known is None or known.seqno < group.seqno:
                self._groups[group.uuid] = group
        if not read.texts:
            volume.keep_whole("It is in no volume group, or only another disk tells in which.")
        self._members.append(_Member(volume, read.uuid))

    def _assemble_group(self) -> list[Stacked]:
        """Open one group, one that is complete if there is such; what was left over is kept whole."""
        here = {member.uuid for member in self._members}
        waiting = sorted(self._groups.values(), key=lambda g: len({m.uuid for m in g.members.values()} - here))
        if not waiting:
            for member in self._members:
                if not member.volume.whole_because:
                    member.volume.keep_whole("The newest description of its volume group does not know it.")
            self._members = []
            return []
        group = waiting[0]
        del self._groups[group.uuid]
        mine = {m.uuid: key for key, m in group.members.items()}
        found: dict[str, list[Stacked]] = {}
        for member in [m for m in self._members if m.uuid in mine]:
            self._members.remove(member)
            member.volume.used, member.volume.whole_because = ExtentMap(), ""
            found.setdefault(mine[member.uuid], []).append(member.volume)
        for volume in (volume for same in found.values() if len(same) > 1 for volume in same):
            volume.keep_whole("There are two copies of this physical volume on the disk.")
        members = {key: same[0] for key, same in found.items() if len(same) == 1}
        return self._logical(group, members)

    def _logical(self, group: Group, members: dict[str, Stacked]) -> list[Stacked]:
        try:
            found = logical_volumes(group, {key: volume.source for key, volume in members.items()})
        except UnsupportedError as error:
            for volume in members.values():
                volume.keep_whole(error.message)
            return []
        for key, volume in members.items():
            member = group.members[key]
            end = member.start + member.count * group.extent_size
            if end > volume.source.size:
                volume.keep_whole("Its volume group is larger than it.")
            else:
                around = ExtentMap([(member.start, end)]).complement(volume.source.size)
                volume.used = volume.used.union(around).union(found.whole[key])
        opened = []
        outer = next((volume for volume in members.values() if volume.is_here), next(iter(members.values()), None))
        for logical in found.logical:
            name = f"{group.name}/{logical.name}"
            if outer is None:
                break
            if logical.source is not None and logical.used is not None:
                home = _home(logical.source, members)
                home.inside.append(Stacked(name, logical.source, Identity(POOL, "other"), home.depth + 1, logical.used))
            elif logical.source is not None:
                opened.append(self._inner(_home(logical.source, members), name, logical.source))
            else:
                outer.inside.append(Stacked(name, _Unread(logical.size), Identity(), whole_because=logical.whole_because))
        return opened


def _array(members: Sequence[tuple[Stacked, RaidMember]]) -> Placed:
    """The content of an array, of members that agree. Raises UnsupportedError when some are missing, or there are too many."""
    parts = [Window(volume.source, member.start, member.end) for volume, member in members]
    head = members[0][1]
    if head.level == 1:
        return parts[0] if len(parts) == 1 else Mirrored(parts)
    by_role = {member.role: part for (_, member), part in zip(members, parts, strict=True)}
    if len(by_role) < len(parts):
        raise UnsupportedError(f"It is a part of a {head.kind} that has two disks with the same number.")
    if len(by_role) < head.disks:
        raise UnsupportedError(f"It is a part of a {head.kind} of {head.disks} disks. {MISSING}")
    return array_content(head, [by_role[role] for role in range(head.disks)])


def _home(source: Placed, members: dict[str, Stacked]) -> Stacked:
    """The physical volume that holds the beginning of a logical one, or what of it is on the disk that is looked at."""
    for part in (ExtentMap([(0, min(source.size, 512))]), ExtentMap([(0, source.size)])):
        bytes_ = source.down(part)
        for volume in members.values():
            if bytes_ and bytes_.intersection(volume.source.down(ExtentMap([(0, volume.source.size)]))):
                return volume
    # All of it is on other disks.
    return next((volume for volume in members.values() if not volume.is_here), next(iter(members.values())))


class _Unread:
    """A volume whose bytes are kept with those of its physical volume, because where they are is not understood."""

    def __init__(self, size: int) -> None:
        self._size = size

    @property
    def size(self) -> int:
        """Bytes."""
        return self._size

    def pread(self, length: int, offset: int) -> bytes:
        """Raises SourceReadError."""
        raise SourceReadError("It cannot be put together here.", offset, length)

    def pread_into(self, buffer: memoryview, offset: int) -> None:
        """Raises SourceReadError."""
        raise SourceReadError("It cannot be put together here.", offset, len(buffer))

    def down(self, used: ExtentMap) -> ExtentMap:
        """Nothing: see above."""
        return ExtentMap()
