"""Formats of files, recognized by their first bytes, or by the suffix of the name where these say nothing."""

from __future__ import annotations

import re
import struct

__all__ = ["HEAD_BYTES", "IMAGE_SUFFIXES", "OTHER_SUFFIXES", "file_format", "is_image", "unsupported_format"]

HEAD_BYTES = 1024
"""Number of leading bytes that the functions of this module need."""

_RAW = "a camera RAW file: develop it to TIFF or JPEG"
_JPEG_XL = "a JPEG XL image: convert it to PNG or JPEG"
_POSTSCRIPT = "a PostScript file: render it as PNG"

_READ_SUFFIXES = """
    .apng .avif .avifs .bmp .dib .gif .heic .heics .heif .heifs .hif .j2c .j2k .jfif .jif .jp2 .jpc .jpe .jpeg
    .jpf .jpg .jpx .mpo .pbm .pfm .pgm .png .pnm .ppm .tif .tiff .webp
"""
_OTHER_SUFFIXES = """
    .3fr .arw .cr2 .cr3 .crw .cur .dcm .dcr .dds .dng .eps .erf .exr .icns .ico .iiq .jxl .jxr .kdc .mrw .nef
    .nrw .orf .pcx .pef .psb .psd .qoi .raf .rw2 .rwl .sr2 .srf .srw .svg .svgz .tga .wdp .x3f .xcf
"""
OTHER_SUFFIXES = frozenset(_OTHER_SUFFIXES.split())
"""Suffixes of image formats that are not read."""

IMAGE_SUFFIXES = frozenset(_READ_SUFFIXES.split()) | OTHER_SUFFIXES
"""Suffixes of files that are images by their name, of formats that are read and of others."""

_SIGNATURES = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"\0\0\0\x0cjP  \r\n\x87\n": "JPEG2000",
    b"\xff\x4f\xff\x51": "JPEG2000",
}
_BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)
_PNM = re.compile(rb"P[1-6f]\s+[#\d]")
_SPACE = b" \t\n\v\f\r"
_TEXT_PREFIX = b"\xef\xbb\xbf" + _SPACE  # a byte order mark, and space

_OTHER_IMAGES = (
    (8, b"CR\2", _RAW),
    (0, b"II\x1a\0\0\0HEAPCCDR", _RAW),
    (0, b"IIU\0", _RAW),
    (0, b"IIRO", _RAW),
    (0, b"IIRS", _RAW),
    (0, b"MMOR", _RAW),
    (0, b"FUJIFILMCCD-RAW", _RAW),
    (0, b"FOVb", _RAW),
    (0, b"\0MRM", _RAW),
    (0, b"%PDF", "a PDF document: render its page as PNG"),
    (0, b"%!PS", _POSTSCRIPT),
    (0, b"\xc5\xd0\xd3\xc6", _POSTSCRIPT),
    (0, b"8BPS", "a Photoshop file: export it as PNG"),
    (0, b"gimp xcf", "a GIMP file: export it as PNG"),
    (0, b"\0\0\1\0", "an icon file: save it as PNG"),
    (0, b"icns", "an icon file: save it as PNG"),
    (0, b"\0\0\0\x0cJXL ", _JPEG_XL),
    (0, b"\xff\x0a", _JPEG_XL),
    (0, b"II\xbc", "a JPEG XR image: convert it to PNG or JPEG"),
    (0, b"qoif", "a QOI image: convert it to PNG"),
    (0, b"DDS ", "a DDS texture: convert it to PNG"),
    (0, b"\x76\x2f\x31\1", "an OpenEXR image: convert it to PNG with 8 or 16 bits"),
    (0, b"#?RADIANCE", "a Radiance HDR image: convert it to PNG with 8 or 16 bits"),
    (0, b"SIMPLE  =", "a FITS image: convert it to PNG with 8 or 16 bits"),
    (128, b"DICM", "a DICOM file: export its image as 16-bit PNG"),
)
_IMAGE_STARTS = (*_SIGNATURES, *(signature for offset, signature, _ in _OTHER_IMAGES if offset == 0))
_LATER_SIGNATURES = tuple(entry for entry in _OTHER_IMAGES if entry[0] > 0)
_OTHER_FILES = (
    (8, b"AVI ", "a video: extract a frame"),
    (0, b"\x1a\x45\xdf\xa3", "a video: extract a frame"),
    (0, b"\0\0\1\xba", "a video: extract a frame"),
    (0, b"\x93NUMPY", "a numpy array: load it with numpy and pass the array"),
    (0, b"PK\3\4", "an archive: unpack it"),
    (0, b"\x1f\x8b", "a gzip file: unpack it"),
    (0, b"version https://git-lfs", "a Git LFS pointer: run `git lfs pull`"),
)
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_AVIF_BRANDS = {b"avif", b"avis"}
_HEIF_BRANDS = {b"mif1", b"mif2", b"msf1", b"miaf"}
"""Brands of the container of HEIC and AVIF, which don't say how the image is coded."""


