"""Torch's way is the host's, step by step."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from cnntk.models.preprocess import Preprocess
from cnntk.runtime.artifact.spec import Preprocessing
from cnntk.runtime.preprocessing.preprocess import preprocess, resize_and_crop

RGB = Preprocessing(color="rgb", height=12, width=20, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
GRAY = Preprocessing(color="gray", height=12, width=20, mean=(0.5,), std=(0.2,))
SIZES = [(12, 20), (1, 1), (3, 90), (90, 3), (50, 41), (7, 8), (24, 40)]


def images(rng: np.random.Generator, size: tuple[int, int], channels: int) -> np.ndarray:
    """A dark one and a light one."""
    noise = rng.integers(0, 256, (2, *size, channels), dtype=np.uint8) >> 1
    return noise + np.array([0, 128], dtype=np.uint8).reshape(2, 1, 1, 1)


def gap(batch: np.ndarray, p: Preprocessing) -> float:
    """In levels, at the worst."""
    output = Preprocess(p)(torch.from_numpy(batch)).numpy()
    expected = preprocess(list(batch), p)
    assert output.shape == expected.shape
    assert output.dtype == np.float32
    level = p.scale / np.array(p.std).reshape((-1, 1, 1) if p.layout == "NCHW" else (-1,))
    return float((abs(output - expected) / level).max())


@pytest.mark.parametrize("resize", ["stretch", "shortest", "longest"])
@pytest.mark.parametrize("levels", ["uint8", "float32"])
@pytest.mark.parametrize(
    ("interpolation", "antialias"),
    [
        ("nearest", True),
        ("bilinear", True),
        ("bicubic", True),
        ("lanczos", True),
        ("bilinear", False),
        ("bicubic", False),
    ],
)
def test_as_on_the_host(resize: str, interpolation: str, antialias: bool, levels: str) -> None:
    rng = np.random.default_rng(0)
    how = {"resize": resize, "interpolation": interpolation, "antialias": antialias, "levels": levels}
    bound = 2.01 if levels == "uint8" else 0.01
    for p, invert, layout in itertools.product(
        (RGB, replace(RGB, color="bgr"), GRAY), ("never", "always", "light-background"), ("NCHW", "NHWC")
    ):
        for size in SIZES:
            options = replace(p, **how, invert=invert, layout=layout, crop_ratio=0.8)
            assert gap(images(rng, size, 3), options) <= bound, (size, options)
            assert gap(images(rng, size, 1), options) <= bound, (size, options)


def test_one_pixel_wide_is_not_what_torch_makes_of_it() -> None:
    """torch 2.13 alone answers levels that are nowhere in the image."""
    image = np.array([0, 0, 200], dtype=np.uint8).reshape(1, 3, 1, 1)
    p = Preprocessing("gray", 4, 1, levels="float32")
    expected = np.asarray(Image.fromarray(image[0, :, :, 0].astype(np.float32)).resize((1, 4), 2))
    output = Preprocess(p).pixel_values(torch.from_numpy(image))[0, 0].numpy()
    np.testing.assert_allclose(output, expected, atol=1e-3)


def test_levels_are_the_hosts_fit() -> None:
    batch = images(np.random.default_rng(0), (12, 20), 3)
    levels = Preprocess(replace(RGB, invert="light-background")).pixel_values(torch.from_numpy(batch))
    assert levels.dtype == torch.uint8
    expected = resize_and_crop(batch[1], replace(RGB, invert="light-background"))
    assert np.array_equal(levels[1].permute(1, 2, 0).numpy(), expected)


def test_an_image_does_not_see_its_neighbors() -> None:
    batch = images(np.random.default_rng(0), (30, 31), 3)
    way = Preprocess(replace(RGB, resize="longest", invert="light-background"))
    both = way(torch.from_numpy(batch))
    for i in range(2):
        assert torch.equal(both[i], way(torch.from_numpy(batch[i : i + 1]))[0])


def test_it_has_no_weights() -> None:
    """So that a network behind it keeps its own checkpoint."""
    assert Preprocess(RGB).state_dict() == {}


def test_the_check_can_fail() -> None:
    batch = images(np.random.default_rng(0), (50, 41), 3)
    output = Preprocess(replace(RGB, antialias=False)).pixel_values(torch.from_numpy(batch))[0]
    assert abs(output.permute(1, 2, 0).numpy().astype(int) - resize_and_crop(batch[0], RGB)).max() > 20
