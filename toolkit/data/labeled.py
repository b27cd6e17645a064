"""Labeled images of any DATA, and the class index that a model has for them."""

from __future__ import annotations

import csv
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cnntk.data.dataset import Labels
from cnntk.data.folder import held_out_folder
from cnntk.data.images import ArrayImages, FileImages
from cnntk.data.source import check_data, is_labeled, open_data
from cnntk.inference.input_files import expand
from cnntk.inference.pipeline import NamedImage
from cnntk.runtime.errors import DataError, UsageError
from cnntk.runtime.images.reading import Pixels
from cnntk.runtime.images.search import LeftOutFiles, is_image_file, readable_formats
from cnntk.runtime.inert import cell_text

__all__ = [
    "LabeledFiles",
    "LabeledImages",
    "class_indices",
    "labeled_files",
    "match_classes",
    "numbering_note",
    "open_labeled",
]

TABLE = "labels.csv"
"""Table in a folder without a folder per class: its columns are ``file`` and ``label``."""


@dataclass(frozen=True)
class LabeledFiles:
    """Image files and their classes.

    Attributes:
        paths: Paths of the files.
        labels: Class index of each file, as the model numbers its classes.
        unreadable: One line for each file or folder that can't be read.
        notes: One line for what was left out, with the reason.
    """

    paths: tuple[str, ...]
    labels: tuple[int, ...]
    unreadable: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.paths)

    def sample(self, max_images: int, seed: int) -> LabeledFiles:
        """A random sample with balanced classes, always the same for a seed."""
        if len(self) <= max_images:
            return self
        chosen = _balanced_sample(self.labels, max_images, seed)
        note = _sample_note(max_images, len(self), seed)
        paths, labels = tuple(self.paths[i] for i in chosen), tuple(self.labels[i] for i in chosen)
        return LabeledFiles(paths, labels, self.unreadable, (*self.notes, note))


@dataclass(frozen=True, eq=False)
class LabeledImages:
    """Images with their classes, as the data numbers them.

    Attributes:
        name: Name of the data, without a path.
        images: Images in memory or in files.
        indices: Indices of the selected images, int64 (N,).
        labels: Class of each selected image, as an index into ``classes``, int64 (N,).
        classes: Names of the classes.
        unreadable: One line for each folder that can't be read.
        notes: One line for each remark.
    """

    name: str
    images: ArrayImages | FileImages
    indices: Labels
    labels: Labels
    classes: tuple[str, ...]
    unreadable: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[NamedImage]:
        return map(self.image, range(len(self)))

    def image(self, position: int) -> NamedImage:
        """A selected image; the name of one in memory is its number from 1."""
        index = int(self.indices[position])
        source = self.source(position)
        return NamedImage(source if isinstance(source, str) else f"number {index + 1}", source)

    def source(self, position: int) -> str | Pixels:
        """Path or pixels of a selected image."""
        index = int(self.indices[position])
        if isinstance(self.images, ArrayImages):
            pixels: Pixels = self.images.pixels[index]
            return pixels
        return str(self.images.paths[index])

    def sample(self, max_images: int, seed: int) -> LabeledImages:
        """A random sample with balanced classes, always the same for a seed."""
        if len(self) <= max_images:
            return self
        chosen = _balanced_sample(self.labels.tolist(), max_images, seed)
        notes = (*self.notes, _sample_note(max_images, len(self), seed))
        return replace(self, indices=self.indices[chosen], labels=self.labels[chosen], notes=notes)


