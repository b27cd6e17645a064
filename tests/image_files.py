"""Image files by hand, for what Pillow can't write: odd headers, rare kinds of pixels, damage."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["chunk", "encoded", "gif", "interlaced", "photo", "png", "png_from", "tiff"]

Pixels = NDArray[np.uint8]


def encoded(image: Image.Image | NDArray[np.generic], form: str, **options: object) -> bytes:
    """A file as Pillow writes it."""
    stream = io.BytesIO()
    copy = image.copy() if isinstance(image, Image.Image) else Image.fromarray(image)
    copy.save(stream, form, **options)  # a copy: some versions note the options in the image
    return stream.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    size: tuple[int, int], depth: int, color: int, data: bytes, *before: bytes, interlace: int = 0
) -> bytes:
    """A PNG file of ``(width, height)`` from compressed ``data``; ``before`` are chunks ahead of it."""
    header = struct.pack(">IIBBBBB", *size, depth, color, 0, 0, interlace)
    chunks = [chunk(b"IHDR", header), *before, chunk(b"IDAT", data), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def png_from(
    rows: Iterable[bytes | NDArray[np.generic]], size: tuple[int, int], depth: int, color: int, *before: bytes
) -> bytes:
    """A PNG file from its rows, unfiltered."""
    packer = zlib.compressobj(1)
    packed = [packer.compress(b"\0" + (row if isinstance(row, bytes) else row.tobytes())) for row in rows]
    data = b"".join(packed) + packer.flush()
    return png(size, depth, color, data, *before)


def interlaced(gray: Pixels) -> bytes:
    """A gray PNG file in the seven passes of Adam7."""
    passes = [
        (0, 0, 8, 8),
        (0, 4, 8, 8),
        (4, 0, 8, 4),
        (0, 2, 4, 4),
        (2, 0, 4, 2),
        (0, 1, 2, 2),
        (1, 0, 2, 1),
    ]
    parts = [gray[y::dy, x::dx] for y, x, dy, dx in passes]
    rows = b"".join(b"\0" + row.tobytes() for part in parts if part.size for row in part)
    return png((gray.shape[1], gray.shape[0]), 8, 0, zlib.compress(rows), interlace=1)


def tiff(
    tags: dict[int, int | tuple[int, ...] | bytes], data: bytes, order: str = "<", following: int = 0
) -> bytes:
    """A TIFF file with one directory of LONG values, or BYTE ones; ``data`` starts at 8."""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8 + len(data))
    position = 8 + len(data) + 2 + 12 * len(tags) + 4
    entries, blobs = b"", b""
    for number, value in sorted(tags.items()):
        values = (value,) if isinstance(value, int) else value
        kind = 1 if isinstance(values, bytes) else 4
        packed = values if isinstance(values, bytes) else struct.pack(f"{order}{len(values)}I", *values)
        entries += struct.pack(order + "HHI", number, kind, len(values))
        entries += (
            packed.ljust(4, b"\0") if len(packed) <= 4 else struct.pack(order + "I", position + len(blobs))
        )
        blobs += packed if len(packed) > 4 else b""
    directory = struct.pack(order + "H", len(tags)) + entries + struct.pack(order + "I", following)
    return head + data + directory + blobs


def gif(
    canvas: tuple[int, int], frame: tuple[int, int, int, int], data: bytes = b"\x02\x02\x4c\x01\0"
) -> bytes:
    """A GIF file of two colors with one frame (left, top, width, height): by default one white pixel."""
    palette = b"\0\0\0\xff\xff\xff"
    return (
        b"GIF89a"
        + struct.pack("<HHBBB", *canvas, 0x80, 0, 0)
        + palette
        + b"!\xf9\x04\0\0\0\0\0"
        + b","
        + struct.pack("<HHHHB", *frame, 0)
        + data
        + b";"
    )


def photo(width: int, height: int) -> Pixels:
    """What looks like a photograph to a filter: detail at all scales, and hard edges; RGB."""
    rng = np.random.default_rng(0)
    picture = np.zeros((height, width, 3))
    for octave in range(2, 11):
        coarse = rng.standard_normal(((height >> 10 - octave) + 2, (width >> 10 - octave) + 2, 3))
        planes = [
            np.asarray(
                Image.fromarray(coarse[..., c].astype(np.float32)).resize((width, height), Image.BICUBIC)
            )
            for c in range(3)
        ]
        picture += np.stack(planes, axis=-1) * 1.25 ** (10 - octave)
    y, x = np.mgrid[:height, :width]
    picture += 200 * (((x - width / 2) ** 2 + (y - height / 3) ** 2 < (height / 4) ** 2)[..., None])
    low, high = np.percentile(picture, [1, 99])
    return np.clip((picture - low) / (high - low) * 255, 0, 255).astype(np.uint8)
