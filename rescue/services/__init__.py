"""The composition root: what every face (CLI, TUI, unattended job) is given."""

from __future__ import annotations

from rescue.planning.request import BackupRequest, RestoreRequest
from rescue.services.interfaces import Job, Machine

__all__ = ["BackupRequest", "Job", "Machine", "RestoreRequest"]
