"""An image that was opened, and what the decoders of all formats need."""

from __future__ import annotations

import re
from collections.abc import Callable
from types import FunctionType
from typing import TYPE_CHECKING, Any, NamedTuple

from PIL import Image, ImageFile

from cnntk.runtime.images.headers import exif_orientation

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

MAX_FRAMES = 1000
"""Number of frames or pages up to which they are counted."""

ORIENTATION = 274
"""Tag of the orientation in EXIF and TIFF."""


class OpenedImage(NamedTuple):
    """An image in Pillow, and what its file says about the pixels."""

    image: PillowImage  # as stored, not yet upright
    orientation: int = 1  # of EXIF, 1 to 8
    full_scale: int = 65535  # largest value of a pixel with more than 8 bits
    states_depth: bool = True  # whether the file says how many of 16 bits are used
    white_is_zero: bool = False  # whether pixels with more than 8 bits count from white to black
    notes: tuple[str, ...] = ()  # what a user should know about the decoding, a phrase each


CheckSize = Callable[[int, int], None]
"""Raises `ImageError` if a width and height in pixels are too large."""


class NoMetadata(ImageFile.ImageFile):
    """A decoder that parses no EXIF data; `exif_orientation` does that without warnings."""

    def getexif(self) -> Image.Exif:
        return Image.Exif()


def with_globals(function: Any, **replacements: Any) -> Any:
    """Returns a copy of a function of Pillow's that sees other values under some of its global names."""
    return FunctionType(
        function.__code__,
        {**function.__globals__, **replacements},
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )


def first_of(count: int, unit: str) -> tuple[str, ...]:
    if count < 2:
        return ()
    return (f"the first of {count} {unit}" if count < MAX_FRAMES else f"the first of many {unit}",)


def reduced_to_8_bits(image: ImageFile.ImageFile) -> tuple[str, ...]:
    """Pillow has no color with more than 8 bits and keeps the upper byte of each value."""
    deep = any(";16" in str(tile[3]) for tile in image.tile) and not image.mode.startswith("I")
    return ("16-bit color cut to its upper 8 bits",) if deep else ()


def orientation_of(image: PillowImage) -> int:
    """Returns the orientation in EXIF, else in XMP, as `ImageOps.exif_transpose` does; 1 without any."""
    exif = image.info.get("exif") or _raw_profile(image.info.get("Raw profile type exif"))
    if isinstance(exif, bytes) and (orientation := exif_orientation(exif)):
        return orientation
    xmp = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or b""
    match = re.search(rb'tiff:Orientation(?:="|>)([1-8])', xmp.encode() if isinstance(xmp, str) else xmp)
    return int(match[1]) if match else 1


def _raw_profile(text: object) -> bytes:
    """Decodes EXIF as old versions of ImageMagick wrote it into PNG files: three lines, then hexadecimal."""
    try:
        return bytes.fromhex("".join(str(text).split("\n")[3:]))
    except ValueError:
        return b""
