"""Plan which images of a store are removed: those that no rule keeps and that nothing needs which stays."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

import msgspec

from rescue.errors import UsageError
from rescue.model.lineage import Lineage, dependents_first, needed_by, with_needed
from rescue.model.plan import DoomedImage, Plan, RemoveImages
from rescue.model.survey import ImageSummary, dates
from rescue.planning.parent import disk_key
from rescue.planning.retention import Dated, PruneRequest, Rules, in_future, kept_by, made_at
from rescue.planning.verify import when
from rescue.planning.words import disk_words, plain
from rescue.units import human_size

_LINK = "it is a link: its data are somewhere else"
_NAMED = 3  # of the images that need one


class StoreState(msgspec.Struct, frozen=True):
    """What is in a store. ``partials``: names of unfinished images; ``interrupted``: whether a removal was not finished."""

    folder: str
    images: tuple[ImageSummary, ...]
    lineages: tuple[Lineage, ...]
    partials: tuple[str, ...] = ()
    interrupted: bool = False
    links: AbstractSet[str] = frozenset()  # images whose files are somewhere else


def plan_prune(state: StoreState, request: PruneRequest, *, now: datetime.datetime, zone: datetime.tzinfo | None) -> Plan:
    """Decide which images go and which stay, each with the reason.

    Never removed by a rule, and not counted by one: what is damaged, locked, of an unknown disk, made by a wrong clock, or
    needs such an image. Raises UsageError.
    """
    request.rules.check()
    ours = {lineage.name: lineage for lineage in state.lineages}
    images = {image.name: image for image in state.images if image.name in ours}
    aside = {name: why for name in ours if (why := _aside(ours[name], images.get(name), now, zone))}
    aside |= dict.fromkeys(state.links & ours.keys(), _LINK)
    _needing_such(aside, state.lineages)
    series = _series([images[name] for name in ours if name not in aside and name in images])
    created = dates(images.values())
    chosen = _chosen(series, request.disks)
    kept: dict[str, tuple[str, ...]] = {}
    for key, members in series.items():
        if key in chosen:
            dated = [Dated(image, made) for image in members if (made := made_at(created[image.uuid], zone)) is not None]
            kept |= kept_by(request.rules, dated)
        else:
            kept |= {image.name: ("",) for image in members}  # of a disk that was not asked for
    stays = with_needed([*kept, *aside], state.lineages)
    gone = frozenset(ours) - stays
    needing = needed_by(state.lineages)
    sentences: list[str] = []
    for key, members in series.items():
        if key in chosen:
            sentences += _of_series(members, kept, gone, stays, needing)
    order = dependents_first(gone, state.lineages)
    freed = sum(images[name].stored_size for name in gone)
    if gone:
        count = _count(len(gone), "image")
        sentences.append(f"Remove {count} from {plain(state.folder)}: {human_size(freed)} become free. This cannot be undone.")
    if state.interrupted:
        sentences.append("Finish a removal that was interrupted.")
    if not gone and not state.interrupted:
        sentences.append("Nothing is removed.")
    step = RemoveImages("Remove images", state.folder, tuple(DoomedImage(name, ours[name].fingerprint) for name in order))
    return Plan(
        kind="prune",
        steps=(step,) if gone or state.interrupted else (),
        sentences=tuple(sentences),
        losses=tuple(_loss(images[name]) for name in order),
        warnings=tuple(_warnings(state, aside, stays, set(kept), needing)),
        command=_command(state.folder, request),
    )


def _aside(lineage: Lineage, image: ImageSummary | None, now: datetime.datetime, zone: datetime.tzinfo | None) -> str:
    """Why no rule may remove or count an image; "" when one may."""
    if lineage.locked:
        return "it is encrypted, and was not opened: what it needs is not known exactly"
    if lineage.needs is None:
        return f"it is damaged, or cannot be read ({plain(lineage.problem)})"
    if image is None:
        return "it has only just appeared"
    if image.problem:
        return f"it cannot be used ({plain(image.problem)})"
    if image.has_failed:
        return "its last check failed"
    if image.disk is None or image.layout is None or disk_key(image.disk, image.layout) is None:
        return "nothing tells which disk it is of"
    made = made_at(image.created, zone)
    if made is None:
        return "it does not say when it was made"
    if in_future(made, now):
        return f"it was made in the future ({when(image.created)}): a clock was or is wrong"
    return ""


def _needing_such(aside: dict[str, str], lineages: Sequence[Lineage]) -> None:
    """Set aside as well what needs an image that was set aside."""
    for lineage in lineages:
        if lineage.name in aside:
            continue
        bad = sorted(with_needed([lineage.name], lineages) & aside.keys() - {lineage.name})
        if bad:
            aside[lineage.name] = f"it needs {plain(bad[0])}, which counts for nothing"


def _series(images: Sequence[ImageSummary]) -> dict[tuple[object, ...], list[ImageSummary]]:
    """The images by the disk that they are of, newest first.

    Disks with copied identifiers are told apart by their serials; those without one, as virtual machines have them, by where
    they were: too many series keep too much, and one too few would remove the images of another disk.
    """
    found: dict[tuple[object, ...], list[ImageSummary]] = {}
    for image in sorted(images, key=lambda image: image.order, reverse=True):
        disk, layout = image.disk, image.layout
        assert disk is not None
        assert layout is not None
        key = (*(disk_key(disk, layout) or ()), disk.serial.strip() or (image.host, disk.path))
        found.setdefault(key, []).append(image)
    return found


def _chosen(series: Mapping[tuple[object, ...], list[ImageSummary]], disks: Sequence[str]) -> frozenset[tuple[object, ...]]:
    """The series that were asked for. Raises UsageError when one is of none."""
    if not disks:
        return frozenset(series)
    found: set[tuple[object, ...]] = set()
    for asked in disks:
        matching = {key for key, members in series.items() if any(_is_called(image, asked) for image in members)}
        if not matching:
            known = "; ".join(sorted({disk_words(m[0].disk) for m in series.values() if m[0].disk}))
            raise UsageError(f"No image is of a disk {plain(asked)}.", f"There are: {known}." if known else "")
        found |= matching
    return frozenset(found)


def _is_called(image: ImageSummary, asked: str) -> bool:
    disk, layout = image.disk, image.layout
    if disk is None or layout is None:
        return False
    names = {disk.serial.strip(), layout.id, disk.path} - {""}
    return asked.removeprefix("serial:").strip() in names or asked in names


def _of_series(
    members: Sequence[ImageSummary],
    kept: Mapping[str, tuple[str, ...]],
    gone: frozenset[str],
    stays: frozenset[str],
    needing: Mapping[str, frozenset[str]],
) -> list[str]:
    """What is kept of one disk, and why."""
    disk = members[0].disk
    assert disk is not None
    staying = [image for image in members if image.name not in gone]
    said = [f"{disk_words(disk)}: {_count(len(members), 'image')}, {len(staying)} kept, {len(members) - len(staying)} removed."]
    for image in staying:
        reasons = kept.get(image.name)
        why = "; ".join(reasons) if reasons else _needed_words(needing[image.name] & stays)
        said.append(f"Keep {plain(image.name)} ({when(image.created)}): {why}.")
    return said


def _needed_words(names: frozenset[str]) -> str:
    shown = ", ".join(plain(name) for name in sorted(names)[:_NAMED])
    more = f" and {len(names) - _NAMED} more need it" if len(names) > _NAMED else " needs it" if len(names) == 1 else " need it"
    return shown + more


def _warnings(
    state: StoreState,
    aside: Mapping[str, str],
    stays: frozenset[str],
    kept: set[str],
    needing: Mapping[str, frozenset[str]],
) -> list[str]:
    said = [f"{plain(name)} stays, and counts for no rule: {why}." for name, why in sorted(aside.items())]
    by_name = {lineage.name: lineage for lineage in state.lineages}
    unknown = frozenset(name for name in aside if by_name[name].needs is None and by_name[name].kind != "full")
    because = sorted(name for name in stays - kept - aside.keys() if needing[name] & unknown)
    if because:
        locked = any(by_name[name].locked for name in unknown)
        hint = " Give the passphrase or key of the locked ones to know." if locked else ""
        names = ", ".join(plain(name) for name in because)
        said.append(f"Kept because images whose needs are not known could need them: {names}.{hint}")
    said += [f"{plain(name)}.partial is an unfinished image. It stays: what began it goes on with it." for name in state.partials]
    return said


def _loss(image: ImageSummary) -> str:
    return f"{plain(image.name)} ({image.kind}, made {when(image.created)}, {human_size(image.stored_size)})"


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def _command(folder: str, request: PruneRequest) -> tuple[str, ...]:
    command = ["rescue", "prune", folder]
    for word, number in rule_options(request.rules):
        command += [word, str(number)]
    for disk in request.disks:
        command += ["--disk", disk]
    return tuple(command)


def rule_options(rules: Rules) -> list[tuple[str, int]]:
    """The options that say these rules."""
    options = (
        ("--keep-last", rules.last),
        ("--keep-daily", rules.daily),
        ("--keep-weekly", rules.weekly),
        ("--keep-monthly", rules.monthly),
        ("--keep-yearly", rules.yearly),
    )
    return [(word, number) for word, number in options if number]