def open_labeled(data: str | os.PathLike[str]) -> LabeledImages:
    """Opens the images that a model is evaluated on.

    Args:
        data: ``digits``, ``mnist:DIR``, ``fashion-mnist:DIR`` or ``cifar10:DIR``: the test images; a folder
            with or without ``folder:`` before it, with a folder per class or a ``labels.csv``: all images, or
            those of ``test`` (or ``val``) where it is split.

    Raises:
        UsageError: The data has none of these forms.
        DataError: The data is missing or corrupt, or has no labeled image.
        MissingDependency: ``digits`` needs scikit-learn, which is not installed.
    """
    text = os.fspath(data)
    kind, colon, path = text.partition(":")
    if is_labeled(text) and kind != "folder":
        split = open_data(text)
        images = split.test.images
        if not isinstance(images, ArrayImages | FileImages):
            raise TypeError(f"images: expected arrays or files, got {type(images).__name__}")
        return LabeledImages(
            split.name, images, np.arange(len(images)), split.test.labels, split.test.classes
        )
    folder = Path(path if kind == "folder" and colon else text).expanduser()
    check_data(text, bare_folder=True)
    errors: list[str] = []
    left_out = LeftOutFiles()
    inner = held_out_folder(folder)
    files = _read_folder(inner or folder, errors, left_out)
    classes = tuple(sorted({name for _, name in files}))
    numbers = {name: number for number, name in enumerate(classes)}
    used = f"the images of {inner} are used" if inner else ""
    notes = (used, _unlabeled_note(inner or folder), str(left_out))
    return LabeledImages(
        folder.resolve().name,
        FileImages(tuple(Path(path) for path, _ in files)),
        np.arange(len(files)),
        np.array([numbers[name] for _, name in files], dtype=np.int64),
        classes,
        tuple(errors),
        tuple(filter(None, notes)),
    )


def _balanced_sample(labels: Sequence[int], max_images: int, seed: int) -> list[int]:
    """Indices of a random sample with balanced classes, in their order."""
    order: list[int] = np.random.RandomState(seed).permutation(len(labels)).tolist()
    rounds, counts = [], Counter[int]()
    for index in order:
        rounds.append(counts[labels[index]])
        counts[labels[index]] += 1
    # One image of each class, then a second one, ...; the last round is filled in random order.
    positions = sorted(range(len(order)), key=rounds.__getitem__)
    return sorted(order[position] for position in positions[:max_images])


def _sample_note(max_images: int, images: int, seed: int) -> str:
    return f"{max_images} of {images} images are used, balanced by class, seed {seed} (--max-images)"


def labeled_files(folder: str | os.PathLike[str], labels: Sequence[str]) -> LabeledFiles:
    """Lists the images of a folder that contains a folder per class, or a ``labels.csv``.

    Args:
        folder: Folder whose class names are the model's labels, or class indices from 0 on.
        labels: Labels of the model.

    Raises:
        DataError: There is no image, or no class that the model knows.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; expected one that contains a folder per class")
    if not labels:
        raise DataError(f"{folder}: the model has no labels to compare with; export it with labels")
    errors: list[str] = []
    left_out = LeftOutFiles()
    files = _read_folder(folder, errors, left_out)
    names = list(dict.fromkeys(name for _, name in files))
    indices = match_classes(names, labels)
    if not indices:
        raise DataError(
            f"{folder}: none of its classes is one of the model's: {_first_few(names)}; expected "
            f"{_first_few(labels)}, or numbers from 0 to {len(labels) - 1}"
        )
    unknown = [name for name in names if name not in indices]
    unmatched = f"left out, because not exactly one label of the model matches: {_first_few(unknown)}"
    notes = (unmatched if unknown else "", _unlabeled_note(folder), str(left_out))
    matched = [(path, indices[name]) for path, name in files if name in indices]
    return LabeledFiles(
        tuple(path for path, _ in matched),
        tuple(label for _, label in matched),
        tuple(errors),
        tuple(filter(None, notes)),
    )


def match_classes(names: Iterable[str], labels: Sequence[str]) -> dict[str, int]:
    """Index of each class name among the labels, by label or else by number, whichever matches more.

    Labels are compared exactly first, then without case, punctuation and spaces. Names that match no label,
    or more than one, are left out.
    """
    exact, alike = _unique_indices(labels), _unique_indices([_simplified(label) for label in labels])
    by_label, by_number = {}, {}
    for name in names:
        index = exact.get(name, alike.get(_simplified(name)))
        if index is not None and index >= 0:
            by_label[name] = index
        if name.isdecimal() and int(name) < len(labels):
            by_number[name] = int(name)
    return by_label if len(by_label) >= len(by_number) else by_number


def class_indices(classes: Sequence[str], labels: Sequence[str], data: str, model: str) -> tuple[int, ...]:
    """Index of each class of the data among a model's labels, as `match_classes` finds it.

    Where the model's labels are only numbers, as many as there are classes, classes are numbered in order.

    Args:
        classes: Names of the classes.
        labels: Labels of the model.
        data: Name of the data for messages.
        model: Name of the model for messages.

    Raises:
        DataError: A class is none of the labels; the message has examples of both.
    """
    indices = match_classes(classes, labels)
    numbered = tuple(labels) == tuple(map(str, range(len(labels))))
    if len(indices) < len(classes) and numbered and len(classes) == len(labels):
        return tuple(range(len(classes)))
    if missing := [name for name in classes if name not in indices]:
        several = _simplified(missing[0]) in map(_simplified, labels)
        more = f"; {len(missing)} of its {len(classes)} classes have no label" if len(missing) > 1 else ""
        raise DataError(
            f"{data}: its class {missing[0]!r} is {'several' if several else 'not one'} of {model}'s labels "
            f"({_first_few(labels)}){more}; name each class by its label or by its number, 0 to "
            f"{len(labels) - 1}"
        )
    return tuple(indices[name] for name in classes)


def numbering_note(classes: Sequence[str], labels: Sequence[str], data: str, model: str) -> str:
    """Returns a note where `class_indices` matches classes by nothing but their order; else "".

    Raises:
        DataError: A class is none of the labels.
    """
    pairs = [
        (a, labels[i]) for a, i in zip(classes, class_indices(classes, labels, data, model), strict=True)
    ]
    if not all(label.isdecimal() and not a.isdecimal() for a, label in pairs):
        return ""
    first = ", ".join(f"{a!r} is {label}" for a, label in pairs[:3]) + (", ..." if len(pairs) > 3 else "")
    return (
        f"{model}: has no labels but numbers, so classes are numbered in the order of their names: {first}; "
        "cnntk export --labels FILE names them in another order"
    )


def _read_folder(folder: Path, errors: list[str], left_out: LeftOutFiles) -> list[tuple[str, str]]:
    """Files and the names of their classes; what can't be read is appended to ``errors``."""
    table = folder / TABLE
    return _from_table(table) if table.is_file() else _from_folders(folder, errors, left_out)


