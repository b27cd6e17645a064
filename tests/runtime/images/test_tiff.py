"""The first page alone: the same pixels, and nothing else."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from image_files import encoded, tiff
from odd_images import ODD
from PIL import Image, ImageOps

from cnntk.runtime.images.tiff import exif_orientation, first_page

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (50, 70, 3), dtype=np.uint8)
GRAY = RGB[:, :, 0]


def opened(file: bytes) -> Image.Image:
    return Image.open(io.BytesIO(file))


WRITTEN = {
    "raw": (RGB, {}),
    "strips of 7 rows": (RGB, {"tiffinfo": {278: 7}}),
    "lzw": (RGB, {"compression": "tiff_lzw"}),
    "lzw in strips": (RGB, {"compression": "tiff_lzw", "tiffinfo": {278: 7, 317: 2}}),
    "deflate": (GRAY, {"compression": "tiff_adobe_deflate"}),
    "packbits": (RGB, {"compression": "packbits"}),
    "jpeg": (RGB, {"compression": "jpeg"}),
    "lzma": (RGB, {"compression": "lzma"}),
    "fax 3": (GRAY > 127, {"compression": "group3"}),
    "fax 4": (GRAY > 127, {"compression": "group4"}),
    "64-bit offsets": (RGB, {"big_tiff": True}),
    "alpha": (np.dstack([RGB, GRAY]), {"compression": "tiff_lzw"}),
    "16 bits": (GRAY.astype(np.uint16) * 257, {"compression": "tiff_lzw"}),
    "with metadata": (
        RGB,
        {"software": "s" * 99, "description": "d", "dpi": (300, 300), "icc_profile": b"i" * 999},
    ),
}


@pytest.mark.parametrize("kind", WRITTEN)
def test_the_page_alone_has_the_same_pixels(kind: str) -> None:
    pixels, options = WRITTEN[kind]
    try:
        file = encoded(pixels, "TIFF", **options)
    except (NotImplementedError, OSError) as error:
        pytest.skip(f"this version of Pillow can't write it: {error}")
    alone = first_page(io.BytesIO(file)).alone(io.BytesIO(file))
    assert np.array_equal(np.asarray(opened(alone)), np.asarray(opened(file)))
    assert opened(alone).mode == opened(file).mode


@pytest.mark.parametrize("mode", ["P", "CMYK", "LAB", "LA", "RGBX"])
def test_the_page_alone_in_every_mode(mode: str) -> None:
    image = Image.fromarray(GRAY).convert("LA") if mode == "LA" else Image.fromarray(RGB).convert(mode)
    file = encoded(image, "TIFF")
    alone = opened(first_page(io.BytesIO(file)).alone(io.BytesIO(file)))
    assert np.array_equal(np.asarray(alone), np.asarray(opened(file)))
    assert (alone.mode, alone.getpalette()) == (opened(file).mode, opened(file).getpalette())


def test_nothing_is_left_that_pixels_do_not_need() -> None:
    pages = [Image.fromarray(RGB), Image.fromarray(GRAY)]
    file = encoded(
        pages[0], "TIFF", save_all=True, append_images=pages[1:], software="s" * 999, icc_profile=b"i" * 9999
    )
    alone = first_page(io.BytesIO(file)).alone(io.BytesIO(file))
    assert len(alone) < RGB.size + 300
    assert set(opened(alone).tag_v2) == {256, 257, 258, 259, 262, 273, 277, 278, 279, 284}


@pytest.mark.parametrize("count", [1, 2, 9])
@pytest.mark.parametrize("big", [False, True])
def test_pages_are_counted(count: int, big: bool) -> None:
    pages = [Image.fromarray(RGB)] * count
    file = encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:], big_tiff=big)
    assert first_page(io.BytesIO(file)).pages == count


def test_equal_tiles_may_be_stored_once() -> None:
    tile = GRAY[:16, :16].tobytes()
    tags = {256: 32, 257: 16, 258: 8, 259: 1, 262: 1, 277: 1, 322: 16, 323: 16, 324: (8, 8), 325: (256, 256)}
    file = tiff(tags, tile)
    alone = first_page(io.BytesIO(file)).alone(io.BytesIO(file))
    assert np.array_equal(np.asarray(opened(alone)), np.tile(GRAY[:16, :16], (1, 2)))


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (b"", "no TIFF header"),
        (b"II*\0", "no TIFF header"),
        (b"II*\0\xff\xff\0\0", "directory lies beyond the end"),
        (b"II*\0\x08\0\0\0\0\0", r"no pixels \(0x0\)"),
        (b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 2**40), "claims 1099511627776 entries"),
        (tiff({256: 7, 257: 5, 277: 99}, b""), "99 samples a pixel"),
        (tiff({256: 7, 257: 5, 258: (8, 8, 8)}, b"")[:-4], "tag 258 lies beyond the end"),
    ],
)
def test_directories_that_make_no_sense(file: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        first_page(io.BytesIO(file))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_orientation_is_read_as_pillow_reads_it(orientation: int, form: str) -> None:
    data = Image.Exif()
    data[0x010F] = "a camera's maker"
    data[0x0112] = orientation
    with opened(encoded(GRAY, form, exif=data)) as image:
        image.load()
        assert exif_orientation(image.info["exif"]) == image.getexif()[0x0112] == orientation
        turned = ImageOps.exif_transpose(image)
        if "exif" in turned.info:
            assert exif_orientation(turned.info["exif"]) in (None, 1)


def exif_of(value: int, kind: int = 3, order: str = "<", tag: int = 0x0112) -> bytes:
    field = struct.pack(order + {1: "B", 3: "H", 4: "I"}[kind], value).ljust(4, b"\0")
    start = b"II*\0" if order == "<" else b"MM\0*"
    return start + struct.pack(order + "IHHHI", 8, 1, tag, kind, 1) + field + bytes(4)


@pytest.mark.parametrize("kind", [1, 3, 4])
@pytest.mark.parametrize("order", "<>")
def test_orientation_in_any_type_and_byte_order(kind: int, order: str) -> None:
    assert exif_orientation(b"Exif\0\0" + exif_of(6, kind, order)) == 6


@pytest.mark.parametrize(
    "exif",
    [
        b"",
        b"Exif\0\0",
        b"II*\0\xff\xff\xff\xff",
        exif_of(0),
        exif_of(9),
        exif_of(6, tag=0x0113),
        exif_of(6)[:15],
    ],
)
def test_broken_exif_says_nothing(exif: bytes) -> None:
    assert exif_orientation(exif) is None


def test_12_bits_and_white_zero_are_told() -> None:
    page = first_page(io.BytesIO(ODD["12-bit gray.tif"].file()))
    assert (page.full_scale, page.white_is_zero) == (4095, False)
    page = first_page(io.BytesIO(ODD["16-bit gray, white is 0.tif"].file()))
    assert (page.full_scale, page.white_is_zero) == (65535, True)
    assert not first_page(io.BytesIO(ODD["8-bit gray, white is 0.tif"].file())).white_is_zero
