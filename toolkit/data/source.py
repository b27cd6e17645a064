"""`open_data`: from what the user writes after ``--data`` to labeled images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cnntk.data.cifar import open_cifar10
from cnntk.data.dataset import Split
from cnntk.data.digits import open_digits
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
"""The forms of DATA."""


def open_data(text: str) -> Split:
    """Opens labeled images.

    Args:
        text: ``digits`` (built in), ``mnist:DIR``, ``fashion-mnist:DIR``, ``cifar10:DIR``, or
            ``folder:DIR`` with a folder per class.

    Raises:
        UsageError: it has none of these forms.
        DataError: the data is missing, corrupt or mismatched; the message names the file.
        MissingDependency: ``digits`` without scikit-learn.
    """
    if text == "digits":
        return open_digits()
    kind, _, place = text.partition(":")
    if kind not in _READERS or not place:
        raise UsageError(f"data {text!r}: expected one of {', '.join(FORMS)}")
    folder = Path(place).expanduser()
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder (from --data {text})")
    return _READERS[kind](folder)
