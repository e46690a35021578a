"""What a person has asked for on the Fit screen so far, and what comes of it: numbers and words. Pure."""

from __future__ import annotations

import re
from typing import Final, Literal

import msgspec

from rescue.errors import RefusedError, RescueError
from rescue.model.fit import NO_WISHES, FitFacts, FitMode, Fitted, FitWish, FitWishes, Placement
from rescue.model.layout import Partition
from rescue.model.volume import Volume
from rescue.planning.fit_inside import can_grow, least_of
from rescue.planning.fitting import GROWABLE, REFILLED, FitChoice, FitSource, fit_source
from rescue.planning.words import content_words, partition_words, plain, role_words, volume_of
from rescue.records import replace
from rescue.units import MIB, align_down, align_up, human_size

TABLES: Final = {"gpt": "a GPT", "dos": "an MBR", "none": "none"}
_STEPS: Final = 128  # to go through a whole disk
_OPTIONS: Final = re.compile(r" \((?:--[^)]*|\d+ bytes)\)")  # of a refusal: for the command line, and for scripts
_BYTES: Final = re.compile(r"\b(\d{5,}) bytes")


class FitState(msgspec.Struct, frozen=True):
    """The wishes for the target of ``size`` bytes with sectors of ``sector_size``.

    ``facts`` are what the content allows; None: not known yet.
    """

    source: FitSource
    size: int
    sector_size: int
    kind: Literal["restore", "clone"]
    mode: FitMode = "auto"
    wishes: FitWishes = NO_WISHES
    facts: FitFacts | None = None

    def result(self) -> Fitted | RescueError:
        """The layout that comes of it, or why there is none."""
        facts = self._known
        choice = FitChoice(
            self.kind, self.mode, facts.minimums, wishes=self.wishes, sectors=facts.sectors, refillable=facts.refillable,
            containers=facts.containers,
        )  # fmt: skip
        try:
            found = fit_source(self.source, self.size, choice, self.sector_size)
        except RescueError as error:
            return error
        for place in found.placements:
            asked = (facts.sectors or {}).get(place.number)
            size = place.target_end - place.target_start
            if asked is not None and (asked.how == "refuse" or asked.needed > size):
                return RefusedError(f"{self.described(place.number)}: {asked.because}", "Leave it out, or choose another disk.")
        return found

    @property
    def _known(self) -> FitFacts:
        return self.facts or FitFacts({})

    @property
    def partitions(self) -> tuple[Partition, ...]:
        """Those of the source, in the order that they shall have."""
        by_number = {p.number: p for p in self.source.layout.data_partitions}
        ordered = [by_number.pop(number) for number in self.wishes.order if number in by_number]
        return (*ordered, *by_number.values())

    def volume(self, number: int) -> Volume | None:
        """What a partition holds."""
        return next((v for v in self.source.volumes if v.partition == number), None)

    def partition(self, number: int) -> Partition:
        """A partition of the source."""
        return next(p for p in self.source.layout.data_partitions if p.number == number)

    def wish(self, number: int) -> FitWish | None:
        """What was asked for a partition."""
        return next((wish for wish in self.wishes.volumes if wish.partition == number), None)

    def least(self, number: int) -> int:
        """Bytes that a partition can be made as small as."""
        volume, size = self.volume(number), self.partition(number).size
        if number in self._known.containers:
            return least_of(self._known.containers[number])
        if volume is None or volume.whole_because:
            return size
        return min(self._known.minimums.get(number, size), size)

    def can_grow(self, number: int) -> bool:
        """Whether what a partition holds can fill a larger one."""
        volume = self.volume(number)
        if number in self._known.containers:
            return can_grow(self._known.containers[number])
        if volume is None or volume.whole_because:
            return False
        return volume.identity.type in GROWABLE or number in self._known.refillable

    def placed(self, number: int, result: Fitted | RescueError) -> Placement | None:
        """Where a partition goes; None when it is left out, or nothing fits."""
        if isinstance(result, RescueError):
            return None
        return next((place for place in result.placements if place.number == number), None)

    def changes(self, result: Fitted | RescueError) -> bool:
        """Whether anything is to be another than on the source, which is not larger than the target."""
        before = self.source.layout
        if isinstance(result, RescueError) or self.size < self.source.disk.size or self.wishes.new_ids:
            return True
        if (result.layout.sector_size, result.layout.label) != (before.sector_size, before.label):
            return True
        places = result.placements
        return len(places) < len(self.partitions) or any(place.moves or place.grows or place.shrinks for place in places)

    # What a person does

    def with_mode(self, mode: FitMode) -> FitState:
        """Another way; what was asked of single partitions is forgotten where all are to stay as they are."""
        kept = replace(NO_WISHES, new_ids=self.wishes.new_ids, overlay=self.wishes.overlay)
        return replace(self, mode=mode, wishes=kept if mode == "same" else self.wishes)

    def with_wish(self, number: int, wish: FitWish | None) -> FitState:
        """Ask something else for a partition, or nothing."""
        others = tuple(known for known in self.wishes.volumes if known.partition != number)
        volumes = (*others, wish) if wish else others
        order = self.wishes.order
        if wish is not None and wish.kind == "leave-out":
            order = tuple(known for known in order if known != number)
        elif order and number not in order:
            order = (*order, number)
        mode = "keep" if self.mode == "same" and wish is not None else self.mode
        return replace(self, mode=mode, wishes=replace(self.wishes, volumes=volumes, order=order))

    def with_other_table(self) -> FitState:
        """A GPT becomes an MBR and an MBR a GPT, or not after all."""
        other: Literal["gpt", "dos"] = "dos" if self.source.layout.label == "gpt" else "gpt"
        mode = "keep" if self.mode == "same" else self.mode
        return replace(self, mode=mode, wishes=replace(self.wishes, table="" if self.wishes.table else other))

    def with_new_ids(self, new_ids: bool) -> FitState:
        """Identifiers of its own for the target, or those of the source."""
        return replace(self, wishes=replace(self.wishes, new_ids=new_ids))

    def with_overlay(self, folder: str) -> FitState:
        """What is moved while file systems are made smaller is kept in this folder; "": in the memory."""
        return replace(self, wishes=replace(self.wishes, overlay=folder))

    def toggled(self, number: int, kind: Literal["keep", "leave-out", "min", "max"]) -> FitState:
        """Ask for it, or take it back where it was asked for."""
        wish = self.wish(number)
        return self.with_wish(number, None if wish and wish.kind == kind else FitWish(number, kind))

    def stepped(self, number: int, direction: int) -> FitState:
        """One step smaller (-1) or larger (1), to a whole number of steps, within what its content bears."""
        step = self.step
        place = self.placed(number, self.result())
        wish = self.wish(number)
        before = self.partition(number).size
        now = place.target_end - place.target_start if place else wish.size if wish and wish.size else before
        wanted = align_up(now + 1, step) if direction > 0 else align_down(now - 1, step)
        wanted = max(wanted, align_up(self.least(number), MIB))
        most = align_down(self.size, MIB) if self.can_grow(number) else before
        wanted = min(wanted, most)
        if (wanted - now) * direction <= 0:
            return self
        return self.with_wish(number, FitWish(number, "keep") if wanted == before else FitWish(number, "exactly", wanted))

    @property
    def step(self) -> int:
        """Bytes of one key: a power of two, about a hundredth of the target."""
        return max(MIB, 1 << (max(self.size // _STEPS, 1).bit_length() - 1))

    def moved(self, number: int, direction: int) -> FitState:
        """The partition before the one that is before it (-1), or behind the one behind it (1)."""
        numbers = [p.number for p in self.partitions if not self.is_left_out(p.number)]
        if number not in numbers:
            return self
        index = numbers.index(number)
        other = index + direction
        if not 0 <= other < len(numbers):
            return self
        numbers[index], numbers[other] = numbers[other], numbers[index]
        as_it_is = [p.number for p in self.source.layout.data_partitions if p.number in numbers]
        mode = "keep" if self.mode == "same" else self.mode
        return replace(self, mode=mode, wishes=replace(self.wishes, order=() if numbers == as_it_is else tuple(numbers)))

    def is_left_out(self, number: int) -> bool:
        """Whether the partition is not to be on the target."""
        wish = self.wish(number)
        return wish is not None and wish.kind == "leave-out"

    # What is said of it

    def named(self, number: int) -> str:
        """A partition in a few words: ``NTFS “Windows”``."""
        partition, volume = self.partition(number), self.volume(number)
        content = content_words(volume.identity) if volume else ""
        label = plain((volume.identity.label if volume else "") or ("" if role_words(partition) else partition.name))
        kind = content or role_words(partition) or "unknown content"
        return f"{kind} “{label}”" if label else kind

    def described(self, number: int) -> str:
        """A partition with all that tells it from others."""
        return partition_words(self.partition(number), volume_of(self.partition(number), self.source.volumes))

    def note(self, number: int, result: Fitted | RescueError) -> str:
        """What was asked for a partition or, without that, what becomes of it."""
        wish = self.wish(number)
        place = self.placed(number, result)
        change = "" if place is None else "▲ larger" if place.grows else "▼ smaller" if place.shrinks else ""
        volume = self.volume(number)
        if place is not None and place.shrinks and volume is not None and volume.identity.type in REFILLED:
            change = "▼ made anew"
        if wish is not None:
            words = {"keep": "pinned", "exactly": "set", "at-least": "at least", "leave-out": "left out", "min": "smallest"}
            asked = f"▪ {words.get(wish.kind, 'the rest')}"
            return f"{asked} {change[0]}" if change else asked
        if place is None:
            return ""
        return change or ("moved" if place.moves else "as it is")


def proposed_mode(source: FitSource, size: int, sector_size: int) -> FitMode:
    """The way that most people want: a disk that is much larger is filled, one that is nearly the same gets a plain copy."""
    is_near = source.disk.size <= size < source.disk.size * 11 // 10
    return "same" if is_near and sector_size == source.layout.sector_size else "auto"


def answer(state: FitState, result: Fitted | RescueError) -> tuple[bool, str]:
    """Whether it fits, and a sentence with numbers."""
    if isinstance(result, RescueError):
        said = _OPTIONS.sub("", f"{result.message} {result.hint}".strip())
        return False, plain(_BYTES.sub(lambda found: human_size(int(found[1])), said))
    taken = sum(place.target_end - place.target_start for place in result.placements)
    room = result.layout.usable_end - result.layout.usable_start
    free = max(room - taken, 0)
    words = "It fits"
    counts = [
        (sum(place.grows for place in result.placements), "larger"),
        (sum(place.shrinks for place in result.placements), "smaller"),
    ]
    changed = [f"{count} {'partition becomes' if count == 1 else 'partitions become'} {how}" for count, how in counts if count]
    out = len(state.source.layout.data_partitions) - len(result.placements)
    if out:
        changed.append(f"{out} {'is' if out == 1 else 'are'} left out")
    if free >= max(16 * MIB, state.size // 1000):
        words += f", and {human_size(free)} of {human_size(state.size)} stay unused."
    else:
        words += f", and fills the disk of {human_size(state.size)}."
    if changed:
        words += f" {', '.join(changed)}."
    else:
        words += " All partitions keep their sizes."
    if result.layout.label != state.source.layout.label:
        words += f" The partition table becomes {TABLES[result.layout.label]}; the disk does not start by itself then."
    if result.layout.sector_size != state.source.layout.sector_size:
        words += f" Its sectors have {result.layout.sector_size} bytes: all is made for those."
    return True, " ".join([words, *result.notes])
