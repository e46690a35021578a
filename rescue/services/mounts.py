"""Images that are mounted in folders of this computer, each by a process that outlives the face that asked for it."""

from __future__ import annotations

import os
from pathlib import Path

from rescue.errors import RescueError
from rescue.images.secrets import Secrets
from rescue.jobs.hold import HoldRequest
from rescue.jobs.holding import REGISTER, hold, holders, mounts_below, release
from rescue.planning.words import plain
from rescue.services.interfaces import MountedImage
from rescue.stores.address import local_path


def mount_image(image: str, folder: str, secrets: Secrets, *, salvage: bool = False, register: Path = REGISTER) -> MountedImage:
    """See Machine."""
    path, point = str(Path(local_path(image)).absolute()), os.path.realpath(folder)
    request = HoldRequest(path, point, salvage=salvage)
    _, answer = hold(request, secrets, register)
    problems = list(answer.defects)
    for volume in answer.shown:
        if volume.problem:
            name = f"Partition {volume.partition}" if volume.partition else "The file system"
            name += f", {plain(volume.name)}" if volume.name else ""
            problems.append(f"{name} is not mounted: {plain(volume.problem)}")
    points = tuple(volume.folder for volume in answer.shown if volume.folder)
    if not points:
        raise RescueError("Nothing in the image could be mounted.", " ".join(problems))
    return MountedImage(path, point, points, tuple(problems))


def mounted_images(register: Path = REGISTER) -> list[MountedImage]:
    """See Machine."""
    found = [MountedImage(one.image, one.folder, tuple(sorted(mounts_below(one.folder)))) for one in holders(register)]
    return sorted(found, key=lambda mounted: mounted.folder)


def unmount_image(folder: str, register: Path = REGISTER) -> None:
    """See Machine."""
    release(folder, register)
