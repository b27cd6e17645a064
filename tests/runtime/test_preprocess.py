from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from cnntk.runtime.preprocess import fit, normalise, preprocess
from cnntk.runtime.spec import Preprocessing

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (30, 40, 3), dtype=np.uint8)
P = Preprocessing(color="rgb", height=16, width=16, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
GREY = Preprocessing(color="grey", height=16, width=16)


def test_grey_is_pillows_luma() -> None:
    same_size = replace(GREY, height=30, width=40)
    expected = np.asarray(Image.fromarray(RGB).convert("L"))
    assert np.array_equal(fit(RGB, same_size)[:, :, 0], expected)
    assert not np.array_equal(fit(RGB[:, :, ::-1], same_size)[:, :, 0], expected)


def test_channel_order() -> None:
    same_size = replace(P, height=30, width=40)
    assert np.array_equal(fit(RGB, same_size), RGB)
    assert np.array_equal(fit(RGB, replace(same_size, color="bgr")), RGB[:, :, ::-1])
    assert fit(RGB[:, :, :1], same_size).shape == (30, 40, 3)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_stretch_is_pillows_resize(interpolation: str) -> None:
    filters = Image.Resampling[interpolation.upper()]
    expected = np.asarray(Image.fromarray(RGB).resize((16, 16), filters))
    assert np.array_equal(fit(RGB, replace(P, interpolation=interpolation)), expected)


def test_shortest_side_and_crop() -> None:
    expected = Image.fromarray(RGB).resize((21, 16), Image.Resampling.BILINEAR).crop((2, 0, 18, 16))
    assert np.array_equal(fit(RGB, replace(P, resize="shortest")), np.asarray(expected))


def test_crop_ratio() -> None:
    """0.5: the shorter side becomes 32, of which the middle 16 remain."""
    expected = Image.fromarray(RGB).resize((43, 32), Image.Resampling.BILINEAR).crop((13, 8, 29, 24))
    assert np.array_equal(fit(RGB, replace(P, resize="shortest", crop_ratio=0.5)), np.asarray(expected))


def test_longest_side_is_padded_with_black() -> None:
    fitted = fit(RGB, replace(P, resize="longest"))
    assert fitted.shape == (16, 16, 3)
    assert not fitted[:2].any()
    assert not fitted[-2:].any()
    assert fitted[2:14].any(axis=(1, 2)).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 900), (900, 1), (2, 3)])
@pytest.mark.parametrize("resize", ["stretch", "shortest", "longest"])
def test_odd_shapes_fit(shape: tuple[int, int], resize: str) -> None:
    assert fit(np.full((*shape, 1), 9, dtype=np.uint8), replace(GREY, resize=resize)).shape == (16, 16, 1)


def test_light_backgrounds_are_inverted() -> None:
    dark = np.zeros((16, 16, 1), dtype=np.uint8)
    dark[6:10, 7:9] = 200
    auto = replace(GREY, invert="light-background")
    assert np.array_equal(fit(dark, auto), dark)
    assert np.array_equal(fit(255 - dark, auto), dark)
    assert np.array_equal(fit(dark, replace(GREY, invert="always")), 255 - dark)
    assert np.array_equal(fit(255 - dark, GREY), 255 - dark)


def test_normalise_is_the_formula() -> None:
    expected = (RGB.astype(np.float64) / 255 - P.mean) / P.std
    found = normalise(RGB[None], P)
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    np.testing.assert_allclose(found[0], expected.transpose(2, 0, 1), atol=1e-6)
    assert (
        abs(normalise(RGB[None], replace(P, std=(0.2, 0.3, 0.5)))[0] - expected.transpose(2, 0, 1)).max()
        > 0.1
    )


def test_a_batch_of_several_sizes() -> None:
    assert preprocess([RGB, RGB[:5], RGB[:, :3]], P).shape == (3, 3, 16, 16)
