"""The shapes of every layer: closed form, torch, ONNX and onnxruntime agree, at every batch."""

from __future__ import annotations

import onnx_ir as ir

from cnntk.exporters.checks.inputs import Trials
from cnntk.exporters.checks.record import Check
from cnntk.exporters.checks.reference import Reference
from cnntk.exporters.session import inner_shapes
from cnntk.exporters.shapes.ledger import LedgerRow, four_way
from cnntk.runtime.errors import ShapeMismatch

__all__ = ["check_shapes"]


def check_shapes(
    model: ir.Model, reference: Reference, trials: Trials
) -> tuple[tuple[LedgerRow, ...], Check]:
    """Fills the ledger, and runs the graph at each size of batch for its last column.

    Raises:
        ShapeMismatch: a row's columns differ.
    """
    run = inner_shapes(model, {size: trials.batch(size) for size in trials.batches})
    rows = four_way(model, reference.shapes(), run)
    for row in rows:
        if not row.agree:
            raise ShapeMismatch(f"{row.message}. Nothing was written")
    return rows, Check("shapes", f"{len(rows)} layers agree at batch {', '.join(map(str, trials.batches))}")
