"""Byte units and how sizes, rates and times are shown to people."""

from __future__ import annotations

from typing import Final

KIB: Final = 1 << 10
MIB: Final = 1 << 20
GIB: Final = 1 << 30
TIB: Final = 1 << 40


def align_down(value: int, unit: int) -> int:
    """Largest multiple of ``unit`` that is not above ``value``."""
    return value - value % unit


def align_up(value: int, unit: int) -> int:
    """Smallest multiple of ``unit`` that is not below ``value``."""
    return -(-value // unit) * unit


def human_size(size: int) -> str:
    """Bytes with one decimal in the unit that people read: ``931.5 GiB``, ``512 bytes``."""
    for unit, name in ((TIB, "TiB"), (GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size} bytes" if size != 1 else "1 byte"


def distinct_sizes(one: int, other: int) -> tuple[str, str]:
    """Two sizes as people read them; in bytes when they differ only by what is rounded away."""
    said, also = human_size(one), human_size(other)
    return (said, also) if said != also or one == other else (f"{one} bytes", f"{other} bytes")


def human_rate(bytes_per_second: float) -> str:
    """A rate as people read it: ``118.2 MiB/s``."""
    return f"{human_size(int(bytes_per_second))}/s"


def human_duration(seconds: float) -> str:
    """``45 s``, ``14 min``, ``2 h 05 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def parse_size(text: str) -> int:
    """Read ``700M``, ``4.5GiB``, ``4096``: bytes; the suffixes are powers of 1024. Raises ValueError."""
    stripped = text.strip().lower().removesuffix("b").removesuffix("i")
    factors = {"k": KIB, "m": MIB, "g": GIB, "t": TIB}
    factor = factors.get(stripped[-1:], 1)
    number = stripped[:-1] if factor != 1 else stripped
    value = int(float(number) * factor) if "." in number else int(number) * factor
    if value < 0:
        raise ValueError(f"a size cannot be negative: {text}")
    return value
