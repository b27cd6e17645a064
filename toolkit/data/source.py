"""`open_data`: labeled images from the text of ``--data``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from cnntk.data.cifar import open_cifar10
from cnntk.data.dataset import Dataset, Split, held_out
from cnntk.data.folder import open_folder
from cnntk.data.idx import open_fashion_mnist, open_mnist
from cnntk.data.images import ArrayImages
from cnntk.runtime.errors import DataError, MissingDependency, UsageError

__all__ = ["FORMS", "open_data", "open_digits"]

_READERS: dict[str, Callable[[Path], Split]] = {
    "mnist": open_mnist,
    "fashion-mnist": open_fashion_mnist,
    "cifar10": open_cifar10,
    "folder": open_folder,
}

FORMS = ("digits", *(f"{kind}:DIR" for kind in _READERS))
"""Forms of the text of ``--data``."""


def open_data(text: str) -> Split:
    """Opens labeled images.

    Args:
        text: ``digits`` (from scikit-learn), ``mnist:DIR``, ``fashion-mnist:DIR``, ``cifar10:DIR``, or
            ``folder:DIR`` with a folder per class.

    Raises:
        UsageError: The text has none of these forms.
        DataError: The data is missing, corrupt or mismatched; the message names the file.
        MissingDependency: ``digits`` needs scikit-learn, which is not installed.
    """
    if text == "digits":
        return open_digits()
    kind, _, path = text.partition(":")
    if kind not in _READERS or not path:
        raise UsageError(f"data {text!r}: expected one of {', '.join(FORMS)}")
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder (from --data {text})")
    return _READERS[kind](folder)


def open_digits() -> Split:
    """Opens scikit-learn's 1,797 handwritten digits, 8x8 pixels, white on black; a fixed fifth is held out.

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
