"""What a person asks for."""

from __future__ import annotations

from typing import Literal

import msgspec

from rescue.model.fit import NO_WISHES, FitMode, FitWishes


class BackupRequest(msgspec.Struct, frozen=True):
    """What a person asks of a backup. An empty ``name`` is made from the disk or the host, and the date."""

    name: str = ""
    level: int = 0  # zstd's, 1 to 19; 0: as hard as the destination's speed allows
    comment: str = ""
    verify: bool = True
    kind: Literal["", "full", "incremental", "differential"] = (
        ""  # "": incremental where the store holds a whole chain of the disk
    )
    encrypt: bool = False
    parent: str = ""  # path or name of the image to build upon; "" or "auto": the newest of this disk
    anew: bool = False  # do not go on with a backup that was interrupted: throw away what it left
    salvage: bool = False  # go on over what cannot be read, and try hard for it; of a disk that has an incomplete image only that
    split: int = 0  # bytes of the parts that the image is cut into; 0: cut it only where the file system needs it
    unlock: tuple[int, ...] = ()  # partitions whose LUKS volumes were opened, so that only what is used in them is kept
    decrypt: tuple[int, ...] = ()  # of those, the ones that are in clear inside of the encrypted image


class RestoreRequest(msgspec.Struct, frozen=True):
    """What a person asks of a restore."""

    verify: bool = True
    salvage: bool = False  # restore what is whole of an image that is incomplete or damaged
    delta: bool | None = None  # compare first and write only what differs; None: when the target turns out to hold some of it
    fit: FitMode | None = None  # None: "auto" onto a disk that is smaller, or with wishes; else "same"
    wishes: FitWishes = NO_WISHES
    unlock: tuple[int, ...] = ()  # partitions whose LUKS volumes were opened, so that they can get another size


class CloneRequest(msgspec.Struct, frozen=True):
    """What a person asks of a clone."""

    verify: bool = True
    delta: bool | None = None  # compare first and write only what differs; None: when the target turns out to hold some of it
    fit: FitMode | None = None  # as of a restore
    wishes: FitWishes = NO_WISHES
    unlock: tuple[int, ...] = ()  # partitions whose LUKS volumes were opened, so that only what is used in them is copied


class ExtractRequest(msgspec.Struct, frozen=True):
    """What a person asks to be copied out of a file system: paths from its root, into a folder."""

    paths: tuple[str, ...]
    folder: str
    overwrite: bool = False  # replace files of the same names that are there
    salvage: bool = False  # also out of an image that lacks files of its chain
    inside: str = ""  # of the volumes in a partition this one, "vg0/root"; "" where it holds one
