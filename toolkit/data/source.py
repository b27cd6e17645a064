"""`open_data`: labeled images from the text of ``--data``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cnntk.data.cifar import open_cifar10
from cnntk.data.dataset import Split
from cnntk.data.folder import open_folder
from cnntk.data.idx import open_fashion_mnist, open_mnist
from cnntk.runtime.errors import DataError, UsageError

__all__ = ["FORMS", "open_data"]

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
        from cnntk.data.digits import (
            open_digits,
        )  # python -m runs this module, so the package must not load it

        return open_digits()
    kind, _, path = text.partition(":")
    if kind not in _READERS or not path:
        raise UsageError(f"data {text!r}: expected one of {', '.join(FORMS)}")
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder (from --data {text})")
    return _READERS[kind](folder)
