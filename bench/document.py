"""``docs/benchmarks.md`` is written in parts: a head, and sections of the second level, each by the program that measured it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

DOCUMENT: Final = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"
_SECTION: Final = re.compile(r"^## (?P<title>.+)\n", re.MULTILINE)


def split(text: str) -> tuple[str, dict[str, str]]:
    """The head of a document, and its sections by title, in order."""
    found = list(_SECTION.finditer(text))
    if not found:
        return text, {}
    ends = [match.start() for match in found[1:]] + [len(text)]
    return text[: found[0].start()], {match["title"]: text[match.end() : end] for match, end in zip(found, ends, strict=True)}


def join(head: str, sections: dict[str, str]) -> str:
    """The document of a head and sections."""
    return "\n".join([f"{head.strip()}\n", *(f"## {title}\n\n{body.strip()}\n" for title, body in sections.items())])


def put(path: Path, *, head: str | None = None, sections: dict[str, str] | None = None) -> None:
    """Write the head, or some sections, of a document anew, and keep all the rest of it."""
    old_head, old_sections = split(path.read_text()) if path.exists() else ("", {})
    path.parent.mkdir(exist_ok=True)
    path.write_text(join(old_head if head is None else head, old_sections | (sections or {})))
