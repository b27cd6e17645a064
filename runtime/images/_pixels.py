"""Conversion of Pillow images to arrays: upright, 8 bits, gray or RGB, in little memory beyond the array."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cnntk.runtime.errors import ImageError
from cnntk.runtime.images._decoding import image_errors
from cnntk.runtime.images._opened import OpenedImage

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

Pixels = NDArray[np.uint8]

_WHOLE_PIXELS = 1 << 20
_STRIP_PIXELS = 1 << 18
# ITU-R BT.601 luma, as Pillow converts RGB to L in 16-bit fixed point. Sums have at most 24 bits, so float32,
# whose products are BLAS's, is exact.
_LUMA = np.array([19595, 38470, 7471], dtype=np.float32) / 65536
_LUMA_PIXELS = 1 << 16  # that are in the cache as float32
_GRAY = ("1", "L")

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SWAPPED = (5, 6, 7, 8)  # EXIF orientations whose rows become columns
_FROM_THE_END = (3, 4, 6, 7)  # those whose first row becomes the last row or column


def pixels_from_image(
    opened: OpenedImage, name: str, background: Sequence[int], *, gray: bool = False
) -> tuple[Pixels, tuple[str, ...]]:
    """Converts a loaded image to an array of upright 8-bit pixels, and returns all notes with it.

    Large images are converted in strips, because Pillow's conversions copy whole images at 4 bytes a pixel.
    Raises ImageError if values are beyond 16 bits, or floating-point numbers of unknown range.
    """
    image = opened.image
    composed = False
    with image_errors(name, "of a type that can't be converted"):
        transparent = image.has_transparency_data
        if gray and image.mode == "RGB" and not transparent:
            image = image.convert("L")
            opened = opened._replace(image=image)
        wide = image.mode.startswith(("I", "F"))
        if wide:
            opened = _with_scale(opened, name)
        convert = _from_wide if wide else _composed if transparent else _from_8_bit
        if image.width * image.height <= _WHOLE_PIXELS:
            pixels, composed = convert(opened, _upright(image, opened.orientation), name, background)
        else:
            channels = 1 if not transparent and (wide or image.mode in _GRAY) else 3
            swapped = opened.orientation in _SWAPPED
            size = (image.width, image.height) if swapped else (image.height, image.width)
            pixels = np.empty((*size, channels), dtype=np.uint8)
            for span, strip in _strips(image, opened.orientation):
                strip_pixels, strip_composed = convert(opened, strip, name, background)
                (pixels[:, span] if swapped else pixels[span])[...] = strip_pixels
                composed |= strip_composed
    if gray and pixels.shape[2] == 3:
        pixels = luma(pixels)
    pixels.flags.writeable = False  # like an array that numpy makes of a Pillow image
    return pixels, (*opened.notes, *_notes(opened, composed, background))


def pixels_from_array(
    array: NDArray[Any], background: Sequence[int], *, gray: bool = False
) -> tuple[Pixels, tuple[str, ...]]:
    """Converts an array like `pixels_from_image`: uint8 (H, W) or (H, W, 1 or 3 or 4), or uint16 gray."""
    pixels = array[:, :, None] if array.ndim == 2 else array
    channels = pixels.shape[2] if pixels.ndim == 3 else 0
    wide = pixels.dtype.kind == "u" and pixels.dtype.itemsize == 2
    supported = channels == 1 if wide else pixels.dtype == np.uint8 and channels in (1, 3, 4)
    if not supported or 0 in pixels.shape:
        raise ImageError(
            f"{array_name(array)}: expected uint8 [H, W], [H, W, 1], [H, W, 3] or [H, W, 4] (RGB order), "
            f"or uint16 [H, W] or [H, W, 1]{_hint(array)}"
        )
    pixels = np.ascontiguousarray(pixels)
    if wide:
        return _scaled(pixels, 65535), ("16-bit values scaled to 8 bits",)
    if channels == 4:
        opened = OpenedImage(Image.fromarray(pixels))
        return pixels_from_image(opened, array_name(array), background, gray=gray)
    return luma(pixels) if gray and channels == 3 else pixels, ()


def luma(rgb: Pixels) -> Pixels:
    """Converts uint8 (H, W, 3) to (H, W, 1), ``(19595 R + 38470 G + 7471 B + 32768) >> 16``, like Pillow."""
    gray = np.empty((*rgb.shape[:2], 1), dtype=np.uint8)
    rows = max(1, _LUMA_PIXELS // rgb.shape[1])
    for top in range(0, len(rgb), rows):
        gray[top : top + rows, :, 0] = rgb[top : top + rows].astype(np.float32) @ _LUMA + np.float32(0.5)
    return gray


def array_name(array: NDArray[Any]) -> str:
    """Returns the name of an array in messages. It takes longer than converting a small array."""
    return f"array {array.dtype}{list(array.shape)}"


def _hint(array: NDArray[Any]) -> str:
    if array.ndim == 3 and array.shape[0] in (1, 3, 4) and array.dtype == np.uint8:
        return "; its channels come first: pass np.moveaxis(array, 0, 2)"
    if array.dtype.kind == "f":
        return "; scale it to 0..255, round it and convert it to uint8"
    return ""


def _upright(image: PillowImage, orientation: int) -> PillowImage:
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def _strips(image: PillowImage, orientation: int) -> Iterator[tuple[slice, PillowImage]]:
    """Yields strips of an image, upright, with their rows or columns in the upright image."""
    rows = max(1, _STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        bottom = min(top + rows, image.height)
        from_end = slice(image.height - bottom, image.height - top)
        span = from_end if orientation in _FROM_THE_END else slice(top, bottom)
        yield span, _upright(image.crop((0, top, image.width, bottom)), orientation)


# Each converts an image or a strip of it, and returns whether the background shows through.


def _from_8_bit(
    opened: OpenedImage, image: PillowImage, name: str, background: Sequence[int]
) -> tuple[Pixels, bool]:
    if image.mode in _GRAY:
        return np.asarray(image.convert("L"))[:, :, None], False
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB")), False


def _composed(
    opened: OpenedImage, image: PillowImage, name: str, background: Sequence[int]
) -> tuple[Pixels, bool]:
    if image.mode == "La":  # which Pillow converts to no other mode
        image = image.convert("LA")
    rgba = image.convert("RGBA")
    if rgba.getchannel("A").getextrema() == (255, 255):
        return np.asarray(rgba.convert("RGB")), False
    canvas = Image.new("RGBA", rgba.size, (*background, 255))
    return np.asarray(Image.alpha_composite(canvas, rgba).convert("RGB")), True


def _from_wide(
    opened: OpenedImage, image: PillowImage, name: str, background: Sequence[int]
) -> tuple[Pixels, bool]:
    values = np.asarray(image)
    if opened.white_is_zero:
        values = opened.full_scale - values
    gray = _scaled(values[:, :, None], opened.full_scale)
    if not image.has_transparency_data:
        return gray, False
    transparent = values[:, :, None] == image.info["transparency"]
    return np.where(transparent, np.array(background, dtype=np.uint8), gray), bool(transparent.any())


def _with_scale(opened: OpenedImage, name: str) -> OpenedImage:
    """The image with the largest value that its wide pixels may have, if its values have to say it.

    Floating-point values up to 1 or 255 have that range. Values below 4096 in files of 16 bits are those of
    12-bit cameras, unless the file states its depth: taken as 16 bits, the brightest would be 1/16 of white.
    """
    image = opened.image
    extremes = [(strip.min(), strip.max()) for strip in map(np.asarray, _crops(image))]
    low, high = min(e[0] for e in extremes), max(e[1] for e in extremes)
    if image.mode == "F":
        if not all(np.isfinite(e).all() for e in extremes) or low < 0 or high > 255:
            raise ImageError(
                f"{name}: floating-point pixels from {low:g} to {high:g} have no defined range, "
                "expected 0 to 1 or 0 to 255; save it with 8 or 16 bits"
            )
        return opened._replace(full_scale=1 if high <= 1 else 255)
    if low < 0 or high > 65535:
        raise ImageError(f"{name}: pixels beyond 0..65535 have no defined range; save it with 16 bits")
    is_12_bit = not opened.states_depth and opened.full_scale == 65535 and 255 < high < 4096
    return opened._replace(full_scale=4095) if is_12_bit and not opened.white_is_zero else opened


def _crops(image: PillowImage) -> Iterator[PillowImage]:
    return (strip for _, strip in _strips(image, 1))


def _scaled(values: NDArray[Any], full_scale: int) -> Pixels:
    """Scales 0..full_scale to 0..255, rounded; for 16 bits that is ``(v + 128) // 257``."""
    if values.dtype.kind == "f":
        return np.floor(values * np.float64(255 / full_scale) + 0.5).astype(np.uint8)
    return ((values.astype(np.uint32) * 255 + full_scale // 2) // full_scale).astype(np.uint8)


def _notes(opened: OpenedImage, composed: bool, background: Sequence[int]) -> list[str]:
    notes = []
    if opened.image.mode == "CMYK":
        notes.append("CMYK converted to RGB, color profile ignored")
    if opened.image.mode.startswith("I"):
        notes.append(f"{opened.full_scale.bit_length()}-bit values scaled to 8 bits")
    if opened.image.mode == "F":
        notes.append(f"floating-point values from 0 to {opened.full_scale} scaled to 8 bits")
    if composed:
        color = tuple(background)
        notes.append(f"transparency composed on {'white' if color == (255, 255, 255) else f'RGB {color}'}")
    if opened.orientation != 1:
        notes.append(f"rotated upright by its EXIF orientation {opened.orientation}")
    return notes
