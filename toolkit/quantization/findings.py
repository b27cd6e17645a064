"""What is suspicious about a calibration: an error where its ranges mean nothing, else a warning each."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from cnntk.quantization.calibration import Calibration
from cnntk.quantization.histogram import Histogram
from cnntk.quantization.ranges import PERCENT, percentile
from cnntk.runtime.errors import DataError

__all__ = ["ENOUGH_IMAGES", "LEAST_IMAGES", "find_suspicious"]

LEAST_IMAGES = 10
"""With fewer, ranges are those of the images and not of the network."""

ENOUGH_IMAGES = 100
"""With fewer, the tails of the distributions are guessed from a handful of images."""

_STRETCH = 100
"""An outlier that leaves all other values two or three of a byte's levels."""


def find_suspicious(calibration: Calibration) -> tuple[str, ...]:
    """Looks at a finished calibration.

    NaN and infinity need no look: `calibrate` itself stops at them.

    Returns:
        Warnings, a line each.

    Raises:
        DataError: there are fewer than `LEAST_IMAGES` images, or all are equal.
    """
    count = calibration.images
    if count < LEAST_IMAGES:
        raise DataError(
            f"calibration: {count} images, at least {LEAST_IMAGES} are needed and {ENOUGH_IMAGES} are good; "
            "add images"
        )
    if not calibration.varied:
        raise DataError(f"calibration: all {count} images are equal to the network; give different ones")
    checks = (_few_images, _one_class, _constant, _stretched)
    return tuple(line for check in checks for line in check(calibration))


def _few_images(calibration: Calibration) -> Iterator[str]:
    if calibration.images < ENOUGH_IMAGES:
        yield (
            f"calibration: {calibration.images} images are few; with {ENOUGH_IMAGES} or more the ranges are "
            "surer"
        )


def _one_class(calibration: Calibration) -> Iterator[str]:
    if len(calibration.classes) == 1:
        (label,) = calibration.classes
        yield (
            f"calibration: all labeled images are of one class, number {label}; other classes may reach "
            "other values, add images of them"
        )


def _constant(calibration: Calibration) -> Iterator[str]:
    for histogram in _of(calibration, lambda h: h.minimum == h.maximum):
        yield (
            f"{histogram.tensor}: is {histogram.minimum:g} everywhere in all images: a dead layer, or images "
            "without content"
        )


def _stretched(calibration: Calibration) -> Iterator[str]:
    for histogram in _of(calibration, _has_outliers):
        usual = percentile(histogram)
        yield (
            f"{histogram.tensor}: reaches from {histogram.minimum:.3g} to {histogram.maximum:.3g}, but "
            f"{PERCENT:g} % of its values lie between {usual.low:.3g} and {usual.high:.3g}; by minmax these "
            "would share a few steps, so take another method"
        )


def _has_outliers(histogram: Histogram) -> bool:
    usual, whole = percentile(histogram), histogram.maximum - histogram.minimum
    return whole > _STRETCH * max(usual.high, 0.0) + _STRETCH * max(-usual.low, 0.0) > 0


def _of(calibration: Calibration, holds: Callable[[Histogram], bool]) -> Iterator[Histogram]:
    return (h for h in calibration.histograms.values() if h.count and holds(h))
