"""What an output's values say about it: a distribution, logarithms of one, a unit vector, or plain numbers.

The last node of a network does not say it: an average of two softmaxes ends in Div, and a softmax may be
followed by Flatten. The values on the test inputs do, which include inputs of ±1e4, where plain numbers leave
[0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "OTHER_NAMES",
    "OTHER_REASONS",
    "OutputEvidence",
    "OutputKind",
    "describe_output",
    "is_softmax_of",
    "softmax",
]

OutputKind = Literal["distribution", "log distribution", "unit vector", "fractions", "box", "numbers"]

SUM_TOLERANCE = 1e-4
"""Largest distance from 1 of the sum of a row that is a distribution: far above rounding in float32, and no
other output keeps it on inputs that differ by a factor of 1e4."""

_HALF_TOLERANCE = 8e-3
"""The same for half precision: eight of float16's steps."""

_CLIPPED = 0.02
"""The same for rows of values from 0 to 1: probabilities that were clipped or rounded are still no logits."""

_NEAR_ONE = 0.5
"""What fractions reach on some input; all outputs of an untrained network may be small."""

_UNIT_SHARE = 0.75
"""Least share of rows of length 1: a norm with an eps leaves a row of zeros as it is."""

_FEWEST_ROWS = 4
"""Fewest rows that show a kind; corners of boxes are in order by chance in a quarter of random rows."""

_FEWEST_BOXES = 6


OTHER_NAMES = frozenset(
    {
        "bbox",
        "bboxes",
        "boxes",
        "embedding",
        "embeddings",
        "features",
        "hidden_states",
        "image_embeds",
        "keypoints",
        "landmarks",
        "last_hidden_state",
        "pooler_output",
        "pred_boxes",
    }
)
"""Names of outputs that are no logits, as transformers, timm and torchvision use them."""

OTHER_REASONS = {
    "unit vector": "an embedding",
    "fractions": "several labels may apply at once, and they do not sum to 1",
    "box": "a box",
}
"""What outputs of these kinds are, which a classifier's are not."""


@dataclass(frozen=True)
class OutputEvidence:
    """What the rows of an output are, and by which figures.

    Attributes:
        kind: What the rows are.
        text: The figures, for the report.
        finite: Whether all rows are finite, those of extreme inputs too.
    """

    kind: OutputKind
    text: str
    finite: bool = True


def softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    """Softmax over the last axis in float64; the maximum is subtracted first."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True))


def describe_output(values: NDArray[Any]) -> OutputEvidence:
    """What an output is by its values.

    Args:
        values: The output on the test inputs, (inputs, ...), K values each.
    """
    rows = np.asarray(values, np.float64).reshape(len(values), -1)
    finite = np.isfinite(rows).all(axis=1)
    tolerance = _HALF_TOLERANCE if values.dtype.itemsize == 2 else SUM_TOLERANCE
    kind, text = _describe(rows[finite], tolerance)
    return OutputEvidence(kind, f"{text} on {int(finite.sum())} inputs", bool(finite.all()))


def is_softmax_of(probabilities: NDArray[Any], logits: NDArray[Any]) -> bool:
    """Whether the rows of one output are the softmax of the rows of another, where both are finite."""
    p, x = (np.asarray(a, np.float64).reshape(len(a), -1) for a in (probabilities, logits))
    if p.shape != x.shape:
        return False
    finite = np.isfinite(p).all(axis=1) & np.isfinite(x).all(axis=1)
    return not finite.any() or bool(np.abs(p[finite] - softmax(x[finite])).max() < SUM_TOLERANCE)


def _describe(rows: NDArray[np.float64], tolerance: float) -> tuple[OutputKind, str]:
    if not rows.size:
        return "numbers", "no finite values"
    sums = rows.sum(axis=1)
    plain = f"sums of rows from {sums.min():.3g} to {sums.max():.3g}"
    if len(rows) < _FEWEST_ROWS or rows.shape[1] < 2:
        return "numbers", plain
    lowest, highest = rows.min(), rows.max()
    if lowest >= 0 and highest <= 1 + tolerance and (error := np.abs(sums - 1).max()) <= _CLIPPED:
        return "distribution", f"rows non-negative, sum 1 within {error:.1g}"
    with np.errstate(over="ignore"):
        error = np.abs(np.exp(np.minimum(rows, 1.0)).sum(axis=1) - 1).max()
    if highest <= tolerance and error <= tolerance:
        return "log distribution", f"exponentials of rows with sum 1 within {error:.1g}"
    norms = np.sqrt((rows**2).sum(axis=1))
    if norms.max() <= 1 + tolerance and np.mean(norms >= 1 - tolerance) >= _UNIT_SHARE:
        return "unit vector", "rows of length 1"
    if lowest >= 0 and _NEAR_ONE <= highest <= 1 + tolerance:
        return "fractions", f"values between 0 and 1, {plain}"
    ordered = rows.shape[1] == 4 and lowest >= 0 and (rows[:, :2] < rows[:, 2:]).all()
    if ordered and len(rows) >= _FEWEST_BOXES:
        return "box", "4 values from 0 on, the first two below the last two"
    return "numbers", plain
