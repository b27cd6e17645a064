"""Reads images: whatever holds one becomes uint8 pixels, the same on every machine."""

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

from cnntk.runtime.errors import ImageError
from cnntk.runtime.images.decoding import MAX_MEGAPIXELS, describe_non_image, load_file, load_pillow
from cnntk.runtime.images.headers import HEAD_BYTES, file_format
from cnntk.runtime.images.pixels import Pixels, array_name, pixels_from_array, pixels_from_image

__all__ = [
    "IMAGE_SUFFIXES",
    "MAX_MEGAPIXELS",
    "DecodedImage",
    "ImageSource",
    "Pixels",
    "decode_image",
    "read_image",
    "source_name",
]

ImageSource = str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | Image.Image | NDArray[Any]

IMAGE_SUFFIXES = frozenset(
    {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)
"""What counts as an image when a folder is read."""

_WHITE = (255, 255, 255)
_LEVELS = range(256)
_BLOCK_BYTES = 1 << 20
_MAX_BYTES_PER_PIXEL = 8  # RGBA of 16 bits, not compressed
_MAX_METADATA_BYTES = 1 << 26


@dataclass(frozen=True, eq=False)
class DecodedImage:
    """An image's pixels, and what was done to get them.

    Attributes:
        pixels: uint8 (H, W, 3) in RGB order, or (H, W, 1) where the image is gray.
        notes: what is not in the pixels, a phrase each: ``the first of 12 frames``, ``transparency
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
    """The pixels of an image; `decode_image` tells also what was done to get them, and has the details.

    Args:
        source: a path, the bytes of a file, a binary file object, a Pillow image, or an array.
        background: RGB, 0 to 255, that transparency is composed on.
        max_megapixels: larger images are refused.
        reduce_to: height and width that are needed; a large JPEG is then decoded smaller, and faster.

    Returns:
        uint8 (H, W, 3) in RGB order, or (H, W, 1) where the image is gray.

    Raises:
        ImageError: there is no image, or it is damaged, too large, or of a kind without a defined range.
        TypeError: ``source`` is nothing that could hold an image.
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
) -> DecodedImage:
    """The pixels of an image, and what was done to get them.

    The same image gives the same pixels, to the bit, whichever way it is handed over. BMP, GIF, JPEG, PNG,
    PPM, TIFF and WebP are told apart by their content, not by the file's name.

    - EXIF orientation is applied. Of an animation or a file of many pages the first frame is taken.
    - Transparency is composed on ``background``. Palettes and CMYK become RGB, color profiles are ignored.
    - Gray of 16 bits is scaled to 8: ``(v + 128) // 257``; of 12 bits accordingly. Color of 16 bits and gray
      with alpha of 16 bits lose their lower byte in Pillow, ``v >> 8``: at most one level off.
    - Floating-point pixels, and integers beyond 0..65535, are refused: their range is not defined.

    Memory at the worst moment is 7 bytes a pixel of RGB (16 of WebP, up to 10 of progressive JPEG) and 2 of
    gray: a photo of 12 megapixels takes 84 MB, one at the default limit 360 MB. What would take over 140 MB
    and has fewer bytes than any photo, one for 50 pixels or, in JPEG and WebP, for 100, is refused as a
    decompression bomb, unless ``max_megapixels`` is raised above its default: so a small file keeps a process
    below 200 MB. (The C library may keep memory of earlier images: glibc was seen to keep 58 MB.) Sizes are
    checked before pixels are decoded.

    Args:
        source: a path; the bytes of a file; a binary file object, which is read from its start where it can
            seek; a Pillow image, at the frame where it stands; an array in RGB order, uint8 (H, W),
            (H, W, 1), (H, W, 3) or (H, W, 4), or uint16 (H, W) or (H, W, 1).
        background: RGB, 0 to 255, that transparency is composed on.
        max_megapixels: larger images are refused; arrays never are.
        reduce_to: height and width that are needed. A JPEG file is then decoded at 1/2, 1/4 or 1/8 of its
            size, where that is still twice as many pixels both ways and keeps the proportions; the limit
            holds for what is decoded (for the whole of a progressive file). Of 59 photos, resized to 224x224
            by Pillow's bilinear filter, no value differed from the full decode's by more than 9 of 255, and
            no image by more than 0.6 on average; of pure noise, 16 and 2.9. Off by default.

    Returns:
        The pixels, and notes. Copy the pixels before you write to them: they are read-only, or ``source``'s.

    Raises:
        ImageError: there is no image, or it is damaged, too large, or of a kind without a defined range.
        TypeError: ``source`` is nothing that could hold an image.
        ValueError: an option is out of range.
    """
    _check_options(background, max_megapixels, reduce_to)
    if isinstance(source, np.ndarray):
        return DecodedImage(*pixels_from_array(source, background))
    name = source_name(source)
    if isinstance(source, Image.Image):
        return DecodedImage(*pixels_from_image(load_pillow(source, name, max_megapixels), name, background))
    with _opened(source, name, max_megapixels) as stream:
        picture = load_file(stream, name, max_megapixels=max_megapixels, reduce_to=reduce_to)
    return DecodedImage(*pixels_from_image(picture, name, background))


