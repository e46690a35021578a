"""Plans and events as JSON, with names in them that are no UTF-8."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescue.jobs.journal import JournalReader, JournalWriter
from rescue.model import documents
from rescue.model.plan import DoomedImage, ExtractFiles, Plan, RemoveImages
from rescue.model.progress import Event, Finished, Message
from rescue.model.volume import Identity, Volume

NAME = "k\udcffk.img.zst"


def test_a_plan_comes_back_as_it_was() -> None:
    steps = (
        RemoveImages("Remove images", "/s\udcfe", (DoomedImage(NAME, "ab"),)),
        ExtractFiles("Copy", Volume(1, 0, 4096, Identity("ext4"), 0), (b"\xff\x00a",), "/dest"),
    )
    plan = Plan("prune", steps, (f"Remove {NAME}.",), command=("rescue", "prune", "/s\udcfe"))
    assert documents.decode(documents.encode(plan), Plan) == plan
    assert json.loads(documents.encode(plan))["steps"][0]["images"][0]["name"] == NAME


@given(st.text(st.characters(exclude_categories=["Cs"]) | st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF)))
def test_every_name_comes_back(name: str) -> None:
    data = documents.encode(Message("info", name))
    assert documents.decode(data, Message) == Message("info", name)
    assert b"\n" not in data


def test_what_is_text_is_written_as_ever() -> None:
    assert documents.encode(Message("info", "Ünï")) == msgspec.json.encode(Message("info", "Ünï"))


@pytest.mark.parametrize("data", [b'{"text":"\\udcff"', b'{"level":"\\udcff"}', b'["\\udcff"]', b"", b"{}"])
def test_what_is_something_else_is_refused(data: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        documents.decode(data, Message)


def test_a_journal_tells_of_such_names(tmp_path: Path) -> None:
    events: list[Event] = [
        Message("warning", NAME),
        Finished("succeeded", 0, NAME, "", {"removed": [NAME], "bytes": 7, "verified": True}),
    ]
    writer = JournalWriter(tmp_path / "events.jsonl")
    for event in events:
        writer.write(event)
    writer.close()
    assert JournalReader(tmp_path / "events.jsonl").read() == events


def test_a_hostile_document_does_not_fill_the_memory() -> None:
    """A lone surrogate leads it to the decoder that makes an object of each empty list: no document of that size is led there."""
    hostile = b'{"x":"\\udcff","y":[' + b"[]," * (8 << 20) + b"[]]}"
    tracemalloc.start()
    try:
        with pytest.raises(msgspec.DecodeError):
            documents.decode(hostile, type=dict[str, int])
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
