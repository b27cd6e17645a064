"""Which images a quantized model is calibrated with, and on which other ones it is judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cnntk.data import FORMS, Dataset, open_data
from cnntk.data.calibration import CalibrationImages, calibration_images
from cnntk.data.folder import read_to_judge
from cnntk.data.labeled import places_of
from cnntk.runtime.artifact.spec import ModelSpec
from cnntk.runtime.errors import DataError

__all__ = ["Parts", "images_for", "judged_images"]

LEAST_JUDGED, MOST_JUDGED = 1000, 10_000
_WORK = 2_000_000_000_000
"""Multiply-adds that one look at the images to judge by should take: half a minute on two cores in float."""


@dataclass(frozen=True)
class Parts:
    """Images, disjoint.

    Attributes:
        calibration: whose values the ranges are taken from.
        evaluation: by which candidates are judged; with the model's classes as labels, or without labels.
    """

    calibration: CalibrationImages
    evaluation: CalibrationImages


def images_for(data: str, spec: ModelSpec, limit: int, evaluation: str | None = None) -> Parts:
    """The images of DATA in two parts: labeled data as it is split for training, a bare folder in halves.

    Args:
        data: as `calibration_images` takes it.
        spec: of the model, whose labels and background count.
        limit: of the images to calibrate with.
        evaluation: other data to judge by.

    Raises:
        UsageError: ``data`` has none of its forms.
        DataError: it can't be read, its classes are not the model's, or there are too few images.
    """
    background = spec.preprocessing.background if spec.preprocessing is not None else (255, 255, 255)
    judged = judged_images(spec)
    if evaluation is not None:
        calibration = calibration_images(data, limit, background)
        other = _judging(evaluation, judged, background)
        return Parts(calibration, _labeled_as(other, spec, evaluation))
    if _is_labeled(data):
        calibration = calibration_images(data, limit, background)
        return Parts(calibration, _labeled_as(_held_out(data, judged, background), spec, data))
    return _halves(data, limit, judged, background)


def judged_images(spec: ModelSpec) -> int:
    """How many images a candidate is judged by at most: fewer for large networks, never under 1,000."""
    work = sum(layer.multiply_adds for layer in spec.layers)
    return min(MOST_JUDGED, max(LEAST_JUDGED, _WORK // max(work, 1)))


def _is_labeled(data: str) -> bool:
    kind, colon, _ = data.partition(":")
    return data in FORMS or bool(colon and f"{kind}:DIR" in FORMS)


def _judging(data: str, limit: int, background: Sequence[int]) -> CalibrationImages:
    """The images of DATA that is there to judge by: of a folder all, unless it is split itself."""
    if not _is_labeled(data):
        return calibration_images(data, limit, background)
    kind, _, place = data.partition(":")
    if kind == "folder":
        return _limited(read_to_judge(Path(place)), limit, background)
    return _held_out(data, limit, background)


def _held_out(data: str, limit: int, background: Sequence[int]) -> CalibrationImages:
    """The images that nothing was trained on."""
    return _limited(open_data(data).test, limit, background)


def _limited(test: Dataset, limit: int, background: Sequence[int]) -> CalibrationImages:
    """Of all classes alike, as far as they go."""
    by_class = np.argsort(test.labels, kind="stable")
    chosen = sorted(int(by_class[i]) for i in _spread(len(by_class), limit))
    labels = tuple(int(test.labels[i]) for i in chosen)
    return CalibrationImages(test.images, tuple(chosen), labels, test.classes, tuple(background))


def _halves(data: str, limit: int, judged: int, background: Sequence[int]) -> Parts:
    """Every image is in one of both."""
    most = 1 << 40
    everything = calibration_images(data, most, background)
    count = len(everything)
    if count < 2:
        raise DataError(
            f"{data}: holds {count} image, and one half is to calibrate with, the other to judge by"
        )
    learned = set(_spread(count, min(limit, count // 2)))
    others = [i for i in range(count) if i not in learned]
    rest = [others[i] for i in _spread(len(others), judged)]
    first, second = ([everything.chosen[i] for i in part] for part in (sorted(learned), rest))
    return Parts(replace(everything, chosen=tuple(first)), replace(everything, chosen=tuple(second)))


def _labeled_as(images: CalibrationImages, spec: ModelSpec, data: str) -> CalibrationImages:
    """With the model's classes for those of the data."""
    if not images.labels:
        return images
    places = places_of(images.classes, spec.labels)
    numbered = spec.labels == tuple(map(str, range(len(spec.labels))))
    if len(places) < len(images.classes) and numbered and len(images.classes) == len(spec.labels):
        places = {name: place for place, name in enumerate(images.classes)}
    if missing := [name for name in images.classes if name not in places]:
        raise DataError(
            f"{data}: its class {missing[0]!r} is none of {spec.name}'s labels; give a bare folder of "
            "images, which is judged without labels"
        )
    labels = tuple(places[images.classes[label]] for label in images.labels)
    return replace(images, labels=labels, classes=spec.labels)


def _spread(count: int, share: int) -> list[int]:
    """``share`` places among ``count``, evenly: the middle of each of as many parts."""
    share = min(share, count)
    return [(2 * i + 1) * count // (2 * share) for i in range(share)]
