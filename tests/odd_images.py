"""Odd and broken images, a file each, with the pixels or the message that each must give."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from image_files import Pixels, chunk, encoded, gif, interlaced, png, png_from, tiff
from numpy.typing import NDArray
from PIL import Image, features

__all__ = ["BROKEN", "LARGE", "LEGAL_BOMB", "ODD", "Odd"]

RNG = np.random.default_rng(0)
GRAY: Pixels = RNG.integers(0, 256, (5, 7), dtype=np.uint8)
RGB: Pixels = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
WIDE: NDArray[np.uint16] = RNG.integers(0, 65536, (5, 7)).astype(np.uint16)
RAMP: Pixels = np.add.outer(np.arange(48) * 2, np.arange(64) * 2).astype(np.uint8)  # JPEG keeps it well
RED = np.full((16, 16, 3), (255, 0, 0), dtype=np.uint8)
WHITE = (255, 255, 255)


@dataclass(frozen=True)
class Odd:
    """A file that is an image, but not a plain one.

    Attributes:
        file: makes its bytes.
        pixels: uint8 (H, W, C) that it holds.
        notes: what is told about it.
        within: by how much a lossy format may be off.
    """

    file: Callable[[], bytes]
    pixels: NDArray[np.uint8] = field(repr=False)
    notes: tuple[str, ...] = ()
    within: int = 0


def gray(pixels: NDArray[np.generic]) -> Pixels:
    return pixels.astype(np.uint8)[:, :, None]


def on(background: tuple[int, int, int], color: Pixels, alpha: NDArray[np.generic]) -> Pixels:
    part = alpha[..., None].astype(float) / 255
    return np.round(color * part + np.array(background) * (1 - part)).astype(np.uint8)


def exif(orientation: int) -> Image.Exif:
    data = Image.Exif()
    data[0x0112] = orientation
    return data


def palette_image() -> Image.Image:
    image = Image.fromarray(RNG.integers(0, 4, (5, 7), dtype=np.uint8))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 8, 7])
    return image


PALETTE = palette_image()
COLORS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 8, 7]], dtype=np.uint8)
INDICES = np.asarray(PALETTE)
ALPHA: Pixels = RNG.integers(0, 256, (5, 7), dtype=np.uint8)
SCALED = gray((WIDE.astype(int) + 128) // 257)
COMPOSED = ("transparency composed on white",)
FROM_16 = ("16-bit values scaled to 8 bits",)
DARK = (WIDE >> 4).astype(np.uint16)
FROM_12 = gray((DARK.astype(int) * 255 + 2047) // 4095)
FROM_12_BITS = ("12-bit values scaled to 8 bits",)
DARK_FROM_16 = gray((DARK.astype(int) + 128) // 257)
CUT = ("16-bit color cut to its upper 8 bits",)


def frames(form: str, count: int, **options: object) -> bytes:
    pages = [Image.fromarray(np.roll(RGB, i, axis=0)) for i in range(count)]
    return encoded(pages[0], form, save_all=True, append_images=pages[1:], **options)


def animated_gif() -> bytes:
    pages = [
        PALETTE.transform((7, 5), Image.Transform.AFFINE, (1, 0, -i % 7, 0, 1, i % 2)) for i in range(12)
    ]
    for page in pages:
        page.putpalette(PALETTE.getpalette())
    return encoded(pages[0], "GIF", save_all=True, append_images=pages[1:])


def ycck() -> bytes:
    """Pillow writes CMYK only; the mark says that the planes are luma and chroma of the inverted colors."""
    stored = np.asarray(Image.new("RGB", (16, 16), (0, 255, 255)).convert("YCbCr"))
    planes = np.concatenate([255 - stored, np.zeros((16, 16, 1), np.uint8)], axis=2)
    file = encoded(Image.frombytes("CMYK", (16, 16), planes.tobytes()), "JPEG", quality=100, subsampling=0)
    mark = file.index(b"Adobe") + 11
    return file[:mark] + b"\2" + file[mark + 1 :]


def jpeg_without_adobe() -> bytes:
    file = encoded(Image.fromarray(RED).convert("CMYK"), "JPEG", quality=100)
    start = file.index(b"\xff\xee")
    return file[:start] + file[start + 2 + int.from_bytes(file[start + 2 : start + 4]) :]


def broken_exif() -> bytes:
    data = b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x1a\x01\x05\0\xff\xff\xff\xff\xf0\xff\xff\xff" * 3
    return encoded(RAMP, "JPEG", quality=95, exif=data)


def two_planes(first: NDArray[np.generic], second: NDArray[np.generic], dtype: str) -> list[bytes]:
    return [row.tobytes() for row in np.stack([first, second], axis=-1).astype(dtype)]


def rgb_tiff(order: str = "<", **more: int | tuple[int, ...]) -> bytes:
    tags = {256: 7, 257: 5, 258: (8, 8, 8), 259: 1, 262: 2, 273: 8, 277: 3, 278: 5, 279: 105}
    return tiff({**tags, **{int(k[1:]): v for k, v in more.items()}}, RGB.tobytes(), order)


def gray_tiff(
    values: NDArray[np.generic], dtype: str, order: str = "<", **more: int | tuple[int, ...]
) -> bytes:
    data = values.astype(order + dtype).tobytes()
    bits = np.dtype(dtype).itemsize * 8
    tags = {256: 7, 257: 5, 258: bits, 259: 1, 262: 1, 273: 8, 277: 1, 278: 5, 279: len(data)}
    return tiff({**tags, **{int(k[1:]): v for k, v in more.items()}}, data, order)


def tiff_of_12_bits() -> bytes:
    a, b = 0xFFF, 0x123
    data = bytes([a >> 4, (a & 15) << 4 | b >> 8, b & 255])
    return tiff({256: 2, 257: 1, 258: 12, 259: 1, 262: 1, 273: 8, 277: 1, 278: 1, 279: 3}, data)


def tiled_tiff() -> bytes:
    whole = np.zeros((16, 16), dtype=np.uint8)
    whole[:5, :7] = GRAY
    tags = {256: 7, 257: 5, 258: 8, 259: 1, 262: 1, 277: 1, 322: 16, 323: 16, 324: 8, 325: 256}
    return tiff(tags, whole.tobytes())


def planar_tiff() -> bytes:
    data = np.ascontiguousarray(RGB.transpose(2, 0, 1)).tobytes()
    tags = {256: 7, 257: 5, 258: (8, 8, 8), 259: 1, 262: 2, 277: 3, 278: 5, 284: 2}
    return tiff({**tags, 273: (8, 43, 78), 279: (35, 35, 35)}, data)


def endless_tiff() -> bytes:
    """Its directory follows upon itself."""
    plain = gray_tiff(GRAY, "u1")
    position = struct.unpack_from("<I", plain, 4)[0]
    return plain[:-4] + struct.pack("<I", position)


def rle_bmp() -> bytes:
    rows = b"".join(b"\x07" + bytes([v]) + b"\0\0" for v in (1, 2)) + b"\0\1"
    header = struct.pack("<IiiHHIIiiII", 40, 7, 2, 1, 8, 1, len(rows), 0, 0, 3, 0)
    palette = b"\0\0\0\0" + b"\0\0\xff\0" + b"\xff\0\0\0"
    start = 14 + len(header) + len(palette)
    return b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start) + header + palette + rows


def empty_rle_bmp() -> bytes:
    """33 megapixels in 76 bytes: Pillow fills them in Python, in seconds."""
    file = bytearray(rle_bmp())
    struct.pack_into("<ii", file, 18, 1 << 24, 2)
    return bytes(file)


def with_segment(file: bytes, data: bytes) -> bytes:
    """A JPEG file with metadata that are not its image."""
    return file[:2] + b"\xff\xe1" + (len(data) + 2).to_bytes(2) + data + file[2:]


def with_texts(kind: bytes, head: bytes) -> bytes:
    """A PNG file with text of 4 MB, as image generators write their settings."""
    return png_from(GRAY, (7, 5), 8, 0, chunk(kind, head + zlib.compress(b"workflow" * (1 << 19))))


def texts_in_emoji(count: int) -> bytes:
    """A PNG file with texts of 8 MB each, of which Python holds each character in 4 bytes."""
    text = "\N{CAMERA}".encode() + bytes(8_000_000)
    chunks = [chunk(b"iTXt", b"%d\0\1\0\0\0" % i + zlib.compress(text)) for i in range(count)]
    return png_from(GRAY, (7, 5), 8, 0, *chunks)


def webp_alpha() -> bytes:
    return encoded(np.dstack([RGB, ALPHA]), "WEBP", lossless=True, exact=True)


ODD: dict[str, Odd] = {
    "gray.jpg": Odd(lambda: encoded(RAMP, "JPEG", quality=95), gray(RAMP), within=4),
    "progressive.jpg": Odd(lambda: encoded(RAMP, "JPEG", quality=95, progressive=True), gray(RAMP), within=4),
    "cmyk.jpg": Odd(
        lambda: encoded(Image.fromarray(RED).convert("CMYK"), "JPEG", quality=100),
        RED,
        ("CMYK converted to RGB, color profile ignored",),
        within=3,
    ),
    "cmyk without Adobe's mark.jpg": Odd(
        jpeg_without_adobe, RED, ("CMYK converted to RGB, color profile ignored",), within=3
    ),
    "ycck.jpg": Odd(ycck, RED, ("CMYK converted to RGB, color profile ignored",), within=3),
    "on its side.jpg": Odd(
        lambda: encoded(RAMP, "JPEG", quality=95, exif=exif(6)),
        gray(np.rot90(RAMP, -1)),
        ("rotated upright by its EXIF orientation 6",),
        within=4,
    ),
    "broken exif.jpg": Odd(broken_exif, gray(RAMP), within=4),
    "junk after the end.jpg": Odd(
        lambda: encoded(RAMP, "JPEG", quality=95) + b"\xff\xd8junk" * 99, gray(RAMP), within=4
    ),
    "a jpeg by its content.png": Odd(lambda: encoded(RAMP, "JPEG", quality=95), gray(RAMP), within=4),
    "no suffix": Odd(lambda: encoded(RGB, "PNG"), RGB),
    "palette.png": Odd(lambda: encoded(PALETTE, "PNG"), COLORS[INDICES]),
    "palette with one transparent color.png": Odd(
        lambda: encoded(PALETTE, "PNG", transparency=2),
        np.where((INDICES == 2)[..., None], np.uint8(255), COLORS[INDICES]),
        COMPOSED,
    ),
    "palette with alpha.png": Odd(
        lambda: encoded(PALETTE, "PNG", transparency=bytes([255, 128, 0, 60])),
        on(WHITE, COLORS[INDICES], np.array([255, 128, 0, 60])[INDICES]),
        COMPOSED,
        within=1,
    ),
    "alpha.png": Odd(
        lambda: encoded(np.dstack([RGB, ALPHA]), "PNG"), on(WHITE, RGB, ALPHA), COMPOSED, within=1
    ),
    "alpha that hides nothing.png": Odd(
        lambda: encoded(np.dstack([RGB, np.full_like(ALPHA, 255)]), "PNG"), RGB
    ),
    "gray with alpha.png": Odd(
        lambda: png_from(two_planes(GRAY, ALPHA, "u1"), (7, 5), 8, 4),
        on(WHITE, np.repeat(gray(GRAY), 3, axis=2), ALPHA),
        COMPOSED,
        within=1,
    ),
    "16-bit gray.png": Odd(lambda: encoded(WIDE, "PNG"), SCALED, FROM_16),
    "16-bit gray with a transparent value.png": Odd(
        lambda: png_from(
            WIDE.astype(">u2"), (7, 5), 16, 0, chunk(b"tRNS", struct.pack(">H", int(WIDE[1, 1])))
        ),
        np.where(np.equal(WIDE, WIDE[1, 1])[..., None], np.uint8(255), np.repeat(SCALED, 3, axis=2)),
        (*FROM_16, *COMPOSED),
    ),
    "16-bit gray with alpha.png": Odd(
        lambda: png_from(two_planes(WIDE, np.full_like(WIDE, 65535), ">u2"), (7, 5), 16, 4),
        np.repeat(gray(WIDE >> 8), 3, axis=2),
        CUT,
    ),
    "16-bit color.png": Odd(
        lambda: png_from(np.dstack([WIDE, WIDE + 99, ~WIDE]).astype(">u2"), (7, 5), 16, 2),
        np.dstack([WIDE >> 8, WIDE + 99 >> 8, ~WIDE >> 8]).astype(np.uint8),
        CUT,
    ),
    "16-bit color with a transparent one.png": Odd(
        lambda: png_from(
            [struct.pack(">6H", 65535, 0, 0x1234, 1, 2, 3)],
            (2, 1),
            16,
            2,
            chunk(b"tRNS", struct.pack(">3H", 65535, 0, 0x1234)),
        ),
        np.array([[[255, 255, 255], [0, 0, 0]]], dtype=np.uint8),
        (*CUT, *COMPOSED),
    ),
    "1 bit.png": Odd(lambda: encoded(GRAY > 127, "PNG"), gray((GRAY > 127) * 255)),
    "4-bit gray with a transparent value.png": Odd(
        lambda: png_from([b"\x0f"], (2, 1), 4, 0, chunk(b"tRNS", b"\0\0")),
        np.array([[[255, 255, 255], [255, 255, 255]]], dtype=np.uint8),
        COMPOSED,
    ),
    "2-bit gray with white transparent.png": Odd(
        lambda: png_from([b"\x60"], (2, 1), 2, 0, chunk(b"tRNS", b"\0\1")),
        np.array([[[255, 255, 255], [170, 170, 170]]], dtype=np.uint8),
        COMPOSED,
    ),
    "color with a transparent one.png": Odd(
        lambda: png_from(RGB, (7, 5), 8, 2, chunk(b"tRNS", struct.pack(">3H", *(int(v) for v in RGB[2, 3])))),
        np.where(np.equal(RGB, RGB[2, 3]).all(axis=2)[..., None], np.uint8(255), RGB),
        COMPOSED,
    ),
    "interlaced.png": Odd(lambda: interlaced(GRAY), gray(GRAY)),
    "exif after the pixels.png": Odd(
        lambda: encoded(GRAY, "PNG")[:-12] + chunk(b"eXIf", exif(3).tobytes()[6:]) + chunk(b"IEND", b""),
        gray(GRAY[::-1, ::-1]),
        ("rotated upright by its EXIF orientation 3",),
    ),
    "animated.png": Odd(lambda: frames("PNG", 3), RGB, ("the first of 3 frames",)),
    "a row.png": Odd(lambda: encoded(GRAY[:1], "PNG"), gray(GRAY[:1])),
    "a pixel.png": Odd(lambda: encoded(RGB[:1, :1], "PNG"), RGB[:1, :1]),
    "tall.png": Odd(
        lambda: encoded(np.zeros((60_000, 1), np.uint8), "PNG"), np.zeros((60_000, 1, 1), np.uint8)
    ),
    "animated.gif": Odd(animated_gif, COLORS[INDICES], ("the first of 12 frames",)),
    "transparent.gif": Odd(
        lambda: encoded(PALETTE, "GIF", transparency=1),
        np.where((INDICES == 1)[..., None], np.uint8(255), COLORS[INDICES]),
        COMPOSED,
    ),
    "frame beyond its canvas.gif": Odd(
        lambda: gif((1, 1), (1, 0, 1, 1)), np.array([[[0, 0, 0], [255, 255, 255]]], dtype=np.uint8)
    ),
    "color.bmp": Odd(lambda: encoded(RGB, "BMP"), RGB),
    "1 bit.bmp": Odd(lambda: encoded(GRAY > 127, "BMP"), gray((GRAY > 127) * 255)),
    "run lengths.bmp": Odd(rle_bmp, np.array([[[0, 0, 255]] * 7, [[255, 0, 0]] * 7], dtype=np.uint8)),
    "lzw.tif": Odd(lambda: encoded(RGB, "TIFF", compression="tiff_lzw"), RGB),
    "lzw with predictor.tif": Odd(
        lambda: encoded(RGB, "TIFF", compression="tiff_lzw", tiffinfo={317: 2}), RGB
    ),
    "fax.tif": Odd(lambda: encoded(GRAY > 127, "TIFF", compression="group4"), gray((GRAY > 127) * 255)),
    "big endian.tif": Odd(lambda: rgb_tiff(">"), RGB),
    "64-bit offsets.tif": Odd(lambda: encoded(RGB, "TIFF", big_tiff=True), RGB),
    "16-bit gray.tif": Odd(lambda: gray_tiff(WIDE, "u2"), SCALED, FROM_16),
    "16-bit gray, big endian.tif": Odd(lambda: gray_tiff(WIDE, "u2", ">"), SCALED, FROM_16),
    "16-bit gray, white is 0.tif": Odd(lambda: gray_tiff(65535 - WIDE, "u2", _262=0), SCALED, FROM_16),
    "16-bit gray, white is 0, big endian.tif": Odd(
        lambda: gray_tiff(65535 - WIDE, "u2", ">", _262=0), SCALED, FROM_16
    ),
    "8-bit gray, white is 0.tif": Odd(lambda: gray_tiff(255 - GRAY, "u1", _262=0), gray(GRAY)),
    "12-bit gray.tif": Odd(
        tiff_of_12_bits,
        np.array([[[255], [18]]], dtype=np.uint8),
        ("12-bit values scaled to 8 bits",),
    ),
    "32-bit gray within 16.tif": Odd(lambda: gray_tiff(WIDE, "u4"), SCALED, FROM_16),
    "tiles larger than the image.tif": Odd(tiled_tiff, gray(GRAY)),
    "plane after plane.tif": Odd(planar_tiff, RGB),
    "pages.tif": Odd(lambda: frames("TIFF", 3), RGB, ("the first of 3 pages",)),
    "pages without end.tif": Odd(endless_tiff, gray(GRAY)),
    "on its head.tif": Odd(
        lambda: rgb_tiff(_274=3), RGB[::-1, ::-1], ("rotated upright by its EXIF orientation 3",)
    ),
    "tags that Pillow warns of.tif": Odd(
        lambda: rgb_tiff(_256=(7, 9), _262=2, _266=(1, 1), _277=(3, 3), _305=(1, 2), _34665=99), RGB
    ),
    "strips that end too late.tif": Odd(lambda: rgb_tiff(_279=99_999), RGB),
    "float up to 1.tif": Odd(
        lambda: encoded(GRAY.astype(np.float32) / 255, "TIFF"),
        gray(GRAY),
        ("floating-point values from 0 to 1 scaled to 8 bits",),
    ),
    "float up to 255.tif": Odd(
        lambda: encoded(GRAY.astype(np.float32), "TIFF"),
        gray(GRAY),
        ("floating-point values from 0 to 255 scaled to 8 bits",),
    ),
    "12 of 16 bits.tif": Odd(lambda: gray_tiff(DARK, "u2"), FROM_12, FROM_12_BITS),
    "12 of 16 bits.png": Odd(lambda: encoded(DARK, "PNG"), FROM_12, FROM_12_BITS),
    "dark, with its depth.tif": Odd(lambda: gray_tiff(DARK, "u2", _281=65535), DARK_FROM_16, FROM_16),
    "dark, with its depth.png": Odd(
        lambda: png_from(DARK.astype(">u2"), (7, 5), 16, 0, chunk(b"sBIT", b"\x10")), DARK_FROM_16, FROM_16
    ),
    "dark, with its depth.pgm": Odd(
        lambda: b"P5 7 5 65535\n" + DARK.astype(">u2").tobytes(), DARK_FROM_16, FROM_16
    ),
    "photo.avif": Odd(lambda: encoded(RED, "AVIF", quality=95), RED, within=6),
    "on its side.avif": Odd(
        lambda: encoded(np.repeat(gray(RAMP), 3, axis=2), "AVIF", quality=95, exif=exif(6)),
        np.repeat(gray(np.rot90(RAMP, -1)), 3, axis=2),
        ("rotated upright by its EXIF orientation 6",),
        within=6,
    ),
    "animated.avif": Odd(
        lambda: encoded(
            Image.fromarray(RED),
            "AVIF",
            save_all=True,
            append_images=[Image.new("RGB", (16, 16))] * 2,
            quality=95,
        ),
        RED,
        ("the first of 3 frames",),
        within=6,
    ),
    "lossless.jp2": Odd(lambda: encoded(RGB, "JPEG2000"), RGB),
    "gray.jp2": Odd(lambda: encoded(GRAY, "JPEG2000"), gray(GRAY)),
    "16-bit gray.jp2": Odd(lambda: encoded(WIDE, "JPEG2000"), SCALED, FROM_16),
    "codestream.j2k": Odd(lambda: encoded(RGB, "JPEG2000", no_jp2=True), RGB),
    "many scans behind the end.jpg": Odd(
        lambda: encoded(RAMP, "JPEG", quality=95, progressive=True) + b"\xff\xda" * 200, gray(RAMP), within=4
    ),
    "many scans in metadata.jpg": Odd(
        lambda: with_segment(encoded(RAMP, "JPEG", quality=95, progressive=True), b"\xff\xda" * 200),
        gray(RAMP),
        within=4,
    ),
    "two photos.mpo": Odd(
        lambda: encoded(
            Image.fromarray(RAMP), "MPO", save_all=True, append_images=[Image.fromarray(RAMP)], quality=95
        ),
        gray(RAMP),
        within=4,
    ),
    "large text.png": Odd(lambda: with_texts(b"zTXt", b"k\0\0"), gray(GRAY)),
    "large international text.png": Odd(lambda: with_texts(b"iTXt", b"k\0\1\0\0\0"), gray(GRAY)),
    "texts in emoji.png": Odd(lambda: texts_in_emoji(2), gray(GRAY)),
    "large color profile.png": Odd(lambda: with_texts(b"iCCP", b"k\0\0"), gray(GRAY)),
    "lossy.webp": Odd(lambda: encoded(RED, "WEBP", quality=95), RED, within=6),
    "lossless.webp": Odd(lambda: encoded(RGB, "WEBP", lossless=True), RGB),
    "alpha.webp": Odd(webp_alpha, on(WHITE, RGB, ALPHA), COMPOSED, within=1),
    "animated.webp": Odd(lambda: frames("WEBP", 3, lossless=True), RGB, ("the first of 3 frames",)),
    "color.ppm": Odd(lambda: encoded(RGB, "PPM"), RGB),
    "16-bit gray.pgm": Odd(lambda: b"P5 7 5 65535\n" + WIDE.astype(">u2").tobytes(), SCALED, FROM_16),
    "in words.ppm": Odd(
        lambda: b"P3 # two pixels\n2 1\n255\n1 2 3\n4 5 6\n",
        np.array([[[1, 2, 3], [4, 5, 6]]], dtype=np.uint8),
    ),
    "100 levels.pgm": Odd(
        lambda: b"P5 3 1 100\n" + bytes([0, 50, 100]), np.array([[[0], [128], [255]]], dtype=np.uint8)
    ),
    "bits.pbm": Odd(lambda: b"P4 8 1\n\xa5", np.array([[[0], [255]] * 2 + [[255], [0]] * 2], np.uint8)),
}
if not features.check("avif"):
    ODD = {kind: odd for kind, odd in ODD.items() if not kind.endswith(".avif")}


def header_only(size: tuple[int, int], depth: int = 8, color: int = 2) -> bytes:
    return png(size, depth, color, zlib.compress(b"\0" * 99))


def flat_png(side: int) -> bytes:
    """Whole and legal, 1000 times smaller than its pixels."""
    return png_from((bytes(3 * side) for _ in range(side)), (side, side), 8, 2)


@cache
def packed_zeros() -> bytes:
    return zlib.compress(bytes(200_000_000), 1)


def text_bomb(kind: bytes, head: bytes) -> bytes:
    return png((7, 5), 8, 0, zlib.compress(bytes(40)), chunk(kind, head + packed_zeros()))


def jpeg_of(height: int, width: int, bits: int = 8) -> bytes:
    """A JPEG whose header claims another size."""
    file = bytearray(encoded(RAMP, "JPEG"))
    frame = file.index(b"\xff\xc0")
    struct.pack_into(">BHH", file, frame + 4, bits, height, width)
    return bytes(file)


def many_scans() -> bytes:
    file = encoded(RAMP, "JPEG", progressive=True)
    last = file[file.rindex(b"\xff\xda") : -2]
    return file[:-2] + last * 5000 + file[-2:]


def webp_of(width: int, height: int) -> bytes:
    file = bytearray(encoded(RGB, "WEBP", lossless=True))
    position = file.index(b"VP8L") + 9
    alpha_and_version = struct.unpack_from("<I", file, position)[0] & 0xF0000000
    struct.pack_into("<I", file, position, alpha_and_version | height - 1 << 14 | width - 1)
    return bytes(file)


def bmp_of(width: int, height: int) -> bytes:
    file = bytearray(encoded(RGB, "BMP"))
    struct.pack_into("<ii", file, 18, width, height)
    return bytes(file)


def old_jpeg_tiff() -> bytes:
    return rgb_tiff(_259=6)


def half(form: str, **options: object) -> Callable[[], bytes]:
    def cut() -> bytes:
        file = encoded(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8), form, **options)
        return file[: len(file) // 2]

    return cut


def fill(start: bytes, size: int = 4096) -> Callable[[], bytes]:
    return lambda: start + bytes(RNG.integers(0, 256, size - len(start), dtype=np.uint8))


NO_IMAGE = r"not a readable image, whatever its name says"
SHORT = r"damaged or cut short \(.+\); save it again as PNG or JPEG"
UNREADABLE = r"damaged, or of a type that can't be read \(.*{}.*\); save it again"
LARGE = r"{} is over 51 megapixels; scale it down first, or raise max_megapixels"
BOMB = r"{} pixels from \d+ bytes would take \d+ MB, as decompression bombs do; scale it down first"

BROKEN: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty.jpg": (lambda: b"", r"is empty \(0 bytes\)"),
    "one byte.png": (lambda: b"\x89", NO_IMAGE),
    "zeros.png": (lambda: bytes(4096), NO_IMAGE),
    "noise.jpg": (fill(b"\x01\x80\xfe"), NO_IMAGE),
    "text.jpg": (lambda: b"This is a poem.\n" * 20, NO_IMAGE + ": it is text"),
    "text that begins as a bitmap does.bmp": (lambda: b"BMW is a make of car.\n", NO_IMAGE + ": it is text"),
    "page.jpg": (lambda: b"\n<!DOCTYPE html><title>404</title>", "is a web page: did a download fail"),
    "drawing.svg": (lambda: b'<?xml version="1.0"?>\n<svg width="9"/>', "is an SVG drawing: render it"),
    "photo.heic": (
        fill(b"\0\0\0\x18ftypheic"),
        "is an HEIC image: pip install pillow-heif, or convert it to JPEG|" + UNREADABLE.format(""),
    ),
    "photo.avif": (fill(b"\0\0\0\x1cftypavif"), UNREADABLE.format("")),
    "photo.jp2": (fill(b"\0\0\0\x0cjP  \r\n\x87\n"), UNREADABLE.format("")),
    "cut.jp2": (half("JPEG2000"), SHORT),
    "cut.avif": (half("AVIF"), SHORT + "|" + UNREADABLE.format("")),
    "photo.jxl": (fill(b"\xff\x0a"), "is a JPEG XL image: convert it to PNG or JPEG"),
    "camera.CR2": (fill(b"II*\0\x10\0\0\0CR\2\0"), "is a camera RAW file: develop it to TIFF or JPEG"),
    "camera.dng": (lambda: rgb_tiff(_50706=(1, 4, 0, 0)), UNREADABLE.format("a camera RAW file")),
    "camera.nef": (lambda: rgb_tiff(_254=1, _330=8), UNREADABLE.format("a camera RAW file")),
    "picture.tga": (
        lambda: encoded(RGB, "TGA"),
        r"is a \.tga file, a format that is not read: convert it to PNG",
    ),
    "icon.ico": (lambda: encoded(Image.new("RGB", (16, 16)), "ICO"), "is an icon file: save it as PNG"),
    "behind a byte order mark.jpg": (
        lambda: b"\xef\xbb\xbf" + encoded(RAMP, "JPEG"),
        "is JPEG data behind 3 bytes of text",
    ),
    "arithmetic codes by its frame only.jpg": (
        lambda: encoded(RAMP, "JPEG").replace(b"\xff\xc0", b"\xff\xc9", 1),
        UNREADABLE.format("arithmetic codes"),
    ),
    "film.mp4": (fill(b"\0\0\0\x18ftypisom"), "is a video: extract a frame"),
    "film.avi": (fill(b"RIFF\x24\x10\0\0AVI LIST"), "is a video: extract a frame"),
    "film.webm": (fill(b"\x1a\x45\xdf\xa3"), "is a video: extract a frame"),
    "page.pdf": (fill(b"%PDF-1.7\n"), "is a PDF document: render its page"),
    "array.npy": (fill(b"\x93NUMPY\1\0"), "is a numpy array: load it with numpy"),
    "pointer.jpg": (
        lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
        "is a Git LFS pointer: run `git lfs pull`",
    ),
    "cut.jpg": (half("JPEG"), SHORT),
    "cut.png": (half("PNG"), SHORT),
    "cut.gif": (half("GIF"), SHORT),
    "cut.bmp": (half("BMP"), SHORT),
    "cut.tif": (
        lambda: tiff({256: 64, 257: 64, 258: 8, 259: 1, 262: 1, 273: 8, 279: 4096}, bytes(999)),
        SHORT,
    ),
    "cut in its pixels.tif": (
        half("TIFF", compression="tiff_lzw"),
        UNREADABLE.format("Missing dimensions|256"),
    ),
    "cut.webp": (half("WEBP", lossless=True), r"damaged.* \(.*(decode|read).*\); save it again"),
    "cut.ppm": (half("PPM"), SHORT),
    "header only.png": (lambda: encoded(RGB, "PNG")[:20], UNREADABLE.format("")),
    "header only.gif": (lambda: b"GIF89a\x07\0\x05\0\0\0\0;", UNREADABLE.format("")),
    "wrong checksum.png": (
        lambda: encoded(RGB, "PNG").replace(b"IHDR\0\0\0\7", b"IHDR\0\0\0\6"),
        UNREADABLE.format("checksum"),
    ),
    "no width.png": (lambda: header_only((0, 5)), UNREADABLE.format("its header states no pixels")),
    "no height.jpg": (lambda: jpeg_of(0, 64), UNREADABLE.format("its header states no pixels")),
    "no width.bmp": (lambda: bmp_of(0, 5), UNREADABLE.format("its header states no pixels")),
    "no height.tif": (lambda: rgb_tiff(_257=0), r"has no pixels \(7x0\)"),
    "12-bit.jpg": (lambda: jpeg_of(48, 64, bits=12), UNREADABLE.format("12-bit")),
    "float beyond 255.tif": (
        lambda: encoded(GRAY.astype(np.float32) + 200, "TIFF"),
        "floating-point pixels from 2[0-9]* to 4[0-9]* have no defined range, expected 0 to 1 or 0 to 255",
    ),
    "float below 0.tif": (
        lambda: encoded(GRAY.astype(np.float32) - 300, "TIFF"),
        "floating-point pixels from -[0-9]* to -[0-9]* have no defined range",
    ),
    "not a number.tif": (
        lambda: encoded(np.full((5, 7), np.nan, np.float32), "TIFF"),
        "floating-point pixels from nan to nan have no defined range",
    ),
    "infinite.pfm": (
        lambda: b"Pf 2 1 -1.0\n" + struct.pack("<2f", 0, np.inf),
        "floating-point pixels from 0 to inf have no defined range",
    ),
    "beyond 16 bits.tif": (
        lambda: gray_tiff(np.full((5, 7), 65536), "u4"),
        r"pixels beyond 0\.\.65535 have no defined range; save it with 16 bits",
    ),
    "below 0.tif": (lambda: gray_tiff(np.full((5, 7), -1), "i4", _339=2), r"pixels beyond 0\.\.65535"),
    "compressed as before 1995.tif": (
        old_jpeg_tiff,
        UNREADABLE.format("old-style JPEG compression is not supported"),
    ),
    "nowhere to be found.tif": (
        lambda: tiff({256: 7, 257: 5, 258: 8, 259: 1, 262: 1}, b""),
        UNREADABLE.format("unknown data organization"),
    ),
    "strips upon strips.tif": (
        lambda: rgb_tiff(_259=5, _278=1, _273=tuple(range(8, 3008)), _279=(99,) * 3000),
        SHORT,
    ),
    "no frames.png": (
        lambda: png((7, 5), 8, 0, zlib.compress(bytes(40)), chunk(b"acTL", bytes(8))),
        UNREADABLE.format("its animation header is not valid"),
    ),
    "30000x30000.png": (lambda: header_only((30_000, 30_000)), LARGE.format("30000x30000")),
    "2147483647x1.png": (lambda: header_only((2**31 - 1, 1)), LARGE.format("2147483647x1")),
    "flat and large.png": (lambda: flat_png(7000), BOMB.format("7000x7000")),
    "text bomb.png": (lambda: text_bomb(b"zTXt", b"k\0\0"), UNREADABLE.format("[Tt]oo [Ll]arge")),
    "international text bomb.png": (
        lambda: text_bomb(b"iTXt", b"k\0\1\0\0\0"),
        UNREADABLE.format("[Tt]oo [Ll]arge"),
    ),
    "too many texts in emoji.png": (
        lambda: texts_in_emoji(9),
        UNREADABLE.format(r"its texts are too large \(limit 16 MB\)"),
    ),
    "color profile bomb.png": (lambda: text_bomb(b"iCCP", b"k\0\0"), UNREADABLE.format("[Tt]oo [Ll]arge")),
    "canvas of 65535x65535.gif": (lambda: gif((65535, 65535), (0, 0, 1, 1)), LARGE.format("65535x65535")),
    "frame far beyond its canvas.gif": (
        lambda: gif((1, 1), (65535, 65535, 9, 9)),
        LARGE.format("65544x65544"),
    ),
    "7000x7000.gif": (lambda: gif((7000, 7000), (0, 0, 1, 1)), SHORT + "|" + BOMB.format("7000x7000")),
    "65500x65500.jpg": (lambda: jpeg_of(65500, 65500), LARGE.format("65500x65500")),
    "33 megapixels of no runs.bmp": (
        empty_rle_bmp,
        r"damaged or cut short \(16777216x2 pixels can't be in 76 bytes\)",
    ),
    "7000x7000.jpg": (lambda: jpeg_of(7000, 7000), r"damaged or cut short \(7000x7000 pixels can't be in"),
    "5000 scans.jpg": (many_scans, UNREADABLE.format("it has 500. scans")),
    "60000x60000.tif": (lambda: rgb_tiff(_256=60_000, _257=60_000), LARGE.format("60000x60000")),
    "a tile of 60000x60000.tif": (
        lambda: tiff(
            {256: 7, 257: 5, 258: 8, 259: 8, 262: 1, 322: 60_000, 323: 60_000, 324: 8, 325: 9}, bytes(9)
        ),
        LARGE.format("60000x60000"),
    ),
    "a tag of 4 GB.tif": (
        lambda: rgb_tiff().replace(struct.pack("<HHI", 258, 4, 3), struct.pack("<HHI", 258, 4, 2**30)),
        UNREADABLE.format("unknown (data organization|pixel mode)"),
    ),
    "16384x16384.webp": (lambda: webp_of(16384, 16384), LARGE.format("16384x16384")),
    "6000x6000.webp": (lambda: webp_of(6000, 6000), BOMB.format("6000x6000")),
    "100000x100000.bmp": (lambda: bmp_of(100_000, 100_000), LARGE.format("100000x100000")),
    "100000x100000.ppm": (lambda: b"P6 100000 100000 255\n", LARGE.format("100000x100000")),
}

LEGAL_BOMB = "flat and large.png"
"""Of `BROKEN`, one that is whole, and can be read if more is allowed."""
if not features.check("avif"):
    BROKEN = {kind: broken for kind, broken in BROKEN.items() if not kind.endswith(".avif")}


def flat(
    form: str, mode: str, size: tuple[int, int], value: object, **options: object
) -> Callable[[], bytes]:
    return lambda: encoded(Image.new(mode, size, value), form, **options)


# Flat color that is just not refused: each as large as its format's memory allows, or as any image may be.
LARGE: dict[str, tuple[Callable[[], bytes], tuple[int, int, int], int]] = {
    "gray.png": (flat("PNG", "L", (7100, 7100), 77), (7100, 7100, 1), 77),
    "color.png": (flat("PNG", "RGB", (4450, 4450), (77, 77, 77)), (4450, 4450, 3), 77),
    "alpha.png": (flat("PNG", "RGBA", (4450, 4450), (77, 77, 77, 0)), (4450, 4450, 3), 255),
    "16-bit gray.png": (flat("PNG", "I;16", (6800, 6800), 257 * 77), (6800, 6800, 1), 77),
    "palette.gif": (flat("GIF", "P", (5250, 5250), 0), (5250, 5250, 3), 0),
    "progressive.jpg": (
        flat("JPEG", "RGB", (3700, 3700), (77, 77, 77), progressive=True),
        (3700, 3700, 3),
        77,
    ),
    "on its side.jpg": (
        flat("JPEG", "RGB", (4450, 4440), (77, 77, 77), exif=exif(6)),
        (4450, 4440, 3),
        77,
    ),
    "a page at 600 dpi.tif": (flat("TIFF", "1", (4960, 7016), 1, compression="group4"), (7016, 4960, 1), 255),
    "color.tif": (
        flat("TIFF", "RGB", (4150, 4150), (77, 77, 77), compression="tiff_lzw"),
        (4150, 4150, 3),
        77,
    ),
    "float.tif": (flat("TIFF", "F", (5200, 5200), 77.0, compression="tiff_lzw"), (5200, 5200, 1), 77),
    "color.avif": (flat("AVIF", "RGB", (2950, 2950), (128, 128, 128)), (2950, 2950, 3), 128),
    "color.jp2": (flat("JPEG2000", "RGB", (2400, 2400), (77, 77, 77)), (2400, 2400, 3), 77),
    "color.webp": (flat("WEBP", "RGB", (2950, 2950), (77, 77, 77), lossless=True), (2950, 2950, 3), 77),
}
if not features.check("avif"):
    LARGE = {kind: large for kind, large in LARGE.items() if not kind.endswith(".avif")}
