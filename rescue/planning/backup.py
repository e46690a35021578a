"""Plan a backup: one disk becomes one image in a store."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

import msgspec

from rescue.errors import CredentialError, RefusedError, UsageError
from rescue.model.plan import CaptureDisk, MountImage, Plan, Step, VerifyImage
from rescue.model.survey import BegunImage, DiskSurvey, ImageSummary
from rescue.planning.beside import beside_sentences, with_words
from rescue.planning.names import OTHER_SUFFIX, SUFFIX, default_name, with_suffix
from rescue.planning.parent import choose_parent, failed_of, is_same_disk
from rescue.planning.request import BackupRequest
from rescue.planning.salvage import mending, name_of_more, plan_mending, salvage_folder
from rescue.planning.verify import OPEN, OPENING, when
from rescue.planning.words import disk_words, plain, whole_warnings
from rescue.planning.writable import refuse_moving
from rescue.stores.names import check_new_name, check_split
from rescue.system.joined import MAX_PARTS
from rescue.units import GIB, human_size

_LEVELS = range(1, 20)
_FAT_FILE_LIMIT = 4 * GIB - 1
_CLEAR = (
    "What is in the LUKS volume of {} is in clear inside of the encrypted image, so that it can be compressed, and so is the"
    " volume's key: a restore encrypts it as it was, and the old passphrases open it."
)


class StoreFacts(msgspec.Struct, frozen=True):
    """What is known of the store before anything is written. ``names`` are complete images, ``busy`` are being written now."""

    folder: str
    free_bytes: int
    names: AbstractSet[str] = frozenset()
    busy: AbstractSet[str] = frozenset()
    filesystem: str = ""  # the kernel's word: "vfat", "ext4"
    disks: tuple[str, ...] = ()  # paths of the disks that hold it
    images: tuple[ImageSummary, ...] = ()
    begun: tuple[BegunImage, ...] = ()  # unfinished ones of this disk
    left: AbstractSet[str] = frozenset()  # unfinished ones of others, or locked ones


def plan_backup(survey: DiskSurvey, store: StoreFacts, request: BackupRequest, *, host: str, today: datetime.date) -> Plan:
    """Image the whole disk into the store, upon an older image of it if there is one; check the image.

    Raises RefusedError, UsageError, CredentialError.
    """
    disk = survey.disk
    if survey.unreadable:
        raise RefusedError(f"{disk.title} cannot be read. {survey.unreadable}", "Check its cable, or try another disk.")
    if not request.salvage:
        refuse_moving(survey)
    if request.level and request.level not in _LEVELS:
        raise UsageError(f"There is no compression level {request.level}.", "Levels go from 1 (fast) to 19 (small).")
    if any("\ud800" <= character <= "\udfff" for character in request.comment):
        raise UsageError("The comment holds bytes that are no UTF-8.", "Type it anew.")
    if request.kind == "full" and request.parent:
        raise UsageError("--kind full and --parent do not go together: a full image is made upon no other.", "Leave one out.")
    if disk.path in store.disks:
        raise RefusedError(
            f"{store.folder} is on {disk_words(disk)}, the disk that is to be backed up.", "Choose a folder on another disk."
        )
    _refuse_decrypt(survey, request)
    kind, parent = choose_parent(survey, store.images, request, store.folder)
    _refuse_locked(store, parent, request)
    split = _split(store, request)
    if request.salvage and parent is not None and parent.bad_bytes and not request.kind:
        return plan_mending(
            disk, store.folder, parent, request, taken=set(store.names) | set(store.busy) | store.left,
            holds=_needed(store.images, parent), split=split, command=_command(disk.path, store.folder, request),
        )  # fmt: skip
    suffix = SUFFIX if kind == "full" and not request.encrypt else OTHER_SUFFIX
    taken = set(store.names) | set(store.busy)
    begun = _begun(store, kind, parent, request)
    if request.name:
        name = with_suffix(request.name, suffix)
    else:
        name = begun.name if begun else default_name(disk, host, today, taken | store.left, suffix)
    check_new_name(name)
    if name in store.names:
        raise RefusedError(f"{store.folder}/{name} exists already.", "Choose another name; images are never overwritten.")
    if name in store.busy:
        raise RefusedError(
            f"Another backup is writing {store.folder}/{name} right now.", "Wait until it has ended, or choose another name."
        )
    used = survey.used_bytes
    goes_on = begun is not None and begun.name == name and not request.anew
    steps: list[Step] = [
        CaptureDisk(
            title=f"Back up {disk.path}",
            source=disk,
            store=store.folder,
            name=name,
            level=request.level,
            comment=request.comment,
            split=split,
            kind=kind,
            parent=parent.path if parent else "",
            holds=_needed(store.images, parent) if parent else (),
            encrypt=request.encrypt,
            begun=begun.stored if goes_on and begun else 0,
            anew=request.anew,
            salvage=salvage_folder(store.folder, name) if request.salvage else "",
            decrypt=request.decrypt,
        )
    ]
    sentences = [
        f"Read {disk_words(disk)}: {human_size(used)} to keep. Nothing on it is changed.",
        f"Write the {'encrypted ' if request.encrypt else ''}{kind} image {name} into {store.folder}"
        f" ({human_size(store.free_bytes)} free).",
    ]
    sentences += [_CLEAR.format(f"partition {number}" if number else "the disk") for number in request.decrypt]
    if begun is not None and goes_on:
        sentences.append(
            f"Go on with it where it was interrupted. {human_size(begun.stored)} are written; they are compared first."
        )
    elif begun is not None and begun.name == name:
        sentences.append(f"Begin it anew: the {human_size(begun.stored)} that an interrupted backup wrote of it are thrown away.")
    sentences += beside_sentences(disk)
    if parent is not None:
        sentences.append(
            f"Store only what has changed since {plain(parent.name)} ({when(parent.created)}), which it needs from then on."
        )
    if split and used > split:
        why = " because its FAT file system takes no file of 4 GiB or more" if split == _FAT_FILE_LIMIT else ""
        sentences.append(
            f"Cut the image into parts of {_exact_size(split)}{why}: {name}.001, {name}.002 and so on, if one file is not enough."
        )
    if request.salvage:
        if request.verify:
            steps.append(VerifyImage(title="Check the image", image=f"{store.folder}/{name}", own_only=parent is not None))
        holds = (name, *(_needed(store.images, parent) if parent else ()))
        more = name_of_more(name, taken | store.left)
        check_new_name(more)
        hard, said = mending(disk, store.folder, name, more, request, holds=holds, split=split)
        steps += hard
        sentences += ["Go on over what cannot be read, and take first what can be read quickly.", *said]
    elif request.verify:
        steps.append(VerifyImage(title="Check the image", image=f"{store.folder}/{name}", own_only=parent is not None))
        steps.append(MountImage(title=OPEN, image=f"{store.folder}/{name}", source=disk))
        sentences += ["Read the image again and check every hash in it.", OPENING]
    return Plan(
        kind="backup",
        steps=tuple(steps),
        sentences=tuple(sentences),
        warnings=(
            *_warnings(survey, store, used, split, request.verify),
            *_lock_warnings(store, kind, request),
            *_damage_warnings(survey, store, parent),
        ),
        command=(*_command(disk.path, store.folder, request), *with_words(disk)),
        source=disk,
        estimated_bytes=used * (2 if request.verify else 1),
    )


def _refuse_decrypt(survey: DiskSurvey, request: BackupRequest) -> None:
    """Raise UsageError or RefusedError where what is encrypted on the disk must not, or cannot, be in clear in the image."""
    if not request.decrypt:
        return
    if not request.encrypt:
        raise UsageError(
            "--decrypt keeps in clear what is encrypted on the disk, and the key that encrypts it: only an image that is"
            " encrypted itself may hold that.",
            "Add --encrypt.",
        )
    if request.salvage:
        raise UsageError("--decrypt and --salvage do not go together.", "Leave one of them out.")
    for number in request.decrypt:
        name = f"Partition {number}" if number else "The disk"
        if number not in request.unlock:
            raise UsageError(f"{name} has to be unlocked to be decrypted.", f"Add --unlock {number}.")
        volume = next((volume for volume in survey.volumes if volume.partition == number), None)
        if volume is None or volume.identity.type != "crypto_LUKS":
            raise RefusedError(
                f"{name} is no LUKS volume: what is encrypted further inside stays encrypted in the image.",
                f"Leave --decrypt {number} out.",
            )
        if volume.whole_because:
            raise RefusedError(f"{name} was not opened. {volume.whole_because}", f"Leave --decrypt {number} out.")


def _refuse_locked(store: StoreFacts, parent: ImageSummary | None, request: BackupRequest) -> None:
    """Raise CredentialError where a mistyped passphrase would have a failing disk read from its beginning once more."""
    locked = [image.name for image in store.images if image.locked]
    if request.salvage and request.encrypt and not request.kind and parent is None and locked:
        raise CredentialError(
            f"{plain(locked[0])} in {store.folder} cannot be opened with this passphrase or key: it may be the image that this"
            " disk is to be salvaged into.",
            "Give the passphrase or key of the image that is to be gone on with. If there is none of this disk, add --kind full.",
        )


def _begun(store: StoreFacts, kind: str, parent: ImageSummary | None, request: BackupRequest) -> BegunImage | None:
    """An unfinished image that is what is asked for."""
    above = parent.fingerprint if parent else ""
    name = request.name
    return next(
        (
            image
            for image in store.begun
            if (image.kind, image.encrypted) == (kind, request.encrypt)
            and image.parent.strip("0") == above.strip("0")
            and (not name or with_suffix(name, SUFFIX if image.name.endswith(SUFFIX) else OTHER_SUFFIX) == image.name)
        ),
        None,
    )


def _needed(images: Sequence[ImageSummary], parent: ImageSummary) -> tuple[str, ...]:
    """The names of an image and of all that it needs."""
    uuids = {parent.uuid, *(link.uuid for link in parent.chain)}
    return tuple(image.name for image in images if image.uuid in uuids)


def _split(store: StoreFacts, request: BackupRequest) -> int:
    """The size of the parts that the image is cut into, in bytes; 0: it is not cut. Raises UsageError."""
    check_split(request.split)
    limit = _FAT_FILE_LIMIT if store.filesystem in ("vfat", "msdos") else 0
    return min(request.split, limit) if request.split and limit else request.split or limit


def _exact_size(size: int) -> str:
    return f"{human_size(size + 1)} - 1 byte" if size == _FAT_FILE_LIMIT else human_size(size)


def _warnings(survey: DiskSurvey, store: StoreFacts, used: int, split: int, verify: bool) -> tuple[str, ...]:
    warnings = [*survey.notices, *whole_warnings(survey.layout, survey.volumes)]
    if store.free_bytes < used:
        warnings.append(
            f"{store.folder} has {human_size(store.free_bytes)} free for {human_size(used)} of data: it is enough only if the"
            " data can be compressed that far. If not, the backup stops; it can go on when there is more room."
        )
    if split and used > split * MAX_PARTS:
        warnings.append(
            f"An image is cut into {MAX_PARTS} parts at most: parts of {_exact_size(split)} are enough only if the data can be"
            " compressed that far. If not, the backup stops. Larger parts are safe."
        )
    if not verify:
        warnings.append("The image will not be checked after it was written.")
    return tuple(warnings)


def _lock_warnings(store: StoreFacts, kind: str, request: BackupRequest) -> list[str]:
    locked = sum(image.locked for image in store.images)
    if not (request.encrypt and kind == "full" and locked):
        return []
    one = "An encrypted image" if locked == 1 else f"{locked} encrypted images"
    return [f"{one} in {store.folder} cannot be opened with this passphrase or key, so nothing is built upon it."]


def _damage_warnings(survey: DiskSurvey, store: StoreFacts, parent: ImageSummary | None) -> list[str]:
    """What would have been built upon, and is not."""
    newer = [image for image in store.images if is_same_disk(image, survey) and (not parent or image.order > parent.order)]
    found = dict.fromkeys(failed for image in newer if (failed := failed_of(image, store.images)))
    return [f"{plain(name)} failed its last check: nothing is made upon it, nor upon what needs it." for name in found]


def _command(source: str, folder: str, request: BackupRequest) -> tuple[str, ...]:
    command = ["rescue", "backup", source, folder]
    if request.encrypt:
        command.append("--encrypt")
    if request.kind:
        command += ["--kind", request.kind]
    if request.parent:
        command += ["--parent", request.parent]
    if request.salvage:
        command.append("--salvage")
    if request.anew:
        command.append("--anew")
    if request.split:
        command += ["--split", str(request.split)]
    if request.name:
        command += ["--name", request.name]
    if request.level != BackupRequest().level:
        command += ["--level", str(request.level)]
    for partition in request.unlock:
        command += ["--unlock", str(partition)]
    for partition in request.decrypt:
        command += ["--decrypt", str(partition)]
    if request.comment:
        command += ["--comment", request.comment]
    if not request.verify:
        command.append("--no-verify")
    return tuple(command)
