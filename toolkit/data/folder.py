"""Photos in a folder per class, in any image format that the runtime reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cnntk.data.dataset import Dataset, Split, held_out
from cnntk.data.images import FileImages, image_files
from cnntk.runtime.errors import DataError

__all__ = ["held_out_folder", "open_folder", "read_classes", "read_to_judge"]


def open_folder(folder: Path) -> Split:
    """Opens the images of ``folder``, with classes sorted by name and without hidden files and other files.

    Where it contains ``train`` and ``test`` (or ``val``), these are the two sets; else a fixed fifth of each
    class is held out.

    Raises:
        DataError: There is no folder, fewer than two classes, or an empty class; the message names it.
    """
    name = f"folder:{folder.resolve().name}"
    train, test = _subfolder(folder, "train"), _subfolder(folder, "test", "val")
    if train and test:
        train_set = read_classes(train)
        return Split(name, train_set, read_classes(test, train_set.classes), resize="shortest")
    dataset = read_classes(train or folder)
    mask = held_out(dataset.labels)
    return Split(name, _subset(dataset, ~mask), _subset(dataset, mask), resize="shortest")


def read_to_judge(folder: Path) -> Dataset:
    """Opens the images that measure the accuracy: those of ``test`` (or ``val``), if it is split, else all.

    Raises:
        DataError: As for `open_folder`.
    """
    return open_folder(folder).test if held_out_folder(folder) is not None else read_classes(folder)


def held_out_folder(folder: Path) -> Path | None:
    """The folder ``test`` (or ``val``) beside one named ``train``; None where the images are not split."""
    return _subfolder(folder, "test", "val") if _subfolder(folder, "train") else None


def read_classes(
    folder: Path, classes: tuple[str, ...] | None = None, size: tuple[int, int] | None = None
) -> Dataset:
    """Opens the images of a folder that contains a folder per class.

    Args:
        folder: Folder of the class folders.
        classes: Expected names of the classes. Default: any.
        size: Height and width of all images, if they are equal.

    Raises:
        DataError: A class is missing, unknown or empty.
    """
    folders = _class_folders(folder)
    names = tuple(f.name for f in folders)
    if classes is not None and (differing := sorted(set(names) ^ set(classes))):
        raise DataError(f"{folder}: class {differing[0]!r} is in only one of training and test images")
    if len(names) < 2:
        raise DataError(f"{folder}: one class only ({names[0]}); expected a folder for each of 2 or more")
    files = [_files(f) for f in folders]
    labels = np.repeat(np.arange(len(files), dtype=np.int64), [len(f) for f in files])
    return Dataset(FileImages(tuple(f for group in files for f in group), size), labels, names)


def _class_folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; expected one with a folder per class")
    folders = sorted(f for f in folder.iterdir() if f.is_dir() and not f.name.startswith("."))
    if not folders:
        raise DataError(f"{folder}: has no folder per class; sort the images into one folder per class")
    return folders


def _files(folder: Path) -> tuple[Path, ...]:
    files = image_files(folder)
    if not files:
        raise DataError(f"{folder}: class {folder.name!r} has no image; add images, or remove the folder")
    return files


def _subfolder(folder: Path, *names: str) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_dir()), None)


def _subset(dataset: Dataset, mask: NDArray[np.bool_]) -> Dataset:
    indices = np.flatnonzero(mask)
    return Dataset(dataset.images.select(indices), dataset.labels[indices], dataset.classes)
