"""Decompresses one Zstandard frame straight into the place where its content shall be, piece by piece.

libzstd by ctypes does it, that in python-zstandard or the system's: it writes to that place without a window of its own in
between, and whoever works on each piece at once finds it in the processor's cache. Otherwise python-zstandard does.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final, Protocol

import zstandard

from rescue.units import KIB, MIB

_PIECE: Final = 1 * MIB  # of content, about
_LEAST_INPUT: Final = 4 * KIB
# 1.5.4 overlooks some flipped bits that do not change the content, and a later zstd refuses such a frame: a check must find them.
_OLDEST: Final = 1_05_07
_WINDOW_LOG_MAX: Final = 100
_STABLE_OUTPUT: Final = 1001  # "experimental": the output is one buffer that stays, and needs no copy as a window
_IGNORE_CHECKSUM: Final = 1002  # "experimental": a seventh of the time, for what BLAKE3 proves better
_SESSION: Final = 1  # what to reset


class Decompressor(Protocol):
    """Decompresses frames. For one thread at a time."""

    def fill(self, frame: memoryview, content: memoryview) -> Iterator[int]:
        """Decompress ``frame`` into ``content``; yields how many bytes of it are there so far, the last time all.

        Ends only when the frame gave exactly ``len(content)`` bytes (at least 1), has no bytes left over, and its checksum
        agrees if it has one and this decompressor checks them. What is behind the bytes that are there may hold anything.
        Raises zstandard.ZstdError.
        """
        ...


def decompressor(window_limit: int) -> Decompressor:
    """The fastest one that there is, for content that is proved by other means: not all of them check a frame's checksum.

    ``window_limit`` is a power of two, in bytes: no frame may ask for a greater window.
    """
    library = _bundled() or _library()
    return SystemDecompressor(library, window_limit, ignore_checksum=True) if library else PortableDecompressor(window_limit)


class PortableDecompressor:
    """By python-zstandard."""

    def __init__(self, window_limit: int) -> None:
        self._decompressor = zstandard.ZstdDecompressor(max_window_size=window_limit)

    def fill(self, frame: memoryview, content: memoryview) -> Iterator[int]:
        """See Decompressor."""
        with self._decompressor.stream_reader(frame) as reader:
            filled = 0
            while filled < len(content) and (got := reader.readinto(content[filled:])):
                filled += got
            # The frame's checksum is checked only when its end is read. What is behind the frame is not read.
            if filled < len(content) or reader.read(1) or not _is_whole(frame):
                raise zstandard.ZstdError("the content has another size, or the frame has another length")
            yield filled


def _is_whole(frame: memoryview) -> bool:
    """Whether nothing is behind a frame that could be decompressed. Goes from block to block by their headers."""
    at = zstandard.frame_header_size(frame)
    last = 0
    while not last and at < len(frame):
        head = int.from_bytes(frame[at : at + 3], "little")
        last = head & 1
        # An RLE block stores one byte, whatever its size.
        at += 3 + (1 if head >> 1 & 3 == 1 else head >> 3)
    checksum = 4 if frame[4] & 4 else 0
    return bool(last) and at + checksum == len(frame)


class SystemDecompressor:
    """By libzstd itself."""

    def __init__(self, library: ctypes.CDLL, window_limit: int, *, ignore_checksum: bool = False) -> None:
        self._library = library
        context = library.ZSTD_createDCtx()
        if not context:
            raise MemoryError
        weakref.finalize(self, library.ZSTD_freeDCtx, context)
        self._context = context
        self._input, self._output = _Buffer(), _Buffer()
        for parameter, value in (
            (_WINDOW_LOG_MAX, window_limit.bit_length() - 1),
            (_STABLE_OUTPUT, 1),
            (_IGNORE_CHECKSUM, int(ignore_checksum)),
        ):
            self._check(library.ZSTD_DCtx_setParameter(context, parameter, value))

    def fill(self, frame: memoryview, content: memoryview) -> Iterator[int]:
        """See Decompressor."""
        frame = memoryview(bytearray(frame)) if frame.readonly else frame
        # These objects keep the memory where it is for as long as libzstd has its address.
        held = (ctypes.c_char.from_buffer(frame), ctypes.c_char.from_buffer(content))
        length = len(frame)
        step = max(length * _PIECE // len(content), _LEAST_INPUT)
        given, made = self._input, self._output
        given.address, made.address = map(ctypes.addressof, held)
        given.position = made.position = 0
        made.size = len(content)
        self._check(self._library.ZSTD_DCtx_reset(self._context, _SESSION))
        while True:
            given.size = min(length, given.position + step)
            left = self._library.ZSTD_decompressStream(self._context, ctypes.byref(made), ctypes.byref(given))
            self._check(left)
            if not left:
                break
            if given.position == length:
                raise zstandard.ZstdError("the frame is cut off")
            yield made.position
        if given.position != length or made.position != made.size:
            raise zstandard.ZstdError("the content has another size, or the frame has another length")
        yield made.position

    def _check(self, answer: int) -> None:
        if self._library.ZSTD_isError(answer):
            raise zstandard.ZstdError(self._library.ZSTD_getErrorName(answer).decode("ascii", "replace"))


class _Buffer(ctypes.Structure):
    """ZSTD_inBuffer and ZSTD_outBuffer."""

    _fields_ = (("address", ctypes.c_void_p), ("size", ctypes.c_size_t), ("position", ctypes.c_size_t))
    address: int
    size: int
    position: int


@cache
def _bundled() -> ctypes.CDLL | None:
    """The libzstd inside of python-zstandard, whose module for cffi exports it: the same version on every machine."""
    files = sorted(Path(zstandard.__file__).parent.glob("_cffi*.so"))
    return _library(str(files[0])) if files else None


@cache
def _library(name: str = "libzstd.so.1", oldest: int = _OLDEST) -> ctypes.CDLL | None:
    """The system's libzstd, or None when it is missing or cannot do what is needed."""
    pointer, size, number = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    try:
        library = ctypes.CDLL(name)
        library.ZSTD_versionNumber.restype = ctypes.c_uint
        for function, result, arguments in (
            (library.ZSTD_createDCtx, pointer, ()),
            (library.ZSTD_freeDCtx, size, (pointer,)),
            (library.ZSTD_DCtx_reset, size, (pointer, number)),
            (library.ZSTD_DCtx_setParameter, size, (pointer, number, number)),
            (library.ZSTD_decompressStream, size, (pointer, pointer, pointer)),
            (library.ZSTD_isError, ctypes.c_uint, (size,)),
            (library.ZSTD_getErrorName, ctypes.c_char_p, (size,)),
        ):
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError):
        return None
    return library if library.ZSTD_versionNumber() >= oldest else None
