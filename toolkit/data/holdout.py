"""Holds out a fixed fifth of a data set, of every class alike."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cnntk.data.dataset import Labels

__all__ = ["HELD_OUT", "held_out"]

HELD_OUT = 0.2


def held_out(labels: Labels) -> NDArray[np.bool_]:
    """Which images are held out: a fifth of each class, at least one; the same ones every time.

    Args:
        labels: int64 (N,).

    Returns:
        bool (N,), true for the held-out images.
    """
    random = np.random.RandomState(0)  # unlike default_rng, its stream is the same in every numpy
    mask = np.zeros(len(labels), dtype=np.bool_)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = max(1, round(len(members) * HELD_OUT))
        mask[random.permutation(members)[:count]] = True
    return mask
