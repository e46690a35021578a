"""What a job ends with that could not do all of it: the words for gaps in an image and in what was restored."""

from __future__ import annotations

from collections.abc import Mapping

from rescue.model.plan import MendImage
from rescue.model.progress import Finished
from rescue.units import human_size

_Facts = dict[str, str | int | float | bool | list[str]]


def _bytes(facts: Mapping[str, object], name: str) -> int:
    value = facts.get(name)
    return value if isinstance(value, int) else 0


def incomplete(done: str, facts: _Facts) -> Finished:
    """The verdict on what was done with gaps: exit code 4, and which files they are in."""
    damage = facts.get("damage")
    lines = damage if isinstance(damage, list) else []
    hint = facts.get("next")
    missing = f"But it is incomplete: {human_size(_bytes(facts, 'missing_bytes'))} are missing."
    return Finished("failed", 4, "\n".join([f"{done} {missing}", *lines]), hint if isinstance(hint, str) else "", facts)


def mended_words(step: MendImage, facts: Mapping[str, object]) -> str:
    """What the second reading brought, as a sentence."""
    won, missing = _bytes(facts, "won_bytes"), _bytes(facts, "missing_bytes")
    if won:
        return f"{human_size(won)} more were read with patience: they are in {step.store}/{step.name}, which needs {step.image}."
    return (
        f"Nothing more of {step.image} could be read." if missing else f"{step.source.path} gave everything that was asked of it."
    )


def unread_words(facts: Mapping[str, object]) -> str:
    """What to add of an image that is whole as a file, but was made of a disk that could not be read completely."""
    bad = _bytes(facts, "bad_bytes")
    return f" It is incomplete: {human_size(bad)} of the disk could not be read when it was made." if bad else ""


def defect_words(facts: Mapping[str, object]) -> str:
    """What to add of an image that gave what it was asked for though its file is damaged."""
    defects = facts.get("defects")
    return f" The image itself is damaged. {' '.join(map(str, defects))} Make a new one." if isinstance(defects, list) else ""
