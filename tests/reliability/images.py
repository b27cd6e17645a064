"""Damaged images: each gives pixels or a `CnntkError`, in bounded time and memory."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from image_files import encoded, photo
from odd_images import ODD
from PIL import Image, features
from reliability.mutation import mutate, png_with_checksums
from reliability.runner import Failed, Kind

from cnntk.runtime import CnntkError
from cnntk.runtime.images.reading import read_image

__all__ = ["IMAGES", "seed_files"]

REFUSED, READ = "refused", "read"
_PNG = b"\x89PNG\r\n\x1a\n"
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "I;16", "F")
_FORMATS = {
    "PNG": ({}, {"optimize": True}),
    "JPEG": ({}, {"progressive": True}, {"subsampling": 2, "restart_marker_blocks": 2}),
    "GIF": ({}, {"interlace": 0}),
    "BMP": ({},),
    "PPM": ({},),
    "TIFF": ({}, *({"compression": c} for c in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"))),
    "WEBP": ({}, {"lossless": True}),
    "AVIF": ({},),
    "JPEG2000": ({}, {"irreversible": True}, {"tile_size": (16, 16)}),
}


def seed_files() -> list[bytes]:
    """Every format in every mode that Pillow writes, the odd images of the tests, and HEIC."""
    files = [*_of_every_mode(), *(odd.file() for odd in ODD.values()), *_heic()]
    return [file for file in dict.fromkeys(files) if len(file) < 1 << 15]


def start(shared: Path, scratch: Path, read: Callable[..., np.ndarray] = read_image) -> Callable[[int], str]:
    """Cases of damaged images, read by ``read``."""
    warnings.simplefilter("ignore")  # of Pillow, for example of TIFF tags
    seeds = seed_files()

    def check(seed: int) -> str:
        rng = random.Random(f"image {seed}")
        data = mutate(rng.choice(seeds), rng, seeds)
        if data.startswith(_PNG) and rng.random() < 0.7:
            data = png_with_checksums(data)
        options = {"reduce_to": (8, 8)} if rng.random() < 0.2 else {}
        try:
            pixels = read(data, **options)
        except CnntkError as error:
            if "\n" in str(error) or not str(error):
                raise Failed(f"a message that is not one line: {error}") from error
            return REFUSED
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (1, 3) or not pixels.size:
            raise Failed(f"pixels are {pixels.dtype} {pixels.shape}")
        return READ

    return check


def _of_every_mode() -> Iterator[bytes]:
    image = Image.fromarray(photo(24, 20))
    profile = bytes(range(256)) * 2
    for form, variants in _FORMATS.items():
        if not features.check(form.lower()) and form in ("WEBP", "AVIF"):
            continue
        for mode in _MODES:
            for options in variants:
                try:
                    yield encoded(_converted(image, mode), form, **options)
                except (OSError, KeyError, ValueError, SystemError):  # not a mode of the format
                    continue
        if form in ("PNG", "JPEG", "TIFF", "WEBP", "AVIF"):
            yield encoded(image, form, icc_profile=profile, exif=b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0")


def _converted(image: Image.Image, mode: str) -> Image.Image:
    return image.convert("L").convert(mode) if mode in ("PA", "I;16", "I", "F") else image.convert(mode)


def _heic() -> Iterator[bytes]:
    try:
        import pillow_heif
    except ImportError:
        return
    pillow_heif.register_heif_opener()
    for mode in ("L", "RGB", "RGBA"):
        yield encoded(Image.fromarray(photo(32, 32)).convert(mode), "HEIF", quality=60)


IMAGES = Kind(
    name="images",
    title="Damaged images of every format and mode that Pillow writes; read as pixels",
    cases=500_000,
    start=start,
    outcomes=(REFUSED, READ),
    rss_mib=1024,
)
