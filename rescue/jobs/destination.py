"""Where a backup is written: one object of a store, continued where an earlier attempt left it."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType
from typing import Self

from rescue.errors import CredentialError, RescueError
from rescue.images.begun import Begun, read_begun, read_header
from rescue.images.keyslots import KeyArea
from rescue.images.rekey import Changes, read_key_area, rekey
from rescue.images.secrets import NO_SECRETS, Secrets
from rescue.stores.folder import FolderStore
from rescue.stores.partial import Partial
from rescue.stores.writer import StoreWriter


def _open_with_all(left: Partial, secrets: Secrets) -> None:
    """See to it that an encrypted image which goes on opens with all that was given this time: a new recovery key, a key file.

    Raises RefusedError (it has no place for more), DamagedError, TargetWriteError.
    """
    if not secrets:
        return
    header = read_header(left)
    if header is None or not header.encryption:
        return
    area = read_key_area(left)
    new = Secrets(
        passphrase=secrets.passphrase if not _opens(area, Secrets(passphrase=secrets.passphrase)) else None,
        key_file=secrets.key_file if not _opens(area, Secrets(key_file=secrets.key_file)) else None,
        recovery=secrets.recovery if not _opens(area, Secrets(recovery=secrets.recovery)) else None,
    )
    if new:
        rekey(left, secrets, Changes(new))


def _opens(area: KeyArea, secrets: Secrets) -> bool:
    try:
        return not secrets or bool(area.open(secrets))
    except CredentialError:
        return False


class StoreDestination:
    """A Destination (engine/making.py). A context manager: left without :meth:`commit`, it keeps what can be continued.

    With ``anew`` it does not go on with what an earlier attempt left; that is thrown away with the first write.
    """

    def __init__(self, store: FolderStore, name: str, split: int, *, anew: bool = False) -> None:
        self._store = store
        self._name = name
        self._split = split
        self._anew = anew
        self._left: Partial | None = None
        self._writer: StoreWriter | None = None
        self._secrets = NO_SECRETS
        self._stack = ExitStack()

    def hold(self, names: list[str]) -> None:
        """Keep these objects from being removed meanwhile. Raises GoneError (one is not there any more), RescueError."""
        for name in names:
            self._stack.enter_context(self._store.hold(name))

    def begun(self, secrets: Secrets) -> Begun | None:
        """See Destination."""
        self._secrets = secrets
        if self._anew:
            return None
        self._left = self._store.partial(self._name)
        if self._left is None:
            return None
        try:
            return read_begun(self._left, secrets)
        except CredentialError as error:
            raise CredentialError(
                f"{self._left.path} is an interrupted backup that does not open. {error.message}",
                "Give what was to open it, choose another name, or throw it away with --anew.",
            ) from error

    def go_on(self, length: int) -> None:
        """See Destination."""
        if self._left is None:
            raise ValueError("there is nothing to go on with")
        left, self._left = self._left, None
        with left:  # until the writer has its lock
            _open_with_all(left, self._secrets)
            self._writer = left.append(length, self._split)

    def write(self, data: bytes | bytearray | memoryview, /) -> None:
        """See Destination."""
        if self._writer is None:
            self._close_left()
            self._writer = self._store.open_for_write(self._name, self._split)
        self._writer.write(data)

    def tell(self) -> int:
        """Bytes of the object so far."""
        return self._writer.tell() if self._writer else 0

    def commit(self) -> None:
        """Make the object complete. Raises TargetWriteError, RefusedError."""
        if self._writer is None:
            raise ValueError("nothing was written")
        self._writer.commit()

    def _close_left(self) -> None:
        if self._left is not None:
            self._left.close()
            self._left = None

    def _keep_or_remove(self, writer: StoreWriter) -> None:
        """What cannot be continued is removed: it would only take space."""
        position = writer.tell()
        writer.abort(keep=True)
        if not position:
            return
        try:
            left = self._store.partial(self._name)
            if left is None:
                return
            with left:
                worth = read_begun(left, self._secrets) is not None
            if not worth:
                self._store.open_for_write(self._name, self._split).abort()
        except RescueError:
            # The place may be gone or failing: what went wrong first is what is told.
            return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._close_left()
        if self._writer is not None:
            if kind is not None:
                self._keep_or_remove(self._writer)
            self._writer.abort()
        self._stack.close()
