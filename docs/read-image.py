#!/usr/bin/env python3
"""A stand-alone reader of Rescue images, written from docs/image-format.md alone. Needs Python 3.9 and `zstandard`.

    read-image.py IMAGE            what it is (JSON)
    read-image.py IMAGE DISK       write the disk to DISK (a file or a device), by the index, not by decompressing the whole file

With the `blake3` package installed, every chunk's hash is checked; without it, the frames' own checksums are.
"""

import json
import os
import struct
import sys

import zstandard

try:
    from blake3 import blake3
except ImportError:
    blake3 = None

MAGIC, SEEK_MAGIC = 0x184D2A5B, 0x8F92EAB1
HOLE, ZERO, DATA = 0, 1, 2


def fail(text):
    sys.exit("read-image: " + text)


def check(condition, text):
    if not condition:
        fail(text)


def digest_ok(data, digest):
    return blake3 is None or blake3(data).digest() == digest


def skippable(file, offset, tag):
    """The payload of the skippable frame at an offset (section 1)."""
    file.seek(offset)
    magic, length = struct.unpack("<II", file.read(8))
    check(magic == MAGIC and length < 1 << 30, "no frame of ours at byte %d" % offset)
    payload = file.read(length)
    check(len(payload) == length and payload[:8] == tag, "no %s frame at byte %d" % (tag.decode(), offset))
    return payload


def unpack(frame, limit):
    check(0 <= zstandard.frame_content_size(frame) <= limit, "a frame says that it is absurdly large")
    return zstandard.ZstdDecompressor().decompress(frame)


def read_header(file):
    """Section 2."""
    payload = skippable(file, 0, b"RSCUHEAD")
    version, length, kind, encryption, flags = struct.unpack_from("<HHBBH", payload, 8)
    check(version == 1, "format version %d is not known" % version)
    check(kind == 0 and encryption == 0 and flags == 0, "incremental and encrypted images are not known")
    check(digest_ok(payload[:96], payload[96:128]), "the header is damaged")
    chunk, logical, physical, frame_limit = struct.unpack_from("<IIII", payload, 16)
    (size,) = struct.unpack_from("<Q", payload, 32)
    check(frame_limit <= 64 << 20, "impossible frame limit")
    return {"uuid": payload[48:64], "size": size, "chunk": chunk, "frame_limit": frame_limit}


def read_manifest(file, header):
    """Sections 8, 7 and 6: seek table footer, trailer, manifest."""
    end = file.seek(0, os.SEEK_END)
    file.seek(end - 9)
    count, descriptor, magic = struct.unpack("<IBI", file.read(9))
    check(magic == SEEK_MAGIC and descriptor == 0, "the end is missing: the image is not complete")
    trailer = skippable(file, end - (8 + 8 * count + 9) - 120, b"RSCUTAIL")
    check(trailer[16:32] == header["uuid"], "the trailer belongs to another image")
    offset, length = struct.unpack_from("<QQ", trailer, 32)
    payload = skippable(file, offset, b"RSCUMANI")
    check(len(payload) == length and digest_ok(payload, trailer[48:80]), "the manifest is damaged")
    return json.loads(unpack(payload[12:], 64 << 20))


def rows(file, header, entry):
    """Section 5: (kind, start on the disk, length, in_frame, frame_offset, frame_length, frame_content, hash)."""
    payload = skippable(file, entry["offset"], b"RSCUSEGM")
    check(payload[8:24] == header["uuid"], "a segment belongs to another image")
    check(digest_ok(payload[:-32], payload[-32:]), "a segment is damaged")
    count, start, end = struct.unpack_from("<IQQ", payload, 28)
    table = unpack(payload[56:-32], 64 << 20)
    check(len(table) == 64 * count, "a segment has another number of rows than it says")
    for kind, _, part, in_frame, length, offset, stored, content, digest in struct.iter_unpack("<BBHIQQII32s", table):
        check(kind <= DATA and part == 0 and length <= end - start, "a row is impossible")
        yield kind, start, length, in_frame, offset, stored, content, digest
        start += length
    check(start == end, "the rows do not cover their segment")


def restore(file, header, manifest, output):
    loaded, content = None, b""
    position = 0
    for entry in manifest["segments"]:
        check(entry["start"] == position, "the segments do not follow each other")
        position = entry["end"]
        for kind, start, length, in_frame, offset, stored, size, digest in rows(file, header, entry):
            if kind == DATA:
                if loaded != offset:
                    check(size <= header["frame_limit"], "a frame is too large")
                    file.seek(offset)
                    content = unpack(file.read(stored), size)
                    loaded = offset
                chunk = content[in_frame : in_frame + length]
                check(len(chunk) == length and digest_ok(chunk, digest), "the chunk for byte %d is damaged" % start)
                output.seek(start)
                output.write(chunk)
            elif kind == ZERO:
                for zero in range(start, start + length, 1 << 20):
                    output.seek(zero)
                    output.write(bytes(min(1 << 20, start + length - zero)))
    check(position == header["size"], "the segments do not cover the disk")


def main(arguments):
    check(len(arguments) in (1, 2), __doc__)
    with open(arguments[0], "rb") as file:
        header = read_header(file)
        manifest = read_manifest(file, header)
        if len(arguments) == 1:
            print(json.dumps({k: v for k, v in manifest.items() if k not in ("segments", "tables")}, indent=2))
            return
        with open(arguments[1], "r+b" if os.path.exists(arguments[1]) else "w+b") as output:
            if output.seek(0, os.SEEK_END) < header["size"]:
                output.truncate(header["size"])  # a device that is too small fails here
            restore(file, header, manifest, output)
            output.flush()
            os.fsync(output.fileno())


if __name__ == "__main__":
    main(sys.argv[1:])
