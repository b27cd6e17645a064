"""Reads images: whatever holds one becomes uint8 pixels, the same on every machine."""

from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageOps,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from cnntk.runtime.errors import ImageError

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

__all__ = ["IMAGE_SUFFIXES", "MAX_MEGAPIXELS", "ImageSource", "Pixels", "describe", "read_image"]

Pixels = NDArray[np.uint8]
ImageSource = str | os.PathLike[str] | bytes | IO[bytes] | Image.Image | NDArray[Any]

IMAGE_SUFFIXES = frozenset(
    {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)
"""What counts as an image when a folder is read."""

MAX_MEGAPIXELS = 89.5
"""Larger images are refused: Pillow's own limit, there only a warning."""

# EPS runs an interpreter and the exotic decoders are where the CVEs are, so the list is short. Importing
# the decoders registers them, and spares Pillow the search through all forty on the first image.
_DECODERS = {
    "BMP": BmpImagePlugin,
    "GIF": GifImagePlugin,
    "JPEG": JpegImagePlugin,
    "PNG": PngImagePlugin,
    "PPM": PpmImagePlugin,
    "TIFF": TiffImagePlugin,
    "WEBP": WebPImagePlugin,
}
_FORMATS = tuple(_DECODERS)
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error)


def read_image(source: ImageSource, *, background: Sequence[int] = (255, 255, 255)) -> Pixels:
    """The pixels of an image.

    EXIF orientation is applied, the first frame of an animation is taken, transparency is composed on
    ``background``, 16-bit grey is scaled to 8 bits, palettes and CMYK become RGB.

    Args:
        source: a path, the bytes of a file, a binary file object, a Pillow image, or a uint8 array of
            shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), RGB order.
        background: RGB, 0 to 255.

    Returns:
        uint8 (H, W, 3) in RGB order, or (H, W, 1) where the image is grey.

    Raises:
        ImageError: there is no image, or it is damaged, too large, or of a kind without a defined range.
    """
    name = describe(source)
    if isinstance(source, np.ndarray):
        return _from_array(source, name)
    if isinstance(source, Image.Image):
        return _to_pixels(source, name, background)
    with _open(source, name) as image:
        return _to_pixels(image, name, background)


def describe(source: ImageSource) -> str:
    """What messages call ``source``: its path where it has one."""
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    if isinstance(source, np.ndarray):
        return f"array {source.dtype}{list(source.shape)}"
    return str(getattr(source, "name", "") or getattr(source, "filename", "") or f"<{type(source).__name__}>")


def _open(source: str | os.PathLike[str] | bytes | IO[bytes], name: str) -> PillowImage:
    stream = io.BytesIO(source) if isinstance(source, bytes) else source
    if not isinstance(stream, str | os.PathLike) and not hasattr(stream, "read"):
        raise TypeError(f"expected a path, bytes, a file, a Pillow image or an array, got {name}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the limit on size is checked below, as an error
            return Image.open(stream, formats=_FORMATS)
    except FileNotFoundError:
        raise ImageError(f"{name}: no such file") from None
    except IsADirectoryError:
        raise ImageError(f"{name}: is a folder, not an image") from None
    except PermissionError:
        raise ImageError(f"{name}: may not be read; check its permissions") from None
    except UnidentifiedImageError:
        raise ImageError(f"{name}: {_not_an_image(source)}") from None
    except Image.DecompressionBombError:
        raise ImageError(f"{name}: larger than {MAX_MEGAPIXELS} megapixels; scale it down first") from None
    except _BROKEN as error:
        raise ImageError(f"{name}: damaged ({error}); make the file again") from error


def _not_an_image(source: object) -> str:
    if _is_empty(source):
        return "is empty (0 bytes)"
    return f"is no image that can be read, whatever its name says; use one of {', '.join(_FORMATS)}"


def _is_empty(source: object) -> bool:
    if isinstance(source, str | os.PathLike):
        return os.path.getsize(source) == 0
    return source == b"" or (isinstance(source, io.BytesIO) and not source.getbuffer().nbytes)


def _to_pixels(image: PillowImage, name: str, background: Sequence[int]) -> Pixels:
    if image.width * image.height > MAX_MEGAPIXELS * 1e6:
        raise ImageError(
            f"{name}: {image.width}x{image.height} is over {MAX_MEGAPIXELS} megapixels; scale it down first"
        )
    if 0 in image.size:
        raise ImageError(f"{name}: has no pixels ({image.width}x{image.height})")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # broken EXIF is reported as a warning and changes no pixel
            image = ImageOps.exif_transpose(image)
            image.load()
    except _BROKEN as error:
        raise ImageError(f"{name}: damaged or cut short ({error}); make the file again") from error
    return _to_8_bit(image, name, background)


def _to_8_bit(image: PillowImage, name: str, background: Sequence[int]) -> Pixels:
    if image.mode == "F":
        raise ImageError(f"{name}: floating-point pixels have no defined range; save it with 8 or 16 bits")
    if image.mode.startswith("I"):
        return _from_16_bit(np.asarray(image), name)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        canvas = Image.new("RGBA", rgba.size, (*background, 255))
        return np.asarray(Image.alpha_composite(canvas, rgba).convert("RGB"))
    if image.mode in ("1", "L"):
        return np.asarray(image.convert("L"))[:, :, None]
    return np.asarray(image.convert("RGB"))


def _from_16_bit(values: NDArray[Any], name: str) -> Pixels:
    """0..65535 to 0..255: 65535 / 255 = 257."""
    if values.min() < 0 or values.max() > 65535:
        raise ImageError(f"{name}: 32-bit pixels beyond 0..65535 have no defined range; save it with 16 bits")
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)[:, :, None]


def _from_array(array: NDArray[Any], name: str) -> Pixels:
    pixels = array[:, :, None] if array.ndim == 2 else array
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (1, 3, 4) or 0 in pixels.shape:
        raise ImageError(f"{name}: expected uint8 [H, W], [H, W, 1], [H, W, 3] or [H, W, 4] (RGB order)")
    if pixels.shape[2] == 4:
        return _to_8_bit(Image.fromarray(pixels), name, (255, 255, 255))
    return pixels
