"""What records (``msgspec.Struct``) have in common: copies with other fields, and secrets that are not shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

# Both do the same; of the first the type checker knows which fields there are.
if TYPE_CHECKING:
    from dataclasses import replace
else:
    from msgspec.structs import replace

__all__ = ["Concealed", "replace"]


class Concealed(msgspec.Struct, frozen=True):
    """A record that holds a secret and does not show it when it is printed."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(…)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """For Rich, which would show every field of a structure."""
        return []
