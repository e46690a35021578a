"""What a person may write as DEST, STORE or IMAGE: a path, or a URL."""

from __future__ import annotations

import os
import re
from urllib.parse import unquote, urlsplit

from rescue.errors import UsageError

_URL = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_SCHEMES = frozenset({"http", "https", "s3", "smb", "cifs", "nfs", "sftp", "ssh", "ftp", "webdav", "rclone"})


def local_path(address: str) -> str:
    """The absolute path behind a path or a ``file:`` URL (RFC 8089). Raises UsageError for every other URL, and for nothing."""
    if not address:
        raise UsageError("The name of a folder or file is empty.", "Name a folder or a file.")
    scheme, colon, rest = address.partition(":")
    scheme = scheme.lower()
    if colon and scheme == "file":
        return _file_url(address, rest)
    if colon and (scheme in _SCHEMES or _URL.match(address)) and not os.path.lexists(address):
        raise UsageError(
            f"{address}: {scheme}: addresses are not supported yet.", "Use a folder of this machine, or mount the share first."
        )
    return os.path.abspath(address)


def _file_url(address: str, rest: str) -> str:
    if not rest.startswith("//"):
        return os.path.abspath(unquote(rest)) if rest else _bad_file_url(address)
    parts = urlsplit(address)
    if parts.netloc not in ("", "localhost") or not parts.path:
        return _bad_file_url(address)
    return os.path.abspath(unquote(parts.path))


def _bad_file_url(address: str) -> str:
    raise UsageError(f"{address} does not name a folder or file of this machine.", "Write it as file:///folder.")
