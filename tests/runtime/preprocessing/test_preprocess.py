from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from cnntk.runtime.artifact.spec import Preprocessing
from cnntk.runtime.preprocessing.preprocess import fit, normalize, preprocess, resize_and_crop
from cnntk.runtime.preprocessing.sampling import resize_interpolated

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (30, 40, 3), dtype=np.uint8)
P = Preprocessing(color="rgb", height=16, width=16, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
GRAY = Preprocessing(color="gray", height=16, width=16)


def test_gray_is_pillows_luma() -> None:
    same_size = replace(GRAY, height=30, width=40)
    expected = np.asarray(Image.fromarray(RGB).convert("L"))
    assert np.array_equal(resize_and_crop(RGB, same_size)[:, :, 0], expected)
    assert not np.array_equal(resize_and_crop(RGB[:, :, ::-1], same_size)[:, :, 0], expected)


def test_channel_order() -> None:
    same_size = replace(P, height=30, width=40)
    assert np.array_equal(resize_and_crop(RGB, same_size), RGB)
    assert np.array_equal(resize_and_crop(RGB, replace(same_size, color="bgr")), RGB[:, :, ::-1])
    assert resize_and_crop(RGB[:, :, :1], same_size).shape == (30, 40, 3)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_stretch_is_pillows_resize(interpolation: str) -> None:
    filters = Image.Resampling[interpolation.upper()]
    expected = np.asarray(Image.fromarray(RGB).resize((16, 16), filters))
    assert np.array_equal(resize_and_crop(RGB, replace(P, interpolation=interpolation)), expected)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos"])
def test_the_width_is_resized_first(interpolation: str) -> None:
    """Pillow 13 begins with the height here, Pillow 12 does not: their bytes differ, ours do not."""
    tall = RNG.integers(0, 256, (200, 9, 3), dtype=np.uint8)
    kind = Image.Resampling[interpolation.upper()]
    expected = Image.fromarray(tall).resize((16, 200), kind).resize((16, 16), kind)
    assert np.array_equal(
        resize_and_crop(tall, replace(P, interpolation=interpolation)), np.asarray(expected)
    )


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("image", [RGB, RGB[:, :, :1]], ids=["rgb", "gray"])
def test_float_levels_are_pillows_mode_f(image: np.ndarray, interpolation: str) -> None:
    kind = Image.Resampling[interpolation.upper()]
    planes = [Image.fromarray(image[:, :, c].astype(np.float32)) for c in range(image.shape[2])]
    expected = np.stack([np.asarray(plane.resize((16, 16), kind)) for plane in planes], axis=2)
    actual = resize_and_crop(image, replace(P, interpolation=interpolation, levels="float32"))
    assert actual.dtype == np.float32
    np.testing.assert_allclose(actual, np.broadcast_to(expected, actual.shape), atol=1e-4)


def test_float_levels_are_not_rounded() -> None:
    p = replace(P, levels="float32")
    assert resize_and_crop(RGB, replace(p, height=30, width=40)).dtype == np.float32
    apart = abs(resize_and_crop(RGB, p) - resize_and_crop(RGB, P))
    assert 0.1 < apart.max() <= 1


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("levels", ["uint8", "float32"])
def test_without_antialias_points_are_sampled(interpolation: str, levels: str) -> None:
    p = replace(P, interpolation=interpolation, levels=levels, antialias=False)
    exact = resize_interpolated(RGB, (16, 16), cubic=interpolation == "bicubic")
    expected = exact if levels == "float32" else np.rint(exact).clip(0, 255)
    assert resize_and_crop(RGB, p).dtype == levels
    assert np.array_equal(resize_and_crop(RGB, p), expected)
    assert (
        abs(resize_and_crop(RGB, p).astype(float) - resize_and_crop(RGB, replace(p, antialias=True))).max()
        > 20
    )


def test_shortest_side_and_crop() -> None:
    expected = Image.fromarray(RGB).resize((21, 16), Image.Resampling.BILINEAR).crop((2, 0, 18, 16))
    assert np.array_equal(resize_and_crop(RGB, replace(P, resize="shortest")), np.asarray(expected))


def test_crop_ratio() -> None:
    """0.5: the shorter side becomes 32, of which the middle 16 remain."""
    expected = Image.fromarray(RGB).resize((42, 32), Image.Resampling.BILINEAR).crop((13, 8, 29, 24))
    assert np.array_equal(
        resize_and_crop(RGB, replace(P, resize="shortest", crop_ratio=0.5)), np.asarray(expected)
    )


def test_longest_side_is_padded_with_black() -> None:
    fitted = resize_and_crop(RGB, replace(P, resize="longest"))
    assert fitted.shape == (16, 16, 3)
    assert not fitted[:2].any()
    assert not fitted[-2:].any()
    assert fitted[2:14].any(axis=(1, 2)).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 900), (900, 1), (2, 3)])
@pytest.mark.parametrize("resize", ["stretch", "shortest", "longest"])
def test_odd_shapes_fit(shape: tuple[int, int], resize: str) -> None:
    assert resize_and_crop(np.full((*shape, 1), 9, dtype=np.uint8), replace(GRAY, resize=resize)).shape == (
        16,
        16,
        1,
    )


