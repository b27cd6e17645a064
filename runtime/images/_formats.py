"""One opener for each image format: it reads the headers and leaves the pixels for later.

`Image.open` is not used because it reports large images through Python's `warnings`, whose settings belong to
the whole process and can't be changed for one thread. Instead, the decoder classes are called directly, sizes
are checked here first, and no decoder parses EXIF data, which changes no pixel and causes more warnings. The
decoder of a format is imported with its first file: all of them take as long as to load and run LeNet.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import cache
from itertools import islice
from types import SimpleNamespace
from typing import IO, Any

from cnntk.runtime.images._jpeg2000 import jpeg2000_size
from cnntk.runtime.images._opened import (
    MAX_FRAMES,
    ORIENTATION,
    CheckSize,
    NoMetadata,
    OpenedImage,
    first_of,
    orientation_of,
    with_globals,
)
from cnntk.runtime.images.headers import exif_orientation, gif_frames, webp_size

_GIF_BYTES = 1 << 24
"""Bytes of a GIF file in which frames are counted."""

_MAX_GIF_MEGAPIXELS = 89.0
"""Pillow's GIF decoder warns of larger images, and there is no other decoder to call."""


def _open_bmp(stream: IO[bytes], check: CheckSize) -> OpenedImage:
    from PIL.BmpImagePlugin import BmpImageFile

    return OpenedImage(BmpImageFile(stream))


def _open_gif(stream: IO[bytes], check: CheckSize) -> OpenedImage:
    from PIL.GifImagePlugin import GifImageFile

    start = stream.read(_GIF_BYTES)
    canvases = list(islice(gif_frames(start), MAX_FRAMES))
    if canvases:
        check(*canvases[0])
        if canvases[0][0] * canvases[0][1] > _MAX_GIF_MEGAPIXELS * 1e6:
            raise ValueError(f"GIF files are read up to {_MAX_GIF_MEGAPIXELS:g} megapixels")
    count = MAX_FRAMES if len(start) == _GIF_BYTES and len(canvases) > 1 else len(canvases)
    stream.seek(0)
    return OpenedImage(GifImageFile(stream), notes=first_of(count, "frames"))


def _open_webp(stream: IO[bytes], check: CheckSize) -> OpenedImage:
    from PIL.WebPImagePlugin import WebPImageFile

    check(*webp_size(stream))
    stream.seek(0)
    image = WebPImageFile(stream)
    return OpenedImage(image, orientation_of(image), notes=first_of(image.n_frames, "frames"))


class _AvifExif(dict[int, int]):
    """What `AvifImageFile` asks of EXIF data: its orientation, read without warnings."""

    def load(self, exif: bytes) -> None:
        self[ORIENTATION] = exif_orientation(exif) or 1

    def tobytes(self) -> bytes:
        """Returns an EXIF block with nothing but the orientation."""
        return struct.pack("<4sIHHHIII", b"II*\0", 8, 1, ORIENTATION, 3, 1, self[ORIENTATION], 0)


@cache
def _avif_class() -> Callable[[IO[bytes]], Any]:
    """Pillow's decoder without warnings; raises ImportError."""
    from PIL import AvifImagePlugin

    if not AvifImagePlugin.SUPPORTED:
        raise ImportError("this build of Pillow does not read AVIF")

    class Avif(NoMetadata, AvifImagePlugin.AvifImageFile):
        _open = with_globals(
            AvifImagePlugin.AvifImageFile._open,
            Image=SimpleNamespace(Exif=_AvifExif),
            _get_default_max_threads=lambda: 1,  # images are decoded in parallel, not their parts
        )

    return Avif


def _open_avif(stream: IO[bytes], check: CheckSize) -> OpenedImage:
    image = _avif_class()(stream)
    return OpenedImage(image, orientation_of(image), notes=first_of(image.n_frames, "frames"))


def _open_jpeg(stream: IO[bytes], check: CheckSize) -> OpenedImage:
    from cnntk.runtime.images._jpeg import open_jpeg

    return open_jpeg(stream)


def _open_jpeg2000(stream: IO[bytes], check: CheckSize) -> OpenedImage:
    from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile

    check(*jpeg2000_size(stream))
    stream.seek(0)
    return OpenedImage(Jpeg2KImageFile(stream))


@cache
def _heif_class() -> Callable[[IO[bytes]], Any]:
    """The decoder of pillow-heif, which turns images upright itself; raises ImportError."""
    from pillow_heif import HeifImageFile

    class Heif(NoMetadata, HeifImageFile):
        pass

    return Heif


def _open_heif(stream: IO[bytes], check: CheckSize) -> OpenedImage:
    image = _heif_class()(stream)
    notes = (f"the primary one of {image.n_frames} images",) if image.n_frames > 1 else ()
    return OpenedImage(image, notes=notes)


def _open_png(stream: IO[bytes], check: CheckSize) -> OpenedImage:
    from cnntk.runtime.images._png import open_png

    return open_png(stream)


def _open_ppm(stream: IO[bytes], check: CheckSize) -> OpenedImage:
    from PIL.PpmImagePlugin import PpmImageFile

    return OpenedImage(PpmImageFile(stream))


def _open_tiff(stream: IO[bytes], check: CheckSize) -> OpenedImage:
    from cnntk.runtime.images._tiff import open_tiff

    return open_tiff(stream, check)


Opener = Callable[[IO[bytes], CheckSize], OpenedImage]

OPENERS: dict[str, Opener] = {
    "AVIF": _open_avif,
    "BMP": _open_bmp,
    "GIF": _open_gif,
    "HEIF": _open_heif,
    "JPEG": _open_jpeg,
    "JPEG2000": _open_jpeg2000,
    "PNG": _open_png,
    "PPM": _open_ppm,
    "TIFF": _open_tiff,
    "WEBP": _open_webp,
}
"""Openers by Pillow's name of the format."""


def missing_decoder(form: str) -> str:
    """Describes a file of a format whose decoder is not installed, and what to do; empty if it is."""
    if form == "JPEG2000":
        from PIL import features

        if not features.check_codec("jpg_2000"):
            return "a JPEG 2000 image, which this build of Pillow does not read: convert it to PNG or JPEG"
    try:
        if form == "AVIF":
            _avif_class()
        elif form == "HEIF":
            _heif_class()
    except ImportError:
        return _INSTALL[form]
    return ""


_INSTALL = {
    "AVIF": "an AVIF image, which this build of Pillow does not read: convert it to PNG or JPEG",
    "HEIF": "an HEIC image: pip install pillow-heif, or convert it to JPEG",
}


def readable_formats() -> str:
    """Names of the formats that are read here, for messages."""
    return ", ".join(form for form in OPENERS if not missing_decoder(form))
