"""Format, size, orientation and frame count of an image file, read from its bytes without Pillow.

Sizes must be known before Pillow opens a GIF or WebP file, because opening allocates a whole frame.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import IO

__all__ = ["HEAD_BYTES", "file_format", "gif_frames", "png_depth", "unsupported_format", "webp_size"]

HEAD_BYTES = 1024
"""Number of leading bytes that `file_format` and `unsupported_format` need."""

_SIGNATURES = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
}
_ORIENTATION_TAG = 0x0112
_INTEGER_TYPES = {1: "B", 3: "H", 4: "I"}
_BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)
_SPACE = b" \t\n\v\f\r"

_UNSUPPORTED = (
    (0, b"%PDF", "a PDF document: render its page as PNG"),
    (0, b"%!PS", "a PostScript file: render it as PNG"),
    (0, b"\xc5\xd0\xd3\xc6", "a PostScript file: render it as PNG"),
    (0, b"8BPS", "a Photoshop file: export it as PNG"),
    (0, b"\0\0\x01\0", "an icon file: save it as PNG"),
    (0, b"\0\0\0\x0cjP  ", "a JPEG 2000 image: convert it to PNG or JPEG"),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000 image: convert it to PNG or JPEG"),
    (0, b"\0\0\0\x0cJXL ", "a JPEG XL image: convert it to PNG or JPEG"),
    (0, b"\xff\x0a", "a JPEG XL image: convert it to PNG or JPEG"),
    (0, b"qoif", "a QOI image: convert it to PNG"),
    (8, b"AVI ", "a video: extract a frame"),
    (0, b"\x1a\x45\xdf\xa3", "a video: extract a frame"),
    (0, b"\0\0\x01\xba", "a video: extract a frame"),
    (128, b"DICM", "a DICOM file: export its image as 16-bit PNG"),
    (0, b"\x93NUMPY", "a numpy array: load it with numpy and pass the array"),
    (0, b"PK\x03\x04", "an archive: unpack it"),
    (0, b"\x1f\x8b", "a gzip file: unpack it"),
    (0, b"version https://git-lfs", "a Git LFS pointer: run `git lfs pull`"),
)
_BRANDS = {
    b"heic": "HEIC", b"heix": "HEIC", b"heim": "HEIC", b"heis": "HEIC", b"hevc": "HEIC", b"hevx": "HEIC",
    b"mif1": "HEIC", b"msf1": "HEIC", b"avif": "AVIF", b"avis": "AVIF",
}  # fmt: skip


def file_format(head: bytes) -> str | None:
    """Returns Pillow's name of a supported format by the first bytes of a file, None for other files."""
    for signature, name in _SIGNATURES.items():
        if head.startswith(signature):
            return name
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[:2] == b"BM" and len(head) >= 18 and struct.unpack_from("<I", head, 14)[0] in _BMP_HEADERS:
        return "BMP"
    if len(head) > 2 and head[:1] == b"P" and head[1:2] in b"123456f" and head[2:3] in _SPACE:
        return "PPM"
    return None


def unsupported_format(head: bytes) -> str | None:
    """Describes a file of an unsupported format and what to do with it; None if that is unknown."""
    for offset, signature, description in _UNSUPPORTED:
        if head[offset : offset + len(signature)] == signature:
            return description
    if head[4:8] == b"ftyp":
        brand = _BRANDS.get(head[8:12])
        return f"an {brand} image: convert it to JPEG" if brand else "a video: extract a frame"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "a web page: did a download fail?"
    if b"<svg" in text and text.startswith(b"<"):
        return "an SVG drawing: render it as PNG"
    return "text" if head and all(byte >= 32 or byte in _SPACE for byte in head) and _is_utf8(head) else None


def _is_utf8(head: bytes) -> bool:
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return len(head) == HEAD_BYTES and error.start > len(head) - 4  # a character cut in two
    return True


def png_depth(stream: IO[bytes]) -> int:
    """Returns the bits per sample of a PNG file, 1 to 16.

    Raises ValueError for an animation header that Pillow would warn of.
    """
    stream.seek(8)
    depth, animations = 0, 0
    while len(head := stream.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        if kind in (b"IDAT", b"IEND"):
            break
        start = stream.read(min(length, 13))
        if kind == b"IHDR" and len(start) == 13:
            depth = start[8]
        if kind == b"acTL":
            animations += 1
            if animations > 1 or not 0 < int.from_bytes(start[:4]) <= 0x80000000:
                raise ValueError("its animation header is not valid")
        stream.seek(length - len(start) + 4, 1)
    return depth


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
