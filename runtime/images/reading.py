"""Reading of images: paths, bytes, files, Pillow images and arrays all become the same uint8 pixels."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cnntk.runtime.errors import ImageError, ImageTooLarge
from cnntk.runtime.images._decoding import MAX_MEGAPIXELS, describe_unreadable, load_file, load_pillow
from cnntk.runtime.images._opened import OpenedImage
from cnntk.runtime.images._pixels import Pixels, array_name, luma, pixels_from_array, pixels_from_image
from cnntk.runtime.images.signatures import HEAD_BYTES, file_format

__all__ = [
    "MAX_MEGAPIXELS",
    "DecodedImage",
    "ImageSource",
    "Pixels",
    "decode_image",
    "luma",
    "read_image",
    "source_name",
]

ImageSource = str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | Image.Image | NDArray[Any]

_WHITE = (255, 255, 255)
_LEVELS = range(256)
_BLOCK_BYTES = 1 << 20
_MAX_BYTES_PER_PIXEL = 8  # RGBA of 16 bits, not compressed
_MAX_METADATA_BYTES = 1 << 26


@dataclass(frozen=True, eq=False)
class DecodedImage:
    """The pixels of an image, and how they were made from its file.

    Attributes:
        pixels: Pixels, uint8 (H, W, 3) in RGB order, or (H, W, 1) for gray images.
        notes: Conversions and omissions, a phrase each: ``the first of 12 frames``, ``transparency
            composed on white``, ``16-bit values scaled to 8 bits``.
    """

    pixels: Pixels
    notes: tuple[str, ...] = ()


def read_image(
    source: ImageSource,
    *,
    background: Sequence[int] = _WHITE,
    max_megapixels: float = MAX_MEGAPIXELS,
    reduce_to: tuple[int, int] | None = None,
) -> Pixels:
    """Reads the pixels of an image, uint8 (H, W, 3) in RGB order, or (H, W, 1) for gray images.

    `decode_image` documents the arguments and errors, and returns notes as well.
    """
    return decode_image(
        source, background=background, max_megapixels=max_megapixels, reduce_to=reduce_to
    ).pixels


def decode_image(
    source: ImageSource,
    *,
    background: Sequence[int] = _WHITE,
    max_megapixels: float = MAX_MEGAPIXELS,
    reduce_to: tuple[int, int] | None = None,
    gray: bool = False,
) -> DecodedImage:
    """Reads the pixels of an image, with notes on how they were made.

    The same image gives the same pixels, bit for bit, in whatever form it is passed. BMP, GIF, JPEG, PNG,
    PPM, TIFF, WebP, AVIF and JPEG 2000 (where Pillow has the decoder) and HEIC (where pillow-heif is
    installed) are recognized by their content, not by the file's name.

    - EXIF orientation is applied. Only the first frame of an animation or page of a document is read.
    - Transparency is composed on ``background``. Palettes and CMYK become RGB; color profiles are ignored.
    - 16-bit gray is scaled to 8 bits, ``(v + 128) // 257``, and 12-bit gray likewise. 16-bit color and 16-bit
      gray with alpha lose their lower byte in Pillow, ``v >> 8``: at most one level off.
    - 16-bit gray of a PNG or TIFF file that states no depth (sBIT, MaxSampleValue) is taken as 12-bit if all
      values are below 4096, as cameras write it: as 16-bit it would be almost black. Arrays are 16-bit.
    - Floating-point pixels are taken as 0 to 1 if none is above 1, else as 0 to 255; others, and integers
      beyond 0..65535, are refused: their range is not defined.
    - A JPEG file that lacks its end is read if at most a 50th of its pixels become gray, or if only the last
      scan of a progressive one is incomplete.

    Peak memory is 7 bytes per RGB pixel (16 for WebP, AVIF and HEIC, 24 for JPEG 2000, up to 10 for
    progressive JPEG) and 2 per gray pixel: a photo of 12 megapixels takes 84 MB, one at the default limit
    360 MB. Unless ``max_megapixels`` is raised above its default, an image that would take over 140 MB from
    fewer bytes than any photo has (one byte per 50 pixels, in lossy formats per 100) is refused as a
    decompression bomb, so that small files keep a process below 200 MB. (The C library may keep memory of
    earlier images; for glibc, 58 MB were observed.) Sizes are checked before pixels are decoded.

    Args:
        source: Path; bytes of a file; binary file object, which is read from its start if it can seek; Pillow
            image, at its current frame; array in RGB order, uint8 (H, W), (H, W, 1), (H, W, 3) or (H, W, 4),
            or uint16 (H, W) or (H, W, 1).
        background: Color behind transparency, RGB, 0 to 255.
        max_megapixels: Largest image size that is accepted; arrays may have any size.
        reduce_to: Height and width that are needed, by default none. A JPEG file is then decoded at 1/2, 1/4
            or 1/8 of its size, if that is still twice the needed size both ways and keeps the proportions;
            ``max_megapixels`` applies to the decoded size (for progressive files, to the whole). For 59
            photos, resized to 224x224 by Pillow's bilinear filter, the largest difference from the full
            decode was 9 of 255, and the largest average difference of an image 0.6; for noise, 16 and 2.9.
        gray: Whether color becomes gray, as by `luma`.

    Returns:
        Pixels and notes. Copy the pixels before you change them: they are read-only, or those of ``source``.

    Raises:
        ImageError: The image is missing, damaged, too large, or has values without a defined range.
        TypeError: ``source`` is of another type.
        ValueError: An option is out of range.
    """
    _check_options(background, max_megapixels, reduce_to)
    if isinstance(source, np.ndarray):
        return DecodedImage(*pixels_from_array(source, background, gray=gray))
    name = source_name(source)
    opened = _load(source, name, max_megapixels, reduce_to)
    return DecodedImage(*pixels_from_image(opened, name, background, gray=gray))


def source_name(source: ImageSource) -> str:
    """Returns the name of ``source`` in messages: its path if it has one."""
    if isinstance(source, str | os.PathLike):
        path = os.fsdecode(source)
        return path if path and path.isprintable() else repr(path)
    if isinstance(source, np.ndarray):
        return array_name(source)
    # only an attribute of the instance: gzip's `filename` is a property that warns
    name = getattr(source, "name", "") or getattr(source, "__dict__", {}).get("filename")
    if isinstance(name, int):  # a file opened by its descriptor
        return f"<file descriptor {name}>"
    return str(name or f"<{type(source).__name__}>")


def _check_options(
    background: Sequence[int], max_megapixels: float, reduce_to: tuple[int, int] | None
) -> None:
    if len(background) != 3 or not all(map(_LEVELS.__contains__, background)):
        raise ValueError(f"background: expected three whole numbers from 0 to 255, got {background!r}")
    if not max_megapixels > 0:
        raise ValueError(f"max_megapixels: expected a number over 0, got {max_megapixels!r}")
    if reduce_to is not None and (len(reduce_to) != 2 or not min(reduce_to) > 0):
        raise ValueError(f"reduce_to: expected a height and a width in pixels, got {reduce_to!r}")


def _load(
    source: ImageSource, name: str, max_megapixels: float, reduce_to: tuple[int, int] | None
) -> OpenedImage:
    if isinstance(source, Image.Image):
        return load_pillow(source, name, max_megapixels)
    with _opened(source, name, max_megapixels) as stream:
        return load_file(stream, name, max_megapixels=max_megapixels, reduce_to=reduce_to)


@contextmanager
def _opened(source: object, name: str, max_megapixels: float) -> Iterator[IO[bytes]]:
    """Yields a seekable file for a source; a file opened here is closed again."""
    if isinstance(source, bytes | bytearray | memoryview):
        yield io.BytesIO(bytes(source))
    elif isinstance(source, str | os.PathLike):
        with _open_path(source, name) as file:
            yield _seekable(file, name, max_megapixels)
    elif isinstance(source, io.TextIOBase):
        raise TypeError(f'{name}: is open as text; open it with mode "rb"')
    elif hasattr(source, "read"):
        yield _seekable(cast(IO[bytes], source), name, max_megapixels)
    else:
        raise TypeError(f"expected a path, bytes, a file, a Pillow image or an array, got {name}")


def _open_path(path: str | os.PathLike[str], name: str) -> IO[bytes]:
    try:
        return open(path, "rb")
    except FileNotFoundError:
        hint = "is an address, not a file; download it first" if "://" in name else "no such file"
        raise ImageError(f"{name}: {hint}") from None
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL in it
        if os.path.isdir(path):
            raise ImageError(f"{name}: is a folder, not an image") from None
        if isinstance(error, PermissionError):
            raise ImageError(f"{name}: permission denied; check its access rights") from None
        raise ImageError(f"{name}: can't be opened ({getattr(error, 'strerror', None) or error})") from None


def _seekable(stream: IO[bytes], name: str, max_megapixels: float) -> IO[bytes]:
    """Returns the stream itself, or the contents of a pipe."""
    try:
        stream.seek(0)
        return stream
    except (AttributeError, OSError):
        pass
    except ValueError as error:
        raise ImageError(f"{name}: can't be read ({error}); open it again") from None
    try:
        return io.BytesIO(_read_all(stream, name, max_megapixels))
    except (ImageError, TypeError):
        raise
    except Exception as error:  # the caller's object may raise anything
        raise ImageError(f"{name}: reading it failed ({error or type(error).__name__})") from error


def _read_all(stream: IO[bytes], name: str, max_megapixels: float) -> bytes:
    """Reads a stream to its end, but stops early if it is not an image or larger than any image."""
    most_bytes = max_megapixels * 1e6 * _MAX_BYTES_PER_PIXEL + _MAX_METADATA_BYTES
    blocks: list[bytes] = []
    size, recognized = 0, False
    read: Callable[[int], object] = stream.read
    while block := read(_BLOCK_BYTES):
        if not isinstance(block, bytes):
            raise TypeError(
                f"{name}: returns {type(block).__name__} instead of bytes; open it in binary mode"
            )
        blocks.append(block)
        size += len(block)
        if not recognized and size >= HEAD_BYTES:
            head = b"".join(blocks)[:HEAD_BYTES]
            if file_format(head) is None:
                raise ImageError(f"{name}: {describe_unreadable(head, name)}")
            recognized = True
        if size > most_bytes:
            raise ImageTooLarge(
                f"{name}: has more than {size >> 20} MB, larger than any image of {max_megapixels:g} "
                "megapixels; scale it down first, or raise max_megapixels"
            )
    return b"".join(blocks)
