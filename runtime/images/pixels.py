"""From Pillow's pixels to an array: upright, 8 bits, gray or RGB, in no more memory than the array takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cnntk.runtime.errors import ImageError
from cnntk.runtime.images.decoding import image_errors
from cnntk.runtime.images.formats import OpenedImage

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

__all__ = ["Pixels", "array_name", "pixels_from_array", "pixels_from_image"]

Pixels = NDArray[np.uint8]

_WHOLE_PIXELS = 1 << 20
_STRIP_PIXELS = 1 << 18
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
_SWAPPED = (5, 6, 7, 8)  # EXIF orientations whose rows are the upright image's columns
_FROM_THE_END = (3, 4, 6, 7)  # and whose first row is its last, or its last column


def pixels_from_image(
    picture: OpenedImage, name: str, background: Sequence[int]
) -> tuple[Pixels, tuple[str, ...]]:
    """The pixels of a decoded image, and what was done to them.

    Works in strips of some thousand pixels: Pillow's conversions copy whole images, four bytes a pixel each.

    Args:
        picture: its pixels are loaded.
        name: what messages call it.
        background: RGB, 0 to 255, that transparency is composed on.

    Returns:
        uint8 (H, W, 3) in RGB order, or (H, W, 1) where the image is gray; and the notes of ``picture``
        with those that the conversion adds.

    Raises:
        ImageError: a value is beyond 16 bits.
    """
    image = picture.image
    composed = False
    with image_errors(name, "of a kind that can't be converted"):
        clear = image.has_transparency_data
        wide = image.mode.startswith("I")
        convert = _from_wide if wide else _composed if clear else _from_8_bit
        if image.width * image.height <= _WHOLE_PIXELS:
            pixels, composed = convert(picture, _upright(image, picture.orientation), name, background)
        else:
            channels = 1 if not clear and (wide or image.mode in _GRAY) else 3
            swapped = picture.orientation in _SWAPPED
            size = (image.width, image.height) if swapped else (image.height, image.width)
            pixels = np.empty((*size, channels), dtype=np.uint8)
            for place, strip in _strips(image, picture.orientation):
                part, seen_through = convert(picture, strip, name, background)
                (pixels[:, place] if swapped else pixels[place])[...] = part
                composed |= seen_through
    pixels.flags.writeable = False  # as an array that Pillow hands out
    return pixels, (*picture.notes, *_notes(picture, composed, background))


def pixels_from_array(array: NDArray[Any], background: Sequence[int]) -> tuple[Pixels, tuple[str, ...]]:
    """What `pixels_from_image` gives, from uint8 (H, W), (H, W, 1), (H, W, 3), (H, W, 4) or uint16 gray.

    Raises:
        ImageError: it is another kind of array.
    """
    pixels = array[:, :, None] if array.ndim == 2 else array
    channels = pixels.shape[2] if pixels.ndim == 3 else 0
    wide = pixels.dtype.kind == "u" and pixels.dtype.itemsize == 2
    known = channels == 1 if wide else pixels.dtype == np.uint8 and channels in (1, 3, 4)
    if not known or 0 in pixels.shape:
        raise ImageError(
            f"{array_name(array)}: expected uint8 [H, W], [H, W, 1], [H, W, 3] or [H, W, 4] (RGB order), "
            f"or uint16 [H, W] or [H, W, 1]{_hint(array)}"
        )
    pixels = np.ascontiguousarray(pixels)
    if wide:
        return _scaled(pixels, 65535), ("16-bit values scaled to 8 bits",)
    if channels == 4:
        return pixels_from_image(OpenedImage(Image.fromarray(pixels)), array_name(array), background)
    return pixels, ()


def array_name(array: NDArray[Any]) -> str:
    """What messages call an array; made for them alone, since it takes longer than to convert a small one."""
    return f"array {array.dtype}{list(array.shape)}"


def _hint(array: NDArray[Any]) -> str:
    if array.ndim == 3 and array.shape[0] in (1, 3, 4) and array.dtype == np.uint8:
        return "; its channels come first: hand over np.moveaxis(array, 0, 2)"
    if array.dtype.kind == "f":
        return "; scale it to 0..255, round it and convert it to uint8"
    return ""


def _upright(image: PillowImage, orientation: int) -> PillowImage:
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def _strips(image: PillowImage, orientation: int) -> Iterator[tuple[slice, PillowImage]]:
    """Strips of an image, upright, and which of the upright image's rows, or columns, they are."""
    rows = max(1, _STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        bottom = min(top + rows, image.height)
        from_end = slice(image.height - bottom, image.height - top)
        place = from_end if orientation in _FROM_THE_END else slice(top, bottom)
        yield place, _upright(image.crop((0, top, image.width, bottom)), orientation)


# Each makes pixels of an image or a strip of it, and tells whether the background is to be seen.


def _from_8_bit(
    picture: OpenedImage, image: PillowImage, name: str, background: Sequence[int]
) -> tuple[Pixels, bool]:
    if image.mode in _GRAY:
        return np.asarray(image.convert("L"))[:, :, None], False
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB")), False


def _composed(
    picture: OpenedImage, image: PillowImage, name: str, background: Sequence[int]
) -> tuple[Pixels, bool]:
    if image.mode == "La":  # Pillow converts it to nothing else
        image = image.convert("LA")
    rgba = image.convert("RGBA")
    if rgba.getchannel("A").getextrema() == (255, 255):
        return np.asarray(rgba.convert("RGB")), False
    canvas = Image.new("RGBA", rgba.size, (*background, 255))
    return np.asarray(Image.alpha_composite(canvas, rgba).convert("RGB")), True


def _from_wide(
    picture: OpenedImage, image: PillowImage, name: str, background: Sequence[int]
) -> tuple[Pixels, bool]:
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 65535:
        raise ImageError(f"{name}: pixels beyond 0..65535 have no defined range; save it with 16 bits")
    if picture.white_is_zero:
        values = picture.full_scale - values
    gray = _scaled(values[:, :, None], picture.full_scale)
    if not image.has_transparency_data:
        return gray, False
    clear = values[:, :, None] == image.info["transparency"]
    return np.where(clear, np.array(background, dtype=np.uint8), gray), bool(clear.any())


def _scaled(values: NDArray[Any], full_scale: int) -> Pixels:
    """0..full_scale to 0..255, rounded; of 16 bits that is (v + 128) // 257."""
    return ((values.astype(np.uint32) * 255 + full_scale // 2) // full_scale).astype(np.uint8)


def _notes(picture: OpenedImage, composed: bool, background: Sequence[int]) -> list[str]:
    notes = []
    if picture.image.mode == "CMYK":
        notes.append("CMYK converted to RGB without its color profile")
    if picture.image.mode.startswith("I"):
        notes.append(f"{picture.full_scale.bit_length()}-bit values scaled to 8 bits")
    if composed:
        color = tuple(background)
        notes.append(f"transparency composed on {'white' if color == (255, 255, 255) else f'RGB {color}'}")
    if picture.orientation != 1:
        notes.append(f"turned upright, as its EXIF orientation {picture.orientation} says")
    return notes
