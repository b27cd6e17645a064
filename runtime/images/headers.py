"""Size, depth, orientation and frame count of an image file, read from its bytes without Pillow.

Sizes must be known before Pillow opens a GIF or WebP file, because opening allocates a whole frame.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import IO

__all__ = ["END_OF_IMAGE", "exif_orientation", "gif_frames", "jpeg_segments", "png_depth", "webp_size"]

END_OF_IMAGE = 0xD9
"""Second byte of the marker that ends a JPEG image."""

_JPEG_MARKER = re.compile(rb"\xff[^\x00\x01\xff\xd0-\xd7]")  # none of those that have no segment
_SEGMENT_START = 20
_FIRST_BLOCK, _BLOCK = 1 << 8, 1 << 16

_ORIENTATION_TAG = 0x0112
_INTEGER_TYPES = {1: "B", 3: "H", 4: "I"}


def jpeg_segments(stream: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yields the second byte of each marker of a JPEG image, from SOI to EOI, and the start of its segment.

    Segments are skipped by their lengths, as libjpeg does: images within metadata are not searched, nor what
    follows the end of the image. Of a file that is cut short, the last marker is not ``END_OF_IMAGE``.
    """
    position = 2
    while (marker := _next_marker(stream, position)) is not None:
        code, position = marker
        if code == END_OF_IMAGE:
            yield code, b""
            return
        stream.seek(position)
        head = stream.read(2 + _SEGMENT_START)
        length = int.from_bytes(head[:2])
        yield code, head[2:length]
        position += max(length, 2)


def _next_marker(stream: IO[bytes], position: int) -> tuple[int, int] | None:
    """The second byte of the next marker from ``position`` on, and the position behind it."""
    stream.seek(position)
    data, size = b"", _FIRST_BLOCK
    while block := stream.read(size):
        data = data[-1:] + block
        if match := _JPEG_MARKER.search(data):
            return data[match.end() - 1], position + match.end()
        position += len(data) - 1
        size = _BLOCK
    return None


def png_depth(stream: IO[bytes]) -> tuple[int, bool]:
    """Returns the bits per sample of a PNG file, 1 to 16, and whether it states how many are significant.

    Raises ValueError for an animation header that Pillow would warn of.
    """
    stream.seek(8)
    depth, animations, states_significant = 0, 0, False
    while len(head := stream.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        if kind in (b"IDAT", b"IEND"):
            break
        start = stream.read(min(length, 13))
        if kind == b"IHDR" and len(start) == 13:
            depth = start[8]
        states_significant |= kind == b"sBIT"
        if kind == b"acTL":
            animations += 1
            if animations > 1 or not 0 < int.from_bytes(start[:4]) <= 0x80000000:
                raise ValueError("its animation header is not valid")
        stream.seek(length - len(start) + 4, 1)
    return depth, states_significant


def gif_frames(data: bytes) -> Iterator[tuple[int, int]]:
    """Yields width and height of the canvas that each frame of a GIF file needs, as far as the data goes."""
    if len(data) < 13:
        return
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    position = 13 + _palette_bytes(flags)
    while position < len(data) and (separator := data[position : position + 1]) != b";":
        position += 1
        if separator == b"!":
            position = _after_blocks(data, position + 1)
        elif separator == b",":
            if position + 9 > len(data):
                return
            left, top, w, h, flags = struct.unpack_from("<4HB", data, position)
            yield max(width, left + w), max(height, top + h)
            position = _after_blocks(data, position + 10 + _palette_bytes(flags))


def _palette_bytes(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 128 else 0


def _after_blocks(data: bytes, position: int) -> int:
    """Returns the position after a series of sub-blocks."""
    while position < len(data) and (size := data[position]):
        position += size + 1
    return position + 1


def webp_size(stream: IO[bytes]) -> tuple[int, int]:
    """Returns width and height of the canvas of a WebP file; raises ValueError if it is cut short."""
    stream.seek(12)
    chunk = stream.read(18)
    if len(chunk) == 18 and chunk[:4] == b"VP8X":
        return int.from_bytes(chunk[12:15], "little") + 1, int.from_bytes(chunk[15:18], "little") + 1
    if len(chunk) == 18 and chunk[:4] == b"VP8 ":
        width, height = struct.unpack_from("<HH", chunk, 14)
        return width & 0x3FFF, height & 0x3FFF
    if len(chunk) >= 13 and chunk[:4] == b"VP8L":
        bits = int.from_bytes(chunk[9:13], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    raise ValueError("its header is cut short")


def exif_orientation(exif: bytes) -> int | None:
    """Returns the orientation in an EXIF block, 1 to 8; None if the block is damaged or has none."""
    while exif.startswith(b"Exif\0\0"):
        exif = exif[6:]
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        return None
    try:
        (start,) = struct.unpack_from(order + "I", exif, 4)
        (count,) = struct.unpack_from(order + "H", exif, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, dtype = struct.unpack_from(order + "HH", exif, entry)
            if tag == _ORIENTATION_TAG and dtype in _INTEGER_TYPES:
                (orientation,) = struct.unpack_from(order + _INTEGER_TYPES[dtype], exif, entry + 8)
                return orientation if 1 <= orientation <= 8 else None
    except struct.error:  # the block is cut short
        return None
    return None
