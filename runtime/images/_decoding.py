"""Decoding of an image file into Pillow: size limits, decompression bombs, and messages for damaged files."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import IO, TYPE_CHECKING

from cnntk.runtime.errors import ImageError
from cnntk.runtime.images._formats import OPENERS, OpenedImage, orientation_of
from cnntk.runtime.images.headers import HEAD_BYTES, file_format, unsupported_format

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

MAX_MEGAPIXELS = 51.0
"""Default size limit in megapixels. A phone's photo of 8192x6144 is within it."""

_BOMB_BYTES = 140e6
_BOMB_PIXELS_PER_BYTE = 50
_BOMB_PIXELS_PER_LOSSY_BYTE = 100
_MAX_PIXELS_PER_JPEG_BYTE = 1000
"""A block of 64 pixels takes at least a bit; libjpeg fills missing blocks with gray."""

_MAX_SHIFT = 0.05
"""Largest shift at the far edge of a reduced image, in pixels of the needed size."""

# Bytes per pixel at the worst moment: Pillow's own, and the array made of it.
_BYTES_PER_PIXEL = {"1": 2, "L": 2, "P": 4, "I;16": 3, "I;16B": 3, "I": 5}
_BYTES_PER_RGB_PIXEL = {"TIFF": 8, "WEBP": 16}


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
    if form is None:
        raise ImageError(f"{name}: {describe_non_image(head)}")

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
    _check_range(image, name)
    with image_errors(name, "damaged or cut short"):
        image.load()
        if form == "PNG":  # EXIF may follow the pixels
            opened = replace(opened, orientation=orientation_of(image))
    return opened


def load_pillow(image: PillowImage, name: str, max_megapixels: float) -> OpenedImage:
    """Loads an image that Pillow has opened already, like `load_file`; the image stays as it is."""
    _check_size(*image.size, name, max_megapixels)
    _check_range(image, name)
    with image_errors(name, "damaged or cut short"):
        image.load()
        tags = getattr(image, "tag_v2", {})
        bits, photometric = tags.get(258, ()), tags.get(262)
        return OpenedImage(
            image,
            orientation=_set_orientation(image) or orientation_of(image),
            full_scale=4095 if bits == (12,) else 65535,
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


def describe_non_image(head: bytes) -> str:
    """Describes a file that is not a readable image by its first bytes."""
    if not head:
        return "is empty (0 bytes)"
    description = unsupported_format(head)
    if description and description != "text":
        return f"is {description}"
    text = ": it is text" if description else ""
    formats = ", ".join(sorted(OPENERS))
    return f"not a readable image, whatever its name says{text}; use one of {formats}"


def _check_size(width: int, height: int, name: str, max_megapixels: float) -> None:
    if width < 1 or height < 1:
        raise ImageError(f"{name}: has no pixels ({width}x{height})")
    if width * height > max_megapixels * 1e6:
        raise ImageError(
            f"{name}: {width}x{height} is over {max_megapixels:g} megapixels; "
            "scale it down first, or raise max_megapixels"
        )


def _check_bomb(image: PillowImage, form: str, size: tuple[int, int], file_bytes: int, name: str) -> None:
    """Refuses what is compressed better than any photo: flat color, and files made to fill the memory."""
    pixels = size[0] * size[1]
    memory = pixels * _bytes_per_pixel(image, form)
    limit = _BOMB_PIXELS_PER_LOSSY_BYTE if form in ("JPEG", "WEBP") else _BOMB_PIXELS_PER_BYTE
    if memory > _BOMB_BYTES and pixels > limit * file_bytes:
        raise ImageError(
            f"{name}: {size[0]}x{size[1]} pixels from {file_bytes} bytes would take "
            f"{memory / 1e6:.0f} MB, as decompression bombs do; scale it down first, "
            f"or raise max_megapixels above {MAX_MEGAPIXELS:g}"
        )
    if form == "JPEG" and pixels > _MAX_PIXELS_PER_JPEG_BYTE * file_bytes:
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


def _check_range(image: PillowImage, name: str) -> None:
    if image.mode == "F":
        raise ImageError(f"{name}: floating-point pixels have no defined range; save it with 8 or 16 bits")


def _reduced(opened: OpenedImage, reduce_to: tuple[int, int]) -> OpenedImage:
    """Sets a JPEG image to be decoded at 1/8, 1/4 or 1/2, if it is still twice as large as needed."""
    image = opened.image
    height, width = reduce_to if opened.orientation < 5 else reduce_to[::-1]
    for scale in (8, 4, 2):
        if _can_reduce(image.width, width, scale) and _can_reduce(image.height, height, scale):
            image.draft(image.mode, (image.width // scale, image.height // scale))
            return replace(opened, notes=(*opened.notes, f"decoded at 1/{scale} of its size"))
    return opened


def _can_reduce(length: int, needed: int, scale: int) -> bool:
    """Whether a side can be reduced. One that ``scale`` does not divide is padded, which shifts pixels."""
    padding = -length % scale
    return length // scale >= 2 * needed and padding * needed <= _MAX_SHIFT * length


def _set_orientation(image: PillowImage) -> int:
    """Returns the orientation that a program set with `getexif`; 0 if that would read the file's data."""
    read_from_file = {"exif", "Raw profile type exif"} & image.info.keys() or hasattr(image, "tag_v2")
    orientation = 0 if read_from_file else image.getexif().get(0x0112, 0)
    return orientation if orientation in range(1, 9) else 0