def file_format(head: bytes) -> str | None:
    """Returns Pillow's name of a supported format by the first bytes of a file, None for other files.

    ``AVIF``, ``HEIF`` and ``JPEG2000`` are read where Pillow, or a package beside it, has the decoder.
    """
    return None if _description(head, _OTHER_IMAGES) else _read_format(head)


def is_image(head: bytes) -> bool:
    """Whether a file is an image by its first bytes, of a format that is read or of another."""
    if head.startswith(_IMAGE_STARTS) or _read_format(head) or _description(head, _LATER_SIGNATURES):
        return True
    return _brands(head)[:1] == [b"crx "] or _is_svg(_markup(head))


def unsupported_format(head: bytes) -> str | None:
    """Describes a file of an unsupported format and what to do with it; None if that is unknown."""
    if description := _description(head, _OTHER_IMAGES) or _description(head, _OTHER_FILES):
        return description
    if brands := _brands(head):
        other = _RAW if brands[0] == b"crx " else "a video: extract a frame"
        return None if _coded_as(brands) else other
    markup = _markup(head)
    if _is_web_page(markup):
        return "a web page: did a download fail?"
    if _is_svg(markup):
        return "an SVG drawing: render it as PNG"
    if (data := head.lstrip(_TEXT_PREFIX)) != head and (form := file_format(data)):
        count = len(head) - len(data)
        return (
            f"{form} data behind {count} bytes of text, as programs write it that take it for a text file: "
            "remove these bytes, or copy the original in binary mode"
        )
    return "text" if head and all(byte >= 32 or byte in _SPACE for byte in head) and _is_utf8(head) else None


def _read_format(head: bytes) -> str | None:
    for signature, name in _SIGNATURES.items():
        if head.startswith(signature):
            return name
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[:2] == b"BM" and len(head) >= 18 and struct.unpack_from("<I", head, 14)[0] in _BMP_HEADERS:
        return "BMP"
    if _PNM.match(head):
        return "PPM"
    return _coded_as(_brands(head))


def _description(head: bytes, signatures: tuple[tuple[int, bytes, str], ...]) -> str | None:
    for offset, signature, description in signatures:
        if head.startswith(signature, offset):
            return description
    return None


def _brands(head: bytes) -> list[bytes]:
    """Major and compatible brands of a file of ISO boxes, such as HEIF and MP4; of others none."""
    if head[4:8] != b"ftyp":
        return []
    end = min(max(int.from_bytes(head[:4]), 12), len(head))
    return [head[8:12], *(head[i : i + 4] for i in range(16, end - 3, 4))]


def _coded_as(brands: list[bytes]) -> str | None:
    if not brands or brands[0] not in _HEIC_BRANDS | _AVIF_BRANDS | _HEIF_BRANDS:
        return None
    coding = next((brand for brand in brands if brand in _HEIC_BRANDS | _AVIF_BRANDS), None)
    return "AVIF" if coding in _AVIF_BRANDS else "HEIF"


def _markup(head: bytes) -> bytes:
    """The beginning of a file of HTML or XML in lower case; of others nothing."""
    text = head.lstrip(_TEXT_PREFIX)
    return text.lower() if text.startswith(b"<") else b""


def _is_web_page(markup: bytes) -> bool:
    return markup.startswith((b"<!doctype html", b"<html", b"<head", b"<body"))


def _is_svg(markup: bytes) -> bool:
    return b"<svg" in markup and not _is_web_page(markup)


def _is_utf8(head: bytes) -> bool:
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return len(head) == HEAD_BYTES and error.start > len(head) - 4  # a character cut in two
    return True
