"""Plan and Step: an immutable ordered list of intended effects, and the disks that it was made for."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from rescue.model.clone import CloneDisk, CloneReadBack, CloneTable
from rescue.model.disk import Disk, Fingerprint
from rescue.model.edit import EditStep
from rescue.model.fitting import FitDisk, FitIds, FitReadBack, FitTable, FitVolumes
from rescue.model.volume import Volume

ImageKind: TypeAlias = Literal["full", "incremental", "differential"]
ExportFormat: TypeAlias = Literal["raw", "qcow2", "vmdk", "vhd", "vhdx", "vdi"]


class CaptureDisk(msgspec.Struct, frozen=True, tag="capture-disk"):
    """Write an image of the source into the store. Writes nothing to the source."""

    title: str
    source: Disk
    store: str  # store URL or folder path
    name: str  # file name in the store, with its suffix: "laptop-2026-11-22.img.zst"
    level: int = 0  # zstd's, 1 to 19; 0: chosen frame by frame, as hard as the destination's speed allows
    comment: str = ""
    kind: ImageKind = "full"
    parent: str = ""  # path of the image that an incremental or differential one is made upon
    holds: tuple[str, ...] = ()  # names in the store of all images that it may need: they are kept from being removed meanwhile
    encrypt: bool = False
    split: int = 0  # bytes of the parts that it is cut into; 0: it is not cut
    begun: int = 0  # bytes that an interrupted attempt left of it, and that are gone on with
    anew: bool = False  # what an interrupted attempt left of it is thrown away
    salvage: str = ""  # folder of what is known of a failing disk: it goes on over what cannot be read
    decrypt: tuple[int, ...] = ()  # partitions whose LUKS volumes are in clear inside of the image, which is encrypted


class MendImage(msgspec.Struct, frozen=True, tag="mend-image"):
    """Read what an image of a failing disk lacks as hard as can be; what is won becomes an incremental image upon it.

    When nothing is won no image is made.
    """

    title: str
    source: Disk
    store: str  # folder path
    image: str  # name in the store of the image that lacks something
    name: str  # name in the store of the one that is made
    salvage: str  # folder of what is known of the disk
    level: int = 0
    comment: str = ""
    holds: tuple[str, ...] = ()  # names in the store of all images that it may need
    split: int = 0


class VerifyImage(msgspec.Struct, frozen=True, tag="verify-image"):
    """Read the stored image again and check every hash in it; with ``own_only`` not what its chain holds in other files."""

    title: str
    image: str  # path of the image
    own_only: bool = False


class MountImage(msgspec.Struct, frozen=True, tag="mount-image"):
    """Open every file system in the stored image over a throw-away overlay: its own check, mounting, a sample of its files.

    ``source`` is the disk that was imaged right before: what is wrong there too is no fault of the image.
    """

    title: str
    image: str
    source: Disk | None = None


class ExportImage(msgspec.Struct, frozen=True, tag="export-image"):
    """Write the disk in the image as a virtual disk of another format to a new file, and compare the two."""

    title: str
    image: str
    file: str
    format: ExportFormat


class WipeTarget(msgspec.Struct, frozen=True, tag="wipe-target"):
    """Remove partition tables and signatures at both ends of the target, so that a half-restored disk looks like none."""

    title: str
    target: str


class DeployImage(msgspec.Struct, frozen=True, tag="deploy-image"):
    """Write the image's data to the target: everything but its head, where partition tables live.

    With ``delta`` only what differs; None: when a sample shows that the target holds some of it.
    """

    title: str
    image: str
    target: str
    delta: bool | None = None
    salvage: bool = False  # what the image lacks or holds damaged becomes zeros, and is told


class WriteTable(msgspec.Struct, frozen=True, tag="write-table"):
    """Write the head of the disk and the partition tables (the backup GPT at the target's own end), last."""

    title: str
    image: str
    target: str


class ReadBack(msgspec.Struct, frozen=True, tag="read-back"):
    """Read from the medium what was written and compare its hashes with the image's."""

    title: str
    image: str
    target: str


class CompareDisk(msgspec.Struct, frozen=True, tag="compare-disk"):
    """Hold a disk against an image of it. Writes nothing."""

    title: str
    image: str
    disk: Disk


class ExtractFiles(msgspec.Struct, frozen=True, tag="extract-files"):
    """Copy files and folders of one file system into a folder, each under its own name. Writes nothing to the source.

    The file system is on ``volume`` of the disk in ``image`` or, without one, of ``disk``. ``paths`` are from its root, as
    bytes: names on a disk need not be text. An empty one stands for all that is in the root.
    """

    title: str
    volume: Volume
    paths: tuple[bytes, ...]
    folder: str
    image: str = ""
    disk: Disk | None = None
    overwrite: bool = False
    salvage: bool = False  # also when files of the image's chain are missing
    inside: str = ""  # ``volume`` is a container, and the file system is this volume in it
    containers: tuple[Volume, ...] = ()  # all of the disk: a volume may be spread over several


class DoomedImage(msgspec.Struct, frozen=True):
    """An image that is to be removed: its name in the store, and the fingerprint that it had when that was decided."""

    name: str
    fingerprint: str


class RemoveImages(msgspec.Struct, frozen=True, tag="remove-images"):
    """Remove images from a store, in this order: none comes after one that it needs. One that turns out to be needed stays.

    Removals that a power cut interrupted are finished, also when there are no images.
    """

    title: str
    store: str  # folder path
    images: tuple[DoomedImage, ...]


class ConsolidateImage(msgspec.Struct, frozen=True, tag="consolidate-image"):
    """Make a full image of the same disk out of an image and its chain, as far as possible by copying its frames."""

    title: str
    image: str  # path of the image
    store: str  # folder path
    name: str
    split: int = 0  # bytes of the parts that it is cut into; 0: it is not cut


class VerifyStore(msgspec.Struct, frozen=True, tag="verify-store"):
    """Check every image in a folder; what several images share is read once."""

    title: str
    store: str  # folder path


Step: TypeAlias = (
    CaptureDisk
    | MendImage
    | VerifyImage
    | MountImage
    | ExportImage
    | WipeTarget
    | DeployImage
    | WriteTable
    | ReadBack
    | CompareDisk
    | ExtractFiles
    | RemoveImages
    | ConsolidateImage
    | VerifyStore
    | EditStep
    | CloneDisk
    | CloneTable
    | CloneReadBack
    | FitDisk
    | FitTable
    | FitReadBack
    | FitVolumes
    | FitIds
)


class Plan(msgspec.Struct, frozen=True):
    """What will be done, to what, and what will be lost. Pure data: it travels to the job's process as JSON.

    ``sentences`` are shown on the review screen word for word; ``losses`` name everything that will be erased;
    ``command`` is the equivalent command line. ``fingerprint`` is of the disk that will be written to, if any.
    """

    kind: Literal["backup", "restore", "verify", "export", "extract", "prune", "consolidate", "wipe", "partition", "clone"]
    steps: tuple[Step, ...]
    sentences: tuple[str, ...]
    losses: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    fingerprint: Fingerprint | None = None
    target: Disk | None = None
    source: Disk | None = None
    estimated_bytes: int = 0  # bytes to be read or written, for "how long it should take"
