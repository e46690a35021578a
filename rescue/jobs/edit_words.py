"""What the steps that change a disk without an image did, and what they leave when they do not end well. Sentences for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias, assert_never

from rescue.model.edit import (
    CopyVolume,
    EraseExtents,
    FormatVolume,
    LabelVolume,
    MoveVolume,
    ProveErased,
    PutTableBack,
    ResizeVolume,
    SanitizeDisk,
    SaveTables,
    SetTable,
)

WipeStep: TypeAlias = EraseExtents | ProveErased | SanitizeDisk
PartitionStep: TypeAlias = (
    SaveTables | SetTable | FormatVolume | LabelVolume | ResizeVolume | MoveVolume | CopyVolume | PutTableBack
)


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


def edited_words(step: PartitionStep, facts: Mapping[str, object]) -> str:
    """What a step did, as a sentence."""
    match step:
        case SaveTables():
            return f"The old partition table is kept in {step.file}."
        case SetTable():
            return f"The partition table of {step.target} is written and was read back."
        case FormatVolume():
            return f"There is a new {step.filesystem} in partition {step.number} of {step.target}."
        case LabelVolume():
            return f"The {step.identity.type} is called “{step.label}” now." if step.label else "The label is taken away."
        case CopyVolume():
            return "The copy was read back from the disk and is right."
        case ResizeVolume():
            said = facts.get("resized")
            return said if isinstance(said, str) else ""
        case MoveVolume():
            return f"Partition {step.number} is moved; every byte of it was read back before the next was written."
        case PutTableBack():
            if facts.get("written") is False:
                return f"The partition table of {step.target} was already as it is kept in {step.file}; nothing was written."
            return f"The partition table of {step.target} is as it was when it was kept in {step.file}."
        case _:
            assert_never(step)


def after_edit(step: PartitionStep) -> str:
    """In what state a job leaves things that ended within the step."""
    match step:
        case SaveTables():
            return f"{step.target} was not changed."
        case SetTable() | PutTableBack():
            return (
                f"The partition table of {step.target} may be the old or the new one; no data were touched. Look with: rescue"
                f" disks {step.target}; put the old one back with: rescue partition {step.target} --undo"
            )
        case FormatVolume():
            return (
                f"Partition {step.number} of {step.target} was to be formatted and holds nothing that can be used: format it"
                " again."
            )
        case LabelVolume():
            return f"A file system on {step.target} was being labelled. Look at its label, and check it before it is used."
        case CopyVolume():
            return f"The copy is not complete, and no partition of {step.target} holds it. What was to be copied is as it was."
        case ResizeVolume():
            return (
                f"A file system on {step.target} was being resized. Check it before it is used (rescue verify cannot: use its own"
                " checker), then look at the disk again; operations that were to come after it were not done."
            )
        case MoveVolume():
            return (
                f"Partition {step.number} is between two places, and nothing of it is lost. Go on with: rescue partition"
                f" {step.target} --continue"
            )
        case _:
            assert_never(step)