def _from_folders(folder: Path, errors: list[str], left_out: LeftOutFiles) -> list[tuple[str, str]]:
    """Files and the names of their folders; what can't be read is appended to ``errors``."""
    files = []
    for inner in sorted(f for f in folder.iterdir() if f.is_dir() and not f.name.startswith(".")):
        try:
            entries = list(expand([str(inner)], left_out))
        except UsageError as error:
            errors.append(str(error))
            continue
        files += [(entry, inner.name) for entry in entries if isinstance(entry, str)]
        errors += [str(entry.error) for entry in entries if not isinstance(entry, str)]
    if not files:
        raise DataError(
            f"{folder}: contains no labeled image; expected a folder per class, or {TABLE}, with images "
            f"({readable_formats()})"
        )
    return files


def _unlabeled_note(folder: Path) -> str:
    """A note on the images beside the class folders, which have no label; empty without any."""
    if (folder / TABLE).is_file():
        return ""
    files = sorted(entry for entry in folder.iterdir() if entry.is_file() and not entry.name.startswith("."))
    names = [file.name for file in files if is_image_file(str(file))]
    return f"left out, because they are in no class folder: {_first_few(names)}" if names else ""


def _from_table(file: Path) -> list[tuple[str, str]]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file}: can't be read ({error})") from error
    if not rows:
        raise DataError(f"{file}: contains no row; expected the columns file and label, and a row per image")
    for number, row in enumerate(rows, start=2):
        if not row.get("file") or not row.get("label"):
            raise DataError(
                f"{file}: row {number} has no file or no label; expected the columns file and label"
            )
    return [(str(file.parent / cell_text(row["file"])), cell_text(row["label"])) for row in rows]


def _unique_indices(labels: Sequence[str]) -> dict[str, int]:
    """Index of each label; -1 for a label that several classes have."""
    indices: dict[str, int] = {}
    for index, label in enumerate(labels):
        indices[label] = -1 if label in indices else index
    return indices


def _simplified(name: str) -> str:
    """The name without what folder names can't have: case, punctuation and spaces are ignored."""
    return re.sub(r"[\W_]+", " ", name.casefold()).strip()


def _first_few(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:4])) + (f", ... ({len(names)})" if len(names) > 4 else "")
