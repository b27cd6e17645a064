"""Chooses the preprocessing of a network from its data, and measures mean and deviation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cnntk.data import PreparedImages, Split
from cnntk.runtime.artifact.spec import Preprocessing
from cnntk.runtime.images.reading import Pixels

__all__ = ["measured", "preprocessing_for"]

_CHUNK = 1024  # images; np.bincount makes int64 of every value
_SAMPLE = 4096  # of images that are not in memory


def preprocessing_for(split: Split, channels: int, size: int) -> Preprocessing:
    """How images come to ``channels`` x ``size`` x ``size``; mean and std are still to be measured.

    Handwriting is brought to light on black and keeps its proportions, so that a digit on paper reads like
    one of MNIST. Photos fill the whole input.
    """
    return Preprocessing(
        color="gray" if channels == 1 else "rgb",
        height=size,
        width=size,
        resize=split.resize,
        invert="light-background" if split.handwriting else "never",
        mean=(0.0,) * channels,
        std=(1.0,) * channels,
    )


def measured(images: PreparedImages) -> Preprocessing:
    """The preprocessing of ``images`` with the mean and standard deviation of their pixels, each channel's.

    They are counted, not summed in floating point, so they don't depend on the order or the machine.
    Of images that don't fit in memory, 4,096 evenly spread ones are taken.
    """
    p = images.preprocessing
    counts = np.zeros((p.channels, 256), dtype=np.int64)
    for chunk in _chunks(images):
        for channel in range(p.channels):
            counts[channel] += np.bincount(chunk[..., channel].ravel(), minlength=256)
    mean, std = _moments(counts)
    # Where all pixels are the same there is nothing to divide by.
    return replace(p, mean=tuple(m * p.scale for m in mean), std=tuple(s * p.scale or 1.0 for s in std))


def _chunks(images: PreparedImages) -> list[Pixels] | map[Pixels]:
    if images.pixels is not None:
        return [images.pixels[start : start + _CHUNK] for start in range(0, len(images), _CHUNK)]
    sample = np.linspace(0, len(images) - 1, min(_SAMPLE, len(images))).astype(np.int64)
    return map(images.take, np.array_split(sample, max(1, len(sample) // 64)))


def _moments(counts: NDArray[np.int64]) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of the levels 0..255, a row of ``counts`` each."""
    levels = np.arange(256)
    total = counts.sum(axis=1)
    mean = (counts * levels).sum(axis=1) / total
    square = (counts * levels**2).sum(axis=1) / total
    variance = np.maximum(square - mean**2, 0.0)
    return mean.tolist(), np.sqrt(variance).tolist()
