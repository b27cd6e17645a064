"""From an image file's bytes to pixels in Pillow: how large they may be, and in what words it fails."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import IO, TYPE_CHECKING

from cnntk.runtime.errors import ImageError
from cnntk.runtime.images.formats import OPENERS, OpenedImage, orientation_of
from cnntk.runtime.images.headers import HEAD_BYTES, file_format, unsupported_format

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

__all__ = ["MAX_MEGAPIXELS", "describe_non_image", "image_errors", "load_file", "load_pillow"]

MAX_MEGAPIXELS = 51.0
"""Larger images are refused unless the caller allows them; a phone's photo of 8192x6144 is not."""

_BOMB_BYTES = 140e6
_BOMB_PIXELS_PER_BYTE = 50
_BOMB_PIXELS_PER_LOSSY_BYTE = 100
_MAX_PIXELS_PER_JPEG_BYTE = 1000  # a block of 64 takes a bit at least; what is missing is filled with gray
_MAX_SHIFT = 0.05  # in pixels of the size that is needed, at the far end of a reduced image

# What a pixel takes at the worst moment: Pillow's own, and the array that is made of it.
_BYTES_PER_PIXEL = {"1": 2, "L": 2, "P": 4, "I;16": 3, "I;16B": 3, "I": 5}
_BYTES_PER_RGB_PIXEL = {"TIFF": 8, "WEBP": 16}


def load_file(
    stream: IO[bytes], name: str, *, max_megapixels: float, reduce_to: tuple[int, int] | None = None
) -> OpenedImage:
    """Decodes the first image of a seekable file; its pixels are in memory afterwards.

    Args:
        stream: the file; it stays open.
        name: what messages call it.
        max_megapixels: the largest size that is decoded.
        reduce_to: height and width that are needed of a JPEG file.

    Raises:
        ImageError: it is no image, or damaged, or too large.
    """
    with image_errors(name, "can't be read"):
        stream.seek(0)
        head = stream.read(HEAD_BYTES)
    kind = file_format(head)
    if kind is None:
        raise ImageError(f"{name}: {describe_non_image(head)}")

    def check(width: int, height: int) -> None:
        _check_size(width, height, name, max_megapixels)

    with image_errors(name, "damaged, or of a kind that can't be read"):
        stream.seek(0)
        picture = OPENERS[kind](stream, check)
        image, size = picture.image, picture.image.size
        if reduce_to is not None and kind == "JPEG":
            picture = _reduced(picture, reduce_to)
            # libjpeg keeps a progressive image whole, however small it is decoded
            size = size if image.info.get("progressive") else image.size
        check(*size)
        file_bytes = stream.seek(0, io.SEEK_END)
    if max_megapixels <= MAX_MEGAPIXELS:
        _check_bomb(image, kind, size, file_bytes, name)
    _check_range(image, name)
    with image_errors(name, "damaged or cut short"):
        image.load()
        if kind == "PNG":  # it may come after the pixels
            picture = replace(picture, orientation=orientation_of(image))
    return picture


def load_pillow(image: PillowImage, name: str, max_megapixels: float) -> OpenedImage:
    """What `load` makes of an image that Pillow has opened already; it stays as it is.

    Raises:
        ImageError: its file is damaged, or it is too large.
    """
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
def image_errors(name: str, what: str) -> Iterator[None]:
    """Whatever Pillow stumbles over inside becomes an `ImageError` of one line."""
    try:
        yield
    except ImageError:
        raise
    except MemoryError:
        raise ImageError(f"{name}: takes more memory than there is; scale it down first") from None
    except Exception as error:  # its parsers raise all kinds, and another version raises others
        said = " ".join(str(error).split()) or type(error).__name__
        said = said.replace("not identified by this driver", "its header gives it no pixels")
        raise ImageError(f"{name}: {what} ({said}); save it again as PNG or JPEG") from None


