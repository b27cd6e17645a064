"""The head under stress: logits of ±1e4 give finite probabilities that sum to 1 and keep the argmax."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cnntk.exporters.checks._candidate import Candidate, Check
from cnntk.exporters.session import GraphSession, extract_model
from cnntk.runtime.errors import ExportCheckError

LIMIT = 1e4
SUM_TOLERANCE = 1e-6


def check_head(candidate: Candidate) -> Check | None:
    """Runs the nodes between ``logits`` and ``probabilities`` on logits that reach ±1e4.

    Raises:
        ExportCheckError: A probability is not finite, a sum is not 1 within 1e-6, or the argmax changes.
    """
    outputs = {v.name: v for v in candidate.model.graph.outputs}
    if not {"logits", "probabilities"} <= outputs.keys():
        return None
    logits = outputs["logits"]
    classes = int(logits.shape[1]) if logits.shape is not None and isinstance(logits.shape[1], int) else 2
    stress = stress_logits(classes)
    head = extract_model(candidate.model, "logits", "probabilities")
    probabilities = GraphSession(head).run({"logits": stress})["probabilities"]
    error = float(np.abs(probabilities.astype(np.float64).sum(axis=1) - 1).max())
    best = np.take_along_axis(probabilities, stress.argmax(axis=1)[:, None], axis=1)[:, 0]
    same_best = (best == probabilities.max(axis=1)).all()
    if not np.isfinite(probabilities).all() or not error <= SUM_TOLERANCE or not same_best:
        raise ExportCheckError(
            f"probabilities: for logits of ±{LIMIT:.0e} they are not finite, differ from a sum of 1 by "
            f"{error:.2g} (limit {SUM_TOLERANCE:.0e}), or have another argmax: use a stable softmax, which "
            "subtracts the maximum. Nothing was written"
        )
    return Check("head", f"logits of ±{LIMIT:.0e}: finite, sum 1 within {error:.1g}, same argmax")


def stress_logits(classes: int) -> NDArray[np.float32]:
    """Rows that reach ±1e4: one high, one low, all high, all low, noise, and ties but for one step."""
    rng = np.random.default_rng(0)
    rows = np.zeros((7, classes), dtype=np.float32)
    rows[0, 0], rows[1, -1] = LIMIT, -LIMIT
    rows[2], rows[3] = LIMIT, -LIMIT
    rows[4] = rng.uniform(-LIMIT, LIMIT, classes)
    rows[5], rows[6] = LIMIT, -LIMIT
    rows[5, classes // 2] += 1
    rows[6, classes // 2] += 1
    return rows
