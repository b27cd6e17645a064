"""Dropout in training mode; at inference it is the identity.

Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting", JMLR 15 (2014).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def dropout(x: NDArray[Any], p: float, rng: np.random.Generator) -> NDArray[Any]:
    """Sets each element to 0 with probability p, else to x / (1 - p), so that its expectation stays x.

    Args:
        x: Floating-point array of any shape.
        p: Probability of dropping an element, in [0, 1].
        rng: Generator of the random numbers.

    Raises:
        ValueError: p is outside [0, 1], or NaN.
    """
    if not 0 <= p <= 1:
        raise ValueError(f"p={p} must be in [0, 1]")
    if p == 1:  # the formula would divide by 0
        return np.zeros_like(x)
    mask = rng.random(x.shape) >= p  # random() is in [0, 1): at p = 0 all are kept
    return np.where(mask, x / (1 - p), 0)