def describe_non_image(head: bytes) -> str:
    """What to say of a file that starts so."""
    if not head:
        return "is empty (0 bytes)"
    kind = unsupported_format(head)
    if kind and kind != "text":
        return f"is {kind}"
    text = ": it is text" if kind else ""
    formats = ", ".join(sorted(OPENERS))
    return f"is no image that can be read, whatever its name says{text}; use one of {formats}"


def _check_size(width: int, height: int, name: str, max_megapixels: float) -> None:
    if width < 1 or height < 1:
        raise ImageError(f"{name}: has no pixels ({width}x{height})")
    if width * height > max_megapixels * 1e6:
        raise ImageError(
            f"{name}: {width}x{height} is over {max_megapixels:g} megapixels; "
            "scale it down first, or raise max_megapixels"
        )


def _check_bomb(image: PillowImage, kind: str, size: tuple[int, int], file_bytes: int, name: str) -> None:
    """No photograph is so well compressed; flat color is, and files that are made to fill the memory."""
    pixels = size[0] * size[1]
    memory = pixels * _bytes_per_pixel(image, kind)
    usual = _BOMB_PIXELS_PER_LOSSY_BYTE if kind in ("JPEG", "WEBP") else _BOMB_PIXELS_PER_BYTE
    if memory > _BOMB_BYTES and pixels > usual * file_bytes:
        raise ImageError(
            f"{name}: {size[0]}x{size[1]} pixels from {file_bytes} bytes would fill "
            f"{memory / 1e6:.0f} MB, as decompression bombs do; scale it down first, "
            f"or raise max_megapixels above {MAX_MEGAPIXELS:g}"
        )
    if kind == "JPEG" and pixels > _MAX_PIXELS_PER_JPEG_BYTE * file_bytes:
        raise ImageError(
            f"{name}: damaged or cut short ({size[0]}x{size[1]} pixels can't be in {file_bytes} bytes); "
            "save it again as PNG or JPEG"
        )


def _bytes_per_pixel(image: PillowImage, kind: str) -> int:
    """At the worst moment of decoding and conversion."""
    usual = _BYTES_PER_PIXEL.get(image.mode, _BYTES_PER_RGB_PIXEL.get(kind, 7))
    if image.info.get("progressive"):  # libjpeg holds all coefficients beside the pixels that it makes
        bands = len(image.getbands())
        return max(usual, 2 * bands + (1 if bands == 1 else 4))
    return usual + (kind == "GIF")  # and what is to be seen after the first frame


def _check_range(image: PillowImage, name: str) -> None:
    if image.mode == "F":
        raise ImageError(f"{name}: floating-point pixels have no defined range; save it with 8 or 16 bits")


def _reduced(picture: OpenedImage, reduce_to: tuple[int, int]) -> OpenedImage:
    """To be decoded at a half, a quarter or an eighth, and still twice what is needed."""
    image = picture.image
    height, width = reduce_to if picture.orientation < 5 else reduce_to[::-1]
    for scale in (8, 4, 2):
        if _may_shrink(image.width, width, scale) and _may_shrink(image.height, height, scale):
            image.draft(image.mode, (image.width // scale, image.height // scale))
            return replace(picture, notes=(*picture.notes, f"decoded at 1/{scale} of its size"))
    return picture


def _may_shrink(length: int, needed: int, scale: int) -> bool:
    """A length that does not divide is filled up, and the image shrinks with the filling: but how much?"""
    filling = -length % scale
    return length // scale >= 2 * needed and filling * needed <= _MAX_SHIFT * length


def _set_orientation(image: PillowImage) -> int:
    """What a program wrote into an image's `getexif`; 0 where that would first read a file's data."""
    read_from_file = {"exif", "Raw profile type exif"} & image.info.keys() or hasattr(image, "tag_v2")
    orientation = 0 if read_from_file else image.getexif().get(0x0112, 0)
    return orientation if orientation in range(1, 9) else 0
