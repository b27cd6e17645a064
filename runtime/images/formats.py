"""An opener for each image format: headers are read, pixels not yet.

`Image.open` is not used. It warns of large images through Python's `warnings`, whose settings belong to the
whole process: nobody can switch them off for one thread alone. The decoders are called by their classes, the
sizes are checked here first, and no decoder gets to parse EXIF data or a TIFF file's own tags: they change
no pixel, and they are where Pillow's other warnings come from.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import IO, TYPE_CHECKING, Any

from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from cnntk.runtime.images.headers import gif_frames, png_depth, webp_size
from cnntk.runtime.images.tiff import exif_orientation, first_page

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

__all__ = ["OPENERS", "Check", "OpenedImage", "orientation_of"]

_SCAN = b"\xff\xda"
_MAX_SCANS = 100  # of a progressive file; each goes over all pixels, and 30 bytes are enough for one
_MAX_FRAMES = 1000
_GIF_BYTES = 1 << 24  # in which frames are counted
_MAX_GIF_MEGAPIXELS = 89.0  # over which the decoder warns, and there is no other decoder to call


@dataclass(frozen=True)
class OpenedImage:
    """An image that Pillow holds, and what its file says about the pixels.

    Attributes:
        image: as stored: not yet upright.
        orientation: EXIF's, 1 to 8.
        full_scale: the largest value of a pixel of more than 8 bits.
        white_is_zero: pixels of more than 8 bits count from white to black.
        notes: what a user should know.
    """

    image: PillowImage
    orientation: int = 1
    full_scale: int = 65535
    white_is_zero: bool = False
    notes: tuple[str, ...] = ()


Check = Callable[[int, int], None]
"""Raises `ImageError` where a width and height are too large."""


class _NoMetadata(ImageFile.ImageFile):
    """A decoder that reads no EXIF data: `exif_orientation` does, without warnings."""

    def getexif(self) -> Image.Exif:
        return Image.Exif()


class _Jpeg(_NoMetadata, JpegImagePlugin.JpegImageFile):
    pass


class _Tiff(_NoMetadata, TiffImagePlugin.TiffImageFile):
    def load_prepare(self) -> None:
        # what is there already is not checked against, and warned of, Pillow's own limit
        self.im = Image.new(self.mode, self.size, None).im
        super().load_prepare()

    def load(self) -> Any:
        file = self.fp
        pixels = super().load()
        if file is not None:
            file.close()  # it is in memory, and the decoder would keep it
        return pixels


def _open_jpeg(stream: IO[bytes], check: Check) -> OpenedImage:
    image = _Jpeg(stream)
    if image.info.get("progressive"):
        stream.seek(0)
        scans = sum(block.count(_SCAN) for block in iter(lambda: stream.read(1 << 20), b""))
        if scans > _MAX_SCANS:
            raise ValueError(f"it has {scans} scans")
    return OpenedImage(image, orientation_of(image))


def _open_png(stream: IO[bytes], check: Check) -> OpenedImage:
    depth = png_depth(stream)
    stream.seek(0)
    image = PngImagePlugin.PngImageFile(stream)
    clear = image.info.get("transparency")
    if image.mode in ("1", "L") and depth < 8 and isinstance(clear, int):
        highest = (1 << depth) - 1
        image.info["transparency"] = min(clear, highest) * 255 // highest  # as Pillow scales the pixels
    if image.mode == "RGB" and depth == 16 and isinstance(clear, tuple):
        image.info["transparency"] = tuple(value >> 8 for value in clear)
    return OpenedImage(image, notes=_first_of(image.n_frames, "frames") + _cut_to_8_bits(image))


def _open_gif(stream: IO[bytes], check: Check) -> OpenedImage:
    start = stream.read(_GIF_BYTES)
    canvases = list(islice(gif_frames(start), _MAX_FRAMES))
    if canvases:
        check(*canvases[0])
        if canvases[0][0] * canvases[0][1] > _MAX_GIF_MEGAPIXELS * 1e6:
            raise ValueError(f"GIF files are read up to {_MAX_GIF_MEGAPIXELS:g} megapixels")
    count = _MAX_FRAMES if len(start) == _GIF_BYTES and len(canvases) > 1 else len(canvases)
    stream.seek(0)
    return OpenedImage(GifImagePlugin.GifImageFile(stream), notes=_first_of(count, "frames"))


def _open_webp(stream: IO[bytes], check: Check) -> OpenedImage:
    check(*webp_size(stream))
    stream.seek(0)
    image = WebPImagePlugin.WebPImageFile(stream)
    return OpenedImage(image, orientation_of(image), notes=_first_of(image.n_frames, "frames"))


def _open_tiff(stream: IO[bytes], check: Check) -> OpenedImage:
    page = first_page(stream)
    check(max(page.width, page.block[0]), max(page.height, page.block[1]))
    image = _Tiff(io.BytesIO(page.alone(stream)))
    notes = _first_of(page.pages, "pages") + _cut_to_8_bits(image)
    return OpenedImage(image, page.orientation, page.full_scale, page.white_is_zero, notes)


def _open_bmp(stream: IO[bytes], check: Check) -> OpenedImage:
    return OpenedImage(BmpImagePlugin.BmpImageFile(stream))


def _open_ppm(stream: IO[bytes], check: Check) -> OpenedImage:
    return OpenedImage(PpmImagePlugin.PpmImageFile(stream))


OPENERS: dict[str, Callable[[IO[bytes], Check], OpenedImage]] = {
    "BMP": _open_bmp,
    "GIF": _open_gif,
    "JPEG": _open_jpeg,
    "PNG": _open_png,
    "PPM": _open_ppm,
    "TIFF": _open_tiff,
    "WEBP": _open_webp,
}


def _first_of(count: int, what: str) -> tuple[str, ...]:
    if count < 2:
        return ()
    return (f"the first of {count} {what}" if count < _MAX_FRAMES else f"the first of many {what}",)


def _cut_to_8_bits(image: ImageFile.ImageFile) -> tuple[str, ...]:
    """Pillow has no color of more than 8 bits and keeps the upper byte of each value."""
    deep = any(";16" in str(tile[3]) for tile in image.tile) and not image.mode.startswith("I")
    return ("16-bit color cut to its upper 8 bits",) if deep else ()


def orientation_of(image: PillowImage) -> int:
    """EXIF's, else XMP's, as `ImageOps.exif_transpose` looks for it; 1 where nothing is said."""
    exif = image.info.get("exif") or _raw_profile(image.info.get("Raw profile type exif"))
    if isinstance(exif, bytes) and (orientation := exif_orientation(exif)):
        return orientation
    xmp = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or b""
    found = re.search(rb'tiff:Orientation(?:="|>)([1-8])', xmp.encode() if isinstance(xmp, str) else xmp)
    return int(found[1]) if found else 1


def _raw_profile(text: object) -> bytes:
    """EXIF as older versions of ImageMagick wrote it into PNG files: three lines, then hexadecimal."""
    try:
        return bytes.fromhex("".join(str(text).split("\n")[3:]))
    except ValueError:
        return b""
