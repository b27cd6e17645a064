"""`open_data`: labeled images from the text of ``--data``. `check_data` needs no numpy."""

from __future__ import annotations

import importlib.util
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, cast

from cnntk.runtime.errors import DataError, MissingDependency, UsageError

if TYPE_CHECKING:
    from cnntk.data.dataset import Split

__all__ = ["FORMS", "check_data", "is_labeled", "open_data"]

_READERS = {
    "mnist": "cnntk.data.idx:open_mnist",
    "fashion-mnist": "cnntk.data.idx:open_fashion_mnist",
    "cifar10": "cnntk.data.cifar:open_cifar10",
    "folder": "cnntk.data.folder:open_folder",
}

FORMS = ("digits", *(f"{kind}:DIR" for kind in _READERS))
"""Forms of the text of ``--data``; ``cifar10:`` takes the archive, too."""


def open_data(text: str) -> Split:
    """Opens labeled images.

    Args:
        text: ``digits`` (from scikit-learn), ``mnist:DIR``, ``fashion-mnist:DIR``, ``cifar10:DIR`` or
            ``cifar10:FILE.tar.gz``, or ``folder:DIR`` with a folder per class.

    Raises:
        UsageError: The text has none of these forms.
        DataError: The data is missing, corrupt or mismatched; the message names the file.
        MissingDependency: ``digits`` needs scikit-learn, which is not installed.
    """
    check_data(text)
    if text == "digits":  # python -m runs this module, so the package must not load it
        from cnntk.data.digits import open_digits

        return open_digits()
    kind, _, path = text.partition(":")
    module, _, function = _READERS[kind].partition(":")
    return cast("Split", getattr(import_module(module), function)(Path(path).expanduser()))


def is_labeled(text: str) -> bool:
    """Whether a text has one of the `FORMS`."""
    kind, _, path = text.partition(":")
    return text == "digits" or (kind in _READERS and bool(path))


def check_data(text: str, *, bare_folder: bool = False) -> None:
    """Checks what `open_data` takes, as far as no file has to be read.

    Args:
        text: Text of ``--data``.
        bare_folder: Whether a folder alone is accepted, too.

    Raises:
        UsageError: The text has none of the forms.
        DataError: There is no such folder or archive.
        MissingDependency: ``digits`` needs scikit-learn, which is not installed.
    """
    if not is_labeled(text):
        if text and Path(text).expanduser().is_dir():
            if bare_folder:
                return
            raise UsageError(f"data {text!r}: is a folder; with a folder per class it is folder:{text}")
        forms = f"{', '.join(FORMS)}{', or a folder' if bare_folder else ''}"
        missing = "no such folder; " if bare_folder else ""
        raise UsageError(f"data {text!r}: {missing}expected one of {forms}")
    kind, _, name = text.partition(":")
    if kind == "digits":
        if importlib.util.find_spec("sklearn") is None:
            raise MissingDependency('the data set digits needs scikit-learn; run: pip install "cnntk[train]"')
        return
    path = Path(name).expanduser()
    if path.is_dir() or (kind == "cifar10" and path.is_file()):
        return
    problem = "is a file; expected a folder" if path.exists() else "no such folder"
    raise DataError(f"{path}: {problem} (from --data {text})")
