"""Images that calibrate a quantized model, and the other images that it is judged by."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cnntk.data import ArrayImages, Dataset, FileImages, check_data, open_data
from cnntk.data.folder import held_out_folder, read_classes, read_to_judge
from cnntk.data.images import Images, image_files, read_file
from cnntk.data.labeled import class_indices, numbering_note
from cnntk.data.source import is_labeled
from cnntk.runtime.artifact.spec import ModelSpec
from cnntk.runtime.errors import DataError, UsageError
from cnntk.runtime.images.reading import Pixels
from cnntk.runtime.images.search import readable_formats

__all__ = [
    "CalibrationImage",
    "CalibrationImages",
    "CalibrationSplit",
    "calibration_images",
    "max_evaluation_images",
    "split_images",
]

MIN_EVALUATION_IMAGES, MAX_EVALUATION_IMAGES = 1000, 10_000
_EVALUATION_WORK = 2_000_000_000_000
"""Multiply-adds that one evaluation should take: about half a minute on two cores in float32."""

_WHITE = (255, 255, 255)


@dataclass(frozen=True, eq=False)
class CalibrationImage:
    """A decoded image.

    Attributes:
        pixels: Array of uint8, (H, W, 3) in RGB order or (H, W, 1).
        name: File name, or ``number N``, for messages.
        label: Class index; None if unknown.
    """

    pixels: Pixels
    name: str
    label: int | None = None


@dataclass(frozen=True, eq=False)
class CalibrationImages:
    """A selection of images, each decoded when it is iterated over.

    Attributes:
        images: Data set that the selection comes from.
        indices: Indices of the selected images in ``images``, in order.
        labels: Class index of each selected image; empty if unknown.
        classes: Class names.
        background: Color, RGB in 0 to 255, that transparent images are composed on.
        note: How classes were matched with the model's, where that is nothing but their order; else "".
    """

    images: Images
    indices: tuple[int, ...]
    labels: tuple[int, ...] = ()
    classes: tuple[str, ...] = ()
    background: tuple[int, ...] = _WHITE
    note: str = ""

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[CalibrationImage]:
        return self.after(0)

    def after(self, count: int) -> Iterator[CalibrationImage]:
        """Skips the first ``count`` images without decoding them, to resume a calibration.

        Raises:
            DataError: A file can't be read; the message names it.
        """
        for position in range(count, len(self.indices)):
            name, pixels = self._decode(self.indices[position])
            yield CalibrationImage(pixels, name, self.labels[position] if self.labels else None)

    def _decode(self, index: int) -> tuple[str, Pixels]:
        if isinstance(self.images, ArrayImages):
            return f"number {index + 1}", self.images.pixels[index]
        if not isinstance(self.images, FileImages):
            raise TypeError(f"images: expected arrays or files, got {type(self.images).__name__}")
        path = self.images.paths[index]
        return str(path), read_file(path, self.background)


@dataclass(frozen=True)
class CalibrationSplit:
    """Two disjoint selections of images.

    Attributes:
        calibration: Images that activation ranges are measured on.
        evaluation: Images that candidates are judged by. Labels are indices of the model's classes; there are
            none for a bare folder.
    """

    calibration: CalibrationImages
    evaluation: CalibrationImages


def calibration_images(data: str, max_images: int, background: Sequence[int] = _WHITE) -> CalibrationImages:
    """Selects up to ``max_images`` images of DATA, the same ones every time.

    Of labeled data only training images are selected, so that the test images stay unseen. Classes are
    balanced as far as they have images, and each class is sampled evenly. The selection begins with one image
    of each class, then a second of each, so that any beginning of it is balanced, too.

    Args:
        data: ``digits``, ``mnist:DIR``, ``fashion-mnist:DIR``, ``cifar10:DIR``, ``folder:DIR`` with a folder
            per class, or a bare folder of images, which is read recursively and has no labels.
        max_images: Maximum number of images, at least 1.
        background: Color, RGB in 0 to 255, that transparent images are composed on.

    Raises:
        UsageError: ``data`` has none of these forms, or the folder contains no image.
        DataError: The data is missing, corrupt or inconsistent; the message names the file.
        MissingDependency: ``digits`` needs scikit-learn, which is not installed.
        ValueError: ``max_images`` is less than 1.
    """
    if max_images < 1:
        raise ValueError(f"max_images: expected at least 1, got {max_images}")
    check_data(data, bare_folder=True)
    if is_labeled(data):
        train = open_data(data).train
        return _select(train, _balanced_rounds(train.labels, max_images), background)
    images = FileImages(image_files(Path(data).expanduser()))
    if not images.paths:
        raise UsageError(f"{data}: contains no image ({readable_formats()})")
    indices = tuple(_evenly_spaced(len(images), max_images))
    return CalibrationImages(images, indices, background=tuple(background))


def split_images(
    data: str, spec: ModelSpec, max_calibration_images: int, evaluation: str | None = None
) -> CalibrationSplit:
    """Splits DATA for calibration and evaluation: labeled data as for training, a bare folder in halves.

    A bare folder that contains a folder for each of its classes, named by the model's labels, is labeled.
    With other data to evaluate on, all labeled images calibrate that are not set apart as ``test``.

    Args:
        data: Images in one of the forms that `calibration_images` accepts.
        spec: Spec of the model, whose labels and background color are used.
        max_calibration_images: Maximum number of calibration images.
        evaluation: Other DATA to evaluate on.

    Raises:
        UsageError: ``data`` has none of the accepted forms.
        DataError: The data can't be read, its classes are not the model's, or there are too few images.
    """
    background = spec.preprocessing.background if spec.preprocessing is not None else _WHITE
    max_evaluation = max_evaluation_images(spec)
    data, evaluation = _labeled_form(data, spec), evaluation and _labeled_form(evaluation, spec)
    dataset = _undivided_folder(data)
    few = dataset is not None and min(np.bincount(dataset.labels)) < 2
    if evaluation is None and (few or not is_labeled(data)):
        everything = (
            calibration_images(data, sys.maxsize, background)
            if dataset is None
            else _with_model_labels(_select(dataset, range(len(dataset)), background), spec, data)
        )
        return _split_in_half(everything, data, max_calibration_images, max_evaluation)
    if evaluation is not None and dataset is not None:
        indices = _balanced_rounds(dataset.labels, max_calibration_images)
        calibration = _select(dataset, indices, background)
    else:
        calibration = calibration_images(data, max_calibration_images, background)
    judges = _evaluation_images(evaluation or data, max_evaluation, background, held_out=evaluation is None)
    return CalibrationSplit(calibration, _with_model_labels(judges, spec, evaluation or data))


def _labeled_form(data: str, spec: ModelSpec) -> str:
    """``folder:DIR`` for a bare folder whose folders are classes of the model; else ``data``."""
    folder = Path(data).expanduser()
    if is_labeled(data) or not folder.is_dir():
        return data
    inner = folder / "train" if held_out_folder(folder) is not None else folder
    names = sorted(f.name for f in inner.iterdir() if f.is_dir() and not f.name.startswith("."))
    try:
        class_indices(names, spec.labels, data, spec.name)
    except DataError:
        return data
    return f"folder:{folder}" if len(names) > 1 else data


def _undivided_folder(data: str) -> Dataset | None:
    """All images of a ``folder:DIR`` of which none are set apart to judge by; None for other DATA."""
    kind, _, path = data.partition(":")
    folder = Path(path).expanduser()
    if not is_labeled(data) or kind != "folder" or held_out_folder(folder) is not None:
        return None
    return read_classes(folder)


def max_evaluation_images(spec: ModelSpec) -> int:
    """Maximum number of images that a candidate is judged by, 1,000 to 10,000: fewer for large networks."""
    work = sum(layer.multiply_adds for layer in spec.layers)
    return min(MAX_EVALUATION_IMAGES, max(MIN_EVALUATION_IMAGES, _EVALUATION_WORK // max(work, 1)))


def _select(dataset: Dataset, indices: Sequence[int], background: Sequence[int]) -> CalibrationImages:
    labels = tuple(int(dataset.labels[i]) for i in indices)
    return CalibrationImages(dataset.images, tuple(indices), labels, dataset.classes, tuple(background))


def _evaluation_images(
    data: str, max_images: int, background: Sequence[int], *, held_out: bool
) -> CalibrationImages:
    """The test images of DATA; of a folder given for evaluation alone all, unless it is split itself."""
    if not is_labeled(data):
        return calibration_images(data, max_images, background)
    kind, _, folder = data.partition(":")
    test = open_data(data).test if held_out or kind != "folder" else read_to_judge(Path(folder))
    by_class = np.argsort(test.labels, kind="stable")
    indices = sorted(int(by_class[i]) for i in _evenly_spaced(len(by_class), max_images))
    return _select(test, indices, background)


def _split_in_half(
    everything: CalibrationImages, data: str, max_calibration: int, max_evaluation: int
) -> CalibrationSplit:
    """Splits images: each is in one half only."""
    count = len(everything)
    if count < 2:
        raise DataError(
            f"{data}: contains {count} image; at least 2 are needed, to calibrate with and to judge by"
        )
    calibration = _evenly_spaced(count, min(max_calibration, count // 2))
    rest = sorted(set(range(count)) - set(calibration))
    evaluation = [rest[i] for i in _evenly_spaced(len(rest), max_evaluation)]
    first, second = (
        replace(
            everything,
            indices=tuple(everything.indices[i] for i in half),
            labels=tuple(everything.labels[i] for i in half) if everything.labels else (),
        )
        for half in (calibration, evaluation)
    )
    return CalibrationSplit(first, second)


def _with_model_labels(images: CalibrationImages, spec: ModelSpec, data: str) -> CalibrationImages:
    """Translates the data's class indices into the model's."""
    if not images.labels:
        return images
    try:
        indices = class_indices(images.classes, spec.labels, data, spec.name)
    except DataError as error:
        raise DataError(f"{error}; or use a bare folder of images to judge without labels") from error
    labels = tuple(indices[label] for label in images.labels)
    note = numbering_note(images.classes, spec.labels, data, spec.name)
    return replace(images, labels=labels, classes=spec.labels, note=note)


def _balanced_rounds(labels: NDArray[np.int64], max_images: int) -> tuple[int, ...]:
    """Indices: one image of each class, then a second one, ..., each class sampled evenly."""
    members = {int(label): np.flatnonzero(labels == label) for label in np.unique(labels)}
    shares = _balanced_shares({label: len(m) for label, m in members.items()}, max_images)
    rounds = [
        (turn, label, int(members[label][position]))
        for label, share in shares.items()
        for turn, position in enumerate(_evenly_spaced(len(members[label]), share))
    ]
    return tuple(index for _, _, index in sorted(rounds))


def _balanced_shares(counts: dict[int, int], max_images: int) -> dict[int, int]:
    """Number of images of each class: equal as far as there are enough; the first classes get the rest."""
    shares = dict.fromkeys(counts, 0)
    left = min(max_images, sum(counts.values()))
    while left:
        open_classes = [label for label in counts if shares[label] < counts[label]]
        each = max(left // len(open_classes), 1)
        for label in open_classes[:left]:
            more = min(each, counts[label] - shares[label], left)
            shares[label] += more
            left -= more
    return shares


def _evenly_spaced(count: int, number: int) -> list[int]:
    """``number`` of ``count`` indices, evenly spaced: the middle of each of as many equal parts."""
    number = min(number, count)
    return [(2 * i + 1) * count // (2 * number) for i in range(number)]
