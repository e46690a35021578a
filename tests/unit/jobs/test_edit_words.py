"""What is said of a step that edits partitions names the partition."""

from __future__ import annotations

from rescue.jobs.edit_words import after_edit, edited_words
from rescue.model.edit import FormatVolume


def test_a_new_file_system_is_in_a_partition() -> None:
    step = FormatVolume(title="", target="/dev/sdb", number=3, start=0, end=1, sector_size=512, filesystem="ext4")
    assert edited_words(step, {}) == "There is a new ext4 in partition 3 of /dev/sdb."
    assert after_edit(step).startswith("Partition 3 of /dev/sdb")
