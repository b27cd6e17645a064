"""Decoding of an image file into Pillow: size limits, decompression bombs, and messages for damaged files."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cnntk.runtime.errors import ImageError, ImageTooLarge
from cnntk.runtime.images._formats import OPENERS, missing_decoder, readable_formats
from cnntk.runtime.images._opened import OpenedImage, orientation_of
from cnntk.runtime.images.signatures import HEAD_BYTES, OTHER_SUFFIXES, file_format, unsupported_format

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

MAX_MEGAPIXELS = 51.0
"""Default size limit in megapixels. A phone's photo of 8192x6144 is within it."""

_BOMB_BYTES = 140e6
_BOMB_PIXELS_PER_BYTE = 50
_BOMB_PIXELS_PER_LOSSY_BYTE = 100
_LOSSY = ("AVIF", "HEIF", "JPEG", "JPEG2000", "WEBP")
_MAX_PIXELS_PER_BYTE = {"BMP": 128, "JPEG": 1000}
"""In JPEG, a block of 64 pixels takes at least a bit; in BMP, a run of 255 pixels two bytes. What is missing
is filled; Pillow does that for runs in Python, which takes seconds."""

_MAX_MISSING = 0.02
"""Largest share of a JPEG image that may be missing at its end, where the file is cut short."""

_MISSING_LEVELS = (127, 128)
"""Values of all components of pixels that libjpeg found no data for; 127 where Pillow inverts CMYK."""

_MAX_BLOCK_ROWS = 32
"""Rows of the largest block that JPEG codes at once, with 4 times fewer samples of color in height."""

_MAX_SHIFT = 0.05
"""Largest shift at the far edge of a reduced image, in pixels of the needed size."""

# Bytes per pixel at the worst moment: Pillow's own, and the array made of it.
_BYTES_PER_PIXEL = {"1": 2, "L": 2, "P": 4, "I;16": 3, "I;16B": 3, "I": 5, "F": 5}
_BYTES_PER_RGB_PIXEL = {"AVIF": 16, "HEIF": 16, "JPEG2000": 24, "TIFF": 8, "WEBP": 16}


def load_file(
    stream: IO[bytes], name: str, *, max_megapixels: float, reduce_to: tuple[int, int] | None = None
) -> OpenedImage:
    """Decodes the first image of a seekable file; its pixels are in memory afterwards.

    ``reduce_to`` is the height and width in pixels that are needed of a JPEG file. Raises ImageError if the
    file is not an image, damaged or too large.
    """
    with image_errors(name, "can't be read"):
        stream.seek(0)
        head = stream.read(HEAD_BYTES)
    form = file_format(head)
    if form is None or missing_decoder(form):
        raise ImageError(f"{name}: {describe_unreadable(head, name)}")

    def check(width: int, height: int) -> None:
        _check_size(width, height, name, max_megapixels)

    with image_errors(name, "damaged, or of a type that can't be read"):
        stream.seek(0)
        opened = OPENERS[form](stream, check)
        image, size = opened.image, opened.image.size
        if reduce_to is not None and form == "JPEG":
            opened = _reduced(opened, reduce_to)
            # libjpeg keeps a progressive image whole, however small it is decoded
            size = size if image.info.get("progressive") else image.size
        check(*size)
        file_bytes = stream.seek(0, io.SEEK_END)
    if max_megapixels <= MAX_MEGAPIXELS:
        _check_bomb(image, form, size, file_bytes, name)
    with image_errors(name, "damaged or cut short"):
        image.load()
        if form == "PNG":  # EXIF may follow the pixels
            opened = opened._replace(orientation=orientation_of(image))
        if getattr(image, "cut_short", False):  # a JPEG file
            opened = _with_missing_end(opened)
    return opened


def load_pillow(image: PillowImage, name: str, max_megapixels: float) -> OpenedImage:
    """Loads an image that Pillow has opened already, like `load_file`; the image stays as it is."""
    _check_size(*image.size, name, max_megapixels)
    with image_errors(name, "damaged or cut short"):
        image.load()
        tags = getattr(image, "tag_v2", {})
        bits, photometric = tags.get(258, ()), tags.get(262)
        return OpenedImage(
            image,
            orientation=_set_orientation(image) or orientation_of(image),
            full_scale=4095 if bits == (12,) else 65535,
            states_depth=image.format not in ("PNG", "TIFF") or 281 in tags,
            white_is_zero=bits == (16,) and photometric == 0,
        )


@contextmanager
def image_errors(name: str, problem: str) -> Iterator[None]:
    """Turns any exception in the block into an `ImageError` of one line that states ``problem``."""
    try:
        yield
    except ImageError:
        raise
    except MemoryError:
        raise ImageError(f"{name}: needs more memory than is available; scale it down first") from None
    except Exception as error:  # Pillow's parsers raise all types, which differ between versions
        reason = " ".join(str(error).split()) or type(error).__name__
        reason = reason.replace("not identified by this driver", "its header states no pixels")
        raise ImageError(f"{name}: {problem} ({reason}); save it again as PNG or JPEG") from None


