"""scikit-learn's handwritten digits: 1,797 of them, 8x8 pixels, built in."""

from __future__ import annotations

import numpy as np

from cnntk.data.dataset import Dataset, Split
from cnntk.data.holdout import held_out
from cnntk.data.images import ArrayImages
from cnntk.runtime.errors import MissingDependency

__all__ = ["open_digits"]


def open_digits() -> Split:
    """The digits, white on black; a fixed fifth of each class is held out.

    Raises:
        MissingDependency: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingDependency(
            'the data set digits needs scikit-learn; run: pip install "cnntk[train]"'
        ) from error
    bunch = load_digits()
    pixels = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[..., None]
    labels = bunch.target.astype(np.int64)
    classes = tuple(str(name) for name in bunch.target_names)
    mask = held_out(labels)
    train, test = (Dataset(ArrayImages(pixels[m]), labels[m], classes) for m in (~mask, mask))
    return Split("digits", train, test, resize="longest", handwriting=True)
