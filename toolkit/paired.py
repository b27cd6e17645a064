"""Is one way to score images better than another, or is it chance: tests on the same images.

- Correctness: McNemar's test, exact. Of the images that one way alone gets right, b are right by the second
  and c by the first; by chance b is binomial, ``p = sum over k >= b of C(b + c, k) / 2^(b + c)``.
  McNemar, Psychometrika 12 (1947) 153.
- Likelihood of the true label: Fisher's randomization test on the mean of the paired differences, whose signs
  are equally likely by chance; ``p = (1 + at least as large) / (1 + tried)`` where not all can be tried.
  Fisher, The Design of Experiments (1935) §21; Phipson and Smyth, Stat. Appl. Genet. Mol. Biol. 9 (2010) 39.
- Many ways: Holm's step-down correction, ``max over j <= i of (m - j + 1) p_(j)``.
  Holm, Scand. J. Statist. 6 (1979) 65.

Likelihoods are taken at the temperature at which they are highest (Guo et al., ICML 2017), each way at its
own: a network that is too sure of itself, or not sure enough, would else be called better for any change of
contrast.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import comb
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["calibrated", "holm", "log_likelihoods", "mcnemar", "sign_flips"]

Float64 = NDArray[np.float64]

FLOOR = float(np.log(np.finfo(np.float32).tiny))
"""Of a log-likelihood, -87.3: what probabilities in float32 can say."""

TIE = 1e-4
"""Up to which two log-likelihoods are the same: two sound ways to compute one differ by rounding."""

_EXACT = 13
_TRIED = 9999
_STEPS = 30


def log_likelihoods(logits: NDArray[Any], truth: NDArray[np.int64], sharpness: float = 1.0) -> Float64:
    """Of the true labels, by ``softmax(sharpness * logits)``, from `FLOOR` on; (N,).

    Args:
        logits: (N, K); rows that are not finite get `FLOOR`.
        truth: (N,), columns.
        sharpness: 1 over the temperature.
    """
    finite = np.isfinite(logits).all(axis=1)
    scores = sharpness * _centered(logits, finite)
    found = scores[np.arange(len(truth)), truth] - np.log(np.exp(scores).sum(axis=1))
    return np.where(finite, np.maximum(found, FLOOR), FLOOR)


def calibrated(logits: NDArray[Any], truth: NDArray[np.int64]) -> Float64:
    """`log_likelihoods` at the temperature at which their sum is highest.

    Its derivative by the sharpness falls throughout, so its zero is found by bisection, in 1e-6 to 1e6.
    """
    finite = np.isfinite(logits).all(axis=1)
    scores, rows = _centered(logits, finite)[finite], truth[finite]
    right = float(scores[np.arange(len(rows)), rows].sum())
    low, high = -6.0, 6.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        shares = np.exp(10.0**middle * scores)
        shares /= shares.sum(axis=1, keepdims=True)
        if right > float((shares * scores).sum()):
            low = middle
        else:
            high = middle
    return log_likelihoods(logits, truth, 10.0**low)


def mcnemar(gained: int, lost: int) -> float:
    """Probability of so many or more gained, of those that changed, by chance."""
    changed = gained + lost
    return float(sum(comb(changed, k) for k in range(gained, changed + 1)) / 2**changed)


def sign_flips(differences: Float64, seed: int = 0) -> float:
    """Probability of so high or a higher mean by chance: all signs of up to 13 differences, else 9999 draws.

    Args:
        differences: paired, (N,); those within `TIE` count as 0.
        seed: of the draws.
    """
    kept = differences[np.abs(differences) > TIE]
    if not len(kept) or kept.sum() <= 0:
        return 1.0
    least = kept.sum() - 1e-9 * np.abs(kept).sum()
    if len(kept) <= _EXACT:
        bits = np.arange(2 ** len(kept))[:, None] >> np.arange(len(kept)) & 1
        return float(np.mean((1.0 - 2.0 * bits) @ kept >= least))
    rng = np.random.default_rng(seed)
    as_high = 0
    for start in range(0, _TRIED, 1000):
        signs = rng.choice(np.array([-1.0, 1.0]), (min(1000, _TRIED - start), len(kept)))
        as_high += int((signs @ kept >= least).sum())
    return (1 + as_high) / (1 + _TRIED)


def holm(p: Sequence[float]) -> tuple[float, ...]:
    """Probabilities that hold for all of them together, in their order."""
    adjusted, highest = [1.0] * len(p), 0.0
    for rank, index in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        highest = max(highest, min(1.0, (len(p) - rank) * p[index]))
        adjusted[index] = highest
    return tuple(adjusted)


def _centered(logits: NDArray[Any], finite: NDArray[np.bool_]) -> Float64:
    """Less the largest of each row; rows that are not finite are 0."""
    values = np.where(finite[:, None], logits, 0).astype(np.float64)
    return np.asarray(values - values.max(axis=1, keepdims=True))
