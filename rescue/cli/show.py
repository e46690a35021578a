"""Disks and images as text for people and as JSON for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from rescue.cli.text import table
from rescue.model.damage import damage_lines
from rescue.model.disk import Disk
from rescue.model.layout import Layout
from rescue.model.survey import DiskSurvey, ImageSummary
from rescue.model.volume import Nested, Volume
from rescue.planning.verify import when
from rescue.planning.words import content_words, contents_words, disk_words, plain, role_words, volume_of
from rescue.units import human_size

_LABELS = {"gpt": "GPT", "dos": "MBR", "none": ""}


def disk_text(survey: DiskSurvey) -> list[str]:
    """One disk: who it is, whether it is protected, and what is on it."""
    disk = survey.disk
    lines = [disk_words(disk)]
    about = [
        a for a in (disk.transport, "rotating" if disk.rotational else "", _LABELS[survey.layout.label]) if a and a != "file"
    ]
    if disk.logical_sector_size != 512:
        about.append(f"sectors of {disk.logical_sector_size} bytes")
    if disk.read_only:
        about.append("read-only")
    if about:
        lines.append("  " + ", ".join(about))
    if survey.is_rescue_medium and not survey.protections:
        lines.append("  Protected: the rescue system runs from it")
    lines += [f"  Protected: {p.reason}" for p in survey.protections]
    if survey.unreadable:
        return [*lines, f"  {survey.unreadable}"]
    lines += [f"  {problem}" for problem in survey.notices]
    return lines + content_text(survey.layout, survey.volumes)


def content_text(layout: Layout, volumes: Sequence[Volume]) -> list[str]:
    """The partitions of a disk, one a line, and what on it has no partition."""
    rows = []
    inside: list[str] = []
    for partition in layout.data_partitions:
        volume = volume_of(partition, volumes)
        content = content_words(volume.identity) if volume else ""
        rows.append(
            (
                str(partition.number),
                content or role_words(partition) or "unknown",
                plain((volume.identity.label if volume else "") or partition.name),
                human_size(partition.size),
                f"{human_size(volume.used_bytes)} used" if volume and content else "",
                plain(volume.system) if volume else "",
            )
        )
        if volume and volume.inside:
            inside.append(f"  {partition.number}: {contents_words(volume)}")
    for volume in volumes:
        if not volume.partition and volume.inside:
            inside.append(f"  -: {contents_words(volume)}")
        if not volume.partition and (volume.identity.type or volume.used_bytes):
            content = content_words(volume.identity) or "unknown"
            label = plain(volume.identity.label)
            rows.append(
                ("-", content, label, human_size(volume.size), f"{human_size(volume.used_bytes)} used", plain(volume.system))
            )
    return [*(table(rows, right=(0, 3, 4), limits=(3, 18, 16, 10, 15, 20), indent=2) or ["  blank"]), *inside]


def image_text(image: ImageSummary) -> list[str]:
    """One image: what it is, and what is in it."""
    facts = [
        ("Image", plain(image.path)),
        ("Kind", image.kind),
        ("Made", when(image.created) + (f" on {plain(image.host)}" if image.host else "")),
        ("Comment", plain(image.comment)),
        ("Disk", disk_words(image.disk) if image.disk else ""),
        ("Sectors", f"{image.disk.logical_sector_size} bytes" if image.disk else ""),
        ("Table", _LABELS[image.layout.label] if image.layout else ""),
        ("Size", f"{human_size(image.stored_size)} for {human_size(image.used_bytes)} of data"),
        ("Needs", ", ".join(plain(link.name) for link in image.chain)),
        ("Health", image.health),
        ("Lacks", f"{human_size(image.bad_bytes)} that could not be read" if image.bad_bytes else ""),
        ("Problem", image.problem),
        ("UUID", image.uuid),
        ("Hash", image.fingerprint),
    ]
    lines = [f"{name:<8} {value}" for name, value in facts if value]
    if image.layout:
        lines += ["", *content_text(image.layout, image.volumes)]
    if image.damage:
        lines += ["", *damage_lines(image.damage)]
    return lines


def disk_json(disk: Disk) -> dict[str, Any]:
    """Who a disk is."""
    return {
        "path": disk.path,
        "size": disk.size,
        "model": disk.model,
        "serial": disk.serial,
        "wwn": disk.wwn,
        "transport": disk.transport,
        "logical_sector_size": disk.logical_sector_size,
        "physical_sector_size": disk.physical_sector_size,
        "rotational": disk.rotational,
        "removable": disk.removable,
        "read_only": disk.read_only,
        "is_file": disk.is_file,
    }


def content_json(layout: Layout, volumes: Sequence[Volume]) -> dict[str, Any]:
    """The table of a disk and what its partitions hold. ``start`` and ``end`` are bytes, half-open."""
    return {
        "label": layout.label,
        "id": layout.id,
        "problems": list(layout.problems),
        "partitions": [
            {
                "number": p.number,
                "kind": p.kind,
                "start": p.start,
                "end": p.end,
                "type": p.type,
                "uuid": p.uuid,
                "name": p.name,
                "attributes": p.attributes,
            }
            for p in layout.partitions
        ],
        "volumes": [
            {
                "partition": v.partition,
                "start": v.start,
                "end": v.end,
                "type": v.identity.type,
                "label": v.identity.label,
                "uuid": v.identity.uuid,
                "used": v.used_bytes,
                "whole_because": v.whole_because,
                "system": v.system,
                "inside": nested_json(v.inside),
            }
            for v in volumes
        ],
    }


def nested_json(inside: Sequence[Nested]) -> list[dict[str, Any]]:
    """What is in a container; ``name`` is "" where it holds one volume."""
    return [
        {
            "name": n.name,
            "size": n.size,
            "type": n.identity.type,
            "label": n.identity.label,
            "uuid": n.identity.uuid,
            "used": n.used_bytes,
            "whole_because": n.whole_because,
            "system": n.system,
            "inside": nested_json(n.inside),
        }
        for n in inside
    ]


def survey_json(survey: DiskSurvey) -> dict[str, Any]:
    """One disk with all that was found on it."""
    return {
        **disk_json(survey.disk),
        "rescue_medium": survey.is_rescue_medium,
        "protected": [{"reason": p.reason, "hint": p.hint} for p in survey.protections],
        "unreadable": survey.unreadable,
        "moving": survey.moving or None,
        **content_json(survey.layout, survey.volumes),
    }


def image_json(image: ImageSummary) -> dict[str, Any]:
    """One image; ``problem`` is not empty when it cannot be used."""
    return {
        "path": image.path,
        "name": image.name,
        "stored_size": image.stored_size,
        "uuid": image.uuid,
        "kind": image.kind,
        "parent": image.parent,
        "encrypted": image.encrypted,
        "locked": image.locked,
        "clear": list(image.clear),
        "needs": [{"uuid": link.uuid, "name": link.name, "bytes": link.data_bytes} for link in image.chain],
        "created": image.created,
        "comment": image.comment,
        "host": image.host,
        "used": image.used_bytes,
        "damage": msgspec.to_builtins(image.damage),
        "own": image.own_bytes,
        "bad": image.bad_bytes,
        "hash": image.fingerprint,
        "health": image.health,
        "problem": image.problem,
        "disk": disk_json(image.disk) if image.disk else None,
        "content": content_json(image.layout, image.volumes) if image.layout else None,
    }
