"""The held-out digits of scikit-learn, in folders, at the size of the shipped LeNet's input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnntk.data import ArrayImages, open_data

SIDE = 28


def large_digits() -> tuple[np.ndarray, np.ndarray]:
    """Pixels, uint8 (359, 28, 28), which no preprocessing resizes, and labels."""
    test = open_data("digits").test
    assert isinstance(test.images, ArrayImages)
    images = (Image.fromarray(np.array(pixels[:, :, 0])) for pixels in test.images.pixels)
    resized = [np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC)) for image in images]
    return np.stack(resized), test.labels


@pytest.fixture
def digit_folders(tmp_path: Path) -> Callable[..., Path]:
    """Writes the first digits as PNG files, named by their numbers, into a folder per class."""

    def write(count: int = 60, names: Sequence[str] = tuple("0123456789"), name: str = "digits") -> Path:
        pixels, labels = large_digits()
        for i in range(count):
            folder = tmp_path / name / names[labels[i]]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels[i]).save(folder / f"{i:04}.png")
        return tmp_path / name

    return write


@pytest.fixture
def digits() -> tuple[np.ndarray, np.ndarray]:
    """Pixels, uint8 (359, 28, 28), and labels of all digits."""
    return large_digits()
