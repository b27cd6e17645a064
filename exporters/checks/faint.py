"""Answers so small that zeros would pass: then every layer is held to its own scale.

A network with random weights may answer 1e-40, below float32's normal range, where nothing can be told from
nothing. What its layers compute on the way there is large enough to be compared.
"""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as ir

from cnntk.exporters.checks.divergence import first_divergence
from cnntk.exporters.checks.inputs import Trials
from cnntk.exporters.checks.parity import PROBABILITIES, Parity
from cnntk.exporters.checks.record import Check
from cnntk.exporters.checks.reference import Reference
from cnntk.runtime.errors import ParityError

__all__ = ["check_faint"]


def check_faint(
    parity: Iterable[Parity], model: ir.Model, reference: Reference, trials: Trials, eps: float
) -> Check | None:
    """Compares each layer with float64, where an output's bound is as large as the output itself.

    Returns:
        What was seen; None where every output tells.

    Raises:
        ParityError: a layer differs.
    """
    scales: dict[str, float] = {}
    telling = set()
    for p in parity:
        scales[p.output] = max(scales.get(p.output, 0.0), p.scale)
        if p.bound < p.scale / 2:
            telling.add(p.output)
    faint = sorted(scales.keys() - telling - {PROBABILITIES})
    if not faint:
        return None
    where = first_divergence(model, reference, trials, eps)
    if where:
        raise ParityError(
            f"{faint[0]}: at most {scales[faint[0]]:.2g}, too small to be compared, and a layer before it "
            f"differs from float64{where}. Nothing was written"
        )
    return Check(
        "faint answers",
        f"{', '.join(faint)} at most {scales[faint[0]]:.2g}, too small to tell: each layer compared instead",
    )
