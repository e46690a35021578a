"""A process that dies anywhere inside of the store's code: between two lines, without a chance to clean up."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, Final

_TRACED = ("/rescue/stores/", "/rescue/jobs/removing")
_DIED: Final = 99


def dying(action: Callable[[], object], every: int = 1) -> Iterator[int]:
    """Run ``action`` again and again in a process of its own that dies one line later each time; ends when it lives.

    Yields the number of the line after each death.
    """
    line = 1
    while _run(action, line):
        yield line
        line += every


def _run(action: Callable[[], object], last: int) -> bool:
    """Whether the process died; an exception in it is an error."""
    pid = os.fork()
    if pid:
        _, status = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        assert code in (0, _DIED), code
        return code == _DIED
    seen = 0

    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal seen
        if not any(part in frame.f_code.co_filename for part in _TRACED):
            return None
        if event == "line":
            seen += 1
            if seen == last:
                os._exit(_DIED)
        return trace

    code = 1
    try:
        sys.settrace(trace)
        action()
        code = 0
    finally:
        os._exit(code)
