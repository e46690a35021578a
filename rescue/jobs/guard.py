"""The last look before the first step: are these still the disks that the plan was made for, and is the target free?"""

from __future__ import annotations

from rescue.devices.fingerprint import check_unchanged, fingerprint
from rescue.devices.open import resolve
from rescue.devices.protection import protections
from rescue.errors import RefusedError, UsageError
from rescue.model.clone import CloneDisk
from rescue.model.fitting import FitDisk
from rescue.model.plan import DeployImage, Plan
from rescue.system.blockfile import FileSource


def check_source(plan: Plan) -> None:
    """Raise RefusedError when the source is not the disk any more that the plan was made for. A plan without one passes."""
    source = plan.source
    if source is None:
        return
    try:
        now = resolve(source.path)
    except UsageError as error:
        raise RefusedError(f"{source.title} is not there any more.", "Look at the disks again and choose anew.") from error
    if (now.serial, now.wwn, now.size, now.diskseq) != (source.serial, source.wwn, source.size, source.diskseq):
        raise RefusedError(
            f"{source.path} is another disk than the one that was chosen, or it was unplugged since.",
            "Look at the disks again and choose anew.",
        )


def check_target(plan: Plan) -> None:
    """Raise RefusedError when the target has changed since the plan, or is protected now. A plan without one passes."""
    if plan.target is None:
        return
    if plan.fingerprint is None:
        raise RefusedError(f"The plan does not say in what state {plan.target.title} was.", "Make a new plan.")
    try:
        disk = resolve(plan.target.path)
    except UsageError as error:
        raise RefusedError(f"{plan.target.title} is not there any more.", "Look at the disks again and choose anew.") from error
    with FileSource(disk.path) as source:
        check_unchanged(plan.fingerprint, fingerprint(disk, source))
    images = [step.image for step in plan.steps if isinstance(step, DeployImage)]
    images += [step.source.path for step in plan.steps if isinstance(step, CloneDisk)]
    images += [step.image or step.source.path for step in plan.steps if isinstance(step, FitDisk)]
    found = protections(disk, images)
    if found:
        raise RefusedError(f"{disk.title} is protected: {'; '.join(p.reason for p in found)}.", found[0].hint)
