"""scikit-learn's handwritten digits; ``python -m cnntk.data.digits 7 seven.png`` writes one to classify."""

from __future__ import annotations

import argparse
import os

import numpy as np
from PIL import Image

from cnntk.data.dataset import Dataset, Labels, Split, held_out
from cnntk.data.images import ArrayImages
from cnntk.runtime.errors import MissingDependency
from cnntk.runtime.images.reading import Pixels

__all__ = ["open_digits", "write_digit"]

_SIDE = 200
"""Height and width in pixels of a written digit."""


def open_digits() -> Split:
    """Opens scikit-learn's 1,797 handwritten digits, 8x8 pixels, white on black; a fixed fifth is held out.

    Raises:
        MissingDependency: scikit-learn is not installed.
    """
    pixels, labels, classes = _load()
    mask = held_out(labels)
    train, test = (Dataset(ArrayImages(pixels[m]), labels[m], classes) for m in (~mask, mask))
    return Split("digits", train, test, resize="longest", handwriting=True)


def write_digit(digit: int, file: str | os.PathLike[str]) -> None:
    """Writes the held-out digit that is nearest to the mean of its class, black on white, 200x200 pixels.

    Args:
        digit: Class, 0 to 9.
        file: Image file to write; its suffix says the format.

    Raises:
        MissingDependency: scikit-learn is not installed.
    """
    pixels, labels, _ = _load()
    images = pixels[held_out(labels) & (labels == digit), :, :, 0].astype(np.float64)
    distances = np.square(images - images.mean(axis=0)).sum(axis=(1, 2))
    nearest = (255 - images[distances.argmin()]).astype(np.uint8)
    Image.fromarray(nearest).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC).save(file)


def _load() -> tuple[Pixels, Labels, tuple[str, ...]]:
    """All images, uint8 (N, 8, 8, 1), their labels, and the names of the classes."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingDependency(
            'the data set digits needs scikit-learn; run: pip install "cnntk[train]"'
        ) from error
    bunch = load_digits()
    pixels = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[..., None]
    labels = bunch.target.astype(np.int64)
    return pixels, labels, tuple(str(name) for name in bunch.target_names)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m cnntk.data.digits", description="Writes a digit to classify."
    )
    parser.add_argument("digit", type=int, choices=range(10))
    parser.add_argument("file")
    arguments = parser.parse_args()
    write_digit(arguments.digit, arguments.file)