def describe_unreadable(head: bytes, name: str) -> str:
    """Describes a file that can't be read here by its first bytes, else by its name, and says what to do."""
    if not head:
        return "is empty (0 bytes)"
    form = file_format(head)
    description = missing_decoder(form) if form else unsupported_format(head)
    if description and description != "text":
        return f"is {description}"
    if (suffix := os.path.splitext(name)[1].lower()) in OTHER_SUFFIXES:
        return f"is a {suffix} file, a format that is not read: convert it to PNG"
    text = ": it is text" if description else ""
    return f"not a readable image, whatever its name says{text}; use one of {readable_formats()}"


def _check_size(width: int, height: int, name: str, max_megapixels: float) -> None:
    if width < 1 or height < 1:
        raise ImageError(f"{name}: has no pixels ({width}x{height})")
    if width * height > max_megapixels * 1e6:
        raise ImageTooLarge(
            f"{name}: {width}x{height} is over {max_megapixels:g} megapixels; "
            "scale it down first, or raise max_megapixels"
        )


def _check_bomb(image: PillowImage, form: str, size: tuple[int, int], file_bytes: int, name: str) -> None:
    """Refuses what is compressed better than any photo: flat color, and files made to fill the memory."""
    pixels = size[0] * size[1]
    memory = pixels * _bytes_per_pixel(image, form)
    limit = _BOMB_PIXELS_PER_LOSSY_BYTE if form in _LOSSY else _BOMB_PIXELS_PER_BYTE
    if memory > _BOMB_BYTES and pixels > limit * file_bytes:
        raise ImageTooLarge(
            f"{name}: {size[0]}x{size[1]} pixels from {file_bytes} bytes would take "
            f"{memory / 1e6:.0f} MB, as decompression bombs do; scale it down first, "
            f"or raise max_megapixels above {MAX_MEGAPIXELS:g}"
        )
    if pixels > _MAX_PIXELS_PER_BYTE.get(form, pixels) * file_bytes:
        raise ImageError(
            f"{name}: damaged or cut short ({size[0]}x{size[1]} pixels can't be in {file_bytes} bytes); "
            "save it again as PNG or JPEG"
        )


def _bytes_per_pixel(image: PillowImage, form: str) -> int:
    """Returns the bytes per pixel at the worst moment of decoding and conversion."""
    base = _BYTES_PER_PIXEL.get(image.mode, _BYTES_PER_RGB_PIXEL.get(form, 7))
    if image.info.get("progressive"):  # libjpeg holds all coefficients in addition to the pixels
        bands = len(image.getbands())
        return max(base, 2 * bands + (1 if bands == 1 else 4))
    return base + (form == "GIF")  # Pillow holds the canvas after the first frame, too


def _reduced(opened: OpenedImage, reduce_to: tuple[int, int]) -> OpenedImage:
    """Sets a JPEG image to be decoded at 1/8, 1/4 or 1/2, if it is still twice as large as needed."""
    image = opened.image
    height, width = reduce_to if opened.orientation < 5 else reduce_to[::-1]
    for scale in (8, 4, 2):
        if _can_reduce(image.width, width, scale) and _can_reduce(image.height, height, scale):
            image.draft(image.mode, (image.width // scale, image.height // scale))
            return opened._replace(notes=(*opened.notes, f"decoded at 1/{scale} of its size"))
    return opened


def _with_missing_end(opened: OpenedImage) -> OpenedImage:
    """Notes that the end of a decoded JPEG image is missing; raises ValueError if that is over a 50th of it.

    libjpeg makes blocks without data mid-gray. They follow the last block that has data, row by row. Of a
    progressive image, which may lack its end only in its last scan, no block is without data.
    """
    image = opened.image
    if image.info.get("progressive"):
        return opened._replace(notes=(*opened.notes, "its last scan is incomplete, which refines details"))
    width, height = image.size
    limit = _MAX_MISSING * width * height
    rows = _trailing_rows(_without_data(image.crop((width - 1, 0, width, height))))
    missing = rows * width
    if 0 < missing <= limit + _MAX_BLOCK_ROWS * width:  # of the first of these rows a part may have data
        missing = int(_without_data(image.crop((0, height - rows, width, height))).sum())
    if missing > limit:
        raise ValueError(f"about {missing / (width * height):.0%} of its pixels are missing")
    gray = f", {missing} pixels are gray" if missing else ""
    return opened._replace(notes=(*opened.notes, f"the end of the file is missing{gray}"))


def _without_data(image: PillowImage) -> NDArray[np.bool_]:
    """Whether each pixel, row by row, has the value of those without data."""
    pixels = np.asarray(image).reshape(image.width * image.height, -1)
    return np.logical_and.reduce(np.isin(pixels, _MISSING_LEVELS), axis=1)  # type: ignore[no-any-return]


def _trailing_rows(mask: NDArray[np.bool_]) -> int:
    """Number of rows at the end that are all marked."""
    return mask.size if mask.all() else int(mask[::-1].argmin())


def _can_reduce(length: int, needed: int, scale: int) -> bool:
    """Whether a side can be reduced. One that ``scale`` does not divide is padded, which shifts pixels."""
    padding = -length % scale
    return length // scale >= 2 * needed and padding * needed <= _MAX_SHIFT * length


def _set_orientation(image: PillowImage) -> int:
    """Returns the orientation that a program set with `getexif`; 0 if that would read the file's data."""
    read_from_file = {"exif", "Raw profile type exif"} & image.info.keys() or hasattr(image, "tag_v2")
    orientation = 0 if read_from_file else image.getexif().get(0x0112, 0)
    return orientation if orientation in range(1, 9) else 0
