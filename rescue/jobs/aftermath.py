"""In what state a job that did not end well leaves things, and how to continue. Sentences for people."""

from __future__ import annotations

from typing import assert_never

from rescue.model.plan import (
    CaptureDisk,
    CompareDisk,
    DeployImage,
    ExportImage,
    MountImage,
    Plan,
    ReadBack,
    Step,
    VerifyImage,
    WipeTarget,
    WriteTable,
)


def nothing_done(plan: Plan) -> str:
    """For a job that ended before its first step."""
    return f"Nothing was written to {plan.target.path}." if plan.target else "Nothing was written."


def aftermath(plan: Plan, step: Step) -> str:
    """For a job that ended within ``step``."""
    match step:
        case CaptureDisk():
            return f"The incomplete image was removed; {step.source.path} was not changed."
        case VerifyImage() if plan.kind == "backup":
            return f"The image {step.image} is complete, but it is not proved. Check it with: rescue verify {step.image}"
        case MountImage() if plan.kind == "backup":
            return (
                f"The image {step.image} is complete and its hashes are right, but its file systems are not proved."
                f" Check them with: rescue verify --mount {step.image}"
            )
        case VerifyImage() | CompareDisk() | MountImage():
            return "Nothing was changed."
        case ExportImage():
            return f"{step.file} was not made; the image was not changed."
        case WipeTarget() | DeployImage() | WriteTable():
            return (
                f"{step.target} is only partly written: its old content is lost and it does not start a computer."
                " Run the same command again to restore it completely."
            )
        case ReadBack():
            return f"{step.target} was written completely, but it is not proved. Run the same command again to be sure."
        case _:
            assert_never(step)


def after_kill(plan: Plan, step: Step) -> str:
    """For a job whose process was killed within ``step``, so that it could clean nothing up."""
    if isinstance(step, CaptureDisk):
        return (
            f"{step.store}/{step.name}.partial is not an image; the next backup to that name replaces it."
            f" {step.source.path} was not changed."
        )
    if isinstance(step, ExportImage):
        return f"{step.file}.partial is incomplete: remove it. The image was not changed."
    return aftermath(plan, step)
