"""The options that commands share, and what every command is given."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import TextIO, TypeAlias

import msgspec

from rescue.cli.follow import ProgressStyle
from rescue.errors import CancelledError, RescueError
from rescue.model.text import shown_lines
from rescue.services import Machine
from rescue.units import parse_size


class Context(msgspec.Struct, frozen=True):
    """What a command works with."""

    machine: Machine
    stdin: TextIO
    stdout: TextIO
    stderr: TextIO


Command: TypeAlias = Callable[[argparse.Namespace, Context], int]


def add_json(parser: argparse.ArgumentParser) -> None:
    """``--json``."""
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def add_job(parser: argparse.ArgumentParser) -> None:
    """The options of every command that runs a plan."""
    add_json(parser)
    parser.add_argument("--dry-run", action="store_true", help="print the plan and stop")
    parser.add_argument(
        "--progress",
        choices=("bar", "json", "none"),
        help="how progress is shown on standard error (default: a bar on a terminal, else none)",
    )


def add_target(parser: argparse.ArgumentParser) -> None:
    """The target of commands that write a disk over another, and how it is compared before."""
    parser.add_argument(
        "target",
        metavar="TARGET",
        help="device node, by-id name, serial:…, or a raw disk file, which is created where it does not exist",
    )
    parser.add_argument(
        "--delta",
        action=argparse.BooleanOptionalAction,
        help="read the target first and write only what differs (default: where it holds some of it already)",
    )


def add_fit(parser: argparse.ArgumentParser) -> None:
    """The option of commands that write a disk over another."""
    parser.add_argument(
        "--fit",
        choices=("auto", "same", "keep"),
        help="auto: partitions grow or shrink so that they fill the target; keep: they keep their sizes where they can; same: all"
        " stays as on the source (default: same, and auto onto a disk that is smaller)",
    )


def add_beside(parser: argparse.ArgumentParser) -> None:
    """The option of commands that look into a disk of which parts may be on others."""
    parser.add_argument(
        "--with",
        dest="beside",
        metavar="DISK",
        action="append",
        default=[],
        help="another disk that holds the rest of an array, a volume group or a btrfs; it is only read; may be repeated (default:"
        " the disks of this machine; for a raw disk file none)",
    )


def size(text: str) -> int:
    """A size as people write it, for argparse: bytes."""
    try:
        return parse_size(text)
    except (ValueError, OverflowError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size; write it as 700M or 4G") from error


def partition_number(text: str) -> int:
    """The number of a partition, 0 for a disk without any, for argparse."""
    if not text.isascii() or not text.isdigit() or len(text) > 4:
        raise argparse.ArgumentTypeError(f"{text!r} is not the number of a partition")
    return int(text)


def progress_style(arguments: argparse.Namespace, stderr: TextIO) -> ProgressStyle:
    """The style that was asked for, or what suits standard error."""
    chosen: ProgressStyle | None = arguments.progress
    return chosen or ("bar" if stderr.isatty() else "none")


def say_error(error: RescueError) -> int:
    """Message and hint on standard error; the exit code."""
    print(f"rescue: {shown_lines(error.message)}", file=sys.stderr)
    if error.hint:
        print(shown_lines(error.hint), file=sys.stderr)
    return error.exit_code


def interrupted() -> CancelledError:
    """For SIGINT before anything was started."""
    return CancelledError("Cancelled.", "Nothing was written.")
