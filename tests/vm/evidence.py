"""What a machine is asked before it is thrown away because a test failed on it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rescue.errors import RescueError
from tests.vm.qemu import Machine

_QUESTIONS = (
    "tail -n 60 /run/rescue/jobs/*/*",
    "ps -eo pid,ppid,stat,rss,etime,args | grep -v '\\['",
    "free -m; df -h",
    "rescue disks",
    "systemctl --failed --no-pager",
    "dmesg | tail -n 40",
    "journalctl --no-pager --lines 80",
)


@contextlib.contextmanager
def evidence_kept(machine: Machine) -> Iterator[None]:
    """When the block fails, keep what the guest's root shell says in ``evidence.txt``; the failure goes on."""
    try:
        yield
    except (RescueError, AssertionError):
        with (machine.artifacts / "evidence.txt").open("w") as file, contextlib.suppress(RescueError):
            machine.shell.wait_until_there(20)
            for question in _QUESTIONS:
                answer = machine.shell.run(question, 30, ok=None)
                file.write(f"# {question}  (exit code {answer.code})\n{answer.text}\n\n")
                file.flush()
        raise
