"""What the steps that change a disk without an image did, and what they leave when they do not end well. Sentences for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias, assert_never

from rescue.model.edit import EraseExtents, ProveErased, SanitizeDisk

WipeStep: TypeAlias = EraseExtents | ProveErased | SanitizeDisk


def wiped_words(step: WipeStep, facts: Mapping[str, object]) -> str:
    """What a step did, as a sentence."""
    match step:
        case EraseExtents():
            whole = len(step.extents) == 1
            return f"{step.target} is overwritten with zeros." if whole else f"{step.target} is wiped: it looks blank now."
        case ProveErased():
            return "What was erased was read back from the disk and is zeros."
        case SanitizeDisk():
            count = facts.get("samples")
            proved = f" None of the {count} samples of its content is there any more." if count else ""
            return f"{step.target} has erased itself.{proved}"
        case _:
            assert_never(step)


def after_wipe(step: WipeStep) -> str:
    """In what state a job leaves things that ended within the step."""
    match step:
        case EraseExtents():
            return f"{step.target} is only partly wiped: what was on it is damaged, but not gone. Run the same command again."
        case ProveErased():
            return f"{step.target} was wiped, but it is not proved. Run the same command again to be sure."
        case SanitizeDisk():
            return f"{step.target} may be erased, in part or not at all. Run the same command again to be sure."
        case _:
            assert_never(step)
