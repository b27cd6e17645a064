"""Pixels in strips are the pixels of the whole, and arrays give what files give."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from cnntk.runtime.errors import ImageError
from cnntk.runtime.images import _pixels as pixels
from cnntk.runtime.images._opened import OpenedImage
from cnntk.runtime.images._pixels import luma, pixels_from_image
from cnntk.runtime.images.reading import decode_image, read_image

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (50, 70, 3), dtype=np.uint8)
GRAY = RGB[:, :, 0]
WHITE = (255, 255, 255)
MODES = ("1", "L", "P", "RGB", "RGBA", "LA", "PA", "CMYK", "YCbCr", "I", "I;16", "I;16B")


def image_of(mode: str) -> Image.Image:
    if mode.startswith("I"):
        return Image.fromarray(GRAY.astype({"I": np.int32, "I;16": np.uint16, "I;16B": ">u2"}[mode]) * 257)
    if mode in ("LA", "PA", "RGBA"):
        image = Image.fromarray(RGB).convert(mode[:-1])
        image.putalpha(Image.fromarray(GRAY))
        return image
    return Image.fromarray(RGB).convert(mode)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", MODES)
def test_strips_make_the_whole(mode: str, orientation: int, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = OpenedImage(image_of(mode), orientation)
    whole, notes = pixels_from_image(picture, "image", (9, 8, 7))
    monkeypatch.setattr(pixels, "_WHOLE_PIXELS", 0)
    for size in (1, 500, 70 * 49):  # a row at a time; 7 rows; all but one
        monkeypatch.setattr(pixels, "_STRIP_PIXELS", size)
        stripped, strip_notes = pixels_from_image(picture, "image", (9, 8, 7))
        assert np.array_equal(stripped, whole)
        assert strip_notes == notes


@pytest.mark.parametrize("mode", MODES)
def test_gray_is_the_luma_of_the_pixels(mode: str) -> None:
    picture = OpenedImage(image_of(mode), 6)
    colored, notes = pixels_from_image(picture, "image", (9, 8, 7))
    gray = luma(colored) if colored.shape[2] == 3 else colored
    pixels_and_notes = pixels_from_image(picture, "image", (9, 8, 7), gray=True)
    assert np.array_equal(pixels_and_notes[0], gray)
    assert pixels_and_notes[1] == notes


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_gray_of_arrays(channels: int) -> None:
    array = np.dstack((RGB, GRAY))[:, :, :channels]
    colored = read_image(array)
    gray = luma(colored) if channels > 1 else colored
    assert np.array_equal(decode_image(array, gray=True).pixels, gray)


@pytest.mark.parametrize("step", [17, pytest.param(1, marks=pytest.mark.slow)], ids=["sample", "all"])
def test_luma_of_every_color_is_pillows(step: int) -> None:
    """Every sum is a whole number below 2^24, so any arithmetic gives the same."""
    codes = np.arange(0, 1 << 24, step, dtype=np.uint32)
    colors = codes[: len(codes) // 1024 * 1024].view(np.uint8).reshape(-1, 1024, 4)[:, :, :3]
    gray = np.asarray(Image.fromarray(np.ascontiguousarray(colors)).convert("L"))
    assert np.array_equal(luma(colors)[:, :, 0], gray)
    assert not np.array_equal(luma(colors[:, :, ::-1])[:, :, 0], gray)


def test_a_large_image_goes_in_strips() -> None:
    large = np.tile(RGB, (30, 20, 1))
    assert large.shape[0] * large.shape[1] > pixels._WHOLE_PIXELS
    assert np.array_equal(read_image(Image.fromarray(large)), large)


def test_16_bits_are_scaled_and_not_clipped() -> None:
    """All values: rounded to the nearest, where Pillow alone clips."""
    wide = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    scaled = read_image(wide)[:, :, 0]
    assert np.array_equal(scaled, (wide.astype(int) + 128) // 257)
    assert np.abs(scaled - wide / 257).max() <= 0.5
    assert np.array_equal(read_image(Image.fromarray(wide))[:, :, 0], scaled)
    clipped = np.asarray(Image.fromarray(wide).convert("I").convert("L"))
    assert not np.array_equal(clipped, scaled)


def test_12_bits_and_white_zero() -> None:
    values = Image.fromarray(np.array([[0, 2048, 4095]], dtype=np.uint16))
    scaled, notes = pixels_from_image(OpenedImage(values, full_scale=4095), "image", WHITE)
    assert scaled[0, :, 0].tolist() == [0, 128, 255]
    assert notes == ("12-bit values scaled to 8 bits",)
    inverted, _ = pixels_from_image(OpenedImage(values, full_scale=4095, white_is_zero=True), "image", WHITE)
    assert inverted[0, :, 0].tolist() == [255, 127, 0]


@pytest.mark.parametrize("value", [-1, 65536, 2**31 - 1])
def test_integers_beyond_16_bits_are_refused(value: int) -> None:
    with pytest.raises(ImageError, match=r"pixels beyond 0\.\.65535 have no defined range"):
        read_image(Image.fromarray(np.array([[0, value]], dtype=np.int32)))


ARRAYS = {
    "gray": (GRAY, GRAY[:, :, None]),
    "gray with an axis": (GRAY[:, :, None], GRAY[:, :, None]),
    "rgb": (RGB, RGB),
    "upside down": (RGB[::-1], RGB[::-1].copy()),
    "mirrored": (RGB[:, ::-1], RGB[:, ::-1].copy()),
    "bgr reversed": (RGB[:, :, ::-1], RGB[:, :, ::-1].copy()),
    "every other": (RGB[::2, ::3], RGB[::2, ::3].copy()),
    "in Fortran's order": (np.asfortranarray(RGB), RGB),
    "channels moved": (np.moveaxis(np.ascontiguousarray(np.moveaxis(RGB, 2, 0)), 0, 2), RGB),
    "16 bits": (GRAY.astype(np.uint16) * 257, GRAY[:, :, None]),
    "16 bits with an axis": (GRAY[:, :, None].astype(np.uint16) * 257, GRAY[:, :, None]),
    "16 bits, big endian": (GRAY.astype(">u2") * 257, GRAY[:, :, None]),
    "read-only": (np.broadcast_to(RGB[:1], (5, 70, 3)), np.repeat(RGB[:1], 5, axis=0)),
    "opaque": (np.dstack([RGB, np.full_like(GRAY, 255)]), RGB),
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_arrays(kind: str) -> None:
    array, expected = ARRAYS[kind]
    decoded = decode_image(array)
    assert np.array_equal(decoded.pixels, expected)
    assert decoded.pixels.flags.c_contiguous
    assert decoded.notes == (("16-bit values scaled to 8 bits",) if kind.startswith("16") else ())


@pytest.mark.parametrize("background", [(255, 255, 255), (0, 0, 0), (255, 0, 128)])
@pytest.mark.parametrize("step", [1, -1])
def test_arrays_with_alpha_are_composed_on_the_background(
    background: tuple[int, int, int], step: int
) -> None:
    rgba = np.dstack([RGB, GRAY])[::step]
    alpha = rgba[:, :, 3:] / 255
    expected = rgba[:, :, :3] * alpha + np.array(background) * (1 - alpha)
    assert np.abs(read_image(rgba, background=background) - expected).max() <= 1


@pytest.mark.parametrize(
    ("array", "hint"),
    [
        (np.zeros((3, 8, 9), np.uint8), r"; its channels come first: pass np\.moveaxis\(array, 0, 2\)$"),
        (np.zeros((8, 9), np.float64), r"; scale it to 0\.\.255, round it and convert it to uint8$"),
        (np.zeros((8, 9, 3), np.uint16), r"or uint16 \[H, W\] or \[H, W, 1\]$"),
        (np.zeros((8, 9), bool), "expected uint8"),
        (np.zeros((8, 9), np.int64), "expected uint8"),
        (np.zeros((), np.uint8), "expected uint8"),
        (np.zeros((2, 8, 9, 3), np.uint8), "expected uint8"),
    ],
    ids=lambda value: f"{value.dtype}{list(value.shape)}" if isinstance(value, np.ndarray) else "",
)
def test_other_arrays_are_refused_with_what_to_do(array: np.ndarray, hint: str) -> None:
    with pytest.raises(ImageError, match=hint):
        read_image(array)


def test_what_is_decoded_is_read_only_and_an_array_is_not_copied() -> None:
    assert not read_image(Image.fromarray(RGB)).flags.writeable
    assert read_image(RGB) is RGB or np.shares_memory(read_image(RGB), RGB)


def test_conversions_that_fail_are_named() -> None:
    image = Image.fromarray(GRAY)
    image.info["transparency"] = "not a value"
    with pytest.raises(ImageError, match="<Image>: of a type that can't be converted"):
        read_image(image)
