"""Photos in folders: a folder per class, named like the class; any image format that the runtime reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cnntk.data.dataset import Dataset, Labels, Split
from cnntk.data.holdout import held_out
from cnntk.data.images import FileImages
from cnntk.runtime.errors import DataError

__all__ = ["open_folder", "read_classes", "read_to_judge"]


def open_folder(folder: Path) -> Split:
    """The images of ``folder``, classes sorted by name, hidden files ignored.

    Where it holds ``train`` and ``test`` (or ``val``), these are the two sets; else a fixed fifth of each
    class is held out.

    Raises:
        DataError: no folder, no classes, one class only, or an empty class; the message names it.
    """
    name = f"folder:{folder.resolve().name}"
    train, test = _subfolder(folder, "train"), _subfolder(folder, "test", "val")
    if train and test:
        learn = read_classes(train)
        return Split(name, learn, read_classes(test, learn.classes), resize="shortest")
    everything = read_classes(train or folder)
    mask = held_out(everything.labels)
    return Split(name, _part(everything, ~mask), _part(everything, mask), resize="shortest")


def read_to_judge(folder: Path) -> Dataset:
    """The images of a folder that nobody trains on: those of ``test`` (or ``val``), if it is split, else all.

    Raises:
        DataError: as `open_folder`.
    """
    if _subfolder(folder, "train") and _subfolder(folder, "test", "val"):
        return open_folder(folder).test
    return read_classes(folder)


def read_classes(
    folder: Path, classes: tuple[str, ...] | None = None, size: tuple[int, int] | None = None
) -> Dataset:
    """The images of a folder that has a folder per class.

    Args:
        folder: of the classes.
        classes: those that are expected; default: what is there.
        size: height and width where all images are known to share them.

    Raises:
        DataError: a class is missing, unknown or empty.
    """
    found = _class_folders(folder)
    names = tuple(f.name for f in found)
    if classes is not None and (differing := sorted(set(names) ^ set(classes))):
        raise DataError(f"{folder}: class {differing[0]!r} is in one of training and test images only")
    if len(names) < 2:
        raise DataError(f"{folder}: one class only ({names[0]}); make a folder for each of 2 or more classes")
    files = [_files(f) for f in found]
    labels = np.repeat(np.arange(len(files), dtype=np.int64), [len(f) for f in files])
    return Dataset(FileImages(tuple(f for group in files for f in group), size), labels, names)


def _class_folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; name one that has a folder per class")
    found = sorted(f for f in folder.iterdir() if f.is_dir() and not f.name.startswith("."))
    if not found:
        raise DataError(f"{folder}: has no folder per class; sort the images into one folder a class")
    return found


def _files(folder: Path) -> list[Path]:
    files = sorted(f for f in folder.rglob("*") if f.is_file() and not _hidden(f.relative_to(folder)))
    if not files:
        raise DataError(f"{folder}: class {folder.name!r} is empty; add images, or remove the folder")
    return files


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _subfolder(folder: Path, *names: str) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_dir()), None)


def _part(whole: Dataset, mask: NDArray[np.bool_]) -> Dataset:
    paths = whole.images.paths if isinstance(whole.images, FileImages) else ()
    labels: Labels = whole.labels[mask]
    return Dataset(FileImages(tuple(p for p, m in zip(paths, mask, strict=True) if m)), labels, whole.classes)
