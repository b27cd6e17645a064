"""Formats by the first bytes of a file, against what Pillow writes."""

from __future__ import annotations

import numpy as np
import pytest
from image_files import encoded
from PIL import Image

from cnntk.runtime.images.signatures import HEAD_BYTES, file_format, is_image, unsupported_format

RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


@pytest.mark.parametrize("form", ["BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP"])
def test_formats_by_signature(form: str) -> None:
    head = encoded(RGB, form)[:HEAD_BYTES]
    assert file_format(head) == form
    assert unsupported_format(head) is None


@pytest.mark.parametrize("magic", [b"P1", b"P2", b"P3", b"P4", b"P5", b"P6", b"Pf"])
def test_all_pnm_formats(magic: bytes) -> None:
    assert file_format(magic + b" 1 1 1 ") == "PPM"


@pytest.mark.parametrize("form", ["ICO", "TGA", "PCX", "EPS", "PDF", "DDS"])
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
        (b"\0\0\0\x18ftypcrx ", "a camera RAW file: develop it to TIFF or JPEG"),
        (b"II*\0\x10\0\0\0CR\2\0", "a camera RAW file: develop it to TIFF or JPEG"),
        (b"\xff\x0a\1\2", "a JPEG XL image: convert it to PNG or JPEG"),
        (b"\0\0\0\x18ftypqt  ", "a video: extract a frame"),
        (bytes(128) + b"DICM", "a DICOM file: export its image as 16-bit PNG"),
    ],
)
def test_what_else_a_file_may_be(head: bytes, kind: str | None) -> None:
    assert unsupported_format(head) == kind


@pytest.mark.parametrize(
    ("major", "compatible", "form"),
    [
        (b"heic", b"mif1heic", "HEIF"),
        (b"mif1", b"mif1heic", "HEIF"),
        (b"mif1", b"mif1avif", "AVIF"),
        (b"avis", b"msf1", "AVIF"),
        (b"mif1", b"", "HEIF"),
        (b"isom", b"mif1heic", None),
        (b"qt  ", b"", None),
    ],
)
def test_brands_say_how_an_image_is_coded(major: bytes, compatible: bytes, form: str | None) -> None:
    size = (16 + len(compatible)).to_bytes(4)
    head = size + b"ftyp" + major + bytes(4) + compatible + b"\0\0\0\x10metaavif"
    assert file_format(head) == form
    assert is_image(head) == (form is not None)
    assert unsupported_format(head) == (None if form else "a video: extract a frame")


@pytest.mark.parametrize(
    "form", ["AVIF", "DDS", "EPS", "ICO", "JPEG", "JPEG2000", "PDF", "PNG", "PPM", "TIFF"]
)
def test_images_are_known_by_their_content(form: str) -> None:
    assert is_image(encoded(Image.new("RGB", (16, 16)), form)[:HEAD_BYTES])


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\0",
        b"file,label\na.png,1\n",
        b'{"shapes": []}',
        b"P5 is a road\n",
        b"BMW is a make of car.\n",
        b"<!doctype html><svg>",
        b"\0\0\0\x18ftypisom",
        b"PK\3\4",
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        b"\x93NUMPY\1\0",
        b"\xef\xbb\xbf\xff\xd8\xff",
    ],
)
def test_other_files_are_not_images(head: bytes) -> None:
    assert not is_image(head)


@pytest.mark.parametrize("prefix", [b"\xef\xbb\xbf", b"\r\n", b" "])
def test_bytes_of_text_before_an_image_are_named(prefix: bytes) -> None:
    description = unsupported_format(prefix + encoded(RGB, "PNG"))
    assert description is not None
    assert description.startswith(f"PNG data behind {len(prefix)} bytes of text")
