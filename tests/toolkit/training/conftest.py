"""A small data set that is learned in a second, and one thread for all."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

from cnntk.data import ArrayImages, Dataset, Split


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def make_dataset(count: int, channels: int, size: int, seed: int) -> Dataset:
    """Noise with a bright half: left, right or none."""
    random = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int64) % 3
    pixels = random.integers(0, 120, (count, size, size, channels), dtype=np.uint8)
    pixels[labels == 0, :, : size // 2] += 100
    pixels[labels == 1, :, size // 2 :] += 100
    return Dataset(ArrayImages(pixels), labels, ("left", "right", "none"))


@pytest.fixture
def make_split() -> Callable[..., Split]:
    def make(train: int = 96, test: int = 24, channels: int = 1, size: int = 12, **more: object) -> Split:
        sets = make_dataset(train, channels, size, 0), make_dataset(test, channels, size, 1)
        return Split("noise", *sets, **more)  # type: ignore[arg-type]

    return make


@pytest.fixture
def split(make_split: Callable[..., Split]) -> Split:
    """96 training and 24 test images, gray, 12x12, of three classes."""
    return make_split()
