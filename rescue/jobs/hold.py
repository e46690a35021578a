"""The process that keeps an image mounted: ``python -m rescue.jobs.hold REQUEST [FD]``.

It says on standard output, as one line of JSON, what is mounted or why nothing is, and stays until it is told to end.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from threading import Event
from types import FrameType

import msgspec

from rescue.engine.look_inside import Shown, mounted_image
from rescue.engine.salvaged_image import open_salvaged
from rescue.errors import RescueError
from rescue.images.chain import Chain
from rescue.images.secrets import NO_SECRETS, Secrets
from rescue.jobs.secrets import receive
from rescue.model import documents


class HoldRequest(msgspec.Struct, frozen=True):
    """What is to be mounted where."""

    image: str
    folder: str
    partitions: tuple[int, ...] = ()
    writable: bool = False
    salvage: bool = False  # also when the image is damaged or cut off, or files of its chain are missing


class HoldAnswer(msgspec.Struct, frozen=True):
    """What was mounted, the folder with what holds it, what is damaged of the image; or, with an exit code, why nothing was."""

    shown: tuple[Shown, ...] = ()
    workspace: str = ""
    defects: tuple[str, ...] = ()
    exit_code: int = 0
    message: str = ""
    hint: str = ""


def _say(answer: HoldAnswer) -> None:
    sys.stdout.write(documents.encode(answer).decode() + "\n")
    sys.stdout.flush()


def main(request: HoldRequest, secrets: Secrets) -> int:
    """Mount, say so, wait, unmount."""
    ended = Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        ended.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT})
    try:
        with (
            open_salvaged(request.image, secrets) if request.salvage else Chain(request.image, secrets) as chain,
            mounted_image(
                chain,
                Path(request.folder),
                partitions=request.partitions,
                writable=request.writable,
                keys=chain.volume_keys(secrets.volume_keys),
            ) as inside,  # fmt: skip
        ):
            _say(HoldAnswer(inside.volumes, str(inside.workspace), chain.defects))
            if any(volume.folder for volume in inside.volumes):
                ended.wait()
    except RescueError as error:
        _say(HoldAnswer(exit_code=error.exit_code, message=error.message, hint=error.hint))
        return error.exit_code
    return 0


if __name__ == "__main__":
    _request = documents.decode(sys.argv[1].encode(), type=HoldRequest)
    sys.exit(main(_request, receive(int(sys.argv[2])) if len(sys.argv) > 2 else NO_SECRETS))
