"""`calibration_images`: from what the user writes after ``--calibration`` to images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cnntk.data import FORMS, ArrayImages, Dataset, FileImages, open_data
from cnntk.data.images import Images
from cnntk.inference.finding import expand
from cnntk.runtime.errors import DataError, ImageError, UsageError
from cnntk.runtime.images.reading import Pixels, read_image

if TYPE_CHECKING:
    from cnntk.data.batches import CalibrationImage

__all__ = ["CalibrationImages", "calibration_images"]

_WHITE = (255, 255, 255)


@dataclass(frozen=True, eq=False)
class CalibrationImages:
    """Images to calibrate with, decoded as they are drawn.

    Attributes:
        images: where they come from.
        chosen: which of them are used, in order.
        labels: of each chosen one, its place among ``classes``; empty where that is not known.
        classes: names.
        background: RGB, 0 to 255, that transparency is composed on.
    """

    images: Images
    chosen: tuple[int, ...]
    labels: tuple[int, ...] = ()
    classes: tuple[str, ...] = ()
    background: tuple[int, ...] = _WHITE

    def __len__(self) -> int:
        return len(self.chosen)

    def __iter__(self) -> Iterator[CalibrationImage]:
        return self.after(0)

    def after(self, count: int) -> Iterator[CalibrationImage]:
        """Those behind the first ``count``, which are not decoded: to go on where a calibration stopped.

        Raises:
            DataError: a file can't be read; the message names it.
        """
        from cnntk.data.batches import CalibrationImage

        for place in range(count, len(self.chosen)):
            name, pixels = self._decoded(self.chosen[place])
            yield CalibrationImage(pixels, name, self.labels[place] if self.labels else None)

    def _decoded(self, index: int) -> tuple[str, Pixels]:
        if isinstance(self.images, ArrayImages):
            return f"number {index + 1}", self.images.pixels[index]
        if not isinstance(self.images, FileImages):
            raise TypeError(f"images: expected arrays or files, got {type(self.images).__name__}")
        path = self.images.paths[index]
        try:
            return str(path), read_image(path, background=self.background)
        except ImageError as error:
            raise DataError(f"{error}; or remove it from the data") from error


def calibration_images(data: str, limit: int, background: Sequence[int] = _WHITE) -> CalibrationImages:
    """The images that DATA names, or ``limit`` of them.

    Of labeled data those to train on, so that a test on the others stays one. The choice is the same every
    time: of all classes alike as far as they go, and of each class evenly over its images; one of each class
    comes first, then a second one, so that any beginning is a fair choice, too.

    Args:
        data: ``digits``, ``mnist:DIR``, ``fashion-mnist:DIR``, ``cifar10:DIR``, ``folder:DIR`` with a folder
            per class, or a bare folder of images, which is read through and has no labels.
        limit: images at most, at least 1.
        background: RGB, 0 to 255, that transparency is composed on: the artifact's.

    Raises:
        UsageError: ``data`` has none of these forms, or the folder holds no image.
        DataError: the data is missing, corrupt or mismatched; the message names the file.
        MissingDependency: ``digits`` without scikit-learn.
        ValueError: ``limit`` is under 1.
    """
    if limit < 1:
        raise ValueError(f"limit: expected at least 1, got {limit}")
    kind, colon, _ = data.partition(":")
    if data in FORMS or (colon and f"{kind}:DIR" in FORMS):
        return _labeled(open_data(data).train, limit, tuple(background))
    if not Path(data).expanduser().is_dir():
        forms = ", ".join(FORMS)
        raise UsageError(f"calibration data {data!r}: no such folder; expected one of {forms}, or a folder")
    images = FileImages(tuple(_files(str(Path(data).expanduser()))))
    return CalibrationImages(images, tuple(_spread(len(images), limit)), background=tuple(background))


def _files(folder: str) -> Iterator[Path]:
    for entry in expand([folder]):
        if not isinstance(entry, str):
            raise DataError(str(entry.error))
        yield Path(entry)


def _labeled(dataset: Dataset, limit: int, background: tuple[int, ...]) -> CalibrationImages:
    chosen = _by_rounds(dataset.labels, limit)
    labels = tuple(int(dataset.labels[i]) for i in chosen)
    return CalibrationImages(dataset.images, chosen, labels, dataset.classes, background)


def _by_rounds(labels: NDArray[np.int64], limit: int) -> tuple[int, ...]:
    """One of each class, then a second one, ..., each class evenly over its members."""
    members = {int(label): np.flatnonzero(labels == label) for label in np.unique(labels)}
    shares = _shares({label: len(m) for label, m in members.items()}, limit)
    picked = [
        (turn, label, int(members[label][place]))
        for label, share in shares.items()
        for turn, place in enumerate(_spread(len(members[label]), share))
    ]
    return tuple(index for _, _, index in sorted(picked))


def _shares(counts: dict[int, int], limit: int) -> dict[int, int]:
    """How many of each class: alike, but never more than there are; what is over goes to the first ones."""
    shares = dict.fromkeys(counts, 0)
    left = min(limit, sum(counts.values()))
    while left:
        open_classes = [label for label in counts if shares[label] < counts[label]]
        each = max(left // len(open_classes), 1)
        for label in open_classes[:left]:
            taken = min(each, counts[label] - shares[label], left)
            shares[label] += taken
            left -= taken
    return shares


def _spread(count: int, share: int) -> list[int]:
    """``share`` places among ``count``, evenly: the middle of each of as many parts."""
    share = min(share, count)
    return [(2 * i + 1) * count // (2 * share) for i in range(share)]
