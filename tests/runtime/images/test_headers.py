"""What the first bytes say, against what Pillow says of the same files."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from image_files import chunk, encoded, gif, png
from PIL import Image, ImageOps

from cnntk.runtime.images.headers import (
    END_OF_IMAGE,
    exif_orientation,
    gif_frames,
    jpeg_segments,
    png_depth,
    webp_size,
)

RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


@pytest.mark.parametrize(("mode", "depth"), [("1", 1), ("L", 8), ("RGB", 8), ("I;16", 16)])
def test_png_depth(mode: str, depth: int) -> None:
    assert png_depth(io.BytesIO(encoded(Image.new(mode, (3, 3)), "PNG"))) == (depth, False)


def test_significant_bits_are_stated() -> None:
    file = png((1, 1), 16, 0, b"", chunk(b"sBIT", b"\x0c"))
    assert png_depth(io.BytesIO(file)) == (16, True)


def scans(file: bytes) -> int:
    return [code for code, _ in jpeg_segments(io.BytesIO(file))].count(0xDA)


@pytest.mark.parametrize("noise", [0, 255])
@pytest.mark.parametrize("behind", [b"", b"\xff\xda" * 500], ids=["nothing", "markers"])
def test_jpeg_segments_are_those_up_to_the_end_of_the_image(noise: int, behind: bytes) -> None:
    pixels = np.random.default_rng(0).integers(0, noise + 1, (200, 300, 3), dtype=np.uint8)
    file = encoded(pixels, "JPEG", progressive=True)
    codes = [code for code, _ in jpeg_segments(io.BytesIO(file + behind))]
    assert codes[0] == 0xE0
    assert codes[-1] == END_OF_IMAGE
    assert codes.count(0xDA) == 10  # as many as libjpeg's script for three components has


def test_jpeg_segments_are_not_searched_inside_metadata() -> None:
    inner = encoded(RGB, "JPEG", progressive=True)
    plain = encoded(RGB, "JPEG", progressive=True)
    segment = b"\xff\xe1" + (len(inner) + 2).to_bytes(2) + inner
    assert scans(plain[:2] + segment * 30 + plain[2:]) == scans(plain)


@pytest.mark.parametrize("filler", [b"\xff\xff\xff", b"\0junk", b"\xff\0", b"\xff\x01", b"\xff\xd3"])
def test_no_scan_hides_behind_what_libjpeg_skips(filler: bytes) -> None:
    file = encoded(RGB, "JPEG", progressive=True)
    last = file[file.rindex(b"\xff\xda") : -2]
    assert scans(file[:-2] + (filler + last) * 50 + file[-2:]) == scans(file) + 50


@pytest.mark.parametrize("length", [2, 3, 20, 200, -2])
def test_jpeg_segments_end_where_the_file_ends(length: int) -> None:
    codes = [code for code, _ in jpeg_segments(io.BytesIO(encoded(RGB, "JPEG")[:length]))]
    assert END_OF_IMAGE not in codes


@pytest.mark.parametrize("shift", range(-3, 4))
def test_markers_are_seen_across_blocks(shift: int) -> None:
    """Blocks of 256 bytes, then 64 kB, are searched."""
    for block in (256, 256 + 65536):
        data = bytes(block + shift)
        file = b"\xff\xd8\xff\xda\0\4\1\2" + data + b"\xff\xd9"
        assert [code for code, _ in jpeg_segments(io.BytesIO(file))] == [0xDA, END_OF_IMAGE]


@pytest.mark.parametrize("frames", [[0], [1, 1], [2**31 + 1]])
def test_animations_that_pillow_would_warn_of(frames: list[int]) -> None:
    headers = [chunk(b"acTL", count.to_bytes(4) + bytes(4)) for count in frames]
    with pytest.raises(ValueError, match="animation header"):
        png_depth(io.BytesIO(png((1, 1), 8, 0, b"", *headers)))


def test_gif_frames_are_counted_as_pillow_counts_them() -> None:
    pages = [Image.fromarray(np.roll(RGB, i, axis=0)) for i in range(9)]
    file = encoded(pages[0], "GIF", save_all=True, append_images=pages[1:], comment=b"c" * 999)
    with Image.open(io.BytesIO(file)) as image:
        assert len(list(gif_frames(file))) == image.n_frames == 9
        assert next(gif_frames(file)) == image.size


@pytest.mark.parametrize("length", range(50))
def test_gif_frames_end_where_the_file_ends(length: int) -> None:
    assert len(list(gif_frames(gif((1, 1), (2, 3, 4, 5))[:length]))) <= 1


def test_gif_frames_may_exceed_the_canvas() -> None:
    assert list(gif_frames(gif((1, 1), (2, 3, 4, 5)))) == [(6, 8)]


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (300, 2), (16383, 1)])
@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"save_all": True, "append_images": "itself"}])
def test_webp_size(size: tuple[int, int], options: dict[str, object]) -> None:
    image = Image.new("RGBA", size, (1, 2, 3, 4))
    if "append_images" in options:
        options = {**options, "append_images": [Image.new("RGBA", size)]}
    assert webp_size(io.BytesIO(encoded(image, "WEBP", **options))) == size


def test_webp_that_is_cut_short() -> None:
    with pytest.raises(ValueError, match="cut short"):
        webp_size(io.BytesIO(encoded(RGB, "WEBP")[:20]))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_orientation_is_read_as_pillow_reads_it(orientation: int, form: str) -> None:
    data = Image.Exif()
    data[0x010F] = "a camera's maker"
    data[0x0112] = orientation
    with Image.open(io.BytesIO(encoded(RGB[:, :, 0], form, exif=data))) as image:
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
def test_damaged_exif_has_no_orientation(exif: bytes) -> None:
    assert exif_orientation(exif) is None
