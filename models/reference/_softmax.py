"""Softmax, its logarithm and the cross-entropy, in the forms that do and do not survive large logits.

With m = max over k of o_k, softmax(o)_j = exp(o_j) / sum_k exp(o_k) = exp(o_j - m) / sum_k exp(o_k - m):
no exponent is above 0, one is 0, so nothing overflows and the divisor is in [1, K]. Its logarithm is
o_j - m - log sum_k exp(o_k - m). There log exp(o_j - m) is cancelled on paper, and must be: in floating
point exp underflows to 0 first, and log 0 is -inf.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def softmax_naive(logits: NDArray[Any], axis: int = -1) -> NDArray[Any]:
    """Computes exp(o_j) / sum_k exp(o_k) literally: the form that fails, for tests to compare with.

    In float64 exp overflows above 709, in float32 above 88: inf / inf is NaN. Use `softmax`.
    """
    exps = np.exp(logits)
    return np.asarray(exps / exps.sum(axis=axis, keepdims=True))


def softmax(logits: NDArray[Any], axis: int = -1) -> NDArray[Any]:
    """Returns probabilities for any finite logits: in [0, 1], with sum 1 along ``axis``."""
    exps = np.exp(_below_zero(logits, axis))
    return np.asarray(exps / exps.sum(axis=axis, keepdims=True))


def log_softmax(logits: NDArray[Any], axis: int = -1) -> NDArray[Any]:
    """Returns logarithms of `softmax`, finite where the probability itself underflows to 0."""
    shifted = _below_zero(logits, axis)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True)))


def cross_entropy(logits: NDArray[Any], labels: NDArray[Any]) -> float:
    """Returns the mean over n of -`log_softmax` (logits)[n, labels[n]].

    Args:
        logits: Array (N, K).
        labels: Integer array (N,), in [0, K).

    Raises:
        ValueError: The shapes don't fit, or a label is out of range (numpy would count from the end).
    """
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise ValueError(f"expected logits (N, K) and labels (N,), got {logits.shape} and {labels.shape}")
    count, classes = logits.shape
    if count == 0 or labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"expected at least one label, each in [0, {classes}), got {labels!r}")
    return float(-log_softmax(logits)[np.arange(count), labels].mean())


def _below_zero(logits: NDArray[Any], axis: int) -> NDArray[Any]:
    return np.asarray(logits - logits.max(axis=axis, keepdims=True))
