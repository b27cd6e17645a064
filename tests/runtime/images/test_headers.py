"""What the first bytes say, against what Pillow says of the same files."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from image_files import chunk, encoded, gif, png
from PIL import Image, ImageOps

from cnntk.runtime.images.headers import (
    HEAD_BYTES,
    exif_orientation,
    file_format,
    gif_frames,
    png_depth,
    unsupported_format,
    webp_size,
)

RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


@pytest.mark.parametrize("form", ["BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP"])
def test_formats_by_signature(form: str) -> None:
    head = encoded(RGB, form)[:HEAD_BYTES]
    assert file_format(head) == form
    assert unsupported_format(head) is None


@pytest.mark.parametrize("magic", [b"P1", b"P2", b"P3", b"P4", b"P5", b"P6", b"Pf"])
def test_all_pnm_formats(magic: bytes) -> None:
    assert file_format(magic + b" 1 1 1 ") == "PPM"


@pytest.mark.parametrize("form", ["ICO", "JPEG2000", "TGA", "PCX", "EPS", "PDF"])
def test_other_formats_are_not_recognized(form: str) -> None:
    assert file_format(encoded(Image.new("RGB", (16, 16)), form)) is None


@pytest.mark.parametrize(
    "head", [b"", b"P", b"P7 ", b"Psst", b"BM", b"BMW is a make of car.", b"RIFF0000WAVE", b"GIF88a", b"II*"]
)
def test_what_only_begins_alike(head: bytes) -> None:
    assert file_format(head) is None


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"", None),
        (b"\0\1\2", None),
        (b"hello\n", "text"),
        ("grüße".encode() * 300, "text"),
        (("x" * 1023 + "ü").encode()[:HEAD_BYTES], "text"),
        ("grüße".encode("latin-1"), None),
        (b"\xef\xbb\xbf<!doctype HTML>", "a web page: did a download fail?"),
        (b"<svg>", "an SVG drawing: render it as PNG"),
        (b"the tag <svg>", "text"),
        (b"\0\0\0\x18ftypmif1", "an HEIC image: convert it to JPEG"),
        (b"\0\0\0\x18ftypqt  ", "a video: extract a frame"),
        (bytes(128) + b"DICM", "a DICOM file: export its image as 16-bit PNG"),
    ],
)
def test_what_else_a_file_may_be(head: bytes, kind: str | None) -> None:
    assert unsupported_format(head) == kind


@pytest.mark.parametrize(("mode", "depth"), [("1", 1), ("L", 8), ("RGB", 8), ("I;16", 16)])
def test_png_depth(mode: str, depth: int) -> None:
    assert png_depth(io.BytesIO(encoded(Image.new(mode, (3, 3)), "PNG"))) == depth


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
