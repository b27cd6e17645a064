"""Preprocessing of a network's training data: chosen from the data, mean and std measured."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cnntk.data import PreparedImages, Split
from cnntk.runtime.artifact.spec import Preprocessing
from cnntk.runtime.images.reading import Pixels

__all__ = ["measure_preprocessing", "preprocessing_for"]

_CHUNK = 1024  # images at a time, as np.bincount converts every value to int64
_SAMPLE = 4096  # images that are measured where they are not in memory


def preprocessing_for(split: Split, channels: int, size: int) -> Preprocessing:
    """Chooses how images become ``channels`` x ``size`` x ``size``; mean and std remain to be measured.

    Handwriting becomes light on black and keeps its aspect ratio, so that a digit on paper looks like one of
    MNIST. Photos fill the whole input.
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


def measure_preprocessing(images: PreparedImages) -> Preprocessing:
    """The preprocessing of ``images`` with the mean and standard deviation of their pixels per channel.

    They are computed from counts of pixel values, so they don't depend on the order or the machine.
    Where images don't fit in memory, 4,096 evenly spaced ones are measured.
    """
    p = images.preprocessing
    counts = np.zeros((p.channels, 256), dtype=np.int64)
    for chunk in _chunks(images):
        for channel in range(p.channels):
            counts[channel] += np.bincount(chunk[..., channel].ravel(), minlength=256)
    mean, std = _moments(counts)
    # A std of 1 where all pixels are equal: their deviation of 0 can't be divided by.
    return replace(p, mean=tuple(m * p.scale for m in mean), std=tuple(s * p.scale or 1.0 for s in std))


def _chunks(images: PreparedImages) -> list[Pixels] | map[Pixels]:
    if images.pixels is not None:
        return [images.pixels[start : start + _CHUNK] for start in range(0, len(images), _CHUNK)]
    sample = np.linspace(0, len(images) - 1, min(_SAMPLE, len(images))).astype(np.int64)
    return map(images.take, np.array_split(sample, max(1, len(sample) // 64)))


def _moments(counts: NDArray[np.int64]) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each row of ``counts``, whose columns are the pixel values 0..255."""
    values = np.arange(256)
    total = counts.sum(axis=1)
    mean = (counts * values).sum(axis=1) / total
    square = (counts * values**2).sum(axis=1) / total
    variance = np.maximum(square - mean**2, 0.0)
    return mean.tolist(), np.sqrt(variance).tolist()
