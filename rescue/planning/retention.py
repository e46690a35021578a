"""Which images of one disk a rule keeps: those of the last hours, days, weeks, months and years that have any."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

import msgspec

from rescue.errors import UsageError
from rescue.model.survey import ImageSummary

# Clocks of computers differ a little; one that is wrong is wrong by more.
_AHEAD: Final = datetime.timedelta(days=1)


class Rules(msgspec.Struct, frozen=True):
    """How many images to keep, of each disk: ``last`` the newest ones; of the others the newest of each of the last so many
    days, weeks (ISO 8601, from Monday), months and years that have an image at all. 0: the rule keeps nothing."""

    last: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0

    def check(self) -> None:
        """Raise UsageError for numbers that are none, or that would keep nothing."""
        counts = (self.last, self.daily, self.weekly, self.monthly, self.yearly)
        if min(counts) < 0:
            raise UsageError("A number of images to keep is negative.", "Use 0 or more.")
        if not any(counts):
            raise UsageError(
                "Nothing says what to keep.",
                "Give at least one of --keep-last, --keep-daily, --keep-weekly, --keep-monthly, --keep-yearly.",
            )


class PruneRequest(msgspec.Struct, frozen=True):
    """Which images to keep. ``disks``: only those of these disks (serial, identifier or path, as images tell); empty: all."""

    rules: Rules
    disks: tuple[str, ...] = ()


class Dated(NamedTuple):
    """An image and when it was made, in local time."""

    image: ImageSummary
    made: datetime.datetime


def made_at(created: str, zone: datetime.tzinfo | None) -> datetime.datetime | None:
    """When an image was made, in ``zone`` (None: that of this computer); None when it does not say so."""
    try:
        made = datetime.datetime.strptime(created, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=datetime.UTC)
        return made.astimezone(zone)
    except (ValueError, OverflowError, OSError):
        return None


def in_future(made: datetime.datetime, now: datetime.datetime) -> bool:
    """Whether a clock was wrong: the image's when it was made, or this computer's now."""
    return made > now + _AHEAD


_Bucket = Callable[[datetime.datetime], tuple[int, ...]]
_PERIODS: Final[tuple[tuple[str, str, _Bucket, str], ...]] = (
    ("daily", "day", lambda made: (made.year, made.month, made.day), "%Y-%m-%d"),
    ("weekly", "week", lambda made: made.isocalendar()[:2], "%G-W%V"),
    ("monthly", "month", lambda made: (made.year, made.month), "%Y-%m"),
    ("yearly", "year", lambda made: (made.year,), "%Y"),
)


def kept_by(rules: Rules, images: Iterable[Dated]) -> dict[str, tuple[str, ...]]:
    """The names of the images of one disk that the rules keep, newest first, each with the reasons: ``last of 2026-11-22``.

    Each rule looks at all images, and goes from the newest back; and once more at those that lack nothing of their disk, so
    that none of these makes room for one that does. Removing what is not kept does not change what is kept.
    """
    newest = sorted(images, key=lambda dated: (dated.made, dated.image.rank, dated.image.name), reverse=True)
    reasons = _reasons(rules, newest, "the newest")
    for name, why in _reasons(rules, [dated for dated in newest if not dated.image.bad_bytes], "the newest whole one").items():
        reasons.setdefault(name, why)
    return {dated.image.name: tuple(reasons[dated.image.name]) for dated in newest if dated.image.name in reasons}


def _reasons(rules: Rules, newest: Sequence[Dated], words: str) -> dict[str, list[str]]:
    reasons: dict[str, list[str]] = {}
    for number, dated in enumerate(newest[: rules.last], 1):
        reasons[dated.image.name] = [words if number == 1 else f"{words} but {number - 1}"]
    for field, word, bucket, form in _PERIODS:
        for dated in _last_of_each(newest, bucket, getattr(rules, field)):
            reasons.setdefault(dated.image.name, []).append(f"last of the {word} {dated.made.strftime(form)}")
    return reasons


def _last_of_each(newest: Sequence[Dated], bucket: _Bucket, count: int) -> list[Dated]:
    found: list[Dated] = []
    for dated in newest:
        if len(found) == count:
            break
        if not found or bucket(dated.made) != bucket(found[-1].made):
            found.append(dated)
    return found
