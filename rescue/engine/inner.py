"""File systems inside of containers, by the names that people give them: ``vg0/root`` in partition 2."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from rescue.engine.containers import stacks
from rescue.errors import CredentialError, UsageError
from rescue.model.source import Source
from rescue.model.text import shown
from rescue.model.volume import Volume
from rescue.volumes.stack import CONTAINERS, Stacked


class Inner(NamedTuple):
    """A volume in a container: its own bytes, and what it is, from byte 0 of those on. ``name`` is "" where there is one."""

    name: str
    source: Source
    volume: Volume


def inner_volumes(source: Source, volumes: Sequence[Volume], partition: int, keys: Mapping[str, bytes]) -> list[Inner]:
    """What is in a partition that is a container, as far as it can be opened. ``source`` is the disk. Raises ProgramError."""
    stack = stacks(source, volumes, keys).get(partition)
    return [_inner(name, found, partition) for name, found in _leaves(stack, "")] if stack else []


def inner_volume(source: Source, volumes: Sequence[Volume], partition: int, name: str, keys: Mapping[str, bytes]) -> Inner:
    """The volume of that name in a partition, "" where it holds one. Raises UsageError, CredentialError (locked)."""
    stack = stacks(source, volumes, keys).get(partition)
    if stack is None:
        raise UsageError(f"Partition {partition} holds no other volumes.", f"Say {partition}:PATH.")
    leaves = {leaf: found for leaf, found in _leaves(stack, "") if found.identity.type not in CONTAINERS}
    file_systems = [leaf for leaf, found in leaves.items() if found.identity.usage == "filesystem"]
    if not name and len(file_systems) == 1:
        name = file_systems[0]
    if name in leaves:
        return _inner(name, leaves[name], partition)
    if any(found.is_locked for found in stack.walk()):
        raise CredentialError(
            f"Partition {partition} is encrypted, and was not unlocked.", f"Give its passphrase: --unlock {partition}"
        )
    known = ", ".join(f"{partition}/{shown(leaf)}" for leaf in file_systems)
    why = "; ".join(found.whole_because for found in stack.walk() if found.whole_because)
    what = f"Partition {partition} has no volume {shown(name)}." if name else f"Partition {partition} is no file system."
    raise UsageError(what, f"It holds {known}: say one of them, and : and the path." if known else why)


def _leaves(stack: Stacked, above: str) -> Iterator[tuple[str, Stacked]]:
    for inner in stack.inside:
        name = f"{above}/{inner.name}" if above and inner.name else above or inner.name
        if inner.inside:
            yield from _leaves(inner, name)
        else:
            yield name, inner


def _inner(name: str, found: Stacked, partition: int) -> Inner:
    volume = Volume(partition, 0, found.source.size, found.identity, found.used.total, found.whole_because)
    return Inner(name, found.source, volume)
