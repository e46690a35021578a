"""The composition root: what every face (CLI, TUI, unattended job) is given."""

from __future__ import annotations

from rescue.planning.request import BackupRequest, CloneRequest, ExtractRequest, RestoreRequest
from rescue.services.interfaces import FileBrowser, Job, Listing, Machine, MountedImage

__all__ = [
    "BackupRequest",
    "CloneRequest",
    "ExtractRequest",
    "FileBrowser",
    "Job",
    "Listing",
    "Machine",
    "MountedImage",
    "RestoreRequest",
]
