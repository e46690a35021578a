"""The command line: reads the arguments, runs one command, turns errors into exit codes."""

from __future__ import annotations

import argparse
import importlib
import io
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from rescue import __version__
from rescue.cli.options import Context, interrupted, say_error
from rescue.errors import RescueError, UsageError
from rescue.services import Machine
from rescue.services.local import LocalMachine
from rescue.services.scratch import ScratchMachine

# Each command's module is imported only when that command is run: starting takes longer than many of them.
_COMMANDS: Final = {
    "disks": "disks", "backup": "backup", "restore": "restore", "verify": "verify", "info": "info", "list": "images",
    "key": "key", "ls": "files", "extract": "files", "mount": "mount", "umount": "mount", "export": "export",
    "prune": "prune", "consolidate": "consolidate", "wipe": "wipe", "partition": "partition", "clone": "clone",
}  # fmt: skip


def build_parser(only: str = "") -> argparse.ArgumentParser:
    """The parser of all commands, or of one."""
    parser = argparse.ArgumentParser(
        prog="rescue",
        description="Disk images and bare-metal restore, proved. Without a command: the full-screen interface.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"rescue {__version__}")
    parser.add_argument(
        "--disks",
        dest="scratch",
        metavar="FOLDER",
        type=Path,
        help="take the raw disk files (*.img) in FOLDER for this machine's disks",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for module in [_COMMANDS[only]] if only in _COMMANDS else dict.fromkeys(_COMMANDS.values()):
        importlib.import_module(f"rescue.cli.{module}").add(commands)
    return parser


def _named(argv: Sequence[str]) -> str:
    """The command in the arguments: the first that is neither an option nor the value of one."""
    words = iter(argv)
    for word in words:
        if word == "--disks":
            next(words, None)
        elif not word.startswith("-"):
            return word
    return ""


def _parsed(argv: Sequence[str]) -> argparse.Namespace:
    parser = build_parser(_named(argv))
    arguments, left = parser.parse_known_args(argv)
    # Before Python 3.12 argparse takes no more of a list once an option has come: partition DISK --yes OPERATION…
    more = getattr(arguments, "operations", None)
    if left and (more is None or any(word.startswith("-") for word in left)):
        parser.error(f"unrecognized arguments: {' '.join(left)}")
    if left and more is not None:
        more += left
    return arguments


def main(argv: Sequence[str] | None = None, machine: Callable[[], Machine] = LocalMachine) -> int:
    """Run one command and return its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A name that the terminal's encoding has no characters for must not end a command that has done its work.
        sys.stdout.reconfigure(errors="backslashreplace")
    arguments = _parsed(argv)
    try:
        if arguments.scratch is not None:
            machine = partial(ScratchMachine, arguments.scratch)
        command = getattr(arguments, "command", None)
        if command is None:
            return _interface(machine)
        code: int = command(arguments, Context(machine(), sys.stdin, sys.stdout, sys.stderr))
        sys.stdout.flush()
    except RescueError as error:
        return say_error(error)
    except KeyboardInterrupt:
        return say_error(interrupted())
    except BrokenPipeError:
        # Whoever read our output has gone. Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception:  # noqa: BLE001 - the outermost frame: what arrives here is a bug, and people get a sentence, not a stack
        return say_error(_bug())
    return code


def _bug() -> RescueError:
    """The error for what is no RescueError; its traceback is kept in a file."""
    with tempfile.NamedTemporaryFile("w", prefix="rescue-crash-", suffix=".txt", delete=False) as file:
        traceback.print_exc(file=file)
    return RescueError("Rescue met an error of its own.", f"Please report it with the file {file.name}.")


def _interface(machine: Callable[[], Machine]) -> int:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError("The full-screen interface needs a terminal.", "See rescue --help for the commands.")
    # Imported here alone: Textual takes longer to load than most commands take to run.
    from rescue.tui.app import run_tui

    return run_tui(machine())
