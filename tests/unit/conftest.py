"""The unit run is unprivileged and offline: a test that starts a program, opens a socket or a device fails."""

from __future__ import annotations

import builtins
import gc
import os
import socket
import subprocess
from collections.abc import Callable
from typing import Any

import pytest


def pytest_configure() -> None:
    """Look for cyclic rubbish seldom: thousands of modules, tests and screens are made here, and nearly all of them stay."""
    gc.set_threshold(100_000, 20, 50)


@pytest.fixture(autouse=True)
def _no_outside_world(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("engine") or request.node.get_closest_marker("vm"):
        raise AssertionError("this test belongs into tests/engine or tests/vm")

    def refuse(*arguments: Any, **named: Any) -> Any:
        raise AssertionError(f"a unit test reached for the outside world: {arguments[:1]}")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(os, "open", _guarded(os.open))
    monkeypatch.setattr(builtins, "open", _guarded(builtins.open))


def _guarded(real: Callable[..., Any]) -> Callable[..., Any]:
    def guarded(path: Any, *arguments: Any, **named: Any) -> Any:
        text = os.fspath(path) if isinstance(path, str | os.PathLike) else ""
        if text.startswith("/dev/") and text not in ("/dev/null", "/dev/urandom", "/dev/shm"):
            raise AssertionError(f"a unit test reached for a device: {text}")
        return real(path, *arguments, **named)

    return guarded
