"""What a person asks of single partitions when a disk is fitted onto another: ``--size``, ``--leave-out``, ``--order``."""

from __future__ import annotations

import argparse
import os
from typing import Literal

from rescue.cli.layout_text import layout_text
from rescue.cli.review import plan_text
from rescue.model.fit import FitWish, FitWishes
from rescue.model.fitting import FitDisk
from rescue.model.plan import Plan
from rescue.model.volume import Identity
from rescue.units import parse_size


def add_wishes(parser: argparse.ArgumentParser) -> None:
    """Offer the options."""
    parser.add_argument(
        "--size",
        metavar="N=SIZE",
        dest="sizes",
        type=_size,
        action="append",
        default=[],
        help="the size of partition N: 20GiB, 20GiB+ (at least), min, max (all that the others leave) or same; may be repeated",
    )
    parser.add_argument(
        "--leave-out", metavar="N", dest="left_out", type=_number, action="append", default=[], help="do not write partition N"
    )
    parser.add_argument(
        "--order", metavar="N,N…", type=_order, default=(), help="how the partitions that are kept follow each other"
    )
    parser.add_argument(
        "--new-ids",
        action="store_true",
        help="give the target identifiers of its own (disk, partitions, file systems), and let what names them on it follow",
    )
    parser.add_argument(
        "--table",
        choices=("gpt", "mbr"),
        default="",
        help="make the partition table one of this kind (default: it keeps its own)",
    )
    parser.add_argument(
        "--sector-size",
        type=int,
        choices=(512, 4096),
        default=0,
        help="write for a disk with sectors of so many bytes, where TARGET is a file (default: those of the source)",
    )
    parser.add_argument(
        "--overlay",
        metavar="DIR",
        default="",
        help="keep what is moved while file systems are made smaller in this folder (default: in memory)",
    )


def wishes_of(arguments: argparse.Namespace) -> FitWishes:
    """What was asked for."""
    left_out = (FitWish(number, "leave-out") for number in arguments.left_out)
    overlay = os.path.abspath(arguments.overlay) if arguments.overlay else ""
    table: Literal["", "gpt", "dos"] = "dos" if arguments.table == "mbr" else arguments.table
    return FitWishes((*arguments.sizes, *left_out), arguments.order, overlay, arguments.sector_size, table, arguments.new_ids)


def fitted_text(plan: Plan) -> list[str]:
    """The plan as it is reviewed, and of one that fits the partitions as the target will have them."""
    fitted = next((step for step in plan.steps if isinstance(step, FitDisk)), None)
    if fitted is None:
        return plan_text(plan)
    contents = {volume.target_start: Identity(volume.filesystem) for volume in fitted.volumes}
    return ["On the target:", *layout_text(fitted.layout, contents), "", *plan_text(plan)]


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 4:
        raise argparse.ArgumentTypeError(f"{text!r} is not the number of a partition")
    return int(text)


def _order(text: str) -> tuple[int, ...]:
    return tuple(_number(part) for part in text.split(","))


def _size(text: str) -> FitWish:
    number, equals, wanted = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not N=SIZE; write it as 2=20GiB, 2=min, 2=max or 2=same")
    match wanted:
        case "min" | "max":
            return FitWish(_number(number), wanted)
        case "same":
            return FitWish(_number(number), "keep")
    try:
        size = parse_size(wanted.removesuffix("+"))
    except (ValueError, OverflowError) as error:
        raise argparse.ArgumentTypeError(f"{wanted!r} is not a size; write it as 700M, 4GiB, 4GiB+, min, max or same") from error
    return FitWish(_number(number), "at-least" if wanted.endswith("+") else "exactly", size)
