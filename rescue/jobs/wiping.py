"""The steps of wiping a disk."""

from __future__ import annotations

from typing import assert_never

from rescue.engine.sanitizing import prove_sanitized, samples_of, sanitize
from rescue.engine.wiping import erase, prove_erased
from rescue.jobs.edit_words import WipeStep
from rescue.jobs.reporter import Reporter
from rescue.model.edit import EraseExtents, ProveErased, SanitizeDisk
from rescue.model.plan import Plan
from rescue.model.progress import CancelToken

Facts = dict[str, str | int | float | bool | list[str]]


def perform_wipe(step: WipeStep, plan: Plan, token: CancelToken, reporter: Reporter) -> Facts:
    """Do one step. Raises RescueError."""
    match step:
        case EraseExtents():
            return {"target": step.target, "erased_bytes": erase(step.target, step.extents, token, reporter.progress)}
        case ProveErased():
            sector_size = plan.target.logical_sector_size if plan.target else 512
            read = prove_erased(step.target, step.extents, sector_size, token, reporter.progress)
            return {"read_back": True, "read_back_bytes": read}
        case SanitizeDisk():
            before = samples_of(step.target) if step.prove else {}
            sanitize(step.target, step.way, reporter.progress)
            facts: Facts = {"target": step.target, "sanitized": step.way}
            return facts | {"samples": prove_sanitized(step.target, before)} if step.prove else facts
        case _:
            assert_never(step)
