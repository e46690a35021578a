"""The volume key of a LUKS volume, by its passphrase or key file: cryptsetup finds it, in user space."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Final

from rescue.errors import CredentialError, FormatError, ProgramError
from rescue.model.source import Source
from rescue.system.run import have, run
from rescue.units import MIB
from rescue.volumes.luks_header import HEADER_LIMIT, LuksHeader

_MEMORY: Final = Path("/dev/shm")  # a file system that is never on a disk
_SECONDS: Final = 300.0  # of all key slots; a slow one takes two seconds by design, in an emulated machine twenty times that
_NO_KEY: Final = 2  # cryptsetup(8), RETURN CODES


def find_volume_key(source: Source, header: LuksHeader, secret: bytes) -> bytes | None:
    """The key that encrypts the content; None when no key slot opens with ``secret`` (a passphrase, or what a key file holds).

    Nothing of it touches a disk: cryptsetup gets the header and the secret from memory, and leaves the key there.
    Raises ProgramError, FormatError, SourceReadError.
    """
    if not have("cryptsetup"):
        raise ProgramError("cryptsetup is not installed.", "It finds the key of an encrypted volume.")
    length = min(header.start, HEADER_LIMIT)
    copy = os.memfd_create("luks-header")
    try:
        os.ftruncate(copy, source.size)
        for offset in range(0, length, MIB):
            os.pwrite(copy, source.pread(min(MIB, length - offset), offset), offset)
        key = dump_volume_key("luksDump", copy, secret)
    finally:
        os.close(copy)
    if key is not None and not header.digest.fits(key):
        raise FormatError("LUKS header: the key that it gives is not the one that it describes.")
    return key


def dump_volume_key(action: str, header: int, secret: bytes) -> bytes | None:
    """What cryptsetup's ``action`` ("luksDump", "bitlkDump") finds with ``secret`` in the header that is open as ``header``.

    None when it does not open. Raises ProgramError, CredentialError.
    """
    if not have("cryptsetup"):
        raise ProgramError("cryptsetup is not installed.", "It finds the key of an encrypted volume.")
    with tempfile.TemporaryDirectory(prefix="rescue-", dir=_MEMORY) as folder:
        file = Path(folder) / "key"
        command = ["cryptsetup", action, "--batch-mode", "--dump-volume-key", "--key-file", "-"]
        command += ["--volume-key-file", str(file), f"/proc/self/fd/{header}"]
        try:
            done = run(command, stdin=secret, pass_fds=(header,), ok=(0, _NO_KEY), timeout=_SECONDS)
            return None if done.code else file.read_bytes()
        except OSError as error:
            raise CredentialError(f"cryptsetup left no key: {error.strerror}.") from error
        finally:
            if file.exists():
                file.chmod(0o600)
                file.write_bytes(bytes(file.stat().st_size))
