#!/usr/bin/env python3
"""A stand-alone reader of Rescue images, written from docs/image-format.md alone. Needs Python 3.9 and `zstandard`.

    read-image.py IMAGE            what it is (JSON)
    read-image.py IMAGE DISK       write the disk to DISK (a file or a device), by the index, not by decompressing the whole file

The other images of its chain must be in the same folder, by any name. Of an image in parts give the first one: NAME.001.
With the `blake3` package installed, every chunk's hash is checked; without it, the frames' own checksums are.
"""

import json
import os
import struct
import sys
import uuid

import zstandard

try:
    from blake3 import blake3
except ImportError:
    blake3 = None

MAGIC, SEEK_MAGIC, ZERO, DATA, BAD = 0x184D2A5B, 0x8F92EAB1, 1, 2, 3


def check(condition, text):
    if not condition:
        sys.exit("read-image: " + text)


def digest_ok(data, digest):
    return blake3 is None or blake3(data).digest() == digest


def unpack(frame, limit):
    check(0 <= zstandard.frame_content_size(frame) <= limit, "a frame says that it is absurdly large")
    return zstandard.ZstdDecompressor().decompress(frame)


class Image:
    """A file, or its parts one behind the other (section 9), with its header (section 2) and its trailer (sections 8 and 7)."""

    def __init__(self, path):
        paths = [path]
        while path.endswith(".001") and os.path.exists("%s.%03d" % (path[:-4], len(paths) + 1)):
            paths.append("%s.%03d" % (path[:-4], len(paths) + 1))
        self.parts = [(open(part, "rb"), os.path.getsize(part)) for part in paths]  # noqa: SIM115
        end = sum(size for _, size in self.parts)
        head = self.skippable(0, b"RSCUHEAD")
        version, _, kind, encryption, flags, _, _, _, self.frame_limit, self.size = struct.unpack_from("<HHBBHIIIIQ", head, 8)
        check(version == 1, "format version %d is not known" % version)
        check(kind <= 2 and encryption == 0 and flags == 0, "encrypted images are not known")
        check(digest_ok(head[:96], head[96:]) and self.frame_limit <= 16 << 20, "the header is damaged")
        self.uuid = head[48:64]
        count, descriptor, magic = struct.unpack("<IBI", self.read(end - 9, 9))
        check(magic == SEEK_MAGIC and descriptor == 128, "the end is missing: the image is not complete")
        tail = self.skippable(end - (8 + 12 * count + 9) - 120, b"RSCUTAIL")
        check(tail[16:32] == self.uuid and digest_ok(tail[:80], tail[80:]), "the trailer is damaged")
        self.manifest_offset, self.manifest_length, self.fingerprint = struct.unpack_from("<QQ32s", tail, 32)

    def read(self, offset, length):
        data = b""
        for file, size in self.parts:
            if 0 <= offset < size:
                file.seek(offset)
                data += file.read(length - len(data))
            offset = max(offset - size, 0) if offset >= 0 else offset
        check(len(data) == length, "a part of the file is missing, or a number in it is wrong")
        return data

    def skippable(self, offset, tag):
        magic, length = struct.unpack("<II", self.read(offset, 8))
        check(magic == MAGIC and length < 1 << 30, "no frame of ours at byte %d" % offset)
        payload = self.read(offset + 8, length)
        check(payload[:8] == tag, "no %s frame at byte %d" % (tag.decode(), offset))
        return payload

    def manifest(self):
        """Section 6."""
        payload = self.skippable(self.manifest_offset, b"RSCUMANI")
        check(len(payload) == self.manifest_length and digest_ok(payload, self.fingerprint), "the manifest is damaged")
        return json.loads(unpack(payload[12:], 64 << 20))

    def rows(self, entry):
        """Section 5: (kind, start on the disk, length, file, in_frame, frame_offset, frame_length, frame_content, hash)."""
        payload = self.skippable(entry["offset"], b"RSCUSEGM")
        check(payload[8:24] == self.uuid and digest_ok(payload[:-32], payload[-32:]), "a segment is damaged")
        count, start, end = struct.unpack_from("<IQQ", payload, 28)
        table = unpack(payload[56:-32], 64 * count)
        for kind, _, part, in_frame, length, offset, stored, content, digest in struct.iter_unpack("<BBHIQQII32s", table):
            check(kind <= BAD and length <= end - start, "a row is impossible")
            yield kind, start, length, part, in_frame, offset, stored, content, digest
            start += length
        check(start == end, "the rows do not cover their segment")


def find(folder, member):
    """A file of the chain (section 6): the one with this UUID and this fingerprint, whatever its name is."""
    for path in sorted(os.path.join(folder, name) for name in os.listdir(folder) if not name.endswith(".partial")):
        if os.path.isfile(path):
            with open(path, "rb") as file:
                head = file.read(136)
            if head[8:16] == b"RSCUHEAD" and str(uuid.UUID(bytes=head[56:72])) == member["uuid"]:
                image = Image(path)
                if image.fingerprint.hex() == member["fingerprint"]:
                    return image
    sys.exit("read-image: %s (image %s) is not in %s" % (member["name"], member["uuid"], folder))


def restore(files, segments, output):
    loaded, content, position = None, b"", 0
    for entry in segments:
        check(entry["start"] == position, "the segments do not follow each other")
        position = entry["end"]
        for kind, start, length, part, in_frame, offset, stored, size, digest in files[0].rows(entry):
            check(kind != BAD, "the disk could not be read at byte %d when the image was made" % start)
            if kind == DATA:
                if loaded != (part, offset):
                    check(part < len(files) and files[part] and size <= files[0].frame_limit, "a row is impossible")
                    loaded, content = (part, offset), unpack(files[part].read(offset, stored), size)
                chunk = content[in_frame : in_frame + length]
                check(len(chunk) == length and digest_ok(chunk, digest), "the chunk for byte %d is damaged" % start)
                output.seek(start)
                output.write(chunk)
            elif kind == ZERO:
                for zero in range(start, start + length, 1 << 20):
                    output.seek(zero)
                    output.write(bytes(min(1 << 20, start + length - zero)))
    check(position == files[0].size, "the segments do not cover the disk")


def main(arguments):
    check(len(arguments) in (1, 2), __doc__)
    image, folder = Image(arguments[0]), os.path.dirname(arguments[0]) or "."
    manifest = image.manifest()
    if len(arguments) == 1:
        print(json.dumps({k: v for k, v in manifest.items() if k not in ("segments", "tables")}, indent=2))
        return
    files = [image] + [find(folder, member) if member["data_bytes"] else None for member in manifest["chain"]]
    with open(arguments[1], "r+b" if os.path.exists(arguments[1]) else "w+b") as output:
        if output.seek(0, os.SEEK_END) < image.size:
            output.truncate(image.size)  # a device that is too small fails here
        restore(files, manifest["segments"], output)
        output.flush()
        os.fsync(output.fileno())


if __name__ == "__main__":
    main(sys.argv[1:])
