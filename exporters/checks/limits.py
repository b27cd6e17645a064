"""How far an exported model's outputs may be from those of its source."""

from __future__ import annotations

__all__ = ["EPSILON", "FACTOR", "FLOOR", "PROBABILITIES", "SMALLEST", "SOFTMAX_ERROR", "round_up"]

EPSILON = {"bfloat16": 2.0**-7, "float16": 2.0**-10, "float32": 2.0**-23, "float64": 2.0**-52}
"""The step between 1 and the next larger number, for each type that a network may have."""

FACTOR = 4.0
"""Limit of the exported model's error, in errors of torch: two sound float32 programs differ in the order of
their sums, which changes the largest error by a small factor."""

FLOOR = 8.0
"""Least limit in steps (eps) of the model's precision, relative to an image's largest output: torch may be
exact by chance, for instance where all weights are 0."""

SMALLEST = 1.2e-38
"""Smallest normal float32: below it rounding is no longer relative."""

SOFTMAX_ERROR = 1e-6
"""Absolute error of onnxruntime's float32 softmax; probabilities are at most 1."""

PROBABILITIES = "probabilities"


def round_up(bound: float, digits: int = 3) -> float:
    """``bound`` with so many digits, never less."""
    return float(f"{bound * (1 + 5 * 10.0**-digits):.{digits}g}")
