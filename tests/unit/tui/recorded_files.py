"""The files of a laptop's Windows partition, as values: a FileTree in memory."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count

from rescue.errors import DamagedError, FormatError
from rescue.filesystems.files.tree import Entry, Kind, resolve
from rescue.units import GIB, KIB, MIB

_NUMBERS = count(10)


def _when(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 10**9


def folder(path: str, changed: str = "2026-11-02T08:15", *, problem: str = "") -> Entry:
    """A folder at a path."""
    return Entry(path.rsplit("/", 1)[-1], path, Kind.FOLDER, modified=_when(changed), inode=next(_NUMBERS), problem=problem)


def file(path: str, size: int, changed: str = "2026-11-18T21:40", *, kind: Kind = Kind.FILE, problem: str = "") -> Entry:
    """Anything else."""
    name = path.rsplit("/", 1)[-1]
    return Entry(name, path, kind, size, size, 0o644, 1000, 1000, modified=_when(changed), inode=next(_NUMBERS), problem=problem)


class RecordedTree:
    """See FileTree. ``folders``: what is in each, by its path. ``damaged``: paths of folders that cannot be read to their end."""

    def __init__(self, entries: list[Entry], kind: str = "ntfs", *, owners: bool = False, notes: tuple[str, ...] = ()) -> None:
        self.kind = kind
        self.owners = owners
        self.notes = notes
        self.damaged: set[str] = set()
        self.folders: dict[str, list[Entry]] = {}
        for entry in entries:
            self.folders.setdefault(entry.path.rpartition("/")[0], []).append(entry)

    def root(self) -> Entry:
        """See FileTree."""
        return Entry("", "", Kind.FOLDER, inode=1)

    def entry(self, path: str) -> Entry:
        """See FileTree."""
        return resolve(self, path, lambda above, name: next((c for c in self.children(above) if c.name == name), None))

    def children(self, entry: Entry) -> Iterator[Entry]:
        """See FileTree."""
        yield from self.folders.get(entry.path, [])
        if entry.path in self.damaged:
            raise DamagedError("Partition 3 does not match its hash at 1.2 GiB.")

    def read(self, entry: Entry) -> Iterator[tuple[int, bytes]]:
        """See FileTree."""
        raise FormatError(f"{entry.path} was not recorded.")

    def readlink(self, entry: Entry) -> str:
        """See FileTree."""
        return "../Public/Pictures"

    def xattrs(self, entry: Entry) -> dict[str, bytes]:
        """See FileTree."""
        return {}

    def left_out(self, entry: Entry) -> tuple[str, ...]:
        """See FileTree."""
        return ()


def windows_files() -> RecordedTree:
    """What anybody would look for first: the letters and pictures of one user."""
    tree = RecordedTree(
        [
            folder("Program Files", "2026-08-30T10:00"),
            folder("Users", "2025-01-11T17:20"),
            folder("Windows", "2026-11-12T03:04"),
            file("pagefile.sys", 8 * GIB, "2026-11-20T19:30"),
            file("hiberfil.sys", 3 * GIB + 200 * MIB, "2026-11-20T19:30", problem="It is compressed in a way that is not known."),
            folder("Users/anna"),
            folder("Users/Public"),
            folder("Users/anna/Documents"),
            folder("Users/anna/Pictures", "2026-10-05T16:55"),
            folder("Users/anna/Documents/Tax 2025"),
            folder("Users/anna/Documents/Lost", problem="The folder's index is damaged."),
            file("Users/anna/Documents/Letter to the landlord.docx", 48 * KIB + 311),
            file("Users/anna/Documents/letter-old.doc", 112, "2019-03-01T09:00"),
            file("Users/anna/Documents/Thesis – final, really final, with the corrections of the second reader.pdf", 18 * MIB),
            file("Users/anna/Documents/Shared", 0, kind=Kind.LINK),
            file("Users/anna/Documents/Tax 2025/receipts.zip", 340 * MIB, "2026-05-31T23:58"),
            *(
                file(f"Users/anna/Pictures/IMG_{number}.jpg", 4 * MIB + number * 1234, "2026-10-05T16:55")
                for number in range(2001, 2040)
            ),
        ],
        notes=("Windows was not shut down completely: what it changed last may be missing.",),
    )
    tree.damaged.add("Users/anna/Pictures")
    return tree
