"""The openers: what they leave out, and what they know that Pillow does not tell."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from image_files import encoded, png_from
from odd_images import ODD
from PIL import Image, ImageOps, PngImagePlugin

from cnntk.runtime.images._formats import OPENERS, missing_decoder
from cnntk.runtime.images._opened import orientation_of
from cnntk.runtime.images.reading import decode_image

RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


def no_check(width: int, height: int) -> None:
    pass


WRITTEN = [form for form in OPENERS if form != "HEIF" and not missing_decoder(form)]


@pytest.mark.parametrize("form", WRITTEN)
def test_openers_read_headers_and_no_pixels(form: str) -> None:
    sizes = []
    file = encoded(RGB, form)
    picture = OPENERS[form](io.BytesIO(file), lambda *size: sizes.append(size))
    assert picture.image.size == (7, 5)
    assert picture.image.format == form
    assert form == "WEBP" or picture.image.tile  # what is still to be decoded
    assert all(size == (7, 5) for size in sizes)


@pytest.mark.parametrize("form", ["GIF", "TIFF", "WEBP"])
def test_sizes_are_checked_before_memory_is_allocated(form: str) -> None:
    def refuse(width: int, height: int) -> None:
        raise ValueError(f"{width}x{height}")

    with pytest.raises(ValueError, match="7x5"):
        OPENERS[form](io.BytesIO(encoded(RGB, form)), refuse)


@pytest.mark.parametrize("kind", ["broken exif.jpg", "on its side.jpg", "tags that Pillow warns of.tif"])
def test_metadata_is_not_parsed(kind: str) -> None:
    form = "JPEG" if kind.endswith("jpg") else "TIFF"
    image = OPENERS[form](io.BytesIO(ODD[kind].file()), no_check).image
    image.load()
    assert dict(image.getexif()) == {}


def with_text(key: str, text: str) -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_itxt(key, text)
    return encoded(RGB, "PNG", pnginfo=info)


XMP = '<x tiff:Orientation="{}"/>'
RAW = "\nexif\n{:8}\n{}\n"


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("where", ["xmp png", "xmp jpeg", "raw profile"])
def test_orientation_in_places_other_than_exif(where: str, orientation: int) -> None:
    """Where `ImageOps.exif_transpose` looks for it too."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = exif.tobytes()
    file = {
        "xmp png": with_text("XML:com.adobe.xmp", XMP.format(orientation)),
        "xmp jpeg": encoded(RGB, "JPEG", xmp=XMP.format(orientation).encode()),
        "raw profile": with_text("Raw profile type exif", RAW.format(len(data), data.hex())),
    }[where]
    with Image.open(io.BytesIO(file)) as image:
        image.load()
        if where == "xmp jpeg" and "xmp" not in image.info:
            pytest.skip("this version of Pillow reads no XMP from JPEG files")
        assert orientation_of(image) == orientation
        upright = ImageOps.exif_transpose(image)
    assert np.array_equal(decode_image(file).pixels, np.asarray(upright))


@pytest.mark.parametrize("text", ["", "no hexadecimal", "\nexif\n  4\nxyz"])
def test_a_broken_raw_profile_says_nothing(text: str) -> None:
    assert decode_image(with_text("Raw profile type exif", text)).notes == ()


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_a_transparent_gray_is_that_of_the_file(depth: int) -> None:
    """Pillow scales the pixels to 8 bits, and leaves the transparent value as it is."""
    levels = 1 << depth
    row = np.arange(levels, dtype=np.uint8)
    bits = np.unpackbits(row[:, None], axis=1)[:, 8 - depth :].reshape(-1)
    for clear in {0, 1, levels - 1}:
        transparent = b"\0\0\0\2tRNS" + clear.to_bytes(2)
        file = png_from([np.packbits(bits)], (levels, 1), depth, 0, transparent + crc(transparent))
        pixels = decode_image(file, background=(9, 8, 7)).pixels[0]
        expected = [[9, 8, 7] if v == clear else [v * 255 // (levels - 1)] * 3 for v in range(levels)]
        assert pixels.tolist() == expected


def crc(part: bytes) -> bytes:
    import zlib

    return zlib.crc32(part[4:]).to_bytes(4)


@pytest.mark.parametrize(
    ("count", "note"), [(999, "the first of 999 frames"), (1500, "the first of many frames")]
)
def test_counting_comes_to_an_end(count: int, note: str) -> None:
    pages = [Image.new("L", (1, 1), i % 256) for i in range(count)]
    file = encoded(pages[0], "GIF", save_all=True, append_images=pages[1:], disposal=0)
    assert decode_image(file).notes == (note,)


def test_damaged_tags_that_pixels_do_not_need_are_skipped_with_a_note() -> None:
    file = encoded(RGB, "TIFF", software="x" * 99)
    entry = file.index(struct.pack("<HHI", 305, 2, 100))
    damaged = file[: entry + 8] + struct.pack("<I", len(file) + 9) + file[entry + 12 :]
    assert damaged != file
    image = decode_image(damaged)
    assert np.array_equal(image.pixels, RGB)
    assert image.notes == ("damaged TIFF tags skipped",)
    assert decode_image(file).notes == ()
