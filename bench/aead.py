"""How fast the AEADs of ``cryptography`` are, and whether two threads get two cores: ``python -m bench.aead``.

An AEAD that holds the interpreter's lock would stop reading, hashing and compressing while it runs; then two threads are
no faster than one.
"""

from __future__ import annotations

import os
import platform
import threading
import time
from collections.abc import Callable
from typing import Final, Protocol

from cryptography.hazmat.backends.openssl import backend
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESGCMSIV, AESOCB3, ChaCha20Poly1305

from rescue.units import MIB

_SIZES: Final = (1 * MIB, 4 * MIB, 8 * MIB)
_ROUND: Final = 512 * MIB
_ROUNDS: Final = 5
_TAG: Final = 16


class _Aead(Protocol):
    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes: ...

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes: ...

    def encrypt_into(self, nonce: bytes, data: bytes, associated_data: bytes | None, buf: bytearray) -> int: ...

    def decrypt_into(self, nonce: bytes, data: bytes, associated_data: bytes | None, buf: bytearray) -> int: ...


def operations(aead: _Aead, size: int) -> dict[str, Callable[[], Callable[[], object]]]:
    """For each way to use it, what makes the operation of one thread, with buffers of its own."""
    nonce = bytes(12)
    plain = os.urandom(size)
    sealed = aead.encrypt(nonce, plain, None)

    def into(size: int, call: Callable[[bytearray], object]) -> Callable[[], object]:
        buffer = bytearray(size)
        return lambda: call(buffer)

    return {
        "seal": lambda: lambda: aead.encrypt(nonce, plain, None),
        "seal into": lambda: into(size + _TAG, lambda buffer: aead.encrypt_into(nonce, plain, None, buffer)),
        "open": lambda: lambda: aead.decrypt(nonce, sealed, None),
        "open into": lambda: into(size, lambda buffer: aead.decrypt_into(nonce, sealed, None, buffer)),
    }


def rate(make: Callable[[], Callable[[], object]], size: int, threads: int) -> float:
    """MiB a second of ``threads`` threads together, the best of some rounds."""
    best = 0.0
    for _ in range(_ROUNDS):
        count = _ROUND // size // threads
        ready = threading.Barrier(threads + 1)
        workers = [threading.Thread(target=_work, args=(make(), count, ready)) for _ in range(threads)]
        for worker in workers:
            worker.start()
        ready.wait()
        start = time.perf_counter()
        for worker in workers:
            worker.join()
        best = max(best, count * threads * size / MIB / (time.perf_counter() - start))
    return best


def _work(operation: Callable[[], object], count: int, ready: threading.Barrier) -> None:
    operation()  # the pages of its buffers
    ready.wait()
    for _ in range(count):
        operation()


def main() -> None:
    """Print the table."""
    print(f"{backend.openssl_version_text()}, Python {platform.python_version()}, {os.cpu_count()} cores\n")
    print("| algorithm | use | buffer | 1 thread | 2 threads | |\n|---|---|---:|---:|---:|---:|")
    aeads: dict[str, _Aead] = {
        "AES-256-GCM": AESGCM(bytes(32)),
        "ChaCha20-Poly1305": ChaCha20Poly1305(bytes(32)),
        "AES-256-OCB3": AESOCB3(bytes(32)),
        "AES-256-GCM-SIV": AESGCMSIV(bytes(32)),
    }
    for name, aead in aeads.items():
        for size in _SIZES:
            for use, make in operations(aead, size).items():
                one, two = rate(make, size, 1), rate(make, size, 2)
                print(
                    f"| {name} | {use} | {size // MIB} MiB | {one:,.0f} MiB/s | {two:,.0f} MiB/s | {two / one:.2f}× |", flush=True
                )


if __name__ == "__main__":
    main()