def test_light_backgrounds_are_inverted() -> None:
    dark = np.zeros((16, 16, 1), dtype=np.uint8)
    dark[6:10, 7:9] = 200
    auto = replace(GRAY, invert="light-background")
    assert np.array_equal(resize_and_crop(dark, auto), dark)
    assert np.array_equal(resize_and_crop(255 - dark, auto), dark)
    assert np.array_equal(resize_and_crop(dark, replace(GRAY, invert="always")), 255 - dark)
    assert np.array_equal(resize_and_crop(255 - dark, GRAY), 255 - dark)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (2, 2), (2, 7), (5, 5)])
def test_the_outermost_pixels_decide(shape: tuple[int, int]) -> None:
    """Each counts once, also where the image is a line."""
    auto = Preprocessing(color="gray", height=shape[0], width=shape[1], invert="light-background")
    border = np.ones(shape, dtype=bool)
    border[1:-1, 1:-1] = False
    for _ in range(200):
        image = RNG.integers(0, 256, (*shape, 1), dtype=np.uint8)
        expected = 255 - image if image[border].mean() > 127.5 else image
        assert np.array_equal(resize_and_crop(image, auto), expected)


def test_a_middle_gray_background_stays() -> None:
    auto = replace(GRAY, invert="light-background")
    image = np.full((16, 16, 1), 127, dtype=np.uint8)
    image[:, 1::2] = 128
    image[:, [0, -1]] = [[127], [128]]
    assert np.array_equal(resize_and_crop(image, auto), image)
    image[0, 0] += 1
    assert np.array_equal(resize_and_crop(image, auto), 255 - image)


def test_inversion_comes_before_padding_and_after_the_crop() -> None:
    """Padding is black also around an inverted image, and what is cropped away has no say."""
    wide = np.full((8, 16, 1), 250, dtype=np.uint8)
    padded = resize_and_crop(wide, replace(GRAY, resize="longest", invert="light-background"))
    assert not padded[:4].any()
    assert (padded[4:12] == 5).all()
    wide[:, 4:12] = 10
    cropped = replace(GRAY, height=8, width=8, resize="shortest", invert="light-background")
    assert (resize_and_crop(wide, cropped) == 10).all()


def test_layout() -> None:
    planes, pixels = preprocess([RGB], P), preprocess([RGB], replace(P, layout="NHWC"))
    assert pixels.shape == (1, 16, 16, 3)
    assert pixels.flags.c_contiguous
    assert np.array_equal(planes.transpose(0, 2, 3, 1), pixels)


def test_the_image_is_left_as_it_is() -> None:
    before = RGB.copy()
    for p in (P, replace(P, height=30, width=40), replace(P, height=30, width=40, invert="always")):
        preprocess([RGB], p)
    assert np.array_equal(RGB, before)


def test_normalize_is_the_formula() -> None:
    expected = (RGB.astype(np.float64) / 255 - P.mean) / P.std
    actual = normalize(RGB[None], P)
    assert actual.dtype == np.float32
    assert actual.flags.c_contiguous
    np.testing.assert_allclose(actual[0], expected.transpose(2, 0, 1), atol=1e-6)
    assert (
        abs(normalize(RGB[None], replace(P, std=(0.2, 0.3, 0.5)))[0] - expected.transpose(2, 0, 1)).max()
        > 0.1
    )


def test_a_batch_of_several_sizes() -> None:
    assert preprocess([RGB, RGB[:5], RGB[:, :3]], P).shape == (3, 3, 16, 16)


@pytest.mark.parametrize("invert", ["never", "always", "light-background"])
@pytest.mark.parametrize("light", [False, True], ids=["dark", "light"])
@pytest.mark.parametrize("resize", ["stretch", "shortest", "longest"])
@pytest.mark.parametrize("size", [(30, 40), (16, 16), (50, 7)])
def test_a_fitted_image_needs_no_resize_and_gives_the_same(
    size: tuple[int, int], resize: str, light: bool, invert: str
) -> None:
    image = RNG.integers(0, 100, (*size, 3), dtype=np.uint8) + (150 if light else 0)
    p = replace(P, resize=resize, invert=invert)
    fitted = fit(image.astype(np.uint8), p)
    assert fitted.shape == (*p.fitted_size, 3)
    assert fitted.dtype == np.uint8
    actual, expected = (resize_and_crop(each, p).astype(int) for each in (fitted, image.astype(np.uint8)))
    assert np.abs(actual - expected).max() <= 1  # Pillow and onnxruntime round apart
    assert np.abs(actual - np.roll(expected, 1, 0)).max() > 9


def test_a_fitted_image_has_the_networks_channels() -> None:
    assert fit(RGB[:, :, :1], P).shape == (16, 16, 3)
    assert fit(RGB, GRAY).shape == (16, 16, 1)
    luma = np.asarray(Image.fromarray(RGB).convert("L"))[:, :, None]
    assert np.array_equal(fit(RGB, GRAY), fit(luma, GRAY))