def source_name(source: ImageSource) -> str:
    """What messages call ``source``: its path where it has one."""
    if isinstance(source, str | os.PathLike):
        path = os.fsdecode(source)
        return path if path and path.isprintable() else repr(path)
    if isinstance(source, np.ndarray):
        return array_name(source)
    # of filename only what was put there: gzip's is a property that warns
    name = getattr(source, "name", "") or getattr(source, "__dict__", {}).get("filename")
    if isinstance(name, int):  # a file that was opened by its descriptor
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


@contextmanager
def _opened(source: object, name: str, max_megapixels: float) -> Iterator[IO[bytes]]:
    """A file that can seek, for any source that is one or holds one; what is opened here is closed again."""
    if isinstance(source, bytes | bytearray | memoryview):
        yield io.BytesIO(bytes(source))
    elif isinstance(source, str | os.PathLike):
        with _open_path(source, name) as file:
            yield _seekable(file, name, max_megapixels)
    elif isinstance(source, io.TextIOBase):
        raise TypeError(f'{name}: is opened as text; open it with mode "rb"')
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
            raise ImageError(f"{name}: may not be read; check its permissions") from None
        raise ImageError(f"{name}: can't be opened ({getattr(error, 'strerror', None) or error})") from None


def _seekable(stream: IO[bytes], name: str, max_megapixels: float) -> IO[bytes]:
    """The stream itself, or, of a pipe, what comes out of it."""
    try:
        stream.seek(0)
        return stream
    except (AttributeError, OSError):
        pass
    except ValueError as error:
        raise ImageError(f"{name}: can't be read ({error}); open it again") from None
    try:
        return io.BytesIO(_drained(stream, name, max_megapixels))
    except (ImageError, TypeError):
        raise
    except Exception as error:  # whatever the caller's own object raises
        raise ImageError(f"{name}: reading it failed ({error or type(error).__name__})") from error


def _drained(stream: IO[bytes], name: str, max_megapixels: float) -> bytes:
    """All bytes of a stream, if they begin as an image does and come to an end."""
    most_bytes = max_megapixels * 1e6 * _MAX_BYTES_PER_PIXEL + _MAX_METADATA_BYTES
    blocks: list[bytes] = []
    size, known = 0, False
    read: Callable[[int], object] = stream.read
    while block := read(_BLOCK_BYTES):
        if not isinstance(block, bytes):
            raise TypeError(f"{name}: gives {type(block).__name__}, not bytes; open it as a binary file")
        blocks.append(block)
        size += len(block)
        if not known and size >= HEAD_BYTES:
            head = b"".join(blocks)[:HEAD_BYTES]
            if file_format(head) is None:
                raise ImageError(f"{name}: {describe_non_image(head)}")
            known = True
        if size > most_bytes:
            raise ImageError(
                f"{name}: goes on after {size >> 20} MB, longer than any image of {max_megapixels:g} "
                "megapixels; scale it down first, or raise max_megapixels"
            )
    return b"".join(blocks)
