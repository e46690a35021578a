"""Copies of records (``msgspec.Struct``) with other fields."""

from __future__ import annotations

from typing import TYPE_CHECKING

# Both do the same; of the first the type checker knows which fields there are.
if TYPE_CHECKING:
    from dataclasses import replace
else:
    from msgspec.structs import replace

__all__ = ["replace"]
