"""Several ways to do one job take turns, so that what else the machine does strikes all of them alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rescue.errors import RescueError


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement: seconds of the whole command, and the bytes that it added where that is of interest."""

    seconds: float
    size: int = 0


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to do the job: ``prepare`` brings everything into the state before it, ``work`` does and times it.

    ``check`` raises RescueError when what ``work`` did is not right: nobody is timed for wrong work.
    """

    name: str
    prepare: Callable[[], None]
    work: Callable[[], Sample]
    check: Callable[[], None]


@dataclass(slots=True)
class Row:
    """What was measured of one contender; ``failure`` says why there is nothing, or no more, to measure."""

    name: str
    samples: list[Sample] = field(default_factory=list)
    failure: str = ""

    @property
    def seconds(self) -> list[float]:
        """Of each round."""
        return [sample.seconds for sample in self.samples]

    @property
    def sizes(self) -> list[int]:
        """Of each round, in bytes."""
        return [sample.size for sample in self.samples]


def alternate(contenders: Sequence[Contender], rounds: int, say: Callable[[str], None]) -> list[Row]:
    """Let every contender do the job once a round; each round begins with another one.

    After its first turn, the work of each is checked. One that fails (RescueError), or whose work is wrong, keeps that as
    its failure and takes part no more; the others go on.
    """
    rows = [Row(contender.name) for contender in contenders]
    for number in range(rounds):
        start = number % len(contenders)
        pairs = list(zip(contenders, rows, strict=True))
        for contender, row in pairs[start:] + pairs[:start]:
            if row.failure:
                continue
            try:
                contender.prepare()
                sample = contender.work()
                if not row.samples:
                    contender.check()
            except RescueError as error:
                row.failure = str(error)
                say(f"{row.name}: FAILED: {row.failure}")
                continue
            row.samples.append(sample)
            say(f"{row.name}: {sample.seconds:.2f} s" + (f", {sample.size / 1e6:,.1f} MB" if sample.size else ""))
    return rows
