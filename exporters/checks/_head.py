"""The head under stress: probabilities are finite, sum to 1 and keep the argmax, also for logits of ±1e4."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from cnntk.exporters._head import HEAD_SCOPE
from cnntk.exporters.checks._candidate import Candidate, Check
from cnntk.exporters.checks.limits import EPSILON, PROBABILITIES
from cnntk.exporters.session import GraphSession, extract_model
from cnntk.runtime.errors import ExportCheckError

LIMIT = 1e4
SUM_TOLERANCE = 1e-6


def check_head(candidate: Candidate) -> Check | None:
    """Runs the nodes between ``logits`` and ``probabilities`` on logits that reach ±1e4.

    Where the network returns a distribution of its own, the nodes that compute its logarithm are run on
    distributions with zeros.

    Raises:
        ExportCheckError: A probability is not finite, a sum differs from 1 by more than rounding, or the
            argmax changes.
    """
    outputs = {v.name: v for v in candidate.model.graph.outputs}
    logits = outputs.get("logits")
    if logits is None or PROBABILITIES not in outputs or logits.shape is None:
        return None
    classes = int(logits.shape[1]) if isinstance(logits.shape[1], int) else 2
    if candidate.softmax_of_logits:
        return check_softmax(candidate.model, classes)
    node = logits.producer()
    if node is None or node.op_type != "Log" or not str(node.name).startswith(HEAD_SCOPE):
        return None  # both are outputs of the network itself
    return _check_logarithm(candidate, classes)


def sum_tolerance(classes: int) -> float:
    """Largest distance of a float32 softmax's sum from 1: the roundings of K terms add like a random walk."""
    return max(SUM_TOLERANCE, math.sqrt(classes) * EPSILON["float32"])


def check_softmax(model: ir.Model, classes: int) -> Check:
    """Runs the nodes between ``logits`` and ``probabilities`` of a graph on logits that reach ±1e4.

    Raises:
        ExportCheckError: As for `check_head`.
    """
    stress, limit = stress_logits(classes), sum_tolerance(classes)
    head = extract_model(model, "logits", "probabilities")
    probabilities = GraphSession(head).run({"logits": stress})["probabilities"]
    error = float(np.abs(probabilities.astype(np.float64).sum(axis=1) - 1).max())
    best = np.take_along_axis(probabilities, stress.argmax(axis=1)[:, None], axis=1)[:, 0]
    same_best = (best == probabilities.max(axis=1)).all()
    if not np.isfinite(probabilities).all() or not error <= limit or not same_best:
        raise ExportCheckError(
            f"probabilities: for logits of ±{LIMIT:.0e} they are not finite, differ from a sum of 1 by "
            f"{error:.2g} (limit {limit:.2g}), or have another argmax: use a stable softmax, which "
            "subtracts the maximum. Nothing was written"
        )
    return Check("head", f"logits of ±{LIMIT:.0e}: finite, sum 1 within {error:.1g}, same argmax")


def _check_logarithm(candidate: Candidate, classes: int) -> Check:
    stress = np.eye(2, classes, dtype=np.float32)
    stress = np.concatenate([stress, np.full((1, classes), 1 / classes, np.float32)])
    head = extract_model(candidate.model, "probabilities", "logits")
    logits = GraphSession(head).run({"probabilities": stress})["logits"].astype(np.float64)
    error = float(np.abs(np.exp(logits) - stress).max())
    if not np.isfinite(logits).all() or not error <= SUM_TOLERANCE:
        raise ExportCheckError(
            "logits: they are not finite, or their exponentials differ from the probabilities by "
            f"{error:.2g} (limit {SUM_TOLERANCE:.0e}). Nothing was written"
        )
    return Check("head", f"logits are the logarithm of the distribution within {error:.1g}, finite at 0")


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
