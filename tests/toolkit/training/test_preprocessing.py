"""Preprocessing follows the data; training's arithmetic is the runtime's."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from pixel_graphs import graph

from cnntk.data import ArrayImages, Split, open_data, prepare
from cnntk.exporters.preprocessing import with_resize_form
from cnntk.runtime.artifact.spec import Preprocessing
from cnntk.runtime.preprocessing.preprocess import normalize, resize_and_crop
from cnntk.training.batches import Batches
from cnntk.training.loop import Normalize
from cnntk.training.preprocessing import measure_preprocessing, preprocessing_for


def test_handwriting_reads_on_any_background() -> None:
    split = open_data("digits")
    p = preprocessing_for(split, 1, 28)
    assert (p.color, p.height, p.width, p.resize, p.invert) == ("gray", 28, 28, "longest", "light-background")
    white_on_black = split.train.images.take(range(50), Preprocessing("gray", 8, 8))
    for image in white_on_black:
        apart = resize_and_crop(image, p).astype(int) - resize_and_crop(255 - image, p)
        assert abs(apart).max() <= 1  # the resize comes first, and rounds half up in either


def test_photos_are_as_they_are(make_split: Callable[..., Split]) -> None:
    p = preprocessing_for(make_split(channels=3, resize="shortest"), 3, 32)
    assert (p.color, p.resize, p.invert, p.crop_ratio) == ("rgb", "shortest", "never", 1.0)


@pytest.mark.parametrize("memory_bytes", [0, 2**30], ids=["on demand", "in memory"])
def test_mean_and_deviation(memory_bytes: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (1500, 3, 5, 3), dtype=np.uint8)
    p = Preprocessing("rgb", 3, 5, mean=(0.0,) * 3, std=(1.0,) * 3)
    m = measure_preprocessing(prepare(ArrayImages(pixels), p, memory_bytes))
    np.testing.assert_allclose(m.mean, (pixels / 255).mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(m.std, (pixels / 255).std(axis=(0, 1, 2)), rtol=1e-12)


def test_constant_images_divide_by_one() -> None:
    images = ArrayImages(np.full((4, 3, 3, 1), 255, np.uint8))
    m = measure_preprocessing(prepare(images, Preprocessing("gray", 3, 3)))
    assert (m.mean, m.std) == (pytest.approx((1.0,)), (1.0,))


@pytest.mark.parametrize("memory_bytes", [0, 2**30], ids=["on demand", "in memory"])
def test_training_sees_the_pixels_of_the_artifact(
    make_split: Callable[..., Split], memory_bytes: int
) -> None:
    """A network is trained on what the exact form of the graph makes of a photograph, to the bit."""
    split = make_split(channels=3, resize="shortest")
    p = with_resize_form(preprocessing_for(split, 3, 112), "exact")
    assert p.resize_form == "exact"
    photograph = photo((375, 500))
    dataset = replace(split.train, images=ArrayImages(photograph), labels=np.zeros(1, np.int64))
    images = prepare(dataset.images, p, memory_bytes)
    batches = Batches.of(dataset, images, torch.device("cpu"))
    (pixels, _), *_ = batches.take([torch.tensor([0])])
    raw = replace(p, scale=1.0)
    assert np.array_equal(pixels.numpy(), graph(raw)(photograph))
    other = replace(raw, interpolation="bicubic")
    assert not np.array_equal(pixels.numpy(), graph(other)(photograph))


def photo(size: tuple[int, int]) -> np.ndarray:
    """Waves and noise, (1, height, width, 3), which nearly no two ways to resize round alike."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    waves = 127.5 + 90 * np.sin(rows / 9)[..., None] * np.cos(columns[..., None] / (7, 8, 9))
    noisy = waves + np.random.default_rng(0).normal(0, 20, waves.shape)
    return noisy.clip(0, 255).astype(np.uint8)[None]


def test_training_normalizes_like_the_runtime() -> None:
    pixels = np.arange(256, dtype=np.uint8).repeat(3).reshape(4, 8, 8, 3)
    p = Preprocessing("rgb", 8, 8, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    actual = Normalize(p, torch.device("cpu"))(torch.from_numpy(pixels).permute(0, 3, 1, 2))
    np.testing.assert_array_max_ulp(actual.numpy(), normalize(pixels, p), maxulp=2)
