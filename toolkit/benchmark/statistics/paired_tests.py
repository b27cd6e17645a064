"""Significance tests of whether one classifier is better than another on the same images.

- Correctness: McNemar's test, exact. Of the images that only one classifier gets right, b are the second's
  and c the first's; by chance b is binomial, ``p = sum over k >= b of C(b + c, k) / 2^(b + c)``.
  McNemar, Psychometrika 12 (1947) 153.
- Likelihood of the true label: Fisher's randomization test on the mean of the paired differences, whose signs
  are equally likely by chance; ``p = (1 + at least as large) / (1 + draws)`` where draws replace all signs.
  Fisher, The Design of Experiments (1935) §21; Phipson and Smyth, Stat. Appl. Genet. Mol. Biol. 9 (2010) 39.
- Many classifiers: Holm's step-down correction, ``max over j <= i of (m - j + 1) p_(j)``.
  Holm, Scand. J. Statist. 6 (1979) 65.

Likelihoods are computed at the temperature at which they are highest (Guo et al., ICML 2017), separately for
each classifier: any change of contrast would otherwise seem to improve an over- or underconfident network.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, comb
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "best_sharpness",
    "calibrated",
    "holm",
    "images_to_tell",
    "log_likelihoods",
    "mcnemar",
    "mcnemar_two_sided",
    "sign_flips",
]

Float64 = NDArray[np.float64]

FLOOR = float(np.log(np.finfo(np.float32).tiny))
"""Smallest log-likelihood, -87.3: that of the smallest normal float32 probability."""

TIE = 1e-4
"""Largest difference of two equal log-likelihoods, which may differ by rounding."""

_MAX_EXACT = 13
_DRAWS = 9999
_STEPS = 30


def log_likelihoods(logits: NDArray[Any], truth: NDArray[np.int64], sharpness: float = 1.0) -> Float64:
    """Log-likelihoods (N,) of the true labels by ``softmax(sharpness * logits)``, at least `FLOOR`.

    Args:
        logits: Logits (N, K); rows that are not finite get `FLOOR`.
        truth: True labels (N,), as columns of the logits.
        sharpness: Inverse of the temperature.
    """
    finite = np.isfinite(logits).all(axis=1)
    scores = sharpness * _centered(logits, finite)
    values = scores[np.arange(len(truth)), truth] - np.log(np.exp(scores).sum(axis=1))
    return np.where(finite, np.maximum(values, FLOOR), FLOOR)


def calibrated(logits: NDArray[Any], truth: NDArray[np.int64]) -> Float64:
    """`log_likelihoods` at the temperature at which their sum is highest."""
    return log_likelihoods(logits, truth, best_sharpness(logits, truth))


def best_sharpness(logits: NDArray[Any], truth: NDArray[np.int64]) -> float:
    """Sharpness at which the sum of the `log_likelihoods` is highest: the inverse of the best temperature.

    The derivative with respect to the sharpness is decreasing, so bisection finds its zero, in 1e-6 to 1e6.
    """
    finite = np.isfinite(logits).all(axis=1)
    scores, rows = _centered(logits, finite)[finite], truth[finite]
    target = float(scores[np.arange(len(rows)), rows].sum())
    low, high = -6.0, 6.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        probabilities = np.exp(10.0**middle * scores)
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        if target > float((probabilities * scores).sum()):
            low = middle
        else:
            high = middle
    return float(10.0**low)


def mcnemar(gained: int, lost: int) -> float:
    """Probability by chance that at least ``gained`` of all changed images were gained."""
    changed = gained + lost
    term = total = comb(changed, gained)
    for k in range(gained, changed):
        term = term * (changed - k) // (k + 1)
        total += term
    return float(total / 2**changed)


def mcnemar_two_sided(gained: int, lost: int) -> float:
    """Probability by chance of a difference at least as large, whichever is better."""
    return min(1.0, 2 * mcnemar(max(gained, lost), min(gained, lost)))


def images_to_tell(gained: int, lost: int, images: int, alpha: float, power: float = 0.8) -> int | None:
    """Number of images on which McNemar's test shows the difference, with two significant digits, rounded up.

    Shares of gained and lost images are those seen, g and l, with d = g - l:
    ``n = (z(1 - alpha) sqrt(g + l) + z(power) sqrt(g + l - d^2))^2 / d^2``.
    Connor, Biometrics 43 (1987) 207.

    Returns:
        The number; None where nothing was gained over what was lost.
    """
    if gained <= lost:
        return None
    changed, gain = (gained + lost) / images, (gained - lost) / images
    z = NormalDist().inv_cdf
    root: float = z(1 - alpha) * changed**0.5 + z(power) * (changed - gain**2) ** 0.5
    count = ceil((root / gain) ** 2)
    step = int(10 ** max(len(str(count)) - 2, 0))
    return -(-count // step) * step


def sign_flips(differences: Float64, seed: int = 0) -> float:
    """Probability of at least this mean by chance, by all signs of up to 13 differences, else 9999 draws.

    Args:
        differences: Paired differences (N,); those within `TIE` count as 0.
        seed: Seed of the draws.
    """
    nonzero = differences[np.abs(differences) > TIE]
    if not len(nonzero) or nonzero.sum() <= 0:
        return 1.0
    least = nonzero.sum() - 1e-9 * np.abs(nonzero).sum()
    if len(nonzero) <= _MAX_EXACT:
        bits = np.arange(2 ** len(nonzero))[:, None] >> np.arange(len(nonzero)) & 1
        return float(np.mean((1.0 - 2.0 * bits) @ nonzero >= least))
    rng = np.random.default_rng(seed)
    as_high = 0
    for start in range(0, _DRAWS, 1000):
        signs = rng.choice(np.array([-1.0, 1.0]), (min(1000, _DRAWS - start), len(nonzero)))
        as_high += int((signs @ nonzero >= least).sum())
    return (1 + as_high) / (1 + _DRAWS)


def holm(p: Sequence[float]) -> tuple[float, ...]:
    """Probabilities adjusted for the number of tests, in their order."""
    adjusted, highest = [1.0] * len(p), 0.0
    for rank, index in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        highest = max(highest, min(1.0, (len(p) - rank) * p[index]))
        adjusted[index] = highest
    return tuple(adjusted)


def _centered(logits: NDArray[Any], finite: NDArray[np.bool_]) -> Float64:
    """Logits minus the largest of their row; rows that are not finite are 0."""
    values = np.where(finite[:, None], logits, 0).astype(np.float64)
    return np.asarray(values - values.max(axis=1, keepdims=True))
